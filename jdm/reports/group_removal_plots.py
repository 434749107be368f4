"""Pictures of removing whole groups of training examples."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jdm.applications import group_removal as group_removal_lib
from jdm.reports import canvas

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_STYLES = (
    (canvas.BLUE, 'o'),
    (canvas.VERMILION, 's'),
    (canvas.GREEN, 'D'),
    (canvas.SKY, 'P'),
)
_MOST_POINTS = 4000


def scatter(
    results: Mapping[str, group_removal_lib.GroupRemoval],
    *,
    outcome: str = '',
    seed: int = 0,
) -> 'figure_lib.Figure | None':
  """Draws observed against predicted changes, one point a group and target.

  Args:
    results: by the kind of groups; 'random' groups are drawn in grey.
    outcome: name of the outcome, for the axes.
    seed: of the choice of points, where there are too many to see.

  Returns:
    The figure; None if nothing was retrained.
  """
  retrained = {
      kind: (result.predicted.ravel(), result.observed.ravel(), result)
      for kind, result in results.items()
      if result.observed is not None
  }
  if not retrained:
    return None
  figure, axes = canvas.figure_and_axes(3.7)
  axes.axline((0, 0), slope=1, color=canvas.INK, linewidth=1, linestyle='--')
  rng = np.random.default_rng(seed)
  styles = iter(_STYLES * len(retrained))
  for kind, (predicted, observed, result) in retrained.items():
    chosen = np.flatnonzero(np.isfinite(observed))
    chosen = rng.permutation(chosen)[:_MOST_POINTS]
    colour, marker = (
        (canvas.GREY, canvas.MARKERS['random'])
        if kind == 'random'
        else next(styles)
    )
    score = result.agreement['all']
    axes.scatter(
        predicted[chosen],
        observed[chosen],
        s=8,
        color=colour,
        marker=marker,
        alpha=0.4,
        linewidths=0,
        label=f'{kind}: Spearman {score.spearman:.2f}',
    )
  axes.set_xlabel(f'predicted change ({canvas.units(outcome)})')
  axes.set_ylabel(f'observed change ({canvas.units(outcome)})')
  for handle in canvas.legend(axes).legend_handles:
    handle.set(sizes=[30], alpha=1)
  return figure
