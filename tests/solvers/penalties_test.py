from absl.testing import absltest
from absl.testing import parameterized
import jax.numpy as jnp
import numpy as np

from jdm.solvers import penalties
from jdm.solvers import precision


class PenaltyTest(parameterized.TestCase):

  @parameterized.product(
      factor=(False, True), l1_ratio=(1.0, 0.3), positive=(False, True)
  )
  def test_shrink_minimizes_what_value_says(self, factor, l1_ratio, positive):
    values = np.linspace(-2, 2, 9)[None]
    factors = np.linspace(0.5, 2, 9)[None] if factor else np.ones((1, 9))
    grid = np.linspace(-3, 3, 6001)
    step, lam = 0.7, 0.9
    with precision.float64():
      penalty = penalties.of(
          jnp.full(1, lam), jnp.asarray(factors), l1_ratio, positive
      )
      found = np.asarray(penalty.shrink(values, jnp.full((1, 1), step)))[0]
      several = np.asarray(penalty.value(jnp.asarray(values)))
    for j, value in enumerate(values[0]):
      objective = (
          (grid - value) ** 2 / (2 * step)
          + lam * l1_ratio * factors[0, j] * np.abs(grid)
          + lam * (1 - l1_ratio) / 2 * grid**2
      )
      objective = np.where(positive & (grid < 0), np.inf, objective)
      self.assertAlmostEqual(found[j], grid[objective.argmin()], delta=1e-3)
    total = lam * l1_ratio * np.abs(values * factors).sum()
    total += lam * (1 - l1_ratio) / 2 * np.sum(values**2)
    np.testing.assert_allclose(several, np.inf if positive else total)

  def test_zeros_are_exact(self):
    penalty = penalties.of(jnp.full(1, 0.3))
    values = jnp.array([[-2.0, -0.3, 0.0, 0.3, 2.0]])
    shrunk = penalty.shrink(values, jnp.ones((1, 1)))[0]
    np.testing.assert_allclose(shrunk, [-1.7, 0, 0, 0, 1.7], rtol=1e-6)
    np.testing.assert_array_equal(shrunk[1:4], 0)


class GridTest(absltest.TestCase):

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

  def test_largest_of_other_kinds(self):
    cross = np.array([[2.0], [-3]])
    variance, factor = np.array([4.0]), np.array([[1.0], [6]])
    self.assertEqual(penalties.largest(cross, variance, factor)[0], 2)
    self.assertEqual(penalties.largest(cross, variance, l1_ratio=0.5)[0], 6)
    self.assertEqual(penalties.largest(cross, variance, positive=True)[0], 2)

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
