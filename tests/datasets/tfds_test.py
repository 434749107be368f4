"""Tests of TensorFlow Datasets without TensorFlow, network or downloads."""

import importlib.util
import io
import pathlib
import socket
import struct
import tempfile
import time
import types
from typing import Any
from unittest import mock
import urllib.request

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from PIL import Image
import tensorflow_datasets

from jdm import datasets
from jdm.datasets import tfds


class Shapes(tensorflow_datasets.core.GeneratorBasedBuilder):
  """A set whose numbers are known; prepared without TensorFlow."""

  VERSION = tensorflow_datasets.core.Version('1.0.0')
  supervised_keys: Any = ('image', 'label')
  pad = 0  # Columns that the last image is larger by.

  def _info(self):
    features = tensorflow_datasets.features
    return tensorflow_datasets.core.DatasetInfo(
        builder=self,
        supervised_keys=self.supervised_keys,
        features=features.FeaturesDict(
            {
                'image': features.Tensor(
                    shape=(6, None, 1) if self.pad else (6, 5, 1),
                    dtype=np.uint8,
                ),
                'label': features.ClassLabel(names=['round', 'square', 'flat']),
            }
        ),
    )

  def _split_generators(self, dl_manager):
    return {'train': self._rows(30), 'test': self._rows(12)}

  def _rows(self, num):
    images, labels = known_rows(num)
    for i in range(num):
      image = images[i]
      if i == num - 1:
        image = np.pad(image, ((0, 0), (0, self.pad), (0, 0)))
      yield i, {'image': image, 'label': int(labels[i])}

  def _generate_examples(self):
    raise NotImplementedError


class ShapesOfManySizes(Shapes):
  """The last image of a split is larger."""

  VERSION = Shapes.VERSION
  pad = 2


class ShapesWithoutLabel(Shapes):
  """Nothing says which feature is the label."""

  VERSION = Shapes.VERSION
  supervised_keys: Any = ('image', ('label', 'label'))


def known_rows(num):
  rng = np.random.default_rng(num)
  images = rng.integers(0, 256, (num, 6, 5, 1), dtype=np.uint8)
  return images, rng.integers(0, 3, num)


def prepare(folder, builder=Shapes):
  builder = builder(data_dir=folder, file_format='array_record')
  builder.download_and_prepare()
  return pathlib.Path(builder.data_dir)


def sorted_rows(images, labels):
  """Rows in an order of their own: TFDS shuffles when it prepares."""
  rows = np.append(images.reshape(len(images), -1), labels[:, None], axis=1)
  return rows[np.lexsort(rows.T)]


class PreparedTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.root = pathlib.Path(
        cls.enterClassContext(tempfile.TemporaryDirectory())
    )
    cls.versions = {
        builder: prepare(cls.root, builder)
        for builder in (Shapes, ShapesOfManySizes, ShapesWithoutLabel)
    }

  @parameterized.parameters('root', 'version')
  def test_reads_array_record(self, which):
    folder = self.root if which == 'root' else self.versions[Shapes]
    data = datasets.load('tfds:shapes', data_dir=folder)
    for split, num in ((data.train, 30), (data.test, 12)):
      np.testing.assert_array_equal(
          sorted_rows(split.images, split.labels),
          sorted_rows(*known_rows(num)),
      )
    self.assertEqual(data.train.inputs.shape, (30, 6, 5, 1))
    # 900 float32 numbers near 1 are averaged.
    np.testing.assert_allclose(data.train.inputs.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.inputs.std(), 1, atol=1e-6)
    self.assertEqual(data.class_names, ('round', 'square', 'flat'))
    self.assertEqual(data.name, 'tfds:shapes')

  def test_reads_the_first_rows(self):
    data = datasets.load('tfds:shapes', data_dir=self.root)
    some = datasets.load(
        'tfds:shapes', data_dir=self.root, num_train=7, num_test=3
    )
    np.testing.assert_array_equal(
        some.train.images, np.asarray(data.train.images)[:7]
    )
    np.testing.assert_array_equal(some.test.labels, data.test.labels[:3])
    with self.assertRaisesRegex(ValueError, "'train' has 30 examples.* 31"):
      datasets.load('tfds:shapes', data_dir=self.root, num_train=31)
    with self.assertRaisesRegex(ValueError, "'test': .*at least 1.* got 0"):
      datasets.load('tfds:shapes', data_dir=self.root, num_test=0)

  def test_other_splits(self):
    data = datasets.load(
        'tfds:shapes', data_dir=self.root, test_split='train', num_test=2
    )
    np.testing.assert_array_equal(
        data.test.images, np.asarray(data.train.images)[:2]
    )
    with self.assertRaisesRegex(ValueError, "no split 'val'; it has t"):
      datasets.load('tfds:shapes', data_dir=self.root, test_split='val')

  def test_images_of_many_sizes(self):
    with self.assertRaisesRegex(
        ValueError, r'\(6, 5, 1\) .*\(6, 7, 1\) in row'
    ):
      datasets.load('tfds:shapes_of_many_sizes', data_dir=self.root)

  def test_no_single_label(self):
    with self.assertRaisesRegex(ValueError, 'one input and one label'):
      datasets.load('tfds:shapes_without_label', data_dir=self.root)

  def test_folder_of_another_set(self):
    with self.assertRaisesRegex(ValueError, "holds 'shapes'; ask for tfds:sh"):
      datasets.load('tfds:mnist', data_dir=self.versions[Shapes])

  def test_unknown_set(self):
    with self.assertRaisesRegex(ValueError, 'knows no such set') as caught:
      datasets.load('tfds:no_such_set', data_dir=self.root)
    self.assertLess(len(str(caught.exception)), 300)


