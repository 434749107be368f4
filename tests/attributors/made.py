"""Small trained models for the tests of attributors."""

import functools

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm import subsets
from jdm.attributors import trained as trained_lib
from jdm.outcomes import soft_margin
from jdm.training import sgd


@functools.cache
def blobs(num_train=60, num_targets=8, num_features=5, num_classes=3):
  """Overlapping classes: inputs, labels, and those of targets."""
  generator = np.random.default_rng(0)
  centres = generator.normal(size=(num_classes, num_features))
  labels = generator.integers(0, num_classes, num_train + num_targets)
  noise = generator.normal(size=(len(labels), num_features))
  inputs = (centres[labels] + noise).astype(np.float32)
  labels = labels.astype(np.int32)
  return (
      inputs[:num_train],
      labels[:num_train],
      inputs[num_train:],
      labels[num_train:],
  )


@functools.cache
def model(name='mlp', activation='gelu'):
  """A model of the blobs; the same object at each call."""
  options = {'hidden': (6,), 'activation': activation} if name == 'mlp' else {}
  return models.make(name, (5,), 3, **options)


@functools.cache
def trained(name='mlp', num_models=4, activation='gelu'):
  """Models of random halves of the blobs."""
  inputs, labels, target_inputs, target_labels = blobs()
  config = sgd.Config(epochs=3, batch_size=10, learning_rate=0.2)
  own = model(name, activation)
  key = jax.random.key(0)
  masks = np.array(subsets.fixed_size(key, np.arange(num_models), 60, 0.5))
  keys = jax.vmap(lambda i: subsets.training_key(key, i))(np.arange(num_models))
  ids, sizes = subsets.to_indices(masks, 30)

  @jax.jit
  @jax.vmap
  def fit(key, ids, size):
    data = jnp.asarray(inputs), jnp.asarray(labels)
    params, _ = sgd.fit_one(own, config, key, ids, size, *data)
    return flatten_util.ravel_pytree(params)[0]

  return trained_lib.Trained(
      model=own,
      parameters=np.asarray(fit(keys, ids, sizes)),
      masks=masks,
      inputs=inputs,
      labels=labels,
      target_inputs=target_inputs,
      target_labels=target_labels,
      compute=soft_margin.log_odds,
      config=config,
      weight_decay=config.weight_decay,
      keys=np.asarray(jax.random.key_data(keys)),
  )
