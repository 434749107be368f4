"""K-fold cross-validation by subtraction: moments of all minus those of a fold.

Moments are sums, so the models outside a fold have the moments of all models
minus the fold's: no row is read twice, and for masks the counts stay exact
integers. The errors on the fold come from its moments, too. Each target has
its own penalty.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, Protocol, Self

import numpy as np

from jdm.solvers import centred
from jdm.solvers import options as options_lib
from jdm.solvers import path as path_lib
from jdm.solvers import penalties

RULES = ('min', 'one_se')
_PATH_BYTES = 2**28  # Of weights of whole paths at a time.


class Sums(centred.Statistics, Protocol):
  """Moments that can be joined and taken apart: of masks, or dense."""

  @property
  def cross(self) -> np.ndarray:
    """Sums of products with outcomes, `[num_train, num_targets]`."""

  def __add__(self, other: Self, /) -> Self:
    """Joins disjoint models."""

  def subtract(self, other: Self) -> Self:
    """Takes models out again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldErrors:
  """Errors of the models of each fold, by fits to all other models.

  Attributes:
    lams: float64 `[num_lams, num_targets]`, decreasing.
    errors: float64 `[num_folds, num_lams, num_targets]`, mean squared error
      over the models of the fold, squared outcome units.
    sizes: float64 `[num_folds]`, models of each fold (their total weight).
    max_gap: the largest relative duality gap of any fit.
  """

  lams: np.ndarray
  errors: np.ndarray
  sizes: np.ndarray
  max_gap: float

  def mean(self) -> np.ndarray:
    """Mean error of a model, `[num_lams, num_targets]`: folds by their size."""
    return np.average(self.errors, axis=0, weights=self.sizes)

  def standard_error(self) -> np.ndarray:
    """Standard error of `mean`, `[num_lams, num_targets]`.

    The root of sum_k q_k (e_k - mean)^2 / (K - 1), with q_k the fold's share
    of the models, as in glmnet's `cv.glmnet`; folds of one size make it their
    sample standard deviation over the root of K.
    """
    spread = (self.errors - self.mean()[None]) ** 2
    variance = np.average(spread, axis=0, weights=self.sizes)
    return np.sqrt(variance / (len(self.errors) - 1))

  def choose(self, rule: str = 'min') -> np.ndarray:
    """Chooses a penalty for each target.

    Args:
      rule: 'min' for the lowest mean error, of equals the largest penalty;
        'one_se' for the largest penalty whose mean error is at most the lowest
        plus the standard error there (Hastie, Tibshirani and Friedman, `The
        Elements of Statistical Learning`, 2nd ed., section 7.10).

    Returns:
      int `[num_targets]`, indices into `lams`.

    Raises:
      ValueError: if the rule is unknown.
    """
    check_rule(rule)
    mean = self.mean()
    lowest = np.argmin(mean, axis=0)
    if rule == 'min':
      return lowest
    columns = np.arange(mean.shape[1])
    bound = (mean + self.standard_error())[lowest, columns]
    return np.argmax(mean <= bound[None], axis=0)


def check_rule(rule: str, who: str = 'FoldErrors.choose') -> None:
  """Raises unless the rule is one of `RULES`."""
  if rule not in RULES:
    raise ValueError(f'`{who}` expects one of {RULES}, got {rule!r}.')


def assign(num_models: int, num_folds: int) -> np.ndarray:
  """The fold of each model: model i is in fold i mod num_folds.

  Models are independent draws, so that this is as good as a random split, and
  a model keeps its fold when others are added.

  Args:
    num_models: models.
    num_folds: from 2 to num_models.

  Returns:
    int `[num_models]`.

  Raises:
    ValueError: if there are too few or too many folds.
  """
  if not 2 <= num_folds <= num_models:
    raise ValueError(
        f'`folds.assign` expects num_folds from 2 to {num_models}, the number'
        f' of models, got {num_folds}.'
    )
  return np.arange(num_models) % num_folds


def split(
    empty: Any, masks: Any, outcomes: np.ndarray, fold_of: np.ndarray
) -> list[Any]:
  """Sums up each fold.

  Args:
    empty: moments of no models: `Moments.zeros(...)`, or `dense.around(...)`.
    masks: `[num_models, num_train]`, what `empty.add` takes.
    outcomes: `[num_models, num_targets]`.
    fold_of: int `[num_models]`, from 0, as from `assign`.

  Returns:
    The moments of each fold.

  Raises:
    ValueError: if the shape of `fold_of` is another, or a fold has no model.
  """
  fold_of = np.asarray(fold_of)
  if fold_of.shape != (len(outcomes),) or not (
      np.issubdtype(fold_of.dtype, np.integer)
  ):
    raise ValueError(
        f'`folds.split` expects fold_of as {len(outcomes)} integers, a fold for'
        f' each model, got {fold_of.dtype} of shape {fold_of.shape}.'
    )
  sizes = np.bincount(fold_of) if (fold_of >= 0).all() else np.zeros(1)
  if len(sizes) < 2 or not sizes.all():
    raise ValueError(
        '`folds.split` expects folds 0, 1, ..., two or more, each with a model;'
        f' got models in folds {np.unique(fold_of)[:10].tolist()}.'
    )
  return [
      empty.add(masks[fold_of == fold], outcomes[fold_of == fold])
      for fold in range(len(sizes))
  ]


