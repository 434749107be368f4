"""The route of sweeps on a Gram matrix that is spread over devices.

A Gram matrix of n^2 numbers may be more than a device holds. Each of D devices
holds n / D of its rows (kept as columns: the matrix is symmetric), and of every
target's weights and correlations the same coordinates. A block of coordinates
is made up of some of each device. To take a step on it,

1. each device sends the block's weights and correlations, and its part of the
   block's own Gram matrix, so that each has all of them for its share of the
   targets, and solves those;
2. the changes [tile, block] are gathered by all;
3. each device updates its own correlations: R -= changes @ G[block, own].

Everything else (gaps, objectives, jumps, paths) is sums over coordinates of
arrays that are spread in the same way, which XLA adds over the devices.
"""

import dataclasses
import functools
from typing import Any

import jax
from jax import lax
from jax import sharding
import jax.numpy as jnp
import numpy as np

from jdm.solvers import centred
from jdm.solvers import certificate
from jdm.solvers import gram_blocks
from jdm.solvers import homotopy
from jdm.solvers import penalties
from jdm.solvers import proximal
from jdm.solvers import tiles

_AXIS = 'train'
_COLUMNS = sharding.PartitionSpec(None, _AXIS)
_EVERYWHERE = sharding.PartitionSpec()


def mesh_of(devices: Any) -> sharding.Mesh:
  """The mesh over devices, along training examples."""
  return sharding.Mesh(np.array(devices), (_AXIS,))


def _to_targets(values: jax.Array) -> jax.Array:
  """Own coordinates of all targets to all coordinates of own targets."""
  return lax.all_to_all(values, _AXIS, 0, 1, tiled=True)


def _to_coordinates(values: jax.Array) -> jax.Array:
  """All coordinates of own targets to own coordinates of all targets."""
  return lax.all_to_all(values, _AXIS, 1, 0, tiled=True)


def _own_targets(values: jax.Array, share: int) -> jax.Array:
  """The rows of this device's share of the targets."""
  return lax.dynamic_slice_in_dim(values, lax.axis_index(_AXIS) * share, share)


def _block_penalty(
    penalty: penalties.Penalty, ids: jax.Array, share: int
) -> penalties.Penalty:
  """The penalty of the block for this device's share of the targets."""
  factor, ridge = penalty.factor, penalty.ridge
  if factor is not None:
    factor = _to_targets(jnp.take(factor, ids, axis=1, mode='clip'))
  return dataclasses.replace(
      penalty,
      lam=_own_targets(penalty.lam, share),
      ridge=None if ridge is None else _own_targets(ridge, share),
      factor=factor,
  )


def _sweep_own(gram, weights, correlation, penalty, rate, *, each):
  """What one device does in a sweep: `each` of its coordinates at a time."""
  own, narrow = gram.shape[1], gram.dtype
  share = len(weights) // lax.psum(1, _AXIS)
  moving = jnp.any(penalty.moving(correlation, weights), axis=0)
  order, num_blocks = proximal.active_first(moving, each)
  num_blocks = lax.pmax(num_blocks, _AXIS)
  penalty, rate = penalty.astype(narrow), rate.astype(narrow)
  rate = _own_targets(rate, share)
  first = lax.axis_index(_AXIS) * own

  def solve(i, carry):
    weights, correlation = carry
    # Other devices may have more to do; the last block starts early.
    start = jnp.minimum(i * each, own - each)
    ids = lax.dynamic_slice(order, (start,), (each,))
    block = lax.all_gather(ids + first, _AXIS, tiled=True)
    rows = gram.at[block].get(mode='promise_in_bounds')
    square = lax.all_gather(
        jnp.take(rows, ids, axis=1, mode='clip'), _AXIS, axis=1, tiled=True
    )
    old = _to_targets(jnp.take(weights, ids, axis=1, mode='clip'))
    pull = jnp.take(correlation, ids, axis=1, mode='clip').astype(narrow)
    new = proximal.solve_block(
        old.astype(narrow),
        _to_targets(pull),
        square,
        _block_penalty(penalty, ids, share),
        proximal.step_size(square) * rate,
    ).astype(old.dtype)
    change = lax.all_gather((new - old).astype(narrow), _AXIS, tiled=True)
    correlation -= (change @ rows).astype(correlation.dtype)
    # The new value itself is stored, not old + change: zeros stay exact.
    weights = weights.at[:, ids].set(
        _to_coordinates(new), mode='promise_in_bounds', unique_indices=True
    )
    return weights, correlation

  return lax.fori_loop(0, num_blocks, solve, (weights, correlation))


