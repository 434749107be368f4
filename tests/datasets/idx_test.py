"""Tests of MNIST's file format: small written files, and Fashion-MNIST."""

import gzip
import pathlib
import struct
import unittest

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datasets
from jdm.datasets import idx

_HAS_FASHION = pathlib.Path(idx.DEBIAN_FOLDER).is_dir()


def _encode(array):
  header = struct.pack(f'>HBB{array.ndim}I', 0, 8, array.ndim, *array.shape)
  return header + array.tobytes()


def _write(folder, compress):
  rng = np.random.default_rng(0)
  written = {}
  for stem, num in (('train', 30), ('t10k', 10)):
    images = rng.integers(0, 256, (num, 6, 5), dtype=np.uint8)
    labels = np.arange(num, dtype=np.uint8) % 3
    written[f'{stem}-images-idx3-ubyte'] = images
    written[f'{stem}-labels-idx1-ubyte'] = labels
  for name, array in written.items():
    if compress:
      (folder / f'{name}.gz').write_bytes(gzip.compress(_encode(array)))
    else:
      (folder / name).write_bytes(_encode(array))
  return written


class IdxTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  @parameterized.parameters(True, False)
  def test_reads_what_was_written(self, compress):
    written = _write(self.folder, compress)
    data = idx.load(data_dir=self.folder)
    train = written['train-images-idx3-ubyte']
    expected = (train - train.mean()) / train.std()
    # One float32 rounding of numbers up to 2.
    np.testing.assert_allclose(
        data.train.inputs, expected[..., None], atol=3e-7
    )
    np.testing.assert_array_equal(
        data.test.images, written['t10k-images-idx3-ubyte']
    )
    np.testing.assert_array_equal(
        data.test.labels, written['t10k-labels-idx1-ubyte']
    )
    self.assertEqual((data.num_classes, data.image_shape), (3, (6, 5)))
    self.assertEqual(data.class_names, ())

  def test_other_orders(self):
    _write(self.folder, False)
    data = idx.load(data_dir=self.folder)
    other = idx.load(data_dir=self.folder, split_seed=1)
    for one, shuffled in ((data.train, other.train), (data.test, other.test)):
      self.assertFalse(np.array_equal(shuffled.ids, one.ids))
      np.testing.assert_array_equal(np.sort(shuffled.ids), one.ids)
      np.testing.assert_array_equal(shuffled.inputs, one.inputs[shuffled.ids])
      np.testing.assert_array_equal(shuffled.images, one.images[shuffled.ids])

  def test_missing_folder_names_the_package_and_the_option(self):
    with self.assertRaisesRegex(
        ValueError, 'apt install dataset-fashion-mnist.*data_dir'
    ):
      idx.load(data_dir=self.folder / 'nothing')

  @parameterized.parameters(True, False)
  def test_truncated(self, compress):
    _write(self.folder, compress)
    suffix = '.gz' if compress else ''
    path = self.folder / f'train-images-idx3-ubyte{suffix}'
    content = path.read_bytes()
    for size in (2, 9, len(content) // 2, len(content) - 1):
      path.write_bytes(content[:size])
      with self.assertRaisesRegex(ValueError, 'train-images-idx3-ubyte'):
        idx.load(data_dir=self.folder)

  def test_too_long(self):
    _write(self.folder, compress=False)
    path = self.folder / 't10k-labels-idx1-ubyte'
    path.write_bytes(path.read_bytes() + b'x')
    with self.assertRaisesRegex(ValueError, 'holds 11 bytes.* expected 10'):
      idx.load(data_dir=self.folder)

  def test_wrong_magic_number(self):
    _write(self.folder, compress=False)
    labels = (self.folder / 'train-labels-idx1-ubyte').read_bytes()
    (self.folder / 'train-images-idx3-ubyte').write_bytes(labels)
    with self.assertRaisesRegex(ValueError, 'number 2049, expected 2051'):
      idx.load(data_dir=self.folder)

  def test_not_gzip(self):
    _write(self.folder, compress=True)
    (self.folder / 'train-images-idx3-ubyte.gz').write_bytes(b'hello')
    with self.assertRaisesRegex(ValueError, 'cannot read'):
      idx.load(data_dir=self.folder)

  def test_labels_of_other_images(self):
    _write(self.folder, compress=False)
    labels = (self.folder / 't10k-labels-idx1-ubyte').read_bytes()
    (self.folder / 'train-labels-idx1-ubyte').write_bytes(labels)
    with self.assertRaisesRegex(ValueError, r'train_labels.*\[30\]'):
      idx.load(data_dir=self.folder)

  @unittest.skipUnless(_HAS_FASHION, 'dataset-fashion-mnist is not installed')
  def test_fashion_mnist(self):
    data = datasets.load('idx', num_train=1000)
    self.assertEqual(data.train.inputs.shape, (1000, 28, 28, 1))
    self.assertEqual(data.test.inputs.shape, (10000, 28, 28, 1))
    self.assertEqual(data.image_shape, (28, 28))
    # The test set has exactly 1,000 of each class.
    np.testing.assert_array_equal(np.bincount(data.test.labels), [1000] * 10)
    self.assertEqual(data.class_names[data.train.labels[0]], 'ankle boot')
    # The published train moments, .2860 and .3530 of a pixel in 0 to 1.
    pixels = np.asarray(data.test.images)[:100, ..., None] / 255
    np.testing.assert_allclose(
        data.test.inputs[:100], (pixels - 0.2860) / 0.3530, atol=1e-3
    )


if __name__ == '__main__':
  absltest.main()
