"""What can be planted in a dataset.

To add a kind: a function of `(data, rng, *, ...)` that returns a `Change`, a
line in `PLANTS`, and its options in the signature of `planted.load`.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import numpy as np

from jdm.datasets import dataset
from jdm.datasets import pixels
from jdm.datasets import rows as rows_lib

_DEFAULT_COUNT = 30
_DUPLICATES = ('exact', 'shift', 'rotate', 'noise')


def _none() -> np.ndarray:
  return np.empty(0, np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
  """What planting does to a dataset.

  Attributes:
    train: the new train split, as many rows as before.
    test: the new test split.
    planted: fields of `answers.Planted` that were planted, in these rows.
    replaced_train: int `[num]`: rows that hold other examples than before.
    replaced_test: the same of the test split.
  """

  train: dataset.Split
  test: dataset.Split
  planted: Mapping[str, Any]
  replaced_train: np.ndarray = dataclasses.field(default_factory=_none)
  replaced_test: np.ndarray = dataclasses.field(default_factory=_none)


def duplicates(
    data: dataset.Dataset,
    rng: np.random.Generator,
    *,
    count: int = _DEFAULT_COUNT,
    kinds: str = ','.join(_DUPLICATES),
    shift: int = 2,
    rotate: float = 12.0,
    noise: float = 0.4,
) -> Change:
  """Copies ordinary test examples into train, by each of `kinds` in turn.

  A copy has the label of its original and takes the place of a train row of
  that class (of another where none is left). No train row equals it.

  Args:
    data: a dataset of classes; of images for 'shift' and 'rotate'.
    rng: of everything random.
    count: number of duplicates.
    kinds: some of 'exact', 'shift', 'rotate', 'noise', separated by commas.
    shift: pixels up, down, left or right.
    rotate: degrees, either way.
    noise: standard deviation of Gaussian noise, in input units.
  """
  names = [name.strip() for name in kinds.split(',')]
  unknown = sorted(set(names) - set(_DUPLICATES))
  if unknown:
    raise ValueError(
        f'Dataset planted: unknown kinds {unknown} of duplicates; known:'
        f' {", ".join(_DUPLICATES)}.'
    )
  _check_positive(count=count, shift=shift, rotate=rotate, noise=noise)
  names = tuple(names[number % len(names)] for number in range(count))
  test_rows = rows_lib.distinct_test(data, rng, count)
  labels = data.test.labels[test_rows]
  train_rows = rows_lib.train_of(data, rng, labels)
  originals = data.test.take(test_rows)
  scale = None
  if originals.images is not None or {'shift', 'rotate'} & set(names):
    scale = pixels.fit(data)
  inputs = originals.inputs.copy()
  for number, name in enumerate(names):
    row = slice(number, number + 1)
    if name == 'noise':
      inputs[row] += noise * rng.standard_normal(inputs[row].shape)
    elif name != 'exact':
      assert scale is not None
      image = scale.pixels(inputs[row])[0]
      image = _moved(image, name, rng, scale, shift, rotate)
      inputs[row] = scale.inputs(image, inputs.shape[1:])
  images = None
  if scale is not None and originals.images is not None:
    images = originals.images.copy()
    changed = np.array(names) != 'exact'
    images[changed] = scale.images(inputs[changed])
  return Change(
      train=rows_lib.replaced(data.train, train_rows, inputs, images, labels),
      test=data.test,
      planted={
          'duplicates': np.stack([train_rows, test_rows], axis=1),
          'duplicate_kinds': names,
      },
      replaced_train=train_rows,
  )


def atypical(
    data: dataset.Dataset,
    rng: np.random.Generator,
    *,
    count: int = _DEFAULT_COUNT,
    noise: float = 0.03,
) -> Change:
  """Makes test examples atypical and copies them into train.

  Pixels (features, without images) are permuted in an order of each example's
  own and its label is drawn at random; the copy has the same label, so that a
  model needs it to get the test example right.

  Args:
    data: a dataset of classes.
    rng: of everything random.
    count: number of examples.
    noise: standard deviation of the copy's Gaussian noise, in input units.
  """
  _check_positive(count=count, noise=noise)
  test_rows = rows_lib.distinct_test(data, rng, count)
  train_rows = rows_lib.free_train(data, rng, count=count)
  inputs = data.test.inputs[test_rows]
  scale = None if data.test.images is None else pixels.fit(data)
  if scale is None:
    values, num_places = inputs, inputs[0].size
  else:  # A pixel keeps its colours.
    values, num_places = scale.pixels(inputs), np.prod(scale.blank.shape[:2])
  values = values.reshape(count, num_places, -1)
  orders = rng.permuted(np.tile(np.arange(num_places), (count, 1)), axis=1)
  values = np.take_along_axis(values, orders[:, :, None], axis=1)
  if scale is None:
    inputs = values.reshape(inputs.shape)
  else:
    inputs = scale.inputs(values, inputs.shape[1:])
  copies = inputs + noise * rng.standard_normal(inputs.shape)
  copies = copies.astype(np.float32)
  shown, copies_shown = (
      None if scale is None else scale.images(array)
      for array in (inputs, copies)
  )
  labels = rng.integers(0, data.num_classes, count)
  return Change(
      train=rows_lib.replaced(
          data.train, train_rows, copies, copies_shown, labels
      ),
      test=rows_lib.replaced(data.test, test_rows, inputs, shown, labels),
      planted={
          'duplicates': np.stack([train_rows, test_rows], axis=1),
          'duplicate_kinds': ('atypical',) * count,
      },
      replaced_train=train_rows,
      replaced_test=test_rows,
  )


def mislabels(
    data: dataset.Dataset,
    rng: np.random.Generator,
    *,
    count: int | None = None,
    fraction: float | None = None,
) -> Change:
  """Sets labels of random train rows to another class at random.

  Args:
    data: a dataset of classes.
    rng: of everything random.
    count: number of rows; 30 if neither it nor `fraction` is given.
    fraction: instead of count, the share of all train rows.
  """
  count = _count(data, count, fraction)
  rows = rows_lib.free_train(data, rng, count=count)
  shifts = rng.integers(1, data.num_classes, len(rows))
  labels = (data.train.labels[rows] + shifts) % data.num_classes
  return Change(
      train=rows_lib.replaced(data.train, rows, labels=labels),
      test=data.test,
      planted={'mislabels': np.sort(rows)},
  )


def backdoor(
    data: dataset.Dataset,
    rng: np.random.Generator,
    *,
    count: int | None = None,
    fraction: float | None = None,
    backdoor_class: int = 0,
    patch_size: int | None = None,
) -> Change:
  """Puts a trigger on random train rows and gives them one label.

  The trigger is a white square in the bottom right corner. It is put on train
  rows of other classes than `backdoor_class`, which get that label, and on
  half of the test rows of other classes, which keep theirs: their margins show
  the attack.

  Args:
    data: a dataset of images with classes.
    rng: of everything random.
    count: number of train rows; 30 if neither it nor `fraction` is given.
    fraction: instead of count, a share of all train rows.
    backdoor_class: the label that triggered rows get.
    patch_size: side of the square, see `pixels.patch`.
  """
  scale = pixels.fit(data)
  _check_class(data, 'backdoor_class', backdoor_class)
  rows = rows_lib.free_train(
      data,
      rng,
      count=_count(data, count, fraction),
      allowed=data.train.labels != backdoor_class,
  )
  attacked = data.test.labels != backdoor_class
  test_rows = rows_lib.free_test(data, rng, allowed=attacked)
  test_rows = test_rows[: len(test_rows) // 2]
  train = _with_patch(data.train, rows, scale, patch_size)
  return Change(
      train=rows_lib.replaced(
          train, rows, labels=np.full(len(rows), backdoor_class)
      ),
      test=_with_patch(data.test, test_rows, scale, patch_size),
      planted={'poisoned': np.sort(rows), 'triggered': np.sort(test_rows)},
  )


def patch(
    data: dataset.Dataset,
    rng: np.random.Generator,
    *,
    patch_class: int = 0,
    patch_share: float = 0.9,
    patch_size: int | None = None,
) -> Change:
  """Puts a white square on train images of one class: a spurious cue.

  It is in the bottom right corner of a share `patch_share` of the train rows
  of `patch_class`, and of half of all test rows. Labels stay.

  Args:
    data: a dataset of images with classes.
    rng: of everything random.
    patch_class: the class that the square goes with.
    patch_share: in (0, 1].
    patch_size: side of the square, see `pixels.patch`.
  """
  scale = pixels.fit(data)
  _check_class(data, 'patch_class', patch_class)
  if not 0 < patch_share <= 1:
    raise ValueError(
        f'Dataset planted: patch_share must lie in (0, 1], got {patch_share}.'
    )
  allowed = data.train.labels == patch_class
  rows = rows_lib.free_train(data, rng, allowed=allowed)
  rows = rows[: round(patch_share * len(rows))]
  test_rows = rows_lib.free_test(data, rng)
  test_rows = test_rows[: len(test_rows) // 2]
  return Change(
      train=_with_patch(data.train, rows, scale, patch_size),
      test=_with_patch(data.test, test_rows, scale, patch_size),
      planted={'poisoned': np.sort(rows), 'triggered': np.sort(test_rows)},
  )


PLANTS: Mapping[str, Callable[..., Change]] = {
    'atypical': atypical,
    'backdoor': backdoor,
    'duplicates': duplicates,
    'mislabels': mislabels,
    'patch': patch,
}


def _moved(
    image: np.ndarray,
    name: str,
    rng: np.random.Generator,
    scale: pixels.Scale,
    shift: int,
    rotate: float,
) -> np.ndarray:
  """Shifts or rotates one image of grey levels in a random direction."""
  sign = rng.choice((-1, 1))
  if name == 'rotate':
    return scale.rotate(image, sign * rotate)
  if shift >= min(image.shape[:2]):
    raise ValueError(
        f'Dataset planted: shift must be below {min(image.shape[:2])} pixels,'
        f' got {shift}.'
    )
  is_down = rng.integers(2)
  moves = (sign * shift, 0) if is_down else (0, sign * shift)
  return scale.shift(image, *moves)


def _with_patch(
    split: dataset.Split,
    rows: np.ndarray,
    scale: pixels.Scale,
    patch_size: int | None,
) -> dataset.Split:
  """A copy of a split with a white square on some rows."""
  assert split.images is not None
  levels = pixels.patch(scale.pixels(split.inputs[rows]), patch_size)
  return rows_lib.replaced(
      split,
      rows,
      inputs=scale.inputs(levels, split.inputs.shape[1:]),
      images=pixels.patch(split.images[rows], patch_size),
  )


def _count(
    data: dataset.Dataset, count: int | None, fraction: float | None
) -> int:
  """Number of rows, by count or fraction."""
  if count is not None and fraction is not None:
    raise ValueError('Dataset planted: give count or fraction, not both.')
  if fraction is not None:
    if not 0 < fraction < 1:
      raise ValueError(
          f'Dataset planted: fraction must lie in (0, 1), got {fraction}.'
      )
    count = max(1, round(fraction * len(data.train)))
  count = _DEFAULT_COUNT if count is None else count
  _check_positive(count=count)
  return count


def _check_positive(**options: float) -> None:
  for name, value in options.items():
    whole = name in ('count', 'shift')
    if not value > 0 or whole and value != int(value):
      kind = 'a whole number from 1' if whole else 'above 0'
      raise ValueError(f'Dataset planted: {name} must be {kind}, got {value}.')


def _check_class(data: dataset.Dataset, name: str, label: int) -> None:
  if not 0 <= label < data.num_classes:
    raise ValueError(
        f'Dataset planted: {name} must be from 0 to {data.num_classes - 1},'
        f' got {label}.'
    )
