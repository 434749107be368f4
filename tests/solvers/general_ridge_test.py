from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.solvers import general_ridge
from tests import planted


class GeneralRidgeTest(parameterized.TestCase):

  @parameterized.parameters(20, 200)
  def test_equals_the_closed_form(self, num_models):
    problem = planted.sparse_linear(0, 60, num_models, 5)
    generator = np.random.default_rng(1)
    mean = generator.normal(size=(60, 5))
    variance = generator.uniform(0.1, 3, size=(60, 5))
    lams = 0.5, np.linspace(0.01, 0.1, 5)
    found = list(
        general_ridge.path(
            problem.masks,
            problem.outcomes,
            mean,
            variance,
            lams,
            tol=1e-9,
            tile=2,
        )
    )
    centred = problem.masks - problem.masks.mean(axis=0)[None]
    wanted = problem.outcomes - problem.outcomes.mean(axis=0)[None]
    for lam, solution in zip(lams, found):
      for j in range(5):
        strength = np.broadcast_to(lam, 5)[j]
        gram = centred.T @ centred / num_models
        right = centred.T @ (wanted[:, j] - centred @ mean[:, j]) / num_models
        expected = mean[:, j] + np.linalg.solve(
            gram + strength * np.diag(1 / variance[:, j]), right
        )
        np.testing.assert_allclose(solution.weights[j], expected, atol=2e-4)
      self.assertTrue((solution.gap <= 1e-8).all())

  def test_the_gap_bounds_the_excess(self):
    problem = planted.sparse_linear(2, 40, 120, 4)
    flat = np.zeros((40, 4)), np.ones((40, 4))
    pair = problem.masks, problem.outcomes
    best, early = (
        next(general_ridge.path(*pair, *flat, [0.02], tol=tol, max_steps=steps))
        for tol, steps in ((1e-10, 500), (1e-10, 2))
    )

    def objective(weights):
      wrong = problem.outcomes - problem.masks @ weights.T
      wrong = wrong - wrong.mean(axis=0)[None]
      square = np.sum(weights.astype(np.float64) ** 2, axis=1)
      return np.mean(wrong**2, axis=0) / 2 + 0.01 * square

    excess = objective(early.weights) - objective(best.weights)
    scale = problem.outcomes.var(axis=0) / 2
    self.assertTrue((excess > 0).all())
    self.assertTrue((excess <= early.gap * scale * (1 + 1e-3)).all())

  def test_a_constant_outcome_keeps_its_prior(self):
    masks = planted.sparse_linear(0).masks
    (found,) = general_ridge.path(
        masks, np.ones((300, 1)), np.zeros((60, 1)), np.ones((60, 1)), [0.1]
    )
    np.testing.assert_array_equal(found.weights, 0)
    np.testing.assert_array_equal(found.gap, 0)


if __name__ == '__main__':
  absltest.main()
