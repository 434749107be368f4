r"""Runs one application of datamodels, checked by retraining.

  python -m experiments.run_application --workdir=runs/mlp \
      --application=counterfactuals

Needs `WORKDIR/store` and mostly `WORKDIR/datamodels_lasso_test.npz` (or
`--datamodels=FILE`); writes `APPLICATION.json`, pictures, and a section of
`WORKDIR/report.html`. `--dry_run` prints what retraining would cost. Safe to
kill and run again: what was retrained is read from `WORKDIR/verify`.
"""

import dataclasses
import os
import time

from absl import flags

from experiments import applications
from experiments import binary
from experiments import report
from experiments import workdir as workdir_lib
from experiments.applications import job as job_lib
from jdm import collection
from jdm import recipe as recipe_lib
from jdm.reports import plots

_APPLICATION = flags.DEFINE_enum(
    'application', None, sorted(applications.COMMANDS), 'Which one.'
)
_DATAMODELS = flags.DEFINE_string(
    'datamodels', None, 'File; by default WORKDIR/datamodels_lasso_test.npz.'
)
_NUM_TARGETS = flags.DEFINE_integer(
    'num_targets', None, 'Targets, at random; by application.'
)
_SIZES = flags.DEFINE_list(
    'sizes', None, 'Numbers of examples; by default up to a fifth of all.'
)
_REPLICATES = flags.DEFINE_integer(
    'replicates', None, 'Retrainings of each subset; by application.'
)
_APPLICATION_SEED = flags.DEFINE_integer(
    'application_seed', 0, 'Of random choices.'
)
_BOOTSTRAP = flags.DEFINE_integer(
    'num_bootstrap',
    20,
    'Resamples of the models, which say how sure the ranked weights are, for'
    ' 90 % intervals at least 19; 0 leaves them out.',
)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the cost and stops.')


def main(workdir: str) -> None:
  """Runs the application that is asked for."""
  name = _APPLICATION.value
  if name is None:
    raise ValueError(
        f'--application is required: {sorted(applications.COMMANDS)}'
    )
  command = applications.COMMANDS[name]
  start, cpu = time.perf_counter(), time.process_time()
  job = _job(workdir)
  _print_cost(job, command.num_trainings(job))
  if _DRY_RUN.value:
    return
  findings = command.run(job)
  seconds = {
      'cpu_seconds': time.process_time() - cpu - job.retrain_seconds['cpu'],
      'retrain_cpu_seconds': job.retrain_seconds['cpu'],
      'seconds': time.perf_counter() - start,
  }
  _write(workdir, name, findings, seconds)


def _job(workdir: str) -> job_lib.Job:
  sizes = None
  if _SIZES.value:
    if not all(size.isdigit() and int(size) for size in _SIZES.value):
      raise ValueError(
          f'--sizes is a list of positive numbers, got {_SIZES.value}'
      )
    sizes = sorted(int(size) for size in _SIZES.value)
  for flag in (_NUM_TARGETS, _REPLICATES):
    if flag.value is not None and flag.value < 1:
      raise ValueError(f'--{flag.name} must be positive, got {flag.value}')
  if _BOOTSTRAP.value and _BOOTSTRAP.value < 19:
    raise ValueError(
        '--num_bootstrap is 0 or at least 19, for 90 % intervals, got'
        f' {_BOOTSTRAP.value}'
    )
  return job_lib.Job(
      workdir,
      datamodels_path=_DATAMODELS.value,
      seed=_APPLICATION_SEED.value,
      num_targets=_NUM_TARGETS.value,
      replicates=_REPLICATES.value,
      sizes=sizes,
      num_bootstrap=_BOOTSTRAP.value,
  )


def _print_cost(job: job_lib.Job, num_trainings: int) -> None:
  """One line, before any work."""
  if not num_trainings:
    print('no model is retrained')
    return
  # Retraining reads one outcome of the test targets, mostly.
  recipe = recipe_lib.Recipe.from_json(job.store.recipe)
  outcomes = workdir_lib.regressed(recipe.outcomes)[:1] or recipe.outcomes[:1]
  recipe = dataclasses.replace(recipe, outcomes=outcomes, targets=('test',))
  pool = recipe_lib.build(recipe, dataset=job.dataset)
  cost = collection.estimate(pool, num_models=num_trainings)
  num_train = pool.trainer.num_train
  print(
      f'retraining, at most: {cost}; that is for subsets of the size of the'
      f' pool’s, and those of nearly all {num_train} examples take longer'
  )


def _write(workdir, name, findings, seconds) -> None:
  """Writes JSON, pictures and the section of the report; prints the table."""
  table = {**findings.table, 'CPU seconds': seconds['cpu_seconds']}
  if seconds['retrain_cpu_seconds']:
    table['  of retraining'] = seconds['retrain_cpu_seconds']
  binary.write_json(
      os.path.join(workdir, f'{name}.json'),
      {**findings.result, **seconds, 'summary': table},
  )
  for words, figure in findings.figures.items():
    if figure is not None:
      plots.save(figure, report.picture_path(workdir, name, words))
  binary.table(name.replace('_', ' ').capitalize(), table)
  for limit in findings.limits:
    print(f'note: {limit}')
  title = (applications.COMMANDS[name].__doc__ or name).split('\n')[0]
  report.write_section(workdir, name, findings, table, title=title.rstrip('.'))
  report.rebuild(workdir)


if __name__ == '__main__':
  binary.run(main)
