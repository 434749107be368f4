from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import linear_model

from jdm import metrics
from jdm.regressors import informed
from jdm.regressors import lasso
from tests import planted


def _problem(seed, num_models=80, noise=2.0):
  """Many small weights and much noise; scores that know them roughly."""
  generator = np.random.default_rng(seed)
  weights = generator.standard_t(3, size=(60, 6))
  masks = planted.fixed_size_masks(generator, 1200, 60, 0.5)
  signal = masks @ weights
  outcomes = signal + noise * signal.std() * generator.normal(size=signal.shape)
  scores = 3 * (weights + 0.7 * weights.std() * generator.normal(size=(60, 6)))
  few = slice(0, num_models)
  rest = slice(600, None)
  return (masks[few], outcomes[few]), (masks[rest], signal[rest]), scores


def _lds(fitted, heldout):
  masks, wanted = heldout
  # An all-zero datamodel predicts no order.
  return np.nan_to_num(metrics.spearman(masks @ fitted.weights, wanted)).mean()


def _alone(masks, outcome, scores, lam, penalty, all_scores):
  """One target by a dense solve, or by scikit-learn on scaled columns."""
  sizes = np.abs(all_scores) / np.abs(all_scores).mean() + 0.1
  variance = (np.abs(scores) / np.abs(all_scores).mean() + 0.1) / sizes.mean()
  centred = masks - masks.mean(axis=0)[None]
  told, left = centred @ scores, outcome - outcome.mean()
  mean = scores * (told @ left) / (told @ told)
  left = left - centred @ mean
  if penalty == 'l1':
    model = linear_model.Lasso(alpha=lam, tol=1e-10, max_iter=100_000)
    return mean + variance * model.fit(centred * variance[None], left).coef_
  gram = centred.T @ centred / len(masks)
  right = centred.T @ left / len(masks)
  return mean + np.linalg.solve(gram + lam * np.diag(1 / variance), right)


