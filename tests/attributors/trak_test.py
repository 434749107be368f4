"""Tests of TRAK."""

import dataclasses

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.attributors import influence
from jdm.attributors import trak
from tests.attributors import made


class TrakTest(parameterized.TestCase):

  @parameterized.parameters('linear', 'mlp')
  def test_a_sketch_of_all_dimensions_is_influence(self, name):
    trained = dataclasses.replace(made.trained(name), weight_decay=0.0)
    options = {'curvature': 'margin', 'num_dimensions': 1000}
    dampings = (0.3, 3.0)
    found = trak.path(trained, dampings=dampings, **options)
    for damping, scores in zip(dampings, found):
      expected = influence.scores(trained, damping=damping).values
      scale = np.abs(expected).max()  # float32 decompositions.
      np.testing.assert_allclose(scores.values, expected, atol=2e-4 * scale)

  @parameterized.parameters(*trak.PROJECTIONS)
  def test_projections_come_near(self, projection):
    trained = made.trained('mlp')
    whole = trak.scores(trained, num_dimensions=57).values
    near = trak.scores(trained, num_dimensions=40, projection=projection).values
    self.assertGreater(np.corrcoef(whole.ravel(), near.ravel())[0, 1], 0.8)
    self.assertGreater(np.abs(whole - near).max(), 0)

  def test_batches_do_not_matter(self):
    trained = made.trained('mlp', 2)
    whole = trak.scores(trained, num_dimensions=20).values
    small = trak.scores(trained, num_dimensions=20, example_batch=7).values
    np.testing.assert_allclose(small, whole, atol=1e-4 * np.abs(whole).max())

  @parameterized.parameters(
      ({'damping': 0.0}, 'positive dampings'),
      ({'num_dimensions': 0}, 'at least 1'),
      ({'projection': 'fourier'}, "'sketch', 'normal'"),
      ({'curvature': 'logits'}, "'identity', 'margin'"),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      trak.scores(made.trained(), **options)


if __name__ == '__main__':
  absltest.main()
