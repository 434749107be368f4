"""Jumps ahead along iterates: Anderson acceleration and an exact line search.

A point is a tuple of arrays `[num_targets, ...]`, the weights first, then their
correlations (minus the gradient of the smooth part), then whatever else is
affine in the weights (residuals), so that the extrapolated point needs no
product with the masks or their Gram matrix.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jdm.solvers import penalties

Point = tuple[jax.Array, ...]

_MAX_COEFFICIENTS = 1e4  # Their sum of sizes; more only amplifies rounding.
_RIDGE = 1e-10  # Relative; keeps the small normal equations solvable.


class History(NamedTuple):
  """The last iterates: a ring that all targets write at the same slot."""

  points: Point  # Each [depth + 1, num_targets, ...].
  age: jax.Array  # [num_targets], points since the last jump.
  slot: jax.Array  # [], where the next point goes.


def init(point: Point, depth: int) -> History:
  """Starts a history of `depth` differences; 0 keeps nothing."""
  num_targets = point[0].shape[0]
  ring = tuple(
      jnp.zeros((depth + 1 if depth else 0, *array.shape), array.dtype)
      for array in point
  )
  return History(ring, jnp.zeros(num_targets, jnp.int32), jnp.int32(0))


def _rows(values: jax.Array, like: jax.Array) -> jax.Array:
  """[num_targets] as a column that fits an array [num_targets, ...]."""
  return values.reshape(values.shape + (1,) * (like.ndim - 1))


def _coefficients(weights: list[jax.Array]) -> jax.Array:
  """Affine coefficients that shrink the difference of iterates the most."""
  steps = [new - old for old, new in zip(weights[:-1], weights[1:])]
  depth = len(steps)
  rows = [[jnp.sum(a * b, axis=1) for b in steps] for a in steps]
  normal = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
  trace = jnp.trace(normal, axis1=1, axis2=2)
  normal /= jnp.maximum(trace, jnp.finfo(trace.dtype).tiny)[:, None, None]
  normal += _RIDGE * jnp.eye(depth, dtype=normal.dtype)[None]
  ones = jnp.ones((*trace.shape, depth, 1), normal.dtype)
  solution = jnp.linalg.solve(normal, ones)[..., 0]
  return solution / jnp.sum(solution, axis=1, keepdims=True)


def _line_search(
    point: Point, before: Point, penalty: penalties.Penalty
) -> Point:
  """The best point straight on from `before` through `point`.

  With more weights than models the objective has directions without curvature;
  along them every step is the same, which affine combinations of iterates
  cannot lengthen. Until the first weight changes its sign the objective is a
  parabola, so the search is exact and needs no product.
  """
  moves = tuple(new - old for new, old in zip(point, before))
  (weights, correlation), (move, change) = point[:2], moves[:2]
  grows = jnp.where(weights == 0, jnp.abs(move), jnp.sign(weights) * move)
  pull = penalty.pull(correlation, weights)
  slope = jnp.sum(penalty.width() * grows - move * pull, axis=1)
  curvature = jnp.maximum(-jnp.sum(move * change, axis=1), 0)
  if penalty.ridge is not None:
    curvature += penalty.ridge * jnp.sum(move**2, axis=1)
  crosses = weights * move < 0
  crossing = jnp.where(crosses, -weights / jnp.where(crosses, move, 1), jnp.inf)
  tiny = jnp.finfo(slope.dtype).tiny
  lowest = -slope / jnp.maximum(curvature, tiny)
  length = jnp.minimum(lowest, jnp.min(crossing, axis=1))
  length = jnp.where(jnp.isfinite(length) & (slope < 0), length, 0)
  return tuple(
      array + _rows(length, array) * step for array, step in zip(point, moves)
  )


def _jump(
    history: History, point: Point, objective, penalty
) -> tuple[Point, jax.Array]:
  """The better of both extrapolations, and where it beats the point."""
  size = history.points[0].shape[0]
  order = [(history.slot + 1 + i) % size for i in range(size - 1)]
  weights = [history.points[0][i] for i in order] + [point[0]]
  coefficients = _coefficients(weights)
  candidate = []
  for ring, newest in zip(history.points, point):
    total = _rows(coefficients[:, -1], newest) * newest
    for position, i in enumerate(order[1:]):
      total += _rows(coefficients[:, position], newest) * ring[i]
    candidate.append(total)
  candidate = tuple(candidate)
  sane = jnp.sum(jnp.abs(coefficients), axis=1) < _MAX_COEFFICIENTS
  # A NaN (two equal points) compares as False and is refused.
  value = objective(candidate)
  value = jnp.where(sane & (value < objective(point)), value, jnp.inf)
  oldest = tuple(ring[order[0]] for ring in history.points)
  straight = _line_search(point, oldest, penalty)
  ahead = objective(straight) < jnp.minimum(value, objective(point))
  best = tuple(
      jnp.where(_rows(ahead, new), new, old)
      for new, old in zip(straight, candidate)
  )
  return best, ahead | jnp.isfinite(value)


def update(
    history: History,
    point: Point,
    restart: jax.Array,
    objective: Callable[[Point], jax.Array],
    penalty: penalties.Penalty,
) -> tuple[History, Point, jax.Array]:
  """Adds a point and jumps where that lowers the objective.

  Args:
    history: of the iterates before.
    point: the newest iterate.
    restart: `[num_targets]` bool, where the point starts another problem.
    objective: of a point, `[num_targets]`; jumps that do not lower it are
      refused, so no jump can do harm.
    penalty: of the targets.

  Returns:
    The history with the point, the point to go on from, and where it jumped.

  References:
    Bertrand and Massias, `Anderson acceleration of coordinate descent
    <https://arxiv.org/abs/2011.10065>`_, 2021, algorithm 1.
  """
  size = history.points[0].shape[0]
  if not size:
    return history, point, jnp.zeros_like(restart)
  due = (history.age >= size - 1) & ~restart & (history.slot == size - 1)
  jump = functools.partial(_jump, history, point, objective, penalty)
  stay = lambda: (point, jnp.zeros_like(due))
  candidate, better = jax.lax.cond(jnp.any(due), jump, stay)
  jumped = due & better
  point = tuple(
      jnp.where(_rows(jumped, old), new, old)
      for new, old in zip(candidate, point)
  )
  ring = tuple(
      jax.lax.dynamic_update_index_in_dim(ring, array, history.slot, 0)
      for ring, array in zip(history.points, point)
  )
  age = jnp.where(due | restart, 1, history.age + 1)
  return History(ring, age, (history.slot + 1) % size), point, jumped
