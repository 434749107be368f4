"""Image sets of TensorFlow Datasets, read without TensorFlow.

Prepared files are read as they lie on disk, array_record and tfrecord alike.
Only preparing a set for the first time needs TensorFlow and a network.
"""

from collections.abc import Iterator
import importlib.util
import itertools
import pathlib
import socket
import struct
from typing import Any
import urllib.parse
import urllib.request

from absl import logging
import numpy as np

from jdm.datasets import arrays
from jdm.datasets import dataset


def load(
    name: str,
    /,
    *,
    data_dir: str | pathlib.Path | None = None,
    num_train: int | None = None,
    num_test: int | None = None,
    train_split: str = 'train',
    test_split: str = 'test',
) -> dataset.Dataset:
  """Loads a set of images and labels; prepares it if that is possible.

  Only the rows asked for are read. Pixels are normalized by the mean and
  standard deviation of the train rows that were read; see
  `arrays.from_arrays`. Input and label are the builder's supervised keys;
  `ids` count the rows of a split, file by file.

  Args:
    name: what TFDS calls it: 'cifar10', 'fashion_mnist:3.*.*', or a set of
      your own under `data_dir`.
    data_dir: folder of prepared sets, or the version folder of one (it holds
      `dataset_info.json`); None is TFDS's own default.
    num_train: number of train rows to read, the first ones; None reads all.
    num_test: the same for test.
    train_split: name of the split to train on.
    test_split: name of the split to test on.

  Raises:
    ValueError: if the set is unknown, not prepared and cannot be prepared
      here, or not a set of equally large images with one label each.
  """
  builder = _open_builder(name, data_dir)
  input_key, label_key = _supervised_keys(name, builder.info)
  label = builder.info.features[label_key]
  parts = []
  for split, num in ((train_split, num_train), (test_split, num_test)):
    parts += _read_split(name, builder, split, num, (input_key, label_key))
  return arrays.from_arrays(
      *parts,
      name=f'tfds:{name}',
      num_classes=getattr(label, 'num_classes', None),
      class_names=tuple(getattr(label, 'names', ())),
  )


def _import_tfds() -> Any:
  """Imports tensorflow_datasets, whose failures do not show as ImportError."""
  import tensorflow_datasets  # Takes half a second, and may be broken.

  # Its __init__ logs an import error and goes on without its functions
  # (github.com/tensorflow/metadata/issues/68 is the usual cause).
  if not hasattr(tensorflow_datasets, 'builder'):
    raise ValueError(
        'tensorflow-datasets is installed but its import failed, usually from'
        ' an old protobuf: run `pip install -U "protobuf>=6.31.1"` and restart'
        ' Python.'
    )
  return tensorflow_datasets


def _open_builder(name: str, data_dir: str | pathlib.Path | None) -> Any:
  """Returns a builder whose files are on disk."""
  tfds = _import_tfds()
  folder = None if data_dir is None else pathlib.Path(data_dir).expanduser()
  if folder is not None and (folder / 'dataset_info.json').is_file():
    builder = tfds.builder_from_directory(folder)
    if builder.name != name.split(':')[0].split('/')[0]:
      raise ValueError(
          f'Dataset tfds:{name}: data_dir {folder} holds {builder.name!r}; ask'
          f' for tfds:{builder.name} or name another folder.'
      )
    return builder
  try:
    builder = tfds.builder(name, data_dir=folder)
  except tfds.core.DatasetNotFoundError:  # Its text lists all of 1,300 names.
    where = f' or under {folder}' if folder else ''
    raise ValueError(
        f'Dataset tfds:{name}: TFDS knows no such set by name{where}; see'
        ' https://www.tensorflow.org/datasets/catalog/overview.'
    ) from None
  if not builder.is_prepared():
    _prepare(name, builder)
  return builder


