"""Embeddings of made-up datamodels whose dimension and clusters are known."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.analysis import directions as directions_lib
from jdm.applications import embeddings as lib

_NUM_TRAIN, _NUM_TARGETS = 60, 40
_LABELS = np.arange(_NUM_TARGETS) % 2
_GROUPS = np.arange(_NUM_TARGETS) % 4  # Two in each class.


def _weights(seed=0, noise=0.02):
  """Each group of targets relies on ten training examples of its own."""
  rng = np.random.default_rng(seed)
  weights = noise * rng.normal(size=(_NUM_TRAIN, _NUM_TARGETS))
  for group in range(4):
    weights[10 * group : 10 * group + 10, _GROUPS == group] += 1.0
  return weights


def _datamodels(weights, outcome='soft_margin'):
  num_train, num_targets = weights.shape
  fields: dict[str, Any] = {
      name: np.zeros(num_targets) for name in ('bias', 'lam', 'gap', 'val_mse')
  }
  return datamodels_lib.Datamodels(
      weights=weights,
      nnz=np.zeros(num_targets, int),
      train_ids=np.arange(num_train),
      target_ids=np.arange(num_targets),
      outcome=outcome,
      **fields,
  )


def _retrain(masks, replicates, *, relabel=None):
  del relabel
  noise = np.random.default_rng(0).normal(size=(replicates, len(masks), 1))
  return (masks @ _weights())[None] + 0.01 * noise


class SpectrumTest(parameterized.TestCase):

  @parameterized.parameters(1, 3, 10)
  def test_equal_variances_count_themselves(self, count):
    found = lib.spectrum(np.r_[np.full(count, 7.0), np.zeros(5)])
    self.assertAlmostEqual(found.participation_ratio, count)
    self.assertEqual(found.num_components, int(np.ceil(0.9 * count)))
    self.assertAlmostEqual(found.explained.sum(), 1.0)

  def test_unequal_variances_by_hand(self):
    found = lib.spectrum(np.array([8.0, 1.0, 1.0]))
    self.assertAlmostEqual(found.participation_ratio, 100 / 66)
    self.assertEqual(found.num_components, 2)

  def test_what_halves_have_in_common_is_free_of_noise(self):
    rng = np.random.default_rng(0)
    # Three equal directions among 200, under noise of more variance.
    basis = np.linalg.qr(rng.normal(size=(200, 3)))[0].T
    signal = rng.normal(size=(150, 3)) @ basis * 3
    noisy = [signal + 0.5 * rng.normal(size=signal.shape) for _ in range(2)]
    plain = lib.spectrum(
        np.linalg.svd(noisy[0] - noisy[0].mean(axis=0), compute_uv=False) ** 2
    )
    found = lib.reproducible_spectrum(*noisy)
    self.assertGreater(plain.participation_ratio, 5)
    self.assertAlmostEqual(found.participation_ratio, 3, delta=0.5)
    self.assertEqual(found.num_components, 3)
    self.assertAlmostEqual(found.explained.sum(), 1.0)

  def test_without_noise_it_is_the_plain_spectrum(self):
    rows = np.random.default_rng(1).normal(size=(12, 30))
    found = lib.reproducible_spectrum(rows, rows)
    expected = lib.spectrum(
        np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)[:11] ** 2
    )
    np.testing.assert_allclose(
        found.explained[:11], expected.explained, atol=1e-12
    )
    self.assertAlmostEqual(
        found.participation_ratio, expected.participation_ratio
    )

  def test_halves_with_nothing_in_common(self):
    rows = np.random.default_rng(1).normal(size=(6, 20))
    found = lib.reproducible_spectrum(rows, -rows)
    self.assertTrue(np.isnan(found.participation_ratio))
    self.assertEqual(found.num_components, 0)


class EmbeddingsTest(parameterized.TestCase):

  def test_planted_groups_are_components_and_clusters(self):
    found = lib.embeddings(
        _datamodels(_weights()),
        _LABELS,
        num_components=4,
        num_clusters=2,
        planted_clusters=_GROUPS,
    )
    self.assertEqual(found.targets, 'test')
    # Four groups about their mean span three directions.
    self.assertAlmostEqual(
        found.spectra['datamodels'].participation_ratio, 3, delta=0.1
    )
    self.assertGreater(found.spectra['shuffled'].participation_ratio, 20)
    self.assertEqual(found.cluster_agreement, {'planted': 1.0})
    self.assertIsNone(found.removals)
    self.assertNotIn('features', found.spectra)

  def test_beside_features_and_halves(self):
    rng = np.random.default_rng(3)
    features = rng.normal(size=(_NUM_TARGETS, 5))
    found = lib.embeddings(
        _datamodels(_weights()),
        _LABELS,
        num_components=2,
        num_clusters=2,
        features=features,
        halves=(_weights(1), _weights(2)),
        planted_clusters=_GROUPS,
    )
    self.assertEqual(found.cluster_agreement['halves'], 1.0)
    self.assertLess(found.cluster_agreement['features_planted'], 0.5)
    self.assertLen(found.spectra['features'].explained, 5)
    self.assertLess(found.spectra['reproducible'].participation_ratio, 3.05)
    assert found.half_scores is not None
    self.assertEqual(found.half_scores.shape, (2, 2, _NUM_TRAIN))
    np.testing.assert_allclose(found.half_scores[0], found.scores, atol=0.05)
    self.assertTrue(np.all(found.reliability > 0.5))
    self.assertLen(found.to_json()['reliability'], 2)

  def test_removals(self):
    found = lib.embeddings(
        _datamodels(_weights()),
        _LABELS,
        num_components=3,
        num_clusters=2,
        retrain=_retrain,
        plan=directions_lib.RemovalPlan(
            num_directions=2, num_removed=10, replicates=3
        ),
    )
    self.assertEqual(found.removals.removed.shape, (2, 2, 10))
    highest = found.removals.observed[:, 0, 0]
    self.assertTrue((highest < -1).all(), highest)
    json.dumps(found.to_json())

  def test_train_targets_are_embedded_where_given(self):
    rng = np.random.default_rng(0)
    groups = np.arange(_NUM_TRAIN) // 10
    # Training examples of a group rely on each other.
    train = (groups[:, None] == groups[None]) * 1.0
    train += 0.01 * rng.normal(size=train.shape)
    np.fill_diagonal(train, 0)
    found = lib.embeddings(
        _datamodels(_weights()),
        groups % 2,
        train_datamodels=_datamodels(train, 'soft_margin_train'),
        halves=(train, train[:, ::-1]),
        num_components=3,
        num_clusters=3,
        planted_clusters=groups,
    )
    self.assertEqual(found.targets, 'train')
    self.assertEqual(found.cluster_agreement['planted'], 1.0)
    self.assertEqual(found.scores.shape, (3, _NUM_TRAIN))
    assert found.half_scores is not None
    np.testing.assert_allclose(found.half_scores[0], found.scores)
    np.testing.assert_allclose(found.half_scores[1], found.scores[:, ::-1])
    self.assertEqual(found.directions.projections.shape, (3, _NUM_TARGETS))
    # A test target lies where the training examples are that it relies on.
    for group in range(4):
      own = found.directions.projections[:, _GROUPS == group].mean(axis=1)
      there = found.scores[:, groups == group].mean(axis=1)
      np.testing.assert_allclose(own, there, atol=0.15)

  def test_is_a_pure_function_of_its_seed(self):
    first, second = (
        lib.embeddings(_datamodels(_weights()), _LABELS, num_components=2)
        for _ in range(2)
    )
    self.assertEqual(first.to_json(), second.to_json())

  @parameterized.parameters(
      ({'labels': _LABELS[:3]}, 'labels of the 40 test targets'),
      ({'features': np.zeros((3, 2))}, 'features of the 40 test targets'),
      ({'planted_clusters': _GROUPS[:3]}, 'planted_clusters of the 40'),
      ({'num_components': 40}, 'from 1 to 39 directions'),
      ({'halves': (np.zeros((3, 4)),) * 2}, r'halves of shape \[60, 40\]'),
      (
          {'train_datamodels': _datamodels(_weights())},
          r'weights \[60, 60\], a target for every training example',
      ),
  )
  def test_errors(self, options, message):
    options = {'labels': _LABELS, 'num_components': 3} | options
    with self.assertRaisesRegex(ValueError, message):
      lib.embeddings(_datamodels(_weights()), **options)


if __name__ == '__main__':
  absltest.main()
