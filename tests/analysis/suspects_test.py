"""Detection by scores of examples, against scikit-learn and by hand."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import metrics

from jdm.analysis import suspects as lib


class DetectTest(parameterized.TestCase):

  @parameterized.parameters(0, 1)
  def test_auc_matches_scikit_learn(self, seed):
    rng = np.random.default_rng(seed)
    bad = np.sort(rng.permutation(200)[:30])
    is_bad = np.isin(np.arange(200), bad)
    score = rng.integers(0, 12, 200) + 3.0 * is_bad  # With ties.
    one = lib.detect({'a': score}, bad)['a']
    self.assertAlmostEqual(one.auc, metrics.roc_auc_score(is_bad, score))
    low, high = one.auc_interval
    self.assertTrue(low < one.auc < high)
    self.assertEqual((one.num_bad, one.num_train), (30, 200))

  def test_interval_covers(self):
    rng = np.random.default_rng(0)
    truth, hits = 0.760, 0  # Of normals one apart: Phi(1 / sqrt(2)).
    for _ in range(60):
      score = rng.normal(size=300)
      score[:60] += 1
      one = lib.detect({'a': score}, np.arange(60), num_bootstrap=200)['a']
      hits += one.auc_interval[0] < truth < one.auc_interval[1]
    self.assertGreater(hits, 51)  # Of 60 at 95 %: below 52 once in 2,000.

  def test_curve_and_precision(self):
    score = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0])
    one = lib.detect({'a': score}, [0, 2])['a']
    self.assertEqual(one.precision, 0.5)
    shares = dict(zip(np.round(one.inspected, 3), one.found))
    self.assertEqual(shares[0], 0)
    self.assertEqual(shares[0.125], 0.5)
    self.assertEqual(shares[0.25], 0.5)
    self.assertEqual(shares[0.375], 1)
    self.assertEqual(shares[1], 1)

  def test_ties_share(self):
    one = lib.detect({'a': np.zeros(10)}, [1, 5])['a']
    self.assertEqual(one.auc, 0.5)
    self.assertAlmostEqual(one.precision, 0.2)
    np.testing.assert_allclose(one.found, one.inspected)

  def test_best(self):
    score = np.arange(10.0)
    found = lib.detect({'down': -score, 'up': score, 'none': 0 * score}, [8, 9])
    self.assertEqual(lib.best(found), 'up')
    np.testing.assert_array_equal(lib.ranking(score), np.arange(10)[::-1])

  def test_random_numbers_are_not_those_of_a_planted_dataset(self):
    plain = np.random.default_rng(0).permutation(100)
    own = lib.generator(0).permutation(100)
    self.assertFalse(np.array_equal(plain, own))
    np.testing.assert_array_equal(own, lib.generator(0).permutation(100))

  @parameterized.parameters(
      ({'a': np.zeros(4), 'b': np.zeros(5)}, [1], r'one shape \[num_train\]'),
      ({'a': np.array([0, np.nan])}, [1], "'a' has 1 that are not"),
      ({'a': np.zeros(4)}, [4], 'train rows from 0 to 3, got 4 to 4'),
      ({'a': np.zeros(4)}, [1, 1], 'each train row once'),
      ({'a': np.zeros(4)}, [0.5], 'as integers'),
      ({'a': np.zeros(4)}, [], 'got 0 bad of 4'),
      ({'a': np.zeros(4)}, [0, 1, 2, 3], 'got 4 bad of 4'),
      ({}, [0], 'one or more scores'),
  )
  def test_errors(self, scores, bad, message):
    with self.assertRaisesRegex(ValueError, message):
      lib.detect(scores, bad)


if __name__ == '__main__':
  absltest.main()
