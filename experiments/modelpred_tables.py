"""Tables of `modelpred_study`: means over seeds, and the goals set before."""

from collections.abc import Mapping, Sequence
import json
import os
from typing import Any

import numpy as np

from jdm import intervals
from jdm.reports import tables

Found = dict[str, Any]
_SCALES = {'query_cpu_seconds': 1e6}  # Microseconds, on the page.
_COLUMNS = {
    'parameter_r2': 'R2',
    'deletion_r2': 'deletion R2',
    'addition_r2': 'addition R2',
    'growth_r2': 'growth R2',
    'test_loss_nrmse': 'loss NRMSE',
    'addition_nrmse': 'addition NRMSE',
    'spearman': 'Spearman',
    'accuracy_gap': 'accuracy gap',
    'fit_cpu_seconds': 'fit s',
    'label_cpu_seconds': 'labels s',
    'query_cpu_seconds': 'query us',
    'break_even': 'break-even',
    'certificates_hold': 'bounds hold',
}
# Setting, predictor, number, least mean; of one seed of a prototype's pool.
GOALS = (
    ('breast_cancer', 'default', 'parameter_r2', 0.92),
    ('breast_cancer', 'default', 'deletion_r2', 0.93),
    ('breast_cancer', 'default_refined', 'parameter_r2', 0.999),
    ('breast_cancer', 'default_refined', 'deletion_r2', 0.999),
    ('breast_cancer_prefixes', 'label_free', 'parameter_r2', 0.995),
    ('breast_cancer_prefixes', 'paper', 'parameter_r2', 0.975),
)


def read(folders: Sequence[str]) -> Found:
  """What the evaluations of all seeds of a setting found.

  Returns:
    `rows`, one a predictor: for each number `mean`, `low`, `high` (95 %,
    Student's t) and the `values` of seeds, null where it is not known of all;
    and what is said once a setting.
  """
  results = []
  for folder in folders:
    path = os.path.join(folder, 'modelpred.json')
    with open(path, encoding='utf-8') as file:
      results.append(json.load(file))
  of_seeds = [
      {row['predictor']: row for row in result['rows']} for result in results
  ]
  names = [name for name in of_seeds[0] if all(name in one for one in of_seeds)]
  return {
      'rows': [_row(name, [one[name] for one in of_seeds]) for name in names],
      'exact_cpu_seconds': summary(
          [result['exact_cpu_seconds'] for result in results]
      ),
      'num_sets': [result['num_sets'] for result in results],
      'num_labels': [result['num_labels'] for result in results],
      'num_new_points': results[0]['num_new_points'],
      'objective': results[0]['objective'],
      'made_by': [result['made_by'] for result in results],
  }


def _row(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  numbers = {
      key: summary([row.get(key) for row in rows])
      for key, value in rows[0].items()
      if key not in ('predictor', 'is_predictor')
  }
  is_predictor = rows[0]['is_predictor']
  return {'predictor': name, 'is_predictor': is_predictor, **numbers}


def summary(values: Sequence[float | None]) -> dict[str, Any] | None:
  """Mean, interval and values of seeds; None if one is not known."""
  if any(value is None for value in values):
    return None
  numbers = np.asarray(values, np.float64)
  low, high = intervals.t_interval(numbers)
  return {
      'mean': float(numbers.mean()),
      'low': low,
      'high': high,
      'values': numbers.tolist(),
  }


def goals(found: Mapping[str, Found]) -> list[dict[str, Any]]:
  """What was aimed at, and what was reached: of settings that are there."""
  rows = []
  for name, one in found.items():
    own = {row['predictor']: row for row in one['rows']}
    aims = [goal[1:] for goal in GOALS if goal[0] == name]
    aims += [
        (predictor, 'certificates_hold', 1.0)
        for predictor, row in own.items()
        if row['is_predictor']
    ]
    for predictor, key, least in aims:
      value = own.get(predictor, {}).get(key)
      rows.append(
          {
              'setting': name,
              'predictor': predictor,
              'number': _COLUMNS[key],
              'goal': least,
              'measured': text(value),
              'reached': value is not None and value['mean'] >= least,
          }
      )
  return rows


def text(value: Mapping[str, Any] | None, scale: float = 1.0) -> str:
  """`mean +- half of the interval`, to digits that the interval bears."""
  if value is None:
    return tables.UNKNOWN
  mean = scale * value['mean']
  half = scale * (value['high'] - value['low']) / 2
  if abs(mean) >= 100:
    return f'{mean:,.0f} ± {half:,.0f}'
  digits = 4 if abs(mean) < 10 and half < 1 else 1
  return f'{mean:.{digits}f} ± {half:.{digits}f}'


def page(found: Mapping[str, Found], reached: Sequence[Any]) -> str:
  """All tables as Markdown."""
  parts = [
      '# Predictors of trained parameters\n\nMeans over seeds ± half of a 95 %'
      " interval (Student's t). A seed has its own pool, test split, subsets and"
      ' network.\n\n## Goals set before\n\n'
      f'{tables.markdown(reached)}'
  ]
  for name, one in found.items():
    exact = text(one['exact_cpu_seconds'], 1e3)
    sets = ', '.join(
        f'{kind} {num}' for kind, num in one['num_sets'][0].items()
    )
    rows = [
        {'predictor': row['predictor']}
        | {
            words: text(row.get(key), _SCALES.get(key, 1.0))
            for key, words in _COLUMNS.items()
        }
        for row in one['rows']
    ]
    parts.append(
        f'## {name}\n\n{one["num_labels"][0]:,} labels, sets of the first seed:'
        f' {sets}; {one["num_new_points"]} new points; exact retraining {exact}'
        f' CPU-ms a set.\n\n{tables.markdown(rows)}'
    )
  return '\n'.join(parts)
