r"""Trains a pool of models on random subsets and stores their outcomes.

  python -m experiments.collect_outcomes --workdir=runs/mlp --model=mlp \
      --num_models=5000

Safe to kill and to run again: it goes on where it stopped, and ends with the
same bits. SIGTERM lets it finish and store what it is training; the exit code is
then 3 unless nothing is missing (0), and 143 if a second SIGTERM stopped it at
once. `--dry_run` prints what it would cost. `metrics.jsonl` has a line a chunk
(see `experiments/metrics.py`). About 1,500 linear or 450 MLP
models a second on digits, on two cores.
"""

import dataclasses
import functools
import hashlib
import json
import os
import sys
from typing import Any

from absl import flags
import jax
import numpy as np

from experiments import binary
from experiments import metrics
from experiments import training_flags
from experiments import workdir as workdir_lib
from jdm import collection
from jdm import recipe as recipe_lib
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
    ' trainings of minutes; trains epoch by epoch.',
)
_REPAIR = flags.DEFINE_bool('repair', False, 'Trains damaged chunks again.')


def main(workdir: str) -> None:
  """Collects into `workdir/store`."""
  path = os.path.join(workdir, 'store')
  recipe = training_flags.recipe()
  if training_flags.wants_timed_convolution():
    recipe = _timed_convolution(recipe)
  if training_flags.wants_timed_group():
    recipe = dataclasses.replace(recipe, group=_timed_group(recipe))
  recipe = _as_stored(path, recipe)
  pool = recipe_lib.build(recipe)
  cost = binary.print_estimate(
      pool,
      path,
      _NUM_MODELS.value,
      in_stages=_CHECKPOINT.value is not None,
  )
  if _DRY_RUN.value:
    _print_costs(cost)
    return
  if _REPAIR.value:
    _forget_damage(workdir, path)
  stop = binary.StopRequest()
  checkpoints = _checkpoints(workdir, pool)
  log = metrics.Metrics(
      workdir, cost, tensorboard=_TENSORBOARD.value, profile=_PROFILE.value
  )
  store = collection.collect(
      pool,
      path,
      num_models=_NUM_MODELS.value,
      chunk=_CHUNK.value,
      repair=_REPAIR.value,
      progress=binary.Progress('training'),
      on_chunk=log.on_chunk,
      should_stop=stop.is_asked,
      checkpoints=checkpoints,
  )
  num_missing = len(store.missing())
  if checkpoints and not num_missing:
    checkpoints.remove()
  took = log.end(is_complete=not num_missing)
  if num_missing and stop.is_asked():
    print(f'stopped as asked: {num_missing} models of {path} are missing')
    sys.exit(binary.STOPPED)
  if not len(store.completed()):
    raise ValueError(
        f'all {len(store.diverged())} models of {path} diverged; start again'
        ' elsewhere with a lower --learning_rate or a higher --alpha'
    )
  binary.table(
      'Collected',
      {
          'store': path,
          'completed': len(store.completed()),
          'diverged': len(store.diverged()),
          'num_train': store.num_train,
          'outcomes': ', '.join(store.outcomes),
          'group': store.recipe['group'],
          **took,
      },
  )


def _checkpoints(
    workdir: str, pool: recipe_lib.Pool
) -> checkpoints_lib.Checkpoints | None:
  if _CHECKPOINT.value is None:
    return None
  name = json.dumps(pool.description, sort_keys=True).encode()
  return checkpoints_lib.Checkpoints(
      os.path.join(workdir, 'checkpoints'),
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
              f' models/s, {cost.on(number).seconds / 3600:,.3g} h'
          )
          for number in numbers
      }
      | {'disk': f'{cost.num_bytes / 1e6:,.1f} MB'},
  )


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
  binary.run(main)
