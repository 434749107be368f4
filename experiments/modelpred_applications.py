"""Tables of applications of predictors: means over the seeds of a setting."""

from collections.abc import Callable, Mapping, Sequence
import json
import os
from typing import Any

from experiments.modelpred_tables import summary
from experiments.modelpred_tables import text
from jdm.reports import tables

NAMES = ('calibration', 'predicted_memorization', 'predicted_selection')
Result = Mapping[str, Any]
Rows = dict[str, dict[str, Any]]


def read(folders: Sequence[str]) -> dict[str, Rows]:
  """What the applications of all seeds found.

  Returns:
    By application and by way (or rule of selection), for each number `mean`,
    `low`, `high` and the `values` of seeds, as `modelpred_tables.summary` has
    them.
  """
  found = {}
  for name in NAMES:
    results = []
    for folder in folders:
      with open(os.path.join(folder, f'{name}.json'), encoding='utf-8') as file:
        results.append(_NUMBERS[name](json.load(file)))
    found[name] = {
        way: {
            number: summary([result[way][number] for result in results])
            for number in results[0][way]
        }
        for way in results[0]
        if all(way in result for result in results)
    }
  return found


def page(found: Mapping[str, Rows]) -> str:
  """The tables as Markdown."""
  parts = []
  for name, rows in found.items():
    shown = [
        {'way': way} | {number: text(value) for number, value in row.items()}
        for way, row in rows.items()
    ]
    title = name.replace('_', ' ')
    parts.append(
        f'### {title.capitalize()}\n\n{_ABOUT[name]}\n\n{tables.markdown(shown)}'
    )
  return '\n'.join(parts)


def _calibration(result: Result) -> Rows:
  rows = {}
  for way, scores in result['scores'].items():
    values = scores['values']
    rows[way] = {
        'NLL': values['nll'],
        'Brier': values['brier'],
        'ECE': values['ece'],
        'accuracy': values['accuracy'],
        'from exact': result['difference'].get(way),
    }
  return rows


def _memorization(result: Result) -> Rows:
  rows = {}
  for i, way in enumerate(result['ways']):
    rows[way] = {
        f'Spearman, {num:,} sets': value
        for num, value in zip(result['num_sets'][i], result['spearman'][i])
    }
    rows[way]['distance'] = result['bias'][i]
    rows[way]['CPU s'] = result['way_cpu_seconds'][i][-1]
  return rows


def _selection(result: Result) -> Rows:
  return {
      rule: {
          f'{size} points': gain
          for size, gain in zip(result['sizes'], result['gain'][i])
      }
      for i, rule in enumerate(result['rules'])
      if rule != 'random'
  }


_NUMBERS: dict[str, Callable[[Result], Rows]] = {
    'calibration': _calibration,
    'predicted_memorization': _memorization,
    'predicted_selection': _selection,
}
_ABOUT = {
    'calibration': (
        'Averages of models of resampled sets, scored on half of the test'
        ' examples; `from exact` is the mean distance of probabilities from'
        ' those of retrained models.'
    ),
    'predicted_memorization': (
        'Rank correlation of memorization with that of 20,000 exact sets of'
        ' their own; `distance` is the mean one of values; seconds with labels'
        ' and fit.'
    ),
    'predicted_selection': (
        'Test loss of random sets minus that of chosen sets of the same size,'
        ' retrained: positive is better than random.'
    ),
}
