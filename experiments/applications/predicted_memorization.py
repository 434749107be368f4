"""Memorization of a convex model: by predicted parameters, by exact ones.

Needs a folder of `experiments.fit_modelpred`. Each way estimates the
memorization of every point from more and more random subsets; a reference is
trained exactly on subsets of its own.
"""

from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from experiments.applications import predictors
from jdm.applications import predicted_memorization as lib
from jdm.reports import predicted_plots

_SETS = flags.DEFINE_list(
    'predicted_memorization_sets',
    ['100', '300', '1000', '3000', '10000'],
    'Subsets of each estimate, ascending.',
)
_REFERENCE = flags.DEFINE_integer(
    'predicted_memorization_reference', 20_000, 'Subsets of the reference.'
)
_ALPHA = flags.DEFINE_float(
    'predicted_memorization_alpha', 0.7, 'Share of the points in a subset.'
)
_OUTCOME = flags.DEFINE_enum(
    'predicted_memorization_outcome',
    None,
    list(lib.OUTCOMES),
    'Of the point itself; by default its probability where the loss has one.',
)


def num_trainings(job: job_lib.Job) -> int:
  """Exact trainings: the reference, and the longest estimate."""
  del job
  return _REFERENCE.value + max(_sizes())


def run(job: job_lib.Job) -> job_lib.Findings:
  """Estimates by each way, and compares."""
  pool = predictors.pool_of(job)
  ways = predictors.ways(job, pool, predictors.load(job))
  outcome = _OUTCOME.value
  if outcome is None:
    has = pool.objective.loss in ('logistic', 'softmax')
    outcome = 'probability' if has else 'correctness'
  found = lib.predicted_memorization(
      pool,
      {name: way.predict for name, way in ways.items()},
      num_sets={name: _sizes() for name in ways},
      alpha=_ALPHA.value,
      outcome=outcome,
      num_reference=_REFERENCE.value,
      seed=job.seed,
  )
  exact = ways[predictors.EXACT]
  job.retrain_seconds['cpu'] += float(
      exact.seconds(_REFERENCE.value + max(_sizes()))
  )
  seconds = np.stack([ways[name].seconds(_sizes()) for name in found.ways])
  return job_lib.Findings(
      result={**found.to_json(), 'way_cpu_seconds': seconds.tolist()},
      table=_table(found, seconds),
      lead=_lead(found),
      figures={
          'agreement': predicted_plots.memorization_curves(found, seconds),
          'scatter': predicted_plots.memorization_scatter(found),
          'most memorized': predicted_plots.memorization_grid(
              job.dataset, found
          ),
      },
      limits=[
          'Standard errors are of sampling subsets; the error of a predictor is'
          ' not in them, and more subsets do not make it smaller.'
      ],
  )


def _sizes() -> list[int]:
  if not all(size.isdigit() and int(size) for size in _SETS.value):
    raise ValueError(
        '--predicted_memorization_sets is a list of positive numbers, got'
        f' {_SETS.value}'
    )
  return sorted(int(size) for size in _SETS.value)


def _table(found: lib.PredictedMemorization, seconds) -> dict[str, Any]:
  table: dict[str, Any] = {
      'points': len(found.reference),
      'reference': (
          f'{found.num_reference:,} subsets; its halves agree by'
          f' {found.reliability:.4f}'
      ),
  }
  for row, name in enumerate(found.ways):
    table[name] = '; '.join(
        f'{number:,} sets {rho:.3f}, {linear:.3f} ({spent:.2g} s)'
        for number, rho, linear, spent in zip(
            found.num_sets[row],
            found.spearman[row],
            found.pearson[row],
            seconds[row],
        )
    )
    table[f'{name}, distance'] = float(found.bias[row])
  return table


def _lead(found: lib.PredictedMemorization) -> str:
  return (
      f'Memorization is the {found.outcome} of a point’s own label when models'
      ' train on it, minus that when they do not, over random subsets of'
      f' {found.alpha:.0%} of the points. Numbers are Spearman and Pearson'
      f' correlations with an exact reference of {found.num_reference:,} other subsets, by number'
      ' of subsets; in brackets the CPU seconds, those for labels and fits'
      ' included. The distance is the root mean squared difference from the'
      ' reference of the longest estimate.'
  )