def _prepare(name: str, builder: Any) -> None:
  """Downloads and prepares, or says why not and how it can be done."""
  cure = (
      'Prepare it where there is a network, with `pip install "jdm[tf]"` and'
      f' `tfds build {name} --file_format=array_record --data_dir=DIR`, and pass'
      ' data_dir=DIR (--data_dir=DIR).'
  )
  problem = f'Dataset tfds:{name} is not prepared under {builder.data_path}'
  if importlib.util.find_spec('tensorflow') is None:
    raise ValueError(
        f'{problem}, and preparing it needs TensorFlow, which is not installed.'
        f' {cure}'
    )
  # TFDS would retry for minutes; a proxy resolves names itself.
  hosts = {urllib.parse.urlparse(url).hostname for url in builder.url_infos}
  for host in (
      [] if urllib.request.getproxies() else sorted(filter(None, hosts))
  ):
    try:
      socket.getaddrinfo(host, 443)
    except OSError as error:
      raise ValueError(
          f'{problem}, and {host} cannot be reached ({error}). {cure}'
      ) from error
  logging.info('Preparing %s under %s.', name, builder.data_path)
  builder.download_and_prepare(file_format='array_record')


def _supervised_keys(name: str, info: Any) -> tuple[str, str]:
  """Finds the names of the input and the label feature."""
  keys = info.supervised_keys
  if keys is None and {'image', 'label'} <= set(info.features):
    keys = ('image', 'label')
  is_pair = keys is not None and len(keys) == 2
  if not is_pair or not all(isinstance(key, str) for key in keys):
    raise ValueError(
        f'Dataset tfds:{name} has supervised keys {keys} and features'
        f' {sorted(info.features)}; jdm needs one input and one label. Build'
        ' arrays yourself and pass them to `arrays.from_arrays`.'
    )
  return keys


def _read_split(
    name: str,
    builder: Any,
    split: str,
    num: int | None,
    keys: tuple[str, str],
) -> tuple[np.ndarray, np.ndarray]:
  """Reads the first `num` inputs and labels of a split."""
  where = f'Dataset tfds:{name}, split {split!r}'
  known = list(builder.info.splits)
  # An empty list is a set that was never prepared in TFDS's own mock.
  if known and split not in known:
    raise ValueError(
        f'Dataset tfds:{name} has no split {split!r}; it has'
        f' {", ".join(known)}. Pass train_split and test_split.'
    )
  if num is not None and num < 1:
    raise ValueError(f'{where}: expected at least 1 example, got {num}.')
  rows = list(itertools.islice(_rows(builder, split), num))
  expected = num
  if num is None and known:
    # A file cut off between two records looks like a shorter file.
    expected = builder.info.splits[split].num_examples
  if not rows or (expected is not None and len(rows) != expected):
    raise ValueError(
        f'{where} has {len(rows)} examples on disk, expected {expected}.'
    )
  columns = []
  for key in keys:
    values = [np.asarray(row[key]) for row in rows]
    for i, value in enumerate(values):
      if value.shape != values[0].shape:
        raise ValueError(
            f'{where}: {key!r} differs in size, {values[0].shape} in row 0 and'
            f' {value.shape} in row {i}; jdm needs one size. Resize the'
            ' examples and pass them to `arrays.from_arrays`.'
        )
    columns.append(np.stack(values))
  inputs, labels = columns
  return inputs, labels


def _rows(builder: Any, split: str) -> Iterator[dict[str, Any]]:
  """Yields the decoded examples of a split in the order of its files."""
  try:
    source = builder.as_data_source(split=split)
  except NotImplementedError:  # tfrecord has no random access.
    info = builder.info
    for path in info.splits[split].filepaths:
      for record in _tfrecords(pathlib.Path(path)):
        yield info.features.deserialize_example_np(record)
    return
  for i in range(len(source)):
    yield source[i]


def _tfrecords(path: pathlib.Path) -> Iterator[bytes]:
  """Yields the records of a TFRecord file: length, checksum, data, checksum."""
  with path.open('rb') as file:
    while header := file.read(12):
      if len(header) < 12:
        raise ValueError(f'{path} is cut off; prepare the dataset again.')
      (length,) = struct.unpack('<Q', header[:8])
      record = file.read(length)
      if len(record) != length or len(file.read(4)) != 4:
        raise ValueError(f'{path} is cut off; prepare the dataset again.')
      yield record
