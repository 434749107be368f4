r"""Scores datamodels on held-out models, beside the noise ceiling.

  python -m experiments.evaluate_datamodels --workdir=runs/mlp

Trains what is missing of `--num_heldout` models in `WORKDIR/heldout`, each
`--replicates` times, and writes `evaluation.json`: the linear datamodeling
score (LDS) with its bootstrap interval, the ceiling that the noise of training
puts on it, MSE, R2, Pearson and pooled Spearman.

`--targets=train` takes datamodels of train targets and writes
`evaluation_train.json`; each is scored on the held-out models that did not train
on it. The pool must have been collected with
`--targets=test,train` (or have stored what they follow from, such as
`--outcomes=parameters`).
"""

import os

from absl import flags

from experiments import binary
from experiments import workdir as workdir_lib
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import evaluation as evaluation_lib
from jdm import store as store_lib

_NUM_HELDOUT = flags.DEFINE_integer('num_heldout', 500, 'Held-out models.')
_REPLICATES = flags.DEFINE_integer(
    'replicates', 2, 'Trainings of each; the ceiling needs two.'
)
_FILES = {'test': 'evaluation.json', 'train': 'evaluation_train.json'}
_ENOUGH = 500  # Held-out subsets for a ceiling.
_AVERAGE = flags.DEFINE_bool(
    'average', False, 'Predicts the mean of the replicates, not the first.'
)
_DATAMODELS = flags.DEFINE_string(
    'datamodels', None, 'File; by default WORKDIR/datamodels_lasso_TARGETS.npz.'
)
_TARGETS = flags.DEFINE_enum(
    'targets', 'test', ['test', 'train'], 'Of the datamodels.'
)


def main(workdir: str) -> None:
  """Evaluates and writes `evaluation.json`, or that of train targets."""
  if _NUM_HELDOUT.value < 3 or _REPLICATES.value < 1:
    raise ValueError('--num_heldout must be at least 3, --replicates 1')
  fitted = workdir_lib.load_datamodels(
      workdir, _DATAMODELS.value, targets=_TARGETS.value
  )
  store = store_lib.OutcomeStore.open(os.path.join(workdir, 'store'))
  _check_outcome(store, fitted)
  pool = collection.pool_of(store)
  stores = workdir_lib.collect_heldout(
      workdir, pool, _NUM_HELDOUT.value, _REPLICATES.value
  )
  masks, outcomes, ids = workdir_lib.read_heldout(
      stores, fitted.outcome, _NUM_HELDOUT.value
  )
  evaluation = evaluation_lib.evaluate(
      fitted,
      masks,
      outcomes,
      heldout_ids=ids,
      own_ids=datamodels_lib.own_ids(fitted),
      average=_AVERAGE.value,
  )
  result = {
      **evaluation.to_json(),
      'datamodels': _DATAMODELS.value
      or f'datamodels_lasso_{_TARGETS.value}.npz',
      'targets': _TARGETS.value,
      'regressor': fitted.regressor,
      'outcome': fitted.outcome,
      'replicates': _REPLICATES.value,
      'average': _AVERAGE.value,
  }
  binary.write_json(os.path.join(workdir, _FILES[_TARGETS.value]), result)
  if len(ids) < _ENOUGH:
    print(f'note: a ceiling from fewer than {_ENOUGH} subsets is rough')
  binary.table('Evaluated on models that no fit has seen', result)


def _check_outcome(
    store: store_lib.OutcomeStore, fitted: datamodels_lib.Datamodels
) -> None:
  """Raises before any training what reading held-out models would."""
  rows = store.completed()[:1]
  shape = collection.read_outcome(store, fitted.outcome, rows).shape
  if shape[1:] != (fitted.num_targets,):
    raise ValueError(
        f'the datamodels have {fitted.num_targets} targets, and'
        f' {fitted.outcome!r} of {store.path} is {list(shape[1:])} for each'
        ' model'
    )


if __name__ == '__main__':
  binary.run(main, remote=True)
