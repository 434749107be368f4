from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.solvers import general_ridge
from tests import planted


def _dense(masks, outcome, mean, variance, lam, features=None):
  """The solution for one target by a dense solve."""
  covariance = np.eye(len(variance))
  if features is not None:
    covariance += features @ features.T
  covariance *= np.sqrt(variance)[:, None] * np.sqrt(variance)[None]
  centred = masks - masks.mean(axis=0)[None]
  gram = centred.T @ centred / len(masks)
  left = outcome - outcome.mean() - centred @ mean
  right = centred.T @ left / len(masks)
  return mean + np.linalg.solve(gram + lam * np.linalg.inv(covariance), right)


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
    for lam, solution in zip(lams, found):
      for j in range(5):
        expected = _dense(
            problem.masks,
            problem.outcomes[:, j],
            mean[:, j],
            variance[:, j],
            np.broadcast_to(lam, 5)[j],
        )
        np.testing.assert_allclose(solution.weights[j], expected, atol=2e-4)
      self.assertTrue((solution.gap <= 1e-8).all())

  @parameterized.product(num_models=(30, 200), alpha=(0.2, 0.7))
  def test_own_ids_equal_the_closed_form_on_the_other_models(
      self, num_models, alpha
  ):
    problem = planted.sparse_linear(3, 40, num_models, 6, alpha)
    own_ids = np.array([3, -1, 0, 39, 7, 7])
    generator = np.random.default_rng(1)
    mean = generator.normal(size=(40, 6))
    variance = generator.uniform(0.1, 3, size=(40, 6))
    lams = 0.5, np.linspace(0.02, 0.1, 6)
    found = list(
        general_ridge.path(
            problem.masks,
            problem.outcomes + 100,
            mean,
            variance,
            lams,
            own_ids=own_ids,
            tol=1e-9,
            tile=4,
        )
    )
    for lam, solution in zip(lams, found):
      for j, own in enumerate(own_ids):
        rows = np.ones(num_models, bool)
        if own >= 0:
          rows = ~problem.masks[:, own]
        some = np.arange(40) != own
        expected = _dense(
            problem.masks[rows][:, some],
            problem.outcomes[rows, j],
            mean[some, j],
            variance[some, j],
            np.broadcast_to(lam, 6)[j],
        )
        np.testing.assert_allclose(
            solution.weights[j, some], expected, atol=3e-4
        )
        if own >= 0:
          self.assertEqual(solution.weights[j, own], 0)
      self.assertTrue((solution.gap <= 1e-8).all())

  @parameterized.product(num_features=(3, 100), own=(None, 7))
  def test_weights_that_vary_together(self, num_features, own):
    problem = planted.sparse_linear(1, 40, 90, 4)
    generator = np.random.default_rng(1)
    mean = generator.normal(size=(40, 4))
    variance = generator.uniform(0.1, 3, size=(40, 4))
    features = generator.normal(size=(40, num_features))
    own_ids = None if own is None else np.full(4, own)
    rows = slice(None) if own is None else ~problem.masks[:, own]
    some = np.arange(40) != -1 if own is None else np.arange(40) != own
    found = general_ridge.path(
        problem.masks,
        problem.outcomes,
        mean,
        variance,
        [1.0, 0.3],
        features=features,
        own_ids=own_ids,
        tol=1e-9,
        tile=3,
    )
    for lam, solution in zip([1.0, 0.3], found):
      for j in range(4):
        expected = _dense(
            problem.masks[rows][:, some],
            problem.outcomes[rows, j],
            mean[some, j],
            variance[some, j],
            lam,
            features[some],
        )
        np.testing.assert_allclose(
            solution.weights[j, some], expected, atol=1e-3
        )
      self.assertTrue((solution.gap <= 1e-8).all())

  def test_features_of_other_examples_raise(self):
    problem = planted.sparse_linear(1, 40, 90, 4)
    flat = np.zeros((40, 4)), np.ones((40, 4))
    for features, said in (
        (np.ones((4, 40)), r'40 rows, got shape \(4, 40\)'),
        (np.full((40, 4), np.nan), 'finite, got 160 values'),
    ):
      with self.assertRaisesRegex(ValueError, said):
        pair = problem.masks, problem.outcomes
        next(general_ridge.path(*pair, *flat, [0.1], features=features))

  def test_no_own_ids_are_no_target_of_its_own(self):
    problem = planted.sparse_linear(4, 40, 100, 3)
    flat = np.zeros((40, 3)), np.ones((40, 3))
    one, other = (
        next(
            general_ridge.path(
                problem.masks,
                problem.outcomes,
                *flat,
                [0.05],
                own_ids=ids,
                tol=1e-10,
            )
        )
        for ids in (None, np.full(3, -1))
    )
    # Both are float32.
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-5)

  @parameterized.parameters(None, 2)
  def test_the_gap_bounds_the_excess_of_own_models(self, own):
    problem = planted.sparse_linear(2, 40, 120, 4)
    flat = np.zeros((40, 4)), np.ones((40, 4))
    pair = problem.masks, problem.outcomes
    own_ids = None if own is None else np.full(4, own)
    rows = slice(None) if own is None else ~problem.masks[:, own]
    best, early = (
        next(
            general_ridge.path(
                *pair, *flat, [0.02], own_ids=own_ids, tol=1e-10, max_steps=n
            )
        )
        for n in (500, 2)
    )
    masks, outcomes = problem.masks[rows], problem.outcomes[rows]

    def objective(weights):
      wrong = outcomes - masks @ weights.T
      wrong = wrong - wrong.mean(axis=0)[None]
      square = np.sum(weights.astype(np.float64) ** 2, axis=1)
      return np.mean(wrong**2, axis=0) / 2 + 0.01 * square

    excess = objective(early.weights) - objective(best.weights)
    scale = outcomes.var(axis=0) / 2
    self.assertTrue((excess > 0).all())
    self.assertTrue((excess <= early.gap * scale * (1 + 1e-3)).all())

  def test_a_constant_outcome_keeps_its_prior(self):
    masks = planted.sparse_linear(0).masks
    (found,) = general_ridge.path(
        masks, np.ones((300, 1)), np.zeros((60, 1)), np.ones((60, 1)), [0.1]
    )
    np.testing.assert_array_equal(found.weights, 0)
    np.testing.assert_array_equal(found.gap, 0)

  def test_constant_where_it_counts(self):
    problem = planted.sparse_linear(5, 20, 80, 2)
    outcomes = problem.outcomes.copy()
    # Varies only among the models that are left out.
    outcomes[~problem.masks[:, 4], 0] = 0.1
    (found,) = general_ridge.path(
        problem.masks,
        outcomes,
        np.zeros((20, 2)),
        np.ones((20, 2)),
        [0.1],
        own_ids=np.array([4, -1]),
    )
    np.testing.assert_array_equal(found.weights[0], 0)
    self.assertEqual(found.gap[0], 0)

  def test_bad_own_ids_raise(self):
    problem = planted.sparse_linear(6, 20, 30, 2)
    masks = problem.masks.copy()
    masks[:, 0] = True
    flat = np.zeros((20, 2)), np.ones((20, 2))
    for own_ids, said in (
        ([0, 1], '1 of 2 targets have fewer than 2 fitted'),
        ([1.0, 2.0], '2 integers'),
        ([1, 20], '-1 to 19'),
    ):
      with self.assertRaisesRegex(ValueError, said):
        next(
            general_ridge.path(
                masks, problem.outcomes, *flat, [0.1], own_ids=own_ids
            )
        )


if __name__ == '__main__':
  absltest.main()
