"""Runs binaries in processes of their own that need not import all again.

Imports are half of what a small run takes. A server imports what the binaries
share, starts nothing of JAX, and forks; the fork runs the binary to its end as
`python -m` would, with the flags of its own modules alone.
"""

import atexit
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

_ROOT = pathlib.Path(__file__).parents[2]


def run(name: str, *flags: str) -> subprocess.CompletedProcess:
  """Runs `python -m experiments.NAME` with flags."""
  settings = {k: v for k, v in os.environ.items() if k.startswith('JAX_')}
  server = _server(json.dumps(settings, sort_keys=True))
  with tempfile.TemporaryDirectory() as folder:
    task = {
        'module': f'experiments.{name}',
        'flags': flags,
        'environment': dict(os.environ),
        'files': [f'{folder}/stdout', f'{folder}/stderr'],
    }
    print(json.dumps(task), file=server.stdin, flush=True)
    code = int(server.stdout.readline())
    stdout, stderr = (
        pathlib.Path(file).read_text(encoding='utf-8') for file in task['files']
    )
  return subprocess.CompletedProcess([name, *flags], code, stdout, stderr)


@functools.cache
def _server(settings: str) -> subprocess.Popen:
  """One server for each setting of JAX, which reads them when imported."""
  del settings
  server = subprocess.Popen(
      [sys.executable, str(pathlib.Path(__file__).parent / 'forked_server.py')],
      cwd=_ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
  )
  atexit.register(server.communicate)
  return server
