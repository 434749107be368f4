"""scikit-learn's `Lasso` and `LassoCV` for many targets at once.

The estimators pass scikit-learn's own checks and can stand in its pipelines and
searches. All targets (columns of y) are solved together on one Gram matrix,
each with a penalty of its own and a duality gap.
"""

import dataclasses
from typing import Any, Self
import warnings

import numpy as np
from sklearn import base
from sklearn import exceptions
from sklearn import model_selection
from sklearn.utils import validation

from jdm.solvers import centred
from jdm.solvers import certificate
from jdm.solvers import dense
from jdm.solvers import folds as folds_lib
from jdm.solvers import moments as moments_lib
from jdm.solvers import path as path_lib

_FLAT = 4.0  # Ratio of column scales up to which one factor serves all.
_FLOAT64_TOL = 9e-6  # A tolerance for which products are in float64.
# Smaller problems are padded: they share compiled programs.
_COLUMNS, _TARGETS = 32, 8


def solve(
    statistics: centred.Statistics, *, tol: float, exact: bool, **options: Any
) -> path_lib.LassoPath:
  """Solves LASSO paths of columns of any scale.

  Columns are multiplied by powers of two, which changes no digit, until they are
  near 1, all by the same if they are near each other; their penalties are
  multiplied as well, so that the solution is that of the columns as given.
  Small problems are padded to few shapes, so that they share compiled programs.

  Args:
    statistics: of the rows to fit.
    tol: bound of the relative duality gap.
    exact: whether products are in float64 at any tolerance: where columns are
      strongly correlated, float32 does not reach those that it reaches on
      masks.
    **options: of `path.lasso_path`; lams `[num_lams, num_targets]` is expected.

  Returns:
    The path, for the columns as they were given.
  """
  statistics = centred.of(statistics)
  num_train, num_targets = statistics.cross.shape
  width = max(num_train, _COLUMNS)
  more = max(num_targets, _TARGETS) - num_targets
  # Many rows make masks an easy problem, but not columns that are correlated.
  statistics = dataclasses.replace(
      statistics, num_models=min(statistics.num_models, 2 * width)
  )
  scales, common = _scales(statistics.second)
  if (scales != common).any():
    options['factor'] = np.ones(width)
    options['factor'][:num_train] = scales / common
  lams = np.pad(options.pop('lams'), ((0, 0), (0, more)), constant_values=1)
  found = path_lib.lasso_path(
      statistics.scaled(scales).padded(width, num_targets + more),
      lams=lams * common,
      tol=min(tol, _FLOAT64_TOL) if exact else tol,
      dtype='float64',
      **options,
  )
  fields = {
      name: value[..., :num_targets] for name, value in vars(found).items()
  }
  weights = fields['weights'][..., :num_train, :]
  fields['weights'] = weights * scales[:, None]
  fields['lam'], fields['lams'] = (
      fields['lam'] / common,
      fields['lams'] / common,
  )
  fields['converged'] = fields['gap'] <= 1.1 * tol
  return path_lib.LassoPath(**fields)


def _scales(second: np.ndarray) -> tuple[np.ndarray, float]:
  """Powers of two that bring columns near 1 [num_train], and one for all.

  The first are all the second where columns are of about one scale.
  """
  deviation = np.sqrt(np.diagonal(second))
  varying = deviation[deviation > 0]
  if not len(varying):
    return np.ones(len(deviation)), 1.0
  common = float(np.exp2(-np.round(np.log2(np.median(varying)))))
  scales = np.full(len(deviation), common)
  if varying.max() > _FLAT * varying.min():
    scales[deviation > 0] = np.exp2(-np.round(np.log2(varying)))
  return scales, common


