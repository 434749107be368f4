"""ResNet-18, the network of the datamodels paper on FMoW.

11,689,512 parameters for 1,000 classes, as in torchvision.

References:
  He et al., `Deep residual learning for image recognition
  <https://arxiv.org/abs/1512.03385>`_, 2015.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from jdm.models import convolution as convolution_lib
from jdm.models import model

STEMS = ('large', 'small')


class Block(nn.Module):
  """Two convolutions, and a way around them.

  Attributes:
    channels: of both convolutions.
    stride: of the first, in pixels.
    convolution: 'im2col' or 'lax'.
    compute_dtype: 'float32' or 'bfloat16'.
  """

  channels: int
  stride: int
  convolution: str
  compute_dtype: str

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Maps `[c, height, width, batch]` to `[channels, rows, columns, batch]`."""

    def layer(name: str, *options: int) -> convolution_lib.NormalizedConv:
      return convolution_lib.NormalizedConv(
          self.channels,
          *options,
          convolution=self.convolution,
          compute_dtype=self.compute_dtype,
          name=name,
      )

    hidden = nn.relu(layer('first', 3, self.stride)(images, train))
    hidden = layer('second')(hidden, train)
    if self.stride != 1 or images.shape[0] != self.channels:
      images = layer('around', 1, self.stride, 0)(images, train)
    return nn.relu(hidden + images)


class ResNet18(nn.Module):
  """A stem, four stages of two blocks, the mean over positions, a dense layer.

  Attributes:
    num_outputs: number of classes, or 1 for regression.
    image_shape: `(height, width, channels)` to which inputs are reshaped.
    width: channels of the stem; stages have 1, 2, 4 and 8 times as many.
    stem: 'large', 7 x 7 with stride 2 and a maximum; or 'small', 3 x 3.
    convolution: 'im2col' or 'lax'; see `convolution.Conv`.
    compute_dtype: 'float32' or 'bfloat16', of everything up to the features.
  """

  num_outputs: int
  image_shape: tuple[int, int, int]
  width: int = 64
  stem: str = 'large'
  convolution: str = 'im2col'
  compute_dtype: str = 'float32'

  def setup(self):
    """Makes the layers."""
    how = self.convolution, self.compute_dtype
    options = (7, 2, 3) if self.stem == 'large' else (3, 1, 1)
    self.stem_layer = convolution_lib.NormalizedConv(self.width, *options, *how)
    self.blocks = [
        Block(self.width * 2**stage, stride, *how)
        for stage in range(4)
        for stride in (1 if stage == 0 else 2, 1)
    ]
    self.head = nn.Dense(self.num_outputs)

  def features(self, inputs: jax.Array, train: bool = False) -> jax.Array:
    """Returns the means over all positions, `[batch, 8 * width]`, float32."""
    hidden = convolution_lib.batch_last(inputs, self.image_shape)
    hidden = nn.relu(self.stem_layer(hidden, train))
    if self.stem == 'large':
      hidden = convolution_lib.max_pool(hidden, 3, 2, padding=1)
    for block in self.blocks:
      hidden = block(hidden, train)
    return jnp.mean(hidden.astype(jnp.float32), axis=(1, 2)).T

  def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
    """Maps `[batch, ...]` to `[batch, num_outputs]`."""
    return self.head(self.features(inputs, train))


def make(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    image_shape: tuple[int, ...] | None = None,
    width: int = 64,
    stem: str = 'large',
    convolution: str = 'im2col',
    compute_dtype: str = 'float32',
) -> model.Model:
  """Makes the network for inputs `[batch, *input_shape]`.

  Args:
    input_shape: shape of one input.
    num_outputs: number of classes.
    image_shape: `(height, width)` or `(height, width, channels)`, where inputs
      are flat.
    width: channels of the stem; the original has 64.
    stem: 'large', the original; or 'small', for images such as CIFAR's.
    convolution: 'im2col' or 'lax'; `convolution` says which is faster when.
    compute_dtype: 'bfloat16' is for accelerators: twice as slow on a CPU.

  Raises:
    ValueError: if inputs are not images, or on an option out of range.
  """
  convolution_lib.check_options(convolution, compute_dtype)
  shape = convolution_lib.image_shape('resnet18', input_shape, image_shape)
  if stem not in STEMS or width < 1:
    raise ValueError(
        f'the resnet18 expects a stem of {list(STEMS)} and a width of at least'
        f' 1, got {stem!r} and {width}'
    )
  module = ResNet18(num_outputs, shape, width, stem, convolution, compute_dtype)
  return model.from_flax(module, jnp.zeros((1, *input_shape)))
