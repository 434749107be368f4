"""Scores of a known cue, by hand and against scikit-learn."""

import json

from absl.testing import absltest
import numpy as np
from scipy import stats
from sklearn import metrics

from jdm.analysis import cues as lib
from jdm.analysis import directions as directions_lib


def _directions(loadings, projections):
  num = len(loadings)
  return directions_lib.Directions(
      loadings=np.array(loadings, float),
      projections=np.array(projections, float),
      explained=np.full(num, 0.1),
      mean=np.zeros(np.shape(loadings)[1]),
      spectrum=np.full(num, 0.1),
  )


class SeparationTest(absltest.TestCase):

  def test_matches_scikit_learn_and_turns_directions(self):
    rng = np.random.default_rng(0)
    loadings, projections = rng.normal(size=(2, 3, 60))
    planted, targets = np.arange(20), np.arange(30)
    is_train, is_target = np.arange(60) < 20, np.arange(60) < 30
    loadings[0, :20] -= 5  # A direction the other way round.
    projections[0, :30] -= 1
    found = lib.separation(
        _directions(loadings, projections),
        planted_train=planted,
        planted_targets=targets,
    )
    self.assertAlmostEqual(found.train_auc[0], 1.0, places=2)
    for number in range(3):
      auc = metrics.roc_auc_score(is_train, loadings[number])
      sign = 1 if auc >= 0.5 else -1
      self.assertAlmostEqual(found.train_auc[number], max(auc, 1 - auc))
      self.assertAlmostEqual(
          found.target_auc[number],
          metrics.roc_auc_score(is_target, sign * projections[number]),
      )
    low, high = found.target_interval
    self.assertLess(low, found.target_auc[0])
    self.assertGreater(high, found.target_auc[0])
    self.assertTrue(found.is_first)
    json.dumps(found.to_json())

  def test_signs_say_whom_the_cue_helps(self):
    loadings = [[1, 1, 0, 0]]
    # The cue helps target 0 and hurts target 1; 2 and 3 do not carry it.
    projections = [[2, -2, 0, 0.1]]
    options = {'planted_train': [0, 1], 'planted_targets': [0, 1]}
    directions = _directions(loadings, projections)
    plain = lib.separation(directions, **options)
    self.assertAlmostEqual(plain.target_auc[0], 0.5)
    signed = lib.separation(directions, signs=[1, -1, 1, -1], **options)
    self.assertAlmostEqual(signed.target_auc[0], 1.0)
    part = lib.separation(directions, signs=[1, 0, 1, 0], **options)
    self.assertAlmostEqual(part.target_auc[0], 1.0)

  def test_first_needs_loadings_side_and_rank(self):
    def is_first(train, target):
      return lib.Separation(
          train_auc=np.array(train),
          target_auc=np.array(target),
          train_interval=(0, 1),
          target_interval=(0, 1),
      ).is_first

    self.assertTrue(is_first([0.95, 0.9], [0.8, 0.6]))
    self.assertFalse(is_first([0.85, 0.9], [0.8, 0.6]))
    self.assertFalse(is_first([0.95, 0.9], [0.2, 0.6]))
    self.assertFalse(is_first([0.95, 0.9], [0.8, 0.15]))

  def test_nothing_planted_is_an_error(self):
    with self.assertRaises(ValueError):
      lib.separation(
          _directions([[1, 2, 3]], [[1, 2, 3]]),
          planted_train=[],
          planted_targets=[0],
      )


class CueEffectTest(absltest.TestCase):

  def test_differences_by_hand(self):
    means_a = np.array([5.0, 6.0, 1.0, 2.0, 0.0, 0.0, 3.0, 3.5])
    means_b = np.array([1.0, 1.5, 1.0, 2.0, 0.0, 1.0, 3.0, 3.0])
    groups = {'own': np.arange(8) < 4, 'others': np.arange(8) >= 4}
    found = lib.cue_effect(means_a, means_b, np.array([0, 1, 4, 5]), groups)
    np.testing.assert_allclose(found.effect_a, [4.0, -3.25])
    np.testing.assert_allclose(found.effect_b, [-0.25, -2.5])
    np.testing.assert_allclose(found.difference, [4.25, -0.75])
    gaps = means_a - means_b
    for number, (cue, none) in enumerate(
        ((gaps[:2], gaps[2:4]), (gaps[4:6], gaps[6:]))
    ):
      test = stats.ttest_ind(cue, none, equal_var=False)
      expected = test.confidence_interval(0.95)
      np.testing.assert_allclose(
          found.interval[:, number], [expected.low, expected.high]
      )

  def test_too_few_targets(self):
    with self.assertRaisesRegex(ValueError, "two targets of 'all' with the cu"):
      lib.cue_effect(
          np.zeros(4), np.zeros(4), np.array([1]), {'all': np.ones(4, bool)}
      )


if __name__ == '__main__':
  absltest.main()
