"""Rebuilds trained models of a pool: from its store, or by training again.

Parameters are read where the store holds them; else the models are trained
again, for a model is a function of (seed, id).
"""

import dataclasses
import functools
from typing import Any

from absl import logging
import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm import outcomes as outcomes_lib
from jdm import provenance
from jdm import recipe as recipe_lib
from jdm import store as store_lib
from jdm import subsets
from jdm.attributors import trained as trained_lib
from jdm.training import ensemble
from jdm.training import exact
from jdm.training import sgd

_NUM_CHECKED = 3  # Rebuilt models whose outcomes are compared with the store's.
# Bits may differ between programs; another training is off by far more.
_TOLERANCE = 0.02


def rebuild(
    store: store_lib.OutcomeStore,
    rows: np.ndarray,
    *,
    outcome: str = 'soft_margin',
    targets: str = 'test',
    epochs: tuple[int, ...] = (),
    pool: recipe_lib.Pool | None = None,
) -> trained_lib.Trained:
  """Reads the models of some rows, or trains them again.

  Args:
    store: of a pool made from a recipe.
    rows: int `[k]`, completed rows.
    outcome: what is attributed; see `outcome_function`.
    targets: 'test' or 'train'; of train targets, `own_ids` say which they are.
    epochs: epochs after which parameters are kept as `checkpoints`, ascending,
      from 1; this trains the models again, whatever is stored.
    pool: the store's pool, if it has been built already.

  Returns:
    The models, in the order of `rows`.

  Raises:
    StoreError: if the models cannot be had: the recipe is a user's own, the
      dataset or its options give other examples, the subsets drawn are others,
      or outcomes of models trained again are not those of the store (other
      versions or another device); the message says which.
    ValueError: if a row is not completed, or an option makes no sense.
  """
  rows = np.asarray(rows)
  missing = np.setdiff1d(rows, store.completed())
  if missing.size or not rows.size:
    raise ValueError(
        f'`rebuild` expects completed rows of {store.path}, got {len(rows)} of'
        f' which {missing.size} are missing or diverged'
    )
  recipe, pool = _checked_pool(store, pool)
  dataset: Any = pool.dataset
  split = dataset.split(targets)
  masks = np.asarray(store.read('masks', rows))
  if not np.array_equal(masks[:8], pool.masks(rows[:8])):
    raise store_lib.StoreError(
        f'models of {store.path} cannot be rebuilt: the subsets that its recipe'
        ' draws here are not those that it holds (another version of jax?)'
    )
  kept = _parameters(store, rows, masks, recipe, pool, epochs)
  model, options = _model_of(recipe, dataset)
  inputs = [dataset.train.inputs, split.inputs]
  if not isinstance(recipe.training, sgd.Config):
    inputs = [array.reshape(len(array), -1) for array in inputs]
  trained = trained_lib.Trained(
      model=model,
      masks=masks,
      inputs=inputs[0],
      labels=dataset.train.labels,
      target_inputs=inputs[1],
      target_labels=split.labels,
      compute=trained_lib.outcome_function(outcome, dataset.num_classes),
      keys=_keys(pool, rows),
      own_ids=np.arange(store.num_train) if targets == 'train' else None,
      **kept,
      **options,
  )
  if 'parameters' not in store.outcomes or epochs:
    _check_outcomes(store, rows, trained, outcome, targets, dataset)
  return trained


def _checked_pool(store, pool) -> tuple[recipe_lib.Recipe, recipe_lib.Pool]:
  """The recipe and the pool of a store, if the data are still the same."""
  try:
    recipe = recipe_lib.Recipe.from_json(store.recipe)
    pool = pool or recipe_lib.build(recipe)
  except (KeyError, TypeError, ValueError) as error:
    raise store_lib.StoreError(
        f'models of {store.path} cannot be rebuilt: it was not made from a'
        f' recipe that can be built here ({error}); make a `Trained` of your'
        ' own parameters and examples'
    ) from error
  lines = store_lib.differences(store.recipe, dict(pool.description))
  lines = [line for line in lines if not line.startswith('group')]
  if lines:
    raise store_lib.StoreError(
        f'models of {store.path} cannot be rebuilt: its recipe builds another'
        ' pool here (other data or options):\n  ' + '\n  '.join(lines)
    )
  return recipe, pool


def _model_of(recipe, dataset) -> tuple[models.Model, dict[str, Any]]:
  """The model, and what `Trained` has to know of its training."""
  config = recipe.training
  if isinstance(config, sgd.Config):
    model = recipe_lib.make_model(recipe, dataset)
    options = {'config': config, 'weight_decay': config.weight_decay}
    return model, options
  own: Any = recipe_lib.make_objective(recipe, dataset)
  size = own.num_parameters
  model = _objective_model(own)
  if isinstance(config, exact.Config):
    return model, {'penalties': own.penalties()}
  return model, {'penalties': np.full(size, config.lam)}


@functools.lru_cache(maxsize=32)
def _objective_model(own) -> models.Model:
  return models.stateless(
      lambda key: jnp.zeros(own.num_parameters),
      lambda flat, inputs: own.logits(flat, exact.columns(inputs)),
  )


