"""The study of crashes: some of its cases, for real."""

import json
import os
import subprocess
import sys

from absl.testing import absltest

from tests.experiments import forked


def _study(*options):
  command = [sys.executable, '-m', 'experiments.crash_study', *options]
  return subprocess.run(command, capture_output=True, text=True, check=False)


class CrashStudyTest(absltest.TestCase):

  def test_killed_and_terminated(self):
    workdir = self.create_tempdir().full_path
    done = _study(
        f'--workdir={workdir}',
        '--num_kills=5',
        '--cases=killed,terminated',
        '--num_models=800',
    )
    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    with open(os.path.join(workdir, 'crash_study.json')) as file:
      result = json.load(file)
    killed, terminated = result['cases']
    self.assertTrue(result['is_good'])
    self.assertEqual(killed['trained_again'], 0)
    self.assertTrue(terminated['bits_equal'])

  def test_flags(self):
    for flag, words in (
        ('--cases=fire', "got ['fire']"),
        ('--num_kills=0', 'must be 1 or more'),
    ):
      done = forked.run('crash_study', '--workdir=nowhere', flag)
      self.assertEqual(done.returncode, 2)
      self.assertIn(words, done.stderr)


if __name__ == '__main__':
  absltest.main()
