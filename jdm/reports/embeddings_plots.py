"""Pictures of datamodel embeddings: spectra, components, clusters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jdm.applications import embeddings as embeddings_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import directions_plots
from jdm.reports import examples

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_LINES = {
    'datamodels': (canvas.BLUE, '-', 'datamodels'),
    'reproducible': (canvas.SKY, '--', 'common to halves of the models'),
    'features': (canvas.VERMILION, '-', 'features'),
    'shuffled': (canvas.GREY, ':', 'datamodels, weights shuffled'),
}


def spectra(
    found: embeddings_lib.Embeddings, *, features: str = 'penultimate layer'
) -> 'figure_lib.Figure':
  """Draws the share of variance that the first components hold.

  Args:
    found: the embeddings.
    features: what the features are called.

  Returns:
    The figure; dots are where a curve reaches 90 %, and the legend tells the
    participation ratio.
  """
  figure, axes = canvas.figure_and_axes(3.7)
  for name, (colour, style, words) in _LINES.items():
    one = found.spectra.get(name)
    if one is None or not np.isfinite(one.participation_ratio):
      continue
    words = features if name == 'features' else words
    counts = np.arange(1, len(one.explained) + 1)
    shares = np.cumsum(one.explained)
    axes.plot(
        counts,
        shares,
        style,
        color=colour,
        label=f'{words}: {one.participation_ratio:.0f}',
    )
    place = one.num_components - 1
    axes.plot(counts[place], shares[place], 'o', color=colour, markersize=5)
  axes.set_xscale('log')
  axes.set_ylim(0, 1.05)
  axes.set_xlabel('principal components')
  axes.set_ylabel('share of the variance, in all')
  figure.legend(
      title='effective dimension',
      loc='outside upper center',
      fontsize=8.5,
      title_fontsize=9,
      frameon=False,
      ncols=2,
  )
  return figure


def component_sheet(
    dataset: dataset_lib.Dataset,
    found: embeddings_lib.Embeddings,
    *,
    num_components: int = 3,
    count: int = 6,
) -> 'figure_lib.Figure | None':
  """Draws the examples at the ends of the first components; None: no images."""
  return directions_plots.sheet(
      dataset,
      found.scores[:num_components],
      found.directions.projections[:num_components],
      count=count,
      score='loading' if found.targets == 'test' else 'projection',
  )


def halves(
    found: embeddings_lib.Embeddings, *, num_components: int = 3
) -> 'figure_lib.Figure | None':
  """Draws each example's score by one half of the models against the other's.

  Returns:
    The figure, a panel a component, whose title is the rank correlation; None
    without halves.
  """
  if found.half_scores is None:
    return None
  num = min(num_components, found.half_scores.shape[1])
  figure = canvas.blank(canvas.WIDTH * 1.3, 2.6)
  panels = np.atleast_1d(figure.subplots(1, num))
  name = 'loading' if found.targets == 'test' else 'projection'
  for number, axes in enumerate(panels):
    first, second = found.half_scores[:, number]
    axes.scatter(
        first,
        second,
        s=7,
        color=canvas.BLUE,
        alpha=0.5,
        linewidths=0,
        rasterized=True,
    )
    axes.axline((0, 0), slope=1, color=canvas.GREY, linewidth=0.8)
    axes.set_title(
        f'component {number + 1}: {found.reliability[number]:.2f}', fontsize=10
    )
    axes.set_xlabel(f'{name}, one half', fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[['top', 'right']].set_visible(False)
  panels[0].set_ylabel('the other half', fontsize=9)
  return figure


def cluster_sheet(
    dataset: dataset_lib.Dataset,
    found: embeddings_lib.Embeddings,
    *,
    classes: Sequence[int] = (0, 1, 2),
    count: int = 12,
) -> 'figure_lib.Figure | None':
  """Draws the clusters of some classes, one a row, most central first.

  Args:
    dataset: of the examples.
    found: the embeddings.
    classes: whose clusters to draw.
    count: examples of each.

  Returns:
    The figure; notes are the size of the cluster. None without images.
  """
  split = dataset.split(found.targets)
  if split.images is None:
    return None
  rows = []
  for label in classes:
    is_own = split.labels == label
    for cluster in np.unique(found.clusters[is_own & (found.clusters >= 0)]):
      members = np.flatnonzero(is_own & (found.clusters == cluster))
      order = np.argsort(-found.centrality[members], kind='stable')
      rows.append((label, members[order]))
  if not rows:
    return None
  figure = canvas.blank(0.55 * count + 1.0, 0.62 * len(rows) + 0.2)
  grid = figure.add_gridspec(
      len(rows), count + 1, width_ratios=[1.6] + [1.0] * count
  )
  for line, (label, members) in enumerate(rows):
    axes = figure.add_subplot(grid[line, 0])
    axes.set_axis_off()
    words = f'{examples.label(dataset, label)}: {len(members)}'
    axes.text(0, 0.5, words, fontsize=9, va='center')
    for column, member in enumerate(members[:count]):
      axes = figure.add_subplot(grid[line, column + 1])
      canvas.draw_image(axes, split.images[member], '', canvas.GRID)
  return figure
