"""Pictures of calibration: scores of ways to predict, reliability diagrams."""

from typing import TYPE_CHECKING

import numpy as np

from jdm.applications import calibration as calibration_lib
from jdm.reports import canvas

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_NAMES = {
    'nll': 'NLL (nats)',
    'brier': 'Brier score',
    'ece': 'calibration error',
    'coverage': 'coverage',
}


def scores(found: calibration_lib.Calibration) -> 'figure_lib.Figure':
  """Draws four scores of every way to predict, with 95 % intervals.

  Lower is better but for the coverage, which should be right of the line.
  """
  names = list(found.scores)
  figure = canvas.blank(2.1 * len(_NAMES) + 1.6, 0.9 + 0.27 * len(names))
  panels = figure.subplots(1, len(_NAMES), sharey=True)
  places = np.arange(len(names))
  for axes, (score, words) in zip(panels, _NAMES.items()):
    values = [found.scores[name].values[score] for name in names]
    ends = np.array([found.scores[name].interval[score] for name in names])
    axes.hlines(places, ends[:, 0], ends[:, 1], color=canvas.BLUE)
    axes.plot(values, places, 'o', color=canvas.BLUE, markersize=5)
    if score == 'coverage':
      axes.axvline(found.level, color=canvas.INK, linestyle=':')
    axes.set_xlabel(words, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis='x', color=canvas.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
  panels[0].set_yticks(places, names, fontsize=8.5)
  panels[0].invert_yaxis()
  return figure


def reliability(
    found: calibration_lib.Calibration, *, count: int = 6
) -> 'figure_lib.Figure':
  """Draws how often predictions of some confidence are right, by way.

  Args:
    found: the scores.
    count: at most so many ways, in order.
  """
  names = list(found.reliability)[:count]
  num_columns = min(3, len(names))
  num_rows = -(-len(names) // num_columns)
  figure = canvas.blank(2.4 * num_columns + 0.4, 2.3 * num_rows)
  panels = figure.subplots(
      num_rows, num_columns, sharex=True, sharey=True, squeeze=False
  )
  for axes in panels.ravel()[len(names) :]:
    axes.set_axis_off()
  lowest = 1.0
  for axes, name in zip(panels.ravel(), names):
    one = found.reliability[name]
    kept = one.count > 0
    lowest = min(lowest, one.confidence[kept].min(), one.accuracy[kept].min())
    axes.axline((1, 1), slope=1, color=canvas.GREY, linewidth=0.9)
    axes.scatter(
        one.confidence[kept],
        one.accuracy[kept],
        s=6 + 120 * one.count[kept] / one.count.sum(),
        color=canvas.BLUE,
        alpha=0.75,
        linewidths=0,
    )
    ece = found.scores[name].values['ece']
    axes.set_title(f'{name}\ncalibration error {ece:.3f}', fontsize=8.5)
    axes.tick_params(labelsize=8)
    axes.grid(color=canvas.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
  panels[0, 0].set_xlim(max(lowest - 0.05, 0), 1.02)
  panels[0, 0].set_ylim(max(lowest - 0.05, 0), 1.02)
  for axes in panels[:, 0]:
    axes.set_ylabel('share right', fontsize=9)
  for axes in panels[-1]:
    axes.set_xlabel('confidence', fontsize=9)
  return figure
