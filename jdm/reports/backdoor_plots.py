"""Pictures of a backdoor search: values, the matrix, scores, the set."""

from collections.abc import Mapping
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jdm.applications import backdoor as backdoor_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import examples
from jdm.reports import mislabels_plots

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

name_of = mislabels_plots.name_of
_GROUPS = {'triggered': 'tests with the trigger', 'others': 'other tests'}
_MOST_ROWS = 400  # Of a label, in the picture of the matrix.


def values(
    result: backdoor_lib.Backdoor,
    dataset: dataset_lib.Dataset,
    *,
    outcome: str = '',
) -> 'figure_lib.Figure':
  """Draws the value of the best set of each size, a line for each label.

  Args:
    result: the search.
    dataset: for the names of classes.
    outcome: name of the outcome, for the axis.
  """
  figure, axes = canvas.figure_and_axes(3.4, 6.4)
  is_named = False
  for group, own in zip(result.groups, result.values):
    is_chosen = group == result.label
    style = {'color': canvas.GREY, 'linewidth': 1.0}
    label = '' if is_named else 'other labels'
    if is_chosen:
      style = {'color': canvas.VERMILION, 'linewidth': 2.2}
      label = 'all examples'
      if group >= 0:
        label = f'label {examples.label(dataset, group)}'
    elif len(result.groups) > 1:
      is_named = True
    axes.plot(result.sizes, own, marker='.', label=label or None, **style)
  axes.axvline(
      len(result.rows),
      color=canvas.VERMILION,
      linestyle='--',
      linewidth=1,
      label=f'chosen: {len(result.rows)}',
  )
  if result.poisoned is not None:
    axes.axvline(
        len(result.poisoned),
        color=canvas.INK,
        linestyle=':',
        label=f'planted: {len(result.poisoned)}',
    )
  axes.set_xscale('log')
  canvas.label_powers(axes)
  models = ' on other models' if result.is_cross_fitted else ''
  axes.set_xlabel('examples in the set (log scale)')
  axes.set_ylabel(f'influence within it{models}\n({canvas.units(outcome)})')
  canvas.legend(axes)
  return figure


def matrix(
    result: backdoor_lib.Backdoor,
    influence: np.ndarray,
    labels: np.ndarray,
    *,
    outcome: str = '',
) -> 'figure_lib.Figure':
  """Draws the influences within the chosen label, the set first.

  Args:
    result: the search.
    influence: `[num_train, num_train]`, as it was searched.
    labels: int `[num_train]`.
    outcome: name of the outcome, for the bar.

  Returns:
    The figure; within the set and outside, rows are in order of the score. Of a
    large label the first of both are drawn.
  """
  everyone = np.arange(len(influence))
  if result.label >= 0:
    everyone = np.flatnonzero(np.asarray(labels) == result.label)
  order = np.argsort(-result.scores[everyone], kind='stable')
  everyone = everyone[order]
  inside = np.isin(everyone, result.rows)
  members, others = everyone[inside], everyone[~inside]
  room = max(_MOST_ROWS - len(members), _MOST_ROWS // 2)
  members, others = members[:_MOST_ROWS], others[:room]
  rows = np.concatenate([members, others])
  shown = np.array(influence[np.ix_(rows, rows)], np.float64)
  np.fill_diagonal(shown, 0)
  limit = float(np.quantile(np.abs(shown), 0.99)) or 1.0
  figure, axes = canvas.figure_and_axes(4.6, 5.6)
  axes.grid(visible=False)
  image = axes.imshow(
      shown, cmap='RdBu', vmin=-limit, vmax=limit, interpolation='nearest'
  )
  for place in (axes.axhline, axes.axvline):
    place(len(members) - 0.5, color=canvas.INK, linewidth=1)
  axes.set_title(
      f'the set ({len(result.rows)}), then {len(others)} others', fontsize=10
  )
  axes.set_xlabel('target: training example')
  axes.set_ylabel('source: training example')
  bar = figure.colorbar(image, ax=axes)
  bar.set_label(f'influence ({canvas.units(outcome)})', fontsize=9)
  return figure


def scores(
    result: backdoor_lib.Backdoor, labels: np.ndarray, *, outcome: str = ''
) -> 'figure_lib.Figure':
  """Draws the scores of the chosen label, poisoned and clean apart.

  Args:
    result: the search.
    labels: int `[num_train]`.
    outcome: name of the outcome, for the axis.
  """
  figure, axes = canvas.figure_and_axes(3.0, 6.4)
  kept = np.ones(len(result.scores), bool)
  if result.label >= 0:
    kept = np.asarray(labels) == result.label
  is_bad = np.isin(np.arange(len(kept)), result.rows)
  names = ('in the set', 'not in the set')
  if result.poisoned is not None:
    is_bad = np.isin(np.arange(len(kept)), result.poisoned)
    names = ('poisoned', 'clean')
  edges = np.histogram_bin_edges(result.scores[kept], 50)
  for chosen, name, colour in zip(
      (kept & is_bad, kept & ~is_bad), names, (canvas.VERMILION, canvas.BLUE)
  ):
    axes.hist(
        result.scores[chosen],
        edges,
        color=colour,
        alpha=0.65,
        label=f'{name} ({chosen.sum()})',
    )
  axes.set_xlabel(
      'influence of a member of the set on it, beyond that of the whole label'
      f' ({canvas.units(outcome)})'
  )
  axes.xaxis.label.set_fontsize(9)
  axes.set_ylabel('training examples')
  canvas.legend(axes)
  return figure


def sheet(
    result: backdoor_lib.Backdoor,
    dataset: dataset_lib.Dataset,
    *,
    count: int = 24,
    columns: int = 8,
) -> 'figure_lib.Figure | None':
  """Draws members of the set, highest score first; None without images.

  Args:
    result: the set.
    dataset: whose training examples they are.
    count: examples.
    columns: examples side by side.
  """
  images = dataset.train.images
  if images is None:
    return None
  order = np.argsort(-result.scores[result.rows], kind='stable')
  rows = result.rows[order][:count]
  num_rows = math.ceil(len(rows) / columns)
  figure = canvas.blank(1.15 * columns, 1.6 * num_rows)
  panels = figure.subplots(num_rows, columns, squeeze=False).ravel()
  for axes in panels[len(rows) :]:
    axes.set_axis_off()
  for axes, row in zip(panels, rows):
    note = examples.label(dataset, dataset.train.labels[row])
    colour = canvas.INK
    if result.poisoned is not None:
      is_bad = row in result.poisoned
      note += '\npoisoned' if is_bad else '\nclean'
      colour = canvas.VERMILION if is_bad else canvas.GREY
    canvas.draw_image(axes, images[row], note, colour)
  return figure


def removal(result: backdoor_lib.Backdoor) -> 'figure_lib.Figure | None':
  """Draws what removing the set did; None if nothing was retrained."""
  one = result.removal
  if one is None:
    return None
  figure, axes = canvas.figure_and_axes(2.4, 6.4)

  mislabels_plots.draw_changes(
      axes, _by_group(one.change), _by_group(one.interval)
  )
  before = ', '.join(
      f'{one.mean["nothing"][group]:.3f} of {_GROUPS[group]}'
      for group in one.groups
  )
  figure.suptitle(f'Accuracy before: {before}', fontsize=9)
  return figure


def _by_group(changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """From what was removed and group to group and what was removed."""
  groups = next(iter(changes.values()))
  return {
      _GROUPS[group]: {what: changes[what][group] for what in changes}
      for group in groups
  }
