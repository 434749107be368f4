"""How far weights are from the optimum: duality gaps of the LASSO.

The problem, for one target with centred masks Xc and outcomes yc over m
models: P(w) = 1/(2m) ||yc - Xc w||^2 + sum_j u_j |w_j|, with u = lam, or
lam * factor. (A ridge r / 2 ||w||^2 besides is the same problem on masks with
sqrt(m r) I below them.) Any theta with |Xc'theta / m| <= u is feasible for the
dual and

  gap = 1/(2m) ||r - theta||^2 + sum_j (u_j |w_j| - w_j (Xc'theta / m)_j)

bounds P(w) - min P, with the residual r = yc - Xc w. Every term is
non-negative, so nothing cancels, as it does in P - D. Two points theta:

residual   s r, with the largest s <= 1 that makes it feasible (Massias et al.,
           `Celer <https://arxiv.org/abs/1802.07481>`_, 2018, section 2). The
           gap falls like the violation of the optimality conditions.
corrected  r - Xc v, where G v = d is what the optimality conditions lack: the
           correlation of the residual minus u_j sign(w_j) where w_j is not 0,
           or minus its clip to [-u_j, u_j] where it is. What is left of the gap
           is d'G^-1 d / 2, at most ||d||^2 / (2 sigma) for G's smallest
           eigenvalue sigma: it falls like the square of the violation, as
           P(w) itself does, and its bound needs no product.

With subsets of one size G 1 = 0, whatever else they are; then d must sum to 0,
which the room between correlations and u allows as a rule.
"""

from collections.abc import Callable, Iterator
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import centred
from jdm.solvers import gram_blocks
from jdm.solvers import penalties
from jdm.solvers import precision

DUAL_POINTS = ('residual', 'corrected')
_BALANCED = 1e-10  # Row sums of G below this, relative, are rounding.
_MARGIN = 0.9  # Of the eigenvalue at the edge of the spectrum's bulk.
_HALVINGS = 7
_NARROW_FLOOR = 1e-3  # Eigenvalues that float32 tells from 0, relative.


class Curvature(NamedTuple):
  """A lower bound of the Gram matrix: v'Gv >= smallest * ||v||^2.

  Attributes:
    smallest: `[]`, in the units of the Gram matrix; above 0, unless a ridge
      adds to it.
    balanced: `[]` bool, whether G 1 = 0 and the bound is of vectors v that sum
      to 0.
  """

  smallest: jax.Array | np.ndarray
  balanced: jax.Array | np.ndarray


NO_CURVATURE = Curvature(np.zeros(()), np.array(False))


@jax.jit
def _is_definite(gram: jax.Array, shift: jax.Array) -> jax.Array:
  """Whether gram - shift * I is positive definite."""
  size = len(gram)
  diagonal = jnp.arange(size)
  lowered = gram.at[diagonal, diagonal].add(-shift)
  # Any NaN spreads to the last entry of the diagonal.
  return jnp.isfinite(jnp.diagonal(jnp.linalg.cholesky(lowered))).all()


def level_of(moments: centred.Statistics) -> tuple[float, bool]:
  """Mean of the diagonal of the Gram matrix; whether G 1 = 0."""
  size = moments.num_train
  diagonal, largest = np.zeros(size), 0.0
  for rows in gram_blocks.blocks(size):
    block = moments.gram_rows(rows)
    diagonal[rows] = np.diagonal(block, offset=rows.start)
    largest = max(largest, float(np.abs(block.sum(axis=1)).max()))
  level = float(np.mean(diagonal))
  return level, largest <= _BALANCED * size * level


def _lifted(
    moments: centred.Statistics, dtype: str, level: float, balanced: bool
) -> np.ndarray:
  """The matrix with the direction of ones lifted, where it has no curvature."""
  lifted = np.empty((moments.num_train, moments.num_train), dtype)
  lift = level / moments.num_train if balanced else 0.0
  for rows in gram_blocks.blocks(moments.num_train):
    lifted[rows] = moments.gram_rows(rows) + lift
  return lifted