class _Linear(base.MultiOutputMixin, base.RegressorMixin, base.BaseEstimator):
  """What the estimators share: checking of inputs, the fit, predictions."""

  def _check(self, X, y, sample_weight):
    """Checked inputs, outcomes [num_models, num_targets] and weights."""
    masks = getattr(X, 'dtype', None) == np.bool_
    X, y = validation.validate_data(
        self,
        X,
        y,
        dtype=np.bool_ if masks else (np.float64, np.float32),
        multi_output=True,
        y_numeric=True,
        ensure_min_samples=2,
    )
    self._single = y.ndim == 1
    if sample_weight is not None:
      sample_weight = validation._check_sample_weight(
          sample_weight, X, dtype=np.float64, ensure_non_negative=True
      )
      if np.count_nonzero(sample_weight) < 2:
        raise ValueError(
            f'`{type(self).__name__}.fit` expects 2 samples or more with a'
            ' weight above 0.'
        )
      # Weights count relative to each other, as in scikit-learn.
      sample_weight = sample_weight / sample_weight.mean()
    return X, y.reshape(len(y), -1), sample_weight

  def _empty(self, X, y, sample_weight):
    """Moments of no rows, of the kind that suits the inputs."""
    if X.dtype == np.bool_ and self.fit_intercept and sample_weight is None:
      return moments_lib.Moments.zeros(X.shape[1], y.shape[1])
    return dense.around(X, y, intercept=self.fit_intercept)

  def _options(self, X) -> dict[str, Any]:
    """Of `solve`."""
    return {
        'exact': X.dtype != np.bool_,
        'tol': self.tol,
        'max_epochs': self.max_iter,
        'positive': self.positive,
    }

  def _finish(self, statistics, alpha, X) -> Self:
    """Solves at alpha `[num_targets]` and sets what `fit` promises."""
    statistics = centred.of(statistics)
    found = solve(statistics, lams=alpha[None], keep='best', **self._options(X))
    missed = int(np.sum(~found.converged))
    if missed:
      warnings.warn(
          f'`{type(self).__name__}.fit`: {missed} of {len(alpha)} targets'
          f' missed tol={self.tol:g}, their largest relative duality gap is'
          f' {found.gap.max():.2g}; raise `max_iter`, or scale the columns.',
          exceptions.ConvergenceWarning,
          stacklevel=3,
      )
    weights, gap = found.weights, found.gap
    if X.dtype == np.float32:  # As scikit-learn's; rounding costs some gap.
      weights = weights.astype(np.float32)
      gap = certificate.from_moments(
          statistics, weights, alpha, positive=self.positive
      )
    # Constant outcomes are solved without a sweep; estimators count from 1.
    sweeps = np.maximum(found.num_epochs, 1)
    # Of weights that are exact, rounding is left.
    absolute = np.maximum(gap, 0) * statistics.spread / 2
    bias = found.bias if self.fit_intercept else np.zeros(len(alpha))
    if self._single:
      self.coef_, self.intercept_ = weights[:, 0], float(bias[0])
      self.dual_gap_, self.n_iter_ = float(absolute[0]), int(sweeps[0])
    else:
      self.coef_ = np.ascontiguousarray(weights.T)
      self.intercept_ = bias
      self.dual_gap_, self.n_iter_ = absolute, sweeps
    del self._single
    return self

  def predict(self, X) -> np.ndarray:
    """Predicts outcomes.

    Args:
      X: `[num_models, num_train]`, numbers or bool masks.

    Returns:
      `[num_models]`, or `[num_models, num_targets]` if y had two axes.
    """
    validation.check_is_fitted(self)
    X = validation.validate_data(
        self, X, reset=False, dtype=(np.float64, np.float32)
    )
    return X @ self.coef_.T + self.intercept_


