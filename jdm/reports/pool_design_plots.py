"""Pictures of what a pool should be like: curves, limits, outcomes, alphas."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jdm.analysis import learning_curves
from jdm.analysis import noise_stability
from jdm.analysis import scores as scores_lib
from jdm.applications import pool_design as pool_design_lib
from jdm.reports import canvas

if TYPE_CHECKING:
  from matplotlib import axes as axes_lib
  from matplotlib import figure as figure_lib

_STYLES = {
    'lasso': (canvas.BLUE, 'o', 'LASSO'),
    'ridge': (canvas.GREEN, 'D', 'ridge'),
    'least_squares': (canvas.VERMILION, 's', 'least squares'),
    'difference_of_means': (canvas.SKY, '^', 'differences of means'),
}
_LOWEST = -0.25  # R2 below is not shown: the fit is worse than none.


def lds_curve(curve: learning_curves.LearningCurve) -> 'figure_lib.Figure':
  """Draws LDS against the number of models, with the noise ceiling.

  Bars are 95 % intervals over held-out models.
  """
  figure, axes = canvas.figure_and_axes(3.7)
  if np.isfinite(curve.noise_ceiling):
    if np.isfinite(curve.ceiling_interval).all():
      axes.axhspan(*curve.ceiling_interval, color=canvas.BAND, zorder=0)
    axes.axhline(
        curve.noise_ceiling,
        color=canvas.INK,
        linestyle='--',
        linewidth=1.2,
        label=f'noise ceiling {curve.noise_ceiling:.3f}',
    )
  _draw_curves(axes, curve, curve.lds, curve.lds_interval)
  axes.axhline(0, color=canvas.INK, linewidth=0.8)
  _label_models(axes, curve)
  axes.set_ylim(top=1)
  axes.set_ylabel('LDS (Spearman, mean over targets)')
  return figure


def r2_curve(design: pool_design_lib.PoolDesign) -> 'figure_lib.Figure':
  """Draws R2 against the number of models, and where it can end.

  The line is the R2 of the best linear datamodels, measured without a fit, with
  its 95 % interval; dotted is the power law of the recommendation. Values far
  below 0 are not shown.
  """
  figure, axes = canvas.figure_and_axes(3.7)
  curve, law = design.curve, design.recommendation
  share = design.linear_share
  if share is not None:
    axes.axhspan(*share.interval, color=canvas.BAND, zorder=0)
    axes.axhline(
        share.value,
        color=canvas.INK,
        linestyle='--',
        linewidth=1.2,
        label=f'best linear datamodel {share.value:.3f}',
    )
  hidden = curve.r2 < _LOWEST
  _draw_curves(
      axes, curve, np.where(hidden, np.nan, curve.r2), curve.r2_interval
  )
  if np.isfinite(law.num_models):
    end = min(max(law.num_models, curve.num_models[-1]), 1e3 * law.largest)
    counts = np.geomspace(curve.num_models[0], end, 100)
    axes.plot(counts, law.r2(counts), ':', color=canvas.BLUE, label='power law')
    axes.plot(
        law.num_models,
        law.share * law.limit,
        marker='*',
        markersize=11,
        color=canvas.BLUE,
        linestyle='none',
        label=f'{100 * law.share:.0f} %: {law.num_models:,.0f} models',
    )
  axes.axhline(0, color=canvas.INK, linewidth=0.8)
  _label_models(axes, curve)
  axes.set_ylim(bottom=max(axes.get_ylim()[0], _LOWEST - 0.02))
  note = f' (below {_LOWEST:.2f} not shown)' if hidden.any() else ''
  axes.set_ylabel(f'R² on single trainings{note}')
  return figure


def stability_curve(
    stability: noise_stability.Stability,
    share: noise_stability.LinearShare | None = None,
) -> 'figure_lib.Figure':
  """Draws how alike models are, against how alike their subsets are.

  Args:
    stability: of pairs.
    share: the linear part measured from the pool: the slope at 0.
  """
  figure, axes = canvas.figure_and_axes(3.7)
  low, high = stability.correlation_interval
  values = stability.correlations
  grid = np.linspace(0, 1, 100)
  powers = grid[:, None] ** np.arange(1, len(stability.degrees) + 1)[None]
  axes.plot(
      grid,
      powers @ stability.degrees,
      color=canvas.BLUE,
      label=f'fit of degrees 1 to {len(stability.degrees)}',
  )
  if share is not None:
    axes.plot(
        grid,
        share.value * grid,
        '--',
        color=canvas.INK,
        linewidth=1.2,
        label=f'linear part alone, {share.value:.3f} rho (from the pool)',
    )
  axes.errorbar(
      stability.rhos,
      values,
      np.stack([values - low, high - values]),
      fmt='o',
      markersize=4.5,
      capsize=2.5,
      color=canvas.VERMILION,
      label='pairs of models',
  )
  axes.set_xlim(0, 1.03)
  axes.set_ylim(bottom=0)
  axes.set_xlabel('rho, correlation of the two subsets')
  axes.set_ylabel('correlation of the two outcomes')
  canvas.legend(axes, loc='upper left')
  return figure


def score_bars(
    scores: Sequence[scores_lib.Score], names: Sequence[str]
) -> 'figure_lib.Figure':
  """Draws the LDS of several outcomes or pools, each with its own ceiling.

  Args:
    scores: one a bar.
    names: of the bars.

  Raises:
    ValueError: if there is nothing to draw or a name is missing.
  """
  if not scores or len(scores) != len(names):
    raise ValueError(
        '`score_bars` expects a name for each score, and at least one, got'
        f' {len(scores)} scores and {len(names)} names.'
    )
  figure, axes = canvas.figure_and_axes(0.9 + 0.42 * len(scores))
  places = np.arange(len(scores))
  values = np.array([score.lds for score in scores])
  low, high = np.array([score.lds_interval for score in scores]).T
  axes.barh(places, values, height=0.55, color=canvas.BLUE, label='LDS')
  axes.hlines(places, low, high, color=canvas.INK, linewidth=2)
  ceilings = np.array([score.noise_ceiling for score in scores])
  if np.isfinite(ceilings).any():
    axes.vlines(
        ceilings,
        places - 0.38,
        places + 0.38,
        color=canvas.VERMILION,
        linewidth=2,
        label='noise ceiling',
    )
  for place, score in zip(places, scores):
    axes.text(
        0.012,
        place,
        f'{score.lds:.3f}',
        va='center',
        color='white' if score.lds > 0.12 else canvas.INK,
        fontsize=9,
    )
  axes.set_yticks(places, names)
  axes.invert_yaxis()
  axes.grid(axis='y', visible=False)
  axes.set_xlim(min(0.0, float(values.min()) * 1.1), 1)
  axes.set_xlabel('LDS (Spearman, mean over targets), 95 % interval')
  _legend_above(axes)
  return figure


def _draw_curves(
    axes: 'axes_lib.Axes',
    curve: learning_curves.LearningCurve,
    values: np.ndarray,
    interval: np.ndarray,
) -> None:
  """One line a regressor."""
  for row, name in enumerate(curve.regressors):
    colour, marker, words = _STYLES.get(name, (canvas.GREY, 'v', name))
    low, high = interval[:, row]
    bars = np.stack([values[row] - low, high - values[row]])
    axes.errorbar(
        curve.num_models,
        values[row],
        np.maximum(bars, 0),
        color=colour,
        marker=marker,
        markersize=4.5,
        capsize=2.5,
        label=words,
    )


def _label_models(axes, curve) -> None:
  from matplotlib import ticker  # With matplotlib itself, half a second.

  axes.set_xscale('log')
  axes.set_xticks(curve.num_models)
  axes.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.0f}'))
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.set_xlabel('models fitted (log scale)')
  _legend_above(axes)


def _legend_above(axes) -> None:
  """Where it hides nothing."""
  axes.legend(
      frameon=False,
      fontsize=8.5,
      ncols=2,
      loc='lower left',
      bbox_to_anchor=(-0.02, 1),
      handlelength=1.6,
      columnspacing=1.2,
      borderpad=0.2,
  )
