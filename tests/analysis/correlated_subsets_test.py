"""Tests of correlated subsets: sizes, overlaps, and that nothing is preferred."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm.analysis import correlated_subsets
from tests import planted

_KEY = jax.random.key(0)


def _masks(alpha, num=200, num_train=40, seed=0):
  generator = np.random.default_rng(seed)
  return planted.fixed_size_masks(generator, num, num_train, alpha)


class FixedSizeTest(parameterized.TestCase):

  @parameterized.product(alpha=[0.25, 0.5, 0.75], rho=[0.0, 0.3, 0.5, 1.0])
  def test_sizes_and_overlaps_are_exact(self, alpha, rho):
    first = _masks(alpha)
    second = correlated_subsets.correlated_masks(_KEY, first, rho)
    size = int(40 * alpha)
    np.testing.assert_array_equal(second.sum(axis=1), size)
    shared = np.round(size * (alpha + rho * (1 - alpha)))
    np.testing.assert_array_equal((first & second).sum(axis=1), shared)
    self.assertAlmostEqual(
        correlated_subsets.overlap_correlation(first, second),
        (shared / size - alpha) / (1 - alpha),
    )

  def test_every_member_is_as_likely_to_stay(self):
    first = np.repeat(_masks(0.5, num=1), 4000, axis=0)
    second = correlated_subsets.correlated_masks(_KEY, first, 0.5)
    kept = second.mean(axis=0)
    # 15 of 20 stay; a share of 4,000 draws has a deviation of .007.
    np.testing.assert_allclose(kept[first[0]], 0.75, atol=0.03)
    np.testing.assert_allclose(kept[~first[0]], 0.25, atol=0.03)

  def test_a_row_is_its_own(self):
    first = _masks(0.5)
    second = correlated_subsets.correlated_masks(_KEY, first, 0.5)
    np.testing.assert_array_equal(
        correlated_subsets.correlated_masks(_KEY, first[:7], 0.5), second[:7]
    )
    other = correlated_subsets.correlated_masks(jax.random.key(1), first, 0.5)
    self.assertTrue(np.any(second != other))

  def test_subsets_of_several_sizes(self):
    first = np.concatenate([_masks(0.25, 5), _masks(0.95, 5)])
    second = correlated_subsets.correlated_masks(_KEY, first, 0.0)
    np.testing.assert_array_equal(second.sum(axis=1), first.sum(axis=1))


class BernoulliTest(absltest.TestCase):

  def test_correlation_and_share(self):
    first = np.random.default_rng(0).random((2000, 50)) < 0.3
    second = correlated_subsets.correlated_masks(_KEY, first, 0.6, alpha=0.3)
    # 100,000 draws: deviations of .0015 and .003.
    self.assertAlmostEqual(second.mean(), 0.3, delta=0.006)
    found = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    self.assertAlmostEqual(found, 0.6, delta=0.015)
    self.assertAlmostEqual(
        correlated_subsets.overlap_correlation(first, second), found, delta=1e-3
    )


class ErrorTest(absltest.TestCase):

  def test_errors(self):
    correlated_masks = correlated_subsets.correlated_masks
    with self.assertRaisesRegex(ValueError, 'rho from 0 to 1.*got 1.5'):
      correlated_masks(_KEY, _masks(0.5), 1.5)
    with self.assertRaisesRegex(ValueError, 'alpha between, got 0.5 and 1'):
      correlated_masks(_KEY, _masks(0.5), 0.5, alpha=1)
    with self.assertRaisesRegex(ValueError, 'bool'):
      correlated_masks(_KEY, np.ones((3, 4)), 0.5)


if __name__ == '__main__':
  absltest.main()
