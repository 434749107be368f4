"""Trains many models at once: vmap over a group, shard_map over devices.

One call of the compiled program trains `group x num_devices` models. It is the
modern form of a pmap over devices of a vmap over models: `jax.pmap` is in
maintenance mode and built on `jax.shard_map`. Only outcomes leave the device.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from jdm import subsets
from jdm.solvers import precision
from jdm.training import memory
from jdm.training import sgd

_AXIS = 'models'
# Subset sizes are rounded up to a few capacities, num_train / 1.125**k, so that
# a grid of sizes compiles a few programs and wastes at most an eighth.
_CAPACITY_RATIO = 1.125


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
  """Runs one `train_one` for any models on any subsets.

  Attributes:
    train_one: `train_one(key, subset_ids, subset_size, data) -> {name: array}`,
      jittable; see `sgd.make_train_one`. A user's own is as welcome.
    data: any pytree, handed to `train_one`; copied once to each device.
    num_train: number of training examples.
    group: models in one vmap; 1 runs without vmap.
    min_subset_size: a smaller subset cannot be trained on (one batch).
    exact_sizes: subset sizes that get a program of exactly their length.
    devices: local devices to use; None stands for all.
    one_capacity: pads every subset to `num_train`, for a `train_one` that takes
      as long for any size.
    float64: trains in float64, for a `train_one` that means it.
  """

  train_one: sgd.TrainOne
  data: Any
  num_train: int
  group: int
  min_subset_size: int = 1
  exact_sizes: tuple[int, ...] = ()
  devices: Sequence[jax.Device] | None = None
  one_capacity: bool = False
  float64: bool = False

  def __post_init__(self):
    if self.group < 1:
      raise ValueError(f'group must be at least 1, got {self.group}')

  def train(
      self,
      key: jax.Array,
      model_ids: np.ndarray,
      masks: np.ndarray,
      replicates: np.ndarray | int = 0,
      relabel: np.ndarray | None = None,
  ) -> dict[str, np.ndarray]:
    """Trains one model a row and returns its outcomes.

    Args:
      key: `jax.random.key(seed)`.
      model_ids: `[num_models]`, int; row i is a function of (key, its id, its
        mask, its replicate) alone.
      masks: bool `[num_models, num_train]`.
      replicates: `[num_models]` or one int; see `subsets.training_key`.
      relabel: int `[num_models, num_train]`, the label that an example is
        trained with, -1 for its own: the subset id of example i with label j is
        `(1 + j) * num_train + i`, and `data` must know what that means
        (`relabellable`). None relabels nothing.

    Returns:
      By outcome name, `[num_models, ...]`. Models that diverged hold non-finite
      numbers; so does every outcome of a row whose subset is smaller than
      `min_subset_size`, on which no step can be taken.

    Raises:
      ValueError: if the arguments disagree in length or masks are not bool, or
        (`memory.DoesNotFitError`) the group cannot fit into a device's memory.
    """
    return self.start(key, model_ids, masks, replicates, relabel).wait()

  def start(
      self,
      key: jax.Array,
      model_ids: np.ndarray,
      masks: np.ndarray,
      replicates: np.ndarray | int = 0,
      relabel: np.ndarray | None = None,
  ) -> 'Pending':
    """Starts what `train` does and returns before it is done."""
    masks = subsets.check_masks(
        masks, who='`Trainer.train`', num_train=self.num_train
    )
    model_ids = np.asarray(model_ids, np.int32)
    if model_ids.shape != (len(masks),):
      raise ValueError(
          f'`Trainer.train` expects one id for each of the {len(masks)} masks,'
          f' got ids of shape {model_ids.shape}'
      )
    replicates = np.broadcast_to(np.int32(replicates), model_ids.shape)
    if relabel is not None and relabel.shape != masks.shape:
      raise ValueError(
          '`Trainer.train` expects relabel of the shape of the masks,'
          f' {masks.shape}, got {relabel.shape}'
      )
    sizes = masks.sum(axis=1)
    capacities = np.array([self.capacity(size) for size in sizes], np.int64)
    calls: list[Any] = []
    for capacity in np.unique(capacities):
      rows = np.flatnonzero(capacities == capacity)
      for first in range(0, len(rows), self._rows_a_call):
        block = rows[first : first + self._rows_a_call]
        labels = None if relabel is None else relabel[block]
        outcomes = self._call(
            key,
            model_ids[block],
            replicates[block],
            masks[block],
            labels,
            capacity,
        )
        calls.append((block, outcomes))
    return Pending(calls, sizes < self.min_subset_size)

  def relabellable(self, num_classes: int) -> 'Trainer':
    """The same trainer for `train(..., relabel=...)`.

    Raises:
      ValueError: if the data are a user's own, whose labels are unknown here.
    """
    if not isinstance(self.data, sgd.TrainingData):
      raise ValueError(
          'only a trainer of `sgd.TrainingData` can be relabelled; for data of'
          ' your own write a `train_one` that knows subset ids beyond num_train'
      )
    own = np.asarray(self.data.labels)[: self.num_train]
    others = np.repeat(np.arange(num_classes, dtype=own.dtype), self.num_train)
    labels = np.concatenate([own, others])
    return dataclasses.replace(self, data=self.data._replace(labels=labels))

  def outcome_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the outcomes of one model, by name."""
    ids = jax.ShapeDtypeStruct((self.num_train,), np.int32)
    size = jax.ShapeDtypeStruct((), np.int32)
    with self._precision():
      return jax.eval_shape(
          self.train_one, jax.random.key(0), ids, size, self.data
      )

  def capacity(self, size: int) -> int:
    """The padded length for a subset of `size`; results do not depend on it."""
    if size in self.exact_sizes:
      return int(size)
    capacity = self.num_train
    if self.one_capacity:
      return capacity
    while capacity / _CAPACITY_RATIO >= max(size, self.min_subset_size):
      capacity = int(capacity / _CAPACITY_RATIO)
    return capacity

  @property
  def num_devices(self) -> int:
    """Number of devices in use."""
    return len(self._mesh.devices)

  @property
  def _rows_a_call(self) -> int:
    return self.group * self.num_devices

  def _call(self, key, model_ids, replicates, masks, relabel, capacity):
    padding = self._rows_a_call - len(model_ids)
    subset_ids, sizes = subsets.to_indices(masks, capacity)
    if relabel is not None:
      labels = np.take_along_axis(relabel, subset_ids, axis=1).astype(np.int32)
      subset_ids = subset_ids + self.num_train * (1 + labels)
    rows = (model_ids, replicates, subset_ids, sizes)
    rows = [np.pad(r, [(0, padding)] + [(0, 0)] * (r.ndim - 1)) for r in rows]
    with self._precision():
      self._check_memory(key, *rows)
      outcomes = self._program(key, *rows, self._placed_data)
    return {name: (value, len(model_ids)) for name, value in outcomes.items()}

  def peak_bytes(self, size: int) -> int:
    """Estimates the bytes of one device that training takes.

    The data, once; and for each model of the group its parameters, momentum and
    gradient, the activations kept for the gradient, and its outcomes.

    Args:
      size: of the largest subset.
    """
    capacity = self.capacity(size)
    rows = [((), np.int32), ((), np.int32), ((capacity,), np.int32)]
    rows = [
        jax.ShapeDtypeStruct((self._rows_a_call, *shape), dtype)
        for shape, dtype in (*rows, ((), np.int32))
    ]
    with self._precision():
      return self._peak_bytes(jax.random.key(0), *rows)

  def _peak_bytes(self, key, *rows) -> int:
    # Of shapes: data that do not fit are not placed. With the sharding that
    # placed data have, the call that follows shares the tracing.
    def shape_of(leaf):
      aval = jax.typeof(leaf)
      return jax.ShapeDtypeStruct(
          aval.shape, aval.dtype, sharding=self._everywhere
      )

    data = jax.tree.map(shape_of, self.data)
    traced = self._program.trace(key, *rows, data)
    return memory.peak_bytes(memory.device_jaxpr(traced.jaxpr.jaxpr))

  def _check_memory(self, key, model_ids, replicates, subset_ids, sizes):
    """Refuses a group that cannot fit, once for each program."""
    capacity = subset_ids.shape[1]
    if capacity in self._checked:
      return
    rows = (model_ids, replicates, subset_ids, sizes)
    needed = self._peak_bytes(key, *rows)
    device = self._mesh.devices[0]
    there = memory.device_bytes(device, self.num_devices)
    if needed > there:
      smaller = [2**power for power in reversed(range(20))]
      fits = (
          group
          for group in smaller
          if group < self.group
          and dataclasses.replace(self, group=group).peak_bytes(capacity)
          <= there
      )
      raise memory.DoesNotFitError(
          memory.complaint(needed, there, device, self.group, next(fits, None))
      )
    self._checked.add(capacity)

  @functools.cached_property
  def _checked(self) -> set[int]:
    """Capacities whose programs are known to fit."""
    return set()

  def _precision(self) -> contextlib.AbstractContextManager:
    return precision.float64() if self.float64 else contextlib.nullcontext()

  @functools.cached_property
  def _mesh(self) -> jax.sharding.Mesh:
    devices = self.devices or jax.local_devices()
    return jax.sharding.Mesh(np.array(devices), (_AXIS,))

  @functools.cached_property
  def _everywhere(self) -> jax.sharding.NamedSharding:
    spec = jax.sharding.PartitionSpec()
    return jax.sharding.NamedSharding(self._mesh, spec)

  @functools.cached_property
  def _placed_data(self) -> Any:
    return jax.device_put(self.data, self._everywhere)

  @functools.cached_property
  def _program(self):
    def one(key, model_id, replicate, subset_ids, size, data):
      own_key = subsets.training_key(key, model_id, replicate)
      return self.train_one(own_key, subset_ids, size, data)

    def group_on_device(key, model_ids, replicates, subset_ids, sizes, data):
      if self.group > 1:
        many = jax.vmap(one, in_axes=(None, 0, 0, 0, 0, None))
        return many(key, model_ids, replicates, subset_ids, sizes, data)
      # Without vmap: a batched convolution would be a slow grouped one.
      outcomes = one(
          key, model_ids[0], replicates[0], subset_ids[0], sizes[0], data
      )
      return jax.tree.map(lambda value: value[None], outcomes)

    spec = jax.sharding.PartitionSpec
    rows, everywhere = spec(_AXIS), spec()
    mapped = jax.shard_map(
        group_on_device,
        mesh=self._mesh,
        in_specs=(everywhere, rows, rows, rows, rows, everywhere),
        out_specs=rows,
        # With the check on, initial values that do not depend on the row
        # (zeros) count as one shared parameter: their gradients are summed
        # over devices, and every model is silently wrong.
        check_vma=False,
    )
    return jax.jit(mapped)


@dataclasses.dataclass(frozen=True)
class Pending:
  """Trainings under way.

  Attributes:
    calls: `(rows, {name: (padded outcomes, number of real rows)})`.
    too_small: bool `[num_models]`; rows whose subset holds no batch.
  """

  calls: Sequence[tuple[np.ndarray, dict[str, tuple[jax.Array, int]]]]
  too_small: np.ndarray

  def wait(self) -> dict[str, np.ndarray]:
    """Waits for all trainings and returns their outcomes by row."""
    results: dict[str, np.ndarray] = {}
    for rows, outcomes in self.calls:
      for name, (padded, count) in outcomes.items():
        values = np.asarray(padded)[:count]
        if not np.issubdtype(values.dtype, np.floating):
          values = values.astype(np.float32)  # Integers cannot hold NaN.
        if name not in results:
          shape = (len(self.too_small), *values.shape[1:])
          results[name] = np.empty(shape, values.dtype)
        results[name][rows] = values
    for values in results.values():
      if np.issubdtype(values.dtype, np.floating):
        values[self.too_small] = np.nan
    return results
