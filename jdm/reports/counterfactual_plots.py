"""More pictures of counterfactuals: rules that choose, kinds of change."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from jdm.applications import counterfactuals as counterfactuals_lib
from jdm.reports import canvas

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_COLOURS = {
    'same_class': '#CC79A7',
    'nearest_input': canvas.SKY,
    'nearest_representation': '#E69F00',
    'difference_of_means': canvas.GREEN,
}
_MARKERS = {
    'same_class': 'v',
    'nearest_input': 'P',
    'nearest_representation': 'X',
    'difference_of_means': 'D',
}


def rules(
    results: Mapping[str, counterfactuals_lib.Counterfactuals],
    *,
    outcome: str = '',
) -> 'figure_lib.Figure':
  """Draws the observed mean change against k, one line a choosing rule.

  Args:
    results: retrained removals of the same targets and sizes, under any names;
      a rule found in several is drawn once.
    outcome: name of the outcome, for the axis.

  Returns:
    The figure. Bars are 95 % intervals of the mean over targets (Student's t,
    targets as a sample). A point is drawn only where every target has one.

  Raises:
    ValueError: if nothing was retrained.
  """
  observed_of = [(r, r.observed) for r in results.values()]
  if any(observed is None for _, observed in observed_of):
    raise ValueError(
        '`rules` needs observed changes: run `counterfactuals` with `retrain=`.'
    )
  figure, axes = canvas.figure_and_axes(3.7)
  axes.axhline(0, color=canvas.INK, linewidth=0.8)
  drawn = set()
  for result, all_observed in observed_of:
    for number, kind in enumerate(result.kinds):
      observed = np.asarray(all_observed)[number]
      whole = np.isfinite(observed).all(axis=1)
      if kind in drawn or not whole.any():
        continue
      drawn.add(kind)
      values = observed[whole]
      num = values.shape[1]
      bars = None
      if num > 1:
        error = values.std(axis=1, ddof=1) / np.sqrt(num)
        bars = stats.t.ppf(0.975, num - 1) * error
      axes.errorbar(
          result.sizes[whole],
          values.mean(axis=1),
          bars,
          color=canvas.COLOURS.get(kind, _COLOURS.get(kind, canvas.INK)),
          marker=canvas.MARKERS.get(kind, _MARKERS.get(kind, '*')),
          markersize=5,
          capsize=2.5,
          elinewidth=1.2,
          label=kind.replace('_', ' '),
      )
  axes.set_xlabel('k, training examples removed (mean over targets)')
  axes.set_ylabel(
      f'observed change of {canvas.words(outcome)} ({canvas.units(outcome)})'
  )
  # Above, where it hides no point.
  axes.legend(
      frameon=False,
      fontsize=8.5,
      ncols=3,
      loc='lower left',
      bbox_to_anchor=(-0.05, 1),
      columnspacing=1.2,
  )
  return figure


def agreements(
    results: Mapping[str, counterfactuals_lib.Counterfactuals],
) -> 'figure_lib.Figure':
  """Draws Spearman of predicted and observed change, by part and kind.

  Args:
    results: retrained, by the name of the part. Ticks are the ceilings that the
      noise of retraining leaves.
  """
  rows = [
      (f'{name}: {kind}', kind, agreement)
      for name, result in results.items()
      for kind, agreement in result.agreement.items()
  ]
  figure, axes = canvas.figure_and_axes(0.9 + 0.24 * len(rows))
  for place, (_, kind, agreement) in enumerate(rows):
    axes.barh(
        -place,
        np.nan_to_num(agreement.spearman),
        height=0.7,
        color=canvas.COLOURS.get(kind, _COLOURS.get(kind, canvas.INK)),
    )
    if np.isfinite(agreement.ceiling):
      axes.vlines(
          agreement.ceiling,
          -place - 0.42,
          -place + 0.42,
          color=canvas.INK,
          linewidth=2,
      )
  axes.set_yticks(-np.arange(len(rows)))
  axes.set_yticklabels([label.replace('_', ' ') for label, _, _ in rows])
  axes.tick_params(axis='y', labelsize=8)
  axes.grid(axis='y', visible=False)
  axes.axvline(0, color=canvas.INK, linewidth=0.8)
  axes.set_ylim(0.7 - len(rows), 0.7)
  axes.set_xlim(min(axes.get_xlim()[0], 0), 1.02)
  axes.set_xlabel('Spearman; tick: ceiling')
  return figure
