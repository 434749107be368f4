"""Datamodels as embeddings: components, clusters, and removals at their ends.

Embeds the training examples where WORKDIR/datamodels_lasso_train.npz exists
(`experiments.fit_datamodels --targets=train`), otherwise the test targets.
"""

from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from jdm import datamodels as datamodels_lib
from jdm import regressors
from jdm.analysis import directions as directions_lib
from jdm.applications import embeddings as embeddings_lib
from jdm.reports import directions_plots
from jdm.reports import embeddings_plots

_COMPONENTS = flags.DEFINE_integer(
    'embeddings_components', 10, 'Principal components to keep.'
)
_VERIFIED = flags.DEFINE_integer(
    'embeddings_verified',
    3,
    'Components whose ends are removed and retrained; 0 retrains nothing.',
)
_REMOVED = flags.DEFINE_integer(
    'embeddings_removed', None, 'Examples removed at one end; a 20th of all.'
)
_CLUSTERS = flags.DEFINE_integer('embeddings_clusters', 3, 'Of each class.')
# Of the fits to halves, whose common part is what is looked at.
_TOL = 1e-2
_HALVES = flags.DEFINE_bool(
    'embeddings_halves',
    True,
    'Fits the datamodels again to each half of the models, which tells what is'
    ' not noise; about as long as the first fit.',
)


def num_trainings(job: job_lib.Job) -> int:
  """Removals of both ends and of random examples, and the full set."""
  num_featured = 0 if job.store.recipe['model'] == 'linear' else 1
  if not _VERIFIED.value:
    return num_featured
  return num_featured + _plan(job).num_retrainings()


def _plan(job: job_lib.Job) -> directions_lib.RemovalPlan:
  defaults = directions_lib.RemovalPlan()
  recipe = job.store.recipe
  return directions_lib.RemovalPlan(
      num_directions=_VERIFIED.value,
      num_removed=_REMOVED.value,
      replicates=job.replicates or defaults.replicates,
      batch_size=recipe['training']['batch_size'],
      train_labels=job.dataset.train.labels
      if job.dataset.num_classes
      else None,
      seed=job.seed,
  )


def run(job: job_lib.Job) -> job_lib.Findings:
  """Embeds, compares with the penultimate layer, and retrains."""
  fitted, dataset = job.datamodels(), job.dataset
  targets = 'train' if job.has_datamodels('train') else 'test'
  train_fitted = job.datamodels('train') if targets == 'train' else None
  limits = (
      []
      if train_fitted
      else [
          'The embedded examples are test targets; with'
          ' `experiments.fit_datamodels --targets=train` they would be the training'
          ' examples.'
      ]
  )
  split = dataset.split(targets)
  has_classes = dataset.num_classes > 0
  labels = split.labels if has_classes else np.zeros(len(split), int)
  found = embeddings_lib.embeddings(
      fitted,
      labels,
      train_datamodels=train_fitted,
      num_components=_COMPONENTS.value,
      num_clusters=_CLUSTERS.value,
      features=job.features()[targets],
      halves=_halves(job, train_fitted or fitted, targets, limits),
      planted_clusters=_planted(dataset, targets),
      retrain=job.retrain(fitted.outcome) if _VERIFIED.value else None,
      plan=_plan(job),
      seed=job.seed,
  )
  is_linear = job.store.recipe['model'] == 'linear'
  if is_linear:
    limits.append('A linear model has no hidden layer: features are inputs.')
  if found.removals is None:
    limits.append('Nothing was retrained: components are not checked.')
  return job_lib.Findings(
      result=found.to_json(),
      table=_table(found),
      lead=_lead(found),
      figures=_figures(found, dataset, fitted.outcome, is_linear),
      limits=limits,
  )


def _halves(
    job: job_lib.Job,
    fitted: datamodels_lib.Datamodels,
    targets: str,
    limits: list[str],
) -> tuple[np.ndarray, np.ndarray] | None:
  """Weights fitted to either half of the models, at the penalties chosen."""
  if not _HALVES.value:
    return None
  if fitted.regressor not in regressors.SPARSE:
    limits.append(
        'What two halves of the models have in common is measured for'
        f' {" and ".join(regressors.SPARSE)} datamodels only.'
    )
    return None
  masks = job.masks()
  outcomes = job.outcomes(fitted.outcome.removesuffix('_train'), targets)
  options: dict[str, Any] = {}
  if len(fitted.l1_ratio):  # Each target keeps its own.
    options |= {'start': fitted, 'outcome': fitted.outcome}
  if targets == 'train':
    options['own_ids'] = np.arange(fitted.num_train)
  # A target without a penalty was constant: any one keeps its weights at 0.
  lam = np.where(np.asarray(fitted.lam) > 0, fitted.lam, 1.0)
  first, second = (
      regressors.get(fitted.regressor)(
          masks[half::2], outcomes[half::2], lam=lam, tol=_TOL, **options
      ).weights
      for half in (0, 1)
  )
  return np.asarray(first), np.asarray(second)


