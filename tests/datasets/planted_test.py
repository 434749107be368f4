"""Tests that what is said to be planted is there, and nothing else changed."""

from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datasets
from jdm.datasets import arrays
from jdm.datasets import pixels
from jdm.datasets import planted
from jdm.datasets import plants


def _add(data: Any, plant: str, **options: Any) -> Any:
  return planted.add(data, plant, **options)


def _images(num_train=60, num_test=40, shape=(16, 16), seed=0) -> Any:
  """Grey images with a black background, an object in the middle."""
  rng = np.random.default_rng(seed)
  parts: list[Any] = []
  for num in (num_train, num_test):
    images = np.zeros((num, *shape), np.uint8)
    images[:, 4:-4, 4:-4] = rng.integers(1, 256, images[:, 4:-4, 4:-4].shape)
    parts += [images, np.arange(num) % 4]
  return arrays.from_arrays(*parts)


def _features(num_train=50, num_test=30) -> Any:
  rng = np.random.default_rng(1)
  parts: list[Any] = []
  for num in (num_train, num_test):
    parts += [rng.standard_normal((num, 6)), np.arange(num) % 3]
  return arrays.from_arrays(*parts)


def _changed_rows(before, after):
  same = np.isclose(before, after, rtol=0, atol=1e-5)
  return np.flatnonzero(~same.reshape(len(before), -1).all(axis=1))


def _check_nothing_else_changed(before, after):
  """Contents differ in the planted rows and in no others."""
  truth = after.planted
  train = np.concatenate([truth.duplicates[:, 0], truth.poisoned])
  test = truth.triggered
  if truth.kind == 'atypical':
    test = truth.duplicates[:, 1]
  for which, rows in (('train', train), ('test', test)):
    old, new = before.split(which), after.split(which)
    np.testing.assert_array_equal(
        _changed_rows(old.inputs, new.inputs), np.sort(rows)
    )
    np.testing.assert_array_equal(old.ids, new.ids)
    others = np.setdiff1d(np.arange(len(old)), rows)
    np.testing.assert_array_equal(old.inputs[others], new.inputs[others])
    if old.images is not None:
      np.testing.assert_array_equal(old.images[others], new.images[others])


