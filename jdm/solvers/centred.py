"""What solvers read of sums, whatever was summed.

`moments.Moments` counts masks, `dense.DenseMoments` sums columns of real
numbers; the LASSO and its certificates need of either a centred Gram matrix,
centred products with the outcomes, variances and means: `Statistics`.
"""

import dataclasses
from typing import Protocol

import numpy as np


class Statistics(Protocol):
  """Centred second moments of m models and their outcomes; float64."""

  @property
  def num_models(self) -> int:
    """How many models, m."""

  @property
  def num_train(self) -> int:
    """Columns."""

  def gram(self) -> np.ndarray:
    """Xc'Xc / m, `[num_train, num_train]`."""

  def gram_rows(self, rows: slice) -> np.ndarray:
    """Some rows of it, `[len(rows), num_train]`."""

  def centred_cross(self) -> np.ndarray:
    """Xc'yc / m, `[num_train, num_targets]`."""

  def variance(self) -> np.ndarray:
    """||yc||^2 / m, `[num_targets]`; exactly 0 for a constant outcome."""

  def mean_mask(self) -> np.ndarray:
    """Mean of each column, `[num_train]`."""

  def mean_outcome(self) -> np.ndarray:
    """Mean of each outcome, `[num_targets]`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Centred:
  """Statistics that are computed already, for some targets or columns of them.

  Attributes:
    second: float64 `[num_train, num_train]`, Xc'Xc / m.
    cross: float64 `[num_train, num_targets]`, Xc'yc / m.
    spread: float64 `[num_targets]`, ||yc||^2 / m.
    column_mean: float64 `[num_train]`.
    outcome_mean: float64 `[num_targets]`.
    num_models: m.
  """

  second: np.ndarray
  cross: np.ndarray
  spread: np.ndarray
  column_mean: np.ndarray
  outcome_mean: np.ndarray
  num_models: int

  @property
  def num_train(self) -> int:
    """Columns."""
    return self.cross.shape[0]

  def gram(self) -> np.ndarray:
    """Xc'Xc / m, `[num_train, num_train]`."""
    return self.second

  def gram_rows(self, rows: slice) -> np.ndarray:
    """Some rows of it, `[len(rows), num_train]`."""
    return self.second[rows]

  def centred_cross(self) -> np.ndarray:
    """Xc'yc / m, `[num_train, num_targets]`."""
    return self.cross

  def variance(self) -> np.ndarray:
    """||yc||^2 / m, `[num_targets]`."""
    return self.spread

  def mean_mask(self) -> np.ndarray:
    """Mean of each column, `[num_train]`."""
    return self.column_mean

  def mean_outcome(self) -> np.ndarray:
    """Mean of each outcome, `[num_targets]`."""
    return self.outcome_mean

  def targets(self, part: slice | np.ndarray) -> 'Centred':
    """The statistics of some targets."""
    return dataclasses.replace(
        self,
        cross=self.cross[:, part],
        spread=self.spread[part],
        outcome_mean=self.outcome_mean[part],
    )

  def scaled(self, factor: np.ndarray | float) -> 'Centred':
    """The statistics of columns multiplied by factors.

    Weights of the new columns are those of the old ones over the factor.

    Args:
      factor: `[num_train]` or a number; powers of two change no digit.
    """
    factor = np.broadcast_to(np.asarray(factor, np.float64), self.num_train)
    return dataclasses.replace(
        self,
        second=self.second * factor[:, None] * factor[None],
        cross=self.cross * factor[:, None],
        column_mean=self.column_mean * factor,
    )

  def padded(self, num_train: int, num_targets: int) -> 'Centred':
    """The statistics with columns and outcomes of zeros at the end.

    The weights of such columns are 0, and so are those of such outcomes.
    """
    columns = 0, num_train - self.num_train
    outcomes = 0, num_targets - len(self.spread)
    return dataclasses.replace(
        self,
        second=np.pad(self.second, (columns, columns)),
        cross=np.pad(self.cross, (columns, outcomes)),
        spread=np.pad(self.spread, outcomes),
        column_mean=np.pad(self.column_mean, columns),
        outcome_mean=np.pad(self.outcome_mean, outcomes),
    )

  def squared_error(self, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Mean squared error of linear predictions on these very models.

    Args:
      weights: `[num_lams, num_train, num_targets]`.
      bias: `[num_lams, num_targets]`.

    Returns:
      float64 `[num_lams, num_targets]`, in squared outcome units.
    """
    errors = np.zeros(bias.shape)
    for index, some in enumerate(weights):
      some = some.astype(np.float64)
      product = self.second @ some - 2 * self.cross
      quadratic = self.spread + np.sum(some * product, axis=0)
      offset = self.outcome_mean - self.column_mean @ some - bias[index]
      errors[index] = np.maximum(quadratic, 0) + offset**2
    return errors


def of(statistics: Statistics) -> Centred:
  """Computes what any statistics have to say, once."""
  if isinstance(statistics, Centred):
    return statistics
  return Centred(
      second=statistics.gram(),
      cross=statistics.centred_cross(),
      spread=statistics.variance(),
      column_mean=statistics.mean_mask(),
      outcome_mean=statistics.mean_outcome(),
      num_models=statistics.num_models,
  )