def join(folds: Sequence[Sums]) -> Sums:
  """The moments of all folds together."""
  total = folds[0]
  for fold in folds[1:]:
    total = total + fold
  return total


def check(total: Sums, folds: Sequence[Sums]) -> None:
  """Checks that folds are the parts of a total.

  Args:
    total: moments of all models.
    folds: of each fold.

  Raises:
    ValueError: if the folds are fewer than two or do not add up to the total.
  """
  if len(folds) < 2:
    raise ValueError(
        '`folds.cross_validate` expects the moments of 2 folds or more, got'
        f' {len(folds)}.'
    )
  counts = [fold.num_models for fold in folds]
  if sum(counts) != total.num_models:
    raise ValueError(
        '`folds.cross_validate` expects folds that add up to the total, each'
        f' model in one fold: folds of {counts} models are {sum(counts)}, the'
        f' total has {total.num_models}; `folds.join(folds)` is their total.'
    )
  left = total
  for fold in folds:
    left = left.subtract(fold)
  if np.any(getattr(left, 'counts', 0)):
    raise ValueError(
        '`folds.cross_validate` expects folds that add up to the total: the'
        ' numbers of models do, their masks do not; the folds must be parts of'
        ' the same models (`folds.join(folds)`).'
    )
  # What is left must be rounding of what was there.
  scale = np.sqrt(
      np.outer(
          np.diagonal(total.gram()) + total.mean_mask() ** 2,
          total.variance() + total.mean_outcome() ** 2,
      )
  )
  if not (
      np.abs(left.cross) <= 1e-9 * total.num_models * (scale + 1e-30)
  ).all():
    raise ValueError(
        '`folds.cross_validate` expects folds that add up to the total: the'
        ' numbers of models do, their sums do not; the folds must be parts of'
        ' the same models with the same outcomes (`folds.join(folds)`).'
    )


def cross_validate(
    total: Sums,
    folds: Sequence[Sums],
    *,
    lams: np.ndarray | None = None,
    num_lams: int = 30,
    min_ratio: float = 1e-2,
    tol: float = 1e-4,
    solve: Callable[..., path_lib.LassoPath] = path_lib.lasso_path,
    **options: Any,
) -> FoldErrors:
  """Follows the paths of all targets without each fold, and scores them on it.

  Args:
    total: moments of all models.
    folds: moments of each fold; every model is in one.
    lams: `[num_lams]` or `[num_lams, num_targets]`, decreasing, the same in
      all folds; by default each target's grid from the largest penalty of the
      total.
    num_lams: length of the default grid.
    min_ratio: of the last penalty to the first in the default grid.
    tol: relative duality gap of every fit.
    solve: `path.lasso_path`, or what takes the same arguments.
    **options: of `solve`.

  Returns:
    The errors; `choose` picks penalties.

  Raises:
    ValueError: if the folds do not add up to the total.
  """
  check(total, folds)
  everything = centred.of(total)
  options = _by_target(options, everything.cross.shape)
  if lams is None:
    kind = {
        name: options[name]
        for name in ('factor', 'l1_ratio', 'positive')
        if name in options
    }
    largest = penalties.largest(everything.cross, everything.spread, **kind)
    lams = penalties.grid(largest, num_lams=num_lams, min_ratio=min_ratio)
  else:
    lams = penalties.given(lams, everything.spread)
  errors = np.zeros((len(folds), *lams.shape))
  max_gap = 0.0
  for index, fold in enumerate(folds):
    rest, left_out = centred.of(total.subtract(fold)), centred.of(fold)
    for part in _parts(lams.shape, everything.num_train):
      path = solve(
          rest.targets(part),
          lams=lams[:, part],
          keep='all',
          tol=tol,
          **_columns(options, part),
      )
      errors[index, :, part] = left_out.targets(part).squared_error(
          path.weights, path.bias
      )
      max_gap = max(max_gap, float(path.gap.max()))
  return FoldErrors(
      lams=lams,
      errors=errors,
      sizes=np.array([_size(fold) for fold in folds], np.float64),
      max_gap=max_gap,
  )


def _by_target(
    options: dict[str, Any], shape: tuple[int, ...]
) -> dict[str, Any]:
  """Options with arrays of targets `[num_train, num_targets]` in full."""
  factor = options_lib.check_factor(options.get('factor'), shape)
  start = options_lib.check_start(options.get('start'), shape)
  arrays = {'factor': factor, 'start': start}
  return options | {k: v for k, v in arrays.items() if v is not None}


def _columns(options: dict[str, Any], part: slice) -> dict[str, Any]:
  """The same for some targets."""
  given = [k for k in ('factor', 'start') if options.get(k) is not None]
  return options | {k: options[k][:, part] for k in given}


def _size(fold: Any) -> float:
  """Models of a fold, or their total weight."""
  return getattr(fold, 'total_weight', fold.num_models)


def _parts(shape: tuple[int, int], num_train: int) -> list[slice]:
  """Targets whose paths are held at once."""
  num_lams, num_targets = shape
  step = max(1, _PATH_BYTES // (8 * num_lams * num_train))
  step = max(step, min(100, num_targets))  # A tile of the solver.
  return [slice(i, i + step) for i in range(0, num_targets, step)]
