"""Pictures of predictors of trained parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jdm import intervals
from jdm.reports import canvas

_KINDS = {
    'parameter_r2': ('held out', canvas.BLUE, 'o'),
    'deletion_r2': ('deletion', canvas.GREEN, 's'),
    'addition_r2': ('new points added', canvas.VERMILION, '^'),
}
_LOWEST, _HIGHEST = 1e-6, 30.0  # Of 1 - R2, as drawn.


def comparison(rows: Sequence[Mapping[str, Any]]) -> Any:
  """Draws what each predictor leaves unexplained against a query's price.

  Up is worse: 1 - R2 of the parameters, on a log scale; what is below the axis
  is drawn on it, what explains nothing at 1 or above.

  Args:
    rows: with `predictor`, `parameter_r2`, `query_cpu_seconds` and
      `is_predictor`, such as those of `modelpred.json`.
  """
  figure, axes = canvas.figure_and_axes(4.2)
  lowest = 1e-6
  for row, colour in zip(rows, _colours(len(rows))):
    error = np.clip(1 - row['parameter_r2'], lowest, 10)
    seconds = max(row['query_cpu_seconds'], 1e-8) * 1e6
    axes.plot(
        seconds,
        error,
        'o' if row['is_predictor'] else 's',
        color=colour,
        label=row['predictor'].replace('_', ' '),
    )
  axes.set_xscale('log')
  axes.set_yscale('log')
  axes.set_xlabel('CPU microseconds a set (log scale)')
  axes.set_ylabel('parameters unexplained, 1 - R² (log scale)')
  _legend(figure, axes, 'squares: baselines')
  return figure


def curves(rows: Sequence[Mapping[str, Any]]) -> Any:
  """Draws how far predicted parameters are, by points deleted and added.

  Args:
    rows: with `predictor`, `is_predictor` and `curves`: by kind ('deletion',
      'addition') the `num_points` and mean Euclidean `distance` from the
      parameters of exact training; such as those of `modelpred.json`.
  """
  kinds = {'deletion': 'points deleted', 'addition': 'new points added'}
  figure = canvas.blank(2 * canvas.WIDTH, 4.2)
  panels = figure.subplots(1, 2, sharey=True)
  shown = [row for row in rows if row['predictor'] != 'exact']
  colours = _colours(len(shown))
  for axes, (kind, words) in zip(panels, kinds.items()):
    for row, colour in zip(shown, colours):
      own = row['curves'].get(kind)
      if own is None:
        continue
      axes.plot(
          own['num_points'],
          np.maximum(own['distance'], 1e-8),
          color=colour,
          linestyle='-' if row['is_predictor'] else '--',
          marker='o' if row['is_predictor'] else 's',
          markersize=3.5,
          linewidth=1.3,
          label=row['predictor'].replace('_', ' '),
      )
    axes.set_yscale('log')
    axes.set_xlabel(words)
    axes.grid(color=canvas.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
  panels[0].set_ylabel('distance from exact parameters (log scale)')
  _legend(figure, panels[0], 'dashed: baselines')
  return figure


def _legend(figure: Any, axes: Any, title: str) -> None:
  """The names of what is drawn, beside the panels."""
  handles, labels = axes.get_legend_handles_labels()
  figure.legend(
      handles,
      labels,
      loc='outside right upper',
      fontsize=8,
      frameon=False,
      title=title,
      title_fontsize=8,
  )


def _colours(num: int) -> list[Any]:
  """So many colours that differ, dark enough for lines on white."""
  import matplotlib  # Half a second.

  return list(matplotlib.colormaps['turbo'](np.linspace(0.05, 0.95, num)))


def study(settings: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
  """Draws 1 - R2 of every predictor and baseline, a panel for each setting.

  Dots are means, and bars 95 % intervals of Student's t, of log(1 - R2) over
  seeds.

  Args:
    settings: rows by setting, with `predictor`, `is_predictor` and, by number,
      the `values` of seeds or None: those of `modelpred_study.json`.
  """
  columns = min(len(settings), 3)
  lines = -(-len(settings) // columns)
  figure = canvas.blank(4.6 * columns, 4.4 * lines)
  panels = figure.subplots(lines, columns, squeeze=False).ravel()
  for panel in panels[len(settings) :]:
    panel.set_visible(False)
  for axes, (name, rows) in zip(panels, settings.items()):
    rows = [row for row in rows if row['predictor'] != 'exact'][::-1]
    for place, (key, (label, colour, marker)) in enumerate(_KINDS.items()):
      shift = 0.22 * (1 - place)
      _draw_kind(axes, rows, key, shift, label, colour, marker)
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels(
        [row['predictor'].replace('_', ' ') for row in rows], fontsize=8
    )
    for tick, row in zip(axes.get_yticklabels(), rows):
      tick.set_fontweight('bold' if row['is_predictor'] else 'normal')
    axes.set_xscale('log')
    axes.set_xlim(_LOWEST / 2, _HIGHEST * 2)
    axes.axvline(1.0, color=canvas.GREY, linewidth=0.8, linestyle='--')
    axes.grid(axis='x', color=canvas.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_title(name.replace('_', ' '), fontsize=10.5)
    axes.set_xlabel('parameters unexplained, 1 - R² (log scale)', fontsize=9)
  handles = panels[0].get_legend_handles_labels()
  figure.legend(*handles, loc='outside upper center', ncols=3, frameon=False)
  return figure


def _draw_kind(axes, rows, key, shift, label, colour, marker) -> None:
  """The means of one kind of sets, with their intervals."""
  known = [(place, row[key]) for place, row in enumerate(rows) if row.get(key)]
  heights = [place + shift for place, _ in known]
  logs = [
      np.log(np.clip(1 - np.asarray(one['values']), _LOWEST, _HIGHEST))
      for _, one in known
  ]
  ends = np.array([intervals.t_interval(values) for values in logs])
  axes.plot(
      [np.exp(values.mean()) for values in logs],
      heights,
      marker,
      color=colour,
      markersize=4,
      label=label,
  )
  if len(ends):
    low, high = np.exp(ends).T
    axes.hlines(heights, low, high, color=colour, linewidth=1.2)


def expressivity(rows: Sequence[Mapping[str, Any]]) -> Any:
  """Draws 1 - R2 over the width of a set function by the largest set.

  Args:
    rows: with `num_points`, `network`, `width_over_size` and, by `mean`, `low`
      and `high`, `r2`: those of `expressivity_study.json` of one depth.
  """
  figure, axes = canvas.figure_and_axes(4.0)
  colours = canvas.BLUE, canvas.GREEN, canvas.VERMILION, canvas.SKY
  styles = {}
  for row in rows:
    styles.setdefault(row['num_points'], colours[len(styles) % len(colours)])
  networks = list(dict.fromkeys(row['network'] for row in rows))
  for network in networks:
    for num, colour in styles.items():
      own = [
          row
          for row in rows
          if (row['network'], row['num_points']) == (network, num)
      ]
      mean, low, high = (
          np.clip([1 - row['r2'][key] for row in own], _LOWEST, _HIGHEST)
          for key in ('mean', 'low', 'high')
      )
      axes.errorbar(
          [row['width_over_size'] for row in own],
          mean,
          yerr=np.abs([mean - high, low - mean]),
          color=colour,
          linestyle='-' if network == networks[-1] else '--',
          marker='o',
          markersize=3.5,
          linewidth=1.3,
          elinewidth=0.8,
          label=f'{network.replace("_", " ")}, {num} points',
      )
  axes.axvline(1.0, color=canvas.GREY, linewidth=1, linestyle=':')
  axes.annotate(
      'width = largest set',
      (1.0, 0.98),
      xycoords=('data', 'axes fraction'),
      xytext=(3, 0),
      textcoords='offset points',
      va='top',
      fontsize=8,
      color=canvas.GREY,
  )
  axes.set_xscale('log', base=2)
  axes.set_yscale('log')
  axes.set_xlabel('width of the set function / largest set')
  axes.set_ylabel('parameters unexplained, 1 - R²')
  canvas.legend(axes, loc='lower left')
  return figure
