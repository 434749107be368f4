r"""Writes a golden file anew: `python -m tests.golden.regenerate digits_linear`.

The changelog says why a number moved.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np

from jdm import collection
from jdm import datamodels
from jdm import evaluation
from jdm import provenance
from jdm import recipe as recipe_lib
from jdm.regressors import lasso

FOLDER = pathlib.Path(__file__).parent
SEED = 0


def digits_linear() -> dict[str, float]:
  """A small pool from subsets to scores."""
  recipe = recipe_lib.Recipe(
      dataset_options={'num_train': 150, 'num_test': 8}, seed=SEED
  )
  pool = recipe_lib.build(recipe)
  with tempfile.TemporaryDirectory() as folder:
    store = collection.collect(pool, f'{folder}/store', num_models=240)
    heldout = [
        collection.collect(
            recipe_lib.heldout(pool, replicate),
            f'{folder}/heldout{replicate}',
            num_models=60,
        )
        for replicate in range(2)
    ]
    masks, margins = store.read('masks'), store.read('soft_margin')
    fitted = lasso.fit(masks, margins, num_val=48, tol=1e-6)
    heldout_masks = heldout[0].read('masks')
    outcomes = np.stack([store.read('soft_margin') for store in heldout])
  scores = evaluation.evaluate(
      fitted,
      heldout_masks,
      outcomes,
      heldout_ids=np.arange(60) + recipe_lib.HELDOUT_FIRST_ID,
  )
  predicted = np.asarray(datamodels.predict(fitted, heldout_masks))
  return {
      'mask_of_model_7': int(np.flatnonzero(masks[7])[:20].sum()),
      'mean_margin': float(margins.mean()),
      'margin_of_model_0': float(margins[0, 0]),
      'heldout_margin': float(outcomes[0, 0, 0]),
      'replicate_margin': float(outcomes[1, 0, 0]),
      'lam': float(np.mean(fitted.lam)),
      'largest_weight': float(np.max(fitted.weights)),
      'prediction': float(predicted[0, 0]),
      'lds': scores.lds.value,
      'noise_ceiling': scores.noise_ceiling.value,
  }


GOLDEN = {'digits_linear': digits_linear}


def main(names: list[str]) -> None:
  for name in names:
    values = {
        'seed': SEED,
        'versions': provenance.versions(),
        'numbers': GOLDEN[name](),
    }
    path = FOLDER / f'{name}.json'
    path.write_text(json.dumps(values, indent=1) + '\n')
    print(path)


if __name__ == '__main__':
  main(sys.argv[1:])
