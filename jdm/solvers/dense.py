"""Second moments of columns of real numbers: the sibling of `moments`.

Masks are counted exactly; other columns are summed in float64 as differences
from a reference (about their mean), so that a large mean costs no digits and a
constant column has variance exactly 0.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

_CHUNK_BYTES = 2**26  # Of inputs as float64.


def _reference(values: np.ndarray) -> np.ndarray:
  """A point near the mean of rows; of a constant column exactly its value."""
  if not len(values):
    return np.zeros(values.shape[1])
  mean = values.mean(axis=0, dtype=np.float64)
  constant = values.max(axis=0) == values.min(axis=0)
  return np.where(constant, values[0].astype(np.float64), mean)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseMoments:
  """Sums over rows from which linear models of real columns are fitted.

  It has what `Moments` has for solvers (`centred.Statistics`); rows are called
  models and columns training examples there.

  Attributes:
    products: float64 `[num_train, num_train]`; sum of w (x - input_shift)
      (x - input_shift)' over rows x with sample weights w.
    cross: float64 `[num_train, num_targets]`; of w (x - input_shift)
      (y - shift).
    input_sum: float64 `[num_train]`; of w (x - input_shift).
    outcome_sum: float64 `[num_targets]`; of w (y - shift).
    outcome_square: float64 `[num_targets]`; of w (y - shift)^2.
    input_shift: float64 `[num_train]`, the reference of the columns.
    shift: float64 `[num_targets]`, that of the outcomes.
    total_weight: sum of the sample weights.
    num_models: rows with a weight above 0.
    intercept: whether means are taken off; if not they count as 0, and the
      solution goes through the origin.
  """

  products: np.ndarray
  cross: np.ndarray
  input_sum: np.ndarray
  outcome_sum: np.ndarray
  outcome_square: np.ndarray
  input_shift: np.ndarray
  shift: np.ndarray
  total_weight: float
  num_models: int
  intercept: bool

  @classmethod
  def zeros(
      cls,
      input_shift: np.ndarray,
      shift: np.ndarray,
      *,
      intercept: bool = True,
  ) -> 'DenseMoments':
    """Makes the moments of no rows.

    Args:
      input_shift: `[num_train]`, about the mean of the columns.
      shift: `[num_targets]`, about the mean of the outcomes.
      intercept: as the attribute; without it both shifts must be 0.

    Raises:
      ValueError: if there are shifts but no intercept.
    """
    if not intercept and (np.any(input_shift) or np.any(shift)):
      raise ValueError(
          '`DenseMoments.zeros` without an intercept expects shifts of 0.'
      )
    num_train, num_targets = len(input_shift), len(shift)
    return cls(
        products=np.zeros((num_train, num_train)),
        cross=np.zeros((num_train, num_targets)),
        input_sum=np.zeros(num_train),
        outcome_sum=np.zeros(num_targets),
        outcome_square=np.zeros(num_targets),
        input_shift=np.asarray(input_shift, np.float64),
        shift=np.asarray(shift, np.float64),
        total_weight=0.0,
        num_models=0,
        intercept=intercept,
    )

  @property
  def num_train(self) -> int:
    """Columns of the inputs."""
    return self.cross.shape[0]

  @property
  def num_targets(self) -> int:
    """Targets."""
    return self.cross.shape[1]

  def add(
      self,
      inputs: np.ndarray,
      outcomes: np.ndarray,
      sample_weight: np.ndarray | None = None,
  ) -> 'DenseMoments':
    """Adds rows, in chunks of bounded memory.

    Args:
      inputs: `[num_models, num_train]`, finite numbers or bool.
      outcomes: `[num_models, num_targets]`, finite.
      sample_weight: `[num_models]`, not negative; by default 1 for each row.

    Returns:
      The moments of the rows so far and these.

    Raises:
      ValueError: if shapes do not fit, or something is not finite.
    """
    inputs, outcomes = np.asarray(inputs), np.asarray(outcomes)
    expected = (len(outcomes), self.num_train), (len(inputs), self.num_targets)
    if (inputs.shape, outcomes.shape) != expected:
      raise ValueError(
          '`DenseMoments.add` expects inputs of shape [num_models,'
          f' {self.num_train}] and outcomes of shape [num_models,'
          f' {self.num_targets}], got {inputs.shape} and {outcomes.shape}.'
      )
    if sample_weight is None:
      sample_weight = np.ones(len(inputs))
    sample_weight = np.asarray(sample_weight, np.float64)
    if (
        sample_weight.shape != (len(inputs),)
        or not (np.isfinite(sample_weight) & (sample_weight >= 0)).all()
    ):
      raise ValueError(
          '`DenseMoments.add` expects finite sample weights of 0 or more, of'
          f' shape [{len(inputs)}], got shape {sample_weight.shape} and'
          f' {np.sum(~(sample_weight >= 0))} negative or NaN.'
      )
    sums = self
    chunk = max(_CHUNK_BYTES // (8 * max(self.num_train, 1)), 256)
    for start in range(0, len(inputs), chunk):
      rows = slice(start, start + chunk)
      sums = sums._add_rows(inputs[rows], outcomes[rows], sample_weight[rows])
    if not np.isfinite(sums.products).all() or not (
        np.isfinite(sums.outcome_square).all()
    ):
      raise ValueError(
          '`DenseMoments.add` got numbers that are not finite, or whose squares'
          ' overflow; drop those rows, or scale the columns down.'
      )
    return sums

  def _add_rows(self, inputs, outcomes, weight) -> 'DenseMoments':
    """Adds checked rows."""
    root = np.sqrt(weight)[:, None]
    # Roots on both sides keep the products symmetric to the last bit.
    rows = root * (inputs.astype(np.float64) - self.input_shift[None])
    values = root * (outcomes.astype(np.float64) - self.shift[None])
    return dataclasses.replace(
        self,
        products=self.products + rows.T @ rows,
        cross=self.cross + rows.T @ values,
        input_sum=self.input_sum + root[:, 0] @ rows,
        outcome_sum=self.outcome_sum + root[:, 0] @ values,
        outcome_square=self.outcome_square + np.sum(values**2, axis=0),
        total_weight=self.total_weight + float(weight.sum()),
        num_models=self.num_models + int(np.count_nonzero(weight)),
    )

  def shifted(
      self, input_shift: np.ndarray, shift: np.ndarray
  ) -> 'DenseMoments':
    """Expresses the same rows around another reference."""
    step, move = self.input_shift - input_shift, self.shift - shift
    total = self.total_weight
    mixed = self.input_sum[:, None] * step[None]
    return dataclasses.replace(
        self,
        products=self.products
        + (mixed + mixed.T)
        + total * step[:, None] * step[None],
        cross=self.cross
        + step[:, None] * self.outcome_sum[None]
        + (self.input_sum + total * step)[:, None] * move[None],
        input_sum=self.input_sum + total * step,
        outcome_sum=self.outcome_sum + total * move,
        outcome_square=self.outcome_square
        + 2 * move * self.outcome_sum
        + total * move**2,
        input_shift=np.asarray(input_shift),
        shift=np.asarray(shift),
    )

  def __add__(self, other: 'DenseMoments') -> 'DenseMoments':
    """Joins the moments of disjoint rows."""
    return self._combine(other, 1)

  def subtract(self, other: 'DenseMoments') -> 'DenseMoments':
    """Takes rows out again, for instance a fold.

    Args:
      other: the moments of rows that are among those of `self`; around the
        same reference nothing but the last bits is lost.

    Returns:
      The moments of the rows that are left.

    Raises:
      ValueError: if shapes differ or `other` holds more than `self` does.
    """
    if other.num_models > self.num_models:
      raise ValueError(
          '`DenseMoments.subtract` expects rows that were added before, got'
          f' {other.num_models} rows to take from {self.num_models}.'
      )
    return self._combine(other, -1)

  def _combine(self, other: 'DenseMoments', sign: int) -> 'DenseMoments':
    """Self + sign * other, around the reference of self."""
    if not isinstance(other, DenseMoments):
      raise TypeError(
          '`DenseMoments` combine with `DenseMoments`, got'
          f' {type(other).__name__}; counts of masks and sums of real columns'
          ' are different designs.'
      )
    same = self.cross.shape, self.intercept
    if same != (other.cross.shape, other.intercept):
      raise ValueError(
          'Moments of one problem are expected: [num_train, num_targets] and'
          f' intercept are {same} and {(other.cross.shape, other.intercept)}.'
      )
    other = other.shifted(self.input_shift, self.shift)
    names = 'products', 'cross', 'input_sum', 'outcome_sum', 'outcome_square'
    totals = {
        name: getattr(self, name) + sign * getattr(other, name)
        for name in (*names, 'total_weight', 'num_models')
    }
    return dataclasses.replace(self, **totals)

  def _means(self) -> tuple[np.ndarray, np.ndarray, float]:
    """Means of inputs and outcomes minus their shifts; the total weight."""
    total = self.total_weight if self.total_weight > 0 else 1.0
    if not self.intercept:
      return np.zeros(self.num_train), np.zeros(self.num_targets), total
    return self.input_sum / total, self.outcome_sum / total, total

  def mean_mask(self) -> np.ndarray:
    """Mean of each column, float64 `[num_train]`; 0 without an intercept."""
    return self.input_shift + self._means()[0]

  def mean_outcome(self) -> np.ndarray:
    """Mean outcome, float64 `[num_targets]`; 0 without an intercept."""
    return self.shift + self._means()[1]

  def gram_rows(self, rows: slice) -> np.ndarray:
    """Rows of the centred Gram matrix, float64 `[len(rows), num_train]`."""
    mean, _, total = self._means()
    gram = self.products[rows] / total
    gram -= mean[rows][:, None] * mean[None]
    square = np.diagonal(self.products) / total
    flat = _flat(square - mean * mean, square)
    gram[flat[rows]] = 0
    gram[:, flat] = 0
    return gram

  def gram(self) -> np.ndarray:
    """Centred Gram matrix Xc'Xc / m, float64 `[num_train, num_train]`."""
    return self.gram_rows(slice(None))

  def centred_cross(self) -> np.ndarray:
    """Centred product Xc'yc / m, float64 `[num_train, num_targets]`."""
    mean, outcome, total = self._means()
    square = np.diagonal(self.products) / total
    cross = self.cross / total - mean[:, None] * outcome[None]
    cross[_flat(square - mean**2, square)] = 0
    return cross

  def variance(self) -> np.ndarray:
    """Variance of the outcomes, ||yc||^2 / m, float64 `[num_targets]`."""
    _, mean, total = self._means()
    square = self.outcome_square / total
    variance = square - mean**2
    return np.where(_flat(variance, square), 0.0, variance)


def _flat(variance: np.ndarray, square: np.ndarray) -> np.ndarray:
  """Where a difference of squares is rounding: what it is of does not vary."""
  return variance <= 8 * np.finfo(np.float64).eps * square


def around(
    inputs: np.ndarray, outcomes: np.ndarray, *, intercept: bool = True
) -> DenseMoments:
  """Makes the moments of no rows around the means of some.

  Args:
    inputs: `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    intercept: whether means are to be taken off.

  Returns:
    Empty moments; those of folds made from one of them subtract well.
  """
  inputs, outcomes = np.asarray(inputs), np.asarray(outcomes)
  make: Callable[[np.ndarray], np.ndarray] = _reference
  if not intercept:
    make = lambda values: np.zeros(values.shape[1])
  return DenseMoments.zeros(make(inputs), make(outcomes), intercept=intercept)


def of(
    inputs: np.ndarray,
    outcomes: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    intercept: bool = True,
) -> DenseMoments:
  """Computes the moments of all given rows; see `DenseMoments.add`."""
  empty = around(inputs, outcomes, intercept=intercept)
  return empty.add(inputs, outcomes, sample_weight)
