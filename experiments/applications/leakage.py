"""Train-test leakage: pairs to judge, and how well scores find known pairs."""

import dataclasses
import os
from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from experiments.applications import similarity
from jdm.analysis import detection
from jdm.analysis import likeness
from jdm.analysis import pairs as pairs_lib
from jdm.applications import leakage as leakage_lib
from jdm.regressors import difference_of_means
from jdm.reports import leakage_plots
from jdm.reports import tables

_NUM_PAIRS = flags.DEFINE_integer(
    'leakage_num_pairs', 200, 'Pairs to list, strongest first.'
)
_PAGES = flags.DEFINE_integer(
    'leakage_pages', 2, 'Pages of 24 pairs to draw for a person to judge.'
)
_METADATA = flags.DEFINE_string(
    'leakage_metadata',
    None,
    '.npz with train_metadata [num_train, d] and test_metadata [num_test, d];'
    ' pairs closer than --leakage_threshold are taken for known.',
)
_THRESHOLD = flags.DEFINE_float(
    'leakage_threshold',
    None,
    'Distance in units of the metadata; kilometres for haversine.',
)
_METRIC = flags.DEFINE_enum(
    'leakage_metric',
    'euclidean',
    ['euclidean', 'haversine'],
    'Of metadata; haversine for latitude and longitude in degrees.',
)
_VERIFY = flags.DEFINE_integer(
    'leakage_verify',
    24,
    'Pairs whose training example is removed for a retraining: known ones, or'
    ' else the strongest; 0 retrains nothing.',
)
_NUM_MODELS = flags.DEFINE_integer(
    'leakage_num_models',
    100,
    'Models of the log-probability correlation, besides 10 and 20.',
)
_PAGE = 24
_REPLICATES = 4
_CONTROLS = 20
_FEW_MODELS = (10, 20)


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings: removals, controls, and one model for its features."""
  number = 0 if job.store.recipe['model'] == 'linear' else 1
  if _VERIFY.value:
    number += _VERIFY.value * (job.replicates or _REPLICATES) + _CONTROLS
  return number


def run(job: job_lib.Job) -> job_lib.Findings:
  """Ranks pairs by weight; measures all scores where pairs are known."""
  fitted, dataset = job.datamodels(), job.dataset
  limits: list[str] = []
  truth = known_pairs(dataset)
  if truth is None:
    limits.append(
        'No pairs are known here, so nothing says which score finds them: judge'
        ' the pages. Known ones come with --dataset=planted or'
        ' --leakage_metadata.'
    )
  name = fitted.regressor or leakage_lib.WEIGHTS
  scores = {name: np.asarray(fitted.weights)}
  if truth is not None:
    scores = all_scores(job, fitted, limits)
  found = leakage_lib.leakage(
      scores.pop(name),
      score=name,
      others=scores,
      truth=truth,
      num_pairs=_NUM_PAIRS.value,
      seed=job.seed,
  )
  found = _with_errors(job, fitted, found, limits)
  removed = _removals(job, fitted, found)
  figures: dict[str, Any] = {
      f'pairs {page + 1}': leakage_plots.pairs_page(
          dataset, found, first=page * _PAGE, count=_PAGE
      )
      for page in range(_PAGES.value)
  }
  figures['AUC'] = leakage_plots.auc(found.detections)
  figures['ROC'] = leakage_plots.roc(found)
  result = found.to_json()
  if removed is not None:
    result['removals'] = removed.to_json()
    figures['removals'] = leakage_plots.removal_scatter(
        removed, outcome=fitted.outcome
    )
  return job_lib.Findings(
      result=result,
      table=_table(found, removed),
      lead=_lead(found, removed),
      figures=figures,
      limits=limits,
  )


def _with_errors(
    job: job_lib.Job,
    fitted: Any,
    found: leakage_lib.Leakage,
    limits: list[str],
) -> leakage_lib.Leakage:
  """Adds standard errors of the weights that are drawn."""
  pairs = found.pairs[: _PAGES.value * _PAGE]
  targets = np.unique(pairs[:, 1])
  drawn = job.uncertainty(fitted, limits, target_ids=targets)
  if drawn is None:
    return found
  errors = np.full(len(found.pairs), np.nan)
  places = np.searchsorted(targets, pairs[:, 1])
  errors[: len(pairs)] = drawn.error[pairs[:, 0], places]
  limits.append(
      'After ±, the standard deviation of a weight over'
      f' {drawn.num_bootstrap} resamples of the models; the strongest of many'
      ' weights are overestimated.'
  )
  return dataclasses.replace(found, errors=errors)


def known_pairs(dataset: Any) -> pairs_lib.Truth | None:
  """Pairs that are known: by --leakage_metadata, or planted; or None.

  Raises:
    ValueError: if the metadata are not there or do not fit the dataset.
  """
  path = _METADATA.value
  if path is None:
    return leakage_lib.planted_pairs(dataset.planted)
  if _THRESHOLD.value is None:
    raise ValueError('--leakage_metadata needs --leakage_threshold')
  if not os.path.exists(path):
    raise ValueError(f'--leakage_metadata: there is no file {path}')
  names = ('train_metadata', 'test_metadata')
  with np.load(path) as file:
    missing = [name for name in names if name not in file.files]
    if missing:
      raise ValueError(f'{path} lacks {missing}; it has {file.files}')
    arrays = [file[name] for name in names]
  sizes = len(dataset.train), len(dataset.test)
  if tuple(map(len, arrays)) != sizes:
    raise ValueError(
        f'{path} has metadata of {len(arrays[0])} training and'
        f' {len(arrays[1])} test examples; the dataset has {sizes[0]} and'
        f' {sizes[1]}'
    )
  return pairs_lib.nearby(
      *arrays, threshold=_THRESHOLD.value, metric=_METRIC.value
  )


def all_scores(
    job: job_lib.Job, fitted: Any, limits: list[str]
) -> dict[str, np.ndarray]:
  """All scores by name, that of the datamodels first; `limits` says what lacks."""
  weights = {fitted.regressor or leakage_lib.WEIGHTS: fitted.weights}
  if fitted.regressor != 'difference_of_means':
    means = difference_of_means.fit(job.masks(), job.outcomes(fitted.outcome))
    weights['difference_of_means'] = means.weights
  pixels, name = similarity.pixels_of(job.dataset)
  features = job.features()
  if job.store.recipe['model'] == 'linear':
    limits.append(
        'A linear model has no hidden layer: its representation is the input.'
    )
  outputs = _outputs(job, limits)
  number = 0 if outputs is None else len(outputs[0])
  return likeness.all_scores(
      weights,
      distances={name: pixels},
      features={'representation': (features['train'], features['test'])},
      outputs=outputs,
      num_models=(*_FEW_MODELS, number),
  )


def _outputs(
    job: job_lib.Job, limits: list[str]
) -> tuple[np.ndarray, np.ndarray] | None:
  """What some models say of training and of test examples."""
  names = [
      name
      for name in ('logits', 'log_loss')
      if all(job.has_outcome(name, targets) for targets in ('train', 'test'))
  ]
  if not names:
    limits.append(
        'The correlation of log-probabilities is left out: the pool has neither'
        ' logits nor log-losses of both train and test targets. Collect with'
        ' --outcomes=soft_margin,log_loss --targets=test,train.'
    )
    return None
  of_all = names[0] == 'logits'
  limits.append(
      'Log-probability correlation: over models of the pool, which train on'
      ' subsets; of '
      + ('all classes (logits).' if of_all else 'the correct class (log-loss).')
  )
  rows = job.rows()[: _NUM_MODELS.value]
  train, test = (
      job.outcomes(names[0], targets, rows=rows)
      for targets in ('train', 'test')
  )
  return train, test


def _removals(
    job: job_lib.Job, fitted: Any, found: leakage_lib.Leakage
) -> leakage_lib.Removals | None:
  """Retrains without the training example of some pairs."""
  if not _VERIFY.value:
    return None
  pairs, kinds = found.pairs[: _VERIFY.value], None
  if found.truth is not None:
    chosen = leakage_lib.spread(found.truth.pairs, _VERIFY.value, job.seed)
    pairs = found.truth.pairs[chosen]
    kinds = [found.truth.kinds[place] for place in chosen]
  return leakage_lib.removals(
      np.asarray(fitted.weights),
      pairs,
      retrain=job.retrain(fitted.outcome),
      kinds=kinds,
      replicates=job.replicates or _REPLICATES,
      control_replicates=_CONTROLS,
  )


def _table(
    found: leakage_lib.Leakage, removed: leakage_lib.Removals | None
) -> dict[str, Any]:
  table: dict[str, Any] = {
      'pairs listed': len(found.pairs),
      'ranked by': leakage_plots.name_of(found.score),
  }
  kinds = list(dict.fromkeys(one.kind for one in found.detections))
  for score in dict.fromkeys(one.score for one in found.detections):
    cells = [f'{kind} {found.found(score, kind).auc:.4f}' for kind in kinds]
    table[f'AUC, {leakage_plots.name_of(score)}'] = ', '.join(cells)
  best = detection.choose_score(found.detections)
  for kind in kinds:
    own = found.found(found.score, kind)
    low, high = own.auc_interval
    table[f'{kind} by weight'] = (
        f'{own.num_pairs} pairs, AUC {own.auc:.4f} [{low:.4f}, {high:.4f}],'
        f' first of its target {own.first:.0%}; best'
        f' {leakage_plots.name_of(best[kind])}'
    )
  if removed is not None:
    for kind, one in removed.agreement.items():
      table[f'removals, {kind}'] = (
          f'Spearman of weight and effect {tables.number(one.spearman)}'
          f' (ceiling {tables.number(one.ceiling)}), slope'
          f' {tables.number(one.slope)}'
      )
  return table


def _lead(
    found: leakage_lib.Leakage, removed: leakage_lib.Removals | None
) -> str:
  words = (
      'Pairs of a training and a test example, strongest first by'
      f' {leakage_plots.name_of(found.score)}: how much models need the'
      ' training example to get the test example right. Pages show them for a'
      ' person to judge whether they are one and the same.'
  )
  if found.truth is not None:
    words += (
        f' {len(found.truth.pairs)} pairs are known. AUC is the chance that a'
        ' known pair scores higher than any other pair; 0.5 is chance. A score'
        ' chosen by these numbers is to be judged on other known pairs.'
    )
  if removed is not None:
    words += (
        f' The training example of {len(removed.pairs)} pairs was removed and'
        f' {removed.replicates} models trained again on all others: its weight'
        ' against the change of the outcome on its test example.'
    )
  return words
