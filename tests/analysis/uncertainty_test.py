"""Tests of the bootstrap against scikit-learn fits of the same resamples."""

import dataclasses
import json
from typing import Any
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import linear_model

from jdm import regressors
from jdm.analysis import uncertainty
from jdm.regressors import pools
from tests import planted
from tests.solvers import oracle

_NUM = 40  # Resamples, just enough for a level of 95 %.


def _fit(problem, name='lasso', **options):
  return regressors.get(name)(problem.masks, problem.outcomes, **options)


def _resamples(num_models, seed=0, count=_NUM):
  for number in range(count):
    rng = np.random.default_rng([seed, number])
    yield np.sort(rng.integers(num_models, size=num_models))


def _summary(drawn):
  """Interval and standard deviation of weights [count, ...]."""
  ends = np.quantile(drawn, [0.025, 0.975], axis=0, method='weibull')
  return ends, np.std(drawn, axis=0, ddof=1)


class OracleTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.problem = planted.sparse_linear(
        0, num_train=20, num_models=120, num_targets=3
    )

  def _check(self, found, drawn, atol):
    interval, error = _summary(drawn)
    np.testing.assert_allclose(found.interval, interval, atol=atol)
    np.testing.assert_allclose(found.error, error, atol=atol)

  def test_lasso_matches_scikit_learn(self):
    problem, lam = self.problem, np.array([0.1, 0.2, 0.05])
    fitted = _fit(problem, lam=lam, tol=1e-8)
    found = uncertainty.bootstrap(
        problem.masks, problem.outcomes, fitted, num_bootstrap=_NUM, tol=1e-8
    )
    drawn = np.stack(
        [
            np.stack(
                [
                    oracle.lasso(
                        problem.masks[rows], problem.outcomes[rows, t], lam[t]
                    )[0]
                    for t in range(3)
                ],
                axis=1,
            )
            for rows in _resamples(120)
        ]
    )
    # A gap of 1e-8 bounds the error of weights by about its root.
    self._check(found, drawn, atol=1e-3)
    np.testing.assert_array_equal(
        found.weights, fitted.weights.astype(np.float32)
    )
    # A weight at the border of being kept may fall on either side.
    np.testing.assert_allclose(
        found.selected, np.mean(drawn != 0, axis=0), atol=1.1 / _NUM
    )
    self.assertLessEqual(found.max_gap, 1.1e-8)

  def test_train_targets_leave_their_own_models_out(self):
    problem, lam = self.problem, np.array([0.1, 0.2, 0.05])
    own = np.array([7, 0, 12])
    fitted = _fit(
        problem,
        lam=lam,
        tol=1e-8,
        own_ids=own,
        target_ids=own,
        outcome='margin_train',
    )
    found = uncertainty.bootstrap(
        problem.masks, problem.outcomes, fitted, num_bootstrap=_NUM, tol=1e-8
    )
    drawn = np.zeros((_NUM, 20, 3))
    for number, rows in enumerate(_resamples(120)):
      for t in range(3):
        kept = rows[~problem.masks[rows, own[t]]]
        drawn[number, :, t], _ = oracle.lasso(
            problem.masks[kept], problem.outcomes[kept, t], lam[t]
        )
    self._check(found, drawn, atol=1e-3)
    np.testing.assert_array_equal(found.selected[own, range(3)], 0)

  def test_few_models_take_the_direct_route(self):
    problem, fitted = self.problem, _fit(self.problem, lam=0.1, tol=1e-8)
    route = mock.Mock(side_effect=ValueError('direct'))
    with mock.patch.object(pools.direct, 'lasso_path', route):
      with self.assertRaisesRegex(ValueError, 'direct'):
        uncertainty.bootstrap(problem.masks[:9], problem.outcomes[:9], fitted)

  def test_closed_forms(self):
    problem = self.problem
    masks, outcomes = problem.masks, problem.outcomes.astype(np.float64)
    penalty = 0.02

    def difference(rows):
      x, y = masks[rows].astype(float), outcomes[rows]
      inside = x.T @ y / x.sum(0)[:, None]
      return inside - (1 - x).T @ y / (1 - x).sum(0)[:, None]

    def ridge(rows):
      model = linear_model.Ridge(alpha=penalty * len(rows))
      return model.fit(masks[rows], outcomes[rows]).coef_.T

    for name, refit, options in (
        ('difference_of_means', difference, {}),
        ('ridge', ridge, {'lam': penalty}),
    ):
      found = uncertainty.bootstrap(
          masks,
          problem.outcomes,
          _fit(problem, name, **options),
          num_bootstrap=_NUM,
          seed=3,
      )
      drawn = np.stack([refit(rows) for rows in _resamples(120, seed=3)])
      self._check(found, drawn, atol=1e-5)  # float32 sums of squares.
      np.testing.assert_array_equal(found.selected, 1)


class BootstrapTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.problem = planted.sparse_linear(2, num_train=40, num_models=200)
    cls.fitted = _fit(cls.problem, lam=0.1)
    cls.found = cls._bootstrap()

  @classmethod
  def _bootstrap(cls, **options):
    given: Any = {'num_bootstrap': _NUM, **options}
    return uncertainty.bootstrap(
        cls.problem.masks, cls.problem.outcomes, cls.fitted, **given
    )

  def test_ranks(self):
    found = self.found
    weights = found.weights
    for kind, sign in enumerate((1, -1)):
      np.testing.assert_array_equal(
          np.take_along_axis(weights, found.ranked[kind], axis=0),
          sign * np.sort(-sign * weights, axis=0)[:20] * -1,
      )
    low, high = found.rank_interval
    self.assertTrue(np.all((1 <= low) & (low <= high) & (high <= 40)))
    # Far ahead of the others: first in every resample.
    lead = weights[found.ranked[0, 0], range(5)]
    second = weights[found.ranked[0, 1], range(5)]
    clear = np.argmax(lead - second)
    np.testing.assert_array_equal(found.rank_interval[:, 0, 0, clear], [1, 1])

  def test_some_targets(self):
    some = self._bootstrap(target_ids=[3, 1])
    np.testing.assert_array_equal(some.target_ids, [3, 1])
    for name in ('weights', 'interval', 'selected', 'ranked'):
      # Fewer targets meet other coordinates in their sweeps.
      np.testing.assert_allclose(
          getattr(some, name)[..., 0],
          getattr(self.found, name)[..., 3],
          atol=0.06,
          err_msg=name,
      )

  def test_tiles_change_nothing(self):
    ridge = _fit(self.problem, 'ridge', lam=0.02)
    pair = self.problem.masks, self.problem.outcomes
    found = uncertainty.bootstrap(*pair, ridge, num_bootstrap=_NUM)
    steps = []
    with mock.patch.object(uncertainty, '_BYTES', 4 * 40 * 8 * 2):
      tiled = uncertainty.bootstrap(
          *pair,
          ridge,
          num_bootstrap=_NUM,
          progress=lambda *step: steps.append(step),
      )
    np.testing.assert_allclose(tiled.interval, found.interval, atol=1e-5)
    np.testing.assert_array_equal(tiled.ranked, found.ranked)
    self.assertEqual(steps[-1], (3 * _NUM, 3 * _NUM))
    self.assertLen(steps, 3 * _NUM)

  def test_statistic(self):
    ridge = _fit(self.problem, 'ridge', lam=0.02)
    pair = self.problem.masks, self.problem.outcomes
    steps = []
    found = uncertainty.bootstrap_statistic(
        *pair,
        ridge,
        lambda weights: weights[:, [2, 0]],
        num_bootstrap=_NUM,
        progress=lambda *step: steps.append(step),
    )
    plain = uncertainty.bootstrap(
        *pair, ridge, num_bootstrap=_NUM, target_ids=[2, 0]
    )
    for name in ('weights', 'interval', 'error', 'ranked', 'rank_interval'):
      np.testing.assert_allclose(
          getattr(found, name), getattr(plain, name), atol=1e-5, err_msg=name
      )
    np.testing.assert_array_equal(found.target_ids, [0, 1])
    self.assertEqual(steps[-1], (_NUM, _NUM))
    # The error of a mean of two independent weights.
    mean = uncertainty.bootstrap_statistic(
        *pair, ridge, lambda w: w[:, :2].mean(axis=1, keepdims=True)
    )
    self.assertEqual(mean.error.shape, (40, 1))
    self.assertLess(mean.error.mean(), plain.error.mean())
    with self.assertRaisesRegex(ValueError, r'num_columns\], got \[40\]'):
      uncertainty.bootstrap_statistic(*pair, ridge, lambda w: w[:, 0])

  def test_seed_and_level(self):
    again = self._bootstrap()
    np.testing.assert_array_equal(again.interval, self.found.interval)
    other = self._bootstrap(seed=1)
    self.assertFalse(np.array_equal(other.interval, self.found.interval))
    narrow = self._bootstrap(level=0.5)
    width = np.diff(self.found.interval, axis=0)
    self.assertTrue(np.all(np.diff(narrow.interval, axis=0) <= width))

  def test_json(self):
    values = json.loads(json.dumps(self.found.to_json(count=2)))
    self.assertLen(values['rows'], 5 * 2 * 2)
    row = values['rows'][0]
    self.assertEqual(
        (row['target'], row['effect'], row['rank']), (0, 'helpful', 1)
    )
    self.assertBetween(row['weight'], *row['weight_interval'])
    self.assertEqual(row['weight'], float(self.found.weights[:, 0].max()))

  @parameterized.parameters(
      ({'num_bootstrap': 38}, 'at least 39 .* level 0.95, got 38'),
      ({'level': 95}, 'between 0 and 1, got 95'),
      ({'target_ids': [0, 5]}, 'integers from 0 to 4'),
      ({'target_ids': [1, 1]}, 'different integers'),
      ({'target_ids': []}, 'at least one'),
  )
  def test_bad_options(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      self._bootstrap(**options)

  def test_bad_arrays(self):
    problem, fitted = self.problem, self.fitted
    masks, outcomes = problem.masks, problem.outcomes
    with self.assertRaisesRegex(ValueError, r'\[num_models, 40\].*\(200, 39\)'):
      uncertainty.bootstrap(masks[:, 1:], outcomes, fitted)
    with self.assertRaisesRegex(ValueError, r'\(200, 40\) and \(199, 5\)'):
      uncertainty.bootstrap(masks, outcomes[1:], fitted)
    with self.assertRaisesRegex(ValueError, 'diverged'):
      uncertainty.bootstrap(masks, np.where(masks[:, :5], np.nan, 1), fitted)
    own = dataclasses.replace(fitted, regressor='mine')
    with self.assertRaisesRegex(ValueError, "lasso.*got 'mine'"):
      uncertainty.bootstrap(masks, outcomes, own)
    ridge = dataclasses.replace(
        fitted, regressor='ridge', outcome='margin_train'
    )
    with self.assertRaisesRegex(
        ValueError, 'of train targets: elastic_net, lasso'
    ):
      uncertainty.bootstrap(masks, outcomes, ridge)


class HalvesTest(absltest.TestCase):

  def test_halves_are_fitted_alone(self):
    problem = planted.sparse_linear(0, num_targets=6)
    fitted = _fit(problem)
    found = uncertainty.halves(
        problem.masks, problem.outcomes, fitted, num_top=3, tol=1e-6
    )
    for target in range(6):
      tops = []
      for half in (0, 1):
        weights, _ = oracle.lasso(
            problem.masks[half::2],
            problem.outcomes[half::2, target],
            float(fitted.lam[target]),
        )
        tops.append(set(np.argsort(-weights, kind='stable')[:3].tolist()))
      shared = len(tops[0] & tops[1]) / 3
      self.assertAlmostEqual(found.overlap[target], shared)
    self.assertAlmostEqual(found.mean, found.overlap.mean())
    self.assertLessEqual(found.interval[0], found.mean)
    self.assertGreaterEqual(found.interval[1], found.mean)
    self.assertEqual(found.by_chance, 3 / problem.masks.shape[1])

  def test_bad_input(self):
    problem = planted.sparse_linear(0, num_targets=6)
    fitted = _fit(problem)
    with self.assertRaisesRegex(ValueError, '`halves` expects masks'):
      uncertainty.halves(problem.masks[:, 1:], problem.outcomes, fitted)
    with self.assertRaisesRegex(ValueError, 'num_top from 1'):
      uncertainty.halves(
          problem.masks, problem.outcomes, fitted, num_top=10_000
      )


class CoverageTest(absltest.TestCase):
  """What the intervals hold, over many targets of one planted problem."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    rng = np.random.default_rng(0)
    cls.weights = np.zeros((50, 60))
    for t in range(60):
      cls.weights[rng.permutation(50)[:8], t] = rng.normal(size=8)
    cls.rng = rng

  def _pool(self):
    masks = self.rng.random((400, 50)) < 0.5
    noise = 1.5 * self.rng.normal(size=(400, 60))
    return masks, (masks @ self.weights + noise).astype(np.float32)

  def test_differences_of_means_hold_the_truth(self):
    masks, outcomes = self._pool()
    fitted = regressors.get('difference_of_means')(masks, outcomes)
    low, high = uncertainty.bootstrap(masks, outcomes, fitted).interval
    held = (low <= self.weights) & (self.weights <= high)
    # 3,000 weights of 60 independent targets.
    self.assertBetween(held.mean(), 0.93, 0.97)

  def test_lasso_holds_what_other_pools_give(self):
    pools = [self._pool() for _ in range(12)]
    fits = [regressors.get('lasso')(*pair, lam=0.08) for pair in pools]
    mean = np.mean([fit.weights for fit in fits[1:]], axis=0)
    found = uncertainty.bootstrap(*pools[0], fits[0])
    low, high = found.interval
    matters = np.abs(self.weights) > 0.5

    def share(truth):
      return np.mean(((low <= truth) & (truth <= high))[matters])

    # The mean of 11 pools has an error of its own: 95 % cannot be reached.
    self.assertBetween(share(mean), 0.88, 0.98)
    # What the docstring warns of: shrinkage.
    self.assertLess(share(self.weights), 0.8)
    self.assertGreater(found.selected[matters].mean(), 0.9)
    self.assertLess(found.selected[self.weights == 0].mean(), 0.4)


if __name__ == '__main__':
  absltest.main()
