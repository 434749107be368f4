"""Appends a benchmark's row to the CSV beside it."""

import csv
import os
import pathlib
import platform
from typing import Any

from jdm import provenance


def append(benchmark: str, row: dict[str, Any]) -> None:
  """Prints a row and appends it, with date, commit, machine and versions.

  Args:
    benchmark: `__file__` of the benchmark.
    row: what was measured. A column that the file lacks is added to it.
  """
  made = provenance.record()
  versions = made['versions']
  full = {
      'date': made['date'],
      'commit': made['commit'],
      'device': f'{made["device_kind"]} {_processor()}'.strip(),
      'jax': versions['jax'],
      'jdm': versions['jdm'],
      **row,
  }
  path = pathlib.Path(benchmark).with_suffix('.csv')
  rows = []
  if path.exists():
    with path.open(newline='', encoding='utf-8') as file:
      rows = list(csv.DictReader(file))
  columns = list(dict.fromkeys(name for r in [*rows, full] for name in r))
  temporary = path.with_suffix('.csv.tmp')
  with temporary.open('w', newline='', encoding='utf-8') as file:
    writer = csv.DictWriter(file, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows([*rows, full])
  os.replace(temporary, path)
  print(', '.join(f'{name}={value}' for name, value in full.items()))


def _processor() -> str:
  """The processor's name, where the system tells."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8')
  except OSError:
    return platform.processor()
  names = [s.split(':', 1)[1] for s in lines.splitlines() if 'model name' in s]
  return names[0].strip() if names else platform.machine()
