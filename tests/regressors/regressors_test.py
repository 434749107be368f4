"""What holds for every regressor in the table."""

from absl.testing import absltest
from absl.testing import parameterized
import jax.numpy as jnp
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import evaluation
from jdm import regressors
from jdm import subsets
from tests import planted

_NAMES = sorted(regressors.REGRESSORS)


class RegressorsTest(parameterized.TestCase):

  @parameterized.parameters(_NAMES)
  def test_contract(self, name):
    problem = planted.sparse_linear(0)
    fitted = regressors.get(name)(
        problem.masks,
        problem.outcomes,
        num_val=60,
        target_ids=np.arange(5) + 10,
        model_ids=np.arange(300) + 7,
        outcome='margin',
    )
    self.assertEqual(fitted.weights.shape, (60, 5))
    self.assertEqual(fitted.weights.dtype, np.float32)
    for values in (fitted.bias, fitted.lam, fitted.gap, fitted.val_mse):
      self.assertEqual(values.shape, (5,))
      self.assertTrue(np.isfinite(values).all())
    self.assertTrue(np.isfinite(fitted.weights).all())
    np.testing.assert_array_equal(fitted.nnz, (fitted.weights != 0).sum(axis=0))
    np.testing.assert_array_equal(fitted.target_ids, np.arange(5) + 10)
    np.testing.assert_array_equal(fitted.fit_ids, np.arange(300) + 7)
    np.testing.assert_array_equal(fitted.val_ids, np.arange(240, 300) + 7)
    self.assertEqual((fitted.regressor, fitted.outcome), (name, 'margin'))
    self.assertAlmostEqual(fitted.alpha, 0.5)
    path = self.create_tempdir().full_path + '/datamodels.npz'
    datamodels_lib.save(path, fitted)
    loaded = datamodels_lib.load(path)
    np.testing.assert_array_equal(loaded.weights, fitted.weights)
    predicted = datamodels_lib.predict(loaded, problem.masks)
    self.assertEqual(predicted.shape, (300, 5))

  @parameterized.parameters(_NAMES)
  def test_predicts_other_models(self, name):
    problem = planted.sparse_linear(1, num_models=600, noise=0.2)
    fitted = regressors.get(name)(problem.masks[:400], problem.outcomes[:400])
    predicted = datamodels_lib.predict(fitted, problem.masks[400:])
    actual = problem.outcomes[400:]
    for j in range(5):
      correlation = np.corrcoef(predicted[:, j], actual[:, j])[0, 1]
      self.assertGreater(correlation, 0.6)
    np.testing.assert_allclose(
        fitted.weights[np.abs(problem.weights) > 1],
        problem.weights[np.abs(problem.weights) > 1],
        # Differences of means are this noisy with 400 models.
        atol=1.2,
    )

  @parameterized.parameters(_NAMES)
  def test_validation_error_is_that_of_the_fit_without(self, name):
    problem = planted.sparse_linear(2)
    fit = regressors.get(name)
    kept = fit(problem.masks, problem.outcomes, num_val=50, refit=False)
    again = fit(problem.masks, problem.outcomes, num_val=50)
    given = fit(
        problem.masks[:-50],
        problem.outcomes[:-50],
        val_masks=problem.masks[-50:],
        val_outcomes=problem.outcomes[-50:],
        refit=False,
    )
    predicted = datamodels_lib.predict(kept, problem.masks[-50:])
    mse = np.mean((problem.outcomes[-50:] - predicted) ** 2, axis=0)
    # float32 predictions of size 10.
    np.testing.assert_allclose(kept.val_mse, mse, rtol=1e-5)
    np.testing.assert_allclose(again.val_mse, mse, rtol=1e-5)
    np.testing.assert_array_equal(given.weights, kept.weights)
    self.assertEqual((len(kept.fit_ids), len(again.fit_ids)), (250, 300))
    self.assertFalse(np.array_equal(kept.weights, again.weights))

  @parameterized.parameters(_NAMES)
  def test_ids_of_given_validation_models_are_noted(self, name):
    problem = planted.sparse_linear(2)
    fit = regressors.get(name)
    pair = problem.masks[:-50], problem.outcomes[:-50]
    given = {
        'val_masks': problem.masks[-50:],
        'val_outcomes': problem.outcomes[-50:],
    }
    ids = 1000 + np.arange(50)
    fitted = fit(*pair, **given, val_model_ids=ids)
    np.testing.assert_array_equal(fitted.val_ids, ids)
    np.testing.assert_array_equal(
        fitted.fit_ids, np.concatenate([np.arange(250), ids])
    )
    self.assertEmpty(fit(*pair, **given).val_ids)
    with self.assertRaisesRegex(ValueError, 'were used to fit or to choose'):
      evaluation.evaluate(
          fitted,
          given['val_masks'],
          given['val_outcomes'][None],
          heldout_ids=ids,
      )

  # The l2 part of scikit-learn's elastic net has no outcome units.
  @parameterized.parameters(sorted({*_NAMES} - {'elastic_net'}))
  def test_outcomes_of_any_size(self, name):
    problem = planted.sparse_linear(3, num_train=20, num_models=100)
    fit = regressors.get(name)
    factor = np.float32(2.0**100)  # Exact; its square is beyond float32.
    plain = fit(problem.masks, problem.outcomes, num_val=20)
    large = fit(problem.masks, problem.outcomes * factor, num_val=20)
    self.assertEqual(large.val_mse.dtype, np.float64)
    for field in ('weights', 'bias'):
      np.testing.assert_allclose(
          getattr(large, field) / factor, getattr(plain, field), rtol=1e-5
      )
    # Scaling by a power of two changes no digit but those near zero.
    np.testing.assert_allclose(
        large.val_mse / float(factor) ** 2, plain.val_mse, rtol=1e-5
    )

  @parameterized.parameters(_NAMES)
  def test_unknown_keywords(self, name):
    problem = planted.sparse_linear(0)
    with self.assertRaisesRegex(TypeError, f'{name}.fit.*nummval; .*alpha'):
      regressors.get(name)(problem.masks, problem.outcomes, nummval=3)

  @parameterized.parameters(_NAMES)
  def test_packed_and_device_masks_are_the_same(self, name):
    problem = planted.sparse_linear(3)
    fit = regressors.get(name)
    plain = fit(problem.masks, problem.outcomes)
    packed = fit(subsets.pack(problem.masks), problem.outcomes)
    device = fit(jnp.asarray(problem.masks), jnp.asarray(problem.outcomes))
    np.testing.assert_array_equal(packed.weights, plain.weights)
    np.testing.assert_array_equal(device.weights, plain.weights)

  @parameterized.parameters(_NAMES)
  def test_constant_columns_get_weight_zero_and_a_warning(self, name):
    problem = planted.sparse_linear(4)
    masks, outcomes = problem.masks.copy(), problem.outcomes.copy()
    masks[:, 0], masks[:, 1] = True, False
    outcomes[:, 2] = 0.1
    with self.assertLogs('absl', 'WARNING') as logs:
      fitted = regressors.get(name)(masks, outcomes)
    self.assertIn('2 of 60 examples', logs.output[0])
    np.testing.assert_array_equal(fitted.weights[:2], 0)
    # A constant outcome: rounding of float64 at most.
    np.testing.assert_allclose(fitted.weights[:, 2], 0, atol=1e-12)
    np.testing.assert_allclose(fitted.bias[2], 0.1, rtol=1e-6)

  @parameterized.parameters(_NAMES)
  def test_bad_input_raises(self, name):
    problem = planted.sparse_linear(5)
    masks, outcomes = problem.masks, problem.outcomes
    fit = regressors.get(name)
    diverged = outcomes.copy()
    diverged[[3, 9], 1] = np.nan
    cases = (
        (r'masks.astype\(bool\)', (masks.astype(np.float32), outcomes), {}),
        ('num_models, num_train', (masks[0], outcomes), {}),
        (r'outcomes\[:, None\]', (masks, outcomes[:, 0]), {}),
        (r'\[300, num_targets\]', (masks, outcomes[:-1]), {}),
        ('2 of 300 rows.*diverged', (masks, diverged), {}),
        ('real outcomes', (masks, outcomes * 1j), {}),
        ('same training set', (np.ones_like(masks), outcomes), {}),
        ('num_val from 1 to 298', (masks, outcomes), {'num_val': 300}),
        ('num_val from 1 to 298', (masks, outcomes), {'num_val': -1}),
        ('together', (masks, outcomes), {'val_masks': masks}),
        (
            'not both',
            (masks, outcomes),
            {'val_masks': masks, 'val_outcomes': outcomes, 'num_val': 3},
        ),
        (
            'validation rows',
            (masks, outcomes),
            {'val_masks': masks, 'val_outcomes': diverged},
        ),
        (
            'validation models of 60 examples',
            (masks, outcomes),
            {'val_masks': masks[:, :9], 'val_outcomes': outcomes},
        ),
        ('2 models or more', (masks[:1], outcomes[:1]), {}),
        ('3 models or more', (masks[:2], outcomes[:2]), {'num_val': 1}),
        ('num_val to be an integer', (masks, outcomes), {'num_val': 10.5}),
        ('one target or more', (masks, outcomes[:, :0]), {}),
        ('only with val_masks', (masks, outcomes), {'val_model_ids': [1]}),
        (
            'val_model_ids to be 300',
            (masks, outcomes),
            {
                'val_masks': masks,
                'val_outcomes': outcomes,
                'val_model_ids': [1],
            },
        ),
        (
            r'not fitted, got 2 in both \(id 298 first\)',
            (masks, outcomes),
            {
                'val_masks': masks[:3],
                'val_outcomes': outcomes[:3],
                'val_model_ids': [298, 299, 300],
            },
        ),
        ('model_ids to be 300', (masks, outcomes), {'model_ids': [1]}),
        ('target_ids to be 5', (masks, outcomes), {'target_ids': [1]}),
    )
    for message, arrays, options in cases:
      with self.subTest(message), self.assertRaisesRegex(ValueError, message):
        fit(*arrays, **options)

  def test_unknown_names_list_the_known(self):
    with self.assertRaisesRegex(ValueError, 'lasso, least_squares, ridge'):
      regressors.get('lassso')


if __name__ == '__main__':
  absltest.main()
