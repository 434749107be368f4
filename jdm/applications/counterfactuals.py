"""What if these training examples had not been there? Predicted, and retrained.

For each target, the k training examples with the highest weights (most
helpful), the lowest (most harmful) or random ones are removed from the full
training set, and the model is trained again.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib

KINDS = ('helpful', 'harmful', 'random')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
  """Agreement of predicted and observed changes, over targets and sizes.

  Attributes:
    spearman: rank correlation over all (target, k).
    pearson: correlation over the same.
    slope: of observed on predicted change, through the origin; 1 is perfect.
    mse: mean squared difference, in squared outcome units.
    ceiling: what a perfect prediction would reach, given the noise of the
      retrainings: sqrt(2 rho / (1 + rho)), rho the Spearman correlation of
      their halves (Spearman-Brown; approximate for ranks). The noise of the
      control, which both halves share, is not in it. NaN with one retraining.
  """

  spearman: float
  pearson: float
  slope: float
  mse: float
  ceiling: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counterfactuals:
  """Predicted and observed effects of removing training examples.

  Attributes:
    target_ids: `[num_targets]`, columns of the datamodels.
    sizes: `[num_sizes]`, how many examples were removed.
    kinds: names of the rules that chose them.
    removed: `[kinds, num_targets, max size]`, train rows in order of removal.
    predicted: `[kinds, num_sizes, num_targets]`, predicted change of the
      outcome, in outcome units; negative where removal hurts.
    observed: same shape, mean change over retrainings; None if only predicted.
    interval: `[2, ...]`, 95 % interval of `observed` (Student's t over the
      retrainings with and without); None with fewer than two.
    control: `[num_targets]`, mean outcome of training on everything; or None.
    agreement: by kind, and over all as 'all'; empty if only predicted.
    replicates: retrainings of each counterfactual.
    num_retrained: models trained in all, controls included.
  """

  target_ids: np.ndarray
  sizes: np.ndarray
  kinds: tuple[str, ...]
  removed: np.ndarray
  predicted: np.ndarray
  observed: np.ndarray | None = None
  interval: np.ndarray | None = None
  control: np.ndarray | None = None
  agreement: dict[str, Agreement] = dataclasses.field(default_factory=dict)
  replicates: int = 0
  num_retrained: int = 0

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    values = {
        field.name: getattr(self, field.name)
        for field in dataclasses.fields(self)
    }
    values['agreement'] = {
        kind: dataclasses.asdict(agreement)
        for kind, agreement in self.agreement.items()
    }
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def counterfactuals(
    datamodels: datamodels_lib.Datamodels,
    *,
    sizes: Sequence[int],
    target_ids: Sequence[int] | np.ndarray | None = None,
    kinds: Sequence[str] = KINDS,
    retrain: Callable[[np.ndarray, int], np.ndarray] | None = None,
    replicates: int = 4,
    control_replicates: int = 20,
    seed: int = 0,
) -> Counterfactuals:
  """Removes training examples from the full set; predicts and retrains.

  Args:
    datamodels: fitted at some alpha; removing from the full set extrapolates
      in size, so look at the slope and not only at the ranks.
    sizes: how many examples to remove, each in `[1, num_train)`.
    target_ids: columns of the datamodels; all by default.
    kinds: which rules choose the examples, of `KINDS`.
    retrain: `retrain(masks, replicates) -> [replicates, num_models,
      num_targets]`, for instance `collection.retrainer(store)`; None predicts
      only.
    replicates: retrainings of each counterfactual.
    control_replicates: trainings on the full set.
    seed: of the random removals.

  Returns:
    The effects. A diverged retraining is left out of its mean.

  Raises:
    ValueError: on sizes, targets or kinds out of range, or if `retrain`
      returns another shape.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, §3.
  """
  targets = np.arange(datamodels.num_targets)
  targets = targets if target_ids is None else np.asarray(target_ids, np.int64)
  counts = np.asarray(sizes, np.int64)
  _check(
      datamodels, targets, counts, kinds, min(replicates, control_replicates)
  )
  weights = np.asarray(datamodels.weights)[:, targets]
  removed = np.stack(
      [_ranking(kind, weights, int(counts.max()), seed) for kind in kinds]
  )
  predicted = _predicted(weights, removed, counts)
  result = Counterfactuals(
      target_ids=targets,
      sizes=counts,
      kinds=tuple(kinds),
      removed=removed,
      predicted=predicted,
  )
  if retrain is None:
    return result
  masks = _removal_masks(removed, counts, datamodels.num_train)
  everything = np.ones((1, datamodels.num_train), bool)
  num_targets = datamodels.num_targets
  control = _retrained(retrain, everything, control_replicates, num_targets)
  control = control[:, 0, targets]
  outcomes = _retrained(retrain, masks, replicates, num_targets)
  outcomes = outcomes[:, :, targets].reshape(
      replicates, len(kinds), len(counts), len(targets), len(targets)
  )
  # Each subset was made for one target: only that outcome is looked at.
  own = np.diagonal(outcomes, axis1=3, axis2=4)
  return dataclasses.replace(
      result,
      observed=_mean(own) - _mean(control),
      interval=_interval(own, control),
      control=_mean(control),
      agreement=_agreements(kinds, predicted, own, control),
      replicates=replicates,
      num_retrained=len(masks) * replicates + control_replicates,
  )


def default_sizes(num_train: int) -> list[int]:
  """Sizes that double from 5 up to a fifth of the training set."""
  sizes = [5 * 2**power for power in range(20) if 25 * 2**power <= num_train]
  return sizes or [1]


def random_targets(num_targets: int, count: int, seed: int = 0) -> np.ndarray:
  """Chooses up to `count` targets at random, ascending."""
  rng = np.random.default_rng(seed)
  return np.sort(rng.permutation(num_targets)[:count])


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
      spearman=_spearman(predicted, observed),
      pearson=float(np.corrcoef(x, y)[0, 1]) if varies else float('nan'),
      slope=float(np.sum(x * y) / np.sum(x * x)) if x.any() else float('nan'),
      mse=float(np.mean((x - y) ** 2)) if x.size else float('nan'),
      ceiling=ceiling,
  )


def _retrained(retrain, masks, replicates, num_targets) -> np.ndarray:
  outcomes = np.asarray(retrain(masks, replicates))
  expected = (replicates, len(masks), num_targets)
  if outcomes.shape != expected:
    raise ValueError(
        '`counterfactuals` expects `retrain(masks, replicates)` to return'
        ' outcomes of shape [replicates, num_models, num_targets] ='
        f' {list(expected)}, got {list(outcomes.shape)}'
    )
  return outcomes


def _check(datamodels, target_ids, sizes, kinds, replicates) -> None:
  if sizes.ndim != 1 or not sizes.size or sizes.min() < 1:
    raise ValueError(
        f'`counterfactuals` expects sizes of at least 1, got {sizes.tolist()}'
    )
  if sizes.max() >= datamodels.num_train:
    raise ValueError(
        f'`counterfactuals` cannot remove {sizes.max()} of'
        f' {datamodels.num_train} training examples'
    )
  unknown = sorted(set(kinds) - set(KINDS))
  if unknown or not kinds:
    raise ValueError(
        f'`counterfactuals` knows the kinds {KINDS}, got {list(kinds)}'
    )
  if not target_ids.size or replicates < 1:
    raise ValueError(
        '`counterfactuals` needs at least one target and one retraining'
    )
  if target_ids.min() < 0 or target_ids.max() >= datamodels.num_targets:
    raise ValueError(
        '`counterfactuals` expects target_ids in'
        f' [0, {datamodels.num_targets}), got {target_ids.tolist()}'
    )


def _ranking(
    kind: str, weights: np.ndarray, count: int, seed: int
) -> np.ndarray:
  """Train rows in order of removal, `[num_targets, count]`."""
  if kind == 'random':
    rng = np.random.default_rng(seed)
    num_train, num_targets = weights.shape
    draws = [rng.permutation(num_train)[:count] for _ in range(num_targets)]
    return np.stack(draws)
  scores = weights if kind == 'helpful' else -weights
  return np.argsort(-scores, axis=0, kind='stable')[:count].T


def _predicted(weights, removed, sizes) -> np.ndarray:
  """Minus the sum of the removed weights, `[kinds, sizes, targets]`."""
  own = np.take_along_axis(weights.T[None], removed, axis=2)
  sums = np.cumsum(own.astype(np.float64), axis=2)[:, :, sizes - 1]
  return -sums.transpose(0, 2, 1)


def _removal_masks(removed, sizes, num_train) -> np.ndarray:
  """Bool `[kinds * sizes * targets, num_train]`, False where removed."""
  kinds, num_targets, _ = removed.shape
  masks = np.ones((kinds, len(sizes), num_targets, num_train), bool)
  for number, size in enumerate(sizes):
    np.put_along_axis(masks[:, number], removed[:, :, :size], False, axis=2)
  return masks.reshape(-1, num_train)


def _mean(values: np.ndarray) -> np.ndarray:
  """Mean over axis 0 of what is finite; NaN where nothing is."""
  finite = np.isfinite(values)
  count = finite.sum(axis=0)
  total = np.where(finite, values, 0.0).sum(axis=0)
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _variance_of_mean(values: np.ndarray) -> np.ndarray:
  """Squared standard error of `_mean`; NaN with fewer than two finite."""
  finite = np.isfinite(values)
  count = finite.sum(axis=0)
  squares = np.where(finite, values - _mean(values)[None], 0.0) ** 2
  variance = squares.sum(axis=0) / np.maximum(count * (count - 1), 1)
  return np.where(count > 1, variance, np.nan)


def _interval(own: np.ndarray, control: np.ndarray) -> np.ndarray | None:
  if len(own) < 2 or len(control) < 2:
    return None
  change = _mean(own) - _mean(control)
  error = np.sqrt(_variance_of_mean(own) + _variance_of_mean(control))
  freedom = np.maximum(np.isfinite(own).sum(axis=0) - 1, 1)
  half = stats.t.ppf(0.975, freedom) * error
  return np.stack([change - half, change + half])


def _agreements(kinds, predicted, own, control) -> dict[str, Agreement]:
  base = _mean(control)
  observed = _mean(own) - base
  ceilings = np.full(len(kinds) + 1, np.nan)
  if len(own) > 1:
    halves = [_mean(own[start::2]) - base for start in (0, 1)]
    for number in range(len(kinds)):
      ceilings[number] = _ceiling(halves[0][number], halves[1][number])
    ceilings[-1] = _ceiling(*halves)
  result = {
      kind: agreement(predicted[number], observed[number], ceilings[number])
      for number, kind in enumerate(kinds)
  }
  result['all'] = agreement(predicted, observed, float(ceilings[-1]))
  return result


def _ceiling(first: np.ndarray, second: np.ndarray) -> float:
  """Correlation of the truth with the mean of both halves."""
  rho = max(_spearman(first, second), 0.0)
  return float(np.sqrt(2 * rho / (1 + rho)))


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
  valid = np.isfinite(first) & np.isfinite(second)
  if not _varies(first[valid], second[valid]):
    return float('nan')
  return float(stats.spearmanr(first[valid], second[valid]).statistic)


def _varies(first: np.ndarray, second: np.ndarray) -> bool:
  """Whether a correlation is defined."""
  return first.size > 1 and np.ptp(first) > 0 and np.ptp(second) > 0
