"""ResNet-9, the network of the datamodels paper on CIFAR-10.

2,274,880 parameters for images of 32 x 32 x 3 and ten classes.

References:
  Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022; the
  network is that of KakaoBrain's torchskeleton.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from jdm.models import convolution as convolution_lib
from jdm.models import model

_LOGIT_SCALE = 0.2
_SMALL_IMAGE = 12  # Below this side, strides leave the last kernel no room.


class ResNet9(nn.Module):
  """Eight convolutions with batch normalization and ReLU, then a dense layer.

  Initial kernels are normal with variance 2 / fan-in, not PyTorch's uniform
  ones; normalization takes their scale away.

  Attributes:
    num_outputs: number of classes, or 1 for regression.
    image_shape: `(height, width, channels)` to which inputs are reshaped.
    width: output channels of the first convolution; others are in proportion.
    stride: of the second convolution, in pixels.
    convolution: 'im2col' or 'lax'; see `convolution.Conv`.
    compute_dtype: 'float32' or 'bfloat16', of everything up to the features.
  """

  num_outputs: int
  image_shape: tuple[int, int, int]
  width: int = 64
  stride: int = 2
  convolution: str = 'im2col'
  compute_dtype: str = 'float32'

  def setup(self):
    """Makes the layers."""

    def layer(multiple: int, *options: int) -> convolution_lib.NormalizedConv:
      return convolution_lib.NormalizedConv(
          multiple * self.width,
          *options,
          convolution=self.convolution,
          compute_dtype=self.compute_dtype,
      )

    self.stem = [layer(1), layer(2, 5, self.stride, 2)]
    self.first_residual = [layer(2), layer(2)]
    self.middle = layer(4)
    self.second_residual = [layer(4), layer(4)]
    self.last = layer(2, 3, 1, 0)
    self.head = nn.Dense(self.num_outputs, use_bias=False)

  def features(self, inputs: jax.Array, train: bool = False) -> jax.Array:
    """Returns the maxima over all positions, `[batch, 2 * width]`, float32."""

    def through(layers, images):
      for layer in layers:
        images = nn.relu(layer(images, train))
      return images

    hidden = convolution_lib.batch_last(inputs, self.image_shape)
    hidden = through(self.stem, hidden)
    hidden = hidden + through(self.first_residual, hidden)
    hidden = through([self.middle], hidden)
    hidden = convolution_lib.max_pool(hidden, 2, 2)
    hidden = hidden + through(self.second_residual, hidden)
    hidden = through([self.last], hidden)
    return convolution_lib.global_max(hidden).T.astype(jnp.float32)

  def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
    """Maps `[batch, ...]` to `[batch, num_outputs]`."""
    return _LOGIT_SCALE * self.head(self.features(inputs, train))


def make(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    image_shape: tuple[int, ...] | None = None,
    width: int = 64,
    convolution: str = 'im2col',
    compute_dtype: str = 'float32',
) -> model.Model:
  """Makes the network for inputs `[batch, *input_shape]`.

  Args:
    input_shape: shape of one input.
    num_outputs: number of classes.
    image_shape: `(height, width)` or `(height, width, channels)`, where inputs
      are flat.
    width: output channels of the first convolution; the paper has 64.
    convolution: 'im2col' or 'lax'; `convolution` says which is faster when.
    compute_dtype: 'bfloat16' is for accelerators: twice as slow on a CPU.

  Raises:
    ValueError: if inputs are not images of 6 pixels a side or more, or on an
      option out of range. Images under 12 pixels are not strided.
  """
  convolution_lib.check_options(convolution, compute_dtype)
  shape = convolution_lib.image_shape('resnet9', input_shape, image_shape)
  if min(shape[:2]) < 6 or width < 1:
    raise ValueError(
        'the resnet9 expects images of at least 6 pixels a side and a width of'
        f' at least 1, got images of shape {shape} and width {width}'
    )
  stride = 1 if min(shape[:2]) < _SMALL_IMAGE else 2
  module = ResNet9(
      num_outputs, shape, width, stride, convolution, compute_dtype
  )
  return model.from_flax(module, jnp.zeros((1, *input_shape)))
