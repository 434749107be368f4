"""What one training example does to one target: differences of means.

The subsampled estimators of Feldman and Zhang: the mean outcome of the models
that trained on an example minus that of the models that did not. All pairs
come from products of masks and outcomes.
"""

import dataclasses

import numpy as np

_TILE = 512  # Targets at once: bounds memory by a few [num_models, tile].


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Difference:
  """Differences of means, with what is needed to trust them.

  Attributes:
    value: outcome units; positive where training on the example raises the
      outcome. NaN where every model trained on it, or none.
    error: standard error by Welch, sqrt(s1^2 / n1 + s0^2 / n0); NaN with fewer
      than two models of either kind.
    num_with: int, models that trained on the example.
    num_without: int, models that did not.
  """

  value: np.ndarray
  error: np.ndarray
  num_with: np.ndarray
  num_without: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SelfInfluence(Difference):
  """What training examples do to themselves; arrays are `[num_train]`.

  Attributes:
    mean_with: mean outcome of an example over models that trained on it.
    mean_without: the same over models that did not: its out-of-bag outcome.
  """

  mean_with: np.ndarray
  mean_without: np.ndarray


def influence(
    masks: np.ndarray,
    outcomes: np.ndarray,
    *,
    own_ids: np.ndarray | None = None,
) -> Difference:
  """Estimates what each training example does to each target.

  Args:
    masks: bool `[num_models, num_train]`; row i is model i's training set.
    outcomes: `[num_models, num_targets]`, finite.
    own_ids: int `[num_targets]`, for targets that are training examples: the
      column of `masks` that is the target, -1 for none. Only models that did
      not train on the target count for it, and its own value is 0.

  Returns:
    Arrays `[num_train, num_targets]`, float32 and int32.

  Raises:
    ValueError: if shapes, dtypes or ids do not fit, or if an outcome is not
      finite.

  References:
    Feldman and Zhang, `What neural networks memorize and why
    <https://arxiv.org/abs/2008.03703>`_, 2020, §2.
  """
  masks, outcomes = _checked('influence', masks, outcomes)
  shape = masks.shape[1], outcomes.shape[1]
  own = _own_ids(own_ids, *shape)
  value, error = np.empty((2, *shape), np.float32)
  num_with, num_without = np.empty((2, *shape), np.int32)
  columns = masks.astype(np.float32)
  for start in range(0, shape[1], _TILE):
    tile = slice(start, start + _TILE)
    kept = np.ones((len(masks), len(own[tile])), bool)
    has_own = own[tile] >= 0
    kept[:, has_own] = ~masks[:, own[tile][has_own]]
    sums = _sums(columns, outcomes[:, tile], kept)
    means, error[:, tile], counts = _difference(*sums)
    value[:, tile] = means[0] - means[1]
    num_with[:, tile], num_without[:, tile] = counts
  places = np.flatnonzero(own >= 0)
  value[own[places], places] = 0
  return Difference(
      value=value, error=error, num_with=num_with, num_without=num_without
  )


def self_influence(masks: np.ndarray, outcomes: np.ndarray) -> SelfInfluence:
  """Estimates what each training example does to itself.

  With correctness as the outcome this is the memorization of Feldman and Zhang.

  Args:
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_train]`, column i about training example i.

  Raises:
    ValueError: as `influence`, or if there is not one outcome an example.
  """
  masks, outcomes = _checked('self_influence', masks, outcomes)
  if masks.shape != outcomes.shape:
    raise ValueError(
        '`self_influence` expects outcomes of the training examples themselves,'
        f' shape {list(masks.shape)} as masks, got {list(outcomes.shape)};'
        ' collect with --targets=test,train.'
    )
  middle = outcomes.mean(axis=0, dtype=np.float64)
  centred = (outcomes - middle[None]).astype(np.float32)
  squares = centred**2
  held = masks.sum(axis=0).astype(np.float64)
  inside = centred.sum(axis=0, where=masks, dtype=np.float64)
  total = centred.sum(axis=0, dtype=np.float64)
  means, error, counts = _difference(
      (held, inside),
      (len(masks), total, squares.sum(axis=0, dtype=np.float64)),
      squares.sum(axis=0, where=masks, dtype=np.float64),
  )
  return SelfInfluence(
      value=means[0] - means[1],
      error=error,
      num_with=counts[0].astype(np.int64),
      num_without=counts[1].astype(np.int64),
      mean_with=middle + means[0],
      mean_without=middle + means[1],
  )


def _sums(columns: np.ndarray, outcomes: np.ndarray, kept: np.ndarray):
  """Counts, sums and sums of squares, with an example and in all."""
  weights = kept.astype(np.float32)
  count = weights.sum(axis=0, dtype=np.float64)
  total = np.where(kept, outcomes, 0).sum(axis=0, dtype=np.float64)
  # Around the mean, so that float32 products lose nothing that matters.
  middle = total / np.maximum(count, 1)
  centred = np.where(kept, outcomes - middle[None], 0).astype(np.float32)
  squares = centred**2
  held = columns.T @ weights, columns.T @ centred
  every = (
      count[None],
      centred.sum(axis=0, dtype=np.float64)[None],
      squares.sum(axis=0, dtype=np.float64)[None],
  )
  return held, every, columns.T @ squares


def _difference(held, every, held_squares):
  """Means with and without an example, Welch's error, and both counts.

  Args:
    held: number and sum of the outcomes of models with the example.
    every: number, sum and sum of squares of those of all models.
    held_squares: sum of squares of models with the example.
  """
  num_with, inside = (np.asarray(array, np.float64) for array in held)
  means, parts = [], []
  for count, total, squares in (
      (num_with, inside, held_squares),
      (every[0] - num_with, every[1] - inside, every[2] - held_squares),
  ):
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    spread = np.maximum(squares - count * mean**2, 0)
    variance = spread / np.maximum(count - 1, 1) / np.maximum(count, 1)
    means.append(mean)
    parts.append(np.where(count > 1, variance, np.nan))
  return means, np.sqrt(parts[0] + parts[1]), (num_with, every[0] - num_with)


def _checked(who: str, masks, outcomes) -> tuple[np.ndarray, np.ndarray]:
  masks, outcomes = np.asarray(masks), np.asarray(outcomes)
  if masks.ndim != 2 or masks.dtype != np.bool_ or len(masks) < 2:
    raise ValueError(
        f'`{who}` expects bool masks [num_models, num_train] of 2 models or'
        f' more, got {masks.dtype} {list(masks.shape)}.'
    )
  if outcomes.ndim != 2 or len(outcomes) != len(masks):
    raise ValueError(
        f'`{who}` expects outcomes [{len(masks)}, num_targets], a row for each'
        f' mask, got {list(outcomes.shape)}.'
    )
  if not np.isfinite(outcomes).all():
    raise ValueError(
        f'`{who}` expects finite outcomes; leave out the models that diverged:'
        ' `keep = np.isfinite(outcomes).all(axis=1)`.'
    )
  return masks, outcomes


def _own_ids(own_ids, num_train: int, num_targets: int) -> np.ndarray:
  if own_ids is None:
    return np.full(num_targets, -1)
  own = np.asarray(own_ids)
  fits = own.shape == (num_targets,) and np.issubdtype(own.dtype, np.integer)
  if not fits or own.min() < -1 or own.max() >= num_train:
    raise ValueError(
        f'`influence` expects own_ids as {num_targets} integers from -1 to'
        f' {num_train - 1}, one for each target, got {own.dtype}'
        f' {list(own.shape)}.'
    )
  return own
