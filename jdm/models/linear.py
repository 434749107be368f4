"""Logistic regression (softmax), or linear regression with one output."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from jdm.models import dense
from jdm.models import model


class Linear(nn.Module):
  """One dense layer on flattened inputs.

  Attributes:
    num_outputs: number of classes, or 1 for regression.
    random_init: starts from random instead of zero weights. Random weights are
      most of the noise of an under-trained linear model.
  """

  num_outputs: int
  random_init: bool = False

  @nn.compact
  def __call__(self, inputs: jax.Array) -> jax.Array:
    """Maps `[batch, ...]` to `[batch, num_outputs]`."""
    start = dense.scaled_normal
    if not self.random_init:
      start = nn.initializers.zeros_init()
    layer = dense.BatchLastDense(self.num_outputs, start)
    return layer(dense.batch_last(inputs)).T

  def features(self, inputs: jax.Array) -> jax.Array:
    """The penultimate layer of a linear model is its input."""
    return jnp.reshape(inputs, (inputs.shape[0], -1))


def make(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    random_init: bool = False,
) -> model.Model:
  """Makes the linear model for inputs `[batch, *input_shape]`."""
  module = Linear(num_outputs, random_init)
  return model.from_flax(module, jnp.zeros((1, *input_shape)))
