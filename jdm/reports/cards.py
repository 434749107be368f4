"""One target with its training examples and its retraining, as HTML."""

import base64
from collections.abc import Sequence
import html
import io

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.analysis import uncertainty as uncertainty_lib
from jdm.applications import counterfactuals as counterfactuals_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import examples
from jdm.reports import plots
from jdm.reports import tables

_EFFECTS = {
    'helpful': ('Most helpful', 'raise'),
    'harmful': ('Most harmful', 'lower'),
}


def cards(
    dataset: dataset_lib.Dataset,
    datamodels: datamodels_lib.Datamodels,
    target_ids: Sequence[int] | np.ndarray,
    *,
    outcomes: np.ndarray,
    counterfactuals: counterfactuals_lib.Counterfactuals | None = None,
    count: int = 5,
    targets: str = 'test',
    uncertainty: uncertainty_lib.Uncertainty | None = None,
) -> str:
  """Writes one card a target.

  Args:
    dataset: with or without images.
    datamodels: their columns are the rows of the split `targets`.
    target_ids: columns of the datamodels.
    outcomes: `[num_models, num_targets]` of held-out models.
    counterfactuals: drawn for the targets that it holds.
    count: training examples of each effect.
    targets: 'test' or 'train'.
    uncertainty: of these datamodels; the weights of its targets are shown with
      their interval and the share of resamples that kept them.

  Returns:
    HTML, pictures inside.

  Raises:
    ValueError: if the datamodels are not about the dataset, a target does not
      exist, or the uncertainty is of other datamodels.
  """
  examples.check('cards', dataset, datamodels, target_ids, targets)
  _check_uncertainty(uncertainty, datamodels)
  listed = examples.rows(
      dataset, datamodels, target_ids, count=count, targets=targets
  )
  for row in listed:
    row |= _spread(uncertainty, row)
  written = []
  for target in np.asarray(target_ids).tolist():
    own = [row for row in listed if row['target'] == target]
    written.append(
        '<article class="card">\n'
        + _target(dataset, targets, target, outcomes, datamodels.outcome)
        + f'<div class="examples">{_effects(dataset, own, datamodels)}</div>\n'
        + _curve(counterfactuals, target, datamodels.outcome)
        + '</article>\n'
    )
  return ''.join(written)


def _check_uncertainty(uncertainty, datamodels) -> None:
  if uncertainty is None:
    return
  ids = np.asarray(uncertainty.target_ids)
  weights = np.asarray(datamodels.weights)
  fits = uncertainty.weights.shape == (len(weights), len(ids))
  if not (
      fits
      and ids.max() < weights.shape[1]
      and np.allclose(uncertainty.weights, weights[:, ids])
  ):
    raise ValueError(
        '`cards` got the uncertainty of other datamodels; pass that of these'
        ' (`uncertainty.bootstrap`).'
    )


def _spread(uncertainty, row) -> dict[str, str]:
  """Interval of a weight, and how often it was kept; {} if unknown."""
  if uncertainty is None or row['target'] not in uncertainty.target_ids:
    return {}
  column = int(np.flatnonzero(uncertainty.target_ids == row['target'])[0])
  place = row['train row'], column
  low, high = (
      tables.signed(float(ends[place])) for ends in uncertainty.interval
  )
  share = 100 * float(uncertainty.selected[place])
  return {
      'interval': f'{low} to {high}',
      'kept in': f'{share:.0f}\N{NO-BREAK SPACE}%',
  }


def picture(content: bytes, alternative: str, kind: str = 'figure') -> str:
  """Writes a PNG as an `img` element that holds it."""
  data = base64.b64encode(content).decode('ascii')
  return (
      f'<img class="{kind}" alt="{html.escape(alternative)}"'
      f' src="data:image/png;base64,{data}">'
  )


