from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.solvers import centred
from jdm.solvers import dense
from jdm.solvers import path as path_lib
from tests import planted


def _sound() -> centred.Centred:
  return centred.of(planted.sparse_linear(0).moments)


class CheckTest(parameterized.TestCase):

  @parameterized.parameters(*range(6))
  def test_sums_of_every_kind_are_sound(self, seed):
    ratio = (0.3, 0.5, 1, 2, 10, 20)[seed]
    problem = planted.sparse_linear(seed, 60, int(60 * ratio))
    centred.check(problem.moments, 'who')
    generator = np.random.default_rng(seed)
    columns = generator.normal(size=(40, 30)) * 10.0 ** np.arange(-15, 15)
    columns[:, 3] = 7.0
    for intercept in (True, False):
      real = dense.of(columns, columns[:, :2] + 1, intercept=intercept)
      centred.check(real, 'who')
    centred.check(centred.of(problem.moments).padded(70, 8), 'who')

  def test_an_indefinite_matrix_is_told_by_how_much(self):
    moments = _sound()
    lowest = np.linalg.eigvalsh(moments.second)
    vector = np.random.default_rng(1).normal(size=60)
    vector /= np.linalg.norm(vector)
    moments.second[:] -= 0.5 * np.outer(vector, vector)
    least = np.linalg.eigvalsh(moments.second)[0]
    self.assertBetween(least, -0.5, -0.1)
    self.assertGreater(lowest[0], -1e-9)
    with self.assertRaisesRegex(
        ValueError, f'`lasso_path` .* eigenvalue of {least:.2g}'
    ):
      path_lib.lasso_path(moments, keep='all')

  def test_moments_that_are_not_centred_alike_raise(self):
    problem = planted.sparse_linear(0)
    moments = _sound()
    raw = problem.masks.T @ problem.outcomes.astype(np.float64) / 300
    moments.cross[:] = raw
    with self.assertRaisesRegex(ValueError, 'around the means: the product of'):
      path_lib.lasso_path(moments, keep='all')

  def test_negative_variances_and_nan_raise(self):
    moments = _sound()
    moments.second[3, 3] = -1
    with self.assertRaisesRegex(ValueError, 'variances of 0 or more, got -1'):
      centred.check(moments, 'who')
    moments = _sound()
    moments.second[3, 4] = np.nan
    with self.assertRaisesRegex(ValueError, 'Gram matrix that is not finite'):
      centred.check(moments, 'who')
    moments = _sound()
    moments.cross[3, 4] = np.inf
    with self.assertRaisesRegex(ValueError, 'moments that are not finite'):
      centred.check(moments, 'who')


if __name__ == '__main__':
  absltest.main()
