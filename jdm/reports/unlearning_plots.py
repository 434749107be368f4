"""Pictures of unlearning: distances to retraining, and changes foretold."""

from typing import TYPE_CHECKING

import numpy as np

from jdm.applications import unlearning as unlearning_lib
from jdm.reports import canvas

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_COLOURS = {
    'nothing': canvas.GREY,
    'predicted': canvas.BLUE,
    'observed mean': canvas.SKY,
    'floor': canvas.GREEN,
}
_WORDS = {
    'nothing': 'nothing done',
    'predicted': 'shift by datamodels',
    'observed mean': 'shift by the true mean',
    'floor': 'retrained again (floor)',
}
_SETS = (canvas.BLUE, canvas.VERMILION, canvas.GREEN, canvas.SKY)
_MARKERS = 'osD^'


def klom_bars(
    result: unlearning_lib.Unlearning,
) -> 'figure_lib.Figure | None':
  """Draws the mean KLoM by forget set, group and method; lower is better.

  Lines are 95 % bootstrap intervals over targets.

  Returns:
    The figure; None if nothing was retrained.
  """
  if not result.klom:
    return None
  places = [
      (name, group) for name in result.klom for group in result.klom[name]
  ]
  figure, axes = canvas.figure_and_axes(0.62 * len(places) + 1.5)
  height = 0.8 / len(unlearning_lib.METHODS)
  for number, method in enumerate(unlearning_lib.METHODS):
    found = [result.klom[name][group][method] for name, group in places]
    where = -np.arange(len(places)) + 0.3 - number * height
    means = [distance.mean for distance in found]
    ends = np.array([distance.interval for distance in found]).T
    axes.barh(
        where,
        means,
        height=0.9 * height,
        color=_COLOURS[method],
        label=_WORDS[method],
    )
    if np.isfinite(ends).all():
      axes.hlines(where, *ends, color=canvas.INK, linewidth=1.2)
  axes.set_yticks(
      -np.arange(len(places)), [f'{n}\n({g})' for n, g in places], fontsize=8.5
  )
  axes.set_xlabel(
      'KL divergence to retrained models\n(nats, mean over targets)'
  )
  figure.legend(
      *axes.get_legend_handles_labels(),
      loc='outside lower center',
      ncols=2,
      fontsize=8.5,
      frameon=False,
  )
  return figure


def change_scatter(
    result: unlearning_lib.Unlearning, *, outcome: str = ''
) -> 'figure_lib.Figure | None':
  """Draws observed against predicted mean changes, one point a target.

  Returns:
    The figure; None if nothing was retrained.
  """
  if not result.observed:
    return None
  figure, axes = canvas.figure_and_axes(4.0)
  points = [*result.predicted.values(), *result.observed.values()]
  low, high = np.min(points), np.max(points)
  axes.plot([low, high], [low, high], color=canvas.INK, linestyle='--')
  for number, (name, observed) in enumerate(result.observed.items()):
    scores = [f'{a.spearman:.2f}' for a in result.agreement[name].values()]
    axes.scatter(
        result.predicted[name],
        observed,
        s=12,
        alpha=0.6,
        linewidths=0,
        color=_SETS[number % len(_SETS)],
        marker=_MARKERS[number % len(_MARKERS)],
        label=f'{name}: Spearman {", ".join(scores)}',
    )
  axes.set_xlabel(f'predicted change of the mean ({canvas.units(outcome)})')
  axes.set_ylabel(f'observed change ({canvas.units(outcome)})')
  for handle in canvas.legend(axes).legend_handles:
    handle.set(sizes=[30], alpha=1)
  return figure


def outcome_histograms(
    result: unlearning_lib.Unlearning, *, outcome: str = ''
) -> 'figure_lib.Figure | None':
  """Draws the outcomes of all models on the most changed target of each set.

  Returns:
    The figure; None if nothing was retrained.
  """
  if not result.shown:
    return None
  figure = canvas.blank(canvas.WIDTH, 1.55 * len(result.shown) + 0.6)
  panels = np.atleast_1d(figure.subplots(len(result.shown)))
  colours = {
      'nothing': (canvas.GREY, 'trained on everything'),
      'predicted': (canvas.BLUE, 'the same, shifted by datamodels'),
      'retrained': (canvas.GREEN, 'retrained without the set'),
  }
  for axes, (name, shown) in zip(panels, result.shown.items()):
    values = [shown[method] for method in colours]
    bins = np.histogram_bin_edges(np.concatenate(values), 40)
    for (colour, words), own in zip(colours.values(), values):
      axes.hist(own, bins, color=colour, alpha=0.55, label=words)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_title(f'{name}: target {shown["target"]}', fontsize=9.5)
    axes.set_ylabel('models')
  panels[-1].set_xlabel(f'{canvas.words(outcome)} ({canvas.units(outcome)})')
  figure.legend(
      *panels[0].get_legend_handles_labels(),
      loc='outside lower center',
      ncols=2,
      fontsize=8.5,
      frameon=False,
  )
  return figure
