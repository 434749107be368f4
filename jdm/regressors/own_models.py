"""Models of a regression, and which of them count for which target.

A target that is a training example is fitted to, and scored on, the models that
did not train on it: means, variances and errors are each target's own. Other
targets share all models.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from jdm.regressors import pools
from jdm.solvers import direct
from jdm.solvers import path as path_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Models:
  """Models of a fit, and which of them count for which target.

  Attributes:
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    own_ids: int64 `[num_targets]`, of `direct.lasso_path`; None if all count.
  """

  masks: np.ndarray
  outcomes: np.ndarray
  own_ids: np.ndarray | None = None

  def take(self, rows: np.ndarray) -> 'Models':
    """Some of the models."""
    return dataclasses.replace(
        self, masks=self.masks[rows], outcomes=self.outcomes[rows]
    )

  def targets(self, some: np.ndarray) -> 'Models':
    """All models, with some of the targets."""
    own_ids = None if self.own_ids is None else self.own_ids[some]
    return Models(self.masks, self.outcomes[:, some], own_ids)

  @functools.cached_property
  def kept(self) -> np.ndarray:
    """Bool `[num_models, num_targets]`, where own_ids are given."""
    every = np.arange(self.outcomes.shape[1])
    return direct.kept_models(self.masks, self.own_ids, every).T

  @functools.cached_property
  def counts(self) -> np.ndarray:
    """Models of each target `[num_targets]`, where own_ids are given."""
    return self.kept.sum(axis=0)

  def mean(self, values: np.ndarray) -> np.ndarray:
    """Means of `[num_models, num_targets]`, each of a target's own models."""
    if self.own_ids is None:
      return values.mean(axis=0)
    total = np.sum(values, axis=0, dtype=np.float64, where=self.kept)
    return total / np.maximum(self.counts, 1)

  def centred(self, values: np.ndarray) -> np.ndarray:
    """The same values minus these means, 0 for models that do not count."""
    values = values - self.mean(values)[None]
    return values if self.own_ids is None else values * self.kept

  @functools.cached_property
  def held(self) -> np.ndarray:
    """Shares of models that hold an example, `[num_train, 1 or num_targets]`."""
    if self.own_ids is None:
      return self.masks.mean(axis=0)[:, None]
    # Sums of float32 are exact for 0 and 1.
    counts = self.masks.T.astype(np.float32) @ self.kept.astype(np.float32)
    return counts.astype(np.float64) / np.maximum(self.counts, 1)[None]

  def variance(self) -> np.ndarray:
    """Variances of outcomes, float64 `[num_targets]`."""
    if self.own_ids is None:
      return np.var(self.outcomes, axis=0, dtype=np.float64)
    return self.mean(self.centred(self.outcomes) ** 2)

  def mean_predicted(self, weights: np.ndarray) -> np.ndarray:
    """Means of `masks @ weights`, `[num_targets]`."""
    if self.own_ids is None:
      return self.held[:, 0] @ weights
    return np.sum(self.held * weights, axis=0)

  def unit(self) -> Any:
    """What makes a strength a penalty, of each target or of all.

    The prior variance of an outcome is that of num_train weights.
    """
    variance = self.held * (1 - self.held)
    if self.own_ids is None:
      return len(variance) * np.mean(variance) / len(self.masks)
    return len(variance) * variance.mean(axis=0) / self.counts

  def minus(self, mean: np.ndarray) -> 'Models':
    """The same with outcomes without what an offset explains."""
    if not mean.any():
      return self
    product = self.masks.astype(np.float32) @ mean.astype(np.float32)
    return dataclasses.replace(self, outcomes=self.outcomes - product)


