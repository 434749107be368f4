from absl.testing import absltest
import numpy as np

from jdm.solvers import path as path_lib
from tests import planted


class TilesTest(absltest.TestCase):

  def test_slow_targets_are_set_aside_and_finished_together(self):
    problem = planted.sparse_linear(0, num_targets=50, num_models=90)
    done = []
    path = path_lib.lasso_path(
        problem.moments,
        num_lams=6,
        keep='all',
        tile=8,
        progress=lambda count, total: done.append((count, total)),
    )
    self.assertTrue(path.converged.all())
    self.assertTrue((path.num_epochs > 0).all())
    # Seven tiles, and at least once those set aside.
    self.assertGreater(len(done), 7)
    self.assertEqual(done[-1], (50, 50))
    self.assertEqual(done, sorted(done))
    alone = path_lib.lasso_path(
        problem.moments, num_lams=6, keep='all', tile=50
    )
    # Two solutions within a gap of 1e-4 differ by about its root.
    np.testing.assert_allclose(path.weights, alone.weights, atol=0.1)


if __name__ == '__main__':
  absltest.main()
