import warnings

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import exceptions
from sklearn import linear_model
from sklearn import model_selection
from sklearn import pipeline
from sklearn import preprocessing

from jdm.interop import scikit_learn
from jdm.solvers import folds as folds_lib
from tests import planted

# Few shapes: 32 columns and 8 targets at most are one compiled program.


def _regression(seed=0, num_models=80, num_train=12, num_targets=3):
  generator = np.random.default_rng(seed)
  inputs = generator.normal(size=(num_models, num_train)) + 3
  weights = generator.normal(size=(num_train, num_targets))
  weights *= generator.random(weights.shape) < 0.4
  noise = generator.normal(size=(num_models, num_targets))
  return inputs, inputs @ weights + noise


def _objective(inputs, outcome, coef, intercept, alpha):
  residual = outcome - inputs @ coef.astype(np.float64) - intercept
  return np.mean(residual**2) / 2 + alpha * np.abs(coef).sum()


def _gap(inputs, outcome, coef, alpha, intercept=True):
  """Primal minus dual objective by definition."""
  if intercept:
    inputs, outcome = inputs - inputs.mean(0), outcome - outcome.mean()
  coef = coef.astype(np.float64)
  residual = outcome - inputs @ coef
  largest = np.abs(inputs.T @ residual).max() / len(inputs)
  point = residual * min(1, alpha / max(largest, 1e-300))
  primal = np.mean(residual**2) / 2 + alpha * np.abs(coef).sum()
  return primal - (outcome**2 - (outcome - point) ** 2).mean() / 2


