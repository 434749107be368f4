"""Makes `small_pool.npz`, the trained pool that `applications_tour` starts from.

  python -m experiments.colabs.make_small_pool

1,400 logistic regressions on random halves of 500 digits, of which 25 have a
wrong label on purpose; margins of 200 test digits and of all 500 training
digits. The same recipe gives the same file, but for the last bits of margins on
another processor. Takes about ten seconds.

The file needs no other code to be read. Its arrays:
  recipe             JSON, for `jdm.recipe.Recipe.from_json`
  masks              packed bits of `[1400, 500]`: `numpy.unpackbits(...,
                     axis=1, count=500)` is 1 where a model trained on an example
  margin             float16 `[1400, 200]`, logit of the label minus the highest
                     other one, of test digits; correct where positive
  margin_train       float16 `[1400, 500]`, the same of training digits
  labels_train, labels_test, images_train, images_test
  mislabels          rows of training digits with a wrong label
"""

import json
import os
import pathlib
from typing import Any

import jax
import numpy as np

from jdm import recipe as recipe_lib

NUM_MODELS = 1400
PATH = pathlib.Path(__file__).resolve().parent / 'small_pool.npz'


def recipe() -> recipe_lib.Recipe:
  """What the pool is made by."""
  return recipe_lib.Recipe(
      dataset='planted',
      dataset_options={
          'base': 'digits',
          'plant': 'mislabels',
          'count': 25,
          'num_train': 500,
          'num_test': 200,
      },
      model='linear',
      outcomes=('margin',),
      targets=('test', 'train'),
      dtype='float16',
  )


def make(num_models: int = NUM_MODELS) -> dict[str, Any]:
  """Trains the first models of the pool; arrays as they lie in the file."""
  own = recipe()
  data = recipe_lib.load_dataset(own)
  pool = recipe_lib.build(own, dataset=data)
  rows = np.arange(num_models)
  masks = pool.masks(rows)
  outcomes = pool.trainer.train(jax.random.key(pool.seed), rows, masks)
  assert data.planted is not None
  return {
      'recipe': np.array(json.dumps(dict(pool.description), sort_keys=True)),
      'masks': np.packbits(masks, axis=1),
      'margin': np.asarray(outcomes['margin'], np.float16),
      'margin_train': np.asarray(outcomes['margin_train'], np.float16),
      'labels_train': data.train.labels.astype(np.uint8),
      'labels_test': data.test.labels.astype(np.uint8),
      'images_train': data.train.images,
      'images_test': data.test.images,
      'mislabels': data.planted.mislabels.astype(np.int16),
  }


def main() -> None:
  """Writes the file."""
  temporary = PATH.with_suffix('.part.npz')
  np.savez_compressed(temporary, **make())
  os.replace(temporary, PATH)
  print(f'{PATH}: {PATH.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
  main()