class InformedTest(parameterized.TestCase):

  @parameterized.parameters('ridge', 'l1', 'auto')
  def test_beats_the_scores_and_the_regression_alone(self, penalty):
    pair, heldout, scores = _problem(0)
    fitted = informed.fit(*pair, scores, penalty=penalty)
    plain = lasso.fit(*pair)
    alone = metrics.spearman(heldout[0] @ scores, heldout[1]).mean()
    self.assertGreater(_lds(fitted, heldout), _lds(plain, heldout) + 0.1)
    if penalty != 'l1':
      self.assertGreater(_lds(fitted, heldout), alone)
    self.assertTrue((fitted.gap <= 1.1e-4).all())
    self.assertEqual(fitted.regressor, 'informed')
    self.assertLen(fitted.fit_ids, 80)
    self.assertEmpty(fitted.val_ids)

  @parameterized.parameters(80, 400)
  def test_useless_scores_do_no_harm(self, num_models):
    (masks, outcomes), heldout, scores = _problem(1, num_models, noise=0.5)
    shuffled = np.random.default_rng(0).permutation(scores, axis=0)
    fitted = informed.fit(masks, outcomes, shuffled)
    plain = lasso.fit(masks, outcomes)
    self.assertGreater(_lds(fitted, heldout), _lds(plain, heldout) - 0.02)

  def test_takes_the_best_of_several_scores(self):
    pair, _, scores = _problem(2)
    noise = np.random.default_rng(0).normal(size=scores.shape)
    one = informed.fit(*pair, scores, penalty='ridge')
    several = informed.fit(*pair, [noise, scores, -noise], penalty='ridge')
    np.testing.assert_array_equal(several.weights, one.weights)

  @parameterized.parameters(None, 2)
  def test_learns_what_alike_examples_share(self, own):
    generator = np.random.default_rng(0)
    # 12 groups of 5 examples; scores are wrong about whole groups.
    groups = generator.normal(size=(12, 40)).repeat(5, axis=0)
    scores = groups + 0.3 * generator.normal(size=(60, 40))
    wrong = generator.normal(size=(12, 40)).repeat(5, axis=0)
    weights = scores + wrong
    masks = planted.fixed_size_masks(generator, 700, 60, 0.5)
    signal = masks @ weights
    outcomes = signal + signal.std() * generator.normal(size=signal.shape)
    own_ids = None if own is None else np.full(40, own)
    shared, apart = (
        informed.fit(
            masks[:300],
            outcomes[:300],
            scores,
            penalty='ridge',
            correlation=correlation,
            own_ids=own_ids,
        )
        for correlation in (0.5, 0)
    )
    heldout = masks[300:], signal[300:]
    self.assertGreater(_lds(shared, heldout), _lds(apart, heldout) + 0.03)
    self.assertLess(shared.val_mse.mean(), apart.val_mse.mean())
    self.assertTrue((shared.gap <= 1.1e-4).all())
    if own is not None:
      np.testing.assert_array_equal(shared.weights[own], 0)

  def test_many_targets_tell_whose_scores_are_alike_by_a_projection(self):
    generator = np.random.default_rng(0)
    groups = generator.normal(size=(12, 1100)).repeat(5, axis=0)
    scores = groups + 0.3 * generator.normal(size=(60, 1100))
    weights = scores + generator.normal(size=(12, 1100)).repeat(5, axis=0)
    masks = planted.fixed_size_masks(generator, 400, 60, 0.5)
    signal = masks @ weights
    outcomes = signal + signal.std() * generator.normal(size=signal.shape)
    data = masks[:200], outcomes[:200]
    options = {'penalty': 'ridge', 'num_folds': 2}
    fitted = informed.fit(*data, scores, **options)
    some = slice(0, 40)  # Of so few all directions are taken.
    fewer = informed.fit(
        masks[:200], outcomes[:200, some], scores[:, some], **options
    )
    found = metrics.spearman(masks[200:] @ fitted.weights, signal[200:])
    expected = metrics.spearman(masks[200:] @ fewer.weights, signal[200:, some])
    self.assertGreater(found[some].mean(), expected.mean() - 0.02)
    self.assertTrue((fitted.gap <= 1.1e-4).all())

  def test_each_fold_is_scored_without_its_models(self):
    pair, _, scores = _problem(3)
    generator = np.random.default_rng(0)
    # Scores that only the folds know to be useless.
    without = generator.normal(size=(5, *scores.shape))
    prior = informed.Prior(values=scores, without_fold=without)
    fitted = informed.fit(*pair, prior, penalty='all')
    seen = informed.fit(*pair, scores, penalty='all')
    self.assertGreater(fitted.val_mse.mean(), seen.val_mse.mean())

  def test_scale_of_scores_and_shift_of_outcomes_do_not_matter(self):
    (masks, outcomes), _, scores = _problem(4)
    one = informed.fit(masks, outcomes, scores, penalty='ridge')
    other = informed.fit(masks, outcomes + 7, 1e3 * scores, penalty='ridge')
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-2)
    np.testing.assert_allclose(other.bias - one.bias, 7, atol=0.2)

  def test_constant_outcomes_and_examples(self):
    (masks, outcomes), _, scores = _problem(5)
    masks, outcomes = masks.copy(), outcomes.copy()
    masks[:, 3], outcomes[:, 1] = True, 2.0
    fitted = informed.fit(masks, outcomes, scores, penalty='ridge')
    np.testing.assert_array_equal(fitted.weights[3], 0)
    np.testing.assert_allclose(fitted.weights[:, 1], 0, atol=1e-6)
    np.testing.assert_allclose(fitted.bias[1], 2, atol=1e-5)

  def test_own_ids_equal_fits_to_the_other_models_one_by_one(self):
    (masks, outcomes), _, scores = _problem(7, 120)
    own_ids = np.array([5, -1, 0, 59, 5, 30])
    unknown = scores.copy()
    unknown[own_ids[own_ids >= 0], np.flatnonzero(own_ids >= 0)] = np.nan
    for penalty in ('ridge', 'l1'):
      fitted = informed.fit(
          masks,
          outcomes,
          unknown,
          own_ids=own_ids,
          penalty=penalty,
          correlation=0,
          tol=1e-7,
      )
      for j, own in enumerate(own_ids):
        rows = np.ones(len(masks), bool) if own < 0 else ~masks[:, own]
        some = np.arange(60) != own
        expected = _alone(
            masks[rows][:, some],
            outcomes[rows, j],
            scores[some, j],
            fitted.lam[j],
            penalty,
            # An example's score on itself is 0 and counts in the mean.
            np.where(some, scores[:, j], 0),
        )
        predicted = masks[rows] @ fitted.weights[:, j] + fitted.bias[j]
        wanted = masks[rows][:, some] @ expected
        wanted += np.mean(outcomes[rows, j] - wanted)
        # float32, and gaps of 1e-7.
        scale = 2e-3 * np.std(outcomes[rows, j])
        np.testing.assert_allclose(predicted, wanted, atol=scale)
        if own >= 0:
          self.assertEqual(fitted.weights[own, j], 0)
      self.assertTrue((fitted.gap <= 1.1e-7).all())

  def test_own_ids_of_minus_one_change_nothing(self):
    (masks, outcomes), _, scores = _problem(8)
    one, other = (
        informed.fit(
            masks, outcomes, scores, penalty='ridge', own_ids=ids, tol=1e-6
        )
        for ids in (None, np.full(6, -1))
    )
    np.testing.assert_allclose(other.lam, one.lam, rtol=1e-4)
    np.testing.assert_allclose(other.val_mse, one.val_mse, rtol=1e-3)
    np.testing.assert_allclose(other.weights, one.weights, atol=2e-2)

  def test_models_that_trained_on_a_target_do_not_count(self):
    # Of so few that some target has none in a fold.
    (masks, outcomes), _, scores = _problem(9, 12)
    own_ids = np.arange(6)
    trained_on = masks[:, own_ids]
    in_fold = [(~trained_on[fold::5]).sum(axis=0) for fold in range(5)]
    self.assertEqual(np.min(in_fold), 0)
    changed = np.where(trained_on, 1e3, outcomes)
    for penalty in ('ridge', 'l1'):
      one, other = (
          informed.fit(masks, some, scores, own_ids=own_ids, penalty=penalty)
          for some in (outcomes, changed)
      )
      # The same numbers; sums of float32 products apart.
      np.testing.assert_allclose(other.weights, one.weights, atol=1e-3)
      np.testing.assert_allclose(other.val_mse, one.val_mse, rtol=1e-4)

  def test_useless_scores_of_train_targets_do_no_harm(self):
    (masks, outcomes), heldout, scores = _problem(10, 400, noise=0.5)
    own_ids = np.arange(6)
    shuffled = np.random.default_rng(0).permutation(scores, axis=0)
    fitted = informed.fit(masks, outcomes, shuffled, own_ids=own_ids)
    plain = lasso.fit(masks, outcomes, own_ids=own_ids)
    where = ~heldout[0][:, own_ids]
    good, expected = (
        metrics.spearman(heldout[0] @ one.weights, heldout[1], where=where)
        for one in (fitted, plain)
    )
    self.assertGreater(good.mean(), expected.mean() - 0.02)

  def test_bad_own_ids(self):
    (masks, outcomes), _, scores = _problem(11)
    pair = masks, outcomes, scores
    with self.assertRaisesRegex(ValueError, '6 integers'):
      informed.fit(*pair, own_ids=np.arange(5))
    with self.assertRaisesRegex(ValueError, '-1 to 59'):
      informed.fit(*pair, own_ids=np.arange(6) + 55)
    masks = masks.copy()
    masks[:-1, 0] = True
    with self.assertRaisesRegex(ValueError, 'and 1 of 6 targets have fewer'):
      informed.fit(masks, outcomes, scores, own_ids=np.arange(6))

  def test_bad_input(self):
    pair, _, scores = _problem(6)
    with self.assertRaisesRegex(ValueError, 'transposed'):
      informed.fit(*pair, scores.T)
    with self.assertRaisesRegex(ValueError, r'\(60, 6\), got \(60, 5\)'):
      informed.fit(*pair, scores[:, :5])
    with self.assertRaisesRegex(ValueError, 'tells examples apart'):
      informed.fit(*pair, np.ones_like(scores))
    with self.assertRaisesRegex(ValueError, '1 of 360 values'):
      informed.fit(*pair, np.where(scores == scores.max(), np.nan, scores))
    with self.assertRaisesRegex(ValueError, 'penalty'):
      informed.fit(*pair, scores, penalty='l2')
    with self.assertRaisesRegex(ValueError, 'num_folds from 2'):
      informed.fit(*pair, scores, num_folds=50)
    with self.assertRaisesRegex(ValueError, 'floor and tol'):
      informed.fit(*pair, scores, floor=0)
    with self.assertRaisesRegex(ValueError, 'correlation from 0 to below 1'):
      informed.fit(*pair, scores, correlation=1)
    prior = informed.Prior(values=scores, without_fold=scores[None])
    with self.assertRaisesRegex(ValueError, r'without_fold of shape \(5, 60'):
      informed.fit(*pair, prior)


if __name__ == '__main__':
  absltest.main()
