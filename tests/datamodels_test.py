import dataclasses
import os
import pathlib
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import subsets


def make(num_train=6, num_targets=4, **changes):
  generator = np.random.default_rng(0)
  row = lambda: generator.normal(size=num_targets).astype(np.float32)
  fields = {
      'weights': generator.normal(size=(num_train, num_targets)).astype(
          np.float32
      ),
      'bias': row(),
      'lam': row(),
      'gap': row(),
      'nnz': np.arange(num_targets, dtype=np.int32),
      'val_mse': row(),
      'train_ids': np.arange(num_train),
      'target_ids': np.arange(num_targets) + 5,
      'fit_ids': np.arange(20),
      'alpha': 0.5,
      'regressor': 'lasso',
      'outcome': 'margin',
      'meta': (('dataset', 'digits'), ('seed', 3)),
  }
  return datamodels_lib.Datamodels(**(fields | changes))


def assert_same(actual, expected):
  for field in dataclasses.fields(expected):
    first, second = (getattr(x, field.name) for x in (actual, expected))
    np.testing.assert_array_equal(first, second, err_msg=field.name)
    if not field.metadata.get('static'):
      np.testing.assert_equal(first.dtype, second.dtype)


class DatamodelsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def test_predict_is_a_linear_map(self):
    datamodels = make()
    masks = np.random.default_rng(1).random((7, 6)) < 0.5
    predicted = datamodels_lib.predict(datamodels, masks)
    expected = masks @ datamodels.weights + datamodels.bias[None]
    # float32 sums of six numbers.
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    self.assertEqual(predicted.dtype, np.float32)

  def test_packed_masks_and_lists_are_masks(self):
    masks = np.random.default_rng(1).random((7, 6)) < 0.5
    expected = datamodels_lib.predict(make(), masks)
    for given in (subsets.pack(masks), masks.tolist()):
      np.testing.assert_array_equal(
          datamodels_lib.predict(make(), given), expected
      )
    with self.assertRaisesRegex(ValueError, r'astype\(bool\)'):
      datamodels_lib.predict(make(), [[1, 0, 0, 0, 0, 1]])
    with self.assertRaisesRegex(ValueError, r'\[num_models, 6\]'):
      datamodels_lib.predict(make(), subsets.pack(masks[:, :5]))

  def test_own_ids_are_columns_of_the_targets(self):
    datamodels = make(
        outcome='margin_train',
        train_ids=np.array([4, 9, 7, 2, 0, 1]),
        target_ids=np.array([7, 4, 8, 1]),
    )
    own_ids = datamodels_lib.own_ids(datamodels)
    np.testing.assert_array_equal(own_ids, [2, 0, -1, 5])
    self.assertIsNone(datamodels_lib.own_ids(make()))

  def test_is_a_pytree(self):
    datamodels = make()
    masks = np.ones((2, 6), bool)
    predicted = jax.jit(datamodels_lib.predict)(datamodels, masks)
    np.testing.assert_allclose(
        predicted, datamodels_lib.predict(datamodels, masks), atol=1e-6
    )
    again = jax.tree.map(lambda array: array, datamodels)
    self.assertEqual(again.regressor, 'lasso')
    self.assertEqual((again.num_train, again.num_targets), (6, 4))

  @parameterized.parameters('a.npz', 'folder')
  def test_survives_save_and_load(self, name):
    for alpha in (0.5, float('nan')):
      datamodels = make(alpha=alpha)
      datamodels_lib.save(self.folder / name, datamodels)
      assert_same(datamodels_lib.load(self.folder / name), datamodels)
      self.assertEqual(os.listdir(self.folder), [name])

  @parameterized.parameters('a.npz', 'folder')
  def test_device_arrays_and_float64_survive(self, name):
    datamodels = make(lam=np.full(4, 1 / 3))
    placed = dataclasses.replace(
        datamodels, weights=jax.numpy.asarray(datamodels.weights)
    )
    datamodels_lib.save(str(self.folder / name), placed)
    assert_same(datamodels_lib.load(str(self.folder / name)), datamodels)

  def test_sharded_weights_survive(self):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ('targets',))
    spec = jax.sharding.PartitionSpec(None, 'targets')
    sharding = jax.sharding.NamedSharding(mesh, spec)
    datamodels = make()
    placed = dataclasses.replace(
        datamodels, weights=jax.device_put(datamodels.weights, sharding)
    )
    datamodels_lib.save(self.folder / 'sharded', placed)
    assert_same(datamodels_lib.load(self.folder / 'sharded'), datamodels)

  def test_what_is_not_datamodels_is_refused(self):
    other = self.folder / 'other.npz'
    np.savez(other, a=np.ones(3))
    text = self.folder / 'text.npz'
    text.write_text('hello')
    empty = self.folder / 'empty'
    empty.mkdir()
    for path in (other, text, empty):
      with self.assertRaisesRegex(ValueError, 'written by `datamodels.save`'):
        datamodels_lib.load(path)
    with self.assertRaisesRegex(FileNotFoundError, 'finds nothing'):
      datamodels_lib.load(self.folder / 'missing.npz')

  def test_a_cut_file_is_refused(self):
    path = self.folder / 'a.npz'
    datamodels_lib.save(path, make())
    path.write_bytes(path.read_bytes()[:-100])
    with self.assertRaisesRegex(ValueError, 'damaged'):
      datamodels_lib.load(path)

  def test_a_missing_folder_is_named(self):
    path = self.folder / 'nowhere' / 'a.npz'
    with self.assertRaisesRegex(FileNotFoundError, r'os.makedirs.*nowhere'):
      datamodels_lib.save(path, make())

  def test_a_failed_save_leaves_what_was_there(self):
    path = self.folder / 'a.npz'
    datamodels_lib.save(path, make(alpha=0.25))
    with mock.patch.object(np, 'savez', side_effect=OSError('disk full')):
      with self.assertRaisesRegex(OSError, 'disk full'):
        datamodels_lib.save(path, make())
    self.assertEqual(os.listdir(self.folder), ['a.npz'])
    self.assertEqual(datamodels_lib.load(path).alpha, 0.25)

  def test_a_failed_save_of_a_folder_leaves_nothing(self):
    with mock.patch.object(os, 'replace', side_effect=OSError('disk full')):
      with self.assertRaisesRegex(OSError, 'disk full'):
        datamodels_lib.save(self.folder / 'large', make())
    self.assertEmpty(os.listdir(self.folder))

  def test_a_folder_with_something_else_is_left_alone(self):
    folder = self.folder / 'precious'
    folder.mkdir()
    (folder / 'thesis.txt').write_text('x')
    with self.assertRaisesRegex(ValueError, 'something else'):
      datamodels_lib.save(folder, make())
    self.assertTrue((folder / 'thesis.txt').exists())

  def test_bad_masks_raise(self):
    with self.assertRaisesRegex(ValueError, r'mask\[None\]'):
      datamodels_lib.predict(make(), np.ones(6, bool))
    with self.assertRaisesRegex(ValueError, 'num_models, 6'):
      datamodels_lib.predict(make(), np.ones((2, 5), bool))
    with self.assertRaisesRegex(ValueError, r'astype\(bool\)'):
      datamodels_lib.predict(make(), np.ones((2, 6)))


if __name__ == '__main__':
  absltest.main()
