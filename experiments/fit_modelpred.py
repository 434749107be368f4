r"""Trains a predictor of trained parameters from training sets (ModelPred).

  python -m experiments.fit_modelpred --workdir=runs/modelpred \
      --dataset=breast_cancer
  python -m experiments.fit_modelpred --workdir=runs/modelpred \
      --dataset=breast_cancer --preset=paper
  python -m experiments.fit_modelpred --workdir=runs/modelpred_mlp \
      --dataset=breast_cancer --num_train=150 --model=mlp \
      --training=full_batch --num_models=1500 --preset=function

Collects `--num_models` subsets and the exact minimum of each in
`WORKDIR/store` (a linear model, `--training=exact`; or with the flags above the
end of a perceptron's training; subsets of uniform size unless --sampler says
otherwise), trains the predictor on four fifths of them,
stops by the rest, and writes `WORKDIR/predictor_NAME` and `modelpred_fit.json`.
Nested prefixes of one permutation are never split. `evaluate_modelpred` scores
all predictors of a folder, with baselines. About 50 seconds on two cores.
"""

import dataclasses
import os
import time
from typing import Any

from absl import flags
import numpy as np

from experiments import binary
from experiments import modelpred_workdir
from experiments import training_flags
from jdm import collection
from jdm import recipe as recipe_lib
from jdm.modelpred import config as config_lib
from jdm.modelpred import fitting
from jdm.modelpred import predictor as predictor_lib
from jdm.training import sgd

_NUM_MODELS = flags.DEFINE_integer('num_models', 10_000, 'Labels to collect.')
_CHUNK = flags.DEFINE_integer('chunk', 512, 'Rows written at once.')
_PRESET = flags.DEFINE_enum(
    'preset', 'default', sorted(config_lib.PRESETS), 'Which recipe.'
)
_NAME = flags.DEFINE_string('name', None, 'Of the predictor; the preset.')
_STEPS = flags.DEFINE_integer('steps', None, 'Batches; by preset.')
_SET_FUNCTION = flags.DEFINE_string('set_function', None, 'By preset.')
_PREDICTOR_SEED = flags.DEFINE_integer('predictor_seed', 0, 'Of the network.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the cost and stops.')


def main(workdir: str) -> None:
  """Collects, trains, saves."""
  pool = recipe_lib.build(recipe())
  path = os.path.join(workdir, 'store')
  binary.print_estimate(pool, path, _NUM_MODELS.value)
  config = _config()
  name = _NAME.value or _PRESET.value
  folder = modelpred_workdir.predictor_path(workdir, name)
  if os.path.exists(folder):
    raise ValueError(
        f'{folder} is there already; choose another --name, or remove it'
    )
  if _DRY_RUN.value:
    return
  store = collection.collect(
      pool,
      path,
      num_models=_NUM_MODELS.value,
      chunk=_CHUNK.value,
      progress=binary.Progress('training the labels'),
  )
  labels = modelpred_workdir.read_labels(store)
  train, val = modelpred_workdir.split(labels)
  start, cpu = time.perf_counter(), time.process_time()
  fitted = fitting.fit(
      modelpred_workdir.points(pool),
      train,
      val,
      config,
      progress=binary.Progress('fitting', 'step'),
  )
  summary = {
      'predictor': name,
      'num_labels': len(labels),
      'num_dropped': len(store.diverged()),
      'num_val': len(val),
      'num_parameters': labels.parameters.shape[1],
      'largest_gradient_norm': float(np.max(labels.gradient_norm)),
      'validation_error': min(value for _, value in fitted.history),
      'steps': fitted.history[-1][0],
      'seconds': time.perf_counter() - start,
      'cpu_seconds': time.process_time() - cpu,
  }
  predictor_lib.save(folder, fitted)
  # Beside the predictor: how long it took is read by the evaluation.
  binary.write_json(os.path.join(folder, 'fit.json'), summary)
  binary.write_json(os.path.join(workdir, 'modelpred_fit.json'), summary)
  binary.table('Fitted', summary)


def recipe() -> recipe_lib.Recipe:
  """The recipe that flags describe, not by SGD, of any subset size."""
  described = training_flags.recipe()
  changes: dict[str, Any] = {'outcomes': ('parameters',), 'targets': ('test',)}
  if isinstance(described.training, sgd.Config):
    changes['training'] = training_flags.exact_config()
  if flags.FLAGS['sampler'].using_default_value:
    changes['sampler'] = 'uniform_size'
    changes['sampler_options'] = {'min_size': training_flags.min_size() or 2}
  if flags.FLAGS['dataset'].using_default_value:
    changes['dataset'] = 'breast_cancer'
  return dataclasses.replace(described, **changes)


def _config() -> config_lib.Config:
  changes: dict[str, Any] = {'seed': _PREDICTOR_SEED.value}
  if _STEPS.value is not None:
    changes['num_steps'] = _STEPS.value
  if _SET_FUNCTION.value is not None:
    changes['set_function'] = _SET_FUNCTION.value
  preset = config_lib.PRESETS[_PRESET.value]
  return dataclasses.replace(preset, **changes)


if __name__ == '__main__':
  binary.run(main)
