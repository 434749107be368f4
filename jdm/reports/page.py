"""One self-contained HTML file about a pool, its datamodels and their proof."""

from collections.abc import Mapping, Sequence
import html
import os
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import evaluation as evaluation_lib
from jdm.analysis import uncertainty as uncertainty_lib
from jdm.applications import counterfactuals as counterfactuals_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import cards
from jdm.reports import examples
from jdm.reports import facts
from jdm.reports import plots
from jdm.reports import sections as sections_lib
from jdm.reports import stylesheet
from jdm.reports import tables

choose_targets = examples.choose_targets

_NOT_MEASURED = 'not measured'
_EXPLANATION = (
    'A datamodel answers the question: what would the model have said if it had'
    ' been trained on other data? Many models were trained, each on a random'
    ' part of the training set, and each one’s {outcome} on every {targets}'
    ' example was written down. For each {targets} example a linear function'
    ' was then fitted that predicts this number from which training examples'
    ' were there. Its weights say how much each training example helps'
    ' (positive) or hurts (negative). Whether that is true was checked on'
    ' models that no fit has seen{retrained}.'
)
_RETRAINED = ', and by removing examples and training again'


def write(
    path: str | os.PathLike[str],
    *,
    dataset: dataset_lib.Dataset,
    datamodels: datamodels_lib.Datamodels,
    evaluation: evaluation_lib.Evaluation,
    counterfactuals: counterfactuals_lib.Counterfactuals | None,
    recipe: Mapping[str, Any],
    costs: Mapping[str, Any],
    target_ids: Sequence[int] | np.ndarray,
    limits: Sequence[str] = (),
    targets: str = 'test',
    sections: Sequence[sections_lib.Section] = (),
    uncertainty: uncertainty_lib.Uncertainty | None = None,
) -> None:
  """Writes the report; complete or not at all, replacing what is there.

  Args:
    path: of the HTML file. It needs no other file, no script and no network.
    dataset: what the models were trained on.
    datamodels: their columns are the rows of the split `targets`.
    evaluation: of the same datamodels.
    counterfactuals: the proof by retraining; None if there is none.
    recipe: what made the pool, such as `Pool.description`; commit and versions
      are shown if they are in it (`provenance.record`).
    costs: for each stage its seconds (numbers), or any words.
    target_ids: columns of the datamodels to show; see `choose_targets`.
    limits: sentences on what was not measured, before those that always hold.
    targets: the split that the targets are from, 'test' or 'train'.
    sections: what applications found. One named 'counterfactuals' stands in
      place of the curves over all targets.
    uncertainty: of the same datamodels, for some targets: the weights on their
      cards get intervals.

  Raises:
    ValueError: if dataset, datamodels, evaluation and targets do not fit
      together.
  """
  examples.check('page.write', dataset, datamodels, target_ids, targets)
  num_targets = evaluation.outcomes.shape[1]
  if num_targets != datamodels.num_targets:
    raise ValueError(
        f'`page.write` got an evaluation of {num_targets} targets and'
        f' datamodels of {datamodels.num_targets}; pass the evaluation of these'
        ' datamodels.'
    )
  if isinstance(limits, str):
    raise ValueError(
        '`page.write` expects limits as a list of sentences, got one string;'
        ' pass `[sentence]`.'
    )
  outcome = datamodels.outcome
  shown = cards.cards(
      dataset,
      datamodels,
      target_ids,
      outcomes=evaluation.outcomes,
      counterfactuals=counterfactuals,
      targets=targets,
      uncertainty=uncertainty,
  )
  has_own = any(section.name == 'counterfactuals' for section in sections)
  body = [
      _explanation(dataset, datamodels, counterfactuals, targets),
      sections_lib.contents(sections),
      facts.made_by(dataset, datamodels, evaluation, recipe, costs),
      _headline(evaluation, outcome),
      _examples(shown, counterfactuals, outcome, targets, uncertainty),
      '' if has_own else _curves(counterfactuals, outcome),
      *map(sections_lib.html, sections),
      _distributions(datamodels, evaluation),
      _limits(limits, datamodels, evaluation, counterfactuals, recipe),
  ]
  _write(path, f'Datamodels of {dataset.name}', body)


