"""Gaussian clusters with planted answers: duplicates, mislabels, clusters."""

import numpy as np

from jdm.datasets import answers
from jdm.datasets import dataset

_CENTRE_SCALE = 1.0  # Of cluster centres, where the noise within one is 1.
_ATYPICAL_SCALE = 1.5  # Distance from the origin, in units of the usual one.
_COPY_NOISE = 0.02  # Between the two rows of a duplicate.


def load(
    *,
    num_train: int = 600,
    num_test: int = 200,
    num_classes: int = 4,
    num_features: int = 20,
    num_duplicates: int = 20,
    num_mislabels: int = 30,
    num_clusters: int = 3,
    seed: int = 0,
) -> dataset.Dataset:
  """Draws a dataset; `dataset.planted` holds the answers.

  Each class is a mixture of `num_clusters` Gaussians of unit variance whose
  centres are N(0, 1) in each feature. A planted duplicate is an atypical
  example, 1.5 times as far from the origin as usual and with a random label,
  so that a model needs the train copy to get the test copy right. Cluster c
  belongs to class `c // num_clusters`; atypical rows to cluster -1.

  Args:
    num_train: number of train examples, planted ones among them.
    num_test: number of test examples, planted ones among them.
    num_classes: number of classes, at least 2.
    num_features: length of an input.
    num_duplicates: number of (train, test) pairs.
    num_mislabels: number of train labels set to another class.
    num_clusters: number of clusters in each class.
    seed: of everything.

  Raises:
    ValueError: if a number is too small, or too many rows are planted.
  """
  _check_sizes(
      num_train=num_train,
      num_test=num_test,
      num_classes=num_classes,
      num_features=num_features,
      num_clusters=num_clusters,
  )
  most = min(num_train - num_mislabels, num_test)
  if min(num_duplicates, num_mislabels) < 0 or num_duplicates > most:
    raise ValueError(
        f'Dataset synthetic: {num_duplicates} duplicates and'
        f' {num_mislabels} mislabels do not fit into {num_train} train and'
        f' {num_test} test examples; plant fewer (num_duplicates,'
        ' num_mislabels).'
    )
  rng = np.random.default_rng(seed)
  num_centres = num_classes * num_clusters
  centres = _CENTRE_SCALE * rng.standard_normal((num_centres, num_features))
  train_inputs, clusters = _draw(rng, centres, num_train)
  test_inputs, test_clusters = _draw(rng, centres, num_test)
  train_labels = clusters // num_clusters
  test_labels = test_clusters // num_clusters

  planted = rng.permutation(num_train)[: num_duplicates + num_mislabels]
  copies, mislabels = planted[:num_duplicates], planted[num_duplicates:]
  shifts = rng.integers(1, num_classes, num_mislabels)
  clean_labels = train_labels.copy()
  train_labels[mislabels] = (train_labels[mislabels] + shifts) % num_classes

  targets = rng.permutation(num_test)[:num_duplicates]
  atypical = _atypical(rng, num_duplicates, num_features)
  noise = _COPY_NOISE * rng.standard_normal(atypical.shape)
  train_inputs[copies], test_inputs[targets] = atypical, atypical + noise
  labels = rng.integers(0, num_classes, num_duplicates)
  train_labels[copies] = clean_labels[copies] = labels
  test_labels[targets] = labels
  clusters[copies] = test_clusters[targets] = -1

  def split(inputs: np.ndarray, labels: np.ndarray) -> dataset.Split:
    return dataset.Split(inputs=inputs.astype(np.float32), labels=labels)

  return dataset.Dataset(
      name='synthetic',
      train=split(train_inputs, train_labels),
      test=split(test_inputs, test_labels),
      num_classes=num_classes,
      planted=answers.Planted(
          kind='synthetic',
          duplicates=np.stack([copies, targets], axis=1),
          duplicate_kinds=('atypical',) * num_duplicates,
          mislabels=np.sort(mislabels),
          clean_labels=clean_labels,
          clusters=clusters,
          test_clusters=test_clusters,
      ),
  )


def _check_sizes(**sizes: int) -> None:
  """Checks that there is at least one of everything, and two classes."""
  for option, size in sizes.items():
    least = 2 if option == 'num_classes' else 1
    if size < least:
      raise ValueError(
          f'Dataset synthetic: {option} must be at least {least}, got {size}.'
      )


def _draw(
    rng: np.random.Generator, centres: np.ndarray, num: int
) -> tuple[np.ndarray, np.ndarray]:
  """Draws examples of all clusters in turn, in random order."""
  clusters = rng.permutation(np.arange(num) % len(centres))
  noise = rng.standard_normal((num, centres.shape[1]))
  return centres[clusters] + noise, clusters


def _atypical(
    rng: np.random.Generator, num: int, num_features: int
) -> np.ndarray:
  """Random directions, farther from the origin than ordinary examples."""
  directions = rng.standard_normal((num, num_features))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  usual = np.sqrt((1 + _CENTRE_SCALE**2) * num_features)
  return _ATYPICAL_SCALE * usual * directions
