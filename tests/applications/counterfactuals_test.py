"""Counterfactuals in a planted linear world, where the truth is known."""

import dataclasses
import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import applications
from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm.analysis import interventions
from jdm.applications import counterfactuals as lib

_NUM_TRAIN, _NUM_TARGETS = 50, 6
_WEIGHTS = np.random.default_rng(0).normal(size=(_NUM_TRAIN, _NUM_TARGETS))
_LABELS = np.arange(_NUM_TRAIN) % 5


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


def _exact(masks, replicates):
  return np.stack([masks @ _WEIGHTS] * replicates)


def _noisy(noise, seed=0):
  rng = np.random.default_rng(seed)

  def retrain(masks, replicates):
    outcomes = _exact(masks, replicates)
    return outcomes + noise * rng.normal(size=outcomes.shape)

  return retrain


class LinearWorldTest(parameterized.TestCase):

  def test_prediction_and_observation_agree(self):
    found = lib.counterfactuals(
        _datamodels(), sizes=[1, 5, 20], retrain=_exact, replicates=2
    )
    self.assertEqual(found.predicted.shape, (3, 3, _NUM_TARGETS))
    # The same sums, in another order.
    np.testing.assert_allclose(found.observed, found.predicted, atol=1e-12)
    self.assertEqual(set(found.agreement), {*lib.KINDS, 'all'})
    for agreement in found.agreement.values():
      self.assertAlmostEqual(agreement.spearman, 1.0)
      self.assertAlmostEqual(agreement.pearson, 1.0)
      self.assertAlmostEqual(agreement.slope, 1.0)
      self.assertAlmostEqual(agreement.mse, 0.0)
      self.assertAlmostEqual(agreement.ceiling, 1.0)
    np.testing.assert_allclose(found.control, _WEIGHTS.sum(axis=0))
    self.assertEqual(found.num_retrained, 3 * 3 * _NUM_TARGETS * 2 + 20)

  def test_prediction_is_minus_the_sum_of_the_removed_weights(self):
    found = lib.counterfactuals(_datamodels(), sizes=[2, 7])
    for kind in range(3):
      for number, size in enumerate((2, 7)):
        for target in range(_NUM_TARGETS):
          rows = found.removed[kind, target, :size]
          self.assertLen(set(rows), size)
          self.assertAlmostEqual(
              found.predicted[kind, number, target],
              -_WEIGHTS[rows, target].sum(),
          )

  def test_kinds(self):
    found = lib.counterfactuals(_datamodels(), sizes=[3, 10])
    order = np.argsort(_WEIGHTS, axis=0)
    np.testing.assert_array_equal(found.removed[0], order[::-1][:10].T)
    np.testing.assert_array_equal(found.removed[1], order[:10].T)
    helpful, harmful, chance = found.predicted
    self.assertTrue((helpful < 0).all())
    self.assertTrue((harmful > 0).all())
    self.assertTrue((helpful < chance).all() and (chance < harmful).all())

  def test_random_removals_follow_the_seed(self):
    draw = [
        lib.counterfactuals(
            _datamodels(), sizes=[5], kinds=('random',), seed=seed
        ).removed
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draw[0], draw[1])
    self.assertFalse(np.array_equal(draw[0], draw[2]))
    self.assertFalse(np.array_equal(draw[0][0, 0], draw[0][0, 1]))

  def test_some_targets_and_kinds(self):
    found = lib.counterfactuals(
        _datamodels(),
        sizes=[4],
        target_ids=[4, 1],
        kinds=('harmful',),
        retrain=_exact,
    )
    everything = lib.counterfactuals(_datamodels(), sizes=[4])
    np.testing.assert_array_equal(found.target_ids, [4, 1])
    np.testing.assert_array_equal(
        found.predicted[0], everything.predicted[1][:, [4, 1]]
    )
    np.testing.assert_allclose(found.observed, found.predicted, atol=1e-12)


