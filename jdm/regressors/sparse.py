"""What the LASSO and the elastic net share: choosing penalties, and fitting.

The LASSO is the elastic net whose penalty is all l1. Each target has a penalty
of its own: chosen on validation models or by cross-validation, taken over from
an earlier fit, or given.
"""

from collections.abc import Callable, Iterator
import dataclasses
from typing import Any, NamedTuple

from absl import logging
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.regressors import observations as observations_lib
from jdm.regressors import pools
from jdm.solvers import folds as folds_lib
from jdm.solvers import moments as moments_lib
from jdm.solvers import path as path_lib
from jdm.solvers import penalties

# Steps of the grid that are tried again on either side of an earlier penalty.
_AROUND = 4

_Observations = observations_lib.Observations
_Report = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """What `lasso.fit` and `elastic_net.fit` are asked for; they document it.

  Attributes:
    num_val: how many of the last rows are for validation.
    val_masks: of validation models of their own.
    val_outcomes: of these.
    num_folds: of the cross-validation.
    rule: of the cross-validation.
    lam: penalties that are given.
    l1_ratio: shares of the penalty to choose from; with lam a number or
      `[num_targets]`.
    num_lams: penalties of the grid.
    min_ratio: of the smallest to the largest.
    tol: relative duality gap.
    refit: whether models of both kinds are fitted in the end.
    own_ids: columns that are the targets.
    start: an earlier fit.
    progress: called with the number of targets done and in all.
  """

  num_val: int | None
  val_masks: Any
  val_outcomes: Any
  num_folds: int | None
  rule: str
  lam: Any
  l1_ratio: Any
  num_lams: int
  min_ratio: float
  tol: float
  refit: bool
  own_ids: Any
  start: datamodels_lib.Datamodels | None
  progress: _Report | None

  def validates(self) -> bool:
    """Whether validation models are asked for."""
    given = self.num_val, self.val_masks, self.val_outcomes
    return any(one is not None for one in given)

  def around(self, lam: np.ndarray) -> np.ndarray:
    """A few steps of the grid on either side of penalties `[num_targets]`."""
    step = self.min_ratio ** (1 / max(self.num_lams - 1, 1))
    return penalties.grid(
        lam / step**_AROUND,
        num_lams=2 * _AROUND + 1,
        min_ratio=step ** (2 * _AROUND),
    )


class _Choice(NamedTuple):
  """Penalties of the final fit, and what choosing them told."""

  lam: np.ndarray  # [num_targets]; 0 where the outcome did not vary.
  l1_ratio: np.ndarray  # [num_targets]
  val_mse: np.ndarray | None = None  # [num_targets]
  start: np.ndarray | None = None  # [num_train, num_targets], weights.


def fit(
    regressor: str,
    masks: Any,
    outcomes: Any,
    settings: Settings,
    labels: observations_lib.Labels,
) -> datamodels_lib.Datamodels:
  """Chooses the penalty of each target, and fits.

  Args:
    regressor: who fits, 'lasso' or 'elastic_net'.
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`.
    outcomes: `[num_models, num_targets]`.
    settings: what is asked for.
    labels: to note.

  Returns:
    The datamodels.

  Raises:
    TypeError: on unknown keywords.
    ValueError: if shapes, dtypes, values or options do not make sense.
  """
  who = f'{regressor}.fit'
  _check(who, settings)
  start = settings.start
  observations = observations_lib.split(
      regressor,
      masks,
      outcomes,
      num_val=settings.num_val,
      val_masks=settings.val_masks,
      val_outcomes=settings.val_outcomes,
      choose=settings.lam is None
      and settings.num_folds is None
      and start is None,
      labels=labels,
  )
  if start is not None:
    _check_start(who, start, observations)
  if settings.num_folds is not None:
    found, val_mse = _fit_folds(who, observations, settings)
  else:
    found, val_mse = _fit_split(who, observations, settings)
  report(who, found.converged, found.gap, settings.tol)
  fitted = observations_lib.to_datamodels(
      observations,
      weights=found.weights,
      bias=found.bias,
      lam=found.lam,
      gap=found.gap,
      val_mse=val_mse,
      l1_ratio=None if regressor == 'lasso' else found.l1_ratio,
      refitted=settings.refit,
  )
  return dataclasses.replace(fitted, val_ids=_choosing_ids(fitted, settings))


