"""Backdoor search on matrices of influence with a planted set."""

import json

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import applications
from jdm.applications import backdoor as lib

_NUM_TRAIN, _NUM_TEST = 180, 12
_LABELS = np.arange(_NUM_TRAIN) % 3
_POISONED = np.flatnonzero(_LABELS == 1)[:20]
_TRIGGERED = np.array([1, 5, 9])


def _influence(seed, *, strength=0.8, noise=0.5):
  """Classes help their own, the poisoned ones each other and no one else."""
  rng = np.random.default_rng(seed)
  matrix = 0.3 * (_LABELS[:, None] == _LABELS[None])
  is_bad = np.isin(np.arange(_NUM_TRAIN), _POISONED)
  matrix = np.where(is_bad[:, None] ^ is_bad[None], 0, matrix)
  matrix = matrix + strength * (is_bad[:, None] & is_bad[None])
  return matrix + rng.normal(0, noise, size=matrix.shape)


_HALVES = (_influence(1), _influence(2))
_WHOLE = (_HALVES[0] + _HALVES[1]) / 2


def _retrain(masks, replicates):
  """A trigger works as far as the poisoned examples are there."""
  outcomes = np.ones((replicates, len(masks), _NUM_TEST))
  share = masks[:, _POISONED].mean(axis=1)
  outcomes[:, :, _TRIGGERED] = 1 - share[None, :, None]
  noise = np.random.default_rng(0).normal(0, 0.01, outcomes.shape)
  return outcomes + noise


