"""Calibration: is an average over resampled training sets better than one model?

Needs a folder of `experiments.fit_modelpred` with a task of classes.
Probabilities are averaged over models of the same resamples, trained exactly or
predicted, and held against one model, temperature scaling and Laplace's
approximation.
"""

import time
from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from experiments.applications import predictors
from jdm.applications import calibration as lib
from jdm.modelpred import ensembles
from jdm.reports import calibration_plots
from jdm.training import convex

_MODELS = flags.DEFINE_integer(
    'calibration_models', 200, 'Resamples, and draws of Laplace.'
)
_RESAMPLES = flags.DEFINE_enum(
    'calibration_resamples',
    'half',
    list(ensembles.KINDS),
    'Half of the points without, or all with replacement.',
)
_SINGLE, _LAPLACE = 'one model', 'Laplace'


def num_trainings(job: job_lib.Job) -> int:
  """Exact trainings: the resamples, and everything."""
  del job
  return _MODELS.value + 1


def run(job: job_lib.Job) -> job_lib.Findings:
  """Averages, scores, compares."""
  if job.dataset.num_classes < 2:
    raise ValueError(
        'calibration is about probabilities of classes; dataset'
        f' {job.dataset.name!r} is one of regression'
    )
  if _MODELS.value < 2:
    raise ValueError(
        f'--calibration_models must be 2 or more, got {_MODELS.value}'
    )
  pool = predictors.pool_of(job)
  loaded = predictors.load(job)
  masks = ensembles.resamples(
      pool, _MODELS.value, kind=_RESAMPLES.value, seed=job.seed
  )
  logits = {_SINGLE: _logits(job, pool, pool.full[None])}
  seconds: dict[str, float] = {}
  for name, way in predictors.ways(job, pool, loaded).items():
    start = time.process_time()
    logits[name] = _logits(job, pool, way.predict(masks))
    seconds[name] = way.fixed_seconds + time.process_time() - start
    if name == predictors.EXACT:
      job.retrain_seconds['cpu'] += seconds[name]
  limits = []
  if pool.objective.loss in ('logistic', 'softmax'):
    start = time.process_time()
    draws = ensembles.laplace(pool, _MODELS.value, seed=job.seed)
    logits[_LAPLACE] = _logits(job, pool, draws)
    seconds[_LAPLACE] = time.process_time() - start
  else:
    limits.append(
        'Laplace’s approximation is left out: the loss'
        f' {pool.objective.loss!r} is no likelihood, and softmax of its scores'
        ' only a way to make probabilities.'
    )
  found = lib.calibration(
      logits,
      job.dataset.test.labels,
      scaled=(_SINGLE, predictors.EXACT),
      reference=predictors.EXACT,
      seed=job.seed,
  )
  return job_lib.Findings(
      result={**found.to_json(), 'way_cpu_seconds': seconds},
      table=_table(found, seconds),
      lead=_lead(found),
      figures={
          'scores': calibration_plots.scores(found),
          'reliability': calibration_plots.reliability(found),
      },
      limits=limits,
  )


def _logits(job: job_lib.Job, pool: Any, parameters: np.ndarray) -> np.ndarray:
  """Of the test examples, `[num_models, num_test, num_classes]`."""
  data = convex.examples(job.dataset.test.inputs, job.dataset.test.labels)
  return np.asarray(pool.objective.logits(parameters, data.columns))


def _table(found: lib.Calibration, seconds: dict[str, float]) -> dict[str, Any]:
  table: dict[str, Any] = {
      'models averaged': max(found.num_models.values()),
      'test examples reported on': len(found.report_ids),
  }
  for name, one in found.scores.items():
    low, high = one.interval['nll']
    text = (
        f'NLL {one.values["nll"]:.4f} [{low:.4f}, {high:.4f}], Brier'
        f' {one.values["brier"]:.4f}, ECE {one.values["ece"]:.4f}, accuracy'
        f' {one.values["accuracy"]:.4f}, coverage'
        f' {one.values["coverage"]:.3f} of {found.level:.2f} by sets of'
        f' {one.values["set_size"]:.2f}'
    )
    if name in found.difference:
      text += f'; {found.difference[name]:.4f} from {found.reference}'
    if name in seconds:
      text += f'; {seconds[name]:.2g} CPU s'
    table[name] = text
  for name, value in found.temperature.items():
    table[f'temperature, {name}'] = value
  return table


def _lead(found: lib.Calibration) -> str:
  return (
      f'Probabilities of {max(found.num_models.values())} models are averaged,'
      ' each trained on a resample of the training set: exactly, or predicted.'
      ' NLL is the mean negative log-likelihood (nats), ECE the expected'
      ' calibration error of 15 bins, coverage the share of labels within the'
      f' smallest set of classes that holds {found.level:.0%} of the'
      ' probability. Differences are means of absolute differences of'
      ' probabilities from exact training on the same resamples. Temperatures'
      ' were chosen on the other half of the test examples. CPU seconds count'
      ' labels and fits.'
  )
