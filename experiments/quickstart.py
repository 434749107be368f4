r"""The whole tour on digits: collect, fit, evaluate, check by retraining.

  make demo
  python -m experiments.quickstart --workdir=runs/quickstart
  python -m experiments.quickstart --workdir=runs/digits_mlp \
      --flagfile=experiments/flagfiles/digits_mlp.flags

Trains 2,000 logistic regressions on random halves of 1,500 digits, fits one
sparse linear datamodel to each of 297 test digits, scores it on 500 models it
has not seen, removes training digits and retrains to see whether the
predictions come true, and writes `results.json` and `report.html`. About a
minute on two cores. Safe to kill and run again.
"""

import os
import time

from absl import flags
import numpy as np

from experiments import binary
from experiments import report
from experiments import training_flags
from experiments import workdir as workdir_lib
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import evaluation as evaluation_lib
from jdm import provenance
from jdm import recipe as recipe_lib
from jdm.applications import counterfactuals as counterfactuals_lib
from jdm.reports import page
from jdm.reports import plots

_NUM_MODELS = flags.DEFINE_integer('num_models', 2000, 'Fit and validation.')
_NUM_VAL = flags.DEFINE_integer(
    'num_val', None, 'Of these, validation; a fifth.'
)
_NUM_HELDOUT = flags.DEFINE_integer('num_heldout', 500, 'Held-out models.')
_CHUNK = flags.DEFINE_integer('chunk', 256, 'Rows written at once.')
_NUM_TARGETS = flags.DEFINE_integer('num_targets', 60, 'In counterfactuals.')
_REPLICATES = flags.DEFINE_integer('replicates', 4, 'Of each counterfactual.')
_SHOWN = flags.DEFINE_integer('num_shown', 6, 'Targets shown in the report.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the cost and stops.')


class _Stopwatch:
  """Seconds of each stage."""

  def __init__(self):
    self.seconds: dict[str, float] = {}
    self._last = time.perf_counter()

  def lap(self, stage: str) -> None:
    now = time.perf_counter()
    self.seconds[stage] = now - self._last
    self._last = now


def main(workdir: str) -> None:
  """Runs the tour."""
  watch = _Stopwatch()
  recipe = training_flags.recipe()
  outcome = _checked_outcome(recipe)
  dataset = recipe_lib.load_dataset(recipe)
  pool = recipe_lib.build(recipe, dataset=dataset)
  store_path = os.path.join(workdir, 'store')
  cost = binary.print_estimate(pool, store_path, _NUM_MODELS.value)
  if cost is not None:
    _print_rest(pool, cost)
  if _DRY_RUN.value:
    return
  store = collection.collect(
      pool,
      store_path,
      num_models=_NUM_MODELS.value,
      chunk=_CHUNK.value,
      progress=binary.Progress('training the pool'),
  )
  watch.lap('train the pool')
  rows = store.completed()[: _NUM_MODELS.value]
  fitted = workdir_lib.fit(
      store,
      rows,
      outcome=outcome,
      num_val=_NUM_VAL.value,
      progress=binary.Progress('fitting', 'target'),
  )
  datamodels_path = os.path.join(workdir, 'datamodels_lasso_test.npz')
  datamodels_lib.save(datamodels_path, fitted)
  watch.lap('fit the datamodels')
  stores = workdir_lib.collect_heldout(workdir, pool, _NUM_HELDOUT.value, 2)
  masks, outcomes, ids = workdir_lib.read_heldout(
      stores, outcome, _NUM_HELDOUT.value
  )
  evaluation = evaluation_lib.evaluate(fitted, masks, outcomes, heldout_ids=ids)
  watch.lap('train and score held-out models')
  shown = page.choose_targets(
      evaluation.outcomes, dataset.test.labels, count=_SHOWN.value
  )
  effects = _counterfactuals(store, fitted, shown)
  watch.lap('check by retraining')
  _write(workdir, pool, dataset, fitted, evaluation, effects, shown, watch)


def _checked_outcome(recipe: recipe_lib.Recipe) -> str:
  """The outcome of the tour; raises now what would fail after training."""
  for flag, number in (
      (_NUM_MODELS, workdir_lib.FEWEST_MODELS),
      (_NUM_HELDOUT, 3),
      (_NUM_TARGETS, 1),
      (_REPLICATES, 1),
      (_SHOWN, 1),
  ):
    if flag.value < number:
      raise ValueError(
          f'--{flag.name} must be {number} or more, got {flag.value}'
      )
  most = _NUM_MODELS.value - 2
  if _NUM_VAL.value is not None and not 1 <= _NUM_VAL.value <= most:
    raise ValueError(
        f'--num_val must leave two models or more to fit: from 1 to {most}, got'
        f' {_NUM_VAL.value}'
    )
  if 'test' not in recipe.targets:
    raise ValueError(
        'the tour is about test targets: --targets=test or test,train, got'
        f' {",".join(recipe.targets)}; experiments.fit_datamodels takes others'
    )
  outcomes = workdir_lib.regressed(recipe.outcomes)
  if not outcomes:
    raise ValueError(
        'the tour needs an outcome with one number a target, such as'
        f' --outcomes=soft_margin, got {",".join(recipe.outcomes)}'
    )
  return outcomes[0]


