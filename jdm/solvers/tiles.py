"""Tiles of targets on devices: loading, draining, choosing by validation.

Targets need nothing from each other, so devices take them from one queue and
never communicate.
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

from jdm.solvers import certificate
from jdm.solvers import homotopy
from jdm.solvers import precision

_SLOW = 0.25  # Share of a tile that is finished later, with others of its kind.
_VALIDATION_ROWS = 16  # Targets whose whole path is validated at once.


class Route(Protocol):
  """A way to take sweeps: on the Gram matrix, whole or spread, or the masks."""

  def place(self) -> Any:
    """Puts what all targets share on the current device."""

  def load(self, shared: Any, targets: np.ndarray, tile: int) -> tuple:
    """Rows and first point of some targets, padded with zeros to a tile."""

  def advance(self, shared: Any, *args: Any, **options: Any) -> homotopy.State:
    """Follows paths; the arguments after gram of `proximal.advance`."""

  def put(self, array: np.ndarray, dtype: Any = None) -> jax.Array:
    """Puts an array of targets where sweeps go."""

  def put_train(self, array: np.ndarray, dtype: Any = None) -> jax.Array:
    """The same of an array `[rows, num_train]`."""

  def init(
      self, problem: Any, point: Any, *, depth: int, dtype: str
  ) -> homotopy.State:
    """`homotopy.init`."""

  def merge(self, first: tuple, second: tuple, source: np.ndarray) -> tuple:
    """`homotopy.merge`."""


_init = jax.jit(homotopy.init, static_argnames=('depth', 'dtype'))


class OneDevice:
  """What routes have in common that keep all of a target on one device."""

  def put(self, array: np.ndarray, dtype: Any = None) -> jax.Array:
    """Puts an array on the current device."""
    return jnp.asarray(array, dtype)

  put_train = put

  def init(self, problem, point, *, depth: int, dtype: str) -> homotopy.State:
    """Starts targets, in one program."""
    return _init(problem, point, depth=depth, dtype=dtype)

  def merge(self, first: tuple, second: tuple, source: np.ndarray) -> tuple:
    """Makes a tile of rows of two."""
    return homotopy.merge(first, second, source)


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
    factor: `[num_targets, num_train]`, of `penalties.Penalty`, or None.
    ridges: `[num_targets, num_lams]`, beside each of lams, or None.
    positive: of `penalties.Penalty`.
    validation: or None.
    keep: 'best' or 'all'.
    tol: relative gap.
    aim: relative gap of the running state: a little less.
    dtype: of the weights.
    state: dtype of the running state.
    curvature: to certify by corrected dual points as well, or None.
    tile: targets at once on a device.
    depth: of the Anderson acceleration.
    max_epochs: for each penalty.
  """

  cross: np.ndarray
  variance: np.ndarray
  lams: np.ndarray
  factor: np.ndarray | None
  ridges: np.ndarray | None
  positive: bool
  validation: Validation | None
  keep: str
  tol: float
  aim: float
  dtype: str
  state: str
  curvature: certificate.Curvature | None
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


def _load(plan: Plan, route: Route, shared, targets):
  """Problem and first state of some targets; the rest of the tile is empty."""
  rows, point = route.load(shared, targets, plan.tile)
  point = jax.tree.map(lambda array: array.astype(plan.state), point)

  def put(array):
    return route.put(pad_rows(array, targets, plan.tile), plan.state)

  def put_train(array):
    return route.put_train(pad_rows(array, targets, plan.tile), plan.state)

  factor = None
  if plan.factor is not None:
    factor = put_train(plan.factor)
    # Empty rows and columns have factor 1, which no formula divides by 0.
    factor = jnp.where(factor > 0, factor, 1)
  problem = homotopy.Problem(
      cross=put_train(plan.cross),
      variance=put(plan.variance),
      lams=put(plan.lams),
      factor=factor,
      rows=rows,
      ridges=None if plan.ridges is None else put(plan.ridges),
      positive=plan.positive,
  )
  state = route.init(problem, point, depth=plan.depth, dtype=plan.dtype)
  return problem, state


def _errors(plan: Plan, route: Route, path, targets, rows, val_masks):
  """Validation errors of the rows of a tile that are finished."""
  validation = plan.validation
  assert validation is not None

  def fill(put, array):
    values = np.zeros((plan.tile, array.shape[1]), np.float32)
    values[rows] = array[targets]
    return put(values)

  filled = (
      fill(route.put, validation.outcomes),
      fill(route.put_train, validation.mean_masks),
      fill(route.put, validation.counted),
  )
  return np.asarray(_validate(path, *filled, val_masks))[rows]