class RulesTest(parameterized.TestCase):

  def test_other_scores_choose_and_datamodels_predict(self):
    scores = np.random.default_rng(5).normal(size=_WEIGHTS.shape)
    found = lib.counterfactuals(
        _datamodels(),
        sizes=[4],
        kinds=('helpful',),
        scores={'nearest': scores},
        target_ids=[3, 0],
        retrain=_exact,
    )
    self.assertEqual(found.kinds, ('helpful', 'nearest'))
    for place, target in enumerate((3, 0)):
      rows = np.argsort(-scores[:, target])[:4]
      np.testing.assert_array_equal(found.removed[1, place], rows)
      self.assertAlmostEqual(
          found.predicted[1, 0, place], -_WEIGHTS[rows, target].sum()
      )
    np.testing.assert_allclose(found.observed, found.predicted, atol=1e-12)
    self.assertIn('nearest', found.agreement)

  def test_same_class(self):
    target_labels = np.arange(_NUM_TARGETS) % 2
    found = lib.counterfactuals(
        _datamodels(),
        sizes=[9],
        kinds=('same_class',),
        labels=_LABELS,
        target_labels=target_labels,
    )
    for place in range(_NUM_TARGETS):
      rows = found.removed[0, place]
      self.assertLen(set(rows), 9)
      np.testing.assert_array_equal(_LABELS[rows], target_labels[place])

  def test_skipping_what_cannot_be_trained(self):
    """Class 0 has ten examples: nine may go."""
    options = {
        'sizes': [9, 10, 11],
        'kinds': ('same_class', 'random'),
        'labels': _LABELS,
        'target_labels': np.zeros(_NUM_TARGETS, int),
        'retrain': _exact,
        'replicates': 2,
    }
    found = lib.counterfactuals(_datamodels(), skip_untrainable=True, **options)
    is_missing = np.isnan(found.predicted)
    np.testing.assert_array_equal(is_missing, np.isnan(found.observed))
    np.testing.assert_array_equal(is_missing[0].all(axis=1), [0, 1, 1])
    self.assertFalse(is_missing[1].any())
    self.assertEqual(found.num_skipped, 2 * _NUM_TARGETS)
    self.assertEqual(found.num_retrained, 4 * _NUM_TARGETS * 2 + 20)
    self.assertAlmostEqual(found.agreement['same_class'].spearman, 1.0)
    with self.assertRaisesRegex(ValueError, "'same_class' has fewer than 11"):
      lib.counterfactuals(_datamodels(), **options)
    with self.assertRaisesRegex(ValueError, 'leave class 0 without'):
      lib.counterfactuals(_datamodels(), **{**options, 'sizes': [10]})


class ActionsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.bases = interventions.random_bases(_NUM_TRAIN, 0.5, 2, seed=3)

  @parameterized.parameters('remove', 'add')
  def test_bases(self, action):
    seen = []

    def retrain(masks, replicates, *, relabel=None):
      self.assertIsNone(relabel)
      seen.append(masks)
      return _exact(masks, replicates)

    found = lib.counterfactuals(
        _datamodels(),
        sizes=[3, 8],
        target_ids=[4, 1],
        bases=self.bases,
        action=action,
        retrain=retrain,
        replicates=2,
    )
    control, changed = seen
    np.testing.assert_array_equal(control, self.bases)
    self.assertEqual((found.action, found.base), (action, 'subset'))
    np.testing.assert_allclose(found.observed, found.predicted, atol=1e-12)
    np.testing.assert_allclose(
        found.control,
        [self.bases[n] @ _WEIGHTS[:, t] for n, t in enumerate((4, 1))],
    )
    sign = -1 if action == 'remove' else 1
    eligible = self.bases if action == 'remove' else ~self.bases
    sizes = changed.sum(axis=1).reshape(3, 2, 2)
    expected = 25 + sign * np.array([3, 8])
    np.testing.assert_array_equal(sizes, expected[None, :, None] + 0 * sizes)
    for place, target in enumerate((4, 1)):
      own = np.flatnonzero(eligible[place])
      best = own[np.argsort(-_WEIGHTS[own, target])]
      np.testing.assert_array_equal(found.removed[0, place], best[:8])
      self.assertAlmostEqual(
          found.predicted[0, 1, place], sign * _WEIGHTS[best[:8], target].sum()
      )
    self.assertEqual(found.num_retrained, 12 * 2 + 2 * 20)

  def test_relabel(self):
    new_labels = np.arange(_NUM_TARGETS) % 5
    seen = []

    def retrain(masks, replicates, *, relabel=None):
      self.assertTrue(masks.all())
      moved = np.zeros(masks.shape) if relabel is None else relabel >= 0
      seen.append(relabel)
      return np.stack([_WEIGHTS.sum(0) - 2 * moved @ _WEIGHTS] * replicates)

    found = lib.counterfactuals(
        _datamodels(),
        sizes=[3],
        kinds=('helpful', 'random'),
        action='relabel',
        labels=_LABELS,
        new_labels=new_labels,
        retrain=retrain,
    )
    self.assertIsNone(seen[0])  # The control.
    relabel = seen[1].reshape(2, _NUM_TARGETS, _NUM_TRAIN)
    for kind in range(2):
      for target in range(_NUM_TARGETS):
        rows = found.removed[kind, target]
        self.assertNotIn(new_labels[target], _LABELS[rows])
        expected = np.full(_NUM_TRAIN, -1)
        expected[rows] = new_labels[target]
        np.testing.assert_array_equal(relabel[kind, target], expected)
    # Twice the loss of the weight that datamodels know of.
    np.testing.assert_allclose(found.observed, 2 * found.predicted, atol=1e-9)
    self.assertAlmostEqual(found.agreement['helpful'].slope, 2.0)


