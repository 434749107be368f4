"""Zarr v3 groups and arrays on any path that TensorStore writes."""

from typing import Any

import tensorstore as ts

from jdm import locations

GROUP = 'zarr.json'


def read_group(path: str) -> bytes | None:
  """The description of the group at a path; None if there is none."""
  found = locations.files(path).read(GROUP).result()
  return None if found.state == 'missing' else found.value


def create_group(path: str, description: bytes) -> None:
  """Writes a group's description unless there is one: of two, one wins."""
  folder = locations.files(path)
  found = folder.read(GROUP).result()
  if found.state == 'missing':
    generation = found.stamp.generation  # Written only if still absent.
    folder.write(GROUP, description, if_equal=generation).result()
    # TensorStore takes a bucket that is not there for a race that is lost.
    if folder.read(GROUP).result().state == 'missing':
      raise FileNotFoundError('nothing is kept there; is there such a bucket?')


def open_array(path: str, name: str) -> ts.TensorStore | None:
  """Opens an array; None if there is none."""
  spec = {'driver': 'zarr3', 'kvstore': locations.kvstore(path, name)}
  try:
    return ts.open(spec, open=True).result()
  except Exception as error:
    if 'NOT_FOUND' in str(error):
      return None
    raise


def create_array(
    path: str,
    name: str,
    *,
    shape: tuple[int, ...],
    chunk: int,
    dtype: str,
    fill: Any,
) -> ts.TensorStore:
  """Makes an array, or opens it if another process was faster.

  Args:
    path: of the group.
    name: of the array.
    shape: the first axis is that of models.
    chunk: rows in one file.
    dtype: name of the type.
    fill: what rows that were never written read as.
  """
  spec = {
      'driver': 'zarr3',
      'kvstore': locations.kvstore(path, name),
      'metadata': {
          'shape': list(shape),
          'data_type': dtype,
          'fill_value': fill,
          'chunk_grid': {
              'name': 'regular',
              'configuration': {'chunk_shape': [chunk, *shape[1:]]},
          },
          'codecs': [
              {'name': 'bytes', 'configuration': {'endian': 'little'}},
              {'name': 'crc32c'},  # Without it a flipped bit goes unnoticed.
          ],
          'dimension_names': ['model', *[None] * (len(shape) - 1)],
      },
  }
  return ts.open(spec, create=True, open=True).result()


def delete_chunk(path: str, array: ts.TensorStore, name: str, row: int) -> None:
  """Removes the file that holds a row of an array, readable or not."""
  chunk = row // array.chunk_layout.write_chunk.shape[0]
  key = '/'.join([name, 'c', str(chunk), *['0'] * (array.ndim - 1)])
  locations.files(path).write(key, None).result()  # None deletes.
