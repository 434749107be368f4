"""Tables and pictures of `leakage_study`, from what it measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jdm import effects
from jdm.analysis import detection
from jdm.analysis import pairs as pairs_lib
from jdm.applications import leakage as leakage_lib
from jdm.reports import leakage_plots
from jdm.reports import tables

# By setting and seed, in the order of the flags: the first seed chooses.
Measured = Mapping[str, Mapping[int, Mapping[str, Any]]]

_NUMBERS = (
    'num_pairs',
    'auc',
    'average_precision',
    'random_average_precision',
    'first',
    'median_rank',
)
# What is drawn together: settings whose outcomes have one unit.
_REMOVAL_GROUPS = {
    'digits': ('digits_linear_atypical', 'digits_linear'),
    'fashion': ('fashion_mlp',),
}


def summarize(measured: Measured) -> dict[str, Any]:
  """All numbers as plain values.

  Args:
    measured: by setting and seed, the contents of `measured.json`.

  Returns:
    `rows`: one for each setting, seed, score and kind of planted pairs;
    `chosen`: the score chosen by the first seed for each setting and kind, and
    its AUC on the other seeds beside the best there; `thresholds`: precision
    and recall on the other seeds; `removals`; `weights`; `cpu_seconds`.
  """
  summary: dict[str, Any] = {
      'rows': list(_rows(measured)),
      'chosen': list(_chosen(measured)),
      'thresholds': list(_thresholds(measured)),
      'removals': list(_removal_rows(measured)),
      'weights': {},
      'settings': {},
      'cpu_seconds': {},
  }
  for setting, by_seed in measured.items():
    for seed, one in by_seed.items():
      summary['cpu_seconds'][f'{setting}_seed{seed}'] = one['cpu_seconds']
      summary['weights'][f'{setting}_seed{seed}'] = one['weights']
    first = next(iter(by_seed.values()))
    names = ('num_models', 'num_train', 'num_targets', 'recipe')
    summary['settings'][setting] = {name: first[name] for name in names}
  return summary


def texts(summary: Mapping[str, Any]) -> dict[str, str]:
  """The tables as `csv` (every number) and `md` (for reading)."""
  parts = ['AUC of planted pairs against all other pairs, by each seed that']
  parts[0] += ' reports; * is the score that the first seed chose.\n'
  for setting, about in summary['settings'].items():
    parts.append(
        f'\n**{setting}**: {about["num_train"]} train, {about["num_targets"]}'
        f' test examples, {about["num_models"]} models\n\n'
    )
    parts.append(tables.markdown(_auc_table(summary, setting)))
  parts.append('\nChosen by the first seed, measured on the others\n\n')
  parts.append(tables.markdown(summary['chosen']))
  parts.append(
      '\nThreshold of precision .9 of the first seed, measured on the others\n\n'
  )
  parts.append(tables.markdown(summary['thresholds']))
  parts.append('\nThe training example removed, models trained again\n\n')
  parts.append(tables.markdown(summary['removals']))
  return {'csv': tables.csv(summary['rows']), 'md': ''.join(parts)}


def figures(measured: Measured) -> dict[str, Any]:
  """AUC by setting, of the first seed that reports; weights against effects."""
  found = {}
  for setting, by_seed in measured.items():
    seed, one = list(by_seed.items())[1]
    found[f'auc_{setting}'] = leakage_plots.auc(
        [_detection(values) for values in one['detections']],
        title=f'{setting}, planting seed {seed}',
    )
  for name, settings in _REMOVAL_GROUPS.items():
    some = [
        one['removals']
        for setting in settings
        for one in measured.get(setting, {}).values()
        if 'removals' in one
    ]
    if some:
      found[f'removals_{name}'] = leakage_plots.removal_scatter(
          _joined(some), outcome='soft_margin'
      )
  return found


def _rows(measured: Measured) -> Iterator[dict[str, Any]]:
  for setting, by_seed in measured.items():
    for place, (seed, one) in enumerate(by_seed.items()):
      for values in one['detections']:
        low, high = values['auc_interval']
        first_low, first_high = values['first_interval']
        yield {
            'setting': setting,
            'seed': seed,
            'role': 'report' if place else 'choice',
            'score': values['score'],
            'kind': values['kind'],
            **{name: values[name] for name in _NUMBERS},
            'auc_low': low,
            'auc_high': high,
            'first_low': first_low,
            'first_high': first_high,
            'found_in_100': values['found'].get('100'),
        }


def _chosen(measured: Measured) -> Iterator[dict[str, Any]]:
  for setting, by_seed in measured.items():
    choice, *reports = by_seed.values()
    best = detection.choose_score(
        [_detection(values) for values in choice['detections']]
    )
    for kind, score in best.items():
      by_score: dict[str, list[float]] = {}
      for one in reports:
        for values in one['detections']:
          if values['kind'] == kind:
            by_score.setdefault(values['score'], []).append(values['auc'])
      means = {name: float(np.mean(v)) for name, v in by_score.items()}
      yield {
          'setting': setting,
          'kind': kind,
          'chosen': leakage_plots.name_of(score),
          'its AUC': f'{means[score]:.4f}',
          'best AUC there': f'{max(means.values()):.4f}',
          'by LASSO weight': f'{means["lasso"]:.4f}',
      }


def _thresholds(measured: Measured) -> Iterator[dict[str, Any]]:
  for setting, by_seed in measured.items():
    reports = list(by_seed.values())[1:]
    for score in reports[0]['at_threshold']:
      ours = [one['at_threshold'][score] for one in reports]
      yield {
          'setting': setting,
          'score': leakage_plots.name_of(score),
          'pairs above': _cell(one['num_pairs'] for one in ours),
          'precision': _cell(one['precision'] for one in ours),
          'recall': _cell(one['recall'] for one in ours),
      }


def _removal_rows(measured: Measured) -> Iterator[dict[str, Any]]:
  for setting, by_seed in measured.items():
    for one in by_seed.values():
      if 'removals' not in one:
        continue
      removed = _joined([one['removals']])
      for kind, agreement in removed.agreement.items():
        members = np.array([kind in (pairs_lib.ALL, k) for k in removed.kinds])
        observed = removed.observed[members]
        needed = float('nan')
        if removed.interval is not None:
          needed = float(np.mean(removed.interval[1, members] < 0))
        yield {
            'setting': setting,
            'kind': kind,
            'pairs': int(members.sum()),
            'mean weight': float(np.mean(-removed.predicted[members])),
            'mean change without it': float(np.nanmean(observed)),
            'share surely hurt': needed,
            'Spearman of weight and loss': agreement.spearman,
            'its ceiling': agreement.ceiling,
            'slope': agreement.slope,
        }


def _auc_table(
    summary: Mapping[str, Any], setting: str
) -> list[dict[str, Any]]:
  """One row a score, one column a kind."""
  rows = [row for row in summary['rows'] if row['setting'] == setting]
  stars = {
      row['kind']: row['chosen']
      for row in summary['chosen']
      if row['setting'] == setting
  }
  result = []
  for score in dict.fromkeys(row['score'] for row in rows):
    name = leakage_plots.name_of(score)
    line: dict[str, Any] = {'score': name}
    for kind in dict.fromkeys(row['kind'] for row in rows):
      values = [
          f'{row["auc"]:.4f}'
          for row in rows
          if (row['score'], row['kind'], row['role']) == (score, kind, 'report')
      ]
      line[kind] = ', '.join(values) + (' *' if stars[kind] == name else '')
    result.append(line)
  return result


def _cell(values: Iterator[float]) -> str:
  return ', '.join(tables.number(value) for value in values)


def _detection(values: Mapping[str, Any]) -> detection.Detection:
  """Reads what `to_json` wrote; null is NaN."""
  fields = dict(values)
  for name in ('auc_interval', 'first_interval'):
    low, high = np.array(fields[name], np.float64)
    fields[name] = float(low), float(high)
  fields['found'] = {int(n): share for n, share in fields['found'].items()}
  fields['curve'] = np.array(fields['curve'], np.float64)
  return detection.Detection(**fields)


def _joined(removals: Sequence[Mapping[str, Any]]) -> leakage_lib.Removals:
  """Removals of several pools as one; a pair's rows are those of its own."""
  arrays = {
      name: np.concatenate(
          [np.array(one[name], np.float64) for one in removals]
      )
      for name in ('pairs', 'predicted', 'observed', 'control')
  }
  interval = None
  if all(one['interval'] is not None for one in removals):
    parts = [np.array(one['interval'], np.float64) for one in removals]
    interval = np.concatenate(parts, axis=1)
  agreement = {
      kind: effects.Agreement(**{n: _number(v) for n, v in values.items()})
      for one in removals
      for kind, values in one['agreement'].items()
  }
  if len(removals) > 1:
    # One ceiling cannot be told from two: that of the joined is unknown.
    agreement[pairs_lib.ALL] = effects.agreement(
        arrays['predicted'], arrays['observed']
    )
  return leakage_lib.Removals(
      **arrays,
      kinds=tuple(kind for one in removals for kind in one['kinds']),
      interval=interval,
      agreement=agreement,
      replicates=min(one['replicates'] for one in removals),
      num_retrained=sum(one['num_retrained'] for one in removals),
  )


def _number(value: float | None) -> float:
  return float('nan') if value is None else value
