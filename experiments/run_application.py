r"""Runs one application of datamodels, checked by retraining.

  python -m experiments.run_application --workdir=runs/mlp \
      --application=counterfactuals

Needs `WORKDIR/store` and `WORKDIR/datamodels_lasso_test.npz` (or
`--datamodels=FILE`); writes `APPLICATION.json` and pictures.
"""

import os

from absl import flags

from experiments import binary
from experiments import workdir as workdir_lib
from jdm import applications
from jdm import collection
from jdm import store as store_lib
from jdm.applications import counterfactuals as counterfactuals_lib
from jdm.reports import plots

_APPLICATION = flags.DEFINE_enum(
    'application', None, sorted(applications.APPLICATIONS), 'Which one.'
)
_DATAMODELS = flags.DEFINE_string(
    'datamodels', None, 'File; by default WORKDIR/datamodels_lasso_test.npz.'
)
_NUM_TARGETS = flags.DEFINE_integer('num_targets', 60, 'Targets, at random.')
_SIZES = flags.DEFINE_list(
    'sizes', None, 'Examples to remove; by default up to a fifth of all.'
)
_REPLICATES = flags.DEFINE_integer('replicates', 4, 'Retrainings of each.')
_APPLICATION_SEED = flags.DEFINE_integer(
    'application_seed', 0, 'Of random choices.'
)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the cost and stops.')


def main(workdir: str) -> None:
  """Runs the application that is asked for."""
  if _APPLICATION.value is None:
    raise ValueError(
        f'--application is required: {sorted(applications.APPLICATIONS)}'
    )
  fitted = workdir_lib.load_datamodels(workdir, _DATAMODELS.value)
  store = store_lib.OutcomeStore.open(os.path.join(workdir, 'store'))
  _COMMANDS[_APPLICATION.value](workdir, fitted, store)


def _counterfactuals(workdir, fitted, store) -> None:
  sizes = counterfactuals_lib.default_sizes(fitted.num_train)
  if _SIZES.value:
    if not all(size.isdigit() for size in _SIZES.value):
      raise ValueError(f'--sizes is a list of numbers, got {_SIZES.value}')
    sizes = [int(size) for size in _SIZES.value]
  if _NUM_TARGETS.value < 1:
    raise ValueError(
        f'--num_targets must be positive, got {_NUM_TARGETS.value}'
    )
  targets = counterfactuals_lib.random_targets(
      fitted.num_targets, _NUM_TARGETS.value, _APPLICATION_SEED.value
  )
  num_masks = len(counterfactuals_lib.KINDS) * len(sizes) * len(targets)
  print(f'{num_masks} counterfactuals, each trained {_REPLICATES.value} times')
  if _DRY_RUN.value:
    pool = collection.pool_of(store)
    print(
        collection.estimate(pool, num_models=num_masks * _REPLICATES.value),
        '(at the size of the subsets of the pool)',
    )
    return
  result = counterfactuals_lib.counterfactuals(
      fitted,
      sizes=sizes,
      target_ids=targets,
      retrain=collection.retrainer(
          store,
          outcome=fitted.outcome,
          progress=binary.Progress('retraining'),
      ),
      replicates=_REPLICATES.value,
      seed=_APPLICATION_SEED.value,
  )
  binary.write_json(
      os.path.join(workdir, 'counterfactuals.json'), result.to_json()
  )
  words = {'outcome': fitted.outcome}
  for name, figure in (
      ('counterfactual_curves', plots.counterfactual_curves(result, **words)),
      ('counterfactual_scatter', plots.counterfactual_scatter(result, **words)),
  ):
    plots.save(figure, os.path.join(workdir, f'{name}.png'))
  binary.table(
      f'Counterfactuals of {len(targets)} targets, {result.num_retrained}'
      ' retrainings: agreement of predicted and observed change',
      {
          kind: (
              f'Spearman {a.spearman:.3f} (ceiling {a.ceiling:.3f}), Pearson'
              f' {a.pearson:.3f}, slope {a.slope:.2f}, MSE {a.mse:.3g}'
          )
          for kind, a in result.agreement.items()
      },
  )


_COMMANDS = {'counterfactuals': _counterfactuals}


if __name__ == '__main__':
  binary.run(main)
