"""Brittleness: how few training examples hold each prediction up.

Uses datamodels of the hard margin where they are given: fit them with
`python -m experiments.fit_datamodels --outcome=margin` in the working
directory, or pass --datamodels=FILE.
"""

from absl import flags
import numpy as np

from experiments.applications import counterfactuals as counterfactuals_command
from experiments.applications import job as job_lib
from experiments.applications import ranked
from jdm.analysis import support
from jdm.applications import brittleness as lib
from jdm.regressors import difference_of_means
from jdm.reports import brittleness_plots

_CERTIFICATIONS = flags.DEFINE_integer(
    'brittleness_certifications', 20, 'Fresh trainings of each estimate.'
)
_INFLATION = flags.DEFINE_float(
    'brittleness_inflation', 0.2, 'Share of examples added for safety.'
)
_MISLABEL = flags.DEFINE_bool(
    'brittleness_mislabel', True, 'Whether to try wrong labels, too.'
)
_OUTCOME = 'margin'
_TARGETS, _REPLICATES, _CONTROLS, _NUM_RANDOM = 60, 20, 20, 10
# Replicate numbers from here on certify; those that choose start at 0.
_FRESH = 100_000
_CENSORED = 'censored'


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings at most: the grids, random draws, certificates, controls."""
  _check(job)
  targets = min(job.num_targets or _TARGETS, job.datamodels().num_targets)
  sizes = len(_sizes(job))
  actions = 1 + _MISLABEL.value
  grids = actions * sizes * targets + _NUM_RANDOM * sizes
  certificates = (3 + 2 * actions) * targets * _CERTIFICATIONS.value
  return grids * (job.replicates or _REPLICATES) + certificates + 2 * _CONTROLS


def run(job: job_lib.Job) -> job_lib.Findings:
  """Estimates and certifies supports."""
  _check(job)
  fitted = job.datamodels()
  everything = np.ones((1, fitted.num_train), bool)
  retrain = job.retrain(_OUTCOME)
  result = lib.brittleness(
      fitted,
      retrain(everything, _CONTROLS)[:, 0],
      sizes=_sizes(job),
      target_ids=job.random_targets(fitted.num_targets, _TARGETS),
      retrain=retrain,
      certify=job.retrain(_OUTCOME, first_replicate=_FRESH),
      labels=job.dataset.train.labels,
      wrong_class=(
          counterfactuals_command.wrong_classes(job)
          if _MISLABEL.value
          else None
      ),
      then=_differences(job),
      batch_size=job.pool.trainer.min_subset_size,
      inflation=_INFLATION.value,
      replicates=job.replicates or _REPLICATES,
      certify_replicates=_CERTIFICATIONS.value,
      num_random=_NUM_RANDOM,
      seed=job.seed,
  )
  limits = [
      'Where positive weights run out, examples of weight 0 follow in the order'
      ' of their differences of means; nothing is predicted of them.'
  ]
  if fitted.outcome != _OUTCOME:
    limits.append(
        f'The weights are of datamodels of the {fitted.outcome}, not of the'
        ' hard margin that decides a flip.'
    )
  sure, weights = ranked.targets(job, result.target_ids, limits)
  return job_lib.Findings(
      result={**result.to_json(), 'outcome': fitted.outcome},
      table=_table(result) | sure,
      lead=_lead(result),
      figures={
          'flipped': brittleness_plots.flipped_curves(result),
          'hold rates': brittleness_plots.hold_rates(result),
          'smallest supports': brittleness_plots.smallest_supports(
              result, job.dataset
          ),
          **weights,
      },
      limits=limits,
  )


def _differences(job: job_lib.Job) -> np.ndarray:
  """Difference of means of the fitted outcome, `[num_train, num_targets]`."""
  rows = job.rows()
  outcomes = job.outcomes(job.datamodels().outcome, rows=rows)
  fitted = difference_of_means.fit(job.masks(rows), outcomes)
  return np.asarray(fitted.weights)


def _check(job: job_lib.Job) -> None:
  if not job.dataset.num_classes:
    raise ValueError(
        'brittleness needs classes: a margin tells right from wrong, and'
        f' {job.dataset.name!r} is a regression task'
    )
  if _CERTIFICATIONS.value < 1 or _INFLATION.value < 0:
    raise ValueError(
        '--brittleness_certifications must be positive and'
        ' --brittleness_inflation not negative'
    )


def _sizes(job: job_lib.Job) -> list[int]:
  return job.sizes or support.default_sizes(job.datamodels().num_train)


def _median(estimate: support.Estimate) -> str:
  """Median size, censored ones above all others."""
  sizes = np.where(estimate.sizes > 0, estimate.sizes, np.inf)
  middle = np.median(sizes)
  return f'{middle:.0f}' if np.isfinite(middle) else _CENSORED


def _table(result: lib.Brittleness) -> dict[str, object]:
  table: dict[str, object] = {
      'targets, right on the full set': len(result.target_ids),
      '  left out: wrong': result.num_wrong,
  }
  for name, estimate in result.estimates.items():
    low, high = estimate.interval
    table[name] = (
        f'{estimate.num_held} of {estimate.num_certified} flipped'
        f' ({estimate.hold_rate:.3f} [{low:.3f}, {high:.3f}]), median size'
        f' {_median(estimate)}, {estimate.num_censored} censored'
    )
  table['models retrained'] = result.num_retrained
  return table


def _lead(result: lib.Brittleness) -> str:
  plain = result.estimates['interpolated']
  more = result.estimates['interpolated' + lib.INFLATED]
  low, high = more.interval
  half = _median(plain)
  text = (
      f'Of {len(result.target_ids)} test examples that models get right,'
      + (
          f' fewer than half are expected to flip (mean hard margin below 0)'
          f' without {result.grid[-1]} training examples'
          if half == _CENSORED
          else (
              ' half are expected to flip (mean hard margin below 0) without'
              f' {half} training examples or fewer'
          )
      )
      + ', chosen by weight. With'
      f' {100 * result.inflation:.0f} % more examples removed,'
      f' {more.num_held} of {more.num_certified} estimates held in'
      f' {result.certify_replicates} fresh trainings each'
      f' ({100 * more.hold_rate:.0f} %, 95 % interval {100 * low:.0f} to'
      f' {100 * high:.0f}); {more.num_censored} targets are censored: not'
      f' expected to flip without {result.grid[-1]} or fewer.'
  )
  if 'mislabel' in result.estimates:
    text += (
        ' With wrong labels in place of removal the median size is'
        f' {_median(result.estimates["mislabel"])}.'
    )
  return text
