r"""Trains a pool of models on random subsets and stores their outcomes.

  python -m experiments.collect_outcomes --workdir=runs/mlp --model=mlp \
      --num_models=5000

Safe to kill and to run again: it goes on where it stopped, and ends with the
same bits. SIGTERM lets it finish and store what it is training; the exit code is
then 3 unless nothing is missing (0), and 143 if a second SIGTERM stopped it at
once. `--dry_run` prints what it would cost. `metrics.jsonl` has a line a chunk
(see `experiments/metrics.py`); it and SIGTERM are for --launcher=local. About 1,500 linear or 450 MLP
models a second on digits, on two cores.

Several processes may fill one store, each its share of the chunks:
`--worker_index=I --worker_count=N`, which Slurm's arrays and tasks and
Kubernetes' indexed jobs say by themselves. A share that is done exits with 0,
whatever others still have to do. `--launcher=ray` makes each chunk a task of a
Ray cluster. Scripts for all of these are in `experiments/launch/`.
"""

from collections.abc import Mapping
import dataclasses
import functools
import hashlib
import json
import os
import sys
import types
from typing import Any

from absl import flags
import jax
import numpy as np

from experiments import binary
from experiments import metrics
from experiments import training_flags
from experiments import workdir as workdir_lib
from jdm import collection
from jdm import locations
from jdm import provenance
from jdm import ray_collection
from jdm import recipe as recipe_lib
from jdm import shares
from jdm import store as store_lib
from jdm.models import convolution
from jdm.training import checkpoints as checkpoints_lib
from jdm.training import group as group_lib
from jdm.training import sgd

_NUM_MODELS = flags.DEFINE_integer('num_models', 1000, 'Rows of the store.')
_CHUNK = flags.DEFINE_integer('chunk', 256, 'Rows written at once.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the cost and stops.')
_DEVICES = flags.DEFINE_list(
    'estimate_devices', ['8', '64'], 'For which --dry_run tells the cost, too.'
)
_TENSORBOARD = flags.DEFINE_bool(
    'tensorboard', False, 'Writes WORKDIR/tensorboard beside metrics.jsonl.'
)
_PROFILE = flags.DEFINE_bool(
    'profile', False, 'Records the second chunk in WORKDIR/profile, for xprof.'
)
_CHECKPOINT = flags.DEFINE_float(
    'checkpoint_every_secs',
    None,
    'Saves models that are being trained in WORKDIR/checkpoints so often, for'
    ' trainings of minutes; trains epoch by epoch, whose last bits are not those'
    ' of a run without: keep to the one or the other.',
)
_REPAIR = flags.DEFINE_bool('repair', False, 'Trains damaged chunks again.')
_WORKER_INDEX = flags.DEFINE_integer(
    'worker_index',
    None,
    'Which share of the chunks to train, from 0; by default what'
    ' SLURM_ARRAY_TASK_ID, SLURM_PROCID or JOB_COMPLETION_INDEX says.',
)
_WORKER_COUNT = flags.DEFINE_integer(
    'worker_count',
    None,
    'How many shares there are; by default what SLURM_ARRAY_TASK_COUNT or'
    ' SLURM_NTASKS says.',
)
_LAUNCHER = flags.DEFINE_enum(
    'launcher',
    'local',
    ['local', 'ray'],
    'Where chunks are trained: in this process, or by tasks of a Ray cluster,'
    ' which runs those of lost machines again. Changes no result.',
)
_RAY_ADDRESS = flags.DEFINE_string(
    'ray_address', None, 'Of the cluster; RAY_ADDRESS, or this machine alone.'
)
_RAY_CPUS = flags.DEFINE_float('ray_cpus', 1, 'CPUs of each task.')
_RAY_GPUS = flags.DEFINE_float('ray_gpus', 0, 'GPUs of each task.')
_RAY_RETRIES = flags.DEFINE_integer(
    'ray_retries', 5, 'Of a task whose machine is lost.'
)


