"""Mislabels in a world where a wrong label does what it should."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import applications
from jdm import datamodels as datamodels_lib
from jdm.analysis import suspects
from jdm.applications import mislabels as lib

_NUM_TRAIN, _NUM_TEST, _NUM_MODELS = 60, 20, 400
_BAD = np.array([3, 17, 40, 41, 58])
_IS_BAD = np.isin(np.arange(_NUM_TRAIN), _BAD)
_MASKS = np.random.default_rng(0).random((_NUM_MODELS, _NUM_TRAIN)) < 0.5


def _margins():
  """A wrong label is learned by heart, and harms all others a little."""
  rng = np.random.default_rng(1)
  harm = 0.3 * _MASKS[:, _BAD].sum(axis=1)[:, None]
  noise = rng.normal(size=(2, _NUM_MODELS, _NUM_TRAIN))
  train = np.where(_IS_BAD[None], -2 + 3 * _MASKS, 2 + 0.2 * _MASKS)
  return train - harm + noise[0], 2 - harm + noise[1, :, :_NUM_TEST]


def _scores():
  train, test = _margins()
  return lib.pool_scores(
      _MASKS,
      margins=train,
      correctness=(train > 0).astype(float),
      losses=np.log1p(np.exp(-train)),
      test_margins=test,
  )


def _retrain(masks, replicates):
  """Every wrong label costs two points of accuracy."""
  accuracy = 0.9 - 0.02 * masks[:, _BAD].sum(axis=1)
  noise = np.random.default_rng(2).normal(0, 0.005, (replicates, len(masks)))
  return np.tile((accuracy[None] + noise)[:, :, None], _NUM_TEST)


def _datamodels(weights):
  fields: dict[str, Any] = {
      name: np.zeros(len(weights.T)) for name in ('lam', 'gap', 'val_mse')
  }
  return datamodels_lib.Datamodels(
      weights=weights,
      bias=np.arange(len(weights.T)),
      nnz=np.zeros(len(weights.T), int),
      train_ids=np.arange(len(weights)),
      target_ids=np.arange(len(weights.T)),
      **fields,
  )


class ScoresTest(parameterized.TestCase):

  def test_all_find_mislabels(self):
    scores = _scores()
    self.assertSameElements(
        scores,
        [
            'self_influence',
            'out_of_bag_margin',
            'harm',
            'data_oob',
            'memorization',
            'loss',
            'out_of_bag_loss',
            'harm_to_tests',
        ],
    )
    found = suspects.detect(scores, _BAD)
    for name, one in found.items():
      self.assertGreater(one.auc, 0.9, name)

  def test_values(self):
    train, _ = _margins()
    scores = _scores()
    right = train > 0
    for i in (3, 5):
      without = ~_MASKS[:, i]
      self.assertAlmostEqual(
          scores['data_oob'][i], -right[without, i].mean(), places=6
      )
      self.assertAlmostEqual(
          scores['out_of_bag_margin'][i], -train[without, i].mean(), places=6
      )
      losses = np.log1p(np.exp(-train[_MASKS[:, i], i]))
      self.assertAlmostEqual(scores['loss'][i], losses.mean(), places=6)
      harm = 0.0
      for j in np.setdiff1d(np.arange(_NUM_TRAIN), [i]):
        kept = ~_MASKS[:, j]
        inside = train[kept & _MASKS[:, i], j].mean()
        harm -= inside - train[kept & ~_MASKS[:, i], j].mean()
      self.assertAlmostEqual(scores['harm'][i], harm, places=4)

  def test_only_what_is_given(self):
    self.assertSameElements(
        lib.pool_scores(_MASKS, correctness=_margins()[0] > 0),
        ['data_oob', 'memorization'],
    )

  def test_an_example_in_all_models(self):
    masks = _MASKS.copy()
    masks[:, 4] = True
    with self.assertRaisesRegex(ValueError, '1 of 60 are not'):
      lib.pool_scores(masks, margins=_margins()[0])

  def test_datamodel_scores(self):
    weights = np.array([[0.0, 2.0, 1.0], [3.0, 0.0, -4.0], [0.5, 0.0, 0.0]])
    scores = lib.datamodel_scores(_datamodels(weights))
    np.testing.assert_allclose(scores['predicted_margin'], [-3.5, -3, 1])
    np.testing.assert_allclose(scores['datamodel_harm'], [-3, 1, -0.5])

  @parameterized.parameters((np.ones((3, 3)),), (np.zeros((3, 2)),))
  def test_datamodels_of_other_targets(self, weights):
    with self.assertRaisesRegex(ValueError, '--targets=train'):
      lib.datamodel_scores(_datamodels(weights))


class MislabelsTest(parameterized.TestCase):

  def test_found_and_cleaned(self):
    found = lib.mislabels(
        _scores(), bad=_BAD, retrain=_retrain, num_targets=_NUM_TEST
    )
    self.assertSameElements(found.order[:5], _BAD)
    self.assertEqual(found.chosen, 'data_oob')
    self.assertEqual(found.detections['data_oob'].precision, 1)
    self.assertEqual(found.detections[found.best].auc, 1)
    cleaning = found.cleaning
    self.assertEqual(cleaning.num_removed, 5)
    self.assertAlmostEqual(cleaning.change['suspects'], 0.1, delta=0.01)
    self.assertAlmostEqual(cleaning.change['mislabels'], 0.1, delta=0.01)
    self.assertLess(abs(cleaning.change['random']), 0.05)
    low, high = cleaning.interval['suspects']
    self.assertTrue(low < cleaning.change['suspects'] < high)
    self.assertEqual(cleaning.num_retrained, 4 * 10)
    written = json.loads(json.dumps(found.to_json()))
    self.assertLen(written['scores']['loss'], _NUM_TRAIN)

  def test_nothing_known(self):
    found = lib.mislabels(
        _scores(),
        chosen='loss',
        retrain=_retrain,
        num_targets=_NUM_TEST,
        replicates=2,
    )
    self.assertEmpty(found.detections)
    self.assertEqual(found.best, '')
    self.assertEqual(found.cleaning.num_removed, 6)  # A tenth of 60.
    self.assertLen(found.cleaning.interval['suspects'], 2)
    self.assertNotIn('mislabels', found.cleaning.change)

  def test_what_is_chosen_does_not_see_the_answers(self):
    scores = _scores()
    first = lib.mislabels(scores, bad=_BAD)
    other = lib.mislabels(scores, bad=[0, 1])
    np.testing.assert_array_equal(first.order, other.order)
    self.assertEqual(first.chosen, other.chosen)

  def test_accuracy_is_measured_where_it_is_asked_for(self):
    # A score that read the first tests looks good there for nothing.
    def retrain(masks, replicates, relabel=None):
      del relabel
      outcomes = np.zeros((replicates, len(masks), _NUM_TEST))
      outcomes[:, :, :2] = (~masks).sum(axis=1)[None, :, None]
      return outcomes

    def change(report_ids):
      found = lib.mislabels(
          _scores(),
          chosen='loss',
          retrain=retrain,
          num_targets=_NUM_TEST,
          report_ids=report_ids,
          replicates=2,
      )
      return found.cleaning.change['suspects']

    self.assertEqual(change([0, 1]), 6)
    self.assertEqual(change(np.arange(2, _NUM_TEST)), 0)

  def test_one_training_and_an_empty_class_are_refused(self):
    options = {'chosen': 'loss', 'num_targets': _NUM_TEST, 'retrain': _retrain}
    with self.assertRaisesRegex(ValueError, 'at least 2, got 1'):
      lib.mislabels(_scores(), replicates=1, **options)
    worst = np.argmax(_scores()['loss'])
    labels = (np.arange(len(_scores()['loss'])) == worst).astype(int)
    with self.assertRaisesRegex(ValueError, 'class 1 without an example'):
      lib.mislabels(_scores(), labels=labels, **options)

  def test_the_shelf_knows_it(self):
    self.assertIs(applications.APPLICATIONS['mislabels'], lib.mislabels)

  @parameterized.parameters(
      ({'chosen': 'magic'}, r"expects chosen among .* got 'magic'"),
      ({'bad': [60]}, 'train rows from 0 to 59'),
      ({'num_removed': 60}, 'num_removed from 1 to 59, got 60'),
      ({'num_removed': 0}, 'num_removed from 1 to 59, got 0'),
      ({'num_removed': 30, 'batch_size': 40}, 'smaller than a batch of 40'),
      ({'num_targets': 3}, 'expects `retrain'),
  )
  def test_errors(self, changes, message):
    options = {'retrain': _retrain, 'num_targets': _NUM_TEST, **changes}
    with self.assertRaisesRegex(ValueError, message):
      lib.mislabels(_scores(), **options)


if __name__ == '__main__':
  absltest.main()
