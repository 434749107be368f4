"""Inputs on their leading principal components."""

import dataclasses

import numpy as np

from jdm.datasets import dataset

# Projections are rounded to multiples of this, so that machines whose linear
# algebra differs in the last bits still make the same dataset.
GRID = 2.0**-12


def project(data: dataset.Dataset, num_components: int) -> dataset.Dataset:
  """Replaces inputs by their leading principal components.

  The components are those of the train inputs, flattened and centred by their
  train mean, with scikit-learn's choice of signs. All are divided by one
  number, so that the mean squared norm of a train input is `num_components`:
  unit variance on average, leading components larger.

  Args:
    data: a dataset of vectors or images.
    num_components: how many, below the number of train examples and at most
      the number of features.

  Returns:
    The same examples with inputs `[num, num_components]`, rounded to multiples
    of `GRID`. `images` are kept for display; `image_shape` is None, because
    inputs are images no longer.

  Raises:
    ValueError: if there are not so many components, or inputs do not vary.
  """
  from sklearn import decomposition  # Takes a second to import.

  flat = {
      which: split.inputs.reshape(len(split), -1).astype(np.float64)
      for which, split in (('train', data.train), ('test', data.test))
  }
  num_train, num_features = flat['train'].shape
  most = min(num_train - 1, num_features)
  if not 1 <= num_components <= most:
    raise ValueError(
        f'Dataset {data.name!r}: num_components must be from 1 to {most} for'
        f' {num_train} train examples of {num_features} features, got'
        f' {num_components}.'
    )
  if not np.ptp(flat['train'], axis=0).any():
    raise ValueError(f'Dataset {data.name!r}: all train inputs are the same.')
  solver = 'covariance_eigh' if num_features <= num_train else 'full'
  pca = decomposition.PCA(num_components, svd_solver=solver)
  pca.fit(flat['train'])
  projected = {which: pca.transform(rows) for which, rows in flat.items()}
  scale = np.sqrt(np.mean(projected['train'] ** 2))

  def split(which: str) -> dataset.Split:
    inputs = GRID * np.rint(projected[which] / (scale * GRID)) + 0.0  # No -0.
    return dataclasses.replace(
        data.split(which), inputs=inputs.astype(np.float32)
    )

  return dataclasses.replace(
      data, train=split('train'), test=split('test'), image_shape=None
  )