def first_bound(
    moments: centred.Statistics, level: float
) -> tuple[float, float]:
  """A guess at the smallest eigenvalue, and what is too small to tell from 0.

  The guess is the edge of the spectrum of subsets drawn at random,
  a(1-a) (1 - sqrt(n/m))^2.
  """
  share = moments.num_train / moments.num_models
  edge = (1 - np.sqrt(share)) ** 2 if share < 1 else 0.0
  return _MARGIN * level * edge, _NARROW_FLOOR * level


def curvature(moments: centred.Statistics) -> Curvature | None:
  """Finds a lower bound of the Gram matrix by Cholesky factorizations.

  The bounds tried are the edge of the spectrum of subsets drawn at random, and
  halves of it.

  Args:
    moments: of the models.

  Returns:
    The bound, or None if the matrix is (nearly) singular, as with no more
    models than examples.
  """
  if moments.num_models <= moments.num_train:
    return None
  level, balanced = level_of(moments)
  if not level > 0:
    return None
  bound, floor = first_bound(moments, level)
  if bound <= floor:
    return None
  rows = jnp.asarray(_lifted(moments, 'float32', level, balanced))
  for _ in range(_HALVINGS):
    if bound <= floor:
      return None
    if _is_definite(rows, jnp.float32(bound + 0.1 * floor)):
      return Curvature(np.asarray(bound), np.asarray(balanced))
    bound /= 2
  return None


def duality_gap(
    weights: jax.Array,
    correlation: jax.Array,
    residual: jax.Array,
    penalty: penalties.Penalty,
) -> jax.Array:
  """Computes the absolute duality gap of each row from its residual.

  Args:
    weights: `[num_targets, num_train]`.
    correlation: `[num_targets, num_train]`, Xc'r / m of these weights.
    residual: `[num_targets]`, ||r||^2 / m of these weights.
    penalty: of the targets.

  Returns:
    `[num_targets]`, in squared outcome units; P exceeds its minimum by at most
    this.
  """
  pull = penalty.pull(correlation, weights)
  if penalty.ridge is not None:
    residual = residual + penalty.ridge * jnp.sum(weights**2, axis=1)
  sizes = pull if penalty.positive else jnp.abs(pull)
  if penalty.factor is not None:
    sizes /= penalty.factor
  largest = jnp.max(sizes, axis=1)
  tiny = jnp.finfo(correlation.dtype).tiny
  scale = jnp.minimum(1.0, penalty.lam / jnp.maximum(largest, tiny))
  terms = penalty.width() * jnp.abs(weights) - scale[:, None] * (weights * pull)
  quadratic = 0.5 * (1 - scale) ** 2 * jnp.maximum(residual, 0)
  return quadratic + jnp.sum(terms, axis=1)


def _lack(
    weights: jax.Array,
    pull: jax.Array,
    penalty: penalties.Penalty,
    balanced: jax.Array | np.ndarray,
) -> tuple[jax.Array, jax.Array]:
  """What the optimality conditions lack, and where it cannot be balanced.

  Args:
    weights: `[num_targets, num_train]`.
    pull: `[num_targets, num_train]`, minus the gradient of the smooth part.
    penalty: of the targets.
    balanced: `[]` bool, whether rows must sum to 0.

  Returns:
    d `[num_targets, num_train]`, and bool `[num_targets]`.
  """
  width = jnp.broadcast_to(penalty.width(), pull.shape)
  least = -jnp.inf if penalty.positive else -width
  aim = jnp.where(
      weights != 0, width * jnp.sign(weights), jnp.clip(pull, least, width)
  )
  missing = jnp.sum(pull - aim, axis=1)
  # Correlations that may still grow, or shrink, take up what is missing.
  below = jnp.abs(aim) + width if penalty.positive else aim + width
  room = jnp.where(missing[:, None] > 0, width - aim, below)
  room = jnp.where(weights != 0, 0, room)
  tiny = jnp.finfo(pull.dtype).tiny
  share = missing / jnp.maximum(jnp.sum(room, axis=1), tiny)
  share = jnp.where(balanced, share, 0)
  aim += share[:, None] * room
  free = penalty.positive & (share < 0)
  return pull - aim, (jnp.abs(share) > 1) & ~free


