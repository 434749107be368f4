from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import linear_model
from sklearn import model_selection

from jdm import datamodels as datamodels_lib
from jdm.regressors import elastic_net
from jdm.regressors import lasso
from tests import planted
from tests.solvers import oracle


def _net(problem, target, lam, l1_ratio):
  """Weights and intercept of one target, by scikit-learn."""
  model = linear_model.ElasticNet(
      alpha=lam, l1_ratio=l1_ratio, tol=1e-13, max_iter=10**6
  )
  model.fit(problem.masks.astype(float), problem.outcomes[:, target])
  return model.coef_, model.intercept_


# One tolerance, so that compiled programs are shared; a gap of 1e-8 bounds the
# error of weights by about its root.
_TOL = 1e-8
_ATOL = 1e-3


class ElasticNetTest(parameterized.TestCase):

  @parameterized.parameters(24, 300)
  def test_given_penalties_match_scikit_learn(self, num_models):
    problem = planted.sparse_linear(0, num_models=num_models)
    lam = np.array([0.3, 0.1, 0.05, 0.2, 0.15])
    ratios = np.array([0.5, 1, 0.2, 0.5, 0.9])
    fitted = elastic_net.fit(
        problem.masks, problem.outcomes, lam=lam, l1_ratio=ratios, tol=_TOL
    )
    for j in range(5):
      weights, bias = _net(problem, j, lam[j], ratios[j])
      np.testing.assert_allclose(fitted.weights[:, j], weights, atol=_ATOL)
      np.testing.assert_allclose(fitted.bias[j], bias, atol=10 * _ATOL)
    np.testing.assert_array_equal(fitted.l1_ratio, ratios)
    np.testing.assert_array_equal(fitted.lam, lam)
    self.assertLessEqual(fitted.gap.max(), 1.1 * _TOL)

  def test_chooses_the_lowest_validation_error_of_all_shares(self):
    problem = planted.sparse_linear(1, noise=2)
    ratios = [0.1, 0.9]
    pair = problem.masks, problem.outcomes
    options = {'num_val': 50, 'num_lams': 8, 'tol': _TOL, 'refit': False}
    alone = [elastic_net.fit(*pair, l1_ratio=r, **options) for r in ratios]
    errors = np.stack([one.val_mse for one in alone])
    seen = []
    fitted = elastic_net.fit(
        *pair, l1_ratio=ratios, progress=lambda *x: seen.append(x), **options
    )
    np.testing.assert_array_equal(fitted.val_mse, errors.min(axis=0))
    best = errors.argmin(axis=0)
    self.assertLen(set(best), 2)
    np.testing.assert_array_equal(fitted.l1_ratio, np.take(ratios, best))
    for j, k in enumerate(best):
      np.testing.assert_array_equal(fitted.lam[j], alone[k].lam[j])
      np.testing.assert_array_equal(
          fitted.weights[:, j], alone[k].weights[:, j]
      )
    self.assertEqual(seen[-1], (5, 5))
    # And fitted to all models in the end.
    again = elastic_net.fit(*pair, l1_ratio=ratios, **options | {'refit': True})
    np.testing.assert_array_equal(again.lam, fitted.lam)
    np.testing.assert_array_equal(again.val_mse, fitted.val_mse)
    for j in range(5):
      weights, _ = _net(problem, j, again.lam[j], again.l1_ratio[j])
      np.testing.assert_allclose(again.weights[:, j], weights, atol=_ATOL)

  def test_folds_match_scikit_learn(self):
    problem = planted.sparse_linear(2, noise=1)
    ratios = [0.2, 0.9]
    fitted = elastic_net.fit(
        problem.masks,
        problem.outcomes,
        l1_ratio=ratios,
        num_folds=3,
        num_lams=8,
        tol=_TOL,
    )
    split = model_selection.PredefinedSplit(np.arange(300) % 3)
    largest = np.abs(problem.moments.centred_cross()).max(axis=0)
    for j in range(5):
      peers = [
          linear_model.ElasticNetCV(
              l1_ratio=ratio,
              alphas=largest[j] / ratio * 1e-2 ** (np.arange(8) / 7),
              cv=split,
              tol=1e-11,
          ).fit(problem.masks.astype(float), problem.outcomes[:, j])
          for ratio in ratios
      ]
      k = np.argmin([peer.mse_path_.mean(axis=1).min() for peer in peers])
      self.assertEqual(fitted.l1_ratio[j], ratios[k])
      np.testing.assert_allclose(fitted.lam[j], peers[k].alpha_, rtol=1e-6)
      np.testing.assert_allclose(
          fitted.weights[:, j], peers[k].coef_, atol=_ATOL
      )

  def test_all_l1_is_the_lasso(self):
    problem = planted.sparse_linear(3)
    pair, options = (problem.masks, problem.outcomes), {'lam': 0.1, 'tol': _TOL}
    net = elastic_net.fit(*pair, l1_ratio=1, **options)
    other = lasso.fit(*pair, **options)
    np.testing.assert_array_equal(net.weights, other.weights)
    np.testing.assert_array_equal(net.l1_ratio, 1)
    self.assertEmpty(other.l1_ratio)

  def test_train_targets_leave_their_own_models_out(self):
    problem = planted.sparse_linear(4)
    own_ids = np.array([5, -1, 8, 0, 59])
    fitted = elastic_net.fit(
        problem.masks,
        problem.outcomes,
        own_ids=own_ids,
        lam=0.1,
        l1_ratio=[0.3, 0.3, 0.7, 0.3, 0.7],
        tol=_TOL,
    )
    for j, own in enumerate(own_ids):
      keep = np.ones(300, bool) if own < 0 else ~problem.masks[:, own]
      weights = oracle.elastic_net(
          problem.masks[keep],
          problem.outcomes[keep, j],
          0.1,
          np.ones(60),
          fitted.l1_ratio[j],
          False,
      )
      np.testing.assert_allclose(fitted.weights[:, j], weights, atol=_ATOL)

  def test_warm_refit_keeps_the_share_of_each_target(self):
    problem = planted.sparse_linear(5)
    lam, ratios = np.full(5, 0.1), np.array([0.2, 0.5, 0.5, 0.9, 0.2])
    early = elastic_net.fit(
        problem.masks[:200],
        problem.outcomes[:200],
        lam=lam,
        l1_ratio=ratios,
        tol=_TOL,
    )
    pair = problem.masks, problem.outcomes
    warm = elastic_net.fit(*pair, start=early, tol=_TOL)
    np.testing.assert_array_equal(warm.l1_ratio, ratios)
    for j in range(5):
      weights, _ = _net(problem, j, lam[j], ratios[j])
      np.testing.assert_allclose(warm.weights[:, j], weights, atol=_ATOL)
    again = elastic_net.fit(*pair, start=early, num_val=50, tol=_TOL)
    np.testing.assert_array_equal(again.l1_ratio, ratios)
    self.assertTrue(np.isfinite(again.val_mse).all())
    # Files keep the share, whatever their kind.
    for name in ('some.npz', 'some'):
      path = f'{self.create_tempdir().full_path}/{name}'
      datamodels_lib.save(path, warm)
      loaded = datamodels_lib.load(path)
      np.testing.assert_array_equal(loaded.l1_ratio, ratios)

  def test_bad_options_raise(self):
    problem = planted.sparse_linear(6)
    pair = problem.masks, problem.outcomes
    for l1_ratio in (0, -0.5, 1.5, [], [0.5, np.nan], np.ones((2, 2))):
      with self.assertRaisesRegex(ValueError, 'l1_ratio above 0 and at most 1'):
        elastic_net.fit(*pair, l1_ratio=l1_ratio)
    with self.assertRaisesRegex(ValueError, r'a number or \[5\]'):
      elastic_net.fit(*pair, lam=0.1, l1_ratio=[0.5, 0.6])
    early = elastic_net.fit(*pair, lam=0.1, tol=_TOL)
    with self.assertRaisesRegex(ValueError, 'leave l1_ratio out'):
      elastic_net.fit(*pair, start=early, l1_ratio=0.3)
    with self.assertRaisesRegex(ValueError, "fit of 'lasso', got one of 'ela"):
      lasso.fit(*pair, start=early)


if __name__ == '__main__':
  absltest.main()
