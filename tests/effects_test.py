"""Statistics of retrained outcomes, against scipy and by hand."""

import dataclasses
import json

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import effects


class ChangeTest(parameterized.TestCase):

  def test_interval_is_welch(self):
    rng = np.random.default_rng(0)
    own, control = rng.normal(size=(3, 4)), 2 * rng.normal(size=(9, 4))
    found = effects.interval(own, control)
    welch = stats.ttest_ind(own, control, equal_var=False)
    expected = welch.confidence_interval(0.95)
    np.testing.assert_allclose(found, [expected.low, expected.high])
    np.testing.assert_allclose(
        effects.change(own, control), own.mean(axis=0) - control.mean(axis=0)
    )

  def test_diverged_trainings_are_left_out(self):
    own = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(effects.mean(own), [2.0, np.nan])
    np.testing.assert_allclose(
        effects.variance_of_mean(own), [stats.sem([1.0, 3.0]) ** 2, np.nan]
    )

  def test_equal_trainings_have_an_interval_of_no_width(self):
    own, control = np.full((2, 1), 3.0), np.full((4, 1), 2.0)
    np.testing.assert_array_equal(
        effects.interval(own, control), [[1.0], [1.0]]
    )

  def test_interval_of_shares_by_newcombe(self):
    # Newcombe (1998), table II, method 10: 56/70 - 48/80, and 10/10 - 0/20.
    own = np.repeat([1.0, 0.0], [56, 14])[:, None]
    control = np.repeat([1.0, 0.0], [48, 32])[:, None]
    found = effects.interval(own, control)[:, 0]
    np.testing.assert_allclose(found, [0.0524, 0.3339], atol=5e-5)
    found = effects.interval(np.ones((10, 1)), np.zeros((20, 1)))[:, 0]
    np.testing.assert_allclose(found, [0.6791, 1.0], atol=5e-5)

  def test_replicates_that_give_no_interval_are_refused(self):
    effects.check_replicates('it', replicates=2)
    with self.assertRaisesRegex(ValueError, '`it` expects replicates of at'):
      effects.check_replicates('it', replicates=1)

  @parameterized.parameters((1, 5), (5, 1))
  def test_one_training_has_no_interval(self, own, control):
    self.assertIsNone(
        effects.interval(np.ones((own, 2)), np.ones((control, 2)))
    )


class AgreementTest(parameterized.TestCase):

  def test_against_scipy(self):
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=(3, 4))
    observed = predicted + rng.normal(size=(3, 4))
    found = effects.agreement(predicted, observed)
    x, y = predicted.ravel(), observed.ravel()
    self.assertAlmostEqual(found.spearman, stats.spearmanr(x, y).statistic)
    self.assertAlmostEqual(found.pearson, stats.pearsonr(x, y).statistic)
    self.assertAlmostEqual(found.slope, np.linalg.lstsq(x[:, None], y)[0][0])
    self.assertAlmostEqual(found.mse, np.mean((x - y) ** 2))

  def test_undefined(self):
    found = effects.agreement(np.zeros(3), np.arange(3.0))
    self.assertTrue(np.isnan(found.spearman))
    self.assertTrue(np.isnan(found.slope))
    nothing = effects.agreement(np.ones(2), np.full(2, np.nan))
    self.assertTrue(np.isnan(nothing.mse))

  def test_ceiling_is_what_the_truth_reaches(self):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    own = truth[None] + 1.5 * rng.normal(size=(8, 4000))
    parts = effects.halves(own, np.zeros((4, 4000)))
    ceiling = effects.split_half_ceiling(*parts)
    reached = effects.spearman(truth, own.mean(axis=0))
    self.assertAlmostEqual(ceiling, reached, delta=0.02)

  def test_noise_of_the_control_lowers_the_ceiling(self):
    rng = np.random.default_rng(0)
    own = rng.normal(size=500)[None] + np.zeros((2, 1))
    noisy = 3 * rng.normal(size=(4, 500))
    quiet = np.zeros((4, 500))
    ceilings = [
        effects.split_half_ceiling(*effects.halves(own, control))
        for control in (quiet, noisy)
    ]
    self.assertAlmostEqual(ceilings[0], 1.0)
    self.assertLess(ceilings[1], 0.8)

  def test_one_training_has_no_halves(self):
    self.assertIsNone(effects.halves(np.ones((1, 2)), np.ones((4, 2))))


class CheckTest(parameterized.TestCase):

  def test_shape_of_retrained(self):
    with self.assertRaisesRegex(ValueError, r'`app` expects.*\[2, 3, 4\]'):
      effects.retrained(
          'app', lambda m, r: np.zeros((r, 3)), np.ones((3, 5), bool), 2, 4
      )
    with self.assertRaisesRegex(ValueError, 'at least one retraining'):
      effects.retrained('app', lambda m, r: m, np.ones((3, 5), bool), 0, 4)

  def test_relabel_is_handed_on_only_if_given(self):
    calls = []

    def retrain(masks, replicates, **options):
      calls.append(options)
      return np.zeros((replicates, len(masks), 1))

    masks = np.ones((1, 2), bool)
    effects.retrained('app', retrain, masks, 1, 1)
    effects.retrained('app', retrain, masks, 1, 1, np.array([[-1, 0]]))
    self.assertEqual(calls[0], {})
    self.assertIn('relabel', calls[1])

  def test_subsets_that_cannot_be_trained_on(self):
    masks = np.ones((3, 6), bool)
    labels = np.array([0, 0, 0, 0, 1, 1])
    check = effects.check_masks_trainable
    check('app', masks, batch_size=6, labels=labels, num_classes=3)
    masks[1, 4:] = False
    with self.assertRaisesRegex(ValueError, 'subset 1 has 4'):
      check('app', masks, batch_size=5)
    with self.assertRaisesRegex(ValueError, 'number 1 first.*class 1'):
      check('app', masks, batch_size=2, labels=labels, num_classes=2)


class JsonTest(absltest.TestCase):

  def test_nested(self):
    @dataclasses.dataclass
    class Inner:
      values: np.ndarray

    found = effects.to_json(
        {'a': (Inner(np.arange(2)), np.float32(0.5)), 1: None}
    )
    self.assertEqual(
        json.loads(json.dumps(found)),
        {'a': [{'values': [0, 1]}, 0.5], '1': None},
    )


if __name__ == '__main__':
  absltest.main()
