"""Pairs of subsets that overlap more than chance has it.

What a model owes to its subset shows in how alike models of overlapping subsets
are; see `jdm.analysis.noise_stability`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jdm import subsets


def correlated_masks(
    key: jax.Array,
    masks: np.ndarray,
    rho: float,
    *,
    alpha: float | None = None,
) -> np.ndarray:
  """Draws, for each subset, another one that correlates with it by rho.

  Args:
    key: `jax.random.key(seed)`; row i is drawn from (key, i) and its mask.
    masks: bool `[num_pairs, num_train]`, the first of each pair, for instance
      those of models that are trained already.
    rho: from 0 (independent) to 1 (the same).
    alpha: if given, each example is kept with chance rho and drawn again with
      chance alpha of being in otherwise (the pair of `subsets.bernoulli`). If
      not, the new subset has the size s of the old one and shares
      s (s / n + rho (1 - s / n)) of its examples, rounded.

  Returns:
    bool `[num_pairs, num_train]`.

  Raises:
    ValueError: if rho or alpha are out of range.
  """
  masks = subsets.check_masks(masks, who='`correlated_masks`')
  if not 0 <= rho <= 1 or (alpha is not None and not 0 < alpha < 1):
    raise ValueError(
        '`correlated_masks` expects rho from 0 to 1 and alpha between, got'
        f' {rho} and {alpha}.'
    )
  rows = jnp.arange(len(masks))
  if alpha is not None:
    return np.asarray(_redraw(key, rows, jnp.asarray(masks), rho, alpha))
  sizes = masks.sum(axis=1)
  share = sizes / masks.shape[1]
  shared = np.round(sizes * (share + rho * (1 - share))).astype(np.int32)
  # A subset of more than half cannot share too few.
  shared = np.maximum(shared, 2 * sizes - masks.shape[1])
  return np.asarray(_swap(key, rows, jnp.asarray(masks), jnp.asarray(shared)))


def overlap_correlation(first: np.ndarray, second: np.ndarray) -> float:
  """The rho of pairs of subsets, from what they share.

  Args:
    first: bool `[num_pairs, num_train]`.
    second: same shape.

  Returns:
    Correlation of the masks around the mean share of examples in a subset.
  """
  share = (first.mean() + second.mean()) / 2
  both = np.mean(first & second)
  return float((both - share**2) / (share - share**2))


@jax.jit
def _redraw(key, rows, masks, rho, alpha):
  """Keeps each example with chance rho, draws it again otherwise."""

  def one(row, mask):
    key_keep, key_draw = jax.random.split(jax.random.fold_in(key, row))
    keep = jax.random.bernoulli(key_keep, rho, mask.shape)
    drawn = jax.random.bernoulli(key_draw, alpha, mask.shape)
    return jnp.where(keep, mask, drawn)

  return jax.vmap(one)(rows, masks)


@jax.jit
def _swap(key, rows, masks, shared):
  """Keeps `shared` members of each subset, and draws the rest from outside."""

  def one(row, mask, num_shared):
    words = jax.random.uniform(jax.random.fold_in(key, row), mask.shape)
    # Members come first in the one order, the others in the other.
    inside = jnp.argsort(jnp.argsort(jnp.where(mask, words, 2)))
    outside = jnp.argsort(jnp.argsort(jnp.where(mask, 2, words)))
    num_new = jnp.sum(mask) - num_shared
    return (mask & (inside < num_shared)) | (~mask & (outside < num_new))

  return jax.vmap(one)(rows, masks, shared)
