"""Exact Shapley values of training examples in nearest-neighbour classifiers.

Nothing is trained: a baseline that needs inputs (or features) and labels only.
"""

import numpy as np

_TILE = 256  # Validation examples at once.


def knn_shapley(
    train_inputs: np.ndarray,
    train_labels: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    num_neighbours: int = 5,
) -> np.ndarray:
  """Values training examples by the accuracy of K-nearest-neighbour votes.

  The utility of a subset S for one validation example is the number of those
  with its label among its min(K, |S|) nearest examples of S, over K; values are
  means over validation examples. With the training examples in order of
  distance, nearest first, and a_i = 1 if the i-th has the right label, the
  values obey (n at least K)

    s_n = a_n / n
    s_i = s_{i+1} + (a_i - a_{i+1}) / K * min(K, i) / i

  so that all come from one sort and one running sum.

  Args:
    train_inputs: `[num_train, ...]`; Euclidean distances of what is flattened.
    train_labels: int `[num_train]`.
    inputs: `[num, ...]`, validation examples with labels that are trusted.
    labels: int `[num]`.
    num_neighbours: K, at most num_train.

  Returns:
    `[num_train]`, float64, in units of accuracy; positive = helpful. They sum
    to the mean utility of the full training set.

  Raises:
    ValueError: if shapes do not fit, or K is out of range.

  References:
    Jia et al., `Efficient task-specific data valuation for nearest neighbor
    algorithms <https://arxiv.org/abs/1908.08619>`_, 2019, Theorem 1.
  """
  values = of_targets(
      train_inputs,
      train_labels,
      inputs,
      labels,
      num_neighbours=num_neighbours,
  )
  return values.sum(axis=1) / values.shape[1]


def of_targets(
    train_inputs: np.ndarray,
    train_labels: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    num_neighbours: int = 5,
) -> np.ndarray:
  """The same values for each validation example: `[num_train, num]`.

  Arguments are those of `knn_shapley`, whose values are the means of these.

  Raises:
    ValueError: as `knn_shapley`.
  """
  train, train_labels = _flat('train_', train_inputs, train_labels)
  others, labels = _flat('', inputs, labels)
  num_train = len(train)
  if train.shape[1] != others.shape[1]:
    raise ValueError(
        '`knn_shapley` expects inputs of one length, got'
        f' {train.shape[1]} and {others.shape[1]}.'
    )
  if not 1 <= num_neighbours <= num_train:
    raise ValueError(
        f'`knn_shapley` expects num_neighbours from 1 to {num_train}, got'
        f' {num_neighbours}.'
    )
  places = np.arange(1, num_train)
  shares = np.minimum(num_neighbours, places) / places / num_neighbours
  result = np.empty((num_train, len(others)))
  for start in range(0, len(others), _TILE):
    tile = slice(start, start + _TILE)
    order = np.argsort(_distances(others[tile], train), axis=1, kind='stable')
    right = (train_labels[order] == labels[tile, None]).astype(np.float64)
    values = right / num_train
    steps = (right[:, :-1] - right[:, 1:]) * shares[None]
    values[:, :-1] = values[:, -1:] + np.cumsum(steps[:, ::-1], axis=1)[:, ::-1]
    np.put_along_axis(result[:, tile].T, order, values, axis=1)
  return result


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Squared Euclidean distances `[num_first, num_second]`."""
  from sklearn.metrics import pairwise  # Takes a second to import.

  return pairwise.euclidean_distances(first, second, squared=True)


def _flat(which: str, inputs, labels) -> tuple[np.ndarray, np.ndarray]:
  inputs, labels = np.asarray(inputs, np.float64), np.asarray(labels)
  if inputs.ndim < 2 or labels.shape != inputs.shape[:1] or not len(labels):
    raise ValueError(
        f'`knn_shapley` expects {which}inputs [num, ...] and one of'
        f' {which}labels for each, got {list(inputs.shape)} and'
        f' {list(labels.shape)}.'
    )
  return inputs.reshape(len(inputs), -1), labels
