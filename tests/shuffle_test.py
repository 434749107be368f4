"""Tests of random choices and orders that vectorize over models."""

import functools
import itertools
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jdm import shuffle

_LIMITS = (300, (1 << 14) + 1)  # One on each route of `order`.
_SIZES = np.array([1, 2, 17, 200], np.int32)


@functools.partial(jax.jit, static_argnums=2)
@functools.partial(jax.vmap, in_axes=(0, 0, None))
def _choose(key, size, num):
  return shuffle.choose(key, size, num)


@functools.partial(jax.jit, static_argnames=('capacity', 'limit'))
def _order(keys, sizes, capacity, limit):
  def one(key, size):
    return shuffle.order(key, size, capacity=capacity, limit=limit)

  return jax.vmap(one)(keys, sizes)


def _keys(count):
  return jax.random.split(jax.random.key(0), count)


class ChooseTest(parameterized.TestCase):

  def test_chooses_the_smallest_words_and_as_many_as_asked_for(self):
    sizes = np.array([0, 1, 5, 50, 99, 100], np.int32)
    keys = _keys(len(sizes))
    chosen = np.asarray(_choose(keys, sizes, 100))
    self.assertEqual(chosen.dtype, np.bool_)
    np.testing.assert_array_equal(chosen.sum(axis=1), sizes)
    for row, size in enumerate(sizes):
      words = np.asarray(jax.random.bits(keys[row], (100,), jnp.uint32))
      np.testing.assert_array_equal(
          np.flatnonzero(chosen[row]), np.sort(np.argsort(words)[:size])
      )

  def test_every_set_has_the_same_chance(self):
    chosen = np.asarray(_choose(_keys(6000), np.full(6000, 2), 5))
    words = chosen @ (1 << np.arange(5))
    sets = [sum(1 << i for i in s) for s in itertools.combinations(range(5), 2)]
    counts = np.bincount(words, minlength=32)[sets]
    self.assertEqual(counts.sum(), 6000)
    self.assertGreater(stats.chisquare(counts).pvalue, 1e-4)

  def test_ties_are_taken_in_order(self):
    top = 2**32 - 1
    all_words = np.array(
        [
            [5] * 8,
            [0] * 8,
            [top] * 8,
            [3, 1, 3, 1, 3, 1, 3, 1],
            [top, 0, 0, 2**31, 2**31, 0, 7, top],
        ],
        np.uint32,
    )
    cases = list(itertools.product(all_words, range(9)))

    def one(words, size):
      with mock.patch.object(jax.random, 'bits', return_value=words):
        return shuffle.choose(jax.random.key(0), size, 8)

    words, sizes = (np.stack(parts) for parts in zip(*cases))
    chosen = np.asarray(jax.jit(jax.vmap(one))(words, sizes))
    for row in range(len(cases)):
      expected = np.argsort(words[row], kind='stable')[: sizes[row]]
      np.testing.assert_array_equal(
          np.flatnonzero(chosen[row]), np.sort(expected)
      )


class OrderTest(parameterized.TestCase):

  @parameterized.parameters(*_LIMITS)
  def test_is_a_permutation_and_does_not_see_the_padding(self, limit):
    keys = _keys(len(_SIZES))
    padded = np.asarray(_order(keys, _SIZES, capacity=256, limit=limit))
    self.assertEqual(padded.dtype, np.int32)
    for row, size in enumerate(_SIZES):
      np.testing.assert_array_equal(
          np.sort(padded[row, :size]), np.arange(size)
      )
      np.testing.assert_array_equal(
          np.sort(padded[row, size:]), np.arange(size, 256)
      )
    exact = np.asarray(_order(keys, _SIZES, capacity=200, limit=limit))
    for row, size in enumerate(_SIZES):
      np.testing.assert_array_equal(padded[row, :size], exact[row, :size])

  def test_many_rows_have_the_order_of_one(self):
    """On a CPU they are sorted by a network, and one row is not."""
    keys, sizes = _keys(40), np.arange(221, 261, dtype=np.int32)
    together = np.asarray(_order(keys, sizes, capacity=260, limit=300))
    for row in (0, 17, 39):
      alone = _order(keys[row : row + 1], sizes[row : row + 1], 260, 300)
      np.testing.assert_array_equal(together[row], alone[0])

  def test_many_rows_are_sorted(self):
    rng = np.random.default_rng(0)
    for shape in ((32, 256), (33, 300)):
      words = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
      words[1] = words[1, 0]  # The same word everywhere.
      words[2] = 0xFFFFFFFF  # What pads.
      found = jax.jit(jax.vmap(shuffle._sorted))(words)
      np.testing.assert_array_equal(found, np.sort(words, axis=1))
      self.assertIn(
          'optimization_barrier',
          str(jax.make_jaxpr(jax.vmap(shuffle._sorted))(words)),
      )

  @parameterized.parameters(*_LIMITS)
  def test_every_order_has_the_same_chance(self, limit):
    sizes = np.full(4800, 4, np.int32)
    orders = np.asarray(_order(_keys(4800), sizes, capacity=6, limit=limit))
    counts = np.unique(orders[:, :4], axis=0, return_counts=True)[1]
    self.assertLen(counts, 24)
    self.assertGreater(stats.chisquare(counts).pvalue, 1e-4)

  def test_position_is_uniform_at_the_largest_packed_size(self):
    # Ties in the few random bits are broken by index: too rare to be seen.
    limit = 1 << 14
    sizes = np.full(60, limit, np.int32)
    orders = np.asarray(_order(_keys(60), sizes, capacity=limit, limit=limit))
    counts = np.histogram(orders[:, :64], bins=16, range=(0, limit))[0]
    self.assertGreater(stats.chisquare(counts).pvalue, 1e-4)


if __name__ == '__main__':
  absltest.main()
