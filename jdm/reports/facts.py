"""What made a result and what it cost, as lists for a page."""

from collections.abc import Mapping
import html
import numbers
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import evaluation as evaluation_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import canvas
from jdm.reports import tables

_SHORT = ('dataset', 'model', 'sampler', 'seed', 'outcomes', 'commit')


def made_by(
    dataset: dataset_lib.Dataset,
    datamodels: datamodels_lib.Datamodels,
    evaluation: evaluation_lib.Evaluation,
    recipe: Mapping[str, Any],
    costs: Mapping[str, Any],
) -> str:
  """Writes recipe and costs of evaluated datamodels; see `page.write`."""
  return (
      _facts('Recipe', _recipe(dataset, datamodels, evaluation, recipe))
      + _facts('Cost', _costs(costs))
      + _whole(recipe)
  )


def pool(recipe: Mapping[str, Any]) -> str:
  """Writes what made a pool; '' if that is unknown."""
  short = {name: recipe[name] for name in _SHORT if recipe.get(name)}
  if 'seed' in recipe:
    short['seed'] = recipe['seed']
  return _facts('Recipe', short) + _whole(recipe)


def _whole(recipe: Mapping[str, Any]) -> str:
  every = [{'option': n, 'value': _option(v)} for n, v in _flat(recipe)]
  if not every:
    return ''
  return (
      f'<details><summary>The whole recipe</summary>\n{tables.html(every)}'
      '</details>\n'
  )


def _recipe(dataset, datamodels, evaluation, recipe) -> dict[str, Any]:
  facts = {
      'dataset': dataset.name,
      'training examples': datamodels.num_train,
      'test examples': len(dataset.test),
  }
  for name in ('model', 'sampler', 'seed'):
    if name in recipe:
      facts[name] = recipe[name]
  facts |= {
      'alpha, share of the training set': datamodels.alpha,
      'outcome': canvas.words(datamodels.outcome),
      'regressor': datamodels.regressor or None,
      'models fitted to': len(datamodels.fit_ids) or None,
      'models held out': evaluation.num_heldout,
  }
  if len(datamodels.val_ids):
    facts['models that chose the penalty'] = len(datamodels.val_ids)
  if recipe.get('commit'):
    facts['commit'] = recipe['commit']
  versions = recipe.get('versions') or {}
  for name in ('jdm', 'jax'):
    if name in versions:
      facts[f'version of {name}'] = versions[name]
  return facts


def _costs(costs: Mapping[str, Any]) -> dict[str, str]:
  """Numbers are seconds; their sum comes last."""
  shown, seconds = {}, []
  for stage, value in costs.items():
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
      seconds.append(float(value))
      shown[stage] = _seconds(float(value))
    else:
      shown[stage] = tables.cell(value)
  if len(seconds) > 1:
    shown['together'] = _seconds(sum(seconds))
  return shown


def _seconds(value: float) -> str:
  if value >= 120:
    return f'{value / 60:.1f} min'
  return f'{tables.number(value, 2)} s'


def _facts(title: str, facts: Mapping[str, Any]) -> str:
  if not facts:
    return ''
  items = ''.join(
      f'<div><dt>{html.escape(name)}</dt><dd>{html.escape(_option(value))}</dd>'
      '</div>\n'
      for name, value in facts.items()
  )
  return f'<h4>{title}</h4>\n<dl class="facts">{items}</dl>\n'


def _option(value: Any) -> str:
  """As `tables.cell`, but what was chosen (.05) keeps the digits it has."""
  if isinstance(value, float) and np.isfinite(value):
    return f'{value:g}'
  return tables.cell(value)


def _flat(values: Mapping[str, Any], prefix: str = '') -> list[tuple[str, Any]]:
  flat = []
  for name, value in values.items():
    if isinstance(value, Mapping) and value:
      flat += _flat(value, f'{prefix}{name}.')
    else:
      flat.append((f'{prefix}{name}', value))
  return flat
