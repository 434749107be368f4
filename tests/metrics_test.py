"""Tests of metrics against loops over scipy and closed forms."""

from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from jdm import metrics


def _pair(num_models=40, num_targets=6, noise=1.0, seed=0) -> Any:
  rng = np.random.default_rng(seed)
  signal = rng.normal(size=(num_models, num_targets))
  other = signal + noise * rng.normal(size=signal.shape)
  return signal, other


def _loop(correlation, first, second):
  return [correlation(a, b).statistic for a, b in zip(first.T, second.T)]


class CorrelationTest(parameterized.TestCase):

  @parameterized.parameters(False, True)
  def test_match_scipy(self, ties):
    first, second = _pair()
    if ties:
      first, second = np.round(first), np.round(second * 2)
    # float64 sums of 40 terms.
    np.testing.assert_allclose(
        metrics.spearman(first, second),
        _loop(stats.spearmanr, first, second),
        atol=1e-13,
    )
    np.testing.assert_allclose(
        metrics.pearson(first, second),
        _loop(stats.pearsonr, first, second),
        atol=1e-13,
    )

  def test_constant_columns_are_undefined(self):
    first, second = _pair()
    first[:, 1] = 0.1  # The mean of equal numbers rounds.
    second[:, 2] = 0
    for correlation in (metrics.spearman, metrics.pearson):
      undefined = np.isnan(correlation(first, second))
      np.testing.assert_array_equal(np.flatnonzero(undefined), [1, 2])

  @parameterized.parameters(1e-200, 1e200)
  def test_scale_does_not_matter(self, scale):
    first, second = _pair()
    np.testing.assert_allclose(
        metrics.pearson(first * scale, second),
        metrics.pearson(first, second),
        atol=1e-13,
    )

  def test_pooled_contains_differences_between_targets(self):
    first, second = _pair(noise=3.0)
    expected = stats.spearmanr(first.ravel(), second.ravel()).statistic
    self.assertAlmostEqual(metrics.pooled_spearman(first, second), expected)
    levels = 100 * np.arange(6.0)
    pooled = metrics.pooled_spearman(
        first + levels[None], second + levels[None]
    )
    self.assertGreater(pooled, 0.95)

  @parameterized.parameters(
      'pearson',
      'spearman',
      'pooled_spearman',
      'lds',
      'noise_ceiling',
      'mse',
      'r2',
      'loo_correlation',
  )  # pyformat: disable
  def test_errors(self, name):
    function = getattr(metrics, name)
    first, second = _pair()
    with self.assertRaisesRegex(ValueError, rf'`{name}`.*\(40, 6\).*\(39, 6\)'):
      function(first, second[1:])
    with self.assertRaisesRegex(ValueError, 'one shape'):
      function(first[:, 0], second[:, 0])
    with self.assertRaisesRegex(ValueError, 'one shape'):
      function(first[:, :0], second[:, :0])
    with self.assertRaisesRegex(ValueError, 'at least . rows.*got 1'):
      function(first[:1], second[:1])
    second[3, 2] = np.nan
    with self.assertRaisesRegex(ValueError, '1 NaN .* second.*diverged'):
      function(first, second)