class DuplicatesTest(parameterized.TestCase):

  @parameterized.parameters('digits', 'images')
  def test_kinds_in_turn_each_as_it_says(self, base):
    data: Any = datasets.load('digits') if base == 'digits' else _images()
    size = 8 if base == 'digits' else 16
    after = _add(data, 'duplicates', count=16, shift=2, seed=3)
    truth = after.planted
    self.assertEqual(
        truth.duplicate_kinds, ('exact', 'shift', 'rotate', 'noise') * 4
    )
    _check_nothing_else_changed(data, after)
    np.testing.assert_array_equal(truth.clean_labels, after.train.labels)
    # In grey levels, by what the inputs of digits and uint8 arrays are.
    if base == 'digits':
      mean = _digits_mean()
      to_grey = lambda split: (split.inputs * 0.35 + mean) * 255
      tolerance = 1e-3
    else:
      mean, std = data.train.images.mean(), data.train.images.std()
      to_grey = lambda split: split.inputs * std + mean
      tolerance = 1e-2
    greys = [
        to_grey(split).reshape(-1, size, size)
        for split in (after.train, after.test)
    ]
    for (train, test), kind in zip(truth.duplicates, truth.duplicate_kinds):
      self.assertEqual(after.train.labels[train], after.test.labels[test])
      # It took the place of a row of its class.
      self.assertEqual(data.train.labels[train], after.test.labels[test])
      copy, original = greys[0][train], greys[1][test]
      if kind == 'exact':
        np.testing.assert_array_equal(
            after.train.inputs[train], after.test.inputs[test]
        )
        np.testing.assert_array_equal(
            after.train.images[train], after.test.images[test]
        )
      elif kind == 'shift':
        self._assert_shifted(copy, original, tolerance)
      elif kind == 'rotate':
        np.testing.assert_allclose(copy, np.rint(copy), atol=tolerance)
        # Twelve degrees move little, and keep the mass where it all stays in.
        self.assertGreater(np.corrcoef(copy.flat, original.flat)[0, 1], 0.5)
        self.assertNotAlmostEqual(np.abs(copy - original).max(), 0, places=1)
      else:
        noise = after.train.inputs[train] - after.test.inputs[test]
        self.assertBetween(noise.std(), 0.3, 0.5)
      np.testing.assert_allclose(
          after.train.images[train], np.clip(copy, 0, 255), atol=0.51
      )

  def _assert_shifted(self, copy, original, tolerance):
    side = len(copy)
    matches = 0
    for down, right in ((2, 0), (-2, 0), (0, 2), (0, -2)):
      expected = np.zeros_like(original)
      for row in range(side):
        for column in range(side):
          source = row - down, column - right
          if min(source) >= 0 and max(source) < side:
            expected[row, column] = original[source]
      matches += np.allclose(copy, expected, atol=tolerance)
    self.assertEqual(matches, 1)

  def test_all_directions(self):
    data = _images(200, 100)
    after = _add(data, 'duplicates', count=80, kinds='shift')
    moves = set()
    for train, test in after.planted.duplicates:
      shifted, original = after.train.images[train], after.test.images[test]
      where = np.argwhere(shifted).min(axis=0) - np.argwhere(original).min(
          axis=0
      )
      moves.add(tuple(int(step) for step in where))
    self.assertEqual(moves, {(2, 0), (-2, 0), (0, 2), (0, -2)})

  def test_a_bright_background_is_continued(self):
    rng = np.random.default_rng(0)
    parts: list[Any] = []
    for num in (30, 20):
      images = rng.integers(0, 256, (num, 12, 12, 3), dtype=np.uint8)
      images[:, 0] = images[:, -1] = images[:, :, 0] = images[:, :, -1] = 90
      parts += [images, np.arange(num) % 2]
    data = arrays.from_arrays(*parts)
    after = _add(data, 'duplicates', count=10, kinds='shift')
    self.assertFalse(pixels.fit(data).is_dark)
    for train, test in after.planted.duplicates:
      shifted, original = after.train.images[train], after.test.images[test]
      self.assertTrue(np.all(shifted[[0, -1]][:, [0, -1]] == 90))
      inner = [
          np.roll(original, move, axis=axis)[3:-3, 3:-3]
          for axis in (0, 1)
          for move in (-2, 2)
      ]
      self.assertTrue(
          any(np.array_equal(shifted[3:-3, 3:-3], each) for each in inner)
      )

  def test_features_by_copy_and_noise(self):
    data = _features()
    after = _add(data, 'duplicates', count=9, kinds='exact, noise')
    self.assertEqual(
        after.planted.duplicate_kinds[:3], ('exact', 'noise', 'exact')
    )
    _check_nothing_else_changed(data, after)
    train, test = after.planted.duplicates.T
    gaps = np.abs(after.train.inputs[train] - after.test.inputs[test])
    np.testing.assert_array_equal(gaps[::2], 0)
    self.assertBetween(gaps[1::2].mean(), 0.1, 0.8)

  def test_no_two_train_rows_are_equal(self):
    data = _images(40, 40)
    # Half of the test examples are in train, or twice in test.
    images, inputs = data.test.images.copy(), data.test.inputs.copy()
    images[:10], inputs[:10] = data.train.images[:10], data.train.inputs[:10]
    images[10:20], inputs[10:20] = images[20:30], inputs[20:30]
    data = arrays.from_arrays(
        data.train.images, data.train.labels, images, data.test.labels
    )
    after = _add(data, 'duplicates', count=20, kinds='exact')
    self.assertLen(np.unique(after.train.inputs, axis=0), 40)
    with self.assertRaisesRegex(ValueError, '21 examples do not fit into 20'):
      _add(data, 'duplicates', count=21, kinds='exact')


def _digits_mean():
  from sklearn import datasets as sklearn_datasets

  source: Any = sklearn_datasets.load_digits()
  rows = np.random.default_rng(0).permutation(1797)[:1500]
  return source.data[rows].mean(axis=0) / 16


