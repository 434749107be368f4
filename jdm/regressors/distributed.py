"""The LASSO across the processes of `jax.distributed`.

Each process reads its share of the models and sums them up; sums travel once,
each to the process that has its targets; then every process solves its own
targets and says nothing until all results are gathered. Without
`jax.distributed` it is the same computation in one process.
"""

from collections.abc import Callable, Sequence
import hashlib
from typing import Any, Unpack

import jax
from jax import lax
from jax import sharding
from jax.experimental import multihost_utils
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.regressors import observations as observations_lib
from jdm.regressors import sparse
from jdm.solvers import moments as moments_lib
from jdm.solvers import path as path_lib

Read = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_NAME = 'lasso'
_WHO = 'distributed.fit'
_AXIS = 'processes'
_LEAVES = 16  # Parts whose sums are added in an order of their own.
_READ_ROWS = 8192
_SENT_ROWS = 4096  # Of the sums at a time, which bounds memory on devices.
_EXTRA = 3  # Rows beside the cross products: sum, squares, largest.


def fit(
    read: Read,
    rows: np.ndarray,
    *,
    num_val: int | None = None,
    num_lams: int = 30,
    min_ratio: float = 1e-2,
    tol: float = 1e-4,
    refit: bool = True,
    progress: Callable[[int, int], None] | None = None,
    **labels: Unpack[observations_lib.Labels],
) -> datamodels_lib.Datamodels:
  """Fits a sparse linear datamodel to each target, all processes together.

  Minimizes what `lasso.fit` does, on the Gram matrix whatever the number of
  models. Counts of pairs are summed as integers. Other sums are float64, added
  in an order that is the same for any power of two of processes up to 16: their
  grids of penalties are equal to the last bit. Those of another number of
  processes, or of `lasso.fit`, are equal to rounding in float64. Weights agree
  within their certificates (tiles of targets differ), so that of two penalties
  with nearly the same validation error either may be chosen.

  Args:
    read: `rows -> (masks, outcomes)`, bool `[k, num_train]` and finite
      `[k, num_targets]`; every process must be able to read every row, and
      reads about its share, and all of the validation models.
    rows: int `[num_models]`, the same in every process.
    num_val: how many of the last rows are for validation; by default a fifth.
    num_lams: penalties tried, as `lasso.fit`.
    min_ratio: of the smallest penalty to the largest.
    tol: bound of the duality gap, as `lasso.fit`.
    refit: whether to fit again, at the penalties chosen, to all models.
    progress: called with the number of targets of this process whose path is
      solved and in all.
    **labels: ids and names to note, `observations.Labels`.

  Returns:
    The datamodels of all targets, the same in every process.

  Raises:
    TypeError: on unknown keywords.
    ValueError: if values or options do not make sense, or there are more
      processes than targets. Raised in one process alone it leaves the others
      waiting: end that process at once.
  """
  rows = np.asarray(rows, np.int64)
  observations_lib.check_labels(_WHO, labels)
  if not tol > 0:
    raise ValueError(f'`{_WHO}` expects tol above 0, got {tol}.')
  num_val = observations_lib.validation_size(_WHO, num_val, len(rows), True)
  _check_agreed(rows, (num_val, num_lams, min_ratio, tol, refit))
  fit_rows, val_rows = rows[:-num_val], rows[-num_val:]
  shift = np.asarray(read(rows[:1])[1][0], np.float64)
  if len(shift) < jax.process_count():
    raise ValueError(
        f'`{_WHO}` expects a target or more for each process, got'
        f' {len(shift)} targets and {jax.process_count()} processes.'
    )
  mine = _targets(len(shift))[jax.process_index()]
  moments, largest = _sum(read, fit_rows, shift)
  held = np.diagonal(moments.counts)
  observations_lib.check_columns(_WHO, held, moments.num_models)
  pieces = [_read_part(read, part, mine) for part in _pieces(val_rows)]
  val_masks, val_outcomes = map(np.concatenate, zip(*pieces))
  result = path_lib.lasso_path(
      moments,
      num_lams=num_lams,
      min_ratio=min_ratio,
      tol=tol,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      progress=progress,
  )
  val_mse = result.val_mse
  if refit:
    others, others_largest = _sum(read, val_rows, shift)
    largest = np.maximum(largest, others_largest)
    lams = sparse.refit_lams(result.lam, largest)[None]
    moments = moments + others
    result = path_lib.lasso_path(
        moments, lams=lams, start=result.weights, tol=tol
    )
  sparse.report('lasso.fit', result.converged, result.gap, tol)
  ids = observations_lib.ids_of(
      _WHO, 'model_ids', labels.get('model_ids'), len(rows)
  )
  num_train, alpha = moments.num_train, labels.get('alpha')
  return datamodels_lib.Datamodels(
      weights=np.ascontiguousarray(_gather(result.weights.T).T),
      bias=_gather(np.asarray(result.bias, result.weights.dtype)),
      lam=_gather(result.lam),
      gap=_gather(result.gap),
      nnz=_gather(result.nnz.astype(np.int32)),
      val_mse=_gather(val_mse),
      train_ids=observations_lib.ids_of(
          _WHO, 'train_ids', labels.get('train_ids'), num_train
      ),
      target_ids=observations_lib.ids_of(
          _WHO, 'target_ids', labels.get('target_ids'), len(shift)
      ),
      fit_ids=ids if refit else ids[:-num_val],
      val_ids=ids[-num_val:],
      alpha=float(
          held.sum() / (len(fit_rows) * num_train) if alpha is None else alpha
      ),
      regressor=_NAME,
      outcome=labels.get('outcome', ''),
  )


