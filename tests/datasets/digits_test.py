"""Tests of the digits: the formula, and the same bits on every machine."""

from typing import Any

from absl.testing import absltest
import numpy as np
from sklearn import datasets

from jdm.datasets import digits


class DigitsTest(absltest.TestCase):

  def test_bits(self):
    self.assertEqual(
        digits.load().fingerprint,
        '1edf9436f88e0b02b61682245bad93fc9afff6220ed4b4c0cab06f90e50ff2d5',
    )

  def test_formula(self):
    data = digits.load()
    source: Any = datasets.load_digits()
    rows = np.random.default_rng(0).permutation(1797)
    inputs = source.data[rows] / 16
    inputs = (inputs - inputs[:1500].mean(axis=0)[None]) / 0.35
    # One float32 rounding of numbers up to 3.
    np.testing.assert_allclose(data.train.inputs, inputs[:1500], atol=3e-7)
    np.testing.assert_allclose(data.test.inputs, inputs[1500:], atol=3e-7)
    np.testing.assert_array_equal(data.test.labels, source.target[rows[1500:]])
    np.testing.assert_array_equal(data.train.ids, rows[:1500])

  def test_images(self):
    data = digits.load()
    source: Any = datasets.load_digits()
    self.assertEqual(data.image_shape, (8, 8))
    # Rounding to whole grey values.
    np.testing.assert_allclose(
        np.asarray(data.test.images) / 255,
        source.images[data.test.ids] / 16,
        atol=0.5 / 255,
    )


if __name__ == '__main__':
  absltest.main()
