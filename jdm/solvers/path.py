"""LASSO paths of all targets from the moments alone."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import centred
from jdm.solvers import certificate
from jdm.solvers import moments as moments_lib
from jdm.solvers import penalties
from jdm.solvers import precision
from jdm.solvers import proximal
from jdm.solvers import tiles

# Rounding of float32 products reaches the certificate below this.
_NARROW_TOL = 1e-5
_NARROW_CORRECTED_TOL = 1e-7  # The same for corrected dual points.
# What is only compared on validation models is solved to this share of the
# tolerance: corrected gaps tell how far weights are more tightly.
_COMPARED = 0.1
_LEAST_TOL = 1e-9
_COPIED_TRAIN = 8192  # Up to here the CPU keeps rows of the Gram matrix twice.


@dataclasses.dataclass(frozen=True, kw_only=True)
class LassoPath:
  """Solutions of (1/2m) ||y - X w - b||^2 + lam ||w||_1, on 0/1 masks X.

  With `keep='best'` one penalty of each target is kept; with `keep='all'` the
  first six fields have a leading axis `num_lams`.

  Attributes:
    weights: `[num_train, num_targets]`, outcome units per inclusion.
    bias: float64 `[num_targets]`, outcome units.
    lam: float64 `[num_targets]`, the penalties.
    gap: float64 `[num_targets]`, duality gap of `weights` as they are here,
      over ||y - mean(y)||^2 / (2m).
    nnz: int32 `[num_targets]`, weights that are not 0.
    converged: bool `[num_targets]`, whether the gap is within 1.1 times the
      tolerance.
    val_mse: float64 `[num_targets]`, at the penalty kept; NaN without
      validation models or with `keep='all'`.
    lams: float64 `[num_lams, num_targets]`.
    val_mse_path: float64 `[num_lams, num_targets]`, what the choice was made
      by; NaN without validation.
    num_epochs: int32 `[num_targets]`, sweeps over the whole path.
  """

  weights: np.ndarray
  bias: np.ndarray
  lam: np.ndarray
  gap: np.ndarray
  nnz: np.ndarray
  converged: np.ndarray
  val_mse: np.ndarray
  lams: np.ndarray
  val_mse_path: np.ndarray
  num_epochs: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How paths are followed; `lasso_path` documents each."""

  lams: np.ndarray | None = None
  num_lams: int = 30
  min_ratio: float = 1e-2
  tol: float = 1e-4
  val_masks: Any = None
  val_outcomes: np.ndarray | None = None
  keep: str = 'best'
  start: np.ndarray | None = None
  factor: np.ndarray | None = None
  l1_ratio: float = 1.0
  positive: bool = False
  dual_point: str = 'residual'
  dtype: str | None = None
  certify: bool = True
  tile: int | None = None
  block: int | None = None
  max_epochs: int = 5000
  devices: Sequence[jax.Device] | None = None
  progress: Callable[[int, int], None] | None = None

  def __post_init__(self):
    if self.keep not in ('best', 'all'):
      raise ValueError(
          f"`lasso_path` expects keep 'best' or 'all', got {self.keep!r}."
      )
    if self.dtype is None:
      object.__setattr__(self, 'dtype', self.narrow())
    if self.dtype not in ('float32', 'float64'):
      raise ValueError(
          "`lasso_path` expects dtype 'float32' or 'float64', got"
          f' {self.dtype!r}.'
      )
    if self.dual_point not in certificate.DUAL_POINTS:
      raise ValueError(
          "`lasso_path` expects dual_point 'residual' or 'corrected', got"
          f' {self.dual_point!r}.'
      )
    if not 0 < self.l1_ratio <= 1:
      raise ValueError(
          '`lasso_path` expects l1_ratio above 0 and at most 1, got'
          f' {self.l1_ratio}; without l1 use `regressors.ridge`.'
      )
    if not self.tol > 0 or self.max_epochs < 1:
      raise ValueError(
          '`lasso_path` expects tol above 0 and max_epochs of 1 or more, got'
          f' {self.tol} and {self.max_epochs}.'
      )

  def local_devices(self) -> Sequence[jax.Device]:
    """The devices that may be used."""
    return self.devices or jax.local_devices()

  def spread(self, num_targets: int) -> tuple[Sequence[jax.Device], int]:
    """The devices to use, and how many targets each takes at once."""
    devices = self.local_devices()
    tile = self.tile or (100 if devices[0].platform == 'cpu' else 1024)
    if self.devices is None:
      # Each compiles the program again: only for tiles of its own.
      devices = devices[: max(1, num_targets // tile)]
    return devices, max(1, min(tile, -(-num_targets // len(devices))))

  def chooses(self) -> bool:
    """Whether weights of other penalties are only compared."""
    num_lams = self.num_lams if self.lams is None else len(self.lams)
    return self.keep == 'best' and num_lams > 1

  def kind(self) -> dict[str, Any]:
    """What the penalty is, as `penalties.largest` takes it."""
    return {
        'factor': self.factor,
        'l1_ratio': self.l1_ratio,
        'positive': self.positive,
    }

  def factors(self, targets: np.ndarray) -> np.ndarray | None:
    """Factors [len(targets), num_train] of some targets, or None."""
    if self.factor is None:
      return None
    return np.ascontiguousarray(self.factor[:, targets].T)

  def aim(self) -> float:
    """The gap to stop at; rounding the weights may cost the rest of tol."""
    rounds = self.dtype == 'float32' and self.tol < _NARROW_TOL
    return (0.5 if rounds else 0.98) * self.tol

  def narrow(self) -> str:
    """The dtype of products, and of weights, that can keep the tolerance."""
    return 'float32' if self.tol >= _NARROW_TOL else 'float64'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """What every route knows of its targets.

  Attributes:
    cross: float64 `[num_train, num_targets]`, Xc'yc / m.
    variance: float64 `[num_targets]`, ||yc||^2 / m.
    mean_masks: float64 `[num_targets, num_train]`.
    mean_outcome: float64 `[num_targets]`.
    num_models: smallest number of models that a target is fitted to.
  """

  cross: np.ndarray
  variance: np.ndarray
  mean_masks: np.ndarray
  mean_outcome: np.ndarray
  num_models: int

  def scale(self) -> np.ndarray:
    """A power of two near each standard deviation: scaling by it is exact."""
    deviation = np.sqrt(np.where(self.variance > 0, self.variance, 1))
    return np.exp2(np.round(np.log2(deviation)))


def block_size(options: Options, num_train: int) -> int:
  """Coordinates at once: as asked, or what suits the device."""
  block = options.block
  if block is None:
    on_cpu = options.local_devices()[0].platform == 'cpu'
    # Beyond a seventh of the problem they cost more epochs than they save.
    block = min(128 if on_cpu else 1024, max(num_train // 7, 8))
  return min(block, num_train)


def _check_validation(shape, options):
  """Validation arrays on the host, or raises; shape is that of weights."""
  val_masks, val_outcomes = options.val_masks, options.val_outcomes
  if (val_masks is None) != (val_outcomes is None):
    raise ValueError(
        '`lasso_path` expects both val_masks and val_outcomes, or neither.'
    )
  if val_masks is None:
    if options.chooses():
      raise ValueError(
          "`lasso_path` with keep='best' expects val_masks and val_outcomes to"
          " choose by; pass them, keep='all', or one penalty."
      )
    return None
  val_masks = moments_lib.unpack(val_masks)
  val_outcomes = np.asarray(val_outcomes, np.float64)
  num_val = len(val_masks)
  expected = (num_val, shape[0]), (num_val, shape[1])
  if (val_masks.shape, val_outcomes.shape) != expected or not num_val:
    raise ValueError(
        '`lasso_path` expects at least one validation model, masks of shape'
        f' [num_val, {shape[0]}] and outcomes [num_val,'
        f' {shape[1]}], got {val_masks.shape} and'
        f' {val_outcomes.shape}.'
    )
  return val_masks, val_outcomes


def _validation(options, summary, scale, counted):
  """Validation models in units of each target's scale, or None."""
  arrays = _check_validation(summary.cross.shape, options)
  if arrays is None:
    return None
  masks, outcomes = arrays
  centred = (outcomes - summary.mean_outcome[None]) / scale[None]
  if counted is None:
    counted = np.broadcast_to(True, centred.T.shape)
  return tiles.Validation(
      masks=masks,
      outcomes=np.ascontiguousarray(centred.T),
      mean_masks=summary.mean_masks,
      counted=counted,
  )


def check_factor(factor: Any, shape: tuple[int, ...]) -> np.ndarray | None:
  """Factors of penalties as float64 [num_train, num_targets], or raises."""
  if factor is None:
    return None
  factor = np.asarray(factor, np.float64)
  if factor.ndim == 1:
    factor = factor[:, None]
  if factor.ndim != 2 or factor.shape[0] != shape[0]:
    factor = None
  elif factor.shape[1] in (1, shape[1]):
    factor = np.broadcast_to(factor, shape)
  else:
    factor = None
  if factor is None or not (np.isfinite(factor) & (factor > 0)).all():
    raise ValueError(
        '`lasso_path` expects factor to be finite and above 0, of shape'
        f' [{shape[0]}] or [{shape[0]}, {shape[1]}]; for a weight that is to be'
        ' 0 or free take a very large or small one.'
    )
  return factor


def _lams(options: Options, summary: Summary) -> np.ndarray:
  """Each target's penalties [num_lams, num_targets]."""
  if options.lams is not None:
    return penalties.given(options.lams, summary.variance)
  return penalties.grid(
      penalties.largest(summary.cross, summary.variance, **options.kind()),
      num_lams=options.num_lams,
      min_ratio=options.min_ratio,
  )


def _plan(options: Options, summary: Summary, lams, **more: Any) -> tiles.Plan:
  """What both stages of a fit have in common, and more."""
  scale = summary.scale()
  factor, share = options.factor, options.l1_ratio
  tile = options.spread(len(scale))[1]
  return tiles.Plan(
      cross=np.ascontiguousarray((summary.cross / scale[None]).T),
      variance=summary.variance / scale**2,
      lams=np.ascontiguousarray((share * lams / scale[None]).T),
      factor=None if factor is None else np.ascontiguousarray(factor.T),
      # Squared weights have the units of squared outcomes: no scale.
      ridges=None if share == 1 else np.ascontiguousarray((1 - share) * lams.T),
      positive=options.positive,
      tol=float(options.tol),
      tile=tile,
      max_epochs=options.max_epochs,
      **more,
  )


def _accurate(
    options: Options, summary: Summary, lams, validation, keep: str
) -> tiles.Plan:
  """Solves until the dual point of the residual certifies."""
  overdetermined = summary.num_models > 2 * len(summary.cross)
  return _plan(
      options,
      summary,
      lams,
      validation=validation,
      keep=keep,
      aim=options.aim(),
      dtype=options.dtype or options.narrow(),
      state='float64',
      curvature=None,
      # Where the problem is easy, jumps cost more than they save.
      depth=0 if overdetermined and options.narrow() == 'float32' else 3,
  )


def _quick(
    options: Options, summary: Summary, lams, validation, curvature
) -> tiles.Plan:
  """Solves until corrected dual points certify: a sweep or two a penalty.

  Their gap is second order in what rounding does to the correlations, so that
  the state may be float32.
  """
  tol = options.tol
  if options.dual_point == 'residual':  # Only to be compared: for good.
    tol = max(_COMPARED * tol, _LEAST_TOL)
  narrow = 'float32' if tol >= _NARROW_CORRECTED_TOL else 'float64'
  return _plan(
      options,
      summary,
      lams,
      validation=validation,
      keep=options.keep,
      aim=0.98 * tol,
      dtype=narrow,
      state=narrow,
      curvature=curvature,
      depth=0,
  )


def follow(
    summary: Summary,
    options: Options,
    make_route: Callable[..., tiles.Route],
    certify: Callable[..., np.ndarray],
    *,
    counted: np.ndarray | None = None,
    curvature: certificate.Curvature | None = None,
) -> LassoPath:
  """Solves all targets by one of the routes.

  Where the curvature of the problem is known, corrected dual points say when a
  target may go on along its path; the weights kept are then solved on until
  the dual point that was asked for certifies them.

  Args:
    summary: of the targets.
    options: how.
    make_route: `(start, scale, narrow) -> route`, with start
      `[num_targets, num_train]` in units of scale, or None, and the dtype of
      products.
    certify: `(weights, lam) -> relative gaps`, of weights
      `[num_kept, num_train, num_targets]`.
    counted: bool `[num_targets, num_val]`, validation models that count.
    curvature: of the Gram matrix, if known.

  Returns:
    The path.
  """
  scale, lams = summary.scale(), _lams(options, summary)
  start = options.start
  if start is not None:
    start = np.ascontiguousarray((np.asarray(start) / scale[None]).T)
  devices, _ = options.spread(len(scale))
  validation = _validation(options, summary, scale, counted)

  def solve(plan, start, narrow, progress=None):
    route = make_route(start, scale, narrow)
    return tiles.solve(plan, route, devices, progress)

  only = options.dual_point == 'corrected'
  last = None
  if curvature is None:
    plan = _accurate(options, summary, lams, validation, options.keep)
    found = solve(plan, start, options.narrow(), options.progress)
  else:
    plan = _quick(options, summary, lams, validation, curvature)
    found = solve(plan, start, plan.state, options.progress)
    if not only:
      chosen = lams[found.kept, np.arange(len(scale))][None]
      plan = _accurate(options, summary, chosen, validation, 'best')
      last = solve(plan, found.weights[:, 0], options.narrow())
  return _finish(
      summary, plan, found, last, lams, certify if options.certify else None
  )


def _finish(summary, plan, found, last, lams, certify) -> LassoPath:
  """Weights in outcome units, their certificates and intercepts.

  Args:
    summary: of the targets.
    plan: of the weights returned.
    found: the path.
    last: the weights kept of the path, solved on, or None.
    lams: `[num_lams, num_targets]`.
    certify: of `follow`, or None for the gaps of the running state.

  Returns:
    The path.
  """
  scale, best = summary.scale(), plan.keep == 'best'
  columns, kept = np.arange(len(scale)), found.kept
  source, at = (found, kept) if last is None else (last, last.kept)
  by_target = source.weights
  by_target *= scale[:, None, None].astype(plan.dtype)  # Exact.
  shift = np.zeros(by_target.shape[:2])
  nnz = np.zeros(by_target.shape[:2], np.int32)
  for row, weights in enumerate(by_target):
    shift[row] = weights @ summary.mean_masks[row]
    nnz[row] = np.count_nonzero(weights, axis=1)
  weights = by_target.transpose(1, 2, 0)  # [num_kept, n, t]
  lam = lams[kept, columns][None] if best else lams
  if certify is None:
    gaps = certificate.relative(source.gaps.T, plan.variance[None])
    gap = gaps[at, columns][None] if best else gaps
  else:
    gap = certify(weights, lam)
  mse = source.val_mse.T * (scale**2)[None]
  fields = {
      'weights': np.ascontiguousarray(weights) if best else weights,
      'bias': summary.mean_outcome[None] - shift.T,
      'lam': lam,
      'gap': gap,
      'nnz': nnz.T,
      'converged': gap <= 1.1 * plan.tol,
  }
  if best:
    fields = {name: value[0] for name, value in fields.items()}
  num_epochs = found.num_epochs
  if last is not None:
    num_epochs = num_epochs + last.num_epochs
  return LassoPath(
      **fields,
      val_mse=mse[at, columns] if best else mse * np.nan,
      lams=lams,
      val_mse_path=found.val_mse.T * (scale**2)[None],
      num_epochs=num_epochs,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _GramRoute:
  """Sweeps on the Gram matrix."""

  gram: np.ndarray  # [num_train, num_train] float64.
  start: np.ndarray | None  # [num_targets, num_train]
  cross: np.ndarray  # [num_targets, num_train]
  narrow: str
  block: int
  copies: bool

  def place(self):
    gram = jnp.asarray(self.gram)
    return gram, proximal.prepare(
        gram.astype(self.narrow), self.block, copies=self.copies
    )

  def load(self, shared, targets, tile):
    cross = jnp.asarray(tiles.pad_rows(self.cross, targets, tile))
    if self.start is None:
      return None, (jnp.zeros_like(cross), cross)
    start = jnp.asarray(tiles.pad_rows(self.start, targets, tile))
    return None, (start, cross - start @ shared[0])

  def advance(self, shared, *args, **options):
    return proximal.advance(shared[1], *args, block=self.block, **options)


def lasso_path(
    moments: centred.Statistics,
    *,
    lams: np.ndarray | None = None,
    num_lams: int = 30,
    min_ratio: float = 1e-2,
    tol: float = 1e-4,
    val_masks: Any = None,
    val_outcomes: np.ndarray | None = None,
    keep: str = 'best',
    start: np.ndarray | None = None,
    factor: np.ndarray | None = None,
    l1_ratio: float = 1.0,
    positive: bool = False,
    dual_point: str = 'residual',
    dtype: str | None = None,
    certify: bool = True,
    tile: int | None = None,
    block: int | None = None,
    max_epochs: int = 5000,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LassoPath:
  """Solves the LASSO of every target along its own path of penalties.

  Minimizes (1/2m) ||y - X w - b||^2 + lam ||w||_1 over w and b on raw 0/1
  masks X. Each penalty starts from the last one's solution; a target goes on
  when its relative duality gap is at most `tol`.

  Args:
    moments: of the m models to fit: of masks (`Moments`), or of columns of
      real numbers (`dense.DenseMoments`), which are best near one scale.
    lams: `[num_lams]` or `[num_lams, num_targets]`, decreasing penalties; by
      default each target's `penalties.grid` from its own largest.
    num_lams: length of the default grid.
    min_ratio: of the last penalty to the first in the default grid.
    tol: bound of the relative gap, of ||y - mean(y)||^2 / (2m).
    val_masks: bool `[num_val, num_train]`, models to choose the penalty by.
    val_outcomes: `[num_val, num_targets]`.
    keep: 'best' keeps the weights at the lowest validation error, 'all' those
      of the whole path.
    start: `[num_train, num_targets]`, weights near the first solution.
    factor: `[num_train]` or `[num_train, num_targets]`, finite and above 0;
      weight j is penalized by lam * factor_j (the weighted, or adaptive,
      LASSO).
    l1_ratio: share of lam that is l1, as in scikit-learn's `ElasticNet`: lam *
      (l1_ratio ||w||_1 + (1 - l1_ratio) / 2 ||w||^2).
    positive: whether weights must not be negative.
    dual_point: what certifies the weights returned: 'residual', the scaled
      residual, as in scikit-learn; or 'corrected', the better of it and of a
      corrected residual (`solvers.certificate`), which knows much earlier that
      weights are good enough. With `keep='best'` the points of the path that
      are only compared on validation models are certified by the latter
      anyway, where there are more models than examples.
    dtype: of the weights returned; by default float32, or float64 for `tol`
      below 1e-5: rounded to float32, weights have gaps of up to about 1e-6.
    certify: whether to recompute the gaps of the weights returned from the
      exact statistics; if False they are those of the solver's running state.
    tile: targets at once on a device.
    block: coordinates at once.
    max_epochs: sweeps after which a target goes on from a penalty anyway.
    devices: to spread targets over; by default the local ones, as many as
      get a full tile.
    progress: called with the number of targets solved and in all.

  Returns:
    The path; targets that missed `tol` are not `converged`, with their gap.

  Raises:
    ValueError: if options, shapes or penalties do not make sense.
  """
  if moments.num_models < 2:
    raise ValueError(
        f'`lasso_path` expects 2 models or more, got {moments.num_models}.'
    )
  cross = moments.centred_cross()
  options = Options(
      lams=lams,
      num_lams=num_lams,
      min_ratio=min_ratio,
      tol=tol,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      keep=keep,
      start=start,
      factor=check_factor(factor, cross.shape),
      l1_ratio=l1_ratio,
      positive=positive,
      dual_point=dual_point,
      dtype=dtype,
      certify=certify,
      tile=tile,
      block=block,
      max_epochs=max_epochs,
      devices=devices,
      progress=progress,
  )
  summary = Summary(
      cross=cross,
      variance=moments.variance(),
      mean_masks=np.broadcast_to(moments.mean_mask(), cross.T.shape),
      mean_outcome=moments.mean_outcome(),
      num_models=moments.num_models,
  )

  gram, device = moments.gram(), options.local_devices()[0]
  copies = device.platform == 'cpu' and moments.num_train <= _COPIED_TRAIN

  def make_route(start, scale, narrow):
    return _GramRoute(
        gram=gram,
        start=start,
        cross=np.ascontiguousarray((cross / scale[None]).T),
        narrow=narrow,
        block=block_size(options, moments.num_train),
        copies=copies,
    )

  certify_weights = functools.partial(
      certificate.from_moments,
      moments,
      dual_point=dual_point,
      device=device,
      **options.kind(),
  )
  curvature = None
  if options.chooses() or dual_point == 'corrected':
    with precision.float64(), jax.default_device(device):
      curvature = certificate.curvature(gram, moments.num_models)
    if curvature is None and l1_ratio < 1:
      curvature = certificate.NO_CURVATURE  # The ridge has its own.
  return follow(
      summary, options, make_route, certify_weights, curvature=curvature
  )
