import os
import pathlib
import subprocess
import sys
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm.solvers import gram_blocks
from jdm.solvers import path as path_lib
from jdm.solvers import sharded
from tests import planted
from tests.solvers import sharded_cases

_ROOT = pathlib.Path(__file__).parents[2]


class ShardedTest(parameterized.TestCase):

  @parameterized.parameters('validation', 'factor')
  def test_two_devices_share_a_matrix(self, name):
    sharded_cases.check(2, name)

  def test_four_and_eight_devices_in_a_process_of_their_own(self):
    done = subprocess.run(
        [sys.executable, '-m', 'tests.solvers.sharded_cases'],
        cwd=_ROOT,
        env={**os.environ, 'PYTHONPATH': str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEqual(done.stdout.count('agrees'), 2)

  def test_each_device_holds_its_own_columns(self):
    moments = planted.sparse_linear(0, num_train=61).moments
    mesh = sharded.mesh_of(jax.local_devices())
    route = sharded.ShardedRoute(
        moments=moments,
        start=None,
        correlation=np.zeros((3, 61)),
        narrow='float32',
        block=8,
        mesh=mesh,
    )
    gram = route.place()
    self.assertEqual(gram.shape, (62, 62))
    shapes = {shard.data.shape for shard in gram.addressable_shards}
    self.assertEqual(shapes, {(62, 31)})
    expected = np.pad(moments.gram().astype(np.float32), (0, 1))
    np.testing.assert_array_equal(np.asarray(gram), expected)
    _, (weights, _) = route.load(gram, np.arange(3), 4)
    self.assertEqual(weights.addressable_shards[0].data.shape, (4, 31))

  def test_is_chosen_where_one_device_is_too_small(self):
    moments = planted.sparse_linear(
        0, 400, num_models=200, num_targets=2
    ).moments
    options = {'num_lams': 2, 'min_ratio': 0.5, 'keep': 'all', 'block': 8}
    options['tile'] = 2
    seen = []
    place = sharded.ShardedRoute.place

    def noticed(route):
      seen.append(route.mesh.devices.size)
      return place(route)

    # 400^2 float32 are 640,000 bytes; halves of all arrays fit.
    with (
        mock.patch.object(gram_blocks, 'WHOLE_TRAIN', 100),
        mock.patch.object(gram_blocks, '_BLOCK_BYTES', 2**15),
        mock.patch.object(sharded.ShardedRoute, 'place', noticed),
    ):
      path = path_lib.lasso_path(moments, memory_limit=700_000, **options)
      self.assertTrue(path.converged.all())
      self.assertEqual(seen, [2])
      with self.assertRaisesRegex(ValueError, 'needs .* more devices'):
        path_lib.lasso_path(moments, memory_limit=300_000, **options)


if __name__ == '__main__':
  absltest.main()
