"""How sure a number is: intervals of means, shares and resampled scores.

NumPy on the host. A resample of models is how often each was drawn, so that
all targets are resampled together.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float] = np.mean,
    *,
    num_bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
  """Percentile bootstrap of a statistic, resampling the first axis.

  Args:
    values: `[num, ...]`, one independent observation a row.
    statistic: of an array like `values`.
    num_bootstrap: number of resamples.
    level: of the interval.
    seed: of the resamples.

  Raises:
    ValueError: if there are fewer than 2 observations, or if `level` is not
      between 0 and 1.

  References:
    Efron and Tibshirani, An introduction to the bootstrap, 1993, §13.3.
  """
  values = np.asarray(values)
  if values.ndim < 1 or len(values) < 2:
    raise ValueError(
        '`bootstrap_interval` expects at least 2 observations on the first'
        f' axis, got shape {values.shape}.'
    )
  rng = np.random.default_rng(seed)
  resampled = [
      statistic(values[rng.integers(len(values), size=len(values))])
      for _ in range(num_bootstrap)
  ]
  return percentiles(np.array(resampled, np.float64), level)


def t_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
  """Student's t interval of the mean of a few independent numbers.

  Args:
    values: `[num]`, such as one a seed.
    level: of the interval.

  Raises:
    ValueError: if there are fewer than 2, or `level` is not between 0 and 1.
  """
  values = np.asarray(values, np.float64)
  if values.ndim != 1 or len(values) < 2:
    raise ValueError(
        '`t_interval` expects at least 2 values [num], got shape'
        f' {values.shape}.'
    )
  _check_level(level)
  error = values.std(ddof=1) / np.sqrt(len(values))
  half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * error)
  return float(values.mean()) - half, float(values.mean()) + half


def wilson_interval(
    successes: int, trials: int, level: float = 0.95
) -> tuple[float, float]:
  """Interval of a share, right also for few trials and shares near 0 or 1.

  Raises:
    ValueError: unless 0 <= successes <= trials and 1 <= trials.

  References:
    Wilson, Probable inference, JASA 22, 1927.
  """
  if trials < 1 or not 0 <= successes <= trials:
    raise ValueError(
        '`wilson_interval` expects 0 <= successes <= trials and at least one'
        f' trial, got {successes} of {trials}.'
    )
  _check_level(level)
  test = stats.binomtest(successes, trials)
  interval = test.proportion_ci(level, method='wilson')
  return float(interval.low), float(interval.high)


def bootstrap_spearman(
    first: np.ndarray,
    second: np.ndarray,
    num_bootstrap: int,
    seed: int,
    where: np.ndarray | None = None,
) -> np.ndarray:
  """Spearman of resampled models, `[num_bootstrap, num_targets]`.

  A resample is how often each model was drawn. Running sums of these counts
  along a column's sorted order are the ranks within the resample, ties
  included, so that each column is sorted once.
  """
  num_models, num_targets = first.shape
  rng = np.random.default_rng(seed)
  counts = rng.multinomial(
      num_models, np.full(num_models, 1 / num_models), size=num_bootstrap
  ).T.astype(
      np.float64
  )  # [num_models, num_bootstrap]
  result = np.empty((num_bootstrap, num_targets))
  for t in range(num_targets):
    kept = slice(None) if where is None else np.flatnonzero(where[:, t])
    times = counts[kept]
    ranks = [
        _resampled_ranks(array[kept, t], times) for array in (first, second)
    ]
    products = [
        np.einsum('mb,mb,mb->b', times, left, right)
        for left, right in (ranks, (ranks[0],) * 2, (ranks[1],) * 2)
    ]
    result[:, t] = divide(products[0], np.sqrt(products[1] * products[2]))
  return result


def _resampled_ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """Centred average ranks of `values [m]` within resamples, `[m, resamples]`."""
  num_models, num_bootstrap = counts.shape
  below = np.zeros((num_models + 1, num_bootstrap))
  np.cumsum(counts[np.argsort(values, kind='stable')], axis=0, out=below[1:])
  # In a sorted column, ties of a value stand in places start to end - 1.
  start = stats.rankdata(values, method='min').astype(np.int64) - 1
  end = stats.rankdata(values, method='max').astype(np.int64)
  # The average rank is (below[start] + 1 + below[end]) / 2, and its mean over
  # the resample (below[-1] + 1) / 2.
  return (below[start] + below[end] - below[-1:]) / 2


def _check_level(level: float) -> None:
  """Checks that a confidence level is a share."""
  if not 0 < level < 1:
    raise ValueError(f'Expected a level between 0 and 1, got {level}.')


def centred_interval(
    values: np.ndarray, centre: float, level: float
) -> tuple[float, float]:
  """Percentiles of resampled values, shifted to average to `centre`.

  Models drawn twice tie, which biases rank correlations: with few models the
  plain percentiles can miss the value that they belong to.
  """
  shift = centre - values.mean() if values.size else 0.0
  return percentiles(values + shift, level)


def percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
  """The central `level` of resampled values; NaN if there are none."""
  _check_level(level)
  if not values.size:
    return float('nan'), float('nan')
  low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
  return float(low), float(high)


def divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
  """Divides; NaN where the denominator is 0."""
  defined = denominators > 0
  return np.where(
      defined, numerators / np.where(defined, denominators, 1), np.nan
  )
