r"""How the cost of LASSO paths grows: with targets, with models, with devices.

  env -u OPENBLAS_CORETYPE taskset -c 0 \
      python -m experiments.benchmarks.lasso_scaling --part=targets
  env -u OPENBLAS_CORETYPE taskset -c 0 \
      python -m experiments.benchmarks.lasso_scaling --part=models
  python -m experiments.benchmarks.lasso_scaling --part=devices

1,000 training examples, paths of 30 penalties to a hundredth, gap 1e-4, the
synthetic pools of `lasso_problems`. `targets`: 4,000 models, 100 to 1,600
targets; one line if the cost of a target is the same in any company. `models`:
200 targets, 2,000 to 32,000 models; beyond the moments, more models cost nothing
(they make the problem easier: fewer epochs). `devices`: a process on one core
with one emulated device, and one on two cores with two devices that share 1,600
targets, in turns; CPU seconds a target, whose ratio is 1 if devices do not get
in each other's way, and the wall seconds of the machine as it was. (Recorded: 1.06,
with a wall time of 1 / 1.8; 1.23 when they shared 400 targets, whose tiles are
half as wide as on one device.)

Process CPU seconds, compiled before, medians of `--turns` turns that go round
all sizes. Two to four minutes a part. Appends rows to lasso_scaling.csv.
"""

import json
import os
import subprocess
import sys
import time

from absl import app
from absl import flags
import jax
import numpy as np

from experiments.benchmarks import lasso_problems
from experiments.benchmarks import record
from jdm import solvers

_PART = flags.DEFINE_enum(
    'part', 'targets', ['targets', 'models', 'devices'], 'What grows.'
)
_TURNS = flags.DEFINE_integer('turns', 5, 'Times each size is measured.')
_NUM_TRAIN = flags.DEFINE_integer('num_train', 1000, 'Training examples.')
_SIZES = flags.DEFINE_list('sizes', None, 'Instead of those above.')
_CHILD = flags.DEFINE_integer('child', None, 'Is a process of so many devices.')

_TOL = 1e-4
_TARGETS = (100, 200, 400, 800, 1600)
_MODELS = (2000, 4000, 8000, 16_000, 32_000)
_SHARED = 1600  # Targets of both devices: full tiles for each.


def main(argv: list[str]) -> None:
  """Measures one part."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  if _CHILD.value:
    _solve_when_asked(_CHILD.value)
  elif _PART.value == 'devices':
    _devices()
  else:
    _sizes()


def _problem(num_models: int, num_targets: int) -> lasso_problems.Problem:
  return lasso_problems.synthetic(
      lasso_problems.Spec(
          num_train=_NUM_TRAIN.value,
          num_models=num_models,
          num_targets=num_targets,
      )
  )


def _solve(moments: solvers.Moments, num_devices: int) -> solvers.LassoPath:
  return solvers.lasso_path(
      moments,
      tol=_TOL,
      keep='all',
      certify=False,
      devices=jax.local_devices()[:num_devices],
  )


def _timed(function, *args):
  """Result and process CPU seconds."""
  start = time.process_time()
  result = function(*args)
  return result, time.process_time() - start


def _sizes() -> None:
  """One row a size."""
  sizes = [int(size) for size in _SIZES.value or ()]
  if _PART.value == 'targets':
    pairs = [(4 * _NUM_TRAIN.value, size) for size in sizes or _TARGETS]
  else:
    pairs = [(size, 200) for size in sizes or _MODELS]
  problems = [_problem(*pair) for pair in pairs]
  measured: list[list] = [[] for _ in problems]
  for problem in problems:  # Compiles.
    lasso_problems.moments(problem.masks, problem.outcomes)
    _solve(problem.moments, 1)
  for _ in range(_TURNS.value):
    for problem, rows in zip(problems, measured):
      moments, summing = _timed(
          lasso_problems.moments, problem.masks, problem.outcomes
      )
      path, solving = _timed(_solve, moments, 1)
      rows.append((summing, solving, float(path.num_epochs.mean())))
  for (num_models, num_targets), rows in zip(pairs, measured):
    summing, solving, epochs = np.median(rows, axis=0)
    record.append(
        __file__,
        {
            'part': _PART.value,
            'num_train': _NUM_TRAIN.value,
            'num_models': num_models,
            'num_targets': num_targets,
            'devices': 1,
            'moments_seconds': round(summing, 3),
            'seconds': round(solving, 3),
            'milliseconds_a_target': round(1e3 * solving / num_targets, 3),
            'epochs': round(epochs, 1),
            'turns': _TURNS.value,
        },
    )


def _devices() -> None:
  """Rows of one device and of two."""
  cores = sorted(os.sched_getaffinity(0))[:2]
  if len(cores) < 2:
    raise app.UsageError('two devices need two cores')
  children = {count: _start(count, cores[:count]) for count in (1, 2)}
  found: dict[int, list] = {1: [], 2: []}
  for _ in range(_TURNS.value):
    for count, child in children.items():
      assert child.stdin is not None
      child.stdin.write('go\n')
      child.stdin.flush()
      found[count].append(_listen(child))
  for child in children.values():
    child.communicate()
  cpu = {
      count: np.median([row['cpu'] for row in found[count]]) for count in found
  }
  for count, rows in found.items():
    record.append(
        __file__,
        {
            'part': 'devices',
            'num_train': _NUM_TRAIN.value,
            'num_models': 4 * _NUM_TRAIN.value,
            'num_targets': _SHARED,
            'devices': count,
            'seconds': round(cpu[count], 3),
            'milliseconds_a_target': round(1e3 * cpu[count] / _SHARED, 3),
            'wall_seconds': round(np.median([row['wall'] for row in rows]), 3),
            'cpu_over_one_device': round(cpu[count] / cpu[1], 3),
            'turns': _TURNS.value,
        },
    )


def _start(count: int, cores: list[int]) -> subprocess.Popen:
  """A process of so many devices, compiled and waiting."""
  module = 'experiments.benchmarks.lasso_scaling'
  flags_ = [f'--child={count}', f'--num_train={_NUM_TRAIN.value}']
  child = subprocess.Popen(
      ['taskset', '-c', ','.join(map(str, cores)), sys.executable, '-m', module]
      + flags_,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
  )
  _listen(child)
  return child


def _listen(child: subprocess.Popen) -> dict:
  assert child.stdout is not None
  return json.loads(child.stdout.readline())


def _solve_when_asked(count: int) -> None:
  """Solves once for each line, and prints seconds."""
  jax.config.update('jax_num_cpu_devices', count)
  moments = _problem(4 * _NUM_TRAIN.value, _SHARED).moments
  _solve(moments, count)  # Compiles.
  print('{}', flush=True)
  for _ in sys.stdin:
    wall = time.perf_counter()
    _, cpu = _timed(_solve, moments, count)
    wall = time.perf_counter() - wall
    print(json.dumps({'cpu': cpu, 'wall': wall}), flush=True)


if __name__ == '__main__':
  app.run(main)