class PlantsTest(parameterized.TestCase):

  @parameterized.parameters('images', 'features')
  def test_atypical(self, base):
    data = _images() if base == 'images' else _features()
    after = _add(data, 'atypical', count=12, seed=1)
    _check_nothing_else_changed(data, after)
    train, test = after.planted.duplicates.T
    self.assertEqual(after.planted.duplicate_kinds, ('atypical',) * 12)
    self.assertLen(np.unique(train), 12)
    gap = after.train.inputs[train] - after.test.inputs[test]
    self.assertBetween(gap.std(), 0.02, 0.04)
    np.testing.assert_array_equal(
        after.train.labels[train], after.test.labels[test]
    )
    # Labels are drawn anew, and pixels are the same ones in another order.
    self.assertTrue(np.any(after.test.labels[test] != data.test.labels[test]))
    np.testing.assert_allclose(
        np.sort(after.test.inputs[test].reshape(12, -1)),
        np.sort(data.test.inputs[test].reshape(12, -1)),
        atol=1e-5,
    )
    if base == 'images':
      np.testing.assert_array_equal(
          np.sort(after.test.images[test].reshape(12, -1)),
          np.sort(data.test.images[test].reshape(12, -1)),
      )
      orders = {tuple(np.argsort(row.ravel())) for row in gap}
      self.assertLen(orders, 12)

  def test_mislabels(self):
    data = _features()
    for options in ({'count': 10}, {'fraction': 0.2}):
      after = _add(data, 'mislabels', **options)
      truth = after.planted
      self.assertLen(truth.mislabels, 10)
      np.testing.assert_array_equal(
          np.flatnonzero(after.train.labels != truth.clean_labels),
          truth.mislabels,
      )
      np.testing.assert_array_equal(truth.clean_labels, data.train.labels)
      np.testing.assert_array_equal(after.train.inputs, data.train.inputs)
      np.testing.assert_array_equal(after.test.labels, data.test.labels)

  @parameterized.parameters(((16, 16), 3), ((12, 12), 2))
  def test_backdoor(self, shape, size):
    data = _images(shape=shape)
    after = _add(data, 'backdoor', count=10, backdoor_class=2)
    truth = after.planted
    _check_nothing_else_changed(data, after)
    self.assertLen(truth.poisoned, 10)
    self.assertLen(truth.triggered, 15)  # Half of 30 of other classes.
    self.assertNotIn(2, data.train.labels[truth.poisoned])
    self.assertNotIn(2, data.test.labels[truth.triggered])
    np.testing.assert_array_equal(after.train.labels[truth.poisoned], 2)
    np.testing.assert_array_equal(truth.clean_labels, data.train.labels)
    np.testing.assert_array_equal(after.test.labels, data.test.labels)
    for split, rows in (
        (after.train, truth.poisoned),
        (after.test, truth.triggered),
    ):
      before = data.train if split is after.train else data.test
      expected = before.images[rows].copy()
      expected[:, -size:, -size:] = 255
      np.testing.assert_array_equal(split.images[rows], expected)
      mean, std = data.train.images.mean(), data.train.images.std()
      np.testing.assert_allclose(
          split.inputs[rows][..., 0], (expected - mean) / std, atol=1e-5
      )

  def test_patch(self):
    data = _images()
    after = _add(data, 'patch', patch_class=1, patch_size=4)
    truth = after.planted
    _check_nothing_else_changed(data, after)
    self.assertLen(truth.poisoned, 14)  # 90 % of 15, rounded.
    np.testing.assert_array_equal(data.train.labels[truth.poisoned], 1)
    self.assertLen(truth.triggered, 20)
    np.testing.assert_array_equal(after.train.labels, data.train.labels)
    self.assertTrue(
        np.all(after.train.images[truth.poisoned][:, -4:, -4:] == 255)
    )

  def test_patch_on_digits_is_white_ink(self):
    after = datasets.load('planted', plant='patch')
    rows = after.planted.triggered
    ink = after.test.inputs[rows] * 0.35 + _digits_mean()
    np.testing.assert_allclose(ink.reshape(-1, 8, 8)[:, -2:, -2:], 1, atol=1e-5)

  def test_plants_do_not_meet(self):
    data = _add(_images(80, 60), 'duplicates', count=8, kinds='exact')
    data = _add(data, 'atypical', count=8)
    data = _add(data, 'mislabels', count=8)
    data = _add(data, 'backdoor', count=8)
    truth = data.planted
    rows = np.concatenate(
        [truth.duplicates[:, 0], truth.mislabels, truth.poisoned]
    )
    self.assertLen(np.unique(rows), 32)
    rows = np.concatenate([truth.duplicates[:, 1], truth.triggered])
    self.assertLen(np.unique(rows), len(rows))
    self.assertEqual(truth.duplicate_kinds, ('exact',) * 8 + ('atypical',) * 8)
    train, test = truth.duplicates[:8].T
    np.testing.assert_array_equal(
        data.train.inputs[train], data.test.inputs[test]
    )
    wrong = np.flatnonzero(data.train.labels != truth.clean_labels)
    np.testing.assert_array_equal(
        wrong, np.union1d(truth.mislabels, truth.poisoned)
    )

  def test_beside_the_answers_of_the_base(self):
    data = datasets.load('planted', base='synthetic', plant='atypical')
    truth = data.planted
    self.assertLen(truth.duplicates, 50)
    np.testing.assert_array_equal(
        np.flatnonzero(truth.clusters < 0), np.sort(truth.duplicates[:, 0])
    )
    np.testing.assert_array_equal(
        np.flatnonzero(truth.test_clusters < 0),
        np.sort(truth.duplicates[:, 1]),
    )
    np.testing.assert_array_equal(
        np.flatnonzero(data.train.labels != truth.clean_labels),
        truth.mislabels,
    )


