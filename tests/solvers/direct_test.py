from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm.solvers import direct
from jdm.solvers import path as path_lib
from jdm.solvers import preconditioned
from tests import planted
from tests.solvers import oracle


class DirectTest(parameterized.TestCase):

  @parameterized.product(num_models=(25, 200), tol=(1e-4, 1e-6))
  def test_agrees_with_the_gram_route(self, num_models, tol):
    problem = planted.sparse_linear(0, 60, num_models, 4)
    options = {'num_lams': 8, 'keep': 'all', 'tol': tol}
    path = direct.lasso_path(problem.masks, problem.outcomes, **options)
    other = path_lib.lasso_path(problem.moments, **options)
    self.assertTrue(path.converged.all())
    np.testing.assert_allclose(path.lams, other.lams, rtol=1e-12)
    for k, j in ((0, 0), (3, 1), (7, 2)):
      pair = problem.masks, problem.outcomes[:, j]
      lam = path.lams[k, j]
      first, second = (
          oracle.objective(*pair, p.weights[k, :, j], p.bias[k, j], lam)
          for p in (path, other)
      )
      # Both are within the gap of the minimum.
      np.testing.assert_allclose(first, second, rtol=tol)
      gap = oracle.relative_gap(*pair, path.weights[k, :, j], lam)
      # The definition subtracts numbers near 1: 1e-14 is its rounding.
      np.testing.assert_allclose(path.gap[k, j], gap, rtol=1e-4, atol=1e-13)

  @parameterized.product(alpha=(0.2, 0.5, 0.8), by_gram=(False, True))
  def test_own_ids_match_scikit_learn_on_the_other_models(self, alpha, by_gram):
    self.enter_context(
        mock.patch.object(preconditioned, 'applies', return_value=by_gram)
    )
    problem = planted.sparse_linear(1, 40, 200, 6, alpha)
    own_ids = np.array([3, -1, 0, 39, 7, 7])
    val_masks = planted.sparse_linear(2, 40, 60, 6, alpha)
    path = direct.lasso_path(
        problem.masks,
        problem.outcomes,
        own_ids=own_ids,
        val_masks=val_masks.masks,
        val_outcomes=val_masks.outcomes,
        num_lams=8,
        tol=1e-8,
        dtype='float64',
    )
    self.assertTrue(path.converged.all())
    for j, own in enumerate(own_ids):
      keep, val = (
          np.ones(len(masks), bool) if own < 0 else ~masks[:, own]
          for masks in (problem.masks, val_masks.masks)
      )
      masks, outcome = problem.masks[keep], problem.outcomes[keep, j]
      weights, bias = oracle.lasso(masks, outcome, path.lam[j])
      # A gap of 1e-8 bounds the error of weights by about its root.
      np.testing.assert_allclose(path.weights[:, j], weights, atol=1e-4)
      np.testing.assert_allclose(path.bias[j], bias, atol=1e-3)
      predicted = val_masks.masks[val] @ path.weights[:, j] + path.bias[j]
      mse = np.mean((val_masks.outcomes[val, j] - predicted) ** 2)
      # float32 products of predictions of size 10.
      np.testing.assert_allclose(path.val_mse[j], mse, rtol=1e-5)
      gap = oracle.relative_gap(masks, outcome, path.weights[:, j], path.lam[j])
      np.testing.assert_allclose(path.gap[j], gap, rtol=1e-3, atol=1e-13)
      if own >= 0:
        self.assertEqual(path.weights[own, j], 0)

  def test_the_gram_matrix_of_all_models_leads_where_it_is_near(self):
    for least, num_models, num_train, expected in (
        (460, 1000, 900, True),
        (440, 1000, 600, False),  # Fewer than .45 of the models.
        (460, 1000, 1000, False),  # Fewer than half the examples.
        (460, 1000, 20_000, False),
    ):
      found = preconditioned.applies(least, num_models, num_train)
      self.assertEqual(found, expected)

  @parameterized.parameters(
      {},
      {'tile': 4, 'devices': jax.local_devices()[:2]},
      {'l1_ratio': 0.5},
      {'positive': True},
      {'factor': np.linspace(0.5, 2.0, 40)},
      {'tol': 1e-6},
  )
  def test_both_ways_agree(self, **options):
    problem = planted.sparse_linear(6, 40, 240, 9)
    own_ids = np.array([3, -1, 0, 39, 7, 7, 20, 21, 22])
    if 'factor' in options:
      options['factor'] = np.repeat(options['factor'][:, None], 9, axis=1)
    paths = []
    for by_gram in (False, True):
      with mock.patch.object(preconditioned, 'applies', return_value=by_gram):
        paths.append(
            direct.lasso_path(
                problem.masks,
                problem.outcomes,
                own_ids=own_ids,
                num_lams=6,
                keep='all',
                **options,
            )
        )
    for path in paths:
      self.assertTrue(path.converged.all())
    first, second = (path.weights for path in paths)
    # Gaps of 1e-4 leave weights a hundredth of the largest.
    np.testing.assert_allclose(first, second, atol=0.02 * np.abs(first).max())

  def test_shortened_steps_make_zeros(self):
    problem = planted.sparse_linear(7, 60, 160, 4)
    own_ids = np.arange(4)
    sweep = preconditioned.sweep

    def shortened(*args, block):
      return sweep(*args[:-1], 0.5 * args[-1], block=block)

    found = []
    for own_sweep in (sweep, shortened):
      with (
          mock.patch.object(preconditioned, 'applies', return_value=True),
          mock.patch.object(preconditioned, 'sweep', own_sweep),
      ):
        jax.clear_caches()
        path = direct.lasso_path(
            problem.masks,
            problem.outcomes,
            own_ids=own_ids,
            num_lams=6,
            keep='all',
            tol=1e-6,
        )
      self.assertTrue(path.converged.all())
      self.assertEqual(np.abs(path.weights[:, own_ids, own_ids]).max(), 0)
      found.append(path.weights)
    jax.clear_caches()
    whole, short = ((weights != 0).sum() for weights in found)
    self.assertAlmostEqual(short / whole, 1.0, delta=0.03)

  def test_constant_where_it_counts(self):
    problem = planted.sparse_linear(3, 20, 80, 2)
    outcomes = problem.outcomes.copy()
    # Varies only among the models that are left out.
    outcomes[~problem.masks[:, 4], 0] = 0.1
    path = direct.lasso_path(
        problem.masks,
        outcomes,
        own_ids=np.array([4, -1]),
        num_lams=4,
        keep='all',
    )
    np.testing.assert_array_equal(path.weights[:, :, 0], 0)
    np.testing.assert_array_equal(path.gap[:, 0], 0)
    self.assertTrue(path.converged.all())

  def test_starts_from_given_weights(self):
    problem = planted.sparse_linear(4, 40, 100, 3)
    own_ids = np.array([1, 2, 3])
    options = {'lams': np.full((1, 3), 0.03), 'own_ids': own_ids}
    cold = direct.lasso_path(problem.masks, problem.outcomes, **options)
    warm = direct.lasso_path(
        problem.masks, problem.outcomes, start=cold.weights, **options
    )
    self.assertLess(warm.num_epochs.max(), cold.num_epochs.max())
    self.assertEqual(warm.num_epochs.max(), 1)

  def test_bad_input_raises(self):
    problem = planted.sparse_linear(5, 20, 30, 2)
    pair = problem.masks, problem.outcomes
    for own_ids in (np.array([1.0, 2.0]), np.arange(3)):
      with self.assertRaisesRegex(ValueError, 'own_ids must be 2 integers'):
        direct.lasso_path(*pair, own_ids=own_ids, keep='all')
    with self.assertRaisesRegex(ValueError, '-1 to 19'):
      direct.lasso_path(*pair, own_ids=np.array([0, 20]), keep='all')
    masks = problem.masks.copy()
    masks[:, 0] = True
    with self.assertRaisesRegex(ValueError, '1 of 2 targets have fewer than 2'):
      direct.lasso_path(
          masks, problem.outcomes, own_ids=np.array([0, 1]), keep='all'
      )
    with self.assertRaisesRegex(ValueError, 'num_models, num_targets'):
      direct.lasso_path(problem.masks, problem.outcomes[:-1], keep='all')

  def test_few_models_of_a_target_are_no_reason_to_diverge(self):
    # Far from the Gram matrix of all models, which sets the steps.
    rng = np.random.default_rng(0)
    masks = rng.random((40, 800)).argsort(axis=1) < 400
    own_ids = np.argsort((~masks).sum(axis=0), kind='stable')[:4]
    outcomes = rng.normal(size=(40, 4)).astype(np.float32)
    found = direct.lasso_path(
        masks,
        outcomes,
        own_ids=own_ids,
        tol=1e-3,
        keep='all',
        lams=np.array([0.005]),
    )
    self.assertTrue(found.converged.all())
    self.assertLess(np.abs(found.weights).max(), 2)


if __name__ == '__main__':
  absltest.main()
