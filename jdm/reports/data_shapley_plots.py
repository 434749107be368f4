"""Pictures of sampled values: how estimators agree, and what retraining says."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jdm.applications import data_shapley as lib
from jdm.reports import canvas
from jdm.reports import curve_plots
from jdm.reports import valuation_plots

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_COLOURS = (canvas.BLUE, canvas.VERMILION, canvas.GREEN, canvas.SKY, canvas.INK)
_MARKERS = 'osD^vP*'
_STYLES = ('-', '--', ':')


def agreement(result: lib.DataShapley) -> 'figure_lib.Figure | None':
  """Draws the rank correlation of each two ways to value examples.

  Returns:
    The figure; None with fewer than two ways.
  """
  names = list(result.ways())
  if len(names) < 2:
    return None
  table = np.eye(len(names))
  for pair, score in result.agreement.items():
    one, two = (names.index(name) for name in pair.split(', '))
    table[one, two] = table[two, one] = score
  figure, axes = canvas.figure_and_axes(0.45 * len(names) + 1.6)
  axes.grid(visible=False)
  image = axes.imshow(table, vmin=-1, vmax=1, cmap='RdBu')
  for row in range(len(names)):
    for column in range(len(names)):
      score = table[row, column]
      axes.text(
          column,
          row,
          f'{score:.2f}',
          ha='center',
          va='center',
          fontsize=8,
          color='white' if abs(score) > 0.6 else canvas.INK,
      )
  words = [name.replace('_', ' ') for name in names]
  axes.set_xticks(range(len(names)), words, rotation=35, ha='right')
  axes.set_yticks(range(len(names)), words)
  axes.set_title('how alike two ways rank examples')
  figure.colorbar(image, label='Spearman correlation', shrink=0.8)
  return figure


def curves(result: lib.DataShapley, mode: str) -> 'figure_lib.Figure | None':
  """Draws the curves of a mode, 'remove' or 'add'; None if there are none."""
  found = result.removal if mode == 'remove' else result.addition
  if found is None:
    return None
  titles = {
      'remove': 'all but the first by value, retrained',
      'add': 'the first by value alone, retrained',
  }
  return curve_plots.curve_lines(
      found,
      result.measure,
      label=valuation_plots.axis_label(result.measure),
      full=result.full,
      title=titles[mode],
  )


def race(
    rows: Sequence[Mapping[str, Any]], *, ceiling: float
) -> 'figure_lib.Figure':
  """Draws how well estimators rank examples against their CPU seconds.

  Args:
    rows: with `estimator`, `seconds`, `spearman` (with the reference) and its
      `interval`; those of one estimator are joined.
    ceiling: what perfect values would reach, given the reference's noise.
  """
  figure, axes = canvas.figure_and_axes(4.8, 7.2)
  names = list(dict.fromkeys(row['estimator'] for row in rows))
  for place, name in enumerate(names):
    own = sorted(
        (row for row in rows if row['estimator'] == name),
        key=lambda row: row['seconds'],
    )
    scores = np.array([row['spearman'] for row in own])
    low, high = np.array([row['interval'] for row in own]).T
    axes.errorbar(
        [max(row['seconds'], 1e-4) for row in own],
        scores,
        np.stack([scores - low, high - scores]),
        color=_COLOURS[place % len(_COLOURS)],
        marker=_MARKERS[place % len(_MARKERS)],
        linestyle=_STYLES[place // len(_COLOURS) % len(_STYLES)],
        markersize=4,
        linewidth=1.1,
        elinewidth=0.6,
        label=name.replace('_', ' '),
    )
  axes.axhline(
      ceiling, color=canvas.INK, linewidth=0.9, linestyle=':', label='ceiling'
  )
  axes.set_xscale('log')
  # Intervals of few seeds may be wider than the picture.
  lowest = min((row['spearman'] for row in rows), default=0)
  axes.set_ylim(min(0, lowest - 0.05), 1)
  axes.set_xlabel('CPU seconds, labels and fit included (log scale)')
  axes.set_ylabel('Spearman correlation with the reference')
  figure.legend(
      *axes.get_legend_handles_labels(),
      loc='outside right upper',
      fontsize=8,
      frameon=False,
  )
  return figure
