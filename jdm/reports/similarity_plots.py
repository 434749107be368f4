"""Pictures of similar examples, by datamodels and by other measures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jdm.applications import similarity as similarity_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import examples
from jdm.reports import tables

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_COLOURS = (canvas.BLUE, canvas.GREEN, canvas.SKY, '#CC79A7', '#E69F00')
_INCH = 0.8  # Width of an image with its frame.


def train_grid(
    dataset: dataset_lib.Dataset,
    similarity: similarity_lib.Similarity,
    *,
    places: Sequence[int] | np.ndarray = range(6),
    count: int = 4,
) -> 'figure_lib.Figure | None':
  """Draws targets, one a row, with the training examples near to them.

  Args:
    dataset: whose test examples are the targets.
    similarity: what was found.
    places: of the targets to draw, in `similarity.target_ids`.
    count: neighbours by each method.

  Returns:
    The figure: proponents and opponents by datamodel with their weights (and
    the share of resamples that keep them, where known), then the nearest by
    each other method; None without images.
  """
  if dataset.train.images is None or dataset.test.images is None:
    return None
  found = similarity.train.neighbours
  groups = [
      ('help most', found[similarity_lib.WEIGHTS], canvas.COLOURS['helpful']),
      ('hurt most', similarity.opponents, canvas.COLOURS['harmful']),
  ]
  others = [name for name in found if name != similarity_lib.WEIGHTS]
  groups += [
      (f'nearest by {name}', found[name], _COLOURS[1 + number % 4])
      for number, name in enumerate(others)
  ]
  return _grid(dataset, 'train', similarity, groups, places, count)


def target_grid(
    dataset: dataset_lib.Dataset,
    similarity: similarity_lib.Similarity,
    *,
    places: Sequence[int] | np.ndarray = range(6),
    count: int = 4,
) -> 'figure_lib.Figure | None':
  """Draws targets, one a row, with the other targets near to them.

  Args:
    dataset: whose test examples are the targets.
    similarity: what was found.
    places: of the targets to draw, in `similarity.target_ids`.
    count: neighbours by each method.

  Returns:
    The figure: by datamodel with the cosine between their weights, then by each
    other method; None without images.
  """
  if dataset.test.images is None:
    return None
  groups = [
      (
          'nearest by '
          + ('weights' if name == similarity_lib.WEIGHTS else name),
          found,
          _COLOURS[number % len(_COLOURS)],
      )
      for number, (name, found) in enumerate(
          similarity.targets.neighbours.items()
      )
  ]
  return _grid(dataset, 'test', similarity, groups, places, count)


def same_class(
    similarity: similarity_lib.Similarity,
) -> 'figure_lib.Figure':
  """Draws the share of neighbours of the target's class, by method.

  Bars are 95 % intervals over targets; dashes are candidates at random.
  """
  figure = canvas.blank(canvas.WIDTH, 2.6)
  panels = figure.subplots(1, 2, sharey=True)
  sides = (
      ('training examples', similarity.train),
      ('other targets', similarity.targets),
  )
  for axes, (title, one) in zip(panels, sides):
    places = np.arange(len(one.methods))
    low, high = one.same_class_interval
    bars = np.nan_to_num([one.same_class - low, high - one.same_class])
    axes.bar(
        places,
        one.same_class,
        yerr=bars,
        width=0.6,
        color=[_COLOURS[n % len(_COLOURS)] for n in places],
        ecolor=canvas.INK,
        capsize=2.5,
    )
    chance = one.random_same_class
    axes.axhline(chance, color=canvas.INK, linestyle='--')
    axes.set_xticks(places, one.methods, fontsize=8.5, rotation=20)
    axes.set_title(
        f'{title}\n(at random {tables.number(chance, 2)})', fontsize=9.5
    )
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_ylim(0, 1)
  panels[0].set_ylabel(f'share of the class, first {similarity.count}')
  return figure


def overlap(similarity: similarity_lib.Similarity) -> 'figure_lib.Figure':
  """Draws how many neighbours two methods share, as tables of shares."""
  figure = canvas.blank(canvas.WIDTH, 2.7)
  panels = figure.subplots(1, 2)
  sides = (
      ('training examples', similarity.train),
      ('other targets', similarity.targets),
  )
  for axes, (title, one) in zip(panels, sides):
    axes.imshow(one.overlap, vmin=0, vmax=1, cmap='Blues')
    for (row, column), value in np.ndenumerate(one.overlap):
      axes.text(
          column,
          row,
          tables.number(value, 2),
          ha='center',
          va='center',
          fontsize=8.5,
          color='white' if value > 0.6 else canvas.INK,
      )
    places = range(len(one.methods))
    axes.set_xticks(places, one.methods, fontsize=8, rotation=20)
    axes.set_yticks(places, one.methods, fontsize=8)
    axes.set_title(
        f'{title}\n(by chance {tables.number(one.random_overlap, 2)})',
        fontsize=9.5,
    )
  return figure


def _grid(
    dataset, split, similarity, groups, places, count
) -> 'figure_lib.Figure':
  """Rows of targets, and groups of neighbours beside them."""
  places = [p for p in places if p < len(similarity.target_ids)]
  neighbours = dataset.split(split)
  num_columns = 1 + len(groups) * count
  figure = canvas.blank(_INCH * num_columns + 0.4, 1.28 * len(places) + 0.35)
  widths = [1.0]
  for _ in groups:
    widths += [0.15] + [1.0] * count
  grid = figure.add_gridspec(
      len(places) + 1,
      len(widths),
      width_ratios=widths,
      height_ratios=[0.15] + [1.0] * len(places),
  )
  _title(figure, grid[0, 0], 'target', canvas.INK)
  for number, (title, _, colour) in enumerate(groups):
    start = 2 + number * (count + 1)
    _title(figure, grid[0, start : start + count], title, colour)
  for row, place in enumerate(places):
    target = similarity.target_ids[place]
    axes = figure.add_subplot(grid[row + 1, 0])
    name = examples.label(dataset, dataset.test.labels[target])
    canvas.draw_image(axes, dataset.test.images[target], name, canvas.INK)
    for number, (_, found, colour) in enumerate(groups):
      ids = found.ids[place][:count]
      for column, other in enumerate(ids[ids >= 0]):
        axes = figure.add_subplot(
            grid[row + 1, 2 + number * (count + 1) + column]
        )
        name = examples.label(dataset, neighbours.labels[other])
        note = f'{name}\n{tables.signed(found.scores[place, column])}'
        if found.frequency is not None:
          note += f'\nin {found.frequency[place, column]:.0%}'
        canvas.draw_image(axes, neighbours.images[other], note, colour)
  return figure


def _title(figure, place, words: str, colour: str) -> None:
  axes = figure.add_subplot(place)
  axes.set_axis_off()
  axes.text(0, 0, words, color=colour, fontsize=9.5)
