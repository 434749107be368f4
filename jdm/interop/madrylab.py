"""Files of MadryLab's datamodels: masks, margins, and fitted weights.

  train_masks_50pct.npy     bool [num_models, num_train]
  test_margins_50pct.npy    float16 [num_models, num_targets]; train_margins_...
  test_50pct.pt             {weight [num_train, num_targets], bias, lam}
  datamodels.pt             the same, as `compute_datamodels` writes it

What `compute_datamodels` writes is of standardized masks, (mask - mean) / std
column by column, and neither mean nor std is in the file: with raw masks it
predicts wrongly. `read_datamodels(..., masks=...)` takes both from the masks that
were fitted and returns weights of 0/1 masks. The released weights are of 0/1
masks, as far as is known; hence no default.

References:
  Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022; the
  formats are those of the repositories datamodels and datamodels-data.
"""

import os
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import subsets
from jdm.interop import torch_files

_NAMES = ('weight', 'bias', 'lam')
SPLITS = ('test', 'train')


def read_outcomes(
    folder: str | os.PathLike[str],
    *,
    percent: int,
    targets: str = 'test',
    rows: Any = None,
    columns: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Reads masks and margins, only the parts that are asked for.

  Args:
    folder: holds the two files.
    percent: of the training set in a subset, as in the names.
    targets: 'test' or 'train'.
    rows: models, a slice or ids; all by default.
    columns: targets, likewise.

  Returns:
    bool `[num_models, num_train]`, float32 `[num_models, num_targets]`.

  Raises:
    ValueError: if a file is missing or they do not fit each other.
  """
  masks = _mapped(folder, f'train_masks_{percent}pct.npy')
  margins = _mapped(folder, f'{_split(targets)}_margins_{percent}pct.npy')
  if masks.ndim != 2 or margins.ndim != 2 or len(masks) != len(margins):
    raise ValueError(
        '`read_outcomes` expects as many rows of masks as of margins, got'
        f' {list(masks.shape)} and {list(margins.shape)}.'
    )
  rows = slice(None) if rows is None else rows
  columns = slice(None) if columns is None else columns
  chosen = margins[rows][:, columns]
  return np.array(masks[rows], bool), np.array(chosen, np.float32)


def write_outcomes(
    folder: str | os.PathLike[str],
    masks: np.ndarray,
    margins: np.ndarray,
    *,
    percent: int,
    targets: str = 'test',
) -> None:
  """Writes masks and margins (float16, as released).

  Raises:
    ValueError: if shapes do not fit, masks are not of the size that the name
      says, or a margin is beyond float16.
  """
  masks = subsets.check_masks(masks, who='`write_outcomes`')
  if np.ndim(margins) != 2 or len(margins) != len(masks):
    raise ValueError(
        f'`write_outcomes` expects margins [{len(masks)}, num_targets], got'
        f' {list(np.shape(margins))}.'
    )
  share = 100 * masks.mean()
  if abs(share - percent) > 1:
    raise ValueError(
        f'`write_outcomes` expects masks of {percent} %, got {share:.1f} %.'
    )
  with np.errstate(over='ignore'):
    halves = np.asarray(margins).astype(np.float16)
  if not np.isfinite(halves).all():
    raise ValueError(
        '`write_outcomes` expects margins that float16 holds (up to 65,504) and'
        ' that are finite; leave diverged models out.'
    )
  os.makedirs(folder, exist_ok=True)
  np.save(os.path.join(folder, f'train_masks_{percent}pct.npy'), masks)
  name = f'{_split(targets)}_margins_{percent}pct.npy'
  np.save(os.path.join(folder, name), halves)


def read_datamodels(
    path: str | os.PathLike[str],
    *,
    standardized: bool,
    masks: np.ndarray | None = None,
    alpha: float = float('nan'),
    outcome: str = 'margin',
) -> datamodels_lib.Datamodels:
  """Reads fitted weights as weights of 0/1 masks.

  Args:
    path: a `.pt` (read without PyTorch) or an `.npz` of the same names.
    standardized: whether weights are of standardized masks: True for what
      `compute_datamodels` wrote, False for what was released.
    masks: bool `[num_fit, num_train]`, that the weights were fitted to; needed
      for standardized ones.
    alpha: mean subset fraction; that of `masks` if they are given.
    outcome: what was fitted.

  Returns:
    Datamodels. `lam` is as in the file, in the scaling of its solver.

  Raises:
    ValueError: if an array is missing or of the wrong shape, or masks are
      missing or constant in a column that has a weight.
  """
  values = torch_files.load_arrays(path)
  missing = sorted(set(_NAMES) - set(values))
  if missing:
    raise ValueError(
        f'`read_datamodels` expects {list(_NAMES)} in {os.fspath(path)}, which'
        f' has no {missing}.'
    )
  weights, bias, lam = (values[n].astype(np.float64) for n in _NAMES)
  bias, lam = bias.ravel(), lam.ravel()
  num_targets = bias.size
  if weights.ndim != 2 or weights.shape[1] != num_targets:
    raise ValueError(
        '`read_datamodels` expects weight [num_train, num_targets] and bias'
        f' [num_targets], got {list(weights.shape)} and {num_targets}.'
    )
  if standardized:
    mean, std = _moments(masks, weights)
    weights = weights / std[:, None]
    bias = bias - mean @ weights
  if masks is not None:
    alpha = float(np.mean(masks))
  return datamodels_lib.Datamodels(
      weights=weights.astype(np.float32),
      bias=bias.astype(np.float32),
      lam=np.broadcast_to(lam, num_targets).astype(np.float32),
      gap=np.full(num_targets, np.nan, np.float32),
      nnz=np.count_nonzero(weights, axis=0),
      val_mse=np.full(num_targets, np.nan, np.float32),
      train_ids=np.arange(len(weights)),
      target_ids=np.arange(num_targets),
      alpha=alpha,
      regressor='lasso',
      outcome=outcome,
  )


def write_datamodels(
    path: str | os.PathLike[str],
    datamodels: datamodels_lib.Datamodels,
    *,
    standardized: bool,
    masks: np.ndarray | None = None,
) -> None:
  """Writes weights in either convention; arguments as of `read_datamodels`.

  A `.pt` needs PyTorch; an `.npz` has the same names.

  Raises:
    ValueError: if masks are missing or constant in a column that has a weight,
      or (for a `.pt`) PyTorch is not installed.
  """
  weights = np.asarray(datamodels.weights, np.float64)
  bias = np.asarray(datamodels.bias, np.float64)
  if standardized:
    mean, std = _moments(masks, weights)
    bias = bias + mean @ weights
    weights = weights * std[:, None]
  values = {
      'weight': weights.astype(np.float32),
      'bias': bias.astype(np.float32),
      'lam': np.asarray(datamodels.lam, np.float32),
  }
  torch_files.save_arrays(path, values)


def _moments(masks, weights) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of each column of the masks."""
  if masks is None:
    raise ValueError(
        'weights of standardized masks mean nothing without the mean and the'
        ' deviation of each column, which are not in the file; pass `masks`, the'
        ' ones that were fitted'
    )
  masks = subsets.check_masks(masks, who='`madrylab`', num_train=len(weights))
  mean = masks.mean(axis=0, dtype=np.float64)
  std = np.sqrt(mean * (1 - mean))
  if (std == 0)[weights.any(axis=1)].any():
    raise ValueError(
        'an example that is in every mask or in none has a weight; these are'
        ' not the masks that were fitted'
    )
  return mean, np.where(std > 0, std, 1.0)


def _split(targets: str) -> str:
  if targets not in SPLITS:
    raise ValueError(f'targets are {list(SPLITS)}, got {targets!r}')
  return targets


def _mapped(folder, name: str) -> np.ndarray:
  path = os.path.join(folder, name)
  if not os.path.exists(path):
    raise ValueError(
        f'`read_outcomes` finds no {name} in {os.fspath(folder)}; the release'
        ' has it under data/.'
    )
  return np.load(path, mmap_mode='r')
