"""The peers of the LASSO benchmark that need no package of their own."""

import os

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from experiments.benchmarks import lasso_problems
from experiments.benchmarks.peers import lasso_paths
from jdm.solvers import penalties
from tests.solvers import oracle

_TOL = 1e-4


class LassoPeersTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    spec = lasso_problems.Spec(num_train=30, num_models=120, num_targets=4)
    cls.problem = lasso_problems.synthetic(spec)
    cls.lams = penalties.grid(
        penalties.largest(cls.problem.cross, cls.problem.variance), num_lams=6
    )

  def setUp(self):
    super().setUp()
    path = os.path.join(self.create_tempdir().full_path, 'problem.npz')
    self.problem.save(path, self.lams)
    self.read = lasso_paths.Problem(path)

  def test_reads_the_problem(self):
    np.testing.assert_array_equal(self.read.masks(), self.problem.masks)
    np.testing.assert_allclose(
        self.read.centred().T @ self.read.centred() / 120,
        self.problem.gram,
        atol=1e-14,
    )

  def test_gaps_are_the_definition(self):
    weights = np.random.default_rng(0).normal(size=(6, 30, 1)) / 10
    gaps = self.problem.gaps(np.array([2]), weights, self.lams)
    for k in range(6):
      expected = oracle.relative_gap(
          self.problem.masks,
          self.problem.outcomes[:, 2],
          weights[k, :, 0],
          self.lams[k, 2],
      )
      np.testing.assert_allclose(gaps[k, 0], expected, rtol=1e-6)
    largest = self.read.gap(2, weights[:, :, 0].T)
    np.testing.assert_allclose(largest, gaps.max(), rtol=1e-9)

  @parameterized.parameters('sklearn32', 'sklearn64', 'fast_l1')
  def test_finds_a_setting_that_reaches_the_gap(self, name):
    peer = lasso_paths.PEERS[name](self.read)
    missed, _, setting, inner, gap = lasso_paths.choose(
        peer, self.read, _TOL, 10
    )
    self.assertFalse(missed)
    self.assertLessEqual(gap, _TOL)
    targets = [3, 1]
    solved, seconds, epochs = lasso_paths.solve_all(
        peer, targets, setting, inner, 10
    )
    self.assertLen(seconds, 2)
    weights = np.stack(solved, axis=2).transpose(1, 0, 2)
    gaps = self.problem.gaps(np.array(targets), weights, self.lams)
    # Settings are chosen on other targets.
    self.assertLessEqual(gaps.max(), 2 * _TOL)
    self.assertEqual(len(epochs) > 0, name == 'fast_l1')
    self.assertTrue((weights == 0).any())

  def test_a_budget_stops_after_a_target(self):
    peer = lasso_paths.PEERS['sklearn64'](self.read)
    solved, seconds, _ = lasso_paths.solve_all(peer, [0, 1, 2], {}, 1e-4, 0)
    self.assertLen(solved, 1)
    self.assertLen(seconds, 1)


if __name__ == '__main__':
  absltest.main()
