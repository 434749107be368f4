"""How datamodels improve with the number of models, and where they end."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np
from scipy import optimize

from jdm import datamodels as datamodels_lib
from jdm import intervals
from jdm import metrics
from jdm import regressors as regressors_lib
from jdm.analysis import scores as scores_lib

REGRESSORS = ('lasso', 'least_squares', 'difference_of_means')
_LEAST = 40  # Models of the shortest prefix.
_LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LearningCurve:
  """Scores on held-out models by regressor and number of fitted models.

  Attributes:
    regressors: names.
    num_models: int `[num_sizes]`, ascending: the first so many of the pool.
    lds: `[regressors, num_sizes]`, against single trainings.
    lds_interval: `[2, regressors, num_sizes]`, 95 %, over held-out models; what
      another pool would have given is not in it.
    r2: `[regressors, num_sizes]`, on single trainings, mean over targets.
    r2_interval: `[2, regressors, num_sizes]`, as `lds_interval`.
    noise_ceiling: of the LDS; NaN with one training of each held-out subset.
    ceiling_interval: 95 %.
    num_heldout: held-out models.
    num_targets: targets.
  """

  regressors: tuple[str, ...]
  num_models: np.ndarray
  lds: np.ndarray
  lds_interval: np.ndarray
  r2: np.ndarray
  r2_interval: np.ndarray
  noise_ceiling: float
  ceiling_interval: tuple[float, float]
  num_heldout: int
  num_targets: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommendation:
  """How many models it takes, by R2(m) = limit - coefficient / m^exponent.

  Attributes:
    limit: of R2 with any number of models.
    limit_given: whether it was measured without the curve, and not fitted.
    coefficient: of the power law.
    exponent: of the power law.
    share: of the limit that is asked for.
    num_models: models that reach it; NaN if the curve says nothing.
    extrapolated: whether that is more than were measured: then it is a guess by
      a curve that was seen only to `largest`.
    largest: most models measured.
    reached: share of the limit that these reach.
  """

  limit: float
  limit_given: bool
  coefficient: float
  exponent: float
  share: float
  num_models: float
  extrapolated: bool
  largest: int
  reached: float

  def r2(self, num_models: np.ndarray) -> np.ndarray:
    """The power law at numbers of models."""
    return self.limit - self.coefficient / num_models**self.exponent


def default_num_models(num_models: int) -> list[int]:
  """A quarter, half and all of the models, at least 40 each."""
  sizes = sorted({num_models // part for part in (4, 2, 1)})
  return [size for size in sizes if size >= _LEAST] or [num_models]


def learning_curve(
    masks: np.ndarray,
    outcomes: np.ndarray,
    heldout_masks: np.ndarray,
    heldout_outcomes: np.ndarray,
    *,
    num_models: Sequence[int] | None = None,
    regressors: Sequence[str] = REGRESSORS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    num_bootstrap: int = 100,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LearningCurve:
  """Fits the first models of a pool, more and more of them.

  Regressors with a penalty choose it by the last fifth of the models they are
  given, and are fitted again to all of these.

  Args:
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    heldout_masks: bool `[num_heldout, num_train]`, of models never fitted.
    heldout_outcomes: `[replicates, num_heldout, num_targets]`; the first is
      predicted, the second gives the noise ceiling.
    num_models: how many, ascending; `default_num_models` by default.
    regressors: names of `jdm.regressors`.
    options: by regressor, options of its `fit`; by default
      `scores.FIT_OPTIONS`.
    num_bootstrap: resamples of the held-out models.
    seed: of the resamples.
    progress: called with the number of fits done and in all.

  Raises:
    ValueError: if sizes are out of range, or shapes disagree.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022 (least
    squares against LASSO).
  """
  sizes = _sizes(num_models, len(masks))
  heldout_outcomes = scores_lib.check_heldout(
      'learning_curve', masks, heldout_masks, heldout_outcomes
  )
  observed = heldout_outcomes[0]
  if not regressors:
    raise ValueError('`learning_curve` expects at least one regressor.')
  shape = len(regressors), len(sizes)
  lds, r2 = np.zeros((2, *shape))
  lds_interval, r2_interval = np.zeros((2, 2, *shape))
  for row, name in enumerate(regressors):
    fit = regressors_lib.get(name)
    for column, size in enumerate(sizes):
      own = dict((options or scores_lib.FIT_OPTIONS).get(name, {}))
      fitted = fit(masks[:size], outcomes[:size], **own)
      predictions = np.asarray(datamodels_lib.predict(fitted, heldout_masks))
      score = metrics.lds(
          predictions, observed, num_bootstrap=num_bootstrap, seed=seed
      )
      lds[row, column] = score.value
      lds_interval[:, row, column] = score.interval
      r2[row, column] = metrics.r2(predictions, observed).value
      r2_interval[:, row, column] = _r2_interval(
          predictions, observed, num_bootstrap, seed
      )
      if progress is not None:
        progress(row * len(sizes) + column + 1, len(regressors) * len(sizes))
  ceiling, ceiling_interval = float('nan'), (float('nan'), float('nan'))
  if len(heldout_outcomes) > 1:
    found = metrics.noise_ceiling(
        *heldout_outcomes[:2], num_bootstrap=num_bootstrap, seed=seed
    )
    ceiling, ceiling_interval = found.value, found.interval
  return LearningCurve(
      regressors=tuple(regressors),
      num_models=np.array(sizes),
      lds=lds,
      lds_interval=lds_interval,
      r2=r2,
      r2_interval=r2_interval,
      noise_ceiling=ceiling,
      ceiling_interval=ceiling_interval,
      num_heldout=len(heldout_masks),
      num_targets=observed.shape[1],
  )


def recommend(
    num_models: Sequence[int] | np.ndarray,
    r2: Sequence[float] | np.ndarray,
    *,
    limit: float | None = None,
    share: float = 0.95,
) -> Recommendation:
  """Says how many models reach a share of the R2 that more models could give.

  A power law is drawn through the learning curve: R2(m) = limit - c / m^b. With
  a limit measured otherwise (`noise_stability.linear_share`) it is a straight
  line through log(limit - R2) against log m, by least squares; without, or if
  the curve is not below it, all three numbers are fitted. It is a summary of a
  few points, not a theory.

  Args:
    num_models: int `[num_sizes]`, ascending.
    r2: `[num_sizes]`, on models that no fit has seen.
    limit: of R2, if known.
    share: of the limit, above 0 and below 1.

  Raises:
    ValueError: if shapes or the share do not make sense.
  """
  counts = np.asarray(num_models, np.float64)
  values = np.asarray(r2, np.float64)
  if counts.ndim != 1 or counts.shape != values.shape or not counts.size:
    raise ValueError(
        '`recommend` expects as many R2 as numbers of models, got shapes'
        f' {values.shape} and {counts.shape}.'
    )
  if not 0 < share < 1:
    raise ValueError(f'`recommend` expects a share in (0, 1), got {share}.')
  given = limit is not None and bool(limit > values.max())
  found = _power_law(counts, values, limit if given else None)
  top, coefficient, exponent = found
  enough = float('nan')
  if coefficient > 0 and exponent > 0 and top > 0:
    enough = float((coefficient / ((1 - share) * top)) ** (1 / exponent))
  return Recommendation(
      limit=top,
      limit_given=given,
      coefficient=coefficient,
      exponent=exponent,
      share=share,
      num_models=enough,
      extrapolated=bool(not enough <= counts.max()),
      largest=int(counts.max()),
      reached=float(values[np.argmax(counts)] / top),
  )


def _sizes(num_models: Sequence[int] | None, most: int) -> list[int]:
  if num_models is None:
    return default_num_models(most)
  sizes = [int(size) for size in num_models]
  if not sizes or sizes != sorted(set(sizes)) or sizes[0] < 3:
    raise ValueError(
        '`learning_curve` expects ascending numbers of models from 3, got'
        f' {list(num_models)}.'
    )
  if sizes[-1] > most:
    raise ValueError(
        f'`learning_curve` cannot fit {sizes[-1]} of {most} models.'
    )
  return sizes


def _r2_interval(predictions, outcomes, num_bootstrap, seed):
  """Interval of the mean R2 over resampled held-out models."""
  num_models = len(outcomes)
  rng = np.random.default_rng(seed)
  counts = rng.multinomial(
      num_models, np.full(num_models, 1 / num_models), size=num_bootstrap
  ).astype(np.float64)
  # Around the mean, so that squares keep their digits.
  centred = outcomes - outcomes.mean(axis=0, dtype=np.float64)[None]
  errors = counts @ (outcomes - predictions).astype(np.float64) ** 2
  spread = counts @ centred**2 - (counts @ centred) ** 2 / num_models
  values = 1 - intervals.divide(errors, spread)
  defined = np.isfinite(values)
  sums = np.where(defined, values, 0).sum(axis=1)
  means = intervals.divide(sums, defined.sum(axis=1))
  return intervals.percentiles(means, _LEVEL)


def _power_law(counts, values, limit) -> tuple[float, float, float]:
  """Limit, coefficient and exponent; NaN where there are too few points."""
  if limit is not None:
    if len(counts) < 2:
      return limit, float('nan'), float('nan')
    slope, level = np.polyfit(np.log(counts), np.log(limit - values), 1)
    return float(limit), float(np.exp(level)), float(-slope)
  if len(counts) < 3:
    return float(values.max()), float('nan'), float('nan')
  # In units of the largest count, so that the numbers are of one size.
  scaled = counts / counts.max()

  def errors(found):
    return found[0] - found[1] * scaled ** -found[2] - values

  spread = max(float(np.ptp(values)), 1e-6)
  found = optimize.least_squares(
      errors,
      [values.max() + 0.5 * spread, 0.5 * spread, 0.5],
      bounds=([values.max(), 0, 0.05], [1.0 + spread, np.inf, 3.0]),
  ).x
  return (
      float(found[0]),
      float(found[1] * counts.max() ** found[2]),
      float(found[2]),
  )
