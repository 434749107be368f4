"""Tests that answers keep to their rows when rows are taken."""

from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.datasets import answers
from jdm.datasets import arrays
from jdm.datasets import planted


def _planted(plant) -> Any:
  rng = np.random.default_rng(0)
  parts: list[Any] = []
  for num in (60, 40):
    images = rng.integers(0, 256, (num, 8, 8), dtype=np.uint8)
    parts += [images, np.arange(num) % 4]
  return planted.add(arrays.from_arrays(*parts), plant, count=20)


class PlantedTest(parameterized.TestCase):

  @parameterized.parameters('duplicates', 'backdoor', 'mislabels')
  def test_renumbers(self, plant):
    data = _planted(plant)
    rng = np.random.default_rng(2)
    train, test = rng.permutation(60)[:35], rng.permutation(40)[:25]
    some = data.take(train=train, test=test)
    old, new = data.planted, some.planted
    self.assertEqual(new.kind, plant)
    kept = [
        (tuple(pair), kind)
        for pair, kind in zip(old.duplicates, old.duplicate_kinds)
        if pair[0] in train and pair[1] in test
    ]
    found = [
        ((train[pair[0]], test[pair[1]]), kind)
        for pair, kind in zip(new.duplicates, new.duplicate_kinds)
    ]
    self.assertEqual(found, kept)
    for name, rows in (
        ('mislabels', train),
        ('poisoned', train),
        ('triggered', test),
    ):
      expected = np.intersect1d(getattr(old, name), rows)
      numbers = getattr(new, name)
      np.testing.assert_array_equal(np.sort(rows[numbers]), expected)
      np.testing.assert_array_equal(numbers, np.sort(numbers))
    np.testing.assert_array_equal(new.clean_labels, old.clean_labels[train])
    self.assertEmpty(new.clusters)

  def test_of_nothing(self):
    truth = answers.Planted().take(np.arange(3), np.arange(2))
    self.assertEqual(truth.duplicates.shape, (0, 2))
    self.assertEmpty(truth.mislabels)

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, r'shape \[num, 2\]'):
      answers.Planted(duplicates=np.zeros(3, int))
    with self.assertRaisesRegex(ValueError, 'one kind for each of 3'):
      answers.Planted(duplicates=np.zeros((3, 2), int))


if __name__ == '__main__':
  absltest.main()
