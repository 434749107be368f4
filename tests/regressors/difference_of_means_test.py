from absl.testing import absltest
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.regressors import difference_of_means
from tests import planted


class DifferenceOfMeansTest(absltest.TestCase):

  def test_matches_the_definition(self):
    problem = planted.sparse_linear(0, num_train=20, alpha=0.3)
    fitted = difference_of_means.fit(problem.masks, problem.outcomes)
    outcomes = problem.outcomes.astype(np.float64)
    for i in range(20):
      held = problem.masks[:, i]
      expected = outcomes[held].mean(axis=0) - outcomes[~held].mean(axis=0)
      # float32 weights of size 1.
      np.testing.assert_allclose(fitted.weights[i], expected, atol=1e-6)

  def test_predictions_are_right_on_average(self):
    problem = planted.sparse_linear(1)
    fitted = difference_of_means.fit(problem.masks, problem.outcomes)
    predicted = datamodels_lib.predict(fitted, problem.masks)
    # float32 predictions of size 10.
    np.testing.assert_allclose(
        predicted.mean(axis=0), problem.outcomes.mean(axis=0), atol=1e-4
    )


if __name__ == '__main__':
  absltest.main()
