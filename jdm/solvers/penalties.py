"""What is added to the squared error: its kinds, and each target's grid."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Penalty:
  """lam * sum_j factor_j |w_j| + ridge / 2 ||w||^2 of each target.

  Attributes:
    lam: `[num_targets]`.
    factor: `[num_targets, num_train]`, above 0; None for 1.
    ridge: `[num_targets]`; None for 0.
    positive: whether weights must not be negative.
  """

  lam: jax.Array
  factor: jax.Array | None = None
  ridge: jax.Array | None = None
  positive: bool = dataclasses.field(default=False, metadata={'static': True})

  def astype(self, dtype: Any) -> 'Penalty':
    """The same in another dtype."""
    return jax.tree.map(lambda array: array.astype(dtype), self)

  def take(self, ids: jax.Array) -> 'Penalty':
    """That of some coordinates."""
    if self.factor is None:
      return self
    factor = jnp.take(self.factor, ids, axis=1, mode='clip')
    return dataclasses.replace(self, factor=factor)

  def width(self) -> jax.Array:
    """Lam * factor, `[num_targets, num_train]` or `[num_targets, 1]`."""
    lam = self.lam[:, None]
    return lam if self.factor is None else lam * self.factor

  def value(self, weights: jax.Array) -> jax.Array:
    """The penalty of weights `[num_targets, num_train]`, `[num_targets]`."""
    total = jnp.sum(self.width() * jnp.abs(weights), axis=1)
    if self.ridge is not None:
      total += 0.5 * self.ridge * jnp.sum(weights**2, axis=1)
    if self.positive:
      total = jnp.where(jnp.any(weights < 0, axis=1), jnp.inf, total)
    return total

  def shrink(self, values: jax.Array, step: jax.Array) -> jax.Array:
    """The proximal operator: minimizes ||w - values||^2 / (2 step) + penalty.

    Args:
      values: `[num_targets, num_train]`.
      step: `[num_targets, 1]`.

    Returns:
      The minimizer, with exact zeros.
    """
    width = step * self.width()
    if self.positive:
      shrunk = jnp.maximum(values - width, 0)
    else:
      shrunk = values - jnp.clip(values, -width, width)
    if self.ridge is not None:
      shrunk /= 1 + step * self.ridge[:, None]
    return shrunk

  def pull(self, correlation: jax.Array, weights: jax.Array) -> jax.Array:
    """Minus the gradient of all but the l1 part, like `correlation`."""
    if self.ridge is None:
      return correlation
    return correlation - self.ridge[:, None] * weights

  def moving(self, correlation: jax.Array, weights: jax.Array) -> jax.Array:
    """Bool `[num_targets, num_train]`: weights that are not or can leave 0."""
    size = correlation if self.positive else jnp.abs(correlation)
    return (weights != 0) | (size > self.width())


def of(
    lam: jax.Array,
    factor: jax.Array | None = None,
    l1_ratio: float = 1.0,
    positive: bool = False,
) -> Penalty:
  """Lam * (l1_ratio * l1 + (1 - l1_ratio) / 2 * ridge), as scikit-learn's.

  Args:
    lam: `[num_targets]`.
    factor: `[num_targets, num_train]`, multiplies the l1 part; None for 1.
    l1_ratio: above 0, at most 1.
    positive: whether weights must not be negative.

  Returns:
    The penalty.
  """
  if l1_ratio == 1:
    return Penalty(lam=lam, factor=factor, positive=positive)
  return Penalty(
      lam=l1_ratio * lam,
      factor=factor,
      ridge=(1 - l1_ratio) * lam,
      positive=positive,
  )


def largest(
    cross: np.ndarray,
    variance: np.ndarray,
    factor: np.ndarray | None = None,
    l1_ratio: float = 1.0,
    positive: bool = False,
) -> np.ndarray:
  """The smallest penalty at which all weights of a target are 0.

  Args:
    cross: `[num_train, num_targets]`, Xc'yc / m.
    variance: `[num_targets]`, ||yc||^2 / m.
    factor: `[num_train, num_targets]`, multiplies penalties; None for 1.
    l1_ratio: share of the penalty that is l1.
    positive: whether weights must not be negative.

  Returns:
    `[num_targets]`, max_j |cross_j| / (factor_j l1_ratio); a little above 0 for
    an outcome that varies but that no mask correlates with.
  """
  sizes = np.maximum(cross, 0) if positive else np.abs(cross)
  if factor is not None:
    sizes = sizes / factor
  return np.maximum(sizes.max(axis=0) / l1_ratio, 1e-12 * np.sqrt(variance))


def grid(
    lam_max: np.ndarray, *, num_lams: int = 30, min_ratio: float = 1e-2
) -> np.ndarray:
  """Penalties from lam_max down to min_ratio * lam_max, evenly in the log.

  Args:
    lam_max: `[num_targets]`.
    num_lams: how many.
    min_ratio: of the last to the first.

  Returns:
    float64 `[num_lams, num_targets]`.

  Raises:
    ValueError: if there would be no penalty or they would not decrease.
  """
  if num_lams < 1 or not 0 < min_ratio < 1:
    raise ValueError(
        'a grid of penalties needs num_lams >= 1 and 0 < min_ratio < 1, got'
        f' {num_lams} and {min_ratio}.'
    )
  exponents = np.arange(num_lams) / max(num_lams - 1, 1)
  return lam_max[None] * (min_ratio**exponents)[:, None]


def given(lams: np.ndarray, variance: np.ndarray) -> np.ndarray:
  """Checks penalties and gives them to each target.

  Args:
    lams: `[num_lams]` or `[num_lams, num_targets]`.
    variance: `[num_targets]`; where it is 0 a penalty may be 0.

  Returns:
    float64 `[num_lams, num_targets]`.

  Raises:
    ValueError: if they are not positive and decreasing, or of another shape.
  """
  lams, num_targets = np.asarray(lams, np.float64), len(variance)
  if lams.ndim == 1:
    lams = np.repeat(lams[:, None], num_targets, axis=1)
  if lams.ndim != 2 or not len(lams) or lams.shape[1] != num_targets:
    raise ValueError(
        '`lasso_path` expects lams of shape [num_lams] or [num_lams,'
        f' {num_targets}], got {lams.shape}.'
    )
  if not (np.isfinite(lams) & ((lams > 0) | (variance == 0)[None])).all():
    raise ValueError(
        '`lasso_path` expects penalties above 0; without a penalty use'
        ' `regressors.least_squares`.'
    )
  if (np.diff(lams, axis=0) > 0).any():
    raise ValueError('`lasso_path` expects penalties in decreasing order.')
  return lams
