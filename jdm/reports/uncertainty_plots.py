"""Pictures of how sure weights are: intervals and how often each is chosen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jdm.analysis import uncertainty as uncertainty_lib
from jdm.reports import canvas
from jdm.reports import examples

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib


def top_weights(
    uncertainty: uncertainty_lib.Uncertainty,
    index: int,
    *,
    count: int = 8,
    names: Sequence[str] | None = None,
    outcome: str = '',
    label: str = '',
) -> 'figure_lib.Figure | None':
  """Draws the strongest weights of one target, with intervals.

  Left: weights and their intervals over resampled models, most helpful at the
  top. Right: the share of resamples in which the weight is not 0; left out
  for regressors that make no zeros.

  Args:
    uncertainty: from `uncertainty.bootstrap`.
    index: place in `uncertainty.target_ids`.
    count: at most so many helpful and so many harmful ones.
    names: `[num_train]`, what to call the training examples; their rows by
      default.
    outcome: name of the outcome, for the axis.
    label: of the axis, where columns are no weights of targets but a statistic.

  Returns:
    The figure; None if all weights of the target are 0.

  Raises:
    ValueError: if there is no such target or names are missing.
  """
  _check(uncertainty, index, names)
  weights = uncertainty.weights[:, index]
  helpful, harmful = examples.strongest(weights, count)
  rows = np.concatenate([helpful, harmful[::-1]])
  if not rows.size:
    return None
  figure = canvas.blank(canvas.WIDTH, 0.9 + 0.24 * len(rows))
  has_zeros = bool(uncertainty.selected.min() < 1)
  left, *right = np.atleast_1d(
      figure.subplots(
          1,
          1 + has_zeros,
          sharey=True,
          width_ratios=[3, 1] if has_zeros else [1],
      )
  )
  for axes in (left, *right):
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='x', color=canvas.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
  colours = [
      canvas.COLOURS['helpful' if weights[row] > 0 else 'harmful']
      for row in rows
  ]
  _draw_weights(left, uncertainty, index, rows, colours)
  words = [f'train {row}' if names is None else names[row] for row in rows]
  left.set_yticks(range(len(rows)), words, fontsize=8.5)
  left.invert_yaxis()
  left.set_xlabel(f'weight ({canvas.units(outcome)}, higher helps)')
  if canvas.is_loss(outcome):
    left.set_xlabel(f'weight ({canvas.units(outcome)}, lower helps)')
  if label:
    left.set_xlabel(label)
  left.set_title(
      f'{100 * uncertainty.level:.0f} % intervals,'
      f' {uncertainty.num_bootstrap} resamples of'
      f' {uncertainty.num_models:,} models',
      fontsize=9,
      loc='left',
  )
  if right:
    shares = 100 * uncertainty.selected[rows, index]
    right[0].barh(range(len(rows)), shares, height=0.6, color=colours)
    right[0].set_xlim(0, 100)
    right[0].set_xlabel('selected, %')
    right[0].tick_params(axis='y', length=0)
  return figure


def selection_scatter(
    uncertainty: uncertainty_lib.Uncertainty, *, outcome: str = ''
) -> 'figure_lib.Figure | None':
  """Draws every weight that is not 0 against its selection frequency.

  Returns:
    The figure; None for regressors that make no zeros.
  """
  kept = uncertainty.weights != 0
  if uncertainty.selected.min() == 1 or not kept.any():
    return None
  figure, axes = canvas.figure_and_axes(3.2)
  sizes = np.abs(uncertainty.weights[kept])
  shares = 100 * uncertainty.selected[kept]
  signs = uncertainty.weights[kept] > 0
  size = float(np.clip(20_000 / sizes.size, 1, 12))
  for sign, kind in ((False, 'harmful'), (True, 'helpful')):
    axes.scatter(
        sizes[signs == sign],
        shares[signs == sign],
        s=size,
        color=canvas.COLOURS[kind],
        alpha=0.4,
        linewidths=0,
        rasterized=True,
        label=kind,
    )
  axes.set_xscale('log')
  axes.set_ylim(-2, 102)
  axes.set_xlabel(f'size of the weight ({canvas.units(outcome)}, log scale)')
  axes.set_ylabel('selected, % of resamples')
  for handle in canvas.legend(
      axes, reverse=True, loc='lower right'
  ).legend_handles:
    handle.set(sizes=[30], alpha=1)
  return figure


def halves(found: uncertainty_lib.Halves) -> 'figure_lib.Figure':
  """Draws how many targets have which overlap of both halves' tops.

  The dashed line is what rankings at random would have on average.
  """
  figure, axes = canvas.figure_and_axes(2.4)
  shared = np.round(found.overlap * found.num_top).astype(int)
  counts = np.bincount(shared, minlength=found.num_top + 1)
  axes.bar(range(len(counts)), counts, color=canvas.BLUE, width=0.7)
  axes.axvline(
      found.by_chance * found.num_top,
      color=canvas.INK,
      linestyle='--',
      linewidth=1,
      label='by chance',
  )
  axes.set_xlabel(
      f'of the {found.num_top} most helpful examples of one half, those of the'
      ' other'
  )
  axes.set_ylabel('targets')
  canvas.legend(axes)
  return figure


def _check(uncertainty, index, names) -> None:
  num_train, num_targets = uncertainty.weights.shape
  if not 0 <= index < num_targets:
    raise ValueError(
        f'`top_weights` expects an index from 0 to {num_targets - 1} (a place'
        f' in `target_ids`), got {index}.'
    )
  if names is not None and len(names) != num_train:
    raise ValueError(
        f'`top_weights` expects {num_train} names, got {len(names)}.'
    )


def _draw_weights(axes, uncertainty, index, rows, colours) -> None:
  """Points with bars; a bar may end before its point, which LASSO shrinks."""
  values = uncertainty.weights[rows, index]
  low, high = uncertainty.interval[:, rows, index]
  axes.axvline(0, color=canvas.INK, linewidth=0.8)
  places = np.arange(len(rows))
  axes.hlines(places, low, high, color=colours, linewidth=1.6)
  for ends in (low, high):
    axes.vlines(ends, places - 0.17, places + 0.17, color=colours)
  axes.scatter(values, places, s=18, color=colours, zorder=3)
