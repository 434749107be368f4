"""What the penalty took away, given back: relaxed and debiased LASSO.

Both start from LASSO weights and the moments they were fitted to.

relaxed   least squares on the support of each target, or a blend of it and the
          LASSO (Meinshausen, `Relaxed Lasso
          <https://doi.org/10.1016/j.csda.2006.12.019>`_, 2007; Hastie et al.,
          `Best subset, forward stepwise or lasso?
          <https://arxiv.org/abs/1707.08692>`_, 2020, section 2.3).
debiased  w + Theta Xc'(y - X w - b) / m with Theta an approximate inverse of
          the Gram matrix, the same for all targets: estimates of every weight
          with standard errors (Javanmard and Montanari, `Confidence intervals
          and hypothesis testing for high-dimensional regression
          <https://arxiv.org/abs/1306.3171>`_, 2014; van de Geer et al., `On
          asymptotically optimal confidence regions
          <https://arxiv.org/abs/1303.0518>`_, 2014).

All in float64, with whole matrices [num_train, num_train] on one device.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from jdm.solvers import centred
from jdm.solvers import certificate
from jdm.solvers import precision

_SINGULAR = 1e-10  # A pivot below this, relative, is rounding.
_BATCH_BYTES = 2**27  # Of the Gram matrices of supports at once.
_WIDTHS = 16  # Supports are padded to a multiple of this: few programs.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Debiased:
  """Estimates of every weight, nearly normal around the true ones.

  With subsets of one size all weights can grow by the same amount and the
  intercept make up for it: only differences from their mean are identified,
  and the mean is that of the LASSO.

  Attributes:
    weights: float64 `[num_train, num_targets]`, outcome units per inclusion.
    standard_error: float64 `[num_train, num_targets]`, of the noise alone.
    lower: float64 `[num_train, num_targets]`, of the confidence intervals.
    upper: float64 `[num_train, num_targets]`.
    bias: float64 `[num_targets]`, intercepts.
    noise: float64 `[num_targets]`, standard deviation of the residuals, by
      ||y - X w - b||^2 / (m - nnz - 1) of the LASSO.
    leakage: float64 `[num_train]`, largest entry of |Theta G - I| in each row:
      the error that is not noise is at most leakage times the l1 norm of the
      error of the LASSO. 0 (rounding) without a ridge.
    level: coverage of the intervals.
  """

  weights: np.ndarray
  standard_error: np.ndarray
  lower: np.ndarray
  upper: np.ndarray
  bias: np.ndarray
  noise: np.ndarray
  leakage: np.ndarray
  level: float


def _check_weights(who: str, moments, weights: Any) -> np.ndarray:
  """Weights as float64 `[num_train, num_targets]`, or raises."""
  weights = np.asarray(weights, np.float64)
  expected = moments.num_train, len(moments.variance())
  if weights.shape != expected:
    raise ValueError(
        f'`{who}` expects weights [num_train, num_targets] of shape'
        f' {expected}, as the moments, got {weights.shape}.'
    )
  if not np.isfinite(weights).all():
    raise ValueError(f'`{who}` expects finite weights, got NaN or infinity.')
  return weights


def _batches(sizes: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
  """Targets with supports of about one size, and the width to pad them to."""
  widths = -(-sizes // _WIDTHS) * _WIDTHS
  for width in np.unique(widths[sizes > 0]):
    targets = np.flatnonzero((widths == width) & (sizes > 0))
    step = max(1, _BATCH_BYTES // (8 * int(width) ** 2))
    for start in range(0, len(targets), step):
      yield targets[start : start + step], int(width)


@jax.jit
def _solve_supports(gram, cross, ids, valid):
  """Least squares on padded supports `[k, width]`; smallest relative pivots."""
  both = valid[:, :, None] & valid[:, None, :]
  some = jnp.where(both, gram[ids[:, :, None], ids[:, None, :]], 0)
  diagonal = jnp.diagonal(some, axis1=1, axis2=2)
  scale = jnp.where(valid & (diagonal > 0), diagonal, 1)
  root = jnp.sqrt(scale)
  eye = jnp.eye(ids.shape[1], dtype=some.dtype)[None]
  some = some / (root[:, :, None] * root[:, None, :])
  some += jnp.where(valid, 0, 1)[:, :, None] * eye
  factor = jnp.linalg.cholesky(some)
  pivots = jnp.min(jnp.diagonal(factor, axis1=1, axis2=2) ** 2, axis=1)
  solve = jax.vmap(lambda f, c: jax.scipy.linalg.cho_solve((f, True), c))
  solution = solve(factor, jnp.where(valid, cross, 0) / root) / root
  return solution, jnp.where(jnp.isfinite(pivots), pivots, 0)


def relaxed(
    moments: centred.Statistics, weights: Any, *, blend: Any = 1.0
) -> tuple[np.ndarray, np.ndarray]:
  """Refits each target on its support.

  Args:
    moments: of the models that the weights were fitted to.
    weights: `[num_train, num_targets]`, of the LASSO.
    blend: a number or `[num_targets]`, from 0 for the LASSO itself to 1 for
      least squares on its support: (1 - blend) lasso + blend least squares.

  Returns:
    Weights `[num_train, num_targets]`, with the zeros of the LASSO's, and
    intercepts `[num_targets]`; float64.

  Raises:
    ValueError: if shapes or values do not make sense, or the examples of a
      support cannot be told apart.
  """
  who = 'debiased.relaxed'
  weights = _check_weights(who, moments, weights)
  num_targets = weights.shape[1]
  blend = np.asarray(blend, np.float64)
  if (
      blend.shape not in ((), (num_targets,))
      or not ((blend >= 0) & (blend <= 1)).all()
  ):
    raise ValueError(
        f'`{who}` expects blend from 0 to 1, a number or [{num_targets}], got'
        f' {blend}.'
    )
  least = np.zeros_like(weights)
  sizes = np.count_nonzero(weights, axis=0)
  cross = moments.centred_cross()
  with precision.float64():
    gram = jnp.asarray(moments.gram())
    for targets, width in _batches(sizes):
      ids = np.zeros((len(targets), width), np.int32)
      valid = np.arange(width)[None] < sizes[targets][:, None]
      for row, target in enumerate(targets):
        ids[row, : sizes[target]] = np.flatnonzero(weights[:, target])
      some = np.take_along_axis(cross[:, targets].T, ids, axis=1)
      solved, pivots = map(np.asarray, _solve_supports(gram, some, ids, valid))
      _check_pivots(who, pivots, targets, sizes, moments.num_models)
      for row, target in enumerate(targets):
        size = sizes[target]
        least[ids[row, :size], target] = solved[row, :size]
  blended = weights + blend * (least - weights)
  return blended, moments.mean_outcome() - moments.mean_mask() @ blended


def _check_pivots(who, pivots, targets, sizes, num_models) -> None:
  """Raises if a support's Gram matrix is singular."""
  bad = pivots < _SINGULAR
  if bad.any():
    first = targets[np.argmax(bad)]
    raise ValueError(
        f'`{who}` expects supports whose examples can be told apart, which'
        f' {int(bad.sum())} targets lack (target {first} first: {sizes[first]}'
        f' weights, {num_models} models): least squares has no single solution'
        ' there. Take a larger penalty, or `regressors.ridge`.'
    )


