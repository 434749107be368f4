"""Changes of a training set: which examples, in which order, and what to train.

A trial removes examples from a base subset, adds them to it, or relabels them
within it; it is about one target. Rows in order of change are int
`[num_targets, count]`, -1 where nothing is left to choose.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from jdm import effects
from jdm import outcomes as outcomes_lib

ACTIONS = ('remove', 'add', 'relabel')
# Retrained outcomes of all targets come back at once, one of which is kept.
_VALUES_A_CALL = 1 << 25


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
  """Subsets to train on.

  Attributes:
    masks: bool `[num_trials, num_train]`.
    targets: int `[num_trials]`, the target that each is about.
    relabel: int `[num_trials, num_train]`, the label that an example is trained
      with, -1 for its own; None where nothing is relabelled.
  """

  masks: np.ndarray
  targets: np.ndarray
  relabel: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.targets)

  def take(self, chosen: np.ndarray) -> 'Trials':
    """The trials of some row numbers, or of a bool mask."""
    relabel = None if self.relabel is None else self.relabel[chosen]
    return Trials(
        masks=self.masks[chosen], targets=self.targets[chosen], relabel=relabel
    )


def check_ids(
    who: str, name: str, ids: Sequence[int] | np.ndarray, count: int
) -> np.ndarray:
  """Checks row or column numbers.

  Args:
    who: the function that complains.
    name: of the argument.
    ids: at least one integer, each once, in `[0, count)`.
    count: how many there are.

  Returns:
    int64 `[num]`.

  Raises:
    ValueError: naming what is out of range or repeated.
  """
  given = np.asarray(ids)
  if given.ndim != 1 or not given.size:
    raise ValueError(
        f'`{who}` expects {name} as integers [num], at least one, got shape'
        f' {list(given.shape)}.'
    )
  if not np.issubdtype(given.dtype, np.integer):
    raise ValueError(
        f'`{who}` expects {name} as integers, got {given.dtype}; for a bool'
        ' mask pass `np.flatnonzero(mask)`.'
    )
  wrong = given[(given < 0) | (given >= count)]
  if wrong.size:
    raise ValueError(
        f'`{who}` expects {name} in [0, {count}), got {wrong[:5].tolist()}.'
    )
  values, times = np.unique(given, return_counts=True)
  if (times > 1).any():
    raise ValueError(
        f'`{who}` expects each of {name} once, got'
        f' {values[times > 1][:5].tolist()} more than once.'
    )
  return given.astype(np.int64)


def check_sizes(
    who: str, sizes: Sequence[int] | np.ndarray, most: int
) -> np.ndarray:
  """Checks numbers of examples.

  Args:
    who: the function that complains.
    sizes: integers, strictly ascending, from 1 to `most`.
    most: the largest that makes sense.

  Returns:
    int64 `[num_sizes]`.

  Raises:
    ValueError: naming what is out of range, out of order or no integer.
  """
  given = np.asarray(sizes)
  if given.ndim != 1 or not given.size:
    raise ValueError(
        f'`{who}` expects sizes as integers [num_sizes], at least one, got'
        f' {given.tolist()}.'
    )
  if not np.issubdtype(given.dtype, np.integer) or (np.diff(given) < 1).any():
    raise ValueError(
        f'`{who}` expects sizes as ascending integers, each once, got'
        f' {given.tolist()}.'
    )
  if given[0] < 1 or given[-1] > most:
    raise ValueError(
        f'`{who}` expects sizes from 1 to {most}, got {given.tolist()}.'
    )
  return given.astype(np.int64)


def check_higher_is_better(who: str, outcome: str) -> None:
  """Refuses weights of which positive means harmful.

  Args:
    who: the function that complains.
    outcome: what the datamodels are of; a name that jdm does not know passes.

  Raises:
    ValueError: if less of the outcome is better, as of a loss.
  """
  name = outcome.removesuffix('_train')
  known = outcomes_lib.OUTCOMES.get(name)
  if known is not None and known.higher_is_better is False:
    raise ValueError(
        f'`{who}` expects datamodels of an outcome of which more is better,'
        f' got {name!r}; fit a margin, or negate weights and bias and rename'
        ' the outcome.'
    )


def rank(
    scores: np.ndarray,
    candidates: np.ndarray,
    count: int,
    *,
    then: np.ndarray | None = None,
) -> np.ndarray:
  """Orders the candidates of each target by score, highest first.

  Args:
    scores: `[num_train, num_targets]`.
    candidates: bool, same shape, rows that may be chosen.
    count: rows wanted.
    then: same shape, orders rows of equal score, highest first; by default, and
      where it is equal too, the lower row goes first.

  Returns:
    int `[num_targets, count]`, -1 where candidates run out.
  """
  kept = np.where(candidates, -np.asarray(scores, np.float64), np.inf)
  keys = (kept,) if then is None else (-np.asarray(then), kept)
  order = np.lexsort(keys, axis=0)[:count].T
  return _padded(order, candidates.sum(axis=0), count)


def shuffle(candidates: np.ndarray, count: int, seed: int) -> np.ndarray:
  """Orders the candidates of each target at random; as `rank`."""
  rng = np.random.default_rng(seed)
  num_train, num_targets = candidates.shape
  order = np.zeros((num_targets, min(count, num_train)), np.int64)
  for target in range(num_targets):
    rows = rng.permutation(num_train)
    # Candidates first, each part in its random order.
    rows = rows[np.argsort(~candidates[rows, target], kind='stable')]
    order[target] = rows[:count]
  return _padded(order, candidates.sum(axis=0), count)


def keep_classes(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Ends each order of change before a class loses its last example.

  Args:
    rows: int `[num_targets, count]`.
    labels: int `[num_train]`.

  Returns:
    `rows` with -1 from there on.
  """
  for label in np.unique(labels):
    members = np.asarray(labels) == label
    taken = np.cumsum((rows >= 0) & members[rows], axis=1)
    rows = np.where(taken >= members.sum(), -1, rows)
  return rows