class NoiseTest(parameterized.TestCase):

  def test_intervals_cover(self):
    found = lib.counterfactuals(
        _datamodels(),
        sizes=[1, 2, 4, 8, 16],
        retrain=_noisy(0.5),
        replicates=4,
        control_replicates=400,
    )
    low, high = found.interval
    inside = (low <= found.predicted) & (found.predicted <= high)
    # 90 intervals that share little noise: at least 76 but for 1 in 10,000.
    self.assertGreater(inside.mean(), 0.84)
    self.assertLess(found.agreement['all'].spearman, 1.0)
    self.assertLess(found.agreement['all'].ceiling, 1.0)

  def test_half_width_by_hand(self):
    outcomes = {}
    noisy = _noisy(1.0)

    def retrain(masks, replicates):
      outcomes[len(masks)] = noisy(masks, replicates)
      return outcomes[len(masks)]

    found = lib.counterfactuals(
        _datamodels(),
        sizes=[3],
        target_ids=[2],
        kinds=('random', 'helpful'),
        retrain=retrain,
        replicates=3,
        control_replicates=5,
    )
    own, control = outcomes[2][:, 1, 2], outcomes[1][:, 0, 2]
    welch = stats.ttest_ind(own, control, equal_var=False)
    expected = welch.confidence_interval(0.95)
    np.testing.assert_allclose(
        found.interval[:, 1, 0, 0], [expected.low, expected.high]
    )

  def test_weights_of_which_positive_is_harmful_are_refused(self):
    losses = dataclasses.replace(_datamodels(), outcome='log_loss')
    with self.assertRaisesRegex(ValueError, "more is better, got 'log_loss'"):
      lib.counterfactuals(losses, sizes=[3])

  def test_diverged_retrainings_are_left_out(self):
    def retrain(masks, replicates):
      outcomes = _exact(masks, replicates)
      if len(masks) > 1:
        outcomes[0, 3] = np.nan  # One of two.
        outcomes[:, 5] = np.nan  # Both.
      return outcomes

    found = lib.counterfactuals(
        _datamodels(), sizes=[3], retrain=retrain, replicates=2
    )
    expected = found.predicted.copy()
    expected[0, 0, 5] = np.nan
    np.testing.assert_allclose(found.observed, expected, atol=1e-12)
    self.assertAlmostEqual(found.agreement['helpful'].spearman, 1.0)


