r"""LASSO paths at the size where a Gram matrix fills a machine's memory.

  env -u OPENBLAS_CORETYPE taskset -c 0 \
      python -m experiments.benchmarks.large_lasso --workdir=runs/large_lasso

20,000 training examples, 40,000 models and 300 targets, each outcome the sum of
the weights of 50 examples (Laplace) and noise (a fifth of the variance), the
masks fixed-size subsets of half of the examples, packed to bits; 1,000 more
models choose among 20 penalties down to a twentieth of the largest; gap 1e-4.
The Gram matrix is 1.6 GB as counts and 1.6 GB in float32; a whole float64 copy
of it is never made.

Three steps, the pool, its moments and the paths, each in a process of its own,
whose results wait in the work directory: killed and run again, it goes on after
the last one finished. Process CPU seconds of each, compilations included, and
its largest resident memory; one row in large_lasso.csv. Five minutes on one
core, 8 GiB of memory and 2 of disk.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import time
from typing import Any

from absl import app
from absl import flags
import numpy as np

from experiments.benchmarks import record
from jdm import solvers
from jdm import subsets

_WORKDIR = flags.DEFINE_string('workdir', None, 'Where to work.', required=True)
_NUM_TRAIN = flags.DEFINE_integer('num_train', 20_000, 'Training examples.')
_NUM_MODELS = flags.DEFINE_integer('num_models', 40_000, 'Models to fit.')
_NUM_TARGETS = flags.DEFINE_integer('num_targets', 300, 'Targets.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the pool.')
_STEP = flags.DEFINE_enum(
    'step', None, ['pool', 'moments', 'paths'], 'Takes this step alone.'
)

_NUM_VAL = 1000
_HELPFUL = 50  # Examples that a target depends on.
_NOISE = 0.5  # Standard deviation over that of the signal.
_ROWS = 2000  # Models drawn at once.
_TOL = 1e-4
_NUM_LAMS, _MIN_RATIO = 20, 0.05


def main(argv: list[str]) -> None:
  """Takes the steps that are left, and records them."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  folder = pathlib.Path(_WORKDIR.value)
  folder.mkdir(parents=True, exist_ok=True)
  steps = {'pool': _pool, 'moments': _moments, 'paths': _paths}
  _check_recipe(folder)
  if _STEP.value:
    _take(folder, _STEP.value, steps[_STEP.value])
    return
  row = {name: flag for name, flag in _recipe().items() if name != 'seed'}
  for name in steps:
    report = folder / f'{name}.json'
    if not report.exists():
      command = [sys.executable, '-m', 'experiments.benchmarks.large_lasso']
      given = [f'--{key}={value}' for key, value in _recipe().items()]
      subprocess.run(
          [*command, f'--workdir={folder}', f'--step={name}', *given],
          check=True,
      )
    row.update(json.loads(report.read_text(encoding='utf-8')))
  record.append(__file__, row)


def _recipe() -> dict[str, int]:
  """What the work directory was made with."""
  return {
      'num_train': _NUM_TRAIN.value,
      'num_models': _NUM_MODELS.value,
      'num_targets': _NUM_TARGETS.value,
      'seed': _SEED.value,
  }


def _check_recipe(folder: pathlib.Path) -> None:
  """Raises if the work directory holds another problem."""
  path = folder / 'recipe.json'
  if not path.exists():
    path.write_text(json.dumps(_recipe()), encoding='utf-8')
  found = json.loads(path.read_text(encoding='utf-8'))
  if found != _recipe():
    raise app.UsageError(f'{folder} holds {found}, asked was {_recipe()}')


def _take(folder: pathlib.Path, name: str, step) -> None:
  """Takes a step and reports its seconds and memory."""
  wall, start = time.perf_counter(), time.process_time()
  found = step(folder)
  seconds = time.process_time() - start
  # Kilobytes on Linux.
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  report = {
      f'{name}_seconds': round(seconds, 1),
      f'{name}_wall_seconds': round(time.perf_counter() - wall, 1),
      f'{name}_peak_gib': round(most, 2),
      **found,
  }
  path = folder / f'{name}.json'
  temporary = path.with_suffix('.tmp')
  temporary.write_text(json.dumps(report), encoding='utf-8')
  os.replace(temporary, path)
  print(report, flush=True)


