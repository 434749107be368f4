"""Similar examples: proponents, opponents, neighbours; beside other measures."""

from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from jdm import regressors
from jdm.applications import similarity as similarity_lib
from jdm.reports import examples
from jdm.reports import similarity_plots

_COUNT = flags.DEFINE_integer(
    'similarity_count', 10, 'Neighbours of each target.'
)
_SHOWN = flags.DEFINE_integer('similarity_shown', 6, 'Targets in the pictures.')


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings: the one model whose features are compared."""
  return 0 if job.store.recipe['model'] == 'linear' else 1


def run(job: job_lib.Job) -> job_lib.Findings:
  """Compares neighbours over all targets; pictures of some."""
  fitted, dataset = job.datamodels(), job.dataset
  if not dataset.num_classes:
    raise ValueError(
        'similarity compares classes of neighbours; dataset'
        f' {dataset.name!r} is one of regression'
    )
  features = job.features()
  limits = [
      'A representation is that of one model trained on everything; its'
      ' neighbours differ from training to training.'
  ]
  if job.store.recipe['model'] == 'linear':
    limits = [
        'A linear model has no hidden layer: its representation is the input.'
    ]
  pixels, name = pixels_of(dataset)
  targets = job.random_targets(fitted.num_targets)
  shown = _shown(job, fitted, targets)
  frequency = _frequency(job, fitted, targets[shown], limits)
  found = similarity_lib.similarity(
      fitted,
      train_labels=dataset.train.labels,
      target_labels=dataset.test.labels,
      features={
          'representation': (features['train'], features['test']),
      },
      distances={name: pixels},
      target_ids=targets,
      count=_COUNT.value,
      frequency=frequency,
  )
  if dataset.train.images is None:
    limits.append('The examples are no images: no pictures of neighbours.')
  return job_lib.Findings(
      result=found.to_json(),
      table=_table(found),
      lead=_lead(found),
      figures={
          'training examples': similarity_plots.train_grid(
              dataset, found, places=shown
          ),
          'targets': similarity_plots.target_grid(dataset, found, places=shown),
          'same class': similarity_plots.same_class(found),
          'overlap': similarity_plots.overlap(found),
      },
      limits=limits,
  )


def pixels_of(dataset: Any) -> tuple[tuple[np.ndarray, np.ndarray], str]:
  """What to measure distances on, and its name: images, or else inputs."""
  if dataset.train.images is None or dataset.test.images is None:
    return (dataset.train.inputs, dataset.test.inputs), 'inputs'
  train, test = (
      split.images.astype(np.float32) / 255
      for split in (dataset.train, dataset.test)
  )
  return (train, test), 'pixels'


def _shown(job: job_lib.Job, fitted: Any, targets: np.ndarray) -> np.ndarray:
  """Places in `targets` of hard and of typical ones."""
  outcomes = job.outcomes(fitted.outcome)[:, targets]
  labels = job.dataset.test.labels[targets]
  return examples.choose_targets(outcomes, labels, _SHOWN.value)


def _frequency(
    job: job_lib.Job, fitted: Any, shown: np.ndarray, limits: list[str]
) -> np.ndarray | None:
  """How often the weights of some targets are selected; NaN for the others."""
  if fitted.regressor not in regressors.SPARSE:
    limits.append(
        'How often a weight is selected is told of'
        f' {" and ".join(regressors.SPARSE)} datamodels only: others make no'
        ' zeros.'
    )
    return None
  drawn = job.uncertainty(fitted, limits, target_ids=shown)
  if drawn is None:
    return None
  frequency = np.full(fitted.weights.shape, np.nan, np.float32)
  frequency[:, shown] = drawn.selected
  limits.append(
      'Percentages under training examples: the share of'
      f' {drawn.num_bootstrap} resamples of the models in which the'
      f' {fitted.regressor} keeps the weight; it errs upwards.'
  )
  return frequency


def _table(found: similarity_lib.Similarity) -> dict[str, Any]:
  table: dict[str, Any] = {
      'targets': len(found.target_ids),
      'neighbours of each': found.count,
  }
  for words, one in (('train', found.train), ('other targets', found.targets)):
    for number, method in enumerate(one.methods):
      low, high = one.same_class_interval[:, number]
      table[f'{words}, same class, {method}'] = (
          f'{one.same_class[number]:.3f} [{low:.3f}, {high:.3f}]'
      )
    table[f'{words}, same class, at random'] = one.random_same_class
    for number, method in enumerate(one.methods[1:], 1):
      table[f'{words}, shared by datamodels and {method}'] = one.overlap[
          0, number
      ]
    table[f'{words}, shared at random'] = one.random_overlap
  table['opponents, same class'] = found.opponents_same_class
  return table


def _lead(found: similarity_lib.Similarity) -> str:
  return (
      f'For each of {len(found.target_ids)} test examples, the {found.count}'
      ' training examples with the highest datamodel weights (they help the'
      ' model on it) and with the lowest (they hurt), and the test examples'
      ' that need the same training examples (cosine between their weights);'
      ' beside the nearest by the penultimate layer of a trained model and by'
      ' distance. The same class is the share of neighbours with the label of'
      ' their target; shared is the share of neighbours that two methods have'
      ' in common.'
  )
