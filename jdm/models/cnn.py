"""A small convolutional network: two strided convolutions and a dense layer."""

from collections.abc import Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from jdm.models import convolution as convolution_lib
from jdm.models import dense
from jdm.models import model

_SMALL_IMAGE = 12  # Below this side two 2-strided convolutions leave nothing.


class Cnn(nn.Module):
  """Convolutions with ReLU and without padding, then one dense layer.

  Attributes:
    num_outputs: number of classes, or 1 for regression.
    image_shape: `(height, width, channels)` to which inputs are reshaped.
    channels: output channels of each convolution.
    sizes: kernel sides in pixels.
    strides: strides in pixels.
    convolution: 'im2col' or 'lax'; see `convolution.Conv`.
    compute_dtype: 'float32' or 'bfloat16', of everything up to the features.
  """

  num_outputs: int
  image_shape: tuple[int, int, int]
  channels: tuple[int, ...] = (16, 32)
  sizes: tuple[int, ...] = (5, 3)
  strides: tuple[int, ...] = (2, 2)
  convolution: str = 'im2col'
  compute_dtype: str = 'float32'

  def setup(self):
    """Makes the layers."""
    options = zip(self.channels, self.sizes, self.strides)
    self.convolutions = [
        convolution_lib.Conv(
            *option,
            convolution=self.convolution,
            compute_dtype=self.compute_dtype,
        )
        for option in options
    ]
    self.head = nn.Dense(self.num_outputs)

  def features(self, inputs: jax.Array) -> jax.Array:
    """Returns the flattened last convolution, `[batch, num_features]`."""
    hidden = convolution_lib.batch_last(inputs, self.image_shape)
    for convolution in self.convolutions:
      hidden = nn.relu(convolution(hidden))
    # Feature by feature: positions, then channels.
    hidden = jnp.transpose(hidden.astype(jnp.float32), (1, 2, 0, 3))
    return dense.batch_first(hidden)

  def __call__(self, inputs: jax.Array) -> jax.Array:
    """Maps `[batch, ...]` to `[batch, num_outputs]`."""
    return self.head(self.features(inputs))


def make(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    image_shape: tuple[int, ...] | None = None,
    channels: Sequence[int] = (16, 32),
    sizes: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    convolution: str = 'im2col',
    compute_dtype: str = 'float32',
) -> model.Model:
  """Makes the network for inputs `[batch, *input_shape]`.

  Args:
    input_shape: shape of one input.
    num_outputs: number of classes.
    image_shape: `(height, width)` or `(height, width, channels)`, where inputs
      are flat.
    channels: output channels of each convolution.
    sizes: kernel sides; by default 5, 3, 3, ..., or all 3 for small images.
    strides: strides; by default all 2, or 1, 2, 2, ... for small images.
    convolution: 'im2col' (20 times faster on a CPU) or 'lax'.
    compute_dtype: 'bfloat16' is for accelerators: twice as slow on a CPU.

  Returns:
    The model.

  Raises:
    ValueError: if inputs are not images, or too small for the kernels, or if
      there is not one size and one stride for each entry of `channels`, or on
      an unknown option.
  """
  convolution_lib.check_options(convolution, compute_dtype)
  shape = convolution_lib.image_shape('cnn', input_shape, image_shape)
  small = min(shape[:2]) < _SMALL_IMAGE
  others = len(channels) - 1
  sizes = tuple(sizes or (3 if small else 5, *[3] * others))
  strides = tuple(strides or (1 if small else 2, *[2] * others))
  if not len(channels) == len(sizes) == len(strides):
    raise ValueError(
        'the cnn expects one size and one stride a convolution, got'
        f' {len(channels)} channels, {len(sizes)} sizes and {len(strides)}'
        ' strides.'
    )
  side = min(shape[:2])
  for size, stride in zip(sizes, strides):
    if side < size:
      raise ValueError(
          f'the cnn cannot apply kernels {sizes} with strides {strides} to'
          f' images of shape {shape}; pass smaller sizes or --model=mlp.'
      )
    side = (side - size) // stride + 1
  module = Cnn(
      num_outputs,
      shape,
      tuple(channels),
      sizes,
      strides,
      convolution,
      compute_dtype,
  )
  return model.from_flax(module, jnp.zeros((1, *input_shape)))