class BatchedLasso(_Linear):
  """The LASSO of many targets, with scikit-learn's interface.

  Minimizes 1/(2m) ||y - X w - b||^2 + alpha ||w||_1 over w and b for each
  target, as `sklearn.linear_model.Lasso` does one after the other. X is dense:
  float64 or float32 (its dtype is that of `coef_`), or bool masks, which are
  counted exactly. The Gram matrix is made, so that columns may be a few
  ten thousand and rows any number.

  Args:
    alpha: penalty above 0, a number or `[num_targets]`.
    fit_intercept: whether to fit b; otherwise b = 0.
    tol: bound of the duality gap over ||y - mean(y)||^2 / (2m) (without
      intercept ||y||^2 / (2m)). scikit-learn's `tol` bounds the gap over
      ||y||^2 / m, so that half of it is asked for here at the same number.
      Columns of numbers are solved to 9e-6 at least, in float64.
    max_iter: sweeps over the columns after which a target is left as it is.
    positive: whether weights must not be negative.

  Attributes:
    coef_: `[num_train]`, or `[num_targets, num_train]` if y has two axes.
    intercept_: number or `[num_targets]`.
    dual_gap_: number or `[num_targets]`, the duality gap of `coef_`, absolute,
      recomputed in float64.
    n_iter_: number or `[num_targets]`, sweeps.
    n_features_in_: columns of X.
    feature_names_in_: names of columns, where X has them.
  """

  def __init__(
      self,
      alpha: Any = 1.0,
      *,
      fit_intercept: bool = True,
      tol: float = 1e-4,
      max_iter: int = 5000,
      positive: bool = False,
  ):
    self.alpha = alpha
    self.fit_intercept = fit_intercept
    self.tol = tol
    self.max_iter = max_iter
    self.positive = positive

  def fit(self, X, y, sample_weight=None) -> Self:
    """Fits all targets.

    Args:
      X: `[num_models, num_train]`, float64, float32 or bool.
      y: `[num_models]` or `[num_models, num_targets]`.
      sample_weight: `[num_models]`, relative weights of the rows.

    Returns:
      The estimator.

    Raises:
      ValueError: if inputs or options do not make sense.
    """
    X, y, sample_weight = self._check(X, y, sample_weight)
    alpha = self._alpha(y.shape[1])
    empty = self._empty(X, y, sample_weight)
    weights = () if sample_weight is None else (sample_weight,)
    return self._finish(empty.add(X, y, *weights), alpha, X)

  def _alpha(self, num_targets: int) -> np.ndarray:
    """The penalty of each target, checked."""
    alpha = np.asarray(self.alpha, np.float64)
    if alpha.shape not in ((), (num_targets,)):
      raise ValueError(
          '`BatchedLasso.fit` expects alpha to be a number or'
          f' [{num_targets}], one for each target, got shape {alpha.shape}.'
      )
    if not (np.isfinite(alpha) & (alpha > 0)).all():
      raise ValueError(
          '`BatchedLasso.fit` expects alpha above 0; without a penalty use'
          ' `sklearn.linear_model.LinearRegression`.'
      )
    return np.broadcast_to(alpha, (num_targets,))


