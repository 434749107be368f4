"""Tests of Dataset and Split: types, checks, subsets, fingerprint."""

import dataclasses
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.datasets import dataset


def _split(num, **changes):
  rng = np.random.default_rng(num)
  fields: dict[str, Any] = {
      'inputs': rng.normal(size=(num, 3)).astype(np.float32),
      'labels': np.arange(num) % 2,
      'images': rng.integers(0, 256, (num, 4, 5), dtype=np.uint8),
  }
  return dataset.Split(**(fields | changes))


def _dataset(**changes):
  fields: dict[str, Any] = {
      'name': 'small',
      'train': _split(6),
      'test': _split(4),
      'num_classes': 2,
      'image_shape': (4, 5),
      'class_names': ('no', 'yes'),
  }
  return dataset.Dataset(**(fields | changes))


class SplitTest(parameterized.TestCase):

  def test_types(self):
    split = _split(6, inputs=np.ones((6, 3)))
    self.assertEqual(split.inputs.dtype, np.float32)
    self.assertEqual(split.labels.dtype, np.int32)
    self.assertEqual(split.ids.dtype, np.int64)
    np.testing.assert_array_equal(split.ids, np.arange(6))
    self.assertLen(split, 6)
    self.assertEqual(_split(6, labels=np.ones(6)).labels.dtype, np.float32)

  def test_is_read_only_and_leaves_the_callers_array_alone(self):
    inputs = np.ones((6, 3), np.float32)
    split = _split(6, inputs=inputs)
    with self.assertRaises(ValueError):
      split.inputs[0] = 2
    inputs[0] = 2

  @parameterized.named_parameters(
      ('empty', {'inputs': np.ones((0, 3))}, 'at least one example'),
      ('one_axis', {'inputs': np.ones(6)}, r'\[num, \.\.\.\]'),
      ('integers', {'inputs': np.ones((6, 3), int)}, 'floating type'),
      ('nan', {'inputs': np.full((6, 3), np.nan)}, 'got 18 that are NaN'),
      ('too_large', {'inputs': np.full((6, 3), 1e39)}, 'too large'),
      ('lengths', {'labels': np.zeros(5, int)}, r'labels of shape \[6\]'),
      ('label_nan', {'labels': np.full(6, np.nan)}, 'finite labels'),
      ('label_large', {'labels': np.full(6, 2**40)}, 'int32'),
      ('label_text', {'labels': np.array(['a'] * 6)}, 'floating type'),
      ('ids', {'ids': np.ones(6)}, 'integer ids'),
      ('ids_length', {'ids': np.arange(5)}, r'ids of shape \[6\]'),
      ('image_type', {'images': np.ones((6, 4, 5))}, 'uint8 images'),
      ('image_channels', {'images': np.ones((6, 4, 5, 2), np.uint8)}, 'uint8'),
      ('image_number', {'images': np.ones((5, 4, 5), np.uint8)}, 'uint8'),
  )
  def test_errors(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      _split(6, **changes)


class DatasetTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('shapes', {'test': _split(4, inputs=np.ones((4, 2)))}, 'same shape'),
      ('one_class', {'num_classes': 1}, 'at least 2'),
      ('names', {'class_names': ('a',)}, 'expected 2 class names, got 1'),
      ('label', {'test': _split(4, labels=np.arange(4))}, 'test split.*0 to 1'),
      (
          'negative',
          {'train': _split(6, labels=-np.ones(6, int))},
          'train split',
      ),
      ('regression', {'num_classes': 0, 'class_names': ()}, 'float labels'),
      ('classes', {'train': _split(6, labels=np.ones(6))}, 'integer labels'),
      ('image_shape', {'image_shape': (5, 4)}, 'image_shape is'),
  )
  def test_errors(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      _dataset(**changes)

  def test_regression(self):
    data = _dataset(
        train=_split(6, labels=np.ones(6)),
        test=_split(4, labels=np.ones(4)),
        num_classes=0,
        class_names=(),
    )
    self.assertEqual(data.train.labels.dtype, np.float32)

  def test_split_by_name(self):
    data = _dataset()
    self.assertIs(data.split('train'), data.train)
    self.assertIs(data.split('test'), data.test)
    with self.assertRaisesRegex(ValueError, "'val'; known: train, test"):
      data.split('val')

  def test_take_count(self):
    data = _dataset()
    some = data.take(train=2, test=3)
    np.testing.assert_array_equal(some.train.inputs, data.train.inputs[:2])
    np.testing.assert_array_equal(some.test.labels, data.test.labels[:3])
    np.testing.assert_array_equal(
        some.test.images, np.asarray(data.test.images)[:3]
    )
    self.assertIs(data.take(train=2).test, data.test)

  def test_take_numpy_count(self):
    count: Any = np.int64(3)
    self.assertLen(_dataset().take(test=count).test, 3)

  def test_take_rows_keeps_ids(self):
    data = _dataset(train=_split(6, ids=np.arange(6) * 10))
    some = data.take(train=np.array([4, 1, 3])).take(train=np.array([2, 0]))
    np.testing.assert_array_equal(some.train.ids, [30, 40])
    np.testing.assert_array_equal(
        some.train.inputs, data.train.inputs[np.array([3, 4])]
    )

  @parameterized.parameters(
      (0, 'count from 1 to 6, got 0'),
      (7, 'count from 1 to 6, got 7'),
      (True, 'row numbers'),
      (np.ones(6, bool), 'flatnonzero'),
      (np.array([1.0]), 'integer row numbers'),
      (np.array([], int), 'at least one row'),
      (np.array([-1]), 'rows from 0 to 5'),
      (np.array([6]), 'rows from 0 to 5'),
      (np.array([2, 2]), 'twice'),
  )
  def test_take_errors(self, rows, words):
    with self.assertRaisesRegex(ValueError, f"'small', train split.*{words}"):
      _dataset().take(train=rows)

  def test_fingerprint_is_of_what_models_see(self):
    data = _dataset()
    same = _dataset(
        name='other',
        train=_split(6, images=None, ids=np.arange(6) + 5),
        test=_split(4, images=None),
        image_shape=None,
    )
    self.assertEqual(same.fingerprint, data.fingerprint)
    self.assertRegex(data.fingerprint, '^[0-9a-f]{64}$')

  def test_fingerprint_changes_with_one_byte(self):
    data = _dataset()
    inputs = data.train.inputs.copy()
    inputs.view(np.uint8)[0, 0] ^= 1
    labels = data.test.labels.copy()
    labels[-1] = 0
    changed = [
        dataclasses.replace(
            data, train=dataclasses.replace(data.train, inputs=inputs)
        ),
        dataclasses.replace(
            data, test=dataclasses.replace(data.test, labels=labels)
        ),
        data.take(train=5),
        dataclasses.replace(data, train=data.test, test=data.train),
    ]
    prints = {data.fingerprint, *(other.fingerprint for other in changed)}
    self.assertLen(prints, 5)


if __name__ == '__main__':
  absltest.main()
