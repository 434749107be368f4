"""Elastic-net datamodels: between the LASSO and ridge regression."""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.regressors import observations as observations_lib
from jdm.regressors import sparse

_NAME = 'elastic_net'
_WHO = f'{_NAME}.fit'
_L1_RATIO = 0.5


def fit(
    masks: Any,
    outcomes: Any,
    *,
    l1_ratio: float | Sequence[float] | np.ndarray | None = None,
    num_val: int | None = None,
    val_masks: Any = None,
    val_outcomes: Any = None,
    num_folds: int | None = None,
    rule: str = 'min',
    lam: Any = None,
    num_lams: int = 30,
    min_ratio: float = 1e-2,
    tol: float = 1e-4,
    refit: bool = True,
    own_ids: Any = None,
    start: datamodels_lib.Datamodels | None = None,
    progress: Callable[[int, int], None] | None = None,
    **labels: Unpack[observations_lib.Labels],
) -> datamodels_lib.Datamodels:
  """Fits a linear datamodel to each target, penalized by l1 and l2.

  Minimizes 1/(2m) ||y - X w - b||^2 + lam (r ||w||_1 + (1 - r) / 2 ||w||^2)
  over w and b, with X the raw 0/1 masks and r the l1_ratio; scikit-learn's
  `ElasticNet(alpha=lam, l1_ratio=r)`. Examples that are together in most
  subsets, or nearly copies, share their weight, where the LASSO takes one.

  The l2 part has no outcome units, so that, as in scikit-learn, what the grid
  of a target tries depends on the unit of its outcomes: from outcomes far from
  1 in size, first divide by their standard deviation.

  Args:
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`; row i is
      model i's training set.
    outcomes: `[num_models, num_targets]`, finite.
    l1_ratio: above 0, at most 1 (the LASSO). Of several each target gets the
      one with the lowest error, at that one's best penalty; the cost is that of
      a LASSO for each. With `lam` a number or `[num_targets]`. By default 0.5,
      or with `start` that of each target there.
    num_val: how many of the last rows are for validation, as `lasso.fit`.
    val_masks: bool `[num_val, num_train]`, validation models of their own.
    val_outcomes: `[num_val, num_targets]`.
    num_folds: chooses by cross-validation instead, as `lasso.fit`.
    rule: of the cross-validation, 'min' or 'one_se'. The l1_ratio is that of
      the lowest error by either rule.
    lam: a penalty or `[num_targets]` penalties; then nothing is chosen.
    num_lams: penalties tried with each l1_ratio, evenly in the log below each
      target's largest useful one.
    min_ratio: of the smallest penalty to the largest.
    tol: bound of the duality gap, relative to ||y - mean(y)||^2 / (2m).
    refit: whether to fit again to the models of both kinds.
    own_ids: int `[num_targets]`, the column of `masks` that is the target
      itself, -1 for none, as `lasso.fit`.
    start: an earlier fit, as `lasso.fit`; each target keeps its l1_ratio.
    progress: called with the number of targets whose paths are solved and in
      all.
    **labels: ids and names to note, `observations.Labels`.

  Returns:
    Datamodels, as `lasso.fit`, with the `l1_ratio` of each target.

  Raises:
    TypeError: on unknown keywords.
    ValueError: if shapes, dtypes, values or options do not make sense.

  References:
    Zou and Hastie, `Regularization and variable selection via the elastic net
    <https://doi.org/10.1111/j.1467-9868.2005.00503.x>`_, 2005.
  """
  if start is not None and l1_ratio is not None and lam is None:
    raise ValueError(
        f'`{_WHO}` with start keeps the l1_ratio of each target: leave l1_ratio'
        ' out, or fit without start to choose it.'
    )
  if l1_ratio is None:
    l1_ratio = _L1_RATIO
    if isinstance(start, datamodels_lib.Datamodels) and len(start.l1_ratio):
      l1_ratio = np.asarray(start.l1_ratio)
  settings = sparse.Settings(
      num_val=num_val,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      num_folds=num_folds,
      rule=rule,
      lam=lam,
      l1_ratio=_checked(l1_ratio),
      num_lams=num_lams,
      min_ratio=min_ratio,
      tol=tol,
      refit=refit,
      own_ids=own_ids,
      start=start,
      progress=progress,
  )
  return sparse.fit(_NAME, masks, outcomes, settings, labels)


def _checked(l1_ratio: Any) -> np.ndarray:
  """Shares of l1 as float64, or raises."""
  ratios = np.asarray(l1_ratio, np.float64)
  inside = (ratios > 0) & (ratios <= 1)
  if ratios.ndim > 1 or not ratios.size or not inside.all():
    raise ValueError(
        f'`{_WHO}` expects l1_ratio above 0 and at most 1, one or a list, got'
        f' {l1_ratio!r}; without l1 use `regressors.ridge`.'
    )
  return ratios