class LdsTest(parameterized.TestCase):

  def test_is_the_mean_of_spearman(self):
    first, second = _pair()
    score = metrics.lds(first, second)
    expected = _loop(stats.spearmanr, first, second)
    np.testing.assert_allclose(score.per_target, expected, atol=1e-13)
    self.assertAlmostEqual(score.value, np.mean(expected))
    self.assertEqual((score.num_models, score.num_targets), (40, 6))
    self.assertBetween(score.value, *score.interval)

  def test_undefined_counts_as_zero(self):
    first, second = _pair()
    expected = metrics.spearman(first, second)
    first[:, 4] = 2.5
    score = metrics.lds(first, second)
    self.assertEqual(score.num_undefined, 1)
    self.assertTrue(np.isnan(score.per_target[4]))
    self.assertAlmostEqual(score.value, (expected.sum() - expected[4]) / 6)

  def test_all_zero_predictions(self):
    _, outcomes = _pair()
    score = metrics.lds(np.zeros_like(outcomes), outcomes)
    self.assertEqual(score.value, 0)
    self.assertEqual(score.interval, (0, 0))
    self.assertEqual(score.num_undefined, 6)

  def test_interval_covers(self):
    covered = []
    for seed in range(100):
      first, second = _pair(num_targets=4, seed=seed)
      score = metrics.lds(first, second, num_bootstrap=100, level=0.9)
      covered.append(score.interval)
    low, high = np.array(covered).T
    # What 40 models give on average: Moran's expectation of Spearman's rho
    # for a normal pair that correlates by sqrt(1/2).
    rho = np.sqrt(0.5)
    expected = 6 / (np.pi * 41) * (np.arcsin(rho) + 38 * np.arcsin(rho / 2))
    coverage = np.mean((low <= expected) & (expected <= high))
    # 90 % of 100 has a standard deviation of 3.
    self.assertBetween(coverage, 0.8, 0.98)

  def test_without_bootstrap(self):
    first, second = _pair()
    score = metrics.lds(first, second, num_bootstrap=0)
    self.assertTrue(np.all(np.isnan(score.interval)))

  def test_same_seed_same_interval(self):
    first, second = _pair()
    intervals = [
        metrics.lds(first, second, seed=seed).interval for seed in (1, 1, 2)
    ]
    self.assertEqual(intervals[0], intervals[1])
    self.assertNotEqual(intervals[0], intervals[2])

  def test_level(self):
    first, second = _pair()
    narrow = metrics.lds(first, second, level=0.5).interval
    wide = metrics.lds(first, second, level=0.99).interval
    self.assertLess(wide[0], narrow[0])
    self.assertGreater(wide[1], narrow[1])
    with self.assertRaisesRegex(ValueError, 'between 0 and 1, got 95'):
      metrics.lds(first, second, level=95)


_WITH_WHERE = (
    'pearson',
    'spearman',
    'pooled_spearman',
    'lds',
    'noise_ceiling',
    'mse',
    'r2',
)


