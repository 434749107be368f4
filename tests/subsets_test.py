"""Tests of the samplers: sizes, rates, rows from (seed, id) alone."""

from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import hypothesis
from hypothesis import strategies
from hypothesis.extra import numpy as hypothesis_numpy
import jax
import numpy as np
from scipy import stats

from jdm import subsets

_NUM_TRAIN = 24
# The options that each sampler of the table needs here.
_OPTIONS: dict[str, dict[str, Any]] = {
    'fixed_size': {'alpha': 0.5},
    'bernoulli': {'alpha': 0.3},
    'uniform_size': {'min_size': 2, 'max_size': 20},
    'permutation_prefixes': {'step': 5},
    'leave_one_out': {},
    'by_group': {'groups': np.arange(_NUM_TRAIN) // 3, 'alpha': 0.5},
}


def _draw(name, ids, seed=0):
  sampler = subsets.sampler(name, **_OPTIONS[name])
  return np.asarray(sampler(jax.random.key(seed), np.asarray(ids), _NUM_TRAIN))


class ContractTest(parameterized.TestCase):
  """What every sampler of the table keeps."""

  def test_every_sampler_is_covered(self):
    self.assertEqual(set(_OPTIONS), set(subsets.SAMPLERS))

  @parameterized.parameters(*subsets.SAMPLERS)
  def test_row_is_a_function_of_seed_and_id(self, name):
    ids = np.concatenate([np.arange(20), 2**30 + np.arange(-8, 12)])
    together = _draw(name, ids)
    backwards = _draw(name, ids[::-1])[::-1]
    np.testing.assert_array_equal(together, backwards)

  def test_row_is_the_same_in_any_chunk(self):
    ids = np.arange(40)
    together = _draw('fixed_size', ids)
    for first in range(0, 40, 8):
      part = _draw('fixed_size', ids[first : first + 8])
      np.testing.assert_array_equal(together[first : first + 8], part)

  @parameterized.parameters(*subsets.SAMPLERS)
  def test_shape_and_type_under_jit(self, name):
    sampler = subsets.sampler(name, **_OPTIONS[name])
    key, ids = jax.random.key(0), jax.ShapeDtypeStruct((5,), np.int32)
    masks = jax.eval_shape(lambda ids: sampler(key, ids, _NUM_TRAIN), ids)
    self.assertEqual(masks.shape, (5, _NUM_TRAIN))
    self.assertEqual(masks.dtype, np.bool_)

  @parameterized.parameters(*sorted(set(subsets.SAMPLERS) - {'leave_one_out'}))
  def test_seeds_and_ids_differ(self, name):
    ids = np.arange(40)
    self.assertFalse(np.array_equal(_draw(name, ids), _draw(name, ids, seed=1)))
    later = _draw(name, 2**30 + ids)
    self.assertFalse(np.array_equal(_draw(name, ids), later))


class FixedSizeTest(parameterized.TestCase):

  @parameterized.parameters((2, 0.5, 1), (7, 0.1, 1), (300, 0.75, 225))
  def test_sizes_are_exact(self, num_train, alpha, size):
    self.assertEqual(subsets.subset_size(num_train, alpha), size)
    masks = subsets.fixed_size(
        jax.random.key(0), np.arange(50), num_train, alpha
    )
    np.testing.assert_array_equal(np.asarray(masks).sum(axis=1), size)

  def test_every_example_and_pair_as_often(self):
    num_models, num_train, size = 6000, 10, 4
    masks = np.asarray(
        subsets.fixed_size(
            jax.random.key(3), np.arange(num_models), num_train, 0.4
        ),
        np.float64,
    )
    counts = masks.T @ masks
    # Six standard deviations of a binomial; 55 counts are looked at.
    for count, chance in (
        (np.diag(counts), size / num_train),
        (
            counts[np.triu_indices(num_train, 1)],
            size * (size - 1) / (num_train * (num_train - 1)),
        ),
    ):
      deviation = np.sqrt(num_models * chance * (1 - chance))
      np.testing.assert_allclose(count, num_models * chance, atol=6 * deviation)

  def test_replicates_share_the_subset_and_nothing_else(self):
    key = jax.random.key(0)
    keys = [subsets.training_key(key, 5, replicate) for replicate in (0, 1)]
    keys += [subsets.training_key(key, 6), subsets.subset_key(key, 5)]
    words = {tuple(jax.random.key_data(k).tolist()) for k in keys}
    self.assertLen(words, 4)


class OtherSamplersTest(parameterized.TestCase):

  def test_bernoulli_rate(self):
    masks = subsets.bernoulli(jax.random.key(0), np.arange(2000), 50, 0.3)
    deviation = np.sqrt(0.3 * 0.7 / 2000)
    rates = np.asarray(masks).mean(axis=0)
    np.testing.assert_allclose(rates, 0.3, atol=6 * deviation)
    # Sizes vary as independent draws do: within five standard errors.
    variance = np.asarray(masks).sum(axis=1).var()
    self.assertAlmostEqual(variance, 50 * 0.3 * 0.7, delta=5 * 10.5 * 0.032)

  def test_uniform_sizes(self):
    masks = subsets.uniform_size(
        jax.random.key(0), np.arange(4000), 12, min_size=3, max_size=10
    )
    sizes = np.asarray(masks).sum(axis=1)
    counts = np.bincount(sizes, minlength=13)
    self.assertEqual(counts[:3].sum() + counts[11:].sum(), 0)
    self.assertGreater(stats.chisquare(counts[3:11]).pvalue, 1e-4)

  def test_uniform_size_reaches_everything_by_default(self):
    masks = subsets.uniform_size(jax.random.key(0), np.arange(200), 4)
    sizes = np.asarray(masks).sum(axis=1)
    self.assertEqual(set(sizes), {1, 2, 3, 4})

  @parameterized.parameters(1, 5, 24)
  def test_prefixes_are_nested(self, step):
    num_prefixes = -(-_NUM_TRAIN // step)
    masks = np.asarray(
        subsets.permutation_prefixes(
            jax.random.key(0), np.arange(3 * num_prefixes), _NUM_TRAIN, step
        )
    )
    orders = masks.reshape(3, num_prefixes, _NUM_TRAIN)
    self.assertTrue((orders[:, 1:] >= orders[:, :-1]).all())
    expected = np.minimum(np.arange(1, num_prefixes + 1) * step, _NUM_TRAIN)
    for sizes in orders.sum(axis=2):
      np.testing.assert_array_equal(sizes, expected)

  def test_permutations_are_uniform(self):
    masks = subsets.permutation_prefixes(
        jax.random.key(0), np.arange(3 * 2000), 3
    )
    growth = np.asarray(masks).reshape(2000, 3, 3).astype(int)
    orders = growth.sum(axis=1)  # The first of an order counts three times.
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    self.assertLen(counts, 6)
    self.assertGreater(stats.chisquare(counts).pvalue, 1e-4)

  def test_leave_one_out(self):
    masks = subsets.leave_one_out(jax.random.key(0), np.arange(5), 4)
    left_out = [0, 1, 2, 3, 0]
    np.testing.assert_array_equal(np.argmin(masks, axis=1), left_out)
    np.testing.assert_array_equal(np.asarray(masks).sum(axis=1), 3)

  def test_groups_stay_together(self):
    masks = _draw('by_group', np.arange(40))
    groups = masks.reshape(40, 8, 3)
    self.assertTrue((groups == groups[:, :, :1]).all())
    np.testing.assert_array_equal(groups[:, :, 0].sum(axis=1), 4)


class ErrorsTest(parameterized.TestCase):

  @parameterized.product(
      sampler=[subsets.fixed_size, subsets.bernoulli],
      alpha=[0.0, 1.0, -0.5, 1.5, float('nan')],
  )
  def test_alpha_outside(self, sampler, alpha):
    with self.assertRaisesRegex(ValueError, 'alpha is the fraction'):
      sampler(jax.random.key(0), np.arange(2), 10, alpha)

  @parameterized.parameters(0.01, 0.99)
  def test_empty_or_full_subset(self, alpha):
    with self.assertRaisesRegex(ValueError, 'choose an alpha that leaves'):
      subsets.fixed_size(jax.random.key(0), np.arange(2), 10, alpha)

  @parameterized.named_parameters(
      ('none', {'min_size': 0}, '1 <= min_size'),
      ('order', {'min_size': 5, 'max_size': 4}, 'min_size <= max_size'),
      ('large', {'max_size': 11}, '1, 11, 10'),
  )
  def test_uniform_sizes(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      subsets.uniform_size(jax.random.key(0), np.arange(2), 10, **options)

  @parameterized.parameters(0, 11)
  def test_step(self, step):
    with self.assertRaisesRegex(ValueError, f'step={step} for 10'):
      subsets.permutation_prefixes(jax.random.key(0), np.arange(2), 10, step)

  def test_leave_one_out_of_one(self):
    with self.assertRaisesRegex(ValueError, 'at least 2 examples, got 1'):
      subsets.leave_one_out(jax.random.key(0), np.arange(2), 1)

  @parameterized.parameters(((),), ([0, 1],), ([0, -1, 1],))
  def test_groups(self, groups):
    with self.assertRaisesRegex(ValueError, r'groups of shape \[3\]'):
      subsets.by_group(jax.random.key(0), np.arange(2), 3, groups)

  def test_unknown_sampler_lists_the_known(self):
    with self.assertRaisesRegex(ValueError, "'coin'.*bernoulli.*fixed_size"):
      subsets.sampler('coin')

  @parameterized.named_parameters(
      (
          'rank',
          np.ones(3, bool),
          r'\[num_models, 3\], got \(3,\).*mask\[None\]',
      ),
      ('width', np.ones((2, 4), bool), r'got \(2, 4\)'),
      ('floats', np.ones((2, 3)), r'float64.*astype\(bool\)'),
      ('bits', np.ones((2, 3), np.uint8), 'uint8.*PackedMasks'),
  )
  def test_masks(self, masks, words):
    with self.assertRaisesRegex(ValueError, words):
      subsets.check_masks(masks, who='`it`', num_train=3)


class FormsTest(parameterized.TestCase):

  @hypothesis.given(
      hypothesis_numpy.arrays(
          bool,
          strategies.tuples(
              strategies.integers(0, 5), strategies.integers(1, 40)
          ),
      )
  )
  @hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
  def test_pack_and_unpack(self, masks):
    packed = subsets.pack(masks)
    self.assertEqual(packed.bits.dtype, np.uint8)
    self.assertEqual(packed.bits.shape, (len(masks), -(-masks.shape[1] // 8)))
    unpacked = subsets.unpack(packed)
    self.assertEqual(unpacked.dtype, np.bool_)
    np.testing.assert_array_equal(unpacked, masks)

  def test_packed_masks_are_an_array(self):
    masks = np.random.default_rng(1).random((5, 13)) < 0.5
    packed = subsets.pack(masks)
    np.testing.assert_array_equal(np.asarray(packed), masks)
    np.testing.assert_array_equal(
        subsets.check_masks(packed, who='`it`', num_train=13), masks
    )

  @parameterized.named_parameters(
      ('dtype', np.ones((2, 2), bool), r'uint8 \[num_models, 2\].*bool'),
      ('width', np.ones((2, 3), np.uint8), r'of 13 examples.*shape \(2, 3\)'),
      ('rank', np.ones(2, np.uint8), r'shape \(2,\)'),
  )
  def test_bits_that_are_no_masks(self, bits, words):
    with self.assertRaisesRegex(ValueError, words):
      subsets.unpack(subsets.PackedMasks(bits, 13))

  def test_unpacks_only_packed_masks(self):
    with self.assertRaisesRegex(ValueError, 'PackedMasks.*got ndarray'):
      subsets.unpack(np.ones((2, 2), np.uint8))  # pyrefly: ignore

  def test_indices_beyond_capacity(self):
    masks = np.ones((2, 5), bool)
    with self.assertRaisesRegex(ValueError, 'at least 5.*got 4'):
      subsets.to_indices(masks, 4)
    with self.assertRaisesRegex(ValueError, '`to_indices` expects bool'):
      subsets.to_indices(masks.astype(int), 5)

  def test_indices(self):
    masks = np.random.default_rng(0).random((30, 17)) < 0.4
    masks[3] = False
    ids, sizes = subsets.to_indices(masks, 17)
    self.assertEqual((ids.dtype, sizes.dtype), (np.int32, np.int32))
    for row, mask in enumerate(masks):
      expected = np.flatnonzero(mask)
      self.assertEqual(sizes[row], len(expected))
      np.testing.assert_array_equal(ids[row, : len(expected)], expected)
      self.assertFalse(ids[row, len(expected) :].any())


if __name__ == '__main__':
  absltest.main()
