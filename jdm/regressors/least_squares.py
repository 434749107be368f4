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
  many) it is the w of least norm, from the eigenvectors of the smaller product
  of the centred masks with themselves: several times faster than a singular
  value decomposition, and masks are far from where squaring costs digits.

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
  centred = masks - mean_mask[None]
  rows = outcomes - mean_outcome[None]
  if len(masks) > masks.shape[1]:
    weights = _apply_inverse(centred.T @ centred, centred.T @ rows)
  else:
    weights = centred.T @ _apply_inverse(centred @ centred.T, rows)
  # A column that never varies is rounding in the centred masks, not a 0.
  held = masks.sum(axis=0)
  weights[(held == 0) | (held == len(masks))] = 0
  return weights, mean_outcome - mean_mask @ weights


def _apply_inverse(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
  """The pseudoinverse of a positive semidefinite matrix, times a matrix."""
  # The solver of the fewest operations where all vectors are asked for.
  values, vectors = scipy.linalg.eigh(gram, driver='evd', overwrite_a=True)
  # What varies at all stands far above rounding: of 1,500 random halves of 1,500
  # examples the smallest eigenvalue is 2e-8 of the largest, and then 0.
  least = max(values[-1], 1e-300) * len(gram) * np.finfo(np.float64).eps
  inverse = np.where(values > least, 1 / np.maximum(values, least), 0)
  return vectors @ (inverse[:, None] * (vectors.T @ right))
