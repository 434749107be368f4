"""Removal of groups in a planted linear world, where the truth is known."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib
from jdm.applications import group_removal as lib

_NUM_TRAIN, _NUM_TARGETS = 40, 5
_WEIGHTS = np.random.default_rng(0).normal(size=(_NUM_TRAIN, _NUM_TARGETS))
_LABELS = np.arange(_NUM_TRAIN) % 4
_GROUPS = {
    'some': [3, 1],
    'more': np.arange(10, 22),
    'class 2': range(2, 40, 4),
}


def _datamodels():
  fields: dict[str, Any] = {
      name: np.zeros(_NUM_TARGETS) for name in ('bias', 'lam', 'gap', 'val_mse')
  }
  return datamodels_lib.Datamodels(
      weights=_WEIGHTS,
      nnz=np.zeros(_NUM_TARGETS, int),
      train_ids=np.arange(_NUM_TRAIN),
      target_ids=np.arange(_NUM_TARGETS),
      **fields,
  )


def _world(noise=0.0):
  rng = np.random.default_rng(1)

  def retrain(masks, replicates):
    outcomes = np.stack([masks @ _WEIGHTS] * replicates)
    return outcomes + noise * rng.normal(size=outcomes.shape)

  return retrain


class GroupRemovalTest(parameterized.TestCase):

  def test_prediction_and_observation_agree(self):
    found = lib.group_removal(
        _datamodels(), _GROUPS, target_ids=[4, 0], retrain=_world()
    )
    self.assertEqual(found.names, tuple(_GROUPS))
    np.testing.assert_array_equal(found.sizes, [2, 12, 10])
    for number, rows in enumerate(_GROUPS.values()):
      expected = -_WEIGHTS[np.array(rows)][:, [4, 0]].sum(axis=0)
      np.testing.assert_allclose(found.predicted[number], expected)
    np.testing.assert_allclose(found.observed, found.predicted, atol=1e-12)
    self.assertEqual(set(found.agreement), {*_GROUPS, 'all'})
    self.assertAlmostEqual(found.agreement['all'].slope, 1.0)
    self.assertAlmostEqual(found.agreement_of_means.spearman, 1.0)
    self.assertEqual(found.num_retrained, 3 * 20 + 20)

  def test_interval(self):
    outcomes = {}
    noisy = _world(1.0)

    def retrain(masks, replicates):
      outcomes[len(masks)] = noisy(masks, replicates)
      return outcomes[len(masks)]

    found = lib.group_removal(
        _datamodels(), _GROUPS, retrain=retrain, replicates=5
    )
    welch = stats.ttest_ind(
        outcomes[3][:, 1, 2], outcomes[1][:, 0, 2], equal_var=False
    ).confidence_interval(0.95)
    np.testing.assert_allclose(found.interval[:, 1, 2], [welch.low, welch.high])
    self.assertLess(found.agreement['all'].ceiling, 1.0)

  def test_prediction_alone_and_json(self):
    found = lib.group_removal(_datamodels(), _GROUPS)
    self.assertIsNone(found.observed)
    self.assertEmpty(found.agreement)
    values = json.loads(json.dumps(found.to_json()))
    np.testing.assert_allclose(
        values['mean_predicted'], found.predicted.mean(axis=1)
    )
    self.assertNotIn('mean_observed', values)
    found = lib.group_removal(_datamodels(), _GROUPS, retrain=_world())
    values = json.loads(json.dumps(found.to_json()))
    np.testing.assert_allclose(
        values['mean_observed'], found.predicted.mean(axis=1), atol=1e-12
    )

  @parameterized.named_parameters(
      ('none', {'groups': {}}, 'at least one group'),
      ('empty', {'groups': {'a': []}}, "ids of group 'a' .*at least one"),
      (
          'outside',
          {'groups': {'a': [40]}},
          r"group 'a' in \[0, 40\), got \[40\]",
      ),
      ('twice', {'groups': {'a': [1, 1]}}, r"group 'a' once, got \[1\]"),
      ('target', {'target_ids': [5]}, r'target_ids in \[0, 5\)'),
      ('labels', {'labels': [1, 2]}, r'labels \[40\], got \[2\]'),
      (
          'class',
          {'labels': _LABELS},
          "group 'class 2'.*class 2 without an example",
      ),
      ('batch', {'batch_size': 30}, "group 'more'.*batch of 30"),
      (
          'retrain',
          {'retrain': lambda masks, replicates: masks @ _WEIGHTS},
          'expects `retrain',
      ),
  )
  def test_errors(self, changes, words):
    options = {'groups': _GROUPS, **changes}
    with self.assertRaisesRegex(ValueError, words):
      lib.group_removal(_datamodels(), options.pop('groups'), **options)


if __name__ == '__main__':
  absltest.main()
