"""Strongest pairs, and pairs near each other by metadata."""

from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.analysis import pairs as pairs_lib


class PairsTest(parameterized.TestCase):

  def test_strongest_with_ties(self):
    scores = np.random.default_rng(0).integers(0, 4, (9, 7)).astype(float)
    expected = np.argsort(-scores.ravel(), kind='stable')
    for count in (1, 5, 30, 63, 100):
      found = pairs_lib.strongest(scores, count)
      flat = found[:, 0] * 7 + found[:, 1]
      np.testing.assert_array_equal(flat, expected[:count])

  def test_nearby_euclidean(self):
    train, test = np.array([[0.0], [5.0], [9.0]]), np.array([[1.0], [9.5]])
    truth = pairs_lib.nearby(train, test, threshold=1.5)
    np.testing.assert_array_equal(truth.pairs, [[0, 0], [2, 1]])
    self.assertEqual(truth.all_kinds(), ('near',))

  def test_nearby_on_the_globe(self):
    paris, london, sydney = (
        (48.8566, 2.3522),
        (51.5074, -0.1278),
        (-33.87, 151.2),
    )
    train, test = np.array([london, sydney]), np.array([paris])
    # 344 km, as any atlas says.
    for threshold, number in ((340, 0), (348, 1), (17_100, 2)):
      if not number:
        with self.assertRaisesRegex(ValueError, r'closest are at 343\.'):
          pairs_lib.nearby(train, test, threshold=threshold, metric='haversine')
        continue
      truth = pairs_lib.nearby(
          train, test, threshold=threshold, metric='haversine'
      )
      self.assertLen(truth.pairs, number)

  @parameterized.named_parameters(
      ('shape', {'train_metadata': np.zeros((3, 1))}, r'\(3, 1\) and \(4, 2\)'),
      ('metric', {'metric': 'cosine'}, "got 'cosine'"),
      ('threshold', {'threshold': 0.0}, 'above 0, got 0'),
      ('finite', {'target_metadata': np.full((4, 2), np.nan)}, 'finite'),
      (
          'latitude',
          {'metric': 'haversine', 'train_metadata': np.full((3, 2), 120.0)},
          'latitude',
      ),
  )
  def test_metadata_errors(self, changes, words):
    arguments: dict[str, Any] = {
        'train_metadata': np.zeros((3, 2)),
        'target_metadata': np.ones((4, 2)),
        'threshold': 5.0,
    }
    with self.assertRaisesRegex(ValueError, words):
      pairs_lib.nearby(**(arguments | changes))

  @parameterized.parameters(
      ([[0, 1, 2]], ('a',), r'\[num, 2\]'),
      ([], (), 'at least one'),
      ([[0, 1]], ('a', 'b'), 'one kind for each of 1'),
      ([[0, 1], [0, 1]], ('a', 'b'), 'each pair once'),
  )
  def test_truth_errors(self, pairs, kinds, words):
    with self.assertRaisesRegex(ValueError, words):
      pairs_lib.Truth(pairs=pairs, kinds=kinds)


if __name__ == '__main__':
  absltest.main()
