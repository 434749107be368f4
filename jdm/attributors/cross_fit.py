"""Scores with and without the models of each fold, for little more than one.

Scores that are means over models may be summed fold by fold. A regression that
starts from them (`jdm.regressors.informed`) is then judged on models that have
no part in them.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

from jdm.attributors import scores as scores_lib
from jdm.attributors import trained as trained_lib

_WHO = '`cross_fit.scores`'


class CrossFitted(NamedTuple):
  """Scores of all models, and of all but those of each fold.

  Attributes:
    scores: of all models.
    without_fold: float32 `[num_folds, num_train, num_targets]`.
  """

  scores: scores_lib.Scores
  without_fold: np.ndarray


def scores(
    find: Callable[[trained_lib.Trained], Sequence[scores_lib.Scores]],
    trained: trained_lib.Trained,
    fold_of: np.ndarray,
    num_folds: int,
) -> list[CrossFitted]:
  """Computes scores that are means over models, with and without each fold.

  Args:
    find: from models to one or several scores, such as `influence.path` with
      its options.
    trained: models of a pool.
    fold_of: int `[num_models]`, the fold of each, as from `folds.assign`.
    num_folds: of the whole pool; folds may have no model here.

  Returns:
    One for each of the scores.

  Raises:
    ValueError: if folds do not fit the models, or all models are in one fold.
  """
  fold_of = np.asarray(fold_of)
  if fold_of.shape != (trained.num_models,):
    raise ValueError(
        f'{_WHO} expects the fold of each of {trained.num_models} models, got'
        f' shape {fold_of.shape}.'
    )
  counts = np.bincount(fold_of, minlength=num_folds)
  if len(counts) != num_folds or np.sum(counts > 0) < 2:
    raise ValueError(
        f'{_WHO} expects models in two folds or more of {num_folds}, numbered'
        f' from 0, got {counts.tolist()} models in each; take more models.'
    )
  parts: dict[int, Sequence[scores_lib.Scores]] = {}
  for fold in np.flatnonzero(counts):
    parts[int(fold)] = find(trained.take(np.flatnonzero(fold_of == fold)))
  counted = trained.counted()
  weights = counts[:, None]
  if counted is not None:  # A target's own models.
    weights = np.stack(
        [counted[fold_of == fold].sum(axis=0) for fold in range(num_folds)]
    )
  first = next(iter(parts.values()))
  return [
      _joined([(fold, found[i]) for fold, found in parts.items()], weights)
      for i in range(len(first))
  ]


def _joined(
    parts: Sequence[tuple[int, scores_lib.Scores]], counts: np.ndarray
) -> CrossFitted:
  """Means of means, weighted by the models of each.

  Args:
    parts: folds, and scores of their models.
    counts: int `[num_folds, 1 or num_targets]`, these models.

  Returns:
    The scores; 0 for a target that no model counts for.
  """
  num_models = counts.sum(axis=0)
  sums = {fold: found.values * counts[fold] for fold, found in parts}
  total = sum(sums.values())
  without = np.stack(
      [
          (total - sums.get(fold, 0)) / np.maximum(num_models - counts[fold], 1)
          for fold in range(len(counts))
      ]
  )
  joined = dataclasses.replace(
      parts[0][1],
      values=(total / np.maximum(num_models, 1)).astype(np.float32),
      num_models=sum(found.num_models for _, found in parts),
      gradients=sum(found.gradients for _, found in parts),
  )
  return CrossFitted(joined, without.astype(np.float32))
