"""Values against enumeration of all subsets of small games."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np
from scipy import stats

from jdm import subsets
from jdm.analysis import semivalues
from jdm.regressors import least_squares
from tests import games
from tests import planted

_PLAIN = semivalues.Resampling(num_bootstrap=0, num_splits=1)


def _bernoulli(num_models, num_train, alpha, seed=0):
  return np.random.default_rng(seed).random((num_models, num_train)) < alpha


class BanzhafTest(parameterized.TestCase):

  @parameterized.parameters(3, 7, 10)
  def test_all_subsets_give_the_exact_values(self, num_train):
    masks = games.all_masks(num_train)
    utilities = games.random_utilities(num_train)
    found = semivalues.banzhaf(masks, utilities, resampling=_PLAIN)
    # float32 products of at most 1024 rows of size about 1.
    np.testing.assert_allclose(
        found.values[:, 0], games.banzhaf(masks, utilities), atol=2e-6
    )

  @parameterized.parameters(0.2, 0.7)
  def test_bernoulli_subsets_give_weighted_values(self, alpha):
    """Every subset as often as Bernoulli(alpha) draws it, times 10,000."""
    masks = games.all_masks(6)
    utilities = games.random_utilities(6)
    size = masks.sum(axis=1)
    times = np.round(1e4 * alpha**size * (1 - alpha) ** (6 - size)).astype(int)
    found = semivalues.banzhaf(
        np.repeat(masks, times, axis=0),
        np.repeat(utilities, times),
        resampling=_PLAIN,
    )
    # Rounding the counts to integers is the error.
    np.testing.assert_allclose(
        found.values[:, 0], games.banzhaf(masks, utilities, alpha), atol=0.01
    )

  def test_fixed_size_subsets_of_an_additive_game(self):
    masks = games.all_masks(8)
    masks = masks[masks.sum(axis=1) == 3]
    weights = np.random.default_rng(0).normal(size=8)
    utilities = masks @ weights + 2.0
    found = semivalues.banzhaf(masks, utilities, resampling=_PLAIN).values
    np.testing.assert_allclose(
        found[:, 0], 8 / 7 * (weights - weights.mean()), atol=1e-6
    )
    self.assertAlmostEqual(float(found.sum()), 0.0, places=5)

  def test_relation_to_least_squares_at_a_fixed_size(self):
    """Of any game: the least-squares weights are 1 - 1/n times the values."""
    masks = games.all_masks(9)
    utilities = games.random_utilities(9, seed=1)
    kept = masks.sum(axis=1) == 4
    masks, utilities = masks[kept], utilities[kept]
    found = semivalues.banzhaf(masks, utilities, resampling=_PLAIN)
    fitted = least_squares.fit(masks, utilities[:, None].astype(np.float32))
    weights = np.asarray(fitted.weights)[:, 0]
    # Only differences are determined: the sum of masks is constant.
    np.testing.assert_allclose(
        weights - weights.mean(), 8 / 9 * found.values[:, 0], atol=1e-4
    )

  def test_several_utilities_are_several_calls(self):
    masks = _bernoulli(60, 5, 0.4)
    utilities = np.random.default_rng(1).normal(size=(60, 3))
    together = semivalues.banzhaf(masks, utilities, names=('a', 'b', 'c'))
    self.assertEqual(together.names, ('a', 'b', 'c'))
    for column in range(3):
      alone = semivalues.banzhaf(masks, utilities[:, column])
      np.testing.assert_allclose(
          together.values[:, [column]], alone.values, atol=1e-6
      )
      np.testing.assert_allclose(
          together.interval[:, :, [column]], alone.interval, atol=1e-6
      )

  def test_standard_errors_are_welch_s(self):
    masks = _bernoulli(50, 4, 0.3)
    utilities = np.random.default_rng(1).normal(size=50) + 100
    found = semivalues.banzhaf(masks, utilities)
    for example in range(4):
      inside = utilities[masks[:, example]]
      outside = utilities[~masks[:, example]]
      expected = np.sqrt(stats.sem(inside) ** 2 + stats.sem(outside) ** 2)
      self.assertAlmostEqual(found.standard_error[example, 0], expected)

  def test_intervals_cover_and_agree_with_standard_errors(self):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=40)
    masks = _bernoulli(800, 40, 0.5)
    utilities = masks @ weights + rng.normal(size=800)
    found = semivalues.banzhaf(
        masks, utilities, resampling=semivalues.Resampling(num_bootstrap=400)
    )
    low, high = found.interval[:, :, 0]
    # 95 % nominal; of 40, fewer than 33 once in 3,000.
    self.assertGreaterEqual(np.sum((low < weights) & (weights < high)), 33)
    half = 1.96 * found.standard_error[:, 0]
    # 400 resamples find their 2.5 % quantiles to about a tenth.
    np.testing.assert_allclose((high - low) / 2, half, rtol=0.25)

  def test_stability_tells_signal_from_noise(self):
    masks = _bernoulli(400, 30, 0.5)
    rng = np.random.default_rng(2)
    utilities = np.stack(
        [masks @ rng.normal(size=30), rng.normal(size=400)], axis=1
    )
    found = semivalues.banzhaf(masks, utilities)
    self.assertGreater(found.stability[0], 0.8)
    self.assertLess(abs(found.stability[1]), 0.3)


class RegressionTest(parameterized.TestCase):

  def test_lasso_finds_the_planted_examples(self):
    problem = planted.sparse_linear(0, num_targets=2)
    # As accuracies are: differences of thousandths.
    utilities = problem.outcomes * 1e-3
    found = semivalues.regression(problem.masks, utilities)
    self.assertEqual(found.method, 'lasso')
    scaled = found.values * 1e3
    for target in range(2):
      score = np.corrcoef(scaled[:, target], problem.weights[:, target])[0, 1]
      self.assertGreater(score, 0.9)
    self.assertGreater((found.values == 0).mean(), 0.2)
    # Nine of ten weights are 0, in no order.
    self.assertTrue((found.stability > 0.1).all())

  def test_unknown_regressor(self):
    masks = _bernoulli(20, 4, 0.5)
    with self.assertRaisesRegex(ValueError, 'lasso'):
      semivalues.regression(masks, np.ones(20), regressor='forest')


class ErrorsTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('shape', np.zeros(5), r'shape \[20, num_utilities\].*\(5, 1\)'),
      ('nan', np.full(20, np.nan), 'finite'),
      ('empty', np.zeros((20, 0)), 'num_utilities'),
  )
  def test_utilities(self, utilities, words):
    with self.assertRaisesRegex(ValueError, words):
      semivalues.banzhaf(_bernoulli(20, 4, 0.5), utilities)

  def test_example_in_all_models(self):
    masks = _bernoulli(20, 4, 0.5)
    masks[:, 2] = True
    with self.assertRaisesRegex(ValueError, 'example 2 is in all models'):
      semivalues.banzhaf(masks, np.arange(20.0))

  def test_few_models(self):
    with self.assertRaisesRegex(ValueError, 'at least 4 models, got 3'):
      semivalues.banzhaf(_bernoulli(3, 4, 0.5), np.zeros(3))

  def test_float_masks(self):
    with self.assertRaisesRegex(ValueError, 'bool'):
      semivalues.banzhaf(np.ones((5, 3)), np.zeros(5))

  def test_names(self):
    with self.assertRaisesRegex(ValueError, 'one name for each of 1'):
      semivalues.banzhaf(_bernoulli(20, 4, 0.5), np.zeros(20), names=('a', 'b'))

  @parameterized.parameters(
      {'num_bootstrap': -1}, {'num_splits': 0}, {'level': 1.0}
  )
  def test_resampling(self, **options):
    with self.assertRaisesRegex(ValueError, '`Resampling` expects'):
      semivalues.Resampling(**options)


class SamplingTest(absltest.TestCase):

  def test_banzhaf_of_many_sizes_is_refused(self):
    masks = np.asarray(
        subsets.uniform_size(jax.random.key(0), np.arange(200), 30)
    )
    utilities = np.log(masks.sum(axis=1))
    with self.assertRaisesRegex(ValueError, 'one size.*Shapley'):
      semivalues.banzhaf(masks, utilities)


if __name__ == '__main__':
  absltest.main()