def _keys(pool, rows) -> np.ndarray:
  key = jax.random.key(pool.seed)
  ids = jnp.asarray(pool.model_ids(rows))
  replicates = jnp.broadcast_to(jnp.asarray(pool.replicates(rows)), ids.shape)
  own = jax.vmap(lambda i, r: subsets.training_key(key, i, r))(ids, replicates)
  return np.asarray(jax.random.key_data(own))


def _parameters(store, rows, masks, recipe, pool, epochs) -> dict[str, Any]:
  """Parameters, and checkpoints if asked for."""
  if epochs:
    return _checkpoints(rows, masks, recipe, pool, epochs)
  if 'parameters' in store.outcomes:
    return {'parameters': np.asarray(store.read('parameters', rows))}
  changed = dataclasses.replace(recipe, outcomes=('parameters',))
  logging.info('training %d models of %s again', len(rows), store.path)
  trainer = recipe_lib.make_trainer(changed, pool.dataset)
  found = trainer.train(
      jax.random.key(pool.seed),
      pool.model_ids(rows),
      masks,
      pool.replicates(rows),
  )
  return {'parameters': found['parameters']}


def _checkpoints(rows, masks, recipe, pool, epochs) -> dict[str, Any]:
  """Trains again and keeps the parameters after some epochs."""
  config = recipe.training
  if not isinstance(config, sgd.Config):
    raise ValueError(
        'checkpoints are of training by SGD, and this pool was trained by'
        f' {type(config).__module__}'
    )
  steps = np.asarray(epochs)
  if (np.diff(steps) <= 0).any() or not 1 <= steps[0] <= steps[-1]:
    raise ValueError(f'epochs are ascending and from 1, got {list(epochs)}')
  if steps[-1] > config.epochs:
    raise ValueError(
        f'the pool was trained for {config.epochs} epochs, got {list(epochs)}'
    )
  dataset = pool.dataset
  model = recipe_lib.make_model(recipe, dataset)
  outcomes = outcomes_lib.get(['parameters'], dataset.num_classes)
  stages = sgd.make_stages(
      model, config, outcomes, image_shape=dataset.image_shape
  )

  def train_one(key, subset_ids, subset_size, data):
    options = (key, subset_ids, subset_size, data)
    carry = stages.begin(*options)

    def epoch(carry, number):
      carry = stages.advance(carry, number, *options)
      return carry, flatten_util.ravel_pytree(carry[0])[0]

    _, path = jax.lax.scan(epoch, carry, jnp.arange(stages.num_epochs))
    return {'path': path[steps - 1], 'parameters': path[-1]}

  base = recipe_lib.make_trainer(
      dataclasses.replace(recipe, outcomes=('parameters',)), dataset
  )
  trainer = ensemble.Trainer(
      train_one,
      base.data,
      base.num_train,
      base.group,
      min_subset_size=base.min_subset_size,
      exact_sizes=base.exact_sizes,
  )
  found = trainer.train(
      jax.random.key(pool.seed),
      pool.model_ids(rows),
      masks,
      pool.replicates(rows),
  )
  return {
      'parameters': found['parameters'],
      'checkpoints': np.moveaxis(found['path'], 1, 0),
      'rates': _rates(config, masks, steps),
  }


def _rates(config, masks, steps) -> np.ndarray:
  """What one pass over an example moves, summed up to each checkpoint."""
  an_epoch = max(int(np.median(masks.sum(axis=1))) // config.batch_size, 1)
  total = config.epochs * an_epoch
  factors = [
      float(
          sgd.triangular(jnp.asarray(s), jnp.asarray(float(total)), config.peak)
      )
      for s in range(total)
  ]
  a_pass = np.array(factors).reshape(config.epochs, an_epoch).mean(axis=1)
  rates = config.learning_rate * a_pass / config.batch_size
  firsts = np.concatenate([[0], steps[:-1]])
  return np.array([rates[a:b].sum() for a, b in zip(firsts, steps)])


def _check_outcomes(store, rows, trained, outcome, targets, dataset) -> None:
  """Compares what rebuilt models say with what the store holds."""
  names = [outcome, *recipe_lib.Recipe.from_json(store.recipe).outcomes]
  suffix = '' if targets == 'test' else '_train'
  for name in names:
    stored = f'{name}{suffix}'
    if stored in store.outcomes and name not in ('parameters', 'correctness'):
      break
  else:
    return  # Nothing to compare with.
  compute = outcomes_lib.get([name], dataset.num_classes)[name].compute
  some = min(_NUM_CHECKED, len(rows))
  expected = store.read(stored, rows[:some])
  for row in range(some):
    found = compute(
        trained_lib.logits(
            trained.model,
            jnp.asarray(trained.parameters[row]),
            jnp.asarray(trained.target_inputs),
        ),
        jnp.asarray(trained.target_labels),
    )
    error = np.abs(np.asarray(found) - expected[row]).max()
    scale = np.abs(expected[row]).mean() + 1e-6
    if not error <= _TOLERANCE * scale:
      made_by = next(iter(store.provenance()), {})
      raise store_lib.StoreError(
          f'models of {store.path} cannot be rebuilt: model {rows[row]} trained'
          f' again differs from the stored {stored!r} by {error:.3g} (mean size'
          f' {scale:.3g}). Stored by {made_by.get("versions")} on'
          f' {made_by.get("device_kind")}, here {provenance.versions()} on'
          f' {jax.devices()[0].device_kind}; collect with'
          ' --outcomes=...,parameters to keep the models themselves'
      )