def main(workdir: str) -> None:
  """Collects into `workdir/store`."""
  share = _share()
  path = os.path.join(workdir, 'store')
  recipe = training_flags.recipe()
  is_timed = (
      training_flags.wants_timed_convolution()
      or training_flags.wants_timed_group()
  )
  before = _chosen_before(path, recipe, share) if is_timed else None
  if before is not None:
    recipe = before
  else:
    if training_flags.wants_timed_convolution():
      recipe = _timed_convolution(recipe)
    if training_flags.wants_timed_group():
      recipe = dataclasses.replace(recipe, group=_timed_group(recipe))
  recipe = _as_stored(path, recipe)
  pool = recipe_lib.build(recipe)
  cost = None
  # What a cluster needs cannot be timed here.
  if _LAUNCHER.value == 'local' or _DRY_RUN.value:
    cost = binary.print_estimate(
        pool,
        path,
        _NUM_MODELS.value,
        in_stages=_CHECKPOINT.value is not None,
        share=share,
        chunk=_CHUNK.value,
    )
  if share is not None:
    print(f'these are the chunks of {share}')
  if _DRY_RUN.value:
    _print_costs(cost)
    return
  if _REPAIR.value and (share is None or not share.index):
    _forget_damage(workdir, path)
  if _LAUNCHER.value == 'ray':
    _print_collected(_collect_by_ray(pool, path), None)
  else:
    _collect_here(workdir, pool, path, share, cost)


def _share() -> shares.Share | None:
  """This process's share; a launcher of tasks does all.

  Raises:
    ValueError: on flags that mean nothing together.
  """
  if _LAUNCHER.value == 'local':
    if _RAY_ADDRESS.value is not None:
      raise ValueError('--ray_address is for --launcher=ray')
    return shares.find(os.environ, _WORKER_INDEX.value, _WORKER_COUNT.value)
  if _WORKER_INDEX.value is not None or _WORKER_COUNT.value is not None:
    raise ValueError(
        f'--launcher={_LAUNCHER.value} shares out the work itself; leave out'
        ' --worker_index and --worker_count'
    )
  if _CHECKPOINT.value is not None or _TENSORBOARD.value or _PROFILE.value:
    raise ValueError(
        '--checkpoint_every_secs, --tensorboard and --profile are for'
        ' --launcher=local'
    )
  return None


def _chosen_before(
    path: str, recipe: recipe_lib.Recipe, share: shares.Share | None
) -> recipe_lib.Recipe | None:
  """What `auto` chose for the store that is there; None if there is none.

  Raises:
    ValueError: if several workers would each choose for themselves.
  """
  if store_lib.exists(path):
    stored = store_lib.OutcomeStore.open(path).recipe
    options = dict(recipe.model_options)
    if training_flags.wants_timed_convolution():
      options.pop('convolution', None)
      theirs = stored.get('model_options', {})
      if 'convolution' in theirs:
        options['convolution'] = theirs['convolution']
    group = recipe.group
    if training_flags.wants_timed_group():
      group = stored.get('group', group)
    return dataclasses.replace(recipe, model_options=options, group=group)
  if share is not None and share.count > 1:
    raise ValueError(
        'several workers cannot time --group=auto or --convolution=auto each for'
        ' itself; pass what one process chooses'
    )
  return None


def _collect_here(
    workdir: str,
    pool: recipe_lib.Pool,
    path: str,
    share: shares.Share | None,
    cost: collection.Estimate | None,
) -> None:
  """Trains what is missing in this process; exits if it is stopped before."""
  stop = binary.StopRequest()
  checkpoints = _checkpoints(workdir, pool, share)
  log = metrics.Metrics(
      workdir, cost, tensorboard=_TENSORBOARD.value, profile=_PROFILE.value
  )
  store = collection.collect(
      pool,
      path,
      num_models=_NUM_MODELS.value,
      chunk=_CHUNK.value,
      repair=_REPAIR.value,
      share=share,
      progress=binary.Progress('training'),
      on_chunk=log.on_chunk,
      should_stop=stop.is_asked,
      checkpoints=checkpoints,
  )
  left = collection.missing_rows(store, _NUM_MODELS.value, share)
  if checkpoints and not len(left):
    checkpoints.remove()
  took = log.end(is_complete=not len(left))
  if len(left) and stop.is_asked():
    print(f'stopped as asked: {len(left)} models of {path} are missing')
    sys.exit(binary.STOPPED)
  _print_collected(store, share, took)


