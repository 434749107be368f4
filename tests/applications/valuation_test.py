"""Valuation in a planted world, where every example's worth is known."""

import json

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.analysis import semivalues
from jdm.applications import valuation as lib

_NUM_TRAIN, _NUM_TARGETS, _NUM_MODELS = 30, 12, 400
_RNG = np.random.default_rng(0)
_WORTH = _RNG.normal(size=_NUM_TRAIN)
# Every target sees the same worth, and a little of its own.
_WEIGHTS = _WORTH[:, None] + 0.2 * _RNG.normal(size=(_NUM_TRAIN, _NUM_TARGETS))
_OFFSETS = np.linspace(-4, 4, _NUM_TARGETS)
_MASKS = _RNG.random((_NUM_MODELS, _NUM_TRAIN)) < 0.5
_LABELS = np.arange(_NUM_TARGETS) % 3
_FEW = semivalues.Resampling(num_bootstrap=20, num_splits=2)


def _retrain(masks, replicates, seed=0):
  rng = np.random.default_rng(seed)
  outcomes = np.stack([masks @ _WEIGHTS + _OFFSETS[None]] * replicates)
  return outcomes + 0.01 * rng.normal(size=outcomes.shape)


_OUTCOMES = _retrain(_MASKS, 1)[0]


def _valuation(**changes):
  options = {
      'target_labels': _LABELS,
      'resampling': _FEW,
      'removal_sizes': [3, 10],
      'addition_sizes': [5, 15],
      'replicates': 2,
      'num_random': 20,
  }
  return lib.valuation(_MASKS, _OUTCOMES, **(options | changes))


class UtilityTest(parameterized.TestCase):

  def test_by_hand(self):
    outcomes = np.array([[1.0, -2.0, 3.0, 0.5], [-1.0, -1.0, 2.0, -1.0]])
    ids = np.array([0, 1, 2])
    labels = np.array([0, 1, 1, 0])

    def read(name):
      return lib.utility(name, outcomes, target_ids=ids, target_labels=labels)

    np.testing.assert_allclose(read('mean'), [2 / 3, 0])
    np.testing.assert_allclose(read('accuracy'), [2 / 3, 1 / 3])
    np.testing.assert_allclose(read('recall:0'), [1, 0])
    np.testing.assert_allclose(read('recall:1'), [0.5, 0.5])

  def test_diverged_models_have_none(self):
    outcomes = np.full((2, 3), np.nan)
    for name in ('mean', 'accuracy'):
      self.assertTrue(
          np.isnan(lib.utility(name, outcomes, target_ids=[0, 2])).all()
      )

  @parameterized.parameters(
      ('loss', "mean, accuracy and recall:CLASS.*got 'loss'"),
      ('recall:1', 'with `target_labels`'),
  )
  def test_unknown(self, name, words):
    with self.assertRaisesRegex(ValueError, words):
      lib.utility(name, np.zeros((2, 3)), target_ids=[0])

  def test_class_without_target(self):
    with self.assertRaisesRegex(ValueError, 'no target of class 7'):
      lib.utility(
          'recall:7',
          np.zeros((2, 3)),
          target_ids=[0],
          target_labels=np.zeros(3, int),
      )


