"""Tests of grey levels against how datasets normalize them."""

from typing import Any

from absl.testing import absltest
import numpy as np

from jdm import datasets
from jdm.datasets import arrays
from jdm.datasets import dataset
from jdm.datasets import pixels


class PixelsTest(absltest.TestCase):

  def test_digits(self):
    data = datasets.load('digits')
    scale = pixels.fit(data)
    self.assertTrue(scale.is_dark)
    # Inputs are (ink / 16 - mean) / .35; 255 grey levels are 16 of ink.
    self.assertAlmostEqual(scale.scale, 1 / 255 / 0.35, delta=1e-8)
    levels = scale.pixels(data.test.inputs)
    ink = levels * 16 / 255
    np.testing.assert_allclose(ink, np.rint(ink), atol=1e-4)
    back = scale.inputs(levels, (64,))
    np.testing.assert_allclose(back, data.test.inputs, rtol=0, atol=1e-6)

  def test_uint8_colours(self):
    rng = np.random.default_rng(0)
    images: Any = rng.integers(20, 200, (9, 6, 5, 3), dtype=np.uint8)
    labels = np.arange(9) % 2
    data = arrays.from_arrays(images, labels, images, labels)
    scale = pixels.fit(data)
    self.assertFalse(scale.is_dark)
    self.assertAlmostEqual(scale.scale, 1 / images.std(), delta=1e-6)
    np.testing.assert_allclose(
        scale.blank, -images.mean() / images.std(), atol=1e-3
    )
    np.testing.assert_array_equal(scale.images(data.train.inputs), images)

  def test_rotation_of_a_known_image(self):
    image = np.zeros((9, 9))
    image[4] = 200.0
    scale = pixels.Scale(blank=np.zeros((9, 9)), scale=1.0, is_dark=True)
    turned = scale.rotate(image, 90.0)
    np.testing.assert_array_equal(turned, image.T)

  def test_patch(self):
    images = np.zeros((2, 20, 18), np.uint8)
    for size, expected in ((None, 9), (5, 25)):
      marked = pixels.patch(images, size)
      self.assertEqual(np.count_nonzero(marked[0]), expected)
      self.assertEqual(marked[1, -1, -1], 255)
    self.assertEqual(images.max(), 0)
    with self.assertRaisesRegex(ValueError, 'from 1 to 18'):
      pixels.patch(images, 19)

  def test_inputs_that_are_something_else(self):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 4, 4), dtype=np.uint8)

    def load(inputs, images):
      split = dataset.Split(
          inputs=inputs.astype(np.float32),
          labels=np.arange(9) % 2,
          images=images,
      )
      return dataset.Dataset(name='odd', train=split, test=split, num_classes=2)

    flat = images.reshape(9, 16) / 255
    self.assertAlmostEqual(
        pixels.fit(load(flat - 1, images)).scale, 1 / 255, delta=1e-7
    )
    with self.assertRaisesRegex(ValueError, 'not its images, normalized'):
      pixels.fit(load(flat**2, images))
    with self.assertRaisesRegex(ValueError, 'no images that its inputs'):
      pixels.fit(load(flat[:, :5], images))
    with self.assertRaisesRegex(ValueError, 'no images that its inputs'):
      pixels.fit(load(flat, None))
    with self.assertRaisesRegex(ValueError, 'all train images are the same'):
      pixels.fit(load(flat, np.zeros_like(images)))


if __name__ == '__main__':
  absltest.main()
