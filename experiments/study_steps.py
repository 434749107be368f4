"""The commands of `applications_study`, in order, and what they found."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import json
import os
import subprocess
import sys
from typing import Any

from experiments import binary
from jdm.reports import canvas
from jdm.reports import tables

_OUTCOMES = '--outcomes=soft_margin,margin,log_loss,correctness'
_ALPHAS = ('0.1', '0.2', '0.75')  # Beside the pool's own, .5.
_SOFT, _HARD = 'datamodels_lasso_test.npz', 'datamodels_lasso_test_margin.npz'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """A pool and what is asked of it.

  Attributes:
    pool: flags of `collect_outcomes`.
    num_models: of the pool.
    tol: duality gap of the fits.
    train_targets: whether datamodels of train targets are fitted.
    alphas: other alphas, for `pool_design`.
    alpha_models: of each of their pools.
    flags: by application, more flags.
  """

  pool: Sequence[str]
  num_models: int
  tol: float = 1e-4
  train_targets: bool = True
  alphas: Sequence[str] = _ALPHAS
  alpha_models: int = 2000
  flags: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


_FASHION = (
    '--dataset=idx',
    '--num_train=5000',
    '--num_test=1000',
    '--num_components=100',
)
SETTINGS: dict[str, Setting] = {
    'digits_linear': Setting(
        pool=['--model=linear'],
        num_models=5000,
        flags={
            'counterfactuals': [
                '--replicates=20',
                '--counterfactuals_model=mlp',
            ]
        },
    ),
    'digits_mlp': Setting(
        pool=['--model=mlp', '--hidden=64'],
        num_models=5000,
        flags={
            'counterfactuals': [
                '--replicates=20',
                '--counterfactuals_model=linear',
            ]
        },
    ),
    'fashion_mlp': Setting(
        pool=[*_FASHION, '--model=mlp', '--hidden=64'],
        num_models=10_000,
        tol=1e-3,
        train_targets=False,
        flags={
            'counterfactuals': [
                '--replicates=20',
                '--num_targets=30',
                '--counterfactuals_parts=remove,baselines',
            ],
            'brittleness': ['--num_targets=40', '--replicates=10'],
            'unlearning': ['--replicates=50'],
        },
    ),
}
APPLICATIONS = (
    'counterfactuals',
    'group_removal',
    'brittleness',
    'similarity',
    'leakage',
    'embeddings',
    'memorization',
    'valuation',
    'selection',
    'unlearning',
    'pool_design',
)


@dataclasses.dataclass(frozen=True)
class Step:
  """One command.

  Attributes:
    binary: its name under `experiments`.
    workdir: its folder.
    writes: the file, under the folder, without which it has not finished; None
      for a command that looks for itself what is missing.
    options: its other flags.
  """

  binary: str
  workdir: str
  writes: str | None
  options: tuple[str, ...]

  def command(self) -> list[str]:
    """As typed, `python` aside."""
    name = f'experiments.{self.binary}'
    return ['-m', name, f'--workdir={self.workdir}', *self.options]

  def is_done(self) -> bool:
    """Whether it has finished before."""
    path = os.path.join(self.workdir, self.writes or '')
    return self.writes is not None and os.path.exists(path)


def steps(
    folder: str, setting: Setting, applications: Sequence[str]
) -> Iterator[Step]:
  """All commands of a setting, in order."""
  tol = f'--tol={setting.tol}'
  hard = os.path.join(folder, _HARD)
  yield Step(
      'collect_outcomes',
      folder,
      None,
      (
          *setting.pool,
          f'--num_models={setting.num_models}',
          _OUTCOMES,
          '--targets=test,train',
      ),
  )
  yield Step('fit_datamodels', folder, _SOFT, (tol,))
  yield Step(
      'fit_datamodels',
      folder,
      _HARD,
      ('--outcome=margin', f'--datamodels={hard}', tol),
  )
  if setting.train_targets:
    # Ranks of weights do not change below this gap.
    options = ('--targets=train', '--tol=1e-3')
    yield Step('fit_datamodels', folder, 'datamodels_lasso_train.npz', options)
  yield Step('evaluate_datamodels', folder, 'evaluation.json', ())
  others = []
  if 'pool_design' in applications:
    for alpha in setting.alphas:
      others.append(f'{folder}_alpha_{alpha}')
      yield from _other_alpha(others[-1], setting, alpha)
  for name in applications:
    options = list(setting.flags.get(name, ()))
    if name == 'brittleness':
      options.append(f'--datamodels={hard}')
    if name == 'pool_design' and others:
      options.append(f'--pool_design_workdirs={",".join(others)}')
    yield Step(
        'run_application',
        folder,
        f'{name}.json',
        (f'--application={name}', *options),
    )


def _other_alpha(folder: str, setting: Setting, alpha: str) -> Iterator[Step]:
  """A pool of another alpha with held-out models; it is fitted later."""
  quick = 'datamodels_difference_of_means_test.npz'
  yield Step(
      'collect_outcomes',
      folder,
      None,
      (
          *setting.pool,
          f'--alpha={alpha}',
          f'--num_models={setting.alpha_models}',
          _OUTCOMES,
      ),
  )
  yield Step(
      'fit_datamodels', folder, quick, ('--regressor=difference_of_means',)
  )
  yield Step(
      'evaluate_datamodels',
      folder,
      'evaluation.json',
      (f'--datamodels={os.path.join(folder, quick)}',),
  )


def run(commands: Iterable[Step], *, dry_run: bool = False) -> None:
  """Runs what has not finished before, each command in a process of its own.

  Raises:
    ValueError: if one fails.
  """
  for step in commands:
    line = ' '.join(['python', *step.command()])
    print(f'\n{"(done) " if step.is_done() else ""}{line}', flush=True)
    if dry_run or step.is_done():
      continue
    done = subprocess.run([sys.executable, *step.command()], check=False)
    if done.returncode:
      raise ValueError(
          f'the command above ended with exit code {done.returncode}; mend what'
          ' it says and start the study again, it goes on from there'
      )


def write(folder: str, applications: Sequence[str]) -> None:
  """The summaries of all applications on one page."""
  results = {'held_out_models': _evaluation(folder)}
  results |= {name: _read(folder, f'{name}.json') for name in applications}
  path = os.path.join(folder, 'applications_study')
  kept = {
      name: {key: result.get(key) for key in ('summary', 'made_by')}
      for name, result in results.items()
  }
  binary.write_json(f'{path}.json', kept)
  page = '\n'.join(_part(name, result) for name, result in results.items())
  canvas.write(f'{path}.md', page.encode())
  print(f'\n{path}.md')


def _evaluation(folder: str) -> dict[str, Any]:
  result = _read(folder, 'evaluation.json')
  names = ('lds', 'lds_interval', 'noise_ceiling', 'num_heldout', 'num_fit')
  return {**result, 'summary': {name: result.get(name) for name in names}}


def _part(name: str, result: Mapping[str, Any]) -> str:
  made_by = result.get('made_by', {})
  rows = [
      {'what': what.strip(), 'measured': binary.text(value)}
      for what, value in result['summary'].items()
  ]
  return (
      f'## {name.replace("_", " ").capitalize()}\n\n`{made_by.get("command", name)}`\n\n'
      f'{tables.markdown(rows)}\n'
  )


def _read(folder: str, name: str) -> dict[str, Any]:
  with open(os.path.join(folder, name), encoding='utf-8') as file:
    return json.load(file)