def _save(path: pathlib.Path, **arrays: Any) -> None:
  """Writes arrays, complete or not at all."""
  temporary = path.with_suffix('.tmp')
  with temporary.open('wb') as file:
    np.savez(file, **arrays)
  os.replace(temporary, path)


def _masks(first: int, last: int) -> np.ndarray:
  """Bool masks of some models; a model is a function of its number alone."""
  num_train = _NUM_TRAIN.value
  rows = np.zeros((last - first, num_train), bool)
  for model, row in zip(range(first, last), rows):
    generator = np.random.default_rng((_SEED.value, model))
    draws = generator.random(num_train, dtype=np.float32)
    row[np.argpartition(draws, num_train // 2)[: num_train // 2]] = True
  return rows


def _pool(folder: pathlib.Path) -> dict[str, float]:
  """Draws masks and outcomes of models to fit and to validate on."""
  num_train, num_targets = _NUM_TRAIN.value, _NUM_TARGETS.value
  generator = np.random.default_rng(_SEED.value)
  weights = np.zeros((num_train, num_targets), np.float32)
  for target in range(num_targets):
    ids = generator.choice(num_train, _HELPFUL, replace=False)
    weights[ids, target] = generator.laplace(size=_HELPFUL)
  total = _NUM_MODELS.value + _NUM_VAL
  bits, outcomes = [], []
  for first in range(0, total, _ROWS):
    masks = _masks(first, min(first + _ROWS, total))
    bits.append(np.packbits(masks, axis=1))
    outcomes.append(masks.astype(np.float32) @ weights)
  signal = np.concatenate(outcomes)
  noise = generator.normal(size=signal.shape) * _NOISE * signal.std(axis=0)
  _save(
      folder / 'pool.npz',
      bits=np.concatenate(bits),
      outcomes=(signal + noise).astype(np.float32),
  )
  return {}


def _read(folder: pathlib.Path):
  """Masks and outcomes of models to fit, and of those to validate on."""
  num_models, num_train = _NUM_MODELS.value, _NUM_TRAIN.value
  with np.load(folder / 'pool.npz') as pool:
    bits, outcomes = pool['bits'], pool['outcomes']
  fit = subsets.PackedMasks(bits[:num_models], num_train)
  val = subsets.PackedMasks(bits[num_models:], num_train)
  return (fit, outcomes[:num_models]), (val, outcomes[num_models:])


def _moments(folder: pathlib.Path) -> dict[str, float]:
  """Sums up the models to fit."""
  fit, _ = _read(folder)
  empty = solvers.Moments.zeros(_NUM_TRAIN.value, _NUM_TARGETS.value)
  start = time.process_time()
  moments = empty.add(*fit)
  adding = time.process_time() - start
  moments.save(folder / 'moments.npz')
  return {'adding_seconds': round(adding, 1)}


def _paths(folder: pathlib.Path) -> dict[str, float]:
  """Follows the paths of all targets."""
  _, (val_masks, val_outcomes) = _read(folder)
  moments = solvers.Moments.load(folder / 'moments.npz')
  start = time.process_time()
  path = solvers.lasso_path(
      moments,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      num_lams=_NUM_LAMS,
      min_ratio=_MIN_RATIO,
      tol=_TOL,
      progress=lambda done, total: print(f'{done} of {total}', flush=True),
  )
  solving = time.process_time() - start
  _save(
      folder / 'paths.npz',
      gap=path.gap,
      lam=path.lam,
      nnz=path.nnz,
      val_mse=path.val_mse,
      num_epochs=path.num_epochs,
  )
  explained = 1 - path.val_mse / val_outcomes.var(axis=0)
  return {
      'solving_seconds': round(solving, 1),
      'max_gap': float(path.gap.max()),
      'converged': int(path.converged.sum()),
      'nnz': round(float(path.nnz.mean()), 1),
      'val_r2': round(float(explained.mean()), 4),
      'epochs': round(float(path.num_epochs.mean()), 1),
  }


if __name__ == '__main__':
  app.run(main)
