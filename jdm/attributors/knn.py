"""Shapley values in a nearest-neighbour classifier, target by target."""

import numpy as np

from jdm.analysis import knn_shapley
from jdm.attributors import scores as scores_lib

_NAME = 'knn'


def scores(
    inputs: np.ndarray,
    labels: np.ndarray,
    target_inputs: np.ndarray,
    target_labels: np.ndarray,
    *,
    num_neighbours: int = 5,
) -> scores_lib.Scores:
  """Values training examples by nearest-neighbour votes on each target.

  Args:
    inputs: `[num_train, ...]`, or features.
    labels: int `[num_train]`.
    target_inputs: `[num_targets, ...]`.
    target_labels: int `[num_targets]`.
    num_neighbours: K.

  Returns:
    The scores, in units of accuracy on the target: no model is trained, and
    their scale is not that of outcomes.

  Raises:
    ValueError: as `analysis.knn_shapley`.

  References:
    Jia et al., `Efficient task-specific data valuation for nearest neighbor
    algorithms <https://arxiv.org/abs/1908.08619>`_, 2019, Theorem 1.
  """
  values = knn_shapley.of_targets(
      inputs,
      labels,
      target_inputs,
      target_labels,
      num_neighbours=num_neighbours,
  )
  return scores_lib.Scores(
      values=values.astype(np.float32),
      method=_NAME,
      units='accuracy',
      options={'num_neighbours': num_neighbours},
  )
