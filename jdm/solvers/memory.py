"""How many bytes a fit takes, on each device and on the host, before it starts.

A fit on the Gram matrix goes through four phases on a device: the bound of its
curvature, the sweeps, the certificates, and, for targets that float32 products
leave short of theirs, sweeps again with float64 ones. `needs` says what each
array takes; `dry_run` compiles the sweeps for arrays that do not exist and says what
XLA would take; `choose` refuses what cannot fit.
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import extrapolation
from jdm.solvers import gram_blocks
from jdm.solvers import homotopy
from jdm.solvers import precision
from jdm.solvers import proximal
from jdm.solvers import sharded

_USED = 0.9  # Of a device's memory; the rest is the allocator's and XLA's.
# Arrays [tile, num_train] that XLA keeps besides while it sweeps, and more of
# them where it jumps (`dry_run` counts 4 and 8).
_TEMPORARY, _JUMPING = 5, 8
_CHOLESKY = 3  # Arrays [num_train, num_train] at once: matrix, shifted, factor.
_VALIDATED = 16  # Targets whose whole path is validated at once.
_WORDS = 2**28  # Bytes of packed masks that are counted at once.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """What decides how much memory a fit takes.

  Attributes:
    num_train: columns of masks, n.
    num_models: rows of masks.
    num_targets: of outcomes, t.
    num_lams: penalties of each target.
    num_val: validation models.
    tile: targets at once.
    block: coordinates at once.
    num_devices: that share the Gram matrix; 1 for a device that holds it.
    narrow: dtype of products and weights.
    state: of weights and correlations as they run.
    depth: of the Anderson acceleration.
    copies: whether rows of the Gram matrix are kept twice.
    keep_all: whether the weights of all penalties are returned.
  """

  num_train: int
  num_models: int
  num_targets: int
  num_lams: int = 30
  num_val: int = 0
  tile: int = 1024
  block: int = 1024
  num_devices: int = 1
  narrow: str = 'float32'
  state: str = 'float64'
  depth: int = 3
  copies: bool = False
  keep_all: bool = False

  def columns(self) -> int:
    """Coordinates of each device."""
    return -(-self.num_train // self.num_devices)

  def padded(self) -> int:
    """Coordinates of all devices together."""
    return self.columns() * self.num_devices


def needs(sizes: Sizes) -> dict[str, dict[str, int]]:
  """Bytes of each array, by phase of the fit.

  Args:
    sizes: of the fit.

  Returns:
    `{'curvature': {...}, 'sweeps': {...}, 'certificates': {...}, 'again':
    {...}}` on each device, and `'host'`. What curvature takes is on one device
    alone; a fit without room for it, or for the sweeps with float64 products,
    goes without.
  """
  narrow = np.dtype(sizes.narrow).itemsize
  n, own = sizes.num_train, sizes.columns()
  again = dataclasses.replace(
      sizes,
      num_lams=sizes.num_lams if sizes.keep_all else 1,
      num_val=0,
      narrow='float64',
      state='float64',
      depth=3,
  )
  if n <= gram_blocks.WHOLE_TRAIN:
    gram = n * n * 8
  else:
    gram = gram_blocks.block_rows(n) * n * 8
  kept = sizes.num_lams if sizes.keep_all else 1
  wide = n * sizes.num_targets * 8
  certified = min(sizes.num_targets, 256)
  host = {
      'counts': 4 * n * n * 2,  # Those of some models, and of more.
      'packed masks': 2 * _WORDS,
      # Sums, centred, in units of each target, and as correlations.
      'cross': 4 * wide,
      # The second stage starts from what the first one found.
      'weights': 2 * kept * n * sizes.num_targets * narrow,
      'validation masks': sizes.num_val * n,
      'gram': n * own * narrow,
  }
  return {
      'curvature': {'gram': _CHOLESKY * n * n * 4},
      'sweeps': _sweeps(sizes),
      'again': _sweeps(again) if sizes.narrow == 'float32' else {},
      'certificates': {'gram': gram, 'weights': 6 * certified * n * 8},
      'host': host,
  }


def _sweeps(sizes: Sizes) -> dict[str, int]:
  """Bytes of each array while a tile is swept."""
  narrow = np.dtype(sizes.narrow).itemsize
  own, tile = sizes.columns(), sizes.tile
  row = tile * own * np.dtype(sizes.state).itemsize
  # The state goes into the program and comes out of it.
  return {
      'gram': sizes.padded() * own * narrow * (2 if sizes.copies else 1),
      'cross': row,
      'weights and correlations': 2 * 4 * row,
      'history': 2 * 2 * (sizes.depth + 1) * row if sizes.depth else 0,
      'paths': 2 * tile * sizes.num_lams * own * narrow,
      'block': 2 * min(sizes.block, sizes.num_train) * own * narrow,
      'temporary': (_TEMPORARY + (_JUMPING if sizes.depth else 0)) * row,
      # As bool, and as float32 in a product.
      'validation masks': sizes.num_val * own * 5,
      'validation errors': 4 * _VALIDATED * sizes.num_lams * sizes.num_val * 2,
  }


def peak(phases: dict[str, dict[str, int]]) -> int:
  """Bytes that a device must have at least."""
  names = 'sweeps', 'certificates'
  return max(sum(phases[name].values()) for name in names)


def limit(device: jax.Device) -> int | None:
  """Bytes a device may take: its own memory, or the machine's; or None."""
  stats = None
  try:
    stats = device.memory_stats()
  except jax.errors.JaxRuntimeError:  # Not every platform counts.
    pass
  if stats and stats.get('bytes_limit'):
    return int(_USED * stats['bytes_limit'])
  return _machine() if device.platform == 'cpu' else None


