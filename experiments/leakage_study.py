r"""Which score finds which duplicates, and what a weight tells that none does.

  python -m experiments.leakage_study --workdir=runs/leakage

Test images are planted in the training set: exactly, shifted by 2 pixels,
rotated by 12 degrees, with noise, and atypical ones (pixels permuted, a random
label). Pairs of a training and a test example are ranked by datamodel weights
(LASSO, difference of means, each also standardized by target), by pixel
distance, by the penultimate layer, and by the correlation of log-probabilities
over 10, 20 and 100 models. Planting with seed 0 chooses a score and a
threshold for each kind; seeds 1 and 2 report. Then the training example of some
pairs is removed, and models are trained again.

Takes about 100 CPU minutes; what is there already is not done again. Writes
`leakage_study.json`, `.csv`, `.md` and pictures.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
import time
from typing import Any

from absl import flags
import numpy as np

from experiments import binary
from experiments import leakage_tables
from experiments import workdir as workdir_lib
from experiments.applications import similarity
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import recipe as recipe_lib
from jdm import representation
from jdm import store as store_lib
from jdm.analysis import detection
from jdm.analysis import likeness
from jdm.analysis import pairs as pairs_lib
from jdm.applications import leakage as leakage_lib
from jdm.reports import leakage_plots
from jdm.reports import plots
from jdm.training import sgd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """A pool to plant in.

  Attributes:
    dataset: options of the dataset `planted`, but for the seed.
    model: name of the model.
    model_options: its options.
    training: options of `sgd.Config` beside the model's defaults.
    num_models: of each pool.
    num_removed: pairs whose training example is removed, by the first seed that
      reports.
    replicates: retrainings of each removal.
  """

  dataset: Mapping[str, Any]
  model: str = 'mlp'
  model_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  num_models: int = 3000
  num_removed: int = 120
  replicates: int = 8

  def recipe(self, seed: int) -> recipe_lib.Recipe:
    """The recipe of one pool; planting and training have one seed."""
    defaults: Any = recipe_lib.TRAINING_DEFAULTS.get(self.model, {})
    return recipe_lib.Recipe(
        dataset='planted',
        dataset_options={**self.dataset, 'plant_seed': seed},
        model=self.model,
        model_options=self.model_options,
        training=sgd.Config(**{**defaults, **self.training}),
        outcomes=('soft_margin',),
        seed=seed,
    )


_ATYPICAL = {'base': 'digits', 'plant': 'atypical', 'count': 30}
_DIGITS = {'base': 'digits', 'plant': 'duplicates', 'count': 120}
_FASHION = {'base': 'idx', 'plant': 'duplicates', 'count': 120, 'num_test': 400}
_MEMORIZING = {'epochs': 30, 'weight_decay': 0.0}
SETTINGS: dict[str, Setting] = {
    'digits_linear_atypical': Setting(dataset=_ATYPICAL, model='linear'),
    'digits_mlp_atypical': Setting(
        dataset=_ATYPICAL, model_options={'hidden': [64, 64]}
    ),
    'digits_linear': Setting(dataset=_DIGITS, model='linear'),
    'fashion_mlp': Setting(  # It gets every training label right.
        dataset={**_FASHION, 'num_train': 5000, 'num_components': 100},
        model_options={'hidden': [64]},
        training=_MEMORIZING,
        num_removed=60,
        replicates=4,
    ),
    'fashion_cnn_translate': Setting(
        dataset={**_FASHION, 'num_train': 5000},
        model='cnn',
        training={
            'epochs': 20,
            'learning_rate': 0.1,
            'weight_decay': 0.0,
            'augmentations': ('translate',),
        },
        num_models=500,
        num_removed=30,
        replicates=4,
    ),
}
_SETTINGS = flags.DEFINE_list(
    'settings', list(SETTINGS), f'Which, of {", ".join(SETTINGS)}.'
)
_SEEDS = flags.DEFINE_list(
    'seeds', ['0', '1', '2'], 'The first one chooses, the others report.'
)
_NUM_MODELS = flags.DEFINE_integer('num_models', None, 'Of each pool.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the cost and stops.')
_OUTCOME = 'soft_margin'
_CORRELATION_MODELS = 100
_PRECISION = 0.9  # Of the pairs above a threshold.
# Relative duality gap of the LASSO. With 1e-4 the AUC of 60 planted pairs in
# Fashion-MNIST moved by .0002 at most, and fitting took ten times as long.
_TOL = 1e-2


def main(workdir: str) -> None:
  """Fills the table."""
  unknown = sorted(set(_SETTINGS.value) - set(SETTINGS))
  if unknown:
    raise ValueError(f'--settings are {list(SETTINGS)}, got {unknown}')
  if not all(seed.isdigit() for seed in _SEEDS.value) or len(_SEEDS.value) < 2:
    raise ValueError(
        '--seeds is a list of two numbers or more, the first of which chooses;'
        f' got {_SEEDS.value}'
    )
  seeds = [int(seed) for seed in _SEEDS.value]
  measured = {}
  for name in _SETTINGS.value:
    setting = SETTINGS[name]
    if _NUM_MODELS.value:
      setting = dataclasses.replace(setting, num_models=_NUM_MODELS.value)
    if _DRY_RUN.value:
      _estimate(workdir, name, setting, seeds)
      continue
    measured[name] = _measure_seeds(workdir, name, setting, seeds)
  if not _DRY_RUN.value:
    _write(workdir, measured)


def _folder(workdir: str, name: str, seed: int) -> str:
  return os.path.join(workdir, f'{name}_seed{seed}')


def _estimate(
    workdir: str, name: str, setting: Setting, seeds: Sequence[int]
) -> None:
  pool = recipe_lib.build(setting.recipe(seeds[0]))
  for seed in seeds:
    path = os.path.join(_folder(workdir, name, seed), 'store')
    binary.print_estimate(pool, path, setting.num_models)


def _measure_seeds(
    workdir: str, name: str, setting: Setting, seeds: Sequence[int]
) -> dict[int, dict[str, Any]]:
  """What was measured, by seed; the first seed's thresholds go to the others."""
  results: dict[int, dict[str, Any]] = {}
  for place, seed in enumerate(seeds):
    path = os.path.join(_folder(workdir, name, seed), 'measured.json')
    if not os.path.exists(path):
      print(f'{name}, seed {seed}')
      thresholds = results[seeds[0]]['thresholds'] if place else {}
      found = _measure(
          _folder(workdir, name, seed),
          setting,
          seed,
          thresholds,
          removes=place == 1,
      )
      binary.write_json(path, found)
    with open(path, encoding='utf-8') as file:
      results[seed] = json.load(file)
  return results