class BatchedLassoTest(parameterized.TestCase):

  def assertOptimal(self, model, inputs, outcomes, alpha, intercept=True):
    """Objectives are scikit-learn's within gaps that are true."""
    for j, penalty in enumerate(np.broadcast_to(alpha, outcomes.shape[1])):
      outcome = outcomes[:, j]
      oracle = linear_model.Lasso(
          penalty, tol=1e-14, max_iter=10**6, fit_intercept=intercept
      )
      with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # 1e-14 is not always reached.
        oracle.fit(inputs, outcome)
      arrays = inputs, outcome
      best = _objective(*arrays, oracle.coef_, oracle.intercept_, penalty)
      found = _objective(*arrays, model.coef_[j], model.intercept_[j], penalty)
      scale = np.mean((outcome - outcome.mean()) ** 2)
      rounding = 1e-13 * np.mean(outcome**2) + 1e-10 * scale
      self.assertLessEqual(found - best, model.dual_gap_[j] + rounding)
      true = _gap(*arrays, model.coef_[j], penalty, intercept)
      np.testing.assert_allclose(
          model.dual_gap_[j], true, rtol=1e-3, atol=rounding
      )
      self.assertLessEqual(true, 1.1 * model.tol * scale + rounding)

  @parameterized.product(
      alpha=(0.3, 0.003), intercept=(True, False), tol=(1e-4, 1e-7)
  )
  def test_matches_scikit_learn(self, alpha, intercept, tol):
    inputs, outcomes = _regression()
    model = scikit_learn.BatchedLasso(alpha, fit_intercept=intercept, tol=tol)
    model.fit(inputs, outcomes)
    self.assertEqual(model.coef_.shape, (3, 12))
    self.assertEqual(model.intercept_.shape, (3,))
    if intercept:
      self.assertOptimal(model, inputs, outcomes, alpha)
    else:
      np.testing.assert_array_equal(model.intercept_, 0)
      one = linear_model.Lasso(
          alpha, fit_intercept=False, tol=1e-12, max_iter=10**6
      )
      for j in range(3):
        coef = one.fit(inputs, outcomes[:, j]).coef_
        # Gaps are relative to y^2 about 0 here.
        np.testing.assert_allclose(model.coef_[j], coef, atol=20 * tol**0.5)
        true = _gap(inputs, outcomes[:, j], model.coef_[j], alpha, False)
        np.testing.assert_allclose(
            model.dual_gap_[j], true, rtol=1e-3, atol=1e-12
        )

  @parameterized.named_parameters(
      ('one_column', 20, 1, ()),
      ('two_rows', 2, 12, ()),
      ('three_rows', 3, 12, ()),
      ('wide', 20, 32, ()),
      ('constant_columns', 80, 12, ('constant',)),
      ('equal_columns', 80, 12, ('equal',)),
      ('nearly_equal_columns', 80, 12, ('near',)),
      ('scales', 80, 12, ('scales',)),
      ('scales_and_wide', 20, 32, ('scales',)),
      ('tiny_columns', 80, 12, ('tiny',)),
      ('huge_columns', 80, 12, ('huge',)),
      ('far_from_zero', 80, 12, ('far',)),
      ('constant_outcome', 80, 12, ('outcome',)),
      ('all_columns_constant', 20, 2, ('constant',)),
  )
  def test_columns_of_every_kind(self, num_models, num_train, kinds):
    inputs, outcomes = _regression(1, num_models, num_train)
    alpha = np.array([0.1, 0.01, 0.3])
    if 'constant' in kinds:
      inputs[:, :2] = [0.1, 1e6]
    if 'equal' in kinds:
      inputs[:, 1] = inputs[:, 0]
      inputs[:, 3] = 1 - 2 * inputs[:, 0]
    if 'near' in kinds:
      inputs[:, 1] = inputs[:, 0] + 1e-3 * inputs[:, 1]
    if 'scales' in kinds:
      inputs *= 10.0 ** np.linspace(-5, 5, num_train)
    if 'tiny' in kinds:
      inputs *= 1e-30
      alpha *= 1e-30
    if 'huge' in kinds:
      inputs *= 1e30
      alpha *= 1e30
    if 'far' in kinds:
      inputs += 1e6
    if 'outcome' in kinds:
      outcomes[:, 1] = 0.1
    model = scikit_learn.BatchedLasso(alpha, tol=1e-6)
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      model.fit(inputs, outcomes)
    self.assertOptimal(model, inputs, outcomes, alpha)
    if 'constant' in kinds:
      np.testing.assert_array_equal(model.coef_[:, :2], 0)

  def test_masks_are_fitted_as_numbers_are(self):
    problem = planted.sparse_linear(0, 20, 80, 3)
    model = scikit_learn.BatchedLasso(0.02, tol=1e-6)
    model.fit(problem.masks, problem.outcomes)
    numbers = problem.masks.astype(float)
    outcomes = problem.outcomes.astype(float)
    self.assertOptimal(model, numbers, outcomes, 0.02)
    np.testing.assert_allclose(
        model.predict(problem.masks), model.predict(numbers)
    )
    dense = scikit_learn.BatchedLasso(0.02, tol=1e-6).fit(numbers, outcomes)
    np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-5)

  def test_shapes_and_dtypes_are_scikit_learns(self):
    inputs, outcomes = _regression(2)
    one = scikit_learn.BatchedLasso(0.1).fit(inputs, outcomes[:, 0])
    peer = linear_model.Lasso(0.1).fit(inputs, outcomes[:, 0])
    self.assertEqual(one.coef_.shape, peer.coef_.shape)
    self.assertEqual(np.shape(one.intercept_), np.shape(peer.intercept_))
    self.assertEqual(np.shape(one.dual_gap_), np.shape(peer.dual_gap_))
    self.assertEqual(one.predict(inputs).shape, (80,))
    many = scikit_learn.BatchedLasso([0.1, 0.2, 0.3])
    many.fit(inputs.astype(np.float32), outcomes.astype(np.float32))
    self.assertEqual(many.coef_.dtype, np.float32)
    self.assertEqual(many.predict(inputs).shape, (80, 3))
    np.testing.assert_allclose(many.coef_[0], one.coef_, atol=2e-3)
    self.assertGreater(many.score(inputs, outcomes), 0.5)

  @parameterized.parameters(0, 6)
  def test_positive_weights_match_scikit_learn(self, decades):
    inputs, outcomes = _regression(11)
    inputs *= 10.0 ** np.linspace(-decades / 2, decades / 2, 12)
    model = scikit_learn.BatchedLasso(0.02, positive=True, tol=1e-9)
    model.fit(inputs, outcomes)
    self.assertTrue((model.coef_ >= 0).all())
    for j in range(3):
      peer = linear_model.Lasso(0.02, positive=True, tol=1e-12, max_iter=10**6)
      peer.fit(inputs, outcomes[:, j])
      self.assertTrue((peer.coef_ > 0).any())
      deviation = inputs.std(axis=0)
      # A gap of 1e-9 leaves about its root.
      np.testing.assert_allclose(
          model.coef_[j] * deviation, peer.coef_ * deviation, atol=1e-3
      )

  def test_weights_of_rows_are_repetitions(self):
    inputs, outcomes = _regression(3)
    weight = np.random.default_rng(0).integers(0, 4, len(inputs))
    repeated = np.repeat(inputs, weight, 0), np.repeat(outcomes, weight, 0)
    first = scikit_learn.BatchedLasso(0.05, tol=1e-9)
    first.fit(inputs, outcomes, sample_weight=weight)
    second = scikit_learn.BatchedLasso(0.05, tol=1e-9).fit(*repeated)
    np.testing.assert_allclose(first.coef_, second.coef_, atol=1e-4)

  def test_works_in_a_search_over_a_pipeline(self):
    inputs, outcomes = _regression(4)
    search = model_selection.GridSearchCV(
        pipeline.make_pipeline(
            preprocessing.StandardScaler(), scikit_learn.BatchedLasso()
        ),
        {'batchedlasso__alpha': [1.0, 0.01]},
        cv=3,
    )
    search.fit(inputs, outcomes)
    self.assertEqual(search.best_params_, {'batchedlasso__alpha': 0.01})

  def test_correlated_columns_are_finished_in_float64(self):
    inputs, outcomes = _regression(12, 30, 32, 3)
    inputs += 30 * inputs[:, :1]  # A common factor.
    alpha = 0.03 * np.abs(
        (inputs - inputs.mean(0)).T @ (outcomes - outcomes.mean(0)) / 30
    ).max(axis=0)
    model = scikit_learn.BatchedLasso(alpha, tol=1e-5, max_iter=20_000)
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      model.fit(inputs, outcomes)
    self.assertOptimal(model, inputs, outcomes, alpha)

  def test_warns_of_what_did_not_converge(self):
    inputs, outcomes = _regression(5)
    inputs[:, 1] = inputs[:, 0] + 1e-2 * inputs[:, 1]
    model = scikit_learn.BatchedLasso(1e-3, tol=1e-9, max_iter=1)
    with self.assertWarnsRegex(
        exceptions.ConvergenceWarning, '3 of 3 targets missed tol=1e-09'
    ):
      model.fit(inputs, outcomes)
    true = _gap(inputs, outcomes[:, 0], model.coef_[0], 1e-3)
    np.testing.assert_allclose(model.dual_gap_[0], true, rtol=1e-6)

  def test_bad_options_raise(self):
    inputs, outcomes = _regression(6)
    with self.assertRaisesRegex(ValueError, 'alpha above 0.*LinearRegression'):
      scikit_learn.BatchedLasso(0.0).fit(inputs, outcomes)
    with self.assertRaisesRegex(ValueError, r'\[3\], one for each target'):
      scikit_learn.BatchedLasso([1.0, 2.0]).fit(inputs, outcomes)
    with self.assertRaisesRegex(ValueError, 'tol above 0'):
      scikit_learn.BatchedLasso(tol=0).fit(inputs, outcomes)
    with self.assertRaisesRegex(ValueError, '2 samples or more'):
      weight = np.eye(len(inputs))[0]
      scikit_learn.BatchedLasso().fit(inputs, outcomes, weight)


