"""The hard margin: correct logit minus the highest other logit.

Ilyas et al., Datamodels (2022), section 2: the output that datamodels predict.
"""

import jax
import jax.numpy as jnp


def margin(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns `[num_targets]` margins in logits; positive where correct.

  Args:
    logits: `[num_targets, num_classes]`.
    labels: `[num_targets]`, int.
  """
  logits = logits.astype(jnp.float32)
  correct = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
  own = jnp.sum(jnp.where(correct, logits, 0.0), axis=-1)
  return own - jnp.max(jnp.where(correct, -jnp.inf, logits), axis=-1)
