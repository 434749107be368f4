"""Forks for each line of its input; see `forked`, which starts it.

Run as a file, not as a module: `tests` itself asks for two devices.
"""

import gc
import importlib
import json
import os
import runpy
import sys

# What binaries import; of modules with flags, only what all of them share.
_SHARED = (
    'experiments.binary',
    'jdm.applications',
    'jdm.evaluation',
    'jdm.modelpred.predictor',
    'jdm.ray_collection',
    'jdm.recipe',
    'jdm.regressors',
    'jdm.reports.page',
    'sklearn.datasets',
)


def main() -> None:
  """Serves until its input ends."""
  sys.path[0] = os.getcwd()  # As of `python -m`.
  for name in _SHARED:
    importlib.import_module(name)
  gc.freeze()  # Else every fork copies what it ends with looking through.
  for line in sys.stdin:
    task = json.loads(line)
    child = os.fork()
    if not child:
      _become(task)
      return
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(task) -> None:
  """Turns this process into one that runs a binary, and ends as it does."""
  os.environ.clear()
  os.environ.update(task['environment'])
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  for number, path in enumerate(task['files'], start=1):
    os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), number)
  sys.argv = ['', *task['flags']]
  runpy.run_module(task['module'], run_name='__main__', alter_sys=True)


if __name__ == '__main__':
  main()
