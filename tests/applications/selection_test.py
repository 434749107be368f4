"""Selection in a planted linear world."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.applications import selection as lib

_NUM_TRAIN, _NUM_TARGETS = 40, 16
_RNG = np.random.default_rng(0)
_LABELS = np.arange(_NUM_TRAIN) % 4
_TARGET_LABELS = np.arange(_NUM_TARGETS) % 4
# Examples help targets of their class, some more than others.
_WORTH = _RNG.uniform(0.5, 2, _NUM_TRAIN)
_WEIGHTS = np.where(
    _LABELS[:, None] == _TARGET_LABELS[None], _WORTH[:, None], -0.1
) + 0.1 * _RNG.normal(size=(_NUM_TRAIN, _NUM_TARGETS))
_CLASS_1 = np.flatnonzero(_TARGET_LABELS == 1)


def _datamodels(outcome='margin'):
  fields: dict[str, Any] = {n: np.zeros(_NUM_TARGETS) for n in ('lam', 'gap')}
  return datamodels_lib.Datamodels(
      weights=_WEIGHTS,
      bias=np.full(_NUM_TARGETS, -2.0),
      val_mse=np.zeros(_NUM_TARGETS),
      nnz=np.zeros(_NUM_TARGETS, int),
      train_ids=np.arange(_NUM_TRAIN),
      target_ids=np.arange(_NUM_TARGETS),
      outcome=outcome,
      **fields,
  )


def _retrain(masks, replicates, seed=0):
  rng = np.random.default_rng(seed)
  outcomes = np.stack([masks @ _WEIGHTS - 2.0] * replicates)
  return outcomes + 0.01 * rng.normal(size=outcomes.shape)


def _selection(**changes):
  options = {
      'target_ids': _CLASS_1,
      'sizes': [6, 10, 14],
      'train_labels': _LABELS,
      'target_labels': _TARGET_LABELS,
      'num_classes': 4,
      'replicates': 3,
      'num_random': 30,
  } | changes
  return lib.selection(_datamodels(), options.pop('target_ids'), **options)


class PicksTest(parameterized.TestCase):

  def test_highest_mean_weight_of_the_choice_targets_comes_first(self):
    found = _selection(min_per_class=0, train_labels=None)
    self.assertEqual(set(found.orders), {'datamodel', 'random'})
    means = _WEIGHTS[:, found.choice_ids].mean(axis=1)
    np.testing.assert_array_equal(
        found.orders['datamodel'], np.argsort(-means, kind='stable')
    )

  def test_the_report_half_is_not_looked_at(self):
    found = _selection(choice_ids=_CLASS_1[:2])
    self.assertEqual(found.choice_ids.tolist(), _CLASS_1[:2].tolist())
    self.assertEqual(found.report_ids.tolist(), _CLASS_1[2:].tolist())
    self.assertLen(found.rest_ids, 12)
    half = _selection()
    self.assertLen(half.choice_ids, 2)
    self.assertEqual(
        sorted([*half.choice_ids, *half.report_ids]), _CLASS_1.tolist()
    )

  @parameterized.parameters(1, 2)
  def test_every_class_is_kept(self, count):
    found = _selection(min_per_class=count, sizes=[4 * count, 20])
    for orders in found.orders.values():
      for order in np.atleast_2d(orders):
        first = np.bincount(_LABELS[order[: 4 * count]], minlength=4)
        self.assertEqual(first.tolist(), [count] * 4)
    means = _WEIGHTS[:, found.choice_ids].mean(axis=1)
    order = found.orders['datamodel']
    for label in range(4):  # The best of each class.
      own = order[: 4 * count][_LABELS[order[: 4 * count]] == label]
      best = np.flatnonzero(_LABELS == label)
      best = best[np.argsort(-means[best])][:count]
      self.assertEqual(set(own), set(best))
    self.assertTrue((np.diff(means[order[4 * count :]]) <= 0).all())

  def test_same_class(self):
    found = _selection()
    for order in found.orders['same class']:
      # After one of each class, the 9 that are left of class 1.
      self.assertEqual(_LABELS[order[4:13]].tolist(), [1] * 9)

  def test_proportional_order(self):
    labels = np.repeat([0, 1, 2], 30)
    order = lib.proportional_order(
        labels, np.array([0, 0, 0, 1]), np.random.default_rng(0)
    )
    self.assertEqual(sorted(order), list(range(90)))
    for size in (8, 20, 40):
      share = np.mean(labels[order[:size]] == 0)
      # One example more or less than three quarters.
      self.assertAlmostEqual(share, 0.75, delta=1.5 / size)
    self.assertEqual(set(labels[order[60:]]), {2})

  def test_other_scores(self):
    score = _RNG.normal(size=_WEIGHTS.shape)
    found = _selection(scores={'mine': score}, train_labels=None)
    means = score[:, found.choice_ids].mean(axis=1)
    np.testing.assert_array_equal(found.orders['mine'], np.argsort(-means))


class RetrainedTest(parameterized.TestCase):

  def test_datamodel_picks_win(self):
    similarity = np.zeros(_WEIGHTS.shape)
    found = _selection(retrain=_retrain, scores={'alike': similarity})
    curves = found.curves
    self.assertEqual(curves.measures, ('target', 'target accuracy', 'rest'))
    gain = dict(zip(curves.orders, curves.gain[0]))
    self.assertGreater(gain['datamodel'], gain['same class'])
    self.assertGreater(gain['same class'], gain['alike'])
    place = curves.orders.index('datamodel')
    self.assertGreater(curves.gain_interval[0, 0, place], 0)
    rest = dict(zip(curves.orders, curves.gain[2]))
    self.assertLess(rest['datamodel'], 0)
    # 2 rules 3 times, 2 random ones of 30, at 3 sizes; 3 on everything.
    self.assertEqual(found.num_retrained, 3 * (2 * 3 + 2 * 30) + 3)

  def test_predictions_of_a_linear_world_are_right(self):
    found = _selection(retrain=_retrain)
    for number, name in enumerate(found.curves.orders):
      np.testing.assert_allclose(
          found.predicted[name], found.curves.values[0, number], atol=0.05
      )
    self.assertAlmostEqual(found.agreement.slope, 1.0, delta=0.05)
    full = (_WEIGHTS.sum(axis=0) - 2)[found.report_ids].mean()
    self.assertAlmostEqual(found.full['target'], full, delta=0.05)

  def test_all_targets_have_no_rest(self):
    found = _selection(target_ids=np.arange(_NUM_TARGETS), retrain=_retrain)
    self.assertEqual(found.curves.measures, ('target', 'target accuracy'))

  def test_other_outcomes_have_no_accuracy(self):
    found = lib.selection(
        _datamodels('prediction'), [0, 4], sizes=[5], retrain=_retrain
    )
    self.assertNotIn('target accuracy', found.curves.measures)

  def test_json(self):
    for retrain in (None, _retrain):
      found = _selection(retrain=retrain)
      values = json.loads(json.dumps(found.to_json()))
      self.assertEqual(values['sizes'], [6, 10, 14])
      self.assertEqual(set(values['orders']), {'datamodel'})
      self.assertLen(values['orders']['datamodel'], _NUM_TRAIN)


class ErrorsTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('target', {'target_ids': [16]}, r'target_ids in \[0, 16\), got \[16\]'),
      ('twice', {'target_ids': [1, 1]}, 'once'),
      ('one', {'target_ids': [1]}, 'at least two targets'),
      (
          'choice',
          {'choice_ids': [0]},
          r'choice_ids among target_ids, got \[0\]',
      ),
      ('no_report', {'choice_ids': _CLASS_1}, 'no target to report on'),
      ('sizes', {'sizes': [10, 6]}, 'ascending sizes'),
      ('large', {'sizes': [41]}, 'cannot add 41 to 41 of 40'),
      ('batch', {'batch_size': 8}, 'add by datamodel.*a batch of 8'),
      ('class', {'min_per_class': 0}, 'leave class 0 without an example'),
      ('score', {'scores': {'s': np.zeros(3)}}, r"'s' as finite.*\[40, 16\]"),
      (
          'name',
          {'scores': {'random': np.zeros(_WEIGHTS.shape)}},
          "cannot be called 'random'",
      ),
      ('quota', {'min_per_class': -1}, 'min_per_class of at least 0'),
      ('draws', {'num_random': 0}, 'num_random of at least 1'),
  )
  def test_arguments(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      _selection(**changes)

  def test_losses(self):
    with self.assertRaisesRegex(ValueError, "more is better, got 'log_loss'"):
      lib.selection(_datamodels('log_loss'), [0, 1], sizes=[5])


if __name__ == '__main__':
  absltest.main()
