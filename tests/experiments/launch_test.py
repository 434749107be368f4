"""Launch scripts: they parse, and every flag in them is one of the binary's."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

from absl.testing import absltest
from absl.testing import parameterized
import yaml

_ROOT = pathlib.Path(__file__).parents[2]
_LAUNCH = _ROOT / 'experiments' / 'launch'
_SCRIPTS = sorted(path.name for path in _LAUNCH.glob('*.sh'))
_FLAGS = ('--num_models=8', '--batch_size=20')

# Stand-ins that write down what they were called with.
_PYTHON = """#!/usr/bin/env bash
printf '%s\\n' "$@" | {python} -c \\
    'import json, sys; print(json.dumps(sys.stdin.read().splitlines()))' \\
    >> "$RECORD"
"""
_SRUN = """#!/usr/bin/env bash
shift  # --kill-on-bad-exit=1
exec "$@"
"""
_CHECK = """
import importlib, json, sys
from absl import flags
name, commands = json.load(sys.stdin)
importlib.import_module(name)
for arguments in commands:
  flags.FLAGS([name, *arguments])
"""


def _check_flags(commands):
  """Raises of a flag that the binary does not have, or of a bad value.

  Args:
    commands: lists of arguments that begin with `-m experiments.NAME`.
  """
  by_name = {}
  for command in commands:
    assert command[0] == '-m', command
    by_name.setdefault(command[1], []).append(command[2:])
  for item in by_name.items():
    done = subprocess.run(
        [sys.executable, '-c', _CHECK],
        input=json.dumps(item),
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, f'{item}: {done.stderr}'


class ScriptsTest(parameterized.TestCase):

  def _run(self, script, *arguments, **variables):
    """Runs a script with stand-ins; what it would have called."""
    folder = pathlib.Path(self.create_tempdir().full_path)
    for name, content in (
        ('python', _PYTHON.format(python=sys.executable)),
        ('srun', _SRUN),
    ):
      (folder / name).write_text(content)
      (folder / name).chmod(0o755)
    record = folder / 'record'
    done = subprocess.run(
        [_LAUNCH / script, *arguments],
        cwd=_ROOT,
        env={
            **os.environ,
            'PATH': f'{folder}:{os.environ["PATH"]}',
            'PYTHON': f'{folder}/python',
            'RECORD': f'{record}',
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    return [json.loads(line) for line in record.read_text().splitlines()]

  @parameterized.parameters(*_SCRIPTS)
  def test_parses(self, script):
    subprocess.run(['bash', '-n', _LAUNCH / script], check=True)
    self.assertTrue(os.access(_LAUNCH / script, os.X_OK))

  def test_collecting(self):
    slurm = self._run(
        'slurm_collect.sh', 'a b', *_FLAGS, SLURM_CPUS_PER_TASK='3'
    )
    self.assertLen(slurm, 1)
    self.assertContainsSubset(
        ['--workdir=a b', '--cpu_devices=3', *_FLAGS], slurm[0]
    )
    local = self._run('local.sh', 'collect', '3', 'a b', *_FLAGS)
    self.assertCountEqual(
        [[c for c in command if 'worker' in c] for command in local],
        [[f'--worker_index={i}', '--worker_count=3'] for i in range(3)],
    )
    _check_flags(slurm + local)

  def test_fitting(self):
    flags = ('--num_val=20', '--coordinator_timeout_secs=60')
    slurm = self._run('slurm_fit.sh', 'a b', *flags)
    self.assertContainsSubset(['--workdir=a b', '--distributed'], slurm[0])
    local = self._run('local.sh', 'fit', '2', 'a b', *flags, PORT='1234')
    self.assertLen(local, 2)
    self.assertIn('--coordinator_address=127.0.0.1:1234', local[0])
    _check_flags(slurm + local)

  def test_pools_at_four_alphas(self):
    commands = self._run('pool_design_alphas.sh', 'a b', *_FLAGS)
    self.assertLen(commands, 13)
    _check_flags(commands)


class ManifestsTest(absltest.TestCase):

  def _load(self, name):
    return yaml.safe_load((_LAUNCH / name).read_text())['spec']

  def test_kubernetes(self):
    spec = self._load('kubernetes_collect.yaml')
    self.assertEqual(spec['completionMode'], 'Indexed')
    (container,) = spec['template']['spec']['containers']
    command = container['command']
    self.assertEqual(command[0], 'python')
    self.assertIn(f'--worker_count={spec["completions"]}', command)
    _check_flags([command[1:]])

  def test_kuberay(self):
    spec = self._load('kuberay_collect.yaml')
    command = shlex.split(spec['entrypoint'])
    self.assertEqual(command[0], 'python')
    self.assertIn('--launcher=ray', command)
    _check_flags([command[1:]])
    cluster = spec['rayClusterSpec']
    pods = [cluster['headGroupSpec'], *cluster['workerGroupSpecs']]
    images = {p['template']['spec']['containers'][0]['image'] for p in pods}
    self.assertLen(images, 1)


class CheckTest(absltest.TestCase):

  def test_unknown_flags_are_found(self):
    command = ['-m', 'experiments.collect_outcomes', '--workers=3']
    with self.assertRaisesRegex(AssertionError, 'workers'):
      _check_flags([command])


if __name__ == '__main__':
  absltest.main()
