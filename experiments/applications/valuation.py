"""Valuation: what each training example is worth, tested by retraining.

Needs only the store. Values are made on one half of the test targets; curves
are measured on the other. For Shapley values collect the pool with
`--sampler=uniform_size` or `--sampler=permutation_prefixes`.
"""

import dataclasses
from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from experiments.applications import ranked
from jdm.analysis import curves as curves_lib
from jdm.analysis import semivalues
from jdm.applications import valuation as lib
from jdm.reports import canvas
from jdm.reports import uncertainty_plots
from jdm.reports import valuation_plots

_UTILITIES = flags.DEFINE_list(
    'valuation_utilities',
    ['accuracy', 'mean'],
    'Of accuracy, mean (of the margin) and recall:CLASS; each is tested.',
)
_METHODS = flags.DEFINE_list(
    'valuation_methods',
    None,
    'Of banzhaf, shapley and the regressors; by default lasso, and shapley or'
    ' banzhaf as the sampler of the pool allows.',
)
_OUTCOME = 'margin'
_DATAMODELS = 'mean weight'
_SPREAD = ('uniform_size', 'permutation_prefixes')
_REPLICATES, _NUM_RANDOM = 10, 10
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings at most: both ends to remove by, one to add, random ones."""
  ways = len(_methods(job)) + _has_datamodels(job)
  replicates = job.replicates or _REPLICATES
  each = len(_sizes(job)) * (3 * ways * replicates + 2 * _NUM_RANDOM)
  return len(_UTILITIES.value) * (each + replicates)


def run(job: job_lib.Job) -> job_lib.Findings:
  """Values, orders, retrains."""
  dataset = job.dataset
  if not dataset.num_classes:
    raise ValueError(
        'valuation reads accuracies and margins; dataset'
        f' {dataset.name!r} is one of regression'
    )
  masks, outcomes = job.masks(), _outcomes(job)
  ids, _ = curves_lib.halves('valuation', outcomes.shape[1], seed=job.seed)
  limits: list[str] = []
  if job.num_targets:
    limits.append('--num_targets is not used: all targets make the utility.')
  rankings = _rankings(job, ids, limits)
  rows, groups = _orders_drawn(job, limits)
  options: dict[str, Any] = {
      'utilities': _UTILITIES.value,
      'target_labels': dataset.test.labels,
      'methods': _methods(job),
      'rankings': rankings,
      'groups': groups,
      'valuation_ids': ids,
      'resampling': semivalues.Resampling(seed=job.seed),
      'seed': job.seed,
  }
  masks, outcomes = masks[rows], outcomes[rows]
  valued = lib.valuation(masks, outcomes, **options)
  found = [
      _retrained(job, lib.ranked_by(valued, utility), limits)
      for utility in valued.utilities
  ]
  sure, pictures = _uncertainty(job, ids, limits) if rankings else ({}, {})
  findings = _findings(job, found, limits)
  return dataclasses.replace(
      findings,
      table={**findings.table, **sure},
      figures={**findings.figures, **pictures},
  )


def _uncertainty(
    job: job_lib.Job, ids: np.ndarray, limits: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Says how sure the mean weights are; a row and a picture."""
  fitted = job.datamodels()

  def mean_weights(weights: np.ndarray) -> np.ndarray:
    return weights[:, ids].mean(axis=1, keepdims=True)

  drawn = job.uncertainty(fitted, limits, statistic=mean_weights)
  if drawn is None:
    return {}, {}
  figure = uncertainty_plots.top_weights(
      drawn,
      0,
      outcome=fitted.outcome,
      label=f'mean weight ({canvas.units(fitted.outcome)}, higher helps)',
  )
  return (
      {_DATAMODELS: ranked.noise(drawn)},
      {f'{_DATAMODELS} extremes': figure},
  )


def _retrained(
    job: job_lib.Job, valued: lib.Valuation, limits: list[str]
) -> lib.Valuation:
  """Adds the curves at all sizes that can be trained on."""
  trainable: dict[str, Any] = {
      'batch_size': job.pool.trainer.min_subset_size,
      'num_classes': job.dataset.num_classes,
  }
  labels = job.dataset.train.labels
  sizes = {}
  for mode in curves_lib.MODES:
    sizes[mode], reasons = curves_lib.trainable_sizes(
        curves_lib.by_value(lib.ways(valued), mode, _NUM_RANDOM, job.seed),
        _sizes(job),
        mode,
        labels=labels,
        **trainable,
    )
    limits.extend(f'{valued.rank_by}: {reason}' for reason in reasons)
  return lib.retrained(
      valued,
      job.retrain(_OUTCOME),
      removal_sizes=sizes['remove'],
      addition_sizes=sizes['add'],
      target_labels=job.dataset.test.labels,
      replicates=job.replicates or _REPLICATES,
      num_random=_NUM_RANDOM,
      train_labels=labels,
      seed=job.seed,
      **trainable,
  )


def _outcomes(job: job_lib.Job) -> np.ndarray:
  """Margins; where they are not stored, correctness serves accuracies."""
  if not job.has_outcome(_OUTCOME) and job.has_outcome('correctness'):
    if 'mean' not in _UTILITIES.value:
      return job.outcomes('correctness')
  return job.outcomes(_OUTCOME)


def _methods(job: job_lib.Job) -> list[str]:
  if _METHODS.value is not None:
    return _METHODS.value
  if job.store.recipe['sampler'] in _SPREAD:
    return ['shapley']
  return ['banzhaf', 'lasso']


