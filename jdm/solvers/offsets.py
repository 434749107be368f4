"""LASSO paths with one more, unpenalized, column for each target: its offset.

The model of target j is y = b + beta z + X w + noise, with a column z of real
numbers that only target j has (an outcome of another model trained on the same
subset, a prediction made by other means), and beta not penalized. By the
theorem of Frisch, Waugh and Lovell its w is that of the LASSO of y on X, both
projected off z and 1, and beta then follows from w. With Xc, zc, yc centred over
the m models, c = Xc'zc / m and s = zc'zc / m, the projected problem has

  Gram matrix  G - c c' / s                    products  Xc'yc / m - c t / s
  variance     ||yc||^2 / m - t^2 / s          beta      (t - c'w) / s

where t = zc'yc / m: the shared Gram matrix G, lowered by a matrix of rank one
that each target has for itself. G is the larger of both, so that a sweep on G is
a step of minimization by majorization on the projected problem, which descends
whatever z is; after each sweep the correlations get the c (c'dw) / s that it has
left out. Sweeps are those of `proximal`, unchanged. The better X explains z, the
more of them it takes: the error of w along G^-1 c shrinks by the share of the
variance of z that X explains.

References:
  Frisch and Waugh, `Partial time regressions as compared with individual trends
  <https://doi.org/10.2307/1907330>`_, 1933; Lovell, `Seasonal adjustment of
  economic time series <https://doi.org/10.1080/01621459.1963.10480682>`_, 1963;
  Hunter and Lange, `A tutorial on MM algorithms
  <https://doi.org/10.1198/0003130042836>`_, 2004.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import certificate
from jdm.solvers import gram_blocks
from jdm.solvers import gram_route
from jdm.solvers import homotopy
from jdm.solvers import moments as moments_lib
from jdm.solvers import options as options_lib
from jdm.solvers import penalties
from jdm.solvers import plans
from jdm.solvers import precision
from jdm.solvers import proximal
from jdm.solvers import stages
from jdm.solvers import tiles

_WHO = 'offsets.lasso_path'
_OPTIONS = (
    'lams',
    'num_lams',
    'min_ratio',
    'tol',
    'start',
    'factor',
    'l1_ratio',
    'positive',
    'dtype',
    'tile',
    'block',
    'max_epochs',
    'devices',
    'progress',
)
_CONSTANT = 8 * np.finfo(np.float64).eps  # Variances below are rounding.
_TILE = 256  # Targets certified at once.


@dataclasses.dataclass(frozen=True, kw_only=True)
class OffsetPath:
  """Solutions of (1/2m) ||y - beta z - X w - b||^2 + lam ||w||_1.

  Attributes:
    weights: `[num_lams, num_train, num_targets]`, outcome units per inclusion.
    bias: float64 `[num_lams, num_targets]`, outcome units.
    beta: float64 `[num_lams, num_targets]`, outcome units per unit of the
      offset; 0 where the offset does not vary.
    lam: float64 `[num_lams, num_targets]`.
    gap: float64 `[num_lams, num_targets]`, duality gap of `weights`, over half
      the variance of the outcome projected off its offset.
    nnz: int32 `[num_lams, num_targets]`, weights that are not 0.
    converged: bool `[num_lams, num_targets]`, whether the gap is within 1.1
      times the tolerance.
    num_epochs: int32 `[num_targets]`, sweeps over the whole path.
  """

  weights: np.ndarray
  bias: np.ndarray
  beta: np.ndarray
  lam: np.ndarray
  gap: np.ndarray
  nnz: np.ndarray
  converged: np.ndarray
  num_epochs: np.ndarray

  def predict(self, masks: Any, offsets: np.ndarray) -> np.ndarray:
    """Predicts outcomes at all penalties.

    Args:
      masks: bool `[num_models, num_train]` or `subsets.PackedMasks`.
      offsets: `[num_models, num_targets]`, of these models.

    Returns:
      float64 `[num_lams, num_models, num_targets]`, in outcome units.

    Raises:
      ValueError: if shapes do not fit.
    """
    masks = moments_lib.unpack(masks)
    shape = self.weights.shape[1:]
    offsets = _check_offsets(
        'OffsetPath.predict', offsets, (len(masks), shape[1])
    )
    if masks.shape[1] != shape[0]:
      raise ValueError(
          f'`OffsetPath.predict` expects masks of {shape[0]} examples, got'
          f' {masks.shape[1]}.'
      )
    product = masks.astype(np.float64) @ self.weights
    own = self.beta[:, None] * offsets[None] + self.bias[:, None]
    return product + own


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Projection:
  """What each target's offset takes away; float64.

  Attributes:
    direction: `[num_targets, num_train]`, c / sqrt(s); 0 for a constant z.
    spread: `[num_targets]`, s; 0 for a constant.
    product: `[num_targets]`, t.
    mean: `[num_targets]`, of z.
  """

  direction: np.ndarray
  spread: np.ndarray
  product: np.ndarray
  mean: np.ndarray

  def deviation(self) -> np.ndarray:
    """Standard deviation of each offset, 1 where it is 0."""
    return np.sqrt(np.where(self.spread > 0, self.spread, 1))

  def beta(self, weights: np.ndarray) -> np.ndarray:
    """Beta `[num_targets]` of weights `[num_train, num_targets]`."""
    deviation = self.deviation()
    explained = np.einsum('jn,nj->j', self.direction, weights)
    slope = (self.product / deviation - explained) / deviation
    return np.where(self.spread > 0, slope, 0)


@functools.partial(jax.jit, static_argnames=('max_epochs', 'block'))
def _advance(gram, problem, state, tol, limit, curvature, *, max_epochs, block):
  """Follows the paths of a tile; `proximal.advance` on projected problems."""
  (direction,) = problem.rows

  def sweep(point, penalty, rate):
    old = point[0]
    weights, correlation = proximal.gram_sweep(
        gram, point, penalty, rate, block=block
    )
    lift = jnp.sum((weights - old) * direction, axis=1)
    return weights, correlation + lift[:, None] * direction

  return homotopy.follow(
      sweep,
      problem,
      state,
      tol=tol,
      limit=limit,
      curvature=curvature,
      max_epochs=max_epochs,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OffsetRoute(gram_route.GramRoute):
  """Sweeps on the shared Gram matrix, corrected target by target."""

  direction: np.ndarray  # [num_targets, num_train]

  def load(self, shared, targets, tile):
    _, point = super().load(shared, targets, tile)
    rows = jnp.asarray(tiles.pad_rows(self.direction, targets, tile))
    return (rows,), point

  def advance(self, shared, *args, **options):
    return _advance(shared, *args, block=self.block, **options)


@jax.jit
def _gap(product, direction, cross, variance, weights, penalty):
  """Absolute gaps of a tile, from products with the shared Gram matrix."""
  lift = jnp.sum(weights * direction, axis=1)
  correlation = cross - product + lift[:, None] * direction
  residual = variance - jnp.sum(weights * (cross + correlation), axis=1)
  return certificate.duality_gap(weights, correlation, residual, penalty)


def lasso_path(
    masks: Any, outcomes: np.ndarray, offsets: np.ndarray, **options: Any
) -> OffsetPath:
  """Solves the LASSO of every target, with its offset unpenalized.

  Minimizes (1/2m) ||y_j - beta_j z_j - X w - b||^2 + lam ||w||_1 over w, beta_j
  and b for each target j. To choose a penalty, compare `OffsetPath.predict` with
  the outcomes of models of their own.

  Args:
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`.
    outcomes: `[num_models, num_targets]`, finite.
    offsets: `[num_models, num_targets]`, finite; column j is the offset of
      target j, in any unit. A constant one changes nothing.
    **options: of `path.lasso_path`: lams, num_lams, min_ratio, tol, start,
      factor, l1_ratio, positive, dtype, tile, block, max_epochs, devices,
      progress. All penalties are kept; gaps are of the scaled residual.

  Returns:
    The paths. A target that its offset explains but for rounding has weights of
    0.

  Raises:
    TypeError: on other options.
    ValueError: if shapes, values or options do not make sense.
  """
  unknown = sorted(set(options) - set(_OPTIONS))
  if unknown:
    raise TypeError(
        f'`{_WHO}` got unexpected options {", ".join(unknown)}; it takes'
        f' {", ".join(_OPTIONS)}.'
    )
  masks, outcomes = moments_lib.unpack(masks), np.asarray(outcomes)
  if len(masks) < 2 or outcomes.ndim != 2 or len(outcomes) != len(masks):
    raise ValueError(
        f'`{_WHO}` expects outcomes of shape [num_models, num_targets] for the 2'
        f' masks or more, got masks of shape {masks.shape} and outcomes of shape'
        f' {outcomes.shape}.'
    )
  offsets = _check_offsets(_WHO, offsets, outcomes.shape)
  moments = moments_lib.of(masks, outcomes)
  projection = _project(masks, outcomes, offsets)
  factor = options_lib.check_factor(
      options.pop('factor', None), moments.cross.shape
  )
  settings = options_lib.Options(factor=factor, keep='all', **options)
  return _solve(moments, projection, settings)


def _check_offsets(who: str, offsets: Any, shape: tuple[int, ...]):
  """Offsets as float64, or raises."""
  offsets = np.asarray(offsets, np.float64)
  if offsets.shape != shape or not np.isfinite(offsets).all():
    raise ValueError(
        f'`{who}` expects offsets to be finite numbers of shape [num_models,'
        f' num_targets] = {list(shape)}, a column for each target, got shape'
        f' {list(offsets.shape)} with {np.sum(~np.isfinite(offsets))} numbers not'
        ' finite; one column for all targets is'
        ' `np.repeat(column[:, None], num_targets, axis=1)`.'
    )
  return offsets


def _project(masks, outcomes, offsets) -> _Projection:
  """Products of the offsets with masks and outcomes."""
  of_offsets = moments_lib.of(masks, offsets)
  spread, mean = of_offsets.variance(), of_offsets.mean_outcome()
  deviation = np.sqrt(np.where(spread > 0, spread, 1))
  direction = (of_offsets.centred_cross() / deviation[None]).T
  centred = outcomes - outcomes.mean(axis=0, dtype=np.float64)[None]
  product = np.mean((offsets - mean[None]) * centred, axis=0)
  return _Projection(
      direction=np.where((spread > 0)[:, None], direction, 0),
      spread=spread,
      product=np.where(spread > 0, product, 0),
      mean=mean,
  )


def _solve(
    moments: moments_lib.Moments,
    projection: _Projection,
    options: options_lib.Options,
) -> OffsetPath:
  """Paths of the projected problems, and beta of their weights."""
  device = options.local_devices()[0]
  summary = _summary(moments, projection)
  times = gram_blocks.Product(moments, device)

  def make_route(start, scale, narrow):
    correlation = np.ascontiguousarray((summary.cross / scale[None]).T)
    if start is not None:
      lift = np.sum(start * projection.direction, axis=1)
      correlation += lift[:, None] * projection.direction - times(start)
    return _OffsetRoute(
        moments=moments,
        start=start,
        correlation=correlation,
        narrow=narrow,
        block=options_lib.block_size(options, moments.num_train),
        copies=proximal.keeps_copies(device, moments.num_train),
        direction=projection.direction,
    )

  certify = functools.partial(
      _certify, times, projection.direction, summary, options, device
  )
  path = stages.follow(summary, options, make_route, certify)
  beta = np.stack([projection.beta(some) for some in path.weights])
  return OffsetPath(
      weights=path.weights,
      bias=path.bias - beta * projection.mean[None],
      beta=beta,
      lam=path.lam,
      gap=path.gap,
      nnz=path.nnz,
      converged=path.converged,
      num_epochs=path.num_epochs,
  )


def _summary(
    moments: moments_lib.Moments, projection: _Projection
) -> plans.Summary:
  """The projected problem of each target."""
  slope = projection.product / projection.deviation()
  variance = moments.variance()
  left = variance - slope**2
  left = np.where(left > _CONSTANT * variance, left, 0)
  cross = moments.centred_cross()
  cross = cross - projection.direction.T * slope[None]
  return plans.Summary(
      cross=np.where((left > 0)[None], cross, 0),
      variance=left,
      mean_masks=np.broadcast_to(moments.mean_mask(), cross.T.shape),
      mean_outcome=moments.mean_outcome(),
      # Majorization takes more sweeps, which Anderson's jumps make fewer.
      num_models=min(moments.num_models, moments.num_train),
  )


def _certify(
    times, direction, summary, options, device, weights, lam
) -> np.ndarray:
  """Relative gaps `[num_lams, num_targets]`, float64."""
  gaps = np.zeros(lam.shape)
  num_targets = lam.shape[1]
  for index, some in enumerate(weights):
    for first in range(0, num_targets, _TILE):
      part = np.arange(first, min(first + _TILE, num_targets))
      rows = np.ascontiguousarray(some[:, part].T, np.float64)
      product, factor = times(rows), options.factors(part)
      with precision.float64(), jax.default_device(device):
        penalty = penalties.of(
            jnp.asarray(lam[index, part]),
            None if factor is None else jnp.asarray(factor),
            options.l1_ratio,
            options.positive,
        )
        found = _gap(
            product,
            direction[part],
            np.ascontiguousarray(summary.cross[:, part].T),
            summary.variance[part],
            rows,
            penalty,
        )
        gaps[index, part] = np.asarray(found)
  return certificate.relative(gaps, summary.variance[None])
