"""What a dataset is: a train and a test split on the host, checked and hashed."""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Split:
  """Examples in a fixed order: row i is column i of every mask.

  The arrays are converted to the types below and made read-only.

  Attributes:
    inputs: float32 `[num, ...]`, what models see, already normalized.
    labels: int32 `[num]` classes, or float32 `[num]` regression targets.
    ids: int64 `[num]`, row numbers in the source; 0 to num - 1 if left out.
    images: uint8 `[num, height, width]` or `[num, height, width, 3]`, for
      display only; None for data that are no images.

  Raises:
    ValueError: if the split is empty, if lengths or types do not fit, or if an
      input or label is not finite.
  """

  inputs: np.ndarray
  labels: np.ndarray
  ids: np.ndarray = dataclasses.field(
      default_factory=lambda: np.empty(0, np.int64)
  )
  images: np.ndarray | None = None

  def __post_init__(self):
    inputs = _float32('inputs', self.inputs)
    if inputs.ndim < 2 or inputs.size == 0:
      raise ValueError(
          '`Split` expects inputs of shape [num, ...] with at least one example'
          f' and one feature, got {inputs.shape}.'
      )
    num = len(inputs)
    ids = np.asarray(self.ids)
    ids = np.arange(num) if ids.size == 0 else ids
    if not np.issubdtype(ids.dtype, np.integer):
      raise ValueError(f'`Split` expects integer ids, got {ids.dtype}.')
    fields = {
        'inputs': inputs,
        'labels': _label_type(np.asarray(self.labels)),
        'ids': ids.astype(np.int64, copy=False),
    }
    for name in ('labels', 'ids'):
      if fields[name].shape != (num,):
        raise ValueError(
            f'`Split` expects {name} of shape [{num}] for {num} inputs, got'
            f' {list(fields[name].shape)}.'
        )
    if self.images is not None:
      fields['images'] = _checked_images(np.asarray(self.images), num)
    for name, array in fields.items():
      object.__setattr__(self, name, _read_only(array))

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, rows: int | np.ndarray) -> 'Split':
    """Returns the first `rows` examples, or those of an index array.

    Args:
      rows: a count, or integer `[num]` row numbers without repeats.

    Returns:
      The examples in the order asked for, with the ids that they have here.

    Raises:
      ValueError: if a row does not exist or is named twice, or if none is left.
    """
    rows = _row_numbers(rows, len(self))
    return Split(
        inputs=self.inputs[rows],
        labels=self.labels[rows],
        ids=self.ids[rows],
        images=None if self.images is None else self.images[rows],
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
  """A train and a test split of one source.

  Attributes:
    name: what `jdm.datasets.load` calls it.
    train: the examples that subsets are drawn from.
    test: the examples that outcomes are read on.
    num_classes: labels are 0 to num_classes - 1; 0 means regression.
    image_shape: shape of one image, where inputs are images (maybe flattened);
      None where they are not, even if `images` are there to be shown.
    class_names: one name a class, or empty.
    planted: `answers.Planted` where answers were planted, None otherwise.

  Raises:
    ValueError: if the splits do not fit each other or `num_classes`.
  """

  name: str
  train: Split
  test: Split
  num_classes: int
  image_shape: tuple[int, ...] | None = None
  class_names: tuple[str, ...] = ()
  planted: Any = None

  def __post_init__(self):
    shapes = self.train.inputs.shape[1:], self.test.inputs.shape[1:]
    if shapes[0] != shapes[1]:
      raise ValueError(
          f'Dataset {self.name!r}: train and test inputs must have the same'
          f' shape per example, got {shapes[0]} and {shapes[1]}.'
      )
    if self.num_classes < 0 or self.num_classes == 1:
      raise ValueError(
          f'Dataset {self.name!r}: num_classes must be 0 (regression) or at'
          f' least 2, got {self.num_classes}.'
      )
    if self.class_names and len(self.class_names) != self.num_classes:
      raise ValueError(
          f'Dataset {self.name!r}: expected {self.num_classes} class names, got'
          f' {len(self.class_names)}.'
      )
    for which in ('train', 'test'):
      self._check_split(which)

  def _check_split(self, which: str) -> None:
    """Checks labels and images of one split against the dataset's fields."""
    split = self.split(which)
    where = f'Dataset {self.name!r}, {which} split'
    if (self.num_classes == 0) != (split.labels.dtype == np.float32):
      raise ValueError(
          f'{where}: labels are {split.labels.dtype} with num_classes ='
          f' {self.num_classes}; classes need integer labels and num_classes >='
          ' 2, regression needs float labels and num_classes = 0.'
      )
    if self.num_classes:
      low, high = int(split.labels.min()), int(split.labels.max())
      if low < 0 or high >= self.num_classes:
        raise ValueError(
            f'{where}: labels must lie in 0 to {self.num_classes - 1}, got'
            f' {low} to {high}.'
        )
    if split.images is None or self.image_shape is None:
      return
    if split.images.shape[1:] != self.image_shape:
      raise ValueError(
          f'{where}: images have shape {split.images.shape[1:]} each, but'
          f' image_shape is {self.image_shape}.'
      )

  @functools.cached_property
  def fingerprint(self) -> str:
    """SHA-256 (hex) of names, types, shapes and bytes of inputs and labels.

    Two datasets with one fingerprint train the same models; `name`, `ids` and
    `images` are left out because no model sees them.
    """
    digest = hashlib.sha256()
    for which in ('train', 'test'):
      for field in ('inputs', 'labels'):
        array = getattr(self.split(which), field)
        # Little-endian whatever the machine, so that stores can be moved.
        array = np.ascontiguousarray(array, array.dtype.newbyteorder('<'))
        header = f'{which}.{field} {array.dtype.str} {array.shape}\n'
        digest.update(header.encode())
        digest.update(array.data)
    return digest.hexdigest()

  def split(self, name: str) -> Split:
    """Returns the split 'train' or 'test'; another name raises ValueError."""
    if name not in ('train', 'test'):
      raise ValueError(f'Unknown split {name!r}; known: train, test.')
    return self.train if name == 'train' else self.test

  def take(
      self,
      *,
      train: int | np.ndarray | None = None,
      test: int | np.ndarray | None = None,
  ) -> 'Dataset':
    """Returns a subset: of each split the first N examples, or chosen rows.

    Inputs stay normalized by the statistics of the whole train split.

    Args:
      train: a count or integer `[num]` row numbers; None keeps all.
      test: the same for the test split.

    Raises:
      ValueError: if a row does not exist or is named twice, or if none is left.
    """
    rows = {}
    for which, chosen in (('train', train), ('test', test)):
      num = len(self.split(which))
      try:
        rows[which] = _row_numbers(num if chosen is None else chosen, num)
      except ValueError as error:
        raise ValueError(
            f'Dataset {self.name!r}, {which} split: {error}'
        ) from error
    planted = self.planted
    if planted is not None:
      planted = planted.take(rows['train'], rows['test'])
    return dataclasses.replace(
        self,
        train=self.train if train is None else self.train.take(rows['train']),
        test=self.test if test is None else self.test.take(rows['test']),
        planted=planted,
    )


def _float32(name: str, array: np.ndarray) -> np.ndarray:
  """Converts a floating array; what float32 cannot hold counts as not finite."""
  array = np.asarray(array)
  if not np.issubdtype(array.dtype, np.floating):
    raise ValueError(
        f'`Split` expects {name} of a floating type, got {array.dtype}; convert'
        ' with `.astype(np.float32)`.'
    )
  with np.errstate(over='ignore'):
    array = array.astype(np.float32, copy=False)
  num_bad = array.size - np.count_nonzero(np.isfinite(array))
  if num_bad:
    raise ValueError(
        f'`Split` expects finite {name}, got {num_bad} that are NaN, infinite or'
        ' too large for float32; remove or fill them.'
    )
  return array


def _label_type(labels: np.ndarray) -> np.ndarray:
  """Integers become int32, floating labels (regression) float32."""
  if not np.issubdtype(labels.dtype, np.integer):
    return _float32('labels', labels)
  limits = np.iinfo(np.int32)
  if labels.size and (labels.min() < limits.min or labels.max() > limits.max):
    raise ValueError('`Split` expects labels that fit into int32.')
  return labels.astype(np.int32, copy=False)


def _checked_images(images: np.ndarray, num: int) -> np.ndarray:
  """Images for display: uint8, grey without a channel axis, or RGB."""
  is_grey, is_rgb = images.ndim == 3, images.ndim == 4 and images.shape[3] == 3
  if images.dtype != np.uint8 or len(images) != num or not (is_grey or is_rgb):
    raise ValueError(
        f'`Split` expects uint8 images of shape [{num}, height, width] or'
        f' [{num}, height, width, 3], got {images.dtype} {list(images.shape)}.'
    )
  return images


def _read_only(array: np.ndarray) -> np.ndarray:
  """A view that cannot be written to: the fingerprint is computed once."""
  view = array.view()
  view.flags.writeable = False
  return view


def _row_numbers(rows: int | np.ndarray, num: int) -> np.ndarray:
  """Turns a count or an index array into row numbers below `num`."""
  if isinstance(rows, (int, np.integer)) and not isinstance(rows, bool):
    if not 1 <= rows <= num:
      raise ValueError(f'expected a count from 1 to {num}, got {rows}.')
    return np.arange(rows)
  rows = np.asarray(rows)
  if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
    raise ValueError(
        'expected a count or integer row numbers of shape [num], got'
        f' {rows.dtype} {list(rows.shape)}; for a bool mask pass'
        ' `np.flatnonzero(mask)`.'
    )
  if rows.size == 0:
    raise ValueError('expected at least one row, got none.')
  if rows.min() < 0 or rows.max() >= num:
    raise ValueError(
        f'expected rows from 0 to {num - 1}, got {rows.min()} to {rows.max()}.'
    )
  if np.unique(rows).size != rows.size:
    raise ValueError('expected each row once, got some rows twice.')
  return rows
