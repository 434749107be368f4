"""Tables of `modelpred_study`: means over seeds, and the goals set before."""

from collections.abc import Mapping, Sequence
import json
import math
import os
from typing import Any

import numpy as np

from experiments import binary
from jdm import intervals
from jdm.reports import canvas
from jdm.reports import modelpred_plots
from jdm.reports import tables

Found = dict[str, Any]
_SCALES = {'query_cpu_seconds': 1e6}  # Microseconds, on the page.
_MOST_DIGITS = 5
_COLUMNS = {
    'parameter_r2': 'R2',
    'score_r2': 'score R2',
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
      if key not in ('predictor', 'is_predictor', 'curves')
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
    for predictor, key, least in [
        goal[1:] for goal in GOALS if goal[0] == name
    ]:
      value = own.get(predictor, {}).get(key)
      rows.append(
          {
              'setting': name,
              'predictor': predictor,
              'number': _COLUMNS[key],
              'goal': f'{least:g} or more',
              'measured': text(value),
              'reached': value is not None and value['mean'] >= least,
          }
      )
    held = [
        min(row['certificates_hold']['values'])
        for row in one['rows']
        if row.get('certificates_hold')
    ]
    if not held:  # Of perceptrons no bound is known.
      continue
    lowest = min(held)
    rows.append(
        {
            'setting': name,
            'predictor': 'each, refined or not',
            'number': 'bounds that hold',
            'goal': 'all, each seed',
            'measured': f'{100 * lowest:.4g} % at least',
            'reached': lowest == 1,
        }
    )
  return rows


def text(value: Mapping[str, Any] | None, scale: float = 1.0) -> str:
  """Mean and half of the interval, to two digits of the latter."""
  if value is None:
    return tables.UNKNOWN
  mean = scale * value['mean']
  half = scale * (value['high'] - value['low']) / 2
  if half < 1e-9 * max(abs(mean), 1):
    return f'{mean:.4g} ± 0'
  if half < 10**-_MOST_DIGITS:
    return f'{mean:.4g} ± {half:.1g}'
  digits = min(max(1 - math.floor(math.log10(half)), 0), _MOST_DIGITS)
  return f'{mean:,.{digits}f} ± {half:,.{digits}f}'


def page(found: Mapping[str, Found], reached: Sequence[Any]) -> str:
  """All tables of predictors as Markdown."""
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


def write(
    workdir: str,
    found: Mapping[str, Found],
    about: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[str],
) -> None:
  """Writes `modelpred_study.json`, `.md` and `.png`.

  Args:
    workdir: the folder.
    found: of `read`, by setting.
    about: what is said of each setting beside.
    seeds: of each.
  """
  reached = goals(found)
  path = os.path.join(workdir, 'modelpred_study')
  rows = {name: one['rows'] for name, one in found.items()}
  settings = {
      name: {**about[name], **{k: one[k] for k in one if k != 'rows'}}
      for name, one in found.items()
  }
  values = {'seeds': seeds, 'goals': reached, 'settings': settings}
  binary.write_json(f'{path}.json', {**values, 'rows': rows})
  canvas.write(f'{path}.md', page(found, reached).encode())
  canvas.save(modelpred_plots.study(rows), f'{path}.png')
  print(f'\n{path}.md')
