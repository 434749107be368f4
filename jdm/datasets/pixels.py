"""Grey levels of normalized inputs, and what can be done to them."""

import dataclasses

import numpy as np

from jdm.datasets import dataset

_WHITE = 255.0
_NUM_CHECKED = 1000  # Train examples that are compared with their images.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
  """How inputs come from pixels: `inputs = blank + scale * pixels`.

  Pixels are grey levels from 0 to 255, float64 `[..., *image_shape]`.

  Attributes:
    blank: float64 `image_shape`, the input of a pixel 0 at each position.
    scale: of one grey level, in input units.
    is_dark: whether the background is 0; else it is what the edges show.
  """

  blank: np.ndarray
  scale: float
  is_dark: bool

  def pixels(self, inputs: np.ndarray) -> np.ndarray:
    """Grey levels of `inputs [num, ...]`, not rounded."""
    inputs = inputs.reshape(-1, *self.blank.shape).astype(np.float64)
    return (inputs - self.blank) / self.scale

  def inputs(
      self, pixels: np.ndarray, input_shape: tuple[int, ...]
  ) -> np.ndarray:
    """What models see of `pixels [num, ...]`: float32 `[num, *input_shape]`."""
    inputs = self.blank + self.scale * pixels.reshape(-1, *self.blank.shape)
    return inputs.astype(np.float32).reshape(-1, *input_shape)

  def images(self, inputs: np.ndarray) -> np.ndarray:
    """Inputs as they are shown: uint8, cut off at black and white."""
    levels = np.clip(self.pixels(inputs), 0, _WHITE)
    return np.rint(levels).astype(np.uint8)

  def shift(self, image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Moves one image by whole pixels; background moves in."""
    from scipy import ndimage  # Takes a fifth of a second to import.

    moves = (down, right, 0)[: image.ndim]
    return ndimage.shift(image, moves, order=0, mode=self._fill, cval=0.0)

  def rotate(self, image: np.ndarray, degrees: float) -> np.ndarray:
    """Rotates one image about its centre, bilinear, to whole grey levels."""
    from scipy import ndimage  # Takes a fifth of a second to import.

    rotated = ndimage.rotate(
        image, degrees, reshape=False, order=1, mode=self._fill, cval=0.0
    )
    # Whole levels, so that the last bit of a sine decides nothing.
    return np.rint(np.clip(rotated, 0, _WHITE))

  @property
  def _fill(self) -> str:
    return 'constant' if self.is_dark else 'nearest'


def fit(data: dataset.Dataset) -> Scale:
  """Finds how a dataset's inputs come from its images.

  Exact where the inputs were normalized by one factor and by one mean for all
  pixels or for each pixel, as those of `digits`, `idx`, `tfds` and of uint8
  `arrays`.

  Raises:
    ValueError: if there are no images, or inputs do not come from them so.
  """
  train = data.train
  if data.planted is not None:
    # Copies with noise are brighter than white, and were cut off for display.
    copies = data.planted.duplicates[:, 0]
    train = train.take(np.setdiff1d(np.arange(len(train)), copies))
  images = train.images
  if images is None or images[0].size != train.inputs[0].size:
    raise ValueError(
        f'Dataset {data.name!r} has no images that its inputs are made of;'
        ' take one of images, such as digits, idx or tfds:NAME.'
    )
  inputs = train.inputs.reshape(images.shape)
  flat = images.reshape(len(images), -1)
  positions = np.arange(flat.shape[1])
  low, high = flat.argmin(axis=0), flat.argmax(axis=0)
  spread = flat[high, positions].astype(float) - flat[low, positions]
  place = spread.argmax()
  if spread[place] == 0:
    raise ValueError(f'Dataset {data.name!r}: all train images are the same.')
  values = inputs.reshape(flat.shape).astype(np.float64)
  rise = values[high[place], place] - values[low[place], place]
  scale = rise / spread[place]
  blank = values[low, positions] - scale * flat[low, positions]
  blank = blank.reshape(images.shape[1:])
  expected = blank + scale * images[:_NUM_CHECKED]
  # Images may be rounded to whole grey levels, by half a level at most.
  wrong = np.abs(inputs[:_NUM_CHECKED] - expected) > 1.1 * abs(scale)
  if scale <= 0 or wrong.any():
    raise ValueError(
        f'Dataset {data.name!r}: inputs are not its images, normalized by one'
        ' factor; give uint8 pixels to `arrays.from_arrays`.'
    )
  edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
  border = np.concatenate([edge.ravel() for edge in edges])
  return Scale(
      blank=blank, scale=float(scale), is_dark=bool(np.median(border) == 0)
  )


def patch(images: np.ndarray, size: int | None) -> np.ndarray:
  """Puts a white square into the bottom right corner.

  Args:
    images: `[num, height, width(, channels)]`, grey levels.
    size: side in pixels; None is 3, or 2 for images under 16 pixels.

  Returns:
    A copy of the images with the square.

  Raises:
    ValueError: if the square does not fit into an image.
  """
  side = min(images.shape[1:3])
  size = (3 if side >= 16 else 2) if size is None else size
  if not 1 <= size <= side:
    raise ValueError(
        f'Dataset planted: patch_size must be from 1 to {side} for images of'
        f' shape {images.shape[1:]}, got {size}.'
    )
  images = images.copy()
  images[:, -size:, -size:] = _WHITE
  return images