class PredictOnlyTest(parameterized.TestCase):

  def test_nothing_is_observed(self):
    found = lib.counterfactuals(_datamodels(), sizes=[3])
    self.assertIsNone(found.observed)
    self.assertIsNone(found.control)
    self.assertEmpty(found.agreement)
    self.assertEqual(found.num_retrained, 0)

  def test_json(self):
    for retrain in (None, _exact):
      found = lib.counterfactuals(_datamodels(), sizes=[3], retrain=retrain)
      values = json.loads(json.dumps(found.to_json()))
      self.assertEqual(values['sizes'], [3])
      np.testing.assert_allclose(values['predicted'], found.predicted)

  def test_is_listed(self):
    self.assertIs(
        applications.APPLICATIONS['counterfactuals'], lib.counterfactuals
    )

  def test_default_sizes(self):
    self.assertEqual(lib.default_sizes(1500), [5, 10, 20, 40, 80, 160])
    self.assertEqual(lib.default_sizes(10), [1])
    self.assertLessEqual(max(lib.default_sizes(400)), 80)

  def test_random_targets(self):
    ids = lib.random_targets(30, 10)
    self.assertLen(set(ids), 10)
    np.testing.assert_array_equal(ids, np.sort(ids))
    self.assertLen(lib.random_targets(3, 10), 3)


class AgreementTest(parameterized.TestCase):

  def test_by_hand(self):
    found = effects.agreement(
        np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 7.0])
    )
    self.assertAlmostEqual(found.slope, (2 + 8 + 21) / 14)
    self.assertAlmostEqual(found.mse, (1 + 4 + 16) / 3)
    self.assertAlmostEqual(found.spearman, 1.0)

  @parameterized.parameters(([0.0, 0.0],), ([0.0, np.nan],), ([],))
  def test_undefined_is_nan(self, observed):
    found = effects.agreement(np.zeros(len(observed)), np.array(observed))
    self.assertTrue(
        np.isnan([found.spearman, found.pearson, found.slope]).all()
    )


class ErrorsTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('no_size', {'sizes': []}, 'at least one'),
      ('size_zero', {'sizes': [0, 2]}, r'from 1 to 49, got \[0, 2\]'),
      ('too_many', {'sizes': [50]}, r'from 1 to 49, got \[50\]'),
      ('fraction', {'sizes': [5.7]}, 'ascending integers'),
      ('sizes_twice', {'sizes': [5, 5]}, 'each once'),
      ('one_training', {'replicates': 1}, 'at least 2, got 1'),
      ('kind', {'kinds': ('worst',)}, r"helpful.*\['worst'\]"),
      ('no_kind', {'kinds': ()}, 'knows the kinds'),
      ('target', {'target_ids': [6]}, r'target_ids in \[0, 6\), got \[6\]'),
      ('negative', {'target_ids': [-1]}, r'got \[-1\]'),
      ('no_target', {'target_ids': []}, 'target_ids .* at least one'),
      ('replicates', {'replicates': 0}, 'replicates of at least 2'),
      (
          'controls',
          {'control_replicates': 0},
          'control_replicates of at least 2',
      ),
      ('twice', {'target_ids': [2, 2]}, r'once, got \[2\]'),
      ('kinds_twice', {'kinds': ('random',) * 2}, 'each kind once'),
      ('action', {'action': 'move'}, "actions .*got 'move'"),
      ('add', {'action': 'add'}, 'needs bases to add to'),
      ('relabel', {'action': 'relabel'}, 'needs labels for the action'),
      ('classes', {'kinds': ('same_class',)}, 'needs labels and target_labels'),
      ('labels', {'labels': np.zeros(3)}, r'labels of shape \[50\], got \[3\]'),
      ('bases', {'bases': np.ones((6, 50))}, r'bool \[6, 50\].*float64'),
      (
          'scores',
          {'scores': {'near': np.zeros((3, 6))}},
          r"\[50, 6\], got \[3, 6\] for 'near'",
      ),
      (
          'nan',
          {'scores': {'near': np.full((50, 6), np.nan)}},
          'finite scores',
      ),
      (
          'batch',
          {'sizes': [45], 'batch_size': 10},
          'smaller than a batch of 10',
      ),
      (
          'retrain',
          {'retrain': lambda masks, replicates: masks @ _WEIGHTS},
          r'return outcomes of shape .*= \[20, 1, 6\], got \[1, 6\]',
      ),
  )
  def test_arguments(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      lib.counterfactuals(_datamodels(), **({'sizes': [3]} | changes))


if __name__ == '__main__':
  absltest.main()
