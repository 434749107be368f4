"""Ridge regression with a prior mean and prior variances, target by target.

For each target, with centred masks Xc and outcomes yc over m models, the mean w0
and variances v (mean 1) of its weights:

  min_w 1/(2m) ||yc - Xc w||^2 + lam / 2 sum_j (w_j - w0_j)^2 / v_j

With w = w0 + D z, D = sqrt(v), that is (D G D + lam I) z = D (c - G w0), which
conjugate gradients solve for all targets at once: one product with the Gram
matrix (or two with the masks, where models are few) a step. Targets need no
factorization of their own.

Features F [num_train, num_features] make weights vary together, those with
alike features alike: their covariance is D (I + F F') D instead of D^2, and
w = w0 + D (I, F) z with a z that is longer by the features.

Targets that leave models out, each its own (a target that is a training example
is fitted to the models that did not train on it), take the two products with
the masks: outcomes of the models left out count as 0 in between.
"""

from collections.abc import Iterator
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import centred
from jdm.solvers import direct

_MAX_STEPS = 500


class Design(NamedTuple):
  """Centred masks as products need them, float32.

  Attributes:
    matrix: the Gram matrix `[num_train, num_train]` or, as `factored`, the masks
      `[num_train, num_models]` over sqrt(num_models).
    factored: `[]` or None; the matrix times its transpose is the Gram matrix.
    rows: kept `[num_targets, num_models]`, 1 for the models of a target, and
      their count `[num_targets]`; None where all models are those of all
      targets.
  """

  matrix: jax.Array
  factored: jax.Array | None
  rows: tuple[jax.Array, jax.Array] | None = None


def design(
    masks: np.ndarray, *, factored: bool = False
) -> tuple[Design, np.ndarray]:
  """Centres masks, and takes their Gram matrix where that is the smaller work.

  Args:
    masks: bool `[num_models, num_train]`.
    factored: whether to leave the Gram matrix out in any case.

  Returns:
    The design, and the mean mask float64 `[num_train]`.
  """
  num_models, num_train = masks.shape
  mean = masks.mean(axis=0)
  columns = jnp.asarray((masks - mean[None]).T / np.sqrt(num_models), 'float32')
  if factored or 2 * num_models < num_train:
    return Design(columns, jnp.ones(())), mean
  return Design(_product(columns, columns.T), None), mean


def _product(first: jax.Array, second: jax.Array) -> jax.Array:
  return jnp.matmul(first, second, precision=lax.Precision.HIGHEST)


def apply(design: Design, weights: jax.Array) -> jax.Array:
  """Gram matrix times weights `[num_targets, num_train]`, row by row.

  With `rows`, each target takes the Gram matrix of its own models.
  """
  product = _product(weights, design.matrix)
  if design.factored is None:
    return product
  if design.rows is not None:
    kept, count = design.rows
    product = centred.centre(product, kept, count)
    # The matrix is scaled for the mean over all models.
    product *= (product.shape[1] / count)[:, None]
  return _product(product, design.matrix.T)


class _Step(NamedTuple):
  """Where conjugate gradients are; arrays of the shape of z."""

  point: jax.Array
  residual: jax.Array
  direction: jax.Array
  square: jax.Array  # [num_targets], ||residual||^2.
  count: jax.Array


class Deviations(NamedTuple):
  """How weights deviate from their mean, as functions of z; float32.

  Attributes:
    scales: `[num_targets, num_train]`, D.
    features: `[num_train, num_features]`, F, or None.
  """

  scales: jax.Array
  features: jax.Array | None

  def of(self, z: jax.Array) -> jax.Array:
    """D (I, F) z, `[num_targets, num_train]`."""
    if self.features is None:
      return self.scales * z
    num_train = self.scales.shape[1]
    shared = _product(z[:, num_train:], self.features.T)
    return self.scales * (z[:, :num_train] + shared)

  def transposed(self, weights: jax.Array) -> jax.Array:
    """(I, F)' D weights, the shape of z."""
    scaled = self.scales * weights
    if self.features is None:
      return scaled
    shared = _product(scaled, self.features)
    return jnp.concatenate([scaled, shared], axis=1)


@functools.partial(jax.jit, static_argnames='max_steps')
def _solve(design, right, deviations, lam, start, bound, *, max_steps):
  """Solves (A' G A + lam I) z = right until ||residual||^2 <= bound.

  Args:
    design: of the masks.
    right: `[num_targets, length of z]`.
    deviations: A = D (I, F).
    lam: `[num_targets]`.
    start: the shape of `right`.
    bound: `[num_targets]`.
    max_steps: steps at most.

  Returns:
    z, and ||residual||^2 `[num_targets]`, computed afresh.
  """

  def product(z):
    image = apply(design, deviations.of(z))
    return deviations.transposed(image) + lam[:, None] * z

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


class _Part(NamedTuple):
  """Some targets, as `_solve` takes them.

  Attributes:
    design: of their models.
    mean: w0, `[num_targets, num_train]`.
    deviations: from it.
    right: right side, `[num_targets, length of z]`.
    start: z to start from.
    variance: float64 `[num_targets]`, of the outcomes.
  """

  design: Design
  mean: jax.Array
  deviations: Deviations
  right: jax.Array
  start: jax.Array
  variance: np.ndarray


