"""A user's own arrays, in memory or in one `.npz` file."""

import pathlib
import zipfile

import numpy as np

from jdm.datasets import dataset

_KEYS = ('train_inputs', 'train_labels', 'test_inputs', 'test_labels')


def load(
    *, data_path: str | pathlib.Path, num_classes: int | None = None
) -> dataset.Dataset:
  """Loads `train_inputs, train_labels, test_inputs, test_labels` of an `.npz`.

  Args:
    data_path: the file, as written by `np.savez` or `np.savez_compressed`.
    num_classes: as in `from_arrays`.

  Returns:
    The dataset; see `from_arrays` for what is done to the inputs.

  Raises:
    ValueError: if the file or a key is missing, or as `from_arrays`.
  """
  path = pathlib.Path(data_path).expanduser()
  if not path.is_file():
    raise ValueError(f'Dataset arrays: no file {path}; check data_path.')
  try:
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError('it holds one array, not an .npz archive')
    with file:
      missing = [key for key in _KEYS if key not in file.files]
      if missing:
        raise ValueError(
            f'keys {", ".join(missing)} are missing; it has'
            f' {", ".join(file.files) or "none"}'
        )
      arrays = {key: file[key] for key in _KEYS}
  except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(
        f'Dataset arrays: cannot read {path}: {error}. Write it with'
        f' np.savez(path, {", ".join(f"{key}=..." for key in _KEYS)}).'
    ) from error
  inputs_and_labels = [arrays[key] for key in _KEYS]
  return from_arrays(*inputs_and_labels, num_classes=num_classes)


def from_arrays(
    train_inputs: np.ndarray,
    train_labels: np.ndarray,
    test_inputs: np.ndarray,
    test_labels: np.ndarray,
    *,
    name: str = 'arrays',
    num_classes: int | None = None,
    class_names: tuple[str, ...] = (),
) -> dataset.Dataset:
  """Makes a dataset of arrays in memory.

  Floating inputs are used as they are. uint8 inputs are taken for pixels:
  models see (pixel - mean) / std with one mean and one standard deviation of
  all train pixels; `[num, height, width]` gets a channel axis, and images of
  1 or 3 channels are kept for display.

  Args:
    train_inputs: floating or uint8 `[num, ...]`.
    train_labels: integers from 0, `[num]`; floating if `num_classes` is 0.
    test_inputs: as `train_inputs`, with the same type and shape per example.
    test_labels: as `train_labels`.
    name: of the dataset.
    num_classes: None takes the largest label of both splits plus one; 0 is
      regression.
    class_names: one name a class, or empty.

  Raises:
    ValueError: if types, lengths or shapes do not fit, if labels are not
      integers or negative, or if an input is not finite.
  """
  inputs = {'train': np.asarray(train_inputs), 'test': np.asarray(test_inputs)}
  labels = {'train': np.asarray(train_labels), 'test': np.asarray(test_labels)}
  _check_inputs(name, inputs)
  if num_classes != 0:
    _check_labels(name, labels, inputs)
  if num_classes is None:
    # Two at least: a file with one class only is still a classification.
    num_classes = max(2, *(int(array.max()) + 1 for array in labels.values()))
  images = {which: _images(array) for which, array in inputs.items()}
  if inputs['train'].dtype == np.uint8:
    table = _pixel_table(name, inputs['train'])
    inputs = {
        which: table[array[..., None] if array.ndim == 3 else array]
        for which, array in inputs.items()
    }
  splits = {}
  for which in ('train', 'test'):
    try:
      splits[which] = dataset.Split(
          inputs=inputs[which], labels=labels[which], images=images[which]
      )
    except ValueError as error:
      raise ValueError(f'Dataset {name!r}, {which}: {error}') from error
  shown = images['train']
  return dataset.Dataset(
      name=name,
      train=splits['train'],
      test=splits['test'],
      num_classes=num_classes,
      image_shape=None if shown is None else shown.shape[1:],
      class_names=tuple(class_names),
  )


def _check_inputs(name: str, inputs: dict[str, np.ndarray]) -> None:
  """Checks that both inputs are pixels, or both features, of one shape."""
  for which, array in inputs.items():
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
      raise ValueError(
          f'Dataset {name!r}: {which}_inputs must be uint8 (pixels, which are'
          f' normalized) or floating (used as they are), got {array.dtype};'
          ' convert with `.astype`.'
      )
    if array.ndim < 2 or array.size == 0:
      raise ValueError(
          f'Dataset {name!r}: {which}_inputs must have shape [num, ...] and hold'
          f' at least one example, got {array.shape}.'
      )
  train, test = inputs['train'], inputs['test']
  if (train.dtype == np.uint8) != (test.dtype == np.uint8):
    raise ValueError(
        f'Dataset {name!r}: train_inputs are {train.dtype} but test_inputs are'
        f' {test.dtype}; give both as uint8 pixels or both as floats.'
    )
  if train.shape[1:] != test.shape[1:]:
    raise ValueError(
        f'Dataset {name!r}: train_inputs have shape {train.shape[1:]} per'
        f' example but test_inputs {test.shape[1:]}.'
    )


def _check_labels(
    name: str, labels: dict[str, np.ndarray], inputs: dict[str, np.ndarray]
) -> None:
  """Checks that labels are integers from 0, one for each input."""
  for which, array in labels.items():
    num = len(inputs[which])
    if not np.issubdtype(array.dtype, np.integer):
      raise ValueError(
          f'Dataset {name!r}: {which}_labels must be integers from 0, got'
          f' {array.dtype}; convert classes with `.astype(np.int32)`, or pass'
          ' num_classes=0 to `from_arrays` for regression.'
      )
    if array.shape != (num,):
      raise ValueError(
          f'Dataset {name!r}: {which}_labels must have shape [{num}], one for'
          f' each of {num} {which}_inputs, got {list(array.shape)}.'
      )
    if array.min() < 0:
      raise ValueError(
          f'Dataset {name!r}: {which}_labels must be integers from 0, got'
          f' {array.min()}; drop unlabelled examples or renumber the classes.'
      )


def _images(inputs: np.ndarray) -> np.ndarray | None:
  """The part of uint8 inputs that can be shown, None if there is none."""
  if inputs.dtype != np.uint8:
    return None
  if inputs.ndim == 3:
    return inputs
  if inputs.ndim == 4 and inputs.shape[3] == 1:
    return inputs[..., 0]
  return inputs if inputs.ndim == 4 and inputs.shape[3] == 3 else None


def _pixel_table(name: str, pixels: np.ndarray) -> np.ndarray:
  """What models see for each of the 256 pixel values, float32 `[256]`.

  The moments come from exact integer counts, so that every machine computes
  the same bits.
  """
  values = np.arange(256)
  # In blocks, because bincount converts what it counts to 64 bits.
  blocks = np.array_split(pixels, -(-pixels.size // 2**24))
  counts = np.zeros(256, np.int64)
  for block in blocks:
    counts += np.bincount(block.ravel(), minlength=256)
  total = int(counts.sum())
  first = int(counts @ values)
  second = int(counts @ values**2)
  variance = (total * second - first**2) / total**2
  if variance == 0:
    raise ValueError(
        f'Dataset {name!r}: all train pixels are {pixels.flat[0]}; there is'
        ' nothing to learn from.'
    )
  mean, std = first / total, variance**0.5
  return ((values - mean) / std).astype(np.float32)
