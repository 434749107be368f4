"""Small tables of scikit-learn: iris, wine, breast_cancer and diabetes."""

import math

import numpy as np

from jdm.datasets import dataset

SCALES = ('standard', 'max_norm')
TABLES = ('iris', 'wine', 'breast_cancer', 'diabetes')
_TRAIN_SHARE = 0.8


def load(
    table: str,
    /,
    *,
    scale: str = 'standard',
    first_classes: int | None = None,
    split_seed: int = 0,
) -> dataset.Dataset:
  """Loads a table: standardized columns, a fixed order, 80 % train.

  The order is `np.random.default_rng(split_seed).permutation(num)`; `ids` are the rows
  of scikit-learn. Each column has mean 0 and standard deviation 1 over the
  train rows. `diabetes` is regression: its labels are standardized likewise
  (units of the train standard deviation of disease progression).

  Args:
    table: one of `TABLES`.
    scale: 'standard', or 'max_norm': inputs as they are, divided by the largest
      Euclidean norm of a row, which is what ModelPred's experiments do.
    first_classes: keeps the rows of so many classes, the first ones; all by
      default. ModelPred's iris has two.
    split_seed: of the order: other seeds have other examples in each split.

  Raises:
    ValueError: if there is no such table, scale or number of classes.
  """
  if scale not in SCALES:
    raise ValueError(f'scales are {SCALES}, got {scale!r}.')
  if table not in TABLES:
    raise ValueError(f'Unknown table {table!r}; known: {", ".join(TABLES)}.')
  from sklearn import datasets  # Takes a second to import.

  is_regression = table == 'diabetes'
  # scikit-learn's own scaling of diabetes would use the test rows.
  options = {'scaled': False} if is_regression else {}
  source = getattr(datasets, f'load_{table}')(**options)
  names = [] if is_regression else source.target_names
  kept = np.arange(len(source.target))
  if first_classes is not None:
    if not 2 <= first_classes <= len(names):
      raise ValueError(
          f'{table!r} has {len(names)} classes, of which 2 or more can be kept;'
          f' got first_classes={first_classes}.'
      )
    kept, names = (
        np.flatnonzero(source.target < first_classes),
        names[:first_classes],
    )
  num = len(kept)
  ids = kept[np.random.default_rng(split_seed).permutation(num)]
  num_train = math.floor(_TRAIN_SHARE * num)
  inputs, labels = source.data[ids], source.target[ids]
  if scale == 'standard':
    inputs = _standardize(inputs, num_train)
  else:
    squares = [math.fsum(row) for row in inputs[:num_train] ** 2]
    inputs = (inputs / math.sqrt(max(squares))).astype(np.float32)
  if is_regression:
    labels = _standardize(labels[:, None], num_train)[:, 0]

  def split(rows: slice) -> dataset.Split:
    return dataset.Split(
        inputs=inputs[rows], labels=labels[rows], ids=ids[rows]
    )

  return dataset.Dataset(
      name=table,
      train=split(slice(0, num_train)),
      test=split(slice(num_train, num)),
      num_classes=len(names),
      class_names=tuple(str(name) for name in names),
  )


def _standardize(columns: np.ndarray, num_train: int) -> np.ndarray:
  """Standardizes columns by their train rows, the same bits on any machine."""
  mean = _exact_mean(columns[:num_train])
  centred = columns - mean[None]
  std = np.sqrt(_exact_mean(centred[:num_train] ** 2))
  return (centred / std[None]).astype(np.float32)


def _exact_mean(columns: np.ndarray) -> np.ndarray:
  """Correctly rounded, so independent of the order in which NumPy adds."""
  return np.array([math.fsum(column) / len(column) for column in columns.T])