def _image(image: np.ndarray, alternative: str) -> str:
  """An example as the PNG of its own pixels; the browser enlarges it."""
  from PIL import Image  # Only pages with images need it.

  file = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(image)).save(file, 'PNG')
  small = max(image.shape[:2]) < 96  # Shown at about that size.
  return picture(file.getvalue(), alternative, 'pixels' if small else 'photo')


def _target(dataset, targets, target, outcomes, outcome) -> str:
  split = dataset.split(targets)
  name = examples.label(dataset, split.labels[target])
  title = f'{targets} example {target}'
  shown = ''
  if split.images is not None:
    shown = _image(split.images[target], f'{title}, label {name}')
  values = outcomes[:, target][np.isfinite(outcomes[:, target])]
  lines = []
  if values.size:
    mean = tables.signed(float(values.mean()))
    lines.append(
        f'mean {canvas.words(outcome)} <b>{mean}</b> {canvas.units(outcome)}'
    )
  if values.size and canvas.is_signed(outcome):
    below = 100 * np.mean(values < 0)
    lines.append(f'below 0 in {below:.0f} % of {values.size} held-out models')
  notes = ''.join(f'<p class="note">{line}</p>' for line in lines)
  return (
      f'<div class="target">{shown}<h3>label “{html.escape(name)}”</h3>'
      f'<p class="note">{html.escape(title)}</p>{notes}</div>\n'
  )


def _effects(dataset, own, datamodels) -> str:
  parts = []
  for effect, (title, verb) in _EFFECTS.items():
    rows = [row for row in own if row['effect'] == effect]
    parts.append(
        f'<h4 class="{effect}">{title}: they {verb} the'
        f' {html.escape(canvas.words(datamodels.outcome))}</h4>\n'
    )
    if not rows:
      parts.append('<p class="note">no training example has such a weight</p>')
    elif dataset.train.images is None:
      names = ['train row', 'source id', 'label', 'weight']
      names += [name for name in ('interval', 'kept in') if name in rows[0]]
      shown = [
          {name: row[name] for name in names}
          | {'weight': tables.signed(row['weight'])}
          for row in rows
      ]
      parts.append(tables.html(shown))
    else:
      parts.append(_thumbnails(dataset, rows))
  return ''.join(parts)


def _thumbnails(dataset, rows) -> str:
  shown = []
  for row in rows:
    name, weight = row['label'], tables.signed(row['weight'])
    number = row['train row']
    spread = ''
    if 'interval' in row:
      kept = f'in\N{NO-BREAK SPACE}{row["kept in"]}'
      spread = f'<small>{row["interval"]}</small><small>{kept}</small>'
    image = _image(
        dataset.train.images[number], f'training example {number}, label {name}'
    )
    shown.append(
        f'<figure class="{row["effect"]}" title="training example {number}">'
        f'{image}<figcaption>{html.escape(name)}<b>{weight}</b>{spread}'
        '</figcaption></figure>\n'
    )
  return f'<div class="strip">{"".join(shown)}</div>\n'


def _curve(counterfactuals, target, outcome) -> str:
  if counterfactuals is None or target not in counterfactuals.target_ids:
    return (
        '<div class="proof"><p class="note">Not retrained for this'
        ' target.</p></div>\n'
    )
  index = int(np.flatnonzero(counterfactuals.target_ids == target)[0])
  figure = plots.target_curve(counterfactuals, index, outcome=outcome)
  note = ''
  if counterfactuals.control is not None:
    control = tables.signed(float(counterfactuals.control[index]))
    note = (
        f'Trained on everything: {control} {canvas.units(outcome)} in the mean.'
    )
  if counterfactuals.observed is None:
    note += ' Observed changes: not measured.'
  alternative = (
      f'Predicted and observed change of target {target} as training examples'
      ' are removed'
  )
  shown = picture(canvas.png(figure), alternative)
  return f'<div class="proof">{shown}<p class="note">{note.strip()}</p></div>\n'