def _collect(
    plan: Plan, route: Route, found: Found, state, targets, rows, val_masks
):
  """Takes finished rows of a tile to the host."""
  if not len(rows):
    return
  done = targets[rows]
  found.gaps[done] = np.asarray(state.gaps)[rows]
  found.num_epochs[done] = np.asarray(state.num_epochs)[rows]
  if plan.validation is not None:
    found.val_mse[done] = _errors(
        plan, route, state.path, done, rows, val_masks
    )
  num_train = plan.cross.shape[1]  # A route may have added zeros.
  if plan.keep == 'all':
    path = np.asarray(state.path)[:, :, :num_train]
    for row, target in zip(rows, done):  # Whole rows: copied once.
      np.copyto(found.weights[target], path[row])
    return
  kept = np.zeros(plan.tile, np.int32)
  if plan.validation is not None:
    # The first of equals is the sparsest.
    kept[rows] = np.argmin(found.val_mse[done], axis=1)
  found.kept[done] = kept[rows]
  best = jnp.take_along_axis(state.path, kept[:, None, None], axis=1)
  found.weights[done] = np.asarray(best)[rows, :, :num_train]


class _Worker:
  """Solves targets on one device, tile after tile.

  The slow targets of a tile are set aside and finished together: among new
  targets, whose solutions are still sparse, they would keep all coordinates
  active.
  """

  def __init__(self, plan: Plan, route: Route, found: Found, queue: _Queue):
    self._plan, self._route, self._found = plan, route, found
    self._queue = queue
    self._shared = route.place()
    self._val_masks = None
    if plan.validation is not None:
      self._val_masks = route.put_train(plan.validation.masks)
    self._aside: tuple | None = None
    self._aside_targets = np.full(plan.tile, -1)

  def run(self, targets: np.ndarray) -> None:
    """Solves a tile of targets, up to the slow ones."""
    plan = self._plan
    tile = _load(plan, self._route, self._shared, targets)
    missing = plan.tile - len(targets)
    targets = np.pad(targets, (0, missing), constant_values=-1)
    alone = self._queue.empty() and self._aside is None
    tile, targets = self._advance(
        tile, targets, 0 if alone else int(_SLOW * plan.tile)
    )
    slow = np.flatnonzero(targets >= 0)
    if len(slow):
      self._set_aside(tile, targets, slow)

  def _advance(self, tile, targets, limit):
    """Advances a tile and collects what is finished; the rest stays."""
    problem, state = tile
    plan = self._plan
    state = self._route.advance(
        self._shared,
        problem,
        state,
        plan.aim,
        limit,
        plan.curvature,
        max_epochs=plan.max_epochs,
    )
    live = np.asarray(state.lam_index) < plan.lams.shape[1]
    rows = np.flatnonzero(~live & (targets >= 0))
    _collect(
        plan, self._route, self._found, state, targets, rows, self._val_masks
    )
    self._queue.finish(len(rows))
    return (problem, state), np.where(live, targets, -1)

  def _set_aside(self, tile, targets, slow) -> None:
    """Keeps the slow rows of a tile for later."""
    if self._aside is None:
      self._aside, self._aside_targets = tile, targets
      return
    if np.sum(self._aside_targets >= 0) + len(slow) > self._plan.tile:
      self.finish()
      self._aside, self._aside_targets = tile, targets
      return
    free = np.flatnonzero(self._aside_targets < 0)[: len(slow)]
    source = np.arange(self._plan.tile)
    source[free] = self._plan.tile + slow
    self._aside = self._route.merge(self._aside, tile, source)
    self._aside_targets[free] = targets[slow]

  def finish(self) -> None:
    """Solves what was set aside."""
    if self._aside is not None:
      self._advance(self._aside, self._aside_targets, 0)
      self._aside = None


def _drain(plan: Plan, route: Route, found: Found, queue: _Queue, device):
  """Solves targets from the queue on one device until none is left."""
  # The scope of float64 is a thread's own, and so is the default device.
  with precision.float64(), jax.default_device(device):
    targets = queue.take(plan.tile)
    if not len(targets):
      return
    worker = _Worker(plan, route, found, queue)
    while len(targets):
      worker.run(targets)
      targets = queue.take(plan.tile)
    worker.finish()


def solve(
    plan: Plan,
    route: Route,
    devices: Sequence[jax.Device],
    progress: Callable[[int, int], None] | None,
    file: str | None = None,
) -> Found:
  """Solves all targets, spread over devices.

  Args:
    plan: the problem.
    route: how sweeps are taken.
    devices: each takes targets from the same queue.
    progress: called with the number of targets solved and in all.
    file: to keep the weights in, instead of memory.

  Returns:
    Weights and running gaps, in units of each target's scale.
  """
  num_targets, num_lams = plan.lams.shape
  num_kept = num_lams if plan.keep == 'all' else 1
  shape = num_targets, num_kept, plan.cross.shape[1]
  if file is None:
    weights = np.zeros(shape, plan.dtype)
  else:
    weights = np.lib.format.open_memmap(
        file, mode='w+', dtype=plan.dtype, shape=shape
    )
  found = Found(
      weights=weights,
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