def debias(
    moments: centred.Statistics,
    weights: Any,
    *,
    ridge: float = 0.0,
    level: float = 0.9,
    device: jax.Device | None = None,
) -> Debiased:
  """Removes the bias of the LASSO from every weight, with intervals.

  Theta is (G + ridge I)^-1. Without a ridge, which takes more models than
  examples, the estimate is that of least squares whatever the weights were,
  and its intervals are those of a known noise: what the LASSO gives is that
  noise, from its few weights. With a ridge, error beyond the noise remains
  where the LASSO errs (`Debiased.leakage`): intervals are too short by it.

  Args:
    moments: of the models that the weights were fitted to.
    weights: `[num_train, num_targets]`, of the LASSO.
    ridge: added to the diagonal of the Gram matrix, in its units (a quarter is
      the variance of the mask of an example in half of the models).
    level: coverage of the intervals, above 0 and below 1.
    device: where to compute; JAX's default device if None.

  Returns:
    Estimates and intervals.

  Raises:
    ValueError: if shapes or values do not make sense, there are no more models
      than examples and no ridge, or the Gram matrix is singular.
  """
  who = 'debiased.debias'
  weights = _check_weights(who, moments, weights)
  _check_debias(who, moments, ridge, level)
  nnz = np.count_nonzero(weights, axis=0)
  free = moments.num_models - nnz - 1
  if (free < 1).any():
    raise ValueError(
        f'`{who}` expects fewer weights than models, got {nnz.max()} weights of'
        f' a target and {moments.num_models} models; take a larger penalty.'
    )
  with precision.float64(), jax.default_device(device):
    found = _debias(who, moments, weights, float(ridge))
  estimate, residual, spread, leakage = found
  noise = np.sqrt(np.maximum(residual, 0) * moments.num_models / free)
  error = np.sqrt(spread / moments.num_models)[:, None] * noise[None]
  reach = special.ndtri((1 + level) / 2) * error
  return Debiased(
      weights=estimate,
      standard_error=error,
      lower=estimate - reach,
      upper=estimate + reach,
      bias=moments.mean_outcome() - moments.mean_mask() @ estimate,
      noise=noise,
      leakage=leakage,
      level=float(level),
  )


