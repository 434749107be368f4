"""What regressors are given: masks and outcomes, checked, as host arrays."""

from collections.abc import Callable
import dataclasses
import operator
from typing import Any, TypedDict

from absl import logging
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.solvers import moments as moments_lib

_VAL_FRACTION = 0.2


class Labels(TypedDict, total=False):
  """What every `fit` notes in its Datamodels, as keywords; all may be left out.

  Attributes:
    alpha: subset fraction; by default the mean of the masks of the fit.
    train_ids: int `[num_train]`, ids of examples; columns by default.
    target_ids: int `[num_targets]`; columns by default.
    model_ids: int `[num_models]`; row numbers by default.
    val_model_ids: int `[num_val]`, of the models of `val_masks`. Without them
      those models are not noted, and `evaluation.evaluate` cannot refuse to
      score on them: pass them, with `model_ids`, wherever models have ids.
    outcome: name of the outcome.
  """

  alpha: float | None
  train_ids: Any
  target_ids: Any
  model_ids: Any
  val_model_ids: Any
  outcome: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observations:
  """Models to fit, and models to choose the penalty by.

  Attributes:
    regressor: who fits.
    masks: bool `[num_fit, num_train]`.
    outcomes: `[num_fit, num_targets]`.
    val_masks: bool `[num_val, num_train]`; no rows without validation.
    val_outcomes: `[num_val, num_targets]`.
    fit_ids: int `[num_fit]`.
    val_ids: int `[num_val]`; none if they are not known.
    train_ids: int `[num_train]`.
    target_ids: int `[num_targets]`.
    alpha: subset fraction.
    outcome: name of the outcome.
  """

  regressor: str
  masks: np.ndarray
  outcomes: np.ndarray
  val_masks: np.ndarray
  val_outcomes: np.ndarray
  fit_ids: np.ndarray
  val_ids: np.ndarray
  train_ids: np.ndarray
  target_ids: np.ndarray
  alpha: float
  outcome: str

  @property
  def num_train(self) -> int:
    """Training examples."""
    return self.masks.shape[1]

  @property
  def num_targets(self) -> int:
    """Targets."""
    return self.outcomes.shape[1]

  def joined(self) -> tuple[np.ndarray, np.ndarray]:
    """Masks and outcomes of fit and validation models together."""
    masks = np.concatenate([self.masks, self.val_masks])
    return masks, np.concatenate([self.outcomes, self.val_outcomes])


def _check_pair(who: str, masks: Any, outcomes: Any, kind: str = ''):
  """Host arrays of masks and outcomes, or an error that says what is wrong."""
  try:
    masks = moments_lib.unpack(masks)
  except ValueError as error:
    raise ValueError(f'`{who}`: {kind}{error}') from error
  outcomes = np.asarray(outcomes)
  if outcomes.ndim != 2 or len(outcomes) != len(masks):
    raise ValueError(
        f'`{who}` expects {kind}outcomes of shape [{len(masks)}, num_targets],'
        f' a row for each mask, got {outcomes.shape}; for one target pass'
        ' `outcomes[:, None]`.'
    )
  if not outcomes.shape[1]:
    raise ValueError(
        f'`{who}` expects {kind}outcomes of one target or more, got shape'
        f' {outcomes.shape}.'
    )
  if not np.issubdtype(outcomes.dtype, np.floating):
    if not np.issubdtype(outcomes.dtype, np.integer) and outcomes.dtype != bool:
      raise ValueError(
          f'`{who}` expects real {kind}outcomes, got {outcomes.dtype}.'
      )
    outcomes = outcomes.astype(np.float32)
  bad = np.sum(~np.isfinite(outcomes).all(axis=1))
  if bad:
    raise ValueError(
        f'`{who}` got {bad} of {len(outcomes)} {kind}rows with outcomes that'
        ' are not finite; drop the models that diverged:'
        ' `keep = np.isfinite(outcomes).all(axis=1)`.'
    )
  return masks, outcomes


def check_columns(who: str, held: np.ndarray, num_models: int) -> None:
  """Warns of examples that are in all models or in none; raises if all are.

  Args:
    who: the function that complains.
    held: int `[num_train]`, models that hold each example.
    num_models: of all.
  """
  constant = int(np.sum((held == 0) | (held == num_models)))
  if constant == len(held):
    raise ValueError(
        f'`{who}` expects masks that differ between models, got'
        f' {num_models} models with the same training set.'
    )
  if constant:
    logging.warning(
        '`%s`: %d of %d examples are in every model or in none; nothing can'
        ' be said of them and their weights are 0.',
        who,
        constant,
        len(held),
    )


