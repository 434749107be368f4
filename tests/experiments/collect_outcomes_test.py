"""Pools that grow, are added to, and are shared by several processes."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

from absl.testing import absltest
from absl.testing import parameterized

from jdm import store as store_lib
from tests.experiments import forked

_ROOT = pathlib.Path(__file__).parents[2]

_SMALL = (
    '--dataset=digits',
    '--num_train=60',
    '--num_test=6',
    '--epochs=1',
    '--batch_size=20',
)


class MoreOutcomesTest(absltest.TestCase):

  def _collect(self, workdir, num_models, *flags):
    return forked.run(
        'collect_outcomes',
        f'--workdir={workdir}',
        f'--num_models={num_models}',
        *_SMALL,
        *flags,
    )

  def test_what_follows_from_logits_needs_no_training(self):
    with tempfile.TemporaryDirectory() as workdir:
      done = self._collect(workdir, 8, '--outcomes=logits')
      self.assertEqual(done.returncode, 0, done.stderr)
      done = self._collect(workdir, 12, '--outcomes=correctness')
      self.assertEqual(done.returncode, 0, done.stderr)
      self.assertIn('nothing is trained again', done.stdout)
      self.assertIn('4 models to train', done.stdout)  # The pool grows.
      done = self._collect(
          workdir, 12, '--outcomes=correctness', '--targets=train'
      )
      self.assertEqual(done.returncode, 2)
      self.assertRegex(
          done.stderr,
          'neither correctness_train nor the logits.*trained again.*'
          '--outcomes=logits,correctness --targets=test,train',
      )

  def test_a_timed_convolution_is_of_the_recipe(self):
    with tempfile.TemporaryDirectory() as workdir:
      flags = ('--model=cnn', '--num_train=30', '--batch_size=10')
      done = self._collect(workdir, 2, *flags, '--convolution=auto')
      self.assertEqual(done.returncode, 0, done.stderr)
      found = re.search(r'pass --convolution=(\w+) from now', done.stdout)
      assert found is not None
      options = store_lib.OutcomeStore.open(f'{workdir}/store').recipe[
          'model_options'
      ]
      self.assertEqual(options.get('convolution', 'im2col'), found.group(1))
      # A store that is there has chosen, for every worker.
      worker = ('--worker_index=0', '--worker_count=2')
      auto = ('--convolution=auto', '--group=auto', *worker)
      done = self._collect(workdir, 3, *flags, *auto)
      self.assertEqual(done.returncode, 0, done.stderr)
      self.assertNotIn('auto chose', done.stdout)
      self.assertRegex(done.stdout, '1 models to train')

  def test_another_model_is_refused_as_ever(self):
    with tempfile.TemporaryDirectory() as workdir:
      self._collect(workdir, 4)
      done = self._collect(workdir, 4, '--model=mlp')
      self.assertEqual(done.returncode, 2)
      self.assertIn('another recipe', done.stderr)


class CombinationsTest(parameterized.TestCase):

  @parameterized.parameters(
      (('--launcher=ray', '--tensorboard'), 'for --launcher=local'),
      (('--launcher=ray', '--checkpoint_every_secs=9'), 'launcher=local'),
      (('--ray_address=a:1',), 'for --launcher=ray'),
      (
          ('--group=auto', '--worker_index=0', '--worker_count=2'),
          'several workers cannot time',
      ),
  )
  def test_flags_that_mean_nothing_together(self, flags, words):
    workdir = self.create_tempdir().full_path
    done = forked.run('collect_outcomes', f'--workdir={workdir}', *flags)
    self.assertEqual(done.returncode, 2)
    self.assertIn(words, done.stderr)


class WorkersTest(parameterized.TestCase):
  """Real processes at the same time, on one store."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.folder = folder.name
    (alone,) = cls._collect('alone', [()])
    assert not alone[0], alone
    cls.expected = cls._contents('alone')

  @classmethod
  def _collect(cls, name, workers):
    """Starts processes, each of some flags or variables; awaits all."""
    processes = []
    for worker in workers:
      variables, options = ({}, worker)
      if isinstance(worker, dict):
        variables, options = (worker, ())
      processes.append(
          subprocess.Popen(
              [
                  sys.executable,
                  '-m',
                  'experiments.collect_outcomes',
                  f'--workdir={cls.folder}/{name}',
                  '--num_models=40',
                  '--chunk=4',
                  *_SMALL,
                  *options,
              ],
              cwd=_ROOT,
              env={**os.environ, **variables},
              stdout=subprocess.PIPE,
              stderr=subprocess.PIPE,
              text=True,
          )
      )
    done = [process.communicate(timeout=120) for process in processes]
    codes = [process.returncode for process in processes]
    return [(code, *texts) for code, texts in zip(codes, done)]

  @classmethod
  def _contents(cls, name):
    """The bytes of every chunk of every array of a store."""
    store = pathlib.Path(cls.folder, name, 'store')
    return {
        str(file.relative_to(store)): file.read_bytes()
        for file in sorted(store.glob('*/c/**/*'))
        if file.is_file() and '__lock' not in file.name
    }

  def test_three_shares_make_what_one_process_makes(self):
    array = {'SLURM_ARRAY_TASK_COUNT': '3', 'SLURM_ARRAY_TASK_MIN': '1'}
    first, *others = [
        {**array, 'SLURM_ARRAY_TASK_ID': str(i)} for i in (1, 2, 3)
    ]
    (done,) = self._collect('shares', [first])
    self.assertEqual(done[0], 0, done)
    self.assertRegex(done[1], r'worker 0 of 3 \(from SLURM_ARRAY_TASK_ID and')
    self.assertRegex(done[1], r'missing, of all workers +24')
    for code, stdout, stderr in self._collect('shares', others):
      self.assertEqual(code, 0, stderr)
      self.assertRegex(stdout, 'Done: worker')
    self.assertEqual(self._contents('shares'), self.expected)

  def test_two_workers_on_the_same_rows_do_no_harm(self):
    for code, _, stderr in self._collect('same', [(), ()]):
      self.assertEqual(code, 0, stderr)
    self.assertEqual(self._contents('same'), self.expected)

  def test_an_index_without_a_count(self):
    ((code, _, stderr),) = self._collect('none', [('--worker_index=1',)])
    self.assertEqual(code, 2)
    self.assertIn('error: worker_index=1 needs worker_count', stderr)


if __name__ == '__main__':
  absltest.main()
