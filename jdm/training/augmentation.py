"""Random changes of images inside the training step, different in each model.

To add one: a function of `(key, images [batch, height, width, channels])`, and
a line in the table below.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
from jax import lax
import jax.numpy as jnp

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]

_MAX_SHIFT = 2  # Pixels, as in the CIFAR recipe of the datamodels paper.


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


AUGMENTATIONS: Mapping[str, Augmentation] = {
    'flip': flip,
    'translate': translate,
}


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
  shape = tuple(image_shape or input_shape)
  shape = (*shape, 1) if len(shape) == 2 else shape
  if names and len(shape) != 3:
    raise ValueError(
        f'augmentations {list(names)} expect images, got inputs of shape'
        f' {input_shape}'
    )

  def augment(key: jax.Array, inputs: jax.Array) -> jax.Array:
    images = inputs.reshape(-1, *shape)
    for number, name in enumerate(names):
      images = AUGMENTATIONS[name](jax.random.fold_in(key, number), images)
    return images.reshape(inputs.shape)

  return augment
