"""Values of training examples from a utility that can be asked about any set.

`semivalues` and `shapley` read values off a pool of models that is there
already. Here the sets are chosen for the estimate, and a utility is asked for
each: train on the set and measure, or let a predictor guess the trained model.
See `semivalues` for what a utility and a value are.

A walk goes through all examples in a random order and keeps what each adds to
those before it. The same walks give Shapley and Beta Shapley values:

  walked = sampled_values.walk(utility, num_train, num_orders=100)
  values = sampled_values.shapley(walked)

Order i depends on the seed and on i alone: `walk(..., first_order=100)` goes on
where 100 orders ended, and `join` puts both together.
"""

from collections.abc import Callable, Sequence
import dataclasses

import jax
import numpy as np
from scipy import special

from jdm import subsets
from jdm.analysis import semivalues

# Of bool masks `[num_sets, num_train]` to `[num_sets]` or
# `[num_sets, num_utilities]`, finite, higher is better.
Utility = Callable[[np.ndarray], np.ndarray]

_AT_ONCE = 4096  # Sets in one call of a utility.
_BLOCKS = 20  # Of an order, between looks at what to truncate.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Walks:
  """What each example added in each random order.

  Attributes:
    gains: `[num_orders, num_train, num_utilities]`, of an example in an order:
      U(those before it and it) - U(those before it).
    places: int `[num_orders, num_train]`, how many come before it.
    units: int `[num_orders]`, from 0: orders of one unit were drawn together.
    num_evaluations: sets that the utility was asked for.
    num_saved: sets that truncation left out.
  """

  gains: np.ndarray
  places: np.ndarray
  units: np.ndarray
  num_evaluations: int
  num_saved: int

  def __len__(self) -> int:
    return len(self.gains)