class TfrecordTest(absltest.TestCase):
  """The format that TFDS writes by default, without its own reader."""

  def _builder(self, paths):
    features = tensorflow_datasets.features.FeaturesDict(
        {
            'image': tensorflow_datasets.features.Image(shape=(6, 5, 1)),
            'label': tensorflow_datasets.features.ClassLabel(num_classes=3),
        }
    )
    splits = {'train': types.SimpleNamespace(filepaths=paths, num_examples=10)}
    info = types.SimpleNamespace(features=features, splits=splits)
    return mock.Mock(
        info=info, as_data_source=mock.Mock(side_effect=NotImplementedError)
    )

  def _write(self, path, images, labels, features):
    with path.open('wb') as file:
      for image, label in zip(images, labels):
        png = io.BytesIO()
        Image.fromarray(image[..., 0]).save(png, 'PNG')
        example = {'image': png.getvalue(), 'label': int(label)}
        record = features.serialize_example(example)
        file.write(struct.pack('<Q', len(record)) + bytes(4))
        file.write(record + bytes(4))

  def test_reads_shard_by_shard(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    paths = [folder / 'a.tfrecord', folder / 'b.tfrecord']
    images, labels = known_rows(10)
    builder = self._builder(paths)
    features = builder.info.features
    self._write(paths[0], images[:6], labels[:6], features)
    self._write(paths[1], images[6:], labels[6:], features)
    keys = ('image', 'label')
    found = tfds._read_split('shapes', builder, 'train', None, keys)
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], labels)
    found = tfds._read_split('shapes', builder, 'train', 7, keys)
    np.testing.assert_array_equal(found[1], labels[:7])

    content = paths[1].read_bytes()
    for size in (5, len(content) // 2 - 2, len(content) - 2):
      paths[1].write_bytes(content[:size])
      with self.assertRaisesRegex(ValueError, 'b.tfrecord is cut off'):
        tfds._read_split('shapes', builder, 'train', None, keys)
    paths[1].write_bytes(content[: len(content) // 2])  # Between records.
    with self.assertRaisesRegex(ValueError, 'has 8 examples.*expected 10'):
      tfds._read_split('shapes', builder, 'train', None, keys)


class UnpreparedTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_mock_data(self):
    # The mock answers data_source calls, but does not call a set prepared.
    builder = tensorflow_datasets.core.DatasetBuilder
    with (
        tensorflow_datasets.testing.mock_data(num_examples=8),
        mock.patch.object(builder, 'is_prepared', return_value=True),
    ):
      data = datasets.load('tfds:fashion_mnist', num_train=6)
    self.assertEqual(data.train.inputs.shape, (6, 28, 28, 1))
    self.assertLen(data.test, 8)
    self.assertEqual(data.num_classes, 10)

  def test_without_tensorflow(self):
    with (
        mock.patch.object(importlib.util, 'find_spec', return_value=None),
        self.assertRaisesRegex(
            ValueError,
            r'not prepared under .*TensorFlow.*jdm\[tf\].*tfds build cifar10'
            ' --file_format=array_record --data_dir=DIR',
        ),
    ):
      datasets.load('tfds:cifar10', data_dir=f'{self.folder}/nothing')

  def test_offline_says_so_within_seconds(self):
    start = time.monotonic()
    error = socket.gaierror(-2, 'Name or service not known')
    with (
        mock.patch.object(importlib.util, 'find_spec', return_value=object()),
        mock.patch.object(urllib.request, 'getproxies', return_value={}),
        mock.patch.object(socket, 'getaddrinfo', side_effect=error),
        self.assertRaisesRegex(
            ValueError, 'www.cs.toronto.edu cannot be reached.*tfds build'
        ),
    ):
      datasets.load('tfds:cifar10', data_dir=self.folder)
    self.assertLess(time.monotonic() - start, 30)

  def test_prepares_when_it_can(self):
    builder = mock.Mock(url_infos={}, data_path='somewhere')
    with mock.patch.object(importlib.util, 'find_spec', return_value=object()):
      tfds._prepare('cifar10', builder)
    builder.download_and_prepare.assert_called_once_with(
        file_format='array_record'
    )

  def test_broken_import(self):
    broken = types.ModuleType('tensorflow_datasets')
    with (
        mock.patch.dict('sys.modules', tensorflow_datasets=broken),
        self.assertRaisesRegex(ValueError, 'protobuf>=6.31.1'),
    ):
      datasets.load('tfds:cifar10')


if __name__ == '__main__':
  absltest.main()