def write_sections(
    path: str | os.PathLike[str],
    *,
    title: str,
    recipe: Mapping[str, Any],
    sections: Sequence[sections_lib.Section],
    lead: str = '',
) -> None:
  """Writes a report of applications alone, of a pool without an evaluation.

  Args:
    path: as in `write`.
    title: of the page.
    recipe: what made the pool; commit and versions are shown if they are in it.
    sections: what the applications found, in this order.
    lead: a paragraph under the title.
  """
  body = [
      f'<h1>{html.escape(title)}</h1>\n',
      f'<p class="lead">{html.escape(lead)}</p>\n' if lead else '',
      sections_lib.contents(sections),
      facts.pool(recipe),
      *map(sections_lib.html, sections),
  ]
  _write(path, title, body)


def _write(
    path: str | os.PathLike[str], title: str, body: Sequence[str]
) -> None:
  title = html.escape(title)
  document = (
      '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
      '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
      f'<title>{title}</title>\n<style>{stylesheet.CSS}</style>\n</head>\n'
      f'<body>\n{"".join(body)}</body>\n</html>\n'
  )
  canvas.write(path, document.encode('utf-8'))


def _explanation(dataset, datamodels, counterfactuals, targets) -> str:
  is_checked = counterfactuals is not None
  is_checked = is_checked and counterfactuals.observed is not None
  text = _EXPLANATION.format(
      outcome=canvas.words(datamodels.outcome),
      targets=targets,
      retrained=_RETRAINED if is_checked else '',
  )
  return (
      f'<h1>Datamodels of {html.escape(dataset.name)}</h1>\n'
      f'<p class="lead">{html.escape(text)}</p>\n'
  )


def _tile(value: str, note: str, kind: str = '') -> str:
  return (
      f'<div class="tile {kind}"><b>{html.escape(value)}</b>'
      f'<span>{html.escape(note)}</span></div>\n'
  )


def _headline(evaluation: evaluation_lib.Evaluation, outcome: str) -> str:
  score, ceiling = evaluation.lds, evaluation.noise_ceiling
  low, high = (tables.number(end) for end in score.interval)
  tiles = [
      _tile(
          tables.number(score.value),
          f'LDS, 95 % interval {low} to {high}',
          'first',
      ),
      _tile(
          tables.number(None if ceiling is None else ceiling.value),
          f'noise ceiling: {_NOT_MEASURED}'
          if ceiling is None
          else 'noise ceiling: about what a perfect predictor would score',
      ),
      _tile(str(evaluation.num_heldout), 'held-out models, seen by no fit'),
      _tile(tables.number(evaluation.r2.value), 'r², mean over targets'),
      _tile(
          tables.number(evaluation.mse.value),
          f'mean squared error, ({canvas.units(outcome)})²',
      ),
      _tile(
          tables.number(_mean(evaluation.pearson)),
          'Pearson correlation, mean over targets',
      ),
      _tile(
          tables.number(evaluation.pooled_spearman),
          'pooled Spearman; it contains the variance between targets',
      ),
  ]
  bar = _picture(
      plots.lds_bar(evaluation), 'LDS with its interval and the noise ceiling'
  )
  text = (
      'The linear datamodeling score (LDS) is the rank correlation, over'
      f' {evaluation.num_heldout} held-out models, of predicted and true'
      f' {html.escape(canvas.words(outcome))}, averaged over'
      f' {score.num_targets} targets. The noise ceiling is what remains'
      ' possible when two trainings on the same data differ by chance.'
  )
  return (
      '<h2>Do the datamodels predict models they have not seen?</h2>\n'
      f'<div class="pair"><p>{text}</p>\n{bar}</div>\n'
      f'<div class="tiles">{"".join(tiles)}</div>\n'
  )


def _examples(shown, counterfactuals, outcome, targets, uncertainty) -> str:
  proof = (
      'They were not checked by retraining.'
      if counterfactuals is None or counterfactuals.observed is None
      else (
          'The curve is the proof: the line is what the datamodel predicts when'
          ' the k most helpful, most harmful or random examples are removed;'
          ' the points are what models trained without them gave, with 95 %'
          ' intervals.'
      )
  )
  if uncertainty is not None:
    proof += (
        f' Small numbers below a weight: its {100 * uncertainty.level:.3g} %'
        f' interval over {uncertainty.num_bootstrap} resamples of the'
        f' {uncertainty.num_models} models, not corrected for looking at the'
        ' strongest; and in how many of them it was not 0.'
    )
  loss = (
      '<p>This outcome is a loss: “helpful” examples raise it.</p>\n'
      if canvas.is_loss(outcome)
      else ''
  )
  return (
      '<h2>Which training examples made the model right or wrong</h2>\n'
      f'<p>Each card shows a {targets} example and the training examples with'
      f' the largest weights, in {html.escape(canvas.units(outcome))} per'
      f' inclusion. {proof}</p>\n{loss}{shown}'
  )