def _measure(
    folder: str,
    setting: Setting,
    seed: int,
    thresholds: Mapping[str, float | None],
    *,
    removes: bool,
) -> dict[str, Any]:
  """Collects, fits and measures one pool."""
  start = time.process_time()
  store, pool = _collect(folder, setting, seed)
  seconds = {'training': time.process_time() - start}
  weights = _weights(folder, store)
  seconds['fitting'] = time.process_time() - start - sum(seconds.values())
  assert pool.dataset is not None  # Made from a recipe.
  truth = leakage_lib.planted_pairs(pool.dataset.planted)
  assert truth is not None  # The settings plant duplicates.
  scores = _scores(folder, setting, seed, pool, weights)
  found = leakage_lib.leakage(
      scores['lasso'],
      score='lasso',
      others={n: array for n, array in scores.items() if n != 'lasso'},
      truth=truth,
  )
  result = {
      **found.to_json(),
      'num_models': len(store.completed()),
      'num_train': store.num_train,
      'num_targets': pool.description['num_test'],
      'recipe': setting.recipe(seed).to_json(),
      'thresholds': {
          name: detection.threshold_for(array, truth, precision=_PRECISION)
          for name, array in scores.items()
      },
      'at_threshold': {
          name: detection.at_threshold(scores[name], truth, threshold)
          for name, threshold in thresholds.items()
          if threshold is not None  # JSON's infinity: none was found.
      },
      'weights': _by_kind(scores['lasso'], truth),
  }
  seconds['scoring'] = time.process_time() - start - sum(seconds.values())
  if removes:
    removed = _removals(setting, seed, store, scores['lasso'], truth)
    result['removals'] = removed.to_json()
    seconds['removals'] = time.process_time() - start - sum(seconds.values())
  _draw(folder, pool.dataset, found)
  return {**result, 'cpu_seconds': seconds}


