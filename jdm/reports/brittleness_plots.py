"""Pictures of data support: how few examples hold predictions up."""

from typing import TYPE_CHECKING

import numpy as np

from jdm import metrics
from jdm.applications import brittleness as brittleness_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import examples as examples_lib

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib

_INFLATED = brittleness_lib.INFLATED
_WORDS = {
    'predicted': 'by weights alone',
    'interpolated': 'between retrained sizes',
    'assured': 'given the noise',
    'mislabel': 'mislabelled instead',
}


def flipped_curves(
    result: brittleness_lib.Brittleness,
) -> 'figure_lib.Figure':
  """Draws the share of targets that at most k examples flip, against k.

  Certified lines rise where a target flipped in trainings that had no part in
  choosing k; their bands are 95 % Wilson intervals, targets as a sample.
  Censored targets count as not flipped.
  """
  figure, axes = canvas.figure_and_axes(3.7)
  last = int(result.grid[-1])
  lines = [
      ('interpolated', canvas.BLUE, 'removed'),
      ('mislabel', canvas.VERMILION, 'mislabelled'),
  ]
  for name, colour, words in lines:
    if name + _INFLATED in result.estimates:
      estimate = result.estimates[name + _INFLATED]
      last = max(last, int(estimate.sizes.max()))
      if estimate.num_certified:
        note = f'{words}, certified ({estimate.num_censored} censored)'
        _certified_line(axes, estimate, colour, note)
  first = result.estimates.get('predicted')
  if first is not None:
    axes.step(
        *_steps(first.sizes, np.ones(len(first.sizes), bool)),
        where='post',
        color=canvas.BLUE,
        linestyle='--',
        label=f'removed, predicted ({first.num_censored} censored)',
    )
  if result.random_margins is not None:
    share = 100 * result.random_share_flipped()
    axes.plot(
        result.grid,
        share,
        color=canvas.GREY,
        marker=canvas.MARKERS['random'],
        markersize=4,
        label='removed at random',
    )
  axes.set_xscale('log')
  axes.set_xlim(0.9, last * 1.1)
  axes.set_ylim(-2, 102)
  axes.set_xlabel('at most k training examples (log scale)')
  num = len(result.target_ids)
  axes.set_ylabel(f'targets flipped, % of {num}')
  # Above, where it hides no line.
  axes.legend(
      frameon=False,
      fontsize=8,
      ncols=2,
      loc='lower left',
      bbox_to_anchor=(-0.16, 1),
      columnspacing=1.0,
      handlelength=1.6,
  )
  return figure


def hold_rates(
    result: brittleness_lib.Brittleness,
) -> 'figure_lib.Figure | None':
  """Draws how often each estimate held, with 95 % Wilson intervals.

  Returns:
    The figure; None if nothing was certified.
  """
  shown = {n: e for n, e in result.estimates.items() if e.num_certified}
  if not shown:
    return None
  figure, axes = canvas.figure_and_axes(0.9 + 0.42 * len(shown))
  for place, (name, estimate) in enumerate(shown.items()):
    plain = name.removesuffix(_INFLATED)
    colour = canvas.VERMILION if plain == 'mislabel' else canvas.BLUE
    rate = 100 * estimate.hold_rate
    low, high = (100 * end for end in estimate.interval)
    axes.barh(
        -place,
        rate,
        height=0.7,
        color=colour,
        alpha=0.55 if plain == name != 'assured' else 1,
    )
    axes.hlines(-place, low, high, color=canvas.INK, linewidth=2)
    note = f'{estimate.num_held} of {estimate.num_certified}'
    axes.text(2, -place, note, va='center', color='white', fontsize=9)
  axes.set_yticks(-np.arange(len(shown)))
  axes.set_yticklabels([_label(name, result.inflation) for name in shown])
  axes.grid(axis='y', visible=False)
  axes.set_xlim(0, 100)
  axes.set_xlabel(f'% flipped in {result.certify_replicates} fresh trainings')
  return figure


