"""Pictures of values: their extremes, and what became of them when retrained."""

from typing import TYPE_CHECKING

import numpy as np

from jdm.analysis import semivalues
from jdm.applications import valuation as valuation_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import curve_plots
from jdm.reports import tables

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib


def axis_label(utility: str, outcome: str = '') -> str:
  """Name and units of a utility, of the targets that are reported on."""
  kind, _, label = utility.partition(':')
  if kind == 'accuracy':
    return 'accuracy (share of targets)'
  if kind == 'recall':
    return f'recall of class {label} (share of its targets)'
  if kind == 'loss':
    return 'minus the mean loss'
  return f'mean {canvas.words(outcome)} ({canvas.units(outcome)})'


def curves(
    result: valuation_lib.Valuation, mode: str, *, outcome: str = ''
) -> 'figure_lib.Figure | None':
  """Draws the curves of the utility that examples were ordered by.

  Args:
    result: with curves.
    mode: 'remove' or 'add'.
    outcome: name of the outcome, for the axis.

  Returns:
    The figure; None if nothing was retrained in this mode.
  """
  found = result.removal if mode == 'remove' else result.addition
  if found is None:
    return None
  return curve_plots.curve_lines(
      found,
      result.rank_by,
      label=axis_label(result.rank_by, outcome),
      full=result.full.get(result.rank_by),
      title='all but the first by value'
      if mode == 'remove'
      else ('the first by value alone'),
  )


def extreme_values(
    values: semivalues.Values,
    utility: str,
    *,
    outcome: str = '',
    count: int = 12,
) -> 'figure_lib.Figure':
  """Draws the highest and lowest values with their 95 % intervals.

  The intervals are those of single examples: the extremes of many are extreme
  in part by chance.

  Args:
    values: with intervals, or with standard errors alone (twice these).
    utility: name of one of its utilities.
    outcome: name of the outcome, for the axis.
    count: of each end.
  """
  which = values.names.index(utility)
  ends = valuation_lib.extremes(values, which, count)
  rows = ends['highest'] + ends['lowest'][::-1]
  figure, axes = canvas.figure_and_axes(0.16 * len(rows) + 1.2)
  for place, row in enumerate(rows):
    value, error = row['value'], 2 * row['standard_error']
    low, high = row['interval'] or (value - error, value + error)
    colour = canvas.BLUE if value > 0 else canvas.VERMILION
    if np.isfinite([low, high]).all():
      axes.hlines(-place, low, high, color=colour, linewidth=1.4)
    axes.plot(value, -place, marker='o', markersize=4, color=colour)
  axes.axvline(0, color=canvas.INK, linewidth=0.8)
  axes.axhline(0.5 - len(ends['highest']), color=canvas.GRID, linewidth=1.5)
  axes.set_yticks(
      -np.arange(len(rows)), [str(row['train']) for row in rows], fontsize=6.5
  )
  axes.set_ylabel('training example')
  axes.set_xlabel(f'value: {axis_label(utility, outcome)}')
  axes.set_title(
      f'{values.method}, {values.num_models} models\nSpearman of two halves of'
      f' them: {values.stability[which]:.2f}'
  )
  return figure


def extreme_grid(
    dataset: dataset_lib.Dataset,
    values: semivalues.Values,
    utility: str,
    *,
    count: int = 10,
) -> 'figure_lib.Figure | None':
  """Draws the training images of highest and of lowest value.

  Returns:
    The figure; None where the dataset has no images.
  """
  ends = valuation_lib.extremes(values, values.names.index(utility), count)
  titles = {
      end: f'{end} values ({values.method}, {utility})'
      for end in ('highest', 'lowest')
  }
  return curve_plots.example_rows(
      dataset,
      {titles[end]: [row['train'] for row in ends[end]] for end in titles},
      {
          titles[end]: [tables.signed(row['value']) for row in ends[end]]
          for end in titles
      },
  )