def _collect_by_ray(pool: recipe_lib.Pool, path: str) -> store_lib.OutcomeStore:
  """Trains what is missing on a cluster."""
  try:
    return ray_collection.collect(
        pool,
        path,
        num_models=_NUM_MODELS.value,
        chunk=_CHUNK.value,
        repair=_REPAIR.value,
        address=_RAY_ADDRESS.value,
        num_cpus=_RAY_CPUS.value,
        num_gpus=_RAY_GPUS.value,
        max_retries=_RAY_RETRIES.value,
        progress=binary.Progress('training'),
    )
  except ImportError as error:
    raise ValueError(str(error)) from error


def _print_collected(
    store: store_lib.OutcomeStore,
    share: shares.Share | None,
    took: Mapping[str, float] = types.MappingProxyType({}),
) -> None:
  """Prints what the store holds now.

  Raises:
    ValueError: if all models diverged.
  """
  completed, diverged = len(store.completed()), len(store.diverged())
  if diverged and not completed:
    raise ValueError(
        f'all {diverged} models of {store.path} diverged; start again'
        ' elsewhere with a lower --learning_rate or a higher --alpha'
    )
  rows: dict[str, Any] = {
      'store': store.path,
      'completed': completed,
      'diverged': diverged,
  }
  if share is not None:
    rows['missing, of all workers'] = len(store.missing())
  binary.table(
      'Collected' if share is None else f'Done: {share}',
      {
          **rows,
          'num_train': store.num_train,
          'outcomes': ', '.join(store.outcomes),
          'group': store.recipe['group'],
          **took,
      },
  )


def _checkpoints(
    workdir: str, pool: recipe_lib.Pool, share: shares.Share | None
) -> checkpoints_lib.Checkpoints | None:
  if _CHECKPOINT.value is None:
    return None
  if locations.is_remote(workdir):
    raise ValueError('--checkpoint_every_secs writes to a local --workdir')
  made = provenance.record()
  trains = [pool.description, made['versions'], made['device_kind']]
  name = json.dumps(trains, sort_keys=True).encode()
  # A process writes to a folder of its own.
  folder = f'{share.index}_of_{share.count}' if share else 'all'
  return checkpoints_lib.Checkpoints(
      os.path.join(workdir, 'checkpoints', folder),
      _CHECKPOINT.value,
      hashlib.sha256(name).hexdigest(),
  )


def _print_costs(cost: collection.Estimate | None) -> None:
  """What is left to do, on this machine and on more devices like its own."""
  if cost is None:
    return
  if not all(n.isdigit() and int(n) for n in _DEVICES.value):
    raise ValueError(
        f'--estimate_devices are numbers of devices, got {_DEVICES.value}'
    )
  numbers = dict.fromkeys([cost.num_devices, *map(int, _DEVICES.value)])
  binary.table(
      'Cost by number of devices like these, one compilation each',
      {
          f'{number} devices': (
              f'{cost.num_models / max(cost.on(number).seconds, 1e-9):,.4g}'
              f' models/s, {_time(cost.on(number).seconds)}'
          )
          for number in numbers
      }
      | {'disk': f'{cost.num_bytes / 1e6:,.1f} MB'},
  )


def _time(seconds: float) -> str:
  """In the largest unit that makes it at least 1."""
  for size, unit in ((3600, 'h'), (60, 'min')):
    if seconds >= size:
      return f'{seconds / size:,.3g} {unit}'
  return f'{seconds:.2g} s'