def refit_lams(
    lam: np.ndarray, largest: np.ndarray, l1_ratio: Any = 1.0
) -> np.ndarray:
  """The penalties chosen, all above 0.

  A target that is constant over the models of the first fit has none; one that
  no correlation can reach keeps its weights at 0.

  Args:
    lam: `[num_targets]`, 0 for none.
    largest: `[num_targets]`, absolute outcome of all models.
    l1_ratio: of each, a number or `[num_targets]`.

  Returns:
    `[num_targets]`.
  """
  above_all = (2 * largest.astype(np.float64) + 1) / l1_ratio
  return np.where(lam > 0, lam, above_all)


def report(
    who: str, converged: np.ndarray, gap: np.ndarray, tol: float
) -> None:
  """Warns of targets that missed the tolerance."""
  missed = int(np.sum(~converged))
  if missed:
    logging.warning(
        '`%s`: %d of %d targets missed the tolerance %g; their largest relative'
        ' gap is %.2g. `Datamodels.gap` has each.',
        who,
        missed,
        len(converged),
        tol,
        gap.max(),
    )


def _fit_split(
    who: str, observations: _Observations, settings: Settings
) -> tuple[pools.Solution, np.ndarray | None]:
  """Fits at penalties chosen by validation models, kept, or given."""
  pool = pools.pool_of(
      observations.masks, observations.outcomes, settings.own_ids
  )
  num_val, progress = len(observations.val_masks), settings.progress
  if settings.lam is None and num_val:
    found = _validate(pool, observations, settings)
    if not settings.refit:
      return found, found.val_mse
    choice = _Choice(found.lam, found.l1_ratio, found.val_mse, found.weights)
    progress = None  # The refit is quick.
  else:
    choice = _kept(who, observations, settings)
  if settings.refit and num_val:
    pool = pool.add(observations.val_masks, observations.val_outcomes)
  found = _solve(pool, choice, settings.tol, progress)
  return found, choice.val_mse


def _solve(
    pool: pools.Pool, choice: _Choice, tol: float, progress: _Report | None
) -> pools.Solution:
  """The final fit."""
  largest = np.abs(pool.outcomes).max(axis=0)
  return pool.at(
      refit_lams(choice.lam, largest, choice.l1_ratio),
      choice.l1_ratio,
      start=choice.start,
      tol=tol,
      progress=progress,
  )


def _kept(who: str, observations: _Observations, settings: Settings) -> _Choice:
  """Penalties that are given, or those of an earlier fit."""
  start, num_targets = settings.start, observations.num_targets
  weights = None if start is None else np.asarray(start.weights)
  if settings.lam is not None:
    lam = observations_lib.penalties(who, settings.lam, num_targets)
    ratios = np.asarray(settings.l1_ratio, np.float64)
    if ratios.shape not in ((), (1,), (num_targets,)):
      raise ValueError(
          f'`{who}` with lam expects l1_ratio to be a number or [{num_targets}],'
          f' one for each target, got shape {ratios.shape}.'
      )
    ratios = np.broadcast_to(ratios, num_targets)
    return _Choice(lam, ratios, start=weights)
  assert start is not None
  lam, val_mse = np.asarray(start.lam), np.asarray(start.val_mse)
  return _Choice(lam, _ratios_of(start), val_mse, weights)


def _ratios_of(start: datamodels_lib.Datamodels) -> np.ndarray:
  """Share of l1 of each target of an earlier fit."""
  if len(start.l1_ratio):
    return np.asarray(start.l1_ratio)
  return np.ones(start.num_targets)


