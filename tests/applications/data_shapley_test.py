"""Data Shapley in a planted world, where every example's worth is known."""

import json

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import applications
from jdm.analysis import semivalues
from jdm.applications import data_shapley as lib
from jdm.reports import data_shapley_plots

_NUM_TRAIN, _NUM_TARGETS = 20, 6
_RNG = np.random.default_rng(0)
_WORTH = _RNG.normal(size=_NUM_TRAIN)
_BAD = np.argsort(_WORTH)[:4]
_WEIGHTS = _WORTH[:, None] + 0.1 * _RNG.normal(size=(_NUM_TRAIN, _NUM_TARGETS))
_FEW = semivalues.Resampling(num_bootstrap=20, num_splits=2)


def _utility(masks):
  return masks @ _WORTH


def _retrain(masks, replicates, *, relabel=None):
  del relabel
  return np.stack([masks @ _WEIGHTS] * replicates)


def _found(**changes):
  options = {
      'estimators': lib.ESTIMATORS,
      'num_orders': 20,
      'truncate_within': 0.0,
      'resampling': _FEW,
      'rankings': {'mine': -_WORTH},
      'bad': _BAD,
  }
  return lib.data_shapley(_utility, _NUM_TRAIN, **(options | changes))


class DataShapleyTest(parameterized.TestCase):

  def test_is_listed(self):
    self.assertIs(applications.APPLICATIONS['data_shapley'], lib.data_shapley)

  def test_estimators(self):
    found = _found()
    self.assertEqual(tuple(found.values), lib.ESTIMATORS)
    for name in ('shapley', 'antithetic', 'leave_one_out'):
      np.testing.assert_allclose(
          found.values[name].values[:, 0], _WORTH, atol=1e-9
      )
      self.assertEqual(found.detections[name].auc, 1.0)
    self.assertAlmostEqual(found.agreement['antithetic, leave_one_out'], 1.0)
    self.assertAlmostEqual(found.agreement['shapley, mine'], -1.0)
    self.assertGreater(found.agreement['shapley, banzhaf'], 0.8)
    self.assertEqual(found.values['banzhaf'].num_models, 20 * 19)
    self.assertIsNone(found.removal)

  @parameterized.parameters(None, 0.0)
  def test_truncation(self, empty_utility):
    def saturating(masks):
      return np.minimum(masks.sum(axis=1), 10.0)

    found = lib.data_shapley(
        saturating,
        _NUM_TRAIN,
        estimators=['truncated'],
        num_orders=10,
        truncate_within=0.2,
        empty_utility=empty_utility,
        resampling=_FEW,
    )
    values = found.values['truncated']
    self.assertGreater(values.num_saved, 10 * 10)
    np.testing.assert_allclose(values.values.sum(), 8.0)
    self.assertEmpty(found.detections)

  def test_curves(self):
    found = lib.retrained(
        _found(),
        _retrain,
        _NUM_TARGETS,
        removal_sizes=[4, 8],
        addition_sizes=[4],
    )
    removal, addition = found.removal, found.addition
    assert removal is not None and addition is not None
    names = removal.orders
    lowest = names.index('shapley, lowest first')
    expected = np.sort(_WORTH)[4:].sum()
    # Targets differ by the mean of 6 deviations of a tenth for each example.
    self.assertLess(abs(removal.values[0, lowest, 0] - expected), 1.0)
    self.assertGreater(removal.gain_interval[0, 0, lowest], 0)
    np.testing.assert_allclose(found.full, _WEIGHTS.sum(axis=0).mean())
    highest = addition.orders.index('mine, highest first')
    self.assertLess(addition.gain_interval[1, 0, highest], 0)
    result = json.loads(json.dumps(found.to_json()))
    self.assertEqual(set(result['values']), set(lib.ESTIMATORS))
    self.assertLen(result['values']['beta']['values'], _NUM_TRAIN)
    for mode in ('remove', 'add'):
      self.assertIsNotNone(data_shapley_plots.curves(found, mode))

  def test_pictures(self):
    found = _found()
    self.assertIsNotNone(data_shapley_plots.agreement(found))
    self.assertIsNone(data_shapley_plots.curves(found, 'remove'))
    alone = _found(estimators=['shapley'], rankings={})
    self.assertIsNone(data_shapley_plots.agreement(alone))

  @parameterized.parameters(
      ({'estimators': ['x']}, "got .'x'."),
      ({'estimators': []}, 'knows the estimators'),
      ({'rankings': {'mine': np.zeros(3)}}, "ranking 'mine'"),
      ({'rankings': {'beta': _WORTH}}, 'name of a method'),
      ({'num_orders': 3}, 'must be even'),
  )
  def test_errors(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      _found(**changes)

  def test_one_random_order(self):
    with self.assertRaisesRegex(ValueError, 'two random orders'):
      lib.retrained(_found(), _retrain, _NUM_TARGETS, num_random=1)


if __name__ == '__main__':
  absltest.main()
