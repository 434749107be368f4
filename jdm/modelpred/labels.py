"""What a predictor learns from: subsets, and the models trained on them."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from jdm import subsets

_WHO = 'modelpred.labels'


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
  """Subsets and the parameters of the models trained on them.

  Attributes:
    masks: bool `[num_models, num_train]`.
    parameters: float64 `[num_models, num_parameters]`.
    gradient_norm: `[num_models]`, of the subset's objective at the parameters;
      NaN where it is not known.
    groups: int `[num_models]`: subsets of one group (nested prefixes of one
      permutation) tell about each other, and no split separates them.
  """

  masks: np.ndarray
  parameters: np.ndarray
  gradient_norm: np.ndarray
  groups: np.ndarray

  def __len__(self) -> int:
    return len(self.masks)

  def take(self, rows: Any) -> 'Labels':
    """The labels of some row numbers, or of a bool mask."""
    return Labels(
        **{
            field.name: getattr(self, field.name)[rows]
            for field in dataclasses.fields(self)
        }
    )


def make(
    masks: Any,
    parameters: Any,
    *,
    gradient_norm: Any = None,
    groups: Any = None,
) -> Labels:
  """Checks arrays and puts them together.

  Args:
    masks: bool `[num_models, num_train]`.
    parameters: `[num_models, num_parameters]`, finite: leave out what diverged.
    gradient_norm: `[num_models]`; NaN by default.
    groups: int `[num_models]`; by default each model is its own group.

  Raises:
    ValueError: if shapes or types do not fit, a set is empty, or parameters are
      not finite; it says how many.
  """
  masks = subsets.check_masks(masks, who=f'`{_WHO}`')
  parameters = np.asarray(parameters, np.float64)
  if parameters.ndim != 2 or len(parameters) != len(masks):
    raise ValueError(
        f'`{_WHO}` expects parameters [{len(masks)}, num_parameters], one row a'
        f' mask, got {list(parameters.shape)}.'
    )
  bad = int(np.sum(~np.isfinite(parameters).all(axis=1)))
  if bad:
    raise ValueError(
        f'`{_WHO}` expects finite parameters, got {bad} of {len(masks)} rows that'
        ' are not: those trainings did not converge; leave them out.'
    )
  empty = int(np.sum(~masks.any(axis=1)))
  if empty:
    raise ValueError(f'`{_WHO}` got {empty} empty sets; leave them out.')
  if gradient_norm is None:
    gradient_norm = np.full(len(masks), np.nan)
  if groups is None:
    groups = np.arange(len(masks))
  for name, array in (('gradient_norm', gradient_norm), ('groups', groups)):
    if np.shape(array) != (len(masks),):
      raise ValueError(
          f'`{_WHO}` expects {name} [{len(masks)}], got'
          f' {list(np.shape(array))}.'
      )
  return Labels(
      masks=masks,
      parameters=parameters,
      gradient_norm=np.asarray(gradient_norm, np.float64),
      groups=np.asarray(groups, np.int64),
  )


def prefix_groups(
    model_ids: np.ndarray, num_train: int, step: int = 1
) -> np.ndarray:
  """The permutation of each model of sampler `permutation_prefixes`."""
  return np.asarray(model_ids) // -(-num_train // step)


def split(
    labels: Labels, shares: Sequence[float] = (0.8, 0.2), *, seed: int = 0
) -> tuple[Labels, ...]:
  """Splits at random, groups whole.

  Args:
    labels: of at least as many groups as there are shares.
    shares: of the groups, adding up to 1 or less.
    seed: of the order of groups.

  Returns:
    One part a share, each with one group or more.

  Raises:
    ValueError: if shares make no sense or there are too few groups.
  """
  parts = np.asarray(shares, np.float64)
  if (parts <= 0).any() or parts.sum() > 1 + 1e-9:
    raise ValueError(
        f'`split` expects positive shares that add up to 1 at most, got'
        f' {parts.tolist()}.'
    )
  names = np.unique(labels.groups)
  if len(names) < len(shares):
    raise ValueError(
        f'`split` cannot make {len(shares)} parts of {len(names)} groups: nested'
        ' prefixes of one permutation stay together; draw more permutations.'
    )
  order = np.random.default_rng(seed).permutation(names)
  ends = np.round(np.cumsum(parts) * len(names)).astype(int)
  # Each part keeps one group, and leaves one to each that follows.
  for place in range(len(ends)):
    least = place + 1 if place == 0 else max(ends[place - 1] + 1, place + 1)
    most = len(names) - (len(ends) - 1 - place)
    ends[place] = min(max(ends[place], least), most)
  starts = [0, *ends[:-1]]
  return tuple(
      labels.take(np.isin(labels.groups, order[start:end]))
      for start, end in zip(starts, ends)
  )
