"""Pictures of what sets two learning algorithms apart."""

from typing import TYPE_CHECKING

import numpy as np

from jdm.analysis import cues as cues_lib
from jdm.applications import comparison as comparison_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import directions_plots

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_WAYS = {
    'a_minus_b': ('A without B', 'A', 'B'),
    'b_minus_a': ('B without A', 'B', 'A'),
}


def explained(
    found: comparison_lib.Comparison,
) -> 'figure_lib.Figure':
  """Draws the variance of either algorithm along each direction, both ways.

  A direction sets A apart from B where A's bar is high and B's is not. The
  dashed line is the variance along a random direction.
  """
  figure = canvas.blank(canvas.WIDTH, 2.6)
  panels = figure.subplots(1, 2, sharey=True)
  for axes, (name, (title, own, other)) in zip(panels, _WAYS.items()):
    way = found.way(name)
    places = np.arange(1, len(way.directions) + 1)
    for shift, values, words in (
        (-0.2, way.explained_own, own),
        (0.2, way.explained_other, other),
    ):
      colour = canvas.BLUE if words == 'A' else canvas.VERMILION
      axes.bar(places + shift, values, width=0.38, color=colour, label=words)
    chance = 1 / way.directions.loadings.shape[1]
    axes.axhline(chance, color=canvas.INK, linestyle='--', linewidth=0.9)
    axes.set_xticks(places)
    axes.set_xlabel('direction')
    axes.set_title(title, fontsize=10)
    axes.spines[['top', 'right']].set_visible(False)
    canvas.legend(axes, loc='upper right')
  panels[0].set_ylabel('share of the variance')
  return figure


def sheet(
    dataset: dataset_lib.Dataset,
    found: comparison_lib.Comparison,
    way: str = 'a_minus_b',
    *,
    num_directions: int = 2,
    count: int = 6,
) -> 'figure_lib.Figure | None':
  """Draws the examples at the ends of the first directions; None: no images."""
  directions = found.way(way).directions
  return directions_plots.sheet(
      dataset,
      directions.loadings[:num_directions],
      directions.projections[:num_directions],
      count=count,
  )


def removals(
    found: comparison_lib.Comparison,
    way: str = 'a_minus_b',
    *,
    outcome: str = '',
) -> 'figure_lib.Figure | None':
  """Draws what removing the ends did to A's and to B's models; None: nothing."""
  if way not in found.removals:
    return None
  by_name = {
      f'models of {name.upper()}': one
      for name, one in found.removals[way].items()
  }
  return directions_plots.removals(by_name, outcome=outcome)


def projections(
    found: comparison_lib.Comparison,
    planted_targets: np.ndarray,
    groups: dict[str, np.ndarray],
    *,
    way: str = 'a_minus_b',
) -> 'figure_lib.Figure':
  """Draws projections onto the first direction, with and without a known cue.

  Args:
    found: the comparison.
    planted_targets: int `[num]`, targets that carry the cue.
    groups: by name, bool `[num_targets]`, a panel each.
    way: 'a_minus_b' or 'b_minus_a'.
  """
  values = found.way(way).directions.projections[0]
  has_cue = np.isin(np.arange(len(values)), planted_targets)
  figure = canvas.blank(canvas.WIDTH, 2.4)
  panels = np.atleast_1d(figure.subplots(1, len(groups), sharex=True))
  edges = np.linspace(values.min(), values.max(), 31)
  for axes, (name, members) in zip(panels, groups.items()):
    for side, colour, words in (
        (has_cue, canvas.BLUE, 'with the cue'),
        (~has_cue, canvas.GREY, 'without'),
    ):
      axes.hist(
          values[members & side], edges, color=colour, alpha=0.65, label=words
      )
    axes.set_title(name, fontsize=10)
    axes.set_xlabel('projection on direction 1')
    axes.spines[['top', 'right']].set_visible(False)
  panels[0].set_ylabel('targets')
  canvas.legend(panels[0])
  return figure


def cue_effects(
    effect: cues_lib.CueEffect, *, outcome: str = ''
) -> 'figure_lib.Figure':
  """Draws what the cue does to A's and to B's models, by group of targets.

  The third bar is the difference, with its 95 % interval over targets.
  """
  figure, axes = canvas.figure_and_axes(2.6)
  places = np.arange(len(effect.groups))
  bars = np.abs(effect.interval - effect.difference[None])
  for shift, values, colour, words, yerr in (
      (-0.27, effect.effect_a, canvas.BLUE, 'A', None),
      (0.0, effect.effect_b, canvas.VERMILION, 'B', None),
      (0.27, effect.difference, canvas.GREY, 'difference', bars),
  ):
    axes.bar(
        places + shift,
        values,
        yerr=yerr,
        width=0.25,
        color=colour,
        ecolor=canvas.INK,
        capsize=2.5,
        label=words,
    )
  axes.axhline(0, color=canvas.INK, linewidth=0.8)
  axes.set_xticks(places, effect.groups)
  axes.set_ylabel(
      f'effect of the cue on {canvas.words(outcome)}\n({canvas.units(outcome)})'
  )
  canvas.legend(axes)
  return figure
