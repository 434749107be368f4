from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import linear_model
from sklearn import model_selection

from jdm import datamodels as datamodels_lib
from jdm import evaluation
from jdm.regressors import lasso
from jdm.regressors import ridge
from jdm.solvers import folds as folds_lib
from jdm.solvers import moments as moments_lib
from tests import planted
from tests.solvers import oracle

_TOL = 1e-8  # Bounds the error of weights by about its root.
_FOLDS = {'num_folds': 3, 'num_lams': 8, 'tol': _TOL}


class LassoTest(parameterized.TestCase):

  @parameterized.parameters(24, 300)
  def test_given_penalty_matches_scikit_learn(self, num_models):
    problem = planted.sparse_linear(0, num_models=num_models)
    lam = np.array([0.3, 0.1, 0.05, 0.2, 0.15])
    fitted = lasso.fit(problem.masks, problem.outcomes, lam=lam, tol=1e-8)
    self.assertEqual(fitted.weights.dtype, np.float64)
    for j in range(5):
      outcome = problem.outcomes[:, j]
      weights, bias = oracle.lasso(problem.masks, outcome, lam[j])
      # A gap of 1e-8 bounds the error of weights by about its root.
      np.testing.assert_allclose(fitted.weights[:, j], weights, atol=1e-3)
      np.testing.assert_allclose(fitted.bias[j], bias, atol=1e-2)
    np.testing.assert_array_equal(fitted.lam, lam)
    self.assertEqual(len(fitted.val_ids), 0)
    self.assertTrue(np.isnan(fitted.val_mse).all())

  def test_a_target_that_varies_only_in_validation_keeps_weights_of_zero(self):
    problem = planted.sparse_linear(2)
    outcomes = problem.outcomes.copy()
    outcomes[:, 1] = 1.0
    outcomes[-1, 1] = 0.0
    fitted = lasso.fit(problem.masks, outcomes, num_val=50)
    np.testing.assert_array_equal(fitted.weights[:, 1], 0)
    self.assertGreater(fitted.nnz[0], 0)
    np.testing.assert_allclose(fitted.bias[1], outcomes[:, 1].mean())

  def test_refits_on_all_models_at_the_penalty_chosen(self):
    problem = planted.sparse_linear(1)
    fitted = lasso.fit(problem.masks, problem.outcomes, num_val=100)
    for j in range(5):
      gap = oracle.relative_gap(
          problem.masks,
          problem.outcomes[:, j],
          fitted.weights[:, j],
          fitted.lam[j],
      )
      self.assertLessEqual(gap, 1.1e-4)
      # The definition subtracts numbers near 1.
      np.testing.assert_allclose(fitted.gap[j], gap, rtol=1e-4, atol=1e-13)

  def test_penalties_are_each_targets_own(self):
    problem = planted.sparse_linear(2, num_targets=3)
    outcomes = problem.outcomes * np.array([1, 10, 100], np.float32)[None]
    fitted = lasso.fit(problem.masks, outcomes)
    alone = lasso.fit(problem.masks, outcomes[:, 1:2])
    np.testing.assert_allclose(fitted.lam[1], alone.lam[0], rtol=1e-12)
    # Two solutions within a gap of 1e-4 differ by about its root.
    np.testing.assert_allclose(
        fitted.weights[:, 1], alone.weights[:, 0], atol=0.2
    )

  def test_own_ids_leave_out_models_that_trained_on_the_target(self):
    problem = planted.sparse_linear(3, 30, 200, 4)
    outcomes = problem.outcomes.copy()
    own_ids = np.array([5, 6, -1, 8])
    for j, own in enumerate(own_ids):
      if own >= 0:  # Memorized: useless to anybody else.
        outcomes[problem.masks[:, own], j] = 1000 + j
    fitted = lasso.fit(problem.masks, outcomes, own_ids=own_ids, tol=1e-6)
    for j, own in enumerate(own_ids):
      keep = np.ones(200, bool) if own < 0 else ~problem.masks[:, own]
      masks, outcome = problem.masks[keep], outcomes[keep, j]
      weights, bias = oracle.lasso(masks, outcome, fitted.lam[j])
      # A gap of 1e-6 bounds the error of weights by about its root.
      np.testing.assert_allclose(fitted.weights[:, j], weights, atol=2e-3)
      np.testing.assert_allclose(fitted.bias[j], bias, atol=2e-2)
      if own >= 0:
        self.assertEqual(fitted.weights[own, j], 0)
    self.assertLessEqual(fitted.gap.max(), 1.1e-6)

  def test_reports_progress(self):
    problem = planted.sparse_linear(4)
    seen = []
    lasso.fit(
        problem.masks, problem.outcomes, progress=lambda *x: seen.append(x)
    )
    self.assertEqual(seen[-1], (5, 5))

  def test_folds_match_scikit_learn(self):
    problem = planted.sparse_linear(0, noise=1)
    seen = []
    fitted = lasso.fit(
        problem.masks[:299],
        problem.outcomes[:299],
        progress=lambda *x: seen.append(x),
        **_FOLDS,
    )
    fold_of = np.arange(299) % 3
    split = model_selection.PredefinedSplit(fold_of)
    masks, outcomes = problem.masks[:299].astype(float), problem.outcomes[:299]
    moments = moments_lib.of(problem.masks[:299], outcomes)
    largest = np.abs(moments.centred_cross()).max(axis=0)
    for j in range(5):
      grid = largest[j] * 1e-2 ** (np.arange(8) / 7)
      peer = linear_model.LassoCV(alphas=grid, cv=split, tol=1e-11)
      peer.fit(masks, outcomes[:, j])
      np.testing.assert_allclose(fitted.lam[j], peer.alpha_, rtol=1e-6)
      np.testing.assert_allclose(fitted.weights[:, j], peer.coef_, atol=1e-3)
      np.testing.assert_allclose(fitted.bias[j], peer.intercept_, atol=1e-2)
      # Folds count by their size. Predictions are off by the root of the gap.
      errors = np.average(peer.mse_path_, axis=1, weights=np.bincount(fold_of))
      np.testing.assert_allclose(fitted.val_mse[j], errors.min(), rtol=1e-3)
    self.assertEqual(seen[-1], (5, 5))

  def test_one_standard_error_is_more_cautious(self):
    problem = planted.sparse_linear(1, noise=1)
    pair = problem.masks, problem.outcomes
    least = lasso.fit(*pair, **_FOLDS)
    cautious = lasso.fit(*pair, rule='one_se', **_FOLDS)
    self.assertTrue((cautious.lam >= least.lam).all())
    self.assertTrue((cautious.lam > least.lam).any())
    self.assertTrue((cautious.val_mse >= least.val_mse).all())
    empty, fold_of = problem.moments.zeros(60, 5), folds_lib.assign(300, 3)
    parts = folds_lib.split(empty, *pair, fold_of)
    found = folds_lib.cross_validate(
        folds_lib.join(parts), parts, num_lams=8, tol=_TOL
    )
    at = found.choose('one_se'), range(5)
    np.testing.assert_array_equal(cautious.lam, found.lams[at])
    np.testing.assert_array_equal(cautious.val_mse, found.mean()[at])

  def test_all_models_of_folds_count_as_seen(self):
    problem = planted.sparse_linear(2)
    ids = 100 + np.arange(300)
    pair = problem.masks, problem.outcomes
    fitted = lasso.fit(*pair, model_ids=ids, **_FOLDS)
    np.testing.assert_array_equal(fitted.fit_ids, ids)
    np.testing.assert_array_equal(fitted.val_ids, ids)
    for held in (ids[:50], ids[-50:]):
      rows = held - 100
      with self.assertRaisesRegex(ValueError, 'used to fit or to choose'):
        evaluation.evaluate(
            fitted,
            problem.masks[rows],
            problem.outcomes[None, rows],
            heldout_ids=held,
        )

  def test_folds_with_fewer_models_than_examples(self):
    problem = planted.sparse_linear(3, num_models=24)
    fitted = lasso.fit(problem.masks, problem.outcomes, **_FOLDS)
    for j in range(5):
      weights, _ = oracle.lasso(
          problem.masks, problem.outcomes[:, j], fitted.lam[j]
      )
      np.testing.assert_allclose(fitted.weights[:, j], weights, atol=1e-2)

  def test_warm_refit_keeps_penalties(self):
    problem = planted.sparse_linear(4)
    early = lasso.fit(
        problem.masks[:250],
        problem.outcomes[:250],
        num_val=50,
        num_lams=8,
        model_ids=np.arange(250) + 10,
        tol=_TOL,
    )
    path = self.create_tempdir().full_path + '/early.npz'
    datamodels_lib.save(path, early)
    warm = lasso.fit(
        problem.masks,
        problem.outcomes,
        start=datamodels_lib.load(path),
        model_ids=np.arange(300) + 10,
        tol=_TOL,
    )
    np.testing.assert_array_equal(warm.lam, early.lam)
    np.testing.assert_array_equal(warm.val_mse, early.val_mse)
    np.testing.assert_array_equal(warm.fit_ids, np.arange(300) + 10)
    np.testing.assert_array_equal(warm.val_ids, np.arange(200, 250) + 10)
    for j in range(5):
      weights, _ = oracle.lasso(
          problem.masks, problem.outcomes[:, j], warm.lam[j]
      )
      np.testing.assert_allclose(warm.weights[:, j], weights, atol=1e-3)

  @parameterized.parameters({'num_val': 60}, {'num_folds': 3})
  def test_warm_refit_tries_penalties_around(self, **options):
    problem = planted.sparse_linear(5)
    pair = problem.masks, problem.outcomes
    early = lasso.fit(
        *(some[:250] for some in pair), lam=0.1, outcome='margin', tol=_TOL
    )
    warm = lasso.fit(*pair, start=early, outcome='margin', tol=_TOL, **options)
    lams = 0.1 * 1e-2 ** (np.arange(-4, 5) / 29)
    errors = np.zeros((9, 5))
    row = np.arange(300)
    left_out = [row % 3 == fold for fold in range(3)]
    if 'num_val' in options:
      left_out = [row >= 240]
    for out in left_out:
      for j in range(5):
        for k, lam in enumerate(lams):
          weights, bias = oracle.lasso(
              problem.masks[~out], problem.outcomes[~out, j], lam
          )
          wrong = problem.outcomes[out, j] - problem.masks[out] @ weights - bias
          errors[k, j] += np.mean(wrong**2) / len(left_out)
    np.testing.assert_allclose(warm.lam, lams[errors.argmin(axis=0)])
    # Predictions are off by the root of the gap.
    np.testing.assert_allclose(warm.val_mse, errors.min(axis=0), rtol=1e-3)

  def test_models_of_the_earlier_fit_count_as_seen(self):
    problem = planted.sparse_linear(6)
    pair = problem.masks, problem.outcomes
    early = lasso.fit(*(some[:100] for some in pair), lam=0.1, tol=_TOL)
    ids = np.arange(100, 300)
    warm = lasso.fit(
        *(some[100:] for some in pair), start=early, model_ids=ids, tol=_TOL
    )
    np.testing.assert_array_equal(warm.fit_ids, ids)
    np.testing.assert_array_equal(warm.val_ids, np.arange(100))

  def test_a_start_of_another_problem_is_refused(self):
    problem = planted.sparse_linear(7)
    pair = problem.masks, problem.outcomes
    early = lasso.fit(*pair, lam=0.1, tol=_TOL, target_ids=np.arange(5) + 3)
    cases = (
        ('same target_ids: it has 5, .3, 4, 5. first', {}),
        ('same train_ids', {'train_ids': np.arange(60) + 1}),
        ("outcome 'margin', got ''", {'outcome': 'margin'}),
    )
    for message, labels in cases:
      if message.startswith(('same train', 'outcome')):
        labels = labels | {'target_ids': np.arange(5) + 3}
      with self.subTest(message), self.assertRaisesRegex(ValueError, message):
        lasso.fit(*pair, start=early, **labels)
    with self.assertRaisesRegex(ValueError, 'same train_ids: it has 60'):
      lasso.fit(
          problem.masks[:, :50],
          problem.outcomes,
          start=early,
          target_ids=np.arange(5) + 3,
      )
    with self.assertRaisesRegex(ValueError, "'lasso', got one of 'ridge'"):
      lasso.fit(*pair, start=ridge.fit(*pair))
    with self.assertRaisesRegex(ValueError, 'earlier Datamodels, got ndarray'):
      lasso.fit(*pair, start=early.weights)

  def test_ways_to_the_penalty_exclude_each_other(self):
    problem = planted.sparse_linear(8)
    pair = problem.masks, problem.outcomes
    for options in (
        {'num_val': 20},
        {'lam': 0.1},
        {'val_masks': pair[0], 'val_outcomes': pair[1]},
    ):
      with self.assertRaisesRegex(ValueError, 'num_folds, or num_val, or val_'):
        lasso.fit(*pair, num_folds=3, **options)
    with self.assertRaisesRegex(ValueError, 'num_folds without own_ids'):
      lasso.fit(*pair, num_folds=3, own_ids=np.arange(5))
    with self.assertRaisesRegex(ValueError, 'leave refit out'):
      lasso.fit(*pair, num_folds=3, refit=False)
    for num_folds in (1, 151, 2.5):
      with self.assertRaisesRegex(ValueError, '2 to half of the 300 models'):
        lasso.fit(*pair, num_folds=num_folds)
    with self.assertRaisesRegex(ValueError, "one of .'min', 'one_se'., got"):
      lasso.fit(*pair, num_folds=3, rule='max')
    with self.assertRaisesRegex(ValueError, "rule 'one_se' with num_folds"):
      lasso.fit(*pair, rule='one_se')

  def test_bad_options_raise(self):
    problem = planted.sparse_linear(5)
    pair = problem.masks, problem.outcomes
    for lam in (0, -1, np.nan, np.ones(3)):
      with self.assertRaisesRegex(ValueError, '`lasso.fit` expects lam'):
        lasso.fit(*pair, lam=lam)
    with self.assertRaisesRegex(ValueError, 'tol above 0'):
      lasso.fit(*pair, tol=0)
    with self.assertRaisesRegex(ValueError, '`lasso.fit`.*num_lams >= 1'):
      lasso.fit(*pair, num_lams=0)
    with self.assertRaisesRegex(ValueError, 'own_ids must be 5 integers'):
      lasso.fit(*pair, own_ids=[1])


if __name__ == '__main__':
  absltest.main()