class BatchedLassoCV(_Linear):
  """The LASSO of many targets, each penalty chosen by cross-validation.

  As `sklearn.linear_model.LassoCV`, for many targets, each with its own grid
  and its own choice. The rows outside a fold are not read again: their moments
  are those of all rows minus the fold's.

  Args:
    eps: smallest penalty of a grid over its largest.
    n_alphas: penalties of each grid, evenly in the log.
    alphas: `[n_alphas]` or `[num_targets, n_alphas]` penalties instead, above
      0, in any order.
    fit_intercept: whether to fit b.
    tol: as in `BatchedLasso`, of every fit.
    max_iter: as in `BatchedLasso`, at each penalty.
    positive: as in `BatchedLasso`.
    cv: number of folds (5 by default, in order and not shuffled, as in
      `LassoCV`), a splitter, or pairs of row numbers (train, test); the tests
      must hold each row once and trains all others.
    selection: 'min', the lowest mean error, or 'one_se', the largest penalty
      whose mean error is within one standard error of the lowest
      (`folds.FoldErrors.choose`).

  Attributes:
    alpha_: number or `[num_targets]`, the penalties chosen.
    alphas_: `[n_alphas]` or `[num_targets, n_alphas]`, decreasing.
    mse_path_: `[n_alphas, n_folds]` or `[num_targets, n_alphas, n_folds]`. The
      mean over folds weighs each by its rows (`LassoCV`: all the same).
    coef_: as in `BatchedLasso`, fitted to all rows, like the rest.
    intercept_: as in `BatchedLasso`.
    dual_gap_: as in `BatchedLasso`.
    n_iter_: as in `BatchedLasso`.
    n_features_in_: columns of X.
    feature_names_in_: names of columns, where X has them.
  """

  def __init__(
      self,
      *,
      eps: float = 1e-3,
      n_alphas: int = 100,
      alphas: Any = None,
      fit_intercept: bool = True,
      tol: float = 1e-4,
      max_iter: int = 5000,
      positive: bool = False,
      cv: Any = None,
      selection: str = 'min',
  ):
    self.eps = eps
    self.n_alphas = n_alphas
    self.alphas = alphas
    self.fit_intercept = fit_intercept
    self.tol = tol
    self.max_iter = max_iter
    self.positive = positive
    self.cv = cv
    self.selection = selection

  def fit(self, X, y, sample_weight=None) -> Self:
    """Chooses the penalties and fits all targets.

    Args:
      X: `[num_models, num_train]`, float64, float32 or bool.
      y: `[num_models]` or `[num_models, num_targets]`.
      sample_weight: `[num_models]`, relative weights, in fits and errors.

    Returns:
      The estimator.

    Raises:
      ValueError: if inputs or options do not make sense.
    """
    folds_lib.check_rule(self.selection, 'BatchedLassoCV.fit')
    X, y, sample_weight = self._check(X, y, sample_weight)
    empty = self._empty(X, y, sample_weight)
    parts = []
    for rows in self._tests(X, y):
      weights = () if sample_weight is None else (sample_weight[rows],)
      parts.append(empty.add(X[rows], y[rows], *weights))
    total = folds_lib.join(parts)
    found = folds_lib.cross_validate(
        total,
        parts,
        lams=self._grid(y.shape[1]),
        num_lams=self.n_alphas,
        min_ratio=self.eps,
        solve=solve,
        **self._options(X),
    )
    kept = found.choose(self.selection)
    alpha = found.lams[kept, np.arange(y.shape[1])]
    self.alpha_ = float(alpha[0]) if self._single else alpha
    self.alphas_ = found.lams[:, 0] if self._single else found.lams.T
    mse = found.errors.transpose(2, 1, 0)
    self.mse_path_ = mse[0] if self._single else mse
    return self._finish(total, alpha, X)

  def _grid(self, num_targets: int) -> np.ndarray | None:
    """Given penalties as decreasing `[n_alphas, num_targets]`."""
    if self.alphas is None:
      return None
    alphas = np.asarray(self.alphas, np.float64)
    if alphas.ndim == 1:
      alphas = np.repeat(alphas[None], num_targets, axis=0)
    if alphas.ndim != 2 or len(alphas) != num_targets or not alphas.size:
      raise ValueError(
          '`BatchedLassoCV.fit` expects alphas of shape [n_alphas] or'
          f' [{num_targets}, n_alphas], got {alphas.shape}.'
      )
    return -np.sort(-alphas.T, axis=0)

  def _tests(self, X, y) -> list[np.ndarray]:
    """Row numbers of each fold, checked to be a partition."""
    splitter = model_selection.check_cv(self.cv)
    pairs = list(splitter.split(X, y))
    tests = [np.arange(len(X))[test] for _, test in pairs]
    seen = np.bincount(np.concatenate(tests), minlength=len(X))
    whole = all(len(train) + len(test) == len(X) for train, test in pairs)
    if len(tests) < 2 or not whole or (seen != 1).any():
      raise ValueError(
          '`BatchedLassoCV.fit` expects 2 folds or more that hold each of the'
          f' {len(X)} rows once, and to train on all others, got'
          f' {len(tests)} folds of {[len(test) for test in tests]} rows; use'
          ' KFold, GroupKFold or the like.'
      )
    return tests
