"""Tensors in PyTorch's files (`torch.save`), read as NumPy arrays.

Reading needs no PyTorch and runs no code of the file: only tensors in dicts,
lists and tuples are understood. Writing is left to PyTorch.
"""

import collections
import io
import math
import os
import pickle
from typing import Any
import zipfile

import numpy as np

_DTYPES = {
    'DoubleStorage': np.float64,
    'FloatStorage': np.float32,
    'HalfStorage': np.float16,
    'LongStorage': np.int64,
    'IntStorage': np.int32,
    'ShortStorage': np.int16,
    'CharStorage': np.int8,
    'ByteStorage': np.uint8,
    'BoolStorage': np.bool_,
}


def load(path: str | os.PathLike[str]) -> Any:
  """Reads tensors, in the dicts, lists and tuples that hold them.

  Args:
    path: written by `torch.save` of PyTorch 1.6 or later (a zip file).

  Returns:
    The same with NumPy arrays in place of tensors.

  Raises:
    ValueError: if the file is of another format, or holds anything else than
      tensors, numbers and strings.
  """
  path = os.fspath(path)
  if not zipfile.is_zipfile(path):
    raise ValueError(
        f'`torch_files.load` expects a file of torch.save, a zip file; {path} is'
        ' none (before PyTorch 1.6? load and save it with a newer one).'
    )
  with zipfile.ZipFile(path) as archive:
    names = [n for n in archive.namelist() if n.endswith('/data.pkl')]
    if len(names) != 1:
      raise ValueError(f'`torch_files.load` found no data.pkl in {path}.')
    folder = names[0].removesuffix('data.pkl')
    reader = _Reader(io.BytesIO(archive.read(names[0])), archive, folder)
    try:
      return reader.load()
    except (pickle.UnpicklingError, KeyError, EOFError) as error:
      raise ValueError(
          f'`torch_files.load` understands tensors in dicts, lists and tuples;'
          f' {path} is something else: {error}'
      ) from error


def save(path: str | os.PathLike[str], values: dict[str, np.ndarray]) -> None:
  """Writes a dict of arrays as a dict of tensors, which needs PyTorch.

  Raises:
    ValueError: if PyTorch is not installed.
  """
  try:
    import torch  # pyrefly: ignore  # An extra of whoever exchanges files.
  except ImportError as error:
    raise ValueError(
        'writing a .pt file needs PyTorch (pip install torch), which is not'
        ' installed; write an .npz, which the other side reads with numpy.load'
    ) from error
  tensors = {n: torch.from_numpy(np.array(v)) for n, v in values.items()}
  torch.save(tensors, os.fspath(path))


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Reads a dict of arrays from an `.npz`, or of tensors from another file."""
  if os.fspath(path).endswith('.npz'):
    with np.load(path) as file:
      return dict(file)
  values = load(path)
  if not isinstance(values, dict):
    raise ValueError(
        f'`load_arrays` expects a dict of tensors in {os.fspath(path)}, got'
        f' {type(values).__name__}.'
    )
  return {str(name): np.asarray(value) for name, value in values.items()}


def save_arrays(
    path: str | os.PathLike[str], values: dict[str, np.ndarray]
) -> None:
  """Writes an `.npz`, or (by any other name) a file of PyTorch's."""
  if os.fspath(path).endswith('.npz'):
    with open(path, 'wb') as file:
      np.savez(file, **values)  # pyrefly: ignore
  else:
    save(path, values)


def _tensor(storage, offset, size, stride, *unused):
  del unused  # Gradients and hooks.
  num = math.prod(size)
  last = sum((n - 1) * s for n, s in zip(size, stride)) if num else -1
  if offset + last >= len(storage):
    raise pickle.UnpicklingError('a tensor goes beyond its storage')
  steps = [s * storage.itemsize for s in stride]
  view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps)
  return np.ascontiguousarray(view).reshape(size)


class _Storage:
  """Stands for a storage class of PyTorch's."""

  def __init__(self, name: str):
    self.dtype = np.dtype(_DTYPES[name])


class _Reader(pickle.Unpickler):
  """Knows tensors and nothing else."""

  def __init__(self, file, archive, folder):
    super().__init__(file)
    self._archive = archive
    self._folder = folder

  def find_class(self, module: str, name: str) -> Any:
    """The few names that a file may mention."""
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return _tensor
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if module == 'torch' and name in _DTYPES:
      return _Storage(name)
    raise pickle.UnpicklingError(f'it mentions {module}.{name}')

  def persistent_load(self, pid: Any) -> np.ndarray:
    """The numbers of a storage."""
    _, storage, key, _, _ = pid
    content = self._archive.read(f'{self._folder}data/{key}')
    return np.frombuffer(content, storage.dtype.newbyteorder('<'))