def _planted(dataset: Any, targets: str) -> np.ndarray | None:
  """Known clusters, if the dataset has some."""
  if dataset.planted is None:
    return None
  planted = dataset.planted
  clusters = planted.clusters if targets == 'train' else planted.test_clusters
  return clusters if len(clusters) else None


def _table(found: embeddings_lib.Embeddings) -> dict[str, Any]:
  table: dict[str, Any] = {'embedded': f'{found.targets} examples'}
  for name, one in found.spectra.items():
    table[f'effective dimension, {name}'] = (
        f'{one.participation_ratio:.1f}; {one.num_components} components hold'
        ' 90 %'
    )
  for name, score in found.cluster_agreement.items():
    words = name.replace('_', ', ')
    table[f'clusters, adjusted Rand index, {words}'] = score
  if found.half_scores is not None:
    table['halves of the models rank examples alike, by component'] = ', '.join(
        f'{value:.2f}' for value in found.reliability[:3]
    )
  if found.removals is None:
    return table
  removals = found.removals
  removed = removals.observed, removals.interval
  chance = removals.random, removals.random_interval
  for number in range(len(removals.removed)):
    for end, name in enumerate(directions_lib.ENDS):
      table[f'component {number + 1}, {name} end removed'] = _changes(
          *removed, (number, end)
      )
    table[f'component {number + 1}, random removed'] = _changes(
        *chance, (number,)
    )
  table['opposite effects'] = (
      f'{removals.opposite.sum()} of {removals.opposite.size} ends'
  )
  agreement = removals.agreement
  table['predicted and observed change'] = (
      f'Spearman {agreement.spearman:.3f} (ceiling {agreement.ceiling:.3f}),'
      f' slope {agreement.slope:.2f}'
  )
  table['retrained models'] = removals.num_retrained
  return table


def _changes(
    values: np.ndarray, interval: np.ndarray | None, place: tuple[int, ...]
) -> str:
  """Changes of three groups of targets, with their intervals."""
  texts = []
  for group, name in enumerate(('top', 'bottom', 'all')):
    text = f'{name} {values[(*place, group)]:+.2f}'
    if interval is not None:
      low, high = interval[(slice(None), *place, group)]
      text += f' [{low:+.2f}, {high:+.2f}]'
    texts.append(text)
  return ', '.join(texts)


def _figures(
    found: embeddings_lib.Embeddings,
    dataset: Any,
    outcome: str,
    is_linear: bool,
) -> dict[str, Any]:
  figures = {
      'spectra': embeddings_plots.spectra(
          found, features='inputs' if is_linear else 'penultimate layer'
      ),
      'components': embeddings_plots.component_sheet(dataset, found),
      'clusters': None,
      'removals': None,
  }
  if dataset.num_classes:
    figures['clusters'] = embeddings_plots.cluster_sheet(dataset, found)
  if found.half_scores is not None:
    figures['halves'] = embeddings_plots.halves(found)
  if found.removals is not None:
    figures['removals'] = directions_plots.removals(
        {'': found.removals}, outcome=outcome
    )
  return figures


def _lead(found: embeddings_lib.Embeddings) -> str:
  text = (
      f'Each of {len(found.clusters)} {found.targets} examples is embedded as'
      ' its datamodel, scaled to length 1: one coordinate for each training'
      ' example. The effective dimension is the participation ratio of the'
      ' variances of the principal components; "reproducible" counts only what'
      ' two halves of the models have in common, "shuffled" what is left'
      ' without any common structure. Clusters are those of spectral'
      ' clustering within each class.'
  )
  if found.removals is None:
    return text
  return text + (
      f' The {found.removals.removed.shape[2]} training examples at either end'
      ' of each of the first components were removed and the models trained'
      ' again: the change of the mean outcome of the test examples with the'
      ' highest projections (top), the lowest (bottom), and of all.'
  )
