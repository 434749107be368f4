"""How well scores of (train, target) pairs find the pairs that are known.

A score is `[num_train, num_targets]`, higher for pairs more likely to be a
duplicate. Known pairs are compared with all other pairs; ties count half.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from jdm import intervals
from jdm.analysis import pairs as pairs_lib

_LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
  """How well one score finds the pairs of one kind.

  Attributes:
    score: its name.
    kind: of the pairs.
    num_pairs: known pairs of this kind.
    num_others: pairs that are not known to belong together, of any target.
    auc: chance that a known pair scores higher than another pair; ties half.
    auc_interval: 95 %, bootstrap over the targets that have known pairs; of no
      width where all of them rank above everything else.
    average_precision: area under precision over recall.
    random_average_precision: the share of known pairs among all.
    first: share of targets whose known pair (one of them) scores strictly
      higher than all their other training examples.
    first_interval: 95 %, Wilson.
    median_rank: of a known pair among the training examples of its target,
      1 is first, other known pairs left out.
    found: by N, share of the known pairs of this kind among the N pairs of
      highest score; a tie at the border counts in proportion.
    curve: `[2, num_points]`, the ROC curve: false positive rate, true positive
      rate.
  """

  score: str
  kind: str
  num_pairs: int
  num_others: int
  auc: float
  auc_interval: tuple[float, float]
  average_precision: float
  random_average_precision: float
  first: float
  first_interval: tuple[float, float]
  median_rank: float
  found: dict[int, float]
  curve: np.ndarray


def detections(
    name: str,
    scores: np.ndarray,
    truth: pairs_lib.Truth,
    *,
    counts: Sequence[int] = (),
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[Detection]:
  """Measures one score for each kind of known pairs, and for all of them.

  Args:
    name: of the score.
    scores: `[num_train, num_targets]`, finite, higher = more suspicious.
    truth: the known pairs; every other pair counts as unrelated.
    counts: numbers of top pairs for `Detection.found`.
    num_bootstrap: resamples for `auc_interval`.
    seed: of the resamples.

  Raises:
    ValueError: on scores that do not fit, or if no pair is unrelated.
  """
  scores = pairs_lib.check_scores(name, scores)
  known = truth.mask(scores.shape)
  if known.all():
    raise ValueError('every pair is known: there is nothing to tell them from.')
  others, everything = np.sort(scores[~known]), np.sort(scores, axis=None)
  own = scores[truth.pairs[:, 0], truth.pairs[:, 1]]
  ranks, is_first = _ranks(scores, known, truth.pairs)
  found = []
  for kind in truth.all_kinds():
    members = truth.members(kind)
    targets = truth.pairs[members, 1]
    positives = own[members]
    placements = _placements(positives, others)
    first = _any_of_target(is_first[members], targets)
    curve, average_precision = _curve(positives, others)
    found.append(
        Detection(
            score=name,
            kind=kind,
            num_pairs=len(positives),
            num_others=len(others),
            auc=float(placements.mean()),
            auc_interval=_interval(placements, targets, num_bootstrap, seed),
            average_precision=average_precision,
            random_average_precision=len(positives)
            / (len(positives) + len(others)),
            first=float(first.mean()),
            first_interval=intervals.wilson_interval(
                int(first.sum()), len(first)
            ),
            median_rank=float(np.median(ranks[members])),
            found={
                int(n): _found(positives, everything, n)
                for n in counts
                if n <= scores.size
            },
            curve=curve,
        )
    )
  return found


def choose_score(found: Sequence[Detection]) -> dict[str, str]:
  """The score of highest AUC by kind; ties by average precision, then order.

  What it chooses is to be reported on other known pairs than `found` is about.
  """
  best: dict[str, Detection] = {}
  for detection in found:
    key = (detection.auc, detection.average_precision)
    holder = best.get(detection.kind)
    if holder is None or key > (holder.auc, holder.average_precision):
      best[detection.kind] = detection
  return {kind: detection.score for kind, detection in best.items()}


def threshold_for(
    scores: np.ndarray, truth: pairs_lib.Truth, *, precision: float = 0.9
) -> float:
  """The lowest threshold above which `precision` of all pairs are known.

  What it returns is to be reported on other known pairs, see `at_threshold`.

  Args:
    scores: `[num_train, num_targets]`.
    truth: the known pairs.
    precision: wanted, in (0, 1].

  Returns:
    A score, that of a known pair; pairs at or above it count. Infinity if no
    threshold reaches the precision.
  """
  scores = pairs_lib.check_scores('threshold_for', scores)
  others = np.sort(scores[~truth.mask(scores.shape)])
  own = np.sort(scores[truth.pairs[:, 0], truth.pairs[:, 1]])
  num_own = len(own) - np.searchsorted(own, own, 'left')
  num_others = len(others) - np.searchsorted(others, own, 'left')
  enough = np.flatnonzero(num_own / (num_own + num_others) >= precision)
  return float(own[enough[0]]) if enough.size else float('inf')


def at_threshold(
    scores: np.ndarray, truth: pairs_lib.Truth, threshold: float
) -> dict[str, float]:
  """Precision and recall of the pairs that score at least `threshold`.

  Returns:
    `num_pairs`, how many score so high; `precision`, the share of known pairs
    among them, NaN if there are none; `recall`, the share of known pairs that
    are among them; and `recall_KIND` for each kind.
  """
  scores = pairs_lib.check_scores('at_threshold', scores)
  known = truth.mask(scores.shape)
  num_pairs = int(np.sum(scores >= threshold))
  own = scores[truth.pairs[:, 0], truth.pairs[:, 1]] >= threshold
  precision = np.sum((scores >= threshold) & known) / max(num_pairs, 1)
  result = {
      'num_pairs': num_pairs,
      'precision': float(precision) if num_pairs else float('nan'),
  }
  for kind in (*dict.fromkeys(truth.kinds), pairs_lib.ALL):
    name = 'recall' if kind == pairs_lib.ALL else f'recall_{kind}'
    result[name] = float(own[truth.members(kind)].mean())
  return result


def _placements(positives: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Share of sorted `others` below each positive, ties half.

  Their mean is the area under the ROC curve (Mann and Whitney, 1947).
  """
  below = np.searchsorted(others, positives, 'left')
  not_above = np.searchsorted(others, positives, 'right')
  return (below + not_above) / (2 * len(others))


