"""LASSO paths of all targets from the moments alone."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from jdm.solvers import centred
from jdm.solvers import certificate
from jdm.solvers import gram_blocks
from jdm.solvers import gram_route
from jdm.solvers import memory
from jdm.solvers import options as options_lib
from jdm.solvers import plans
from jdm.solvers import precision
from jdm.solvers import proximal
from jdm.solvers import sharded
from jdm.solvers import stages
from jdm.solvers import tiles

LassoPath = stages.LassoPath


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
    shard: bool | None = None,
    memory_limit: int | None = None,
    weights_file: str | None = None,
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
    shard: whether the devices share one Gram matrix, each with its rows, and
      work on the same targets (`solvers.sharded`); by default where what a fit
      needs (`solvers.memory`) is more than one device has.
    memory_limit: bytes that a fit may take on each device; by default nine
      tenths of what it has.
    weights_file: a file (`.npy`) to keep the weights in, target by target; those
      returned are a view of it, read from the disk as they are needed.
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
  centred.check(moments, 'lasso_path')
  cross = moments.centred_cross()
  options = options_lib.Options(
      lams=lams,
      num_lams=num_lams,
      min_ratio=min_ratio,
      tol=tol,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      keep=keep,
      start=start,
      factor=options_lib.check_factor(factor, cross.shape),
      l1_ratio=l1_ratio,
      positive=positive,
      dual_point=dual_point,
      dtype=dtype,
      certify=certify,
      tile=tile,
      block=block,
      max_epochs=max_epochs,
      devices=devices,
      shard=shard,
      memory_limit=memory_limit,
      weights_file=weights_file,
      progress=progress,
  )
  summary = plans.Summary(
      cross=cross,
      variance=moments.variance(),
      mean_masks=np.broadcast_to(moments.mean_mask(), cross.T.shape),
      mean_outcome=moments.mean_outcome(),
      num_models=moments.num_models,
  )

  options, mesh, room = _place(options, moments)
  bounded = 'curvature' in room
  device = options.local_devices()[0]
  certify_weights = functools.partial(
      certificate.from_moments,
      moments,
      dual_point=dual_point if bounded else 'residual',
      device=device,
      **options.kind(),
  )
  curvature = None
  if bounded and (options.chooses() or dual_point == 'corrected'):
    with precision.float64(), jax.default_device(device):
      curvature = certificate.curvature(moments)
    if curvature is None and l1_ratio < 1:
      curvature = certificate.NO_CURVATURE  # The ridge has its own.
  return stages.follow(
      summary,
      options,
      functools.partial(_make_route, moments, options, mesh),
      certify_weights,
      curvature=curvature,
      again='again' in room,
  )


def _sizes(
    options: options_lib.Options, moments: centred.Statistics
) -> memory.Sizes:
  """What the fit takes on one device that holds the Gram matrix."""
  num_targets = len(moments.variance())
  num_train = moments.num_train
  val_masks, lams = options.val_masks, options.lams
  device = options.local_devices()[0]
  return memory.Sizes(
      num_train=num_train,
      num_models=moments.num_models,
      num_targets=num_targets,
      num_lams=options.num_lams if lams is None else len(lams),
      num_val=0
      if val_masks is None
      else len(getattr(val_masks, 'bits', val_masks)),
      tile=options.spread(num_targets)[1],
      block=options_lib.block_size(options, num_train),
      narrow=options.narrow(),
      depth=plans.depth(options, moments.num_models, num_train),
      copies=proximal.keeps_copies(device, num_train),
      keep_all=options.keep == 'all',
  )


def _place(
    options: options_lib.Options, moments: centred.Statistics
) -> tuple[options_lib.Options, jax.sharding.Mesh | None, set[str]]:
  """Where the fit takes place.

  Args:
    options: of the fit.
    moments: of the models.

  Returns:
    The options; the devices that share the Gram matrix, or None; and the phases
    of `memory.fits` that a device has room for.
  """
  sizes, devices = _sizes(options, moments), options.local_devices()
  shard = memory.choose(
      sizes, devices, shard=options.shard, memory_limit=options.memory_limit
  )
  shared = sizes
  if shard:
    shared = dataclasses.replace(sizes, num_devices=len(devices), copies=False)
  fitting = {
      phase
      for phase, own in (('curvature', sizes), ('again', shared))
      if memory.fits(phase, own, devices[0], options.memory_limit)
  }
  if not shard:
    return options, None, fitting
  # One worker drives all of them, and each takes its share of a tile.
  alone = dataclasses.replace(
      options, devices=devices[:1], multiple=len(devices)
  )
  return alone, sharded.mesh_of(devices), fitting


def _make_route(
    moments: centred.Statistics,
    options: options_lib.Options,
    mesh: jax.sharding.Mesh | None,
    start: np.ndarray | None,
    scale: np.ndarray,
    narrow: str,
) -> tiles.Route:
  """The route from weights `[num_targets, num_train]`, or from 0."""
  device = options.local_devices()[0]
  correlation = np.ascontiguousarray((moments.centred_cross() / scale[None]).T)
  if start is not None:
    correlation -= gram_blocks.Product(moments, device)(start)
  arrays = {
      'moments': moments,
      'start': start,
      'correlation': correlation,
      'narrow': narrow,
      'block': options_lib.block_size(options, moments.num_train),
  }
  if mesh is not None:
    return sharded.ShardedRoute(mesh=mesh, **arrays)
  copies = proximal.keeps_copies(device, moments.num_train)
  return gram_route.GramRoute(copies=copies, **arrays)
