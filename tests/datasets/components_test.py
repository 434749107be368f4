"""Principal components against scikit-learn's."""

from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import decomposition

from jdm import datasets
from jdm import models
from jdm.datasets import arrays
from jdm.datasets import components
from jdm.training import augmentation


def _wide():
  """Fewer train examples than features."""
  rng = np.random.default_rng(0)
  parts: list[Any] = []
  for num in (20, 9):
    parts += [rng.standard_normal((num, 5, 6)), np.arange(num) % 2]
  return arrays.from_arrays(*parts)


class ComponentsTest(parameterized.TestCase):

  @parameterized.parameters(('digits', 20), ('wide', 19), ('diabetes', 10))
  def test_matches_scikit_learn(self, name, num_components):
    data = _wide() if name == 'wide' else datasets.load(name)
    projected = components.project(data, num_components)
    pca = decomposition.PCA(num_components, svd_solver='full')
    train, test = (
        split.inputs.reshape(len(split), -1).astype(float)
        for split in (data.train, data.test)
    )
    expected = pca.fit_transform(train)
    scale = np.sqrt(np.mean(np.sum(expected**2, axis=1)) / num_components)
    # Half a step of the grid to which projections are rounded.
    tolerance = components.GRID / 2 + 1e-6
    np.testing.assert_allclose(
        projected.train.inputs, expected / scale, rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(
        projected.test.inputs, pca.transform(test) / scale, atol=tolerance
    )
    self.assertAlmostEqual(
        np.mean(np.sum(projected.train.inputs**2, axis=1)),
        num_components,
        delta=1e-3 * num_components,
    )
    variances = projected.train.inputs.var(axis=0)
    self.assertTrue(np.all(np.diff(variances) < 1e-4))

  def test_only_train_inputs_decide(self):
    data = _wide()
    few = components.project(data.take(test=4), 7)
    all_of_them = components.project(data, 7)
    np.testing.assert_array_equal(few.train.inputs, all_of_them.train.inputs)
    np.testing.assert_array_equal(few.test.inputs, all_of_them.test.inputs[:4])

  def test_is_an_option_of_every_dataset(self):
    raw = datasets.load('digits', num_train=200)
    data = datasets.load('digits', num_train=200, num_components=16)
    self.assertEqual(data.train.inputs.shape, (200, 16))
    self.assertNotEqual(data.fingerprint, raw.fingerprint)
    self.assertEqual(
        data.fingerprint,
        datasets.load('digits', num_train=200, num_components=16).fingerprint,
    )
    other = datasets.load('digits', num_train=200, num_components=15)
    self.assertNotEqual(data.fingerprint, other.fingerprint)
    np.testing.assert_array_equal(data.train.images, raw.train.images)
    np.testing.assert_array_equal(data.test.labels, raw.test.labels)

  def test_of_what_was_planted(self):
    data = datasets.load('planted', kinds='exact', num_components=8)
    train, test = data.planted.duplicates.T
    np.testing.assert_array_equal(
        data.train.inputs[train], data.test.inputs[test]
    )

  def test_inputs_are_images_no_longer(self):
    data = datasets.load('digits', num_components=16)
    self.assertIsNone(data.image_shape)
    self.assertIsNotNone(data.take(train=50).train.images)
    shape = data.train.inputs.shape[1:]
    with self.assertRaisesRegex(ValueError, 'expect images'):
      augmentation.make(['translate'], shape, data.image_shape)
    with self.assertRaisesRegex(ValueError, 'expects images'):
      models.make('cnn', shape, 10, image_shape=data.image_shape)

  @parameterized.parameters(
      ('digits', 65, 'from 1 to 64 .* 64 features, got 65'),
      ('digits', 0, 'got 0'),
      ('wide', 20, 'from 1 to 19 for 20 train examples of 30 features'),
  )
  def test_errors(self, name, num_components, words):
    data = _wide() if name == 'wide' else datasets.load(name)
    with self.assertRaisesRegex(ValueError, words):
      components.project(data, num_components)

  def test_equal_inputs(self):
    ones, labels = np.ones((5, 3)), np.arange(5) % 2
    data = arrays.from_arrays(ones, labels, ones, labels)
    with self.assertRaisesRegex(ValueError, 'all train inputs are the same'):
      components.project(data, 2)


if __name__ == '__main__':
  absltest.main()
