"""What each training example adds to a utility, from a pool of trained models.

A utility is one number of a trained model, higher is better: its accuracy on
some targets, its mean margin, the recall of a class. A value is in units of the
utility per example, positive where the example raises it.

The same masks and outcomes that datamodels are fitted to serve every utility at
once: each value is a difference of two means over the models that hold the
example and those that do not, which is one matrix product for all examples.
"""

from collections.abc import Callable, Sequence
import dataclasses

import numpy as np
from scipy import stats

from jdm import regressors
from jdm import subsets

# Of the variance of sizes, over that of independent draws.
_MOST_SPREAD = 1.5
_MIN_MODELS = 4  # Two halves of two.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Values:
  """Values of training examples for some utilities.

  Attributes:
    method: how they were estimated.
    names: names of the utilities.
    values: `[num_train, num_utilities]`, utility units per example; positive
      where the example raises the utility.
    standard_error: same shape, utility units; NaN if unknown.
    interval: `[2, num_train, num_utilities]`, percentile bootstrap over models;
      None without resamples. Not corrected for looking at the extremes.
    stability: `[num_utilities]`, Spearman correlation over examples of the
      values by one random half of the models with those by the other, mean
      over splits. 1 is a perfect ranking, 0 is noise.
    num_models: that the values were estimated from.
    alpha: mean share of the training set in a subset.
    num_saved: models that a truncated estimate did without.
  """

  method: str
  names: tuple[str, ...]
  values: np.ndarray
  standard_error: np.ndarray
  interval: np.ndarray | None
  stability: np.ndarray
  num_models: int
  alpha: float
  num_saved: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resampling:
  """How the uncertainty of values is found.

  Attributes:
    num_bootstrap: resamples for the intervals; 0 for none.
    num_splits: random halvings for the stability.
    level: of the intervals.
    seed: of both.
  """

  num_bootstrap: int = 200
  num_splits: int = 10
  level: float = 0.95
  seed: int = 0

  def __post_init__(self):
    if self.num_bootstrap < 0 or self.num_splits < 1 or not 0 < self.level < 1:
      raise ValueError(
          '`Resampling` expects num_bootstrap of at least 0, num_splits of at'
          f' least 1 and a level between 0 and 1, got {self}.'
      )


def banzhaf(
    masks: np.ndarray,
    utilities: np.ndarray,
    *,
    names: Sequence[str] = (),
    resampling: Resampling = Resampling(),
) -> Values:
  """Estimates Banzhaf values by maximum sample reuse.

  The value of example i is the mean utility of the models that hold i minus
  that of the models that do not. Which value that estimates is decided by how
  the subsets were drawn:

  - Bernoulli(1/2): the Banzhaf value, the mean over all subsets without i of
    what adding i changes. Bernoulli(alpha): the alpha-weighted Banzhaf value,
    in which a subset S counts alpha^|S| (1 - alpha)^(n - 1 - |S|).
  - Fixed size k = alpha n: holding i means holding one other example less. The
    values add up to 0: each says how much more i adds than the other examples
    would. Where the utility is a sum of what its examples contribute, they are
    n / (n - 1) times (contribution minus mean contribution), and the ranking is
    that of the contributions; a least-squares datamodel has 1 - 1/n times them.

  Args:
    masks: bool `[num_models, num_train]`; row i is model i's training set.
    utilities: `[num_models, num_utilities]` or `[num_models]`, finite.
    names: of the utilities.
    resampling: of the models, for intervals and stability.

  Returns:
    The values, with standard errors as in Welch's test.

  Raises:
    ValueError: on wrong shapes or numbers, fewer than 4 models, an example that
      all models or none hold, or subsets of many sizes.

  References:
    Wang and Jia, `Data Banzhaf <https://arxiv.org/abs/2205.15466>`_, 2023, §4;
    Li and Yu, `Robust data valuation with weighted Banzhaf values`, 2023.
  """
  masks, utilities = checked('banzhaf', masks, utilities)
  _check_one_alpha('banzhaf', masks)
  num_models = len(masks)
  contrast = Contrast(
      masks=masks,
      utilities=utilities,
      inside=np.ones(num_models),
      outside=np.ones(num_models),
      unit=np.arange(num_models),
  )
  return estimate(
      contrast,
      num_models,
      method='banzhaf',
      num_models=num_models,
      alpha=float(masks.mean()),
      resampling=resampling,
      names=names,
      standard_error=_welch(masks, utilities),
  )


