r"""What a model costs when two processes train side by side, against one alone.

  python -m experiments.benchmarks.two_processes

Digits, the models of train_models. Each process is bound to a core of its own,
compiles, waits for the others, and trains; what counts is its process CPU
seconds a model. One process and two take turns, `--rounds` times; medians.
A ratio of 1 means that processes do not get in each other's way (in caches and
memory). About two minutes; appends one row a model to two_processes.csv.
"""

import os
import subprocess
import sys
import time

from absl import app
from absl import flags
import jax
import numpy as np

from experiments.benchmarks import record
from jdm import recipe as recipe_lib

_MODELS = flags.DEFINE_list('models', ['linear', 'mlp'], 'Which models.')
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Of one process and of two.')
_CHILD = flags.DEFINE_bool('child', False, 'Is one of the processes.')
_NUM_MODELS = {'linear': 4096, 'mlp': 1024}


def main(argv: list[str]) -> None:
  """Times both, and records the ratio."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  if _CHILD.value:
    _train(_MODELS.value[0])
    return
  cores = sorted(os.sched_getaffinity(0))[:2]
  if len(cores) < 2:
    raise app.UsageError('two processes need two cores')
  for name in _MODELS.value:
    alone, together = [], []
    for _ in range(_ROUNDS.value):
      alone += _seconds(name, cores[:1])
      together += _seconds(name, cores)
    one, two = float(np.median(alone)), float(np.median(together))
    record.append(
        __file__,
        {
            'model': name,
            'rounds': _ROUNDS.value,
            'microseconds_alone': round(1e6 * one, 1),
            'microseconds_of_two': round(1e6 * two, 1),
            'ratio': round(two / one, 3),
        },
    )


def _train(name: str) -> None:
  """Compiles, waits for a line, trains, prints CPU seconds a model."""
  recipe = recipe_lib.Recipe(model=name)
  pool = recipe_lib.build(recipe, devices=jax.local_devices()[:1])
  key, num_models = jax.random.key(0), _NUM_MODELS[name]
  pool.trainer.train(key, np.arange(64), pool.masks(np.arange(64)))
  ids = np.arange(num_models)
  masks = pool.masks(ids)
  print('ready', flush=True)
  sys.stdin.readline()
  start = time.process_time()
  pool.trainer.train(key, ids, masks)
  print((time.process_time() - start) / num_models, flush=True)


def _seconds(name: str, cores: list[int]) -> list[float]:
  """CPU seconds a model of processes that train at the same time."""
  command = [sys.executable, '-m', 'experiments.benchmarks.two_processes']
  command += ['--child', f'--models={name}']
  children = [
      subprocess.Popen(
          ['taskset', '-c', str(core), *command],
          stdin=subprocess.PIPE,
          stdout=subprocess.PIPE,
          stderr=subprocess.DEVNULL,
          text=True,
      )
      for core in cores
  ]
  for child in children:
    assert child.stdout is not None
    child.stdout.readline()  # Ready.
  for child in children:
    assert child.stdin is not None
    child.stdin.write('go\n')
    child.stdin.flush()
  return [float(child.communicate()[0].split()[-1]) for child in children]


if __name__ == '__main__':
  app.run(main)
