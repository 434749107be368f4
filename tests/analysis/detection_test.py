"""Finding known pairs, against scikit-learn and by hand."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import metrics as sklearn_metrics

from jdm import metrics
from jdm.analysis import detection
from jdm.analysis import pairs as pairs_lib

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


if __name__ == '__main__':
  absltest.main()
