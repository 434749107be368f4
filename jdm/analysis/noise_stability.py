r"""How linear outcomes are in the subset, measured without fitting datamodels.

Write f(S) for the outcome of a model trained on a random subset S that holds
each of n examples with chance alpha, V for its variance over subsets and
trainings, g(S) for its mean over trainings, and x for the 0/1 mask. The
functions phi_A(x) = prod_{i in A} (x_i - alpha) / sqrt(alpha (1 - alpha)), one
for each set A of examples, have mean 0 (but for the empty A), variance 1, and
do not correlate. So g is a sum of c_A phi_A, and its variance a sum of

  W_k = sum of c_A^2 over the sets A of k examples.

Linear functions are the span of the phi_A with at most one example: the best
linear datamodel explains W_1 of V, the share W_1 / V is the highest R2 that it
can reach on single trainings, W_2 + W_3 + ... is what no linear datamodel sees,
and V - W_1 - W_2 - ... is the noise of training.

Two ways to W_1:

* From the pool. For models i and j of independent subsets, f_i f_j sum_a
  phi_a(x_i) phi_a(x_j) has mean sum_a E[f phi_a]^2 = W_1, because noise and
  subsets of different models are independent. `linear_share` averages it over
  all pairs of different models, as the squared length of a sum less its
  diagonal. No model is trained for it.
* From correlated pairs. If x'_i equals x_i with chance rho and is drawn again
  otherwise, then E[phi_A(x) phi_B(x')] is rho^|A| for A = B and 0 else. Trained
  apart, the pair has covariance (its noise stability)

    C(rho) = rho W_1 + rho^2 W_2 + rho^3 W_3 + ...,

  and C(1), the same subset trained twice, is all that subsets explain. Since no
  W_k is negative, every 0 < rho < 1 gives bounds, whatever the degree of g:

    (C(rho) - rho^2 C(1)) / (rho - rho^2)  <=  W_1  <=  C(rho) / rho.

  The lower one is met if g has no parts above degree 2. `stability` gives both
  and a fit of W_1 to W_3 with no W_k below 0, all higher ones left out. With
  as many models it is less exact than `linear_share`, and a check of it.

Subsets of one size s = alpha n: masks are then not independent, but functions
of degree k still form spaces that pairs with a fixed overlap do not mix. A pair
that shares h examples has rho = (h / s - alpha) / (1 - alpha) in degree 1,
exactly, and rho^k up to terms of order 1 / n in degree k.

Saunshi et al., `Understanding influence functions and datamodels via harmonic
analysis <https://arxiv.org/abs/2210.01072>`_, 2023 (the decomposition, and the
residual of the best linear datamodel from noise stability); O'Donnell, Analysis
of Boolean functions, 2014, chapters 2 and 8.
"""

from collections.abc import Mapping
import dataclasses
import functools

import numpy as np
from scipy import optimize
from scipy import stats

from jdm import subsets

_NUM_BLOCKS = 20
_TILE = 256  # Targets at once.
_DEGREE = 3
# Sizes of independent draws vary as a binomial's; other samplers differ more.
_MOST_SPREAD = 1.5


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LinearShare:
  """Share of the variance that the best linear datamodels explain.

  Attributes:
    value: W_1 / V, mean over targets: the limit of R2 on single trainings.
    interval: of `value`, over models (jackknife over blocks, Student's t); it
      is rather too wide than too short.
    per_target: `[num_targets]`; noisy, can be below 0; NaN where the outcome
      is constant.
    num_models: models.
  """

  value: float
  interval: tuple[float, float]
  per_target: np.ndarray
  num_models: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stability:
  """What pairs of models on correlated subsets say; means over targets.

  Intervals are percentiles over resampled pairs, and all values are shares of
  the variance V of single trainings.

  Attributes:
    rhos: `[num_rhos]`, ascending.
    correlations: `[num_rhos]`, C(rho) / V.
    correlation_interval: `[2, num_rhos]`.
    degrees: `[num_degrees]`, W_1 / V, W_2 / V and so on, fitted with none below
      0; as many as there are rhos, at most 3.
    degree_interval: `[2, num_degrees]`.
    bounds: lower and upper bound of W_1 / V, from the rho nearest a half; NaN
      without pairs of rho = 1 and one between.
    bounds_interval: lower end of the lower bound, upper end of the upper one.
    num_pairs: int `[num_rhos]`.
  """

  rhos: np.ndarray
  correlations: np.ndarray
  correlation_interval: np.ndarray
  degrees: np.ndarray
  degree_interval: np.ndarray
  bounds: tuple[float, float]
  bounds_interval: tuple[float, float]
  num_pairs: np.ndarray


