from absl.testing import absltest
from absl.testing import parameterized
import jax.numpy as jnp
import numpy as np

from jdm.solvers import penalties
from jdm.solvers import precision
from jdm.solvers import proximal
from tests import planted


def _objective(gram, cross, weights, lam):
  smooth = 0.5 * np.sum(weights * (weights @ gram), axis=1)
  return smooth - np.sum(weights * cross, axis=1) + lam * np.abs(weights).sum(1)


class ProximalTest(parameterized.TestCase):

  @parameterized.parameters(1, 5, 40)
  def test_step_is_below_two_over_the_largest_eigenvalue(self, size):
    for seed in range(20):
      half = np.random.default_rng(seed).normal(size=(size, size))
      gram = (half @ half.T).astype(np.float32)
      step = proximal.step_size(jnp.asarray(gram))
      largest = np.linalg.eigvalsh(gram)[-1]
      self.assertLess(step * largest, 2)
      self.assertGreater(step * largest, 0.5)

  def test_a_block_without_curvature_does_not_move(self):
    self.assertEqual(proximal.step_size(jnp.zeros((3, 3))), 0)

  def test_active_coordinates_come_first(self):
    active = jnp.array([False, True, False, True, True])
    order, num_blocks = proximal.active_first(active, 2)
    np.testing.assert_array_equal(order, [1, 3, 4, 0, 2])
    self.assertEqual(num_blocks, 2)

  @parameterized.product(dtype=('float32', 'float64'), copies=(False, True))
  def test_a_sweep_descends_and_keeps_correlations_true(self, dtype, copies):
    problem = planted.sparse_linear(0)
    gram = problem.moments.gram()
    cross = problem.moments.centred_cross().T
    lam = np.full(5, 0.02)
    with precision.float64():
      point = jnp.zeros((5, 60)), jnp.asarray(cross)
      last = _objective(gram, cross, np.zeros((5, 60)), lam)
      for _ in range(10):
        point = proximal.gram_sweep(
            proximal.prepare(jnp.asarray(gram, dtype), 7, copies=copies),
            point,
            penalties.of(jnp.asarray(lam)),
            jnp.ones(5),
            block=7,
        )
        weights = np.asarray(point[0])
        new = _objective(gram, cross, weights, lam)
        self.assertTrue((new <= last + 1e-9).all())
        last = new
      # Rounding of the products, in units of the correlations.
      atol = 1e-6 if dtype == 'float32' else 1e-13
      np.testing.assert_allclose(point[1], cross - weights @ gram, atol=atol)
      self.assertTrue((weights == 0).any())


if __name__ == '__main__':
  absltest.main()