def regression(
    masks: np.ndarray,
    utilities: np.ndarray,
    *,
    regressor: str = 'lasso',
    names: Sequence[str] = (),
    seed: int = 0,
    **options,
) -> Values:
  """Takes the weights of a datamodel of the utility as values.

  With LASSO this is the estimator of Lin et al. at one alpha: few examples are
  given a value, the rest exactly 0.

  Args:
    masks: bool `[num_models, num_train]`, all drawn at one alpha.
    utilities: `[num_models, num_utilities]` or `[num_models]`, finite.
    regressor: name in `regressors.REGRESSORS`.
    names: of the utilities.
    seed: of the order of models, and so of which validate and of the halves
      that stability compares (one split).
    **options: of the regressor.

  Returns:
    The values; without standard errors, which a penalized fit does not have.

  Raises:
    ValueError: as `banzhaf`, or as the regressor does.

  References:
    Lin et al., `Measuring the effect of training data by randomized
    experiments <https://arxiv.org/abs/2206.10013>`_, 2022, §3.
  """
  masks, utilities = checked('regression', masks, utilities)
  fit = regressors.get(regressor)
  order = np.random.default_rng(seed).permutation(len(masks))
  # Accuracies vary by thousandths; a penalty path is happier around 1.
  scale = np.maximum(utilities.std(axis=0), np.finfo(np.float32).tiny)

  def weights(rows: np.ndarray) -> np.ndarray:
    scaled = (utilities[rows] / scale[None]).astype(np.float32)
    fitted = fit(masks[rows], scaled, **options)
    return np.asarray(fitted.weights, np.float64) * scale[None]

  halves = [weights(order[half::2]) for half in (0, 1)]
  values = weights(order)
  return Values(
      method=regressor,
      names=checked_names(names, utilities.shape[1]),
      values=values,
      standard_error=np.full(values.shape, np.nan),
      interval=None,
      stability=rank_correlation(*halves),
      num_models=len(masks),
      alpha=float(masks.mean()),
  )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
  """A weighted mean of the models that hold an example, minus of the others.

  Attributes:
    masks: bool `[num_models, num_train]`.
    utilities: `[num_models, num_utilities]`.
    inside: `[num_models]`, weight of a model for the examples that it holds.
    outside: `[num_models]`, for the others.
    factor: that the difference is multiplied by.
    offset: `[num_utilities]`, added to it.
    unit: int `[num_models]`, from 0: models of one unit were drawn together.
  """

  masks: np.ndarray
  utilities: np.ndarray
  inside: np.ndarray
  outside: np.ndarray
  unit: np.ndarray
  factor: float = 1.0
  offset: np.ndarray | float = 0.0

  def __call__(self, times: np.ndarray) -> np.ndarray:
    """Estimates values from samples of the units.

    Args:
      times: `[num_units, num_samples]`, how often a sample holds each unit.

    Returns:
      `[num_samples, num_train, num_utilities]`, NaN for an example that all
      models of a sample hold, or none.
    """
    # Around their mean, so that float32 products lose nothing.
    centred = self.utilities - self.utilities.mean(axis=0)[None]
    masks = self.masks.astype(np.float32)
    means = []
    for weights, held in ((self.inside, True), (self.outside, False)):
      weighted = times[self.unit] * weights[:, None]
      columns = [weighted, *(weighted * u[:, None] for u in centred.T)]
      stacked = np.stack(columns).astype(np.float32)  # [1 + q, models, samples]
      sums = np.einsum('mn,qms->qsn', masks, stacked, optimize=True)
      if not held:
        sums = stacked.sum(axis=1)[:, :, None] - sums
      count = sums[0].astype(np.float64)
      # Of a difference that should be 0, rounding leaves less than one model.
      defined = count > 0.5 * weights.min()
      mean = sums[1:] / np.where(defined, count, 1)[None]
      means.append(np.where(defined[None], mean, np.nan))
    difference = np.moveaxis(means[0] - means[1], 0, -1)
    return self.factor * difference + self.offset


