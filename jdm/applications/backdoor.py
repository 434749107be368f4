"""Which training examples carry a backdoor? A set that depends on itself.

A trigger is learned from the poisoned examples alone, so that each of them
matters to all the others, more than ordinary examples of a class do. The set
with the largest sum of influences on each other is searched among the examples
of one label, for many sizes; its size and label are chosen on models that the
search has not seen.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from jdm import effects
from jdm.analysis import submatrix
from jdm.analysis import suspects

_WHO = 'backdoor'
SCORE = 'backdoor'  # The name of its own score among baselines.
_NUM_BETWEEN = 10
_SMALLEST, _RATIO = 10, 1.25


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Removal:
  """Accuracy after removing the set that was found, by retraining.

  Attributes:
    num_removed: examples of the set.
    groups: by name, the test rows that are averaged over: 'triggered', tests
      that carry the trigger, where these are known, and 'others'.
    mean: by what was removed ('nothing', 'found', 'random': as many other
      examples of the same label) and group, mean outcome.
    change: by what was removed and group, difference from 'nothing'.
    interval: 95 % of `change`, Student's t; None with fewer than 2 trainings.
    replicates: retrainings of each.
  """

  num_removed: int
  groups: Mapping[str, np.ndarray]
  mean: Mapping[str, Mapping[str, float]]
  change: Mapping[str, Mapping[str, float]]
  interval: Mapping[str, Mapping[str, tuple[float, float] | None]]
  replicates: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Backdoor:
  """The most suspicious set of training examples.

  Attributes:
    rows: int `[size]`, train rows of the set, ascending.
    label: their label; -1 if labels were not used.
    sizes: int `[num_sizes]`, sizes that were tried.
    groups: int `[num_groups]`, labels; one group of -1 without labels.
    values: `[num_groups, num_sizes]`, sum of the influences within the set of
      that size, beyond what its members do to everyone of the label, in outcome
      units; of models that the set was not searched with, if there are halves.
      NaN where the label has too few examples.
    scores: `[num_train]`, higher = more suspicious: mean influence of a member
      of the set on the example beyond that of all examples of the label, in
      outcome units; averaged over the sizes whose value is within 5 % of the
      highest. Examples of other labels all get the lowest.
    precision: share of the known poisoned rows in the set; NaN if unknown.
    recall: share of the known poisoned rows that are in the set; likewise.
    detections: of `scores` as 'backdoor', and of baselines, by known poisoned
      rows; empty without these.
    poisoned: int, the known poisoned rows, or None.
    is_cross_fitted: whether sizes were chosen on other models than sets.
    removal: the check by retraining, or None.
  """

  rows: np.ndarray
  label: int
  sizes: np.ndarray
  groups: np.ndarray
  values: np.ndarray
  scores: np.ndarray
  precision: float
  recall: float
  detections: Mapping[str, suspects.Detection]
  poisoned: np.ndarray | None
  is_cross_fitted: bool
  removal: Removal | None

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self)


def backdoor(
    influence: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    halves: tuple[np.ndarray, np.ndarray] | None = None,
    sizes: Sequence[int] | None = None,
    num_restarts: int = 20,
    poisoned: Sequence[int] | np.ndarray | None = None,
    baselines: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Backdoor:
  """Searches the set of training examples that depend most on each other.

  Args:
    influence: `[num_train, num_train]`, entry (i, j) what training example i
      does to the outcome of training example j by models that did not train on
      j: `influence.influence(..., own_ids=arange)` or the weights of train
      targets' datamodels. The diagonal is not read.
    labels: int `[num_train]`. A set then has one label, as what a backdoor was
      planted in has. None searches among all, as the paper does; where classes
      are few and the set is small, it finds classes.
    halves: the same estimated from either half of the models: sets of each are
      valued by the other. None values sets by the models they were found with,
      which prefers large ones.
    sizes: of sets; by default from 10 up, each a quarter larger, to 80 % of the
      largest label, and finer ones around the best of these.
    num_restarts: random starts of each search.
    poisoned: int, rows known to be poisoned, to measure by; never searched
      with.
    baselines: other scores `[num_train]`, higher = more suspect, to measure.
    seed: of starts and resamples.

  Returns:
    A set of the label with the highest value, as small as a value 5 % below
    that allows, searched once more with all models. Sets are found by swaps,
    then replaced by the examples that they do most to. Something is always
    found: look at the values of other labels, at the images, and at what its
    removal does (`removal`).

  Raises:
    ValueError: if shapes do not fit, an influence is not finite, sizes are out
      of range, or known rows are.

  References:
    Khaddaj et al., `Rethinking backdoor attacks
    <https://arxiv.org/abs/2307.10163>`_, ICML 2023.
  """
  influence = np.asarray(influence)
  parts = [influence, *map(np.asarray, halves or ())]
  members = _members(parts, labels)
  grid = _sizes(sizes, max(map(len, members.values())))
  blocks = [
      [submatrix.excess(part[np.ix_(rows, rows)]) for part in parts]
      for rows in members.values()
  ]
  searches = [
      submatrix.search_sizes(
          block[1:] or block, grid, num_restarts=num_restarts, seed=seed
      )
      for block in blocks
  ]
  group = _best_group(searches)
  label, rows = list(members.items())[group]
  block, search = blocks[group], searches[group]
  number = int(search.near_best()[0])  # The smallest size that is good enough.
  size = int(grid[number])
  if sizes is None:
    fine = _between(grid, number, len(rows))
    search = submatrix.search_sizes(
        block[1:] or block, fine, num_restarts=num_restarts, seed=seed
    )
    size = int(fine[search.near_best()[0]])
  places = submatrix.refine(
      block[0],
      submatrix.search(block[0], size, num_restarts=num_restarts, seed=seed),
  )
  own = submatrix.scores(block[1:] or block, search)
  scores = np.full(len(influence), own.min())
  scores[rows] = own
  chosen = rows[places]
  return Backdoor(
      rows=chosen,
      label=label,
      sizes=grid,
      groups=np.array(list(members)),
      values=np.stack([one.values for one in searches]),
      scores=scores,
      is_cross_fitted=halves is not None,
      removal=None,
      **_measured(chosen, scores, poisoned, baselines, seed),
  )


def removal(
    found: Backdoor,
    labels: np.ndarray,
    retrain: effects.Retrain,
    *,
    num_targets: int,
    triggered: Sequence[int] | np.ndarray = (),
    replicates: int = 10,
    batch_size: int = 1,
    seed: int = 0,
) -> Backdoor:
  """Removes the set that was found and trains again.

  Args:
    found: the set.
    labels: int `[num_train]`.
    retrain: see `effects.Retrain`, with test examples as targets, such as of
      correctness.
    num_targets: of `retrain`.
    triggered: int, test rows that carry the trigger, if they are known.
    replicates: trainings of each set.
    batch_size: the fewest examples that can be trained on.
    seed: of the random removal.

  Returns:
    `found` with its `removal`.

  Raises:
    ValueError: if test rows are out of range, or what is left cannot be trained
      on.
  """
  labels = np.asarray(labels)
  triggered = suspects.check_rows(_WHO, triggered, num_targets)
  is_found = np.isin(np.arange(len(labels)), found.rows)
  same = labels == found.label if found.label >= 0 else np.ones_like(is_found)
  # As many at random: of the same label, then, where it has too few, of others.
  rng = suspects.generator(seed)
  order = rng.permutation(np.flatnonzero(~is_found))
  order = order[np.argsort(~same[order], kind='stable')]
  chance = order[: len(found.rows)]
  removed = {'nothing': order[:0], 'found': found.rows, 'random': chance}
  masks = np.ones((len(removed), len(labels)), bool)
  for mask, rows in zip(masks, removed.values()):
    mask[rows] = False
  effects.check_replicates(_WHO, replicates=replicates)
  effects.check_masks_trainable(
      _WHO, masks, batch_size=batch_size, labels=labels
  )
  outcomes = effects.retrained(_WHO, retrain, masks, replicates, num_targets)
  rest = np.setdiff1d(np.arange(num_targets), triggered)
  groups = {'triggered': triggered, 'others': rest}
  groups = {name: rows for name, rows in groups.items() if len(rows)}
  mean: dict[str, dict[str, float]] = {}
  change: dict[str, dict[str, float]] = {}
  ends: dict[str, dict[str, tuple[float, float] | None]] = {}
  for number, what in enumerate(removed):
    mean[what], change[what], ends[what] = {}, {}, {}
    for name, rows in groups.items():
      own, full = (outcomes[:, n][:, rows].mean(axis=1) for n in (number, 0))
      mean[what][name] = float(effects.mean(own))
      if number:
        change[what][name] = float(effects.change(own, full))
        interval = effects.interval(own, full)
        ends[what][name] = (
            None
            if interval is None
            else (float(interval[0]), float(interval[1]))
        )
  return dataclasses.replace(
      found,
      removal=Removal(
          num_removed=len(found.rows),
          groups=groups,
          mean=mean,
          change={what: change[what] for what in ('found', 'random')},
          interval={what: ends[what] for what in ('found', 'random')},
          replicates=replicates,
      ),
  )


def _members(parts, labels) -> dict[int, np.ndarray]:
  """Rows by label; all as -1 without labels."""
  num_train = len(parts[0])
  shapes = {part.shape for part in parts}
  if shapes != {(num_train, num_train)} or len(parts) not in (1, 3):
    raise ValueError(
        f'`{_WHO}` expects influence [num_train, num_train], and two halves of'
        f' the same shape or none, got {[list(part.shape) for part in parts]}.'
    )
  if labels is None:
    return {-1: np.arange(num_train)}
  labels = np.asarray(labels)
  if labels.shape != (num_train,) or not np.issubdtype(
      labels.dtype, np.integer
  ):
    raise ValueError(
        f'`{_WHO}` expects {num_train} integer labels, got {labels.dtype}'
        f' {list(labels.shape)}.'
    )
  return {int(c): np.flatnonzero(labels == c) for c in np.unique(labels)}


def _sizes(sizes, largest_label: int) -> np.ndarray:
  most = submatrix.largest_size(largest_label)
  if most < 1:
    raise ValueError(f'`{_WHO}` expects a label with two examples or more.')
  if sizes is None:
    grid = [_SMALLEST * _RATIO**power for power in range(60)]
    sizes = [round(size) for size in grid if size <= most] or [most]
  grid = np.asarray(sizes, np.int64)
  ascending = grid.ndim == 1 and grid.size > 0 and (np.diff(grid) > 0).all()
  if not ascending or grid[0] < 1 or grid[-1] > most:
    raise ValueError(
        f'`{_WHO}` expects ascending sizes from 1 to {most}, 80 % of the'
        f' largest label, got {grid.tolist()}.'
    )
  return grid


def _between(grid: np.ndarray, number: int, num_members: int) -> np.ndarray:
  """Sizes between the neighbours of one of the grid, 5 % apart or so."""
  low, high = grid[max(number - 1, 0)], grid[min(number + 1, len(grid) - 1)]
  high = max(min(high, submatrix.largest_size(num_members)), low)
  return np.unique(np.geomspace(low, high, _NUM_BETWEEN).round().astype(int))


def _best_group(searches: Sequence[submatrix.Sets]) -> int:
  """The label whose sets have the highest value."""
  best = [max(one.values[: len(one.sets)], default=-np.inf) for one in searches]
  return int(np.argmax(best))


def _measured(chosen, scores, poisoned, baselines, seed) -> dict[str, Any]:
  """Fields of a `Backdoor` that need known rows."""
  if poisoned is None:
    unknown = float('nan')
    return {
        'precision': unknown,
        'recall': unknown,
        'detections': {},
        'poisoned': None,
    }
  poisoned = suspects.check_rows(_WHO, poisoned, len(scores))
  detections = suspects.detect(
      {SCORE: scores, **(baselines or {})}, poisoned, seed=seed
  )
  hits = np.isin(chosen, poisoned).sum()
  return {
      'precision': float(hits / len(chosen)),
      'recall': float(hits / len(poisoned)),
      'detections': detections,
      'poisoned': poisoned,
  }
