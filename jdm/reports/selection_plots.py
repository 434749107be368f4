"""Pictures of picked subsets: what models make of them, and what is in them."""

from typing import TYPE_CHECKING

from jdm.applications import selection as selection_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import curve_plots

if TYPE_CHECKING:
  from matplotlib import figure as figure_lib


def curves(
    result: selection_lib.Selection,
    measure: str = 'target',
    *,
    outcome: str = '',
    title: str = '',
) -> 'figure_lib.Figure | None':
  """Draws a measure of the models trained on picks, against their size.

  Args:
    result: with curves.
    measure: of `Selection.curves`.
    outcome: name of the outcome, for the axis.
    title: above the picture.

  Returns:
    The figure; None if nothing was retrained, or the measure was not taken.
  """
  if result.curves is None or measure not in result.curves.measures:
    return None
  label = f'mean {canvas.words(outcome)} ({canvas.units(outcome)})'
  if measure == 'target accuracy':
    label = 'accuracy (share of targets)'
  whose = 'other targets' if measure == 'rest' else 'targets'
  return curve_plots.curve_lines(
      result.curves,
      measure,
      label=f'{label}\nof {whose} that chose nothing',
      full=result.full.get(measure),
      title=title,
  )


def picked_grid(
    dataset: dataset_lib.Dataset,
    result: selection_lib.Selection,
    *,
    count: int = 10,
) -> 'figure_lib.Figure | None':
  """Draws the training images that each rule picks first.

  Those that keep a class represented are passed over.

  Returns:
    The figure; None where the dataset has no images.
  """
  skipped = result.min_per_class * dataset.num_classes
  rows = {}
  for name, order in result.orders.items():
    own = order if order.ndim == 1 else order[0]
    skip = skipped if skipped + count <= len(own) else 0
    rows[f'picked by {name}'] = own[skip : skip + count]
  return curve_plots.example_rows(dataset, rows)
