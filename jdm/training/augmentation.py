"""Random changes of images inside the training step, different in each model.

To add one: a function of `(key, images [batch, height, width, channels])`, and
a line in the table below.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
from jax import lax
import jax.numpy as jnp

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]

# Pixels, as in the CIFAR recipe of the datamodels paper.
_MAX_SHIFT = 2
_CUT = 4


def flip(key: jax.Array, images: jax.Array) -> jax.Array:
  """Mirrors each image left to right with chance one half."""
  mirrored = jax.random.bernoulli(key, 0.5, (images.shape[0], 1, 1, 1))
  return jnp.where(mirrored, jnp.flip(images, axis=2), images)


def translate(key: jax.Array, images: jax.Array) -> jax.Array:
  """Shifts each image by up to two pixels each way; edges are repeated."""
  pad = ((0, 0), (_MAX_SHIFT, _MAX_SHIFT), (_MAX_SHIFT, _MAX_SHIFT), (0, 0))
  padded = jnp.pad(images, pad, mode='edge')
  corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * _MAX_SHIFT + 1)

  def cut(image, corner):
    start = (corner[0], corner[1], jnp.zeros_like(corner[0]))
    return lax.dynamic_slice(image, start, images.shape[1:])

  return jax.vmap(cut)(padded, corners)


def cutout(key: jax.Array, images: jax.Array) -> jax.Array:
  """Sets a square of four pixels a side, somewhere in each image, to 0.

  0 is the mean pixel, since inputs are normalized. The square lies within the
  image; an image that is smaller loses everything.
  """
  height, width = images.shape[1:3]
  places = jnp.array([[max(side - _CUT, 0) + 1 for side in (height, width)]])
  corners = jax.random.randint(key, (images.shape[0], 2), 0, places)

  def is_cut(axis: int) -> jax.Array:
    start = corners[:, axis, None]
    position = jnp.arange(images.shape[1 + axis])[None]
    return (position >= start) & (position < start + _CUT)

  cut = is_cut(0)[:, :, None, None] & is_cut(1)[:, None, :, None]
  return jnp.where(cut, jnp.zeros((), images.dtype), images)


AUGMENTATIONS: Mapping[str, Augmentation] = {
    'flip': flip,
    'translate': translate,
    'cutout': cutout,
}

TEST_AUGMENTATIONS = ('none', 'flip')


def make(
    names: Sequence[str],
    input_shape: tuple[int, ...],
    image_shape: tuple[int, ...] | None,
) -> Augmentation:
  """Chains the named augmentations, in the order given.

  Args:
    names: keys of `AUGMENTATIONS`.
    input_shape: shape of one input.
    image_shape: shape of one image, where inputs are flattened images.

  Returns:
    A function of `(key, inputs [batch, *input_shape])`.

  Raises:
    ValueError: on an unknown name, or inputs that are not images.
  """
  unknown = sorted(set(names) - set(AUGMENTATIONS))
  if unknown:
    raise ValueError(
        f'no augmentation is called {unknown}; known augmentations:'
        f' {sorted(AUGMENTATIONS)}'
    )
  if not names:
    return lambda key, inputs: inputs
  shape = _image_shape(names, input_shape, image_shape)

  def augment(key: jax.Array, inputs: jax.Array) -> jax.Array:
    images = inputs.reshape(-1, *shape)
    for number, name in enumerate(names):
      images = AUGMENTATIONS[name](jax.random.fold_in(key, number), images)
    return images.reshape(inputs.shape)

  return augment


def views(
    name: str,
    inputs: jax.Array,
    image_shape: tuple[int, ...] | None = None,
) -> list[jax.Array]:
  """The forms of some images whose logits are averaged at test time.

  Args:
    name: 'none', the images alone; or 'flip', with their mirror images, left
      to right. (The datamodels paper's code reverses the colour channels.)
    inputs: `[num, ...]`.
    image_shape: shape of one image, where inputs are flattened images.

  Returns:
    Arrays of the shape of `inputs`.

  Raises:
    ValueError: on an unknown name, or inputs that are not images.
  """
  if name not in TEST_AUGMENTATIONS:
    raise ValueError(
        f'test_augmentation is one of {list(TEST_AUGMENTATIONS)}, got {name!r}'
    )
  if name == 'none':
    return [inputs]
  shape = _image_shape([name], inputs.shape[1:], image_shape)
  mirrored = jnp.flip(inputs.reshape(-1, *shape), axis=2)
  return [inputs, mirrored.reshape(inputs.shape)]


def _image_shape(names, input_shape, image_shape) -> tuple[int, ...]:
  shape = tuple(image_shape or input_shape)
  shape = (*shape, 1) if len(shape) == 2 else shape
  if len(shape) != 3:
    raise ValueError(
        f'augmentations {list(names)} expect images, got inputs of shape'
        f' {tuple(input_shape)}'
    )
  return shape