def _collect(
    folder: str, setting: Setting, seed: int
) -> tuple[store_lib.OutcomeStore, recipe_lib.Pool]:
  pool = recipe_lib.build(setting.recipe(seed))
  store = collection.collect(
      pool,
      os.path.join(folder, 'store'),
      num_models=setting.num_models,
      progress=binary.Progress('training'),
  )
  return store, pool


def _weights(
    folder: str, store: store_lib.OutcomeStore
) -> dict[str, np.ndarray]:
  """Of each regressor; fitted once."""
  weights = {}
  for regressor in ('lasso', 'difference_of_means'):
    path = os.path.join(folder, f'datamodels_{regressor}_test.npz')
    if not os.path.exists(path):
      fitted = workdir_lib.fit(
          store,
          store.completed(),
          regressor=regressor,
          tol=_TOL,
          outcome=_OUTCOME,
          progress=binary.Progress('fitting', 'target'),
      )
      datamodels_lib.save(path, fitted)
    weights[regressor] = np.asarray(datamodels_lib.load(path).weights)
  return weights


def _scores(
    folder: str,
    setting: Setting,
    seed: int,
    pool: recipe_lib.Pool,
    weights: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """All scores; the first models of the pool once more, for their logits."""
  recipe = dataclasses.replace(
      setting.recipe(seed), outcomes=('logits',), targets=('train', 'test')
  )
  number = min(_CORRELATION_MODELS, setting.num_models)
  store = collection.collect(
      recipe_lib.build(recipe, dataset=pool.dataset),
      os.path.join(folder, 'logits'),
      num_models=number,
      progress=binary.Progress('logits'),
  )
  rows = store.completed()
  features = representation.penultimate(pool)
  pixels, name = similarity.pixels_of(pool.dataset)
  return likeness.all_scores(
      weights,
      distances={name: pixels},
      features={'representation': (features['train'], features['test'])},
      outputs=(store.read('logits_train', rows), store.read('logits', rows)),
      num_models=(10, 20, len(rows)),
  )


def _by_kind(
    weights: np.ndarray, truth: pairs_lib.Truth
) -> dict[str, dict[str, float]]:
  """Quartiles of the weights of planted pairs, and how many are 0."""
  own = weights[truth.pairs[:, 0], truth.pairs[:, 1]]
  result = {}
  for kind in truth.all_kinds():
    values = own[truth.members(kind)]
    low, middle, high = np.percentile(values, (25, 50, 75))
    result[kind] = {
        'lowest': float(values.min()),
        'quarter': float(low),
        'median': float(middle),
        'three_quarters': float(high),
        'highest': float(values.max()),
        'share_not_above_0': float(np.mean(values <= 0)),
    }
  return result


def _removals(
    setting: Setting,
    seed: int,
    store: store_lib.OutcomeStore,
    weights: np.ndarray,
    truth: pairs_lib.Truth,
) -> leakage_lib.Removals:
  chosen = leakage_lib.spread(truth.pairs, setting.num_removed, seed)
  return leakage_lib.removals(
      weights,
      truth.pairs[chosen],
      retrain=collection.retrainer(
          store, outcome=_OUTCOME, progress=binary.Progress('removals')
      ),
      kinds=[truth.kinds[place] for place in chosen],
      replicates=setting.replicates,
  )


def _draw(folder: str, dataset: Any, found: leakage_lib.Leakage) -> None:
  for name, figure in (
      ('pairs', leakage_plots.pairs_page(dataset, found)),
      ('roc', leakage_plots.roc(found)),
  ):
    if figure is not None:
      plots.save(figure, os.path.join(folder, f'{name}.png'))


def _write(
    workdir: str, measured: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> None:
  """Tables and pictures of all settings."""
  tables = leakage_tables.summarize(measured)
  path = os.path.join(workdir, 'leakage_study')
  binary.write_json(f'{path}.json', tables)
  for suffix, text in leakage_tables.texts(tables).items():
    plots.canvas.write(f'{path}.{suffix}', text.encode())
  for name, figure in leakage_tables.figures(measured).items():
    plots.save(figure, f'{path}_{name}.png')
  print(leakage_tables.texts(tables)['md'])


if __name__ == '__main__':
  binary.run(main)
