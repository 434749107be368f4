"""How far weights are from the optimum: duality gaps of the LASSO.

The problem, for one target with centred masks Xc and outcomes yc over m
models: P(w) = 1/(2m) ||yc - Xc w||^2 + lam ||w||_1. With the residual r and
its correlation g = Xc'r / m, the point s r with s = min(1, lam / max|g|) is
feasible for the dual, and (Massias et al., `Celer
<https://arxiv.org/abs/1802.07481>`_, 2018, section 2)

  gap = (1 - s)^2 / 2 * rr + sum_j (lam |w_j| - s w_j g_j),   rr = ||r||^2 / m.

Every term is non-negative, so nothing cancels, as it does in P - D.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import centred
from jdm.solvers import precision


def duality_gap(
    weights: jax.Array,
    correlation: jax.Array,
    residual: jax.Array,
    lam: jax.Array,
) -> jax.Array:
  """Computes the absolute duality gap of each row's LASSO.

  Args:
    weights: `[num_targets, num_train]`.
    correlation: `[num_targets, num_train]`, Xc'r / m of these weights.
    residual: `[num_targets]`, ||r||^2 / m of these weights.
    lam: `[num_targets]`, the penalties.

  Returns:
    `[num_targets]`, in squared outcome units; P exceeds its minimum by at most
    this.
  """
  largest = jnp.max(jnp.abs(correlation), axis=1)
  tiny = jnp.finfo(correlation.dtype).tiny
  scale = jnp.minimum(1.0, lam / jnp.maximum(largest, tiny))
  terms = lam[:, None] * jnp.abs(weights) - scale[:, None] * (
      weights * correlation
  )
  quadratic = 0.5 * (1 - scale) ** 2 * jnp.maximum(residual, 0)
  return quadratic + jnp.sum(terms, axis=1)


@jax.jit
def _gap(gram, cross, variance, weights, lam):
  """Gaps of a tile of targets, recomputed from the statistics."""
  correlation = cross - weights @ gram
  residual = variance - jnp.sum(weights * (cross + correlation), axis=1)
  return duality_gap(weights, correlation, residual, lam)


def relative(gap: np.ndarray, variance: np.ndarray) -> np.ndarray:
  """Divides absolute gaps by ||yc||^2 / (2m); 0 where the outcome is constant."""
  return np.where(
      variance > 0, gap / np.where(variance > 0, variance / 2, 1), 0
  )


def from_moments(
    moments: centred.Statistics,
    weights: np.ndarray,
    lam: np.ndarray,
    *,
    tile: int = 256,
    device: jax.Device | None = None,
) -> np.ndarray:
  """Certifies weights from the statistics alone, in float64.

  Args:
    moments: of the models that the weights were fitted to, masks or not.
    weights: `[..., num_train, num_targets]`, as they are handed out.
    lam: `[..., num_targets]`, the penalty of each.
    tile: targets at once.
    device: where to compute; JAX's default device if None.

  Returns:
    `[..., num_targets]` float64, the relative gap of each: the absolute gap
    over ||yc||^2 / (2m).
  """
  cross, variance = moments.centred_cross(), moments.variance()
  num_train, num_targets = cross.shape
  weights = weights.reshape(-1, num_train, num_targets)
  lams = np.asarray(lam, np.float64).reshape(-1, num_targets)
  gaps = np.zeros(lams.shape)
  with precision.float64(), jax.default_device(device):
    put = functools.partial(jnp.asarray, dtype=jnp.float64)
    gram = put(moments.gram())
    for start in range(0, num_targets, tile):
      part = slice(start, start + tile)
      rows = put(cross[:, part].T), put(variance[part])
      for index in range(len(lams)):
        gap = _gap(
            gram,
            *rows,
            put(weights[index][:, part].T),
            put(lams[index, part]),
        )
        gaps[index, part] = np.asarray(gap)
  return relative(gaps, variance[None]).reshape(np.shape(lam))
