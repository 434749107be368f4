"""One fit, as binaries do it: read from the store, priced, then solved."""

from collections.abc import Callable
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
_LARGEST_SLICE = {'lasso': 2e10}
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
  """

  num_targets: int
  num_fit: int
  num_val: int
  seconds: float

  def __str__(self) -> str:
    seconds = max(float(f'{self.seconds:.2g}'), 1)
    return (
        f'{self.num_targets} targets, {self.num_fit} fit + {self.num_val}'
        f' validation models, about {seconds:.0f} s'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """What a regressor is given.

  Attributes:
    regressor: its name.
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    num_val: the last rows that validate; None leaves it to the regressor.
    tol: duality gap, of the LASSO.
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
    if self.regressor == 'lasso':
      options = {
          'tol': self.tol,
          'own_ids': self.own_ids,
          'progress': progress,
      }
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
        labels={},
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
) -> Problem:
  """Reads what a regressor is given from some rows of a pool.

  Raises:
    ValueError: if the regressor is unknown, or the outcome is not there for
      these targets.
  """
  regressors.get(regressor)  # Raises now.
  name = outcome if targets == 'test' else f'{outcome}_train'
  own_ids, target_ids = None, None
  if targets == 'train':
    if regressor != 'lasso':
      raise ValueError(
          'train targets need --regressor=lasso or informed, which leave out the'
          f' models that trained on a target; got {regressor!r}'
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

  Targets of the LASSO cost about the same each; closed forms cost the same for
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
  is_lasso = problem.regressor == 'lasso'
  small = dataclasses.replace(small, refit=not is_lasso)
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
  if is_lasso:
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
  if num_val is None:
    num_val = round(len(fitted.val_ids) * num_models / len(small.masks))
  return Estimate(
      num_targets=num_targets,
      num_fit=num_models - num_val,
      num_val=num_val,
      seconds=seconds,
  )


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
  start = time.perf_counter()
  result = call()
  return time.perf_counter() - start, result
