"""Data support: after how many removals a margin falls below zero.

Sizes are numbers of training examples, in an order of removal fixed before; 0
stands for censored: the margin stays up as far as one can see.
"""

import dataclasses

import numpy as np
from scipy import stats

from jdm import intervals
from jdm.analysis import interventions


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
  """How many examples it takes, by one rule, and whether that held.

  Attributes:
    sizes: int `[num_targets]`, examples to remove or relabel; 0 where censored:
      no size within the target's limit is expected to flip it.
    margins: `[num_targets]`, mean hard margin of the certifying trainings; NaN
      where there were none.
    num_censored: targets without a size.
    num_certified: targets with certifying trainings.
    num_held: of these, targets that flipped (mean margin below 0).
    hold_rate: num_held / num_certified; NaN if none was certified.
    interval: 95 % Wilson interval of the hold rate, targets as a sample; NaN.
  """

  sizes: np.ndarray
  margins: np.ndarray
  num_censored: int
  num_certified: int
  num_held: int
  hold_rate: float
  interval: tuple[float, float]

  @property
  def flipped(self) -> np.ndarray:
    """Bool `[num_targets]`: flipped in the certifying trainings."""
    return self.margins < 0  # NaN is not.


def default_sizes(num_train: int, max_fraction: float = 0.2) -> list[int]:
  """About two sizes for each doubling, from 1 to a share of the train set."""
  last = max(int(max_fraction * num_train), 1)
  sizes = {round(2 ** (power / 2)) for power in range(100)}
  return sorted({size for size in sizes if size < last} | {last})


def predicted(
    control: np.ndarray, weights: np.ndarray, rows: np.ndarray, most: int
) -> np.ndarray:
  """First size at which control minus the sum of removed weights is below 0.

  Args:
    control: `[num_targets]`, margins with everything, above 0.
    weights: `[num_train, num_targets]`, in the units of the margins.
    rows: int `[num_targets, count]`, in order of removal, -1 at the end.
    most: the largest size to look at, at most `count`.

  Returns:
    int `[num_targets]`.
  """
  sums = interventions.sums(weights, rows, np.arange(1, most + 1))
  below = control[None] - sums < 0  # NaN is not.
  return np.where(below.any(axis=0), below.argmax(axis=0) + 1, 0)


def interpolated(
    control: np.ndarray, sizes: np.ndarray, margins: np.ndarray
) -> np.ndarray:
  """First size at which measured margins, made monotone and joined, cross 0.

  Margins fall with size but for noise: the nearest falling sequence (isotonic
  least squares) is joined by straight lines.

  Args:
    control: `[num_targets]`, margins with everything, above 0.
    sizes: int `[num_sizes]`, ascending.
    margins: `[num_sizes, num_targets]`; NaN where a size was not tried.

  Returns:
    int `[num_targets]`.
  """
  from sklearn import isotonic  # Takes a second to import.

  result = np.zeros(len(control), np.int64)
  for target in range(len(control)):
    valid = np.isfinite(margins[:, target])
    at = np.array([0, *sizes[valid]])
    values = isotonic.isotonic_regression(
        np.array([control[target], *margins[valid, target]]), increasing=False
    )
    below = np.flatnonzero(values < 0)
    if below.size:  # Never the first: pooling only raises the control.
      left, right = below[0] - 1, below[0]
      share = values[left] / (values[left] - values[right])
      crossing = at[left] + share * (at[right] - at[left])
      result[target] = min(int(np.floor(crossing)) + 1, at[right])
  return result


def safe_shift(
    variance: np.ndarray,
    replicates: int,
    certify_replicates: int,
    level: float = 0.9,
) -> np.ndarray:
  """How far below 0 a measured margin is to be, for fresh ones to agree.

  A mean of `certify_replicates` trainings differs from a measured mean of
  `replicates` by normal noise; with a share `level` of the certificates it is
  not above it by more than this. Sizes are pooled afterwards, which makes the
  measured margins less noisy than assumed here.

  Args:
    variance: `[num_targets]`, of the margin of one training; NaN counts as 0.
    replicates: trainings in a measured mean.
    certify_replicates: trainings in a certificate.
    level: share of the certificates that shall hold.

  Returns:
    `[num_targets]`, in the units of the margins.
  """
  factor = 1 / max(replicates, 1) + 1 / max(certify_replicates, 1)
  return stats.norm.ppf(level) * np.sqrt(np.nan_to_num(variance) * factor)


def inflated(
    sizes: np.ndarray, inflation: float, limits: np.ndarray | int
) -> np.ndarray:
  """Adds a share to sizes, rounded up, up to limits; censored stay censored."""
  # 10 * 1.2 is a little more than 12.
  more = np.ceil(np.asarray(sizes) * (1 + inflation) - 1e-9).astype(np.int64)
  return np.minimum(more, limits)


def certified(sizes: np.ndarray, margins: np.ndarray) -> Estimate:
  """Counts which sizes held.

  Args:
    sizes: int `[num_targets]`.
    margins: `[num_targets]`, mean hard margins of certifying trainings; NaN
      where there were none.
  """
  num_certified = int(np.isfinite(margins).sum())
  held = int((margins < 0).sum())
  nothing = float('nan')
  return Estimate(
      sizes=sizes,
      margins=margins,
      num_censored=int(np.sum(sizes == 0)),
      num_certified=num_certified,
      num_held=held,
      hold_rate=held / num_certified if num_certified else nothing,
      interval=(
          intervals.wilson_interval(held, num_certified)
          if num_certified
          else (nothing, nothing)
      ),
  )


def share_flipped(estimate: Estimate, size: int, *, certified: bool) -> float:
  """Share of the targets that at most `size` examples flip.

  Args:
    estimate: of their support.
    size: examples removed or relabelled.
    certified: counts only those that flipped when certified; otherwise the
      estimates are taken at their word. Censored targets count as not flipped.
  """
  reached = (estimate.sizes > 0) & (estimate.sizes <= size)
  if certified:
    reached &= estimate.flipped
  return float(reached.mean()) if reached.size else float('nan')
