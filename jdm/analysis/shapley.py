"""Shapley values of training examples, from subsets of all sizes.

The Shapley value averages what an example adds over subset sizes, all sizes
alike, so it takes a pool whose subsets vary in size; see `semivalues` for what
a value and a utility are.
"""

from collections.abc import Sequence

import numpy as np

from jdm.analysis import semivalues

_LEAST_RANGE, _LEAST_SPREAD = 0.5, 0.9


def from_sizes(
    masks: np.ndarray,
    utilities: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    empty_utility: np.ndarray | float | None = None,
    full_utility: np.ndarray | float | None = None,
    names: Sequence[str] = (),
    resampling: semivalues.Resampling = semivalues.Resampling(),
) -> semivalues.Values:
  """Estimates Shapley values from subsets whose sizes are spread evenly.

  With A_k(i) and B_k(i) the mean utility of the subsets of size k that hold i
  and that do not, the Shapley value is exactly
  `(U(all) - U(none)) / n + (n - 1) / n * mean over k of (A_k(i) - B_k(i))`, k
  from 1 to n - 1. One model of size k tells about A_k of its members and B_k of
  all others. Models are weighted by n / k and n / (n - k), the chances of that,
  and the mean utility at their size is taken off first, which changes no
  expectation and removes most of the noise.

  The mean runs over the sizes of the pool: sizes below its smallest are left
  out of it.

  Args:
    masks: bool `[num_models, num_train]`, sizes uniform over their range, as
      `subsets.uniform_size` and `subsets.permutation_prefixes` draw them.
    utilities: `[num_models, num_utilities]` or `[num_models]`, finite.
    groups: int `[num_models]`, the same for models that were not drawn
      independently, such as prefixes of one permutation; resampled together.
    empty_utility: `[num_utilities]` or a number, U(none).
    full_utility: the same of all examples, U(all). Without both, the values are
      relative: they add up to 0.
    names: of the utilities.
    resampling: of models (or groups); gives the standard errors too.

  Returns:
    The values.

  Raises:
    ValueError: as `semivalues.checked`, or if sizes are not spread evenly over
      half of all or more.

  References:
    Kolpaczki et al., `Approximating the Shapley value without marginal
    contributions <https://arxiv.org/abs/2302.00736>`_, 2024, §4; Lin et al.,
    `Measuring the effect of training data by randomized experiments
    <https://arxiv.org/abs/2206.10013>`_, 2022.
  """
  masks, utilities = semivalues.checked('shapley', masks, utilities)
  num_train = masks.shape[1]
  sizes = masks.sum(axis=1)
  # All or nothing tells nothing about one example.
  kept = (sizes > 0) & (sizes < num_train)
  if len(np.unique(sizes[kept])) < 2:
    raise ValueError(
        '`shapley` expects subsets of many sizes, got sizes'
        f' {np.unique(sizes).tolist()[:5]}; collect with'
        ' --sampler=uniform_size, or ask for Banzhaf values.'
    )
  masks, utilities, sizes = masks[kept], utilities[kept], sizes[kept]
  _check_spread(sizes, num_train)
  groups = np.arange(len(kept)) if groups is None else np.asarray(groups)
  _, unit = np.unique(groups[kept], return_inverse=True)
  contrast = semivalues.Contrast(
      masks=masks,
      utilities=utilities - _by_size(sizes, utilities),
      inside=num_train / sizes,
      outside=num_train / (num_train - sizes),
      unit=unit,
      factor=(num_train - 1) / num_train,
      offset=_offset(full_utility, empty_utility, num_train),
  )
  return semivalues.estimate(
      contrast,
      int(unit.max()) + 1,
      method='shapley',
      num_models=len(masks),
      alpha=float(masks.mean()),
      resampling=resampling,
      names=names,
  )


