from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm.solvers import centred
from jdm.solvers import debiased
from jdm.solvers import moments as moments_lib
from jdm.solvers import path as path_lib
from tests import planted


def _bernoulli(seed, num_models, num_train, num_targets, noise=1.0):
  """Masks of random sizes, sparse weights and normal noise."""
  generator = np.random.default_rng(seed)
  masks = generator.random((num_models, num_train)) < 0.5
  weights = np.zeros((num_train, num_targets))
  weights[:4] = generator.choice([-1, 1], (4, num_targets))
  outcomes = masks @ weights + noise * generator.normal(
      size=(num_models, num_targets)
  )
  return masks, outcomes, weights


def _lasso(moments, lam=0.05):
  return path_lib.lasso_path(moments, lams=np.array([lam]), tol=1e-6).weights


def _least_squares(masks, outcomes):
  """Weights and intercepts by brute force."""
  columns = np.hstack([masks, np.ones((len(masks), 1))]).astype(np.float64)
  solution = np.linalg.lstsq(columns, outcomes, rcond=None)[0]
  return solution[:-1], solution[-1], np.linalg.pinv(columns.T @ columns)


class RelaxedTest(parameterized.TestCase):

  @parameterized.parameters(0.0, 0.3, 1.0)
  def test_blends_least_squares_on_the_support(self, blend):
    problem = planted.sparse_linear(0, num_targets=7)
    lasso = _lasso(problem.moments)
    lasso[:, 3] = 0
    weights, bias = debiased.relaxed(problem.moments, lasso, blend=blend)
    self.assertEqual(weights.dtype, np.float64)
    for j in range(7):
      support = lasso[:, j] != 0
      self.assertEqual(support.any(), j != 3)
      outcomes = problem.outcomes[:, j].astype(np.float64)
      best, _, _ = _least_squares(problem.masks[:, support], outcomes)
      expected = (1 - blend) * lasso[support, j] + blend * best
      np.testing.assert_allclose(weights[support, j], expected, atol=1e-9)
      np.testing.assert_array_equal(weights[~support, j], 0)
      offset = np.mean(outcomes - problem.masks @ weights[:, j])
      np.testing.assert_allclose(bias[j], offset, atol=1e-9)

  def test_bad_input_raises(self):
    problem = planted.sparse_linear(0)
    lasso = _lasso(problem.moments)
    with self.assertRaisesRegex(ValueError, 'blend from 0 to 1'):
      debiased.relaxed(problem.moments, lasso, blend=1.5)
    with self.assertRaisesRegex(ValueError, r'shape .60, 5., as'):
      debiased.relaxed(problem.moments, lasso[:, :2])
    with self.assertRaisesRegex(ValueError, 'finite weights'):
      debiased.relaxed(problem.moments, lasso * np.nan)
    twins = np.hstack([problem.masks, problem.masks[:, :1]])
    moments = moments_lib.of(twins, problem.outcomes)
    both = np.zeros((61, 5))
    both[[0, 60], 2] = 1
    with self.assertRaisesRegex(ValueError, '1 targets lack .target 2 first'):
      debiased.relaxed(moments, both)


