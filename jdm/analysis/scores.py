"""How one outcome of one pool does: LDS, ceilings, linear share, residuals."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib
from jdm import metrics
from jdm import regressors as regressors_lib
from jdm.analysis import noise_stability

_MOST_SHAPIRO = 5000  # Its p values are not known beyond.
_LEVEL = 0.05
# By regressor, of fits that are only scored: LDS and R2 on held-out models move
# by less than .001 from a duality gap of 1e-4, which takes twice as long.
FIT_OPTIONS: Mapping[str, Mapping[str, Any]] = {'lasso': {'tol': 1e-3}}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Normality:
  """How normal residuals are, target by target over held-out models.

  Least squares treats all residuals alike: it is at its best where they are
  normal with one variance. All numbers are means over the targets whose outcome
  varies.

  Attributes:
    skewness: third standardized moment; 0 if symmetric.
    abs_skewness: its size; skewed to both sides does not cancel.
    kurtosis: fourth standardized moment minus 3; 0 if normal.
    shapiro: Shapiro and Wilk's W, at most 1; 1 is normal.
    rejected: share of targets whose W would be met with a chance below 5 % if
      residuals were normal (5 % of normal ones are).
    num_targets: targets counted.
    num_constant: targets left out, because every held-out model has the same
      outcome.
  """

  skewness: float
  abs_skewness: float
  kurtosis: float
  shapiro: float
  rejected: float
  num_targets: int
  num_constant: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Score:
  """How datamodels of one outcome of one pool do on held-out models.

  Attributes:
    outcome: its name.
    alpha: subset fraction of the pool.
    num_models: models that were fitted.
    num_heldout: models that the scores are taken on.
    lds: linear datamodeling score against single trainings.
    lds_interval: 95 %, over held-out models.
    noise_ceiling: of the LDS; NaN with one training of each held-out subset.
    ceiling_interval: 95 %.
    r2: on single trainings, mean over targets.
    linear_share: the R2 that the best linear datamodel would reach; None if the
      sampler does not allow to tell.
    normality: of the residuals.
  """

  outcome: str
  alpha: float
  num_models: int
  num_heldout: int
  lds: float
  lds_interval: tuple[float, float]
  noise_ceiling: float
  ceiling_interval: tuple[float, float]
  r2: float
  linear_share: noise_stability.LinearShare | None
  normality: Normality


def residual_normality(
    predictions: np.ndarray, outcomes: np.ndarray
) -> Normality:
  """Looks at the residuals of predictions, each target by itself.

  Args:
    predictions: `[num_models, num_targets]`, for models that no fit has seen.
    outcomes: same shape, what single trainings gave.

  Raises:
    ValueError: if shapes differ, numbers are not finite, or there are fewer
      than 8 models.

  References:
    Shapiro and Wilk, An analysis of variance test for normality, 1965. The
    comparison of outcomes: Ilyas et al., `Datamodels
    <https://arxiv.org/abs/2202.00622>`_, 2022.
  """
  predictions, outcomes = (
      np.asarray(array, np.float64) for array in (predictions, outcomes)
  )
  if predictions.ndim != 2 or predictions.shape != outcomes.shape:
    raise ValueError(
        '`residual_normality` expects two arrays [num_models, num_targets], got'
        f' {predictions.shape} and {outcomes.shape}.'
    )
  if len(outcomes) < 8 or not np.isfinite([predictions, outcomes]).all():
    raise ValueError(
        '`residual_normality` expects finite numbers of 8 held-out models or'
        f' more, got {len(outcomes)} models.'
    )
  varies = np.ptp(outcomes, axis=0) > 0
  residuals = (outcomes - predictions)[:_MOST_SHAPIRO, varies]
  if not residuals.size:
    nothing = dict.fromkeys(
        ('skewness', 'abs_skewness', 'kurtosis', 'shapiro', 'rejected'),
        float('nan'),
    )
    return Normality(**nothing, num_targets=0, num_constant=len(varies))
  tests = [stats.shapiro(column) for column in residuals.T]
  skewness = stats.skew(residuals, axis=0)
  return Normality(
      skewness=float(np.mean(skewness)),
      abs_skewness=float(np.mean(np.abs(skewness))),
      kurtosis=float(np.mean(stats.kurtosis(residuals, axis=0))),
      shapiro=float(np.mean([test.statistic for test in tests])),
      rejected=float(np.mean([test.pvalue < _LEVEL for test in tests])),
      num_targets=residuals.shape[1],
      num_constant=int(np.sum(~varies)),
  )


def check_heldout(
    who: str, masks: np.ndarray, heldout_masks: np.ndarray, outcomes: np.ndarray
) -> np.ndarray:
  """Outcomes `[replicates, num_heldout, num_targets]` of held-out models.

  Raises:
    ValueError: if they do not belong to the masks, or a held-out subset is one
      that is fitted.
  """
  outcomes = np.asarray(outcomes)
  if outcomes.ndim != 3 or outcomes.shape[1] != len(heldout_masks):
    raise ValueError(
        f'`{who}` expects held-out outcomes [replicates, num_heldout,'
        f' num_targets] for {len(heldout_masks)} held-out masks, got'
        f' {outcomes.shape}.'
    )
  if heldout_masks.shape[1] != masks.shape[1]:
    raise ValueError(
        f'`{who}` expects held-out masks of {masks.shape[1]} examples, got'
        f' {heldout_masks.shape[1]}.'
    )
  if np.array_equal(masks[: len(heldout_masks)], heldout_masks):
    raise ValueError(
        f'`{who}` got the same models to fit and to score by; scores need'
        ' models that no fit has seen.'
    )
  return outcomes


def score(
    fitted: datamodels_lib.Datamodels,
    masks: np.ndarray,
    outcomes: np.ndarray,
    heldout_masks: np.ndarray,
    heldout_outcomes: np.ndarray,
    *,
    num_bootstrap: int = 100,
    seed: int = 0,
) -> Score:
  """Scores datamodels on held-out models.

  Args:
    fitted: to the models of `masks`.
    masks: bool `[num_models, num_train]`, of which the linear share is taken.
    outcomes: `[num_models, num_targets]`.
    heldout_masks: bool `[num_heldout, num_train]`.
    heldout_outcomes: `[replicates, num_heldout, num_targets]`; the first is
      predicted, the second gives the ceiling.
    num_bootstrap: resamples of the held-out models.
    seed: of the resamples.

  Raises:
    ValueError: if shapes disagree.
  """
  heldout_outcomes = check_heldout(
      'score', masks, heldout_masks, heldout_outcomes
  )
  options: Any = {'num_bootstrap': num_bootstrap, 'seed': seed}
  predictions = np.asarray(datamodels_lib.predict(fitted, heldout_masks))
  lds = metrics.lds(predictions, heldout_outcomes[0], **options)
  ceiling = None
  if len(heldout_outcomes) > 1:
    ceiling = metrics.noise_ceiling(*heldout_outcomes[:2], **options)
  nan = float('nan')
  return Score(
      outcome=fitted.outcome,
      alpha=fitted.alpha,
      num_models=len(masks),
      num_heldout=len(heldout_masks),
      lds=lds.value,
      lds_interval=lds.interval,
      noise_ceiling=nan if ceiling is None else ceiling.value,
      ceiling_interval=(nan, nan) if ceiling is None else ceiling.interval,
      r2=metrics.r2(predictions, heldout_outcomes[0]).value,
      linear_share=linear_share(masks, outcomes),
      normality=residual_normality(predictions, heldout_outcomes[0]),
  )


def linear_share(
    masks: np.ndarray, outcomes: np.ndarray
) -> noise_stability.LinearShare | None:
  """`noise_stability.linear_share`; None where it cannot be told."""
  try:
    return noise_stability.linear_share(masks, outcomes)
  except ValueError:
    return None


def compare_outcomes(
    masks: np.ndarray,
    outcomes: Mapping[str, np.ndarray],
    heldout_masks: np.ndarray,
    heldout_outcomes: Mapping[str, np.ndarray],
    *,
    regressor: str = 'lasso',
    num_bootstrap: int = 100,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Score, ...]:
  """Fits and scores several outcomes of the same models.

  Every outcome has its own noise ceiling: how far an LDS is below its ceiling
  compares outcomes, the LDS alone does not.

  Args:
    masks: bool `[num_models, num_train]`; the last fifth chooses penalties.
    outcomes: by name, `[num_models, num_targets]`.
    heldout_masks: bool `[num_heldout, num_train]`.
    heldout_outcomes: by the same names, `[replicates, num_heldout,
      num_targets]`.
    regressor: name of a regressor.
    num_bootstrap: resamples of the held-out models.
    seed: of the resamples.
    progress: called with the number of outcomes done and in all.

  Raises:
    ValueError: if an outcome has no held-out models, or as the regressor does.
  """
  missing = sorted(set(outcomes) - set(heldout_outcomes))
  if missing or not outcomes:
    raise ValueError(
        '`compare_outcomes` expects at least one outcome, and held-out models'
        f' for each; got {list(outcomes)}, and none held out for {missing}.'
    )
  fit = functools.partial(
      regressors_lib.get(regressor), **FIT_OPTIONS.get(regressor, {})
  )
  for name in outcomes:  # Before the first fit, which takes a while.
    check_heldout(
        'compare_outcomes', masks, heldout_masks, heldout_outcomes[name]
    )
  found = []
  for name, values in outcomes.items():
    found.append(
        score(
            fit(masks, values, outcome=name),
            masks,
            values,
            heldout_masks,
            heldout_outcomes[name],
            num_bootstrap=num_bootstrap,
            seed=seed,
        )
    )
    if progress is not None:
      progress(len(found), len(outcomes))
  return tuple(found)
