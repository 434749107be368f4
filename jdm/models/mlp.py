"""A multilayer perceptron, with ReLU or a smooth activation."""

from collections.abc import Callable, Mapping, Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from jdm.models import dense
from jdm.models import model

# All but relu are smooth, as derivatives of a whole training want it.
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    'relu': nn.relu,
    'gelu': nn.gelu,
    'silu': nn.silu,
    'tanh': nn.tanh,
}


class Mlp(nn.Module):
  """Dense layers with an activation between them, on flattened inputs.

  Attributes:
    num_outputs: number of classes, or 1 for regression.
    hidden: widths of the hidden layers.
    activation: a key of `ACTIVATIONS`.
  """

  num_outputs: int
  hidden: tuple[int, ...] = (64,)
  activation: str = 'relu'

  def setup(self):
    """Makes the layers."""
    self.trunk = [dense.BatchLastDense(width) for width in self.hidden]
    self.head = dense.BatchLastDense(self.num_outputs)

  def _hidden(self, inputs: jax.Array) -> jax.Array:
    hidden = dense.batch_last(inputs)
    for layer in self.trunk:
      hidden = ACTIVATIONS[self.activation](layer(hidden))
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
    activation: str = 'relu',
) -> model.Model:
  """Makes the perceptron for inputs `[batch, *input_shape]`.

  Args:
    input_shape: shape of one input.
    num_outputs: number of classes, or 1 for regression.
    hidden: widths of the hidden layers.
    activation: a key of `ACTIVATIONS`; all but relu are smooth.

  Raises:
    ValueError: on an unknown activation.
  """
  if activation not in ACTIVATIONS:
    raise ValueError(
        f'activation of the mlp is one of {sorted(ACTIVATIONS)}, got'
        f' {activation!r}'
    )
  module = Mlp(num_outputs, tuple(hidden), activation)
  return model.from_flax(module, jnp.zeros((1, *input_shape)))
