"""Leakage, on pairs that are known: scikit-learn and hand counts as oracles."""

import dataclasses
import json

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datasets
from jdm.analysis import detection
from jdm.analysis import likeness
from jdm.analysis import pairs as pairs_lib
from jdm.applications import leakage as lib
from jdm.reports import leakage_plots

_SHAPE = (30, 20)
_PAIRS = np.array([[3, 0], [7, 4], [7, 9], [29, 19], [11, 4], [0, 13]])
_KINDS = ('exact', 'exact', 'noise', 'noise', 'noise', 'exact')
_TRUTH = pairs_lib.Truth(pairs=_PAIRS, kinds=_KINDS)


def _scores(seed=0, digits=1):
  """Known pairs score higher on average; rounded so that there are ties."""
  scores = np.random.default_rng(seed).normal(size=_SHAPE)
  scores[_PAIRS[:, 0], _PAIRS[:, 1]] += 1.2
  return np.round(scores, digits)


class LeakageTest(parameterized.TestCase):

  def test_pairs_come_strongest_first(self):
    scores = _scores()
    found = lib.leakage(scores, num_pairs=40)
    self.assertEqual(found.score, 'weights')
    self.assertEmpty(found.detections)
    np.testing.assert_array_equal(
        found.weights, np.sort(scores, axis=None)[::-1][:40]
    )
    np.testing.assert_array_equal(scores[tuple(found.pairs.T)], found.weights)
    self.assertLen(np.unique(found.pairs, axis=0), 40)

  def test_json(self):
    scores = _scores()
    values = json.loads(json.dumps(lib.leakage(scores).to_json()))
    self.assertLen(values['pairs'], 200)
    first = values['pairs'][0]
    self.assertEqual(set(first), {'train', 'test', 'weight'})
    self.assertEqual(first['weight'], scores.max())
    self.assertEqual(scores[first['train'], first['test']], scores.max())
    with_truth = lib.leakage(scores, truth=_TRUTH, num_pairs=600).to_json()
    known = {
        (p['train'], p['test']): p['known']
        for p in json.loads(json.dumps(with_truth))['pairs']
        if p['known']
    }
    self.assertEqual(known, dict(zip(map(tuple, _PAIRS.tolist()), _KINDS)))

  def test_standard_errors_where_they_are_known(self):
    found = lib.leakage(_scores(), num_pairs=3)
    self.assertNotIn('standard_error', found.to_json()['pairs'][0])
    errors = np.array([0.25, np.nan, 0.5])
    listed = dataclasses.replace(found, errors=errors).to_json()['pairs']
    known = [row.get('standard_error') for row in listed]
    self.assertEqual(known, [0.25, None, 0.5])

  def test_every_score_is_measured(self):
    scores = _scores()
    found = lib.leakage(
        scores, score='lasso', others={'pixels': -scores}, truth=_TRUTH
    )
    self.assertLen(found.detections, 6)
    self.assertAlmostEqual(
        found.found('lasso', 'exact').auc,
        1 - found.found('pixels', 'exact').auc,
    )
    with self.assertRaisesRegex(ValueError, "no detection of .'x', 'all'"):
      found.found('x', 'all')

  def test_planted_pairs(self):
    data = datasets.load('planted', plant='duplicates', count=8)
    truth = lib.planted_pairs(data.planted)
    np.testing.assert_array_equal(truth.pairs, data.planted.duplicates)
    self.assertEqual(
        truth.all_kinds(), ('exact', 'shift', 'rotate', 'noise', 'all')
    )
    pixels = likeness.negative_distance(data.train.inputs, data.test.inputs)
    found = lib.leakage(pixels, score='pixels', truth=truth, num_pairs=2)
    self.assertEqual(found.found('pixels', 'exact').auc, 1)
    self.assertIsNone(lib.planted_pairs(None))
    mislabels = datasets.load('planted', plant='mislabels', count=8)
    self.assertIsNone(lib.planted_pairs(mislabels.planted))

  @parameterized.named_parameters(
      ('finite', {'scores': np.full(_SHAPE, np.nan)}, 'finite'),
      ('axes', {'scores': np.zeros(5)}, r'num_train, num_targets'),
      ('shapes', {'others': {'b': np.zeros((3, 3))}}, r'same pairs.*\(3, 3\)'),
      ('names', {'others': {'weights': np.zeros(_SHAPE)}}, "name 'weights'"),
      ('none', {'num_pairs': 0}, 'at least one pair, got 0'),
      (
          'outside',
          {'truth': pairs_lib.Truth(pairs=[[30, 0]], kinds=('a',))},
          'train row 30 .* 30 training examples',
      ),
  )
  def test_errors(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      lib.leakage(**({'scores': _scores()} | changes))

  def test_nothing_to_tell_them_from(self):
    truth = pairs_lib.Truth(pairs=[[0, 0], [1, 0]], kinds=('a', 'a'))
    with self.assertRaisesRegex(ValueError, 'every pair is known'):
      detection.detections('s', np.zeros((2, 1)), truth)


class RemovalsTest(parameterized.TestCase):

  def test_a_linear_world(self):
    """Retraining does what the weights say, times a half, plus noise."""
    weights = np.random.default_rng(0).normal(size=_SHAPE)
    asked = []

    def retrain(masks, replicates):
      asked.append(masks)
      noise = np.random.default_rng(len(asked)).normal(
          scale=1e-3, size=(replicates, len(masks), _SHAPE[1])
      )
      return 0.5 * (masks @ weights)[None] + noise

    found = lib.removals(
        weights, _PAIRS, retrain=retrain, kinds=_KINDS, replicates=3
    )
    own = weights[_PAIRS[:, 0], _PAIRS[:, 1]]
    np.testing.assert_allclose(found.predicted, -own)
    np.testing.assert_allclose(found.observed, -own / 2, atol=4e-3)
    np.testing.assert_array_equal(
        np.argwhere(~asked[1]), np.stack([np.arange(6), _PAIRS[:, 0]], axis=1)
    )
    self.assertTrue(asked[0].all())
    self.assertEqual(set(found.agreement), {'exact', 'noise', 'all'})
    self.assertAlmostEqual(found.agreement['all'].spearman, 1)
    self.assertAlmostEqual(found.agreement['all'].slope, 0.5, places=2)
    self.assertEqual(found.num_retrained, 6 * 3 + 20)
    low, high = found.interval
    self.assertTrue(
        (low < found.observed).all() and (found.observed < high).all()
    )
    json.dumps(found.to_json())

  def test_errors(self):
    retrain = lambda masks, replicates: np.zeros((replicates, len(masks), 20))
    weights = np.zeros(_SHAPE)
    with self.assertRaisesRegex(ValueError, '30 training examples'):
      lib.removals(weights, np.array([[30, 0]]), retrain=retrain)
    with self.assertRaisesRegex(ValueError, 'replicates of at least 2'):
      lib.removals(weights, _PAIRS, retrain=retrain, replicates=0)

  def test_spread(self):
    chosen = lib.spread(_PAIRS, 4, seed=1)
    self.assertLen(set(chosen), 4)
    np.testing.assert_array_equal(chosen, np.sort(chosen))
    self.assertLen(lib.spread(_PAIRS, 99), 6)


class PlotsTest(absltest.TestCase):

  def test_pictures(self):
    data = datasets.load('planted', plant='duplicates', count=8, num_train=200)
    truth = lib.planted_pairs(data.planted)
    scores = {
        'lasso': np.random.default_rng(0).normal(size=(200, 297)),
        'pixels': likeness.negative_distance(
            data.train.inputs, data.test.inputs
        ),
    }
    found = lib.leakage(
        scores['lasso'],
        score='lasso',
        others={'pixels': scores['pixels']},
        truth=truth,
        num_pairs=30,
    )
    page = leakage_plots.pairs_page(data, found, first=24)
    self.assertLen(page.axes, 12)  # Six pairs are left.
    titles = [axes.get_title(loc='left') for axes in page.axes]
    self.assertStartsWith(titles[0], '25:  +')
    self.assertIsNone(leakage_plots.pairs_page(data, found, first=30))
    roc = leakage_plots.roc(found)
    self.assertEqual(
        [axes.get_title() for axes in roc.axes[:5]],
        [
            'exact (2 pairs)',
            'shift (2 pairs)',
            'rotate (2 pairs)',
            'noise (2 pairs)',
            'all (8 pairs)',
        ],
    )
    self.assertLen(roc.axes[0].lines, 3)  # Two scores and chance.
    self.assertIsNotNone(leakage_plots.auc(found.detections))
    unknown = lib.leakage(scores['lasso'])
    self.assertIsNone(leakage_plots.roc(unknown))
    self.assertIsNone(leakage_plots.auc(unknown.detections))
    removed = lib.removals(
        scores['lasso'],
        truth.pairs,
        retrain=lambda masks, replicates: np.stack(
            [masks @ scores['lasso']] * replicates
        ),
        kinds=truth.kinds,
        replicates=2,
    )
    figure = leakage_plots.removal_scatter(removed, outcome='soft_margin')
    self.assertIn('(logits)', figure.axes[0].get_xlabel())

  def test_without_images(self):
    data = datasets.load('synthetic', num_duplicates=5)
    truth = lib.planted_pairs(data.planted)
    scores = likeness.negative_distance(data.train.inputs, data.test.inputs)
    found = lib.leakage(scores, truth=truth)
    self.assertEqual(found.found('weights', 'atypical').auc, 1)
    self.assertIsNone(leakage_plots.pairs_page(data, found))


if __name__ == '__main__':
  absltest.main()
