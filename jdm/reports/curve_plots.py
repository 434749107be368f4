"""Pictures of removal and addition curves, and of the examples at their ends."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jdm.analysis import curves as curves_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import examples as examples_lib

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
)
_MARKERS = 'osD^vP*'
_WORDS = {'remove': 'removed', 'add': 'trained on'}


def curve_lines(
    curves: curves_lib.Curves,
    measure: str,
    *,
    label: str,
    full: float | None = None,
    title: str = '',
) -> 'figure_lib.Figure':
  """Draws one measure of all orders against the number of examples.

  Bars are 95 % intervals over trainings; the band is that of the baseline.

  Args:
    curves: what was retrained.
    measure: name of one of its measures.
    label: of the vertical axis, with units.
    full: the measure of models trained on everything.
    title: above the picture.

  Raises:
    ValueError: if there is no such measure.
  """
  if measure not in curves.measures:
    raise ValueError(
        f'`curve_lines` knows the measures {list(curves.measures)}, got'
        f' {measure!r}.'
    )
  figure, axes = canvas.figure_and_axes(4.3)
  which = curves.measures.index(measure)
  if full is not None:
    axes.axhline(
        full, color=canvas.INK, linewidth=0.9, linestyle=':', label='all of it'
    )
  families = [
      name.removesuffix(curves_lib.LOWEST).removesuffix(curves_lib.HIGHEST)
      for name in curves.orders
  ]
  colours = [name for name in dict.fromkeys(families) if name != 'random']
  for number, (name, family) in enumerate(zip(curves.orders, families)):
    values = curves.values[which, number]
    low, high = curves.interval[:, which, number]
    if name == curves.baseline:
      axes.plot(curves.sizes, values, color=canvas.GREY, marker='.', label=name)
      axes.fill_between(
          curves.sizes, low, high, color=canvas.GREY, alpha=0.25, linewidth=0
      )
      continue
    place = colours.index(family) % len(_COLOURS)
    lowest = name.endswith(curves_lib.LOWEST)
    axes.errorbar(
        curves.sizes,
        values,
        np.nan_to_num(np.stack([values - low, high - values])),
        color=_COLOURS[place],
        marker=_MARKERS[place],
        markersize=4,
        capsize=2,
        linestyle='--' if lowest else '-',
        markerfacecolor='white' if lowest else None,
        label=name,
    )
  axes.set_xlabel(f'training examples {_WORDS[curves.mode]}')
  axes.set_ylabel(label)
  axes.set_title(title)
  figure.legend(
      *axes.get_legend_handles_labels(),
      loc='outside lower center',
      ncols=2,
      fontsize=8.5,
      frameon=False,
  )
  return figure


def example_rows(
    dataset: dataset_lib.Dataset,
    rows: Mapping[str, Sequence[int] | np.ndarray],
    notes: Mapping[str, Sequence[str]] | None = None,
) -> 'figure_lib.Figure | None':
  """Draws rows of training images, each row under its title.

  Args:
    dataset: with images.
    rows: by title, train rows.
    notes: by title, a word below each image, after its label.

  Returns:
    The figure; None where the dataset has no images.
  """
  images = dataset.train.images
  if images is None or not any(len(ids) for ids in rows.values()):
    return None
  width = max(len(ids) for ids in rows.values())
  figure = canvas.blank(0.75 * width + 0.3, 1.35 * len(rows) + 0.2)
  grid = figure.add_gridspec(
      2 * len(rows), width, height_ratios=[0.22, 1] * len(rows)
  )
  for number, (title, ids) in enumerate(rows.items()):
    axes = figure.add_subplot(grid[2 * number, :])
    axes.set_axis_off()
    axes.text(0, 0, title, fontsize=9)
    for place, row in enumerate(ids):
      note = examples_lib.label(dataset, dataset.train.labels[row])
      if notes is not None and place < len(notes.get(title, ())):
        note += f'\n{notes[title][place]}'
      axes = figure.add_subplot(grid[2 * number + 1, place])
      canvas.draw_image(axes, images[row], note, canvas.INK)
  return figure