def _grids(
    observations: _Observations, settings: Settings
) -> tuple[list[tuple[float, np.ndarray | None]], dict[str, Any]]:
  """Shares of l1 and their targets, and what penalties are tried with each."""
  start = settings.start
  if start is None:
    ratios = np.atleast_1d(settings.l1_ratio)
    options = {'num_lams': settings.num_lams, 'min_ratio': settings.min_ratio}
    return [(float(ratio), None) for ratio in ratios], options
  ratios = _ratios_of(start)
  largest = np.abs(observations.outcomes).max(axis=0)
  lam = refit_lams(np.asarray(start.lam), largest, ratios)
  options = {'lams': settings.around(lam), 'start': np.asarray(start.weights)}
  return pools.by_ratio(ratios), options


def _validate(
    pool: pools.Pool, observations: _Observations, settings: Settings
) -> pools.Solution:
  """Of all penalties tried, each target's best on the validation models."""
  ratios, options = _grids(observations, settings)
  options |= {
      'tol': settings.tol,
      'val_masks': observations.val_masks,
      'val_outcomes': observations.val_outcomes,
  }

  def follow() -> Iterator[tuple]:
    for index, (ratio, targets) in enumerate(ratios):
      progress = _part(
          settings.progress, index, len(ratios), observations.num_targets
      )
      found = pool.path(targets, l1_ratio=ratio, progress=progress, **options)
      yield ratio, targets, found

  return pools.best(follow(), observations.num_targets)


def _part(
    report_to: _Report | None, index: int, count: int, num_targets: int
) -> _Report | None:
  """Reports of one of several rounds over the targets."""
  if report_to is None or count == 1:
    return report_to

  def part(done: int, total: int) -> None:
    report_to(int((index + done / total) / count * num_targets), num_targets)

  return part


def _fit_folds(
    who: str, observations: _Observations, settings: Settings
) -> tuple[pools.Solution, np.ndarray]:
  """Fits all models at penalties chosen by cross-validation."""
  masks, outcomes = observations.masks, observations.outcomes
  num_train, num_targets = observations.num_train, observations.num_targets
  num_folds = _check_folds(who, settings.num_folds, len(masks))
  folds = folds_lib.split(
      moments_lib.Moments.zeros(num_train, num_targets),
      masks,
      outcomes,
      folds_lib.assign(len(masks), num_folds),
  )
  total = folds_lib.join(folds)
  assert isinstance(total, moments_lib.Moments)
  ratios, options = _grids(observations, settings)
  solve = _counted(settings.progress, num_folds * len(ratios), num_targets)
  lam, l1_ratio, val_mse = np.ones((3, num_targets))
  least, max_gap = np.full(num_targets, np.inf), 0.0
  for ratio, targets in ratios:
    found = folds_lib.cross_validate(
        total, folds, tol=settings.tol, l1_ratio=ratio, solve=solve, **options
    )
    errors, max_gap = found.mean(), max(max_gap, found.max_gap)
    better = errors.min(axis=0) < least
    if targets is not None:
      better &= np.isin(np.arange(num_targets), targets)
    columns = np.flatnonzero(better)
    at = found.choose(settings.rule)[columns], columns
    least[columns] = errors.min(axis=0)[columns]
    lam[columns], l1_ratio[columns] = found.lams[at], ratio
    val_mse[columns] = errors[at]
  if max_gap > 1.1 * settings.tol:
    logging.warning(
        '`%s`: a fit without a fold has a relative gap of %.2g, beyond the'
        ' tolerance %g; errors of cross-validation are as rough.',
        who,
        max_gap,
        settings.tol,
    )
  pool = pools.Pool(masks=masks, outcomes=outcomes, moments=total)
  choice = _Choice(lam, l1_ratio, start=options.get('start'))
  return _solve(pool, choice, settings.tol, None), val_mse