def _curves(counterfactuals, outcome: str) -> str:
  title = '<h2>What if these examples had not been there?</h2>\n'
  if counterfactuals is None:
    return f'{title}<p>Removing examples: {_NOT_MEASURED}.</p>\n'
  pictures = [
      _picture(
          plots.counterfactual_curves(counterfactuals, outcome=outcome),
          'Mean change against the number of removed examples',
      )
  ]
  if counterfactuals.observed is None:
    text = f'Lines are predictions; observed changes: {_NOT_MEASURED}.'
  else:
    pictures.append(
        _picture(
            plots.counterfactual_scatter(counterfactuals, outcome=outcome),
            'Observed against predicted changes',
        )
    )
    text = (
        f'{counterfactuals.num_retrained} models were trained again:'
        f' {counterfactuals.replicates} for each of'
        f' {len(counterfactuals.target_ids)} targets and each removal, and'
        ' some on everything. In the first picture, lines are predictions'
        ' and points are observed, with 95 % intervals of the mean over'
        ' targets. In the second, each point is one target and one k; the'
        ' dashed line is perfect.'
    )
  return (
      f'{title}<p>{text}</p>\n<div class="pair">{"".join(pictures)}</div>\n'
      + tables.html(_agreement_rows(counterfactuals, outcome))
  )


def _agreement_rows(counterfactuals, outcome) -> list[dict[str, Any]]:
  return [
      {
          'removed': kind,
          'Spearman': score.spearman,
          'its ceiling': score.ceiling,
          'Pearson': score.pearson,
          'slope': score.slope,
          f'mse, ({canvas.units(outcome)})²': score.mse,
      }
      for kind, score in counterfactuals.agreement.items()
  ]


def _distributions(datamodels, evaluation) -> str:
  pictures = [
      (plots.weight_histogram(datamodels), 'Histogram of weights'),
      (
          plots.outcome_histogram(
              evaluation.outcomes, outcome=datamodels.outcome
          ),
          'Histogram of outcomes of held-out models',
      ),
      (plots.lds_histogram(evaluation), 'Histogram of the LDS of targets'),
      (
          plots.prediction_density(evaluation, outcome=datamodels.outcome),
          'True against predicted outcomes of held-out models',
      ),
  ]
  shown = ''.join(_picture(figure, name) for figure, name in pictures)
  return f'<h2>Distributions</h2>\n<div class="pair">{shown}</div>\n'


def _limits(limits, datamodels, evaluation, counterfactuals, recipe) -> str:
  sentences = list(limits)
  alpha, seed = datamodels.alpha, recipe.get('seed')
  part = '' if np.isnan(alpha) else f' ({100 * alpha:.3g} % of the examples)'
  if counterfactuals is not None:
    sentences.append(
        f'The datamodels were fitted on random parts of the training set{part};'
        ' removals are from the whole set. That extrapolates in size, so the'
        ' slope of observed on predicted changes need not be 1.'
    )
  sentences += [
      'One dataset, one model and one seed'
      + ('' if seed is None else f' ({tables.cell(seed)})')
      + ': intervals cover the choice of held-out models or the'
      ' retrainings, not other datasets, models or pools.',
      'A datamodel is linear: effects of examples that act only together are'
      ' averaged over the random parts.',
      'The targets on the cards were chosen to be looked at, not to represent'
      ' all.',
  ]
  ceiling = evaluation.noise_ceiling
  if ceiling is None:
    sentences.append(
        'The noise ceiling was not measured: it needs a second training of the'
        ' held-out subsets.'
    )
  elif ceiling.clipped:
    sentences.append(
        f'For {100 * ceiling.clipped:.1f} % of the targets two trainings did'
        ' not agree at all; their ceiling counts as 0.'
    )
  items = ''.join(f'<li>{html.escape(s)}</li>\n' for s in sentences)
  return f'<h2>Limits of what was measured</h2>\n<ul>{items}</ul>\n'


def _picture(figure: Any, alternative: str) -> str:
  return f'<div>{cards.picture(canvas.png(figure), alternative)}</div>\n'


def _mean(values: np.ndarray) -> float:
  """As in `evaluation.json`: what is undefined counts as 0."""
  return float(np.mean(np.nan_to_num(values)))
