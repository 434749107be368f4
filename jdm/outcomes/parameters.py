"""The trained parameters as one vector."""

from typing import Any

import jax
from jax import flatten_util


def parameters(params: Any) -> jax.Array:
  """Returns `[num_parameters]`: the leaves in the order of `jax.tree.leaves`."""
  return flatten_util.ravel_pytree(params)[0]
