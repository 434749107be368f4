"""LASSO datamodels: the penalty of each target chosen on validation models."""

from collections.abc import Callable
from typing import Any, Unpack

from absl import logging
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.regressors import observations as observations_lib
from jdm.solvers import direct
from jdm.solvers import moments as moments_lib
from jdm.solvers import path as path_lib

_NAME = 'lasso'
_WHO = f'{_NAME}.fit'


def fit(
    masks: Any,
    outcomes: Any,
    *,
    num_val: int | None = None,
    val_masks: Any = None,
    val_outcomes: Any = None,
    lam: Any = None,
    num_lams: int = 30,
    min_ratio: float = 1e-2,
    tol: float = 1e-4,
    refit: bool = True,
    own_ids: Any = None,
    progress: Callable[[int, int], None] | None = None,
    **labels: Unpack[observations_lib.Labels],
) -> datamodels_lib.Datamodels:
  """Fits a sparse linear datamodel to each target.

  Minimizes (1/2m) ||y - X w - b||^2 + lam ||w||_1 over w and b, with X the raw
  0/1 masks; lam has the scaling of scikit-learn's `Lasso(alpha=lam)`. Each
  target's lam is the one of its own grid with the lowest squared error on
  validation models.

  Args:
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`; row i is
      model i's training set.
    outcomes: `[num_models, num_targets]`, finite.
    num_val: how many of the last rows are for validation; by default a fifth,
      at least one, or none if `lam` or `val_masks` is given.
    val_masks: bool `[num_val, num_train]`, validation models of their own; pass
      their `val_model_ids` too, or evaluation cannot refuse them.
    val_outcomes: `[num_val, num_targets]`.
    lam: a penalty or `[num_targets]` penalties; then nothing is chosen.
    num_lams: penalties tried, evenly in the log below each target's largest
      useful one.
    min_ratio: of the smallest penalty to the largest.
    tol: bound of the duality gap, relative to ||y - mean(y)||^2 / (2m).
    refit: whether to fit again, at the penalties chosen, to the models of both
      kinds (as the paper does).
    own_ids: int `[num_targets]`, the column of `masks` that is the target
      itself, -1 for none. A target is then fitted to, and validated on, the
      models that did not train on it, and its own weight is 0.
    progress: called with the number of targets whose path is solved and in
      all; the refit is quick.
    **labels: ids and names to note, `observations.Labels`.

  Returns:
    Datamodels. `gap` is that of the weights returned, in float64; a target that
    missed `tol` is reported by a warning. float32, or float64 for `tol` below
    1e-5, which weights rounded to float32 do not always keep.

  Raises:
    TypeError: on unknown keywords.
    ValueError: if shapes, dtypes, values or options do not make sense.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, §2.
  """
  observations = observations_lib.split(
      _NAME,
      masks,
      outcomes,
      num_val=num_val,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      choose=lam is None,
      labels=labels,
  )
  if not tol > 0:
    raise ValueError(f'`{_WHO}` expects tol above 0, got {tol}.')
  options = {'tol': tol}
  solve = _solver(observations, own_ids)
  val_mse = None
  if lam is not None:
    lams = observations_lib.penalties(_WHO, lam, observations.num_targets)
    result = solve(refit, lams=lams[None], progress=progress, **options)
  else:
    result = solve(
        False,
        num_lams=num_lams,
        min_ratio=min_ratio,
        val_masks=observations.val_masks,
        val_outcomes=observations.val_outcomes,
        progress=progress,
        **options,
    )
    val_mse = result.val_mse
    if refit:
      _, joined = observations.joined()
      lams = refit_lams(result.lam, np.abs(joined).max(axis=0))
      start = result.weights
      result = solve(True, lams=lams, start=start, **options)
  report(result, tol)
  return observations_lib.to_datamodels(
      observations,
      weights=result.weights,
      bias=result.bias,
      lam=result.lam,
      gap=result.gap,
      val_mse=val_mse,
      refitted=refit,
  )


def refit_lams(lam: np.ndarray, largest: np.ndarray) -> np.ndarray:
  """The penalties chosen, as `[1, num_targets]`, all above 0.

  A target that is constant over the models of the first fit has none; one that
  no correlation can reach keeps its weights at 0.

  Args:
    lam: `[num_targets]`, 0 for none.
    largest: `[num_targets]`, absolute outcome of all models.
  """
  above_all = 2 * largest.astype(np.float64) + 1
  return np.where(lam > 0, lam, above_all)[None]


def _solver(
    observations: observations_lib.Observations, own_ids: Any
) -> Callable[..., path_lib.LassoPath]:
  """The cheaper route, or the only one; its first argument is all_models."""
  num_models, num_train = observations.masks.shape
  pair = observations.masks, observations.outcomes
  val = observations.val_masks, observations.val_outcomes
  if own_ids is None and 2 * num_models >= num_train:
    moments = moments_lib.of(*pair)

    def from_moments(all_models, **options):
      some = moments.add(*val) if all_models else moments
      return path_lib.lasso_path(some, **options)

    return from_moments

  def from_masks(all_models, **options):
    some = observations.joined() if all_models else pair
    return direct.lasso_path(*some, own_ids=own_ids, **options)

  return from_masks


def report(result: path_lib.LassoPath, tol: float) -> None:
  """Warns of targets that missed the tolerance."""
  missed = int(np.sum(~result.converged))
  if missed:
    logging.warning(
        '`%s`: %d of %d targets missed the tolerance %g; their largest relative'
        ' gap is %.2g. `Datamodels.gap` has each.',
        _WHO,
        missed,
        len(result.converged),
        tol,
        result.gap.max(),
    )