class LoadTest(parameterized.TestCase):

  @parameterized.parameters(sorted(plants.PLANTS))
  def test_the_options_decide(self, plant):
    options: dict[str, Any] = {'base': 'digits', 'plant': plant}
    data = datasets.load('planted', **options)
    self.assertEqual(data.name, 'planted')
    self.assertEqual(data.planted.kind, plant)
    self.assertEqual(
        data.fingerprint, datasets.load('planted', **options).fingerprint
    )
    other = datasets.load('planted', **options, plant_seed=1)
    self.assertNotEqual(data.fingerprint, other.fingerprint)
    self.assertNotEqual(data.fingerprint, datasets.load('digits').fingerprint)

  def test_sizes_and_options_of_the_base(self):
    path = self.create_tempfile('data.npz').full_path
    data = _images()
    np.savez(
        path,
        train_inputs=data.train.images,
        train_labels=data.train.labels,
        test_inputs=data.test.images,
        test_labels=data.test.labels,
    )
    loaded = datasets.load(
        'planted',
        base='arrays',
        data_path=path,
        num_train=30,
        num_test=20,
        count=5,
        kinds='shift',
        shift=1,
    )
    self.assertLen(loaded.train, 30)
    self.assertLen(loaded.test, 20)
    self.assertLess(loaded.planted.duplicates[:, 0].max(), 30)
    self.assertEqual(loaded.planted.duplicate_kinds, ('shift',) * 5)

  @parameterized.parameters(
      ({'base': 'planted'}, 'base must be another'),
      ({'base': 'mnits'}, "Unknown dataset 'mnits'"),
      ({'base': 'diabetes', 'plant': 'mislabels'}, 'diabetes.*regression'),
      ({'plant': 'trees'}, "unknown plant 'trees'; known: atypical, backdoor"),
      ({'plant': 'patch', 'count': 3}, "'patch' takes no option count; it"),
      ({'plant': 'atypical', 'kinds': 'exact'}, 'takes no option kinds'),
      ({'data_dir': '/x'}, "'digits' takes no option 'data_dir'"),
      ({'plants': 'patch'}, "'planted' takes no option 'plants'"),
      ({'kinds': 'exact,blur'}, "unknown kinds .'blur'. of duplicates; known"),
      ({'base': 'wine'}, "'wine' has no images"),
      ({'base': 'wine', 'plant': 'backdoor'}, "'wine' has no images"),
      ({'base': 'wine', 'plant': 'patch'}, "'wine' has no images"),
      ({'count': 0}, 'count must be a whole number from 1, got 0'),
      ({'shift': 1.5}, 'shift must be a whole number'),
      ({'shift': 8}, 'shift must be below 8 pixels'),
      ({'noise': -1.0}, 'noise must be above 0, got -1'),
      ({'count': 298}, '298 examples do not fit into 297 free test'),
      ({'num_train': 20, 'num_test': 50}, '30 examples .* 20 free train'),
      (
          {'plant': 'mislabels', 'count': 1501},
          '1501 examples do not fit into 1500 free train',
      ),
      (
          {'plant': 'mislabels', 'count': 3, 'fraction': 0.1},
          'count or fraction, not both',
      ),
      ({'plant': 'mislabels', 'fraction': 1.0}, r'fraction must lie in \(0, 1'),
      ({'plant': 'backdoor', 'backdoor_class': 10}, 'from 0 to 9, got 10'),
      (
          {'plant': 'backdoor', 'patch_size': 9},
          'patch_size must be from 1 to 8',
      ),
      ({'plant': 'patch', 'patch_share': 0.0}, r'patch_share must lie in \(0'),
  )
  def test_errors(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      datasets.load('planted', **options)

  def test_inputs_that_are_not_the_images(self):
    data = datasets.load('digits', num_components=64 - 4)
    with self.assertRaisesRegex(ValueError, 'no images that its inputs'):
      _add(data, 'patch')


if __name__ == '__main__':
  absltest.main()
