"""Pictures of what predicted parameters are used for."""

from typing import TYPE_CHECKING

import numpy as np

from jdm.applications import predicted_memorization as memorization_lib
from jdm.applications import predicted_selection as selection_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import curve_plots

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_COLOURS = (
    canvas.BLUE,
    canvas.VERMILION,
    canvas.GREEN,
    canvas.SKY,
    '#CC79A7',
    '#E69F00',
    canvas.INK,
    '#994F00',
    '#5D3A9B',
    '#40B0A6',
)
_MARKERS = 'osD^vP*X'


def memorization_curves(
    found: memorization_lib.PredictedMemorization, seconds: np.ndarray
) -> 'figure_lib.Figure':
  """Draws rank correlation with the reference against CPU seconds.

  Args:
    found: the estimates.
    seconds: `[num_ways, num_budgets]`, labels and fits included.
  """
  figure, axes = canvas.figure_and_axes(3.6)
  for row, name in enumerate(found.ways):
    axes.plot(
        seconds[row],
        found.spearman[row],
        color=_COLOURS[row % len(_COLOURS)],
        marker=_MARKERS[row % len(_MARKERS)],
        markersize=5,
        label=name,
    )
  axes.axhline(
      found.reliability, color=canvas.INK, linestyle='--', linewidth=0.9
  )
  axes.set_xscale('log')
  axes.set_xlabel('CPU seconds, labels and fits included (log scale)')
  axes.set_ylabel('Spearman with the exact reference')
  figure.legend(
      loc='outside upper center', ncols=2, fontsize=8.5, frameon=False
  )
  return figure


def memorization_scatter(
    found: memorization_lib.PredictedMemorization, *, count: int = 3
) -> 'figure_lib.Figure':
  """Draws estimates of the first ways against the exact reference."""
  shown = min(count, len(found.ways))
  figure = canvas.blank(2.5 * shown + 0.4, 2.7)
  panels = np.atleast_1d(figure.subplots(1, shown, sharex=True, sharey=True))
  for row, axes in enumerate(panels):
    axes.scatter(
        found.reference,
        found.memorization[row],
        s=8,
        color=canvas.BLUE,
        alpha=0.5,
        linewidths=0,
        rasterized=True,
    )
    axes.axline((0, 0), slope=1, color=canvas.GREY, linewidth=0.9)
    axes.set_title(found.ways[row], fontsize=9)
    axes.set_xlabel('exact reference', fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[['top', 'right']].set_visible(False)
  panels[0].set_ylabel(f'memorization ({found.outcome})', fontsize=9)
  return figure


def memorization_grid(
    dataset: dataset_lib.Dataset,
    found: memorization_lib.PredictedMemorization,
    *,
    count: int = 10,
) -> 'figure_lib.Figure | None':
  """Draws the most memorized images by the reference; None without images."""
  order = np.argsort(-found.reference, kind='stable')[:count]
  title = f'most memorized ({found.outcome})'
  return curve_plots.example_rows(
      dataset,
      {title: order},
      {title: [f'{found.reference[row]:.2f}' for row in order]},
  )


def selection_curves(
    found: selection_lib.PredictedSelection,
) -> 'figure_lib.Figure':
  """Draws the loss of exact models on what each rule picked, by size."""
  figure, axes = canvas.figure_and_axes(3.9)
  for row, name in enumerate(found.rules):
    is_random = name == selection_lib.RANDOM
    axes.plot(
        found.sizes,
        found.loss[row],
        color=canvas.GREY if is_random else _COLOURS[row % len(_COLOURS)],
        marker=canvas.MARKERS['random']
        if is_random
        else _MARKERS[row % len(_MARKERS)],
        linestyle='--' if is_random else '-',
        markersize=5,
        label=name,
    )
  axes.axhline(
      found.full_loss,
      color=canvas.INK,
      linestyle=':',
      label='everything',
  )
  axes.set_xlabel('points trained on')
  axes.set_yscale('log')
  axes.set_ylabel('loss on examples that chose nothing\n(log scale)')
  figure.legend(loc='outside upper center', ncols=2, fontsize=8, frameon=False)
  return figure


def selection_grid(
    dataset: dataset_lib.Dataset,
    found: selection_lib.PredictedSelection,
    *,
    count: int = 10,
) -> 'figure_lib.Figure | None':
  """Draws the points that two rules keep longest; None without images."""
  rows = {
      f'kept longest by {name}': order[:count]
      for name, order in list(found.orders.items())[:3]
  }
  return curve_plots.example_rows(dataset, rows)
