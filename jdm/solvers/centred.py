"""What solvers read of sums, whatever was summed.

`moments.Moments` counts masks, `dense.DenseMoments` sums columns of real
numbers; the LASSO and its certificates need of either a centred Gram matrix,
centred products with the outcomes, variances and means: `Statistics`.
"""

import dataclasses
from typing import Any, Protocol

import numpy as np

_ROUNDING = 1e-7  # Relative; sums of float64 are far better.
_LANCZOS_STEPS = 16
_LANCZOS_TRAIN = 8192  # Beyond, the matrix is never whole.
_BLOCK_NUMBERS = 2**24


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


def check(statistics: Statistics, who: str) -> None:
  """Raises unless statistics can be those of centred columns and outcomes.

  Negative eigenvalues of the Gram matrix are looked for by a few steps of
  Lanczos' method: one that is found is there, small ones may be missed.

  Args:
    statistics: to check.
    who: complains.

  Raises:
    ValueError: if a number is not finite, a variance or an eigenvalue is
      negative by more than rounding, or a product with an outcome is larger
      than both variances allow, as where only one of both was centred.
  """
  cross, spread = statistics.centred_cross(), statistics.variance()
  if not (np.isfinite(cross).all() and np.isfinite(spread).all()):
    raise ValueError(f'`{who}` got moments that are not finite.')
  diagonal, largest = np.zeros(len(cross)), 0.0
  for rows in _blocks(len(cross)):
    block = statistics.gram_rows(rows)
    diagonal[rows] = np.diagonal(block, offset=rows.start)
    if not np.isfinite(block).all():
      raise ValueError(f'`{who}` got a Gram matrix that is not finite.')
    largest = max(largest, float(np.abs(block).max()))
  least = min(diagonal.min() / max(largest, 1e-300), 0)
  if least < -_ROUNDING or (spread < 0).any():
    raise ValueError(
        f'`{who}` expects variances of 0 or more, got {diagonal.min():.3g} of a'
        f' column and {spread.min():.3g} of an outcome.'
    )
  bound = np.sqrt(np.maximum(diagonal, 0)[:, None] * spread[None])
  floor = _ROUNDING * np.sqrt(largest * spread)[None]
  over = np.abs(cross) - (1 + _ROUNDING) * bound - floor
  if (over > 0).any():
    column, target = np.unravel_index(np.argmax(over), over.shape)
    raise ValueError(
        f'`{who}` expects moments around the means: the product of column'
        f' {column} and outcome {target} is {cross[column, target]:.3g}, their'
        f' variances allow {bound[column, target]:.3g}. Take the means off'
        ' masks and outcomes alike, as `Moments` and `DenseMoments` do.'
    )
  if len(cross) <= _LANCZOS_TRAIN:
    _check_definite(statistics.gram(), who)


def _blocks(num_train: int) -> list[slice]:
  """Rows of the Gram matrix to look at together."""
  step = max(1, _BLOCK_NUMBERS // num_train)
  return [slice(start, start + step) for start in range(0, num_train, step)]


def _check_definite(gram: np.ndarray, who: str) -> None:
  """Raises if Lanczos' method finds a negative eigenvalue."""
  values = _ritz_values(gram)
  if values[0] < -_ROUNDING * abs(values[-1]):
    raise ValueError(
        f'`{who}` expects a positive semidefinite Gram matrix, got one with an'
        f' eigenvalue of {values[0]:.3g} or less beside a largest one of about'
        f' {values[-1]:.3g}: more than rounding. Were models subtracted that'
        ' had never been added, or entries changed?'
    )


def _ritz_values(gram: np.ndarray) -> np.ndarray:
  """Values between the extreme eigenvalues, and soon near them."""
  vector = np.random.default_rng(0).normal(size=len(gram))
  basis = np.zeros((min(_LANCZOS_STEPS, len(gram)), len(gram)))
  images, largest = np.zeros_like(basis), np.abs(gram).max()
  count = 0
  for row, image in zip(basis, images):
    norm = np.linalg.norm(vector)
    if count and norm <= _ROUNDING * largest:
      break
    row[:] = vector / norm
    count += 1
    image[:] = gram @ row
    vector, found = image.copy(), basis[:count]
    for _ in range(2):  # Once more: rounding.
      vector -= found.T @ (found @ vector)
  return np.linalg.eigvalsh(basis[:count] @ images[:count].T)


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


def centre(rows: Any, kept: Any, count: Any) -> Any:
  """Centres each target's row over the models that it keeps.

  Args:
    rows: `[num_targets, num_models]`, NumPy or JAX, like the next two.
    kept: `[num_targets, num_models]`, 1 for the models of a target.
    count: `[num_targets]`, their number.

  Returns:
    Rows minus their mean over kept models; 0 elsewhere.
  """
  rows = rows * kept
  return rows - kept * (rows.sum(axis=1) / count)[:, None]
