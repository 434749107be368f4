r"""LASSO paths of targets that leave models out: led by the Gram matrix or not.

  taskset -c 0 python -m experiments.benchmarks.train_targets

Synthetic pool, 2,800 models of 700 examples and 700 validation models; 128 train
targets, each of its own models, 30 penalties. The two ways, sweeps on the masks
alone and those led by the Gram matrix of all models
(`jdm/solvers/preconditioned.py`), solve the same problems to the same certified
gap of `--tol`. Process CPU seconds, compiled before, moments and certificates
included. About a minute on an idle core; appends a row an alpha to
train_targets.csv.
"""

import time
from unittest import mock

from absl import app
from absl import flags
import numpy as np

from experiments.benchmarks import record
from jdm.solvers import direct
from jdm.solvers import preconditioned

_ALPHAS = flags.DEFINE_list('alphas', ['0.2', '0.5'], 'Subset fractions.')
_TOL = flags.DEFINE_float('tol', 1e-4, 'Relative duality gap.')
_NUM_MODELS, _NUM_VAL, _NUM_TRAIN, _NUM_TARGETS = 2800, 700, 700, 128
_SUPPORT = 60  # Examples that matter to a target.


def main(argv: list[str]) -> None:
  """Times both ways, and records the ratio."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  for alpha in map(float, _ALPHAS.value):
    pool = _pool(alpha)
    masks, led = (_solve(pool, by_gram) for by_gram in (False, True))
    record.append(
        __file__,
        {
            'num_models': _NUM_MODELS,
            'num_train': _NUM_TRAIN,
            'num_targets': _NUM_TARGETS,
            'alpha': alpha,
            'tol': _TOL.value,
            'masks_seconds': round(masks[0], 2),
            'masks_epochs': round(masks[1], 1),
            'led_seconds': round(led[0], 2),
            'led_epochs': round(led[1], 1),
            'ratio': round(masks[0] / led[0], 2),
        },
    )


def _pool(alpha: float) -> tuple[np.ndarray, np.ndarray]:
  """Masks, and outcomes of which half the variance is noise."""
  rng = np.random.default_rng(0)
  num = _NUM_MODELS + _NUM_VAL
  order = rng.random((num, _NUM_TRAIN)).argsort(axis=1)
  masks = order < alpha * _NUM_TRAIN
  weights = np.zeros((_NUM_TRAIN, _NUM_TARGETS))
  for column in weights.T:
    column[rng.choice(_NUM_TRAIN, _SUPPORT, replace=False)] = rng.normal(
        size=_SUPPORT
    )
  signal = masks @ weights
  noise = rng.normal(size=signal.shape)
  return masks, signal / signal.std(axis=0)[None] + noise


def _solve(pool, by_gram: bool) -> tuple[float, float]:
  """CPU seconds of a second call, and mean epochs of a target."""
  masks, outcomes = pool
  seconds, path = 0.0, None
  for _ in range(2):
    start = time.process_time()
    with mock.patch.object(preconditioned, 'applies', return_value=by_gram):
      path = direct.lasso_path(
          masks[:_NUM_MODELS],
          outcomes[:_NUM_MODELS],
          own_ids=np.arange(_NUM_TARGETS),
          val_masks=masks[_NUM_MODELS:],
          val_outcomes=outcomes[_NUM_MODELS:],
          tol=_TOL.value,
      )
    seconds = time.process_time() - start
  assert path is not None and path.converged.all()
  return seconds, float(np.mean(path.num_epochs))


if __name__ == '__main__':
  app.run(main)
