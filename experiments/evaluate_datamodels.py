r"""Scores datamodels on held-out models, beside the noise ceiling.

  python -m experiments.evaluate_datamodels --workdir=runs/mlp

Trains what is missing of `--num_heldout` models in `WORKDIR/heldout`, each
`--replicates` times, and writes `evaluation.json`: the linear datamodeling
score (LDS) with its bootstrap interval, the ceiling that the noise of training
puts on it, MSE, R2, Pearson and pooled Spearman.
"""

import os

from absl import flags

from experiments import binary
from experiments import workdir as workdir_lib
from jdm import collection
from jdm import evaluation as evaluation_lib
from jdm import store as store_lib

_NUM_HELDOUT = flags.DEFINE_integer('num_heldout', 500, 'Held-out models.')
_REPLICATES = flags.DEFINE_integer(
    'replicates', 2, 'Trainings of each; the ceiling needs two.'
)
_ENOUGH = 500  # Held-out subsets for a ceiling.
_AVERAGE = flags.DEFINE_bool(
    'average', False, 'Predicts the mean of the replicates, not the first.'
)
_DATAMODELS = flags.DEFINE_string(
    'datamodels', None, 'File; by default WORKDIR/datamodels_lasso_test.npz.'
)


def main(workdir: str) -> None:
  """Evaluates and writes `evaluation.json`."""
  if _NUM_HELDOUT.value < 3 or _REPLICATES.value < 1:
    raise ValueError('--num_heldout must be at least 3, --replicates 1')
  fitted = workdir_lib.load_datamodels(workdir, _DATAMODELS.value)
  store = store_lib.OutcomeStore.open(os.path.join(workdir, 'store'))
  pool = collection.pool_of(store)
  stores = workdir_lib.collect_heldout(
      workdir, pool, _NUM_HELDOUT.value, _REPLICATES.value
  )
  masks, outcomes, ids = workdir_lib.read_heldout(
      stores, fitted.outcome, _NUM_HELDOUT.value
  )
  evaluation = evaluation_lib.evaluate(
      fitted, masks, outcomes, heldout_ids=ids, average=_AVERAGE.value
  )
  result = {
      **evaluation.to_json(),
      'datamodels': _DATAMODELS.value or 'datamodels_lasso_test.npz',
      'regressor': fitted.regressor,
      'outcome': fitted.outcome,
      'replicates': _REPLICATES.value,
      'average': _AVERAGE.value,
  }
  binary.write_json(os.path.join(workdir, 'evaluation.json'), result)
  if len(ids) < _ENOUGH:
    print(f'note: a ceiling from fewer than {_ENOUGH} subsets is rough')
  binary.table('Evaluated on models that no fit has seen', result)


if __name__ == '__main__':
  binary.run(main)
