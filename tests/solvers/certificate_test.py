from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax.numpy as jnp
import numpy as np

from jdm.solvers import certificate
from jdm.solvers import gram_blocks
from jdm.solvers import moments as moments_lib
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

  @parameterized.product(alpha=(0.2, 0.5), balanced=(True, False))
  def test_corrected_dual_points_bound_the_excess(self, alpha, balanced):
    generator = np.random.default_rng(3)
    masks = planted.fixed_size_masks(generator, 240, 40, alpha)
    if not balanced:
      masks = generator.random(masks.shape) < alpha
    outcomes = masks @ generator.laplace(size=(40, 4)) + generator.normal(
        size=(240, 4)
    )
    moments = moments_lib.of(masks, outcomes)
    lam = np.array([0.3, 0.2, 0.1, 0.05])
    half = moments.variance() / 2
    for size in (0, 1e-3, 1e-2):
      for j in range(4):
        best, bias = oracle.lasso(masks, outcomes[:, j], lam[j])
        noise = size * generator.normal(size=40) * (best != 0)
        weights = np.tile((best + noise)[:, None], 4)
        gaps = {
            name: certificate.from_moments(
                moments, weights, lam, dual_point=name
            )[j]
            * half[j]
            for name in certificate.DUAL_POINTS
        }
        pair = masks, outcomes[:, j]
        bias = np.mean(outcomes[:, j] - masks @ weights[:, j])
        least = oracle.objective(*pair, *oracle.lasso(*pair, lam[j]), lam[j])
        excess = oracle.objective(*pair, weights[:, j], bias, lam[j]) - least
        self.assertLessEqual(excess, gaps['corrected'] + 1e-12)
        self.assertLessEqual(gaps['corrected'], gaps['residual'])
        if size == 1e-3:  # Second order where the other is first.
          self.assertLess(gaps['corrected'], 0.1 * gaps['residual'])
          self.assertLess(gaps['corrected'], 20 * excess + 1e-9)

  @parameterized.parameters(0.1, 0.5)
  def test_curvature_is_a_lower_bound(self, alpha):
    generator = np.random.default_rng(0)
    masks = planted.fixed_size_masks(generator, 400, 50, alpha)
    moments = moments_lib.of(masks, np.zeros((400, 1)))
    found = certificate.curvature(moments)
    second = np.linalg.eigvalsh(moments.gram())[1]
    self.assertTrue(found.balanced)
    self.assertBetween(found.smallest, 0.3 * second, second)
    # A copied example, or no more models than examples: none.
    twins = moments_lib.of(np.hstack([masks, masks[:, :1]]), np.zeros((400, 1)))
    self.assertIsNone(certificate.curvature(twins))
    few = moments_lib.of(masks[:40], np.zeros((40, 1)))
    self.assertIsNone(certificate.curvature(few))

  def test_the_running_bound_is_above_the_exact_corrected_gap(self):
    problem = planted.sparse_linear(2)
    moments = problem.moments
    lam, weights = np.full(5, 0.05), problem.weights * 0.9
    exact = certificate.from_moments(
        moments, weights, lam, dual_point='corrected'
    )
    with precision.float64():
      correlation = (moments.centred_cross() - moments.gram() @ weights).T
      bound = np.asarray(
          certificate.corrected_gap(
              jnp.asarray(weights.T),
              jnp.asarray(correlation),
              penalties.of(jnp.asarray(lam)),
              certificate.curvature(moments),
          )
      )
    self.assertTrue((exact <= bound / (moments.variance() / 2)).all())

  @parameterized.product(
      dual_point=certificate.DUAL_POINTS, l1_ratio=(0.5, 1.0)
  )
  def test_blocks_of_rows_certify_the_same(self, dual_point, l1_ratio):
    problem = planted.sparse_linear(4, num_targets=7)
    lam, weights = np.full((2, 7), 0.05), np.stack([problem.weights] * 2) * 0.9
    options = {'dual_point': dual_point, 'l1_ratio': l1_ratio, 'tile': 3}
    args = problem.moments, weights, lam
    whole = certificate.from_moments(*args, **options)
    with mock.patch.multiple(
        gram_blocks, WHOLE_TRAIN=10, _BLOCK_BYTES=8 * 60 * 13
    ):
      parts = certificate.from_moments(*args, **options)
      found = certificate.curvature(problem.moments)
    # A bound by the curvature stands for the corrected point itself.
    if dual_point == 'corrected' and l1_ratio == 1:
      self.assertTrue((parts >= whole * (1 - 1e-9)).all())
    else:
      np.testing.assert_allclose(parts, whole, rtol=1e-9)
    other = certificate.curvature(problem.moments)
    np.testing.assert_array_equal(found.smallest, other.smallest)

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
