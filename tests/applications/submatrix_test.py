"""Maximum-sum submatrices against all subsets, and planted ones."""

import itertools

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.applications import submatrix as lib


def _planted(seed, num=80, size=12, mean=1.0):
  rng = np.random.default_rng(seed)
  matrix = rng.normal(size=(num, num))
  rows = np.sort(rng.permutation(num)[:size])
  matrix[np.ix_(rows, rows)] += mean
  return matrix, rows


class SearchTest(parameterized.TestCase):

  @parameterized.product(seed=[0, 1, 2], size=[1, 3, 5])
  def test_finds_the_best_of_all_subsets(self, seed, size):
    matrix = lib.excess(np.random.default_rng(seed).normal(size=(9, 9)))
    best = max(
        lib.total(matrix, np.array(rows))
        for rows in itertools.combinations(range(9), size)
    )
    found = lib.search(matrix, size, num_restarts=50)
    self.assertLen(found, size)
    self.assertAlmostEqual(lib.total(matrix, found), best, places=4)

  @parameterized.parameters(0, 1, 2)
  def test_finds_what_was_planted(self, seed):
    matrix, rows = _planted(seed)
    found = lib.search(lib.excess(matrix), len(rows))
    self.assertGreaterEqual(np.isin(found, rows).sum(), 11)

  def test_no_swap_helps(self):
    matrix = lib.excess(_planted(0, mean=0.2)[0])
    found = lib.search(matrix, 12, num_restarts=1)
    value = lib.total(matrix, found)
    outside = np.setdiff1d(np.arange(80), found)
    for out, new in itertools.product(found, outside):
      swapped = np.append(found[found != out], new)
      self.assertLess(lib.total(matrix, swapped), value + 1e-4)

  def test_same_seed_same_set_and_rows_ascend(self):
    matrix = lib.excess(_planted(3, mean=0.1)[0])
    found = [lib.search(matrix, 10, num_restarts=2, seed=s) for s in (5, 5)]
    np.testing.assert_array_equal(*found)
    self.assertTrue((np.diff(found[0]) > 0).all())

  def test_a_constant_matrix_ends(self):
    self.assertLen(lib.search(np.zeros((6, 6), np.float32), 3), 3)

  @parameterized.parameters((0, 1), (9, 1), (3, 0))
  def test_errors(self, size, num_restarts):
    with self.assertRaisesRegex(ValueError, 'a size from 1 to 8'):
      lib.search(np.zeros((9, 9)), size, num_restarts=num_restarts)


class ExcessTest(parameterized.TestCase):

  def test_penalty_is_the_share_of_the_row_sums(self):
    influence = np.random.default_rng(0).normal(size=(7, 7))
    matrix = lib.excess(influence)
    rows = np.array([1, 4, 6])
    plain = influence.copy()
    np.fill_diagonal(plain, 0)
    expected = plain[np.ix_(rows, rows)].sum()
    expected -= 3 / 7 * plain[rows].sum()
    self.assertAlmostEqual(lib.total(matrix, rows), expected, places=5)
    self.assertAlmostEqual(lib.total(matrix, np.arange(7)), 0, places=5)

  def test_what_helps_everyone_is_not_found(self):
    matrix, rows = _planted(0)
    helpers = np.setdiff1d(np.arange(80), rows)[:12]
    matrix[helpers] += 3
    found = lib.search(lib.excess(matrix), 12)
    self.assertGreaterEqual(np.isin(found, rows).sum(), 11)

  def test_the_diagonal_is_not_read(self):
    matrix = np.random.default_rng(0).normal(size=(5, 5))
    other = matrix.copy()
    np.fill_diagonal(other, np.nan)
    np.testing.assert_array_equal(lib.excess(matrix), lib.excess(other))

  @parameterized.parameters(
      (np.zeros((3, 4)), 'a square matrix'),
      (np.full((3, 3), np.nan), '6 that are not'),
  )
  def test_errors(self, matrix, message):
    with self.assertRaisesRegex(ValueError, message):
      lib.excess(matrix)


if __name__ == '__main__':
  absltest.main()
