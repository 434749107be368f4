"""No claimed gap is smaller than the true one, whatever the problem."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from experiments.benchmarks import certificate_cases as cases
from jdm.solvers import centred
from jdm.solvers import moments as moments_lib
from jdm.solvers import path as path_lib

_NUM_PROBLEMS = 40


class CertificatesTest(parameterized.TestCase):

  # Problems are padded to the largest of their kind: each kind compiles once.
  @parameterized.named_parameters(
      ('few', 2, 8, (0.5, 1, 2), (1e-3, 1e-4, 1e-5)),
      ('exact', 9, 24, (0.5, 1, 2, 5, 10), (1e-6, 1e-7)),
      ('many', 25, 60, (5, 10), (1e-3, 1e-4, 1e-5)),
  )
  def test_gaps_are_true(self, smallest, largest, ratios, tols):
    for seed in range(_NUM_PROBLEMS):
      generator = np.random.default_rng(seed)
      num_train = int(generator.integers(smallest, largest + 1))
      num_models = max(2, round(generator.choice(ratios) * num_train))
      tol = float(generator.choice(tols))
      case = cases.make(seed, num_train, num_models)
      statistics = centred.of(moments_lib.of(case.masks, case.outcomes))
      path = path_lib.lasso_path(
          statistics.padded(largest, cases.NUM_TARGETS),
          num_lams=6,
          min_ratio=(1e-2, 1e-3)[seed % 2],
          keep='all',
          tol=tol,
          devices=jax.local_devices()[:1],
      )
      np.testing.assert_array_equal(path.weights[:, num_train:], 0)
      weights = path.weights[:, :num_train]
      true = cases.true_gaps(case.masks, case.outcomes, weights, path.lams)
      where = f'{seed}: {case.kind}, alpha {case.alpha}, tol {tol}'
      self.assertLessEqual(cases.excess(path.gap, true).max(), 1.05, where)
      np.testing.assert_array_equal(path.converged, path.gap <= 1.1 * tol)
      self.assertTrue(path.converged.all(), where)
      # The constant outcome.
      np.testing.assert_array_equal(weights[:, :, 3], 0)

  def test_a_false_gap_would_be_seen(self):
    case = cases.make(0, 20, 100)
    path = path_lib.lasso_path(
        centred.of(moments_lib.of(case.masks, case.outcomes)).padded(
            24, cases.NUM_TARGETS
        ),
        num_lams=6,
        keep='all',
        tol=1e-6,
        devices=jax.local_devices()[:1],
    )
    moved = path.weights[:, :20] + 1e-3
    true = cases.true_gaps(case.masks, case.outcomes, moved, path.lams)
    self.assertGreater(cases.excess(path.gap, true).max(), 1.05)


if __name__ == '__main__':
  absltest.main()
