r"""Does a comparison of two learning algorithms find what sets them apart?

  python -m experiments.comparison_study --workdir=runs/comparison

A white patch is planted on a share of the training images of one class (pool
A); pool B is trained on the same images without it. Half of the test images
carry the patch in both pools. The first direction of A without B should be the
patch: its loadings tell the patched training images, its projections the
patched test images, and removing the training images at its end should matter
to A and not to B.

Plant seed 0 served to choose the share of patched images and the numbers of
models; the other seeds report. A first run with 5,000 MLPs had the patch hardly
ahead of the next direction on the targets of seed 0 (AUC .66 and .66), and just
behind it on those of seed 1 (.698 and .700): the report on 10,000 is a second
look at these seeds. Takes about 9 CPU minutes;
what is there already is not done again. Writes `comparison_study.json`, `.csv`
and `.md`, and pictures of each run in `WORKDIR/SETTING_seedN/`.
"""

from collections.abc import Mapping, Sequence
import os
import time
from typing import Any

from absl import flags
import numpy as np

from experiments import binary
from experiments.applications import comparison as command
from experiments.applications import job as job_lib
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import recipe as recipe_lib
from jdm.regressors import lasso
from jdm.reports import canvas
from jdm.reports import tables

# Models of each pool, and what they are.
_SETTINGS: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    'digits_linear': (3000, {'model': 'linear'}),
    'digits_mlp': (10_000, {'model': 'mlp', 'model_options': {'hidden': [64]}}),
}
_CHOSEN = flags.DEFINE_list(
    'settings', sorted(_SETTINGS), 'Which of ' + ', '.join(sorted(_SETTINGS))
)
_SEEDS = flags.DEFINE_list(
    'seeds', ['0', '1', '2'], 'Of planting; 0 served to choose.'
)
_NUM_MODELS = flags.DEFINE_integer(
    'num_models', None, 'Of each pool; by setting.'
)
_REPLICATES = flags.DEFINE_integer(
    'replicates', None, 'Retrainings of each subset; 10.'
)
_SHARE = 0.3  # Of the training images of the class that carry the patch.
_NO_PATCH = 1e-6  # A share that rounds to no image; test images are the same.
_OUTCOME = 'soft_margin'
_ALPHA = 0.5


def main(workdir: str) -> None:
  """Runs what is missing and writes the table."""
  unknown = sorted(set(_CHOSEN.value) - set(_SETTINGS))
  if unknown or not _CHOSEN.value:
    raise ValueError(f'--settings are {sorted(_SETTINGS)}, got {_CHOSEN.value}')
  if not _SEEDS.value or not all(seed.isdigit() for seed in _SEEDS.value):
    raise ValueError(f'--seeds is a list of numbers, got {_SEEDS.value}')
  rows = []
  for setting in _CHOSEN.value:
    for seed in _SEEDS.value:
      rows.append(_run(workdir, setting, int(seed)))
      _write(workdir, rows)
  print('\n' + tables.text([_shown(row) for row in rows]))


def _run(workdir: str, setting: str, seed: int) -> dict[str, Any]:
  """One comparison: two pools, two fits, retraining, pictures; one row."""
  start = time.process_time()
  folder = os.path.join(workdir, f'{setting}_seed{seed}')
  num_models, model = _SETTINGS[setting]
  num_models = _NUM_MODELS.value or num_models
  jobs = []
  for name, share in (('a', _SHARE), ('b', _NO_PATCH)):
    own = os.path.join(folder, name)
    print(f'{own}: {num_models} models')
    _collect_and_fit(own, share, seed, num_models, model)
    jobs.append(job_lib.Job(own, replicates=_REPLICATES.value))
  findings = command.compare(*jobs)
  for words, figure in findings.figures.items():
    if figure is not None:
      name = f'comparison_{words.replace(" ", "_")}.png'
      canvas.save(figure, os.path.join(folder, name))
  binary.table(f'{setting}, plant seed {seed}', findings.table)
  return {
      'setting': setting,
      'seed': seed,
      'role': 'chosen on' if seed == 0 else 'report',
      'num_models': num_models,
      'cpu_seconds': time.process_time() - start,
      **_numbers(findings.result),
  }


