"""Pictures of leakage: pages of pairs to judge, ROC curves, AUC, removals."""

from collections.abc import Mapping, Sequence
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jdm.analysis import detection as detection_lib
from jdm.applications import leakage as leakage_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import examples
from jdm.reports import tables

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

# The scores in the order of their names; dashes tell apart what colours repeat.
_COLOURS = (
    canvas.BLUE,
    canvas.VERMILION,
    canvas.GREEN,
    canvas.SKY,
    '#CC79A7',  # Okabe and Ito's reddish purple.
    '#E69F00',  # And their orange.
    canvas.GREY,
)
_DASHES = ('-', '--', ':')
_MARKERS = 'osD^vPX*'
_NAMES = {
    'lasso': 'LASSO weight',
    'lasso_standardized': 'LASSO weight, standardized',
    'difference_of_means': 'difference of means',
    'difference_of_means_standardized': 'difference of means, standardized',
    'pixels': 'pixel distance',
    'inputs': 'input distance',
    'representation': 'representation, cosine',
}


def name_of(score: str) -> str:
  """A score's name for readers."""
  if score.startswith('log_probability_'):
    number = score.removeprefix('log_probability_')
    return f'log-probability correlation, {number} models'
  return _NAMES.get(score, score.replace('_', ' '))


def pairs_page(
    dataset: dataset_lib.Dataset,
    leakage: leakage_lib.Leakage,
    *,
    first: int = 0,
    count: int = 24,
    columns: int = 4,
) -> 'figure_lib.Figure | None':
  """Draws pairs side by side, strongest first, for a person to judge.

  Whether a pair is known is not shown.

  Args:
    dataset: what the pairs are about; targets are its test examples.
    leakage: the pairs.
    first: place of the first pair to draw.
    count: how many.
    columns: pairs side by side.

  Returns:
    The figure; None without images, or if there are no such pairs.
  """
  pairs = leakage.pairs[first : first + count]
  images = dataset.train.images, dataset.test.images
  if images[0] is None or images[1] is None or not len(pairs):
    return None
  num_rows = math.ceil(len(pairs) / columns)
  figure = canvas.blank(2.15 * columns, 1.5 * num_rows)
  widths = [1, 1, 0.18] * columns
  grid = figure.add_gridspec(num_rows, len(widths), width_ratios=widths)
  for number, (train, test) in enumerate(pairs):
    row, column = divmod(number, columns)
    weight = tables.signed(float(leakage.weights[first + number]))
    if leakage.errors is not None and np.isfinite(
        leakage.errors[first + number]
    ):
      weight += f' ± {tables.number(float(leakage.errors[first + number]), 2)}'
    notes = (
        f'train {train}\n{examples.label(dataset, dataset.train.labels[train])}',
        f'test {test}\n{examples.label(dataset, dataset.test.labels[test])}',
    )
    shown = images[0][train], images[1][test]
    for side in range(2):
      axes = figure.add_subplot(grid[row, 3 * column + side])
      canvas.draw_image(axes, shown[side], notes[side], canvas.INK)
      if side == 0:
        axes.set_title(
            f'{first + number + 1}:  {weight}',
            fontsize=8.5,
            loc='left',
            color=canvas.BLUE,
        )
  return figure


def roc(
    leakage: leakage_lib.Leakage, *, scores: Sequence[str] | None = None
) -> 'figure_lib.Figure | None':
  """Draws ROC curves, one panel a kind of known pairs, one line a score.

  Args:
    leakage: with known pairs.
    scores: names of those to draw; all by default.

  Returns:
    The figure, the false positive rate on a logarithmic axis; None without
    known pairs.
  """
  found = leakage.detections
  if not found:
    return None
  names = list(scores or dict.fromkeys(one.score for one in found))
  kinds = list(dict.fromkeys(one.kind for one in found))
  num_columns = min(len(kinds), 3)
  num_rows = math.ceil(len(kinds) / num_columns)
  figure = canvas.blank(
      3.3 * num_columns + 0.4, 2.9 * num_rows + 0.25 * len(names)
  )
  panels = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
  for axes in panels[len(kinds) :]:
    axes.set_axis_off()
  lines: list[Any] = []
  for axes, kind in zip(panels, kinds):
    lines = []
    least = 1 / found[0].num_others
    for number, name in enumerate(names):
      one = leakage.found(name, kind)
      rates = _dense(np.maximum(one.curve, [[least], [0.0]]))
      lines += axes.plot(*rates, label=name_of(name), **_style(number))
    span = np.geomspace(least, 1)
    lines += axes.plot(
        span, span, color=canvas.INK, linewidth=0.8, label='by chance'
    )
    axes.set_xscale('log')
    axes.set_xlim(least, 1)
    axes.set_ylim(0, 1.02)
    axes.set_title(f'{kind} ({_number(found, kind)} pairs)', fontsize=10)
    axes.grid(color=canvas.GRID, linewidth=0.8)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_xlabel('false positive rate', fontsize=9)
    axes.set_ylabel('true positive rate', fontsize=9)
  figure.legend(
      handles=lines,
      loc='outside lower center',
      ncols=2,
      frameon=False,
      fontsize=8.5,
  )
  return figure


