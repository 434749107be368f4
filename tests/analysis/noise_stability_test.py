"""Tests on planted functions whose parts of each degree are known."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm.analysis import correlated_subsets
from jdm.analysis import noise_stability

_NUM_TRAIN, _NUM_TARGETS = 60, 15
_PARTS = np.array([0.5, 0.25, 0.1])  # Of degrees 1, 2 and 3.
_NOISE = 0.4
_SHARES = _PARTS / (_PARTS.sum() + _NOISE)


class _World:
  """Outcomes with parts of degree 1 to 3 and noise, of known variances."""

  def __init__(self, alpha: float, fixed: bool, parts=_PARTS):
    self.rng = np.random.default_rng(0)
    self.alpha, self.fixed, self.parts = alpha, fixed, parts
    self.terms, self.weights = [], []
    for degree in (1, 2, 3):
      sets = {
          tuple(np.sort(self.rng.choice(_NUM_TRAIN, degree, replace=False)))
          for _ in range(50)
      }
      weights = self.rng.normal(size=(len(sets), _NUM_TARGETS))
      weights /= np.sqrt((weights**2).sum(axis=0, keepdims=True))
      self.terms.append(np.array(sorted(sets)))
      self.weights.append(weights)

  def masks(self, num: int) -> np.ndarray:
    scores = self.rng.random((num, _NUM_TRAIN))
    if self.fixed:
      return scores.argsort(axis=1) < round(self.alpha * _NUM_TRAIN)
    return scores < self.alpha

  def outcomes(self, masks: np.ndarray, noise: float = _NOISE) -> np.ndarray:
    deviation = np.sqrt(self.alpha * (1 - self.alpha))
    scaled = (masks - self.alpha) / deviation
    total = np.sqrt(noise) * self.rng.normal(size=(len(masks), _NUM_TARGETS))
    for part, sets, weights in zip(self.parts, self.terms, self.weights):
      products = scaled[:, sets].prod(axis=2)
      total += np.sqrt(part) * products @ weights
    return total

  def pairs(self, rhos, num: int, noise: float = _NOISE):
    found = {}
    for number, rho in enumerate(rhos):
      first = self.masks(num)
      second = correlated_subsets.correlated_masks(
          jax.random.key(number),
          first,
          rho,
          alpha=None if self.fixed else self.alpha,
      )
      rho = correlated_subsets.overlap_correlation(first, second)
      pair = self.outcomes(first, noise), self.outcomes(second, noise)
      found[min(rho, 1.0)] = pair  # What sizes round to.
    return found


class LinearShareTest(parameterized.TestCase):

  @parameterized.product(alpha=[0.3, 0.5], fixed=[False, True])
  def test_planted(self, alpha, fixed):
    world = _World(alpha, fixed)
    masks = world.masks(3000)
    found = noise_stability.linear_share(masks, world.outcomes(masks))
    # An error of .01 over all targets, and terms of 1 / 60 for fixed sizes.
    self.assertAlmostEqual(found.value, _SHARES[0], delta=0.03)
    low, high = found.interval
    self.assertBetween(high - low, 0.01, 0.08)
    self.assertEqual(found.per_target.shape, (_NUM_TARGETS,))
    self.assertAlmostEqual(found.value, found.per_target.mean())

  def test_is_a_mean_over_pairs_of_models(self):
    world = _World(0.5, True)
    masks = world.masks(50)
    outcomes = world.outcomes(masks)
    found = noise_stability.linear_share(masks, outcomes)
    centred = masks - 0.5
    products = centred @ centred.T
    values = outcomes - outcomes.mean(axis=0)
    expected = np.zeros(_NUM_TARGETS)
    for i in range(50):
      for j in range(50):
        if i != j:
          expected += products[i, j] * values[i] * values[j]
    spread = 0.25 * _NUM_TRAIN / (_NUM_TRAIN - 1)
    expected /= 50 * 49 * spread * outcomes.var(axis=0, ddof=1)
    np.testing.assert_allclose(found.per_target, expected, rtol=1e-9)

  def test_linear_outcomes_have_a_share_of_one(self):
    world = _World(0.5, True, parts=np.array([1, 0, 0]))
    masks = world.masks(4000)
    found = noise_stability.linear_share(masks, world.outcomes(masks, noise=0))
    self.assertAlmostEqual(found.value, 1, delta=0.02)

  def test_intervals_cover(self):
    covered = []
    for seed in range(40):
      world = _World(0.5, False)
      world.rng = np.random.default_rng(seed + 1)
      masks = world.masks(400)
      low, high = noise_stability.linear_share(
          masks, world.outcomes(masks)
      ).interval
      covered.append(low <= _SHARES[0] <= high)
    self.assertGreaterEqual(np.mean(covered), 0.9)

  def test_constant_targets_are_left_out(self):
    world = _World(0.5, True)
    masks = world.masks(200)
    outcomes = world.outcomes(masks)
    expected = noise_stability.linear_share(masks, outcomes[:, 1:]).value
    outcomes[:, 0] = 3.0
    found = noise_stability.linear_share(masks, outcomes)
    self.assertTrue(np.isnan(found.per_target[0]))
    self.assertAlmostEqual(found.value, expected)

  def test_errors(self):
    world = _World(0.5, True)
    masks = world.masks(100)
    outcomes = world.outcomes(masks)
    linear_share = noise_stability.linear_share
    with self.assertRaisesRegex(ValueError, 'of 100 models.*got .99, 15'):
      linear_share(masks, outcomes[1:])
    with self.assertRaisesRegex(ValueError, 'at least 40'):
      linear_share(masks[:30], outcomes[:30])
    with self.assertRaisesRegex(ValueError, 'masks that differ'):
      linear_share(np.ones_like(masks), outcomes)
    with self.assertRaisesRegex(ValueError, 'diverged'):
      linear_share(masks, np.where(masks[:, :15], np.nan, outcomes))
    with self.assertRaisesRegex(ValueError, 'that differ'):
      linear_share(masks, np.ones_like(outcomes))
    sizes = np.random.default_rng(0).integers(1, 59, size=(100, 1))
    mixed = np.arange(_NUM_TRAIN)[None] < sizes
    with self.assertRaisesRegex(ValueError, 'fixed_size and bernoulli'):
      linear_share(mixed, outcomes)


class StabilityTest(parameterized.TestCase):

  @parameterized.parameters(False, True)
  def test_planted(self, fixed):
    world = _World(0.5, fixed)
    pairs = world.pairs((0.2, 0.5, 1.0), 2000)
    found = noise_stability.stability(pairs)
    rhos = found.rhos[:, None]
    expected = np.sum(_SHARES[None] * rhos ** np.arange(1, 4)[None], axis=1)
    # Errors of .02 / sqrt(15) from 2,000 pairs; 1 / 60 for fixed sizes.
    np.testing.assert_allclose(found.correlations, expected, atol=0.025)
    np.testing.assert_allclose(found.degrees[0], _SHARES[0], atol=0.06)
    lower, upper = found.bounds
    self.assertAlmostEqual(
        lower, _SHARES[0] - _SHARES[2] * found.rhos[1], delta=0.06
    )
    self.assertAlmostEqual(
        upper, _SHARES @ found.rhos[1] ** np.arange(3), delta=0.05
    )
    self.assertLess(found.bounds_interval[0], lower)
    self.assertGreater(found.bounds_interval[1], upper)
    low, high = found.correlation_interval
    self.assertTrue(
        np.all((low < found.correlations) & (found.correlations < high))
    )

  def test_quadratic_outcomes_meet_the_lower_bound(self):
    parts = np.array([0.6, 0.4, 0])
    world = _World(0.5, False, parts)
    found = noise_stability.stability(world.pairs((0.5, 1.0), 4000, noise=0))
    self.assertAlmostEqual(found.bounds[0], 0.6, delta=0.05)
    np.testing.assert_allclose(found.degrees, parts[:2], atol=0.05)

  def test_covariances_match_numpy(self):
    pairs = _World(0.5, True).pairs((0.5, 1.0), 30)
    found = noise_stability.stability(pairs, num_bootstrap=2)
    variances = [
        (a.var(axis=0, ddof=1) + b.var(axis=0, ddof=1)) / 2
        for a, b in pairs.values()
    ]
    variance = np.mean(variances, axis=0)
    for number, (first, second) in enumerate(pairs.values()):
      expected = [
          np.cov(first[:, t], second[:, t])[0, 1] / variance[t]
          for t in range(_NUM_TARGETS)
      ]
      self.assertAlmostEqual(found.correlations[number], np.mean(expected))

  def test_without_the_same_subset_twice_there_are_no_bounds(self):
    pairs = _World(0.5, True).pairs((0.25, 0.5), 30)
    found = noise_stability.stability(pairs, num_bootstrap=10)
    self.assertTrue(np.isnan(found.bounds).all())
    np.testing.assert_array_equal(found.num_pairs, [30, 30])

  def test_errors(self):
    first = np.random.default_rng(0).normal(size=(10, 3))
    stability = noise_stability.stability
    with self.assertRaisesRegex(ValueError, 'rho above 0'):
      stability({})
    with self.assertRaisesRegex(ValueError, r'got \[0.0\]'):
      stability({0.0: (first, first)})
    with self.assertRaisesRegex(ValueError, 'of 10 models.*got .9, 3'):
      stability({1.0: (first, first[1:])})
    with self.assertRaisesRegex(ValueError, 'same targets'):
      stability({1.0: (first, first), 0.5: (first[:, 1:], first[:, 1:])})
    with self.assertRaisesRegex(ValueError, 'differ between models'):
      stability({1.0: (np.ones((5, 2)), np.ones((5, 2)))})


if __name__ == '__main__':
  absltest.main()
