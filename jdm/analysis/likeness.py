"""How alike examples are: by inputs, by features, by what a pool says of them.

Every score is `[num_train, num_targets]` like the weights of datamodels, and
higher means more alike, so that each can stand where the weights stand. None
but the weights says that a model needs the training example.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

Pair = tuple[np.ndarray, np.ndarray]  # Of training examples, of targets.


def cosine(train: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """Cosine of the angle between features, in [-1, 1].

  Args:
    train: `[num_train, ...]`; all but the first axis are flattened.
    targets: `[num_targets, ...]`, as many features.

  Returns:
    float32 `[num_train, num_targets]`; 0 where a feature vector is 0.

  Raises:
    ValueError: if shapes do not fit or a number is not finite.
  """
  train, targets = _checked('cosine', train, targets)
  return _unit_rows(train) @ _unit_rows(targets).T


def negative_distance(train: np.ndarray, targets: np.ndarray) -> np.ndarray:
  """Minus the Euclidean distance, in units of the inputs; 0 for equal ones.

  Args:
    train: `[num_train, ...]`; all but the first axis are flattened.
    targets: `[num_targets, ...]`, as many features.

  Returns:
    float32 `[num_train, num_targets]`.

  Raises:
    ValueError: as `cosine`.
  """
  from sklearn.metrics import pairwise  # Takes a second to import.

  train, targets = _checked('negative_distance', train, targets)
  # In float64: near duplicates are small differences of large squares.
  distances = pairwise.euclidean_distances(
      train.astype(np.float64), targets.astype(np.float64)
  )
  return -distances.astype(np.float32)


def log_probability_correlation(
    train: np.ndarray, targets: np.ndarray
) -> np.ndarray:
  """Correlation over models of the log-probabilities of two examples.

  With logits: for each class, the Pearson correlation over models of the
  log-softmax, then the mean over classes. With one number an example, such as
  the log-loss (minus the log-probability of the correct class): its Pearson
  correlation. Ten to twenty models rank near duplicates already.

  Args:
    train: `[num_models, num_train, num_classes]` logits of the training
      examples, or `[num_models, num_train]` log-losses.
    targets: the same of the targets, by the same models in the same order.

  Returns:
    float32 `[num_train, num_targets]`, in [-1, 1]; a number that is the same in
    all models counts as uncorrelated.

  Raises:
    ValueError: if shapes do not fit, if there are fewer than 3 models, or if a
      number is not finite.

  References:
    Jordan, `cifar10-multirun-logits
    <https://huggingface.co/datasets/kjj0/cifar10-multirun-logits>`_, 2023, for
    models trained on all examples; here on subsets.
  """
  who = 'log_probability_correlation'
  train, targets = np.asarray(train), np.asarray(targets)
  fits = train.ndim == targets.ndim and train.ndim in (2, 3)
  if not fits or train.shape[::2] != targets.shape[::2]:
    raise ValueError(
        f'`{who}` expects log-losses [num_models, num_examples] or logits'
        ' [num_models, num_examples, num_classes] of the same models for both,'
        f' got {train.shape} and {targets.shape}.'
    )
  if len(train) < 3:
    raise ValueError(
        f'`{who}` expects at least 3 models, got {len(train)}; collect more'
        ' (--num_models).'
    )
  columns = []
  for array in (train, targets):
    array = _finite(who, array.astype(np.float64))
    if array.ndim == 3:
      array = special.log_softmax(array, axis=2)
    columns.append(_standard_over_models(array))
  left, right = (
      array.reshape(len(array), array.shape[1], -1) for array in columns
  )
  num_classes = left.shape[2]
  left, right = (
      array.transpose(1, 0, 2).reshape(array.shape[1], -1).astype(np.float32)
      for array in (left, right)
  )
  return left @ right.T / np.float32(num_classes)


def standardized(weights: np.ndarray) -> np.ndarray:
  """Weights of each target over their own root mean square.

  It takes out that some targets' outcomes vary more than others': what is left
  is how far a training example stands out among those of its target. Without
  units; a target whose weights are all 0 keeps them.

  Args:
    weights: `[num_train, num_targets]`.

  Returns:
    `[num_train, num_targets]`.
  """
  weights = np.asarray(weights)
  scale = np.sqrt(np.mean(np.square(weights, dtype=np.float64), axis=0))
  scale = np.where(scale > 0, scale, 1).astype(weights.dtype)
  return weights / scale[None]


def all_scores(
    weights: Mapping[str, np.ndarray],
    *,
    distances: Mapping[str, Pair] | None = None,
    features: Mapping[str, Pair] | None = None,
    outputs: Pair | None = None,
    num_models: Sequence[int] = (10, 20),
) -> dict[str, np.ndarray]:
  """Scores the same pairs in every way there is.

  Args:
    weights: by name, `[num_train, num_targets]`; each is given as it is and
      `standardized`.
    distances: by name, what to measure the `negative_distance` of.
    features: by name, what to take the `cosine` of.
    outputs: logits or log-losses of a pool, for `log_probability_correlation`.
    num_models: of how many models, the first ones; those that `outputs` does
      not have are left out.

  Returns:
    By name, `[num_train, num_targets]`: `NAME`, `NAME_standardized`, and
    `log_probability_NUMBER`.
  """
  scores = {}
  for name, array in weights.items():
    scores[name] = np.asarray(array)
    scores[f'{name}_standardized'] = standardized(array)
  for name, pair in (distances or {}).items():
    scores[name] = negative_distance(*pair)
  for name, pair in (features or {}).items():
    scores[name] = cosine(*pair)
  if outputs is not None:
    for number in dict.fromkeys(num_models):
      if number <= len(outputs[0]):
        scores[f'log_probability_{number}'] = log_probability_correlation(
            outputs[0][:number], outputs[1][:number]
        )
  return scores


def _standard_over_models(values: np.ndarray) -> np.ndarray:
  """Centred over axis 0 and of length 1; 0 where constant."""
  # Around the first model, because a mean of equal numbers may round.
  values = values - values[:1]
  values = values - values.mean(axis=0, keepdims=True)
  length = np.sqrt(np.sum(values**2, axis=0, keepdims=True))
  return values / np.where(length > 0, length, 1)


def _unit_rows(features: np.ndarray) -> np.ndarray:
  length = np.linalg.norm(features, axis=1, keepdims=True)
  return features / np.where(length > 0, length, 1)


def _checked(
    who: str, train: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Flattened to float32 `[num, num_features]`."""
  train, targets = np.asarray(train), np.asarray(targets)
  if train.ndim < 2 or targets.shape[1:] != train.shape[1:]:
    raise ValueError(
        f'`{who}` expects features [num_train, ...] and [num_targets, ...] of'
        f' one kind, got {train.shape} and {targets.shape}.'
    )
  train, targets = (
      _finite(who, array.reshape(len(array), -1).astype(np.float32))
      for array in (train, targets)
  )
  return train, targets


def _finite(who: str, array: np.ndarray) -> np.ndarray:
  num_bad = array.size - np.count_nonzero(np.isfinite(array))
  if num_bad:
    raise ValueError(
        f'`{who}` expects finite numbers, got {num_bad} NaN or infinite; leave'
        ' diverged models out.'
    )
  return array
