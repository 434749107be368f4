"""What `compare_attributors` compares: settings, pools, and what each costs."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import json
import os
import time
from typing import Any

import numpy as np

from experiments import binary
from experiments import workdir as workdir_lib
from jdm import collection
from jdm import recipe as recipe_lib
from jdm import store as store_lib
from jdm.attributors import rebuild
from jdm.attributors import trained as trained_lib
from jdm.training import exact
from jdm.training import sgd

OUTCOME = 'soft_margin'
PLANTS = ('mislabels', 'duplicates')
VAL_SHARE = 5  # A fifth of the trained models is for validation.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """A pool, and what is asked of it.

  Attributes:
    recipe: fields of the `Recipe`, but subsets, seed and outcomes.
    budgets: trained models, validation among them, that regressors get.
    few: the same of attributors, which read the models themselves.
    alphas: subset fractions; the first is that of the checks below.
    num_heldout: held-out subsets, each trained twice.
    num_plants: models of the pools with planted mislabels and duplicates; 0
      plants nothing.
    plants_few: those that attributors and priors read there; 0 for as many as
      in the other pools.
    num_planted: mislabels, and duplicates.
    duplicates: kinds of these, see `datasets.plants.duplicates`; '' for all.
    removals: targets whose most helpful examples are removed; 0 retrains
      nothing.
    removed: how many of them.
    replicates: retrainings of each.
    loo_replicates: trainings without one example, of each; even for halves, 0
      for none.
    loo_examples: that are left out; 0 for all.
    epochs: of the checkpoints of TracIn.
    metagradients: models that are differentiated; 0 leaves the method out.
    lasso_folds: whether the LASSO of the largest budget also gets the folds that
      informed regressions get, and all models.
    num_prior: models whose gradients an informed regression reads at most.
    targets: 'test', or 'train': training examples, of which only the models
      that did not train on them are known, chosen by and scored on.
    num_targets: of the train targets; test targets are taken all.
  """

  recipe: Mapping[str, Any]
  budgets: tuple[int, ...]
  few: tuple[int, ...]
  alphas: tuple[float, ...] = (0.5, 0.2)
  num_heldout: int = 1000
  num_plants: int = 0
  plants_few: int = 0
  num_planted: int = 30
  duplicates: str = ''
  removals: int = 0
  removed: tuple[int, ...] = (10, 20, 40, 80)
  replicates: int = 4
  loo_replicates: int = 0
  loo_examples: int = 0
  epochs: tuple[int, ...] = (2, 4, 6, 8, 10)
  metagradients: int = 0
  lasso_folds: bool = False
  num_prior: int = 100
  targets: str = 'test'
  num_targets: int = 300

  def __post_init__(self):
    if self.targets == 'train' and (
        self.removals or self.loo_replicates or self.num_plants
    ):
      raise ValueError(
          'checks are of test targets: expected no removals, loo_replicates and'
          ' num_plants with train targets'
      )


_DIGITS_MLP = {
    'dataset': 'digits',
    'model': 'mlp',
    'model_options': {'hidden': [64]},
}
_FASHION = {
    'dataset': 'idx',
    'dataset_options': {
        'num_train': 2000,
        'num_test': 300,
        'num_components': 50,
    },
}
_MLP = sgd.Config(epochs=10, learning_rate=0.1, weight_decay=5e-4)
SETTINGS: dict[str, Setting] = {
    'digits_linear': Setting(
        recipe={'dataset': 'digits', 'model': 'linear'},
        budgets=(50, 100, 500, 2000),
        few=(25, 50, 100),
        num_plants=500,
        removals=20,
        loo_replicates=16,
    ),
    'digits_mlp': Setting(
        recipe=_DIGITS_MLP,
        budgets=(50, 100, 500, 2000),
        few=(25, 50, 100),
        alphas=(0.5, 0.2, 0.75),
        num_plants=500,
        removals=20,
        replicates=8,
        loo_replicates=32,
        metagradients=8,
        lasso_folds=True,
    ),
    'digits_mlp_train': Setting(
        recipe=_DIGITS_MLP,
        budgets=(50, 100, 500, 2000),
        few=(25, 50, 100),
        alphas=(0.5,),
        targets='train',
    ),
    'fashion_mlp': Setting(
        recipe={
            **_FASHION,
            'model': 'mlp',
            'model_options': {'hidden': [32]},
        },
        budgets=(50, 100, 500, 2000),
        few=(25, 50, 100),
        num_plants=500,
        removals=20,
        replicates=8,
        loo_replicates=32,
        lasso_folds=True,
    ),
    'fashion_cnn': Setting(
        recipe={
            'dataset': 'idx',
            'dataset_options': {'num_train': 5000, 'num_test': 300},
            'model': 'cnn',
        },
        budgets=(50, 100, 500, 1000),
        few=(25, 50, 100),
        num_heldout=500,
        num_plants=250,
        plants_few=25,
        removals=8,
        removed=(40, 80, 160, 320),
        loo_replicates=6,
        loo_examples=100,
        epochs=(3, 6, 10),
    ),
    'iris': Setting(
        recipe={
            'dataset': 'iris',
            'model': 'linear',
            'training': exact.Config(lam=1.0),
        },
        budgets=(50, 200, 1000),
        few=(10, 50),
        num_plants=500,
        num_planted=12,
        duplicates='exact,noise',  # There are no images to move.
        removals=20,
        replicates=2,
        loo_replicates=1,
        epochs=(),
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
  """One pool of one setting: its folder, alpha, seed, and what is planted."""

  setting: Setting
  folder: str
  alpha: float
  seed: int
  plant: str = ''

  @functools.cached_property
  def pool(self) -> recipe_lib.Pool:
    """What trains."""
    fields = dict(self.setting.recipe)
    if self.plant:
      fields['dataset_options'] = {
          **fields.get('dataset_options', {}),
          'base': fields['dataset'],
          'plant': self.plant,
          'plant_seed': self.seed,
          'count': self.setting.num_planted,
      }
      if self.plant == 'duplicates' and self.setting.duplicates:
        fields['dataset_options']['kinds'] = self.setting.duplicates
      fields['dataset'] = 'planted'
    recipe = recipe_lib.Recipe(
        **fields,
        sampler_options={'alpha': self.alpha},
        seed=self.seed,
        outcomes=(OUTCOME, 'parameters'),
        targets=(self.setting.targets,),
    )
    return recipe_lib.build(recipe)

  @property
  def outcome(self) -> str:
    """Its name in the store."""
    return OUTCOME if self.setting.targets == 'test' else f'{OUTCOME}_train'

  @functools.cached_property
  def own_ids(self) -> np.ndarray | None:
    """The training examples that are targets; None for test targets.

    Spread evenly over those that the validation models of every budget leave
    out at least once: this looks at masks alone.
    """
    setting = self.setting
    if setting.targets == 'test':
      return None
    masks = self.pool.masks(np.arange(self.num_models))
    usable = np.ones(masks.shape[1], bool)
    for num in (*setting.budgets, *setting.few):
      num_val = max(num // VAL_SHARE, 1)
      usable &= ~masks[num - num_val : num].all(axis=0)
    ids = np.flatnonzero(usable)
    num = min(setting.num_targets, len(ids))
    return ids[np.arange(num) * len(ids) // num]

  def counted(self, masks: np.ndarray) -> np.ndarray | None:
    """Bool `[num_models, num_targets]`, who did not train on whom; or None."""
    return None if self.own_ids is None else ~masks[:, self.own_ids]

  def of_targets(self, outcomes: np.ndarray) -> np.ndarray:
    """Those of the targets, of outcomes `[..., all]` of the store."""
    return outcomes if self.own_ids is None else outcomes[..., self.own_ids]

  @property
  def num_models(self) -> int:
    """Of the pool."""
    return max(*self.setting.budgets, *self.setting.few)

  @functools.cached_property
  def store(self) -> store_lib.OutcomeStore:
    """The pool, trained."""
    path = os.path.join(self.folder, 'store')
    missing = self.num_models
    if store_lib.exists(path):
      there = store_lib.OutcomeStore.open(path)
      missing -= len(there.completed()) + len(there.diverged())
    start = time.process_time()
    store = collection.collect(
        self.pool,
        path,
        num_models=self.num_models,
        progress=binary.Progress(os.path.basename(self.folder)),
    )
    if missing > 0:
      spent = self._trained()
      spent.append(
          {'models': missing, 'cpu_seconds': time.process_time() - start}
      )
      binary.write_json(self._trained_path, {'spent': spent})
    return store

  @property
  def _trained_path(self) -> str:
    return os.path.join(self.folder, 'trained.json')

  def _trained(self) -> list[dict[str, float]]:
    return read_json(self._trained_path).get('spent', [])

  @functools.cached_property
  def seconds_a_model(self) -> float:
    """CPU seconds of training one model of the pool, with compiling."""
    _ = self.store  # Trains what is missing.
    spent = self._trained()
    models = sum(one['models'] for one in spent)
    return sum(one['cpu_seconds'] for one in spent) / max(models, 1)

  def rows(self, num_models: int, first: int = 0) -> np.ndarray:
    """Completed rows, from the first on."""
    return self.store.completed()[first : first + num_models]

  @functools.cached_property
  def trained(self) -> trained_lib.Trained:
    """Models that attributors may read, of the largest of their budgets."""
    return self.rebuilt(self._read_rows)

  @functools.cached_property
  def one_trained(self) -> trained_lib.Trained:
    """The first of them."""
    return self.rebuilt(self.rows(1))

  @functools.cached_property
  def with_checkpoints(self) -> trained_lib.Trained:
    """The same, trained again for their checkpoints."""
    return self.rebuilt(self._read_rows, epochs=self.setting.epochs)

  @property
  def _read_rows(self) -> np.ndarray:
    most = max(*self.setting.few, self.setting.num_prior)
    return self.rows(min(most, self.num_models))

  def rebuilt(self, rows: np.ndarray, **options: Any) -> trained_lib.Trained:
    """Some models, with what `rebuild.rebuild` is told."""
    trained = rebuild.rebuild(
        self.store,
        rows,
        outcome=OUTCOME,
        targets=self.setting.targets,
        pool=self.pool,
        **options,
    )
    if self.own_ids is None:
      return trained
    return trained.take_targets(self.own_ids)

  @functools.cached_property
  def heldout(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks, outcomes of two trainings each, and ids; no method reads them."""
    num = self.setting.num_heldout
    stores = workdir_lib.collect_heldout(self.folder, self.pool, num, 2)
    masks, outcomes, ids = workdir_lib.read_heldout(stores, self.outcome, num)
    return masks, self.of_targets(outcomes), ids

  @functools.cached_property
  def planted(self) -> dict[str, 'Case']:
    """The same pool on data with planted answers, by what is planted."""
    folder, setting = os.path.dirname(self.folder), self.setting
    most = min(setting.plants_few or max(setting.few), setting.num_plants)
    smaller = dataclasses.replace(
        setting,
        budgets=(setting.num_plants,),
        few=(most,),
        num_prior=min(setting.plants_few or setting.num_prior, most),
    )
    return {
        plant: Case(
            smaller,
            os.path.join(folder, f'{plant}_seed_{self.seed}'),
            self.alpha,
            self.seed,
            plant,
        )
        for plant in PLANTS
    }

  def shared(
      self, name: tuple[Any, ...], make: Callable[[], Any]
  ) -> tuple[Any, float]:
    """What several budgets share, made by the first of them.

    Args:
      name: of what is made.
      make: makes it.

    Returns:
      It, and the CPU seconds that it took the budget before; 0 where this one
      made it.
    """
    if name in self._of_budgets:
      return self._of_budgets[name]
    found = timed(make)
    self._of_budgets.clear()  # Others are large, and done with.
    self._of_budgets[name] = found
    return found[0], 0.0

  @functools.cached_property
  def _of_budgets(self) -> dict[tuple[Any, ...], tuple[Any, float]]:
    return {}

  def budget(self, num_models: int) -> 'Budget':
    """What a method gets that may train so many models."""
    return Budget(self, num_models)


