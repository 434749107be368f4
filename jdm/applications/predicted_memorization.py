"""What a convex model memorizes, asking a predictor and not a trainer.

Feldman and Zhang's subsampled estimator needs the models of thousands of random
subsets. A predictor gives them in microseconds each, with an error of its own:
how soon it pays is measured against exact training at equal CPU time.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import numpy as np

from jdm import effects
from jdm import subsets
from jdm.analysis import influence as influence_lib
from jdm.modelpred import baselines
from jdm.modelpred import evaluation
from jdm.modelpred import points as points_lib

_WHO = 'predicted_memorization'
OUTCOMES = ('probability', 'correctness')
_CHUNK = 4096  # Sets whose outcomes are made at once.
_MOST_VALUES = 200_000_000  # Of a table of outcomes.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PredictedMemorization:
  """Memorization by each way, held against a reference.

  Attributes:
    ways: names.
    num_sets: int `[num_ways, num_budgets]`, subsets of each estimate; 0 where
      the budget does not reach.
    spearman: `[num_ways, num_budgets]`, rank correlation over points with the
      reference; NaN without sets.
    pearson: likewise.
    bias: `[num_ways]`, root mean squared difference from the reference of the
      largest estimate, outcome units.
    memorization: `[num_ways, num_points]`, of the largest estimate; outcome
      units, positive where training on the point raises its own outcome.
    error: same shape, standard errors (of sampling, not of the predictor).
    reference: `[num_points]`, exact, from subsets of its own.
    reference_error: `[num_points]`.
    reliability: Spearman of the reference's halves, corrected to full length
      (Spearman and Brown): what a perfect estimate would about reach.
    num_reference: its subsets.
    alpha: share of the points in a subset.
    outcome: of `OUTCOMES`.
  """

  ways: tuple[str, ...]
  num_sets: np.ndarray
  spearman: np.ndarray
  pearson: np.ndarray
  bias: np.ndarray
  memorization: np.ndarray
  error: np.ndarray
  reference: np.ndarray
  reference_error: np.ndarray
  reliability: float
  num_reference: int
  alpha: float
  outcome: str

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self)


def predicted_memorization(
    pool: points_lib.Pool,
    ways: Mapping[str, baselines.Predict],
    *,
    num_sets: Mapping[str, Sequence[int]],
    alpha: float = 0.7,
    outcome: str = 'probability',
    num_reference: int = 10_000,
    seed: int = 0,
) -> PredictedMemorization:
  """Estimates the memorization of every point by each way.

  Args:
    pool: the points; a task with classes.
    ways: by name, from masks to parameters.
    num_sets: by name, subsets of each estimate, as many for every way; smaller
      ones are the first of larger ones. 0 skips.
    alpha: share of the points in a subset; .7 as Feldman and Zhang.
    outcome: 'probability' of the right class, or 'correctness'.
    num_reference: subsets that the reference trains on, exactly.
    seed: of all subsets; ways share theirs, the reference has its own.

  Raises:
    ValueError: on regression, unknown outcomes, numbers that do not fit, or a
      table of outcomes that would not fit into memory.

  References:
    Feldman and Zhang, `What neural networks memorize and why
    <https://arxiv.org/abs/2008.03703>`_, 2020, §2.
  """
  numbers = _checked(pool, ways, num_sets, outcome, num_reference)
  ways_key, reference_key = jax.random.split(jax.random.key(seed))
  masks = _draw(reference_key, num_reference, pool, alpha)
  outcomes = _outcomes(pool, baselines.exact(pool), masks, outcome)
  truth = influence_lib.self_influence(masks, outcomes)
  halves = [
      influence_lib.self_influence(masks[half::2], outcomes[half::2]).value
      for half in (0, 1)
  ]
  agree = effects.spearman(*halves)
  masks = _draw(ways_key, int(numbers.max()), pool, alpha)
  shape = numbers.shape
  spearman, pearson = np.full((2, *shape), np.nan)
  values, errors = np.full((2, len(ways), len(pool.labels)), np.nan)
  for row, predict in enumerate(ways.values()):
    most = int(numbers[row].max())
    if not most:
      continue
    outcomes = _outcomes(pool, predict, masks[:most], outcome)
    for column, number in enumerate(numbers[row]):
      if not number:
        continue
      found = influence_lib.self_influence(masks[:number], outcomes[:number])
      kept = np.isfinite(found.value)
      pair = found.value[kept], truth.value[kept]
      spearman[row, column] = effects.spearman(*pair)
      if min(np.ptp(pair[0]), np.ptp(pair[1])) > 1e-12:
        pearson[row, column] = np.corrcoef(*pair)[0, 1]
      if number == most:
        values[row], errors[row] = found.value, found.error
  return PredictedMemorization(
      ways=tuple(ways),
      num_sets=numbers,
      spearman=spearman,
      pearson=pearson,
      bias=np.sqrt(np.nanmean((values - truth.value[None]) ** 2, axis=1)),
      memorization=values,
      error=errors,
      reference=truth.value,
      reference_error=truth.error,
      reliability=float(2 * agree / (1 + agree)),
      num_reference=num_reference,
      alpha=alpha,
      outcome=outcome,
  )


def _draw(key, num: int, pool: points_lib.Pool, alpha: float) -> np.ndarray:
  """Random subsets of one size; those that miss a class are skipped."""
  num_points, spare = len(pool.labels), num // 100 + 10
  drawn = np.asarray(
      subsets.fixed_size(key, np.arange(num + spare), num_points, alpha)
  )
  found = drawn[(drawn @ pool.classes > 0).all(axis=1)][:num]
  if len(found) < num:
    raise ValueError(
        f'`{_WHO}`: {len(drawn) - len(found)} of {len(drawn)} subsets of'
        f' {alpha:.0%} miss a class; choose a larger alpha.'
    )
  return found


def _outcomes(pool, predict, masks, outcome) -> np.ndarray:
  """Of each point by each model, float32 `[num_sets, num_points]`."""
  parts = []
  for start in range(0, len(masks), _CHUNK):
    chunk = masks[start : start + _CHUNK]
    losses, right = evaluation.losses_of_each(
        pool.objective, predict(chunk), pool.inputs, pool.labels
    )
    own = np.exp(-losses) if outcome == 'probability' else right
    parts.append(own.astype(np.float32))
  return np.concatenate(parts)


def _checked(pool, ways, num_sets, outcome, num_reference) -> np.ndarray:
  if not pool.classes.shape[1]:
    raise ValueError(f'`{_WHO}` needs classes; the pool is one of regression.')
  if outcome not in OUTCOMES:
    raise ValueError(f'`{_WHO}` knows outcomes {OUTCOMES}, got {outcome!r}.')
  if outcome == 'probability' and pool.objective.loss not in (
      'logistic',
      'softmax',
  ):
    raise ValueError(
        f'`{_WHO}`: the loss {pool.objective.loss!r} has no probabilities; ask'
        " for outcome='correctness'."
    )
  if set(ways) != set(num_sets) or not ways:
    raise ValueError(
        f'`{_WHO}` expects num_sets of every way, got ways {sorted(ways)} and'
        f' num_sets {sorted(num_sets)}.'
    )
  numbers = np.array([list(num_sets[name]) for name in ways], np.int64)
  if numbers.ndim != 2 or (numbers < 0).any() or not numbers.max():
    raise ValueError(
        f'`{_WHO}` expects as many num_sets of 0 or more for every way, got'
        f' { {name: list(num_sets[name]) for name in ways} }.'
    )
  if num_reference < 4:
    raise ValueError(
        f'`{_WHO}` expects num_reference of 4 or more, got {num_reference}.'
    )
  most = max(int(numbers.max()), num_reference) * len(pool.labels)
  if most > _MOST_VALUES:
    raise ValueError(
        f'`{_WHO}`: a table of {most:,} outcomes is too large (at most'
        f' {_MOST_VALUES:,}); ask for fewer sets.'
    )
  return numbers
