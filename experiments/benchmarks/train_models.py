r"""How many small models a CPU core trains a second, against PyTorch and others.

  python -m venv .venv-peers && .venv-peers/bin/pip install torch dattri \
      scikit-learn
  taskset -c 0 python -m experiments.benchmarks.train_models \
      --peer_python=.venv-peers/bin/python

The work, for logistic regression and an MLP: digits, half of 1,500 training
examples, 150 steps of 50 (10 epochs), momentum, weight decay, triangular
schedule, then the soft margins of all 1,797 examples. For a CNN: half of 5,000
Fashion-MNIST images, 500 steps, margins of 6,000. Process CPU seconds of one
core, compiled before, median of five (CNN: three). `gemm_share` is the floating
point operations of the steps, over what the core does in products of 512 x 512
float32 matrices in the same run. `crossover`: from how many models on jdm is
ahead, compilation counted; `warm_crossover`: the same with the persistent cache
of compilations warm. About four minutes on idle cores. Appends one row a model
to train_models.csv.

Goals set before: 50, 15 and 2 times the loop in PyTorch. Measured with PyTorch
2.14 (whose loop is faster than it was, and has varied by a third between runs):
46 and 48 for logistic regressions (39 before the network below), 14 for MLPs and
2.6 for CNNs (1.7 before batch-last images); a share of the core's peak of .21,
.37 and .51; a warm crossover of 120 models with `torch.func`'s logistic
regressions, below 100 with all others (goal: 100).

What a warm first call takes beyond training (0.4 s for logistic regressions, 0.6
before): tracing .14, lowering .08, reading the compiled program .06, and the
same for the program that draws subsets .09. A full garbage collection of what
the imports made took .1 to .14 (now frozen), tracing the network by
`jax.numpy` .05 (now by `lax`); that vmap traces the bodies of scans up to four
times costs nothing, for JAX remembers them.

Where a CNN's step went (1,080 us): products 690, at 36 to 107 GF/s, worst those
with 16 columns; copies between them 390, because rows of 16 channels are short
and an index is computed for each entry. Attempts: kernels stored transposed
(970); positions of the first layer in the order that the second reads (950);
batch-last images with strided slices (2,140: the gradient of a slice with a
stride is a padded array), with a split instead of slices (760, of which products
are 550; kept), and with first patches stored (980: random reads of 4.6 times as
many bytes).

Other attempts: sorting the orders of a group of 32 models or more by a bitonic network instead
of one by one (`jdm/shuffle.py`) trains logistic regressions 14 and 17 % faster
(two pairs of runs in turns), the same bits, and is kept; a group of 16, the
MLPs', gains nothing by it (23 us an order either way, 7.5 instead of 22 in a
group of 64). Without the selection that skips steps beyond a subset's last
batch the MLP takes 7 % less (the others nothing), which moves last bits and was
not kept; an affine order of examples instead of a sorted shuffle is no random
order.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import app
from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import record
from jdm import recipe as recipe_lib

_PEER_PYTHON = flags.DEFINE_string(
    'peer_python', None, 'Python with the peers; without it no ratio.'
)
_MODELS = flags.DEFINE_list('models', ['linear', 'mlp', 'cnn'], 'Which models.')
_COMPILE_ONLY = flags.DEFINE_bool(
    'compile_only', False, 'Prints the CPU seconds of a first call, no more.'
)
_NUM_MODELS = {'linear': 512, 'mlp': 512, 'cnn': 2}  # In one timed call.
_REPEATS = {'linear': 5, 'mlp': 5, 'cnn': 3}
_DATASETS: dict[str, dict[str, Any]] = {
    'linear': {'dataset': 'digits'},
    'mlp': {'dataset': 'digits'},
    'cnn': {
        'dataset': 'idx',
        'dataset_options': {'num_train': 5000, 'num_test': 1000},
    },
}
# Of a model's steps: two a weight and example forward, two for the gradient of
# weights, two for that of inputs where there are layers below.
_FLOPS = {
    'linear': 150 * 50 * 4 * 64 * 10,
    'mlp': 150 * 50 * (4 * 64 * 64 + 6 * 64 * 10),
    'cnn': 500 * 50 * (4 * 144 * 25 * 16 + 6 * 25 * 144 * 32 + 6 * 800 * 10),
}
_PEER = os.path.join(os.path.dirname(__file__), 'peers', 'torch_loops.py')


def main(argv: list[str]) -> None:
  """Times jdm, then the peers, and records all."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  gc.freeze()  # As binaries do.
  for name in _MODELS.value:
    recipe = recipe_lib.Recipe(
        model=name, targets=('test', 'train'), **_DATASETS[name]
    )
    pool = recipe_lib.build(recipe, devices=jax.local_devices()[:1])
    if _COMPILE_ONLY.value:
      print(_call(pool, name, 0)[0])
      continue
    peak = _gemm_flops_per_second()
    first, seconds, accuracy = _time_jdm(pool, name)
    compiling = max(first - seconds * _NUM_MODELS[name], 0.0)
    warm = max(_warm_first(name) - seconds * _NUM_MODELS[name], 0.0)
    row = {
        'model': name,
        'group': pool.trainer.group,
        'models_per_cpu_second': _digits(1 / seconds),
        'accuracy': round(accuracy, 4),
        'gemm_gflops': round(peak / 1e9, 1),
        'gemm_share': round(_FLOPS[name] / seconds / peak, 2),
        'compile_seconds': round(compiling, 2),
        'warm_compile_seconds': round(warm, 2),
    }
    if _PEER_PYTHON.value:
      peers = _time_peers(_PEER_PYTHON.value, pool, name)
      row |= _compared(peers, seconds, compiling, warm)
    record.append(__file__, row)


