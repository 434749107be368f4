"""Pictures of mislabel scores: detection, suspects, and models without them."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jdm.applications import mislabels as mislabels_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import examples
from jdm.reports import tables

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_NAMES = {
    'data_oob': 'Data-OOB',
    'self_influence': 'self-influence (margin)',
    'memorization': 'self-influence (correctness)',
    'out_of_bag_margin': 'out-of-bag margin',
    'harm': 'harm to other training examples',
    'harm_to_tests': 'harm to test examples',
    'loss': 'loss when trained on',
    'out_of_bag_loss': 'out-of-bag loss',
    'full_loss': 'loss of models of everything',
    'predicted_margin': 'margin predicted by its datamodel',
    'datamodel_harm': 'harm by datamodel weights',
    'knn_shapley_inputs': 'KNN-Shapley, inputs',
    'knn_shapley_features': 'KNN-Shapley, features',
    'low_margin': 'low margin when trained on',
    'backdoor': 'backdoor search',
}
_COLOURS = (
    canvas.BLUE,
    canvas.VERMILION,
    canvas.GREEN,
    canvas.SKY,
    '#E69F00',
    '#CC79A7',
)
_STYLES = ('-', '--', ':')
_WHATS = {
    'suspects': 'the suspects',
    'random': 'as many at random',
    'mislabels': 'all mislabels',
    'found': 'the set found',
}


def name_of(score: str) -> str:
  """A score's name for readers."""
  return _NAMES.get(score, score.replace('_', ' '))


