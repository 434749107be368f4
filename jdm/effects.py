"""What retraining says: the contract of `retrain`, and statistics of changes.

Arrays of retrained outcomes have their replicates on the first axis. A diverged
training is NaN there and is left out of every mean.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Protocol

import numpy as np

_FEWEST = 2  # Replicates that tell of noise.


class Retrain(Protocol):
  """Trains models on given subsets; `collection.retrainer` makes one."""

  def __call__(
      self,
      masks: np.ndarray,
      replicates: int,
      *,
      relabel: np.ndarray | None = None,
  ) -> np.ndarray:
    """Trains each subset several times.

    Args:
      masks: bool `[num_models, num_train]`.
      replicates: trainings of each, which differ in initialization and order.
      relabel: int `[num_models, num_train]`, the label that an example is
        trained with; -1 for its own. None relabels nothing.

    Returns:
      `[replicates, num_models, num_targets]`, in outcome units; NaN where a
      training diverged.
    """
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
  """Agreement of predicted and observed changes, over targets and sizes.

  Attributes:
    spearman: rank correlation over all pairs.
    pearson: correlation over the same.
    slope: of observed on predicted change, through the origin; 1 is perfect.
    mse: mean squared difference, in squared outcome units.
    ceiling: what a perfect prediction would reach, given the noise of the
      retrainings: sqrt(2 rho / (1 + rho)), rho the Spearman correlation of
      their halves (Spearman-Brown; approximate for ranks). Where a control was
      trained, halves of it go with the halves of the retrainings, so that its
      noise counts too. NaN with one retraining.
  """

  spearman: float
  pearson: float
  slope: float
  mse: float
  ceiling: float


def retrained(
    who: str,
    retrain: Retrain,
    masks: np.ndarray,
    replicates: int,
    num_targets: int,
    relabel: np.ndarray | None = None,
) -> np.ndarray:
  """Calls `retrain` and checks what comes back.

  Args:
    who: the function that complains.
    retrain: see `Retrain`.
    masks: bool `[num_models, num_train]`.
    replicates: trainings of each.
    num_targets: what is expected on the last axis.
    relabel: see `Retrain`; handed on only if it is given.

  Returns:
    `[replicates, num_models, num_targets]`.

  Raises:
    ValueError: if another shape comes back, or `replicates` is below 1.
  """
  if replicates < 1:
    raise ValueError(
        f'`{who}` needs at least one retraining, got {replicates} replicates.'
    )
  options = {} if relabel is None else {'relabel': relabel}
  outcomes = np.asarray(retrain(masks, replicates, **options))
  expected = (replicates, len(masks), num_targets)
  if outcomes.shape != expected:
    raise ValueError(
        f'`{who}` expects `retrain(masks, replicates)` to return outcomes of'
        ' shape [replicates, num_models, num_targets] ='
        f' {list(expected)}, got {list(outcomes.shape)}.'
    )
  return outcomes


def check_replicates(who: str, **replicates: int) -> None:
  """Refuses numbers of retrainings that give no interval.

  Args:
    who: the function that complains.
    **replicates: by argument name, trainings of each set.

  Raises:
    ValueError: if one is below 2.
  """
  for name, count in replicates.items():
    if count < _FEWEST:
      raise ValueError(
          f'`{who}` expects {name} of at least {_FEWEST}, got {count}: from one'
          ' training no interval can be told, and noise passes for an effect.'
      )


def mean(values: np.ndarray) -> np.ndarray:
  """Mean over axis 0 of what is finite; NaN where nothing is."""
  finite = np.isfinite(values)
  count = finite.sum(axis=0)
  total = np.where(finite, values, 0.0).sum(axis=0)
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def variance_of_mean(values: np.ndarray) -> np.ndarray:
  """Squared standard error of `mean`; NaN with fewer than two finite."""
  finite = np.isfinite(values)
  count = finite.sum(axis=0)
  squares = np.where(finite, values - mean(values)[None], 0.0) ** 2
  variance = squares.sum(axis=0) / np.maximum(count * (count - 1), 1)
  return np.where(count > 1, variance, np.nan)


def change(own: np.ndarray, control: np.ndarray) -> np.ndarray:
  """Mean over replicates of `own` minus that of `control`.

  Args:
    own: `[replicates, ...]`.
    control: `[control_replicates, ...]`; the rest broadcasts.
  """
  return mean(own) - mean(control)


def interval(
    own: np.ndarray, control: np.ndarray, level: float = 0.95
) -> np.ndarray | None:
  """Interval of `change`, `[2, ...]`.

  Student's t with Welch's degrees of freedom; where all outcomes are 0 or 1
  (correctness), which a t interval misjudges and gives no width where all agree,
  Newcombe's interval of a difference of shares.

  Returns:
    Lower and upper ends; None with fewer than two replicates of either.

  References:
    Newcombe, `Interval estimation for the difference between independent
    proportions
    <https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C873::AID-SIM779%3E3.0.CO;2-I>`_,
    1998, method 10.
  """
  from scipy import stats  # Takes half a second to import.

  if len(own) < _FEWEST or len(control) < _FEWEST:
    return None
  if _is_binary(own) and _is_binary(control):
    return _newcombe(own, control, level)
  parts = [variance_of_mean(own), variance_of_mean(control)]
  counts = [
      np.maximum(np.isfinite(array).sum(axis=0) - 1, 1)
      for array in (own, control)
  ]
  variance = parts[0] + parts[1]
  spread = parts[0] ** 2 / counts[0] + parts[1] ** 2 / counts[1]
  freedom = np.where(
      spread > 0, variance**2 / np.where(spread > 0, spread, 1), counts[0]
  )
  half = stats.t.ppf(0.5 + level / 2, freedom) * np.sqrt(variance)
  middle = change(own, control)
  return np.stack([middle - half, middle + half])


def _is_binary(values: np.ndarray) -> bool:
  """Whether all that is finite is 0 or 1."""
  finite = np.asarray(values)[np.isfinite(values)]
  return bool(np.all((finite == 0) | (finite == 1)))


def _newcombe(own: np.ndarray, control: np.ndarray, level: float) -> np.ndarray:
  """Ends of the interval of a difference of shares, `[2, ...]`."""
  from scipy import stats  # Takes half a second to import.

  quantile = stats.norm.ppf(0.5 + level / 2)
  shares, lows, highs = [], [], []
  for values in (own, control):
    count = np.isfinite(values).sum(axis=0)
    share = mean(values)
    safe = np.maximum(count, 1)
    middle = (share + quantile**2 / (2 * safe)) / (1 + quantile**2 / safe)
    inner = share * (1 - share) / safe + (quantile / (2 * safe)) ** 2
    half = quantile * np.sqrt(inner) / (1 + quantile**2 / safe)
    shares.append(share)
    lows.append(middle - half)
    highs.append(middle + half)
  difference = shares[0] - shares[1]
  down = np.hypot(shares[0] - lows[0], highs[1] - shares[1])
  up = np.hypot(highs[0] - shares[0], shares[1] - lows[1])
  return np.stack([difference - down, difference + up])


def spearman(first: np.ndarray, second: np.ndarray) -> float:
  """Rank correlation of what is finite in both; NaN where undefined."""
  from scipy import stats  # Takes half a second to import.

  valid = np.isfinite(first) & np.isfinite(second)
  if not _varies(first[valid], second[valid]):
    return float('nan')
  return float(stats.spearmanr(first[valid], second[valid]).statistic)


def agreement(
    predicted: np.ndarray, observed: np.ndarray, ceiling: float = float('nan')
) -> Agreement:
  """Compares predicted changes with observed ones.

  Args:
    predicted: any shape, outcome units.
    observed: same shape; non-finite entries are left out.
    ceiling: see `Agreement`.
  """
  valid = np.isfinite(observed)
  x, y = predicted[valid], observed[valid]
  varies = _varies(x, y)
  return Agreement(
      spearman=spearman(predicted, observed),
      pearson=float(np.corrcoef(x, y)[0, 1]) if varies else float('nan'),
      slope=float(np.sum(x * y) / np.sum(x * x)) if x.any() else float('nan'),
      mse=float(np.mean((x - y) ** 2)) if x.size else float('nan'),
      ceiling=ceiling,
  )


def halves(
    own: np.ndarray, control: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
  """Changes by independent halves of the replicates.

  Args:
    own: `[replicates, ...]`.
    control: `[control_replicates, ...]`. Its halves go with those of `own`;
      a single control serves both, and its noise is then not seen.

  Returns:
    Two arrays `[...]`; None with fewer than two replicates.
  """
  if len(own) < 2:
    return None
  starts = (0, 1) if len(control) > 1 else (0, 0)
  first, second = (
      change(own[half::2], control[start :: max(starts) + 1])
      for half, start in zip((0, 1), starts)
  )
  return first, second


def split_half_ceiling(first: np.ndarray, second: np.ndarray) -> float:
  """Correlation of the truth with the mean of two halves; see `Agreement`."""
  rho = spearman(first, second)
  if np.isnan(rho):
    return float('nan')
  rho = max(rho, 0.0)
  return float(np.sqrt(2 * rho / (1 + rho)))


def check_masks_trainable(
    who: str,
    masks: np.ndarray,
    *,
    batch_size: int,
    labels: np.ndarray | None = None,
    num_classes: int = 0,
    cure: str = 'remove fewer',
) -> None:
  """Refuses subsets that a model cannot be trained on.

  Args:
    who: the function that complains.
    masks: bool `[num_models, num_train]`.
    batch_size: the fewest examples that hold a batch.
    labels: int `[num_train]`, classes; None for regression.
    num_classes: every class below it that `labels` holds must keep an example;
      0 stands for all that `labels` holds.
    cure: what to do about it.

  Raises:
    ValueError: naming the first subset that is too small, or the class that it
      leaves empty.
  """
  masks = np.asarray(masks)
  sizes = masks.sum(axis=1)
  small = np.flatnonzero(sizes < batch_size)
  if small.size:
    raise ValueError(
        f'`{who}`: {small.size} of {len(masks)} subsets are smaller than a'
        f' batch of {batch_size} (subset {small[0]} has {sizes[small[0]]}'
        f' examples); {cure}.'
    )
  if labels is None:
    return
  for label in range(num_classes or int(np.max(labels)) + 1):
    members = np.asarray(labels) == label
    empty = np.flatnonzero(masks[:, members].sum(axis=1) == 0)
    if members.any() and empty.size:
      raise ValueError(
          f'`{who}`: {empty.size} of {len(masks)} subsets (number {empty[0]}'
          f' first) leave class {label} without an example (it has'
          f' {members.sum()}); {cure}.'
      )


def to_json(value: Any) -> Any:
  """Dataclasses, arrays and numpy numbers as what `json` can write."""
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    names = [field.name for field in dataclasses.fields(value)]
    return {name: to_json(getattr(value, name)) for name in names}
  if isinstance(value, Mapping):
    return {str(name): to_json(inner) for name, inner in value.items()}
  if isinstance(value, (list, tuple)):
    return [to_json(inner) for inner in value]
  if isinstance(value, np.ndarray):
    return value.tolist()
  if isinstance(value, np.generic):
    return value.item()
  return value


def _varies(first: np.ndarray, second: np.ndarray) -> bool:
  """Whether a correlation is defined."""
  return first.size > 1 and np.ptp(first) > 0 and np.ptp(second) > 0
