r"""Every application on one pool, each claim checked by retraining.

  python -m experiments.applications_study --workdir=runs/applications \
      --setting=digits_mlp

Runs the commands that a user would type, one after another, each printed before
it starts: the pool, the fits, held-out models, then the applications. What has
written its result already is not run again, so a run that was killed goes on
where it stood (within a command, too: each keeps what it has trained).
`mislabels`, `backdoor` and `comparison` need planted answers and have studies
of their own (`faults_study`, `comparison_study`), and so have planted
duplicates (`leakage_study`).

Settings, with the minutes they take on two cores:
  digits_linear  1,500 digits, logistic regression: 12
  digits_mlp     1,500 digits, an MLP 64-64-10: 30
  fashion_mlp    5,000 Fashion-MNIST images (100 principal components), an MLP
                 100-64-10, no datamodels of train targets: 57

Writes `WORKDIR/SETTING/` as those commands do, with `report.html`, and
`WORKDIR/SETTING/applications_study.md` and `.json` with the summaries of all.
"""

import dataclasses
import os

from absl import flags

from experiments import binary
from experiments import study_steps

_SETTING = flags.DEFINE_enum(
    'setting', 'digits_linear', sorted(study_steps.SETTINGS), 'Which pool.'
)
_ONLY = flags.DEFINE_list(
    'applications', list(study_steps.APPLICATIONS), 'Which of these.'
)
_NUM_MODELS = flags.DEFINE_integer('num_models', None, 'Of the pool.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the commands and stops.')


def main(workdir: str) -> None:
  """Runs what is missing and writes the summary."""
  known = study_steps.APPLICATIONS
  unknown = sorted(set(_ONLY.value) - set(known))
  if unknown or not _ONLY.value:
    raise ValueError(f'--applications are of {list(known)}, got {_ONLY.value}')
  setting = study_steps.SETTINGS[_SETTING.value]
  if _NUM_MODELS.value:
    setting = dataclasses.replace(
        setting,
        num_models=_NUM_MODELS.value,
        alpha_models=min(_NUM_MODELS.value, setting.alpha_models),
    )
  folder = os.path.join(workdir, _SETTING.value)
  commands = study_steps.steps(folder, setting, _ONLY.value)
  study_steps.run(commands, dry_run=_DRY_RUN.value)
  if not _DRY_RUN.value:
    study_steps.write(folder, _ONLY.value)


if __name__ == '__main__':
  binary.run(main)