def sharded_sweep(
    gram: jax.Array,
    point: tuple[jax.Array, jax.Array],
    penalty: penalties.Penalty,
    rate: jax.Array,
    *,
    mesh: sharding.Mesh,
    block: int,
) -> tuple[jax.Array, jax.Array]:
  """Passes once over the blocks that hold every active coordinate.

  Args:
    gram: `[num_train, num_train]`, columns spread over devices, in the dtype
      of products.
    point: weights and correlations, each `[num_targets, num_train]`, spread in
      the same way.
    penalty: of the targets.
    rate: `[num_targets]`, at most 1; shortens steps.
    mesh: of the devices; num_targets and num_train are multiples of their
      number.
    block: coordinates at once, of all devices together.

  Returns:
    The new point.
  """
  count = mesh.devices.size
  each = max(1, min(block, gram.shape[1]) // count)
  of_penalty = jax.tree.map(
      lambda array: _COLUMNS if array.ndim == 2 else _EVERYWHERE, penalty
  )
  sweep = jax.shard_map(
      functools.partial(_sweep_own, each=each),
      mesh=mesh,
      in_specs=(_COLUMNS, _COLUMNS, _COLUMNS, of_penalty, _EVERYWHERE),
      out_specs=(_COLUMNS, _COLUMNS),
      check_vma=False,
  )
  return sweep(gram, *point, penalty, rate)


@functools.partial(jax.jit, static_argnames=('max_epochs', 'block', 'mesh'))
def advance(
    gram: jax.Array,
    problem: homotopy.Problem,
    state: homotopy.State,
    tol: jax.Array,
    limit: jax.Array,
    curvature: certificate.Curvature | None,
    *,
    max_epochs: int,
    block: int,
    mesh: sharding.Mesh,
) -> homotopy.State:
  """Follows the paths of a tile; as `proximal.advance`, on all devices."""

  def sweep(point, penalty, rate):
    return sharded_sweep(gram, point, penalty, rate, mesh=mesh, block=block)

  state = homotopy.follow(
      sweep,
      problem,
      state,
      tol=tol,
      limit=limit,
      curvature=curvature,
      max_epochs=max_epochs,
  )
  return spread(state, mesh, gram.shape[1])


def spec_of(shape: tuple[int, ...], num_train: int) -> sharding.PartitionSpec:
  """Spreads the last axis if it is that of training examples."""
  if len(shape) < 2 or shape[-1] != num_train:
    return _EVERYWHERE
  return sharding.PartitionSpec(*(None,) * (len(shape) - 1), _AXIS)


def spread(tree: Any, mesh: sharding.Mesh, num_train: int) -> Any:
  """Asks XLA to spread arrays over devices; inside jit."""

  def constrain(array):
    spec = spec_of(array.shape, num_train)
    return lax.with_sharding_constraint(
        array, sharding.NamedSharding(mesh, spec)
    )

  return jax.tree.map(constrain, tree)


@functools.partial(
    jax.jit, static_argnames=('depth', 'dtype', 'mesh', 'num_train')
)
def _init(problem, point, *, depth, dtype, mesh, num_train):
  state = homotopy.init(problem, point, depth=depth, dtype=dtype)
  return spread(state, mesh, num_train)


@functools.partial(jax.jit, static_argnames=('mesh', 'num_train'))
def _merge(first, second, source, *, mesh, num_train):
  return spread(homotopy.merge(first, second, source), mesh, num_train)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardedRoute:
  """Sweeps on a Gram matrix spread over devices; one worker drives them all.

  Attributes:
    moments: of the models.
    start: `[num_targets, num_train]`, weights, or None for 0.
    correlation: float64 `[num_targets, num_train]`, of start.
    narrow: dtype of products.
    block: coordinates at once.
    mesh: of the devices.
  """

  moments: centred.Statistics
  start: np.ndarray | None
  correlation: np.ndarray
  narrow: str
  block: int
  mesh: sharding.Mesh

  @property
  def num_train(self) -> int:
    """Training examples, up to a multiple of the devices; the rest are 0."""
    count = self.mesh.devices.size
    return -(-self.moments.num_train // count) * count

  def place(self) -> jax.Array:
    """The matrix, each device's columns rounded on the host and sent to it."""
    num_train, size = self.moments.num_train, self.num_train

    def columns(index):
      start, stop, _ = index[1].indices(size)
      some = slice(start, max(start, min(stop, num_train)))
      gram = gram_blocks.rounded(self.moments, self.narrow, some)
      missing = size - num_train, stop - start - gram.shape[1]
      return np.pad(gram, ((0, missing[0]), (0, missing[1])))

    spec = sharding.NamedSharding(self.mesh, _COLUMNS)
    return jax.make_array_from_callback((size, size), spec, columns)

  def put(self, array: np.ndarray, dtype: Any = None) -> jax.Array:
    """Puts an array on every device."""
    spec = sharding.NamedSharding(self.mesh, _EVERYWHERE)
    return jax.device_put(np.asarray(array, dtype), spec)

  def put_train(self, array: np.ndarray, dtype: Any = None) -> jax.Array:
    """Spreads an array `[rows, num_train]` over the devices."""
    array = np.asarray(array, dtype)
    array = np.pad(array, ((0, 0), (0, self.num_train - array.shape[1])))
    return jax.device_put(array, sharding.NamedSharding(self.mesh, _COLUMNS))

  def load(self, shared, targets, tile):
    """Weights and correlations of some targets to start from."""
    del shared
    correlation = tiles.pad_rows(self.correlation, targets, tile)
    start = np.zeros_like(correlation)
    if self.start is not None:
      start = tiles.pad_rows(self.start, targets, tile)
    return None, (self.put_train(start), self.put_train(correlation))

  def init(self, problem, point, *, depth, dtype):
    """`homotopy.init`, spread over devices."""
    more = {'mesh': self.mesh, 'num_train': self.num_train}
    return _init(problem, point, depth=depth, dtype=dtype, **more)

  def merge(self, first, second, source):
    """`homotopy.merge`, spread over devices."""
    more = {'mesh': self.mesh, 'num_train': self.num_train}
    return _merge(first, second, source, **more)

  def advance(self, shared, *args, **options):
    """Follows paths; see `advance`."""
    return advance(shared, *args, block=self.block, mesh=self.mesh, **options)