class WhereTest(parameterized.TestCase):
  """Entries left out, as of targets that the models trained on."""

  def _problem(self, ties=False, num_models=40, num_targets=6):
    first, second = _pair(num_models=num_models, num_targets=num_targets)
    if ties:
      first, second = np.round(first), np.round(second)
    where = np.random.default_rng(1).random(first.shape) < 0.6
    # What does not count is never looked at.
    return (
        np.where(where, first, np.nan),
        np.where(where, second, np.inf),
        where,
    )

  def _columns(self, first, second, where):
    for t, kept in enumerate(where.T):
      yield first[kept, t], second[kept, t]

  @parameterized.parameters(False, True)
  def test_correlations_match_scipy_per_target(self, ties):
    problem = self._problem(ties)
    for correlation, oracle in (
        (metrics.spearman, stats.spearmanr),
        (metrics.pearson, stats.pearsonr),
    ):
      expected = [oracle(*pair).statistic for pair in self._columns(*problem)]
      first, second, where = problem
      np.testing.assert_allclose(
          correlation(first, second, where=where), expected, atol=1e-13
      )

  def test_pooled_matches_scipy(self):
    first, second, where = self._problem(ties=True)
    self.assertAlmostEqual(
        metrics.pooled_spearman(first, second, where=where),
        stats.spearmanr(first[where], second[where]).statistic,
    )

  def test_lds_and_ceiling(self):
    first, second, where = self._problem()
    expected: Any = np.array(
        [
            stats.spearmanr(*pair).statistic
            for pair in self._columns(first, second, where)
        ]
    )
    score = metrics.lds(first, second, where=where)
    np.testing.assert_allclose(score.per_target, expected, atol=1e-13)
    self.assertAlmostEqual(score.value, expected.mean())
    self.assertBetween(score.value, *score.interval)
    ceiling = metrics.noise_ceiling(first, second, where=where)
    np.testing.assert_allclose(ceiling.reliability, expected, atol=1e-13)
    self.assertAlmostEqual(
        ceiling.value, np.sqrt(np.maximum(expected, 0)).mean()
    )
    self.assertBetween(ceiling.value, *ceiling.interval)

  def test_errors_match_scikit_learn(self):
    first, second, where = self._problem()
    for score, oracle in (
        (metrics.mse, sklearn_metrics.mean_squared_error),
        (metrics.r2, sklearn_metrics.r2_score),
    ):
      found = score(first, second, where=where)
      expected = [
          oracle(true, predicted)
          for predicted, true in self._columns(first, second, where)
      ]
      np.testing.assert_allclose(found.per_target, expected, rtol=1e-12)
      self.assertAlmostEqual(found.value, np.mean(expected))

  @parameterized.parameters(*_WITH_WHERE)
  def test_all_true_changes_nothing(self, name):
    first, second = _pair()
    function = getattr(metrics, name)
    plain = function(first, second)
    masked = function(first, second, where=np.ones(first.shape, bool))
    if not isinstance(plain, (float, np.ndarray)):
      self.assertEqual(
          getattr(plain, 'interval', None), getattr(masked, 'interval', None)
      )
      plain, masked = plain.value, masked.value
    # Sums of a column alone may be taken in another order.
    np.testing.assert_allclose(masked, plain, rtol=1e-12)

  @parameterized.parameters(*_WITH_WHERE)
  def test_refuses(self, name):
    function = getattr(metrics, name)
    first, second = _pair()
    where = np.ones(first.shape, bool)
    with self.assertRaisesRegex(ValueError, rf'`{name}` expects where as bool'):
      function(first, second, where=where.astype(int))
    with self.assertRaisesRegex(ValueError, r'of shape \(40, 6\).*\(39, 6\)'):
      function(first, second, where=where[1:])
    where[2:, 4] = False
    with self.assertRaisesRegex(
        ValueError, rf'`{name}`.*at least 3 rows.*got 2 for target 4.*1 of 6'
    ):
      function(first, second, where=where)
    where[2, 4] = True
    second[2, 4] = np.nan
    with self.assertRaisesRegex(ValueError, '1 NaN .* second.*diverged'):
      function(first, second, where=where)


class NoiseCeilingTest(parameterized.TestCase):

  def test_closed_form(self):
    first, second = _pair()
    rho = np.maximum(_loop(stats.spearmanr, first, second), 0)
    ceiling = metrics.noise_ceiling(first, second)
    np.testing.assert_allclose(ceiling.per_target, np.sqrt(rho), atol=1e-13)
    self.assertAlmostEqual(ceiling.value, np.sqrt(rho).mean())
    self.assertBetween(ceiling.value, *ceiling.interval)

  @parameterized.parameters(1, 2, 5)
  def test_spearman_brown(self, num_replicates):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(4000, 5))
    draws = signal + rng.normal(size=(num_replicates + 2, 4000, 5))
    ceiling = metrics.noise_ceiling(
        draws[0], draws[1], num_replicates=num_replicates, num_bootstrap=20
    )
    averaged = draws[2:].mean(axis=0)
    reached = metrics.lds(signal, averaged, num_bootstrap=0).value
    exact = np.sqrt(num_replicates / (num_replicates + 1))
    # Sampling error is .005; ranks of normal pairs correlate less by up to .02.
    self.assertAlmostEqual(ceiling.value, exact, delta=0.025)
    self.assertAlmostEqual(ceiling.value, reached, delta=0.03)
    rho = ceiling.reliability
    np.testing.assert_allclose(
        ceiling.per_target**2,
        num_replicates * rho / (1 + (num_replicates - 1) * rho),
        atol=1e-13,
    )

  def test_disagreement_is_clipped(self):
    first, second = _pair(noise=0.1)
    second[:, 0] = -first[:, 0]
    second[:, 1] = 1.0
    ceiling = metrics.noise_ceiling(first, second)
    np.testing.assert_array_equal(ceiling.per_target[:2], 0)
    self.assertAlmostEqual(ceiling.reliability[0], -1)
    self.assertAlmostEqual(ceiling.clipped, 2 / 6)

  def test_errors(self):
    first, second = _pair()
    with self.assertRaisesRegex(ValueError, 'num_replicates of at least 1'):
      metrics.noise_ceiling(first, second, num_replicates=0)