def walk(
    utility: Utility,
    num_train: int,
    *,
    num_orders: int,
    antithetic: bool = False,
    tolerance: float | Sequence[float] | None = None,
    empty_utility: np.ndarray | float | None = None,
    first_order: int = 0,
    seed: int = 0,
) -> Walks:
  """Asks for the utility of all prefixes of random orders.

  An order costs num_train - 1 evaluations: the full set is asked for once, and
  the empty one not at all if its utility is given.

  Args:
    utility: see `Utility`. It says what sets that cannot be trained on are
      worth, such as those that miss a class.
    num_train: examples, at least 2.
    num_orders: random orders; even if antithetic.
    antithetic: draws each order with its reverse. An example that comes early
      in one comes late in the other, so that where gains fall with the size of
      the set the two errors cancel in part.
    tolerance: stops an order at the first prefix whose utility is within this
      of that of everything, and counts the gains after it as 0 (truncated Monte
      Carlo); of many utilities, all must be; one number or one each. A biased
      estimate: values of an order then add up to less or more than U(all) -
      U(none) by up to the tolerance. None walks to the end. Prefixes are asked
      for in blocks of a twentieth of an order, so that up to that many
      evaluations of an order are in vain.
    empty_utility: `[num_utilities]` or a number, U(none); by default the
      utility is asked.
    first_order: goes on from there; even if antithetic.
    seed: of the orders.

  Raises:
    ValueError: on numbers out of range, or a utility that returns another shape
      or numbers that are not finite.

  References:
    Castro et al., `Polynomial calculation of the Shapley value based on
    sampling <https://doi.org/10.1016/j.cor.2008.04.004>`_, 2009, §3; Mitchell et
    al., `Sampling permutations for Shapley value estimation
    <https://arxiv.org/abs/2104.12199>`_, 2022, §4; Ghorbani and Zou, `Data
    Shapley <https://arxiv.org/abs/1904.02868>`_, 2019, algorithm 1.
  """
  _check_orders(num_train, num_orders, first_order, antithetic)
  full = _asked(utility, np.ones((1, num_train), bool))
  num_evaluations, num_utilities = 1, full.shape[1]
  if empty_utility is None:
    empty = _asked(utility, np.zeros((1, num_train), bool))
    num_evaluations += 1
  else:
    empty = np.broadcast_to(np.asarray(empty_utility, float), full.shape)
  orders = _orders(num_train, num_orders, first_order, antithetic, seed)
  ranks = np.argsort(orders, axis=1)
  # Of prefixes of 0, 1, ..., num_train examples.
  found = np.empty((num_orders, num_train + 1, num_utilities))
  found[:, 0], found[:, -1] = empty, full
  last = np.full(num_orders, num_train)  # Prefix at which an order stops.
  block = num_train if tolerance is None else -(-num_train // _BLOCKS)
  for start in range(1, num_train, block):
    sizes = np.arange(start, min(start + block, num_train))
    walking = np.flatnonzero(last == num_train)
    rows = np.repeat(walking, len(sizes)), np.tile(sizes, len(walking))
    found[rows] = _asked_of_prefixes(utility, ranks, *rows, num_utilities)
    num_evaluations += len(rows[0])
    if tolerance is not None:
      ends = _first_within(found[walking][:, sizes] - full[None], tolerance)
      last[walking] = np.where(ends < len(sizes), start + ends, num_train)
  before_end = np.arange(num_train)[None] < last[:, None]
  steps = np.where(before_end[:, :, None], np.diff(found, axis=1), 0.0)
  every = 1 + (empty_utility is None) + num_orders * (num_train - 1)
  return Walks(
      gains=np.take_along_axis(steps, ranks[:, :, None], axis=1),
      places=ranks,
      units=np.arange(num_orders) // (1 + antithetic),
      num_evaluations=num_evaluations,
      num_saved=every - num_evaluations,
  )


def join(first: Walks, second: Walks) -> Walks:
  """Puts walks of different orders together."""
  units = second.units + first.units[-1] + 1
  return Walks(
      gains=np.concatenate([first.gains, second.gains]),
      places=np.concatenate([first.places, second.places]),
      units=np.concatenate([first.units, units]),
      num_evaluations=first.num_evaluations + second.num_evaluations,
      num_saved=first.num_saved + second.num_saved,
  )


def shapley(
    walks: Walks,
    *,
    names: Sequence[str] = (),
    resampling: semivalues.Resampling = semivalues.Resampling(),
) -> semivalues.Values:
  """Shapley values: what an example added, mean over orders.

  Without truncation they are unbiased, and add up to U(all) - U(none).

  Args:
    walks: of two units (orders, or pairs of them) or more.
    names: of the utilities.
    resampling: of the units, for intervals and stability. Standard errors are
      those of a mean over units.

  Raises:
    ValueError: if there are too few.
  """
  weights = np.ones(walks.gains.shape[1])
  return _weighted(walks, weights, 'shapley', names, resampling)


def beta_shapley(
    walks: Walks,
    *,
    alpha: float = 16.0,
    beta: float = 1.0,
    names: Sequence[str] = (),
    resampling: semivalues.Resampling = semivalues.Resampling(),
) -> semivalues.Values:
  """Beta Shapley values: gains weighted by the place in the order.

  Args:
    walks: as of `shapley`.
    alpha: above 1 gives gains to small sets more weight, which are less noisy
      where an example adds little to many others.
    beta: above 1 gives gains to large sets more weight. (1, 1) is Shapley.
    names: of the utilities.
    resampling: as of `shapley`.

  Raises:
    ValueError: if there are too few orders, or alpha or beta is not positive.

  References:
    Kwon and Zou, `Beta Shapley <https://arxiv.org/abs/2110.14049>`_, 2022, §3.
  """
  weights = beta_weights(walks.gains.shape[1], alpha, beta)
  method = f'beta_shapley({alpha:g}, {beta:g})'
  return _weighted(walks, weights, method, names, resampling)


def beta_weights(num_train: int, alpha: float, beta: float) -> np.ndarray:
  """What a gain counts by its place, `[num_train]`; 1 on average.

  num_train times the chance of a place under a beta-binomial distribution.

  Raises:
    ValueError: if alpha or beta is not positive.
  """
  if not (alpha > 0 and beta > 0):
    raise ValueError(
        f'`beta_weights` expects positive alpha and beta, got {alpha} and'
        f' {beta}.'
    )
  others = num_train - 1
  places = np.arange(num_train)
  logs = (
      special.gammaln(num_train)
      - special.gammaln(places + 1)
      - special.gammaln(others - places + 1)
      + special.betaln(places + beta, others - places + alpha)
      - special.betaln(alpha, beta)
  )
  return num_train * np.exp(logs)


def banzhaf(
    utility: Utility,
    num_train: int,
    *,
    num_sets: int,
    alpha: float = 0.5,
    seed: int = 0,
    names: Sequence[str] = (),
    resampling: semivalues.Resampling = semivalues.Resampling(),
) -> semivalues.Values:
  """Draws random sets, and estimates Banzhaf values by sample reuse.

  Args:
    utility: see `Utility`.
    num_train: examples.
    num_sets: that hold each example with chance alpha; set i depends on the
      seed and on i alone.
    alpha: 0.5 for Banzhaf values, see `semivalues.banzhaf`.
    seed: of the sets.
    names: of the utilities.
    resampling: of the sets.

  Raises:
    ValueError: as `semivalues.banzhaf`, or as `walk` on what a utility returns.
  """
  masks = np.asarray(
      subsets.bernoulli(
          jax.random.key(seed), np.arange(num_sets), num_train, alpha
      )
  )
  utilities = _asked(utility, masks)
  return semivalues.banzhaf(
      masks, utilities, names=names, resampling=resampling
  )


def leave_one_out(
    utility: Utility, num_train: int, *, names: Sequence[str] = ()
) -> semivalues.Values:
  """What is lost without each example: U(all) - U(all but it).

  Nothing is sampled: standard errors are 0, and stability is 1.

  Args:
    utility: see `Utility`; asked num_train + 1 times.
    num_train: examples, at least 2.
    names: of the utilities.

  Raises:
    ValueError: as `walk` on what a utility returns.
  """
  masks = np.concatenate(
      [np.ones((1, num_train), bool), ~np.eye(num_train, dtype=bool)]
  )
  utilities = _asked(utility, masks)
  values = utilities[:1] - utilities[1:]
  return semivalues.Values(
      method='leave_one_out',
      names=semivalues.checked_names(names, values.shape[1]),
      values=values,
      standard_error=np.zeros_like(values),
      interval=None,
      stability=np.ones(values.shape[1]),
      num_models=len(masks),
      alpha=1 - 1 / num_train,
  )


def _weighted(walks, weights, method, names, resampling) -> semivalues.Values:
  """Mean over orders of gains times the weights of their places."""
  num_orders, num_train, num_utilities = walks.gains.shape
  num_units = int(walks.units[-1]) + 1
  if num_units < 2:
    raise ValueError(
        f'`{method}` expects two random orders (or pairs of them) or more, for'
        f' standard errors, got {num_units}.'
    )
  each = walks.gains * weights[walks.places][:, :, None]
  units = np.zeros((num_units, num_train * num_utilities))
  np.add.at(units, walks.units, each.reshape(num_orders, -1))
  units /= np.bincount(walks.units)[:, None]

  def sampled(times: np.ndarray) -> np.ndarray:
    means = (times.T @ units) / times.sum(axis=0)[:, None]
    return means.reshape(-1, num_train, num_utilities)

  error = units.std(axis=0, ddof=1) / np.sqrt(num_units)
  values = semivalues.estimate(
      sampled,
      num_units,
      method=method,
      num_models=walks.num_evaluations,
      alpha=0.5,  # Mean size of a prefix.
      resampling=resampling,
      names=names,
      standard_error=error.reshape(num_train, num_utilities),
  )
  return dataclasses.replace(values, num_saved=walks.num_saved)


def _orders(num_train, num_orders, first, antithetic, seed) -> np.ndarray:
  """Random orders int `[num_orders, num_train]`, each by its own number."""
  each = 1 + antithetic
  units = range(first // each, (first + num_orders) // each)
  drawn = np.stack(
      [
          np.random.default_rng((seed, unit)).permutation(num_train)
          for unit in units
      ]
  )
  if not antithetic:
    return drawn
  return np.stack([drawn, drawn[:, ::-1]], axis=1).reshape(-1, num_train)


def _asked(utility: Utility, masks: np.ndarray) -> np.ndarray:
  """Utilities `[num_sets, num_utilities]` of sets, some at once."""
  parts = []
  for start in range(0, len(masks), _AT_ONCE):
    own = masks[start : start + _AT_ONCE]
    found = np.asarray(utility(own), np.float64)
    if found.ndim not in (1, 2) or len(found) != len(own):
      raise ValueError(
          'a utility returns [num_sets] or [num_sets, num_utilities] for masks'
          f' {list(own.shape)}, got {list(found.shape)}.'
      )
    bad = int(np.sum(~np.isfinite(found.reshape(len(own), -1)).all(axis=1)))
    if bad:
      raise ValueError(
          f'a utility must be finite, and {bad} of {len(own)} sets have none;'
          ' let it say what sets that cannot be trained on are worth.'
      )
    parts.append(found.reshape(len(own), -1))
  return np.concatenate(parts)


def _asked_of_prefixes(
    utility, ranks, orders, sizes, num_utilities
) -> np.ndarray:
  """Utilities of prefixes, given by order and size."""
  found = np.empty((len(orders), num_utilities))
  for start in range(0, len(orders), _AT_ONCE):
    own = slice(start, start + _AT_ONCE)
    masks = ranks[orders[own]] < sizes[own, None]
    found[own] = _asked(utility, masks)
  return found


def _first_within(gaps: np.ndarray, tolerance) -> np.ndarray:
  """Place of the first small gap of `[num, places, utilities]`, or places."""
  allowed = np.broadcast_to(np.asarray(tolerance, float), gaps.shape[2])
  small = np.all(np.abs(gaps) <= allowed[None, None], axis=2)
  return np.where(
      np.any(small, axis=1), np.argmax(small, axis=1), gaps.shape[1]
  )


def _check_orders(num_train, num_orders, first_order, antithetic) -> None:
  if num_train < 2 or num_orders < 1 or first_order < 0:
    raise ValueError(
        '`walk` expects 2 examples or more, an order or more, and first_order'
        f' from 0, got {num_train}, {num_orders} and {first_order}.'
    )
  if antithetic and (num_orders % 2 or first_order % 2):
    raise ValueError(
        '`walk` draws antithetic orders in pairs: num_orders and first_order'
        f' must be even, got {num_orders} and {first_order}.'
    )
