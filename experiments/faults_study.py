r"""Which score finds mislabels, and does the backdoor search find a backdoor?

  python -m experiments.faults_study --workdir=runs/faults

Wrong labels (a tenth of all) and a backdoor (a white square that goes with one
label) are planted, each with several seeds; models, subsets and planting have
one seed. Everything that `run_application` does is done for each pool. Of the
scores of mislabels, the best one of the first seed is used for, and reported
on, the others. The backdoor search has nothing to choose; it was developed on
seeds 0 and 1, which are not among those of the study.

Takes about 3 CPU minutes on digits_mlp, 12 on digits_linear, most of it for the
LASSO, and 15 on fashion_mlp; --settings and --plants do a part. What is there
already is not done again. Writes `faults_study.json`, `.csv` and `.md`, and a
folder with pictures for each pool.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
import time
from typing import Any

from absl import flags

from experiments import binary
from experiments import workdir as workdir_lib
from experiments.applications import backdoor as backdoor_command
from experiments.applications import job as job_lib
from experiments.applications import mislabels as mislabels_command
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import recipe as recipe_lib
from jdm.applications import backdoor as backdoor_lib
from jdm.reports import mislabels_plots
from jdm.reports import plots
from jdm.reports import tables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """A pool to plant in.

  Attributes:
    dataset: options of the dataset `planted`, but for what is planted.
    model: name of the model.
    num_mislabels: wrong labels.
    num_poisoned: training examples with the trigger.
    num_models: of each pool.
    lasso_seeds: seeds whose mislabels are also scored by datamodels of the
      training examples, which take some minutes to fit.
  """

  dataset: Mapping[str, Any]
  model: str = 'mlp'
  num_mislabels: int = 150
  num_poisoned: int = 75
  num_models: int = 2000
  lasso_seeds: Sequence[int] = ()

  def recipe(self, plant: str, seed: int) -> recipe_lib.Recipe:
    """The recipe of one pool."""
    counts = {'mislabels': self.num_mislabels, 'backdoor': self.num_poisoned}
    return recipe_lib.Recipe(
        dataset='planted',
        dataset_options={
            **self.dataset,
            'plant': plant,
            'count': counts[plant],
            'plant_seed': seed,
        },
        model=self.model,
        outcomes=('soft_margin', 'correctness', 'log_loss'),
        targets=('test', 'train'),
        seed=seed,
    )


_FASHION = {
    'base': 'idx',
    'num_train': 5000,
    'num_test': 1000,
    'num_components': 100,
}
SETTINGS: dict[str, Setting] = {
    'digits_linear': Setting(
        dataset={'base': 'digits'}, model='linear', lasso_seeds=(10, 11, 12)
    ),
    'digits_mlp': Setting(dataset={'base': 'digits'}),
    'fashion_mlp': Setting(
        dataset=_FASHION, num_mislabels=500, num_poisoned=150, num_models=3000
    ),
}
PLANTS = ('mislabels', 'backdoor')
_SETTINGS = flags.DEFINE_list(
    'settings', list(SETTINGS), f'Which, of {", ".join(SETTINGS)}.'
)
_PLANTS = flags.DEFINE_list('plants', list(PLANTS), 'mislabels, backdoor.')
_SEEDS = flags.DEFINE_list(
    'seeds', ['10', '11', '12'], 'The first one chooses, the others report.'
)
_NUM_MODELS = flags.DEFINE_integer('num_models', None, 'Of each pool.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the cost and stops.')
_TOL = 1e-3  # Relative duality gap; ranks do not change below it.


def main(workdir: str) -> None:
  """Fills the table."""
  for flag, known in ((_SETTINGS, SETTINGS), (_PLANTS, PLANTS)):
    unknown = sorted(set(flag.value) - set(known))
    if unknown or not flag.value:
      raise ValueError(f'--{flag.name} are {list(known)}, got {flag.value}')
  if not all(seed.isdigit() for seed in _SEEDS.value) or len(_SEEDS.value) < 2:
    raise ValueError(
        '--seeds is a list of two numbers or more, the first of which chooses;'
        f' got {_SEEDS.value}'
    )
  seeds = [int(seed) for seed in _SEEDS.value]
  rows: list[dict[str, Any]] = []
  for name in _SETTINGS.value:
    setting = SETTINGS[name]
    if _NUM_MODELS.value:
      setting = dataclasses.replace(setting, num_models=_NUM_MODELS.value)
    for plant in _PLANTS.value:
      found = {}
      for seed in seeds:
        folder = os.path.join(workdir, f'{name}_{plant}_seed{seed}')
        if _DRY_RUN.value:
          pool = recipe_lib.build(setting.recipe(plant, seed))
          path = os.path.join(folder, 'store')
          binary.print_estimate(pool, path, setting.num_models)
          continue
        chosen = found[seeds[0]].get('best') if found else None
        found[seed] = _measured(folder, setting, plant, seed, chosen)
      rows += _rows(name, plant, found)
  if not _DRY_RUN.value:
    _write(workdir, rows)


def _measured(
    folder: str, setting: Setting, plant: str, seed: int, chosen: str | None
) -> dict[str, Any]:
  """The result of one pool, which is collected and analysed if need be."""
  path = os.path.join(folder, f'{plant}.json')
  if not os.path.exists(path):
    print(folder)
    start = time.process_time()
    store = collection.collect(
        recipe_lib.build(setting.recipe(plant, seed)),
        os.path.join(folder, 'store'),
        num_models=setting.num_models,
        progress=binary.Progress('training'),
    )
    seconds = {'training': time.process_time() - start}
    if plant == 'mislabels' and seed in setting.lasso_seeds:
      _fit(folder, store)
    seconds['fitting'] = time.process_time() - start - sum(seconds.values())
    job = job_lib.Job(folder, seed=seed)
    if plant == 'mislabels':
      findings = mislabels_command.run(job, chosen)
    else:
      findings = backdoor_command.run(job)
    for words, figure in findings.figures.items():
      if figure is not None:
        file = f'{plant}_{words.replace(" ", "_")}.png'
        plots.save(figure, os.path.join(folder, file))
    seconds['retraining'] = job.retrain_seconds['cpu']
    seconds['analysis'] = time.process_time() - start - sum(seconds.values())
    binary.write_json(
        path,
        {
            **findings.result,
            'num_models': len(store.completed()),
            'recipe': dict(store.recipe),
            'cpu_seconds': seconds,
        },
    )
  with open(path, encoding='utf-8') as file:
    return json.load(file)


def _fit(folder: str, store: Any) -> None:
  """Datamodels of the training examples, from models without them."""
  path = os.path.join(folder, 'datamodels_lasso_train.npz')
  if not os.path.exists(path):
    fitted = workdir_lib.fit(
        store,
        store.completed(),
        regressor='lasso',
        outcome='soft_margin',
        targets='train',
        tol=_TOL,
        progress=binary.Progress('fitting', 'target'),
    )
    datamodels_lib.save(path, fitted)


def _rows(
    name: str, plant: str, found: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
  """Rows of the table, one for each seed and score."""
  rows = []
  seeds = list(found)
  for place, (seed, result) in enumerate(found.items()):
    for score, one in result['detections'].items():
      is_chosen = score == found[seeds[0]].get('best', score)
      row = {
          'setting': name,
          'plant': plant,
          'seed': seed,
          'score': mislabels_plots.name_of(score),
          'role': ('reports' if place else 'chooses') if is_chosen else '',
          'AUC': one['auc'],
          'AUC low': one['auc_interval'][0],
          'AUC high': one['auc_interval'][1],
          'precision': one['precision'],
      }
      if plant == 'backdoor' and score == backdoor_lib.SCORE:
        row |= _of_set(result)
      elif plant == 'backdoor':
        row['role'] = ''
      if plant == 'mislabels' and score == result['chosen']:
        row['accuracy change'] = result['cleaning']['change']['suspects']
        row['at random'] = result['cleaning']['change']['random']
      rows.append(row)
  return rows


def _of_set(result: Mapping[str, Any]) -> dict[str, Any]:
  """What is told of the set that the search chose."""
  row = {
      'role': 'reports',
      'set': len(result['rows']),
      'set precision': result['precision'],
      'set recall': result['recall'],
  }
  change = result['removal']['change']
  group = 'triggered'
  row['accuracy change'] = change['found'][group]
  row['at random'] = change['random'][group]
  return row


def _write(workdir: str, rows: Sequence[Mapping[str, Any]]) -> None:
  """The table of all settings."""
  path = os.path.join(workdir, 'faults_study')
  binary.write_json(f'{path}.json', {'rows': rows})
  texts = {'csv': tables.csv(rows), 'md': tables.markdown(rows)}
  for suffix, text in texts.items():
    plots.canvas.write(f'{path}.{suffix}', text.encode())
  shown = [row for row in rows if row['role']]
  print(tables.text(shown))


if __name__ == '__main__':
  binary.run(main)
