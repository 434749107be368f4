"""Tests of learning curves on planted worlds, and of power laws."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import metrics
from jdm.analysis import learning_curves
from jdm.regressors import least_squares
from tests import planted


def _world(num_models=400, num_train=30, num_targets=5):
  problem = planted.sparse_linear(
      0, num_train=num_train, num_models=num_models, num_targets=num_targets
  )
  fitted, heldout = np.split(problem.outcomes, [num_models - 100])
  masks, heldout_masks = np.split(problem.masks, [num_models - 100])
  noise = np.random.default_rng(5).normal(size=heldout.shape)
  again = heldout_masks @ problem.weights + problem.noise * noise
  return masks, fitted, heldout_masks, np.stack([heldout, again])


class LearningCurveTest(parameterized.TestCase):

  def test_each_point_is_a_fit_of_the_first_models(self):
    masks, outcomes, heldout_masks, heldout = _world()
    steps = []
    curve = learning_curves.learning_curve(
        masks,
        outcomes,
        heldout_masks,
        heldout,
        num_models=[50, 300],
        regressors=['least_squares', 'difference_of_means'],
        progress=lambda *step: steps.append(step),
    )
    self.assertEqual(curve.lds.shape, (2, 2))
    for column, size in enumerate((50, 300)):
      fitted = least_squares.fit(masks[:size], outcomes[:size])
      predictions = heldout_masks @ fitted.weights + fitted.bias
      score = metrics.lds(predictions, heldout[0], num_bootstrap=100)
      # float32 predictions, in which other orders of sums may make other ties.
      np.testing.assert_allclose(curve.lds[0, column], score.value, atol=1e-3)
      np.testing.assert_allclose(
          curve.lds_interval[:, 0, column], score.interval, atol=1e-3
      )
      r2 = metrics.r2(predictions, heldout[0]).value
      self.assertAlmostEqual(curve.r2[0, column], r2, places=4)
      self.assertBetween(r2, *curve.r2_interval[:, 0, column])
    ceiling = metrics.noise_ceiling(*heldout, num_bootstrap=100)
    self.assertAlmostEqual(curve.noise_ceiling, ceiling.value)
    self.assertTrue(np.all(curve.lds[:, 1] > curve.lds[:, 0]))
    self.assertEqual(steps[-1], (4, 4))

  def test_r2_intervals_match_a_loop(self):
    _, _, heldout_masks, heldout = _world()
    rng = np.random.default_rng(0)
    observed = heldout[0].astype(np.float64)
    predictions = observed + rng.normal(size=observed.shape)
    found = learning_curves._r2_interval(predictions, observed, 40, 7)
    counts = np.random.default_rng(7).multinomial(
        100, np.full(100, 1 / 100), size=40
    )
    values = [
        metrics.r2(predictions[rows], observed[rows]).value
        for rows in (np.repeat(np.arange(100), times) for times in counts)
    ]
    np.testing.assert_allclose(found, np.quantile(values, [0.025, 0.975]))

  def test_default_sizes(self):
    self.assertEqual(
        learning_curves.default_num_models(2000), [500, 1000, 2000]
    )
    self.assertEqual(learning_curves.default_num_models(100), [50, 100])
    self.assertEqual(learning_curves.default_num_models(10), [10])

  @parameterized.parameters(
      ({'num_models': [50, 20]}, 'ascending'),
      ({'num_models': [1, 20]}, 'from 3'),
      ({'num_models': [50, 301]}, 'cannot fit 301 of 300'),
      ({'regressors': []}, 'at least one regressor'),
      ({'regressors': ['forest']}, "unknown regressor 'forest'"),
  )
  def test_errors(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      learning_curves.learning_curve(*_world(), **options)


class RecommendTest(parameterized.TestCase):

  @parameterized.parameters(0.4, None)
  def test_recovers_a_power_law(self, limit):
    counts = np.array([500, 1000, 2000, 4000])
    found = learning_curves.recommend(
        counts, 0.4 - 5 / counts**0.6, limit=limit
    )
    self.assertEqual(found.limit_given, limit is not None)
    self.assertAlmostEqual(found.limit, 0.4, places=4)
    self.assertAlmostEqual(found.exponent, 0.6, places=3)
    expected = (5 / (0.05 * 0.4)) ** (1 / 0.6)
    self.assertAlmostEqual(found.num_models / expected, 1, places=3)
    self.assertTrue(found.extrapolated)
    np.testing.assert_allclose(
        found.r2(counts), 0.4 - 5 / counts**0.6, atol=1e-5
    )
    self.assertAlmostEqual(found.reached, 1 - 5 / 4000**0.6 / 0.4, places=3)

  def test_measured_already(self):
    counts = np.array([500, 1000, 2000, 4000])
    found = learning_curves.recommend(counts, 0.5 - 40 / counts, limit=0.5)
    self.assertAlmostEqual(found.num_models, 1600)
    self.assertFalse(found.extrapolated)

  def test_a_limit_below_the_curve_is_not_used(self):
    counts = np.array([500, 1000, 2000, 4000])
    found = learning_curves.recommend(counts, 0.5 - 40 / counts, limit=0.45)
    self.assertFalse(found.limit_given)
    self.assertAlmostEqual(found.limit, 0.5, places=3)

  def test_too_few_points(self):
    found = learning_curves.recommend([500], [0.3], limit=0.4)
    self.assertTrue(np.isnan(found.num_models))
    self.assertAlmostEqual(found.reached, 0.75)
    found = learning_curves.recommend([500, 900], [0.3, 0.35])
    self.assertTrue(np.isnan(found.num_models))

  def test_a_curve_that_falls_recommends_nothing(self):
    found = learning_curves.recommend([500, 900], [0.35, 0.3], limit=0.4)
    self.assertTrue(np.isnan(found.num_models))

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, 'as many R2'):
      learning_curves.recommend([1, 2], [0.1])
    with self.assertRaisesRegex(ValueError, r'share in \(0, 1\), got 95'):
      learning_curves.recommend([1, 2], [0.1, 0.2], share=95)


if __name__ == '__main__':
  absltest.main()
