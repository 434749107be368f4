from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.regressors import lasso
from tests import planted
from tests.solvers import oracle


class LassoTest(parameterized.TestCase):

  @parameterized.parameters(24, 300)
  def test_given_penalty_matches_scikit_learn(self, num_models):
    problem = planted.sparse_linear(0, num_models=num_models)
    lam = np.array([0.3, 0.1, 0.05, 0.2, 0.15])
    fitted = lasso.fit(problem.masks, problem.outcomes, lam=lam, tol=1e-8)
    self.assertEqual(fitted.weights.dtype, np.float64)
    for j in range(5):
      outcome = problem.outcomes[:, j]
      weights, bias = oracle.lasso(problem.masks, outcome, lam[j])
      # A gap of 1e-8 bounds the error of weights by about its root.
      np.testing.assert_allclose(fitted.weights[:, j], weights, atol=1e-3)
      np.testing.assert_allclose(fitted.bias[j], bias, atol=1e-2)
    np.testing.assert_array_equal(fitted.lam, lam)
    self.assertEqual(len(fitted.val_ids), 0)
    self.assertTrue(np.isnan(fitted.val_mse).all())

  def test_a_target_that_varies_only_in_validation_keeps_weights_of_zero(self):
    problem = planted.sparse_linear(2)
    outcomes = problem.outcomes.copy()
    outcomes[:, 1] = 1.0
    outcomes[-1, 1] = 0.0
    fitted = lasso.fit(problem.masks, outcomes, num_val=50)
    np.testing.assert_array_equal(fitted.weights[:, 1], 0)
    self.assertGreater(fitted.nnz[0], 0)
    np.testing.assert_allclose(fitted.bias[1], outcomes[:, 1].mean())

  def test_refits_on_all_models_at_the_penalty_chosen(self):
    problem = planted.sparse_linear(1)
    fitted = lasso.fit(problem.masks, problem.outcomes, num_val=100)
    for j in range(5):
      gap = oracle.relative_gap(
          problem.masks,
          problem.outcomes[:, j],
          fitted.weights[:, j],
          fitted.lam[j],
      )
      self.assertLessEqual(gap, 1.1e-4)
      # The definition subtracts numbers near 1.
      np.testing.assert_allclose(fitted.gap[j], gap, rtol=1e-4, atol=1e-13)

  def test_penalties_are_each_targets_own(self):
    problem = planted.sparse_linear(2, num_targets=3)
    outcomes = problem.outcomes * np.array([1, 10, 100], np.float32)[None]
    fitted = lasso.fit(problem.masks, outcomes)
    alone = lasso.fit(problem.masks, outcomes[:, 1:2])
    np.testing.assert_allclose(fitted.lam[1], alone.lam[0], rtol=1e-12)
    # Two solutions within a gap of 1e-4 differ by about its root.
    np.testing.assert_allclose(
        fitted.weights[:, 1], alone.weights[:, 0], atol=0.2
    )

  def test_own_ids_leave_out_models_that_trained_on_the_target(self):
    problem = planted.sparse_linear(3, 30, 200, 4)
    outcomes = problem.outcomes.copy()
    own_ids = np.array([5, 6, -1, 8])
    for j, own in enumerate(own_ids):
      if own >= 0:  # Memorized: useless to anybody else.
        outcomes[problem.masks[:, own], j] = 1000 + j
    fitted = lasso.fit(problem.masks, outcomes, own_ids=own_ids, tol=1e-6)
    for j, own in enumerate(own_ids):
      keep = np.ones(200, bool) if own < 0 else ~problem.masks[:, own]
      masks, outcome = problem.masks[keep], outcomes[keep, j]
      weights, bias = oracle.lasso(masks, outcome, fitted.lam[j])
      # A gap of 1e-6 bounds the error of weights by about its root.
      np.testing.assert_allclose(fitted.weights[:, j], weights, atol=2e-3)
      np.testing.assert_allclose(fitted.bias[j], bias, atol=2e-2)
      if own >= 0:
        self.assertEqual(fitted.weights[own, j], 0)
    self.assertLessEqual(fitted.gap.max(), 1.1e-6)

  def test_reports_progress(self):
    problem = planted.sparse_linear(4)
    seen = []
    lasso.fit(
        problem.masks, problem.outcomes, progress=lambda *x: seen.append(x)
    )
    self.assertEqual(seen[-1], (5, 5))

  def test_bad_options_raise(self):
    problem = planted.sparse_linear(5)
    pair = problem.masks, problem.outcomes
    for lam in (0, -1, np.nan, np.ones(3)):
      with self.assertRaisesRegex(ValueError, '`lasso.fit` expects lam'):
        lasso.fit(*pair, lam=lam)
    with self.assertRaisesRegex(ValueError, 'tol above 0'):
      lasso.fit(*pair, tol=0)
    with self.assertRaisesRegex(ValueError, 'own_ids must be 5 integers'):
      lasso.fit(*pair, own_ids=[1])


if __name__ == '__main__':
  absltest.main()
