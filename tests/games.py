"""Small cooperative games, and their values by enumerating all subsets."""

import itertools
import math

import numpy as np


def all_masks(num_train: int) -> np.ndarray:
  """Bool `[2 ** num_train, num_train]`, every subset once."""
  rows = itertools.product([False, True], repeat=num_train)
  return np.array(list(rows))


def random_utilities(num_train: int, seed: int = 0) -> np.ndarray:
  """Of every subset, growing with its size; `[2 ** num_train]`."""
  rng = np.random.default_rng(seed)
  masks = all_masks(num_train)
  return rng.normal(size=len(masks)) + masks.sum(axis=1) ** 0.5


def semivalues(masks: np.ndarray, utilities: np.ndarray, weight) -> np.ndarray:
  """Sums of weight(size of S) * (U(S with i) - U(S)), S without i; by i."""
  table = {mask.tobytes(): u for mask, u in zip(masks, utilities)}
  values = np.zeros(masks.shape[1])
  for example in range(masks.shape[1]):
    for mask in masks[~masks[:, example]]:
      more = mask.copy()
      more[example] = True
      gain = table[more.tobytes()] - table[mask.tobytes()]
      values[example] += weight(int(mask.sum())) * gain
  return values


def banzhaf(
    masks: np.ndarray, utilities: np.ndarray, alpha: float = 0.5
) -> np.ndarray:
  """Alpha-weighted Banzhaf values `[num_train]`."""
  others = masks.shape[1] - 1
  return semivalues(
      masks,
      utilities,
      lambda size: alpha**size * (1 - alpha) ** (others - size),
  )


def shapley(masks: np.ndarray, utilities: np.ndarray) -> np.ndarray:
  """Shapley values `[num_train]`."""
  num_train = masks.shape[1]
  return semivalues(
      masks,
      utilities,
      lambda size: 1 / (num_train * math.comb(num_train - 1, size)),
  )
