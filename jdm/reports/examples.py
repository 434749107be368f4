"""Which examples a report shows, and what it says about each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.datasets import dataset as dataset_lib


def choose_targets(
    outcomes: np.ndarray, labels: np.ndarray, count: int = 6
) -> np.ndarray:
  """Chooses targets worth a look: half hard ones, half typical ones.

  The hard half are those with the lowest mean outcome (for margins: what most
  models get wrong), lowest first. The typical half are those nearest the median
  of the mean outcomes, at most one of each label as long as there are others;
  labels of the hard half come last.

  Args:
    outcomes: `[num_models, num_targets]`, higher is better, such as margins of
      held-out models; a non-finite one is left out of its mean.
    labels: `[num_targets]`.
    count: how many; all targets if there are fewer.

  Returns:
    int64 `[count]`, columns of `outcomes`, without repeats.

  Raises:
    ValueError: if shapes disagree or `count` is below 1.
  """
  outcomes, labels = np.asarray(outcomes), np.asarray(labels)
  if outcomes.ndim != 2 or labels.shape != outcomes.shape[1:]:
    raise ValueError(
        '`choose_targets` expects outcomes [num_models, num_targets] and labels'
        f' [num_targets], got {outcomes.shape} and {labels.shape}.'
    )
  if count < 1 or not outcomes.size:
    raise ValueError(
        '`choose_targets` expects a count of at least 1 and some outcomes, got'
        f' {count} and shape {outcomes.shape}.'
    )
  means = mean_outcomes(outcomes)
  means = np.where(np.isfinite(means), means, np.inf)  # Never seen: last.
  hard = np.argsort(means, kind='stable')[: count // 2].tolist()
  distance = np.abs(means - np.median(means))
  order = [t for t in np.argsort(distance, kind='stable') if t not in hard]
  used = [labels[t] for t in hard]
  typical: list[int] = []
  while order and len(hard) + len(typical) < count:
    # The nearest among those whose label was shown least often.
    times = [used.count(labels[t]) for t in order]
    chosen = order.pop(times.index(min(times)))
    used.append(labels[chosen])
    typical.append(chosen)
  return np.array(hard + typical, np.int64)


def mean_outcomes(outcomes: np.ndarray) -> np.ndarray:
  """Means over models, `[num_targets]`; non-finite left out, NaN if all are."""
  outcomes = np.asarray(outcomes, np.float64)
  finite = np.isfinite(outcomes)
  counts = finite.sum(axis=0)
  sums = np.where(finite, outcomes, 0).sum(axis=0)
  return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def strongest(weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
  """The training rows of the highest and of the lowest weights of one target.

  Args:
    weights: `[num_train]`.
    count: at most so many of each.

  Returns:
    Rows of positive weight, largest first, and rows of negative weight, most
    negative first; fewer than `count` where the datamodel has no more.
  """
  order = np.argsort(-np.asarray(weights), kind='stable')
  helpful = [row for row in order[:count] if weights[row] > 0]
  harmful = [row for row in order[::-1][:count] if weights[row] < 0]
  return np.array(helpful, np.int64), np.array(harmful, np.int64)


def label(dataset: dataset_lib.Dataset, value: Any) -> str:
  """The name of a class, its number, or a regression target's value."""
  if dataset.num_classes == 0:
    return f'{float(value):.3g}'
  names = dataset.class_names
  return names[int(value)] if names else str(int(value))


def rows(
    dataset: dataset_lib.Dataset,
    datamodels: datamodels_lib.Datamodels,
    target_ids: Sequence[int] | np.ndarray,
    *,
    count: int = 5,
    targets: str = 'test',
) -> list[dict[str, Any]]:
  """Lists the strongest training examples of targets, one row an example.

  Args:
    dataset: what the datamodels are about.
    datamodels: their columns are the rows of the split `targets`.
    target_ids: columns of the datamodels.
    count: at most so many helpful and so many harmful ones a target.
    targets: 'test' or 'train'.

  Returns:
    Rows for `tables`: target and train row, id in the source, labels, effect
    and weight (outcome units).

  Raises:
    ValueError: if the datamodels are not about the dataset or a target does not
      exist.
  """
  check('rows', dataset, datamodels, target_ids, targets)
  split = dataset.split(targets)
  weights = np.asarray(datamodels.weights)
  listed = []
  for target in np.asarray(target_ids):
    both = strongest(weights[:, target], count)
    for effect, chosen in zip(('helpful', 'harmful'), both):
      for row in chosen:
        listed.append(
            {
                'target': int(target),
                'target label': label(dataset, split.labels[target]),
                'effect': effect,
                'train row': int(row),
                'source id': int(dataset.train.ids[row]),
                'label': label(dataset, dataset.train.labels[row]),
                'weight': float(weights[row, target]),
            }
        )
  return listed


def check(
    who: str,
    dataset: dataset_lib.Dataset,
    datamodels: datamodels_lib.Datamodels,
    target_ids: Sequence[int] | np.ndarray,
    targets: str = 'test',
) -> None:
  """Raises ValueError unless dataset, datamodels and targets fit together."""
  sizes = {'train': len(dataset.train), targets: len(dataset.split(targets))}
  if datamodels.num_train != sizes['train']:
    raise ValueError(
        f'`{who}` got datamodels of {datamodels.num_train} training examples'
        f' and a dataset of {sizes["train"]}; pass the dataset that they were'
        ' made with (`dataset.take(train=...)` for a part).'
    )
  if datamodels.num_targets != sizes[targets]:
    raise ValueError(
        f'`{who}` got datamodels of {datamodels.num_targets} targets and'
        f' {sizes[targets]} {targets} examples; pass the dataset that they'
        f' were made with (`dataset.take({targets}=...)` for a part).'
    )
  ids = np.asarray(target_ids)
  if ids.ndim != 1 or not ids.size or not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(
        f'`{who}` expects target_ids as integers [num], at least one, got'
        f' {ids.dtype} {ids.shape}.'
    )
  if ids.min() < 0 or ids.max() >= datamodels.num_targets:
    raise ValueError(
        f'`{who}` expects target_ids from 0 to {datamodels.num_targets - 1},'
        f' got {ids.min()} to {ids.max()}.'
    )
