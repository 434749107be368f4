"""Several processes of one command: who writes, and who never came."""

import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datamodels as datamodels_lib
from tests.experiments import forked
from tests.experiments import workdir_test
from tests.regressors import distributed_test

_ROOT = pathlib.Path(__file__).parents[2]


def _start(workdir, *flags):
  return subprocess.Popen(
      [
          sys.executable,
          '-m',
          'experiments.fit_datamodels',
          f'--workdir={workdir}',
          '--distributed',
          *flags,
      ],
      cwd=_ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )


class FitTest(absltest.TestCase):

  def test_two_processes_write_what_one_does(self):
    workdir = self.create_tempdir().full_path
    workdir_test._make_store(workdir)
    done = forked.run(
        'fit_datamodels',
        f'--workdir={workdir}',
        f'--datamodels={workdir}/alone.npz',
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    port = distributed_test.free_port()
    processes = [
        _start(
            workdir,
            f'--coordinator_address=127.0.0.1:{port}',
            '--num_processes=2',
            f'--process_id={i}',
        )
        for i in range(2)
    ]
    texts = [process.communicate(timeout=100) for process in processes]
    for process, (_, stderr) in zip(processes, texts):
      self.assertEqual(process.returncode, 0, stderr)
    self.assertIn('Fitted', texts[0][0])
    self.assertNotIn('Fitted', texts[1][0])
    found = datamodels_lib.load(f'{workdir}/datamodels_lasso_test.npz')
    expected = datamodels_lib.load(f'{workdir}/alone.npz')
    np.testing.assert_allclose(found.lam, expected.lam, rtol=1e-12)
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-2)
    np.testing.assert_array_equal(found.fit_ids, expected.fit_ids)
    self.assertEqual(found.meta, expected.meta)


class ErrorTest(parameterized.TestCase):

  @parameterized.parameters(0, 1)
  def test_nobody_else_came(self, index):
    port = distributed_test.free_port()
    process = _start(
        tempfile.gettempdir(),
        f'--coordinator_address=127.0.0.1:{port}',
        '--num_processes=2',
        f'--process_id={index}',
        '--coordinator_timeout_secs=2',
    )
    _, stderr = process.communicate(timeout=60)
    self.assertEqual(process.returncode, 2, stderr)
    self.assertRegex(
        stderr,
        f'^error: process {index} of 2 waited 2 s .* at 127.0.0.1:{port}; check',
    )
    self.assertLen(stderr.strip().splitlines(), 1)

  @parameterized.parameters(
      (('--coordinator_address=a:1',), 'go together'),
      (('--regressor=ridge',), "--targets=test, got 'ridge' and 'test'"),
      (('--targets=train',), 'closed forms and train targets are for one'),
      (
          (
              '--coordinator_address=a:1',
              '--num_processes=2',
              '--process_id=2',
          ),
          r'--process_id must lie in \[0, 2\), got 2',
      ),
      ((), 'pass --coordinator_address=HOST:PORT, --num_processes'),
      (('--nodistributed', '--num_processes=2'), 'are for --distributed'),
  )
  def test_flags(self, flags, words):
    folder = tempfile.gettempdir()
    done = forked.run(
        'fit_datamodels', f'--workdir={folder}', '--distributed', *flags
    )
    self.assertEqual(done.returncode, 2, done.stderr)
    self.assertRegex(done.stderr, words)
    self.assertLen(done.stderr.strip().splitlines(), 1)

  def test_an_error_in_one_process_ends_all(self):
    port = distributed_test.free_port()
    workdir = self.create_tempdir().full_path
    workdir_test._make_store(workdir)
    processes = [
        _start(
            workdir,
            f'--coordinator_address=127.0.0.1:{port}',
            '--num_processes=2',
            f'--process_id={i}',
            f'--num_val={num_val}',
        )
        for i, num_val in enumerate([20, 1000])
    ]
    texts = [p.communicate(timeout=100)[1] for p in processes]
    self.assertEqual([p.returncode for p in processes], [1, 2], texts)
    self.assertIn('error: a process failed, another or this one:', texts[0])
    self.assertNotIn('Traceback', texts[0])
    self.assertRegex(texts[1], '^error: .*num_val from 1 to 78')


if __name__ == '__main__':
  absltest.main()
