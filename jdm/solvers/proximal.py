"""The batched LASSO: block Gauss-Seidel proximal gradient on the Gram matrix.

The running state is float64; matrix products are narrow (float32 where the
tolerance allows) and act on *changes* of the weights only, so their rounding
does not build up in the correlations from which gaps are certified.
"""

import functools

import jax
import jax.numpy as jnp

from jdm.solvers import homotopy

_INNER_STEPS = 3  # Proximal steps in a block for each update of the rest.
_POWER_STEPS = 4
# A step below 2 / L descends, so a rough power iteration and this suffice.
_STEP_MARGIN = 1.08


def soft_threshold(values: jax.Array, width: jax.Array) -> jax.Array:
  """Moves values towards zero by width; exactly zero within it."""
  return values - jnp.clip(values, -width, width)


def step_size(gram: jax.Array) -> jax.Array:
  """A step below 2 / L for a block of the Gram matrix."""
  vector = jnp.cos(jnp.arange(len(gram), dtype=gram.dtype) * 1.7) + 0.3
  norm = jnp.ones((), gram.dtype)
  for _ in range(_POWER_STEPS):
    vector = gram @ vector
    norm = jnp.sqrt(jnp.sum(vector**2))
    vector /= jnp.maximum(norm, jnp.finfo(gram.dtype).tiny)
  # A block of constant columns has no curvature; its step moves nothing.
  return jnp.where(norm > 0, 1 / (_STEP_MARGIN * norm), 0)


def solve_block(
    weights: jax.Array,
    correlation: jax.Array,
    gram: jax.Array,
    lam: jax.Array,
    rate: jax.Array,
) -> jax.Array:
  """Takes proximal gradient steps on one block of coordinates.

  Args:
    weights: `[num_targets, block]`.
    correlation: `[num_targets, block]`.
    gram: `[block, block]`.
    lam: `[num_targets]`.
    rate: `[num_targets]`, at most 1; shortens the steps.

  Returns:
    The new weights of the block, with exact zeros.
  """
  step = step_size(gram) * rate[:, None]
  for index in range(_INNER_STEPS):
    new = soft_threshold(weights + step * correlation, step * lam[:, None])
    if index < _INNER_STEPS - 1:
      correlation = correlation - (new - weights) @ gram
    weights = new
  return weights


def active_first(active: jax.Array, block: int) -> tuple[jax.Array, jax.Array]:
  """Orders active coordinates first; how many blocks hold them all."""
  order = jnp.argsort(~active, stable=True)
  return order, -(-jnp.sum(active) // block)


def gram_sweep(
    gram: jax.Array,
    point: tuple[jax.Array, jax.Array],
    lam: jax.Array,
    rate: jax.Array,
    *,
    block: int,
) -> tuple[jax.Array, jax.Array]:
  """Passes once over the blocks that hold every active coordinate.

  Args:
    gram: `[num_train, num_train]`, in the dtype of the products.
    point: weights and correlations, each `[num_targets, num_train]`.
    lam: `[num_targets]`.
    rate: `[num_targets]`, shortens steps.
    block: coordinates at once.

  Returns:
    The new point; correlations are those of the new weights.
  """
  num_train, narrow = len(gram), gram.dtype
  moving = (point[0] != 0) | (jnp.abs(point[1]) > lam[:, None])
  order, num_blocks = active_first(jnp.any(moving, axis=0), block)
  penalty, rate = lam.astype(narrow), rate.astype(narrow)

  def solve(i, carry):
    weights, correlation = carry
    # The last block starts early to be full: it repeats some coordinates.
    start = jnp.minimum(i * block, num_train - block)
    ids = jax.lax.dynamic_slice(order, (start,), (block,))
    rows = gram.at[ids].get(mode='promise_in_bounds')
    old = jnp.take(weights, ids, axis=1, mode='clip')
    new = solve_block(
        old.astype(narrow),
        jnp.take(correlation, ids, axis=1, mode='clip').astype(narrow),
        jnp.take(rows, ids, axis=1, mode='clip'),
        penalty,
        rate,
    ).astype(old.dtype)
    # The new value itself is stored, not old + change: zeros stay exact.
    change = (new - old).astype(narrow)
    correlation -= (change @ rows).astype(correlation.dtype)
    weights = weights.at[:, ids].set(
        new, mode='promise_in_bounds', unique_indices=True
    )
    return weights, correlation

  return jax.lax.fori_loop(0, num_blocks, solve, point)


@functools.partial(jax.jit, static_argnames=('max_epochs', 'block'))
def advance(
    gram: jax.Array,
    problem: homotopy.Problem,
    state: homotopy.State,
    tol: jax.Array,
    limit: jax.Array,
    *,
    max_epochs: int,
    block: int,
) -> homotopy.State:
  """Follows the paths of a tile by sweeps on the Gram; see `homotopy.follow`.

  Args:
    gram: `[num_train, num_train]`, in the dtype of the products.
    problem: float64.
    state: point is (weights, correlation).
    tol: relative gap.
    limit: number of targets that may be left.
    max_epochs: for each penalty.
    block: coordinates at once, at most num_train.

  Returns:
    The state.
  """

  def sweep(point, lam, rate):
    return gram_sweep(gram, point, lam, rate, block=block)

  return homotopy.follow(
      sweep, problem, state, tol=tol, limit=limit, max_epochs=max_epochs
  )
