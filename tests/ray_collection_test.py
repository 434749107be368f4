"""Ray: lost machines cost time and change no bit."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
from unittest import mock

from absl.testing import absltest
import numpy as np
import pytest

from jdm import collection
from jdm import ray_collection
from jdm import recipe as recipe_lib
from jdm import store as store_lib

_ROOT = pathlib.Path(__file__).parents[1]
_MODELS = 240
_CHUNK = 4
_FLAGS = (
    '--dataset=digits',
    '--num_train=200',
    '--num_test=6',
    '--epochs=40',
    '--batch_size=10',
    f'--num_models={_MODELS}',
    f'--chunk={_CHUNK}',
)


def _collect(workdir, *flags):
  command = [sys.executable, '-m', 'experiments.collect_outcomes']
  return subprocess.Popen(
      [*command, f'--workdir={workdir}', *_FLAGS, *flags],
      cwd=_ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )


def _await_rows(path, least, seconds=120):
  """Waits until some rows are written; the number of those that are."""
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline:
    if store_lib.exists(path):
      try:
        done = len(store_lib.OutcomeStore.open(path).completed())
      except store_lib.StoreError:  # Being made.
        done = 0
      if done >= least:
        return done
    time.sleep(0.1)
  raise TimeoutError(f'{least} rows of {path} were not written')


class ClusterTest(absltest.TestCase):

  @pytest.mark.timeout(300)
  def test_a_lost_machine_changes_nothing(self):
    from ray import cluster_utils

    variables = {'RAY_USAGE_STATS_ENABLED': '0', 'JAX_PLATFORMS': 'cpu'}
    self.enter_context(mock.patch.dict(os.environ, variables))
    folder = self.enter_context(tempfile.TemporaryDirectory())
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={'num_cpus': 1}
    )
    self.addCleanup(cluster.shutdown)
    other = cluster.add_node(num_cpus=1)
    process = _collect(
        f'{folder}/ray', '--launcher=ray', f'--ray_address={cluster.address}'
    )
    self.addCleanup(process.kill)
    path = f'{folder}/ray/store'
    # Both machines are at work by then.
    done = _await_rows(path, least=_MODELS // 6)
    cluster.remove_node(other, allow_graceful=False)
    self.assertLess(done, _MODELS / 2)
    stdout, stderr = process.communicate(timeout=240)
    self.assertEqual(process.returncode, 0, stderr)
    self.assertRegex(stdout, f'completed +{_MODELS}')
    self.assertRegex(stderr, f'{_MODELS}/{_MODELS}.*model/s')
    alone = _collect(f'{folder}/alone')
    _, stderr = alone.communicate(timeout=120)
    self.assertEqual(alone.returncode, 0, stderr)
    found = store_lib.OutcomeStore.open(path)
    expected = store_lib.OutcomeStore.open(f'{folder}/alone/store')
    for name in ('masks', 'soft_margin', 'margin'):
      np.testing.assert_array_equal(found.read(name), expected.read(name))
    self.assertEmpty(found.verify())


class TaskTest(absltest.TestCase):

  def test_a_task_that_is_run_again_trains_nothing(self):
    recipe = recipe_lib.Recipe(dataset_options={'num_train': 120})
    pool = recipe_lib.build(recipe)
    path = self.create_tempdir().full_path + '/store'
    collection.prepare(pool, path, num_models=6, chunk=4)
    rows = np.arange(4)
    self.assertEqual(ray_collection._train_chunk(path, 6, rows), 4)
    self.assertEqual(ray_collection._train_chunk(path, 6, rows), 0)
    store = store_lib.OutcomeStore.open(path)
    np.testing.assert_array_equal(store.missing(), [4, 5])
    np.testing.assert_array_equal(store.missing(np.array([3, 5])), [5])


class ErrorTest(absltest.TestCase):

  def _result(self, error):
    import ray

    fake = mock.Mock(exceptions=ray.exceptions)
    fake.get.side_effect = error
    ray_collection._result(fake, None, np.arange(4, 8))

  def test_what_a_task_raised(self):
    from ray import exceptions

    cause = store_lib.StoreWriteError('disk full')
    with self.assertRaisesRegex(store_lib.StoreWriteError, '^disk full$'):
      self._result(exceptions.RayTaskError('train', 'a traceback', cause))

  def test_a_task_that_was_lost_too_often(self):
    from ray import exceptions

    words = 'rows 4 to 7 too often .WorkerCrashedError.; .*run the same'
    with self.assertRaisesRegex(ChildProcessError, words):
      self._result(exceptions.WorkerCrashedError())


class UnreachableTest(absltest.TestCase):

  def test_no_cluster_at_the_address(self):
    pool = recipe_lib.build(recipe_lib.Recipe())
    path = self.create_tempdir().full_path + '/store'
    with self.assertRaisesRegex(ConnectionError, 'no Ray cluster at 127.*:9:'):
      ray_collection.collect(pool, path, num_models=1, address='127.0.0.1:9')


class WithoutRayTest(absltest.TestCase):

  def test_names_the_extra(self):
    pool = recipe_lib.build(recipe_lib.Recipe())
    path = self.create_tempdir().full_path + '/store'
    with mock.patch.dict(sys.modules, {'ray': None}):
      with self.assertRaisesRegex(ImportError, r"pip install 'jdm\[ray\]'"):
        ray_collection.collect(pool, path, num_models=1)
    self.assertFalse(os.path.exists(path))


if __name__ == '__main__':
  absltest.main()