def curves(
    result: mislabels_lib.Mislabels, *, most: int = 8
) -> 'figure_lib.Figure | None':
  """Draws the share of mislabels found against the share inspected.

  Args:
    result: with known mislabels.
    most: lines, those of highest AUC; that of the score gone by is always
      there.

  Returns:
    The figure; None without known mislabels.
  """
  found = result.detections
  if not found:
    return None
  order = sorted(found, key=lambda name: -found[name].auc)
  shown = [
      name
      for place, name in enumerate(order)
      if place < most or name == result.chosen
  ]
  figure, axes = canvas.figure_and_axes(4.0, 8.6)
  for place, name in enumerate(shown):
    one, is_chosen = found[name], name == result.chosen
    axes.plot(
        100 * one.inspected,
        100 * one.found,
        color=_COLOURS[place % len(_COLOURS)],
        linestyle=_STYLES[place // len(_COLOURS) % len(_STYLES)],
        linewidth=2.6 if is_chosen else 1.3,
        label=f'{name_of(name)}: AUC {one.auc:.3f}'
        + (' (used)' if is_chosen else ''),
    )
  axes.plot([0, 100], [0, 100], color=canvas.GREY, label='at random: AUC 0.5')
  one = found[shown[0]]
  share = 100 * one.num_bad / one.num_train
  axes.plot(
      [0, share, 100],
      [0, 100, 100],
      color=canvas.INK,
      linewidth=0.8,
      linestyle=':',
      label='perfect',
  )
  axes.set_xlabel('training examples inspected, most suspect first (%)')
  axes.set_ylabel(f'mislabels found (% of {one.num_bad})')
  axes.set_xlim(0, 100)
  axes.set_ylim(0, 102)
  axes.legend(
      frameon=False, fontsize=8.5, loc='center left', bbox_to_anchor=(1, 0.5)
  )
  return figure


def areas(result: mislabels_lib.Mislabels) -> 'figure_lib.Figure | None':
  """Draws the AUC of every score with its 95 % interval; None if unknown."""
  return detection_areas(result.detections)


def detection_areas(detections: Any) -> 'figure_lib.Figure | None':
  """Draws AUCs with their 95 % intervals, highest first.

  Args:
    detections: `suspects.Detection` by name of the score.

  Returns:
    The figure; None without any.
  """
  if not detections:
    return None
  order = sorted(detections, key=lambda name: -detections[name].auc)
  figure, axes = canvas.figure_and_axes(0.3 * len(order) + 1.0, 6.4)
  values = np.array([detections[name].auc for name in order])
  low, high = np.array([detections[name].auc_interval for name in order]).T
  bars = np.maximum([values - low, high - values], 0)
  axes.axvline(0.5, color=canvas.GREY, label='at random')
  axes.errorbar(
      values,
      range(len(order)),
      xerr=bars,
      linestyle='none',
      marker='o',
      markersize=4.5,
      capsize=2.5,
      color=canvas.BLUE,
      label='AUC and 95 % interval',
  )
  axes.set_yticks(range(len(order)), [name_of(name) for name in order])
  axes.invert_yaxis()
  axes.set_xlim(min(0.45, low.min() - 0.03), 1.01)
  axes.set_xlabel('AUC: bad against other training examples')
  axes.legend(
      frameon=False,
      fontsize=8.5,
      ncols=2,
      loc='lower left',
      bbox_to_anchor=(0, 1),
  )
  return figure


def sheet(
    result: mislabels_lib.Mislabels,
    dataset: dataset_lib.Dataset,
    *,
    count: int = 24,
    columns: int = 8,
) -> 'figure_lib.Figure | None':
  """Draws the most suspect training examples with their labels.

  Args:
    result: the order.
    dataset: whose training examples are meant. Where its labels were planted
      wrong, the right one is shown, and a frame tells hits from misses.
    count: examples, most suspect first.
    columns: examples side by side.

  Returns:
    The figure; None without images.
  """
  images = dataset.train.images
  if images is None:
    return None
  rows = result.order[:count]
  figure = canvas.blank(1.15 * columns, 1.6 * math.ceil(len(rows) / columns))
  panels = figure.subplots(
      math.ceil(len(rows) / columns), columns, squeeze=False
  ).ravel()
  planted = dataset.planted
  clean = dataset.train.labels
  if planted is not None and len(planted.clean_labels):
    clean = planted.clean_labels
  for axes in panels[len(rows) :]:
    axes.set_axis_off()
  for axes, row in zip(panels, rows):
    note = f'labelled {examples.label(dataset, dataset.train.labels[row])}'
    colour = canvas.INK
    if result.bad is not None:
      is_bad = row in result.bad
      note += (
          f'\nwas {examples.label(dataset, clean[row])}'
          if is_bad
          else '\nnot planted'
      )
      colour = canvas.VERMILION if is_bad else canvas.GREY
    canvas.draw_image(axes, images[row], note, colour)
  return figure


def cleaning(result: mislabels_lib.Mislabels) -> 'figure_lib.Figure | None':
  """Draws accuracies after removals; None if nothing was retrained."""
  one = result.cleaning
  if one is None:
    return None
  figure, axes = canvas.figure_and_axes(0.5 * len(one.change) + 1.1, 6.4)
  draw_changes(axes, {'': one.change}, {'': one.interval})
  axes.set_title(
      f'Without {one.num_removed} training examples;'
      f' accuracy on everything {tables.number(one.accuracy["nothing"])}',
      fontsize=10,
  )
  return figure


def draw_changes(axes: Any, changes: Any, ends: Any) -> None:
  """Draws changes of accuracy, one line for each removal.

  Args:
    axes: where.
    changes: by the name of a group of tests, by what was removed.
    ends: the same of 95 % intervals, each `(low, high)` or None.
  """
  whats = list(next(iter(changes.values())))
  for number, (group, change) in enumerate(changes.items()):
    shift = 0.15 * (number - (len(changes) - 1) / 2)
    values = np.array([change[what] for what in whats])
    bars = np.zeros((2, len(whats)))
    for place, what in enumerate(whats):
      if ends[group][what] is not None:
        low, high = ends[group][what]
        bars[:, place] = values[place] - low, high - values[place]
    axes.errorbar(
        100 * values,
        np.arange(len(whats)) + shift,
        xerr=100 * np.maximum(np.nan_to_num(bars), 0),
        linestyle='none',
        marker=('o', 's')[number % 2],
        capsize=2.5,
        color=_COLOURS[number % len(_COLOURS)],
        label=group,
    )
  axes.axvline(0, color=canvas.INK, linewidth=0.8)
  axes.set_yticks(range(len(whats)), [f'without {_WHATS[w]}' for w in whats])
  axes.set_ylim(len(whats) - 0.5, -0.5)
  axes.set_xlabel('change of accuracy (percentage points, 95 % interval)')
  if len(changes) > 1:
    canvas.legend(axes)
