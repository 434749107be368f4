"""Mislabelled training examples: scores, their detection, and a retraining.

Best with outcomes of training examples: collect the pool with
`--outcomes=soft_margin,correctness,log_loss --targets=test,train`. Scores of
train targets' datamodels join where WORKDIR/datamodels_lasso_train.npz exists.

Which score to trust is chosen on one set of known mislabels and reported on
others: run this on both, the second time with --mislabels_choose_on.
"""

import json
import os
from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from jdm.analysis import curves as curves_lib
from jdm.analysis import knn_shapley
from jdm.applications import mislabels as lib
from jdm.reports import mislabels_plots

_CHOSEN = flags.DEFINE_string(
    'mislabels_chosen', None, 'Score to go by; data_oob by default.'
)
_CHOOSE_ON = flags.DEFINE_string(
    'mislabels_choose_on',
    None,
    'Working directory of another data set, whose best score is gone by.',
)
_NEIGHBOURS = flags.DEFINE_integer(
    'mislabels_neighbours', 5, 'K of the nearest-neighbour Shapley values.'
)
_RETRAIN = flags.DEFINE_bool(
    'mislabels_retrain', True, 'Whether to train without the suspects.'
)
_REPLICATES, _FULL = 10, 10


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings: four training sets, and features or losses of the full one."""
  if not _RETRAIN.value:
    return 1
  return 4 * (job.replicates or _REPLICATES) + _FULL + 1


def run(job: job_lib.Job, chosen: str | None = None) -> job_lib.Findings:
  """Scores, measures where mislabels are known, and cleans.

  Args:
    job: with outcomes of training examples.
    chosen: the score to go by; by default as the flags say.
  """
  dataset = job.dataset
  if not dataset.num_classes:
    raise ValueError(
        f'mislabels need classes, and {dataset.name!r} is a regression task'
    )
  limits: list[str] = []
  # Some scores read test examples: the accuracy is measured on others.
  chosen_by, reported = curves_lib.halves(
      'mislabels', len(dataset.test), seed=job.seed
  )
  scores = _scores(job, chosen_by, limits)
  bad = None if dataset.planted is None else dataset.planted.mislabels
  if bad is None or not len(bad):
    bad = None
    limits.append(
        'No mislabels are known here, so nothing says which score finds them:'
        ' judge the images. Known ones come with --dataset=planted'
        ' --plant=mislabels.'
    )
  result = lib.mislabels(
      scores,
      chosen=chosen or _chosen(scores, limits),
      bad=bad,
      retrain=job.retrain('correctness') if _RETRAIN.value else None,
      num_targets=len(dataset.test),
      report_ids=reported,
      labels=dataset.train.labels,
      replicates=job.replicates or _REPLICATES,
      batch_size=job.pool.trainer.min_subset_size,
      seed=job.seed,
  )
  return job_lib.Findings(
      result=result.to_json(),
      table=_table(result),
      lead=_lead(result),
      figures={
          'detection': mislabels_plots.curves(result),
          'AUC': mislabels_plots.areas(result),
          'suspects': mislabels_plots.sheet(result, dataset),
          'cleaning': mislabels_plots.cleaning(result),
      },
      limits=limits,
  )


def _scores(
    job: job_lib.Job, test_ids: np.ndarray, limits: list[str]
) -> dict[str, np.ndarray]:
  """All scores that the working directory has the inputs for.

  Args:
    job: the pool.
    test_ids: int, test examples that a score may read.
    limits: gets a sentence for what is left out.
  """
  margin = (
      'soft_margin' if job.has_outcome('soft_margin', 'train') else 'margin'
  )
  names = {
      'margins': (margin, 'train'),
      'correctness': ('correctness', 'train'),
      'losses': ('log_loss', 'train'),
      'test_margins': (margin, 'test'),
  }
  found = {
      key: job.outcomes(*name)
      for key, name in names.items()
      if job.has_outcome(*name)
  }
  missing = [names[key][0] for key in list(names)[:3] if key not in found]
  how = '--outcomes=soft_margin,correctness,log_loss --targets=test,train'
  if len(missing) == 3:
    raise ValueError(
        f'mislabels need outcomes of training examples, and {job.store.path}'
        f' has none: collect with {how}'
    )
  if missing:
    limits.append(
        f'Scores by {", ".join(missing)} of training examples are left out:'
        f' collect with {how}.'
    )
  if 'test_margins' in found:
    found['test_margins'] = found['test_margins'][:, test_ids]
  scores = lib.pool_scores(job.masks(), **found)
  if job.has_datamodels('train'):
    scores |= lib.datamodel_scores(job.datamodels('train'))
  else:
    limits.append(
        'Scores by datamodels of training examples are left out: run'
        ' experiments.fit_datamodels --targets=train.'
    )
  everything = np.ones((1, job.store.num_train), bool)
  if _RETRAIN.value:
    losses = job.retrain('log_loss', targets='train')(everything, _FULL)
    scores['full_loss'] = np.nanmean(losses, axis=(0, 1))
  return scores | _neighbours(job, test_ids, limits)


def _neighbours(
    job: job_lib.Job, test_ids: np.ndarray, limits: list[str]
) -> dict[str, np.ndarray]:
  """Minus the nearest-neighbour Shapley values, by inputs and by features."""
  train, test = job.dataset.train, job.dataset.test.take(test_ids)
  features = {'inputs': {'train': train.inputs, 'test': test.inputs}}
  if job.store.recipe['model'] == 'linear':
    limits.append(
        'A linear model has no hidden layer: no nearest neighbours by features.'
    )
  else:
    own = job.features()
    features['features'] = {**own, 'test': own['test'][test_ids]}
  limits.append(
      'Nearest-neighbour Shapley values and harm_to_tests read the labels of'
      ' half of the test examples, which were not mislabelled; the accuracy'
      ' after cleaning is measured on the other half.'
  )
  return {
      f'knn_shapley_{name}': -knn_shapley.knn_shapley(
          both['train'],
          train.labels,
          both['test'],
          test.labels,
          num_neighbours=_NEIGHBOURS.value,
      )
      for name, both in features.items()
  }


def _chosen(scores: dict[str, np.ndarray], limits: list[str]) -> str:
  """The score to go by: named, the best elsewhere, or the default."""
  if _CHOSEN.value and _CHOOSE_ON.value:
    raise ValueError(
        'give --mislabels_chosen or --mislabels_choose_on, not both'
    )
  if _CHOSEN.value:
    return _CHOSEN.value
  if _CHOOSE_ON.value:
    path = os.path.join(_CHOOSE_ON.value, 'mislabels.json')
    if not os.path.exists(path):
      raise ValueError(
          f'--mislabels_choose_on: there is no {path}; run this application'
          ' there first'
      )
    with open(path, encoding='utf-8') as file:
      best = json.load(file)['best']
    if best not in scores:
      raise ValueError(
          f'{path} chose {best!r}, which is none of the scores here:'
          f' {sorted(scores)}'
      )
    limits.append(f'The score was chosen on other mislabels: {path}.')
    return best
  limits.append(
      'The score was not chosen by measurements; the best one here would have'
      ' to be reported on other mislabels (--mislabels_choose_on).'
  )
  return lib.DATA_OOB if lib.DATA_OOB in scores else next(iter(scores))


def _table(result: lib.Mislabels) -> dict[str, Any]:
  table: dict[str, Any] = {'score used': mislabels_plots.name_of(result.chosen)}
  for name, one in sorted(result.detections.items(), key=lambda i: -i[1].auc):
    low, high = one.auc_interval
    table[mislabels_plots.name_of(name)] = (
        f'AUC {one.auc:.4f} [{low:.4f}, {high:.4f}], precision among the first'
        f' {one.num_bad} {one.precision:.3f}'
    )
  cleaning = result.cleaning
  if cleaning is not None:
    table['accuracy on everything'] = cleaning.accuracy['nothing']
    for what, change in cleaning.change.items():
      interval = cleaning.interval[what]
      words = (
          ''
          if interval is None
          else f' [{interval[0]:+.4f}, {interval[1]:+.4f}]'
      )
      table[f'  without {cleaning.num_removed} ({what})'] = (
          f'{change:+.4f}{words}'
      )
  return table


def _lead(result: lib.Mislabels) -> str:
  words = (
      'Training examples by how suspect their labels are; scores are higher for'
      ' more suspect ones. The score used is'
      f' {mislabels_plots.name_of(result.chosen)}.'
  )
  if result.detections:
    one = result.detections[result.chosen]
    words += (
        f' {one.num_bad} of {one.num_train} labels were set wrong on purpose.'
        f' It finds {100 * one.precision:.0f} % of them among as many suspects'
        f' (by chance {100 * one.num_bad / one.num_train:.0f} %); AUC is the'
        ' chance that a wrong label scores higher than a right one, 0.5 is'
        ' chance.'
    )
  if result.cleaning is not None:
    words += (
        f' Models were then trained without the {result.cleaning.num_removed}'
        ' most suspect examples, beside as many random ones.'
    )
  return words
