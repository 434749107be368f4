"""The log-loss (cross-entropy) of each target; lower is better."""

import jax
import jax.numpy as jnp
import optax


def log_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns `[num_targets]` losses in nats.

  Args:
    logits: `[num_targets, num_classes]`.
    labels: `[num_targets]`, int.
  """
  return optax.softmax_cross_entropy_with_integer_labels(
      logits.astype(jnp.float32), labels
  )
