"""Pictures of results: every function returns a matplotlib `Figure`.

No global state of matplotlib is read beyond its defaults or changed: figures
are made with the object-oriented interface and drawn by Agg, so they work
without a display and beside a notebook's own pictures. Colours are those of
Okabe and Ito, told apart by colour-blind readers too.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib
from jdm import evaluation as evaluation_lib
from jdm.applications import counterfactuals as counterfactuals_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import distributions
from jdm.reports import examples
from jdm.reports import tables

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

save = canvas.save
weight_histogram = distributions.weight_histogram
outcome_histogram = distributions.outcome_histogram
lds_histogram = distributions.lds_histogram
prediction_density = distributions.prediction_density


def lds_bar(evaluation: evaluation_lib.Evaluation) -> 'figure_lib.Figure':
  """Draws the LDS with its 95 % interval against its noise ceiling."""
  figure, axes = canvas.figure_and_axes(1.7)
  score, ceiling = evaluation.lds, evaluation.noise_ceiling
  low, high = score.interval
  axes.barh(0, score.value, height=0.5, color=canvas.BLUE)
  note = f'LDS {score.value:.3f}'
  if np.isfinite([low, high]).all():
    axes.hlines(0, low, high, color=canvas.INK, linewidth=2)
    axes.vlines([low, high], -0.12, 0.12, color=canvas.INK, linewidth=2)
    note += f', 95 % interval {low:.3f} to {high:.3f}'
  axes.text(0.01, -0.62, note, va='center')
  if ceiling is not None:
    if np.isfinite(ceiling.interval).all():
      axes.axvspan(*ceiling.interval, color=canvas.BAND, zorder=0)
    axes.axvline(ceiling.value, color=canvas.INK, linestyle='--')
    to_left = ceiling.value > 0.5
    axes.text(
        ceiling.value + (-0.012 if to_left else 0.012),
        0.62,
        f'noise ceiling {ceiling.value:.3f}',
        ha='right' if to_left else 'left',
        va='center',
    )
  axes.set_xlim(min(0.0, score.value * 1.1, _or_zero(low) * 1.1), 1)
  axes.set_ylim(-0.9, 0.9)
  axes.set_yticks([])
  axes.set_xlabel('Spearman correlation, mean over targets')
  return figure


def counterfactual_curves(
    counterfactuals: counterfactuals_lib.Counterfactuals, *, outcome: str = ''
) -> 'figure_lib.Figure':
  """Draws mean changes over targets against k; lines are predicted.

  Args:
    counterfactuals: what was removed; points are left out if nothing was
      retrained.
    outcome: name of the outcome, for the axis.

  Returns:
    The figure. Bars are 95 % intervals of the mean over targets (Student's t,
    targets as a sample); with one target, of its retrainings.
  """
  figure, axes = canvas.figure_and_axes(3.7)
  observed, interval = counterfactuals.observed, counterfactuals.interval
  if observed is not None:
    if len(counterfactuals.target_ids) > 1:
      observed, interval = _mean_over_targets(observed)
    else:
      observed = observed[:, :, 0]
      interval = None if interval is None else interval[:, :, :, 0]
  _draw_curves(
      axes,
      counterfactuals,
      _mean_predicted(counterfactuals),
      observed,
      interval,
  )
  num = len(counterfactuals.target_ids)
  targets = f' (mean over {num} target{"s" if num > 1 else ""})'
  _label_curves(axes, outcome, targets, observed is not None)
  return figure


def _mean_predicted(
    counterfactuals: counterfactuals_lib.Counterfactuals,
) -> np.ndarray:
  """Means `[kinds, sizes]` over the targets that points average, too."""
  predicted = counterfactuals.predicted
  valid = np.isfinite(predicted)
  if counterfactuals.observed is not None:
    valid &= np.isfinite(counterfactuals.observed)
  total = np.where(valid, predicted, 0.0).sum(axis=2)
  count = valid.sum(axis=2)
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def target_curve(
    counterfactuals: counterfactuals_lib.Counterfactuals,
    index: int,
    *,
    outcome: str = '',
) -> 'figure_lib.Figure':
  """Draws the changes of one target against k, with 95 % intervals.

  Args:
    counterfactuals: what was removed.
    index: place in `counterfactuals.target_ids`.
    outcome: name of the outcome, for the axis.

  Raises:
    ValueError: if there is no such place.
  """
  num = len(counterfactuals.target_ids)
  if not 0 <= index < num:
    raise ValueError(
        f'`target_curve` expects an index from 0 to {num - 1} (a place in'
        f' `target_ids`), got {index}.'
    )
  figure, axes = canvas.figure_and_axes(3.2)
  observed, interval = counterfactuals.observed, counterfactuals.interval
  _draw_curves(
      axes,
      counterfactuals,
      counterfactuals.predicted[:, :, index],
      None if observed is None else observed[:, :, index],
      None if interval is None else interval[:, :, :, index],
  )
  _label_curves(axes, outcome, '', observed is not None)
  return figure


def counterfactual_scatter(
    counterfactuals: counterfactuals_lib.Counterfactuals, *, outcome: str = ''
) -> 'figure_lib.Figure':
  """Draws observed against predicted changes, one point a target and size.

  Args:
    counterfactuals: with `observed`.
    outcome: name of the outcome, for the axes.

  Raises:
    ValueError: if nothing was retrained.
  """
  observed = counterfactuals.observed
  if observed is None:
    raise ValueError(
        '`counterfactual_scatter` needs observed changes: run `counterfactuals`'
        ' with `retrain=`.'
    )
  figure, axes = canvas.figure_and_axes(3.7)
  predicted = counterfactuals.predicted
  values = np.concatenate([predicted.ravel(), observed.ravel()])
  values = values[np.isfinite(values)]
  low, high = (values.min(), values.max()) if values.size else (0, 1)
  axes.axline((0, 0), slope=1, color=canvas.INK, linewidth=1, linestyle='--')
  axes.axhline(0, color=canvas.GRID, linewidth=1.5, zorder=0)
  axes.axvline(0, color=canvas.GRID, linewidth=1.5, zorder=0)
  size = float(np.clip(4000 / max(predicted.size, 1), 6, 28))
  # Random removals last drawn would hide the others: they come first.
  for number in reversed(range(len(counterfactuals.kinds))):
    kind = counterfactuals.kinds[number]
    score = counterfactuals.agreement.get(kind)
    note = '' if score is None else f': Spearman {score.spearman:.2f}'
    axes.scatter(
        predicted[number].ravel(),
        observed[number].ravel(),
        s=size,
        color=canvas.COLOURS.get(kind, canvas.GREEN),
        marker=canvas.MARKERS.get(kind, 'D'),
        alpha=0.55,
        linewidths=0,
        label=f'{kind}{note}',
    )
  margin = 0.05 * (high - low or 1)
  axes.set_xlim(low - margin, high + margin)
  axes.set_ylim(low - margin, high + margin)
  axes.set_aspect('equal')
  axes.locator_params(nbins=7)
  axes.set_xlabel(f'predicted change ({canvas.units(outcome)})')
  axes.set_ylabel(f'observed change ({canvas.units(outcome)})')
  axes.set_title(_agreement_title(counterfactuals), fontsize=10)
  for handle in canvas.legend(axes, reverse=True).legend_handles:
    handle.set(sizes=[30], alpha=1)
  return figure


def example_grid(
    dataset: dataset_lib.Dataset,
    datamodels: datamodels_lib.Datamodels,
    target_ids: Sequence[int] | np.ndarray,
    *,
    count: int = 5,
    mean_margins: np.ndarray | None = None,
    targets: str = 'test',
) -> 'figure_lib.Figure':
  """Draws targets, one a row, with their strongest training examples.

  Args:
    dataset: with images.
    datamodels: their columns are the rows of the split `targets`.
    target_ids: columns of the datamodels.
    count: training examples of each effect.
    mean_margins: `[num_targets]`, mean outcomes of all targets, to note.
    targets: 'test' or 'train'.

  Raises:
    ValueError: if the dataset has no images, or does not fit.
  """
  examples.check('example_grid', dataset, datamodels, target_ids, targets)
  split = dataset.split(targets)
  if split.images is None or dataset.train.images is None:
    raise ValueError(
        f'`example_grid` needs images, and dataset {dataset.name!r} has none;'
        ' `examples.rows` lists the examples as a table.'
    )
  num_rows, num_columns = len(target_ids), 2 * count + 1
  figure = canvas.blank(0.95 * num_columns + 0.3, 1.35 * num_rows + 0.3)
  grid = figure.add_gridspec(
      num_rows + 1,  # The first for titles.
      num_columns + 2,  # Two narrow ones set the three groups apart.
      width_ratios=[1.15, 0.15] + [1] * count + [0.15] + [1] * count,
      height_ratios=[0.15] + [1] * num_rows,
  )
  groups = {
      f'{targets} example': (slice(0, 2), canvas.INK),
      'most helpful training examples': (
          slice(2, count + 2),
          canvas.COLOURS['helpful'],
      ),
      'most harmful training examples': (
          slice(count + 3, None),
          canvas.COLOURS['harmful'],
      ),
  }
  for title, (columns, colour) in groups.items():
    axes = figure.add_subplot(grid[0, columns])
    axes.set_axis_off()
    axes.text(0, 0, title, color=colour)
  for number, target in enumerate(np.asarray(target_ids)):
    note = examples.label(dataset, split.labels[target])
    if mean_margins is not None:
      note += f'\nmean {tables.signed(mean_margins[target])}'
    axes = figure.add_subplot(grid[number + 1, 0])
    canvas.draw_image(axes, split.images[target], note, canvas.INK)
    weights = np.asarray(datamodels.weights)[:, target]
    helpful, harmful = examples.strongest(weights, count)
    columns = [*range(2, len(helpful) + 2)]
    columns += range(count + 3, len(harmful) + count + 3)
    for column, row in zip(columns, [*helpful, *harmful]):
      name = examples.label(dataset, dataset.train.labels[row])
      colour = canvas.COLOURS['helpful' if weights[row] > 0 else 'harmful']
      axes = figure.add_subplot(grid[number + 1, column])
      note = f'{name}\n{tables.signed(weights[row])}'
      canvas.draw_image(axes, dataset.train.images[row], note, colour)
  return figure


def _draw_curves(axes, counterfactuals, predicted, observed, interval) -> None:
  """Lines and points of all kinds; arrays are `[kinds, sizes]`."""
  sizes = counterfactuals.sizes
  axes.axhline(0, color=canvas.INK, linewidth=0.8)
  for number, kind in enumerate(counterfactuals.kinds):
    style: dict[str, Any] = {'color': canvas.COLOURS.get(kind, canvas.GREEN)}
    # k = 0 is no removal and no change, by definition.
    axes.plot([0, *sizes], [0, *predicted[number]], **style)
    marker = canvas.MARKERS.get(kind, 'D')
    axes.plot([], [], marker=marker, markersize=4.5, label=kind, **style)
    if observed is None:
      continue
    style |= {'marker': marker, 'markersize': 4.5}
    bars = None
    if interval is not None:
      low, high = interval[:, number]
      bars = np.stack([observed[number] - low, high - observed[number]])
    axes.errorbar(
        sizes,
        observed[number],
        bars,
        linestyle='none',
        capsize=2.5,
        elinewidth=1.2,
        **style,
    )


def _label_curves(axes, outcome: str, targets: str, has_points: bool) -> None:
  """Names the axes; the legend stands above, where it hides no point."""
  style: dict[str, Any] = {'color': canvas.INK}
  axes.plot([], [], label='predicted', **style)
  if has_points:
    style |= {'marker': 'o', 'markersize': 4.5, 'linestyle': 'none'}
    axes.plot([], [], label='observed', **style)
  axes.legend(
      frameon=False,
      fontsize=9,
      ncols=5,
      loc='lower left',
      bbox_to_anchor=(-0.02, 1),
      handlelength=1.2,
      columnspacing=1.2,
      borderpad=0.2,
  )
  axes.set_xlabel(f'k, training examples removed{targets}')
  axes.set_ylabel(
      f'change of {canvas.words(outcome)} ({canvas.units(outcome)})'
  )
  axes.margins(x=0.03, y=0.08)


def _mean_over_targets(
    observed: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None]:
  """Means `[kinds, sizes]` and their 95 % intervals; diverged ones left out."""
  finite = np.isfinite(observed)
  counts = finite.sum(axis=2)
  values = np.where(finite, observed, 0)
  means = np.where(counts, values.sum(axis=2) / np.maximum(counts, 1), np.nan)
  if counts.min() < 2:
    return means, None
  squares = np.where(finite, (observed - means[:, :, None]) ** 2, 0)
  variance = squares.sum(axis=2) / (counts - 1) / counts
  half = stats.t.ppf(0.975, counts - 1) * np.sqrt(variance)
  return means, np.stack([means - half, means + half])


def _agreement_title(counterfactuals) -> str:
  score = counterfactuals.agreement.get('all')
  if score is None:
    return ''
  title = (
      f'Spearman {score.spearman:.2f}, Pearson {score.pearson:.2f}, slope'
      f' {score.slope:.2f}'
  )
  if np.isfinite(score.ceiling):
    title += f'\nceiling of Spearman {score.ceiling:.2f} (noise of retraining)'
  return title


def _or_zero(value: float) -> float:
  return value if np.isfinite(value) else 0.0
