"""Pictures of what attributors know, against what they cost."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jdm.reports import canvas

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_COLOURS = (
    canvas.BLUE,
    canvas.VERMILION,
    canvas.GREEN,
    canvas.SKY,
    canvas.INK,
    '#E69F00',
    '#CC79A7',
    canvas.GREY,
)
_MARKERS = 'osD^vP*Xh'
_AXES = {
    'num_models': 'trained models, for validation too',
    'cpu_seconds': 'CPU seconds, with training',
}
# Columns of checks: title, column of the ceiling, and what chance has.
_CHECKS = {
    'counterfactual_spearman': (
        'removing the most helpful:\nSpearman',
        'counterfactual_ceiling',
        0.0,
    ),
    'loo_correlation': ('leaving one out:\nSpearman', 'loo_ceiling', 0.0),
    'mislabel_auc': ('planted mislabels:\nAUC of harm', '', 0.5),
    'leakage_auc': ('planted duplicates:\nAUC of pairs', '', 0.5),
}


def costs(rows: Sequence[Mapping[str, Any]]) -> 'figure_lib.Figure':
  """Draws LDS against trained models and against CPU seconds.

  Bars are 95 % intervals over held-out models; several pools of one method and
  budget are drawn at their mean, and lines go from budget to budget. The dashed
  line is the noise ceiling, the dotted one what scores at random have.

  Args:
    rows: of one setting and alpha, with 'method', 'lds', 'lds_interval',
      'noise_ceiling', 'num_models' and 'cpu_seconds'.

  Raises:
    ValueError: if there is no row.
  """
  if not rows:
    raise ValueError('`costs` expects at least one row, got none.')
  figure = canvas.blank(2 * canvas.WIDTH, 4.2)
  panels = figure.subplots(1, 2, sharey=True)
  names = list(dict.fromkeys(row['method'] for row in rows))
  for axes, (column, label) in zip(panels, _AXES.items()):
    for number, name in enumerate(names):
      places, values, ends = _means(rows, name, column)
      axes.errorbar(
          places,
          values,
          yerr=ends,
          color=_COLOURS[number % len(_COLOURS)],
          marker=_MARKERS[number % len(_MARKERS)],
          linestyle='-' if number < len(_COLOURS) else ':',
          markersize=5,
          linewidth=1.2,
          label=name.replace('_', ' '),
      )
    ceiling = np.mean([row['noise_ceiling'] for row in rows])
    axes.axhline(ceiling, color=canvas.INK, linestyle='--', linewidth=0.9)
    axes.axhline(0, color=canvas.GREY, linestyle=':', linewidth=0.9)
    _scale(axes, [row[column] for row in rows])
    axes.set_xlabel(label)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(color=canvas.GRID)
  panels[0].set_ylabel('LDS (dashed: noise ceiling; dotted: random scores)')
  panels[1].legend(
      loc='center left', bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8
  )
  return figure


def checks(rows: Sequence[Mapping[str, Any]]) -> 'figure_lib.Figure':
  """Draws what retraining and planted answers say, one panel a check.

  A bar stands where the noise of the observed effects leaves a perfect
  prediction; the dotted line is what scores at random have.

  Args:
    rows: with 'method' and any of 'counterfactual_spearman', 'loo_correlation'
      (and their ceilings, 'counterfactual_ceiling' and 'loo_ceiling'),
      'mislabel_auc' and 'leakage_auc'; one a method.

  Raises:
    ValueError: if no row has any of them.
  """
  columns = [c for c in _CHECKS if any(row.get(c) is not None for row in rows)]
  if not columns:
    raise ValueError(f'`checks` expects a row with any of {list(_CHECKS)}.')
  shown = [r for r in rows if any(r.get(c) is not None for c in columns)]
  names = [row['method'].replace('_', ' ') for row in shown]
  height = 1.2 + 0.24 * len(shown)
  figure = canvas.blank(0.6 * canvas.WIDTH * len(columns), height)
  panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
  for axes, column in zip(panels, columns):
    title, ceiling, chance = _CHECKS[column]
    axes.plot(*_points(shown, column), 'o', color=canvas.BLUE, markersize=6)
    axes.plot(*_points(shown, ceiling), '|', color=canvas.INK, markersize=11)
    axes.axvline(chance, color=canvas.GREY, linestyle=':', linewidth=0.9)
    axes.set_title(title, fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)  # The first one above.
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(color=canvas.GRID)
  return figure


def _points(rows, column) -> tuple[list[float], list[int]]:
  """Values of a column, and the rows that have one."""
  has = [n for n, row in enumerate(rows) if row.get(column) is not None]
  return [rows[n][column] for n in has], has


def removals(rows: Sequence[Mapping[str, Any]]) -> 'figure_lib.Figure':
  """Draws LDS against the share of examples removed, of one training.

  A panel an activation. Full lines predict the training that was attributed,
  dashed ones a training of another initialization and order, whose ceiling, the
  agreement of both trainings, is grey; the dotted line is what scores at random
  have. Bars are 95 % intervals over removals; of several seeds, means.

  Args:
    rows: of one setting, as `metagradient_study` writes them.

  Raises:
    ValueError: if there is no row.
  """
  if not rows:
    raise ValueError('`removals` expects at least one row, got none.')
  activations = list(dict.fromkeys(row['activation'] for row in rows))
  figure = canvas.blank(canvas.WIDTH * len(activations), 4.0)
  panels = figure.subplots(1, len(activations), sharey=True, squeeze=False)[0]
  for axes, activation in zip(panels, activations):
    _draw_removals(axes, [r for r in rows if r['activation'] == activation])
    axes.set_title(f'activation {activation}', fontsize=10)
  panels[0].set_ylabel('LDS (dotted: random scores)')
  panels[-1].legend(
      loc='center left', bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8
  )
  return figure


def _draw_removals(axes, rows) -> None:
  """One panel of `removals`."""
  shares = sorted({row['removed'] for row in rows})

  def mean(name, **where):
    kept = [
        [r[name] for r in rows if {**r, **where, 'removed': share} == r]
        for share in shares
    ]
    return np.array([np.mean(values, axis=0) for values in kept])

  methods = list(dict.fromkeys(row['method'] for row in rows))
  for colour, marker, method in zip(_COLOURS, _MARKERS, methods):
    for name, line, words in (
        ('lds', '-', 'this training'),
        ('lds_of_another_seed', '--', 'another seed'),
    ):
      values = mean(name, method=method)
      ends = mean(f'{name}_interval', method=method)
      axes.errorbar(
          shares,
          values,
          yerr=np.abs(ends.T - values),
          color=colour,
          marker=marker,
          linestyle=line,
          markersize=5,
          linewidth=1.2,
          label=f'{method}, {words}',
      )
  agreement = mean('agreement_of_both_seeds', method=methods[0])
  axes.plot(
      shares,
      agreement,
      color=canvas.GREY,
      linestyle='-.',
      label='agreement of both trainings',
  )
  axes.axhline(0, color=canvas.GREY, linestyle=':', linewidth=0.9)
  axes.set_xscale('log')
  axes.set_xticks(shares, [f'{share:.0%}' for share in shares])
  axes.minorticks_off()
  axes.set_xlabel('training examples removed')
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(color=canvas.GRID)


def _scale(axes, places: Sequence[float]) -> None:
  """A logarithmic axis around all places, from 0 on where one is at 0."""
  high = 1.4 * max(places)
  if min(places) > 0:
    axes.set_xscale('log')
    axes.set_xlim(min(places) / 1.4, high)
  else:
    axes.set_xscale('symlog', linthresh=1)
    axes.set_xlim(-0.2, max(high, 1.4))
  few = max(places) < 200 * (min(places) if min(places) > 0 else 1)
  subs = (1, 2, 5) if few else (1,)
  ticks = [s * 10.0**k for k in range(-3, 9) for s in subs]
  low, high = axes.get_xlim()
  ticks = [tick for tick in [0, *ticks] if low <= tick <= high]
  if min(places) <= 0:
    ticks = [tick for tick in ticks if not 0 < tick < 1]
  axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
  axes.minorticks_off()


def _means(rows, name, column):
  """Places, means and half intervals of one method, by budget."""
  own = [row for row in rows if row['method'] == name]
  budgets = sorted({row['num_models'] for row in own})
  points = []
  for budget in budgets:
    some = [row for row in own if row['num_models'] == budget]
    value = np.mean([row['lds'] for row in some])
    low, high = np.mean([row['lds_interval'] for row in some], axis=0)
    place = np.mean([row[column] for row in some])
    points.append((place, value, max(value - low, 0), max(high - value, 0)))
  places, values, low, high = np.array(points).T
  return places, values, np.stack([low, high])
