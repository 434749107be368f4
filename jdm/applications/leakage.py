"""Which test examples have leaked from the training set?

Pairs of a training example and a test example are ranked by a score. A high
datamodel weight says that models need the training example to get the test
example right, which is what leakage does to an evaluation. It does not say
that the two look alike, and a duplicate that models do not need has no weight:
for likeness there are the scores of `likeness`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from jdm import effects
from jdm.analysis import detection
from jdm.analysis import pairs as pairs_lib

WEIGHTS = 'weights'
_WHO = 'leakage'
_COUNTS = (10, 30, 100, 200, 1000)
_CURVE_POINTS = 200  # Of a ROC curve as JSON, at most about so many.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Leakage:
  """Pairs that a person should look at, and how far their order can be trusted.

  Attributes:
    score: what the pairs are ranked by.
    pairs: int `[num_pairs, 2]`, train row and target, strongest first.
    weights: `[num_pairs]`, their scores; outcome units for datamodels' weights,
      positive where the training example helps on the target.
    detections: how well each score finds known pairs, by kind; empty without
      known pairs.
    truth: the known pairs, or None.
    errors: `[num_pairs]`, standard errors of `weights` where they are known, NaN
      elsewhere; or None.
  """

  score: str
  pairs: np.ndarray
  weights: np.ndarray
  detections: tuple[detection.Detection, ...] = ()
  truth: pairs_lib.Truth | None = None
  errors: np.ndarray | None = None

  def found(self, score: str, kind: str) -> detection.Detection:
    """The measurement of one score on one kind of pairs.

    Raises:
      ValueError: if there is none.
    """
    for one in self.detections:
      if (one.score, one.kind) == (score, kind):
        return one
    known = sorted({(one.score, one.kind) for one in self.detections})
    raise ValueError(f'no detection of {(score, kind)}; there are {known}.')

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values; curves thinned out."""
    kinds = {}
    if self.truth is not None:
      kinds = dict(zip(map(tuple, self.truth.pairs), self.truth.kinds))
    listed = []
    for place, (train, test) in enumerate(self.pairs.tolist()):
      weight = float(self.weights[place])
      row = {'train': train, 'test': test, 'weight': weight}
      if self.errors is not None and np.isfinite(self.errors[place]):
        row['standard_error'] = float(self.errors[place])
      if self.truth is not None:
        row['known'] = kinds.get((train, test))
      listed.append(row)
    return {
        'score': self.score,
        'pairs': listed,
        'detections': [_thinned(one) for one in self.detections],
    }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Removals:
  """What happens to a target when the training example of its pair is removed.

  Attributes:
    pairs: int `[num_pairs, 2]`.
    kinds: one word a pair.
    predicted: `[num_pairs]`, minus the weight: the predicted change of the
      target's outcome, outcome units.
    observed: `[num_pairs]`, mean change over retrainings on all examples but
      that one.
    interval: `[2, num_pairs]`, 95 % (Student's t); None with fewer than two
      retrainings.
    control: `[num_pairs]`, mean outcome of the target when all are trained on.
    agreement: by kind of pairs, and over all as 'all'.
    replicates: retrainings of each removal.
    num_retrained: models trained, controls included.
  """

  pairs: np.ndarray
  kinds: tuple[str, ...]
  predicted: np.ndarray
  observed: np.ndarray
  interval: np.ndarray | None
  control: np.ndarray
  agreement: dict[str, effects.Agreement]
  replicates: int
  num_retrained: int

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self)


