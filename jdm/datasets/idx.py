"""Images in MNIST's file format (IDX): MNIST, Fashion-MNIST, KMNIST, EMNIST."""

import gzip
import pathlib
import struct
import zlib

import numpy as np

from jdm.datasets import arrays
from jdm.datasets import dataset

# Where Debian's and Ubuntu's package puts Fashion-MNIST.
DEBIAN_FOLDER = '/usr/share/datasets/fashion-mnist'
_DEBIAN_PACKAGE = 'dataset-fashion-mnist'
_FASHION_CLASSES = (
    'T-shirt',
    'trouser',
    'pullover',
    'dress',
    'coat',
    'sandal',
    'shirt',
    'sneaker',
    'bag',
    'ankle boot',
)
_UNSIGNED_BYTE = 8  # The type code in the magic number.


def load(
    *,
    data_dir: str | pathlib.Path = DEBIAN_FOLDER,
    split_seed: int | None = None,
) -> dataset.Dataset:
  """Loads a folder with the four files of MNIST, gzipped or not.

  Models see `[num, height, width, 1]` (28 x 28 for MNIST), normalized by the
  mean and standard deviation of all train pixels.

  Args:
    data_dir: holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
      `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each with or
      without `.gz`.
    split_seed: shuffles train and test examples, each among themselves, so that
      the first ones are others; None keeps the order of the files.

  Raises:
    ValueError: if a file is missing, cut off or of another format, or if
      images and labels do not fit.

  References:
    Xiao et al., `Fashion-MNIST <https://arxiv.org/abs/1708.07747>`_, 2017, for
    the default folder. The format is described with `MNIST
    <https://yann.lecun.com/exdb/mnist/>`_.
  """
  folder = pathlib.Path(data_dir).expanduser()
  parts = []
  for stem in ('train', 't10k'):
    images = find_file(folder, f'{stem}-images-idx3-ubyte')
    labels = find_file(folder, f'{stem}-labels-idx1-ubyte')
    parts += [read_file(images, 3), read_file(labels, 1)]
  is_fashion = folder.name == pathlib.Path(DEBIAN_FOLDER).name
  data = arrays.from_arrays(
      *parts, name='idx', class_names=_FASHION_CLASSES if is_fashion else ()
  )
  if split_seed is None:
    return data
  rng = np.random.default_rng(split_seed)
  return data.take(
      train=rng.permutation(len(data.train)),
      test=rng.permutation(len(data.test)),
  )


def find_file(folder: pathlib.Path, stem: str) -> pathlib.Path:
  """Returns `folder/stem` or `folder/stem.gz`; ValueError if neither exists."""
  for path in (folder / stem, folder / f'{stem}.gz'):
    if path.is_file():
      return path
  raise ValueError(
      f'Dataset idx: no {stem}(.gz) in {folder}. Install Fashion-MNIST with'
      f' `apt install {_DEBIAN_PACKAGE}`, or name a folder with the four files'
      ' of MNIST by data_dir (--data_dir=FOLDER).'
  )


def read_file(path: pathlib.Path, num_axes: int) -> np.ndarray:
  """Reads one IDX file of unsigned bytes.

  Args:
    path: the file; gzipped if it ends in `.gz`.
    num_axes: expected number of axes: 3 for images, 1 for labels.

  Returns:
    uint8, of the shape written in the file.

  Raises:
    ValueError: if the magic number, the number of axes or the length is wrong.
  """
  try:
    opener = gzip.open if path.suffix == '.gz' else open
    with opener(path, 'rb') as file:
      content = file.read()
  except (OSError, EOFError, zlib.error) as error:
    raise ValueError(
        f'Dataset idx: cannot read {path}: {error}; fetch the file again.'
    ) from error
  header_size = 4 + 4 * num_axes
  expected_magic = _UNSIGNED_BYTE * 256 + num_axes
  magic = struct.unpack('>I', content[:4])[0] if len(content) >= 4 else None
  if magic != expected_magic:
    raise ValueError(
        f'Dataset idx: {path} starts with magic number {magic}, expected'
        f' {expected_magic} (unsigned bytes, {num_axes} axes); it is another'
        ' kind of file.'
    )
  if len(content) < header_size:
    raise ValueError(f'Dataset idx: {path} is cut off within its header.')
  shape = struct.unpack(f'>{num_axes}I', content[4:header_size])
  expected_size = int(np.prod(shape, dtype=np.int64))
  if len(content) - header_size != expected_size:
    raise ValueError(
        f'Dataset idx: {path} holds {len(content) - header_size} bytes of data,'
        f' expected {expected_size} for shape {shape}; fetch the file again.'
    )
  return np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)
