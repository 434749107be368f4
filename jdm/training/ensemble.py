"""Trains many models at once: vmap over a group, shard_map over devices.

One call of the compiled program trains `group x num_devices` models. It is the
modern form of a pmap over devices of a vmap over models: `jax.pmap` is in
maintenance mode and built on `jax.shard_map`. Only outcomes leave the device.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import hashlib
import time
from typing import Any

import jax
import numpy as np

from jdm import subsets
from jdm.solvers import precision
from jdm.training import checkpoints as checkpoints_lib
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
    stages: `train_one` in parts, for checkpoints; None if it has none.
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
  stages: sgd.Stages | None = None

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
      checkpoints: checkpoints_lib.Checkpoints | None = None,
  ) -> 'Pending':
    """Starts what `train` does and returns before it is done.

    With `checkpoints` it trains epoch by epoch, saves on the way, and goes on
    where a process before it was stopped; and returns when all is done. An
    epoch by itself is another program than all of them: bits are those of any
    run with checkpoints, interrupted or not, on any number of devices.

    Raises:
      ValueError: as `train`; or with `checkpoints`, if there are no `stages`.
    """
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
    saved, names = None, np.zeros(len(masks), '<U24')
    if checkpoints is not None:
      names = training_names(key, model_ids, replicates, masks, relabel)
      saved = checkpoints.load(self.carry_shapes())
    is_saved = np.isin(names, [] if saved is None else list(saved.names))
    calls: list[Any] = []
    # Of one capacity, and all from a checkpoint or none.
    for kind in np.unique(np.stack([~is_saved, capacities], axis=1), axis=0):
      alike = (~is_saved == kind[0]) & (capacities == kind[1])
      rows = np.flatnonzero(alike)
      for first in range(0, len(rows), self.rows_a_call):
        block = rows[first : first + self.rows_a_call]
        labels = None if relabel is None else relabel[block]
        padded = self._padded(
            model_ids[block], replicates[block], masks[block], labels, kind[1]
        )
        if checkpoints is None:
          outcomes = self._call(key, padded)
        else:
          begun = None if kind[0] else saved
          outcomes = self._call_in_stages(
              key, padded, names[block], checkpoints, begun
          )
        counted = {name: (v, len(block)) for name, v in outcomes.items()}
        calls.append((block, counted))
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
  def rows_a_call(self) -> int:
    """Models that one call of the program trains."""
    return self.group * self.num_devices

  def _padded(self, model_ids, replicates, masks, relabel, capacity):
    """The rows of one call, filled up with zeros."""
    padding = self.rows_a_call - len(model_ids)
    subset_ids, sizes = subsets.to_indices(masks, int(capacity))
    if relabel is not None:
      labels = np.take_along_axis(relabel, subset_ids, axis=1).astype(np.int32)
      subset_ids = subset_ids + self.num_train * (1 + labels)
    rows = (model_ids, replicates, subset_ids, sizes)
    return [np.pad(r, [(0, padding)] + [(0, 0)] * (r.ndim - 1)) for r in rows]

  def _call(self, key, padded):
    with self._precision():
      self._check_memory(key, *padded)
      return self._program(key, *padded, self._placed_data)

  def _call_in_stages(self, key, padded, names, checkpoints, saved):
    """Trains the rows of one call epoch by epoch."""
    num_epochs = self._stages().num_epochs
    begin, advance, finish = self._stage_programs
    data, epoch = self._placed_data, 0
    with self._precision():
      self._check_memory(key, *padded)
      if saved is None:
        carry = begin(key, *padded, data)
      else:
        epoch = saved.epoch
        carry = self._restored(saved, names)
      while epoch < num_epochs:
        carry = advance(carry, np.int32(epoch), key, *padded, data)
        epoch += 1
        jax.block_until_ready(carry)  # Else no time has passed.
        if checkpoints.is_due() and epoch < num_epochs:
          checkpoints.save(list(names), epoch, carry)
      return jax.block_until_ready(finish(carry, data))

  def timed_in_stages(
      self, key: jax.Array, model_ids: np.ndarray, masks: np.ndarray
  ) -> tuple[float, float]:
    """Times an epoch of one call, for an estimate of trainings of minutes.

    Args:
      key: as of `train`.
      model_ids: at most `rows_a_call` of them.
      masks: of subsets of one capacity, as of `train`.

    Returns:
      Wall seconds of compiling, and of training the call.

    Raises:
      ValueError: if there are no `stages`.
    """
    num_epochs = self._stages().num_epochs
    capacity = self.capacity(int(masks.sum(axis=1).max()))
    padded = self._padded(
        np.asarray(model_ids, np.int32),
        np.zeros(len(masks), np.int32),
        masks,
        None,
        capacity,
    )
    begin, advance, finish = self._stage_programs
    with self._precision():
      self._check_memory(key, *padded)
    times = []
    for _ in range(2):
      with self._precision():
        start = time.perf_counter()
        data = self._placed_data
        carry = jax.block_until_ready(begin(key, *padded, data))
        begun = time.perf_counter()
        carry = advance(carry, np.int32(0), key, *padded, data)
        advanced = time.perf_counter() if jax.block_until_ready(carry) else 0.0
        jax.block_until_ready(finish(carry, data))
        done = time.perf_counter()
      times.append((begun - start, advanced - begun, done - advanced))
    seconds = np.dot(times[1], (1, num_epochs, 1))
    return float(np.sum(times[0]) - np.sum(times[1])), float(seconds)

  def _restored(self, saved, names):
    """The carry of some saved models, on the devices of today."""
    places = {name: place for place, name in enumerate(saved.names)}
    which = np.array([places[name] for name in names])
    which = np.pad(which, (0, self.rows_a_call - len(which)), mode='edge')
    tree = jax.tree.structure(self.carry_shapes())
    rows = jax.sharding.NamedSharding(
        self._mesh, jax.sharding.PartitionSpec(_AXIS)
    )
    leaves = [jax.device_put(leaf[which], rows) for leaf in saved.leaves]
    return jax.tree.unflatten(tree, leaves)

  def _stages(self) -> sgd.Stages:
    if self.stages is None:
      raise ValueError(
          'this trainer has no `stages`, so that its trainings cannot be'
          ' checkpointed; it trains by another way than SGD, or by a `train_one`'
          ' of your own (pass `stages`, too)'
      )
    return self.stages

  def carry_shapes(self) -> Any:
    """Shapes of what is carried from epoch to epoch, of one model."""
    begin = self._stages().begin
    ids = jax.ShapeDtypeStruct((self.num_train,), np.int32)
    size = jax.ShapeDtypeStruct((), np.int32)
    with self._precision():
      return jax.eval_shape(begin, jax.random.key(0), ids, size, self.data)

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
        jax.ShapeDtypeStruct((self.rows_a_call, *shape), dtype)
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
    def one(row, key, data):
      model_id, replicate, subset_ids, size = row
      own_key = subsets.training_key(key, model_id, replicate)
      return self.train_one(own_key, subset_ids, size, data)

    program = self._of_rows(one)
    return jax.jit(lambda key, *rest: program(rest[:-1], key, rest[-1]))

  @functools.cached_property
  def _stage_programs(self):
    """`begin`, `advance` and `finish` of the stages, for the rows of a call."""
    stages = self._stages()

    def keyed(key, row):
      model_id, replicate, subset_ids, size = row
      return subsets.training_key(key, model_id, replicate), subset_ids, size

    def begin(row, key, data):
      return stages.begin(*keyed(key, row), data)

    def advance(row, epoch_and_key, data):
      carry, row = row
      epoch, key = epoch_and_key
      return stages.advance(carry, epoch, *keyed(key, row), data)

    def finish(carry, unused, data):
      del unused
      return stages.finish(carry, data)

    begins, advances, finishes = map(self._of_rows, (begin, advance, finish))
    return (
        jax.jit(lambda key, *rest: begins(rest[:-1], key, rest[-1])),
        jax.jit(
            lambda carry, epoch, key, *rest: advances(
                (carry, rest[:-1]), (epoch, key), rest[-1]
            ),
            donate_argnums=0,
        ),
        jax.jit(lambda carry, data: finishes(carry, (), data)),
    )

  def _of_rows(self, one):
    """Maps `one(row, shared, data)` over the rows of a group and over devices.

    Rows are pytrees whose leaves begin with the models.
    """

    def group_on_device(rows, shared, data):
      if self.group > 1:
        return jax.vmap(one, in_axes=(0, None, None))(rows, shared, data)
      # Without vmap: a batched convolution would be a slow grouped one.
      found = one(jax.tree.map(lambda leaf: leaf[0], rows), shared, data)
      return jax.tree.map(lambda value: value[None], found)

    spec = jax.sharding.PartitionSpec
    rows, everywhere = spec(_AXIS), spec()
    return jax.shard_map(
        group_on_device,
        mesh=self._mesh,
        in_specs=(rows, everywhere, everywhere),
        out_specs=rows,
        # With the check on, initial values that do not depend on the row
        # (zeros) count as one shared parameter: their gradients are summed
        # over devices, and every model is silently wrong.
        check_vma=False,
    )


def training_names(
    key: jax.Array,
    model_ids: np.ndarray,
    replicates: np.ndarray,
    masks: np.ndarray,
    relabel: np.ndarray | None = None,
) -> np.ndarray:
  """A name for each row, of all that decides its training in one recipe.

  Arguments as of `Trainer.train`; str `[num_models]`.
  """
  seed = np.asarray(jax.random.key_data(key)).tobytes()
  names = []
  for number, mask in enumerate(masks):
    digest = hashlib.sha256(seed)
    numbers = np.array([model_ids[number], replicates[number]], np.int64)
    digest.update(numbers.tobytes())
    digest.update(mask.tobytes())
    if relabel is not None:
      digest.update(np.ascontiguousarray(relabel[number]).tobytes())
    names.append(digest.hexdigest()[:24])
  return np.array(names, dtype=str)


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
