r"""A hundred thousand models in one run that is killed four times.

  python -m experiments.benchmarks.many_models --workdir=runs/many_models

Logistic regressions on digits, soft margins of 297 targets. `collect_outcomes`
is killed (kill -9) when a fifth, two, three and four fifths are there, and
started again; then `status` reads every chunk, and draws every mask again. Wall
and CPU seconds are of all collecting processes, their starts and compilations
included; `estimate_error` is that of the progress bar's estimate in the last
run. Appends a row to many_models.csv. About three minutes on two cores.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time

from absl import app
from absl import flags

from experiments.benchmarks import record
from jdm import store as store_lib

_WORKDIR = flags.DEFINE_string('workdir', None, 'A folder of its own.')
_NUM_MODELS = flags.DEFINE_integer('num_models', 100_000, 'Of the pool.')
_KILLS = 4
_CHUNK = 1024


def main(argv: list[str]) -> None:
  """Runs, kills, checks, and records."""
  if len(argv) > 1 or not _WORKDIR.value:
    raise app.UsageError('this benchmark takes --workdir and no arguments')
  shutil.rmtree(_WORKDIR.value, ignore_errors=True)
  path = os.path.join(_WORKDIR.value, 'store')
  start = time.monotonic()
  for number in range(_KILLS):
    child = subprocess.Popen(_command('collect_outcomes'))
    aim = (number + 1) * _NUM_MODELS.value // (_KILLS + 1)
    while _num_completed(path) < aim and child.poll() is None:
      time.sleep(0.2)
    child.kill()
    child.wait()
  done_before = _num_completed(path)
  subprocess.run(_command('collect_outcomes'), check=True)
  seconds = time.monotonic() - start
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  start = time.monotonic()
  subprocess.run(
      _command('status'), check=True
  )  # Fails if anything is damaged.
  store = store_lib.OutcomeStore.open(path)
  records = store.provenance()
  trained = sum(r['rows'][1] - r['rows'][0] + 1 for r in records)
  record.append(
      __file__,
      {
          'num_models': len(store.completed()),
          'kills': _KILLS,
          'completed_at_last_kill': done_before,
          'seconds': round(seconds, 1),
          'cpu_seconds': round(used.ru_utime + used.ru_stime, 1),
          'models_per_second': round(_NUM_MODELS.value / seconds, 1),
          'megabytes': round(_bytes(path) / 1e6, 1),
          'check_seconds': round(time.monotonic() - start, 1),
          'rows_in_provenance': trained,
          'estimate_error': round(_estimate_error(_WORKDIR.value), 2),
      },
  )


def _command(name: str) -> list[str]:
  command = [sys.executable, '-m', f'experiments.{name}']
  command += [f'--workdir={_WORKDIR.value}']
  if name == 'collect_outcomes':
    command += [
        f'--num_models={_NUM_MODELS.value}',
        f'--chunk={_CHUNK}',
        '--outcomes=soft_margin',
    ]
  return command


def _estimate_error(workdir: str) -> float:
  """Of the last run: (seconds taken - estimated) / estimated."""
  path = os.path.join(workdir, 'metrics.jsonl')
  with open(path, encoding='utf-8') as file:
    events = [json.loads(line) for line in file]
  return [e['estimate_error'] for e in events if e['event'] == 'end'][-1]


def _num_completed(path: str) -> int:
  if not store_lib.exists(path):
    return 0
  return len(store_lib.OutcomeStore.open(path).completed())


def _bytes(path: str) -> int:
  return sum(
      os.path.getsize(os.path.join(folder, name))
      for folder, _, names in os.walk(path)
      for name in names
  )


if __name__ == '__main__':
  app.run(main)