def _has_datamodels(job: job_lib.Job) -> bool:
  return bool(job.datamodels_path) or job.has_datamodels('test')


def _rankings(
    job: job_lib.Job, ids: np.ndarray, limits: list[str]
) -> dict[str, np.ndarray]:
  """Datamodel weights, mean over the valuation targets; if there are any."""
  if not _has_datamodels(job):
    limits.append(
        'Without datamodels (experiments.fit_datamodels) their mean weights are'
        ' not compared.'
    )
    return {}
  weights = np.asarray(job.datamodels().weights)
  return {_DATAMODELS: weights[:, ids].mean(axis=1, dtype=np.float64)}


def _orders_drawn(
    job: job_lib.Job, limits: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
  """Rows of whole permutations and their numbers; or all rows and None."""
  rows = job.rows()
  if job.store.recipe['sampler'] != 'permutation_prefixes':
    return np.arange(len(rows)), None
  step = job.store.recipe['sampler_options'].get('step', 1)
  length = -(-job.store.num_train // step)
  groups = (rows + job.store.recipe['first_id']) // length
  names, places, counts = np.unique(
      groups, return_inverse=True, return_counts=True
  )
  whole = counts[places] == length
  if not whole.all():
    limits.append(
        f'{np.sum(counts < length)} of {len(names)} permutations miss a prefix'
        ' and are left out.'
    )
  return np.flatnonzero(whole), groups[whole]


def _sizes(job: job_lib.Job) -> list[int]:
  if job.sizes:
    return job.sizes
  num_train = job.store.num_train
  return sorted({max(round(share * num_train), 1) for share in _SHARES})


def _findings(
    job: job_lib.Job, found: list[lib.Valuation], limits: list[str]
) -> job_lib.Findings:
  limits.append(
      'Values of single examples are noisy: look at the stability, and at the'
      ' curves of many.'
  )
  figures = {}
  for one in found:
    words = one.rank_by.replace(':', ' ')
    for mode, name in (('remove', 'removal'), ('add', 'addition')):
      figures[f'{words} {name}'] = valuation_plots.curves(
          one, mode, outcome=_OUTCOME
      )
    for values in list(one.values.values())[:1]:
      figures[f'{words} extremes'] = valuation_plots.extreme_values(
          values, one.rank_by, outcome=_OUTCOME
      )
      figures[f'{words} examples'] = valuation_plots.extreme_grid(
          job.dataset, values, one.rank_by
      )
  table: dict[str, Any] = {
      'valued by, reported on': (
          f'{len(found[0].valuation_ids)}, {len(found[0].report_ids)} targets'
      )
  }
  for one in found:
    table |= _table(one)
  table['models retrained'] = sum(one.num_retrained for one in found)
  kept = ('agreement', 'removal', 'addition', 'full')
  curves = {one.rank_by: one.to_json() for one in found}
  return job_lib.Findings(
      result={
          'outcome': _OUTCOME,
          'values': curves[found[0].rank_by]['values'],
          'valuation_ids': found[0].valuation_ids.tolist(),
          'report_ids': found[0].report_ids.tolist(),
          'utilities': {
              name: {key: one[key] for key in kept}
              for name, one in curves.items()
          },
      },
      table=table,
      lead=_lead(found),
      figures=figures,
      limits=limits,
  )


def _table(found: lib.Valuation) -> dict[str, Any]:
  name = found.rank_by
  place = found.utilities.index(name)
  table: dict[str, Any] = {}
  for method, values in found.values.items():
    own, error = values.values[:, place], values.standard_error[:, place]
    known = np.isfinite(error).all()
    table[f'{name}: {method}'] = (
        f'halves of the models rank alike by {values.stability[place]:.3f},'
        f' deviation of values {own.std():.2g}'
        + (f', standard error {error.mean():.2g}' if known else '')
    )
  for pair, score in found.agreement.items():
    table[f'{name}: Spearman of {pair}'] = score
  table[f'{name}: all of it'] = found.full[name]
  for curves in (found.removal, found.addition):
    if curves is None:
      continue
    which = curves.measures.index(name)
    for number, order in enumerate(curves.orders):
      if order == curves.baseline:
        table[f'{name}: {curves.mode} at random'] = curves.area[which, number]
        continue
      low, high = curves.gain_interval[:, which, number]
      gain = curves.gain[which, number]
      table[f'{name}: {curves.mode} by {order}, over random'] = (
          f'{gain:+.4f} [{low:+.4f}, {high:+.4f}]'
      )
  return table


def _lead(found: list[lib.Valuation]) -> str:
  num_models = [values.num_models for values in found[0].values.values()]
  utilities = ' and the '.join(one.rank_by for one in found)
  return (
      f'What each training example adds to the {utilities} on'
      f' {len(found[0].valuation_ids)} targets, estimated from'
      f' {max(num_models, default=0)} models of the pool. Where subsets have one'
      ' size, or the utility of all and of none is not known, values add up to'
      ' 0: a positive one raises it more than the average example does. The'
      ' curves show the same utility on the other'
      f' {len(found[0].report_ids)} targets when models are trained without the'
      ' examples of highest or of lowest value, or on the highest alone. Numbers'
      ' over random are mean heights of a curve minus that of random orders,'
      ' with 95 % intervals over trainings. The mean is that of the margin.'
  )
