import pathlib
import tempfile
from typing import NamedTuple
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import dense
from jdm.solvers import moments as moments_lib
from jdm.solvers import precision
from tests import planted


class Packed(NamedTuple):
  bits: np.ndarray
  num_train: int


def assert_close(actual, expected):
  np.testing.assert_array_equal(actual.counts, expected.counts)
  assert actual.num_models == expected.num_models
  expected = expected.shifted(actual.shift)
  for name in ('cross', 'outcome_sum', 'outcome_square'):
    # float64 sums of about a thousand numbers of size 10.
    np.testing.assert_allclose(
        getattr(actual, name), getattr(expected, name), atol=1e-9
    )


class MomentsTest(parameterized.TestCase):

  @parameterized.parameters(
      (1, 1), (31, 7), (300, 130), (1000, 259), (40, 256), (40, 800)
  )
  def test_counts_equal_the_integer_product(self, num_models, num_train):
    masks = np.random.default_rng(0).random((num_models, num_train)) < 0.3
    counts = moments_lib.of(masks, np.ones((num_models, 1))).counts
    integers = masks.astype(np.int64)
    np.testing.assert_array_equal(counts, integers.T @ integers)

  def test_matches_numpy(self):
    problem = planted.sparse_linear(0)
    moments = problem.moments
    masks = problem.masks.astype(np.float64)
    outcomes = problem.outcomes.astype(np.float64)
    centred = masks - masks.mean(axis=0)[None]
    residual = outcomes - outcomes.mean(axis=0)[None]
    pairs = (
        (moments.gram(), centred.T @ centred / len(masks)),
        (moments.centred_cross(), centred.T @ residual / len(masks)),
        (moments.variance(), outcomes.var(axis=0)),
        (moments.mean_outcome(), outcomes.mean(axis=0)),
        (moments.mean_mask(), masks.mean(axis=0)),
    )
    for actual, expected in pairs:
      # Rounding of float64 sums.
      np.testing.assert_allclose(actual, expected, atol=1e-11)
      self.assertEqual(actual.dtype, np.float64)

  def test_fixed_size_masks_have_a_gram_with_zero_row_sums(self):
    moments = planted.sparse_linear(0).moments
    # Each row of centred masks sums to 0 when all subsets have one size.
    np.testing.assert_allclose(moments.gram().sum(axis=1), 0, atol=1e-13)
    np.testing.assert_allclose(
        moments.centred_cross().sum(axis=0), 0, atol=1e-12
    )

  def test_chunks_packed_bits_and_jax_arrays_are_the_same(self):
    problem = planted.sparse_linear(1, num_train=45, num_models=1000)
    whole = problem.moments
    parts = moments_lib.Moments.zeros(45, 5)
    for start in range(0, 1000, 300):
      rows = slice(start, start + 300)
      parts = parts.add(problem.masks[rows], problem.outcomes[rows])
    assert_close(parts, whole)
    bits = np.packbits(problem.masks, axis=1)
    assert_close(moments_lib.of(Packed(bits, 45), problem.outcomes), whole)
    on_device = moments_lib.of(
        jnp.asarray(problem.masks), jnp.asarray(problem.outcomes)
    )
    assert_close(on_device, whole)

  def test_small_chunks_are_bounded_and_add_up(self):
    problem = planted.sparse_linear(1, num_models=1000)
    whole = problem.moments
    # The least chunk is 256 rows; two, or one, are counted at once.
    for words_bytes in (2 * 256 * 60 // 8, 1):
      with mock.patch.multiple(
          moments_lib, _CHUNK_BYTES=1, _WORDS_BYTES=words_bytes
      ):
        assert_close(problem.moments, whole)

  def test_few_tiles_at_a_time_count_the_same(self):
    problem = planted.sparse_linear(1, num_train=600, num_models=100)
    whole = problem.moments
    with mock.patch.object(moments_lib, '_TILES', 4):
      assert_close(problem.moments, whole)
    again = whole.add(problem.masks, problem.outcomes)
    np.testing.assert_array_equal(again.counts, 2 * whole.counts)

  def test_rows_of_the_gram_are_those_of_the_whole(self):
    moments = planted.sparse_linear(0).moments
    with mock.patch.object(moments_lib, '_GRAM_ROWS', 7):
      gram = moments.gram()
    np.testing.assert_array_equal(gram[20:50], moments.gram_rows(slice(20, 50)))

  def test_add_and_subtract_are_exact_in_integers(self):
    first = planted.sparse_linear(2, num_models=150)
    second = planted.sparse_linear(3, num_models=90)
    both = moments_lib.of(
        np.concatenate([first.masks, second.masks]),
        np.concatenate([first.outcomes, second.outcomes]),
    )
    assert_close(first.moments + second.moments, both)
    assert_close(both.subtract(second.moments), first.moments)
    empty = moments_lib.Moments.zeros(60, 5)
    assert_close(empty + first.moments, first.moments)

  def test_a_constant_outcome_has_variance_zero_in_every_chunk(self):
    problem = planted.sparse_linear(2)
    outcomes = np.full((300, 2), 0.1, np.float32)
    moments = moments_lib.of(problem.masks[:100], outcomes[:100])
    moments = moments.add(problem.masks[100:], outcomes[100:])
    np.testing.assert_array_equal(moments.variance(), 0)
    np.testing.assert_array_equal(moments.centred_cross(), 0)

  def test_a_large_mean_costs_no_digits(self):
    problem = planted.sparse_linear(4)
    outcomes = problem.outcomes.astype(np.float64)
    moved = moments_lib.of(problem.masks, outcomes + 1e8)
    # Adding 1e8 rounds the outcomes themselves to 1.5e-8.
    np.testing.assert_allclose(
        moved.variance(), outcomes.var(axis=0), rtol=1e-7
    )

  def test_survives_a_file(self):
    moments = planted.sparse_linear(5).moments
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'moments.npz'
      moments.save(path)
      loaded = moments_lib.Moments.load(path)
      self.assertEqual([path], list(pathlib.Path(folder).iterdir()))
      path.write_bytes(b'no zip')
      with self.assertRaisesRegex(ValueError, 'written by `Moments.save`'):
        moments_lib.Moments.load(path)
    jax.tree.map(np.testing.assert_array_equal, moments, loaded)

  def test_missing_files_and_folders_are_named(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'nowhere' / 'moments.npz'
      with self.assertRaisesRegex(FileNotFoundError, 'finds nothing at .*mom'):
        moments_lib.Moments.load(path)
      with self.assertRaisesRegex(FileNotFoundError, r'os.makedirs.*nowhere'):
        moments_lib.Moments.zeros(2, 1).save(path)

  def test_leaves_precision_as_it_was(self):
    _ = planted.sparse_linear(0).moments
    self.assertEqual(jnp.ones(2).dtype, jnp.float32)
    with precision.float64():
      self.assertEqual(jnp.ones(2).dtype, jnp.float64)

  @parameterized.parameters(np.float32, np.int8, np.uint8)
  def test_other_dtypes_name_the_cure(self, dtype):
    masks = np.ones((4, 3), dtype)
    with self.assertRaisesRegex(ValueError, r'masks.astype\(bool\)'):
      moments_lib.of(masks, np.ones((4, 1)))

  def test_moments_of_other_designs_do_not_combine(self):
    problem = planted.sparse_linear(0)
    moments = problem.moments
    real = dense.of(problem.masks, problem.outcomes)
    for one, other in ((moments, real), (real, moments)):
      with self.assertRaisesRegex(TypeError, 'different designs'):
        _ = one + other
      with self.assertRaisesRegex(TypeError, 'different designs'):
        one.subtract(other)
    empty = moments_lib.Moments.zeros(60, 5)
    with self.assertRaisesRegex(ValueError, 'one problem'):
      _ = empty + planted.sparse_linear(0, num_train=50).moments
    # As many models, but others: a pair of examples would be held -1 times.
    few = moments_lib.of(problem.masks[:200], problem.outcomes[:200])
    other = moments_lib.of(problem.masks[150:], problem.outcomes[150:])
    with self.assertRaisesRegex(ValueError, 'fewer models than none'):
      few.subtract(other)

  def test_bad_input_raises(self):
    problem = planted.sparse_linear(0)
    empty = moments_lib.Moments.zeros(60, 5)
    with self.assertRaisesRegex(ValueError, 'num_models, 60'):
      empty.add(problem.masks[:, :50], problem.outcomes)
    with self.assertRaisesRegex(ValueError, 'num_models, 5'):
      empty.add(problem.masks, problem.outcomes[:-1])
    with self.assertRaisesRegex(ValueError, 'diverged'):
      empty.add(problem.masks, problem.outcomes * np.nan)
    with self.assertRaisesRegex(ValueError, 'added before'):
      empty.subtract(problem.moments)
    with self.assertRaisesRegex(ValueError, 'one problem'):
      _ = problem.moments + planted.sparse_linear(0, num_train=50).moments
    with self.assertRaisesRegex(ValueError, 'uint8'):
      bits = np.packbits(problem.masks, axis=1)
      empty.add(Packed(bits[:, :-1], 60), problem.outcomes)


if __name__ == '__main__':
  absltest.main()