def _print_rest(pool: recipe_lib.Pool, cost: collection.Estimate) -> None:
  """Prints what comes after the pool, by the rate of the pool."""
  num_train = pool.trainer.num_train
  sizes = counterfactuals_lib.default_sizes(num_train)
  kinds = len(counterfactuals_lib.KINDS)
  heldout = 2 * _NUM_HELDOUT.value
  retrained = kinds * len(sizes) * _NUM_TARGETS.value * _REPLICATES.value
  # Subsets of nearly everything take as many more steps.
  longer = num_train / max(float(pool.masks(np.arange(1)).sum()), 1.0)
  rate = cost.seconds / max(cost.num_models, 1)
  seconds = rate * (heldout + longer * retrained)
  print(
      f'then {heldout} held-out trainings and {retrained} retrainings, about'
      f' {seconds:.0f} s, and the fit'
  )


def _counterfactuals(store, fitted, shown):
  """Removes examples for the targets that are shown and some random ones."""
  others = counterfactuals_lib.random_targets(
      fitted.num_targets, fitted.num_targets
  )
  rng = np.random.default_rng(0)
  others = rng.permutation(np.setdiff1d(others, shown))
  targets = np.concatenate([shown, others])[: _NUM_TARGETS.value]
  return counterfactuals_lib.counterfactuals(
      fitted,
      sizes=counterfactuals_lib.default_sizes(fitted.num_train),
      target_ids=targets,
      retrain=collection.retrainer(
          store,
          outcome=fitted.outcome,
          progress=binary.Progress('retraining'),
      ),
      replicates=_REPLICATES.value,
  )


def _write(
    workdir, pool, dataset, fitted, evaluation, effects, shown, watch
) -> None:
  """Writes results, pictures and the report."""
  agreement = effects.agreement
  results = {
      **evaluation.to_json(),
      'num_fit': len(fitted.fit_ids),
      'num_val': len(fitted.val_ids),
      'counterfactual_spearman': agreement['helpful'].spearman,
      'counterfactual_agreement': {
          kind: value.__dict__ for kind, value in agreement.items()
      },
      'num_retrained': effects.num_retrained,
      'max_gap': float(np.max(fitted.gap)),
      'seconds': sum(watch.seconds.values()),
      'cpu_seconds': time.process_time(),
      'stage_seconds': watch.seconds,
      'recipe': dict(pool.description),
  }
  binary.write_json(os.path.join(workdir, 'results.json'), results)
  words = {'outcome': fitted.outcome}
  figures = {
      'counterfactual_curves': plots.counterfactual_curves(effects, **words),
      'counterfactual_scatter': plots.counterfactual_scatter(effects, **words),
  }
  if dataset.test.images is not None:
    figures['examples'] = plots.example_grid(
        dataset,
        fitted,
        shown,
        mean_margins=evaluation.outcomes.mean(axis=0),
    )
  for name, figure in figures.items():
    plots.save(figure, os.path.join(workdir, f'{name}.png'))
  report.write_removals(workdir, effects, fitted.outcome, shown)
  report_path = os.path.join(workdir, 'report.html')
  page.write(
      report_path,
      dataset=dataset,
      datamodels=fitted,
      evaluation=evaluation,
      counterfactuals=effects,
      recipe={**pool.description, **provenance.record()},
      costs=watch.seconds,
      target_ids=shown,
      sections=report.read_sections(workdir),
  )
  _print_summary(str(pool.description['dataset']), results, report_path)


def _print_summary(dataset_name: str, results, report_path: str) -> None:
  """Prints the table at the end."""
  binary.table(
      f'Datamodels of {dataset_name}',
      {
          'LDS': results['lds'],
          '  95 % interval': results['lds_interval'],
          '  noise ceiling': results['noise_ceiling'],
          '  held-out models': results['num_heldout'],
          'models fitted': results['num_fit'],
          'Spearman of counterfactuals': results['counterfactual_spearman'],
          'largest duality gap': results['max_gap'],
          'seconds': results['seconds'],
          'report': report_path,
      },
  )


if __name__ == '__main__':
  binary.run(main)