def _counted(
    report_to: _Report | None, num_paths: int, num_targets: int
) -> Callable[..., path_lib.LassoPath]:
  """`path.lasso_path`, which reports targets with all of their paths done."""
  done = 0

  def solve(*args: Any, **options: Any) -> path_lib.LassoPath:
    nonlocal done
    path = path_lib.lasso_path(*args, **options)
    done += path.lam.shape[-1]
    if report_to is not None:
      report_to(done // num_paths, num_targets)
    return path

  return solve


def _choosing_ids(
    fitted: datamodels_lib.Datamodels, settings: Settings
) -> np.ndarray:
  """Models that the penalties were chosen by, now or in the earlier fit."""
  fit_ids, start = np.asarray(fitted.fit_ids), settings.start
  if settings.num_folds is not None:
    fitted = dataclasses.replace(fitted, val_ids=fit_ids)
  if start is None:
    return np.asarray(fitted.val_ids)
  # The earlier fit had a part in the choice; none of its models is unseen.
  earlier = np.setdiff1d(np.asarray(start.fit_ids), fit_ids)
  earlier = np.union1d(earlier, np.asarray(start.val_ids))
  return np.union1d(np.asarray(fitted.val_ids), earlier)


def _check(who: str, settings: Settings) -> None:
  """Raises ValueError of options that do not go together."""
  if not settings.tol > 0:
    raise ValueError(f'`{who}` expects tol above 0, got {settings.tol}.')
  num_lams, min_ratio = settings.num_lams, settings.min_ratio
  if num_lams < 1 or not 0 < min_ratio < 1:
    raise ValueError(
        f'`{who}` expects num_lams >= 1 and 0 < min_ratio < 1, got {num_lams}'
        f' and {min_ratio}.'
    )
  start = settings.start
  if start is not None and not isinstance(start, datamodels_lib.Datamodels):
    raise ValueError(
        f'`{who}` expects start to be earlier Datamodels, got'
        f' {type(start).__name__}; `datamodels.load` reads a file.'
    )
  folds_lib.check_rule(settings.rule, who)
  if settings.num_folds is None:
    if settings.rule != 'min':
      raise ValueError(
          f'`{who}` expects rule {settings.rule!r} with num_folds: one set of'
          ' validation models has no standard error over folds.'
      )
    return
  if settings.validates() or settings.lam is not None:
    raise ValueError(
        f'`{who}` expects num_folds, or num_val, or val_masks with'
        ' val_outcomes, or lam: each is a way to the penalty, got several.'
    )
  if settings.own_ids is not None:
    raise ValueError(
        f'`{who}` expects num_folds without own_ids: folds are taken off sums'
        ' that all targets share, and a target that is an example leaves out'
        ' models of its own. Choose by num_val.'
    )
  if not settings.refit:
    raise ValueError(
        f'`{who}` with num_folds always fits all models in the end: leave refit'
        ' out.'
    )


def _check_folds(who: str, num_folds: Any, num_models: int) -> int:
  """The number of folds as an int, or raises."""
  is_integer = isinstance(num_folds, (int, np.integer))
  if not is_integer or not 2 <= num_folds <= num_models // 2:
    raise ValueError(
        f'`{who}` expects num_folds to be an integer from 2 to half of the'
        f' {num_models} models, got {num_folds!r}.'
    )
  return int(num_folds)


def _check_start(
    who: str, start: datamodels_lib.Datamodels, observations: _Observations
) -> None:
  """Raises ValueError unless an earlier fit is of the same problem."""
  if start.regressor != observations.regressor:
    raise ValueError(
        f'`{who}` expects start to be an earlier fit of'
        f' {observations.regressor!r}, got one of {start.regressor!r}:'
        ' penalties of another scaling.'
    )
  for name in ('train_ids', 'target_ids'):
    theirs = np.asarray(getattr(start, name))
    ours = getattr(observations, name)
    if not np.array_equal(theirs, ours):
      raise ValueError(
          f'`{who}` expects start to have the same {name}: it has'
          f' {len(theirs)}, {theirs[:3].tolist()} first, and the models to fit'
          f' {len(ours)}, {ours[:3].tolist()} first. Pass the {name} of these'
          ' models, or fit without start.'
      )
  if start.outcome != observations.outcome:
    raise ValueError(
        f'`{who}` expects start to be of outcome {observations.outcome!r}, got'
        f' {start.outcome!r}.'
    )
