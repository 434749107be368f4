"""Tiles of targets on devices: loading, draining, choosing by validation.

Targets need nothing from each other, so devices take them from one queue and
never communicate. Within a tile, finished targets make room for new ones.
"""

from collections.abc import Callable, Sequence
from concurrent import futures
import dataclasses
import functools
import threading
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import homotopy
from jdm.solvers import precision

_AIM = 0.95  # Of the tolerance; rounding the weights may cost the rest.
_REFILL = 0.25  # Share of a tile that is left when new targets come in.
_VALIDATION_ROWS = 16  # Targets whose whole path is validated at once.


class Route(Protocol):
  """A way to take sweeps: on the Gram matrix or on the masks."""

  def place(self) -> Any:
    """Puts what all targets share on the current device."""

  def load(self, shared: Any, targets: np.ndarray, tile: int) -> tuple:
    """Rows and first point of some targets, padded with zeros to a tile."""

  def advance(self, shared: Any, *args: Any, **options: Any) -> homotopy.State:
    """Follows paths; the arguments after gram of `proximal.advance`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
  """Models to choose penalties by.

  Attributes:
    masks: bool `[num_val, num_train]`.
    outcomes: `[num_targets, num_val]`, minus the mean of the fitted models.
    mean_masks: `[num_targets, num_train]`, of the fitted models.
    counted: bool `[num_targets, num_val]`, models that count for a target.
  """

  masks: np.ndarray
  outcomes: np.ndarray
  mean_masks: np.ndarray
  counted: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """What is to be solved, target-major, in units of each target's scale.

  Attributes:
    cross: `[num_targets, num_train]`.
    variance: `[num_targets]`.
    lams: `[num_targets, num_lams]`.
    validation: or None.
    keep: 'best' or 'all'.
    tol: relative gap.
    dtype: of the weights.
    tile: targets at once on a device.
    depth: of the Anderson acceleration.
    max_epochs: for each penalty.
  """

  cross: np.ndarray
  variance: np.ndarray
  lams: np.ndarray
  validation: Validation | None
  keep: str
  tol: float
  dtype: str
  tile: int
  depth: int
  max_epochs: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """What tiles write, each its own targets.

  Attributes:
    weights: `[num_targets, num_kept, num_train]`.
    kept: `[num_targets]`, index of the penalty kept.
    gaps: `[num_targets, num_lams]`, absolute, of the running state.
    val_mse: `[num_targets, num_lams]`.
    num_epochs: `[num_targets]`.
  """

  weights: np.ndarray
  kept: np.ndarray
  gaps: np.ndarray
  val_mse: np.ndarray
  num_epochs: np.ndarray


@jax.jit
def _validate(path, outcomes, mean_masks, counted, masks):
  """Mean squared errors [tile, num_lams] on validation models."""
  columns = masks.astype(jnp.float32).T

  def errors(row):
    weights, outcome, mean_mask, counted = row
    weights = weights.astype(jnp.float32)
    product = jnp.matmul(weights, columns, precision=jax.lax.Precision.HIGHEST)
    residual = outcome[None] - product + (weights @ mean_mask)[:, None]
    total = jnp.sum(counted[None] * residual**2, axis=1)
    return total / jnp.maximum(jnp.sum(counted), 1)

  rows = path, outcomes, mean_masks, counted
  return jax.lax.map(errors, rows, batch_size=_VALIDATION_ROWS)


class _Queue:
  """Hands out targets to the devices, each once."""

  def __init__(self, num_targets: int, progress):
    self._lock = threading.Lock()
    self._next, self._done, self._total = 0, 0, num_targets
    self._progress = progress

  def take(self, count: int) -> np.ndarray:
    """Up to count targets that nobody has."""
    with self._lock:
      first = self._next
      self._next = min(first + count, self._total)
      return np.arange(first, self._next)

  def empty(self) -> bool:
    """Whether all targets are handed out."""
    return self._next >= self._total

  def finish(self, count: int) -> None:
    """Reports that count targets are solved."""
    with self._lock:
      self._done += count
      if self._progress is not None:
        self._progress(self._done, self._total)


def pad_rows(
    array: np.ndarray, targets: np.ndarray, tile: int, dtype: Any = np.float64
) -> np.ndarray:
  """Rows of some targets, and rows of zeros up to the tile."""
  rows = np.zeros((tile, *array.shape[1:]), dtype)
  rows[: len(targets)] = array[targets]
  return rows


_init = jax.jit(homotopy.init, static_argnames=('depth', 'dtype'))


def _load(plan: Plan, route: Route, shared, targets):
  """Problem and first state of some targets; the rest of the tile is empty."""
  rows, point = route.load(shared, targets, plan.tile)
  problem = homotopy.Problem(
      cross=jnp.asarray(pad_rows(plan.cross, targets, plan.tile)),
      variance=jnp.asarray(pad_rows(plan.variance, targets, plan.tile)),
      lams=jnp.asarray(pad_rows(plan.lams, targets, plan.tile)),
      rows=rows,
  )
  return problem, _init(problem, point, depth=plan.depth, dtype=plan.dtype)


def _errors(validation: Validation, tile, path, targets, rows, val_masks):
  """Validation errors of the rows of a tile that are finished."""
  arrays = validation.outcomes, validation.mean_masks, validation.counted
  filled = []
  for array in arrays:
    values = np.zeros((tile, array.shape[1]), np.float32)
    values[rows] = array[targets]
    filled.append(jnp.asarray(values))
  return np.asarray(_validate(path, *filled, val_masks))[rows]


def _collect(plan: Plan, found: Found, state, targets, rows, val_masks):
  """Takes finished rows of a tile to the host."""
  if not len(rows):
    return
  done = targets[rows]
  found.gaps[done] = np.asarray(state.gaps)[rows]
  found.num_epochs[done] = np.asarray(state.num_epochs)[rows]
  if plan.validation is not None:
    found.val_mse[done] = _errors(
        plan.validation, plan.tile, state.path, done, rows, val_masks
    )
  if plan.keep == 'all':
    found.weights[done] = np.asarray(state.path)[rows]
    return
  kept = np.zeros(plan.tile, np.int32)
  if plan.validation is not None:
    # The first of equals is the sparsest.
    kept[rows] = np.argmin(found.val_mse[done], axis=1)
  found.kept[done] = kept[rows]
  best = jnp.take_along_axis(state.path, kept[:, None, None], axis=1)
  found.weights[done] = np.asarray(best)[rows]


def _drain(plan: Plan, route: Route, found: Found, queue: _Queue, device):
  """Solves targets from the queue on one device until none is left."""
  # The scope of float64 is a thread's own, and so is the default device.
  with precision.float64(), jax.default_device(device):
    targets = queue.take(plan.tile)
    if not len(targets):
      return
    shared = route.place()
    val_masks = None
    if plan.validation is not None:
      val_masks = jnp.asarray(plan.validation.masks)
    problem, state = _load(plan, route, shared, targets)
    missing = plan.tile - len(targets)
    targets = np.pad(targets, (0, missing), constant_values=-1)
    while True:
      limit = 0 if queue.empty() else int(_REFILL * plan.tile)
      state = route.advance(
          shared,
          problem,
          state,
          _AIM * plan.tol,
          limit,
          max_epochs=plan.max_epochs,
      )
      live = np.asarray(state.lam_index) < plan.lams.shape[1]
      rows = np.flatnonzero(~live & (targets >= 0))
      _collect(plan, found, state, targets, rows, val_masks)
      queue.finish(len(rows))
      num_free = int(np.sum(~live))
      fresh = queue.take(num_free)
      if not live.any() and not len(fresh):
        return
      # Unfinished targets move to the end of the tile, new ones to its front.
      order = np.argsort(live, kind='stable')
      targets = np.where(live, targets, -1)[order]
      targets[: len(fresh)] = fresh
      problem, state = homotopy.refill(
          problem,
          state,
          *_load(plan, route, shared, fresh),
          order,
          np.arange(plan.tile) < num_free,
      )


def solve(
    plan: Plan,
    route: Route,
    devices: Sequence[jax.Device],
    progress: Callable[[int, int], None] | None,
) -> Found:
  """Solves all targets, spread over devices.

  Args:
    plan: the problem.
    route: how sweeps are taken.
    devices: each takes targets from the same queue.
    progress: called with the number of targets solved and in all.

  Returns:
    Weights and running gaps, in units of each target's scale.
  """
  num_targets, num_lams = plan.lams.shape
  num_kept = num_lams if plan.keep == 'all' else 1
  shape = num_targets, num_kept, plan.cross.shape[1]
  found = Found(
      weights=np.zeros(shape, plan.dtype),
      kept=np.zeros(num_targets, np.int32),
      gaps=np.zeros((num_targets, num_lams)),
      val_mse=np.full((num_targets, num_lams), np.nan),
      num_epochs=np.zeros(num_targets, np.int32),
  )
  queue = _Queue(num_targets, progress)
  drain = functools.partial(_drain, plan, route, found, queue)
  if len(devices) == 1:
    drain(devices[0])
    return found
  with futures.ThreadPoolExecutor(len(devices)) as pool:
    for run in [pool.submit(drain, device) for device in devices]:
      run.result()
  return found
