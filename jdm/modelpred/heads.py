"""Between what a network puts out and parameters: raw, or whitened low rank."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

HEADS = ('raw', 'whitened')
_SHARE = 0.9999  # Of the variance of parameters that a whitened head keeps.


class Head(NamedTuple):
  """An affine map from outputs of a network to parameters.

  Attributes:
    mean: `[num_parameters]`.
    basis: `[num_outputs, num_parameters]`, orthonormal rows.
    scale: `[num_outputs]`, parameters along a row of `basis` for an output of 1.
  """

  mean: jax.Array
  basis: jax.Array
  scale: jax.Array

  @property
  def num_outputs(self) -> int:
    """What the network has to put out."""
    return len(self.scale)

  def to_parameters(self, outputs: jax.Array) -> jax.Array:
    """Parameters `[num_sets, num_parameters]` of outputs."""
    return self.mean[None] + (outputs * self.scale[None]) @ self.basis

  def to_outputs(self, parameters: jax.Array) -> jax.Array:
    """The outputs `[num_sets, num_outputs]` that come nearest to parameters."""
    return (parameters - self.mean[None]) @ self.basis.T / self.scale[None]


def make(kind: str, parameters: Any, share: float = _SHARE) -> Head:
  """Makes a head from the parameters that a network is trained on.

  Args:
    kind: 'raw' puts parameters out as they are, as ModelPred's released code
      does; 'whitened' puts out their principal components, each with variance 1
      over the given parameters.
    parameters: `[num_sets, num_parameters]`, of training sets only.
    share: of the variance that is kept, of a whitened head.

  Raises:
    ValueError: if the kind is unknown, or there are too few parameters.
  """
  if kind not in HEADS:
    raise ValueError(f'heads are {HEADS}, got {kind!r}')
  parameters = np.asarray(parameters, np.float64)
  num_parameters = parameters.shape[1]
  if kind == 'raw':
    return Head(
        jnp.zeros(num_parameters, jnp.float32),
        jnp.eye(num_parameters, dtype=jnp.float32),
        jnp.ones(num_parameters, jnp.float32),
    )
  if len(parameters) < 2:
    raise ValueError(
        'a whitened head needs the parameters of two sets or more, got'
        f' {len(parameters)}'
    )
  mean = parameters.mean(axis=0)
  _, singular, rows = np.linalg.svd(
      parameters - mean[None], full_matrices=False
  )
  shares = np.cumsum(singular**2) / max(np.sum(singular**2), 1e-300)
  rank = min(int(np.sum(shares < share)) + 1, len(singular))
  scale = singular[:rank] / np.sqrt(len(parameters))
  return Head(
      jnp.asarray(mean, jnp.float32),
      jnp.asarray(rows[:rank], jnp.float32),
      jnp.asarray(np.maximum(scale, 1e-8), jnp.float32),
  )
