"""Pictures of directions: who stands at their ends, what removing them did."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jdm.analysis import directions as directions_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import examples
from jdm.reports import tables

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

END_COLOURS = (canvas.BLUE, canvas.VERMILION)
_GROUP_COLOURS = (canvas.BLUE, canvas.VERMILION, canvas.GREY)
_SIGNS = ('+', '\N{MINUS SIGN}')
_BAR = 0.25


def sheet(
    dataset: dataset_lib.Dataset,
    scores: np.ndarray,
    projections: np.ndarray,
    *,
    count: int = 6,
    names: Sequence[str] = (),
    score: str = 'loading',
) -> 'figure_lib.Figure | None':
  """Draws the examples at the ends of directions, two rows a direction.

  Args:
    dataset: whose test examples are the targets.
    scores: `[num_directions, num_train]`.
    projections: `[num_directions, num_targets]`.
    count: examples at each end, of each split.
    names: of the directions; numbers by default.
    score: what `scores` are called.

  Returns:
    The figure: training examples with the highest and with the lowest scores,
    test examples with the highest and the lowest projections; None without
    images.
  """
  splits = (dataset.train, dataset.test)
  train_images, test_images = (split.images for split in splits)
  if train_images is None or test_images is None:
    return None
  num_rows = 2 * len(scores)
  figure = canvas.blank(0.8 * 2 * count + 1.0, 1.15 * num_rows + 0.3)
  grid = figure.add_gridspec(
      num_rows + 1,
      2 * count + 2,
      width_ratios=[0.6] + [1.0] * count + [0.2] + [1.0] * count,
      height_ratios=[0.15] + [1.0] * num_rows,
  )
  starts = (1, count + 2)
  titles = (f'training examples, {score}', 'test examples, projection')
  for start, title in zip(starts, titles):
    _words(figure, grid[0, start : start + count], title, canvas.INK)
  for number in range(len(scores)):
    name = names[number] if names else str(number + 1)
    for start, split, images, values in zip(
        starts,
        splits,
        (train_images, test_images),
        (scores[number], projections[number]),
    ):
      both = directions_lib.ends(values, min(count, len(values)))
      for end, rows in enumerate(both):
        line = 2 * number + end + 1
        label = f'{name}\n{_SIGNS[end]} end'
        _words(figure, grid[line, 0], label, END_COLOURS[end])
        for column, row in enumerate(rows):
          note = examples.label(dataset, split.labels[row])
          note += f'\n{tables.signed(values[row])}'
          axes = figure.add_subplot(grid[line, start + column])
          canvas.draw_image(axes, images[row], note, END_COLOURS[end])
  return figure


def removals(
    found: Mapping[str, directions_lib.Removals], *, outcome: str = ''
) -> 'figure_lib.Figure':
  """Draws what removing the ends of directions did to groups of targets.

  Args:
    found: by the name of what was retrained, a row of panels each; directions
      are columns.
    outcome: name of the outcome, for the axis.

  Returns:
    The figure: mean observed changes with 95 % intervals, predicted ones as
    diamonds, and the removal of as many random examples.
  """
  num_columns = max(len(one.removed) for one in found.values())
  figure = canvas.blank(
      max(canvas.WIDTH, 2.2 * num_columns + 0.8), 2.4 * len(found) + 0.5
  )
  panels = figure.subplots(len(found), num_columns, sharey=True, squeeze=False)
  for row, (name, one) in zip(panels, found.items()):
    for number, axes in enumerate(row):
      _draw_removals(axes, one, number)
      title = f'direction {number + 1}'
      axes.set_title(f'{name}, {title}' if name else title, fontsize=10)
    row[0].set_ylabel(
        f'change of {canvas.words(outcome)}\n({canvas.units(outcome)})'
    )
  handles, labels = panels[0, 0].get_legend_handles_labels()
  figure.legend(
      handles,
      labels,
      loc='outside upper center',
      ncols=4 if num_columns > 2 else 2,
      fontsize=8.5,
      frameon=False,
  )
  return figure


def _draw_removals(
    axes: Any, one: directions_lib.Removals, number: int
) -> None:
  """One panel: three removals, three groups each."""
  observed = np.concatenate([one.observed[number], one.random[None, number]])
  low, high = np.full((2, *observed.shape), np.nan)
  if one.interval is not None:
    low[:2], high[:2] = one.interval[:, number]
  if one.random_interval is not None:
    low[2], high[2] = one.random_interval[:, number]
  groups = ('highest projections', 'lowest projections', 'all targets')
  for group, name in enumerate(groups):
    places = np.arange(3) + (group - 1) * _BAR
    values = observed[:, group]
    bars = np.stack([values - low[:, group], high[:, group] - values])
    axes.bar(
        places,
        values,
        yerr=np.nan_to_num(bars),
        width=_BAR * 0.9,
        color=_GROUP_COLOURS[group],
        ecolor=canvas.INK,
        capsize=2,
        label=name,
    )
    axes.scatter(
        places[:2],
        one.predicted[number, :, group],
        marker='D',
        s=16,
        facecolor='white',
        edgecolor=canvas.INK,
        linewidth=0.9,
        zorder=3,
        label='predicted' if group == len(groups) - 1 else None,
    )
  axes.axhline(0, color=canvas.INK, linewidth=0.8)
  axes.set_xticks(range(3), [f'{sign} end' for sign in _SIGNS] + ['random'])
  axes.tick_params(axis='x', labelsize=8.5)
  axes.set_xlabel(f'{one.removed.shape[2]} removed', fontsize=9)
  axes.spines[['top', 'right']].set_visible(False)


def _words(figure: Any, place: Any, text: str, colour: str) -> None:
  axes = figure.add_subplot(place)
  axes.set_axis_off()
  axes.text(0, 0.5, text, color=colour, fontsize=9, va='center')
