"""The batched LASSO: block Gauss-Seidel proximal gradient on the Gram matrix.

Matrix products are narrow (float32 where the tolerance allows) and act on
*changes* of the weights only, so their rounding does not build up in the
correlations from which gaps are certified.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jdm.solvers import certificate
from jdm.solvers import homotopy
from jdm.solvers import penalties

_INNER_STEPS = 3  # Proximal steps in a block for each update of the rest.
_POWER_STEPS = 4
# A step below 2 / L descends, so a rough power iteration and this suffice.
_STEP_MARGIN = 1.08
# Share of active coordinates from which all blocks are swept in their own
# order: what that saves is gathering their rows of the Gram matrix.
_MOST = 0.8
_COPIED_TRAIN = 8192  # Up to here a CPU keeps rows of the Gram matrix twice.


class Gram(NamedTuple):
  """The Gram matrix as sweeps read it, in the dtype of their products.

  Attributes:
    rows: `[num_train, num_train]`.
    blocks: its rows again, `[block, num_train]` at a time, as arrays of their
      own, which products read in place; empty where memory is dearer.
    steps: `[num_blocks]`, the step of each.
  """

  rows: jax.Array
  blocks: tuple[jax.Array, ...]
  steps: jax.Array


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


def keeps_copies(device: jax.Device, num_train: int) -> bool:
  """Whether sweeps read the Gram matrix's rows from copies of their own."""
  return device.platform == 'cpu' and num_train <= _COPIED_TRAIN


def prepare(gram: jax.Array, block: int, *, copies: bool) -> Gram:
  """Lays a Gram matrix out for sweeps.

  Args:
    gram: `[num_train, num_train]`, in the dtype of the products.
    block: coordinates at once.
    copies: whether to keep its blocks of rows as well, twice the memory.

  Returns:
    The matrix.
  """
  if not copies:
    return Gram(gram, (), jnp.zeros(0, gram.dtype))
  starts = range(0, len(gram), block)
  blocks = tuple(jnp.array(gram[start : start + block]) for start in starts)
  steps = [
      step_size(rows[:, start : start + block])
      for start, rows in zip(starts, blocks)
  ]
  return Gram(gram, blocks, jnp.stack(steps))


def solve_block(
    weights: jax.Array,
    correlation: jax.Array,
    gram: jax.Array,
    penalty: penalties.Penalty,
    step: jax.Array,
) -> jax.Array:
  """Takes proximal gradient steps on one block of coordinates.

  Args:
    weights: `[num_targets, block]`.
    correlation: `[num_targets, block]`.
    gram: `[block, block]`.
    penalty: of these coordinates.
    step: `[num_targets]`.

  Returns:
    The new weights of the block, with exact zeros.
  """
  step = step[:, None]
  for index in range(_INNER_STEPS):
    new = penalty.shrink(weights + step * correlation, step)
    if index < _INNER_STEPS - 1:
      correlation = correlation - (new - weights) @ gram
    weights = new
  return weights


def active_first(active: jax.Array, block: int) -> tuple[jax.Array, jax.Array]:
  """Orders active coordinates first; how many blocks hold them all."""
  order = jnp.argsort(~active, stable=True)
  return order, -(-jnp.sum(active) // block)


def _sweep_active(gram, point, penalty, rate, order, num_blocks, block):
  """Sweeps the first blocks of coordinates of an order."""
  num_train, narrow = len(gram.rows), gram.rows.dtype
  penalty, rate = penalty.astype(narrow), rate.astype(narrow)

  def solve(i, carry):
    weights, correlation = carry
    # The last block starts early to be full: it repeats some coordinates.
    start = jnp.minimum(i * block, num_train - block)
    ids = jax.lax.dynamic_slice(order, (start,), (block,))
    rows = gram.rows.at[ids].get(mode='promise_in_bounds')
    own = jnp.take(rows, ids, axis=1, mode='clip')
    old = jnp.take(weights, ids, axis=1, mode='clip')
    new = solve_block(
        old.astype(narrow),
        jnp.take(correlation, ids, axis=1, mode='clip').astype(narrow),
        own,
        penalty.take(ids),
        step_size(own) * rate,
    ).astype(old.dtype)
    # The new value itself is stored, not old + change: zeros stay exact.
    change = (new - old).astype(narrow)
    correlation -= (change @ rows).astype(correlation.dtype)
    weights = weights.at[:, ids].set(
        new, mode='promise_in_bounds', unique_indices=True
    )
    return weights, correlation

  return jax.lax.fori_loop(0, num_blocks, solve, point)


def _sweep_all(gram, point, penalty, rate):
  """Sweeps all coordinates, block after block in their own order."""
  weights, correlation = point
  narrow = gram.rows.dtype
  penalty, rate = penalty.astype(narrow), rate.astype(narrow)
  parts, start = [], 0
  for rows, step in zip(gram.blocks, gram.steps):
    part = slice(start, start + len(rows))
    old = weights[:, part]
    new = solve_block(
        old.astype(narrow),
        correlation[:, part].astype(narrow),
        rows[:, part],
        penalty.take(jnp.arange(start, part.stop)),
        step * rate,
    ).astype(old.dtype)
    change = (new - old).astype(narrow)
    correlation -= (change @ rows).astype(correlation.dtype)
    parts.append(new)
    start = part.stop
  return jnp.concatenate(parts, axis=1), correlation


def gram_sweep(
    gram: Gram,
    point: tuple[jax.Array, jax.Array],
    penalty: penalties.Penalty,
    rate: jax.Array,
    *,
    block: int,
) -> tuple[jax.Array, jax.Array]:
  """Passes once over the blocks that hold every active coordinate.

  Args:
    gram: from `prepare`, in the dtype of the products.
    point: weights and correlations, each `[num_targets, num_train]`.
    penalty: of the targets.
    rate: `[num_targets]`, at most 1; shortens steps.
    block: coordinates at once.

  Returns:
    The new point; correlations are those of the new weights.
  """
  moving = jnp.any(penalty.moving(point[1], point[0]), axis=0)
  order, num_blocks = active_first(moving, block)

  def sweep_active():
    return _sweep_active(gram, point, penalty, rate, order, num_blocks, block)

  if not gram.blocks:
    return sweep_active()
  sweep_all = lambda: _sweep_all(gram, point, penalty, rate)
  most = jnp.sum(moving) > _MOST * len(gram.rows)
  return jax.lax.cond(most, sweep_all, sweep_active)


@functools.partial(jax.jit, static_argnames=('max_epochs', 'block'))
def advance(
    gram: Gram,
    problem: homotopy.Problem,
    state: homotopy.State,
    tol: jax.Array,
    limit: jax.Array,
    curvature: certificate.Curvature | None,
    *,
    max_epochs: int,
    block: int,
) -> homotopy.State:
  """Follows the paths of a tile by sweeps on the Gram; see `homotopy.follow`.

  Args:
    gram: from `prepare`, in the dtype of the products.
    problem: in the dtype of the state.
    state: point is (weights, correlation).
    tol: relative gap.
    limit: number of targets that may be left.
    curvature: of the Gram matrix, to certify by corrected dual points as well.
    max_epochs: for each penalty.
    block: coordinates at once, at most num_train.

  Returns:
    The state.
  """

  def sweep(point, penalty, rate):
    return gram_sweep(gram, point, penalty, rate, block=block)

  return homotopy.follow(
      sweep,
      problem,
      state,
      tol=tol,
      limit=limit,
      curvature=curvature,
      max_epochs=max_epochs,
  )
