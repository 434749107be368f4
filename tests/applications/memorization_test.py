"""Memorization in a world where it is known who memorizes what."""

import json

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import applications
from jdm.applications import memorization as lib

_NUM_TRAIN, _NUM_TEST, _NUM_MODELS = 30, 12, 600
_RNG = np.random.default_rng(0)
_MASKS = _RNG.random((_NUM_MODELS, _NUM_TRAIN)) < 0.5
_TWINS = np.array([[4, 2], [9, 0], [21, 7]])  # Train and test rows.


def _outcomes(seed=1, noise=0.02):
  """Right, but for the twins: they need their training example."""
  rng = np.random.default_rng(seed)
  train = np.ones((_NUM_MODELS, _NUM_TRAIN))
  test = np.ones((_NUM_MODELS, _NUM_TEST))
  for source, target in _TWINS:
    train[:, source] = _MASKS[:, source]
    test[:, target] = _MASKS[:, source]
  flips = [rng.random(array.shape) < noise for array in (train, test)]
  return np.abs(train - flips[0]), np.abs(test - flips[1])


def _retrain(masks, replicates):
  own = np.ones((len(masks), _NUM_TRAIN))
  own[:, _TWINS[:, 0]] = masks[:, _TWINS[:, 0]]
  return np.stack([own] * replicates)


class MemorizationTest(parameterized.TestCase):

  def test_twins_are_found(self):
    found = lib.memorization(_MASKS, *_outcomes())
    self.assertSameElements(found.order[:3], _TWINS[:, 0])
    np.testing.assert_allclose(
        found.memorization.value[_TWINS[:, 0]], 1, atol=0.1
    )
    others = np.setdiff1d(np.arange(_NUM_TRAIN), _TWINS[:, 0])
    np.testing.assert_allclose(found.memorization.value[others], 0, atol=0.1)
    self.assertSameElements(
        map(tuple, found.pairs.pairs.tolist()), map(tuple, _TWINS.tolist())
    )
    self.assertEqual((found.pairs.num_train, found.pairs.num_test), (3, 3))
    self.assertTrue((np.diff(found.pairs.influence) <= 0).all())
    train, test = found.pairs.pairs.T
    np.testing.assert_array_equal(
        found.pairs.influence, found.influence.value[train, test]
    )
    self.assertGreater(found.reliability, 0.9)
    self.assertLess(json.dumps(found.to_json()).count('influence'), 20)

  def test_thresholds(self):
    outcomes = _outcomes()
    everything = lib.memorization(
        _MASKS, *outcomes, min_memorization=-2, min_influence=-2
    )
    self.assertLen(everything.pairs.pairs, _NUM_TRAIN * _NUM_TEST)
    nothing = lib.memorization(_MASKS, *outcomes, min_influence=1.5)
    self.assertEmpty(nothing.pairs.pairs)
    self.assertEqual(nothing.to_json()['pairs']['num_pairs'], 0)

  def test_extremes_of_noise_are_gone_on_fresh_models(self):
    rng = np.random.default_rng(2)
    outcomes = rng.normal(size=(_NUM_MODELS, _NUM_TRAIN))
    found = lib.memorization(_MASKS, outcomes, num_extreme=5)
    self.assertIsNone(found.pairs)
    (shrinkage,) = found.shrinkage
    error = np.sqrt(4 / (_NUM_MODELS / 2))  # Of one estimate on a half.
    self.assertGreater(shrinkage.chosen, error)
    self.assertLess(abs(shrinkage.fresh), error)
    self.assertLess(abs(found.reliability), 0.5)

  def test_extremes_that_are_real_stay(self):
    found = lib.memorization(_MASKS, *_outcomes(), num_extreme=3)
    for one in found.shrinkage:
      self.assertEqual(one.num_chosen, 3)
      self.assertAlmostEqual(one.chosen, one.fresh, delta=0.02)
    self.assertEqual(found.shrinkage[1].kept, 1)

  def test_retraining_agrees(self):
    found = lib.memorization(
        _MASKS, *_outcomes(), retrain=_retrain, num_retrained=5
    )
    left = found.left_out
    np.testing.assert_array_equal(left.rows[:5], found.order[:5])
    self.assertLen(set(left.rows), 10)
    expected = np.isin(left.rows, _TWINS[:, 0])
    np.testing.assert_allclose(left.observed, expected)
    self.assertAlmostEqual(left.agreement.slope, 1, delta=0.1)
    self.assertEqual(left.interval.shape, (2, 10))

  def test_the_shelf_knows_it(self):
    self.assertIs(applications.APPLICATIONS['memorization'], lib.memorization)

  @parameterized.parameters(
      ({'num_extreme': 0}, 'num_extreme of at least 1'),
      ({'retrain': _retrain, 'num_retrained': 16}, 'from 1 to 15, got 16'),
      (
          {'retrain': _retrain, 'num_retrained': 2, 'batch_size': 30},
          'smaller than a batch of 30',
      ),
      (
          {'retrain': lambda masks, replicates: np.ones((1, 1, 1))},
          'expects `retrain',
      ),
  )
  def test_errors(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      options = {'num_retrained': 2, **changes}
      lib.memorization(_MASKS, *_outcomes(), **options)

  def test_too_few_models(self):
    with self.assertRaisesRegex(ValueError, '4 models or more'):
      lib.memorization(_MASKS[:3], _outcomes()[0][:3])


if __name__ == '__main__':
  absltest.main()
