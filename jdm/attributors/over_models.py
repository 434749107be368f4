"""The mean over models of what is computed of each, on all devices."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

Progress = Callable[[int, int], None]


def mean(
    program: Callable[..., Any],
    rows: Sequence[Any],
    shared: Any,
    *,
    counted: np.ndarray | None = None,
    devices: Sequence[jax.Device] | None = None,
    progress: Progress | None = None,
) -> Any:
  """Averages `program(*row, *shared)` over models.

  Each device takes the next model; one model is computed at a time on each, so
  that memory does not depend on their number.

  Args:
    program: jitted; returns a pytree of arrays.
    rows: of each model, a tuple of arrays.
    shared: a tuple of arrays that all models read; copied to each device once.
    counted: bool `[num_models, num_targets]`, models that count for each
      target, the last axis of all arrays but numbers; all by default. A target
      that none counts for has 0.
    devices: local devices; by default all, but on a CPU one, whose cores a
      single factorization uses already.
    progress: called with the number of models done and in all.

  Returns:
    float64 NumPy arrays: sums on a device are in its own precision, of few
    models; they are added up on the host.
  """
  devices = list(devices or default_devices())
  placed = [jax.device_put(shared, device) for device in devices]
  total: Any = None
  number = 0
  for first in range(0, len(rows), len(devices)):
    block = rows[first : first + len(devices)]
    started = [
        program(*jax.device_put(row, device), *data)
        for row, device, data in zip(block, devices, placed)
    ]
    for found in started:
      found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)
      if counted is not None:
        found = _weighted(found, counted[number])
      number += 1
      total = found if total is None else jax.tree.map(np.add, total, found)
    if progress:
      progress(min(first + len(block), len(rows)), len(rows))
  total = jax.tree.map(lambda leaf: leaf / len(rows), total)
  if counted is None:
    return total
  share = counted.mean(axis=0)
  return _weighted(total, 1 / np.where(share > 0, share, 1))


def _weighted(tree: Any, weights: np.ndarray) -> Any:
  """Arrays [..., num_targets] times weights [num_targets]; numbers stay."""
  return jax.tree.map(lambda leaf: leaf * weights if leaf.ndim else leaf, tree)


def default_devices() -> Iterable[jax.Device]:
  """All local devices; on a CPU the first."""
  devices = jax.local_devices()
  return devices[:1] if devices[0].platform == 'cpu' else devices
