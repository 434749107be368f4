from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm.solvers import moments as moments_lib
from jdm.solvers import options as options_lib
from jdm.solvers import path as path_lib
from tests import planted


class OptionsTest(parameterized.TestCase):

  def test_bad_options_raise(self):
    moments = planted.sparse_linear(0).moments
    solve = path_lib.lasso_path
    with self.assertRaisesRegex(ValueError, "keep='all'"):
      solve(moments)
    with self.assertRaisesRegex(ValueError, "'best' or 'all'"):
      solve(moments, keep='some')
    with self.assertRaisesRegex(ValueError, 'above 0'):
      solve(moments, lams=np.array([0.1, 0.0]), keep='all')
    with self.assertRaisesRegex(ValueError, 'decreasing'):
      solve(moments, lams=np.array([0.1, 0.2]), keep='all')
    with self.assertRaisesRegex(ValueError, 'num_lams, 5'):
      solve(moments, lams=np.ones((2, 4)), keep='all')
    with self.assertRaisesRegex(ValueError, 'min_ratio'):
      solve(moments, min_ratio=2, keep='all')
    with self.assertRaisesRegex(ValueError, 'tol above 0'):
      solve(moments, tol=0, keep='all')
    with self.assertRaisesRegex(ValueError, "'float32' or 'float64'"):
      solve(moments, dtype='float16', keep='all')
    with self.assertRaisesRegex(ValueError, "'residual' or 'corrected'"):
      solve(moments, dual_point='best', keep='all')
    with self.assertRaisesRegex(ValueError, 'l1_ratio above 0'):
      solve(moments, l1_ratio=0, keep='all')
    for factor in (np.ones((5, 60)), np.zeros(60), np.full(60, np.nan)):
      with self.assertRaisesRegex(ValueError, 'factor to be finite'):
        solve(moments, factor=factor, keep='all')
    with self.assertRaisesRegex(ValueError, 'both val_masks'):
      solve(moments, val_masks=np.ones((3, 60), bool))
    with self.assertRaisesRegex(ValueError, r'num_val, 60'):
      solve(
          moments,
          val_masks=np.ones((3, 50), bool),
          val_outcomes=np.ones((3, 5)),
      )
    with self.assertRaisesRegex(ValueError, '2 models or more'):
      solve(moments_lib.Moments.zeros(60, 5), keep='all')

  def test_numbers_that_are_not_finite_raise(self):
    problem = planted.sparse_linear(0)
    moments, solve = problem.moments, path_lib.lasso_path
    for start in (np.full((60, 5), np.nan), np.zeros((60, 4))):
      with self.assertRaisesRegex(ValueError, 'start to be finite weights'):
        solve(moments, start=start, keep='all')
    for lams in (np.array([0.1, np.nan]), np.array([0.1, -0.1])):
      with self.assertRaisesRegex(ValueError, 'penalties above 0'):
        solve(moments, lams=lams, keep='all')
    with self.assertRaisesRegex(ValueError, 'val_outcomes that are not finite'):
      solve(
          moments,
          val_masks=problem.masks,
          val_outcomes=problem.outcomes * np.inf,
      )
    with self.assertRaisesRegex(ValueError, 'no folder for weights_file'):
      solve(moments, keep='all', weights_file='/nowhere/at/all.npy')
    for name in ('tile', 'block', 'memory_limit'):
      with self.assertRaisesRegex(ValueError, f'{name} >= 1'):
        solve(moments, keep='all', **{name: 0})

  @parameterized.parameters(0.5, 2, 10)
  def test_a_tolerance_beyond_float64_ends_with_the_honest_gap(self, ratio):
    problem = planted.sparse_linear(1, 60, int(60 * ratio), 3)
    options = {'num_lams': 4, 'keep': 'all', 'tol': 1e-16}
    with self.assertLogs(level='WARNING') as logs:
      path = path_lib.lasso_path(problem.moments, **options)
    self.assertRegex(logs.output[0], 'down to about 1e-12, not to tol = 1e-16')
    # It ends long before the 5,000 sweeps of each penalty.
    self.assertLess(path.num_epochs.max(), 3000)
    self.assertLess(path.gap.max(), 1e-11)
    np.testing.assert_array_equal(path.converged, path.gap <= 1.1e-16)
    self.assertFalse(path.converged.all())

  def test_targets_are_spread_over_devices_with_a_full_tile(self):
    self.assertLen(jax.local_devices(), 2)
    for num_targets, expected in ((99, (1, 99)), (200, (2, 100))):
      devices, tile = options_lib.Options().spread(num_targets)
      self.assertEqual((len(devices), tile), expected)
    both = options_lib.Options(devices=jax.local_devices())
    self.assertEqual(both.spread(10)[1], 5)


if __name__ == '__main__':
  absltest.main()
