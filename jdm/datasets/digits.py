"""Handwritten digits of scikit-learn: 1,797 images of 8 x 8 pixels."""

from typing import Any

import numpy as np

from jdm.datasets import dataset

_NUM_TRAIN = 1500
_SCALE = 0.35  # Near the standard deviation of a pixel in units of 0 to 1.


def load(*, split_seed: int = 0) -> dataset.Dataset:
  """Loads the digits: 1,500 train and 297 test examples, the same bits always.

  The order is `np.random.default_rng(split_seed).permutation(1797)`; `ids` are the rows
  of scikit-learn. Models see 64 features (pixel / 16 - train mean) / .35, with
  the mean of each pixel over the train rows.

  Args:
    split_seed: of the order: other seeds have other examples in each split.

  References:
    Alpaydin and Kaynak, `Optical Recognition of Handwritten Digits
    <https://doi.org/10.24432/C50P49>`_, UCI Machine Learning Repository, 1998.
  """
  from sklearn import datasets  # Takes a second to import.

  source: Any = datasets.load_digits()
  ids = np.random.default_rng(split_seed).permutation(len(source.target))
  pixels = source.data.astype(np.int64)  # 0 to 16.
  # An exact integer sum, so that the mean has the same bits on any machine.
  mean = pixels[ids[:_NUM_TRAIN]].sum(axis=0) / (16 * _NUM_TRAIN)
  inputs = ((pixels / 16 - mean[None]) / _SCALE).astype(np.float32)
  images = np.rint(source.images * (255 / 16)).astype(np.uint8)

  def split(rows: np.ndarray) -> dataset.Split:
    return dataset.Split(
        inputs=inputs[rows],
        labels=source.target[rows],
        ids=rows,
        images=images[rows],
    )

  return dataset.Dataset(
      name='digits',
      train=split(ids[:_NUM_TRAIN]),
      test=split(ids[_NUM_TRAIN:]),
      num_classes=10,
      image_shape=(8, 8),
      class_names=tuple(str(digit) for digit in range(10)),
  )