class ValuationTest(parameterized.TestCase):

  def test_finds_the_worth(self):
    found = _valuation(utilities=('mean', 'accuracy'), methods=('banzhaf',))
    values = found.values['banzhaf']
    self.assertEqual(values.names, ('mean', 'accuracy'))
    self.assertGreater(np.corrcoef(values.values[:, 0], _WORTH)[0, 1], 0.8)
    self.assertIsNone(found.removal)
    self.assertEqual(found.num_retrained, 0)

  def test_values_never_see_the_targets_reported_on(self):
    changed = _OUTCOMES.copy()
    found = _valuation()
    changed[:, found.report_ids] = 99.0
    again = lib.valuation(_MASKS, changed, resampling=_FEW)
    np.testing.assert_array_equal(
        found.values['banzhaf'].values, again.values['banzhaf'].values
    )
    self.assertEmpty(np.intersect1d(found.valuation_ids, found.report_ids))

  def test_curves(self):
    found = _valuation(
        utilities=('mean', 'accuracy'),
        methods=('banzhaf', 'lasso'),
        rankings={'truth': _WORTH},
        retrain=_retrain,
    )
    removal, addition = found.removal, found.addition
    self.assertEqual(removal.measures, ('mean', 'accuracy'))
    gain = dict(zip(removal.orders, removal.gain[0]))
    for way in ('banzhaf', 'lasso', 'truth'):
      self.assertLess(gain[f'{way}, highest first'], -1)
      self.assertGreater(gain[f'{way}, lowest first'], 1)
    low, _ = addition.gain_interval[0, 0], None
    self.assertGreater(low[addition.orders.index('truth, highest first')], 1)
    self.assertNotIn('truth, lowest first', addition.orders)
    report = found.report_ids
    expected = (_WEIGHTS.sum(axis=0) + _OFFSETS)[report].mean()
    self.assertAlmostEqual(found.full['mean'], expected, places=1)
    top = np.argsort(-_WORTH)[:3]
    without = expected - _WEIGHTS[np.ix_(top, report)].mean(axis=1).sum()
    place = removal.orders.index('truth, highest first')
    self.assertAlmostEqual(removal.values[0, place, 0], without, places=1)
    # 3 ways: both ends removed at 2 sizes, one added; 20 random of both.
    self.assertEqual(
        found.num_retrained, 2 + 2 * (3 * 2 * 2 + 20) + 2 * (3 * 2 + 20)
    )
    self.assertIn('banzhaf, truth', found.agreement)

  def test_ranked_by_another_utility(self):
    found = _valuation(utilities=('mean', 'recall:2'))
    other = lib.ranked_by(found, 'recall:2')
    np.testing.assert_array_equal(
        lib.ways(other)['banzhaf'], found.values['banzhaf'].values[:, 1]
    )

  def test_columns_of_the_caller(self):
    column = _MASKS @ np.arange(_NUM_TRAIN)
    found = _valuation(columns={'mine': column}, retrain=_retrain)
    self.assertEqual(found.utilities, ('accuracy', 'mean', 'mine'))
    self.assertEqual(found.removal.measures, ('accuracy', 'mean'))
    own = found.values['banzhaf'].values[:, 2]
    self.assertGreater(np.corrcoef(own, np.arange(_NUM_TRAIN))[0, 1], 0.8)
    with self.assertRaisesRegex(ValueError, "ranks by.*'mine'"):
      lib.ranked_by(found, 'mine')

  def test_shapley(self):
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, _NUM_TRAIN + 1, 1500)
    masks = rng.random((1500, _NUM_TRAIN)).argsort(axis=1) < sizes[:, None]
    found = lib.valuation(
        masks,
        _retrain(masks, 1)[0],
        utilities=('mean',),
        methods=('shapley',),
        resampling=_FEW,
    )
    values = found.values['shapley'].values[:, 0]
    self.assertGreater(np.corrcoef(values, _WORTH)[0, 1], 0.9)

  def test_shapley_of_permutations(self):
    rng = np.random.default_rng(1)
    ranks = np.stack([rng.permutation(_NUM_TRAIN) for _ in range(60)])
    steps = np.arange(3, _NUM_TRAIN + 1, 3)
    masks = (ranks[:, None] < steps[None, :, None]).reshape(-1, _NUM_TRAIN)
    found = lib.valuation(
        masks,
        _retrain(masks, 1)[0],
        utilities=('mean',),
        methods=('shapley',),
        groups=np.repeat(np.arange(60), len(steps)),
        resampling=_FEW,
    )
    values = found.values['shapley'].values[:, 0]
    self.assertGreater(np.corrcoef(values, _WORTH)[0, 1], 0.8)

  def test_extremes_and_json(self):
    found = _valuation(retrain=_retrain, rankings={'truth': _WORTH})
    values = json.loads(json.dumps(found.to_json()))
    own = values['values']['banzhaf']
    self.assertLen(own['values'], _NUM_TRAIN)
    ends = own['extremes']
    first = found.values['banzhaf'].values[:, 0]
    self.assertEqual(ends['highest'][0]['train'], int(first.argmax()))
    self.assertEqual(ends['lowest'][0]['train'], int(first.argmin()))
    self.assertLess(*ends['lowest'][0]['interval'])
    self.assertEqual(values['removal']['sizes'], [3, 10])


class ErrorsTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('utility', {'utilities': ('loss',)}, 'knows the utilities'),
      ('no_utility', {'utilities': ()}, 'at least one utility'),
      ('method', {'methods': ('magic',)}, "methods banzhaf.*'magic'"),
      ('nothing', {'methods': ()}, 'one method or ranking'),
      ('ids', {'valuation_ids': [12]}, r'\[0, 12\), got \[12\]'),
      ('twice', {'valuation_ids': [1, 1]}, 'once'),
      ('no_report', {'valuation_ids': range(12)}, 'no target to report on'),
      ('rank_by', {'rank_by': 'recall:1'}, "ranks by.*'recall:1'"),
      ('column', {'columns': {'c': np.zeros(3)}}, r"'c' of shape \[400\]"),
      ('ranking', {'rankings': {'r': np.zeros(3)}}, r"'r' as finite.*\[30\]"),
      ('name', {'rankings': {'banzhaf': _WORTH}}, 'name of a method'),
      ('one', {'retrain': _retrain, 'replicates': 1}, 'two replicates'),
      ('random', {'retrain': _retrain, 'num_random': 1}, 'two random orders'),
      (
          'batch',
          {'retrain': _retrain, 'batch_size': 10},
          'add by banzhaf, highest first.*smaller than a batch of 10',
      ),
      (
          'class',
          {
              'retrain': _retrain,
              'train_labels': (np.argsort(np.argsort(_WORTH)) > 1).astype(int),
              'num_classes': 2,
          },
          'class 0 without an example',
      ),
  )
  def test_arguments(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      _valuation(**changes)

  def test_pool(self):
    with self.assertRaisesRegex(ValueError, r'shape \[400, num_targets\]'):
      lib.valuation(_MASKS, _OUTCOMES[:5])
    with self.assertRaisesRegex(ValueError, 'finite outcomes'):
      lib.valuation(_MASKS, np.full_like(_OUTCOMES, np.nan))


if __name__ == '__main__':
  absltest.main()
