"""One fit, as binaries do it: read from the store, priced, then solved."""

from collections.abc import Callable, Sequence
import dataclasses
import time
from typing import Any

from absl import logging
import numpy as np

from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import regressors
from jdm import store as store_lib
from jdm.solvers import moments as moments_lib
from jdm.solvers import options as options_lib

# What of a recipe tells which pool the datamodels are of.
_NOTED = ('fingerprint', 'dataset', 'model', 'seed')

# The largest num_models * num_train**2 that an estimate solves in seconds.
_LARGEST_SLICE = dict.fromkeys(regressors.SPARSE, 2e10)
_LARGEST_CLOSED_FORM = 4e9
_FEWEST_MODELS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """What a fit will cost.

  Attributes:
    num_targets: how many are fitted.
    num_fit: models fitted before the penalty is chosen.
    num_val: models that choose it.
    seconds: wall time, compilation included.
    num_folds: of the models, which all fit and choose by cross-validation.
  """

  num_targets: int
  num_fit: int
  num_val: int
  seconds: float
  num_folds: int | None = None

  def __str__(self) -> str:
    seconds = max(float(f'{self.seconds:.2g}'), 1)
    models = f'{self.num_fit} fit + {self.num_val} validation models'
    if self.num_folds is not None:
      models = f'{self.num_fit} models in {self.num_folds} folds'
    return f'{self.num_targets} targets, {models}, about {seconds:.0f} s'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """What a regressor is given.

  Attributes:
    regressor: its name.
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    num_val: the last rows that validate; None leaves it to the regressor.
    tol: duality gap, of `regressors.SPARSE`.
    num_folds: of a cross-validation, of these.
    rule: of the cross-validation.
    l1_ratio: of the elastic net, one or several; None leaves it to it.
    start: an earlier fit, of `regressors.SPARSE`.
    refit: whether to fit again to the models of both kinds.
    own_ids: int `[num_targets]`, the columns that are the targets; or None.
    labels: of `observations.Labels`.
    meta: of the `Datamodels`.
  """

  regressor: str
  masks: np.ndarray
  outcomes: np.ndarray
  num_val: int | None = None
  tol: float = 1e-4
  num_folds: int | None = None
  rule: str = 'min'
  l1_ratio: Sequence[float] | None = None
  start: datamodels_lib.Datamodels | None = None
  refit: bool = True
  own_ids: np.ndarray | None = None
  labels: dict[str, Any] = dataclasses.field(default_factory=dict)
  meta: tuple[tuple[str, Any], ...] = ()

  def fit(
      self, progress: Callable[[int, int], None] | None = None
  ) -> datamodels_lib.Datamodels:
    """Solves it.

    Raises:
      ValueError: as the regressor.
    """
    options: dict[str, Any] = {}
    if self.regressor in regressors.SPARSE:
      options = {
          'tol': self.tol,
          'num_folds': self.num_folds,
          'rule': self.rule,
          'own_ids': self.own_ids,
          'start': self.start,
          'progress': progress,
      }
    if self.regressor == 'elastic_net':
      options['l1_ratio'] = self.l1_ratio
    if progress:
      progress(0, self.outcomes.shape[1])
    fitted = regressors.get(self.regressor)(
        self.masks,
        self.outcomes,
        num_val=self.num_val,
        refit=self.refit,
        **options,
        **self.labels,
    )
    return dataclasses.replace(fitted, meta=self.meta)

  def corner(
      self, num_models: int, num_train: int, num_targets: int
  ) -> 'Problem':
    """The first models, examples and targets alone."""
    num_val = self.num_val
    if num_val is not None and num_models < len(self.masks):
      num_val = max(round(num_val * num_models / len(self.masks)), 1)
    return dataclasses.replace(
        self,
        masks=self.masks[:num_models, :num_train],
        outcomes=self.outcomes[:num_models, :num_targets],
        num_val=num_val,
        own_ids=None if self.own_ids is None else self.own_ids[:num_targets],
        start=self.start and _corner(self.start, num_train, num_targets),
        labels={},
    )


def _corner(
    fitted: datamodels_lib.Datamodels, num_train: int, num_targets: int
) -> datamodels_lib.Datamodels:
  """Datamodels of the first examples and targets, without names."""
  names = ('bias', 'lam', 'gap', 'nnz', 'val_mse', 'l1_ratio')
  return dataclasses.replace(
      fitted,
      weights=fitted.weights[:num_train, :num_targets],
      train_ids=np.arange(num_train),
      target_ids=np.arange(num_targets),
      outcome='',
      **{name: getattr(fitted, name)[:num_targets] for name in names},
  )


