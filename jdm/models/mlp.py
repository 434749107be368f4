"""A multilayer perceptron with ReLU."""

from collections.abc import Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from jdm.models import dense
from jdm.models import model


class Mlp(nn.Module):
  """Dense layers with ReLU between them, on flattened inputs.

  Attributes:
    num_outputs: number of classes, or 1 for regression.
    hidden: widths of the hidden layers.
  """

  num_outputs: int
  hidden: tuple[int, ...] = (64,)

  def setup(self):
    """Makes the layers."""
    self.trunk = [dense.BatchLastDense(width) for width in self.hidden]
    self.head = dense.BatchLastDense(self.num_outputs)

  def _hidden(self, inputs: jax.Array) -> jax.Array:
    hidden = dense.batch_last(inputs)
    for layer in self.trunk:
      hidden = nn.relu(layer(hidden))
    return hidden

  def __call__(self, inputs: jax.Array) -> jax.Array:
    """Maps `[batch, ...]` to `[batch, num_outputs]`."""
    return self.head(self._hidden(inputs)).T

  def features(self, inputs: jax.Array) -> jax.Array:
    """Returns the last hidden layer, `[batch, hidden[-1]]`."""
    return self._hidden(inputs).T


def make(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    hidden: Sequence[int] = (64,),
) -> model.Model:
  """Makes the perceptron for inputs `[batch, *input_shape]`."""
  module = Mlp(num_outputs, tuple(hidden))
  return model.from_flax(module, jnp.zeros((1, *input_shape)))