@dataclasses.dataclass(frozen=True, eq=False)
class Budget:
  """The first models of a pool, a fifth of them for validation.

  Attributes:
    case: the pool.
    num_models: models in all.
    first: models that are left out before them, for the halves of a budget.
  """

  case: Case
  num_models: int
  first: int = 0

  @property
  def num_val(self) -> int:
    """The last models, which choose and nothing else."""
    return max(self.num_models // VAL_SHARE, 1)

  @functools.cached_property
  def masks(self) -> np.ndarray:
    """Of all models, bool `[num_models, num_train]`."""
    return self.case.store.read('masks', self._rows)

  @functools.cached_property
  def outcomes(self) -> np.ndarray:
    """`[num_models, num_targets]`."""
    outcomes = self.case.store.read(self.case.outcome, self._rows)
    return self.case.of_targets(outcomes)

  @property
  def _rows(self) -> np.ndarray:
    return self.case.rows(self.num_models, self.first)

  def halves(self) -> tuple['Budget', 'Budget']:
    """Its first and its last models, as many of each."""
    half = self.num_models // 2
    return Budget(self.case, half, self.first), Budget(
        self.case, half, self.first + self.num_models - half
    )

  @functools.cached_property
  def trained(self) -> trained_lib.Trained:
    """The models themselves, but those for validation."""
    return self._read(self.num_models - self.num_val)

  def _read(self, num_models: int) -> trained_lib.Trained:
    if self.first:
      return self.case.rebuilt(self._rows[:num_models])
    return self.case.trained.take(slice(0, num_models))

  @functools.cached_property
  def read_by_priors(self) -> trained_lib.Trained:
    """Models whose gradients an informed regression reads."""
    return self._read(min(self.num_models, self.case.setting.num_prior))

  @functools.cached_property
  def with_checkpoints(self) -> trained_lib.Trained:
    """The same, trained again for their checkpoints."""
    if self.first:
      raise ValueError('models with checkpoints are those of whole budgets')
    some = slice(0, self.num_models - self.num_val)
    return self.case.with_checkpoints.take(some)

  def of_two(self, *, checkpoints: bool = False) -> 'Budget':
    """The same with two models to read: compiles what all of them need."""
    other = Budget(self.case, self.num_models, self.first)
    other.__dict__['trained'] = self.trained.take(slice(0, 2))
    if checkpoints:
      some = self.with_checkpoints.take(slice(0, 2))
      other.__dict__['with_checkpoints'] = some
    return other


def read_json(path: str) -> dict[str, Any]:
  """A result file; {} where there is none."""
  if not os.path.exists(path):
    return {}
  with open(path, encoding='utf-8') as file:
    return json.load(file)


def kept(
    path: str, make: Callable[[], dict[str, Any]] | None, **made_from: Any
) -> dict[str, Any]:
  """A result file, made if it is not there or was made from something else.

  Args:
    path: of the JSON file.
    make: makes it; None only reads, and finds {} where it would be made.
    **made_from: what it depends on.
  """
  wanted = json.loads(json.dumps(made_from))
  found = read_json(path)
  if found.get('made_from') != wanted:
    if make is None:
      return {}
    binary.write_json(path, {**make(), 'made_from': wanted})
    found = read_json(path)
  del found['made_by'], found['made_from']
  return found


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
  """What `make` returns, and its CPU seconds."""
  start = time.process_time()
  found = make()
  return found, time.process_time() - start


def shrunk(setting: Setting, factor: int) -> Setting:
  """The same setting with less of everything, for tests."""
  if factor == 1:
    return setting
  return dataclasses.replace(
      setting,
      budgets=tuple(max(n // factor, 20) for n in setting.budgets),
      few=tuple(max(n // factor, 15) for n in setting.few),
      num_heldout=max(setting.num_heldout // factor, 10),
      num_plants=setting.num_plants and max(setting.num_plants // factor, 20),
      plants_few=setting.plants_few and max(setting.plants_few // factor, 15),
      removals=min(setting.removals, 2),
      replicates=min(setting.replicates, 2),
      loo_replicates=min(setting.loo_replicates, 2),
      loo_examples=min(setting.loo_examples or 10, 10),
      metagradients=min(setting.metagradients, 2),
      num_targets=max(setting.num_targets // factor, 10),
  )
