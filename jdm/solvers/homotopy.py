"""Following paths of penalties: each target at its own, all at once.

A point is a tuple `(weights, correlation, ...)` of arrays `[tile, ...]`, target
by target; everything after the weights is affine in them, so that a point can
be extrapolated without a product. Arrays are target-major because a target is
then a contiguous row.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jdm.solvers import certificate
from jdm.solvers import extrapolation
from jdm.solvers import penalties

_FAR = 1e-3  # Of the variance: no rounding raises an objective by that.


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=('cross', 'variance', 'lams', 'factor', 'ridges', 'rows'),
    meta_fields=('positive',),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """What is to be solved; row j is target j. In the dtype of the state.

  Attributes:
    cross: `[tile, num_train]`, Xc'yc / m.
    variance: `[tile]`, ||yc||^2 / m.
    lams: `[tile, num_lams]`, decreasing.
    factor: `[tile, num_train]`, of `penalties.Penalty`, or None.
    ridges: `[tile, num_lams]`, beside each of lams, or None.
    rows: what a route needs besides, with leading axis tile.
    positive: of `penalties.Penalty`.
  """

  cross: jax.Array
  variance: jax.Array
  lams: jax.Array
  factor: jax.Array | None = None
  ridges: jax.Array | None = None
  rows: Any = None
  positive: bool = False

  def penalty(self, index: jax.Array) -> penalties.Penalty:
    """The penalty of each row at its index `[tile]`."""
    return penalties.Penalty(
        lam=lam_at(self.lams, index),
        factor=self.factor,
        ridge=None if self.ridges is None else lam_at(self.ridges, index),
        positive=self.positive,
    )


class State(NamedTuple):
  """Where each target is on its path."""

  point: extrapolation.Point
  last: extrapolation.Point  # The solution at the penalty before.
  lam_index: jax.Array  # [tile] int32; num_lams when finished.
  num_steps: jax.Array  # [tile] int32, epochs at this penalty.
  num_epochs: jax.Array  # [tile] int32, epochs in all.
  objective: jax.Array  # [tile], to notice a step that was too long.
  rate: jax.Array  # [tile], shortens the steps of such a target.
  history: extrapolation.History
  path: jax.Array  # [tile, num_lams, num_train], the solutions.
  gaps: jax.Array  # [tile, num_lams], absolute, of the running state.


def init(
    problem: Problem, point: extrapolation.Point, *, depth: int, dtype: str
) -> State:
  """Starts every target at its first penalty.

  Args:
    problem: of `tile` targets.
    point: where to start.
    depth: of the Anderson acceleration; 0 for none.
    dtype: in which solutions are kept.

  Returns:
    The state.
  """
  tile, num_lams = problem.lams.shape
  counter = jnp.zeros(tile, jnp.int32)
  return State(
      point=point,
      last=point,
      # A constant outcome is solved by weights of 0.
      lam_index=jnp.where(problem.variance > 0, counter, num_lams),
      num_steps=counter,
      num_epochs=counter,
      objective=jnp.full_like(problem.variance, jnp.inf),
      rate=jnp.ones_like(problem.variance),
      history=extrapolation.init(point, depth),
      path=jnp.zeros((tile, num_lams, point[0].shape[1]), dtype),
      gaps=jnp.zeros_like(problem.lams),
  )


@jax.jit
def merge(
    first: tuple[Problem, State],
    second: tuple[Problem, State],
    source: jax.Array,
) -> tuple[Problem, State]:
  """Makes a tile of rows of two tiles.

  Args:
    first: problem and state of a tile.
    second: of another one.
    source: int `[tile]`; row i is row source[i] of the first tile, or row
      source[i] - tile of the second.

  Returns:
    Problem and state.
  """
  tile = len(source)
  from_first = source < tile

  def pick(old, new):
    rows = old[jnp.minimum(source, tile - 1)]
    return jnp.where(
        _rows(from_first, old), rows, new[jnp.maximum(source - tile, 0)]
    )

  (problem, state), (other_problem, other) = first, second
  # Rows move: histories begin again.
  history = state.history._replace(age=jnp.zeros_like(state.history.age))
  mixed = {
      name: jax.tree.map(pick, getattr(state, name), getattr(other, name))
      for name in State._fields
      if name != 'history'
  }
  problem = jax.tree.map(pick, problem, other_problem)
  return problem, state._replace(history=history, **mixed)


def _rows(values: jax.Array, like: jax.Array) -> jax.Array:
  """[tile] as a column that fits an array [tile, ...]."""
  return values.reshape(values.shape + (1,) * (like.ndim - 1))


def _objective(problem, penalty, point):
  """P(w) - ||yc||^2 / (2m) of each row."""
  weights, correlation = point[:2]
  smooth = -0.5 * jnp.sum(weights * (problem.cross + correlation), axis=1)
  return smooth + penalty.value(weights)


def _store(path, weights, lam_index, leave):
  """Writes the rows that leave their penalty into the path."""
  order = jnp.argsort(~leave, stable=True)

  def write(i, path):
    row = order[i]
    values = jax.lax.dynamic_index_in_dim(weights, row)[None]
    start = row, lam_index[row].astype(row.dtype), jnp.zeros_like(row)
    return jax.lax.dynamic_update_slice(path, values.astype(path.dtype), start)

  return jax.lax.fori_loop(0, jnp.sum(leave), write, path)


def lam_at(lams: jax.Array, index: jax.Array) -> jax.Array:
  """The penalty of each row at an index, the last one beyond the end."""
  index = jnp.clip(index, min=0, max=lams.shape[1] - 1)
  return jnp.take_along_axis(lams, index[:, None], axis=1)[:, 0]


def warm_start_ratio(
    lams: jax.Array, index: jax.Array, leave: jax.Array
) -> jax.Array:
  """How far to go on along the last move, [num_targets].

  Solutions are piecewise linear in the penalty, so the next one is near
  w + ratio * (w - w_before).

  Args:
    lams: `[num_targets, num_lams]`.
    index: `[num_targets]`, of the penalty that is left.
    leave: `[num_targets]` bool, which targets leave.

  Returns:
    `[num_targets]`; 0 where there is no penalty before or after.
  """
  here = lam_at(lams, index)
  ahead = here - lam_at(lams, index + 1)
  behind = lam_at(lams, index - 1) - here
  inside = leave & (index >= 1) & (index < lams.shape[1] - 1) & (behind > 0)
  return jnp.where(inside, ahead / jnp.where(behind > 0, behind, 1), 0)


def _gap(problem, penalty, point, curvature):
  """The absolute gap of each row, by the best dual point at hand."""
  weights, correlation = point[:2]
  residual = problem.variance - jnp.sum(
      weights * (problem.cross + correlation), axis=1
  )
  gap = certificate.duality_gap(weights, correlation, residual, penalty)
  if curvature is None:
    return gap
  other = certificate.corrected_gap(weights, correlation, penalty, curvature)
  return jnp.minimum(gap, other)


def _leave_lam(problem, state, gap, point, *, tol, max_epochs):
  """Stores what is certified, and sets out for the next penalty."""
  weights = point[0]
  num_lams = problem.lams.shape[1]
  index = state.lam_index
  live = index < num_lams
  tired = state.num_steps + 1 >= max_epochs
  leave = live & ((gap <= 0.5 * tol * problem.variance) | tired)
  column = jnp.arange(num_lams)[None] == index[:, None]
  ratio = warm_start_ratio(problem.lams, index, leave)
  # A finished row is cleared, or it would keep coordinates active for others.
  finished = leave & (index == num_lams - 1)

  def set_out(new, old):
    ahead = new + _rows(ratio, new) * (new - old)
    return jnp.where(_rows(finished, new), 0, ahead)

  def keep(new, old):
    return jnp.where(_rows(leave, new), new, old)

  state = state._replace(
      point=jax.tree.map(set_out, point, state.last),
      last=jax.tree.map(keep, point, state.last),
      lam_index=index + leave.astype(jnp.int32),
      num_steps=jnp.where(leave, 0, state.num_steps + 1),
      num_epochs=state.num_epochs + live.astype(jnp.int32),
      path=_store(state.path, weights, index, leave),
      gaps=jnp.where(column & leave[:, None], gap[:, None], state.gaps),
  )
  return state, leave


def _take_back(problem, penalty, before, point, objective):
  """Undoes the sweep of the rows whose objective it raised far."""
  old = _objective(problem, penalty, before)
  far = ~(objective <= old + _FAR * problem.variance)
  point = tuple(
      jnp.where(_rows(far, new), last, new) for last, new in zip(before, point)
  )
  return point, jnp.where(far, old, objective), far


def _epoch(sweep, problem, state, *, tol, curvature, max_epochs, bold):
  """One sweep of all targets, then each goes on or leaves its penalty."""
  penalty = problem.penalty(state.lam_index)
  point = sweep(state.point, penalty, state.rate)
  objective = _objective(problem, penalty, point)
  far = False
  if bold:
    point, objective, far = _take_back(
        problem, penalty, state.point, point, objective
    )
  # The margin is above the rounding of float32 products, or of sums.
  margin = 1e-6 if objective.dtype == jnp.float64 else 1e-5
  rose = far | ~(objective <= state.objective + margin * problem.variance)
  gap = _gap(problem, penalty, point, curvature)
  state, leave = _leave_lam(
      problem, state, gap, point, tol=tol, max_epochs=max_epochs
  )
  history, point, jumped = extrapolation.update(
      state.history,
      state.point,
      leave,
      functools.partial(_objective, problem, penalty),
      penalty,
  )
  return state._replace(
      point=point,
      history=history,
      objective=jnp.where(leave | jumped, jnp.inf, objective),
      rate=jnp.where(rose, 0.5 * state.rate, state.rate),
  )


def follow(
    sweep: Callable[..., extrapolation.Point],
    problem: Problem,
    state: State,
    *,
    tol: jax.Array,
    limit: jax.Array,
    max_epochs: int,
    curvature: certificate.Curvature | None = None,
    bold: bool = False,
) -> State:
  """Sweeps until at most `limit` targets of the tile are unfinished.

  Args:
    sweep: `(point, penalty, rate) -> point`, a descent step on all targets at
      their penalties, its steps shortened by rate `[tile]`.
    problem: of the tile.
    state: from `init`, `merge` or an earlier call.
    tol: relative gap at which a target goes on to its next penalty.
    limit: number of targets that may be left.
    max_epochs: sweeps after which a target goes on from a penalty anyway.
    curvature: of the Gram matrix, to certify by corrected dual points as well;
      None for the residual alone.
    bold: whether a sweep may step too far, and has to be taken back then.

  Returns:
    The state.
  """
  tol = jnp.asarray(tol, problem.variance.dtype)
  num_lams = problem.lams.shape[1]
  unfinished = lambda state: jnp.sum(state.lam_index < num_lams) > limit
  epoch = functools.partial(
      _epoch,
      sweep,
      problem,
      tol=tol,
      curvature=curvature,
      max_epochs=max_epochs,
      bold=bold,
  )
  return jax.lax.while_loop(unfinished, epoch, state)
