"""Pictures of distributions: weights, outcomes, scores, predictions."""

from typing import TYPE_CHECKING

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import evaluation as evaluation_lib
from jdm.reports import canvas
from jdm.reports import examples

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib


def weight_histogram(
    datamodels: datamodels_lib.Datamodels,
) -> 'figure_lib.Figure':
  """Draws all weights that are not 0, counted on a log scale."""
  figure, axes = canvas.figure_and_axes(3.0)
  weights = np.asarray(datamodels.weights).ravel()
  nonzero = weights[weights != 0]
  if nonzero.size:
    limit = float(np.abs(nonzero).max())
    edges = np.linspace(-limit, limit, 81)  # 0 between two bins.
    for sign, colour in ((1, canvas.BLUE), (-1, canvas.VERMILION)):
      name = 'helpful (above 0)' if sign > 0 else 'harmful (below 0)'
      side = nonzero[sign * nonzero > 0]
      axes.hist(side, edges, histtype='stepfilled', color=colour, label=name)
    axes.set_yscale('log')
    canvas.legend(axes)
  else:
    _say(axes, 'all weights are 0')
  zeros = 1 - nonzero.size / weights.size
  axes.set_title(f'{100 * zeros:.1f} % of the weights are exactly 0')
  axes.set_xlabel(f'weight ({canvas.units(datamodels.outcome)} per inclusion)')
  axes.set_ylabel('weights in the bin (log scale)')
  return figure


def outcome_histogram(
    outcomes: np.ndarray, *, outcome: str = ''
) -> 'figure_lib.Figure':
  """Draws the distribution of outcomes over models and targets.

  Args:
    outcomes: `[num_models, num_targets]`; non-finite ones are left out.
    outcome: name of the outcome, for the axis.
  """
  figure, axes = canvas.figure_and_axes(3.0)
  values = np.asarray(outcomes, np.float64)
  means = examples.mean_outcomes(values)
  values, means = values[np.isfinite(values)], means[np.isfinite(means)]
  if values.size:
    edges = np.histogram_bin_edges(values, 60)
    share = np.full(values.size, 100 / values.size)
    axes.hist(
        values,
        edges,
        histtype='stepfilled',
        weights=share,
        color=canvas.SKY,
        label='models and targets',
    )
    axes.hist(
        means,
        edges,
        weights=np.full(means.size, 100 / means.size),
        histtype='step',
        color=canvas.INK,
        linewidth=1.3,
        label='means of targets',
    )
  if values.size and canvas.is_signed(outcome):
    axes.axvline(0, color=canvas.VERMILION, linewidth=1.3)
    below = 100 * np.mean(values < 0)
    what = 'wrong' if outcome.startswith('margin') else 'wrong or unsure'
    axes.set_title(f'{below:.1f} % are below 0: {what}')
  if values.size:
    canvas.legend(axes)
  else:
    _say(axes, 'no finite outcome')
  axes.set_xlabel(f'{canvas.words(outcome)} ({canvas.units(outcome)})')
  axes.set_ylabel('share (%)')
  return figure


def lds_histogram(
    evaluation: evaluation_lib.Evaluation,
) -> 'figure_lib.Figure':
  """Draws the LDS of each target, and the noise ceilings of the same."""
  figure, axes = canvas.figure_and_axes(3.0)
  scores = np.nan_to_num(evaluation.lds.per_target)
  ceiling = evaluation.noise_ceiling
  values = scores if ceiling is None else np.append(scores, ceiling.per_target)
  low = np.floor(10 * np.nan_to_num(values).min()) / 10
  edges = np.linspace(min(low, 0.9), 1, 41)
  mean = evaluation.lds.value
  axes.hist(
      scores,
      edges,
      histtype='stepfilled',
      color=canvas.BLUE,
      label=f'LDS, mean {mean:.2f}',
  )
  axes.axvline(mean, color=canvas.INK, linewidth=1.3)
  if ceiling is not None:
    axes.hist(
        np.nan_to_num(ceiling.per_target),
        edges,
        histtype='step',
        color=canvas.VERMILION,
        linewidth=1.5,
        label=f'noise ceiling, mean {ceiling.value:.2f}',
    )
    axes.axvline(
        ceiling.value, color=canvas.VERMILION, linewidth=1.3, linestyle='--'
    )
  axes.set_title('LDS of each target')
  axes.set_xlabel('Spearman correlation over held-out models')
  axes.set_ylabel('targets')
  canvas.legend(axes, loc='upper left')
  return figure


def prediction_density(
    evaluation: evaluation_lib.Evaluation, *, outcome: str = ''
) -> 'figure_lib.Figure':
  """Draws true against predicted outcomes of held-out models.

  Both are shown as differences from the mean of the target over models: what
  is left is the effect of the subset, which is what datamodels are to predict.

  Args:
    evaluation: its predictions and outcomes.
    outcome: name of the outcome, for the axes.
  """
  figure, axes = canvas.figure_and_axes(3.0)
  predicted, observed = (
      (values - examples.mean_outcomes(values)[None]).ravel()
      for values in (evaluation.predictions, evaluation.outcomes)
  )
  finite = np.isfinite(predicted) & np.isfinite(observed)
  predicted, observed = predicted[finite], observed[finite]
  if predicted.size:
    hexagons = axes.hexbin(
        predicted, observed, gridsize=45, bins='log', mincnt=1, cmap='Blues'
    )
    bar = figure.colorbar(hexagons, ax=axes)
    bar.set_label('models and targets', fontsize=9)
  axes.axline((0, 0), slope=1, color=canvas.INK, linewidth=1, linestyle='--')
  axes.set_title('Effect of the subset on held-out models')
  axes.set_xlabel(
      f'predicted, from the target’s mean ({canvas.units(outcome)})'
  )
  axes.set_ylabel(f'true ({canvas.units(outcome)})')
  return figure


def _say(axes, message: str) -> None:
  axes.text(0.5, 0.5, message, ha='center', transform=axes.transAxes)