def auc(
    found: Sequence[detection_lib.Detection], *, title: str = ''
) -> 'figure_lib.Figure | None':
  """Draws the AUC of each score, with its 95 % interval, by kind of pairs.

  Args:
    found: of any scores and kinds, each once.
    title: above the picture.

  Returns:
    The figure; None without measurements.
  """
  if not found:
    return None
  names = list(dict.fromkeys(one.score for one in found))
  kinds = list(dict.fromkeys(one.kind for one in found))
  figure, axes = canvas.figure_and_axes(0.34 * len(names) + 1.5, 7.2)
  axes.axvline(0.5, color=canvas.INK, linewidth=0.8)
  offsets = np.linspace(-0.28, 0.28, len(kinds)) if len(kinds) > 1 else [0.0]
  for number, kind in enumerate(kinds):
    own = [one for one in found if one.kind == kind]
    places = [names.index(one.score) + offsets[number] for one in own]
    values = np.array([one.auc for one in own])
    low, high = np.array([one.auc_interval for one in own]).T
    bars = np.nan_to_num(np.maximum([values - low, high - values], 0))
    axes.errorbar(
        values,
        places,
        xerr=bars,
        linestyle='none',
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=4.5,
        elinewidth=1.2,
        color=_COLOURS[number % len(_COLOURS)],
        label=f'{kind} ({own[0].num_pairs})',
    )
  axes.set_yticks(range(len(names)), [name_of(name) for name in names])
  axes.invert_yaxis()
  axes.set_xlim(min(0.45, *(one.auc - 0.03 for one in found)), 1.01)
  axes.set_xlabel('AUC of known pairs against all others; 0.5 is chance')
  axes.set_title(title, fontsize=10)
  axes.legend(
      frameon=False, fontsize=8.5, loc='center left', bbox_to_anchor=(1, 0.5)
  )
  return figure


def removal_scatter(
    removals: leakage_lib.Removals,
    *,
    outcome: str = '',
    titles: Mapping[str, str] | None = None,
) -> 'figure_lib.Figure':
  """Draws what removing the training example of a pair changed.

  Args:
    removals: one point a pair; bars are 95 % intervals.
    outcome: name of the outcome, for the axes.
    titles: words for kinds of pairs, for the legend.
  """
  figure, axes = canvas.figure_and_axes(3.7)
  axes.axhline(0, color=canvas.INK, linewidth=0.8)
  for number, kind in enumerate(dict.fromkeys(removals.kinds)):
    members = np.array([own == kind for own in removals.kinds])
    observed = removals.observed[members]
    bars = None
    if removals.interval is not None:
      low, high = removals.interval[:, members]
      bars = np.nan_to_num(np.stack([observed - low, high - observed]))
    axes.errorbar(
        -removals.predicted[members],
        observed,
        bars,
        linestyle='none',
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=4.5,
        elinewidth=0.9,
        alpha=0.75,
        color=_COLOURS[number % len(_COLOURS)],
        label=(titles or {}).get(kind, kind),
    )
  agreement = removals.agreement.get('all') or next(
      iter(removals.agreement.values())
  )
  units = canvas.units(outcome)
  axes.set_xlabel(f'weight of the training example ({units})')
  axes.set_ylabel(f'change of {canvas.words(outcome)} without it ({units})')
  title = f'Spearman of weight and loss {tables.number(agreement.spearman)}'
  if np.isfinite(agreement.ceiling):
    title += f' (ceiling {tables.number(agreement.ceiling)})'
  axes.set_title(title, fontsize=10)
  canvas.legend(axes)
  return figure


def _dense(curve: np.ndarray) -> np.ndarray:
  """Points between those of a ROC curve: its lines bend on a log axis."""
  parts = [curve[:, :1]]
  for start, end in zip(curve.T[:-1], curve.T[1:]):
    if start[0] < end[0] and start[1] < end[1]:
      rate = np.geomspace(start[0], end[0], 20)
      share = (rate - start[0]) / (end[0] - start[0])
      parts.append(np.stack([rate, start[1] + share * (end[1] - start[1])]))
    parts.append(end[:, None])
  return np.concatenate(parts, axis=1)


def _number(found: Sequence[detection_lib.Detection], kind: str) -> int:
  """Known pairs of a kind."""
  return next(one.num_pairs for one in found if one.kind == kind)


def _style(number: int) -> dict[str, Any]:
  """Colour and dash of the line of this number."""
  dash, colour = divmod(number, len(_COLOURS))
  return {
      'color': _COLOURS[colour],
      'linestyle': _DASHES[dash % len(_DASHES)],
      'linewidth': 1.4,
  }
