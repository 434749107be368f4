"""Nearest-neighbour Shapley values against the sum over all subsets."""

import itertools
import math

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.analysis import knn_shapley as lib

_RNG = np.random.default_rng(0)
_TRAIN, _LABELS = _RNG.normal(size=(6, 2)), _RNG.integers(0, 2, 6)
_TEST, _TEST_LABELS = _RNG.normal(size=(4, 2)), _RNG.integers(0, 2, 4)


def _utility(subset, num_neighbours):
  """Mean over tests of right neighbours among the nearest, over K."""
  if not subset:
    return 0.0
  rows = np.array(subset)
  total = 0.0
  for inputs, label in zip(_TEST, _TEST_LABELS):
    order = np.argsort(np.linalg.norm(_TRAIN[rows] - inputs, axis=1))
    total += np.sum(_LABELS[rows[order[:num_neighbours]]] == label)
  return total / num_neighbours / len(_TEST)


class KnnShapleyTest(parameterized.TestCase):

  @parameterized.parameters(1, 2, 3, 6)
  def test_matches_the_definition(self, num_neighbours):
    expected = np.zeros(6)
    for i in range(6):
      others = [j for j in range(6) if j != i]
      for size in range(6):
        weight = math.factorial(size) * math.factorial(5 - size)
        for subset in itertools.combinations(others, size):
          gain = _utility([*subset, i], num_neighbours)
          gain -= _utility(list(subset), num_neighbours)
          expected[i] += weight / math.factorial(6) * gain
    found = lib.knn_shapley(
        _TRAIN, _LABELS, _TEST, _TEST_LABELS, num_neighbours=num_neighbours
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)
    self.assertAlmostEqual(found.sum(), _utility([*range(6)], num_neighbours))

  def test_wrong_labels_have_low_values_in_any_shape(self):
    rng = np.random.default_rng(1)
    labels = np.arange(300) % 3
    inputs = rng.normal(size=(300, 2, 2)) + 4 * labels[:, None, None]
    wrong = labels[:200].copy()
    wrong[:10] = (wrong[:10] + 1) % 3
    found = lib.knn_shapley(inputs[:200], wrong, inputs[200:], labels[200:])
    self.assertLess(found[:10].max(), found[10:].min())

  @parameterized.parameters(
      ({'num_neighbours': 7}, 'num_neighbours from 1 to 6, got 7'),
      ({'inputs': _TEST[:, :1]}, 'one length, got 2 and 1'),
      ({'labels': _TEST_LABELS[:2]}, 'one of labels for each'),
      ({'train_inputs': _TRAIN[:, 0]}, 'train_inputs'),
  )
  def test_errors(self, changes, message):
    options = {
        'train_inputs': _TRAIN,
        'train_labels': _LABELS,
        'inputs': _TEST,
        'labels': _TEST_LABELS,
        **changes,
    }
    with self.assertRaisesRegex(ValueError, message):
      lib.knn_shapley(**options)


if __name__ == '__main__':
  absltest.main()
