"""The soft margin: correct logit minus logsumexp of the others.

Equal to log(p / (1 - p)), p the probability of the correct class; the output
of Park et al., TRAK (2023), section 3. Smooth, and never above the hard margin.
"""

import jax
import jax.numpy as jnp


def soft_margin(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns `[num_targets]` log odds of the correct class, in logits.

  Args:
    logits: `[num_targets, num_classes]`.
    labels: `[num_targets]`, int.
  """
  return log_odds(logits.astype(jnp.float32), labels)


def log_odds(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """The same in the precision of the logits, for derivatives in float64."""
  correct = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
  own = jnp.sum(jnp.where(correct, logits, 0.0), axis=-1)
  others = jnp.where(correct, -jnp.inf, logits)
  return own - jax.nn.logsumexp(others, axis=-1)
