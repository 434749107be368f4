r"""Kills, stops, fills and damages a collection, and looks what is left of it.

  python -m experiments.crash_study --workdir=runs/crashes

Collects one small pool of logistic regressions again and again, each time with
another fault (`experiments/crash_cases.py`): kill -9 at `--num_kills` random
moments, SIGTERM, a full disk (where a small one can be mounted), a torn chunk, a
flipped bit, two processes on the same rows, clocks that are a day off, and a
host that sleeps and comes back. After each, `status` has to tell the truth; the
same command, run again, has to end with the bits of an undisturbed run; and no
chunk that was finished may have been trained again. Writes `crash_study.json`
and `.md`; exits 1 if anything went wrong. About 17 minutes of one core for 50
kills, most of them spent on starting processes.
"""

import os
import shutil
import sys

from absl import flags

from experiments import binary
from experiments import crash_cases
from jdm.reports import canvas
from jdm.reports import tables

_NUM_KILLS = flags.DEFINE_integer('num_kills', 50, 'Of the first case.')
_CASES = flags.DEFINE_list('cases', list(crash_cases.cases(1)), 'Which.')
_NUM_MODELS = flags.DEFINE_integer('num_models', 3200, 'Of the pool.')


def main(workdir: str) -> None:
  """Runs all cases and writes what they found."""
  if _NUM_KILLS.value < 1 or _NUM_MODELS.value < 100:
    raise ValueError('--num_kills must be 1 or more, --num_models 100 or more')
  known = list(crash_cases.cases(1))
  if not _CASES.value or set(_CASES.value) - set(known):
    raise ValueError(f'--cases are of {known}, got {_CASES.value}')
  folder = os.path.join(workdir, 'cases')
  shutil.rmtree(folder, ignore_errors=True)  # Nothing of it is a result.
  os.makedirs(folder)
  bench = crash_cases.Bench(folder, _NUM_MODELS.value)
  rows, results, is_good = [], [], True
  for found in crash_cases.run(bench, _NUM_KILLS.value, _CASES.value):
    if not isinstance(found, crash_cases.Found):
      name, why = found
      rows.append({'case': name, 'faults': 0, 'note': f'left out: {why}'})
      results.append({'case': name, 'left_out': why})
    else:
      is_good &= found.is_good
      results.append(crash_cases.to_json(found))
      rows.append(
          {
              'case': found.case.replace('_', ' '),
              'faults': found.num_times,
              'status true': found.status_true,
              'same bits': found.bits_equal,
              'trained again': found.trained_again,
              'seconds': round(found.seconds, 1),
              'note': found.note,
          }
      )
    print(rows[-1], flush=True)
  path = os.path.join(workdir, 'crash_study')
  binary.write_json(
      f'{path}.json',
      {'num_models': _NUM_MODELS.value, 'cases': results, 'is_good': is_good},
  )
  canvas.write(f'{path}.md', tables.markdown(rows).encode())
  print('\n' + tables.text(rows))
  if not is_good:
    print('error: a case above went wrong', file=sys.stderr)
    sys.exit(1)


if __name__ == '__main__':
  binary.run(main)
