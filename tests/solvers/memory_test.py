import dataclasses
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm.solvers import memory
from jdm.solvers import moments as moments_lib
from jdm.solvers import path as path_lib
from jdm.solvers import plans
from tests import planted

_PAPER = memory.Sizes(num_train=50_000, num_models=300_000, num_targets=10_000)
_GIB = 2**30


def _taken(sizes: memory.Sizes, count: int) -> int:
  found = memory.dry_run(sizes, jax.local_devices()[:count])
  taken = found.argument_size_in_bytes + found.output_size_in_bytes
  return taken + found.temp_size_in_bytes


class MemoryTest(parameterized.TestCase):

  @parameterized.parameters(
      {},
      {'depth': 0},
      {'tile': 512, 'num_lams': 20},
      {'state': 'float32', 'depth': 0},
      {'num_devices': 2},
      {'num_devices': 2, 'depth': 0, 'narrow': 'float64', 'tile': 256},
  )
  def test_a_dry_run_takes_what_is_planned(self, **options):
    sizes = dataclasses.replace(_PAPER, **options)
    planned = sum(memory.needs(sizes)['sweeps'].values())
    # Nothing is allocated: this would be 30 GiB.
    taken = _taken(sizes, sizes.num_devices)
    self.assertBetween(taken, 0.85 * planned, planned)

  def test_the_papers_size_fits_one_device_and_more_so_eight(self):
    one = memory.needs(_PAPER)
    self.assertEqual(one['sweeps']['gram'], 50_000**2 * 4)
    self.assertBetween(memory.peak(one), 30 * _GIB, 40 * _GIB)
    with_val = dataclasses.replace(_PAPER, num_val=30_000)
    self.assertLess(memory.peak(memory.needs(with_val)), 0.9 * 80e9)
    eight = memory.needs(dataclasses.replace(_PAPER, num_devices=8))
    self.assertBetween(memory.peak(eight), 4 * _GIB, 5 * _GIB)

  def test_a_matrix_too_large_for_a_device_is_spread(self):
    gpu = mock.Mock(platform='gpu')
    gpu.memory_stats.return_value = {'bytes_limit': 80 * 10**9}
    choose = memory.choose
    self.assertFalse(choose(_PAPER, [gpu] * 8))
    self.assertTrue(choose(_PAPER, [gpu] * 8, shard=True))
    large = dataclasses.replace(_PAPER, num_train=150_000)
    self.assertTrue(choose(large, [gpu] * 8))
    with self.assertRaisesRegex(
        ValueError, r'150000 examples .* GiB on a device, which may take 67.1'
    ):
      choose(large, [gpu])
    with self.assertRaisesRegex(ValueError, 'more devices .now 8 of 8'):
      choose(dataclasses.replace(_PAPER, num_train=500_000), [gpu] * 8)
    with self.assertRaisesRegex(ValueError, 'smaller tile .now 8192'):
      choose(dataclasses.replace(_PAPER, tile=8192), [gpu])
    self.assertTrue(memory.fits('curvature', _PAPER, gpu))
    self.assertFalse(memory.fits('curvature', large, gpu))

  def test_sweeps_with_float64_products_are_planned(self):
    found = memory.needs(_PAPER)['again']
    self.assertEqual(found['gram'], 50_000**2 * 8)
    gpu = mock.Mock(platform='gpu')
    gpu.memory_stats.return_value = {'bytes_limit': 80 * 10**9}
    self.assertTrue(memory.fits('again', _PAPER, gpu))
    larger = dataclasses.replace(_PAPER, num_train=90_000, tile=512)
    self.assertFalse(memory.choose(larger, [gpu]))
    self.assertFalse(memory.fits('again', larger, gpu))
    wide = dataclasses.replace(_PAPER, narrow='float64')
    self.assertEmpty(memory.needs(wide)['again'])

  def test_without_room_for_them_a_fit_says_so(self):
    # Copies of columns, and a tolerance that float32 products do not reach.
    problem = planted.sparse_linear(0, 30, 60, 2)
    copies = np.concatenate([problem.masks, problem.masks], axis=1)
    moments = moments_lib.of(copies, problem.outcomes)
    with (
        mock.patch.object(plans, '_NARROW_EPOCHS', 1),
        mock.patch.object(memory, 'fits', lambda phase, *_: phase != 'again'),
        self.assertLogs('absl', 'WARNING') as logs,
    ):
      path = path_lib.lasso_path(moments, keep='all', dual_point='residual')
    self.assertFalse(path.converged.all())
    self.assertIn('no room for float64 products', logs.output[0])

  def test_devices_of_a_cpu_share_its_memory(self):
    cpus = jax.local_devices()
    self.assertGreater(memory.limit(cpus[0]), 2**28)
    with self.assertRaisesRegex(ValueError, 'more devices'):
      memory.choose(dataclasses.replace(_PAPER, num_train=10**7), cpus)

  def test_a_fit_that_cannot_fit_is_refused_before_it_starts(self):
    moments = planted.sparse_linear(0).moments
    with self.assertRaisesRegex(ValueError, '`lasso_path` of 60 examples'):
      path_lib.lasso_path(moments, keep='all', memory_limit=1000, shard=False)


if __name__ == '__main__':
  absltest.main()