def linear_share(
    masks: np.ndarray, outcomes: np.ndarray, *, level: float = 0.95
) -> LinearShare:
  """Estimates the R2 of the best linear datamodels, from the pool alone.

  The error of one target is about sqrt(2 num_train) / num_models; that of the
  mean over targets is smaller.

  Args:
    masks: bool `[num_models, num_train]`, subsets of one size, or with each
      example drawn independently with one chance.
    outcomes: `[num_models, num_targets]`, finite.
    level: of the interval.

  Returns:
    The share; see the top of this file.

  Raises:
    ValueError: if shapes disagree, models are fewer than 40, or the subsets are
      of another kind.
  """
  masks = subsets.check_masks(masks, who='`linear_share`')
  outcomes = _checked('linear_share', outcomes, len(masks), 2 * _NUM_BLOCKS)
  centred, spread = _centred_masks(masks)
  deviations = outcomes - outcomes.mean(axis=0, keepdims=True)
  # Row 0 is of all models, row 1 + k of all but block k.
  parts = np.concatenate(
      [
          _linear_parts(centred, deviations[:, start : start + _TILE])
          for start in range(0, outcomes.shape[1], _TILE)
      ],
      axis=1,
  )
  variance = outcomes.var(axis=0, ddof=1)
  varies = variance > 0
  if not varies.any():
    raise ValueError('`linear_share` expects outcomes that differ.')
  shares = parts / (spread * np.where(varies, variance, np.nan)[None])
  means = shares[:, varies].mean(axis=1)
  error = np.sqrt((_NUM_BLOCKS - 1) * means[1:].var())
  half = float(stats.t.ppf(0.5 + level / 2, _NUM_BLOCKS - 1) * error)
  return LinearShare(
      value=float(means[0]),
      interval=(float(means[0]) - half, float(means[0]) + half),
      per_target=shares[0],
      num_models=len(masks),
  )


def _linear_parts(centred: np.ndarray, deviations: np.ndarray) -> np.ndarray:
  """Mean of f_i f_j x_i'x_j over i != j, `[1 + blocks, num_targets]`.

  Args:
    centred: `[num_models, num_train]`, masks around alpha.
    deviations: `[num_models, num_targets]`, outcomes around their means.

  Returns:
    Of all models, then of all but each block of them.
  """
  num_models = len(centred)
  block = np.arange(num_models) % _NUM_BLOCKS
  lengths = np.sum(centred**2, axis=1)
  sums, own = [], []
  for number in range(_NUM_BLOCKS):
    rows = np.flatnonzero(block == number)
    sums.append(centred[rows].T @ deviations[rows])
    own.append(lengths[rows] @ deviations[rows] ** 2)
  total, diagonal = np.sum(sums, axis=0), np.sum(own, axis=0)

  def mean(left_out, left_out_diagonal, count):
    squared = np.sum((total - left_out) ** 2, axis=0)
    pairs = count * (count - 1)
    return (squared - (diagonal - left_out_diagonal)) / pairs

  counts = num_models - np.bincount(block)
  parts = [mean(0.0, 0.0, num_models)]
  parts += [mean(*args) for args in zip(sums, own, counts)]
  return np.stack(parts)