def likely_wrong_class(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The class that each target would most likely be mistaken for.

  Args:
    logits: `[replicates, num_targets, num_classes]` of models trained on
      everything; a diverged training is NaN and left out.
    labels: int `[num_targets]`, the right classes.

  Returns:
    int `[num_targets]`, the wrong class that most of the models predict; where
    none is predicted, or several equally often, the one of highest mean logit.

  Raises:
    ValueError: if shapes disagree.
  """
  logits, labels = np.asarray(logits), np.asarray(labels)
  if logits.ndim != 3 or labels.shape != logits.shape[1:2]:
    raise ValueError(
        '`likely_wrong_class` expects logits [replicates, num_targets,'
        f' num_classes] and labels [num_targets], got {logits.shape} and'
        f' {labels.shape}.'
    )
  targets = np.arange(len(labels))
  means = np.nan_to_num(effects.mean(logits), nan=-np.inf)
  means[targets, labels] = -np.inf
  finite = np.isfinite(logits).all(axis=2)
  predicted = np.where(finite, np.nan_to_num(logits).argmax(axis=2), -1)
  classes = np.arange(logits.shape[2])
  votes = (predicted[:, :, None] == classes).sum(axis=0)
  votes[targets, labels] = 0
  most = votes == votes.max(axis=1)[:, None]
  most[targets, labels] = False
  return np.where(most, means, -np.inf).argmax(axis=1)


def random_bases(
    num_train: int, alpha: float, count: int, seed: int = 0
) -> np.ndarray:
  """Draws random subsets of `alpha * num_train` examples to start from.

  Returns:
    bool `[count, num_train]`.

  Raises:
    ValueError: unless alpha leaves at least one example in and one out.
  """
  size = round(alpha * num_train) if np.isfinite(alpha) else 0
  if not 0 < size < num_train:
    raise ValueError(
        f'`random_bases` expects alpha between 0 and 1, got {alpha}.'
    )
  rng = np.random.default_rng(seed)
  order = np.argsort(rng.random((count, num_train)), axis=1)
  return order < size


def sums(
    weights: np.ndarray, rows: np.ndarray, sizes: Sequence[int] | np.ndarray
) -> np.ndarray:
  """Sums the weights of the first rows of each target.

  Args:
    weights: `[num_train, num_targets]`.
    rows: int `[num_targets, count]`.
    sizes: `[num_sizes]`, each in `[1, count]`.

  Returns:
    `[num_sizes, num_targets]`; NaN where a target has fewer rows.
  """
  own = np.take_along_axis(np.asarray(weights).T, np.maximum(rows, 0), axis=1)
  own = np.where(rows < 0, np.nan, own.astype(np.float64))
  return np.cumsum(own, axis=1)[:, np.asarray(sizes) - 1].T


def make_trials(
    action: str,
    rows: np.ndarray,
    sizes: np.ndarray,
    *,
    bases: np.ndarray,
    targets: np.ndarray,
    new_labels: np.ndarray | None = None,
) -> Trials:
  """Builds the subsets of trials.

  Args:
    action: of `ACTIONS`.
    rows: int `[num_trials, count]`, in order of change.
    sizes: int `[num_trials]`, how many of them change.
    bases: bool `[num_trials, num_train]`, what each trial starts from.
    targets: int `[num_trials]`.
    new_labels: int `[num_trials]`, for 'relabel'.
  """
  num_train = bases.shape[1]
  changed = np.zeros((len(rows), num_train + 1), bool)  # The last is for -1.
  chosen = np.arange(rows.shape[1])[None] < np.asarray(sizes)[:, None]
  np.put_along_axis(changed, np.where(chosen, rows, num_train), True, axis=1)
  changed = changed[:, :num_train]
  if action == 'relabel':
    assert new_labels is not None
    relabel = np.where(changed, np.asarray(new_labels)[:, None], -1)
    return Trials(
        masks=bases.copy(), targets=targets, relabel=relabel.astype(np.int32)
    )
  masks = bases & ~changed if action == 'remove' else bases | changed
  return Trials(masks=masks, targets=targets)


def trainable(
    trials: Trials, *, batch_size: int = 1, labels: np.ndarray | None = None
) -> np.ndarray:
  """Which trials keep a batch and every class that `labels` holds.

  Args:
    trials: to look at.
    batch_size: the fewest examples that hold a batch.
    labels: int `[num_train]`; None checks no classes.

  Returns:
    bool `[num_trials]`.
  """
  fits = trials.masks.sum(axis=1) >= batch_size
  if labels is not None:
    kept = _with_own_label(trials)
    for label in np.unique(labels):
      fits &= kept[:, np.asarray(labels) == label].any(axis=1)
  return fits


def check_trainable(
    who: str,
    trials: Trials,
    *,
    batch_size: int = 1,
    labels: np.ndarray | None = None,
) -> None:
  """Raises ValueError, saying what is missing, unless all are `trainable`."""
  effects.check_masks_trainable(who, trials.masks, batch_size=batch_size)
  if labels is not None:
    effects.check_masks_trainable(
        who,
        _with_own_label(trials),
        batch_size=0,
        labels=labels,
        num_classes=int(np.max(labels)) + 1,
    )


def own_outcomes(
    who: str,
    retrain: effects.Retrain,
    trials: Trials,
    replicates: int,
    num_targets: int,
) -> np.ndarray:
  """Trains the trials and reads off each the outcome of its own target.

  Args:
    who: the function that complains.
    retrain: see `effects.Retrain`.
    trials: what to train; may be empty.
    replicates: trainings of each.
    num_targets: that `retrain` returns.

  Returns:
    `[replicates, num_trials]`, in outcome units.

  Raises:
    ValueError: as `effects.retrained`.
  """
  if not len(trials):
    return np.zeros((replicates, 0))
  at_once = max(_VALUES_A_CALL // max(replicates * num_targets, 1), 1)
  parts = []
  for first in range(0, len(trials), at_once):
    part = trials.take(np.arange(first, min(first + at_once, len(trials))))
    outcomes = effects.retrained(
        who, retrain, part.masks, replicates, num_targets, part.relabel
    )
    parts.append(outcomes[:, np.arange(len(part)), part.targets])
  return np.concatenate(parts, axis=1)


def _padded(order: np.ndarray, num_candidates, count: int) -> np.ndarray:
  rows = np.full((len(order), count), -1, np.int64)
  rows[:, : order.shape[1]] = order
  rows[np.arange(count)[None] >= num_candidates[:, None]] = -1
  return rows


def _with_own_label(trials: Trials) -> np.ndarray:
  if trials.relabel is None:
    return trials.masks
  return trials.masks & (trials.relabel < 0)
