"""Unlearning in a planted linear world, where shifts are exact."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib
from jdm.applications import unlearning as lib

_NUM_TRAIN, _NUM_TARGETS = 30, 25
_WEIGHTS = np.random.default_rng(0).normal(size=(_NUM_TRAIN, _NUM_TARGETS))
_FORGET = {'some': [3, 8], 'others': np.array([0, 1, 2, 3])}


def _datamodels(weights=_WEIGHTS, outcome='soft_margin', target_ids=None):
  num_train, num_targets = weights.shape
  fields: dict[str, Any] = {
      name: np.zeros(num_targets) for name in ('bias', 'lam', 'gap', 'val_mse')
  }
  ids = np.arange(num_targets) if target_ids is None else target_ids
  return datamodels_lib.Datamodels(
      weights=weights,
      nnz=np.zeros(num_targets, int),
      train_ids=np.arange(num_train),
      target_ids=ids,
      outcome=outcome,
      **fields,
  )


def _retrain(masks, replicates, seed=0, weights=_WEIGHTS):
  rng = np.random.default_rng(seed)
  outcomes = np.stack([masks @ weights] * replicates)
  return outcomes + 0.5 * rng.normal(size=outcomes.shape)


class KlomTest(parameterized.TestCase):

  def test_against_scipy(self):
    rng = np.random.default_rng(0)
    unlearned = rng.normal(size=(60, 4))
    retrained = rng.normal(0.5, size=(50, 4))
    found = lib.klom(unlearned, retrained, num_bins=8)
    for target in range(4):
      own = retrained[:, target]
      edges = np.linspace(own.min(), own.max(), 7)
      edges = [-np.inf, *edges[:-1], np.nextafter(edges[-1], np.inf), np.inf]
      p = np.histogram(unlearned[:, target], edges)[0] / 60
      q = np.maximum(np.histogram(own, edges)[0] / 50, 1e-5)
      # scipy makes q sum to one.
      self.assertAlmostEqual(
          found[target], stats.entropy(p, q) - np.log(q.sum()), places=6
      )

  def test_of_itself_and_of_something_else(self):
    values = np.random.default_rng(0).normal(size=(100, 5))
    np.testing.assert_allclose(lib.klom(values, values), 0, atol=1e-12)
    np.testing.assert_allclose(lib.klom(values + 100, values), np.log(1e5))

  def test_constant_outcomes(self):
    same = np.ones((40, 2))
    np.testing.assert_allclose(lib.klom(same, same), 0)
    np.testing.assert_allclose(lib.klom(same + 1e-3, same), np.log(1e5))

  def test_errors(self):
    values = np.zeros((5, 2))
    with self.assertRaisesRegex(ValueError, 'at least 3 bins, got 2'):
      lib.klom(values, values, num_bins=2)
    with self.assertRaisesRegex(ValueError, 'num_models, num_targets'):
      lib.klom(values, values[:, :1])


class UnlearningTest(parameterized.TestCase):

  def test_shift_of_a_linear_world_reaches_the_floor(self):
    found = lib.unlearning(_datamodels(), _FORGET, retrain=_retrain)
    self.assertEqual(found.num_bins, 20)
    self.assertEqual(found.num_retrained, 3 * 200)
    for name, rows in _FORGET.items():
      np.testing.assert_allclose(
          found.predicted[name], -_WEIGHTS[rows].sum(axis=0)
      )
      self.assertGreater(found.agreement[name]['test'].spearman, 0.95)
      self.assertAlmostEqual(found.agreement[name]['test'].slope, 1, delta=0.05)
      change = np.sqrt(np.mean(found.observed[name] ** 2))
      self.assertAlmostEqual(found.rms_change[name]['test'], change)
      distances = found.klom[name]['test']
      self.assertEqual(tuple(distances), lib.METHODS)
      self.assertGreater(distances['nothing'].mean, 2 * distances['floor'].mean)
      # The same distribution as that of the floor, in another sample.
      for method in ('predicted', 'observed mean'):
        self.assertAlmostEqual(
            distances[method].mean, distances['floor'].mean, delta=0.1
        )
      for distance in distances.values():
        self.assertLessEqual(distance.interval[0], distance.mean)
        self.assertGreaterEqual(distance.interval[1], distance.mean)
        self.assertLessEqual(distance.median, distance.percentile_95)

  def test_predict_only(self):
    found = lib.unlearning(_datamodels(), _FORGET, replicates=1)
    self.assertEmpty(found.observed)
    self.assertEmpty(found.klom)
    self.assertEqual(found.num_retrained, 0)

  def test_shown_target_is_the_most_changed(self):
    found = lib.unlearning(
        _datamodels(), {'a': [5]}, retrain=_retrain, replicates=60
    )
    shown = found.shown['a']
    self.assertEqual(shown['target'], np.argmax(np.abs(found.observed['a'])))
    np.testing.assert_allclose(
        shown['predicted'] - shown['nothing'],
        found.predicted['a'][shown['target']],
    )
    self.assertLen(shown['retrained'], 60)

  def test_train_targets(self):
    """Own weights are 0; what a target does to itself is told apart."""
    targets = np.arange(10, 20)
    truth = _WEIGHTS[:, :10].copy()
    own = 5 + np.arange(10.0)
    truth[targets, np.arange(10)] = own
    weights = truth.copy()
    weights[targets, np.arange(10)] = 0

    def retrain(masks, replicates):
      return _retrain(masks, replicates, weights=truth)

    fitted = _datamodels(weights, 'soft_margin_train', targets)
    forget = {'a': [3, 12, 13]}
    found = lib.unlearning(
        fitted, forget, own_effects=own, retrain=retrain, replicates=60
    )
    self.assertEqual(found.groups['a']['forget'].tolist(), [2, 3])
    self.assertLen(found.groups['a']['retain'], 8)
    np.testing.assert_allclose(found.predicted['a'], -truth[[3, 12, 13]].sum(0))
    np.testing.assert_allclose(
        found.predicted['a'], found.observed['a'], atol=0.4
    )
    without = lib.unlearning(fitted, forget)
    np.testing.assert_allclose(
        without.predicted['a'] - found.predicted['a'],
        np.where(np.isin(targets, [12, 13]), own, 0),
    )

  def test_a_diverged_replicate_is_left_out(self):
    def retrain(masks, replicates):
      outcomes = _retrain(masks, replicates)
      outcomes[7, 1] = np.nan
      return outcomes

    found = lib.unlearning(
        _datamodels(), {'a': [5]}, retrain=retrain, replicates=51
    )
    self.assertEqual(found.replicates, 50)
    self.assertTrue(np.isfinite(found.klom['a']['test']['nothing'].mean))

  def test_json(self):
    for retrain in (None, _retrain):
      found = lib.unlearning(
          _datamodels(), _FORGET, retrain=retrain, replicates=40
      )
      values = json.loads(json.dumps(found.to_json()))
      self.assertEqual(values['forget']['some'], [3, 8])
      self.assertEqual(values['groups']['some'], {'test': _NUM_TARGETS})
      self.assertNotIn('shown', values)


class ErrorsTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('none', {'forget': {}}, 'at least one forget set'),
      (
          'range',
          {'forget': {'a': [30]}},
          r"forget set 'a' in \[0, 30\), got \[30\]",
      ),
      ('twice', {'forget': {'a': [1, 1]}}, 'once'),
      ('empty', {'forget': {'a': []}}, 'at least one'),
      ('few', {'replicates': 39}, 'at least 40 replicates .*got 39'),
      (
          'batch',
          {'batch_size': 29},
          'smaller than a batch of 29 .subset 0 has 28',
      ),
      (
          'class',
          {
              'train_labels': (np.arange(_NUM_TRAIN) > 3).astype(int),
              'num_classes': 2,
          },
          'leave class 0 without an example',
      ),
      (
          'own_effects',
          {'own_effects': np.zeros(_NUM_TARGETS)},
          'only for datamodels of train targets',
      ),
  )
  def test_arguments(self, changes, words):
    options = {'forget': _FORGET, 'retrain': _retrain} | changes
    with self.assertRaisesRegex(ValueError, words):
      lib.unlearning(_datamodels(), options.pop('forget'), **options)

  def test_too_many_diverged(self):
    def retrain(masks, replicates):
      outcomes = _retrain(masks, replicates)
      outcomes[:5] = np.nan
      return outcomes

    with self.assertRaisesRegex(ValueError, 'only 38 of 43 replicates'):
      lib.unlearning(_datamodels(), _FORGET, retrain=retrain, replicates=43)


if __name__ == '__main__':
  absltest.main()
