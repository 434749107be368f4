"""The settings of `modelpred_study`, and the commands of each."""

from collections.abc import Iterator, Sequence
import dataclasses
import os
from typing import Any

from experiments import modelpred_applications
from experiments.study_steps import Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """A pool and the predictors that are fitted on it.

  Attributes:
    pool: flags of `fit_modelpred`.
    num_models: labels.
    presets: each is a predictor.
    steps: of each training; None by preset.
    num_heldout: sets of each kind that predictors are scored on.
    num_refines: Newton steps (of perceptrons: training steps) of the refined
      rows.
    applications: of the predictors.
  """

  pool: Sequence[str]
  num_models: int
  presets: Sequence[str]
  steps: int | None = None
  num_heldout: int = 500
  num_refines: int = 1
  applications: Sequence[str] = ()


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
        presets=('default', 'label_free', 'paper', 'set_transformer'),
        applications=modelpred_applications.NAMES,
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
    'perceptron': Setting(
        pool=(
            '--dataset=breast_cancer',
            '--num_train=300',
            '--model=mlp',
            '--training=full_batch',
            '--hidden=16',
            '--training_steps=1000',
            '--min_size=10',
        ),
        num_models=1500,
        presets=('default', 'function'),
        num_heldout=200,
        num_refines=200,
    ),
}


def steps(folder: str, setting: Setting, seed: int) -> Iterator[Step]:
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
      (
          f'--num_heldout={setting.num_heldout}',
          f'--num_refines={setting.num_refines}',
      ),
  )
  for name in setting.applications:
    yield Step(
        'run_application', folder, f'{name}.json', (f'--application={name}',)
    )
