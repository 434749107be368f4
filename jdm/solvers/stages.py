"""Following paths in two stages: compared quickly, kept accurately."""

from collections.abc import Callable
import dataclasses

from absl import logging
import numpy as np

from jdm.solvers import certificate
from jdm.solvers import options as options_lib
from jdm.solvers import plans
from jdm.solvers import tiles


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


def follow(
    summary: plans.Summary,
    options: options_lib.Options,
    make_route: Callable[..., tiles.Route],
    certify: Callable[..., np.ndarray],
    *,
    counted: np.ndarray | None = None,
    curvature: certificate.Curvature | None = None,
    again: bool = True,
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
    again: whether there is room for float64 products, where float32 ones left
      targets short of their certificates.

  Returns:
    The path.
  """
  scale, lams = summary.scale(), plans.lams_of(options, summary)
  start = options_lib.check_start(options.start, summary.cross.shape)
  if start is not None:
    start = np.ascontiguousarray((start / scale[None]).T)
  devices, _ = options.spread(len(scale))
  validation = plans.validation_of(options, summary, scale, counted)

  def solve(plan, start, narrow, *, progress=None, file=None):
    route = make_route(start, scale, narrow)
    return tiles.solve(plan, route, devices, progress, file)

  file, progress = options.weights_file, options.progress
  only = options.dual_point == 'corrected'
  last = None
  if curvature is None:
    plan = plans.accurate(options, summary, lams, validation, options.keep)
    found = solve(plan, start, options.narrow(), progress=progress, file=file)
  else:
    plan = plans.quick(options, summary, lams, validation, curvature)
    found = solve(
        plan,
        start,
        plan.state,
        progress=progress,
        file=file if only else None,
    )
    if not only:
      chosen = lams[found.kept, np.arange(len(scale))][None]
      plan = plans.accurate(options, summary, chosen, validation, 'best')
      last = solve(plan, found.weights[:, 0], options.narrow(), file=file)
  check = certify if options.certify else None
  path = _finish(summary, plan, found, last, lams, check)
  missed = ~path.converged.reshape(-1, len(scale)).all(axis=0)
  if check is not None and missed.any() and options.narrow() == 'float32':
    # Rounding of float32 products may stand in the way, as where columns are
    # nearly copies of each other.
    if again:
      source = found if last is None else last
      source.weights[:] /= scale[:, None, None].astype(plan.dtype)  # As found.
      _again(source, solve, plan, path, missed, options.max_epochs)
      path = _finish(summary, plan, found, last, lams, check)
    else:
      logging.warning(
          '`lasso_path`: %d targets missed tol = %g, and there is no room for'
          ' float64 products; take a smaller tile, or share the Gram matrix'
          ' among more devices.',
          missed.sum(),
          options.tol,
      )
  if options.tol < options_lib.LEAST_TOL:
    logging.warning(
        '`lasso_path`: float64 certifies relative gaps down to about %g, not to'
        ' tol = %g; the largest gap is %.2g. `LassoPath.gap` has each.',
        options_lib.LEAST_TOL,
        options.tol,
        np.max(path.gap, initial=0),
    )
  return path


def _again(source, solve, plan, path, missed, max_epochs) -> None:
  """Replaces what missed in `source`, weights in units of scale."""
  exact = _exact(plan, path, missed, max_epochs)
  wide = solve(exact, source.weights[:, 0], 'float64')
  source.weights[missed] = wide.weights[missed]
  source.num_epochs[missed] += wide.num_epochs[missed]


def _exact(plan, path, missed, max_epochs) -> tiles.Plan:
  """Solves the targets that missed again, with float64 products."""
  lams, ridges = plan.lams, plan.ridges
  if plan.keep == 'best' and lams.shape[1] > 1:
    kept = np.argmax(path.lams == path.lam[None], axis=0)
    at = np.arange(len(kept)), kept
    lams = lams[at][:, None]
    ridges = None if ridges is None else ridges[at][:, None]
  return dataclasses.replace(
      plan,
      # A target without variance is finished before it starts.
      variance=np.where(missed, plan.variance, 0),
      lams=lams,
      ridges=ridges,
      validation=None,
      max_epochs=max_epochs,
      depth=3,
      aim=0.5 * plan.tol if plan.dtype == 'float32' else plan.aim,
      curvature=None,
      state='float64',
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
  on_disk = isinstance(by_target, np.memmap)
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
      # Example by example where that is no copy of a file.
      'weights': weights
      if on_disk or not best
      else np.ascontiguousarray(weights),
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
