"""Resamples hold every class; Laplace's draws have the Hessian's covariance."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.modelpred import ensembles
from jdm.modelpred import points
from jdm.solvers import precision
from jdm.training import convex
from tests.modelpred import made_up


class EnsemblesTest(parameterized.TestCase):

  @parameterized.parameters('half', 'bootstrap')
  def test_resamples(self, kind):
    pool = made_up.pool('softmax')
    found = ensembles.resamples(pool, 50, kind=kind)
    num = len(pool.labels)
    np.testing.assert_array_equal(
        found.sum(axis=1), num // 2 if kind == 'half' else num
    )
    self.assertTrue(np.all(found @ pool.classes > 0))
    self.assertEqual(found.max() > 1, kind == 'bootstrap')
    np.testing.assert_array_equal(
        ensembles.resamples(pool, 3, kind=kind), found[:3]
    )

  @parameterized.parameters('logistic', 'half_square')
  def test_laplace(self, loss):
    pool = made_up.pool(loss)
    drawn = ensembles.laplace(pool, 40_000)
    with precision.float64():
      hessian = pool.objective.hessian(
          pool.full, np.ones(30), convex.examples(pool.inputs, pool.labels)
      )
    np.testing.assert_allclose(drawn.mean(axis=0), pool.full, atol=0.02)
    np.testing.assert_allclose(
        np.cov(drawn.T) @ hessian, np.eye(len(pool.full)), atol=0.15
    )

  def test_errors(self):
    pool = made_up.pool('squared_hinge')
    with self.assertRaisesRegex(ValueError, 'squared_hinge'):
      ensembles.laplace(pool, 3)
    with self.assertRaisesRegex(ValueError, "got 'third' and 2"):
      ensembles.resamples(pool, 2, kind='third')
    alone = np.zeros(30, np.int32)
    own = points.Pool(
        objective=pool.objective, inputs=pool.inputs, labels=alone
    )
    with self.assertRaisesRegex(ValueError, 'rarest class is too rare'):
      ensembles.resamples(own, 1)


if __name__ == '__main__':
  absltest.main()
