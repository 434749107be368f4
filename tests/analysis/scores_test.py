"""Tests of scores against scipy and planted worlds."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import metrics
from jdm.analysis import scores
from jdm.regressors import difference_of_means
from tests import planted


class NormalityTest(parameterized.TestCase):

  def test_matches_scipy_per_target(self):
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(80, 4))
    outcomes = predictions + rng.gamma(2.0, size=(80, 4))
    found = scores.residual_normality(predictions, outcomes)
    residuals = (outcomes - predictions).T
    self.assertAlmostEqual(
        found.shapiro, np.mean([stats.shapiro(r).statistic for r in residuals])
    )
    self.assertAlmostEqual(
        found.skewness, np.mean([stats.skew(r) for r in residuals])
    )
    self.assertAlmostEqual(
        found.kurtosis, np.mean([stats.kurtosis(r) for r in residuals])
    )
    self.assertEqual(found.rejected, 1)

  def test_normal_residuals(self):
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(300, 200))
    outcomes = predictions + rng.normal(size=predictions.shape)
    found = scores.residual_normality(predictions, outcomes)
    self.assertGreater(found.shapiro, 0.99)
    self.assertAlmostEqual(found.skewness, 0, delta=0.05)
    self.assertAlmostEqual(found.kurtosis, 0, delta=0.1)
    # 5 % of 200 has a deviation of 1.5 %.
    self.assertBetween(found.rejected, 0.0, 0.11)

  def test_skewed_to_both_sides(self):
    draws = np.random.default_rng(0).gamma(1.0, size=(200, 2))
    found = scores.residual_normality(
        np.zeros((200, 2)), draws * np.array([[1, -1]])
    )
    self.assertLess(abs(found.skewness), 1)
    self.assertGreater(found.abs_skewness, 1.5)

  def test_constant_outcomes_are_left_out(self):
    rng = np.random.default_rng(0)
    outcomes = rng.normal(size=(40, 3))
    outcomes[:, 1] = 1.0
    found = scores.residual_normality(np.zeros((40, 3)), outcomes)
    self.assertEqual((found.num_targets, found.num_constant), (2, 1))
    nothing = scores.residual_normality(np.zeros((40, 1)), np.ones((40, 1)))
    self.assertTrue(np.isnan(nothing.shapiro))
    self.assertEqual(nothing.num_constant, 1)

  @parameterized.parameters(
      (np.zeros((9, 2)), np.zeros((9, 3)), 'two arrays'),
      (np.zeros((7, 2)), np.zeros((7, 2)), '8 held-out models'),
      (np.zeros((9, 2)), np.full((9, 2), np.nan), 'finite'),
  )
  def test_errors(self, predictions, outcomes, words):
    with self.assertRaisesRegex(ValueError, words):
      scores.residual_normality(predictions, outcomes)


class CompareTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    problem = planted.sparse_linear(
        0, num_train=30, num_models=400, num_targets=6, noise=0.7
    )
    self.masks, self.heldout_masks = np.split(problem.masks, [300])
    rng = np.random.default_rng(1)
    signal = problem.masks @ problem.weights

    def draw():
      noise = problem.noise * rng.normal(size=signal.shape)
      return signal + noise

    variance = signal.var(axis=0)
    self.share = np.mean(variance / (variance + problem.noise**2))
    self.outcomes, again = draw(), draw()
    self.heldout = np.stack([self.outcomes[300:], again[300:]])
    self.outcomes = self.outcomes[:300].astype(np.float32)

  def test_scores_agree_with_metrics(self):
    fitted = difference_of_means.fit(
        self.masks, self.outcomes, outcome='margin'
    )
    found = scores.score(
        fitted,
        self.masks,
        self.outcomes,
        self.heldout_masks,
        self.heldout,
    )
    predictions = self.heldout_masks @ fitted.weights + fitted.bias
    lds = metrics.lds(predictions, self.heldout[0], num_bootstrap=100)
    self.assertAlmostEqual(found.lds, lds.value)
    np.testing.assert_allclose(found.lds_interval, lds.interval)
    ceiling = metrics.noise_ceiling(*self.heldout, num_bootstrap=100)
    self.assertAlmostEqual(found.noise_ceiling, ceiling.value)
    self.assertAlmostEqual(
        found.r2, metrics.r2(predictions, self.heldout[0]).value, places=5
    )
    self.assertEqual(found.outcome, 'margin')
    self.assertEqual((found.num_models, found.num_heldout), (300, 100))
    assert found.linear_share is not None
    # Of linear outcomes, all that subsets explain.
    self.assertAlmostEqual(found.linear_share.value, self.share, delta=0.1)

  def test_outcomes_side_by_side(self):
    steps = []
    linear, bent = scores.compare_outcomes(
        self.masks,
        {'linear': self.outcomes, 'bent': np.exp(self.outcomes / 3)},
        self.heldout_masks,
        {'linear': self.heldout, 'bent': np.exp(self.heldout / 3)},
        regressor='difference_of_means',
        progress=lambda *step: steps.append(step),
    )
    self.assertEqual((linear.outcome, bent.outcome), ('linear', 'bent'))
    # Ranks do not mind the bend, but its residuals are skewed.
    self.assertAlmostEqual(linear.noise_ceiling, bent.noise_ceiling)
    self.assertGreater(linear.normality.shapiro, bent.normality.shapiro)
    self.assertGreater(bent.normality.skewness, linear.normality.skewness)
    self.assertEqual(steps, [(1, 2), (2, 2)])

  def test_one_training_has_no_ceiling(self):
    (row,) = scores.compare_outcomes(
        self.masks,
        {'margin': self.outcomes},
        self.heldout_masks,
        {'margin': self.heldout[:1]},
        regressor='difference_of_means',
    )
    self.assertTrue(np.isnan(row.noise_ceiling))

  def test_errors(self):
    outcomes, heldout = {'margin': self.outcomes}, {'margin': self.heldout}
    with self.assertRaisesRegex(ValueError, r"none held out for \['other'\]"):
      scores.compare_outcomes(
          self.masks,
          outcomes | {'other': self.outcomes},
          self.heldout_masks,
          heldout,
      )
    with self.assertRaisesRegex(ValueError, 'for 99 held-out masks'):
      scores.compare_outcomes(
          self.masks, outcomes, self.heldout_masks[1:], heldout
      )
    with self.assertRaisesRegex(ValueError, 'the same models'):
      scores.check_heldout('it', self.masks, self.masks[:100], self.heldout)
    with self.assertRaisesRegex(ValueError, 'of 30 examples, got 29'):
      scores.check_heldout(
          'it', self.masks, self.heldout_masks[:, 1:], self.heldout
      )


if __name__ == '__main__':
  absltest.main()
