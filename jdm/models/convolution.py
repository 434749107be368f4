"""What convolutional networks are made of; images are batch-last.

Images are `[channels, height, width, batch]`, as dense layers have the batch
last: whatever the kernel and the stride, a copy then runs along the batch, and
products have long rows however few the channels.

Two formulations, 'im2col' (patches and one matrix product) and 'lax'
(`lax.conv`, which runs as a grouped convolution under vmap, where each model has
its own kernel). Times of a training step on a CPU, in the loop over steps that
training is, lax over im2col: 20 for the cnn on 28 x 28 pixels, 24 for resnet9
on 32 x 32 pixels (of width 16) alone and 27 in a group of four; outside of a
loop, where XLA has another convolution, 0.9. `--convolution=auto` times both.
"""

from collections.abc import Iterator

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

CONVOLUTIONS = ('im2col', 'lax')
COMPUTE_DTYPES = ('float32', 'bfloat16')


def check_options(convolution: str, compute_dtype: str) -> None:
  """Checks two options that all convolutional networks have.

  Raises:
    ValueError: on an unknown value.
  """
  for name, value, known in (
      ('convolution', convolution, CONVOLUTIONS),
      ('compute_dtype', compute_dtype, COMPUTE_DTYPES),
  ):
    if value not in known:
      raise ValueError(
          f'{name} of a model is one of {list(known)}, got {value!r}'
      )


def image_shape(
    who: str, input_shape: tuple[int, ...], shape: tuple[int, ...] | None
) -> tuple[int, int, int]:
  """The shape `(height, width, channels)` of the images that inputs are.

  Args:
    who: the model, for the error.
    input_shape: shape of one input.
    shape: `(height, width)` or `(height, width, channels)`, where inputs are
      flattened images.

  Raises:
    ValueError: if inputs are not images.
  """
  shape = tuple(shape or input_shape)
  shape = (*shape, 1) if len(shape) == 2 else shape
  if len(shape) != 3:
    raise ValueError(
        f'the {who} expects images [height, width(, channels)], got inputs of'
        f' shape {input_shape}; choose --model=mlp for tables.'
    )
  return shape