def corrected_gap(
    weights: jax.Array,
    correlation: jax.Array,
    penalty: penalties.Penalty,
    bound: Curvature,
) -> jax.Array:
  """Bounds the absolute gap of each row by a corrected dual point.

  Args:
    weights: `[num_targets, num_train]`.
    correlation: `[num_targets, num_train]`, Xc'r / m of these weights.
    penalty: of the targets.
    bound: of the Gram matrix.

  Returns:
    `[num_targets]`, in squared outcome units; infinite where no such point was
    found.
  """
  pull = penalty.pull(correlation, weights)
  lack, stuck = _lack(weights, pull, penalty, bound.balanced)
  smallest = jnp.asarray(bound.smallest, pull.dtype)
  if penalty.ridge is not None:
    smallest = smallest + penalty.ridge
  gap = 0.5 * jnp.sum(lack**2, axis=1) / smallest
  # Weights of the wrong sign have no correlation to aim at.
  if penalty.positive:
    stuck |= jnp.any(weights < 0, axis=1)
  return jnp.where(stuck, jnp.inf, gap)


@jax.jit
def _residual_gap(product, cross, variance, weights, penalty):
  """Gaps of a tile of targets, recomputed from the statistics."""
  correlation = cross - product
  residual = variance - jnp.sum(weights * (cross + correlation), axis=1)
  return duality_gap(weights, correlation, residual, penalty)


@jax.jit
def _corrected_gap(
    gram, factor, balanced, product, cross, variance, weights, penalty
):
  """The same by corrected dual points, made feasible whatever the rounding."""
  correlation = cross - product
  residual = variance - jnp.sum(weights * (cross + correlation), axis=1)
  lack, stuck = _lack(weights, correlation, penalty, balanced)
  solve = functools.partial(jax.scipy.linalg.cho_solve, (factor, True))
  move = solve(lack.T).T
  change = move @ gram
  dual = correlation - change  # Xc'theta / m.
  sizes = dual if penalty.positive else jnp.abs(dual)
  largest = jnp.max(sizes / penalty.width(), axis=1)
  scale = 1 / jnp.maximum(largest, 1)
  rest = 1 - scale
  square = (
      rest**2 * jnp.maximum(residual, 0)
      + 2 * scale * rest * jnp.sum(correlation * move, axis=1)
      + scale**2 * jnp.sum(move * change, axis=1)
  )
  terms = penalty.width() * jnp.abs(weights) - scale[:, None] * weights * dual
  gap = 0.5 * square + jnp.sum(terms, axis=1)
  return jnp.where(stuck, jnp.inf, gap)


def relative(gap: np.ndarray, variance: np.ndarray) -> np.ndarray:
  """Divides absolute gaps by ||yc||^2 / (2m); 0 where the outcome is constant."""
  return np.where(
      variance > 0, gap / np.where(variance > 0, variance / 2, 1), 0
  )


@jax.jit
def _bounded_gap(bound, product, cross, variance, weights, penalty):
  """The better of both points, the corrected one bounded by the curvature."""
  other = corrected_gap(weights, cross - product, penalty, bound)
  own = _residual_gap(product, cross, variance, weights, penalty)
  return jnp.minimum(other, own)


def _gap_function(
    moments: centred.Statistics, dual_point: str, l1_ratio: float
) -> Callable[..., jax.Array]:
  """`(product, cross, variance, weights, penalty) -> gaps` of a tile, float64."""
  if dual_point == 'residual':
    return _residual_gap
  if l1_ratio < 1 or moments.num_train > gram_blocks.WHOLE_TRAIN:
    bound = curvature(moments)
    if bound is None and l1_ratio == 1:
      return _residual_gap
    return functools.partial(_bounded_gap, bound or NO_CURVATURE)
  level, balanced = level_of(moments)
  lifted = _lifted(moments, 'float64', level, balanced)
  factor = jnp.linalg.cholesky(jnp.asarray(lifted))
  if not jnp.isfinite(factor).all():
    return _residual_gap
  gram = jnp.asarray(moments.gram())

  def best(*args):
    corrected = _corrected_gap(gram, factor, balanced, *args)
    return jnp.minimum(corrected, _residual_gap(*args))

  return best


