"""Ground truth of LDS as dattri has it: outcomes and the indices of subsets.

There it is a pair of `values [num_models, num_targets]` and `indices
[num_models, subset_size]`, as `dattri.metric.calculate_lds_ground_truth` returns
and `dattri.metric.lds(score, ground_truth)` takes, with `score [num_train,
num_targets]`. Higher values are better there, as are the losses that it negates;
all subsets are of one size.

References:
  Deng et al., `dattri: a library for efficient data attribution
  <https://arxiv.org/abs/2410.04555>`_, 2024.
"""

import os
from typing import NamedTuple

import numpy as np

from jdm import subsets
from jdm.interop import torch_files


class GroundTruth(NamedTuple):
  """What dattri compares scores with.

  Attributes:
    values: float32 `[num_models, num_targets]`, higher is better.
    indices: int64 `[num_models, subset_size]`, ascending train rows.
  """

  values: np.ndarray
  indices: np.ndarray


def ground_truth(
    masks: np.ndarray, outcomes: np.ndarray, *, higher_is_better: bool = True
) -> GroundTruth:
  """Turns masks and outcomes into dattri's pair.

  Args:
    masks: bool `[num_models, num_train]`, all of one size.
    outcomes: `[num_models, num_targets]`.
    higher_is_better: of the outcome; losses are negated.

  Raises:
    ValueError: if subsets differ in size, or shapes do not fit.
  """
  masks = subsets.check_masks(masks, who='`ground_truth`')
  outcomes = np.asarray(outcomes, np.float32)
  if outcomes.ndim != 2 or len(outcomes) != len(masks):
    raise ValueError(
        f'`ground_truth` expects outcomes [{len(masks)}, num_targets], a row for'
        f' each mask, got {list(outcomes.shape)}.'
    )
  sizes = np.unique(masks.sum(axis=1))
  if len(sizes) != 1:
    raise ValueError(
        '`ground_truth` expects subsets of one size, which is all that dattri'
        f' has, got sizes from {sizes.min()} to {sizes.max()}; sample with'
        ' --sampler=fixed_size.'
    )
  indices = np.nonzero(masks)[1].reshape(len(masks), -1)
  values = outcomes if higher_is_better else -outcomes
  return GroundTruth(values, indices.astype(np.int64))


def masks_and_outcomes(
    truth: GroundTruth, num_train: int
) -> tuple[np.ndarray, np.ndarray]:
  """Turns dattri's pair into masks and outcomes, of which higher is better.

  Args:
    truth: values and indices, as arrays or tensors on the host.
    num_train: training examples; the indices do not tell.

  Returns:
    bool `[num_models, num_train]`, float32 `[num_models, num_targets]`.

  Raises:
    ValueError: if shapes do not fit, or an index is out of range or repeated.
  """
  values, indices = (np.asarray(array) for array in truth)
  if values.ndim != 2 or indices.ndim != 2 or len(values) != len(indices):
    raise ValueError(
        '`masks_and_outcomes` expects values [num_models, num_targets] and'
        ' indices [num_models, subset_size], got'
        f' {list(values.shape)} and {list(indices.shape)}.'
    )
  if indices.size and not 0 <= indices.min() <= indices.max() < num_train:
    raise ValueError(
        f'`masks_and_outcomes` expects indices from 0 to {num_train - 1}, got'
        f' {indices.min()} to {indices.max()}; is num_train right?'
    )
  masks = np.zeros((len(indices), num_train), bool)
  np.put_along_axis(masks, indices.astype(np.int64), True, axis=1)
  if (masks.sum(axis=1) != indices.shape[1]).any():
    raise ValueError(
        '`masks_and_outcomes` expects each example once in a subset.'
    )
  return masks, values.astype(np.float32)


def save(path: str | os.PathLike[str], truth: GroundTruth) -> None:
  """Writes the pair as `values` and `indices`, to an `.npz` or a `.pt`.

  Raises:
    ValueError: for a `.pt`, if PyTorch is not installed.
  """
  torch_files.save_arrays(path, truth._asdict())


def load(path: str | os.PathLike[str]) -> GroundTruth:
  """Reads what `save` wrote, or a pair of tensors that torch.save did.

  Raises:
    ValueError: if the file holds something else.
  """
  if os.fspath(path).endswith('.npz'):
    found = torch_files.load_arrays(path)
  else:
    found = torch_files.load(path)
  if isinstance(found, (tuple, list)) and len(found) == 2:
    return GroundTruth(*found)
  if isinstance(found, dict) and {'values', 'indices'} <= set(found):
    return GroundTruth(found['values'], found['indices'])
  raise ValueError(
      f'`dattri.load` expects values and indices in {os.fspath(path)}, as a pair'
      ' or by name.'
  )
