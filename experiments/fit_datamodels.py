r"""Fits one datamodel to every target of a pool.

  python -m experiments.fit_datamodels --workdir=runs/mlp

Reads `WORKDIR/store`, chooses each target's penalty on the last `--num_val`
completed models, fits again on all of them, and writes
`WORKDIR/datamodels_REGRESSOR_TARGETS.npz` and `fit.json`. Before that it solves
a few targets and prints about what all will cost, often within a factor of two;
`--dry_run` prints only that and writes nothing. On digits (1,500 train, 297
targets, two cores) the LASSO takes about 20 seconds on 2,000 linear models or
5,000 MLPs, most of them spent on compiling.
"""

import os
import time

from absl import flags
import numpy as np

from experiments import binary
from experiments import fitting
from experiments import workdir as workdir_lib
from jdm import datamodels as datamodels_lib
from jdm import store as store_lib

_OUTCOME = flags.DEFINE_string(
    'outcome', None, 'Which outcome; by default the first of the store.'
)
_REGRESSOR = flags.DEFINE_string('regressor', 'lasso', 'Name of a regressor.')
_TARGETS = flags.DEFINE_enum(
    'targets',
    'test',
    ['test', 'train'],
    'Which targets. Train targets are fitted from the models that did not train'
    ' on them (LASSO only).',
)
_NUM_VAL = flags.DEFINE_integer(
    'num_val', None, 'Validation models, the last ones; a fifth.'
)
_NUM_MODELS = flags.DEFINE_integer(
    'num_models', None, 'Uses only the first models, validation included.'
)
_TOL = flags.DEFINE_float('tol', 1e-4, 'Duality gap, relative, of the LASSO.')
_DATAMODELS = flags.DEFINE_string(
    'datamodels',
    None,
    'File to write; by default WORKDIR/datamodels_REGRESSOR_TARGETS.npz. Its'
    ' summary lies beside it: fit.json, or FILE.json.',
)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the cost and stops.')


def main(workdir: str) -> None:
  """Fits, and writes the datamodels and a summary."""
  store = store_lib.OutcomeStore.open(os.path.join(workdir, 'store'))
  outcome = _OUTCOME.value or workdir_lib.first_outcome(store)
  path = _path(workdir, outcome)
  problem = fitting.read(
      store,
      _rows(store),
      regressor=_REGRESSOR.value,
      outcome=outcome,
      targets=_TARGETS.value,
      num_val=_NUM_VAL.value,
      tol=_TOL.value,
  )
  print(f'{_REGRESSOR.value}: {fitting.estimate(problem)}')
  if _DRY_RUN.value:
    return
  start, cpu = time.perf_counter(), time.process_time()
  fitted = problem.fit(binary.Progress('fitting', 'target'))
  datamodels_lib.save(path, fitted)
  summary = {
      'regressor': _REGRESSOR.value,
      'outcome': outcome,
      'targets': _TARGETS.value,
      'num_fit': len(fitted.fit_ids),
      'num_val': len(fitted.val_ids),
      'num_diverged': len(store.diverged()),
      'num_missing': len(store.missing()),
      'num_targets': fitted.num_targets,
      'num_train': fitted.num_train,
      'alpha': fitted.alpha,
      'max_gap': float(np.max(fitted.gap)),
      'mean_nnz': float(np.mean(fitted.nnz)),
      'val_mse': float(np.mean(fitted.val_mse)),
      'seconds': time.perf_counter() - start,
      'cpu_seconds': time.process_time() - cpu,
      'fit_ids': np.asarray(fitted.fit_ids),
      'val_ids': np.asarray(fitted.val_ids),
      'datamodels': os.path.basename(path),
  }
  beside = os.path.join(workdir, 'fit.json')
  if _DATAMODELS.value:
    beside = os.path.splitext(path)[0] + '.json'
  binary.write_json(beside, summary)
  shown = {k: v for k, v in summary.items() if not k.endswith('_ids')}
  binary.table('Fitted', shown)


def _path(workdir: str, outcome: str) -> str:
  """The file to write; one of another outcome is not overwritten."""
  name = f'datamodels_{_REGRESSOR.value}_{_TARGETS.value}.npz'
  path = _DATAMODELS.value or os.path.join(workdir, name)
  if not path.endswith('.npz'):
    raise ValueError(f'--datamodels is a file ending in .npz, got {path!r}')
  if os.path.exists(path):
    found = datamodels_lib.load(path).outcome
    wanted = outcome if _TARGETS.value == 'test' else f'{outcome}_train'
    if found != wanted:
      raise ValueError(
          f'{path} holds datamodels of {found!r}; to keep them, name another'
          f' file for those of {wanted!r} by --datamodels=FILE'
      )
  return path


def _rows(store: store_lib.OutcomeStore) -> np.ndarray:
  """The models that are fitted or validate."""
  fewest = workdir_lib.FEWEST_MODELS
  if _NUM_MODELS.value is not None and _NUM_MODELS.value < fewest:
    raise ValueError(f'--num_models must be {fewest} or more')
  rows = store.completed()[: _NUM_MODELS.value]
  if len(rows) < fewest:
    raise ValueError(
        f'{store.path} has {len(rows)} good models ({len(store.diverged())}'
        f' diverged, {len(store.missing())} missing); a fit with validation'
        f' needs {fewest} or more'
    )
  return rows


if __name__ == '__main__':
  binary.run(main)