class BackdoorTest(parameterized.TestCase):

  def test_finds_the_set_its_label_and_its_size(self):
    loss = np.random.default_rng(0).normal(size=_NUM_TRAIN)
    found = lib.backdoor(
        _WHOLE,
        _LABELS,
        halves=_HALVES,
        poisoned=_POISONED,
        baselines={'loss': loss},
    )
    self.assertEqual(found.label, 1)
    self.assertGreaterEqual(found.precision, 0.9)
    self.assertGreaterEqual(found.recall, 0.9)
    self.assertTrue(found.is_cross_fitted)
    self.assertGreater(found.detections['backdoor'].auc, 0.99)
    self.assertGreaterEqual(found.detections['backdoor'].precision, 0.9)
    self.assertLess(found.detections['loss'].auc, 0.7)
    self.assertEqual(found.values.shape, (3, len(found.sizes)))
    chosen = np.flatnonzero(found.sizes == len(found.rows))[0]
    self.assertGreaterEqual(
        found.values[1, chosen], 0.95 * np.nanmax(found.values)
    )
    others = found.scores[_LABELS != 1]
    self.assertTrue((others == found.scores.min()).all())
    self.assertNotIn('NaN', json.dumps(found.to_json()['rows']))

  def test_values_are_of_models_that_did_not_choose(self):
    draws = np.random.default_rng(0).normal(size=(2, 200, 200))
    noise = draws[0], draws[1]
    fair = lib.backdoor(draws.mean(axis=0), halves=noise, sizes=[40])
    biased = lib.backdoor(noise[0], sizes=[40])
    self.assertFalse(biased.is_cross_fitted)
    # A sum of 1,600 entries has standard deviation 40; a mean of two, 28.
    self.assertLess(np.abs(fair.values).max(), 3 * 28)
    self.assertGreater(biased.values.min(), 4 * 40)

  def test_known_rows_only_measure(self):
    options = {'halves': _HALVES, 'sizes': [10, 20]}
    found = [
        lib.backdoor(_WHOLE, _LABELS, poisoned=rows, **options)
        for rows in (_POISONED, [0, 3], None)
    ]
    for other in found[1:]:
      np.testing.assert_array_equal(found[0].rows, other.rows)
      np.testing.assert_array_equal(found[0].scores, other.scores)
    self.assertTrue(np.isnan(found[2].precision))
    self.assertEmpty(found[2].detections)

  def test_without_labels(self):
    strong = _influence(0, strength=2)
    found = lib.backdoor(strong, sizes=[20], poisoned=_POISONED)
    self.assertEqual(found.label, -1)
    self.assertEqual(found.precision, 1)

  def test_renamed_labels_and_shuffled_rows_change_nothing(self):
    order = np.random.default_rng(0).permutation(_NUM_TRAIN)
    halves = tuple(half[np.ix_(order, order)] for half in _HALVES)
    found = lib.backdoor(_WHOLE, _LABELS, halves=_HALVES, sizes=[20])
    other = lib.backdoor(
        _WHOLE[np.ix_(order, order)],
        5 - _LABELS[order],
        halves=halves,
        sizes=[20],
    )
    self.assertEqual(other.label, 4)
    self.assertSameElements(order[other.rows], found.rows)

  def test_removal(self):
    found = lib.backdoor(_WHOLE, _LABELS, halves=_HALVES, sizes=[20])
    found = lib.removal(
        found,
        _LABELS,
        _retrain,
        num_targets=_NUM_TEST,
        triggered=_TRIGGERED,
    )
    change = found.removal.change
    self.assertAlmostEqual(change['found']['triggered'], 1, delta=0.1)
    self.assertAlmostEqual(change['random']['triggered'], 0, delta=0.1)
    self.assertAlmostEqual(change['found']['others'], 0, delta=0.02)
    low, high = found.removal.interval['found']['triggered']
    self.assertTrue(low < change['found']['triggered'] < high)
    json.dumps(found.to_json())

  def test_removal_without_known_triggers(self):
    found = lib.backdoor(_WHOLE, _LABELS, halves=_HALVES, sizes=[20])
    found = lib.removal(
        found, _LABELS, _retrain, num_targets=_NUM_TEST, replicates=2
    )
    self.assertSameElements(found.removal.groups, ['others'])
    self.assertLen(found.removal.interval['found']['others'], 2)

  def test_as_many_are_removed_at_random(self):
    found = lib.backdoor(_WHOLE, _LABELS, halves=_HALVES, sizes=[40])
    self.assertGreater(2 * len(found.rows), np.sum(_LABELS == found.label))
    counts = []

    def retrain(masks, replicates, relabel=None):
      counts.extend(np.sum(~masks, axis=1))
      return _retrain(masks, replicates)

    lib.removal(found, _LABELS, retrain, num_targets=_NUM_TEST, replicates=2)
    self.assertEqual(counts, [0, len(found.rows), len(found.rows)])

  def test_a_class_that_would_be_empty_is_named(self):
    found = lib.backdoor(_WHOLE, _LABELS, halves=_HALVES, sizes=[40])
    rare = np.where(np.isin(np.arange(len(_LABELS)), found.rows), 7, 0)
    with self.assertRaisesRegex(ValueError, 'class 7 without an example'):
      lib.removal(found, rare, _retrain, num_targets=_NUM_TEST)

  def test_the_shelf_knows_it(self):
    self.assertIs(applications.APPLICATIONS['backdoor'], lib.backdoor)

  @parameterized.parameters(
      ({'influence': _WHOLE[:5]}, 'num_train, num_train'),
      ({'halves': (_WHOLE,)}, 'two halves of the same shape'),
      ({'halves': (_WHOLE, _WHOLE[:9, :9])}, 'two halves of the same shape'),
      ({'labels': _LABELS[:5]}, '180 integer labels'),
      ({'labels': _LABELS / 2}, '180 integer labels'),
      ({'sizes': [20, 10]}, 'ascending sizes from 1 to 48'),
      ({'sizes': [60]}, 'ascending sizes from 1 to 48'),
      ({'influence': np.full((180, 180), np.nan)}, 'train more models'),
      ({'labels': np.arange(180)}, 'a label with two examples'),
      ({'poisoned': [180]}, 'train rows from 0 to 179'),
  )
  def test_errors(self, changes, message):
    options = {'influence': _WHOLE, 'labels': _LABELS, **changes}
    with self.assertRaisesRegex(ValueError, message):
      lib.backdoor(**options)

  def test_removal_errors(self):
    found = lib.backdoor(_WHOLE, _LABELS, halves=_HALVES, sizes=[20])
    options = {'num_targets': _NUM_TEST, 'triggered': [12]}
    with self.assertRaisesRegex(ValueError, 'rows from 0 to 11'):
      lib.removal(found, _LABELS, _retrain, **options)
    with self.assertRaisesRegex(ValueError, 'smaller than a batch of 170'):
      lib.removal(
          found, _LABELS, _retrain, num_targets=_NUM_TEST, batch_size=170
      )


if __name__ == '__main__':
  absltest.main()
