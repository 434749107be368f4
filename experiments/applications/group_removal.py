"""Removal of groups: classes, clusters of training examples, lists of ids.

Clusters are found by k-means within each class, in the penultimate layer of one
model trained on everything. Random groups of their sizes are the comparison.
"""

from collections.abc import Mapping
import json

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from jdm.applications import group_removal as lib
from jdm.reports import group_removal_plots

_CLUSTERS = flags.DEFINE_integer(
    'group_removal_clusters', 3, 'Clusters in each class.'
)
_FILE = flags.DEFINE_string(
    'group_removal_file',
    None,
    'JSON with lists of train rows by name: your own groups.',
)
_REPLICATES, _CONTROLS = 20, 20
_Groups = dict[str, np.ndarray]


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings at most."""
  classes = max(job.dataset.num_classes, 1)
  groups = classes + 2 * classes * _CLUSTERS.value + len(_own_groups())
  return groups * (job.replicates or _REPLICATES) + _CONTROLS


def run(job: job_lib.Job) -> job_lib.Findings:
  """Predicts and retrains."""
  if _CLUSTERS.value < 1:
    raise ValueError(
        f'--group_removal_clusters must be positive, got {_CLUSTERS.value}'
    )
  fitted = job.datamodels()
  clusters, limits = _clusters(job)
  kinds = {
      'classes': _classes(job),
      'clusters': clusters,
      'random': _random_like(clusters, fitted.num_train, job.seed),
      'own': _own_groups(),
  }
  retrain = job.retrain(fitted.outcome)
  targets = job.random_targets(fitted.num_targets)
  results = {}
  for kind, groups in kinds.items():
    if groups:
      # Without labels: to remove a whole class is the point.
      results[kind] = lib.group_removal(
          fitted,
          groups,
          target_ids=targets,
          batch_size=job.pool.trainer.min_subset_size,
          retrain=retrain,
          replicates=job.replicates or _REPLICATES,
          control_replicates=_CONTROLS,
      )
  return job_lib.Findings(
      result={
          'outcome': fitted.outcome,
          **{kind: result.to_json() for kind, result in results.items()},
      },
      table=_table(results),
      lead=_lead(results, fitted.outcome),
      figures={
          'scatter': group_removal_plots.scatter(
              results, outcome=fitted.outcome
          )
      },
      limits=limits,
  )


def _classes(job: job_lib.Job) -> _Groups:
  dataset = job.dataset
  labels = dataset.train.labels
  names = dataset.class_names or [str(n) for n in range(dataset.num_classes)]
  groups = {
      f'class {name}': np.flatnonzero(labels == number)
      for number, name in enumerate(names)
  }
  return {name: rows for name, rows in groups.items() if rows.size}


def _clusters(job: job_lib.Job) -> tuple[_Groups, list[str]]:
  """Clusters within each class, or of everything in a regression task."""
  from sklearn import cluster

  limits = []
  try:
    features = job.features()['train']
  except ValueError as error:
    limits.append(f'Clusters are of the inputs: {error}')
    inputs = job.dataset.train.inputs
    features = inputs.reshape(len(inputs), -1)
  within = _classes(job) or {'everything': np.arange(len(features))}
  groups = {}
  for name, rows in within.items():
    count = min(_CLUSTERS.value, len(rows))
    found = cluster.KMeans(count, n_init=3, random_state=job.seed).fit_predict(
        features[rows]
    )
    for number in range(count):
      groups[f'{name}, cluster {number}'] = rows[found == number]
  return {name: rows for name, rows in groups.items() if rows.size}, limits


def _random_like(groups: _Groups, num_train: int, seed: int) -> _Groups:
  rng = np.random.default_rng(seed)
  return {
      f'random {number}': np.sort(rng.permutation(num_train)[: len(rows)])
      for number, rows in enumerate(groups.values())
  }


def _own_groups() -> _Groups:
  if not _FILE.value:
    return {}
  try:
    with open(_FILE.value, encoding='utf-8') as file:
      values = json.load(file)
  except (OSError, ValueError) as error:
    raise ValueError(f'--group_removal_file: {error}') from error
  if not isinstance(values, Mapping) or not values:
    raise ValueError(
        '--group_removal_file expects {"name": [train rows], ...}, got'
        f' {type(values).__name__}'
    )
  return {str(name): np.asarray(rows) for name, rows in values.items()}


def _table(results: dict[str, lib.GroupRemoval]) -> dict[str, object]:
  table: dict[str, object] = {}
  for kind, result in results.items():
    a = result.agreement['all']
    table[kind] = (
        f'{len(result.names)} groups of {result.sizes.min()} to'
        f' {result.sizes.max()}: Spearman {a.spearman:.3f} (ceiling'
        f' {a.ceiling:.3f}), slope {a.slope:.2f}, MSE {a.mse:.3g}'
    )
    means = result.agreement_of_means
    if means is not None:
      table[f'  {kind}, mean over targets'] = (
          f'Spearman {means.spearman:.3f} (ceiling {means.ceiling:.3f})'
      )
  # The control is trained once.
  groups = sum(len(r.names) * r.replicates for r in results.values())
  table['models retrained'] = groups + _CONTROLS
  return table


def _lead(results: dict[str, lib.GroupRemoval], outcome: str) -> str:
  clusters = results['clusters']
  score = clusters.agreement['all']
  return (
      f'Whole groups of training examples were removed, and the model was'
      f' trained again {clusters.replicates} times. Predicted is minus the sum'
      f' of the group’s weights, in units of {outcome}, for each of'
      f' {len(clusters.target_ids)} test examples. For {len(clusters.names)}'
      ' clusters within classes, predicted and observed changes have a rank'
      f' correlation of {score.spearman:.3f} (what the noise of retraining'
      f' leaves possible: {score.ceiling:.3f}) and a slope of'
      f' {score.slope:.2f}. Datamodels add effects up: of a whole class, whose'
      ' loss leaves nothing to learn it from, they see only that sum.'
  )
