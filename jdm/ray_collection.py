"""Fills a store by tasks on a Ray cluster: one task a chunk.

Ray decides where tasks run, adds machines and runs the tasks of lost ones
again; that is harmless, since a row is the same whoever makes it and a chunk
that is written is skipped. Workers read the recipe from the store, so they need
jdm and the store's path, and nothing is uploaded.

References:
  Moritz et al., `Ray <https://arxiv.org/abs/1712.05889>`_, 2018.
"""

from collections.abc import Iterator
import contextlib
import functools
import os
import socket
from typing import Any
import warnings

from absl import logging
import numpy as np

from jdm import collection
from jdm import locations
from jdm import recipe as recipe_lib
from jdm import store as store_lib

_PATIENCE_SECONDS = 15


def collect(
    pool: recipe_lib.Pool,
    path: str | os.PathLike[str],
    *,
    num_models: int,
    chunk: int = 256,
    repair: bool = False,
    address: str | None = None,
    num_cpus: float = 1,
    num_gpus: float = 0,
    max_retries: int = 5,
    progress: collection.Progress | None = None,
) -> store_lib.OutcomeStore:
  """Trains the rows that a store does not hold yet, on a Ray cluster.

  Args:
    pool: what to train; made by `recipe.build`, as workers build it again from
      the store's recipe.
    path: of the store, which every machine of the cluster can reach.
    num_models: how many rows the store shall hold.
    chunk: rows written at once, for a new store, and trained by one task.
    repair: trains damaged chunks again; without it they are left as they are.
    address: of the cluster; None stands for RAY_ADDRESS, or else for this
      machine alone. A program that has called `ray.init` keeps its cluster.
    num_cpus: of each task, which emulates as many devices if it runs on CPUs.
    num_gpus: of each task.
    max_retries: of a task whose machine or process is lost, or whose result
      cannot be written.
    progress: called with (rows done, rows in all) after every chunk.

  Returns:
    The store, complete.

  Raises:
    ChildProcessError: if a chunk's tasks are lost more often than that.
    ConnectionError: if the cluster cannot be reached.
    ImportError: if Ray is not installed.
    StoreError: if the store was made by another recipe or cannot be written.
    ValueError: if rows would take ids that belong to other models, or the pool
      is not one of drawn masks.
  """
  ray = _import_ray()
  if pool.given_ids is not None:
    raise ValueError(
        '`ray_collection.collect` expects a pool that its recipe makes; given'
        ' masks are trained by `collection.collect`'
    )
  name = os.fspath(path)
  if not locations.is_remote(name):
    name = os.path.abspath(name)  # Workers start in other folders.
  store = collection.prepare(
      pool, name, num_models=num_models, chunk=chunk, repair=repair
  )
  chunks = list(store.chunks(collection.missing_rows(store, num_models)))
  if not chunks:
    return store
  done = num_models - sum(map(len, chunks))
  with _cluster(ray, address, num_cpus):
    _warn_of_size(ray, num_cpus, num_gpus)
    if progress:
      progress(done, num_models)
    train = ray.remote(_train_chunk).options(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_retries=max_retries,
        retry_exceptions=[OSError],
    )
    tasks = {train.remote(name, num_models, rows): rows for rows in chunks}
    for task in _as_completed(ray, tasks):
      _result(ray, task, tasks[task])
      done += len(tasks[task])
      if progress:
        progress(done, num_models)
  return store_lib.OutcomeStore.open(name)


def _train_chunk(path: str, num_models: int, rows: np.ndarray) -> int:
  """What a task does: trains the rows of a chunk that are still missing."""
  store, pool = _pool_of(path, num_models)
  missing = store.missing(rows)
  if len(missing):  # A task that is run again may have written them.
    collection.train_rows(pool, store, missing)
  return len(missing)


@functools.lru_cache(maxsize=1)
def _pool_of(
    path: str, num_models: int
) -> tuple[store_lib.OutcomeStore, recipe_lib.Pool]:
  """A worker's store and program, made once; a store that grew is another."""
  del num_models
  store = store_lib.OutcomeStore.open(path)
  return store, collection.pool_of(store)


def _import_ray() -> Any:
  try:
    import ray
  except ImportError as error:
    raise ImportError(
        "Ray is not installed; it comes with the extra 'ray': pip install"
        " 'jdm[ray]'"
    ) from error
  return ray


@contextlib.contextmanager
def _cluster(ray: Any, address: str | None, num_cpus: float) -> Iterator[None]:
  """Connects to a cluster, or starts one, and leaves it again."""
  if ray.is_initialized():
    yield
    return
  address = address or os.environ.get('RAY_ADDRESS')
  _check_reachable(address)
  variables = {'JAX_NUM_CPU_DEVICES': str(max(int(num_cpus), 1))}
  try:
    with warnings.catch_warnings():
      # Of forks, in which Ray does nothing but start its own processes.
      warnings.filterwarnings('ignore', 'os.fork', RuntimeWarning)
      ray.init(
          address=address,
          runtime_env={'env_vars': variables},
          logging_level='warning',
          log_to_driver=False,
      )
  except (ConnectionError, RuntimeError, ValueError) as error:
    raise ConnectionError(
        f'no Ray cluster at {address or "this machine"}:'
        f' {str(error).splitlines()[0]}'
    ) from error
  try:
    yield
  finally:
    ray.shutdown()


def _check_reachable(address: str | None) -> None:
  """Asks by TCP first: Ray itself tries for two minutes."""
  host, _, port = (address or '').removeprefix('ray://').rpartition(':')
  if not host or not port.isdigit():
    return  # 'auto', 'local' or nothing.
  try:
    socket.create_connection((host, int(port)), _PATIENCE_SECONDS).close()
  except OSError as error:
    raise ConnectionError(
        f'no Ray cluster at {address}: {error}. Check the address, that `ray'
        ' start --head` runs there, and that no firewall is between'
    ) from error


def _warn_of_size(ray: Any, num_cpus: float, num_gpus: float) -> None:
  """A cluster may grow, so a task that fits nowhere yet is no error."""
  for node in ray.nodes():
    has = node['Resources']
    if has.get('CPU', 0) >= num_cpus and has.get('GPU', 0) >= num_gpus:
      return
  logging.warning(
      'no machine of the Ray cluster has %g CPUs and %g GPUs for a task; tasks'
      ' wait until one comes',
      num_cpus,
      num_gpus,
  )


def _as_completed(ray: Any, tasks: dict[Any, np.ndarray]) -> Iterator[Any]:
  left = list(tasks)
  while left:
    ready, left = ray.wait(left)
    yield from ready


def _result(ray: Any, task: Any, rows: np.ndarray) -> None:
  """Raises what a task raised, without the traceback of another machine."""
  try:
    ray.get(task)
  except ray.exceptions.RayTaskError as error:
    raise error.cause from error
  except ray.exceptions.RayError as error:
    raise ChildProcessError(
        f'Ray lost the task of rows {rows[0]} to {rows[-1]} too often'
        f' ({type(error).__name__}); rows completed before are safe, run the'
        ' same command again'
    ) from error