def smallest_supports(
    result: brittleness_lib.Brittleness,
    dataset: dataset_lib.Dataset,
    *,
    num_shown: int = 6,
    most: int = 10,
) -> 'figure_lib.Figure | None':
  """Draws the targets of smallest certified support with what flips them.

  Args:
    result: certified, if the figure is to show certified supports.
    dataset: the targets are its test split.
    num_shown: targets.
    most: training images of each, highest weight first.

  Returns:
    The figure; None without images, or if no target flipped.
  """
  images, targets = dataset.train.images, dataset.test.images
  chosen = _most_brittle(result)
  if images is None or targets is None or chosen is None:
    return None
  places, sizes, is_certified = chosen
  places = places[:num_shown]
  columns = int(min(sizes[places].max(), most))
  figure = canvas.blank(0.95 * (columns + 1.3), 1.35 * len(places) + 0.3)
  grid = figure.add_gridspec(
      len(places) + 1,
      columns + 2,
      width_ratios=[1.15, 0.15] + [1] * columns,
      height_ratios=[0.15] + [1] * len(places),
  )
  words = 'flips it' if is_certified else 'is expected to flip it'
  axes = figure.add_subplot(grid[0, :])
  axes.set_axis_off()
  axes.text(0, 0, f'test example; training examples whose removal {words}')
  for number, place in enumerate(places):
    target, size = result.target_ids[place], int(sizes[place])
    note = examples_lib.label(dataset, dataset.test.labels[target])
    note += f'\nmargin {result.control[place]:+.2f}'
    axes = figure.add_subplot(grid[number + 1, 0])
    canvas.draw_image(axes, targets[target], note, canvas.INK)
    for column, row in enumerate(result.removed[place, : min(size, columns)]):
      note = examples_lib.label(dataset, dataset.train.labels[row])
      if column == columns - 1 and size > columns:
        note += f'\nand {size - columns} more'
      axes = figure.add_subplot(grid[number + 1, column + 2])
      canvas.draw_image(axes, images[row], note, canvas.BLUE)
  return figure


def _most_brittle(result) -> tuple[np.ndarray, np.ndarray, bool] | None:
  """Places of targets by support, their sizes, and whether certified."""
  for name in ('interpolated', 'interpolated' + _INFLATED, 'predicted'):
    estimate = result.estimates.get(name)
    if estimate is not None and estimate.num_held:
      held = np.flatnonzero(estimate.flipped)
      order = np.argsort(estimate.sizes[held], kind='stable')
      return held[order], estimate.sizes, True
  estimate = result.estimates.get('predicted')
  if estimate is None or not estimate.sizes.any():
    return None
  found = np.flatnonzero(estimate.sizes)
  order = np.argsort(estimate.sizes[found], kind='stable')
  return found[order], estimate.sizes, False


def _steps(sizes, counted) -> tuple[np.ndarray, np.ndarray]:
  """Corners of the share (%) of all targets with a size of at most k."""
  reached = np.sort(sizes[(sizes > 0) & counted])
  at = np.array([0.5, *reached, 1e9])
  share = np.array([0, *np.arange(1, len(reached) + 1), len(reached)])
  return at, 100 * share / len(sizes)


def _certified_line(axes, estimate, colour, label) -> None:
  at, share = _steps(estimate.sizes, estimate.flipped)
  axes.step(at, share, where='post', color=colour, label=label)
  num = len(estimate.sizes)
  ends = np.array(
      [metrics.wilson_interval(round(s * num / 100), num) for s in share]
  )
  axes.fill_between(
      at, *(100 * ends.T), step='post', color=colour, alpha=0.15, linewidth=0
  )


def _label(name: str, inflation: float) -> str:
  plain = name.removesuffix(_INFLATED)
  more = '' if name == plain else f', {100 * inflation:.0f} % more'
  return _WORDS[plain] + more
