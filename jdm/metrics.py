"""How good predictions of outcomes are: scores, ceilings and their intervals.

NumPy on the host. Predictions and outcomes are `[num_models, num_targets]`,
row i about the same held-out model in both; all numbers must be finite, so
diverged models are left out before.

`where`, bool `[num_models, num_targets]`, tells which entries count: a target
that is a training example is scored on the models that did not train on it.
Each target's number is that of its own rows, at least 3; entries left out may
be NaN. The bootstrap draws models, the same for all targets.
"""

from collections.abc import Callable
import dataclasses

import numpy as np
from scipy import stats

from jdm import intervals

bootstrap_interval = intervals.bootstrap_interval
wilson_interval = intervals.wilson_interval

_LEAST_KEPT = 3  # Rows of a target that count: of two, all ranks agree or not.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
  """One score a target, and their mean.

  Attributes:
    value: mean over targets.
    per_target: `[num_targets]`, NaN where the score is undefined.
    num_undefined: number of targets without a score.
  """

  value: float
  per_target: np.ndarray
  num_undefined: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LDS(Scores):
  """Linear datamodeling score: Spearman per target, undefined counts as 0.

  Attributes:
    interval: bootstrap of `value` over held-out models; NaN without one.
    num_models: number of held-out models.
    num_targets: number of targets.
  """

  interval: tuple[float, float]
  num_models: int
  num_targets: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoiseCeiling:
  """The highest score that the randomness of training leaves possible.

  Attributes:
    value: mean over targets.
    per_target: `[num_targets]`, 0 where the two trainings do not agree.
    reliability: `[num_targets]` Spearman between the two trainings, NaN where
      undefined.
    interval: bootstrap of `value` over models; NaN without one.
    clipped: share of targets whose reliability is negative or undefined, and
      whose ceiling is therefore set to 0.
    num_replicates: trainings averaged in the outcomes that are scored.
    num_models: number of models.
    num_targets: number of targets.
  """

  value: float
  per_target: np.ndarray
  reliability: np.ndarray
  interval: tuple[float, float]
  clipped: float
  num_replicates: int
  num_models: int
  num_targets: int


def pearson(
    first: np.ndarray, second: np.ndarray, *, where: np.ndarray | None = None
) -> np.ndarray:
  """Correlates two arrays `[num, num_targets]` column by column.

  Args:
    first: `[num, num_targets]`.
    second: same shape.
    where: bool, same shape, entries that count; all by default.

  Returns:
    `[num_targets]`, NaN where a column is constant.

  Raises:
    ValueError: if shapes differ, if there are fewer than 2 rows (with `where`,
      3 of a target), or if a number is not finite.
  """
  first, second = _checked('pearson', first, second, where=where)
  return _by_target(_correlation, first, second, where)


def spearman(
    first: np.ndarray, second: np.ndarray, *, where: np.ndarray | None = None
) -> np.ndarray:
  """Rank-correlates `[num, num_targets]` column by column; ties share a rank.

  Returns:
    `[num_targets]`, NaN where a column is constant.

  Raises:
    ValueError: as `pearson`.
  """
  first, second = _checked('spearman', first, second, where=where)
  return _by_target(_rank_correlation, first, second, where)


def pooled_spearman(
    predictions: np.ndarray,
    outcomes: np.ndarray,
    *,
    where: np.ndarray | None = None,
) -> float:
  """Rank-correlates all pairs of model and target at once.

  It contains the variance between targets (some are easier than others), which
  a predictor can explain without knowing any subset: it is higher than `lds`
  and not comparable with it.

  Raises:
    ValueError: as `pearson`.
  """
  pair = _checked('pooled_spearman', predictions, outcomes, where=where)
  if where is not None:
    pair = tuple(array[np.asarray(where)] for array in pair)
  ranks = [stats.rankdata(array).reshape(-1, 1) for array in pair]
  return float(_correlation(*ranks)[0])


