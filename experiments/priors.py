"""Scores that an informed regression starts from: of a pool, or from a file."""

from collections.abc import Callable
import os
from typing import NamedTuple

import numpy as np

from jdm import store as store_lib
from jdm.attributors import cross_fit
from jdm.attributors import influence
from jdm.attributors import rebuild
from jdm.attributors import scores as scores_lib
from jdm.attributors import tracin
from jdm.attributors import trained as trained_lib
from jdm.attributors import trak
from jdm.regressors import informed
from jdm.solvers import folds

DAMPINGS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# Where the matrix is the exact Hessian, less is wrong about it.
EXACT_DAMPINGS = (1e-4, 1e-3, *DAMPINGS)
_MOST_WRITTEN = 1e8  # Numbers of the rows of an exact Hessian.
NUM_FOLDS = 5
_EPOCHS = (2, 4, 6, 8, 10)  # Of the checkpoints of TracIn.


def _influence(some: trained_lib.Trained) -> list[scores_lib.Scores]:
  """With the exact Hessian, too, for linear models that are not large.

  Its matrix is of parameters, and its rows are one for each example and class.
  """
  found = influence.path(some, dampings=DAMPINGS)
  if some.is_regression:
    return found
  num_parameters = some.parameters.shape[1]
  rows = some.num_train * len(np.unique(some.labels))
  is_small = (
      num_parameters <= some.num_train
      and rows * num_parameters <= _MOST_WRITTEN
  )
  if is_small and trained_lib.is_linear(some.model, some.inputs):
    found += influence.path(some, dampings=EXACT_DAMPINGS, curvature='logits')
  return found


# From models to candidates, each a mean over the models.
FROM_MODELS: dict[
    str, Callable[[trained_lib.Trained], list[scores_lib.Scores]]
] = {
    'influence': _influence,
    'trak': lambda some: trak.path(some, dampings=DAMPINGS),
    'tracin': lambda some: [tracin.scores(some)],
}


def make(
    store: store_lib.OutcomeStore,
    rows: np.ndarray,
    *,
    prior: str,
    outcome: str,
    targets: str = 'test',
    num_prior: int = 100,
) -> list[informed.Prior]:
  """Makes or reads the scores of targets.

  Args:
    store: of the pool.
    rows: int `[num_models]`, completed rows that will be fitted.
    prior: a key of `FROM_MODELS`; or a .npy file of `[num_train, num_targets]`,
      positive = helpful, in which no model of the pool had a part.
    outcome: what is attributed.
    targets: 'test', or 'train': the training examples, each scored by models
      that did not train on it.
    num_prior: models that are read, the first of the rows.

  Returns:
    One or several, for `informed.fit`.

  Raises:
    ValueError: if there is no such attributor or file, or too few models.
    StoreError: if the models cannot be had (`rebuild.rebuild`).
  """
  if prior.endswith('.npy'):
    if not os.path.exists(prior):
      raise ValueError(f'--prior finds no file {prior}')
    return [informed.Prior(values=np.load(prior), name=prior)]
  if prior not in FROM_MODELS:
    raise ValueError(
        f'--prior is of {sorted(FROM_MODELS)} or a file ending in .npy, got'
        f' {prior!r}'
    )
  if num_prior < NUM_FOLDS:
    raise ValueError(
        f'--num_prior must be {NUM_FOLDS} or more, one for each fold, got'
        f' {num_prior}'
    )
  some = rows[:num_prior]
  trained = rebuild.rebuild(
      store,
      some,
      outcome=outcome,
      targets=targets,
      epochs=_EPOCHS if prior == 'tracin' else (),
  )
  return cross_fitted(prior, trained, NUM_FOLDS).scores


class Candidates(NamedTuple):
  """Candidates for `informed.fit`, and the gradients that they took."""

  scores: list[informed.Prior]
  gradients: int


def cross_fitted(
    prior: str, trained: trained_lib.Trained, num_folds: int
) -> Candidates:
  """Scores of models with and without each fold, and the gradients they took."""
  found = cross_fit.scores(
      FROM_MODELS[prior],
      trained,
      folds.assign(trained.num_models, num_folds),
      num_folds,
  )
  made = [
      informed.Prior(
          values=one.scores.values,
          without_fold=one.without_fold,
          name=f'{prior} {dict(one.scores.options)}',
      )
      for one in found
  ]
  gradients = {  # Dampings share them.
      one.scores.options.get('curvature'): one.scores.gradients for one in found
  }
  return Candidates(made, sum(gradients.values()))
