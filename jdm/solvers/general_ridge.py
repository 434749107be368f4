"""Ridge regression with a prior mean and prior variances, target by target.

For each target, with centred masks Xc and outcomes yc over m models, the mean w0
and variances v (mean 1) of its weights:

  min_w 1/(2m) ||yc - Xc w||^2 + lam / 2 sum_j (w_j - w0_j)^2 / v_j

With w = w0 + D z, D = sqrt(v), that is (D G D + lam I) z = D (c - G w0), which
conjugate gradients solve for all targets at once: one product with the Gram
matrix (or two with the masks, where models are few) a step. Targets need no
factorization of their own.
"""

from collections.abc import Iterator
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

_MAX_STEPS = 500


class Design(NamedTuple):
  """Centred masks as products need them, float32.

  Attributes:
    matrix: the Gram matrix `[num_train, num_train]` or, as `factored`, the masks
      `[num_train, num_models]` over sqrt(num_models).
    factored: `[]` or None; the matrix times its transpose is the Gram matrix.
  """

  matrix: jax.Array
  factored: jax.Array | None


def design(masks: np.ndarray) -> tuple[Design, np.ndarray]:
  """Centres masks, and takes their Gram matrix where that is the smaller work.

  Args:
    masks: bool `[num_models, num_train]`.

  Returns:
    The design, and the mean mask float64 `[num_train]`.
  """
  num_models, num_train = masks.shape
  mean = masks.mean(axis=0)
  columns = jnp.asarray((masks - mean[None]).T / np.sqrt(num_models), 'float32')
  if 2 * num_models < num_train:
    return Design(columns, jnp.ones(())), mean
  return Design(_product(columns, columns.T), None), mean


def _product(first: jax.Array, second: jax.Array) -> jax.Array:
  return jnp.matmul(first, second, precision=lax.Precision.HIGHEST)


def apply(design: Design, weights: jax.Array) -> jax.Array:
  """Gram matrix times weights `[num_targets, num_train]`, row by row."""
  product = _product(weights, design.matrix)
  if design.factored is None:
    return product
  return _product(product, design.matrix.T)


class _Step(NamedTuple):
  """Where conjugate gradients are; arrays `[num_targets, num_train]`."""

  point: jax.Array
  residual: jax.Array
  direction: jax.Array
  square: jax.Array  # [num_targets], ||residual||^2.
  count: jax.Array


@functools.partial(jax.jit, static_argnames='max_steps')
def _solve(design, right, scales, lam, start, bound, *, max_steps):
  """Solves (D G D + lam I) z = right until ||residual||^2 <= bound.

  Args:
    design: of the masks.
    right: `[num_targets, num_train]`.
    scales: `[num_targets, num_train]`, D.
    lam: `[num_targets]`.
    start: `[num_targets, num_train]`.
    bound: `[num_targets]`.
    max_steps: steps at most.

  Returns:
    z, and ||residual||^2 `[num_targets]`, computed afresh.
  """

  def product(z):
    return scales * apply(design, scales * z) + lam[:, None] * z

  def unfinished(step):
    return jnp.any(step.square > bound) & (step.count < max_steps)

  def advance(step):
    moved = product(step.direction)
    curvature = jnp.sum(step.direction * moved, axis=1)
    live = (step.square > bound) & (curvature > 0)
    length = jnp.where(live, step.square / jnp.where(live, curvature, 1), 0)
    residual = step.residual - length[:, None] * moved
    square = jnp.sum(residual**2, axis=1)
    ratio = jnp.where(live, square / jnp.where(live, step.square, 1), 0)
    return _Step(
        point=step.point + length[:, None] * step.direction,
        residual=residual,
        direction=residual + ratio[:, None] * step.direction,
        square=square,
        count=step.count + 1,
    )

  residual = right - product(start)
  square = jnp.sum(residual**2, axis=1)
  step = _Step(start, residual, residual, square, jnp.int32(0))
  step = lax.while_loop(unfinished, advance, step)
  residual = right - product(step.point)
  return step.point, jnp.sum(residual**2, axis=1)


class Solution(NamedTuple):
  """Weights at one penalty.

  Attributes:
    weights: float32 `[num_targets, num_train]`.
    gap: float64 `[num_targets]`, how far the objective is above its minimum at
      most, over ||yc||^2 / (2m).
  """

  weights: np.ndarray
  gap: np.ndarray


def path(
    masks: np.ndarray,
    outcomes: np.ndarray,
    prior_mean: np.ndarray,
    prior_variance: np.ndarray,
    lams: Any,
    *,
    tol: float = 1e-4,
    tile: int = 1024,
    max_steps: int = _MAX_STEPS,
) -> Iterator[Solution]:
  """Solves for all targets, penalty after penalty.

  Args:
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    prior_mean: `[num_train, num_targets]`, w0.
    prior_variance: `[num_train, num_targets]`, v, above 0.
    lams: penalties above 0, each a number or `[num_targets]`; each starts from
      the solution before.
    tol: bound of the relative gap.
    tile: targets at once.
    max_steps: steps of conjugate gradients for each penalty at most.

  Yields:
    The solution at each penalty.
  """
  placed, mean_mask = design(masks)
  num_targets = outcomes.shape[1]
  centred = (outcomes - outcomes.mean(axis=0)[None]).astype(np.float32)
  variance = np.mean(centred.astype(np.float64) ** 2, axis=0)
  parts = [
      slice(start, min(start + tile, num_targets))
      for start in range(0, num_targets, tile)
  ]
  held = []
  for part in parts:
    mean = jnp.asarray(prior_mean[:, part].T, 'float32')
    scales = jnp.asarray(np.sqrt(prior_variance[:, part]).T, 'float32')
    cross = masks.T.astype(np.float32) @ centred[:, part] / len(masks)
    cross -= mean_mask[:, None] * centred[:, part].mean(axis=0)[None]
    right = scales * (jnp.asarray(cross.T, 'float32') - apply(placed, mean))
    held.append((mean, scales, right, jnp.zeros_like(right)))
  for lam in lams:
    lam = np.broadcast_to(np.asarray(lam, np.float64), num_targets)
    weights, gaps = [], []
    for index, part in enumerate(parts):
      mean, scales, right, start = held[index]
      # The objective is lam-strongly convex in z: ||residual||^2 / (2 lam).
      bound = tol * lam[part] * variance[part]
      z, square = _solve(
          placed,
          right,
          scales,
          jnp.asarray(lam[part], 'float32'),
          start,
          jnp.asarray(bound, 'float32'),
          max_steps=max_steps,
      )
      held[index] = mean, scales, right, z
      weights.append(np.asarray(mean + scales * z))
      gap = np.asarray(square, np.float64) / lam[part]
      level = np.where(variance[part] > 0, variance[part], 1)
      gaps.append(np.where(variance[part] > 0, gap / level, 0))
    yield Solution(np.concatenate(weights), np.concatenate(gaps))
