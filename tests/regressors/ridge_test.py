from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import linear_model

from jdm.regressors import ridge
from tests import planted


class RidgeTest(parameterized.TestCase):

  @parameterized.parameters(30, 300)
  def test_matches_scikit_learn(self, num_models):
    problem = planted.sparse_linear(0, num_models=num_models)
    lam = np.array([1e-3, 1e-2, 1e-1, 1, 10])
    fitted = ridge.fit(problem.masks, problem.outcomes, lam=lam)
    model = linear_model.Ridge(alpha=num_models * lam)
    model.fit(problem.masks.astype(float), problem.outcomes.astype(float))
    # float32 weights of size 1, biases of size 10.
    np.testing.assert_allclose(fitted.weights, model.coef_.T, atol=1e-6)
    np.testing.assert_allclose(fitted.bias, model.intercept_, atol=1e-5)

  def test_chooses_the_lowest_validation_error(self):
    problem = planted.sparse_linear(1, noise=1)
    fitted = ridge.fit(problem.masks, problem.outcomes, num_val=100)
    pair = problem.masks[:-100], problem.outcomes[:-100]
    val = problem.masks[-100:], problem.outcomes[-100:]
    for factor in (0.2, 5):
      other = ridge.fit(*pair, lam=fitted.lam * factor)
      predicted = val[0] @ other.weights + other.bias[None]
      mse = np.mean((val[1] - predicted) ** 2, axis=0)
      # Predictions in float32.
      self.assertTrue((fitted.val_mse <= mse + 1e-4).all())

  def test_bad_options_raise(self):
    problem = planted.sparse_linear(2)
    pair = problem.masks, problem.outcomes
    with self.assertRaisesRegex(ValueError, 'lam above 0'):
      ridge.fit(*pair, lam=0)
    with self.assertRaisesRegex(ValueError, 'min_ratio'):
      ridge.fit(*pair, min_ratio=1)


if __name__ == '__main__':
  absltest.main()
