"""Tests that the planted answers are true."""

from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import neighbors

from jdm.datasets import synthetic


def _loo_effects(data, penalty=1.0):
  """Exact leave-one-out effects of ridge regression on one-hot labels."""
  train, test = (
      np.append(split.inputs, np.ones((len(split), 1)), axis=1).astype(float)
      for split in (data.train, data.test)
  )
  onehot = np.eye(data.num_classes)[data.train.labels]
  inverse = np.linalg.inv(train.T @ train + penalty * np.eye(train.shape[1]))
  residuals = onehot - train @ (inverse @ (train.T @ onehot))
  leverage = np.einsum('ij,jk,ik->i', train, inverse, train)
  scaled = residuals / (1 - leverage)[:, None]
  # [num_train, num_test]: on the score of the test label.
  return (train @ inverse @ test.T) * scaled[:, data.test.labels]


class SyntheticTest(parameterized.TestCase):

  def test_sizes(self):
    data = synthetic.load()
    self.assertEqual(data.train.inputs.shape, (600, 20))
    self.assertEqual(data.test.inputs.shape, (200, 20))
    self.assertEqual(data.planted.duplicates.shape, (20, 2))
    self.assertEqual(data.planted.mislabels.shape, (30,))
    self.assertEqual(data.planted.clusters.shape, (600,))
    self.assertEqual(data.planted.test_clusters.shape, (200,))

  @parameterized.parameters(0, 1)
  def test_duplicates_are_nearest_and_share_a_label(self, seed):
    data = synthetic.load(seed=seed)
    train, test = data.planted.duplicates.T
    nearest: Any = neighbors.NearestNeighbors(n_neighbors=1)
    nearest.fit(data.train.inputs)
    distances, rows = nearest.kneighbors(data.test.inputs)
    np.testing.assert_array_equal(rows[test, 0], train)
    others = np.setdiff1d(np.arange(200), test)
    self.assertLess(distances[test].max(), 0.1 * distances[others].min())
    np.testing.assert_array_equal(
        data.train.labels[train], data.test.labels[test]
    )

  def test_duplicates_matter(self):
    top = []
    for seed in range(3):
      data = synthetic.load(seed=seed)
      effects = _loo_effects(data)
      train, test = data.planted.duplicates.T
      top.append(effects[:, test].argmax(axis=0) == train)
    # Even for a linear model; by chance one in 600.
    self.assertGreater(np.mean(top), 0.7)

  def test_mislabels_are_what_differs_from_the_clusters(self):
    data = synthetic.load()
    planted = data.planted
    ordinary = planted.clusters >= 0
    differs = ordinary & (data.train.labels != planted.clusters // 3)
    np.testing.assert_array_equal(np.flatnonzero(differs), planted.mislabels)
    np.testing.assert_array_equal(
        np.flatnonzero(~ordinary), np.sort(planted.duplicates[:, 0])
    )
    clean = planted.test_clusters >= 0
    np.testing.assert_array_equal(
        data.test.labels[clean], planted.test_clusters[clean] // 3
    )

  def test_clusters_are_clusters(self):
    data = synthetic.load()
    train = data.planted.clusters >= 0
    test = data.planted.test_clusters >= 0
    model = neighbors.NearestCentroid()
    model.fit(data.train.inputs[train], data.planted.clusters[train])
    found = model.predict(data.test.inputs[test])
    self.assertGreater(np.mean(found == data.planted.test_clusters[test]), 0.9)
    self.assertLen(np.unique(data.planted.clusters[train]), 12)

  def test_same_seed_same_data(self):
    first, again = synthetic.load(seed=3), synthetic.load(seed=3)
    self.assertEqual(first.fingerprint, again.fingerprint)
    self.assertNotEqual(first.fingerprint, synthetic.load(seed=4).fingerprint)

  def test_take_renumbers_the_answers(self):
    data = synthetic.load()
    rows = np.random.default_rng(0).permutation(600)[:300]
    some = data.take(train=rows, test=100)
    planted = some.planted
    self.assertBetween(len(planted.mislabels), 1, 29)
    self.assertBetween(len(planted.duplicates), 1, 19)
    differs = some.train.labels != planted.clusters // 3
    np.testing.assert_array_equal(
        np.flatnonzero(differs & (planted.clusters >= 0)), planted.mislabels
    )
    train, test = planted.duplicates.T
    # The copy's noise is .02 in each feature.
    np.testing.assert_allclose(
        some.train.inputs[train], some.test.inputs[test], atol=0.15
    )

  def test_nothing_planted(self):
    data = synthetic.load(num_duplicates=0, num_mislabels=0)
    self.assertEqual(data.planted.duplicates.shape, (0, 2))
    self.assertEmpty(data.planted.mislabels)

  @parameterized.parameters(
      ({'num_classes': 1}, 'num_classes must be at least 2'),
      ({'num_train': 0}, 'num_train must be at least 1'),
      ({'num_train': 40}, 'plant fewer'),
      ({'num_test': 10}, 'plant fewer'),
      ({'num_mislabels': -1}, 'plant fewer'),
  )
  def test_errors(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      synthetic.load(**options)


if __name__ == '__main__':
  absltest.main()
