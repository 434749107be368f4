"""Pictures of what attributors know, against what they cost."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jdm.reports import canvas

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_COLOURS = (
    canvas.BLUE,
    canvas.VERMILION,
    canvas.GREEN,
    canvas.SKY,
    canvas.INK,
    '#E69F00',
    '#CC79A7',
    canvas.GREY,
)
_MARKERS = 'osD^vP*Xh'
_AXES = {
    'num_models': 'trained models, for validation too',
    'cpu_seconds': 'CPU seconds, with training',
}


def costs(rows: Sequence[Mapping[str, Any]]) -> 'figure_lib.Figure':
  """Draws LDS against trained models and against CPU seconds.

  Bars are 95 % intervals over held-out models; several pools of one method and
  budget are drawn at their mean. The dashed line is the noise ceiling.

  Args:
    rows: of one setting and alpha, with 'method', 'lds', 'lds_interval',
      'noise_ceiling', 'num_models' and 'cpu_seconds'.

  Raises:
    ValueError: if there is no row.
  """
  if not rows:
    raise ValueError('`costs` expects at least one row, got none.')
  figure = canvas.blank(2 * canvas.WIDTH, 4.2)
  panels = figure.subplots(1, 2, sharey=True)
  names = list(dict.fromkeys(row['method'] for row in rows))
  for axes, (column, label) in zip(panels, _AXES.items()):
    for number, name in enumerate(names):
      places, values, ends = _means(rows, name, column)
      axes.errorbar(
          places,
          values,
          yerr=ends,
          color=_COLOURS[number % len(_COLOURS)],
          marker=_MARKERS[number % len(_MARKERS)],
          linestyle='-' if number < len(_COLOURS) else ':',
          markersize=5,
          linewidth=1.2,
          label=name.replace('_', ' '),
      )
    ceiling = np.mean([row['noise_ceiling'] for row in rows])
    axes.axhline(ceiling, color=canvas.INK, linestyle='--', linewidth=0.9)
    axes.set_xscale('symlog' if column == 'num_models' else 'log')
    axes.set_xlabel(label)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(color=canvas.GRID)
  panels[0].set_ylabel('LDS (dashed: noise ceiling)')
  panels[1].legend(
      loc='center left', bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8
  )
  return figure


def _means(rows, name, column):
  """Places, means and half intervals of one method, by budget."""
  own = [row for row in rows if row['method'] == name]
  budgets = sorted({row['num_models'] for row in own})
  points = []
  for budget in budgets:
    some = [row for row in own if row['num_models'] == budget]
    value = np.mean([row['lds'] for row in some])
    low, high = np.mean([row['lds_interval'] for row in some], axis=0)
    place = np.mean([row[column] for row in some])
    points.append((place, value, max(value - low, 0), max(high - value, 0)))
  points.sort()
  places, values, low, high = np.array(points).T
  return places, values, np.stack([low, high])
