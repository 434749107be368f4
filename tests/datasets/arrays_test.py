"""Tests of a user's own arrays."""

import os
import pathlib
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.datasets import arrays


def _features() -> dict[str, Any]:
  rng = np.random.default_rng(0)
  return {
      'train_inputs': rng.normal(size=(6, 3)),
      'train_labels': np.array([0, 1, 2, 0, 1, 2]),
      'test_inputs': rng.normal(size=(4, 3)),
      'test_labels': np.array([3, 1, 0, 0]),
  }


def _pixels(*shape: int) -> dict[str, Any]:
  rng = np.random.default_rng(0)
  return _features() | {
      'train_inputs': rng.integers(0, 200, (6, *shape), dtype=np.uint8),
      'test_inputs': rng.integers(0, 256, (4, *shape), dtype=np.uint8),
  }


class FromArraysTest(parameterized.TestCase):

  def test_floats_are_used_as_they_are(self):
    given = _features()
    data = arrays.from_arrays(**given, name='mine')
    np.testing.assert_array_equal(
        data.train.inputs, given['train_inputs'].astype(np.float32)
    )
    self.assertEqual(data.num_classes, 4)
    self.assertIsNone(data.image_shape)
    self.assertEqual(data.name, 'mine')

  @parameterized.parameters(
      ((5, 4), (5, 4, 1), (5, 4)),
      ((5, 4, 1), (5, 4, 1), (5, 4)),
      ((5, 4, 3), (5, 4, 3), (5, 4, 3)),
      ((5, 4, 2), (5, 4, 2), None),
      ((5,), (5,), None),
  )
  def test_pixels_are_normalized_and_shown(self, shape, seen, shown):
    given = _pixels(*shape)
    data = arrays.from_arrays(**given)
    train = given['train_inputs'].astype(np.float64)
    expected = (given['test_inputs'] - train.mean()) / train.std()
    self.assertEqual(data.test.inputs.shape, (4, *seen))
    # One float32 rounding of numbers up to 4.
    np.testing.assert_allclose(
        data.test.inputs, expected.reshape(4, *seen), atol=5e-7
    )
    self.assertEqual(data.image_shape, shown)
    if shown is not None:
      np.testing.assert_array_equal(
          data.test.images, given['test_inputs'].reshape(4, *shown)
      )

  def test_number_of_classes_can_be_given(self):
    data = arrays.from_arrays(**_features(), num_classes=9)
    self.assertEqual(data.num_classes, 9)
    with self.assertRaisesRegex(ValueError, '0 to 2, got 0 to 3'):
      arrays.from_arrays(**_features(), num_classes=3)

  def test_regression(self):
    given = _features() | {
        'train_labels': np.linspace(0, 1, 6),
        'test_labels': np.linspace(0, 1, 4),
    }
    data = arrays.from_arrays(**given, num_classes=0)
    self.assertEqual(data.train.labels.dtype, np.float32)
    with self.assertRaisesRegex(ValueError, 'num_classes=0'):
      arrays.from_arrays(**given)

  @parameterized.named_parameters(
      ('negative', {'test_labels': -np.ones(4, int)}, 'test_labels.*got -1'),
      ('lengths', {'train_labels': np.zeros(5, int)}, r'shape \[6\].*\[5\]'),
      ('two_axes', {'train_labels': np.zeros((6, 1), int)}, r'got \[6, 1\]'),
      ('nan', {'test_inputs': np.full((4, 3), np.nan)}, 'test: .*NaN'),
      ('integers', {'train_inputs': np.ones((6, 3), int)}, 'uint8.*int64'),
      ('text', {'train_inputs': np.full((6, 3), 'a')}, 'uint8'),
      ('mixed', {'train_inputs': np.ones((6, 3), np.uint8)}, 'give both'),
      ('shapes', {'test_inputs': np.ones((4, 2))}, r'\(3,\).*\(2,\)'),
      ('empty', {'test_inputs': np.ones((0, 3))}, 'at least one'),
  )
  def test_errors(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      arrays.from_arrays(**(_features() | changes))

  def test_constant_pixels(self):
    given = _pixels(5, 4) | {'train_inputs': np.full((6, 5, 4), 7, np.uint8)}
    with self.assertRaisesRegex(ValueError, 'all train pixels are 7'):
      arrays.from_arrays(**given)


class LoadTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    self.path = self.folder / 'data.npz'

  def test_round_trip(self):
    np.savez_compressed(self.path, **_features(), note='more keys are fine')
    data = arrays.load(data_path=self.path)
    expected = arrays.from_arrays(**_features())
    self.assertEqual(data.fingerprint, expected.fingerprint)

  def test_missing_file(self):
    with self.assertRaisesRegex(ValueError, 'no file .*data.npz'):
      arrays.load(data_path=self.path)

  def test_missing_key(self):
    np.savez(self.path, train_inputs=np.ones((2, 2)), labels=np.ones(2))
    with self.assertRaisesRegex(
        ValueError, 'test_labels are missing; it has train_inputs, labels'
    ):
      arrays.load(data_path=self.path)

  def test_other_files(self):
    np.save(self.folder / 'one.npy', np.ones(3))
    with self.assertRaisesRegex(ValueError, 'not an .npz'):
      arrays.load(data_path=self.folder / 'one.npy')
    self.path.write_text('hello')
    with self.assertRaisesRegex(ValueError, 'cannot read .*np.savez'):
      arrays.load(data_path=self.path)
    np.savez(self.path, **(_features() | {'train_labels': np.array([None])}))
    with self.assertRaisesRegex(ValueError, 'cannot read .*Object arrays'):
      arrays.load(data_path=self.path)

  def test_cut_off_file(self):
    np.savez(self.path, **_features())
    content = self.path.read_bytes()
    self.path.write_bytes(content[: len(content) // 2])
    with self.assertRaisesRegex(ValueError, f'cannot read {os.sep}'):
      arrays.load(data_path=self.path)


if __name__ == '__main__':
  absltest.main()
