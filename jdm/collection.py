"""Fills a store: draws subsets, trains the missing rows, writes them down.

The work is a loop over chunks of missing rows. Because row i is a function of
(seed, i), any process may do any chunk, in any order, and a run that was killed
goes on where `completed` ends.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import hashlib
import json
import os
import time
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from jdm import effects
from jdm import outcomes as outcomes_lib
from jdm import provenance
from jdm import recipe as recipe_lib
from jdm import shares
from jdm import store as store_lib
from jdm.training import checkpoints as checkpoints_lib

Progress = Callable[[int, int], None]

_DIVERGED_WARNING = 0.01
_UNSUMMED = ('parameters',)  # Their mean says nothing.


@dataclasses.dataclass(frozen=True)
class Estimate:
  """What collecting will cost.

  Attributes:
    num_models: models still to be trained.
    compile_seconds: wall time before the first model.
    seconds: wall time of all trainings after that.
    num_bytes: of the rows still to be written, on disk.
    num_devices: that it was timed on.
  """

  num_models: int
  compile_seconds: float
  seconds: float
  num_bytes: int
  num_devices: int = 1

  def on(self, num_devices: int) -> 'Estimate':
    """The same on other devices of this kind: models share nothing."""
    seconds = self.seconds * self.num_devices / num_devices
    return dataclasses.replace(self, seconds=seconds, num_devices=num_devices)

  def __str__(self) -> str:
    rate = self.num_models / self.seconds if self.seconds else 0.0
    return (
        f'{self.num_models} models to train, about {self.seconds:.0f} s'
        f' ({rate:.0f} models/s) once compiled, which took'
        f' {self.compile_seconds:.0f} s; {self.num_bytes / 1e6:.1f} MB on disk'
    )


@dataclasses.dataclass(frozen=True)
class ChunkDone:
  """What is told of a chunk of rows once it is stored.

  Attributes:
    first_row: of the chunk's rows that were trained.
    last_row: likewise.
    num_models: trained now.
    num_diverged: of these.
    seconds: wall time since the chunk before.
    means: of every outcome, over good models and their targets; logits and
      parameters are left out.
  """

  first_row: int
  last_row: int
  num_models: int
  num_diverged: int
  seconds: float
  means: Mapping[str, float]


def collect(
    pool: recipe_lib.Pool,
    path: str | os.PathLike[str],
    *,
    num_models: int,
    chunk: int = 256,
    repair: bool = False,
    share: shares.Share | None = None,
    progress: Progress | None = None,
    on_chunk: Callable[[ChunkDone], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoints: checkpoints_lib.Checkpoints | None = None,
) -> store_lib.OutcomeStore:
  """Trains the rows that a store does not hold yet.

  Args:
    pool: what to train.
    path: of the store; created, or opened if it was made by the same recipe.
    num_models: how many rows the store shall hold.
    chunk: rows written at once, for a new store. Does not change any number.
    repair: trains damaged chunks again; without it they are left as they are.
    share: the chunks to train (and repair); None stands for all. Other
      processes may do other shares, or the same one, at the same time.
    progress: called with (rows done, rows in all), of the share, after every
      chunk.
    on_chunk: called after every chunk.
    should_stop: asked before every chunk; once it says yes, what is being
      trained is finished and stored, and nothing more is begun.
    checkpoints: of models that train for long: the models of one call of the
      program are stored as soon as they are done, and saved before that every
      so many seconds. See `Trainer.start` for what this means for their bits.

  Returns:
    The store; the rows of the share are complete unless `should_stop` said
    yes.

  Raises:
    StoreError: if the store was made by another recipe or cannot be written.
    ValueError: if rows would take ids that belong to other models.
  """
  store = prepare(
      pool,
      path,
      num_models=num_models,
      chunk=chunk,
      repair=repair,
      share=share,
  )
  rows = missing_rows(store, num_models, share)
  total = num_models
  if share is not None:
    total = int(np.sum(share.holds(np.arange(num_models) // store.chunk)))
  train_rows(
      pool,
      store,
      rows,
      total=total,
      progress=progress,
      on_chunk=on_chunk,
      should_stop=should_stop,
      checkpoints=checkpoints,
  )
  _warn_of_diverged(store)
  return store


def prepare(
    pool: recipe_lib.Pool,
    path: str | os.PathLike[str],
    *,
    num_models: int,
    chunk: int = 256,
    repair: bool = False,
    share: shares.Share | None = None,
) -> store_lib.OutcomeStore:
  """Makes, opens or grows a store and trains nothing; arguments of `collect`.

  Returns:
    The store. With `repair`, rows of its damaged chunks are missing.

  Raises:
    StoreError: if the store was made by another recipe or cannot be written.
    ValueError: if rows would take ids that belong to other models.
  """
  highest = 2**31 if pool.first_id else recipe_lib.RETRAINED_FIRST_ID
  if pool.given_ids is None and pool.first_id + num_models > highest:
    raise ValueError(
        f'{num_models} models from id {pool.first_id} go beyond id {highest},'
        ' where other models begin'
    )
  store = store_lib.OutcomeStore.create(
      path,
      recipe=pool.description,
      num_models=num_models,
      num_train=pool.trainer.num_train,
      outcomes=pool.outcome_layout(),
      chunk=chunk,
  )
  if repair:
    damages = [
        damage
        for damage in store.verify(expected_masks=pool.masks)
        # Another worker may be writing the chunks of its own share.
        if share is None or share.holds(damage.first_row // store.chunk)
    ]
    for damage in damages:
      logging.warning('training again: %s', damage)
    store.forget(damages)
  return store


def missing_rows(
    store: store_lib.OutcomeStore,
    num_models: int,
    share: shares.Share | None = None,
) -> np.ndarray:
  """Of the first `num_models` rows, those of a share still to be trained."""
  rows = store.missing()
  rows = rows[rows < num_models]
  return rows if share is None else rows[share.holds(rows // store.chunk)]


def train_rows(
    pool: recipe_lib.Pool,
    store: store_lib.OutcomeStore,
    rows: np.ndarray,
    *,
    total: int | None = None,
    progress: Progress | None = None,
    on_chunk: Callable[[ChunkDone], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    checkpoints: checkpoints_lib.Checkpoints | None = None,
) -> None:
  """Trains some rows of a store and writes them, chunk by chunk.

  Args:
    pool: what to train.
    store: made by the same recipe.
    rows: int `[k]`, ascending.
    total: rows in all, of which those not in `rows` are done; by default k.
    progress: called with (rows done, rows in all) after every chunk.
    on_chunk: as of `collect`, and the next two.
    should_stop: see there.
    checkpoints: see there.

  Raises:
    StoreError: if the store cannot be written.
  """
  total = len(rows) if total is None else total
  done = total - len(rows)
  if progress:
    progress(done, total)
  pieces, num_begun = list(store.chunks(rows)), 0
  if checkpoints:
    pieces, num_begun = _pieces(pool, pieces, checkpoints)
  pending: tuple[Any, ...] | None = None
  last = time.monotonic()
  # One chunk computes while the one before is fetched and written.
  for number, some in enumerate([*pieces, None]):
    if checkpoints:  # What was saved of later pieces is kept for them.
      checkpoints.is_held = number + 1 < num_begun
    started = None
    if some is not None and not (should_stop and should_stop()):
      masks = pool.masks(some)
      started = (some, masks, pool.start(some, masks, checkpoints))
    if checkpoints:  # What has been trained is stored at once.
      pending, started = started, None
    if pending is not None:
      chunk_done = _finish(store, *pending, since=last)
      last = time.monotonic()
      done += chunk_done.num_models
      if on_chunk:
        on_chunk(chunk_done)
      if progress:
        progress(done, total)
      if checkpoints:
        checkpoints.clear()
    elif started is None:
      break
    pending = started


def estimate(
    pool: recipe_lib.Pool,
    *,
    num_models: int,
    store: store_lib.OutcomeStore | None = None,
    in_stages: bool = False,
    share: shares.Share | None = None,
    chunk: int = 256,
) -> Estimate:
  """Times the training of a few rows; writes nothing.

  Args:
    pool: what would be trained.
    num_models: how many rows the store shall hold.
    store: the store, if there is one already: its rows cost nothing.
    in_stages: times one epoch, as for `collect(..., checkpoints=...)`.
    share: the chunks that would be trained; None stands for all.
    chunk: rows of one, where there is no store yet.
  """
  whole = np.arange(num_models)
  if share is not None:
    whole = whole[share.holds(whole // (store.chunk if store else chunk))]
  left = len(whole)
  if store is not None:
    left -= int(np.sum(whole < store.num_models))
    left += len(missing_rows(store, num_models, share))
  a_call = pool.trainer.rows_a_call
  rows = np.arange(min(a_call, num_models))
  masks = pool.masks(rows)
  if in_stages:
    compiling, a_call_takes = pool.trainer.timed_in_stages(
        jax.random.key(pool.seed), pool.model_ids(rows), masks
    )
  else:
    seconds = []
    for _ in range(2):
      start = time.perf_counter()
      pool.start(rows, masks).wait()
      seconds.append(time.perf_counter() - start)
    compiling, a_call_takes = seconds[0] - seconds[1], seconds[1]
  num_calls = -(-left // a_call)
  row_bytes = -(-pool.trainer.num_train // 8)
  for shape, dtype in pool.outcome_layout().values():
    row_bytes += int(np.prod(shape)) * np.dtype(dtype).itemsize
  return Estimate(
      num_models=left,
      compile_seconds=max(compiling, 0.0),
      seconds=num_calls * a_call_takes,
      num_bytes=left * row_bytes,
      num_devices=pool.trainer.num_devices,
  )


def pool_of(store: store_lib.OutcomeStore) -> recipe_lib.Pool:
  """Rebuilds the pool that made a store.

  Raises:
    StoreError: if the dataset is not the one the store was made with.
  """
  recipe = recipe_lib.Recipe.from_json(store.recipe)
  pool = recipe_lib.build(recipe)
  lines = store_lib.differences(store.recipe, dict(pool.description))
  if lines:
    raise store_lib.StoreError(
        f'the recipe of {store.path} builds another pool here:\n  '
        + '\n  '.join(lines)
    )
  return pool


def retrainer(
    store: store_lib.OutcomeStore,
    *,
    outcome: str = 'soft_margin',
    targets: str = 'test',
    first_replicate: int = 0,
    changes: Mapping[str, Any] | None = None,
    cache: str | None = None,
    pool: recipe_lib.Pool | None = None,
    progress: Progress | None = None,
) -> effects.Retrain:
  """Makes the function by which applications check their claims.

  Args:
    store: the pool's store; its recipe is trained with other subsets.
    outcome: what to read off the retrained models.
    targets: of which targets, 'test' or 'train'.
    first_replicate: number of the first replicate; another one gives other
      initializations and orders, for a check that shares nothing with what
      came before.
    changes: fields of the `Recipe` to change, such as `model` for another
      class of models on the same data.
    cache: folder for the retrained models; by default `verify/` beside the
      store. A call with the same arguments reads them there.
    pool: what trains, if it cannot be rebuilt from the store's recipe (a
      `train_one` of a user's own). It must return the outcome.
    progress: as in `collect`.

  Returns:
    `retrain(masks, replicates, relabel=None) -> outcomes`; see
    `effects.Retrain`. Each mask is trained `replicates` times, with
    initialization and order that no model of the pool has; the result for a
    mask is a function of (seed, mask, labels, replicate).

  Raises:
    StoreError: if the dataset is not the one the store was made with.
    ValueError: on unknown targets, a pool without the outcome or with changes,
      or as `recipe.build`. `retrain` raises it of subsets smaller than a batch.
  """
  if targets not in ('test', 'train'):
    raise ValueError(f'targets are test or train, got {targets!r}')
  if pool is None:
    recipe = recipe_lib.Recipe.from_json(store.recipe)
    recipe = dataclasses.replace(
        recipe, outcomes=(outcome,), targets=(targets,), **(changes or {})
    )
    pool = recipe_lib.build(recipe)
    if pool.description['fingerprint'] != store.recipe['fingerprint']:
      raise store_lib.StoreError(
          f'dataset {recipe.dataset!r} is not the one {store.path} was made'
          ' with: its fingerprint differs'
      )
  elif changes:
    raise ValueError(
        '`retrainer` changes a recipe, and a pool that is passed has its own;'
        f' build the pool with {sorted(changes)} changed'
    )
  folder = cache or os.path.join(os.path.dirname(store.path), 'verify')
  stored = outcome if targets == 'test' else f'{outcome}_train'
  if stored not in pool.outcome_layout():
    raise ValueError(
        f'`retrainer` expects a pool whose trainer returns {stored!r}, got'
        f' {sorted(pool.outcome_layout())}'
    )

  def retrain(
      masks: np.ndarray,
      replicates: int,
      *,
      relabel: np.ndarray | None = None,
  ) -> np.ndarray:
    effects.check_masks_trainable(
        'retrain', masks, batch_size=pool.trainer.min_subset_size
    )
    given = recipe_lib.given_masks(
        pool,
        masks,
        replicates,
        relabel=relabel,
        first_replicate=first_replicate,
    )
    name = json.dumps(given.description, sort_keys=True).encode()
    path = os.path.join(folder, hashlib.sha256(name).hexdigest()[:16])
    num_models = replicates * len(masks)
    done = collect(given, path, num_models=num_models, progress=progress)
    result = np.full((num_models, *done.outcomes[stored][0]), np.nan)
    rows = done.completed()
    result[rows] = done.read(stored, rows)
    return result.reshape(replicates, len(masks), *result.shape[1:])

  return retrain


def read_outcome(
    store: store_lib.OutcomeStore, name: str, rows: np.ndarray
) -> np.ndarray:
  """Reads an outcome, or computes it from what the store holds.

  Any outcome of targets follows from the logits of these targets; and from the
  parameters, for models without a state, follow the logits of any targets.

  Args:
    store: the pool's store.
    name: of the outcome, with the suffix `_train` for train targets.
    rows: int `[k]`, completed rows.

  Returns:
    `[k, ...]`.

  Raises:
    ValueError: if the outcome is unknown, or neither stored nor computable; the
      message says with which flags to collect it.
  """
  if name in store.outcomes:
    return store.read(name, rows)
  base = name.removesuffix('_train')
  targets = 'train' if name.endswith('_train') else 'test'
  logits_name = 'logits' + name.removeprefix(base)
  from_logits = logits_name in store.outcomes
  if not from_logits and 'parameters' not in store.outcomes:
    raise ValueError(
        f'the store at {store.path} has no {name!r}; it has'
        f' {sorted(store.outcomes)}. Collect with --outcomes={base}'
        f' --targets={targets} (--outcomes=logits or parameters would serve'
        ' every outcome later).'
    )
  recipe = recipe_lib.Recipe.from_json(store.recipe)
  dataset = recipe_lib.load_dataset(recipe)
  compute = outcomes_lib.get([base], dataset.num_classes)[base].compute
  split = dataset.split(targets)
  if from_logits:
    read = jax.jit(jax.vmap(compute, in_axes=(0, None)))
    logits = jnp.asarray(store.read(logits_name, rows), jnp.float32)
    return np.asarray(read(logits, split.labels))
  evaluate = recipe_lib.evaluator(recipe, dataset, compute, targets)
  return np.asarray(evaluate(jnp.asarray(store.read('parameters', rows))))


def _pieces(
    pool: recipe_lib.Pool,
    chunks: Iterable[np.ndarray],
    checkpoints: checkpoints_lib.Checkpoints,
) -> tuple[list[np.ndarray], int]:
  """Parts of chunks that one call of the program trains.

  Returns:
    The parts, those that are saved in the middle first, and how many these are.
  """
  saved = checkpoints.load(pool.trainer.carry_shapes())
  saved_names = [] if saved is None else list(saved.names)
  begun, fresh = [], []
  for rows in chunks:
    masks = pool.masks(rows)
    is_fresh = ~np.isin(pool.training_names(rows, masks), saved_names)
    capacities = [pool.trainer.capacity(size) for size in masks.sum(axis=1)]
    kinds = np.stack([is_fresh, capacities], axis=1)
    for kind in np.unique(kinds, axis=0):
      alike = rows[(kinds == kind).all(axis=1)]
      for first in range(0, len(alike), pool.trainer.rows_a_call):
        part = alike[first : first + pool.trainer.rows_a_call]
        (fresh if kind[0] else begun).append(part)
  return begun + fresh, len(begun)


def _finish(store, rows, masks, run, *, since) -> ChunkDone:
  outcomes = run.wait()
  seconds = time.monotonic() - since
  record = {**provenance.record(), 'seconds': seconds}
  diverged = store.write(rows, masks, outcomes, record)
  means = {
      name: float(np.mean(outcomes[name][~diverged], dtype=np.float64))
      for name, (shape, _) in store.outcomes.items()
      if len(shape) < 2 and name not in _UNSUMMED and not diverged.all()
  }
  return ChunkDone(
      first_row=int(rows[0]),
      last_row=int(rows[-1]),
      num_models=len(rows),
      num_diverged=int(diverged.sum()),
      seconds=seconds,
      means=means,
  )


def _warn_of_diverged(store: store_lib.OutcomeStore) -> None:
  diverged, completed = len(store.diverged()), len(store.completed())
  if diverged > _DIVERGED_WARNING * (completed + diverged):
    logging.warning(
        '%d of %d models of %s diverged or had no whole batch; fits leave them'
        ' out, which is a selection. Lower the learning rate or raise alpha.',
        diverged,
        completed + diverged,
        store.path,
    )
