"""A working directory on an S3 server: the same bits as on disk."""

import contextlib
import io
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
from unittest import mock

from absl.testing import absltest
import boto3
from moto import server as moto_server
import numpy as np

from experiments import workdir as workdir_lib
from jdm import datamodels as datamodels_lib
from jdm import locations
from jdm import store as store_lib
from tests.experiments import forked

_ROOT = pathlib.Path(__file__).parents[2]

_FLAGS = (
    '--dataset=digits',
    '--num_train=60',
    '--num_test=6',
    '--epochs=1',
    '--batch_size=20',
    '--num_models=40',
    '--chunk=8',
)
_WORKDIR = 's3://pool/runs/linear'


class RemoteTest(absltest.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer('127.0.0.1', port=0)
    with contextlib.redirect_stdout(io.StringIO()):
      server.start()
    cls.addClassCleanup(server.stop)
    host, port = server.get_host_and_port()
    variables = {
        'AWS_ACCESS_KEY_ID': 'made',
        'AWS_SECRET_ACCESS_KEY': 'up',
        'AWS_ENDPOINT_URL': f'http://{host}:{port}',
        'AWS_REGION': 'us-east-1',
    }
    cls.enterClassContext(mock.patch.dict(os.environ, variables))
    boto3.client('s3', region_name='us-east-1').create_bucket(Bucket='pool')
    folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.local = f'{folder}/linear'
    command = [sys.executable, '-m', 'experiments.collect_outcomes', *_FLAGS]
    # Two workers over there, at once, and one here.
    workers = [
        (f'--workdir={_WORKDIR}', '--worker_index=0', '--worker_count=2'),
        (f'--workdir={_WORKDIR}', '--worker_index=1', '--worker_count=2'),
        (f'--workdir={cls.local}',),
    ]
    cls.processes = [
        subprocess.Popen(
            [*command, *flags],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for flags in workers
    ]
    cls.texts = [p.communicate(timeout=120) for p in cls.processes]

  def _run(self, name, workdir=_WORKDIR, *flags):
    done = forked.run(name, f'--workdir={workdir}', *flags)
    self.assertEqual(done.returncode, 0, done.stderr)
    return done

  def test_collected(self):
    for process, (stdout, stderr) in zip(self.processes, self.texts):
      self.assertEqual(process.returncode, 0, stderr)
      self.assertRegex(stdout, 'Collected|Done: worker')
      self.assertNotIn('aws', stderr.lower())
    found = store_lib.OutcomeStore.open(f'{_WORKDIR}/store')
    expected = store_lib.OutcomeStore.open(f'{self.local}/store')
    np.testing.assert_array_equal(found.completed(), np.arange(40))
    for name in ('masks', 'soft_margin', 'margin'):
      np.testing.assert_array_equal(found.read(name), expected.read(name))

  def test_status_and_damage(self):
    self.assertRegex(
        self._run('status').stdout, '40 of 40(.|\n)*disk +.* files'
    )
    broken = f'{_WORKDIR}_broken/store'
    for name in locations.names(f'{self.local}/store'):
      with open(f'{self.local}/store/{name}', 'rb') as file:
        locations.write(f'{broken}/{name}', file.read())
    locations.write(f'{broken}/margin/c/1/0', b'short')
    done = forked.run('status', f'--workdir={_WORKDIR}_broken')
    self.assertEqual(done.returncode, 1, done.stderr)
    self.assertIn("array 'margin', rows 8 to 15", done.stdout)
    repair = (*_FLAGS, '--repair')
    self._run('collect_outcomes', f'{_WORKDIR}_broken', *repair)
    self.assertEmpty(store_lib.OutcomeStore.open(broken).verify())

  def test_fit_and_evaluate(self):
    quick = '--regressor=difference_of_means'
    for workdir in (_WORKDIR, self.local):
      self._run('fit_datamodels', workdir, quick)
    name = 'datamodels_difference_of_means_test.npz'
    found = datamodels_lib.load(f'{_WORKDIR}/{name}')
    expected = datamodels_lib.load(f'{self.local}/{name}')
    np.testing.assert_array_equal(found.weights, expected.weights)
    fit = json.loads(locations.read(f'{_WORKDIR}/fit.json'))
    self.assertEqual(fit['num_fit'], 40)
    self._run(
        'evaluate_datamodels',
        _WORKDIR,
        '--num_heldout=8',
        f'--datamodels={_WORKDIR}/{name}',
    )
    result = json.loads(locations.read(f'{_WORKDIR}/evaluation.json'))
    self.assertEqual(result['num_heldout'], 8)
    self.assertEqual(
        workdir_lib.stores(_WORKDIR),
        [
            f'{_WORKDIR}/{name}'
            for name in ('store', 'heldout', 'heldout/replicate_1')
        ],
    )

  def test_errors(self):
    for name, workdir, words in (
        ('collect_outcomes', 'foo://pool/x', 'neither a folder nor an URL'),
        ('collect_outcomes', 's3://none/x', 'cannot create a store at s3://no'),
        ('run_application', _WORKDIR, 'writes to a local folder'),
    ):
      flags = _FLAGS if name == 'collect_outcomes' else ()
      done = forked.run(name, f'--workdir={workdir}', *flags)
      self.assertEqual(done.returncode, 2, done.stderr)
      self.assertRegex(done.stderr, f'^error: .*{words}')
      self.assertLen(done.stderr.strip().splitlines(), 1)


if __name__ == '__main__':
  absltest.main()
