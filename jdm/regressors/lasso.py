"""LASSO datamodels: a sparse linear function of the mask for each target."""

from collections.abc import Callable
from typing import Any, Unpack

from jdm import datamodels as datamodels_lib
from jdm.regressors import observations as observations_lib
from jdm.regressors import sparse

_NAME = 'lasso'


def fit(
    masks: Any,
    outcomes: Any,
    *,
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
  """Fits a sparse linear datamodel to each target.

  Minimizes (1/2m) ||y - X w - b||^2 + lam ||w||_1 over w and b, with X the raw
  0/1 masks; lam has the scaling of scikit-learn's `Lasso(alpha=lam)`. Each
  target's lam is the one of its own grid with the lowest squared error on
  validation models, or by cross-validation.

  Args:
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`; row i is
      model i's training set.
    outcomes: `[num_models, num_targets]`, finite.
    num_val: how many of the last rows are for validation; by default a fifth,
      at least one, or none if `val_masks`, `num_folds`, `lam` or `start` is
      given.
    val_masks: bool `[num_val, num_train]`, validation models of their own; pass
      their `val_model_ids` too, or evaluation cannot refuse them.
    val_outcomes: `[num_val, num_targets]`.
    num_folds: chooses by cross-validation instead, model i in fold
      i mod num_folds, and fits all models. A fold's moments are taken off those
      of all (`solvers.folds`): no model is summed twice, and num_folds + 1
      matrices of `[num_train, num_train]` are held. Every model has then had a
      part in the choice, and `val_ids` are all of `fit_ids`.
    rule: of the cross-validation: 'min', the lowest error; or 'one_se', the
      largest penalty within one standard error of it.
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
    start: an earlier fit to models of the same examples and targets, as before
      models were added to its pool; weights start at its own. Alone, each
      target keeps its penalty, and all models are fitted at once. With
      validation models or folds, four steps of the grid (of `num_lams` and
      `min_ratio`) on either side of it are tried again: where the best penalty
      has moved farther, as after models several times as many, fit without
      start. Models of the earlier fit count as seen (`val_ids`).
    progress: called with the number of targets whose path is solved and in
      all; the refit is quick.
    **labels: ids and names to note, `observations.Labels`.

  Returns:
    Datamodels. `val_mse` is the error on validation models, or by
    cross-validation, at the penalty chosen; with `start` alone that of the
    earlier fit. `gap` is that of the weights returned, in float64; a target that
    missed `tol` is reported by a warning. float32, or float64 for `tol` below
    1e-5, which weights rounded to float32 do not always keep.

  Raises:
    TypeError: on unknown keywords.
    ValueError: if shapes, dtypes, values or options do not make sense.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, §2;
    Hastie, Tibshirani and Friedman, `The Elements of Statistical Learning`, 2nd
    ed., section 7.10, for cross-validation and its rules.
  """
  settings = sparse.Settings(
      num_val=num_val,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      num_folds=num_folds,
      rule=rule,
      lam=lam,
      l1_ratio=1.0,
      num_lams=num_lams,
      min_ratio=min_ratio,
      tol=tol,
      refit=refit,
      own_ids=own_ids,
      start=start,
      progress=progress,
  )
  return sparse.fit(_NAME, masks, outcomes, settings, labels)
