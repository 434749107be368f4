r"""How many small models a CPU core trains a second, against PyTorch.

  python -m venv .venv-peers && .venv-peers/bin/pip install torch numpy
  taskset -c 0 python -m experiments.benchmarks.train_models \
      --peer_python=.venv-peers/bin/python

The work: digits, half of 1,500 training examples, 150 steps of 50 (10 epochs),
momentum, weight decay, triangular schedule, then the soft margins of all 1,797
examples. Process CPU seconds of one core, compiled before, median of five.
Two minutes. Appends one row a model to train_models.csv.
"""

import json
import os
import subprocess
import tempfile
import time
from typing import Any

from absl import app
from absl import flags
import jax
import numpy as np

from experiments.benchmarks import record
from jdm import recipe as recipe_lib
from jdm.training import sgd

_PEER_PYTHON = flags.DEFINE_string(
    'peer_python', None, 'Python with PyTorch; without it no ratio.'
)
_MODELS = flags.DEFINE_list('models', ['linear', 'mlp'], 'Which models.')
_NUM_MODELS = flags.DEFINE_integer('num_models', 512, 'In one timed call.')
_REPEATS = 5
_PEER = os.path.join(os.path.dirname(__file__), 'peers', 'torch_loops.py')


def main(argv: list[str]) -> None:
  """Times jdm, then the peer, and records both."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  for name in _MODELS.value:
    defaults: dict[str, Any] = dict(recipe_lib.TRAINING_DEFAULTS[name])
    recipe = recipe_lib.Recipe(
        model=name,
        training=sgd.Config(**defaults),
        targets=('test', 'train'),
    )
    pool = recipe_lib.build(recipe, devices=jax.local_devices()[:1])
    seconds, accuracy = _time_jdm(pool)
    row = {
        'model': name,
        'group': pool.trainer.group,
        'models_per_cpu_second': round(1 / seconds, 1),
        'accuracy': round(accuracy, 4),
    }
    if _PEER_PYTHON.value:
      row |= _time_peer(
          _PEER_PYTHON.value, pool.dataset, name, defaults, seconds
      )
    record.append(__file__, row)


def _time_jdm(pool: recipe_lib.Pool) -> tuple[float, float]:
  """CPU seconds a model, subsets and outcomes included, and test accuracy."""
  key, seconds = jax.random.key(pool.seed), []
  for repeat in range(_REPEATS + 1):
    ids = np.arange(_NUM_MODELS.value) + repeat * _NUM_MODELS.value
    start = time.process_time()
    outcomes = pool.trainer.train(key, ids, pool.masks(ids))
    seconds.append((time.process_time() - start) / len(ids))
  accuracy = float(np.mean(outcomes['soft_margin'] > 0))
  return float(np.median(seconds[1:])), accuracy  # The first one compiles.


def _time_peer(
    python: str,
    dataset: Any,
    name: str,
    defaults: dict[str, Any],
    seconds: float,
) -> dict[str, float | str]:
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'examples.npz')
    np.savez(
        path,
        train_inputs=dataset.train.inputs,
        train_labels=dataset.train.labels,
        test_inputs=dataset.test.inputs,
        test_labels=dataset.test.labels,
    )
    rate, decay = defaults['learning_rate'], defaults['weight_decay']
    command = [python, _PEER, path, name, str(rate), str(decay)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
  result = json.loads(done.stdout.splitlines()[-1])
  rows = result['rows']
  loop = rows['torch_loop']
  func = min(
      (row for label, row in rows.items() if label != 'torch_loop'),
      key=lambda row: row['seconds_per_model'],
  )
  return {
      'torch': result['torch'],
      'loop_per_cpu_second': round(1 / loop['seconds_per_model'], 1),
      'loop_accuracy': round(loop['accuracy'], 4),
      'ratio_to_loop': round(loop['seconds_per_model'] / seconds, 1),
      'func_per_cpu_second': round(1 / func['seconds_per_model'], 1),
      'func_accuracy': round(func['accuracy'], 4),
      'ratio_to_func': round(func['seconds_per_model'] / seconds, 1),
  }


if __name__ == '__main__':
  app.run(main)
