"""Memorization of training examples and their influence on tests.

Needs outcomes of training examples: collect the pool with
`--outcomes=soft_margin,correctness --targets=test,train`.
"""

from typing import Any

from absl import flags

from experiments.applications import job as job_lib
from jdm.applications import memorization as lib
from jdm.reports import canvas
from jdm.reports import memorization_plots
from jdm.reports import tables

_OUTCOME = flags.DEFINE_string(
    'memorization_outcome',
    'correctness',
    'What is memorized; the thresholds are for correctness.',
)
_MIN = flags.DEFINE_float(
    'memorization_min', 0.25, 'Memorization of a training example in a pair.'
)
_MIN_INFLUENCE = flags.DEFINE_float(
    'memorization_min_influence', 0.15, 'Its influence on the test example.'
)
_RETRAINED = flags.DEFINE_integer(
    'memorization_retrained',
    20,
    'Most memorized examples that are left out of the full training set, and'
    ' as many random ones; 0 retrains nothing.',
)
_REPLICATES, _CONTROLS = 10, 20


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings: each example left out, and the full set."""
  if not _RETRAINED.value:
    return 0
  replicates = job.replicates or _REPLICATES
  return 2 * _RETRAINED.value * replicates + _CONTROLS


def run(job: job_lib.Job) -> job_lib.Findings:
  """Estimates, and leaves out the extremes."""
  outcome, limits = _OUTCOME.value, []
  train_outcomes = job.outcomes(outcome, 'train')
  test_outcomes = None
  if job.has_outcome(outcome):
    test_outcomes = job.outcomes(outcome)
  else:
    limits.append(
        f'Influence on test examples is left out: the pool has no {outcome} of'
        f' them. Collect with --outcomes={outcome} --targets=test,train.'
    )
  if outcome != 'correctness':
    limits.append(
        'The thresholds of the pairs are made for correctness, not for'
        f' {outcome}.'
    )
  retrain = None
  if _RETRAINED.value:
    retrain = job.retrain(outcome, targets='train')
  result = lib.memorization(
      job.masks(),
      train_outcomes,
      test_outcomes,
      min_memorization=_MIN.value,
      min_influence=_MIN_INFLUENCE.value,
      retrain=retrain,
      num_retrained=_RETRAINED.value,
      replicates=job.replicates or _REPLICATES,
      control_replicates=_CONTROLS,
      batch_size=job.pool.trainer.min_subset_size,
      seed=job.seed,
  )
  limits.append(
      'Estimates are for training sets of the size of the pool’s subsets: less'
      ' has to be memorized where more is trained on.'
  )
  return job_lib.Findings(
      result={**result.to_json(), 'outcome': outcome},
      table=_table(result),
      lead=_lead(result, outcome),
      figures={
          'distribution': memorization_plots.distribution(
              result, outcome=outcome
          ),
          'most memorized': memorization_plots.sheet(result, job.dataset),
          'pairs': memorization_plots.pairs_sheet(result, job.dataset),
          'extremes': memorization_plots.shrinkage(result, outcome=outcome),
          'left out': memorization_plots.left_out(result, outcome=outcome),
      },
      limits=limits,
  )


def _table(result: lib.Memorization) -> dict[str, Any]:
  own = result.memorization
  table: dict[str, Any] = {
      'models': result.num_models,
      f'examples memorized by {result.min_memorization:g} or more': int(
          (own.value >= result.min_memorization).sum()
      ),
      'correlation of both halves of the models': result.reliability,
  }
  if result.pairs is not None:
    table['influence pairs'] = (
        f'{len(result.pairs.pairs)}, of {result.pairs.num_train} train and'
        f' {result.pairs.num_test} test examples'
    )
  for one in result.shrinkage:
    table[f'extreme {one.what}'] = (
        f'{tables.number(one.chosen)} on the half that chose'
        f' {one.num_chosen:g}, {tables.number(one.fresh)} on the other'
    )
  if result.left_out is not None:
    score = result.left_out.agreement
    table['left out of the full set'] = (
        f'Spearman {tables.number(score.spearman)} (ceiling'
        f' {tables.number(score.ceiling)}), slope {tables.number(score.slope)}'
    )
  return table


def _lead(result: lib.Memorization, outcome: str) -> str:
  own = result.memorization
  count = int((own.value >= result.min_memorization).sum())
  words = (
      f'Memorization of a training example: its mean {canvas.words(outcome)} in'
      ' models that trained on it minus that in models that did not'
      f' ({result.num_models} models, the same for all). {count} of'
      f' {len(own.value)} examples have {result.min_memorization:g} or more.'
  )
  if result.pairs is not None:
    words += (
        f' Influence is the same difference on a test example:'
        f' {len(result.pairs.pairs)} pairs of such a training example and a'
        f' test example have {result.min_influence:g} or more; positive is'
        ' helpful.'
    )
  return words + (
      ' The largest of many estimates are partly luck: chosen on one half of'
      ' the models, they are shown as measured on the other, too.'
  )
