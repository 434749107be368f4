"""Shapley values against enumeration of all subsets of small games."""

import itertools
import math

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np
from scipy import stats

from jdm import subsets
from jdm.analysis import semivalues
from jdm.analysis import shapley
from tests import games

_PLAIN = semivalues.Resampling(num_bootstrap=0, num_splits=1)


def _every_size_alike(num_train):
  """All subsets, repeated so that every size is as frequent."""
  masks = games.all_masks(num_train)
  utilities = games.random_utilities(num_train)
  counts = [math.comb(num_train, k) for k in range(num_train + 1)]
  times = np.array([math.lcm(*counts) // counts[k] for k in masks.sum(axis=1)])
  return masks, utilities, np.repeat(np.arange(len(masks)), times)


def _prefixes(orders):
  """Masks of growing prefixes of each order, and the number of the order."""
  num_train = orders.shape[1]
  ranks = np.argsort(orders, axis=1)
  masks = ranks[:, None] < np.arange(1, num_train + 1)[None, :, None]
  return masks.reshape(-1, num_train), np.repeat(
      np.arange(len(orders)), num_train
  )


class SizesTest(parameterized.TestCase):

  @parameterized.parameters(4, 6)
  def test_all_subsets_give_the_exact_values(self, num_train):
    masks, utilities, rows = _every_size_alike(num_train)
    found = shapley.from_sizes(
        masks[rows],
        utilities[rows],
        empty_utility=utilities[0],
        full_utility=utilities[-1],
        resampling=_PLAIN,
    )
    np.testing.assert_allclose(
        found.values[:, 0], games.shapley(masks, utilities), atol=1e-5
    )

  def test_relative_values_add_up_to_zero(self):
    masks, utilities, rows = _every_size_alike(5)
    found = shapley.from_sizes(masks[rows], utilities[rows], resampling=_PLAIN)
    exact = games.shapley(masks, utilities)
    np.testing.assert_allclose(
        found.values[:, 0], exact - exact.mean(), atol=1e-5
    )

  def test_sampled_sizes_rank_examples(self):
    """Diminishing returns, whose size effect must not drown the examples."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=50)
    sizes = rng.integers(1, 51, 3000)
    masks = rng.random((3000, 50)).argsort(axis=1) < sizes[:, None]
    utilities = 20 * np.log1p(sizes) + masks @ weights
    found = shapley.from_sizes(masks, utilities)
    score = stats.spearmanr(found.values[:, 0], weights).statistic
    self.assertGreater(score, 0.95)
    low, high = found.interval[:, :, 0]
    exact = weights - weights.mean()
    # Nominal 95 % of 50, sums to 0 and so not independent.
    self.assertGreaterEqual(np.sum((low < exact) & (exact < high)), 40)

  def test_groups_widen_intervals(self):
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(20) for _ in range(40)])
    masks, groups = _prefixes(orders)
    utilities = masks @ rng.normal(size=20)
    alone = shapley.from_sizes(masks, utilities)
    grouped = shapley.from_sizes(masks, utilities, groups=groups)
    np.testing.assert_allclose(alone.values, grouped.values)
    self.assertGreater(
        grouped.standard_error.mean(), 1.1 * alone.standard_error.mean()
    )

  def test_one_size_is_refused(self):
    masks = games.all_masks(6)
    masks = masks[masks.sum(axis=1) == 3]
    with self.assertRaisesRegex(ValueError, r'many sizes.*\[3\].*uniform_size'):
      shapley.from_sizes(masks, np.arange(len(masks), dtype=float))


class PrefixesTest(parameterized.TestCase):

  def test_all_orders_give_the_exact_values(self):
    orders = np.array(list(itertools.permutations(range(5))))
    masks, groups = _prefixes(orders)
    subsets, utilities = games.all_masks(5), games.random_utilities(5)
    place = masks @ (2 ** np.arange(5)[::-1])  # Row of `subsets`.
    np.testing.assert_array_equal(subsets[place], masks)
    found = shapley.from_prefixes(
        masks,
        utilities[place],
        groups,
        empty_utility=utilities[0],
        full_utility=utilities[-1],
        resampling=_PLAIN,
    )
    np.testing.assert_allclose(
        found.values[:, 0], games.shapley(subsets, utilities), atol=1e-9
    )

  @parameterized.parameters(True, False)
  def test_blocks_of_an_additive_game(self, with_empty):
    """Steps of 5 of 20 blur an example with its block; that is undone."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=20)
    orders = np.stack([rng.permutation(20) for _ in range(4000)])
    masks, groups = _prefixes(orders)
    kept = masks.sum(axis=1) % 5 == 0
    masks, groups = masks[kept], groups[kept]
    found = shapley.from_prefixes(
        masks,
        masks @ weights,
        groups,
        empty_utility=0.0 if with_empty else None,
        resampling=_PLAIN,
    )
    exact = weights - weights.mean()
    # Blocks are made of 5 examples of deviation 1: 2 / sqrt(4000) = .03.
    np.testing.assert_allclose(found.values[:, 0], exact, atol=0.15)
    slope = np.sum(found.values[:, 0] * exact) / np.sum(exact**2)
    self.assertAlmostEqual(slope, 1.0, delta=0.05)

  def test_what_is_no_prefix(self):
    masks, groups = _prefixes(np.stack([np.arange(6)] * 3))
    masks = masks.copy()
    masks[1] = masks[1][::-1]
    with self.assertRaisesRegex(
        ValueError, 'grow one out of the other.*group 0'
    ):
      shapley.from_prefixes(masks, np.zeros(18), groups)

  def test_missing_prefix(self):
    masks, groups = _prefixes(np.stack([np.arange(6)] * 3))
    with self.assertRaisesRegex(ValueError, 'same sizes; group 2 differs'):
      shapley.from_prefixes(masks[:-1], np.zeros(17), groups[:-1])


class SamplingTest(absltest.TestCase):

  def test_sizes_around_one_are_refused(self):
    masks = np.random.default_rng(0).random((4000, 5)) < 0.5
    with self.assertRaisesRegex(ValueError, 'spread evenly.*uniform_size'):
      shapley.from_sizes(masks, masks.any(axis=1).astype(float))
    narrow = np.asarray(
        subsets.uniform_size(jax.random.key(0), np.arange(200), 30, 10, 16)
    )
    with self.assertRaisesRegex(ValueError, 'half of 1 to 29'):
      shapley.from_sizes(narrow, narrow.sum(axis=1).astype(float))


if __name__ == '__main__':
  absltest.main()