def stability(
    pairs: Mapping[float, tuple[np.ndarray, np.ndarray]],
    *,
    num_bootstrap: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Stability:
  """Estimates the parts of variance from pairs on correlated subsets.

  Args:
    pairs: by rho in (0, 1], outcomes of the first and of the second model of
      each pair, `[num_pairs, num_targets]` both, trained independently.
    num_bootstrap: resamples of the pairs.
    level: of the intervals.
    seed: of the resamples.

  Returns:
    Shares of the variance of single trainings; see the top of this file.

  Raises:
    ValueError: if there are no pairs, a rho is out of range, or shapes differ.
  """
  if not pairs or not all(0 < rho <= 1 for rho in pairs):
    raise ValueError(
        '`stability` expects pairs by rho above 0 and at most 1, got'
        f' {sorted(pairs)}.'
    )
  rhos = np.array(sorted(pairs))
  arrays = []
  for rho in rhos:
    first = _checked('stability', pairs[rho][0], len(pairs[rho][0]), 3)
    arrays.append((first, _checked('stability', pairs[rho][1], len(first), 3)))
  if len({first.shape[1] for first, _ in arrays}) > 1:
    raise ValueError('`stability` expects the same targets for every rho.')
  num_pairs = np.array([len(first) for first, _ in arrays])
  rng = np.random.default_rng(seed)
  counts = [
      np.concatenate(
          [
              np.ones((1, num)),
              rng.multinomial(num, np.full(num, 1 / num), num_bootstrap),
          ]
      )
      for num in num_pairs
  ]
  correlations = _correlations(arrays, counts)  # [1 + num_bootstrap, num_rhos]
  degrees = np.stack([_fit(rhos, row, num_pairs) for row in correlations])
  bounds = np.stack([_bounds(rhos, row) for row in correlations])
  ends = (1 - level) / 2, (1 + level) / 2
  quantiles = functools.partial(np.quantile, q=ends, axis=0)
  outer = quantiles(bounds[1:])
  return Stability(
      rhos=rhos,
      correlations=correlations[0],
      correlation_interval=quantiles(correlations[1:]),
      degrees=degrees[0],
      degree_interval=quantiles(degrees[1:]),
      bounds=(float(bounds[0, 0]), float(bounds[0, 1])),
      bounds_interval=(float(outer[0, 0]), float(outer[1, 1])),
      num_pairs=num_pairs,
  )


def _checked(who: str, outcomes, num_rows: int, least: int) -> np.ndarray:
  """Outcomes as float64, checked."""
  outcomes = np.asarray(outcomes, np.float64)
  if outcomes.ndim != 2 or len(outcomes) != num_rows or num_rows < least:
    raise ValueError(
        f'`{who}` expects outcomes [num_models, num_targets] of {num_rows}'
        f' models, and at least {least} of them, got {outcomes.shape}.'
    )
  if not np.isfinite(outcomes).all():
    raise ValueError(
        f'`{who}` expects finite outcomes; drop the models that diverged.'
    )
  return outcomes


def _centred_masks(masks: np.ndarray) -> tuple[np.ndarray, float]:
  """Masks around alpha, and by what a squared length is divided for W_1."""
  num_train = masks.shape[1]
  sizes = masks.sum(axis=1)
  alpha = masks.mean()
  variance = alpha * (1 - alpha)
  if not variance:
    raise ValueError('`linear_share` expects masks that differ.')
  if np.ptp(sizes) == 0:
    # Masks that sum to a constant span one dimension less.
    spread = variance * num_train / (num_train - 1)
  elif sizes.var() < _MOST_SPREAD * num_train * variance:
    spread = variance
  else:
    raise ValueError(
        '`linear_share` expects subsets of one size, or with each example drawn'
        ' independently with one chance (samplers fixed_size and bernoulli),'
        f' got sizes from {sizes.min()} to {sizes.max()}.'
    )
  return masks - alpha, float(spread)


def _correlations(arrays, counts) -> np.ndarray:
  """Mean over targets of C(rho) / V, `[num_resamples, num_rhos]`."""
  covariances, variances, weights = [], [], []
  for (first, second), times in zip(arrays, counts):
    num = len(first)
    # Around the mean of all, so that squares keep their digits.
    shift = (first.mean(axis=0) + second.mean(axis=0))[None] / 2
    first, second = first - shift, second - shift
    means = [times @ array / num for array in (first, second)]
    covariance = times @ (first * second) / num - means[0] * means[1]
    squares = [times @ array**2 / num for array in (first, second)]
    spread = [square - mean**2 for square, mean in zip(squares, means)]
    covariances.append(covariance * num / (num - 1))
    variances.append((spread[0] + spread[1]) / 2 * num / (num - 1))
    weights.append(num)
  variance = np.average(variances, axis=0, weights=weights)
  varies = (variance > 0).all(axis=0)
  if not varies.any():
    raise ValueError('`stability` expects outcomes that differ between models.')
  return np.stack(
      [
          np.mean(covariance[:, varies] / variance[:, varies], axis=1)
          for covariance in covariances
      ],
      axis=1,
  )


def _fit(rhos, correlations, num_pairs) -> np.ndarray:
  """W_1, W_2, ... as shares: least squares, none below 0."""
  trust = np.sqrt(num_pairs)
  degrees = np.arange(1, min(len(rhos), _DEGREE) + 1)
  powers = rhos[:, None] ** degrees[None]
  return optimize.nnls(powers * trust[:, None], correlations * trust)[0]


def _bounds(rhos, correlations) -> np.ndarray:
  """Lower and upper bound of W_1 / V."""
  between = np.flatnonzero(rhos < 1)
  if not between.size or rhos[-1] < 1:
    return np.full(2, np.nan)
  chosen = between[np.argmin(np.abs(rhos[between] - 0.5))]
  rho, value, whole = rhos[chosen], correlations[chosen], correlations[-1]
  lower = (value - rho**2 * whole) / (rho - rho**2)
  return np.array([lower, value / rho])
