"""Backdoor: the set of training examples that depend most on each other.

Needs margins of training examples: collect the pool with
`--outcomes=soft_margin,correctness --targets=test,train`.
"""

from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from jdm.analysis import influence as influence_lib
from jdm.applications import backdoor as lib
from jdm.reports import backdoor_plots

_RESTARTS = flags.DEFINE_integer(
    'backdoor_restarts', 20, 'Random sets that each search starts from.'
)
_LABELS = flags.DEFINE_bool(
    'backdoor_labels', True, 'Whether a set must have one label.'
)
_RETRAIN = flags.DEFINE_bool(
    'backdoor_retrain', True, 'Whether to train without the set found.'
)
_COMPARE = flags.DEFINE_bool(
    'backdoor_compare',
    True,
    'Whether to search without labels, and by LASSO weights, too.',
)
_REPLICATES = 10


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings of three training sets."""
  return 3 * (job.replicates or _REPLICATES) if _RETRAIN.value else 0


def run(job: job_lib.Job) -> job_lib.Findings:
  """Searches, measures where poisoned rows are known, and retrains."""
  limits: list[str] = []
  dataset = job.dataset
  labels = dataset.train.labels if dataset.num_classes else None
  if labels is None:
    raise ValueError(
        f'backdoor needs classes, and {dataset.name!r} is a regression task'
    )
  outcome = (
      'soft_margin' if job.has_outcome('soft_margin', 'train') else 'margin'
  )
  outcomes = job.outcomes(outcome, 'train')
  masks = job.masks()
  whole, *halves = (
      influence_lib.influence(
          masks[models], outcomes[models], own_ids=np.arange(masks.shape[1])
      ).value
      for models in (slice(None), slice(0, None, 2), slice(1, None, 2))
  )
  planted = dataset.planted
  poisoned = None
  if planted is not None and len(planted.poisoned):
    poisoned = planted.poisoned
  else:
    limits.append(
        'No poisoned examples are known here, and a set is always found: judge'
        ' by the values of other labels, the images and the retraining.'
    )
  options: dict[str, Any] = {
      'halves': tuple(halves),
      'poisoned': poisoned,
      'baselines': _baselines(masks, outcomes),
      'num_restarts': _RESTARTS.value,
      'seed': job.seed,
  }
  result = lib.backdoor(whole, labels if _LABELS.value else None, **options)
  others = _others(job, whole, options, limits) if _COMPARE.value else {}
  if _RETRAIN.value:
    result = lib.removal(
        result,
        labels,
        job.retrain('correctness'),
        num_targets=len(dataset.test),
        triggered=() if planted is None else planted.triggered,
        replicates=job.replicates or _REPLICATES,
        batch_size=job.pool.trainer.min_subset_size,
        seed=job.seed,
    )
  return job_lib.Findings(
      result={
          **result.to_json(),
          'outcome': outcome,
          'others': {name: other.to_json() for name, other in others.items()},
      },
      table=_table(result, others),
      lead=_lead(result, outcome, dataset),
      figures={
          'values': backdoor_plots.values(result, dataset, outcome=outcome),
          'matrix': backdoor_plots.matrix(
              result, whole, labels, outcome=outcome
          ),
          'scores': backdoor_plots.scores(result, labels, outcome=outcome),
          'found': backdoor_plots.sheet(result, dataset),
          'removal': backdoor_plots.removal(result),
      },
      limits=limits,
  )


def _baselines(masks, outcomes) -> dict[str, np.ndarray]:
  """Scores that see no pairs: higher = more suspect."""
  own = influence_lib.self_influence(masks, outcomes)
  return {
      'self_influence': own.value,
      'low_margin': -own.mean_with,
      'out_of_bag_margin': -own.mean_without,
  }


def _others(
    job: job_lib.Job,
    whole: np.ndarray,
    options: dict[str, Any],
    limits: list[str],
) -> dict[str, lib.Backdoor]:
  """The same search without labels, and by the LASSO's weights."""
  labels = job.dataset.train.labels
  num_train = len(labels)
  sizes = [10 * 2**power for power in range(30)]
  sizes = [size for size in sizes if size <= num_train // 2] or [1]
  plain: dict[str, Any] = {**options, 'baselines': None}
  found = {'without labels': lib.backdoor(whole, None, sizes=sizes, **plain)}
  if job.has_datamodels('train'):
    plain['halves'] = None
    weights = np.asarray(job.datamodels('train').weights)
    found['by LASSO weights'] = lib.backdoor(weights, labels, **plain)
    limits.append(
        'The size by LASSO weights was chosen by the weights it was found with.'
    )
  else:
    limits.append(
        'The search by LASSO weights is left out: run'
        ' experiments.fit_datamodels --targets=train.'
    )
  return found


def _table(
    result: lib.Backdoor, others: dict[str, lib.Backdoor]
) -> dict[str, Any]:
  table: dict[str, Any] = {}
  for name, one in {'search': result, **others}.items():
    words = f'{len(one.rows)} examples'
    words += f' of label {one.label}' if one.label >= 0 else ''
    if one.poisoned is not None:
      words += f', precision {one.precision:.3f}, recall {one.recall:.3f}'
    table[name] = words
  for name, one in result.detections.items():
    low, high = one.auc_interval
    table[backdoor_plots.name_of(name)] = (
        f'AUC {one.auc:.4f} [{low:.4f}, {high:.4f}], precision among the first'
        f' {one.num_bad} {one.precision:.3f}'
    )
  removal = result.removal
  if removal is not None:
    for group in removal.groups:
      full = removal.mean['nothing'][group]
      table[f'accuracy, {group}'] = ', '.join(
          [f'{full:.3f} on everything']
          + [
              f'{removal.mean[what][group]:.3f} without'
              f' {"the set" if what == "found" else "random ones"}'
              for what in removal.change
          ]
      )
  return table


def _lead(result: lib.Backdoor, outcome: str, dataset) -> str:
  words = (
      'Entry (i, j) of the matrix is what training example i does to the'
      f' {outcome.replace("_", " ")} of training example j (logits, positive ='
      ' helpful), by models that did not train on j. The set of examples with'
      ' the largest sum of influences on each other has'
      f' {len(result.rows)} examples'
  )
  if result.label >= 0:
    names = dataset.class_names
    name = names[result.label] if names else str(result.label)
    words += f', all of class {name}'
  words += '.'
  if result.poisoned is not None:
    words += (
        f' {len(result.poisoned)} examples were poisoned with a trigger:'
        f' {100 * result.precision:.0f} % of the set are poisoned, and'
        f' {100 * result.recall:.0f} % of the poisoned are in the set.'
    )
  return words