def from_prefixes(
    masks: np.ndarray,
    utilities: np.ndarray,
    groups: np.ndarray,
    *,
    empty_utility: np.ndarray | float | None = None,
    full_utility: np.ndarray | float | None = None,
    names: Sequence[str] = (),
    resampling: semivalues.Resampling = semivalues.Resampling(),
) -> semivalues.Values:
  """Estimates Shapley values from growing prefixes of random orders.

  An example's value is what the utility gains when its order reaches it, mean
  over orders. Where a prefix grows by s examples at once, the gain is shared by
  the block. The mean gain at that place in the order is taken off, and what is
  left is multiplied by (n - 1) / (n - s): of a utility that is a sum of its
  examples' contributions this gives the contributions, exactly for s = 1 of
  any utility. Of the same number of models, `from_sizes` on independent subsets
  was less noisy where tried.

  Args:
    masks: bool `[num_models, num_train]`, as `subsets.permutation_prefixes`
      draws them.
    utilities: `[num_models, num_utilities]` or `[num_models]`, finite.
    groups: int `[num_models]`, the order that each prefix is of.
    empty_utility: `[num_utilities]` or a number, U(none); without it the first
      block of an order tells nothing, and sizes below it are left out.
    full_utility: U(all). Without both, the values are relative: 0 on average.
    names: of the utilities.
    resampling: of the orders; gives the standard errors too.

  Returns:
    The values.

  Raises:
    ValueError: as `semivalues.banzhaf`, if the subsets of an order do not grow
      one out of the other, or orders grow by different steps.

  References:
    Castro et al., Polynomial calculation of the Shapley value based on
    sampling, 2009; Ghorbani and Zou, `Data Shapley
    <https://arxiv.org/abs/1904.02868>`_, 2019.
  """
  masks, utilities = semivalues.checked('shapley', masks, utilities)
  num_train, num_utilities = masks.shape[1], utilities.shape[1]
  gains, blocks = _gains(masks, utilities, np.asarray(groups), empty_utility)
  gains = gains - gains.mean(axis=0)[None]  # [orders, places, utilities]
  place_sizes = (blocks[0][:, None] == np.arange(gains.shape[1])[None]).sum(0)
  factor = (num_train - 1) / np.maximum(num_train - place_sizes, 1)
  gains = gains * factor[None, :, None]
  known = blocks >= 0
  each = gains[np.arange(len(gains))[:, None], np.maximum(blocks, 0)]
  each = np.where(known[:, :, None], each, 0.0).reshape(len(gains), -1)
  offset = _offset(full_utility, empty_utility, num_train)

  def sampled(times: np.ndarray) -> np.ndarray:
    sums = (times.T @ each).reshape(-1, num_train, num_utilities)
    count = (times.T @ known)[:, :, None]
    means = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    return means + offset

  return semivalues.estimate(
      sampled,
      len(gains),
      method='shapley',
      num_models=len(masks),
      alpha=float(masks.mean()),
      resampling=resampling,
      names=names,
  )


def _check_spread(sizes: np.ndarray, num_train: int) -> None:
  """Refuses sizes that are far from uniform over a wide range."""
  width = np.ptp(sizes) + 1
  uniform = np.sqrt((width**2 - 1) / 12)
  if width < _LEAST_RANGE * (num_train - 1) or (
      sizes.std() < _LEAST_SPREAD * uniform
  ):
    raise ValueError(
        '`shapley` expects sizes spread evenly over half of 1 to'
        f' {num_train - 1} or more, got {sizes.min()} to {sizes.max()} with a'
        f' standard deviation of {sizes.std():.3g} (uniform: {uniform:.3g});'
        ' collect with --sampler=uniform_size, or ask for Banzhaf values.'
    )


def _gains(masks, utilities, groups, empty) -> tuple[np.ndarray, np.ndarray]:
  """Gains of each order and place, and the place of each example.

  Returns:
    `[num_orders, num_places, num_utilities]`; int `[num_orders, num_train]`, -1
    where the gain of the example's block is not known.
  """
  gains, blocks, grid = [], [], None
  start = [] if empty is None else [np.broadcast_to(empty, utilities.shape[1])]
  for group in np.unique(groups):
    rows = np.flatnonzero(groups == group)
    rows = rows[np.argsort(masks[rows].sum(axis=1), kind='stable')]
    prefixes = masks[rows]
    if (prefixes[:-1] & ~prefixes[1:]).any():
      raise ValueError(
          '`shapley` expects subsets of one order to grow one out of the other;'
          f' those of group {group} do not.'
      )
    sizes = prefixes.sum(axis=1)
    if grid is not None and not np.array_equal(grid, sizes):
      raise ValueError(
          '`shapley` expects all orders to have prefixes of the same sizes;'
          f' group {group} differs. Leave orders with missing models out.'
      )
    grid = sizes
    gains.append(np.diff([*start, *utilities[rows]], axis=0))
    # The place is the number of prefixes without the example.
    place = (~prefixes).sum(axis=0)
    place = np.where(place < len(rows), place, -1 - len(rows))
    blocks.append(np.maximum(place - (empty is None), -1))
  return np.stack(gains), np.stack(blocks)


def _by_size(sizes: np.ndarray, utilities: np.ndarray) -> np.ndarray:
  """Mean utility of models about as large, `[num_models, num_utilities]`."""
  num_bins = int(np.clip(len(sizes) // 20, 1, 50))
  bins = np.array_split(np.argsort(sizes, kind='stable'), num_bins)
  centres = np.array([sizes[rows].mean() for rows in bins])
  means = np.stack([utilities[rows].mean(axis=0) for rows in bins])
  columns = [np.interp(sizes, centres, mean) for mean in means.T]
  return np.stack(columns, axis=1)


def _offset(full, empty, num_train) -> np.ndarray | float:
  if full is None or empty is None:
    return 0.0
  return (np.asarray(full, float) - np.asarray(empty, float)) / num_train
