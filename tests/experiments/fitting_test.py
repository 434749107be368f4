"""What a fit is said to cost."""

from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from experiments import fitting
from tests import planted


def _problem(num_targets=40, **options):
  problem = planted.sparse_linear(0, 30, 200, num_targets)
  fields = {
      'regressor': 'ridge',
      'masks': problem.masks,
      'outcomes': problem.outcomes,
  }
  return fitting.Problem(**(fields | options))


class FittingTest(parameterized.TestCase):

  @parameterized.parameters(
      ('ridge', None, 40),
      ('ridge', 50, 50),
      ('least_squares', None, 0),
      ('difference_of_means', 7, 7),
  )
  def test_counts_are_those_of_the_fit(self, regressor, num_val, expected):
    problem = _problem(regressor=regressor, num_val=num_val)
    cost = fitting.estimate(problem)
    self.assertEqual(cost.num_targets, 40)
    self.assertEqual((cost.num_fit, cost.num_val), (200 - expected, expected))
    self.assertGreater(cost.seconds, 0)
    self.assertLen(problem.fit().val_ids, expected)

  def test_time_grows_with_the_targets_of_the_lasso(self):
    # The clock stands still but for the second, compiled slice of 16 targets.
    solved = mock.Mock(val_ids=np.arange(40))
    times = iter([(5.0, solved), (1.0, solved), (0.2, None)])
    with mock.patch.object(fitting, '_timed', lambda call: next(times)):
      cost = fitting.estimate(_problem(90, regressor='lasso'))
    # Compiled anew for whole tiles, with a refit of its own: 4 * (5 - 1).
    self.assertAlmostEqual(cost.seconds, 16 + 0.2 + 90 * 0.8 / 16)
    self.assertEqual(
        str(cost), '90 targets, 160 fit + 40 validation models, about 21 s'
    )

  @parameterized.parameters('ridge', 'lasso')
  def test_a_corner_stands_for_what_would_take_long(self, regressor):
    solved = mock.Mock(val_ids=np.arange(20))
    seen = []

    def timed(call):
      if isinstance(getattr(call, '__self__', None), fitting.Problem):
        seen.append(call.__self__)
      return 1.0, solved

    problem = _problem(10, regressor=regressor, num_val=50)
    # An eighth of the work: half the models, half the examples.
    largest = 200 * 30**2 / 8
    with (
        mock.patch.object(fitting, '_timed', timed),
        mock.patch.object(fitting, '_LARGEST_CLOSED_FORM', largest),
        mock.patch.dict(fitting._LARGEST_SLICE, lasso=largest),
        mock.patch.object(fitting, '_FEWEST_MODELS', 8),
    ):
      cost = fitting.estimate(problem)
    self.assertEqual(seen[0].masks.shape, (100, 15))
    self.assertEqual(seen[0].num_val, 25)
    self.assertAlmostEqual(cost.seconds, 8)
    self.assertEqual((cost.num_fit, cost.num_val), (150, 50))

  def test_says_nothing_of_the_data(self):
    problem = _problem()
    masks = problem.masks.copy()
    masks[:, 0] = True
    with self.assertNoLogs('absl', 'WARNING'):
      fitting.estimate(_problem(masks=masks))
    with self.assertLogs('absl', 'WARNING'):
      _problem(masks=masks).fit()

  @parameterized.parameters('lasso', 'elastic_net')
  def test_folds_are_counted(self, regressor):
    problem = _problem(4, regressor=regressor, num_folds=2, tol=1e-3)
    cost = fitting.estimate(problem)
    self.assertRegex(str(cost), '4 targets, 200 models in 2 folds, about')
    self.assertLen(problem.fit().fit_ids, 200)

  def test_an_earlier_fit_is_priced_as_one(self):
    early = _problem(4, regressor='lasso', tol=1e-3).fit()
    problem = _problem(4, regressor='lasso', tol=1e-3, start=early)
    corner = problem.corner(100, 20, 2)
    self.assertEqual(corner.start.weights.shape, (20, 2))
    corner.fit()
    cost = fitting.estimate(problem)
    self.assertEqual((cost.num_fit, cost.num_val), (200, 0))
    np.testing.assert_array_equal(problem.fit().lam, early.lam)

  @parameterized.parameters(
      ('ridge', {'num_folds': 3}, '--num_folds'),
      ('least_squares', {'rule': 'one_se'}, '--rule'),
      ('lasso', {'l1_ratio': [0.5], 'num_folds': 3}, '--l1_ratio'),
  )
  def test_options_of_other_regressors_are_refused(self, name, options, flag):
    with self.assertRaisesRegex(ValueError, f'{name} takes no {flag}:'):
      fitting.read(
          mock.Mock(), np.arange(4), regressor=name, outcome='margin', **options
      )

  def test_refuses_what_the_fit_refuses(self):
    with self.assertRaisesRegex(ValueError, 'num_val from 1 to 198'):
      fitting.estimate(_problem(num_val=199))


if __name__ == '__main__':
  absltest.main()
