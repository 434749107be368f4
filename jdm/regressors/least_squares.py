"""Least-squares datamodels: no penalty, least norm where many are optimal."""

from typing import Any, Unpack

import numpy as np
import scipy.linalg

from jdm import datamodels as datamodels_lib
from jdm.regressors import observations as observations_lib

_NAME = 'least_squares'


def fit(
    masks: Any,
    outcomes: Any,
    *,
    num_val: int | None = None,
    val_masks: Any = None,
    val_outcomes: Any = None,
    refit: bool = True,
    **labels: Unpack[observations_lib.Labels],
) -> datamodels_lib.Datamodels:
  """Fits a linear datamodel to each target by least squares.

  Minimizes 1/(2m) ||y - X w - b||^2 over w and b, with X the raw 0/1 masks.
  Of all minimizers (with m <= num_train, or subsets of one size, there are
  many) it is the w of least norm, by LAPACK's gelsd on the centred masks.

  Args:
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`; row i is
      model i's training set.
    outcomes: `[num_models, num_targets]`, finite.
    num_val: how many of the last rows are for validation; none by default.
      They only give `val_mse`.
    val_masks: bool `[num_val, num_train]`, validation models of their own; pass
      their `val_model_ids` too, or evaluation cannot refuse them.
    val_outcomes: `[num_val, num_targets]`.
    refit: whether to fit again to the models of both kinds.
    **labels: ids and names to note, `observations.Labels`.

  Returns:
    Datamodels.

  Raises:
    TypeError: on unknown keywords.
    ValueError: if shapes, dtypes, values or options do not make sense.
  """
  observations = observations_lib.split(
      _NAME,
      masks,
      outcomes,
      num_val=num_val,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      choose=False,
      labels=labels,
  )
  return observations_lib.without_penalty(observations, _solve, refit=refit)


def _solve(
    masks: np.ndarray, outcomes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Weights and intercepts, float64."""
  mean_mask = masks.mean(axis=0)
  mean_outcome = outcomes.mean(axis=0, dtype=np.float64)
  solution = scipy.linalg.lstsq(
      masks - mean_mask[None],
      outcomes - mean_outcome[None],
      # SciPy's default keeps the singular value that rounding makes of 0.
      cond=max(masks.shape) * np.finfo(np.float64).eps,
      lapack_driver='gelsd',
      overwrite_a=True,
      overwrite_b=True,
  )
  weights = np.array(solution[0])
  # A column that never varies is rounding in the centred masks, not a 0.
  held = masks.sum(axis=0)
  weights[(held == 0) | (held == len(masks))] = 0
  return weights, mean_outcome - mean_mask @ weights
