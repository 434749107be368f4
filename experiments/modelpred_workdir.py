"""What a ModelPred working directory holds: points, labels, predictors."""

import dataclasses
import os

import numpy as np

from jdm import recipe as recipe_lib
from jdm import store as store_lib
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import points as points_lib
from jdm.training import exact

_VAL_SHARE = 0.2
_PREFIX = 'predictor_'
_PREFIXES = 'permutation_prefixes'


def predictor_path(workdir: str, name: str) -> str:
  """The folder of a predictor."""
  return os.path.join(workdir, _PREFIX + name)


def predictor_names(workdir: str) -> list[str]:
  """Names of the predictors there, in order."""
  return sorted(
      entry.removeprefix(_PREFIX)
      for entry in os.listdir(workdir)
      if entry.startswith(_PREFIX)
  )


def points(pool: recipe_lib.Pool) -> points_lib.Pool:
  """The points that sets are made of, and their objective."""
  dataset = pool.dataset
  assert dataset is not None  # Made from a recipe.
  own = recipe_lib.make_objective(
      recipe_lib.Recipe.from_json(pool.description), dataset
  )
  inputs = dataset.train.inputs.reshape(len(dataset.train), -1)
  return points_lib.Pool(
      objective=own,
      inputs=inputs.astype(np.float64),
      labels=np.asarray(dataset.train.labels),
  )


def read_labels(store: store_lib.OutcomeStore) -> labels_lib.Labels:
  """All labels of a store, prefixes of a permutation as one group."""
  rows = store.completed()
  groups = None
  if store.recipe['sampler'] == _PREFIXES:
    ids = rows + store.recipe['first_id']
    step = store.recipe['sampler_options'].get('step', 1)
    groups = labels_lib.prefix_groups(ids, store.num_train, step)
  return labels_lib.make(
      store.read('masks', rows),
      store.read('parameters', rows),
      gradient_norm=store.read(exact.GRADIENT_NORM, rows),
      groups=groups,
  )


def split(
    labels: labels_lib.Labels,
) -> tuple[labels_lib.Labels, labels_lib.Labels]:
  """Labels to learn from, and those that choose when to stop."""
  train, val = labels_lib.split(labels, (1 - _VAL_SHARE, _VAL_SHARE))
  return train, val


def heldout(pool: recipe_lib.Pool) -> recipe_lib.Pool:
  """Sets drawn as those of the pool, at ids that no fit may use.

  Consecutive prefixes are of one or two permutations and say little; a subset
  of uniform size is a prefix of a permutation of its own.
  """
  recipe = recipe_lib.Recipe.from_json(pool.description)
  if recipe.sampler != _PREFIXES:
    return recipe_lib.heldout(pool)
  recipe = dataclasses.replace(
      recipe,
      sampler='uniform_size',
      sampler_options={'min_size': recipe.sampler_options.get('step', 1)},
      first_id=recipe_lib.HELDOUT_FIRST_ID,
  )
  return recipe_lib.build(recipe, dataset=pool.dataset)


def deletion(pool: recipe_lib.Pool) -> recipe_lib.Pool:
  """Sets of half of all points or more, at ids of their own."""
  num_train = pool.trainer.num_train
  recipe = recipe_lib.Recipe.from_json(pool.description)
  recipe = dataclasses.replace(
      recipe,
      sampler='uniform_size',
      sampler_options={
          'min_size': num_train // 2,
          'max_size': num_train - 1,
      },
      first_id=recipe_lib.HELDOUT_FIRST_ID + 2**29,
  )
  return recipe_lib.build(recipe, dataset=pool.dataset)
