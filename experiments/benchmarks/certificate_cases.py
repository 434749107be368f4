"""Random small LASSO problems of all regimes, and their gaps by definition."""

import dataclasses

import numpy as np

RATIOS = (0.5, 1.0, 2.0, 5.0, 10.0)  # Models over training examples.
ALPHAS = (0.1, 0.5, 0.9)
KINDS = ('fixed_size', 'bernoulli', 'duplicates', 'groups', 'constants')
NUM_TARGETS = 6  # Of `_outcomes`.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """A problem.

  Attributes:
    masks: bool `[num_models, num_train]`.
    outcomes: float32 `[num_models, NUM_TARGETS]`.
    kind: of `KINDS`.
    alpha: of `ALPHAS`.
  """

  masks: np.ndarray
  outcomes: np.ndarray
  kind: str
  alpha: float


def make(seed: int, num_train: int, num_models: int) -> Case:
  """Draws a problem of a size.

  Args:
    seed: of everything else: alpha, kind of subsets, outcomes.
    num_train: columns.
    num_models: rows.

  Returns:
    The problem.
  """
  generator = np.random.default_rng(seed)
  kind = KINDS[generator.integers(len(KINDS))]
  alpha = ALPHAS[generator.integers(len(ALPHAS))]
  masks = _masks(generator, num_models, num_train, alpha, kind)
  outcomes = _outcomes(generator, masks)
  return Case(
      masks=masks, outcomes=outcomes.astype(np.float32), kind=kind, alpha=alpha
  )


def _masks(generator, num_models, num_train, alpha, kind) -> np.ndarray:
  """Subsets of a kind."""
  draws = generator.random((num_models, num_train))
  if kind == 'bernoulli':
    return draws < alpha
  if kind == 'groups':  # Whole groups are in or out.
    groups = generator.integers(max(2, num_train // 3), size=num_train)
    return (draws < alpha)[:, groups % num_train]
  masks = draws.argsort(axis=1).argsort(axis=1) < round(alpha * num_train)
  if kind == 'duplicates':  # Columns that are copies of others.
    some = generator.integers(num_train, size=(2, max(1, num_train // 3)))
    masks[:, some[0]] = masks[:, some[1]]
  if kind == 'constants':  # In every model, or in none.
    some = generator.choice(num_train, max(1, num_train // 4), replace=False)
    masks[:, some] = generator.random(len(some)) < 0.5
  return masks


def _outcomes(generator, masks) -> np.ndarray:
  """Linear, its copy, noise, a constant, a large mean, and 0/1."""
  num_models, num_train = masks.shape
  weights = generator.laplace(size=num_train)
  weights *= generator.random(num_train) < 0.3
  noise = generator.normal(size=(num_models, 3))
  linear = masks @ weights + generator.choice([0.01, 0.5, 2]) * noise[:, 0]
  large = 1000 + 10.0 ** generator.uniform(-2, 4) * (linear + noise[:, 2])
  right = (linear > np.median(linear)).astype(float)
  constant = np.full(num_models, generator.normal())
  return np.stack([linear, linear, noise[:, 1], constant, large, right], axis=1)


def true_gaps(
    masks: np.ndarray,
    outcomes: np.ndarray,
    weights: np.ndarray,
    lams: np.ndarray,
) -> np.ndarray:
  """Primal minus dual objective by definition, from the rows themselves.

  In extended precision, since the two are nearly equal.

  Args:
    masks: `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    weights: `[num_lams, num_train, num_targets]`.
    lams: `[num_lams, num_targets]`.

  Returns:
    float64 `[num_lams, num_targets]`, over ||y - mean(y)||^2 / (2m); 0 for a
    constant outcome with weights of 0.
  """
  masks, outcomes = masks.astype(np.longdouble), outcomes.astype(np.longdouble)
  masks = masks - masks.mean(axis=0)[None]
  outcomes = outcomes - outcomes.mean(axis=0)[None]
  variance = np.mean(outcomes**2, axis=0)
  gaps = np.zeros(lams.shape)
  for index, some in enumerate(weights.astype(np.longdouble)):
    residual = outcomes - masks @ some
    lam = lams[index].astype(np.longdouble)
    largest = np.abs(masks.T @ residual).max(axis=0) / len(masks)
    tiny = np.finfo(np.float64).tiny
    scale = np.minimum(1, lam / np.maximum(largest, tiny))
    primal = np.mean(residual**2, axis=0) / 2 + lam * np.abs(some).sum(axis=0)
    left = outcomes - scale[None] * residual
    gap = primal - (variance - np.mean(left**2, axis=0)) / 2
    varies = (outcomes != outcomes[:1]).any(axis=0)
    half = np.where(varies, variance / 2, 1)
    gaps[index] = np.where(varies | (some != 0).any(axis=0), gap / half, 0)
  return gaps


def excess(claimed: np.ndarray, true: np.ndarray) -> np.ndarray:
  """How many times the claimed gap the true one is; rounding of both left out.

  Args:
    claimed: relative gaps.
    true: relative gaps, in extended precision.

  Returns:
    The ratios; 0 where the true gap is float64's rounding.
  """
  rounding = 1e-13  # Of moments, near 1, that gaps are the difference of.
  return np.maximum(true - rounding, 0) / np.maximum(claimed, 1e-300)
