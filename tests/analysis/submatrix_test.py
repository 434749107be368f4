"""Maximum-sum submatrices against all subsets, and planted ones."""

import itertools

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.analysis import submatrix as lib


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


class RefineTest(parameterized.TestCase):

  def test_members_are_those_that_the_set_does_most_to(self):
    matrix = lib.excess(np.random.default_rng(0).normal(size=(20, 20)))
    rows = np.array([2, 3, 11])
    received = []
    for i in range(20):
      members = [j for j in rows if j != i]
      others = [j for j in range(20) if j != i]
      received.append(matrix[members, i].mean() - matrix[others, i].mean())
    found = lib.refine(matrix, rows)
    np.testing.assert_array_equal(
        found, np.sort(np.argsort(-np.array(received))[:3])
    )

  def test_noise_that_all_targets_share_is_seen_through(self):
    """One draw a row: it looks like help of an example for the whole set."""
    rng = np.random.default_rng(1)
    matrix, rows = rng.normal(0, 0.3, (120, 120)), np.arange(25)
    matrix[np.ix_(rows, rows)] += 0.5
    matrix[:, rows] += rng.normal(0, 0.8, (120, 1))
    plain = lib.search(lib.excess(matrix), 25)
    refined = lib.refine(lib.excess(matrix), plain)
    self.assertLess(np.isin(plain, rows).sum(), 23)
    self.assertGreater(np.isin(refined, rows).sum(), np.isin(plain, rows).sum())


class SizesTest(parameterized.TestCase):

  def test_the_value_is_highest_at_the_planted_size(self):
    rows = np.arange(5, 17)
    halves = np.random.default_rng(5).normal(size=(2, 80, 80))
    halves[:, rows[:, None], rows[None]] += 1
    halves = [lib.excess(half) for half in halves]
    sizes = [4, 8, 12, 16, 24, 40, 70]
    found = lib.search_sizes(halves, sizes)
    self.assertTrue(np.isnan(found.values[-1]))  # More than 64 of 80.
    self.assertLen(found.sets, 6)
    self.assertIn(2, found.near_best())
    values = [
        np.mean([lib.total(halves[1], sets[0]), lib.total(halves[0], sets[1])])
        for sets in found.sets
    ]
    np.testing.assert_allclose(found.values[:6], values, rtol=1e-5)
    scores = lib.scores(halves, found)
    others = np.setdiff1d(np.arange(80), rows)
    self.assertGreater(
        np.median(scores[rows]), np.quantile(scores[others], 0.9)
    )

  def test_near_best(self):
    sets = [[np.arange(2)]] * 4
    near = lib.Sets(np.array([90.0, 96, 100, 94, np.nan]), sets).near_best()
    np.testing.assert_array_equal(near, [1, 2])
    near = lib.Sets(np.array([-9.0, -4, -4.1, -8]), sets).near_best()
    np.testing.assert_array_equal(near, [1, 2])
    self.assertEmpty(lib.Sets(np.array([np.nan]), []).near_best())

  @parameterized.parameters((1, 0), (2, 1), (10, 8), (80, 64))
  def test_largest_size(self, num, expected):
    self.assertEqual(lib.largest_size(num), expected)


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