def batch_last(inputs: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
  """Turns inputs `[batch, ...]` into images `[channels, height, width, batch]`.

  Args:
    inputs: images, flat or not.
    shape: `(height, width, channels)` of an image.
  """
  return jnp.transpose(jnp.reshape(inputs, (-1, *shape)), (3, 1, 2, 0))


def patches(images: jax.Array, size: int, stride: int) -> jax.Array:
  """Cuts square patches, without padding.

  Args:
    images: `[channels, height, width, batch]`.
    size: side of a patch in pixels.
    stride: distance between patches in pixels.

  Returns:
    `[size * size * channels, rows, columns, batch]`.
  """
  return jnp.concatenate(list(_shifted(images, size, stride)), axis=0)


def max_pool(
    images: jax.Array, size: int, stride: int, padding: int = 0
) -> jax.Array:
  """Takes the maximum of each square, channel by channel.

  Of pixels that tie, the first has the gradient, as in PyTorch. The gradient of
  `lax.reduce_window` is the same and slow on a CPU.

  Args:
    images: `[channels, height, width, batch]`.
    size: side of a square in pixels.
    stride: distance between squares in pixels.
    padding: pixels added on each side, which are never the maximum.
  """
  around = (padding, padding)
  images = jnp.pad(
      images, ((0, 0), around, around, (0, 0)), constant_values=-jnp.inf
  )
  highest, *others = _shifted(images, size, stride)
  for other in others:
    # Not `jnp.maximum`: its gradient asks which operand equals the maximum, and
    # XLA may compute the operand anew, to other last bits than the maximum's;
    # then nothing is equal and the gradient is lost.
    highest = jnp.where(other > highest, other, highest)
  return highest


def global_max(images: jax.Array) -> jax.Array:
  """The maxima over positions: `[channels, batch]`; see `max_pool`."""
  flat = images.reshape(images.shape[0], -1, images.shape[-1])
  place = jnp.argmax(flat, axis=1, keepdims=True)
  is_highest = jnp.arange(flat.shape[1])[None, :, None] == place
  return jnp.sum(jnp.where(is_highest, flat, 0), axis=1)


def _shifted(images: jax.Array, size: int, stride: int) -> Iterator[jax.Array]:
  """For each place in a square, the images of the pixels at that place."""
  height, width = images.shape[1:3]
  rows, columns = ((side - size) // stride + 1 for side in (height, width))
  grids = _grids(images, stride)
  for row in range(size):
    for column in range(size):
      grid = grids[row % stride][column % stride]
      above, left = row // stride, column // stride
      yield grid[:, above : above + rows, left : left + columns]


def _grids(images: jax.Array, stride: int) -> list[list[jax.Array]]:
  """Each stride-th row and column, by the first of them.

  They are split, not sliced: the gradient of a split is a concatenation, that
  of slices with a stride a sum of padded arrays, 13 times as slow on a CPU.
  """
  if stride == 1:
    return [[images]]
  channels, height, width, batch = images.shape
  rows, columns = -(-height // stride), -(-width // stride)
  beyond = (0, rows * stride - height), (0, columns * stride - width)
  images = jnp.pad(images, ((0, 0), *beyond, (0, 0)))
  images = images.reshape(channels, rows, stride, columns, stride, batch)
  ones = (1,) * stride
  shape = channels, rows, columns, batch
  return [
      [grid.reshape(shape) for grid in lax.split(line, ones, axis=4)]
      for line in lax.split(images, ones, axis=2)
  ]


class Conv(nn.Module):
  """A square convolution; the same parameters for any formulation.

  Attributes:
    channels: number of output channels.
    size: side of the kernel in pixels.
    stride: distance between positions in pixels.
    padding: zero pixels added on each side.
    use_bias: adds a bias to each output channel.
    convolution: 'im2col', patches and one matrix product; or 'lax',
      `lax.conv_general_dilated`.
    compute_dtype: of products and outputs; parameters are float32. bfloat16 is
      for accelerators: on a CPU it is twice as slow as float32.
  """

  channels: int
  size: int
  stride: int
  padding: int = 0
  use_bias: bool = True
  convolution: str = 'im2col'
  compute_dtype: str = 'float32'

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """Maps `[c, height, width, batch]` to `[channels, rows, columns, batch]`."""
    images = images.astype(self.compute_dtype)
    if self.padding:
      around = (self.padding, self.padding)
      images = jnp.pad(images, ((0, 0), around, around, (0, 0)))
    num_inputs = images.shape[0] * self.size**2
    start = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')
    kernel = self.param('kernel', start, (num_inputs, self.channels))
    kernel = kernel.astype(self.compute_dtype)
    if self.convolution == 'lax':
      found = lax.conv_general_dilated(
          images.transpose(3, 1, 2, 0),  # XLA is slow with others on a CPU.
          kernel.reshape(self.size, self.size, -1, self.channels),
          (self.stride, self.stride),
          'VALID',
          dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      ).transpose(3, 1, 2, 0)
    else:
      cut = patches(images, self.size, self.stride)
      found = kernel.T @ cut.reshape(num_inputs, -1)
      found = found.reshape(self.channels, *cut.shape[1:])
    if not self.use_bias:
      return found
    return found + self._bias()[:, None, None, None]

  def _bias(self) -> jax.Array:
    bias = self.param('bias', nn.initializers.zeros_init(), (self.channels,))
    return bias.astype(self.compute_dtype)


class NormalizedConv(nn.Module):
  """A convolution without bias, then batch normalization.

  Running statistics, the collection 'batch_stats', move by a tenth a step, as
  PyTorch's do. Statistics are float32 whatever the compute dtype.

  Attributes:
    channels: as of `Conv`, like the others.
    size: side of the kernel in pixels.
    stride: distance between positions in pixels.
    padding: zero pixels added on each side.
    convolution: 'im2col' or 'lax'.
    compute_dtype: 'float32' or 'bfloat16'.
  """

  channels: int
  size: int = 3
  stride: int = 1
  padding: int = 1
  convolution: str = 'im2col'
  compute_dtype: str = 'float32'

  def setup(self):
    """Makes the layers."""
    self.conv = Conv(
        self.channels,
        self.size,
        self.stride,
        self.padding,
        use_bias=False,
        convolution=self.convolution,
        compute_dtype=self.compute_dtype,
    )
    self.norm = nn.BatchNorm(
        momentum=0.9, epsilon=1e-5, dtype=jnp.dtype(self.compute_dtype), axis=0
    )

  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Maps `[c, height, width, batch]` to `[channels, rows, columns, batch]`."""
    return self.norm(self.conv(images), use_running_average=not train)
