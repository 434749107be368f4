"""What every application's command is given, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import glob
import os
import time
from typing import Any

from matplotlib import figure as figure_lib
import numpy as np

from experiments import binary
from experiments import workdir as workdir_lib
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm import recipe as recipe_lib
from jdm import regressors
from jdm import representation
from jdm import store as store_lib
from jdm.analysis import uncertainty as uncertainty_lib
from jdm.datasets import dataset as dataset_lib

_LEVEL = 0.9  # Of intervals; 20 resamples allow no higher.
_TOL = 1e-3  # Of refits, far below what resampling moves.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
  """What one application found, ready to write down and to show.

  Attributes:
    result: goes into `NAME.json`.
    table: the summary, printed and shown: scalars, intervals, short words.
    lead: one paragraph for the report: what was done, what the numbers mean.
    figures: by a few words for the caption; `NAME_WORDS.png`. None is skipped.
    limits: sentences on what was not measured.
  """

  result: Mapping[str, Any]
  table: Mapping[str, Any]
  lead: str
  figures: Mapping[str, figure_lib.Figure | None] = dataclasses.field(
      default_factory=dict
  )
  limits: Sequence[str] = ()


class Job:
  """A working directory and the flags that all applications share.

  Attributes:
    workdir: the folder.
    datamodels_path: of --datamodels; None for the default file.
    seed: of random choices.
    num_targets: how many targets to look at; None leaves it to the application.
    replicates: retrainings of each subset; None leaves it to the application.
    sizes: numbers of examples, ascending; None leaves it to the application.
    num_bootstrap: resamples of the models that say how sure weights are; 0
      says nothing of it.
    retrain_seconds: `{'cpu': ..., 'wall': ...}` spent in retrainings so far.
  """

  def __init__(
      self,
      workdir: str,
      *,
      datamodels_path: str | None = None,
      seed: int = 0,
      num_targets: int | None = None,
      replicates: int | None = None,
      sizes: list[int] | None = None,
      num_bootstrap: int = 20,
  ):
    self.workdir = workdir
    self.datamodels_path = datamodels_path
    self.seed = seed
    self.num_targets = num_targets
    self.replicates = replicates
    self.sizes = sizes
    self.num_bootstrap = num_bootstrap
    self.retrain_seconds = {'cpu': 0.0, 'wall': 0.0}
    self._datamodels: dict[str, datamodels_lib.Datamodels] = {}

  @functools.cached_property
  def store(self) -> store_lib.OutcomeStore:
    """The pool's outcomes."""
    return store_lib.OutcomeStore.open(os.path.join(self.workdir, 'store'))

  @functools.cached_property
  def pool(self) -> recipe_lib.Pool:
    """What made the store, ready to train."""
    return collection.pool_of(self.store)

  @functools.cached_property
  def dataset(self) -> dataset_lib.Dataset:
    """The examples."""
    dataset = self.pool.dataset
    assert dataset is not None  # Made from a recipe.
    return dataset

  def datamodels(self, targets: str = 'test') -> datamodels_lib.Datamodels:
    """The datamodels of --datamodels, or of `fit_datamodels` with defaults.

    Raises:
      ValueError: if they are not there, or are of other targets.
    """
    if targets not in self._datamodels:
      path = self.datamodels_path if targets == 'test' else None
      self._datamodels[targets] = workdir_lib.load_datamodels(
          self.workdir, path, targets=targets
      )
    return self._datamodels[targets]

  def has_datamodels(self, targets: str) -> bool:
    """Whether `datamodels(targets)` will find its default file."""
    name = f'datamodels_lasso_{targets}.npz'
    return os.path.exists(os.path.join(self.workdir, name))

  @functools.cached_property
  def _rows(self) -> np.ndarray:
    return self.store.completed()

  def rows(self) -> np.ndarray:
    """Ids of the pool's completed models, ascending."""
    return self._rows

  def masks(self, rows: np.ndarray | None = None) -> np.ndarray:
    """Masks bool `[num_models, num_train]` of the pool, or of some rows."""
    return self.store.read('masks', self.rows() if rows is None else rows)

  def outcomes(
      self, name: str, targets: str = 'test', rows: np.ndarray | None = None
  ) -> np.ndarray:
    """Outcomes `[num_models, num_targets]` of the pool, or of some rows.

    Raises:
      ValueError: if they are neither stored nor follow from what is; the
        message names the flags that collect them.
    """
    stored = name if targets == 'test' else f'{name}_train'
    rows = self.rows() if rows is None else rows
    return collection.read_outcome(self.store, stored, rows)

  def has_outcome(self, name: str, targets: str = 'test') -> bool:
    """Whether `outcomes(name, targets)` is there or can be computed."""
    suffix = '' if targets == 'test' else '_train'
    names = {name + suffix, 'logits' + suffix, 'parameters'}
    return bool(names & set(self.store.outcomes))

  def uncertainty(
      self,
      fitted: datamodels_lib.Datamodels,
      limits: list[str],
      *,
      target_ids: np.ndarray | None = None,
      statistic: uncertainty_lib.Statistic | None = None,
  ) -> uncertainty_lib.Uncertainty | None:
    """How sure weights are, by resampling the models.

    Args:
      fitted: datamodels of test targets.
      limits: gets a sentence where it cannot be done.
      target_ids: int, columns to look at; None looks at all.
      statistic: computed from the weights of all targets, instead of these.

    Returns:
      The columns asked for, or of the statistic; None where nothing was asked
      for, or datamodels were not fitted to models of this pool.
    """
    if not self.num_bootstrap:
      return None
    if target_ids is not None and not len(target_ids):
      return None
    rows = np.asarray(fitted.fit_ids) - self.store.recipe['first_id']
    is_own = np.isin(rows, self.rows()).all()
    if fitted.regressor not in regressors.REGRESSORS or not is_own:
      limits.append(
          'How sure weights are, by resampling the models, is measured for'
          ' datamodels that were fitted to this pool only.'
      )
      return None
    pool = self.masks(rows), self.outcomes(fitted.outcome, rows=rows)
    options: dict[str, Any] = {
        'num_bootstrap': self.num_bootstrap,
        'level': _LEVEL,
        'tol': _TOL,
        'seed': self.seed,
        'progress': binary.Progress('resampling', 'resample'),
    }
    if statistic is not None:
      return uncertainty_lib.bootstrap_statistic(
          *pool, fitted, statistic, **options
      )
    return uncertainty_lib.bootstrap(
        *pool, fitted, target_ids=target_ids, **options
    )

  def random_targets(
      self, num_targets: int, default: int | None = None
  ) -> np.ndarray:
    """Some of `num_targets` targets, at random and ascending.

    Args:
      num_targets: how many there are.
      default: how many to choose where --num_targets is not given; None is all.
    """
    count = self.num_targets or default or num_targets
    rng = np.random.default_rng(self.seed)
    return np.sort(rng.permutation(num_targets)[:count])

  def features(self) -> dict[str, np.ndarray]:
    """Penultimate features by split, of one model trained on everything."""
    return self._features

  @functools.cached_property
  def _features(self) -> dict[str, np.ndarray]:
    with self._retraining():
      return representation.penultimate(self.pool)

  def retrain(
      self,
      outcome: str,
      *,
      targets: str = 'test',
      first_replicate: int = 0,
      model: str | None = None,
  ) -> effects.Retrain:
    """The function that checks claims, with a progress bar.

    Args:
      outcome: what to read off the retrained models.
      targets: 'test' or 'train'.
      first_replicate: another one gives fresh seeds.
      model: another class of models, trained as `TRAINING_DEFAULTS` says.
    """
    changes: dict[str, Any] = {}
    if model is not None and model != self.store.recipe['model']:
      recipe = recipe_lib.Recipe.from_json(self.store.recipe)
      defaults: Any = recipe_lib.TRAINING_DEFAULTS.get(model, {})
      training = dataclasses.replace(recipe.training, **defaults)
      changes = {
          'model': model,
          'model_options': {},
          'training': training,
          'group': 0,
      }
    inner = collection.retrainer(
        self.store,
        outcome=outcome,
        targets=targets,
        first_replicate=first_replicate,
        changes=changes,
        progress=binary.Progress('retraining'),
    )

    def retrain(masks, replicates, *, relabel=None):
      with self._retraining():
        return inner(masks, replicates, relabel=relabel)

    return retrain

  def heldout(
      self,
  ) -> tuple[np.ndarray, Callable[[str], np.ndarray], np.ndarray] | None:
    """Held-out models, if `WORKDIR/heldout` holds some.

    Returns:
      Masks, a function from an outcome's name (with suffix) to
      `[replicates, num_heldout, num_targets]`, and ids; or None.
    """
    folder = os.path.join(self.workdir, 'heldout')
    paths = [folder, *sorted(glob.glob(os.path.join(folder, 'replicate_*')))]
    stores = [
        store_lib.OutcomeStore.open(path)
        for path in paths
        if store_lib.exists(path)
    ]
    if not stores:
      return None
    rows = functools.reduce(np.intersect1d, (s.completed() for s in stores))

    def read(name: str) -> np.ndarray:
      return np.stack(
          [collection.read_outcome(store, name, rows) for store in stores]
      )

    ids = rows + stores[0].recipe['first_id']
    return stores[0].read('masks', rows), read, ids

  def _retraining(self) -> '_Watch':
    return _Watch(self.retrain_seconds)


class _Watch:
  """Adds the time spent inside to a running sum."""

  def __init__(self, seconds: dict[str, float]):
    self._seconds = seconds
    self._start = (0.0, 0.0)

  def __enter__(self) -> '_Watch':
    self._start = time.process_time(), time.perf_counter()
    return self

  def __exit__(self, *unused: object) -> None:
    self._seconds['cpu'] += time.process_time() - self._start[0]
    self._seconds['wall'] += time.perf_counter() - self._start[1]
