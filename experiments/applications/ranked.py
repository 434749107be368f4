"""How sure the weights are that an application ranks: resampled models."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.applications import job as job_lib
from jdm.analysis import uncertainty as uncertainty_lib
from jdm.reports import examples
from jdm.reports import uncertainty_plots

_COUNT = 10  # Weights of each target that the table speaks of.
_SHOWN = 2  # Targets with a picture.


def targets(
    job: job_lib.Job,
    target_ids: Sequence[int] | np.ndarray,
    limits: list[str],
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Says how sure the weights of some targets are, of which removals are made.

  Args:
    job: with datamodels of test targets.
    target_ids: int, their columns.
    limits: gets a sentence where it cannot be done.

  Returns:
    Rows for the table and pictures; both empty where it cannot be done.
  """
  fitted = job.datamodels()
  target_ids = np.asarray(target_ids)
  found = job.uncertainty(fitted, limits, target_ids=target_ids)
  if found is None:
    return {}, {}
  top = found.ranked[0, :_COUNT]
  kept = np.take_along_axis(found.selected, top, axis=0)
  weights = np.take_along_axis(found.weights, top, axis=0)
  errors = np.take_along_axis(found.error, top, axis=0)
  is_helpful = weights > 0
  words = f'{_COUNT} most helpful, {found.num_bootstrap} resamples'
  table = {}
  if is_helpful.any():
    share = np.median((errors / np.where(is_helpful, weights, 1))[is_helpful])
    table[words] = (
        f'weight kept in {kept[is_helpful].mean():.0%} of them; standard error'
        f' {share:.0%} of the weight (median)'
    )
  outcomes = job.outcomes(fitted.outcome)[:, target_ids]
  shown = examples.choose_targets(
      outcomes, _labels(job, target_ids), min(_SHOWN, len(target_ids))
  )
  return table, {
      f'weights of target {target_ids[place]}': uncertainty_plots.top_weights(
          found, int(place), outcome=fitted.outcome
      )
      for place in shown
  }


def noise(found: uncertainty_lib.Uncertainty, column: int = 0) -> str:
  """One cell: how far values of examples differ, and their standard error."""
  values, errors = found.weights[:, column], found.error[:, column]
  low, high = found.rank_interval[:, 0, 0, column]
  return (
      f'deviation over examples {values.std():.2g}, standard error'
      f' {np.sqrt(np.mean(errors**2)):.2g}; the highest has rank {low:.0f} to'
      f' {high:.0f} in {found.num_bootstrap} resamples'
  )


def _labels(job: job_lib.Job, target_ids: np.ndarray) -> np.ndarray:
  """Classes, by which targets to show are spread; one class of regression."""
  if not job.dataset.num_classes:
    return np.zeros(len(target_ids), int)
  return job.dataset.test.labels[target_ids]
