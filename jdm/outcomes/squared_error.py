"""The squared error of a regression target; lower is better."""

import jax
import jax.numpy as jnp


def squared_error(predictions: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns `[num_targets]` squared errors, in squared label units.

  Args:
    predictions: `[num_targets, 1]`.
    labels: `[num_targets]`, float.
  """
  return jnp.square(predictions[:, 0].astype(jnp.float32) - labels)
