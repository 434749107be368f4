"""What models make of the first examples of an order, or of all but these.

An order lists training examples, by value say. Removal curves train on all but
the first k, addition curves on the first k alone. What is read off the models
is measured on targets that had no part in making the order.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses

import numpy as np

from jdm import effects
from jdm.analysis import interventions

MODES = ('remove', 'add')
# Ends of the names of orders by value.
HIGHEST, LOWEST = ', highest first', ', lowest first'
Measure = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
  """Measures of retrained models by order and size.

  Attributes:
    mode: 'remove' or 'add'.
    orders: names of the orders.
    measures: names of what was measured.
    sizes: int `[num_sizes]`, examples removed, or trained on, ascending.
    values: `[measures, orders, sizes]`, mean over trainings, in units of the
      measure.
    interval: `[2, measures, orders, sizes]`, 95 % t interval of `values` over
      trainings (random orders: over orders, one training each); NaN with one.
    area: `[measures, orders]`, mean of the curve over its range of sizes
      (trapezoid rule); of one size, its value.
    gain: `[measures, orders]`, `area` minus that of the baseline.
    gain_interval: `[2, measures, orders]`, Welch's 95 % t interval of `gain`;
      NaN with one training of either, and for the baseline itself.
    baseline: name of an order.
    units: by order, how many trainings of each size.
    num_retrained: models trained in all.
  """

  mode: str
  orders: tuple[str, ...]
  measures: tuple[str, ...]
  sizes: np.ndarray
  values: np.ndarray
  interval: np.ndarray
  area: np.ndarray
  gain: np.ndarray
  gain_interval: np.ndarray
  baseline: str
  units: tuple[int, ...]
  num_retrained: int


def halves(
    who: str,
    num_targets: int,
    first: Sequence[int] | np.ndarray | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """Splits targets in those to choose by and those to report on.

  Args:
    who: the function that complains.
    num_targets: at least 2.
    first: the former; a random half by default.
    seed: of the half.

  Raises:
    ValueError: if a half is empty, or ids are out of range or repeated.
  """
  if first is None:
    first = np.random.default_rng(seed).permutation(num_targets)
    first = first[: num_targets // 2]
  ids = interventions.check_ids(who, 'target_ids', first, num_targets)
  others = np.setdiff1d(np.arange(num_targets), ids)
  if not others.size:
    raise ValueError(
        f'`{who}` leaves no target to report on: {len(ids)} of {num_targets}'
        ' are chosen by.'
    )
  return np.sort(ids), others


def check_rankings(
    who: str,
    rankings: Mapping[str, np.ndarray],
    num_train: int,
    taken: Collection[str],
) -> dict[str, np.ndarray]:
  """Rankings of the caller's own, as float64.

  Args:
    who: the function that complains.
    rankings: by name, `[num_train]`, finite; higher is better.
    num_train: training examples.
    taken: names that estimates have already.

  Raises:
    ValueError: on another shape, numbers that are not finite, a name taken.
  """
  found = {}
  for name, values in rankings.items():
    values = np.asarray(values, np.float64)
    if values.shape != (num_train,) or not np.isfinite(values).all():
      raise ValueError(
          f'`{who}` expects ranking {name!r} as finite numbers [{num_train}],'
          f' got shape {list(values.shape)}.'
      )
    if name in taken:
      raise ValueError(f'`{who}`: ranking {name!r} has the name of a method.')
    found[name] = values
  return found


def agreement(values: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Spearman correlation of each two rankings; keys are 'FIRST, SECOND'."""
  names = list(values)
  return {
      f'{one}, {two}': effects.spearman(values[one], values[two])
      for number, one in enumerate(names)
      for two in names[number + 1 :]
  }


def by_value(
    values: Mapping[str, np.ndarray], mode: str, num_random: int, seed: int
) -> dict[str, np.ndarray]:
  """Orders examples by values and at random.

  Args:
    values: by name, `[num_train]`, higher is better. Ties are broken at random.
    mode: 'remove' orders from both ends, 'add' only from the highest.
    num_random: random orders.
    seed: of these and of the ties.

  Returns:
    By name, int `[num_train]`; under 'random', `[num_random, num_train]`.
  """
  rng = np.random.default_rng(seed)
  orders, num_train = {}, 0
  for name, own in values.items():
    num_train = len(own)
    tie = rng.permutation(num_train)
    orders[name + HIGHEST] = np.lexsort([tie, -own])
    if mode == 'remove':
      orders[name + LOWEST] = np.lexsort([tie, own])
  draws = [rng.permutation(num_train) for _ in range(num_random)]
  orders['random'] = np.stack(draws)
  return orders


def masks_of(order: np.ndarray, sizes: np.ndarray, mode: str) -> np.ndarray:
  """The subsets of one order: bool `[num_sizes, num_train]`.

  Args:
    order: int `[num_train]`, all examples, first to be removed or added first.
    sizes: int `[num_sizes]`.
    mode: of `MODES`.
  """
  rank = np.empty(len(order), np.int64)
  rank[order] = np.arange(len(order))
  first = rank[None] < np.asarray(sizes)[:, None]
  return first if mode == 'add' else ~first


def trainable_sizes(
    orders: Mapping[str, np.ndarray],
    sizes: Sequence[int] | np.ndarray,
    mode: str,
    *,
    batch_size: int,
    labels: np.ndarray | None = None,
    num_classes: int = 0,
) -> tuple[list[int], list[str]]:
  """Which sizes leave a batch and every class an example, whatever the order.

  Returns:
    The sizes, and a sentence on each size that is left out.
  """
  kept, reasons = [], []
  for size in sizes:
    try:
      check(
          'curves',
          orders,
          [size],
          mode,
          batch_size=batch_size,
          labels=labels,
          num_classes=num_classes,
      )
      kept.append(int(size))
    except ValueError as error:
      reasons.append(f'{size} left out: {error}')
  return kept, reasons