def lds(
    predictions: np.ndarray,
    outcomes: np.ndarray,
    *,
    where: np.ndarray | None = None,
    num_bootstrap: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> LDS:
  """Scores predictions: per-target Spearman over held-out models, averaged.

  Args:
    predictions: `[num_models, num_targets]` of subsets never used in a fit.
    outcomes: `[num_models, num_targets]`, what models trained on them gave.
    where: bool, same shape, entries that count; all by default.
    num_bootstrap: resamples of the held-out models for the interval; 0 skips
      it. 400 take about a second for 500 models and 300 targets.
    level: of the interval.
    seed: of the resamples.

  Raises:
    ValueError: as `pearson`, or if there are fewer than 3 models.

  References:
    Park et al., `TRAK <https://arxiv.org/abs/2303.14186>`_, 2023, Definition
    2.4. The interval is a percentile bootstrap over models, shifted so that
    the resamples average to the value; the targets are taken as given.
  """
  predictions, outcomes = _checked(
      'lds', predictions, outcomes, least=3, where=where
  )
  scores = _zero_if_undefined(spearman(predictions, outcomes, where=where))
  resampled = intervals.bootstrap_spearman(
      predictions, outcomes, num_bootstrap, seed, where
  )
  return LDS(
      value=scores.value,
      per_target=scores.per_target,
      interval=intervals.centred_interval(
          np.nan_to_num(resampled).mean(axis=1), scores.value, level
      ),
      num_undefined=scores.num_undefined,
      num_models=len(outcomes),
      num_targets=outcomes.shape[1],
  )


def noise_ceiling(
    first: np.ndarray,
    second: np.ndarray,
    *,
    where: np.ndarray | None = None,
    num_replicates: int = 1,
    num_bootstrap: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> NoiseCeiling:
  """Estimates the score of a perfect predictor from two trainings per subset.

  If an outcome is signal of the subset plus independent noise of the training,
  two trainings correlate by rho = var(signal) / var(outcome), and the signal
  correlates with one outcome by sqrt(rho), with a mean of k outcomes by
  sqrt(k rho / (1 + (k - 1) rho)). This is exact for Pearson correlations;
  for ranks, as here, it is approximate.

  Args:
    first: `[num_models, num_targets]`, one training of each held-out subset.
    second: the same subsets, trained with other random numbers.
    where: bool, same shape, entries that count; all by default.
    num_replicates: trainings averaged in the outcomes that are scored (k).
    num_bootstrap: as in `lds`.
    level: of the interval.
    seed: of the resamples.

  Raises:
    ValueError: as `lds`, or if `num_replicates` is below 1.

  References:
    Spearman, Correlation calculated from faulty data, 1910; Brown, Some
    experimental results in the correlation of mental abilities, 1910.
  """
  first, second = _checked('noise_ceiling', first, second, least=3, where=where)
  if num_replicates < 1:
    raise ValueError(
        '`noise_ceiling` expects num_replicates of at least 1, got'
        f' {num_replicates}.'
    )
  reliability = spearman(first, second, where=where)
  per_target = _ceiling(reliability, num_replicates)
  value = float(per_target.mean())
  resampled = intervals.bootstrap_spearman(
      first, second, num_bootstrap, seed, where
  )
  values = _ceiling(resampled, num_replicates).mean(axis=1)
  return NoiseCeiling(
      value=value,
      per_target=per_target,
      reliability=reliability,
      interval=intervals.centred_interval(values, value, level),
      clipped=float(np.mean(~(reliability >= 0))),
      num_replicates=num_replicates,
      num_models=len(first),
      num_targets=first.shape[1],
  )


def mse(
    predictions: np.ndarray,
    outcomes: np.ndarray,
    *,
    where: np.ndarray | None = None,
) -> Scores:
  """Mean squared error over models, per target and averaged over targets.

  In squared outcome units.

  Raises:
    ValueError: as `pearson`.
  """
  predictions, outcomes = _checked('mse', predictions, outcomes, where=where)
  return _scores(_by_target(_mean_square, predictions, outcomes, where))


def r2(
    predictions: np.ndarray,
    outcomes: np.ndarray,
    *,
    where: np.ndarray | None = None,
) -> Scores:
  """1 - squared error / variance around the target's own mean over models.

  A target whose outcome never varies is undefined and left out of the mean.

  Raises:
    ValueError: as `pearson`.
  """
  predictions, outcomes = _checked('r2', predictions, outcomes, where=where)
  return _scores(_by_target(_explained, predictions, outcomes, where))


def loo_correlation(
    weights: np.ndarray,
    loo_effects: np.ndarray,
    *,
    correlation: Callable[[np.ndarray, np.ndarray], np.ndarray] = spearman,
) -> Scores:
  """Correlates weights with true leave-one-out effects over train examples.

  Args:
    weights: `[num_train, num_targets]`, positive = helpful.
    loo_effects: `[num_train, num_targets]`, outcome with all examples minus
      outcome without example i, so that positive = helpful too.
    correlation: `spearman` or `pearson`.

  Returns:
    One correlation a target; an undefined one (such as of a target whose
    weights are all 0) counts as 0 in the mean.

  Raises:
    ValueError: as `pearson`.
  """
  weights, loo_effects = _checked('loo_correlation', weights, loo_effects)
  return _zero_if_undefined(correlation(weights, loo_effects))


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
  """Area under the ROC curve: a positive scores higher than a negative.

  Args:
    scores: `[num]`, finite.
    labels: `[num]`, bool or 0 and 1, with at least one of both.

  Raises:
    ValueError: if shapes differ, a score is not finite or a kind is missing.
  """
  from sklearn import metrics  # Takes a second to import.

  scores, labels = np.asarray(scores), np.asarray(labels)
  if scores.ndim != 1 or scores.shape != labels.shape:
    raise ValueError(
        '`auc` expects scores and labels of one shape [num], got'
        f' {scores.shape} and {labels.shape}; ravel them first.'
    )
  if not np.all(np.isfinite(scores)):
    raise ValueError('`auc` expects finite scores, got NaN or infinite ones.')
  kinds = np.unique(labels)
  if not np.array_equal(kinds, [0, 1]):
    raise ValueError(
        '`auc` expects labels 0 and 1, at least one of both, got'
        f' {kinds[:5].tolist()}.'
    )
  return float(metrics.roc_auc_score(labels.tolist(), scores.tolist()))


def top_overlap(
    first: np.ndarray, second: np.ndarray, num_top: int
) -> np.ndarray:
  """How much two estimates of scores agree on the most helpful examples.

  Args:
    first: `[num_train, num_targets]`, such as of one half of a pool.
    second: same shape, of the other half.
    num_top: examples of highest score of each target.

  Returns:
    `[num_targets]`, the share of the first's top that the second's has;
    `num_top / num_train` by chance.

  Raises:
    ValueError: if shapes differ or `num_top` is out of range.
  """
  first, second = np.asarray(first), np.asarray(second)
  if first.ndim != 2 or first.shape != second.shape:
    raise ValueError(
        '`top_overlap` expects two arrays of one shape [num_train,'
        f' num_targets], got {list(first.shape)} and {list(second.shape)}.'
    )
  if not 1 <= num_top <= len(first):
    raise ValueError(
        f'`top_overlap` expects num_top from 1 to {len(first)}, got {num_top}.'
    )
  chosen = []
  for scores in (first, second):
    rows = np.argsort(-scores, axis=0, kind='stable')[:num_top]
    is_top = np.zeros(scores.shape, bool)
    np.put_along_axis(is_top, rows, True, axis=0)
    chosen.append(is_top)
  return (chosen[0] & chosen[1]).sum(axis=0) / num_top


def _checked(
    who: str,
    first: np.ndarray,
    second: np.ndarray,
    *,
    least: int = 2,
    where: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Checks the shapes and numbers of both arrays; returns them as float64.

  Entries that do not count become 0.
  """
  first, second = (np.asarray(a, np.float64) for a in (first, second))
  if first.ndim != 2 or first.shape != second.shape or not first.shape[1]:
    raise ValueError(
        f'`{who}` expects two arrays of one shape [num_models, num_targets],'
        f' got {first.shape} and {second.shape}; for one target pass'
        ' `x[:, None]`.'
    )
  if len(first) < least:
    raise ValueError(
        f'`{who}` expects at least {least} rows (held-out models), got'
        f' {len(first)}; train more.'
    )
  if where is not None:
    _check_where(who, where, first.shape)
    first, second = (np.where(where, array, 0) for array in (first, second))
  for which, array in (('first', first), ('second', second)):
    num_bad = array.size - np.count_nonzero(np.isfinite(array))
    if num_bad:
      raise ValueError(
          f'`{who}` expects finite numbers, got {num_bad} NaN or infinite in'
          f' the {which} array; leave diverged or missing models out.'
      )
  return first, second


def _check_where(who: str, where: np.ndarray, shape: tuple[int, ...]) -> None:
  """Checks that every target has entries that count."""
  where = np.asarray(where)
  if where.dtype != np.bool_ or where.shape != shape:
    raise ValueError(
        f'`{who}` expects where as bool of shape {shape}, True for entries that'
        f' count, got {where.dtype} of shape {where.shape}.'
    )
  kept = where.sum(axis=0)
  short = np.flatnonzero(kept < _LEAST_KEPT)
  if short.size:
    raise ValueError(
        f'`{who}` expects at least {_LEAST_KEPT} rows that count for each'
        f' target, got {kept[short[0]]} for target {short[0]} (too few for'
        f' {short.size} of {len(kept)} targets); train more held-out models or'
        ' leave such targets out.'
    )


def _by_target(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    first: np.ndarray,
    second: np.ndarray,
    where: np.ndarray | None,
) -> np.ndarray:
  """Numbers `[num_targets]` of columns, each over the rows that count."""
  if where is None:
    return function(first, second)
  columns = [
      function(first[kept, t : t + 1], second[kept, t : t + 1])
      for t, kept in enumerate(np.asarray(where).T)
  ]
  return np.concatenate(columns)


def _mean_square(predictions: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
  """Mean squared error per column."""
  return np.mean((predictions - outcomes) ** 2, axis=0)


def _explained(predictions: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
  """R2 per column; NaN where the outcome is constant."""
  errors = np.sum((predictions - outcomes) ** 2, axis=0)
  spread = np.sum(_centred(outcomes) ** 2, axis=0)
  return 1 - intervals.divide(errors, spread)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Spearman per column; NaN where a column is constant."""
  return _correlation(
      stats.rankdata(first, axis=0), stats.rankdata(second, axis=0)
  )


def _centred(columns: np.ndarray) -> np.ndarray:
  """Subtracts column means; a constant column becomes exactly 0."""
  # Around the first row, because a mean of equal numbers may round.
  columns = columns - columns[:1]
  return columns - columns.mean(axis=0, keepdims=True)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Pearson per column, `[num_targets]`; NaN where a column is constant."""
  first, second = (_unit_columns(array) for array in (first, second))
  return np.clip(np.sum(first * second, axis=0), -1, 1)


def _unit_columns(columns: np.ndarray) -> np.ndarray:
  """Centres columns and scales them to length 1; NaN where constant."""
  columns = _centred(columns)
  # Scaled by the largest first, so that squares neither vanish nor overflow.
  columns = intervals.divide(
      columns, np.max(np.abs(columns), axis=0, keepdims=True)
  )
  return columns / np.sqrt(np.sum(columns**2, axis=0, keepdims=True))


def _scores(per_target: np.ndarray) -> Scores:
  """Averages over the targets that have a score; NaN if none has."""
  defined = per_target[~np.isnan(per_target)]
  return Scores(
      value=float(defined.mean()) if defined.size else float('nan'),
      per_target=per_target,
      num_undefined=per_target.size - defined.size,
  )


def _zero_if_undefined(per_target: np.ndarray) -> Scores:
  """Averages over all targets: what cannot be ranked explains nothing."""
  return Scores(
      value=float(np.nan_to_num(per_target).mean()),
      per_target=per_target,
      num_undefined=int(np.isnan(per_target).sum()),
  )


def _ceiling(reliability: np.ndarray, num_replicates: int) -> np.ndarray:
  """Square root of the reliability of a mean of `num_replicates` trainings."""
  rho = np.maximum(np.nan_to_num(reliability), 0)
  return np.sqrt(num_replicates * rho / (1 + (num_replicates - 1) * rho))
