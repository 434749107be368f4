r"""How many utilities a CPU core evaluates a second, against pyDVL.

  python -m venv .venv-pydvl && .venv-pydvl/bin/pip install pydvl
  taskset -c 0 python -m experiments.benchmarks.shapley \
      --peer_python=.venv-pydvl/bin/python

The work: Shapley values by permutation sampling of the first `--num_train`
examples of a dataset, a tenth of them with wrong labels; the utility is minus
the mean log loss, on the dataset's test examples, of logistic regression (C =
1) trained on a set; sets that miss a class are worth minus log K in both. Every
prefix of an order is one evaluation. Process CPU seconds of one core, compiled
before; compiling is told apart. Both draw as many permutations, of their own:
values should differ as their standard errors say, by a root mean square z of
1. Appends a row to shapley.csv; about two minutes.

Measured on a shared machine: 32 times as many on 100 points of breast cancer (31
parameters), 22 to 24 times on 300, where scikit-learn's fixed cost of a fit
weighs less; most of it over scikit-learn, whose bare loop is 1.1 times as fast
as pyDVL. On ten classes of digits (650 parameters) 1.8 times. They were 28, 16 to
18 and 1.4 before training started from the minimum of the nearest set, and .2 on
digits before Newton's equations of large objectives were solved by conjugate
gradients.
"""

import json
import os
import subprocess
import tempfile
import time
from typing import Any

from absl import app
from absl import flags
import numpy as np
from scipy import stats

from experiments.benchmarks import record
from jdm import datasets
from jdm.analysis import sampled_values
from jdm.modelpred import points
from jdm.modelpred import utilities
from jdm.training import exact

_PEER_PYTHON = flags.DEFINE_string(
    'peer_python', None, 'Python with pyDVL; without it no ratio.'
)
_DATASET = flags.DEFINE_string('dataset', 'breast_cancer', 'Of classes.')
_NUM_TRAIN = flags.DEFINE_integer('num_train', 100, 'Examples to value.')
_NUM_ORDERS = flags.DEFINE_integer('num_orders', 200, 'Permutations of each.')
_WRONG = 0.1  # Share of wrong labels.
_NUM_COMPARED = 50  # Sets on which the two trained models are compared.
_PEER = os.path.join(os.path.dirname(__file__), 'peers', 'pydvl_shapley.py')


def main(argv: list[str]) -> None:
  """Times jdm, then the peer, and records both."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  utility = _utility()
  start = time.process_time()
  _values(utility, 6, seed=1)  # Batches of both sizes.
  compile_seconds = time.process_time() - start
  start = time.process_time()
  found = _values(utility, _NUM_ORDERS.value, seed=0)
  seconds = time.process_time() - start
  rate = found.num_models / seconds
  row: dict[str, Any] = {
      'dataset': _DATASET.value,
      'num_train': _NUM_TRAIN.value,
      'num_orders': _NUM_ORDERS.value,
      'evaluations_per_cpu_second': round(rate, 1),
      'compile_seconds': round(compile_seconds, 2),
  }
  if _PEER_PYTHON.value:
    row |= _compared(_PEER_PYTHON.value, utility, found, rate)
  record.append(__file__, row)


def _utility() -> utilities.Utility:
  dataset = datasets.load(_DATASET.value)
  rows = slice(0, _NUM_TRAIN.value)
  labels = np.array(dataset.train.labels[rows])
  rng = np.random.default_rng(0)
  wrong = rng.choice(len(labels), round(_WRONG * len(labels)), replace=False)
  shift = rng.integers(1, dataset.num_classes, len(wrong))
  labels[wrong] = (labels[wrong] + shift) % dataset.num_classes
  inputs = dataset.train.inputs[rows].reshape(len(labels), -1)
  own = exact.objective(exact.Config(), inputs.shape[1], dataset.num_classes)
  pool = points.Pool(
      objective=own, inputs=inputs.astype(np.float64), labels=labels
  )
  return utilities.retrained(pool, dataset.test.inputs, dataset.test.labels)


def _values(utility: utilities.Utility, num_orders: int, seed: int):
  walked = sampled_values.walk(
      utility,
      len(utility.pool.labels),
      num_orders=num_orders,
      empty_utility=utility.empty,
      seed=seed,
  )
  return sampled_values.shapley(walked)


def _compared(python, utility, found, rate: float) -> dict[str, Any]:
  """The peer's speed, and how far apart values and trained models are."""
  pool = utility.pool
  masks = np.random.default_rng(2).random(
      (4 * _NUM_COMPARED, found.values.size)
  )
  masks = masks < np.linspace(0.1, 1, len(masks))[:, None]
  masks = masks[utility.has_minimum(masks)][:_NUM_COMPARED]
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'examples.npz')
    np.savez(
        path,
        inputs=pool.inputs,
        labels=pool.labels,
        val_inputs=utility.inputs,
        val_labels=utility.labels,
        empty=utility.empty[0],
        c=1 / pool.objective.lam,
        masks=masks,
    )
    command = [python, _PEER, path, str(_NUM_ORDERS.value)]
    one = {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **one},
    )
  peer = json.loads(done.stdout.splitlines()[-1])
  values, errors = np.array(peer['values']), np.array(peer['standard_error'])
  own, own_errors = found.values[:, 0], found.standard_error[:, 0]
  z = (own - values) / np.hypot(own_errors, errors)
  apart = np.abs(utility(masks)[:, 0] - peer['utilities'])
  peer_rate = peer['fits'] / peer['seconds']
  return {
      'pydvl': peer['pydvl'],
      'scikit_learn': peer['scikit_learn'],
      'solver': peer['solver'],
      'peer_per_cpu_second': round(peer_rate, 1),
      'ratio': round(rate / peer_rate, 1),
      'loop_per_cpu_second': round(peer['loop_rate'], 1),
      'ratio_to_loop': round(rate / peer['loop_rate'], 1),
      'rms_z': round(float(np.sqrt(np.mean(z**2))), 2),
      'spearman': round(float(stats.spearmanr(own, values).statistic), 3),
      'standard_error': f'{own_errors.mean():.2e}',
      'peer_standard_error': f'{errors.mean():.2e}',
      'largest_utility_difference': f'{apart.max():.1e}',
  }


if __name__ == '__main__':
  app.run(main)
