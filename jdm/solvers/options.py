"""How paths are followed: the options of every route, and their checks."""

from collections.abc import Callable, Sequence
import dataclasses
import os
from typing import Any

import jax
import numpy as np

from jdm.solvers import certificate
from jdm.solvers import moments as moments_lib

# Rounding of float32 products reaches the certificate below this.
_NARROW_TOL = 1e-5
# Relative gaps below are rounding of float64, which adds up over sweeps.
LEAST_TOL = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How paths are followed; `lasso_path` documents each."""

  lams: np.ndarray | None = None
  num_lams: int = 30
  min_ratio: float = 1e-2
  tol: float = 1e-4
  val_masks: Any = None
  val_outcomes: np.ndarray | None = None
  keep: str = 'best'
  start: np.ndarray | None = None
  factor: np.ndarray | None = None
  l1_ratio: float = 1.0
  positive: bool = False
  dual_point: str = 'residual'
  dtype: str | None = None
  certify: bool = True
  tile: int | None = None
  block: int | None = None
  max_epochs: int = 5000
  devices: Sequence[jax.Device] | None = None
  shard: bool | None = None
  memory_limit: int | None = None
  weights_file: str | None = None
  multiple: int = 1  # Of which the number of targets at once is one.
  progress: Callable[[int, int], None] | None = None

  def __post_init__(self):
    if self.keep not in ('best', 'all'):
      raise ValueError(
          f"`lasso_path` expects keep 'best' or 'all', got {self.keep!r}."
      )
    if self.dtype is None:
      object.__setattr__(self, 'dtype', self.narrow())
    if self.dtype not in ('float32', 'float64'):
      raise ValueError(
          "`lasso_path` expects dtype 'float32' or 'float64', got"
          f' {self.dtype!r}.'
      )
    if self.dual_point not in certificate.DUAL_POINTS:
      raise ValueError(
          "`lasso_path` expects dual_point 'residual' or 'corrected', got"
          f' {self.dual_point!r}.'
      )
    if not 0 < self.l1_ratio <= 1:
      raise ValueError(
          '`lasso_path` expects l1_ratio above 0 and at most 1, got'
          f' {self.l1_ratio}; without l1 use `regressors.ridge`.'
      )
    if not self.tol > 0 or self.max_epochs < 1:
      raise ValueError(
          '`lasso_path` expects tol above 0 and max_epochs of 1 or more, got'
          f' {self.tol} and {self.max_epochs}.'
      )

    file = self.weights_file
    if file is not None and not os.path.isdir(os.path.dirname(file) or '.'):
      raise ValueError(
          f'`lasso_path` finds no folder for weights_file {file!r}; make it'
          ' first.'
      )
    for name in ('tile', 'block', 'memory_limit'):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(f'`lasso_path` expects {name} >= 1, got {value}.')

  def local_devices(self) -> Sequence[jax.Device]:
    """The devices that may be used."""
    return self.devices or jax.local_devices()

  def spread(self, num_targets: int) -> tuple[Sequence[jax.Device], int]:
    """The devices to use, and how many targets each takes at once."""
    devices = self.local_devices()
    tile = self.tile or default_tile(devices[0])
    if self.devices is None:
      # Each compiles the program again: only for tiles of its own.
      devices = devices[: max(1, num_targets // tile)]
    tile = max(1, min(tile, -(-num_targets // len(devices))))
    return devices, -(-tile // self.multiple) * self.multiple

  def chooses(self) -> bool:
    """Whether weights of other penalties are only compared."""
    num_lams = self.num_lams if self.lams is None else len(self.lams)
    return self.keep == 'best' and num_lams > 1

  def kind(self) -> dict[str, Any]:
    """What the penalty is, as `penalties.largest` takes it."""
    return {
        'factor': self.factor,
        'l1_ratio': self.l1_ratio,
        'positive': self.positive,
    }

  def factors(self, targets: np.ndarray) -> np.ndarray | None:
    """Factors [len(targets), num_train] of some targets, or None."""
    if self.factor is None:
      return None
    return np.ascontiguousarray(self.factor[:, targets].T)

  def aim(self) -> float:
    """The gap to stop at; rounding the weights may cost the rest of tol."""
    rounds = self.dtype == 'float32' and self.tol < _NARROW_TOL
    return max((0.5 if rounds else 0.98) * self.tol, LEAST_TOL)

  def narrow(self) -> str:
    """The dtype of products, and of weights, that can keep the tolerance."""
    return 'float32' if self.tol >= _NARROW_TOL else 'float64'


def default_tile(device: jax.Device) -> int:
  """Targets at once that suit a device."""
  return 100 if device.platform == 'cpu' else 1024


def block_size(options: Options, num_train: int) -> int:
  """Coordinates at once: as asked, or what suits the device."""
  block = options.block
  if block is None:
    on_cpu = options.local_devices()[0].platform == 'cpu'
    # Beyond a seventh of the problem they cost more epochs than they save.
    block = min(128 if on_cpu else 1024, max(num_train // 7, 8))
  return min(block, num_train)


def check_factor(factor: Any, shape: tuple[int, ...]) -> np.ndarray | None:
  """Factors of penalties as float64 [num_train, num_targets], or raises."""
  if factor is None:
    return None
  factor = np.asarray(factor, np.float64)
  if factor.ndim == 1:
    factor = factor[:, None]
  if factor.ndim != 2 or factor.shape[0] != shape[0]:
    factor = None
  elif factor.shape[1] in (1, shape[1]):
    factor = np.broadcast_to(factor, shape)
  else:
    factor = None
  if factor is None or not (np.isfinite(factor) & (factor > 0)).all():
    raise ValueError(
        '`lasso_path` expects factor to be finite and above 0, of shape'
        f' [{shape[0]}] or [{shape[0]}, {shape[1]}]; for a weight that is to be'
        ' 0 or free take a very large or small one.'
    )
  return factor


def check_validation(shape, options):
  """Validation arrays on the host, or raises; shape is that of weights."""
  val_masks, val_outcomes = options.val_masks, options.val_outcomes
  if (val_masks is None) != (val_outcomes is None):
    raise ValueError(
        '`lasso_path` expects both val_masks and val_outcomes, or neither.'
    )
  if val_masks is None:
    if options.chooses():
      raise ValueError(
          "`lasso_path` with keep='best' expects val_masks and val_outcomes to"
          " choose by; pass them, keep='all', or one penalty."
      )
    return None
  val_masks = moments_lib.unpack(val_masks)
  val_outcomes = np.asarray(val_outcomes, np.float64)
  num_val = len(val_masks)
  if not np.isfinite(val_outcomes).all():
    raise ValueError(
        '`lasso_path` got val_outcomes that are not finite; drop the rows of'
        ' the models that diverged.'
    )
  expected = (num_val, shape[0]), (num_val, shape[1])
  if (val_masks.shape, val_outcomes.shape) != expected or not num_val:
    raise ValueError(
        '`lasso_path` expects at least one validation model, masks of shape'
        f' [num_val, {shape[0]}] and outcomes [num_val,'
        f' {shape[1]}], got {val_masks.shape} and'
        f' {val_outcomes.shape}.'
    )
  return val_masks, val_outcomes


def check_start(start: Any, shape: tuple[int, ...]) -> np.ndarray | None:
  """Weights to start from, of the given shape, or raises."""
  if start is None:
    return None
  start = np.asarray(start)
  if start.shape != shape or not np.isfinite(start).all():
    raise ValueError(
        '`lasso_path` expects start to be finite weights [num_train,'
        f' num_targets] of shape {tuple(shape)}, got shape {start.shape}'
        f' with {np.sum(~np.isfinite(start))} numbers not finite.'
    )
  return start
