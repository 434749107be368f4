"""Draws what lasso and lasso_scaling recorded, from their CSVs alone.

  python -m experiments.benchmarks.lasso_pictures

lasso.png: time against the gap that was really reached, a panel a problem, a
line a solver, the newest row of each tolerance with the most targets, all
certified by corrected dual points. lasso_scaling.png: time against
targets and against models.
"""

import csv
import pathlib

from absl import app
from matplotlib import pyplot as plt
from matplotlib import ticker

_FOLDER = pathlib.Path(__file__).parent
_COLUMNS = 3


def main(argv: list[str]) -> None:
  """Draws both."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  for name, draw in (('lasso', _draw_gaps), ('lasso_scaling', _draw_scaling)):
    if (_FOLDER / f'{name}.csv').exists():
      draw(_rows(f'{name}.csv'), _FOLDER / f'{name}.png')


def _rows(name: str) -> list[dict[str, str]]:
  """Rows of a CSV, oldest first."""
  with (_FOLDER / name).open(newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def _points(rows, solver: str) -> list[tuple[float, float]]:
  """(gap reached, milliseconds a target) of a solver, newest by tolerance."""
  gap, seconds = 'peer_max_gap', 'peer_seconds'
  if solver == 'jdm':
    gap, seconds = 'max_gap', 'seconds'
  newest = {}
  # The sort is stable: later rows of as many targets replace earlier ones.
  for row in sorted(rows, key=lambda row: int(row['num_targets'])):
    if row[seconds] and (solver == 'jdm' or row['peer'] == solver):
      cost = 1e3 * float(row[seconds]) / float(row['num_targets'])
      newest[float(row['tol'])] = float(row[gap]), cost
  return sorted(newest.values())


def _draw_gaps(rows, path: pathlib.Path) -> None:
  """A panel a problem."""
  rows = [row for row in rows if row['dual_point'] == 'corrected']
  problems = sorted({row['problem'] for row in rows})
  names = ['jdm', *dict.fromkeys(row['peer'] for row in rows)]
  height = -(-len(problems) // _COLUMNS)
  figure, axes = plt.subplots(
      height,
      _COLUMNS,
      figsize=(4 * _COLUMNS, 3.2 * height),
      squeeze=False,
      sharex=True,
      layout='constrained',
  )
  for axis in axes.flat[len(problems) :]:
    axis.set_axis_off()
  for axis, problem in zip(axes.flat, problems):
    some = [row for row in rows if row['problem'] == problem]
    for index, name in enumerate(names):
      points = _points(some, name)
      if points:
        style = {'color': 'black', 'linewidth': 2} if name == 'jdm' else {}
        style.setdefault('color', f'C{index}')
        axis.loglog(*zip(*points), marker='o', label=name, **style)
    axis.set_title(problem)
    axis.set_xlabel('true relative duality gap, worst')
    axis.tick_params(labelbottom=True)
    axis.set_ylabel('CPU ms a target')
    _few_ticks(axis.yaxis)
  axes.flat[0].invert_xaxis()  # All share it.
  lines = {}
  for axis in axes.flat:
    lines |= {line.get_label(): line for line in axis.get_lines()}
  figure.legend(
      lines.values(), lines, loc='outside lower center', ncols=len(lines)
  )
  figure.savefig(path, dpi=120)


def _few_ticks(axis) -> None:
  """Readable ones, as 2, 5, 10, on a logarithmic axis."""
  axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=9))
  axis.set_major_formatter('{x:g}')
  axis.set_minor_formatter(ticker.NullFormatter())


def _draw_scaling(rows, path: pathlib.Path) -> None:
  """Against targets, and against models."""
  figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout='constrained')
  columns = {'targets': 'num_targets', 'models': 'num_models'}
  for axis, (part, column) in zip(axes, columns.items()):
    newest = {int(row[column]): row for row in rows if row['part'] == part}
    sizes = sorted(newest)
    for name, label in (('seconds', 'paths'), ('moments_seconds', 'moments')):
      values = [float(newest[size][name]) for size in sizes]
      axis.loglog(sizes, values, marker='o', label=label)
    if sizes and part == 'targets':
      first = float(newest[sizes[0]]['seconds'])
      line = [first * size / sizes[0] for size in sizes]
      axis.loglog(sizes, line, 'k:', label='proportional')
    _few_ticks(axis.xaxis)
    _few_ticks(axis.yaxis)
    axis.set_xlabel(part)
    axis.set_ylabel('CPU seconds')
    axis.legend()
  figure.savefig(path, dpi=120)


if __name__ == '__main__':
  app.run(main)