def path(
    masks: np.ndarray,
    outcomes: np.ndarray,
    prior_mean: np.ndarray,
    prior_variance: np.ndarray,
    lams: Any,
    *,
    features: np.ndarray | None = None,
    own_ids: Any = None,
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
    features: `[num_train, num_features]`, finite, F of the covariance
      D (I + F F') D, shared by all targets; none by default. Two products with
      them are added to each step.
    own_ids: int `[num_targets]`, the column of `masks` that is the target
      itself, -1 for none. A target is then fitted to, and certified by, the
      models that did not train on it, and m is their number; its own weight is
      0, whatever its prior.
    tol: bound of the relative gap.
    tile: targets at once.
    max_steps: steps of conjugate gradients for each penalty at most.

  Yields:
    The solution at each penalty.

  Raises:
    ValueError: if features are not of the training examples, `own_ids` make no
      sense, or a target has fewer than 2 models.
  """
  num_targets = outcomes.shape[1]
  if own_ids is not None:
    own_ids = direct.check_own_ids(own_ids, masks.shape[1], num_targets)
    direct.check_counts(masks, own_ids, 2, 'fitted')
  placed, mean_mask = design(masks, factored=own_ids is not None)
  slices = [
      slice(start, min(start + tile, num_targets))
      for start in range(0, num_targets, tile)
  ]
  shared = placed, masks, mean_mask
  priors = prior_mean, prior_variance, _placed(features, masks.shape[1])
  if own_ids is None:
    rows = (outcomes - outcomes.mean(axis=0)[None]).astype(np.float32)
    variance = np.mean(rows.astype(np.float64) ** 2, axis=0)
    parts = [_part(*shared, rows, variance, *priors, s) for s in slices]
  else:
    parts = [_own_part(*shared, outcomes, own_ids, *priors, s) for s in slices]
  for lam in lams:
    lam = np.broadcast_to(np.asarray(lam, np.float64), num_targets)
    found = []
    for index, (part, where) in enumerate(zip(parts, slices)):
      parts[index], solution = _advance(part, lam[where], tol, max_steps)
      found.append(solution)
    yield Solution(*map(np.concatenate, zip(*found)))


def _placed(features: np.ndarray | None, num_train: int) -> jax.Array | None:
  """Features on the device, at most as many as training examples."""
  if features is None:
    return None
  features = np.asarray(features, np.float64)
  if features.ndim != 2 or len(features) != num_train:
    raise ValueError(
        'Features of a ridge regression are expected as [num_train,'
        f' num_features] with {num_train} rows, got shape {features.shape}.'
    )
  if not np.isfinite(features).all():
    raise ValueError(
        'Features of a ridge regression are expected to be finite, got'
        f' {int(np.sum(~np.isfinite(features)))} values that are not.'
    )
  if features.shape[1] > num_train:  # As many as this have the same F F'.
    values, vectors = np.linalg.eigh(features @ features.T)
    features = vectors * np.sqrt(np.maximum(values, 0))[None]
  return jnp.asarray(features, 'float32')


def _part(
    placed, masks, mean_mask, outcomes, variance, mean, prior, features, part
):
  """Some targets that all models count for, from centred outcomes."""
  mean = jnp.asarray(mean[:, part].T, 'float32')
  scales = jnp.asarray(np.sqrt(prior[:, part]).T, 'float32')
  deviations = Deviations(scales, features)
  cross = masks.T.astype(np.float32) @ outcomes[:, part] / len(masks)
  cross -= mean_mask[:, None] * outcomes[:, part].mean(axis=0)[None]
  left = jnp.asarray(cross.T, 'float32') - apply(placed, mean)
  right = deviations.transposed(left)
  start = jnp.zeros_like(right)
  return _Part(placed, mean, deviations, right, start, variance[part])


def _own_part(
    placed, masks, mean_mask, outcomes, own_ids, mean, prior, features, part
):
  """Some targets, each with its own models."""
  own = own_ids[part]
  kept = direct.kept_models(masks, own_ids, np.arange(len(own_ids))[part])
  count = kept.sum(axis=1)
  rows = outcomes[:, part].T.astype(np.float64)
  # From the first kept outcome on: a constant comes out as exactly 0.
  rows = rows - rows[np.arange(len(rows)), kept.argmax(axis=1)][:, None]
  rows = centred.centre(rows, kept, count)
  rows_of_targets = (
      jnp.asarray(kept, 'float32'),
      jnp.asarray(count, 'float32'),
  )
  placed = placed._replace(rows=rows_of_targets)
  means = np.array(mean[:, part].T, np.float32)
  scales = np.sqrt(prior[:, part]).T.astype(np.float32)
  # A weight of scale 0 stays at its mean.
  places = np.flatnonzero(own >= 0), own[own >= 0]
  means[places] = scales[places] = 0
  means = jnp.asarray(means)
  deviations = Deviations(jnp.asarray(scales), features)
  cross = rows.astype(np.float32) @ (masks - mean_mask[None]).astype(np.float32)
  cross = jnp.asarray(cross / count[:, None], 'float32')
  right = deviations.transposed(cross - apply(placed, means))
  variance = np.sum(rows**2, axis=1) / count
  start = jnp.zeros_like(right)
  return _Part(placed, means, deviations, right, start, variance)


def _advance(part: _Part, lam, tol: float, max_steps: int):
  """Solves at one penalty; the part starts from there the next time."""
  variance = part.variance
  # The objective is lam-strongly convex in z: ||residual||^2 / (2 lam).
  bound = tol * lam * variance
  z, square = _solve(
      part.design,
      part.right,
      part.deviations,
      jnp.asarray(lam, 'float32'),
      part.start,
      jnp.asarray(bound, 'float32'),
      max_steps=max_steps,
  )
  gap = np.asarray(square, np.float64) / lam
  level = np.where(variance > 0, variance, 1)
  gap = np.where(variance > 0, gap / level, 0)
  weights = np.asarray(part.mean + part.deviations.of(z))
  return part._replace(start=z), Solution(weights, gap)
