"""Which k points make the best training set, asking a predictor and not a trainer.

Rules start from everything and drop what the validation loss misses least;
what they end with is trained exactly and judged on other examples.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import time
from typing import Any

import numpy as np

from jdm import effects
from jdm import intervals
from jdm.analysis import curves as curves_lib
from jdm.analysis import interventions
from jdm.modelpred import baselines
from jdm.modelpred import evaluation
from jdm.modelpred import mask_gradients
from jdm.modelpred import points as points_lib
from jdm.modelpred import predictor as predictor_lib

_WHO = 'predicted_selection'
RANDOM = 'random'
_NUM_BOOTSTRAP = 1000

# Orders points, last to be dropped first, int `[num_points]`.
Rule = Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PredictedSelection:
  """What was picked, and how good the models are that were trained on it.

  Attributes:
    rules: names; the last is `RANDOM`.
    sizes: int `[num_sizes]`, points picked, ascending.
    orders: by rule that is not random, int `[num_points]`: the first k are the
      pick of k.
    loss: `[num_rules, num_sizes]`, mean loss of exact models on the report
      examples, in units of the objective's loss; of random picks the mean over
      draws.
    accuracy: same shape, a share; NaN in regression.
    gain: same shape, loss of random picks minus that of the rule's: positive is
      better than random.
    gain_interval: `[2, num_rules, num_sizes]`, 95 % bootstrap over the report
      examples, with the random draws as they are.
    full_loss: of the model of everything, on the report examples.
    full_accuracy: likewise.
    seconds: by rule, CPU seconds to make its order.
    choice_ids: int, examples whose loss was to fall.
    report_ids: int, the others.
    num_random: random draws of each size.
  """

  rules: tuple[str, ...]
  sizes: np.ndarray
  orders: Mapping[str, np.ndarray]
  loss: np.ndarray
  accuracy: np.ndarray
  gain: np.ndarray
  gain_interval: np.ndarray
  full_loss: float
  full_accuracy: float
  seconds: Mapping[str, float]
  choice_ids: np.ndarray
  report_ids: np.ndarray
  num_random: int

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self)


def predicted_selection(
    pool: points_lib.Pool,
    inputs: np.ndarray,
    labels: np.ndarray,
    rules: Mapping[str, Rule],
    *,
    sizes: Sequence[int] | np.ndarray,
    choice_ids: np.ndarray,
    num_random: int = 20,
    seed: int = 0,
) -> PredictedSelection:
  """Trains on what rules pick, exactly, and on random picks.

  Args:
    pool: the points to pick from.
    inputs: `[num_test, ...]`, examples of which the rules saw `choice_ids`.
    labels: `[num_test]`.
    rules: by name; each is called once and timed. See `one_shot`, `backward`.
    sizes: how many points to pick, each of which must hold all classes.
    choice_ids: int, test examples that the rules saw; the others report.
    num_random: random picks of each size, every class among them.
    seed: of these.

  Returns:
    The picks and their models.

  Raises:
    ValueError: if sizes, ids or orders make no sense, or a pick misses a class.
  """
  num_points = len(pool.labels)
  counts = interventions.check_sizes(_WHO, sizes, num_points - 1)
  choice, report = curves_lib.halves(_WHO, len(labels), choice_ids, seed)
  orders, seconds = {}, {}
  for name, rule in rules.items():
    start = time.process_time()
    order = np.asarray(rule())
    seconds[name] = time.process_time() - start
    if not np.array_equal(np.sort(order), np.arange(num_points)):
      raise ValueError(
          f'`{_WHO}` expects rule {name!r} to order all {num_points} points,'
          f' got {list(order.shape)}.'
      )
    orders[name] = order
  masks = [
      _first(order, size, pool, name)
      for name, order in orders.items()
      for size in counts
  ]
  masks += _random_picks(pool, counts, num_random, seed)
  masks = np.stack([*masks, np.ones(num_points)])
  found = pool.solve(masks).parameters
  losses, right = evaluation.losses_of_each(
      pool.objective, found, inputs[report], labels[report]
  )
  num_rules, num_sizes = len(orders), len(counts)
  by_rule = losses[: num_rules * num_sizes].reshape(num_rules, num_sizes, -1)
  drawn = losses[num_rules * num_sizes : -1].reshape(num_random, num_sizes, -1)
  own = np.concatenate([by_rule, drawn.mean(axis=0, keepdims=True)])
  hits = right[: num_rules * num_sizes].reshape(num_rules, num_sizes, -1)
  random_hits = right[num_rules * num_sizes : -1].reshape(drawn.shape)
  gains = own[-1:] - own  # [rules, sizes, report examples]
  return PredictedSelection(
      rules=(*orders, RANDOM),
      sizes=counts,
      orders=orders,
      loss=own.mean(axis=2),
      accuracy=np.concatenate(
          [hits.mean(axis=2), random_hits.mean(axis=(0, 2))[None]]
      ),
      gain=gains.mean(axis=2),
      gain_interval=_bootstrap(gains, seed),
      full_loss=float(losses[-1].mean()),
      full_accuracy=float(right[-1].mean()),
      seconds=seconds,
      choice_ids=choice,
      report_ids=report,
      num_random=num_random,
  )


def one_shot(gradient: np.ndarray, pool: points_lib.Pool) -> np.ndarray:
  """Orders points by a gradient of the loss with respect to the mask.

  Args:
    gradient: `[num_points]`; the most negative help most and come first.
    pool: the first of each class lead the order, so that every pick can be
      trained on.
  """
  return _classes_first(np.argsort(gradient, kind='stable'), pool)


def backward(
    pool: points_lib.Pool,
    predict: baselines.Predict,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    step: int = 1,
    smallest: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
  """Drops the points that the loss misses least, one trial each, greedily.

  Args:
    pool: the points.
    predict: from masks to parameters: a predictor's outputs, or exact training.
    inputs: of validation examples.
    labels: of these.
    step: points dropped after one round of trials.
    smallest: rounds end with so many points, which are ordered by one more
      round of trials.
    progress: called with points dropped and to drop.

  Returns:
    int `[num_points]`, last dropped first. The last of a class stays.
  """
  own = pool.objective

  def cost(mask: np.ndarray, trials: np.ndarray) -> np.ndarray:
    # Every point has its trial, also one that is gone: one shape, one program.
    masks = np.repeat(mask[None], len(mask), axis=0)
    np.fill_diagonal(masks, 0)
    losses, _ = evaluation.test_losses(own, predict(masks), inputs, labels)
    return losses[trials]

  return _eliminate(pool, cost, step, smallest, progress)


def by_gradient(
    fitted: predictor_lib.Predictor,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    step: int = 1,
    smallest: int = 2,
) -> np.ndarray:
  """As `backward`, by the gradient at each set: one query a round, not n."""
  slopes = mask_gradients.through_predictor(fitted, inputs, labels)

  def cost(mask: np.ndarray, trials: np.ndarray) -> np.ndarray:
    return -slopes(mask[None])[1][0][trials]

  return _eliminate(fitted.pool, cost, step, smallest, None)


def _eliminate(pool, cost, step, smallest, progress) -> np.ndarray:
  """Drops `step` points a round, of the lowest `cost(mask, trials)`."""
  num_points = len(pool.labels)
  if step < 1 or not 1 <= smallest < num_points:
    raise ValueError(
        f'`{_WHO}` expects a step of 1 or more and smallest from 1 to'
        f' {num_points - 1}, got {step} and {smallest}.'
    )
  mask, dropped = np.ones(num_points), []
  while mask.sum() > smallest:
    trials = np.flatnonzero(mask)
    order = trials[np.argsort(cost(mask, trials), kind='stable')]
    before = len(dropped)
    for point in order:
      if len(dropped) - before == step or mask.sum() <= smallest:
        break
      if _may_go(mask, point, pool):
        mask[point] = 0
        dropped.append(point)
    if len(dropped) == before:
      break  # Only the last of each class are left.
    if progress is not None:
      progress(len(dropped), num_points - smallest)
  left = np.flatnonzero(mask)
  left = left[np.argsort(-cost(mask, left), kind='stable')]
  return _classes_first(np.concatenate([left, dropped[::-1]]).astype(int), pool)


def _may_go(mask: np.ndarray, point: int, pool: points_lib.Pool) -> bool:
  """Whether every class keeps a point without this one."""
  without = mask.copy()
  without[point] = 0
  return bool((without @ pool.classes > 0).all())


def _classes_first(order: np.ndarray, pool: points_lib.Pool) -> np.ndarray:
  """The first of each class, then all others in order."""
  if not pool.classes.shape[1]:
    return order
  firsts = [
      place
      for place in (
          np.flatnonzero(pool.classes[order, label] > 0)[:1]
          for label in range(pool.classes.shape[1])
      )
      if place.size
  ]
  lead = np.sort(np.concatenate(firsts))
  return np.concatenate([order[lead], np.delete(order, lead)])


def _first(order, size, pool, name) -> np.ndarray:
  mask = np.zeros(len(order))
  mask[order[:size]] = 1
  if (mask @ pool.classes == 0).any():
    raise ValueError(
        f'`{_WHO}`: the first {size} points of rule {name!r} miss a class;'
        ' choose larger sizes.'
    )
  return mask


def _random_picks(pool, sizes, num_random, seed) -> list[np.ndarray]:
  """Nested random picks, every class first, one order a draw."""
  masks = []
  for number in range(num_random):
    rng = np.random.default_rng([seed, number])
    order = _classes_first(rng.permutation(len(pool.labels)), pool)
    masks += [_first(order, size, pool, RANDOM) for size in sizes]
  return masks


def _bootstrap(gains: np.ndarray, seed: int) -> np.ndarray:
  """Intervals `[2, rules, sizes]` of means over the last axis."""
  num = gains.shape[2]
  rng = np.random.default_rng(seed)
  times = rng.multinomial(num, np.full(num, 1 / num), size=_NUM_BOOTSTRAP)
  drawn = np.einsum('rsn,bn->brs', gains, times) / num
  ends = np.empty((2, *gains.shape[:2]))
  for rule in range(gains.shape[0]):
    for size in range(gains.shape[1]):
      ends[:, rule, size] = intervals.percentiles(drawn[:, rule, size], 0.95)
  return ends
