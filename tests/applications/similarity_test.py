"""Neighbours by datamodels and otherwise, against loops and planted classes."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib
from jdm import datasets
from jdm.applications import similarity as lib
from jdm.reports import similarity_plots

_NUM_TRAIN, _NUM_TARGETS, _COUNT = 40, 15, 4
_RNG = np.random.default_rng(0)
_TRAIN_LABELS = _RNG.integers(0, 3, _NUM_TRAIN)
_LABELS = _RNG.integers(0, 3, _NUM_TARGETS)
# Examples of the target's class help.
_WEIGHTS = _RNG.normal(size=(_NUM_TRAIN, _NUM_TARGETS)) + 2.0 * (
    _TRAIN_LABELS[:, None] == _LABELS[None]
)
_FEATURES = (
    _RNG.normal(size=(_NUM_TRAIN, 6)),
    _RNG.normal(size=(_NUM_TARGETS, 6)),
)


def _datamodels(weights=_WEIGHTS):
  num_train, num_targets = weights.shape
  fields: dict[str, Any] = {
      name: np.zeros(num_targets) for name in ('bias', 'lam', 'gap', 'val_mse')
  }
  return datamodels_lib.Datamodels(
      weights=weights,
      nnz=np.zeros(num_targets, int),
      train_ids=np.arange(num_train),
      target_ids=np.arange(num_targets),
      **fields,
  )


def _find(weights=_WEIGHTS, **changes):
  arguments: dict[str, Any] = {
      'train_labels': _TRAIN_LABELS,
      'target_labels': _LABELS,
      'features': {'representation': _FEATURES},
      'distances': {'pixels': _FEATURES},
      'count': _COUNT,
  }
  return lib.similarity(_datamodels(weights), **(arguments | changes))


class NeighboursTest(absltest.TestCase):

  def test_proponents_and_opponents(self):
    found = _find()
    for target in range(_NUM_TARGETS):
      order = np.argsort(-_WEIGHTS[:, target])
      proponents = found.train.neighbours[lib.WEIGHTS]
      np.testing.assert_array_equal(proponents.ids[target], order[:_COUNT])
      np.testing.assert_array_equal(
          found.opponents.ids[target], order[::-1][:_COUNT]
      )
      np.testing.assert_allclose(
          found.opponents.scores[target],
          np.sort(_WEIGHTS[:, target])[:_COUNT],
      )

  def test_other_measures(self):
    found, (train, test) = _find(), _FEATURES
    for target in range(_NUM_TARGETS):
      distances = np.linalg.norm(train - test[target], axis=1)
      np.testing.assert_array_equal(
          found.train.neighbours['pixels'].ids[target],
          np.argsort(distances)[:_COUNT],
      )
      cosines = train @ test[target] / np.linalg.norm(train, axis=1)
      np.testing.assert_array_equal(
          found.train.neighbours['representation'].ids[target],
          np.argsort(-cosines)[:_COUNT],
      )

  def test_targets_by_the_cosine_of_their_weights(self):
    found = _find(target_ids=[3, 11])
    units = _WEIGHTS / np.linalg.norm(_WEIGHTS, axis=0)
    near = found.targets.neighbours[lib.WEIGHTS]
    for place, target in enumerate((3, 11)):
      cosines = units.T @ units[:, target]
      cosines[target] = -2  # Not a neighbour of itself.
      np.testing.assert_array_equal(
          near.ids[place], np.argsort(-cosines)[:_COUNT]
      )
      np.testing.assert_allclose(
          near.scores[place], np.sort(cosines)[::-1][:_COUNT], rtol=1e-5
      )

  def test_weights_of_0_are_no_neighbours(self):
    weights = np.zeros((_NUM_TRAIN, _NUM_TARGETS))
    weights[[5, 6], 0] = [0.5, 2.0]
    weights[7, 0] = -1
    found = _find(weights, target_ids=[0, 1])
    near = found.train.neighbours[lib.WEIGHTS]
    np.testing.assert_array_equal(near.ids, [[6, 5, -1, -1], [-1] * 4])
    np.testing.assert_array_equal(near.scores[0], [2, 0.5, np.nan, np.nan])
    np.testing.assert_array_equal(found.opponents.ids[0], [7, -1, -1, -1])
    shares = _TRAIN_LABELS[[6, 5]] == _LABELS[0]
    self.assertAlmostEqual(found.train.same_class[0], shares.mean())

  def test_frequency(self):
    frequency = np.random.default_rng(1).random(_WEIGHTS.shape)
    found = _find(frequency=frequency)
    near = found.train.neighbours[lib.WEIGHTS]
    for target in range(_NUM_TARGETS):
      np.testing.assert_array_equal(
          near.frequency[target], frequency[near.ids[target], target]
      )
    self.assertIsNotNone(found.opponents.frequency)
    self.assertIsNone(found.train.neighbours['pixels'].frequency)
    self.assertIsNone(found.targets.neighbours[lib.WEIGHTS].frequency)


class ComparisonTest(absltest.TestCase):

  def test_share_of_the_class(self):
    found = _find()
    self.assertEqual(
        found.train.methods, (lib.WEIGHTS, 'representation', 'pixels')
    )
    for number, method in enumerate(found.train.methods):
      ids = found.train.neighbours[method].ids
      shares = [
          np.mean(_TRAIN_LABELS[ids[t]] == _LABELS[t])
          for t in range(_NUM_TARGETS)
      ]
      self.assertAlmostEqual(found.train.same_class[number], np.mean(shares))
      expected = stats.t.interval(
          0.95, _NUM_TARGETS - 1, np.mean(shares), stats.sem(shares)
      )
      np.testing.assert_allclose(
          found.train.same_class_interval[:, number], expected
      )
    self.assertGreater(
        found.train.same_class[0], found.train.random_same_class + 0.3
    )

  def test_overlap(self):
    found = _find()
    for one in (found.train, found.targets):
      for i, j in np.ndindex(3, 3):
        a, b = one.methods[i], one.methods[j]
        shared = [
            len(set(x) & set(y)) / _COUNT
            for x, y in zip(one.neighbours[a].ids, one.neighbours[b].ids)
        ]
        self.assertAlmostEqual(one.overlap[i, j], np.mean(shared))

  def test_chance(self):
    """What random scores give on average, over many draws."""
    found = _find()
    rng = np.random.default_rng(0)
    same, shared = [], []
    for _ in range(300):
      draw = _find(
          rng.normal(size=_WEIGHTS.shape),
          distances={},
          features={'other': (rng.normal(size=(_NUM_TRAIN, 6)), _FEATURES[1])},
      )
      same.append(draw.train.same_class[0])
      shared.append(draw.train.overlap[0, 1])
    self.assertAlmostEqual(found.train.random_overlap, _COUNT / _NUM_TRAIN)
    self.assertAlmostEqual(
        found.targets.random_overlap, _COUNT / (_NUM_TARGETS - 1)
    )
    # Four standard errors of 300 draws.
    self.assertLess(
        abs(np.mean(same) - found.train.random_same_class),
        4 * stats.sem(same),
    )
    self.assertLess(
        abs(np.mean(shared) - found.train.random_overlap),
        4 * stats.sem(shared),
    )

  def test_json(self):
    values = json.loads(json.dumps(_find().to_json()))
    self.assertEqual(values['count'], _COUNT)
    self.assertEqual(
        set(values['train']['neighbours']),
        {lib.WEIGHTS, 'representation', 'pixels'},
    )

  def test_alone(self):
    found = _find(features=None, distances=None)
    self.assertEqual(found.train.methods, (lib.WEIGHTS,))
    np.testing.assert_array_equal(found.train.overlap, [[1]])


class ErrorsTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('labels', {'train_labels': np.zeros(3)}, r'train_labels \[40\]'),
      ('count', {'count': 15}, 'count from 1 to 14 .*, got 15'),
      ('zero', {'count': 0}, 'got 0'),
      ('ids', {'target_ids': [15]}, r'in \[0, 15\), got 15'),
      ('repeated', {'target_ids': [1, 1]}, 'each of target_ids once'),
      ('none', {'target_ids': []}, 'at least one'),
      ('float', {'target_ids': [1.0]}, 'integers'),
      (
          'frequency',
          {'frequency': np.zeros(3)},
          r'shape \(40, 15\), got \(3,\)',
      ),
      ('name', {'features': {lib.WEIGHTS: _FEATURES}}, "none 'datamodels'"),
      ('twice', {'features': {'pixels': _FEATURES}}, 'each name once'),
      (
          'features',
          {'features': {'r': _FEATURES[::-1]}},
          "'r' of 40 training examples and 15 targets, got 15 and 40",
      ),
  )
  def test_arguments(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      _find(**changes)


class PlotsTest(absltest.TestCase):

  def test_pictures(self):
    data = datasets.load('digits', num_train=50, num_test=20)
    weights = np.random.default_rng(0).normal(size=(50, 20))
    found = lib.similarity(
        _datamodels(weights),
        train_labels=data.train.labels,
        target_labels=data.test.labels,
        distances={'pixels': (data.train.inputs, data.test.inputs)},
        count=3,
        frequency=np.full((50, 20), 0.75),
    )
    grid = similarity_plots.train_grid(data, found, places=[0, 4], count=3)
    # Titles of the target and three groups; two targets of 1 + 9 images.
    self.assertLen(grid.axes, 4 + 2 * 10)
    notes = [axes.get_xlabel() for axes in grid.axes]
    self.assertTrue(any('75%' in note for note in notes))
    grid = similarity_plots.target_grid(data, found, places=[0, 4], count=3)
    self.assertLen(grid.axes, 3 + 2 * 7)
    self.assertLen(similarity_plots.same_class(found).axes, 2)
    self.assertLen(similarity_plots.overlap(found).axes, 2)

  def test_without_images(self):
    data = datasets.load('synthetic', num_train=60, num_test=40)
    found = lib.similarity(
        _datamodels(np.random.default_rng(0).normal(size=(60, 40))),
        train_labels=data.train.labels,
        target_labels=data.test.labels,
        count=3,
    )
    self.assertIsNone(similarity_plots.train_grid(data, found))
    self.assertIsNone(similarity_plots.target_grid(data, found))


if __name__ == '__main__':
  absltest.main()