def _call(pool: recipe_lib.Pool, name: str, repeat: int) -> tuple[float, float]:
  """CPU seconds of a call, subsets and outcomes included, and test accuracy."""
  num_models = _NUM_MODELS[name]
  ids = np.arange(num_models) + repeat * num_models
  start = time.process_time()
  outcomes = pool.trainer.train(jax.random.key(pool.seed), ids, pool.masks(ids))
  seconds = time.process_time() - start
  return seconds, float(np.mean(outcomes['soft_margin'] > 0))


def _time_jdm(pool: recipe_lib.Pool, name: str) -> tuple[float, float, float]:
  """CPU seconds of the first call and of a later model, and test accuracy."""
  calls = [_call(pool, name, i) for i in range(_REPEATS[name] + 1)]
  later = np.median([seconds for seconds, _ in calls[1:]])
  accuracy = float(np.mean([right for _, right in calls]))
  return calls[0][0], float(later) / _NUM_MODELS[name], accuracy


def _warm_first(name: str) -> float:
  """CPU seconds of a process's first call, compiled by a process before it."""
  command = [sys.executable, '-m', 'experiments.benchmarks.train_models']
  command += [f'--models={name}', '--compile_only']
  with tempfile.TemporaryDirectory() as folder:
    cache = {
        'JAX_COMPILATION_CACHE_DIR': folder,
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    }
    for _ in range(2):
      done = subprocess.run(
          command,
          check=True,
          capture_output=True,
          text=True,
          env={**os.environ, **cache},
      )
  return float(done.stdout.splitlines()[-1])


def _gemm_flops_per_second(size: int = 512) -> float:
  product = jax.jit(lambda a: a @ a)
  matrix = jnp.full((size, size), 1e-3)
  product(matrix).block_until_ready()
  seconds = []
  for _ in range(30):
    start = time.process_time()
    product(matrix).block_until_ready()
    seconds.append(time.process_time() - start)
  return 2 * size**3 / min(seconds)


def _time_peers(python: str, pool: recipe_lib.Pool, name: str) -> Any:
  dataset, config = pool.dataset, pool.description['training']
  assert dataset is not None  # Made from a recipe.
  inputs = {split: dataset.split(split).inputs for split in ('train', 'test')}
  if name == 'cnn':  # Channels first.
    inputs = {split: x.reshape(-1, 1, 28, 28) for split, x in inputs.items()}
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'examples.npz')
    np.savez(
        path,
        train_inputs=inputs['train'],
        train_labels=dataset.train.labels,
        test_inputs=inputs['test'],
        test_labels=dataset.test.labels,
        settings=json.dumps(config),
    )
    command = [python, _PEER, path, name]
    one = {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **one},
    )
  return json.loads(done.stdout.splitlines()[-1])


def _compared(
    peers: Any, seconds: float, compiling: float, warm: float
) -> dict[str, Any]:
  """Rates and accuracies of each peer at its best, and the ratios to them."""
  result: dict[str, Any] = {'torch': peers['torch']}
  for short, prefix in (
      ('loop', 'torch_loop'),
      ('func', 'torch_func'),
      ('dattri', 'dattri'),
      ('sklearn', 'sklearn'),
  ):
    rows = [r for n, r in peers['rows'].items() if n.startswith(prefix)]
    if not rows:
      result |= dict.fromkeys(_names(short), '')
      continue
    best = min(rows, key=lambda row: row['seconds_per_model'])
    theirs, accuracy = best['seconds_per_model'], best['accuracy']
    gain = theirs - seconds
    values = (
        _digits(1 / theirs),
        '' if accuracy is None else round(accuracy, 4),
        round(theirs / seconds, 1),
        round(compiling / gain) if gain > 0 else 'never',
        round(warm / gain) if gain > 0 else 'never',
    )
    result |= dict(zip(_names(short), values))
  return result


def _names(peer: str) -> list[str]:
  return [
      f'{peer}_per_cpu_second',
      f'{peer}_accuracy',
      f'ratio_to_{peer}',
      f'{peer}_crossover',
      f'{peer}_warm_crossover',
  ]


def _digits(value: float) -> float:
  return round(value, 1) if value > 10 else round(value, 3)


if __name__ == '__main__':
  app.run(main)