def leakage(
    scores: np.ndarray,
    *,
    score: str = WEIGHTS,
    others: Mapping[str, np.ndarray] | None = None,
    truth: pairs_lib.Truth | None = None,
    num_pairs: int = 200,
    counts: Sequence[int] = _COUNTS,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> Leakage:
  """Ranks pairs, strongest first, and measures scores where pairs are known.

  Args:
    scores: `[num_train, num_targets]`, higher = more suspicious, such as the
      weights of datamodels of test targets.
    score: its name.
    others: by name, scores of the same pairs to compare with.
    truth: known pairs, such as planted duplicates (`planted_pairs`) or examples
      with close metadata (`pairs.nearby`); without them nothing is measured.
    num_pairs: how many pairs to list.
    counts: numbers of top pairs in which known pairs are counted.
    num_bootstrap: resamples for the intervals of AUC.
    seed: of the resamples.

  Returns:
    The pairs; and for each score and kind of known pairs its ROC curve, AUC,
    precision and ranks. The choice of a score by these numbers is to be
    reported on other known pairs (`detection.choose_score`).

  Raises:
    ValueError: if scores are not finite, differ in shape or share a name, or if
      a known pair does not exist.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022.
  """
  named = {score: scores, **(others or {})}
  if len(named) != 1 + len(others or {}):
    raise ValueError(f'`{_WHO}` got two scores of the name {score!r}.')
  for name, array in named.items():
    pairs_lib.check_scores(name, array)
  pairs_lib.check_same_shape(named)
  if num_pairs < 1:
    raise ValueError(f'`{_WHO}` lists at least one pair, got {num_pairs}.')
  scores = np.asarray(scores)
  pairs = pairs_lib.strongest(scores, num_pairs)
  found: list[detection.Detection] = []
  for name, array in named.items():
    if truth is not None:
      found += detection.detections(
          name,
          array,
          truth,
          counts=counts,
          num_bootstrap=num_bootstrap,
          seed=seed,
      )
  return Leakage(
      score=score,
      pairs=pairs,
      weights=scores[pairs[:, 0], pairs[:, 1]],
      detections=tuple(found),
      truth=truth,
  )


def planted_pairs(planted: Any) -> pairs_lib.Truth | None:
  """The planted duplicates of a dataset as known pairs; None without some.

  Args:
    planted: `Dataset.planted`, with `duplicates` and `duplicate_kinds`.
  """
  if planted is None or not len(planted.duplicates):
    return None
  return pairs_lib.Truth(
      pairs=planted.duplicates, kinds=tuple(planted.duplicate_kinds)
  )


def removals(
    weights: np.ndarray,
    pairs: np.ndarray,
    *,
    retrain: effects.Retrain,
    kinds: Sequence[str] | None = None,
    replicates: int = 4,
    control_replicates: int = 20,
    labels: np.ndarray | None = None,
) -> Removals:
  """Removes the training example of each pair and trains again.

  Args:
    weights: `[num_train, num_targets]`, outcome units, of datamodels. Fitted on
      subsets they predict what is needed there: from the full set, which holds
      more that can stand in, a removal mostly changes less.
    pairs: int `[num_pairs, 2]`, train row and target.
    retrain: such as `collection.retrainer(store, outcome=...)`, of the outcome
      that the weights are about.
    kinds: one word a pair; 'pair' for all by default.
    replicates: retrainings of each removal, at least 2.
    control_replicates: trainings on everything, at least 2.
    labels: int `[num_train]`; a removal that leaves a class empty is refused.

  Raises:
    ValueError: if shapes do not fit, a pair does not exist or stands twice, a
      class would be left empty, or `retrain` returns another shape.
  """
  who = 'removals'
  weights = pairs_lib.check_scores('weights', weights)
  truth = pairs_lib.Truth(
      pairs=pairs,
      kinds=('pair',) * len(pairs) if kinds is None else tuple(kinds),
  )
  truth.mask(weights.shape)  # Raises if a pair does not exist.
  effects.check_replicates(
      who, replicates=replicates, control_replicates=control_replicates
  )
  rows, targets = truth.pairs.T
  num_train, num_targets = weights.shape
  masks = np.ones((len(rows), num_train), bool)
  masks[np.arange(len(rows)), rows] = False
  effects.check_masks_trainable(who, masks, batch_size=1, labels=labels)
  everything = np.ones((1, num_train), bool)
  control = effects.retrained(
      who, retrain, everything, control_replicates, num_targets
  )[:, 0][:, targets]
  outcomes = effects.retrained(who, retrain, masks, replicates, num_targets)
  own = outcomes[:, np.arange(len(rows)), targets]
  predicted = -weights[rows, targets].astype(np.float64)
  observed = effects.change(own, control)
  parts = effects.halves(own, control)
  agreement = {}
  for kind in truth.all_kinds():
    members = truth.members(kind)
    ceiling = float('nan')
    if parts is not None:
      ceiling = effects.split_half_ceiling(*(p[members] for p in parts))
    agreement[kind] = effects.agreement(
        predicted[members], observed[members], ceiling
    )
  return Removals(
      pairs=truth.pairs,
      kinds=truth.kinds,
      predicted=predicted,
      observed=observed,
      interval=effects.interval(own, control),
      control=effects.mean(control),
      agreement=agreement,
      replicates=replicates,
      num_retrained=len(rows) * replicates + control_replicates,
  )


def spread(pairs: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
  """Chooses up to `count` of the pairs at random, in their order.

  Args:
    pairs: int `[num_pairs, 2]`.
    count: how many.
    seed: of the choice.

  Returns:
    int `[count]`, places in `pairs`, ascending.
  """
  rng = np.random.default_rng(seed)
  return np.sort(rng.permutation(len(pairs))[:count])


def _thinned(one: detection.Detection) -> dict[str, Any]:
  values = effects.to_json(one)
  step = max(1, one.curve.shape[1] // _CURVE_POINTS)
  values['curve'] = np.concatenate(
      [one.curve[:, :-1:step], one.curve[:, -1:]], axis=1
  ).tolist()
  return values