def ids_of(who: str, name: str, ids: Any, count: int) -> np.ndarray:
  """Ids as int64 of the expected length; positions if None."""
  if ids is None:
    return np.arange(count)
  ids = np.asarray(ids)
  if ids.shape != (count,) or not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(
        f'`{who}` expects {name} to be {count} integers, got {ids.dtype} of'
        f' shape {ids.shape}.'
    )
  return ids.astype(np.int64)


def check_labels(who: str, labels: Labels) -> None:
  """Unknown keywords end up here."""
  unknown = sorted(set(labels) - set(Labels.__annotations__))
  if unknown:
    raise TypeError(
        f'`{who}` got unexpected keywords {", ".join(unknown)}; beside its own'
        f' it notes {", ".join(Labels.__annotations__)}.'
    )


def validation_size(who: str, num_val: Any, num_rows: int, choose: bool) -> int:
  """How many of the last rows are for validation."""
  if num_val is None:
    num_val = max(1, int(_VAL_FRACTION * num_rows)) if choose else 0
  try:
    num_val = operator.index(num_val)
  except TypeError:
    raise ValueError(
        f'`{who}` expects num_val to be an integer, got {num_val!r}.'
    ) from None
  if not num_val and not choose:
    return 0
  cure = 'pass `lam` to choose nothing' if choose else 'leave num_val out'
  if num_rows < 3:
    raise ValueError(
        f'`{who}` with validation expects 3 models or more, one to validate on'
        f' and two to fit, got {num_rows}; train more models, or {cure}.'
    )
  if not 1 <= num_val <= num_rows - 2:
    raise ValueError(
        f'`{who}` expects num_val from 1 to {num_rows - 2}: of {num_rows}'
        f' models 2 or more must be left to fit, got num_val = {num_val}; train'
        f' more models, or {cure}.'
    )
  return num_val