class BatchedLassoCVTest(parameterized.TestCase):

  @parameterized.parameters((True, False), (False, False), (True, True))
  def test_matches_scikit_learn(self, intercept, positive):
    inputs, outcomes = _regression(7)
    options = {'cv': 4, 'eps': 1e-2, 'fit_intercept': intercept}
    options['positive'] = positive
    model = scikit_learn.BatchedLassoCV(n_alphas=8, tol=1e-9, **options)
    model.fit(inputs, outcomes)
    self.assertEqual(model.alphas_.shape, (3, 8))
    self.assertEqual(model.mse_path_.shape, (3, 8, 4))
    for j in range(3):
      grid = model.alphas_[j] if positive else 8
      peer = linear_model.LassoCV(alphas=grid, tol=1e-11, **options)
      peer.fit(inputs, outcomes[:, j])
      np.testing.assert_allclose(model.alphas_[j], peer.alphas_, rtol=1e-12)
      np.testing.assert_allclose(model.mse_path_[j], peer.mse_path_, rtol=1e-3)
      np.testing.assert_allclose(model.alpha_[j], peer.alpha_, rtol=1e-12)
      np.testing.assert_allclose(model.coef_[j], peer.coef_, atol=1e-3)
    if positive:
      largest = inputs.T @ (outcomes - outcomes.mean(0)) / len(inputs)
      np.testing.assert_allclose(model.alphas_[:, 0], largest.max(0))
    one = scikit_learn.BatchedLassoCV(n_alphas=8, tol=1e-9, **options)
    one.fit(inputs, outcomes[:, 0])
    self.assertEqual(one.alphas_.shape, (8,))
    self.assertEqual(one.mse_path_.shape, (8, 4))
    np.testing.assert_allclose(one.alpha_, model.alpha_[0], rtol=1e-12)
    np.testing.assert_allclose(one.coef_, model.coef_[0], atol=1e-4)

  def test_one_standard_error_is_never_the_smaller_penalty(self):
    inputs, outcomes = _regression(8)
    options = {'n_alphas': 8, 'eps': 1e-2, 'cv': 4}
    lowest = scikit_learn.BatchedLassoCV(**options).fit(inputs, outcomes)
    sparse = scikit_learn.BatchedLassoCV(selection='one_se', **options)
    sparse.fit(inputs, outcomes)
    self.assertTrue((sparse.alpha_ >= lowest.alpha_).all())
    self.assertTrue((sparse.alpha_ > lowest.alpha_).any())
    for j in range(3):
      mean, deviation = lowest.mse_path_[j].mean(1), lowest.mse_path_[j].std(
          1, ddof=1
      )
      best = mean.argmin()
      bound = mean[best] + deviation[best] / 2  # The root of 4 folds.
      expected = lowest.alphas_[j][mean <= bound].max()
      np.testing.assert_allclose(sparse.alpha_[j], expected)

  def test_weights_of_rows_are_repetitions(self):
    inputs, outcomes = _regression(9)
    weight = np.random.default_rng(0).integers(0, 4, len(inputs))
    fold_of = folds_lib.assign(len(inputs), 4)
    options = {'n_alphas': 8, 'eps': 1e-2, 'tol': 1e-9}
    first = scikit_learn.BatchedLassoCV(
        cv=model_selection.PredefinedSplit(fold_of), **options
    ).fit(inputs, outcomes, sample_weight=weight)
    second = scikit_learn.BatchedLassoCV(
        cv=model_selection.PredefinedSplit(np.repeat(fold_of, weight)),
        **options,
    ).fit(np.repeat(inputs, weight, 0), np.repeat(outcomes, weight, 0))
    np.testing.assert_allclose(first.mse_path_, second.mse_path_, rtol=1e-3)
    np.testing.assert_allclose(first.coef_, second.coef_, atol=1e-4)

  def test_masks_and_given_penalties(self):
    problem = planted.sparse_linear(1, 20, 80, 3)
    alphas = np.random.default_rng(0).uniform(0.01, 0.3, (3, 8))
    options = {'alphas': alphas, 'cv': 4, 'tol': 1e-6}
    model = scikit_learn.BatchedLassoCV(**options)
    model.fit(problem.masks, problem.outcomes)
    np.testing.assert_array_equal(model.alphas_, -np.sort(-alphas, axis=1))
    numbers = scikit_learn.BatchedLassoCV(**options)
    numbers.fit(problem.masks.astype(float), problem.outcomes)
    np.testing.assert_array_equal(model.alpha_, numbers.alpha_)

  def test_folds_that_are_no_partition_raise(self):
    inputs, outcomes = _regression(10)
    shuffled = model_selection.ShuffleSplit(3, test_size=0.2, random_state=0)
    with self.assertRaisesRegex(ValueError, 'each of the 80 rows once'):
      scikit_learn.BatchedLassoCV(cv=shuffled).fit(inputs, outcomes)
    with self.assertRaisesRegex(ValueError, "BatchedLassoCV.fit.*'one_se'"):
      scikit_learn.BatchedLassoCV(selection='2se').fit(inputs, outcomes)
    with self.assertRaisesRegex(ValueError, r'\[3, n_alphas\]'):
      scikit_learn.BatchedLassoCV(alphas=np.ones((2, 4))).fit(inputs, outcomes)


if __name__ == '__main__':
  absltest.main()