def read(
    store: store_lib.OutcomeStore,
    rows: np.ndarray,
    *,
    regressor: str = 'lasso',
    outcome: str,
    targets: str = 'test',
    num_val: int | None = None,
    tol: float = 1e-4,
    **options: Any,
) -> Problem:
  """Reads what a regressor is given from some rows of a pool.

  Args:
    store: the pool.
    rows: int `[num_models]`, to read.
    regressor: its name.
    outcome: which is fitted.
    targets: 'test' or 'train'.
    num_val: the last rows that validate.
    tol: duality gap, of `regressors.SPARSE`.
    **options: others of `Problem`: num_folds, rule, l1_ratio, start.

  Raises:
    ValueError: if the regressor is unknown or does not take the options, or the
      outcome is not there for these targets.
  """
  regressors.get(regressor)  # Raises now.
  _check_options(regressor, options)
  name = outcome if targets == 'test' else f'{outcome}_train'
  own_ids, target_ids = None, None
  if targets == 'train':
    if regressor not in regressors.SPARSE:
      raise ValueError(
          'train targets need --regressor=lasso, elastic_net or informed, which'
          f' leave out the models that trained on a target; got {regressor!r}'
      )
    own_ids = target_ids = np.arange(store.num_train)
  return Problem(
      regressor=regressor,
      masks=store.read('masks', rows),
      outcomes=collection.read_outcome(store, name, rows),
      num_val=num_val,
      tol=tol,
      own_ids=own_ids,
      labels={**labels_of(store, rows, name), 'target_ids': target_ids},
      meta=meta_of(store),
      **options,
  )


def _check_options(regressor: str, options: dict[str, Any]) -> None:
  """Raises ValueError of options that a regressor does not take."""
  given = {name for name, value in options.items() if value is not None}
  if options.get('rule') == 'min':  # What goes without saying.
    given.remove('rule')
  takes = set()
  if regressor in regressors.SPARSE:
    takes = {'num_folds', 'rule', 'start'}
  if regressor == 'elastic_net':
    takes.add('l1_ratio')
  if given - takes:
    flags = ', '.join(f'--{name}' for name in sorted(given - takes))
    raise ValueError(
        f'--regressor={regressor} takes no {flags}: --num_folds, --rule and'
        f' --start are of {" and ".join(regressors.SPARSE)}, --l1_ratio is of'
        ' elastic_net'
    )


def labels_of(
    store: store_lib.OutcomeStore, rows: np.ndarray, outcome: str
) -> dict[str, Any]:
  """What datamodels of some rows of a pool note; `observations.Labels`."""
  recipe = store.recipe
  return {
      'model_ids': rows + recipe['first_id'],
      'outcome': outcome,
      'alpha': recipe.get('sampler_options', {}).get('alpha'),
  }


def meta_of(store: store_lib.OutcomeStore) -> tuple[tuple[str, Any], ...]:
  """What tells which pool datamodels are of."""
  recipe = store.recipe
  return tuple((key, recipe[key]) for key in _NOTED if key in recipe)


def estimate(problem: Problem) -> Estimate:
  """Solves a few targets, and scales their time up to all.

  Targets of sparse regressors cost about the same each; closed forms cost the same for
  any number. Where a few targets of the whole problem would take long, its
  first examples and models stand for all: a corner of the same shape.

  Raises:
    ValueError: as the regressor.
  """
  num_models, num_train = problem.masks.shape
  num_targets = problem.outcomes.shape[1]
  devices, tile = options_lib.Options().spread(num_targets)
  count = min(num_targets, max(16, tile // 6))
  largest = _LARGEST_SLICE.get(problem.regressor, _LARGEST_CLOSED_FORM)
  share = min(1.0, (largest / (num_models * num_train**2)) ** (1 / 3))
  small = problem.corner(
      max(int(share * num_models), min(num_models, _FEWEST_MODELS)),
      int(np.ceil(share * num_train)),
      count,
  )
  is_sparse, folds = problem.regressor in regressors.SPARSE, problem.num_folds
  # The refit is priced by itself; with folds nothing is fitted twice.
  refit = not is_sparse or folds is not None
  small = dataclasses.replace(small, refit=refit)
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)  # The fit itself will warn.
  try:
    cold, fitted = _timed(small.fit)
    warm, _ = _timed(small.fit)
  finally:
    logging.set_verbosity(verbosity)
  area = num_models * num_train / small.masks.size
  volume = area * num_train / small.masks.shape[1]
  compiling = max(cold - warm, 0.0)
  if is_sparse:
    shared = 0.0
    if problem.own_ids is None:
      shared, _ = _timed(lambda: moments_lib.of(small.masks, small.outcomes))
      shared = min(shared, warm)
    # The refit, which starts near its end, and whole tiles (on each device)
    # are programs of their own.
    compiling *= 2 * (1 + len(devices)) if num_targets > count else 2
    each = (warm - shared) / count / len(devices)
    seconds = compiling + volume * shared + area * each * num_targets
  else:
    seconds = compiling + volume * warm
  num_val = problem.num_val
  if folds is not None or (num_val is None and problem.start is not None):
    num_val = 0
  if num_val is None:
    num_val = round(len(fitted.val_ids) * num_models / len(small.masks))
  return Estimate(
      num_targets=num_targets,
      num_fit=num_models - num_val,
      num_val=num_val,
      seconds=seconds,
      num_folds=folds,
  )


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
  start = time.perf_counter()
  result = call()
  return time.perf_counter() - start, result
