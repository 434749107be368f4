"""What is to be solved: a summary of the targets, and plans of both stages."""

import dataclasses
from typing import Any

import numpy as np

from jdm.solvers import options as options_lib
from jdm.solvers import penalties
from jdm.solvers import tiles

_NARROW_CORRECTED_TOL = 1e-7  # Rounding of float32 products, second order.
# What is only compared on validation models is solved to this share of the
# tolerance: corrected gaps tell how far weights are more tightly.
_COMPARED = 0.01
_LEAST_TOL = 1e-9
_NARROW_EPOCHS = (
    1000  # At a penalty: what float32 products do by then or never.
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """What every route knows of its targets.

  Attributes:
    cross: float64 `[num_train, num_targets]`, Xc'yc / m.
    variance: float64 `[num_targets]`, ||yc||^2 / m.
    mean_masks: float64 `[num_targets, num_train]`.
    mean_outcome: float64 `[num_targets]`.
    num_models: smallest number of models that a target is fitted to.
  """

  cross: np.ndarray
  variance: np.ndarray
  mean_masks: np.ndarray
  mean_outcome: np.ndarray
  num_models: int

  def scale(self) -> np.ndarray:
    """A power of two near each standard deviation: scaling by it is exact."""
    deviation = np.sqrt(np.where(self.variance > 0, self.variance, 1))
    return np.exp2(np.round(np.log2(deviation)))


def validation_of(options, summary, scale, counted):
  """Validation models in units of each target's scale, or None."""
  arrays = options_lib.check_validation(summary.cross.shape, options)
  if arrays is None:
    return None
  masks, outcomes = arrays
  centred = (outcomes - summary.mean_outcome[None]) / scale[None]
  if counted is None:
    counted = np.broadcast_to(True, centred.T.shape)
  return tiles.Validation(
      masks=masks,
      outcomes=np.ascontiguousarray(centred.T),
      mean_masks=summary.mean_masks,
      counted=counted,
  )


def lams_of(options: options_lib.Options, summary: Summary) -> np.ndarray:
  """Each target's penalties [num_lams, num_targets]."""
  if options.lams is not None:
    return penalties.given(options.lams, summary.variance)
  return penalties.grid(
      penalties.largest(summary.cross, summary.variance, **options.kind()),
      num_lams=options.num_lams,
      min_ratio=options.min_ratio,
  )


def _plan(
    options: options_lib.Options, summary: Summary, lams, **more: Any
) -> tiles.Plan:
  """What both stages of a fit have in common, and more."""
  scale = summary.scale()
  factor, share = options.factor, options.l1_ratio
  tile = options.spread(len(scale))[1]
  return tiles.Plan(
      cross=np.ascontiguousarray((summary.cross / scale[None]).T),
      variance=summary.variance / scale**2,
      lams=np.ascontiguousarray((share * lams / scale[None]).T),
      factor=None if factor is None else np.ascontiguousarray(factor.T),
      # Squared weights have the units of squared outcomes: no scale.
      ridges=None if share == 1 else np.ascontiguousarray((1 - share) * lams.T),
      positive=options.positive,
      tol=float(options.tol),
      tile=tile,
      **more,
  )


def depth(options: options_lib.Options, num_models: int, num_train: int) -> int:
  """Of the Anderson acceleration: jumps cost more than they save where easy."""
  overdetermined = num_models > 2 * num_train
  return 0 if overdetermined and options.narrow() == 'float32' else 3


def accurate(
    options: options_lib.Options, summary: Summary, lams, validation, keep: str
) -> tiles.Plan:
  """Solves until the dual point of the residual certifies."""
  most = options.max_epochs
  if options.narrow() == 'float32':  # What is left has another try.
    most = min(most, _NARROW_EPOCHS)
  return _plan(
      options,
      summary,
      lams,
      validation=validation,
      keep=keep,
      aim=options.aim(),
      dtype=options.dtype or options.narrow(),
      state='float64',
      max_epochs=most,
      curvature=None,
      depth=depth(options, summary.num_models, len(summary.cross)),
  )


def quick(
    options: options_lib.Options, summary: Summary, lams, validation, curvature
) -> tiles.Plan:
  """Solves until corrected dual points certify: a sweep or two a penalty.

  Their gap is second order in what rounding does to the correlations, so that
  the state may be float32.
  """
  tol = options.tol
  if options.dual_point == 'residual':  # Only to be compared: for good.
    tol = max(_COMPARED * tol, _LEAST_TOL)
  narrow = 'float32' if tol >= _NARROW_CORRECTED_TOL else 'float64'
  return _plan(
      options,
      summary,
      lams,
      validation=validation,
      keep=options.keep,
      aim=0.98 * tol,
      dtype=narrow,
      state=narrow,
      max_epochs=options.max_epochs,
      curvature=curvature,
      depth=0,
  )
