"""The predictors of a ModelPred working directory, for applications."""

from collections.abc import Mapping
import dataclasses
import json
import os
import time
from typing import Any

from absl import flags
import numpy as np

from experiments import modelpred_workdir
from experiments.applications import job as job_lib
from jdm import recipe as recipe_lib
from jdm.modelpred import baselines
from jdm.modelpred import points as points_lib
from jdm.modelpred import predictor as predictor_lib
from jdm.training import sgd

_NAMES = flags.DEFINE_list(
    'predictors', None, 'Those of WORKDIR/predictor_NAME to use; all.'
)
_REFINED, _TRAINED = ', one Newton step', ', one training step'
EXACT = 'exact'
_TIMED = 256  # Sets, of which the time of one is found.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
  """One way to get the parameters of sets.

  Attributes:
    predict: from masks to parameters.
    fixed_seconds: CPU seconds before the first query: labels and fit.
    query_seconds: CPU seconds of one set, in a batch.
  """

  predict: baselines.Predict
  fixed_seconds: float
  query_seconds: float

  def seconds(self, num_sets: Any) -> np.ndarray:
    """CPU seconds of some sets, all included."""
    return self.fixed_seconds + self.query_seconds * np.asarray(num_sets)


def pool_of(job: job_lib.Job) -> points_lib.Pool:
  """The points of a ModelPred folder.

  Raises:
    ValueError: if its models were trained by SGD, whose randomness no mask
      tells.
  """
  recipe = recipe_lib.Recipe.from_json(job.store.recipe)
  if isinstance(recipe.training, sgd.Config):
    raise ValueError(
        'this application trains exactly, and this store was trained by SGD;'
        ' collect with experiments.fit_modelpred (--application=valuation and'
        ' others read stores of SGD)'
    )
  return modelpred_workdir.points(job.pool)


def names(job: job_lib.Job) -> list[str]:
  """Names of the predictors asked for.

  Raises:
    ValueError: if there is none, or not all are there.
  """
  there = modelpred_workdir.predictor_names(job.workdir)
  if not there:
    raise ValueError(
        f'{job.workdir} holds no predictor; run experiments.fit_modelpred first'
    )
  asked = _NAMES.value or there
  missing = sorted(set(asked) - set(there))
  if missing:
    raise ValueError(f'--predictors: {job.workdir} has {there}, not {missing}')
  return list(asked)


def load(job: job_lib.Job) -> dict[str, predictor_lib.Predictor]:
  """The predictors asked for, by name; errors as of `names`."""
  return {
      name: predictor_lib.load(
          modelpred_workdir.predictor_path(job.workdir, name)
      )
      for name in names(job)
  }


def ways(
    job: job_lib.Job,
    pool: points_lib.Pool,
    loaded: Mapping[str, predictor_lib.Predictor],
    *,
    refined: bool = True,
) -> dict[str, Way]:
  """Exact training, and each predictor as it is and refined; with their costs.

  Args:
    job: whose folder says how long fits took.
    pool: the points.
    loaded: predictors.
    refined: whether one step from each predictor is a way, too: Newton's, or
      of training where the objective is not convex.
  """
  masks = _timed_masks(pool)
  exact = _timed(baselines.exact(pool), masks, 0.0)
  found = {EXACT: exact}
  for name, fitted in loaded.items():
    fixed = _fit_seconds(job, name)
    if fitted.config.needs_labels:
      fixed += exact.query_seconds * len(job.rows())
    found[name] = _timed(fitted.outputs, masks, fixed)
    if refined:
      words = _REFINED if pool.objective.is_convex else _TRAINED
      step = baselines.refined(pool, 1, fitted.outputs)
      found[name + words] = _timed(step, masks, fixed)
  return found


def _fit_seconds(job: job_lib.Job, name: str) -> float:
  path = modelpred_workdir.predictor_path(job.workdir, name)
  with open(os.path.join(path, 'fit.json'), encoding='utf-8') as file:
    return float(json.load(file)['cpu_seconds'])


def _timed_masks(pool: points_lib.Pool) -> np.ndarray:
  """Sets of 70 %, each with every class."""
  num = len(pool.labels)
  rng = np.random.default_rng(0)
  masks = np.zeros((_TIMED, num))
  for mask in masks:
    mask[rng.permutation(num)[: max(int(0.7 * num), 1)]] = 1
  has = (masks @ pool.classes > 0).all(axis=1)
  masks[~np.asarray(has)] = 1.0
  return masks


def _timed(predict, masks: np.ndarray, fixed: float) -> Way:
  predict(masks)  # Compiles.
  start = time.process_time()
  predict(masks)
  spent = (time.process_time() - start) / len(masks)
  return Way(predict=predict, fixed_seconds=fixed, query_seconds=spent)