def _curve(
    positives: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, float]:
  """The ROC curve `[2, num_points]` and the average precision.

  Others between two positives are counted as one point of their number, which
  changes neither and leaves little to sort.
  """
  from sklearn import metrics  # Takes a second to import.

  values, times = np.unique(positives, return_counts=True)
  below = np.searchsorted(others, values, 'left')
  not_above = np.searchsorted(others, values, 'right')
  # Places 1, 3, ... are the values of positives, 0, 2, ... lie between them.
  borders = np.stack([below, not_above], axis=1).ravel()
  numbers = np.diff(np.concatenate([[0], borders, [len(others)]]))
  places = np.concatenate(
      [np.arange(len(numbers)), 2 * np.arange(len(values)) + 1]
  )
  labels = np.repeat([False, True], [len(numbers), len(values)])
  weights = np.concatenate([numbers, times])
  kept = weights > 0
  case = labels[kept], places[kept]
  fpr, tpr, _ = metrics.roc_curve(*case, sample_weight=weights[kept])
  precision = metrics.average_precision_score(
      *case, sample_weight=weights[kept]
  )
  return np.stack([fpr, tpr]), float(precision)


def _interval(
    placements: np.ndarray, targets: np.ndarray, num_bootstrap: int, seed: int
) -> tuple[float, float]:
  """Percentiles of the mean placement, targets resampled; NaN with one."""
  _, group = np.unique(targets, return_inverse=True)
  sums, counts = np.bincount(group, placements), np.bincount(group)
  if len(sums) < 2 or not num_bootstrap:
    return float('nan'), float('nan')
  rng = np.random.default_rng(seed)
  times = rng.multinomial(
      len(sums), np.full(len(sums), 1 / len(sums)), size=num_bootstrap
  )
  return intervals.percentiles((times @ sums) / (times @ counts), _LEVEL)


def _ranks(
    scores: np.ndarray, known: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Rank of each pair in its column among the unknown, and whether first."""
  ranks = np.empty(len(pairs))
  for target in np.unique(pairs[:, 1]):
    rows = pairs[:, 1] == target
    own = scores[pairs[rows, 0], target]
    others = np.sort(scores[~known[:, target], target])
    above = len(others) - np.searchsorted(others, own, 'right')
    ties = len(others) - np.searchsorted(others, own, 'left') - above
    ranks[rows] = 1 + above + ties / 2
  return ranks, ranks == 1


def _any_of_target(flags: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """Bool `[num different targets]`, whether any of its pairs has the flag."""
  _, group = np.unique(targets, return_inverse=True)
  return np.bincount(group, flags) > 0


def _found(positives: np.ndarray, everything: np.ndarray, count: int) -> float:
  """Share of positives among the `count` highest of sorted `everything`."""
  not_above = np.searchsorted(everything, positives, 'right')
  ties = not_above - np.searchsorted(everything, positives, 'left')
  above = len(everything) - not_above
  return float(np.mean(np.clip((count - above) / ties, 0, 1)))