def estimate(
    sampled: Callable[[np.ndarray], np.ndarray],
    num_units: int,
    *,
    method: str,
    num_models: int,
    alpha: float,
    resampling: Resampling,
    names: Sequence[str] = (),
    standard_error: np.ndarray | None = None,
) -> Values:
  """Runs an estimator on all units, on resamples and on halves of them.

  Args:
    sampled: `times [num_units, num_samples] -> values [num_samples, num_train,
      num_utilities]`, NaN where undefined; such as a `Contrast`.
    num_units: what is drawn independently: models, or permutations.
    method: to note, and for messages.
    num_models: to note.
    alpha: to note.
    resampling: how.
    names: of the utilities.
    standard_error: `[num_train, num_utilities]`; by default the deviation of
      the resamples.

  Raises:
    ValueError: if an example has no value, or names do not fit.
  """
  values = sampled(np.ones((num_units, 1)))[0]
  unknown = np.flatnonzero(np.isnan(values).any(axis=1))
  if unknown.size:
    raise ValueError(
        f'`{method}`: example {unknown[0]} is in all models or in none'
        f' ({unknown.size} examples are); it has no value. Train more models.'
    )
  rng = np.random.default_rng(resampling.seed)
  interval = None
  if resampling.num_bootstrap:
    drawn = rng.multinomial(
        num_units,
        np.full(num_units, 1 / num_units),
        size=resampling.num_bootstrap,
    )
    resampled = sampled(drawn.T)
    ends = [(1 - resampling.level) / 2, (1 + resampling.level) / 2]
    interval = np.nanquantile(resampled, ends, axis=0)
    if standard_error is None and resampling.num_bootstrap > 1:
      standard_error = np.nanstd(resampled, axis=0, ddof=1)
  if standard_error is None:
    standard_error = np.full(values.shape, np.nan)
  orders = [rng.permutation(num_units) for _ in range(resampling.num_splits)]
  first = np.stack(orders, axis=1) % 2 == 0  # [num_units, num_splits]
  halves = sampled(first), sampled(~first)
  stability = [rank_correlation(*pair) for pair in zip(*halves)]
  return Values(
      method=method,
      names=checked_names(names, values.shape[1]),
      values=values,
      standard_error=standard_error,
      interval=interval,
      stability=np.mean(stability, axis=0),
      num_models=num_models,
      alpha=alpha,
  )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Spearman by column; 0 where a side is constant, which ranks nothing."""
  found = []
  for x, y in zip(first.T, second.T):
    valid = np.isfinite(x) & np.isfinite(y)
    x, y = x[valid], y[valid]
    varies = x.size > 1 and np.ptp(x) > 0 and np.ptp(y) > 0
    found.append(stats.spearmanr(x, y).statistic if varies else 0.0)
  return np.array(found)


def checked(
    who: str, masks: np.ndarray, utilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Bool masks and float64 utilities `[num_models, num_utilities]`.

  Raises:
    ValueError: on wrong shapes or numbers, or fewer than 4 models.
  """
  masks = subsets.check_masks(masks, who=f'`{who}`')
  utilities = np.asarray(utilities, np.float64)
  if utilities.ndim == 1:
    utilities = utilities[:, None]
  if utilities.ndim != 2 or len(utilities) != len(masks) or not utilities.size:
    raise ValueError(
        f'`{who}` expects utilities of shape [{len(masks)}, num_utilities], one'
        f' row a model, got {utilities.shape}.'
    )
  if not np.isfinite(utilities).all():
    raise ValueError(
        f'`{who}` expects finite utilities; leave diverged models out.'
    )
  if len(masks) < _MIN_MODELS:
    raise ValueError(
        f'`{who}` expects at least {_MIN_MODELS} models, got {len(masks)}.'
    )
  return masks, utilities


def _check_one_alpha(who: str, masks: np.ndarray) -> None:
  """Refuses subsets that are neither of one size nor drawn at one chance."""
  sizes, num_train = masks.sum(axis=1), masks.shape[1]
  alpha = masks.mean()
  if sizes.var() > _MOST_SPREAD * num_train * alpha * (1 - alpha):
    raise ValueError(
        f'`{who}` expects subsets of one size, or with each example drawn'
        ' independently with one chance (samplers fixed_size and bernoulli), got'
        f' sizes from {sizes.min()} to {sizes.max()}, of which the mean'
        ' difference is mostly one of size; ask for Shapley values.'
    )


def _welch(masks: np.ndarray, utilities: np.ndarray) -> np.ndarray:
  """Standard errors of differences of means, `[num_train, num_utilities]`."""
  held = masks.astype(np.float64)
  centred = utilities - utilities.mean(axis=0)[None]
  sums, squares = held.T @ centred, held.T @ centred**2
  count = held.sum(axis=0)[:, None]
  parts = [
      (count, sums, squares),
      (
          len(masks) - count,
          centred.sum(axis=0) - sums,
          (centred**2).sum(axis=0) - squares,
      ),
  ]
  variance = sum(
      np.maximum(square - total**2 / np.maximum(num, 1), 0)
      / np.maximum(num * (num - 1), 1)
      for num, total, square in parts
  )
  known = np.minimum(count, len(masks) - count) > 1
  return np.where(known, np.sqrt(variance), np.nan)


def checked_names(names: Sequence[str], num_utilities: int) -> tuple[str, ...]:
  """The names, by default numbered; ValueError unless there is one for each."""
  chosen = tuple(names) or tuple(f'utility_{i}' for i in range(num_utilities))
  if len(chosen) != num_utilities:
    raise ValueError(
        f'expected one name for each of {num_utilities} utilities, got'
        f' {list(chosen)}.'
    )
  return chosen
