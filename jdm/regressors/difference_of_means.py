"""Differences of means: the empirical influence of each example."""

from typing import Any, Unpack

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.regressors import observations as observations_lib
from jdm.solvers import moments as moments_lib

_NAME = 'difference_of_means'


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
  """Estimates, pair by pair, what an example does to a target's outcome.

  The weight of example i for target j is the mean outcome of the models that
  trained on i minus that of the models that did not. The intercept makes the
  predictions right on average. An example that is in every model or in none
  has weight 0, with a warning.

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

  References:
    Feldman and Zhang, `What neural networks memorize and why
    <https://arxiv.org/abs/2008.03703>`_, 2020, §2.
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
  moments = moments_lib.of(masks, outcomes)
  held = np.diagonal(moments.counts)[:, None]
  left = moments.num_models - held
  inside = moments.cross / np.maximum(held, 1)
  outside = (moments.outcome_sum[None] - moments.cross) / np.maximum(left, 1)
  weights = np.where((held > 0) & (left > 0), inside - outside, 0.0)
  return weights, moments.mean_outcome() - moments.mean_mask() @ weights