def _given_validation(
    who: str,
    pair: tuple[np.ndarray, np.ndarray],
    val_masks: Any,
    val_outcomes: Any,
    labels: Labels,
    fit_ids: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Masks, outcomes and ids of validation models of their own, checked."""
  if val_masks is None or val_outcomes is None:
    raise ValueError(f'`{who}` expects val_masks and val_outcomes together.')
  val_masks, val_outcomes = _check_pair(
      who, val_masks, val_outcomes, 'validation '
  )
  widths = pair[0].shape[1], pair[1].shape[1]
  if (val_masks.shape[1], val_outcomes.shape[1]) != widths:
    raise ValueError(
        f'`{who}` expects validation models of {widths[0]} examples and'
        f' {widths[1]} targets, got {val_masks.shape[1]} and'
        f' {val_outcomes.shape[1]}.'
    )
  if not len(val_masks):
    raise ValueError(f'`{who}` got validation arrays without a row.')
  if labels.get('val_model_ids') is None:
    return val_masks, val_outcomes, np.zeros(0, np.int64)
  ids = ids_of(who, 'val_model_ids', labels['val_model_ids'], len(val_masks))
  shared = np.intersect1d(ids, fit_ids)
  if shared.size:
    raise ValueError(
        f'`{who}` expects validation models that are not fitted, got'
        f' {shared.size} in both (id {shared[0]} first); pass model_ids as'
        ' well, which are row numbers otherwise.'
    )
  return val_masks, val_outcomes, ids


def split(
    regressor: str,
    masks: Any,
    outcomes: Any,
    *,
    num_val: int | None = None,
    val_masks: Any = None,
    val_outcomes: Any = None,
    choose: bool = True,
    labels: Labels,
) -> Observations:
  """Checks what a regressor is given and sets validation models apart.

  Args:
    regressor: the one that complains, as `REGRESSOR.fit`.
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`.
    outcomes: `[num_models, num_targets]`, finite.
    num_val: the last rows are for validation; by default a fifth of them, if
      no validation models are given and something is to be chosen.
    val_masks: bool `[num_val, num_train]`, instead of `num_val`.
    val_outcomes: `[num_val, num_targets]`.
    choose: whether anything is chosen on validation models.
    labels: what else the regressor was called with.

  Returns:
    The observations.

  Raises:
    TypeError: on unknown labels.
    ValueError: if anything does not fit; the message says what to do.
  """
  who = f'{regressor}.fit'
  check_labels(who, labels)
  masks, outcomes = _check_pair(who, masks, outcomes)
  ids = ids_of(who, 'model_ids', labels.get('model_ids'), len(masks))
  if len(masks) < 2:
    raise ValueError(f'`{who}` expects 2 models or more, got {len(masks)}.')
  given = val_masks is not None or val_outcomes is not None
  if given and num_val is not None:
    raise ValueError(
        f'`{who}` expects num_val or val_masks with val_outcomes, not both.'
    )
  if given:
    fit_rows = len(masks)
    val_masks, val_outcomes, val_ids = _given_validation(
        who, (masks, outcomes), val_masks, val_outcomes, labels, ids
    )
  elif labels.get('val_model_ids') is not None:
    raise ValueError(f'`{who}` expects val_model_ids only with val_masks.')
  else:
    fit_rows = len(masks) - validation_size(who, num_val, len(masks), choose)
    val_masks, val_outcomes = masks[fit_rows:], outcomes[fit_rows:]
    val_ids = ids[fit_rows:]
  masks, outcomes = masks[:fit_rows], outcomes[:fit_rows]
  check_columns(who, masks.sum(axis=0), len(masks))
  alpha = labels.get('alpha')
  num_train, num_targets = masks.shape[1], outcomes.shape[1]
  return Observations(
      regressor=regressor,
      masks=masks,
      outcomes=outcomes,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      fit_ids=ids[:fit_rows],
      val_ids=val_ids,
      train_ids=ids_of(who, 'train_ids', labels.get('train_ids'), num_train),
      target_ids=ids_of(
          who, 'target_ids', labels.get('target_ids'), num_targets
      ),
      alpha=float(masks.mean() if alpha is None else alpha),
      outcome=labels.get('outcome', ''),
  )


def penalties(who: str, lam: Any, num_targets: int) -> np.ndarray:
  """A given penalty as float64 `[num_targets]`, checked to be positive."""
  lam = np.asarray(lam, np.float64)
  if lam.shape not in ((), (num_targets,)):
    raise ValueError(
        f'`{who}` expects lam to be a number or [{num_targets}], got shape'
        f' {lam.shape}.'
    )
  if not (np.isfinite(lam) & (lam > 0)).all():
    raise ValueError(
        f'`{who}` expects lam above 0; without a penalty use'
        ' `regressors.least_squares`.'
    )
  return np.broadcast_to(lam, (num_targets,)).copy()


def without_penalty(
    observations: Observations,
    solve: Callable[..., tuple[np.ndarray, np.ndarray]],
    *,
    refit: bool,
) -> datamodels_lib.Datamodels:
  """Fits what has no penalty to choose.

  Args:
    observations: models to fit and to validate on.
    solve: `(masks, outcomes) -> (weights, bias)`, float64.
    refit: whether to fit the models of both kinds in the end.

  Returns:
    The datamodels, float32; `val_mse` only if there are validation models.
  """
  weights, bias = solve(observations.masks, observations.outcomes)
  val_mse = None
  if len(observations.val_masks):
    predicted = observations.val_masks @ weights + bias[None]
    val_mse = np.mean((observations.val_outcomes - predicted) ** 2, axis=0)
    if refit:
      weights, bias = solve(*observations.joined())
  return to_datamodels(
      observations,
      weights=weights.astype(np.float32),
      bias=bias,
      val_mse=val_mse,
      refitted=refit,
  )


def to_datamodels(
    observations: Observations,
    *,
    weights: np.ndarray,
    bias: np.ndarray,
    lam: np.ndarray | None = None,
    gap: np.ndarray | None = None,
    val_mse: np.ndarray | None = None,
    l1_ratio: np.ndarray | None = None,
    refitted: bool = False,
) -> datamodels_lib.Datamodels:
  """Puts a result together; `refitted` on validation models as well."""
  num_targets = observations.num_targets
  zeros = np.zeros(num_targets, np.float32)
  fit_ids, val_ids = observations.fit_ids, observations.val_ids
  if refitted:
    fit_ids = np.concatenate([fit_ids, val_ids])
  missing = np.full(num_targets, np.nan, np.float32)
  return datamodels_lib.Datamodels(
      weights=weights,
      bias=np.asarray(bias, weights.dtype),
      lam=zeros if lam is None else np.asarray(lam, np.float64),
      gap=zeros if gap is None else np.asarray(gap, np.float64),
      nnz=np.count_nonzero(weights, axis=0).astype(np.int32),
      # float64, which holds the squares of all float32 numbers.
      val_mse=missing if val_mse is None else np.asarray(val_mse, np.float64),
      train_ids=observations.train_ids,
      target_ids=observations.target_ids,
      fit_ids=fit_ids,
      val_ids=val_ids,
      l1_ratio=np.zeros(0) if l1_ratio is None else l1_ratio,
      alpha=observations.alpha,
      regressor=observations.regressor,
      outcome=observations.outcome,
  )