def _check_agreed(rows: np.ndarray, options: tuple[Any, ...]) -> None:
  """Raises ValueError in all processes if they do not fit the same."""
  own = hashlib.sha256(rows.tobytes() + repr(options).encode()).digest()
  every = multihost_utils.process_allgather(np.frombuffer(own, np.uint8))
  if (np.reshape(every, (-1, len(own))) != np.frombuffer(own, np.uint8)).any():
    raise ValueError(
        f'`{_WHO}` expects the same models and options in every process, and'
        f' they differ (here {len(rows)} models); wait until nothing more is'
        ' collected, or say by num_models which to fit'
    )


def _targets(num_targets: int) -> list[np.ndarray]:
  """The targets of each process."""
  return np.array_split(np.arange(num_targets), jax.process_count())


def _pieces(rows: np.ndarray) -> list[np.ndarray]:
  """Rows to read at once."""
  return [
      rows[start : start + _READ_ROWS]
      for start in range(0, len(rows), _READ_ROWS)
  ]


def _read_part(read: Read, rows: np.ndarray, mine: np.ndarray):
  """Masks, and the outcomes of this process's targets."""
  masks, outcomes = read(rows)
  return masks, outcomes[:, mine]


def _sum(
    read: Read, rows: np.ndarray, shift: np.ndarray
) -> tuple[moments_lib.Moments, np.ndarray]:
  """Sums some models over all processes.

  Args:
    read: of all rows.
    rows: int `[num_models]`.
    shift: float64 `[num_targets]`.

  Returns:
    The moments of this process's targets, and their largest absolute outcome.
  """
  count, index = jax.process_count(), jax.process_index()
  each = max(_LEAVES // count, 1)
  parts = np.array_split(rows, each * count)
  num_train = read(rows[:1])[0].shape[1]
  counts = np.zeros((num_train, num_train), np.int32)

  def sum_part(part: np.ndarray) -> np.ndarray:
    """`[num_train + 3, num_targets]`; adds to `counts` as well."""
    some = moments_lib.Moments.zeros(num_train, len(shift))
    largest = np.zeros(len(shift))
    for piece in _pieces(part):
      masks, outcomes = read(piece)
      some = some.add(masks, outcomes)
      largest = np.maximum(largest, np.abs(outcomes).max(axis=0))
    np.add(counts, some.counts, out=counts)
    if len(part):
      some = some.shifted(shift)
    extra = some.outcome_sum, some.outcome_square, largest
    return np.concatenate([some.cross, np.stack(extra)])

  own = _tree(parts[index * each : (index + 1) * each], sum_part)
  received = _exchange(own)
  total = _tree(list(received), lambda sums: sums)
  mine = _targets(len(shift))[index]
  moments = moments_lib.Moments(
      counts=_total(counts),
      cross=total[:num_train],
      outcome_sum=total[num_train],
      outcome_square=total[num_train + 1],
      shift=shift[mine],
      num_models=len(rows),
  )
  return moments, total[-1]


def _tree(
    parts: Sequence[Any], sum_part: Callable[[Any], np.ndarray]
) -> np.ndarray:
  """Adds halves of halves: parts of parts are added in the same order."""
  if len(parts) == 1:
    return sum_part(parts[0])
  half = len(parts) // 2
  left, right = _tree(parts[:half], sum_part), _tree(parts[half:], sum_part)
  added = left + right
  added[-1] = np.maximum(left[-1], right[-1])
  return added


def _mesh() -> sharding.Mesh:
  """One device of each process."""
  first = {}
  for device in jax.devices():
    first.setdefault(device.process_index, device)
  devices = [first[index] for index in range(jax.process_count())]
  return sharding.Mesh(np.array(devices), (_AXIS,))


def _global(local: np.ndarray) -> jax.Array:
  """Arrays of all processes, one after the other."""
  spec = sharding.NamedSharding(_mesh(), sharding.PartitionSpec(_AXIS))
  return jax.make_array_from_process_local_data(spec, local)


def _exchange(sums: np.ndarray) -> np.ndarray:
  """Sends each process the sums of its targets.

  Args:
    sums: float64 `[num_rows, num_targets]`.

  Returns:
    float64 `[num_processes, num_rows, num_mine]`, of this process's targets.
  """
  count = jax.process_count()
  if count == 1:
    return sums[None]
  targets = _targets(sums.shape[1])
  width = max(map(len, targets))
  mine = len(targets[jax.process_index()])
  spec = sharding.PartitionSpec(_AXIS)
  swap = jax.jit(
      jax.shard_map(
          lambda block: lax.all_to_all(block, _AXIS, 0, 0, tiled=True),
          mesh=_mesh(),
          in_specs=spec,
          out_specs=spec,
      )
  )
  received = np.zeros((count, len(sums), mine))
  for start in range(0, len(sums), _SENT_ROWS):
    some = sums[start : start + _SENT_ROWS]
    sent = np.zeros((count, len(some), width))
    for index, columns in enumerate(targets):
      sent[index, :, : len(columns)] = some[:, columns]
    # As words: JAX would round float64 outside a scope of its own.
    swapped = swap(_global(sent.view(np.uint32))).addressable_data(0)
    values = np.asarray(swapped).view(np.float64)
    received[:, start : start + len(some)] = values[:, :, :mine]
  return received


def _total(counts: np.ndarray) -> np.ndarray:
  """The sum over processes, int32; exact."""
  if jax.process_count() == 1:
    return counts
  everywhere = sharding.NamedSharding(_mesh(), sharding.PartitionSpec())
  add = jax.jit(
      lambda parts: parts.sum(axis=0, dtype=parts.dtype),
      out_shardings=everywhere,
  )
  total = np.zeros_like(counts)
  for start in range(0, len(counts), _SENT_ROWS):
    some = counts[start : start + _SENT_ROWS]
    added = add(_global(some[None])).addressable_data(0)
    total[start : start + len(some)] = np.asarray(added)
  return total


def _gather(mine: np.ndarray) -> np.ndarray:
  """Joins what every process has of its targets, `[num_mine, ...]`."""
  count = jax.process_count()
  if count == 1:
    return mine
  total = int(multihost_utils.process_allgather(np.array(len(mine))).sum())
  targets = _targets(total)
  width = max(map(len, targets))
  padded = np.zeros((width, *mine.shape[1:]), mine.dtype)
  padded[: len(mine)] = mine
  sent = np.frombuffer(padded.tobytes(), np.uint8)  # Of any dtype, unrounded.
  received = np.asarray(multihost_utils.process_allgather(sent))
  parts = [
      np.frombuffer(part.tobytes(), mine.dtype).reshape(padded.shape)
      for part in received
  ]
  return np.concatenate([p[: len(t)] for p, t in zip(parts, targets)])