class ErrorTest(absltest.TestCase):

  def test_match_scikit_learn(self):
    predictions, outcomes = _pair()
    mse = metrics.mse(predictions, outcomes)
    r2 = metrics.r2(predictions, outcomes)
    expected: Any = sklearn_metrics.mean_squared_error(
        outcomes, predictions, multioutput='raw_values'
    )
    # float64 sums of 40 terms.
    np.testing.assert_allclose(mse.per_target, expected, rtol=1e-13)
    self.assertAlmostEqual(mse.value, expected.mean())
    expected: Any = sklearn_metrics.r2_score(
        outcomes, predictions, multioutput='raw_values'
    )
    np.testing.assert_allclose(r2.per_target, expected, atol=1e-13)
    self.assertAlmostEqual(r2.value, expected.mean())

  def test_r2_of_a_constant_outcome_is_left_out(self):
    predictions, outcomes = _pair()
    expected = metrics.r2(predictions[:, 1:], outcomes[:, 1:]).value
    outcomes[:, 0] = 0.1
    r2 = metrics.r2(predictions, outcomes)
    self.assertEqual(r2.num_undefined, 1)
    self.assertAlmostEqual(r2.value, expected)
    r2 = metrics.r2(predictions, np.zeros_like(outcomes))
    self.assertTrue(np.isnan(r2.value))


class LooCorrelationTest(absltest.TestCase):

  def test_per_target_over_train_examples(self):
    weights, effects = _pair(num_models=30)
    weights[:, 2] = 0
    score = metrics.loo_correlation(weights, effects)
    expected = metrics.spearman(weights, effects)
    np.testing.assert_array_equal(score.per_target, expected)
    self.assertEqual(score.num_undefined, 1)
    self.assertAlmostEqual(score.value, np.nansum(expected) / 6)
    score = metrics.loo_correlation(
        weights, effects, correlation=metrics.pearson
    )
    np.testing.assert_array_equal(
        score.per_target, metrics.pearson(weights, effects)
    )


class AucTest(parameterized.TestCase):

  def test_is_the_share_of_ordered_pairs(self):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, 50)  # With ties, which count half.
    labels = rng.random(50) < 0.3
    pairs = scores[labels][:, None] - scores[~labels][None]
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    self.assertAlmostEqual(metrics.auc(scores, labels), expected)

  @parameterized.parameters(
      (np.ones(3), np.ones(4), 'one shape'),
      (np.ones((3, 1)), np.ones((3, 1)), 'ravel'),
      (np.ones(3), np.ones(3), 'at least one of both'),
      (np.ones(3), np.array([0, 1, 2]), r'got \[0, 1, 2\]'),
      (np.array([1, np.nan, 2]), np.array([0, 1, 1]), 'finite'),
  )
  def test_errors(self, scores, labels, words):
    with self.assertRaisesRegex(ValueError, words):
      metrics.auc(scores, labels)


class TopOverlapTest(absltest.TestCase):

  def test_shares(self):
    first = np.arange(10.0)[:, None] * np.array([[1, -1]])
    swapped = np.arange(10.0)[:, None] * np.array([[1, 1]])
    for second, expected in (
        (first, [1, 1]),
        (-first, [0, 0]),
        (swapped, [1, 0]),
    ):
      np.testing.assert_array_equal(
          metrics.top_overlap(first, second, 3), expected
      )

  def test_bad_input(self):
    first = np.zeros((10, 2))
    with self.assertRaisesRegex(ValueError, 'from 1 to 10'):
      metrics.top_overlap(first, first, 11)
    with self.assertRaisesRegex(ValueError, 'one shape'):
      metrics.top_overlap(first, first.T, 3)


if __name__ == '__main__':
  absltest.main()
