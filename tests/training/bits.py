"""Prints the digests of a few trainings, to compare between processes.

Run as a file, not as a module: `tests` itself asks for two devices.
"""

import hashlib
import json
from typing import Any

import jax
import numpy as np

from jdm import datasets
from jdm import recipe as recipe_lib
from jdm.training import sgd

MODELS: dict[str, dict[str, Any]] = {
    'linear': {},  # Zero initial weights: see `check_vma` in the ensemble.
    'mlp': {'hidden': (16,)},
    'cnn': {'channels': (4, 8)},
}

SOME_DEVICES = (2, 4)  # Of the eight there are.


def outcomes(
    model: str, rows: np.ndarray, num_devices: int | None = None
) -> np.ndarray:
  """The margins of some models: float32 `[num_rows, 20]`."""
  recipe = recipe_lib.Recipe(
      model=model,
      model_options=MODELS[model],
      training=sgd.Config(epochs=2, batch_size=10),
      outcomes=('soft_margin',),
      group=1 if model == 'cnn' else 2,
  )
  dataset = datasets.load('digits', num_train=60, num_test=20)
  devices = jax.devices()[:num_devices]
  pool = recipe_lib.build(recipe, dataset=dataset, devices=devices)
  found = pool.trainer.train(jax.random.key(0), rows, pool.masks(rows))
  return found['soft_margin']


def digest(values: np.ndarray) -> str:
  """A short name of the bits of an array."""
  return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


if __name__ == '__main__':
  found = {name: digest(outcomes(name, np.arange(9))) for name in MODELS}
  for num in SOME_DEVICES:
    found[f'linear on {num}'] = digest(outcomes('linear', np.arange(9), num))
  print(json.dumps({'num_devices': jax.device_count(), **found}))
