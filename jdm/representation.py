"""What a trained model sees: its penultimate layer, for comparison."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jdm import recipe as recipe_lib
from jdm import subsets
from jdm.training import sgd

# Its own id, below the retrained counterfactuals and above any pool.
_MODEL_ID = recipe_lib.RETRAINED_FIRST_ID - 1


def penultimate(
    pool: recipe_lib.Pool, *, num_models: int = 1
) -> dict[str, np.ndarray]:
  """Trains models on everything and reads their features.

  Args:
    pool: how models are trained; made by `recipe.build`.
    num_models: trainings, whose features are put side by side.

  Returns:
    By split, 'train' and 'test', float32 `[num, num_models * width]`: the
    penultimate layer, or the inputs where the model has no hidden layer.

  Raises:
    ValueError: if the pool was not made from a recipe, or `num_models` is
      below 1.
  """
  if pool.dataset is None:
    raise ValueError(
        '`penultimate` needs a pool made by `recipe.build`, which knows the'
        ' model and the dataset; pass features of your own instead.'
    )
  if num_models < 1:
    raise ValueError(
        f'`penultimate` needs at least one model, got {num_models}.'
    )
  dataset = pool.dataset
  splits = {name: dataset.split(name).inputs for name in ('train', 'test')}
  recipe = recipe_lib.Recipe.from_json(pool.description)
  model = recipe_lib.make_model(recipe, dataset)
  config = recipe.training
  is_linear = recipe.model == 'linear' or not isinstance(config, sgd.Config)
  if model.features is None or is_linear:
    return {n: inputs.reshape(len(inputs), -1) for n, inputs in splits.items()}
  num_train = len(dataset.train)
  key = jax.random.key(pool.seed)
  # Features are evaluated as logits are: in batches.
  reader = dataclasses.replace(
      model,
      apply=lambda params, state, inputs, train: (
          model.features(params, state, inputs),  # pyrefly: ignore
          state,
      ),
  )

  @jax.jit
  def train(own_key, data):
    params, state = sgd.fit_one(
        model,
        config,  # pyrefly: ignore
        own_key,
        jnp.arange(num_train),
        jnp.asarray(num_train),
        jnp.asarray(dataset.train.inputs),
        jnp.asarray(dataset.train.labels),
        image_shape=dataset.image_shape,
    )
    return {n: sgd.evaluate(reader, params, state, x) for n, x in data.items()}

  found: list[dict[str, np.ndarray]] = []
  for number in range(num_models):
    own_key = subsets.training_key(key, _MODEL_ID, number)
    features = train(own_key, jax.tree.map(jnp.asarray, splits))
    found.append({n: np.asarray(value) for n, value in features.items()})
  return {
      name: np.concatenate([features[name] for features in found], axis=1)
      for name in splits
  }