def _collect_and_fit(
    folder: str,
    share: float,
    seed: int,
    num_models: int,
    model: Mapping[str, Any],
) -> None:
  recipe = recipe_lib.Recipe(
      dataset='planted',
      dataset_options={
          'base': 'digits',
          'plant': 'patch',
          'patch_share': share,
          'plant_seed': seed,
      },
      outcomes=(_OUTCOME,),
      sampler_options={'alpha': _ALPHA},
      **model,
  )
  store = collection.collect(
      recipe_lib.build(recipe),
      os.path.join(folder, 'store'),
      num_models=num_models,
      progress=binary.Progress('training'),
  )
  path = os.path.join(folder, 'datamodels_lasso_test.npz')
  rows = store.completed()
  if os.path.exists(path):
    if np.array_equal(datamodels_lib.load(path).fit_ids, rows):
      return
  fitted = lasso.fit(
      store.read('masks', rows),
      store.read(_OUTCOME, rows),
      model_ids=rows,
      outcome=_OUTCOME,
      alpha=_ALPHA,
      progress=binary.Progress('fitting', 'target'),
  )
  datamodels_lib.save(path, fitted)


def _numbers(result: Mapping[str, Any]) -> dict[str, Any]:
  """What the table tells of one comparison."""
  separation = result['cue']['separation']
  effect = result['cue']['effect']
  first = result['a_minus_b'][0]
  train, targets = separation['train_auc'], separation['target_auc']
  numbers = {
      'is_first': separation['is_first'],
      'train_auc': train[0],
      'train_auc_interval': separation['train_interval'],
      'target_auc': targets[0],
      'target_auc_interval': separation['target_interval'],
      'other_directions_train_auc': max(train[1:]),
      'other_directions_target_auc': max(max(a, 1 - a) for a in targets[1:]),
      'explained_a': first['explained_own'],
      'explained_b': first['explained_other'],
  }
  for algorithm, removals in result['removals']['a_minus_b'].items():
    # Direction 1, positive end, highest minus lowest projections.
    numbers[f'removal_{algorithm}'] = removals['observed'][0][0][-1]
    low, high = (ends[0][0][-1] for ends in removals['interval'])
    numbers[f'removal_{algorithm}_interval'] = [low, high]
    numbers[f'random_removal_{algorithm}'] = removals['random'][0][-1]
  for number, name in enumerate(('class', 'others')):
    numbers[f'cue_effect_{name}'] = effect['difference'][number]
    interval = [end[number] for end in effect['interval']]
    numbers[f'cue_effect_{name}_interval'] = interval
  return numbers


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
  """A row for people."""

  def interval(name: str, digits: int = 2) -> str:
    low, high = row[f'{name}_interval']
    return f'{row[name]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]'

  return {
      'setting': row['setting'],
      'plant seed': f'{row["seed"]} ({row["role"]})',
      'patch is first': 'yes' if row['is_first'] else 'no',
      'AUC, train': interval('train_auc', 3),
      'AUC, targets': interval('target_auc', 3),
      'other directions, AUC': (
          f'train {row["other_directions_train_auc"]:.3f}, targets'
          f' {row["other_directions_target_auc"]:.3f}'
      ),
      'variance of A, B': (
          f'{row["explained_a"]:.1%}, {row["explained_b"]:.1%}'
      ),
      'end removed, A': interval('removal_a'),
      'end removed, B': interval('removal_b'),
      'random removed, A, B': (
          f'{row["random_removal_a"]:.2f}, {row["random_removal_b"]:.2f}'
      ),
      'patch on test images, class': interval('cue_effect_class'),
      'others': interval('cue_effect_others'),
  }


def _write(workdir: str, rows: Sequence[Mapping[str, Any]]) -> None:
  path = os.path.join(workdir, 'comparison_study')
  binary.write_json(f'{path}.json', {'share': _SHARE, 'rows': rows})
  flat = [
      {
          key: value
          for name, inner in row.items()
          for key, value in _columns(name, inner)
      }
      for row in rows
  ]
  canvas.write(f'{path}.csv', tables.csv(flat).encode())
  shown = [_shown(row) for row in rows]
  canvas.write(f'{path}.md', tables.markdown(shown).encode())


def _columns(name: str, value: Any) -> list[tuple[str, Any]]:
  """A number is one column, an interval two."""
  if isinstance(value, (list, tuple)):
    return [(f'{name}_low', value[0]), (f'{name}_high', value[1])]
  return [(name, value)]


if __name__ == '__main__':
  binary.run(main)
