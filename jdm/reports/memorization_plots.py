"""Pictures of memorization: how much, of what, for whom, and how surely."""

import math
from typing import TYPE_CHECKING

import numpy as np

from jdm.applications import memorization as memorization_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import examples
from jdm.reports import tables

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib


def distribution(
    result: memorization_lib.Memorization, *, outcome: str = 'correctness'
) -> 'figure_lib.Figure':
  """Draws how many training examples are memorized how much.

  Args:
    result: the estimates.
    outcome: name of the outcome, for the axis.
  """
  figure, axes = canvas.figure_and_axes(3.0, 6.4)
  own = result.memorization
  values = own.value[np.isfinite(own.value)]
  above = np.sum(values >= result.min_memorization)
  edges = np.histogram_bin_edges(values, 50)
  axes.hist(values, edges, histtype='stepfilled', color=canvas.BLUE)
  axes.set_yscale('log')
  axes.axvline(
      result.min_memorization,
      color=canvas.VERMILION,
      linestyle='--',
      label=f'{result.min_memorization:g}: {above} examples above',
  )
  error = np.nanmedian(own.error)
  axes.set_title(
      f'{result.num_models} models; standard error {tables.number(error, 2)}'
      ' (median)',
      fontsize=10,
  )
  axes.set_xlabel(
      f'memorization ({canvas.words(outcome)} when trained on minus when not)'
  )
  axes.set_ylabel('training examples (log scale)')
  canvas.legend(axes)
  return figure


def sheet(
    result: memorization_lib.Memorization,
    dataset: dataset_lib.Dataset,
    *,
    count: int = 24,
    columns: int = 8,
) -> 'figure_lib.Figure | None':
  """Draws the most memorized training examples; None without images.

  Args:
    result: the estimates.
    dataset: whose training examples they are about.
    count: examples, most memorized first.
    columns: examples side by side.
  """
  images = dataset.train.images
  if images is None:
    return None
  rows = result.order[:count]
  num_rows = math.ceil(len(rows) / columns)
  figure = canvas.blank(1.15 * columns, 1.6 * num_rows)
  panels = figure.subplots(num_rows, columns, squeeze=False).ravel()
  for axes in panels[len(rows) :]:
    axes.set_axis_off()
  own = result.memorization
  for axes, row in zip(panels, rows):
    note = examples.label(dataset, dataset.train.labels[row])
    note += f'\n{tables.number(float(own.value[row]), 2)}'
    note += f' ± {tables.number(float(own.error[row]), 1)}'
    canvas.draw_image(axes, images[row], note, canvas.INK)
  return figure


def pairs_sheet(
    result: memorization_lib.Memorization,
    dataset: dataset_lib.Dataset,
    *,
    count: int = 16,
    columns: int = 4,
) -> 'figure_lib.Figure | None':
  """Draws influence pairs side by side, one for each test example.

  Args:
    result: with pairs.
    dataset: whose examples they are about.
    count: pairs, most influence first; of a test example only the first.
    columns: pairs side by side.

  Returns:
    The figure; None without images or pairs.
  """
  images = dataset.train.images, dataset.test.images
  if result.pairs is None or not len(result.pairs.pairs):
    return None
  if images[0] is None or images[1] is None:
    return None
  pairs = result.pairs
  _, first = np.unique(pairs.pairs[:, 1], return_index=True)
  places = np.sort(first)[:count]
  num_rows = math.ceil(len(places) / columns)
  figure = canvas.blank(2.15 * columns, 1.6 * num_rows)
  grid = figure.add_gridspec(
      num_rows, 3 * columns, width_ratios=[1, 1, 0.18] * columns
  )
  for number, place in enumerate(places):
    row, column = divmod(number, columns)
    train, test = pairs.pairs[place]
    value = tables.signed(float(pairs.influence[place]))
    error = tables.number(float(pairs.error[place]), 1)
    notes = (
        f'train {examples.label(dataset, dataset.train.labels[train])}\nmem.'
        f' {tables.number(float(pairs.memorization[place]), 2)}',
        f'test {examples.label(dataset, dataset.test.labels[test])}',
    )
    shown = images[0][train], images[1][test]
    for side in range(2):
      axes = figure.add_subplot(grid[row, 3 * column + side])
      canvas.draw_image(axes, shown[side], notes[side], canvas.INK)
      if side == 0:
        axes.set_title(
            f'{value} ± {error}', fontsize=8.5, loc='left', color=canvas.BLUE
        )
  return figure


def shrinkage(
    result: memorization_lib.Memorization, *, outcome: str = 'correctness'
) -> 'figure_lib.Figure':
  """Draws extremes on the half of the models that chose them and on the other.

  Args:
    result: the estimates.
    outcome: name of the outcome, for the axis.
  """
  figure, axes = canvas.figure_and_axes(2.6, 6.4)
  places = np.arange(len(result.shrinkage))
  for shift, what, colour in (
      (-0.17, 'chosen', canvas.VERMILION),
      (0.17, 'fresh', canvas.BLUE),
  ):
    values = [getattr(one, what) for one in result.shrinkage]
    name = 'half that chose' if what == 'chosen' else 'other half'
    axes.bar(places + shift, values, 0.3, color=colour, label=name)
    for place, value in zip(places, values):
      if np.isfinite(value):
        axes.text(
            place + shift, value, tables.number(value), ha='center', va='bottom'
        )
  names = [
      f'{one.what}\n({one.num_chosen:g} chosen)' for one in result.shrinkage
  ]
  axes.set_xticks(places, names)
  axes.set_ylabel(f'mean ({canvas.words(outcome)})')
  axes.margins(y=0.15)
  axes.axhline(0, color=canvas.INK, linewidth=0.8)
  axes.legend(
      frameon=False, fontsize=8.5, loc='center left', bbox_to_anchor=(1, 0.5)
  )
  return figure


def left_out(
    result: memorization_lib.Memorization, *, outcome: str = 'correctness'
) -> 'figure_lib.Figure | None':
  """Draws estimated against retrained effects; None if nothing was retrained.

  Args:
    result: with `left_out`.
    outcome: name of the outcome, for the axes.
  """
  one = result.left_out
  if one is None:
    return None
  figure, axes = canvas.figure_and_axes(3.7)
  axes.axline((0, 0), slope=1, color=canvas.INK, linewidth=1, linestyle='--')
  for is_memorized, name, colour in (
      (True, 'most memorized', canvas.VERMILION),
      (False, 'random examples', canvas.GREY),
  ):
    chosen = one.is_memorized == is_memorized
    bars = None
    if one.interval is not None:
      low, high = one.interval[:, chosen]
      observed = one.observed[chosen]
      bars = np.maximum(np.nan_to_num([observed - low, high - observed]), 0)
    axes.errorbar(
        one.estimated[chosen],
        one.observed[chosen],
        yerr=bars,
        linestyle='none',
        marker='o',
        markersize=4,
        elinewidth=0.8,
        alpha=0.8,
        color=colour,
        label=name,
    )
  score = one.agreement
  axes.set_title(
      f'Spearman {tables.number(score.spearman)}, slope'
      f' {tables.number(score.slope)}',
      fontsize=10,
  )
  axes.set_xlabel(
      f'memorization, estimated on subsets ({canvas.words(outcome)})'
  )
  axes.set_ylabel('full set minus full set without it')
  canvas.legend(axes)
  return figure