def _check_debias(who: str, moments, ridge: float, level: float) -> None:
  """Raises unless options make sense for the models at hand."""
  if not 0 < level < 1:
    raise ValueError(f'`{who}` expects level above 0 and below 1, got {level}.')
  if not (np.isfinite(ridge) and ridge >= 0):
    raise ValueError(f'`{who}` expects a finite ridge >= 0, got {ridge}.')
  num_models, num_train = moments.num_models, moments.num_train
  if num_models <= num_train and not ridge:
    raise ValueError(
        f'`{who}` without a ridge expects more models than examples, got'
        f' {num_models} models of {num_train} examples: their Gram matrix has'
        ' no inverse. Pass `ridge`, or train more models.'
    )


@jax.jit
def _inverse(factor: jax.Array) -> jax.Array:
  """The inverse of a matrix from its Cholesky factor."""
  eye = jnp.eye(len(factor), dtype=factor.dtype)
  return jax.scipy.linalg.cho_solve((factor, True), eye)


def _debias(who, moments, weights, ridge):
  """Estimates, residual variances, diag(Theta G Theta) and leakage."""
  gram = jnp.asarray(moments.gram())
  level, balanced = certificate.level_of(moments)
  size = moments.num_train
  # Where G 1 = 0 the direction of ones is lifted, and taken out again.
  ones = 1 / size if balanced else 0.0
  lowered = gram + ridge * jnp.eye(size) + level * ones
  factor = jnp.linalg.cholesky(lowered)
  pivots = np.asarray(jnp.diagonal(factor)) ** 2
  # Comparisons with NaN are false.
  if not (pivots >= _SINGULAR * level).all():
    _refuse_singular(who, np.asarray(gram), moments.num_models)
  theta = _inverse(factor)
  if balanced:
    theta -= ones / (level + ridge)
  product = theta @ gram
  identity = jnp.eye(size) - ones
  leakage = jnp.max(jnp.abs(product - identity), axis=1)
  spread = jnp.sum(product * theta, axis=1)
  cross, start = jnp.asarray(moments.centred_cross()), jnp.asarray(weights)
  correlation = cross - gram @ start
  estimate = start + theta @ correlation
  residual = moments.variance() - jnp.sum(start * (cross + correlation), axis=0)
  return tuple(map(np.array, (estimate, residual, spread, leakage)))


def _refuse_singular(who: str, gram: np.ndarray, num_models: int) -> None:
  """Raises with what is wrong with the Gram matrix, and by how much."""
  values = np.linalg.eigvalsh(gram)
  if values[0] < -_SINGULAR * values[-1]:
    raise ValueError(
        f'`{who}` expects a Gram matrix without negative eigenvalues, got'
        f' {values[0]:.3g} beside a largest one of {values[-1]:.3g}: more than'
        ' rounding. Were models subtracted that had never been added?'
    )
  constant = int(np.sum(np.diagonal(gram) <= 0))
  raise ValueError(
      f'`{who}` expects examples that can be told apart, got a singular Gram'
      f' matrix of {len(gram)} examples over {num_models} models, {constant}'
      ' examples in every model or none. Drop these and copies, or pass'
      ' `ridge`.'
  )