def _machine() -> int | None:
  """Physical memory of this machine in bytes, if it says so."""
  try:
    pages, size = os.sysconf('SC_PHYS_PAGES'), os.sysconf('SC_PAGE_SIZE')
  except (AttributeError, ValueError, OSError):
    return None
  return int(_USED * pages * size) if pages > 0 and size > 0 else None


def gibibytes(number: int) -> str:
  """A number of bytes to read."""
  return f'{number / 2**30:.1f} GiB'


def choose(
    sizes: Sizes,
    devices: Sequence[jax.Device],
    *,
    shard: bool | None = None,
    memory_limit: int | None = None,
) -> bool:
  """Decides whether the Gram matrix is spread over devices, or refuses.

  It is where what the sweeps and certificates need is more than one device
  has, and no more than each has of several that share it. Devices of a CPU
  share its memory, so nothing is gained there.

  Args:
    sizes: of the fit, for one device.
    devices: that may be used.
    shard: to spread it, or not to; None to decide.
    memory_limit: bytes that each device may take; by default nine tenths of
      what it has.

  Returns:
    Whether to spread it.

  Raises:
    ValueError: if it does not fit; the message says what takes most, and what
      to do.
  """
  most = memory_limit or limit(devices[0])
  several = dataclasses.replace(sizes, num_devices=len(devices), copies=False)
  alone = peak(needs(sizes))
  if shard is None:
    separate = memory_limit is not None or devices[0].platform != 'cpu'
    fits = most is None or alone <= most
    shard = not fits and separate and len(devices) > 1
  chosen = several if shard else sizes
  phases = needs(chosen)
  if most is not None and peak(phases) > most:
    raise ValueError(_refusal(chosen, phases, most, len(devices)))
  return shard


def fits(
    phase: str,
    sizes: Sizes,
    device: jax.Device,
    memory_limit: int | None = None,
) -> bool:
  """Whether a device has room for a phase that a fit can go without.

  Args:
    phase: 'curvature', the factorizations that bound it; or 'again', sweeps
      with float64 products.
    sizes: of the fit.
    device: one of those that share it.
    memory_limit: of `choose`.
  """
  most = memory_limit or limit(device)
  return most is None or sum(needs(sizes)[phase].values()) <= most