def check(
    who: str,
    orders: Mapping[str, np.ndarray],
    sizes: Sequence[int] | np.ndarray,
    mode: str,
    *,
    batch_size: int,
    labels: np.ndarray | None = None,
    num_classes: int = 0,
) -> None:
  """Raises ValueError if sizes or orders are wrong or leave nothing to train.

  Args:
    who: the function that complains.
    orders: as in `retrained`.
    sizes: as in `retrained`.
    mode: of `MODES`.
    batch_size: the fewest examples that can be trained on.
    labels: int `[num_train]`; None for regression.
    num_classes: every class must keep an example.
  """
  if mode not in MODES:
    raise ValueError(f'`{who}` knows the modes {MODES}, got {mode!r}.')
  for name, order in orders.items():
    order = np.atleast_2d(order)
    num_train = order.shape[1]
    if not (np.sort(order, axis=1) == np.arange(num_train)[None]).all():
      raise ValueError(
          f'`{who}` expects order {name!r} to hold every training example once.'
      )
    counts = np.asarray(sizes)
    if counts.ndim != 1 or not counts.size or (np.diff(counts) <= 0).any():
      raise ValueError(
          f'`{who}` expects ascending sizes, at least one, got {list(sizes)}.'
      )
    if counts[0] < 1 or counts[-1] > num_train - (mode == 'remove'):
      raise ValueError(
          f'`{who}` cannot {mode} {counts[0]} to {counts[-1]} of'
          f' {num_train} training examples.'
      )
    cure = 'choose larger sizes' if mode == 'add' else 'remove fewer'
    for row in order:
      effects.check_masks_trainable(
          f'{who}: {mode} by {name}',
          masks_of(row, counts, mode),
          batch_size=batch_size,
          labels=labels,
          num_classes=num_classes,
          cure=cure,
      )


def num_trainings(
    orders: Mapping[str, np.ndarray], num_sizes: int, replicates: int
) -> int:
  """How many models `retrained` trains."""
  each = [_units(order, replicates) for order in orders.values()]
  return num_sizes * sum(each)


def retrained(
    who: str,
    orders: Mapping[str, np.ndarray],
    sizes: Sequence[int] | np.ndarray,
    *,
    mode: str,
    measures: Mapping[str, Measure],
    retrain: effects.Retrain,
    replicates: int,
    num_targets: int,
    baseline: str = 'random',
) -> Curves:
  """Trains on the subsets of every order and size.

  Args:
    who: the function that complains.
    orders: by name, int `[num_train]`, trained `replicates` times; or
      `[num_orders, num_train]`, several draws of a random order, each trained
      once.
    sizes: int `[num_sizes]`, ascending.
    mode: of `MODES`.
    measures: by name, a function of outcomes `[..., num_targets]` to `[...]`.
    retrain: see `effects.Retrain`.
    replicates: trainings of an order that is not random.
    num_targets: that `retrain` returns.
    baseline: the order that the others are compared with.

  Raises:
    ValueError: as `effects.retrained`.
  """
  counts = np.asarray(sizes, np.int64)
  found = {}
  for name, order in orders.items():
    draws = np.atleast_2d(order)
    masks = np.concatenate([masks_of(row, counts, mode) for row in draws])
    own = replicates if len(draws) == 1 else 1
    outcomes = effects.retrained(who, retrain, masks, own, num_targets)
    # Replicates of one order, or orders of one training: never both.
    outcomes = outcomes.reshape(-1, len(counts), num_targets)
    found[name] = np.stack([f(outcomes) for f in measures.values()], axis=1)
  values = {name: effects.mean(units) for name, units in found.items()}
  areas = {name: _area(units, counts) for name, units in found.items()}
  own_area = {name: effects.mean(units) for name, units in areas.items()}
  return Curves(
      mode=mode,
      orders=tuple(orders),
      measures=tuple(measures),
      sizes=counts,
      values=np.stack(list(values.values()), axis=1),
      interval=np.stack([_interval(u) for u in found.values()], axis=2),
      area=np.stack(list(own_area.values()), axis=1),
      gain=np.stack(
          [area - own_area[baseline] for area in own_area.values()], axis=1
      ),
      gain_interval=np.stack(
          [_difference(areas, name, baseline) for name in orders], axis=2
      ),
      baseline=baseline,
      units=tuple(len(units) for units in found.values()),
      num_retrained=num_trainings(orders, len(counts), replicates),
  )


def _units(order: np.ndarray, replicates: int) -> int:
  num_draws = len(np.atleast_2d(order))
  return replicates if num_draws == 1 else num_draws


def _area(units: np.ndarray, sizes: np.ndarray) -> np.ndarray:
  """Mean height of each curve, from `[..., num_sizes]`."""
  if len(sizes) == 1:
    return units[..., 0]
  return np.trapezoid(units, sizes, axis=-1) / (sizes[-1] - sizes[0])


def _interval(units: np.ndarray) -> np.ndarray:
  """Interval of the mean, `[2, ...]`: of a change from an exact zero."""
  if len(units) < 2:
    return np.full((2, *units.shape[1:]), np.nan)
  found = effects.interval(units, np.zeros((2, *units.shape[1:])))
  assert found is not None
  return found


def _difference(areas, name: str, baseline: str) -> np.ndarray:
  found = None
  if name != baseline:
    found = effects.interval(areas[name], areas[baseline])
  shape = (2, *areas[name].shape[1:])
  return np.full(shape, np.nan) if found is None else found