def _as_stored(path: str, recipe: recipe_lib.Recipe) -> recipe_lib.Recipe:
  """The recipe with the store's outcomes, if those asked for follow from them.

  Raises:
    ValueError: if the store is of the same models and lacks what outcomes that
      are asked for follow from.
  """
  if not store_lib.exists(path):
    return recipe
  stored = store_lib.OutcomeStore.open(path)
  theirs = recipe_lib.Recipe.from_json(stored.recipe)
  same = dataclasses.replace(
      recipe, outcomes=theirs.outcomes, targets=theirs.targets
  )
  ours = {**same.to_json(), 'group': 0}
  if ours != {**theirs.to_json(), 'group': 0}:
    return recipe  # `collect` says what differs.
  suffixes = {'test': '', 'train': '_train'}
  # Of parameters there is one array, whatever the targets.
  lacking = [
      name + suffixes[targets]
      for name in recipe.outcomes
      for targets in recipe.targets
      if not {
          name + suffixes[targets],
          'logits' + suffixes[targets],
          'parameters',
      }
      & set(stored.outcomes)
  ]
  if lacking:
    outcomes = list(dict.fromkeys([*theirs.outcomes, *recipe.outcomes]))
    targets = list(dict.fromkeys([*theirs.targets, *recipe.targets]))
    raise ValueError(
        f'the store at {path} has neither {", ".join(lacking)} nor the logits'
        ' or parameters from which they would follow, so its models would have'
        ' to be trained again: choose another workdir, with'
        f' --outcomes={",".join(outcomes)} --targets={",".join(targets)}'
    )
  if set(recipe.outcomes) - set(theirs.outcomes) or (
      set(recipe.targets) - set(theirs.targets)
  ):
    print(
        f'what is asked for follows from the {", ".join(stored.outcomes)} of'
        f' {path}: commands read it from there, and nothing is trained again'
    )
  return same


def _forget_damage(workdir: str, path: str) -> None:
  """Marks damaged models beside the pool: who needs them trains them again."""
  for other in set(workdir_lib.stores(workdir)) - {path}:
    store = store_lib.OutcomeStore.open(other)
    rows = store.forget(store.verify())
    if len(rows):
      print(f'{other}: {len(rows)} models will be trained again when needed')


def _timed_convolution(recipe: recipe_lib.Recipe) -> recipe_lib.Recipe:
  """Times an epoch of both formulations once, for --convolution=auto."""
  if not isinstance(recipe.training, sgd.Config):
    raise ValueError('--convolution=auto is for convolutional models')
  key = jax.random.key(recipe.seed)

  def options(formulation: str) -> dict[str, Any]:
    # The default is left out of a recipe, as by the flag.
    chosen = {} if formulation == 'im2col' else {'convolution': formulation}
    return {**recipe.model_options, **chosen}

  @functools.cache
  def trial(formulation: str) -> recipe_lib.Pool:
    training = dataclasses.replace(recipe.training, epochs=1)
    changes = {'training': training, 'model_options': options(formulation)}
    return recipe_lib.build(dataclasses.replace(recipe, **changes))

  def run(formulation: str) -> int:
    pool = trial(formulation)
    rows = np.arange(pool.trainer.group * pool.trainer.num_devices)
    pool.trainer.train(key, rows, pool.masks(rows))
    return pool.trainer.group

  chosen, seconds = group_lib.fastest(run, convolution.CONVOLUTIONS)
  binary.table(
      f'--convolution=auto chose {chosen}; pass --convolution={chosen} from now'
      ' on',
      {name: f'{s:.2e} s/model and epoch' for name, s in seconds.items()},
  )
  return dataclasses.replace(recipe, model_options=options(chosen))


def _timed_group(recipe: recipe_lib.Recipe) -> int:
  """Times a few group sizes once, for --group=auto."""
  key = jax.random.key(recipe.seed)

  @functools.cache  # Timed without building and compiling again.
  def pool_of(group: int) -> recipe_lib.Pool:
    return recipe_lib.build(dataclasses.replace(recipe, group=group))

  def run(group: int) -> int:
    pool = pool_of(group)
    rows = np.arange(group * pool.trainer.num_devices)
    pool.trainer.train(key, rows, pool.masks(rows))
    return group

  chosen, seconds = group_lib.fastest(run)
  binary.table(
      f'--group=auto chose {chosen}; pass --group={chosen} from now on',
      {f'group {size}': f'{s:.2e} s/model' for size, s in seconds.items()},
  )
  return chosen


if __name__ == '__main__':
  binary.run(main, remote=True)