def offset(models: Models, scores: np.ndarray) -> np.ndarray:
  """The scores, scaled by least squares, target by target.

  Args:
    models: to fit to.
    scores: `[num_train, num_targets]`.

  Returns:
    Weights, the same shape.
  """
  masks = models.masks
  centred = masks.astype(np.float32) - masks.mean(axis=0, dtype=np.float32)
  predicted = (centred @ scores.astype(np.float32)).astype(np.float64)
  if models.own_ids is not None:
    predicted = models.centred(predicted)
  outcomes = models.centred(models.outcomes)
  square = np.sum(predicted**2, axis=0)
  scale = np.sum(predicted * outcomes, axis=0) / np.where(square > 0, square, 1)
  return scores * scale[None]


def errors(rest: Models, left_out: Models, weights) -> np.ndarray:
  """Mean squared errors [num_targets] on a fold, means taken from the rest.

  A target that no model of the fold counts for has 0.
  """
  mean = rest.masks.mean(axis=0, dtype=np.float32)
  shift = left_out.masks.astype(np.float32) - mean
  predicted = shift @ weights.astype(np.float32)
  wanted = left_out.outcomes - rest.mean(rest.outcomes)[None]
  if rest.own_ids is None:
    wrong = np.mean((wanted - predicted) ** 2, axis=0, dtype=np.float64)
    return np.asarray(wrong)
  # The mean prediction of the rest is that of each target's own models.
  own_shift = np.sum((rest.held - mean[:, None]) * weights, axis=0)
  return left_out.mean((wanted - (predicted - own_shift[None])) ** 2)


def val_errors(
    rest: Models, left_out: Models, *, factor, lams, tol
) -> np.ndarray:
  """Errors [num_lams, num_targets] on a fold of LASSO fits to the rest.

  Args:
    rest: models to fit to.
    left_out: the fold; a target that no model of it counts for has 0.
    factor: `[num_train, num_targets]`, multiplies penalties; None for 1.
    lams: `[num_lams, num_targets]`.
    tol: of the fits.

  Returns:
    Mean squared errors.
  """
  options = {'tol': tol, 'dual_point': 'corrected'}  # They are only compared.
  if rest.own_ids is None:
    found = path(rest, left_out, factor=factor, lams=lams, **options)
    return found.val_mse_path
  some = np.flatnonzero(left_out.counts)
  factor = None if factor is None else factor[:, some]
  pair = rest.targets(some), left_out.targets(some)
  wrong = np.zeros(lams.shape)
  found = path(*pair, factor=factor, lams=lams[:, some], **options)
  wrong[:, some] = found.val_mse_path
  return wrong


def path(
    models: Models, val: Models | None = None, **options: Any
) -> path_lib.LassoPath:
  """LASSO paths by the cheaper route, or the only one.

  Args:
    models: to fit to.
    val: to choose penalties by.
    **options: of `path.lasso_path`.

  Returns:
    The path.
  """
  if val is not None:
    options |= {'val_masks': val.masks, 'val_outcomes': val.outcomes}
  pool = pools.pool_of(models.masks, models.outcomes, models.own_ids)
  return pool.path(None, **options)


def check(
    who: str, masks: np.ndarray, own_ids: np.ndarray, fold_of: np.ndarray
) -> None:
  """Raises ValueError unless each target has models to fit outside each fold."""
  kept = direct.kept_models(masks, own_ids, np.arange(len(own_ids)))
  left = [
      kept[:, fold_of != fold].sum(axis=1) for fold in range(fold_of.max() + 1)
  ]
  short = int(np.sum(np.min(left, axis=0) < 2))
  if short:
    raise ValueError(
        f'`{who}` with own_ids expects 2 models or more outside each fold that'
        f' did not train on the target, and {short} of {len(own_ids)} targets'
        ' have fewer; add models or drop the targets.'
    )


def without_own(values: np.ndarray, own_ids: np.ndarray) -> np.ndarray:
  """Scores [..., num_train, num_targets] with 0 of each example on itself."""
  places = np.flatnonzero(own_ids >= 0)
  values = values.copy()
  values[..., own_ids[places], places] = 0
  return values
