"""Rows to plant in: which are free, and what to put there."""

import dataclasses

import numpy as np

from jdm.datasets import dataset


def replaced(
    split: dataset.Split,
    rows: np.ndarray,
    inputs: np.ndarray | None = None,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> dataset.Split:
  """A copy of a split with other contents in some rows."""
  changes = {'inputs': inputs, 'images': images, 'labels': labels}
  fields = {}
  for name, values in changes.items():
    if values is not None:
      fields[name] = getattr(split, name).copy()
      fields[name][rows] = values
  return dataclasses.replace(split, **fields)


def free_train(
    data: dataset.Dataset,
    rng: np.random.Generator,
    *,
    count: int | None = None,
    allowed: np.ndarray | None = None,
) -> np.ndarray:
  """Draws `count` (None: all) train rows in which nothing is planted yet.

  Args:
    data: a dataset.
    rng: decides the order.
    count: how many.
    allowed: bool `[num_train]`, rows to draw from; None is all.

  Raises:
    ValueError: if there are fewer.
  """
  free = np.ones(len(data.train), bool) if allowed is None else allowed.copy()
  if data.planted is not None:
    free[data.planted.duplicates[:, 0]] = False
    free[data.planted.mislabels] = False
    free[data.planted.poisoned] = False
  rows = rng.permutation(np.flatnonzero(free))
  if count is not None and len(rows) < count:
    raise ValueError(
        f'Dataset planted: {count} examples do not fit into {len(rows)} free'
        ' train rows; plant fewer (count).'
    )
  return rows[:count]


def free_test(
    data: dataset.Dataset,
    rng: np.random.Generator,
    *,
    allowed: np.ndarray | None = None,
) -> np.ndarray:
  """Test rows in which nothing is planted yet, in random order."""
  free = np.ones(len(data.test), bool) if allowed is None else allowed.copy()
  if data.planted is not None:
    free[data.planted.duplicates[:, 1]] = False
    free[data.planted.triggered] = False
  return rng.permutation(np.flatnonzero(free))


def train_of(
    data: dataset.Dataset, rng: np.random.Generator, labels: np.ndarray
) -> np.ndarray:
  """A free train row for each label: of that class, while there are some."""
  rows = free_train(data, rng)
  if len(rows) < len(labels):
    raise ValueError(
        f'Dataset planted: {len(labels)} examples do not fit into {len(rows)}'
        ' free train rows; plant fewer (count).'
    )
  is_free = np.ones(len(rows), bool)
  chosen = []
  for label in labels:
    same = np.flatnonzero(is_free & (data.train.labels[rows] == label))
    chosen.append(same[0] if len(same) else np.flatnonzero(is_free)[0])
    is_free[chosen[-1]] = False
  return rows[np.array(chosen)]


def distinct_test(
    data: dataset.Dataset, rng: np.random.Generator, count: int
) -> np.ndarray:
  """Draws free test rows that equal no train row and none of each other."""
  seen = {row.tobytes() for row in data.train.inputs}
  chosen = []
  for row in free_test(data, rng):
    content = data.test.inputs[row].tobytes()
    if len(chosen) < count and content not in seen:
      seen.add(content)
      chosen.append(row)
  if len(chosen) < count:
    raise ValueError(
        f'Dataset planted: {count} examples do not fit into {len(chosen)} free'
        ' test rows; plant fewer (count).'
    )
  return np.array(chosen)