def _refusal(sizes: Sizes, phases, most: int, num_devices: int) -> str:
  """What does not fit, how much it is, and what to do."""
  name = max(('sweeps', 'certificates'), key=lambda p: sum(phases[p].values()))
  arrays = sorted(phases[name].items(), key=lambda item: -item[1])[:3]
  listed = ', '.join(f'{what} {gibibytes(size)}' for what, size in arrays)
  gram = phases['sweeps']['gram']
  if gram > most / 2:
    advice = (
        f'use more devices (now {sizes.num_devices} of {num_devices} share the'
        ' Gram matrix; `devices`, `shard=True`)'
    )
  else:
    advice = f'take a smaller tile (now {sizes.tile} targets) or fewer lams'
  return (
      f'`lasso_path` of {sizes.num_train} examples and'
      f' {sizes.num_lams} penalties, {sizes.tile} targets at once, needs'
      f' {gibibytes(peak(phases))} on a device, which may take'
      f' {gibibytes(most)}; most of it is {listed}. To make it fit, {advice}.'
  )


def dry_run(
    sizes: Sizes, devices: Sequence[jax.Device], *, max_epochs: int = 5000
) -> Any:
  """Compiles the sweeps of a fit for arrays that are never made.

  Args:
    sizes: of the fit.
    devices: that share the Gram matrix, as many as `sizes.num_devices`.
    max_epochs: of `lasso_path`.

  Returns:
    XLA's `CompiledMemoryStats` of one device: `argument_size_in_bytes`,
    `output_size_in_bytes`, `temp_size_in_bytes`.
  """
  mesh = sharded.mesh_of(devices)
  with precision.float64(), jax.default_device(devices[0]):
    gram, problem, state = _abstract(sizes, mesh)
    options = {'max_epochs': max_epochs, 'block': min(sizes.block, len(gram))}
    rest = (gram, problem, state, 1e-4, 0, None)
    if len(devices) > 1:
      lowered = sharded.advance.lower(*rest, **options, mesh=mesh)
    else:
      steps: Any = jax.ShapeDtypeStruct((0,), gram.dtype)
      whole = proximal.Gram(gram, (), steps)
      lowered = proximal.advance.lower(whole, *rest[1:], **options)
    return lowered.compile().memory_analysis()


def _abstract(sizes: Sizes, mesh) -> tuple[Any, Any, Any]:
  """Gram matrix, problem and state as shapes."""
  num_train, tile = sizes.padded(), sizes.tile

  def shape(*dims, dtype=sizes.state) -> Any:
    spec = jax.sharding.NamedSharding(mesh, sharded.spec_of(dims, num_train))
    if mesh.devices.size == 1:
      return jax.ShapeDtypeStruct(dims, jnp.dtype(dtype))
    return jax.ShapeDtypeStruct(dims, jnp.dtype(dtype), sharding=spec)

  problem = homotopy.Problem(
      cross=shape(tile, num_train),
      variance=shape(tile),
      lams=shape(tile, sizes.num_lams),
  )
  point = shape(tile, num_train), shape(tile, num_train)
  ring = sizes.depth + 1 if sizes.depth else 0
  counter = shape(tile, dtype='int32')
  state = homotopy.State(
      point=point,
      last=point,
      lam_index=counter,
      num_steps=counter,
      num_epochs=counter,
      objective=shape(tile),
      rate=shape(tile),
      history=extrapolation.History(
          tuple(shape(ring, tile, num_train) for _ in point),
          counter,
          shape(dtype='int32'),
      ),
      path=shape(tile, sizes.num_lams, num_train, dtype=sizes.narrow),
      gaps=shape(tile, sizes.num_lams),
  )
  return shape(num_train, num_train, dtype=sizes.narrow), problem, state
