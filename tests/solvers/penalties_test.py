from absl.testing import absltest
import numpy as np

from jdm.solvers import penalties


class PenaltiesTest(absltest.TestCase):

  def test_grid_is_even_in_the_log(self):
    lams = penalties.grid(np.array([2.0, 30]), num_lams=5, min_ratio=1e-4)
    self.assertEqual(lams.shape, (5, 2))
    np.testing.assert_allclose(lams[0], [2, 30])
    np.testing.assert_allclose(lams[1:] / lams[:-1], 0.1)
    np.testing.assert_array_equal(penalties.grid(np.ones(2), num_lams=1), 1)

  def test_largest_is_above_zero_where_the_outcome_varies(self):
    cross = np.array([[1.0, 0, 0], [-3, 0, 0]])
    lam_max = penalties.largest(cross, np.array([4.0, 4, 0]))
    self.assertEqual(lam_max[0], 3)
    self.assertGreater(lam_max[1], 0)
    self.assertEqual(lam_max[2], 0)

  def test_given_penalties_are_each_targets(self):
    lams = penalties.given(np.array([2, 1]), np.ones(3))
    np.testing.assert_array_equal(lams, [[2, 2, 2], [1, 1, 1]])
    # A constant outcome, chosen before, comes with a penalty of 0.
    penalties.given(np.array([[1.0, 0]]), np.array([1.0, 0]))

  def test_bad_penalties_raise(self):
    for lams in (1.0, np.zeros((0, 2)), np.ones((2, 3))):
      with self.assertRaisesRegex(ValueError, 'expects lams of shape'):
        penalties.given(np.asarray(lams), np.ones(2))
    with self.assertRaisesRegex(ValueError, 'num_lams >= 1'):
      penalties.grid(np.ones(2), num_lams=0)


if __name__ == '__main__':
  absltest.main()