class DebiasedTest(parameterized.TestCase):

  def test_without_a_ridge_it_is_least_squares(self):
    masks, outcomes, _ = _bernoulli(0, 300, 30, 5)
    moments = moments_lib.of(masks, outcomes)
    lasso = _lasso(moments)
    found = debiased.debias(moments, lasso, level=0.8)
    weights, bias, inverse = _least_squares(masks, outcomes)
    np.testing.assert_allclose(found.weights, weights, atol=1e-9)
    np.testing.assert_allclose(found.bias, bias, atol=1e-9)
    np.testing.assert_allclose(found.leakage, 0, atol=1e-9)
    residual = outcomes - masks @ lasso
    residual -= residual.mean(axis=0)[None]
    free = 300 - np.count_nonzero(lasso, axis=0) - 1
    noise = np.sqrt(np.sum(residual**2, axis=0) / free)
    np.testing.assert_allclose(found.noise, noise, rtol=1e-9)
    error = np.sqrt(np.diagonal(inverse)[:-1, None]) * noise[None]
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-9)
    reach = stats.norm.ppf(0.9) * error
    np.testing.assert_allclose(found.upper, found.weights + reach, atol=1e-9)
    np.testing.assert_allclose(found.lower, found.weights - reach, atol=1e-9)

  @parameterized.parameters(0.0, 0.1)
  def test_one_size_leaves_the_mean_of_the_lasso(self, ridge):
    problem = planted.sparse_linear(1)
    lasso = _lasso(problem.moments)
    found = debiased.debias(problem.moments, lasso, ridge=ridge)
    np.testing.assert_allclose(
        found.weights.mean(axis=0), lasso.mean(axis=0), atol=1e-9
    )
    if not ridge:
      weights, _, _ = _least_squares(problem.masks, problem.outcomes)
      for some in (weights, found.weights):
        some -= some.mean(axis=0)[None]
      np.testing.assert_allclose(found.weights, weights, atol=1e-6)

  def test_with_a_ridge_it_is_the_definition(self):
    masks, outcomes, weights = _bernoulli(2, 50, 80, 3, noise=0)
    moments = moments_lib.of(masks, outcomes)
    lasso = _lasso(moments)
    found = debiased.debias(moments, lasso, ridge=0.1)
    columns = masks - masks.mean(axis=0)[None]
    gram = columns.T @ columns / 50
    theta = np.linalg.inv(gram + 0.1 * np.eye(80))
    residual = outcomes - outcomes.mean(axis=0)[None] - columns @ lasso
    expected = lasso + theta @ columns.T @ residual / 50
    np.testing.assert_allclose(found.weights, expected, atol=1e-9)
    spread = np.diagonal(theta @ gram @ theta)
    np.testing.assert_allclose(
        found.standard_error,
        np.sqrt(spread / 50)[:, None] * found.noise[None],
        rtol=1e-6,
    )
    # Without noise all error is leakage, which is bounded.
    error = np.abs(found.weights - weights)
    bound = found.leakage[:, None] * np.abs(lasso - weights).sum(axis=0)[None]
    self.assertTrue((error <= bound + 1e-9).all())
    self.assertGreater(found.leakage.min(), 0.1)

  @parameterized.parameters(200, 1000)
  def test_intervals_cover_at_their_level(self, num_models):
    masks, outcomes, weights = _bernoulli(3, num_models, 40, 300)
    moments = moments_lib.of(masks, outcomes)
    found = debiased.debias(moments, _lasso(moments), level=0.9)
    covered = (found.lower <= weights) & (weights <= found.upper)
    shares = covered.mean(axis=0)
    # Targets are independent given the masks: their mean within 3 errors, and
    # .01 more for the noise, which the penalty's bias makes larger.
    error = shares.std() / np.sqrt(300)
    np.testing.assert_allclose(shares.mean(), 0.9, atol=3 * error + 0.01)
    for some in (covered[:4], covered[4:]):  # Weights, and zeros.
      np.testing.assert_allclose(some.mean(), 0.9, atol=0.04)

  def test_bad_input_raises(self):
    masks, outcomes, _ = _bernoulli(0, 40, 50, 2)
    few = moments_lib.of(masks, outcomes)
    debias, none = debiased.debias, np.zeros((50, 2))
    with self.assertRaisesRegex(ValueError, '40 models of 50 examples'):
      debias(few, none)
    with self.assertRaisesRegex(ValueError, 'fewer weights than models'):
      debias(few, np.ones((50, 2)), ridge=1)
    with self.assertRaisesRegex(ValueError, 'finite ridge'):
      debias(few, none, ridge=-1)
    with self.assertRaisesRegex(ValueError, 'level above 0'):
      debias(few, none, ridge=1, level=1)
    masks, outcomes, _ = _bernoulli(0, 90, 50, 2)
    masks[:, 3] = True
    with self.assertRaisesRegex(ValueError, '1 examples in every model'):
      debias(moments_lib.of(masks, outcomes), none)
    some = centred.of(moments_lib.of(*_bernoulli(0, 90, 50, 2)[:2]))
    some.second[0, 0] -= 0.5
    with self.assertRaisesRegex(ValueError, 'negative eigenvalues, got -0.3'):
      debias(some, none)


if __name__ == '__main__':
  absltest.main()
