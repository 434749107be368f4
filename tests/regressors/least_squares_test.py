from absl.testing import absltest
import numpy as np
from sklearn import linear_model

from jdm.regressors import least_squares
from tests import planted


class LeastSquaresTest(absltest.TestCase):

  def test_matches_scikit_learn(self):
    generator = np.random.default_rng(0)
    masks = generator.random((200, 20)) < 0.5
    outcomes = generator.normal(size=(200, 3))
    fitted = least_squares.fit(masks, outcomes)
    model = linear_model.LinearRegression().fit(masks.astype(float), outcomes)
    # float32 weights of size 0.1.
    np.testing.assert_allclose(fitted.weights, model.coef_.T, atol=1e-7)
    np.testing.assert_allclose(fitted.bias, model.intercept_, atol=1e-6)

  def test_has_least_norm_where_many_are_optimal(self):
    for num_models in (30, 300):  # Few models; subsets of one size.
      problem = planted.sparse_linear(1, num_models=num_models)
      fitted = least_squares.fit(problem.masks, problem.outcomes)
      centred = problem.masks - problem.masks.mean(axis=0)[None]
      outcomes = problem.outcomes.astype(np.float64)
      residual = outcomes - outcomes.mean(axis=0)[None]
      expected = np.linalg.pinv(centred, rcond=1e-10) @ residual
      # float32 weights of size 1.
      np.testing.assert_allclose(fitted.weights, expected, atol=1e-6)

  def test_recovers_weights_without_noise(self):
    generator = np.random.default_rng(2)
    masks = generator.random((100, 20)) < 0.5
    weights = generator.normal(size=(20, 2))
    fitted = least_squares.fit(masks, masks @ weights + 3)
    np.testing.assert_allclose(fitted.weights, weights, atol=1e-6)
    np.testing.assert_allclose(fitted.bias, 3, atol=1e-6)
    self.assertTrue(np.isnan(fitted.val_mse).all())


if __name__ == '__main__':
  absltest.main()
