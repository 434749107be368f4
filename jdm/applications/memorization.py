"""What models memorize, and whom it helps: Feldman and Zhang from one pool.

A training example is memorized if models get it right only when they train on
it. Its influence on a test example is the same difference there. Both are read
off models trained on random subsets, so nothing is trained anew. The largest
of many noisy estimates are too large, so what is chosen on one half of the
models is also measured on the other.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from jdm import effects
from jdm.analysis import influence as influence_lib
from jdm.analysis import suspects

_WHO = 'memorization'
# Feldman and Zhang (2020), section 3.2.
_MIN_MEMORIZATION, _MIN_INFLUENCE = 0.25, 0.15
_LISTED = 1000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
  """Memorized training examples and the test examples that they serve.

  Attributes:
    pairs: int `[num_pairs, 2]`, train row and test row, most influence first.
    memorization: `[num_pairs]`, of the training example.
    influence: `[num_pairs]`, outcome units, positive = helpful.
    error: `[num_pairs]`, standard error of `influence`.
    num_train: training examples among them.
    num_test: test examples among them.
  """

  pairs: np.ndarray
  memorization: np.ndarray
  influence: np.ndarray
  error: np.ndarray
  num_train: int
  num_test: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shrinkage:
  """How much of an extreme is left on models that did not choose it.

  Averages of both directions between two halves of the models.

  Attributes:
    what: 'memorization' or 'influence'.
    num_chosen: how many were chosen on a half.
    chosen: their mean value there.
    fresh: their mean value on the other half.
    kept: share of them that passes the same thresholds on the other half; NaN
      for what was chosen by rank.
  """

  what: str
  num_chosen: float
  chosen: float
  fresh: float
  kept: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LeftOut:
  """Training examples left out of the full training set, by retraining.

  Attributes:
    rows: int `[num]`, train rows.
    is_memorized: bool `[num]`, True for the most memorized, False for random.
    estimated: `[num]`, memorization as estimated on subsets.
    observed: `[num]`, mean outcome of training on everything minus that of
      training on everything but the example, of the example itself.
    interval: `[2, num]`, 95 %, Student's t; None with fewer than 2 trainings.
    agreement: of `estimated` with `observed`.
    replicates: trainings of each.
  """

  rows: np.ndarray
  is_memorized: np.ndarray
  estimated: np.ndarray
  observed: np.ndarray
  interval: np.ndarray | None
  agreement: effects.Agreement
  replicates: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Memorization:
  """Memorization of all training examples, and their influence on tests.

  Attributes:
    memorization: self-influence, `[num_train]`; outcome units.
    order: int `[num_train]`, train rows, most memorized first; those without an
      estimate last.
    influence: of train on test examples, `[num_train, num_targets]`; None
      without test outcomes.
    pairs: what passes the thresholds; None without test outcomes.
    min_memorization: threshold of the pairs.
    min_influence: likewise.
    reliability: Pearson correlation of the memorization by two halves of the
      models; NaN where undefined.
    shrinkage: of extremes, on models that did not choose them.
    left_out: the check by retraining, if there was one.
    num_models: models of the pool.
  """

  memorization: influence_lib.SelfInfluence
  order: np.ndarray
  influence: influence_lib.Difference | None
  pairs: Pairs | None
  min_memorization: float
  min_influence: float
  reliability: float
  shrinkage: tuple[Shrinkage, ...]
  left_out: LeftOut | None
  num_models: int

  def to_json(self) -> dict[str, Any]:
    """The numbers; of the influence only the pairs, 1,000 at most."""
    values = {
        field.name: getattr(self, field.name)
        for field in dataclasses.fields(self)
        if field.name not in ('influence', 'pairs')
    }
    if self.pairs is not None:
      listed: dict[str, Any] = {'num_pairs': len(self.pairs.pairs)}
      for field in dataclasses.fields(self.pairs):
        value = getattr(self.pairs, field.name)
        is_array = isinstance(value, np.ndarray)
        listed[field.name] = value[:_LISTED] if is_array else value
      values['pairs'] = listed
    return effects.to_json(values)


def memorization(
    masks: np.ndarray,
    train_outcomes: np.ndarray,
    test_outcomes: np.ndarray | None = None,
    *,
    min_memorization: float = _MIN_MEMORIZATION,
    min_influence: float = _MIN_INFLUENCE,
    num_extreme: int = 100,
    retrain: effects.Retrain | None = None,
    num_retrained: int = 20,
    replicates: int = 4,
    control_replicates: int = 20,
    batch_size: int = 1,
    seed: int = 0,
) -> Memorization:
  """Estimates memorization and influence from a pool of models.

  Args:
    masks: bool `[num_models, num_train]`; row i is model i's training set.
    train_outcomes: `[num_models, num_train]`, of the training examples, such as
      correctness (as in the paper, for which the thresholds are) or margins.
    test_outcomes: `[num_models, num_targets]`, of test examples.
    min_memorization: pairs are of training examples with at least that much.
    min_influence: and of at least that much influence on the test example.
    num_extreme: how many of the most memorized `shrinkage` is about.
    retrain: see `effects.Retrain`, with the training examples as targets and
      the outcome of `train_outcomes`; None retrains nothing.
    num_retrained: how many of the most memorized are left out of the full
      training set, and as many random ones.
    replicates: trainings without each, at least 2.
    control_replicates: trainings on everything, at least 2.
    batch_size: the fewest examples that can be trained on.
    seed: of the random ones.

  Returns:
    The estimates. They are for training sets of the size of the pool's subsets:
    with fewer examples more has to be memorized than with all.

  Raises:
    ValueError: if shapes or dtypes do not fit, outcomes are not finite, or
      there are fewer than 4 models.

  References:
    Feldman and Zhang, `What neural networks memorize and why
    <https://arxiv.org/abs/2008.03703>`_, 2020, §2 and §3.
  """
  own = influence_lib.self_influence(masks, train_outcomes)
  masks, train_outcomes = np.asarray(masks), np.asarray(train_outcomes)
  if len(masks) < 4 or num_extreme < 1:
    raise ValueError(
        f'`{_WHO}` expects 4 models or more, for two halves, and num_extreme of'
        f' at least 1, got {len(masks)} and {num_extreme}.'
    )
  # Without an estimate: last.
  order = np.argsort(-np.nan_to_num(own.value, nan=-np.inf), kind='stable')
  on_test, pairs = None, None
  if test_outcomes is not None:
    test_outcomes = np.asarray(test_outcomes)
    on_test = influence_lib.influence(masks, test_outcomes)
    pairs = _pairs(own.value, on_test, min_memorization, min_influence)
  reliability, shrinkage = _halves(
      masks,
      train_outcomes,
      test_outcomes,
      (min_memorization, min_influence),
      num_extreme,
  )
  left_out = None
  if retrain is not None:
    left_out = _left_out(
        retrain,
        own.value,
        order,
        (num_retrained, replicates, control_replicates, batch_size),
        seed,
    )
  return Memorization(
      memorization=own,
      order=order,
      influence=on_test,
      pairs=pairs,
      min_memorization=min_memorization,
      min_influence=min_influence,
      reliability=reliability,
      shrinkage=shrinkage,
      left_out=left_out,
      num_models=len(masks),
  )


def _passing(own, on_test, thresholds: Sequence[float]) -> np.ndarray:
  """Train and test rows of pairs above both thresholds, `[2, num]`."""
  # NaN passes nothing.
  is_pair = (own >= thresholds[0])[:, None] & (on_test >= thresholds[1])
  return np.stack(np.nonzero(is_pair))


def _pairs(own, on_test, min_memorization, min_influence) -> Pairs:
  train, test = _passing(own, on_test.value, (min_memorization, min_influence))
  order = np.argsort(-on_test.value[train, test], kind='stable')
  train, test = train[order], test[order]
  return Pairs(
      pairs=np.stack([train, test], axis=1),
      memorization=own[train],
      influence=on_test.value[train, test],
      error=on_test.error[train, test],
      num_train=len(np.unique(train)),
      num_test=len(np.unique(test)),
  )


def _halves(
    masks, train_outcomes, test_outcomes, thresholds, num_extreme: int
) -> tuple[float, tuple[Shrinkage, ...]]:
  """Chooses on each half of the models, and measures on the other."""
  halves = [slice(start, None, 2) for start in (0, 1)]
  own = [
      influence_lib.self_influence(masks[half], train_outcomes[half]).value
      for half in halves
  ]
  defined = np.isfinite(own[0]) & np.isfinite(own[1])
  values = [array[defined] for array in own]
  reliability = _correlation(*values)
  by_rank = []
  for chosen, fresh in (values, values[::-1]):
    top = np.argsort(-chosen, kind='stable')[:num_extreme]
    by_rank.append((len(top), chosen[top], fresh[top], np.full(1, np.nan)))
  found = [_shrinkage('memorization', by_rank)]
  if test_outcomes is not None:
    on_test = [
        influence_lib.influence(masks[half], test_outcomes[half]).value
        for half in halves
    ]
    by_threshold = []
    for here, there in ((0, 1), (1, 0)):
      rows = _passing(own[here], on_test[here], thresholds)
      fresh = on_test[there][tuple(rows)]
      kept = (own[there][rows[0]] >= thresholds[0]) & (fresh >= thresholds[1])
      chosen = on_test[here][tuple(rows)]
      by_threshold.append((len(chosen), chosen, fresh, kept))
    found.append(_shrinkage('influence', by_threshold))
  return reliability, tuple(found)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
  if len(first) < 2 or not (np.ptp(first) and np.ptp(second)):
    return float('nan')
  return float(np.corrcoef(first, second)[0, 1])


def _shrinkage(what: str, directions) -> Shrinkage:
  """Averages over both directions; NaN where nothing was chosen."""
  numbers, *others = zip(*directions)
  means = []
  for arrays in others:
    joined = np.concatenate(arrays).astype(np.float64)
    means.append(float(joined.mean()) if joined.size else float('nan'))
  return Shrinkage(
      what=what,
      num_chosen=float(np.mean(numbers)),
      chosen=means[0],
      fresh=means[1],
      kept=means[2],
  )


def _left_out(retrain, own, order, numbers, seed: int) -> LeftOut:
  """Trains on everything but one example, for some examples."""
  count, replicates, control_replicates, batch_size = numbers
  num_train = len(own)
  if not 1 <= count <= num_train // 2:
    raise ValueError(
        f'`{_WHO}` expects num_retrained from 1 to {num_train // 2}, got'
        f' {count}.'
    )
  rng = suspects.generator(seed)
  rest = rng.permutation(order[count:])[:count]
  rows = np.concatenate([order[:count], rest])
  masks = np.ones((len(rows), num_train), bool)
  masks[np.arange(len(rows)), rows] = False
  effects.check_replicates(
      _WHO, replicates=replicates, control_replicates=control_replicates
  )
  effects.check_masks_trainable(_WHO, masks, batch_size=batch_size)
  everything = np.ones((1, num_train), bool)
  control = effects.retrained(
      _WHO, retrain, everything, control_replicates, num_train
  )[:, 0, rows]
  outcomes = effects.retrained(_WHO, retrain, masks, replicates, num_train)
  without = outcomes[:, np.arange(len(rows)), rows]
  observed = effects.change(control, without)
  halves = effects.halves(without, control)
  ceiling = (
      float('nan') if halves is None else effects.split_half_ceiling(*halves)
  )
  return LeftOut(
      rows=rows,
      is_memorized=np.arange(len(rows)) < count,
      estimated=own[rows],
      observed=observed,
      interval=effects.interval(control, without),
      agreement=effects.agreement(own[rows], observed, ceiling),
      replicates=replicates,
  )