def from_moments(
    moments: centred.Statistics,
    weights: np.ndarray,
    lam: np.ndarray,
    *,
    dual_point: str = 'residual',
    factor: np.ndarray | None = None,
    l1_ratio: float = 1.0,
    positive: bool = False,
    tile: int = 256,
    device: jax.Device | None = None,
) -> np.ndarray:
  """Certifies weights from the statistics alone, in float64.

  Args:
    moments: of the models that the weights were fitted to, masks or not.
    weights: `[..., num_train, num_targets]`, as they are handed out.
    lam: `[..., num_targets]`, the penalty of each.
    dual_point: 'residual', the scaled residual; or 'corrected', the better of
      it and of the corrected point, made feasible in float64. With a ridge, or
      a Gram matrix too large for a whole float64 copy, the latter's gap is
      bounded by the curvature.
    factor: `[num_train, num_targets]`, multiplies lam; None for 1.
    l1_ratio: share of lam that is l1; the rest is ridge / 2.
    positive: whether the weights were not to be negative.
    tile: targets at once.
    device: where to compute; JAX's default device if None.

  Returns:
    `[..., num_targets]` float64, the relative gap of each: the absolute gap
    over ||yc||^2 / (2m).
  """
  cross, variance = moments.centred_cross(), moments.variance()
  num_train, num_targets = cross.shape
  weights, lam = _check_solution(weights, lam, cross.shape)
  weights = weights.reshape(-1, num_train, num_targets)
  lams = lam.reshape(-1, num_targets)
  gaps = np.zeros(lams.shape)
  times = gram_blocks.Product(moments, device)
  with precision.float64(), jax.default_device(device):
    put = functools.partial(jnp.asarray, dtype=jnp.float64)
    find = _gap_function(moments, dual_point, l1_ratio)
    for index, part, rows, products in _products(times, weights, tile):
      factors = None if factor is None else put(factor[:, part].T)
      penalty = penalties.of(
          put(lams[index, part]), factors, l1_ratio, positive
      )
      gap = find(
          products,
          put(cross[:, part].T),
          put(variance[part]),
          rows,
          penalty,
      )
      gaps[index, part] = np.asarray(gap)
  return relative(gaps, variance[None]).reshape(np.shape(lam))


def _check_solution(weights, lam, shape) -> tuple[np.ndarray, np.ndarray]:
  """Weights and penalties as arrays, or raises."""
  weights, lam = np.asarray(weights), np.asarray(lam, np.float64)
  if weights.shape != (*lam.shape[:-1], *shape) or lam.shape[-1:] != shape[1:]:
    raise ValueError(
        '`certificate.from_moments` expects weights [..., num_train,'
        f' num_targets] and lam [..., num_targets] of {shape[0]} examples and'
        f' {shape[1]} targets, got {weights.shape} and {lam.shape}.'
    )
  if not np.isfinite(weights).all():
    raise ValueError(
        '`certificate.from_moments` expects finite weights; NaN or infinity has'
        ' no certificate.'
    )
  if not (np.isfinite(lam) & (lam >= 0)).all():
    raise ValueError(
        '`certificate.from_moments` expects finite penalties of 0 or more.'
    )
  return weights, lam


def _products(
    times: gram_blocks.Product, weights: np.ndarray, tile: int
) -> Iterator[tuple[int, slice, jax.Array, jax.Array]]:
  """Products of all weights with the Gram matrix, a tile at a time.

  Args:
    times: with the Gram matrix.
    weights: `[num_lams, num_train, num_targets]`.
    tile: targets at once.

  Yields:
    The index of the penalty, targets, and their weights and products, float64
    `[len(targets), num_train]`.
  """
  num_targets = weights.shape[2]
  group = max(times.rows_at_once, tile)
  for index, some in enumerate(weights):
    for first in range(0, num_targets, group):
      last = min(first + group, num_targets)
      host = None if times.whole is not None else times(some[:, first:last].T)
      for start in range(first, last, tile):
        part = slice(start, min(start + tile, last))
        rows = jnp.asarray(some[:, part].T, jnp.float64)
        if times.whole is not None:
          yield index, part, rows, rows @ times.whole
        elif host is not None:
          own = host[start - first : part.stop - first]
          yield index, part, rows, jnp.asarray(own)
