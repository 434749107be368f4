"""Leakage, on pairs that are known: scikit-learn and hand counts as oracles."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import metrics as sklearn_metrics

from jdm import datasets
from jdm import metrics
from jdm.applications import detection
from jdm.applications import leakage as lib
from jdm.applications import likeness
from jdm.applications import pairs as pairs_lib
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


def _known(kind):
  known, others = np.zeros(_SHAPE, bool), np.ones(_SHAPE, bool)
  for (row, target), own in zip(_PAIRS, _KINDS):
    known[row, target] = kind in (own, 'all')
    others[row, target] = False
  return known, known | others


class DetectionTest(parameterized.TestCase):

  @parameterized.product(kind=['exact', 'noise', 'all'], seed=[0, 1])
  def test_curves_and_areas_of_scikit_learn(self, kind, seed):
    scores = _scores(seed)
    found = {
        one.kind: one for one in detection.detections('s', scores, _TRUTH)
    }[kind]
    known, used = _known(kind)
    case = known[used], scores[used]
    self.assertAlmostEqual(found.auc, metrics.auc(case[1], case[0]))
    self.assertAlmostEqual(
        found.average_precision, sklearn_metrics.average_precision_score(*case)
    )
    self.assertAlmostEqual(np.trapezoid(*found.curve[::-1]), found.auc)
    fpr, tpr, _ = sklearn_metrics.roc_curve(*case, drop_intermediate=False)
    theirs = set(zip(fpr.round(9), tpr.round(9)))
    self.assertContainsSubset(set(zip(*found.curve.round(9))), theirs)
    self.assertEqual(found.num_pairs, known.sum())
    self.assertEqual(found.num_others, 600 - 6)
    self.assertAlmostEqual(
        found.random_average_precision, known.sum() / used.sum()
    )

  def test_ranks_by_hand(self):
    scores = _scores()
    found = {o.kind: o for o in detection.detections('s', scores, _TRUTH)}
    ranks, firsts = [], []
    for row, target in _PAIRS:
      others = np.delete(scores[:, target], _PAIRS[_PAIRS[:, 1] == target, 0])
      own = scores[row, target]
      ranks.append(1 + (others > own).sum() + (others == own).sum() / 2)
      firsts.append((own > others).all())
    self.assertAlmostEqual(found['all'].median_rank, np.median(ranks))
    by_target = {
        t: [f for f, p in zip(firsts, _PAIRS) if p[1] == t]
        for t in _PAIRS[:, 1]
    }
    self.assertAlmostEqual(
        found['all'].first, np.mean([any(v) for v in by_target.values()])
    )

  def test_found_among_the_strongest(self):
    scores = _scores(digits=6)
    order = np.argsort(-scores, axis=None)
    known = _known('all')[0].ravel()
    found = detection.detections('s', scores, _TRUTH, counts=(5, 50, 600, 601))
    all_of = found[-1]
    self.assertEqual(all_of.kind, 'all')
    self.assertEqual(set(all_of.found), {5, 50, 600})  # There are no 601.
    for count in (5, 50, 600):
      self.assertAlmostEqual(
          all_of.found[count], known[order[:count]].sum() / 6
      )

  def test_ties_at_the_border_count_in_proportion(self):
    scores = np.zeros((4, 2))
    scores[0, 0] = 1
    truth = pairs_lib.Truth(pairs=[[0, 0], [1, 1]], kinds=('a', 'a'))
    found = detection.detections('s', scores, truth, counts=(1, 4))[0]
    # One of two is above all; the other is one of 7 equal ones, 3 of them in.
    self.assertAlmostEqual(found.found[1], 0.5)
    self.assertAlmostEqual(found.found[4], (1 + 3 / 7) / 2)
    self.assertAlmostEqual(found.auc, 0.75)
    self.assertEqual(found.first, 0.5)

  def test_scores_that_say_nothing(self):
    found = detection.detections('s', np.zeros(_SHAPE), _TRUTH)
    for one in found:
      self.assertEqual((one.auc, one.first), (0.5, 0.0))
      self.assertAlmostEqual(
          one.average_precision, one.random_average_precision
      )

  def test_interval_covers(self):
    """Of the AUC of scores whose AUC is known: 95 of 100, give or take."""
    rng = np.random.default_rng(0)
    truth = pairs_lib.Truth(
        pairs=np.stack([np.arange(40), np.arange(40)], axis=1),
        kinds=('near',) * 40,
    )
    true = 0.7602  # Phi(1 / sqrt 2), of N(1, 1) against N(0, 1).
    inside = 0
    for _ in range(100):
      scores = rng.normal(size=(60, 40))
      scores[np.arange(40), np.arange(40)] += 1
      one = detection.detections('s', scores, truth, num_bootstrap=200)[0]
      inside += one.auc_interval[0] <= true <= one.auc_interval[1]
    self.assertBetween(inside, 87, 100)

  def test_choose_score(self):
    good, bad = _scores(), _scores()
    bad[_PAIRS[:3, 0], _PAIRS[:3, 1]] = -5
    bad[_PAIRS[3:5, 0], _PAIRS[3:5, 1]] = 9
    found = detection.detections('good', good, _TRUTH)
    found += detection.detections('bad', bad, _TRUTH)
    self.assertEqual(
        detection.choose_score(found),
        {'exact': 'good', 'noise': 'good', 'all': 'good'},
    )
    self.assertEqual(
        detection.choose_score(found[3:]),
        {'exact': 'bad', 'noise': 'bad', 'all': 'bad'},
    )


class ThresholdTest(absltest.TestCase):

  def test_precision_is_reached_at_the_lowest_threshold(self):
    scores = np.zeros(_SHAPE)
    scores[_PAIRS[:, 0], _PAIRS[:, 1]] = [9, 8, 7, 5, 3, 0]
    scores[1, 1], scores[2, 2] = 6, 4
    # Known above 3: five of seven pairs; above 5: four of five.
    for precision, threshold in ((0.8, 5), (0.7, 3), (1.0, 7), (0.001, 0)):
      self.assertEqual(
          detection.threshold_for(scores, _TRUTH, precision=precision),
          threshold,
      )
    found = detection.at_threshold(scores, _TRUTH, 5)
    self.assertEqual(found['num_pairs'], 5)
    self.assertAlmostEqual(found['precision'], 0.8)
    self.assertAlmostEqual(found['recall'], 4 / 6)
    self.assertAlmostEqual(found['recall_exact'], 2 / 3)
    none = detection.at_threshold(scores, _TRUTH, 10)
    self.assertEqual((none['num_pairs'], none['recall']), (0, 0))
    self.assertTrue(np.isnan(none['precision']))

  def test_no_threshold(self):
    scores = -_scores()
    scores[5, 5] = 100
    truth = pairs_lib.Truth(pairs=[[0, 0]], kinds=('a',))
    self.assertEqual(
        detection.threshold_for(scores, truth, precision=0.9), np.inf
    )


class PairsTest(parameterized.TestCase):

  def test_strongest_with_ties(self):
    scores = np.random.default_rng(0).integers(0, 4, (9, 7)).astype(float)
    expected = np.argsort(-scores.ravel(), kind='stable')
    for count in (1, 5, 30, 63, 100):
      found = pairs_lib.strongest(scores, count)
      flat = found[:, 0] * 7 + found[:, 1]
      np.testing.assert_array_equal(flat, expected[:count])

  def test_nearby_euclidean(self):
    train, test = np.array([[0.0], [5.0], [9.0]]), np.array([[1.0], [9.5]])
    truth = pairs_lib.nearby(train, test, threshold=1.5)
    np.testing.assert_array_equal(truth.pairs, [[0, 0], [2, 1]])
    self.assertEqual(truth.all_kinds(), ('near',))

  def test_nearby_on_the_globe(self):
    paris, london, sydney = (
        (48.8566, 2.3522),
        (51.5074, -0.1278),
        (-33.87, 151.2),
    )
    train, test = np.array([london, sydney]), np.array([paris])
    # 344 km, as any atlas says.
    for threshold, number in ((340, 0), (348, 1), (17_100, 2)):
      if not number:
        with self.assertRaisesRegex(ValueError, r'closest are at 343\.'):
          pairs_lib.nearby(train, test, threshold=threshold, metric='haversine')
        continue
      truth = pairs_lib.nearby(
          train, test, threshold=threshold, metric='haversine'
      )
      self.assertLen(truth.pairs, number)

  @parameterized.named_parameters(
      ('shape', {'train_metadata': np.zeros((3, 1))}, r'\(3, 1\) and \(4, 2\)'),
      ('metric', {'metric': 'cosine'}, "got 'cosine'"),
      ('threshold', {'threshold': 0.0}, 'above 0, got 0'),
      ('finite', {'target_metadata': np.full((4, 2), np.nan)}, 'finite'),
      (
          'latitude',
          {'metric': 'haversine', 'train_metadata': np.full((3, 2), 120.0)},
          'latitude',
      ),
  )
  def test_metadata_errors(self, changes, words):
    arguments: dict[str, Any] = {
        'train_metadata': np.zeros((3, 2)),
        'target_metadata': np.ones((4, 2)),
        'threshold': 5.0,
    }
    with self.assertRaisesRegex(ValueError, words):
      pairs_lib.nearby(**(arguments | changes))

  @parameterized.parameters(
      ([[0, 1, 2]], ('a',), r'\[num, 2\]'),
      ([], (), 'at least one'),
      ([[0, 1]], ('a', 'b'), 'one kind for each of 1'),
      ([[0, 1], [0, 1]], ('a', 'b'), 'each pair once'),
  )
  def test_truth_errors(self, pairs, kinds, words):
    with self.assertRaisesRegex(ValueError, words):
      pairs_lib.Truth(pairs=pairs, kinds=kinds)


class LikenessTest(parameterized.TestCase):

  def test_against_loops(self):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(5, 2, 3)), rng.normal(size=(4, 2, 3))
    test[1] = train[2]
    train[4] = 0
    cosine = likeness.cosine(train, test)
    distance = likeness.negative_distance(train, test)
    for i, j in np.ndindex(5, 4):
      a, b = train[i].ravel(), test[j].ravel()
      lengths = np.linalg.norm(a) * np.linalg.norm(b)
      expected = a @ b / lengths if lengths else 0.0
      self.assertAlmostEqual(cosine[i, j], expected, places=5)
      self.assertAlmostEqual(distance[i, j], -np.linalg.norm(a - b), places=5)
    self.assertEqual(distance[2, 1], 0)

  def test_log_probability_correlation(self):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(8, 5, 3)), rng.normal(size=(8, 4, 3))
    found = likeness.log_probability_correlation(train, test)
    logs = [
        x - np.log(np.exp(x).sum(axis=2, keepdims=True)) for x in (train, test)
    ]
    for i, j in np.ndindex(5, 4):
      by_class = [
          np.corrcoef(logs[0][:, i, c], logs[1][:, j, c])[0, 1]
          for c in range(3)
      ]
      self.assertAlmostEqual(found[i, j], np.mean(by_class), places=5)
    # What shifts all logits of a model alike changes no probability.
    shifted = likeness.log_probability_correlation(
        train + rng.normal(size=(8, 5, 1)), test
    )
    np.testing.assert_allclose(shifted, found, atol=1e-5)

  def test_log_losses(self):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(8, 5)), rng.normal(size=(8, 4))
    train[:, 3] = 0.1
    found = likeness.log_probability_correlation(train, test)
    expected = np.corrcoef(np.delete(train, 3, 1), test, rowvar=False)[:4, 4:]
    np.testing.assert_allclose(np.delete(found, 3, 0), expected, atol=1e-6)
    np.testing.assert_array_equal(found[3], 0)

  def test_standardized(self):
    weights = np.random.default_rng(0).normal(size=(6, 3)) * [1, 10, 0]
    found = likeness.standardized(weights)
    np.testing.assert_allclose((found**2).mean(axis=0), [1, 1, 0])
    ratio = weights[:, :2] / found[:, :2]
    np.testing.assert_allclose(ratio, ratio[:1].repeat(6, axis=0))

  def test_all_scores(self):
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(12, 6)), rng.normal(size=(12, 4))
    scores = likeness.all_scores(
        {'lasso': rng.normal(size=(6, 4))},
        distances={
            'pixels': (rng.normal(size=(6, 9)), rng.normal(size=(4, 9)))
        },
        outputs=outputs,
        num_models=(10, 20, 12),
    )
    self.assertEqual(
        list(scores),
        [
            'lasso',
            'lasso_standardized',
            'pixels',
            'log_probability_10',
            'log_probability_12',
        ],
    )
    np.testing.assert_array_equal(
        scores['log_probability_10'],
        likeness.log_probability_correlation(outputs[0][:10], outputs[1][:10]),
    )

  @parameterized.named_parameters(
      ('models', (3, 5), (4, 5), 'same models'),
      ('axes', (3, 5, 2), (3, 5), 'same models'),
      ('few', (2, 5), (2, 4), 'at least 3 models, got 2'),
  )
  def test_correlation_errors(self, train, test, words):
    with self.assertRaisesRegex(ValueError, words):
      likeness.log_probability_correlation(np.ones(train), np.ones(test))

  def test_feature_errors(self):
    with self.assertRaisesRegex(ValueError, r'got \(3, 2\) and \(3, 4\)'):
      likeness.cosine(np.ones((3, 2)), np.ones((3, 4)))
    with self.assertRaisesRegex(ValueError, 'finite numbers, got 6'):
      likeness.cosine(np.full((3, 2), np.nan), np.ones((3, 2)))


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
    with self.assertRaisesRegex(ValueError, 'at least one retraining'):
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
