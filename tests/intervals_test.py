"""Tests of intervals against loops over scipy and closed forms."""

from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import intervals


def _pair(num_models=40, num_targets=6) -> Any:
  rng = np.random.default_rng(0)
  signal = rng.normal(size=(num_models, num_targets))
  return signal, signal + rng.normal(size=signal.shape)


class BootstrapSpearmanTest(parameterized.TestCase):
  """Against scipy on the rows that were drawn."""

  def _check(self, found, first, second, where, seed):
    num_models, num_targets = first.shape
    counts = np.random.default_rng(seed).multinomial(
        num_models, np.full(num_models, 1 / num_models), len(found)
    )
    for times, values in zip(counts, found):
      rows = np.repeat(np.arange(num_models), times)
      for t in range(num_targets):
        kept = rows[where[rows, t]]
        expected: Any = stats.spearmanr(first[kept, t], second[kept, t])
        # float64 sums of 30 terms.
        np.testing.assert_allclose(values[t], expected.statistic, atol=1e-13)

  @parameterized.product(ties=[False, True], some=[False, True])
  def test_draws_the_same_models_for_all_targets(self, ties, some):
    first, second = _pair(num_models=30, num_targets=3)
    if ties:
      first, second = np.round(first), np.round(second)
    where = np.ones(first.shape, bool)
    if some:
      where = np.random.default_rng(1).random(first.shape) < 0.6
    found = intervals.bootstrap_spearman(
        first, second, 50, 3, where if some else None
    )
    self._check(found, first, second, where, seed=3)


class IntervalTest(parameterized.TestCase):

  def test_bootstrap_of_a_mean(self):
    values = np.random.default_rng(0).normal(size=400)
    low, high = intervals.bootstrap_interval(values)
    error = values.std() / np.sqrt(400)
    # 1,000 resamples know their 2.5 % points to about a tenth of an error.
    self.assertAlmostEqual(low, values.mean() - 1.96 * error, delta=0.3 * error)
    self.assertAlmostEqual(
        high, values.mean() + 1.96 * error, delta=0.3 * error
    )

  def test_bootstrap_of_rows(self):
    first, second = _pair(num_models=200, num_targets=1)
    low, high = intervals.bootstrap_interval(
        np.concatenate([first, second], axis=1),
        lambda rows: stats.pearsonr(rows[:, 0], rows[:, 1]).statistic,
        num_bootstrap=200,
    )
    self.assertBetween(np.sqrt(0.5), low, high)

  def test_bootstrap_errors(self):
    with self.assertRaisesRegex(ValueError, 'at least 2 observations'):
      intervals.bootstrap_interval(np.ones(1))
    with self.assertRaisesRegex(ValueError, 'between 0 and 1'):
      intervals.bootstrap_interval(np.ones(5), level=1.0)

  def test_student_of_a_mean(self):
    values = np.array([0.3, 0.5, 0.1, 0.7])
    expected = stats.t.interval(
        0.9, 3, loc=values.mean(), scale=stats.sem(values)
    )
    np.testing.assert_allclose(
        intervals.t_interval(values, 0.9), expected, rtol=1e-12
    )
    with self.assertRaisesRegex(ValueError, r'2 values.*\(1,\)'):
      intervals.t_interval(values[:1])

  @parameterized.parameters((0, 10), (7, 10), (10, 10), (480, 1000))
  def test_wilson_closed_form(self, successes, trials):
    z = stats.norm.ppf(0.975)
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    half = z * np.sqrt(share * (1 - share) / trials + (z / trials) ** 2 / 4)
    expected = (centre + np.array([-half, half])) / (1 + z**2 / trials)
    np.testing.assert_allclose(
        intervals.wilson_interval(successes, trials), expected, atol=1e-12
    )

  @parameterized.parameters((1, 0), (-1, 5), (6, 5))
  def test_wilson_errors(self, successes, trials):
    with self.assertRaisesRegex(ValueError, f'got {successes} of {trials}'):
      intervals.wilson_interval(successes, trials)


if __name__ == '__main__':
  absltest.main()
