"""Whether the prediction is right: 1 or 0.

The output of Feldman and Zhang (2020), section 1. A tie counts as right when
the correct class comes first.
"""

import jax
import jax.numpy as jnp


def correctness(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns `[num_targets]`, 1.0 where the highest logit is the label's.

  NaN where a logit is not finite: the model has diverged.

  Args:
    logits: `[num_targets, num_classes]`.
    labels: `[num_targets]`, int.
  """
  right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
  # Of a diverged model, argmax would make a number that looks sound.
  return jnp.where(jnp.isfinite(logits).all(axis=-1), right, jnp.nan)
