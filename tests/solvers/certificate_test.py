from absl.testing import absltest
from absl.testing import parameterized
import jax.numpy as jnp
import numpy as np

from jdm.solvers import certificate
from jdm.solvers import penalties
from jdm.solvers import precision
from tests import planted
from tests.solvers import oracle


class CertificateTest(parameterized.TestCase):

  @parameterized.parameters(0, 1e-3, 1)
  def test_equals_primal_minus_dual_from_the_masks(self, size):
    problem = planted.sparse_linear(0)
    weights = np.random.default_rng(1).normal(size=(60, 5)) * size
    lam = np.linspace(0.01, 1, 5)
    gaps = certificate.from_moments(problem.moments, weights, lam, tile=2)
    for j in range(5):
      gap = oracle.relative_gap(
          problem.masks, problem.outcomes[:, j], weights[:, j], lam[j]
      )
      np.testing.assert_allclose(gaps[j], gap, rtol=1e-9, atol=1e-13)

  def test_takes_whole_paths(self):
    moments = planted.sparse_linear(0).moments
    weights = np.random.default_rng(1).normal(size=(3, 60, 5))
    lam = np.full((3, 5), 0.1)
    gaps = certificate.from_moments(moments, weights, lam)
    self.assertEqual(gaps.shape, (3, 5))
    for k in range(3):
      one = certificate.from_moments(moments, weights[k], lam[k])
      np.testing.assert_allclose(gaps[k], one, rtol=1e-12)

  def test_is_never_negative_and_zero_at_a_solution(self):
    # One example, unit curvature: w = soft(c, lam).
    with precision.float64():
      cross, lam = jnp.array([[2.0], [-0.5]]), jnp.array([0.75, 0.75])
      weights = jnp.array([[1.25], [0.0]])
      correlation = cross - weights
      residual = 4 - jnp.sum(weights * (cross + correlation), axis=1)
      gap = certificate.duality_gap(
          weights, correlation, residual, penalties.of(lam)
      )
      np.testing.assert_allclose(gap, 0, atol=1e-15)
      generator = np.random.default_rng(0)
      for _ in range(20):
        weights = jnp.asarray(generator.normal(size=(2, 1)))
        correlation = cross - weights
        residual = 4 - jnp.sum(weights * (cross + correlation), axis=1)
        gap = certificate.duality_gap(
            weights, correlation, residual, penalties.of(lam)
        )
        self.assertTrue((gap > 0).all())

  def test_nothing_cancels_in_float32(self):
    cross, lam = jnp.array([[1.0]]), jnp.array([0.5])
    weights = jnp.array([[0.5 + 1e-4]])
    correlation = cross - weights
    residual = 1e6 - jnp.sum(weights * (cross + correlation), axis=1)
    gap = certificate.duality_gap(
        weights, correlation, residual, penalties.of(lam)
    )
    # lam |w| - w g with g = lam - 1e-4; P - D would be lost next to 1e6.
    np.testing.assert_allclose(gap, 0.5e-4, rtol=1e-3)

  def test_a_constant_outcome_has_gap_zero(self):
    gaps = certificate.relative(np.array([1e-3, 0]), np.array([2.0, 0]))
    np.testing.assert_array_equal(gaps, [1e-3, 0])


if __name__ == '__main__':
  absltest.main()
