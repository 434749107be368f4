"""Sets with points that no fit has seen: adding data to a pool.

A union is the pool's points followed by new ones. A set function encodes new
points as it does old ones; the model trained on the whole pool can be moved
towards them; what learned a number for each point of the pool knows nothing of
them.
"""

from collections.abc import Callable, Mapping

import numpy as np

from jdm.modelpred import baselines
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import points
from jdm.training import convex


def union(
    pool: points.Pool, inputs: np.ndarray, labels: np.ndarray
) -> points.Pool:
  """The pool's points, then new ones.

  Args:
    pool: what predictors were fitted on.
    inputs: of new points, `[num_new, ...]`, flattened here.
    labels: `[num_new]`.

  Raises:
    ValueError: if new points have another number of features or of labels.
  """
  inputs = np.asarray(inputs, np.float64).reshape(len(inputs), -1)
  if inputs.shape[1] != pool.inputs.shape[1] or len(labels) != len(inputs):
    raise ValueError(
        f'`union` expects new points of {pool.inputs.shape[1]} features, one'
        f' label each, got inputs {list(inputs.shape)}, labels'
        f' {list(np.shape(labels))}.'
    )
  return points.Pool(
      objective=pool.objective,
      inputs=np.concatenate([pool.inputs, inputs]),
      labels=np.concatenate([np.asarray(pool.labels), np.asarray(labels)]),
  )


def masks(
    num_sets: int,
    num_train: int,
    num_new: int,
    *,
    share: float = 0.5,
    fewest: int = 5,
    seed: int = 0,
) -> np.ndarray:
  """Draws sets: a random part of the pool and some new points.

  Args:
    num_sets: how many.
    num_train: points of the pool.
    num_new: new points, of which each set has from `fewest` to all, each number
      as likely.
    share: of the pool's points in each set.
    fewest: new points of a set.
    seed: of the draws.

  Returns:
    bool `[num_sets, num_train + num_new]`, columns as in `union`.

  Raises:
    ValueError: unless 1 <= fewest <= num_new and 0 <= share <= 1.
  """
  if not (1 <= fewest <= num_new and 0 <= share <= 1):
    raise ValueError(
        '`masks` expects 1 <= fewest <= num_new and a share from 0 to 1, got'
        f' fewest={fewest}, num_new={num_new}, share={share}.'
    )
  rng = np.random.default_rng(seed)
  counts = rng.integers(fewest, num_new + 1, num_sets)
  old = _ranks(rng, num_sets, num_train) < round(share * num_train)
  new = _ranks(rng, num_sets, num_new) < counts[:, None]
  return np.concatenate([old, new], axis=1)


def _ranks(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
  """Each row a random order of the numbers below `columns`."""
  return rng.random((rows, columns)).argsort(axis=1).argsort(axis=1)


def exact(both: points.Pool, drawn: np.ndarray) -> labels_lib.Labels:
  """Labels of sets of a union; sets without a minimum are left out.

  Args:
    both: the points.
    drawn: bool `[num_sets, num_points]`.
  """
  solution = both.solve(drawn)
  kept = solution.converged
  own = both.objective
  if isinstance(own, convex.Objective) and not own.penalize_intercept:
    # A free intercept runs away where a class is missing.
    kept = kept & (drawn @ both.classes > 0).all(axis=1)
  return labels_lib.make(
      drawn[kept],
      solution.parameters[kept],
      gradient_norm=solution.gradient_norm[kept],
  )


def all_of(
    pool: points.Pool,
    both: points.Pool,
    labels: labels_lib.Labels,
    val: labels_lib.Labels,
    *,
    num_warm_steps: int = 20,
) -> Mapping[str, Callable[[], baselines.Predict]]:
  """Baselines that can predict sets of a union, named as in `baselines`.

  Args:
    pool: the points of the labels.
    both: `union` of it and new ones.
    labels: of the pool, as predictors learn from.
    val: the same, to choose penalties.
    num_warm_steps: training steps of a perceptron's warm starts.
  """

  def constant(value: np.ndarray) -> baselines.Predict:
    return lambda drawn: np.repeat(value[None], len(drawn), axis=0)

  def size_curve() -> baselines.Predict:
    return baselines.ridge(
        both, _padded(labels, both), _padded(val, both), 'size'
    )

  full = constant(pool.full)
  of_all: dict[str, Callable[[], baselines.Predict]] = {
      'mean': lambda: baselines.mean(labels),
      'full_data': lambda: full,
      'size_curve': size_curve,
  }
  last = {'exact': lambda: baselines.exact(both)}
  if not isinstance(pool.objective, convex.Objective):
    warm = f'warm_{num_warm_steps}_from'
    return {
        **of_all,
        f'{warm}_init': lambda: baselines.refined(both, num_warm_steps),
        f'{warm}_full': lambda: baselines.refined(both, num_warm_steps, full),
        **last,
    }
  return {
      **of_all,
      'influence': lambda: baselines.influence(pool, both),
      'newton_1_from_full': lambda: baselines.newton(both, 1, full),
      'newton_2_from_full': lambda: baselines.newton(both, 2, full),
      'newton_1_from_zero': lambda: baselines.newton(both, 1),
      **last,
  }


def _padded(labels: labels_lib.Labels, both: points.Pool) -> labels_lib.Labels:
  """Labels of the pool's sets as sets of the union: no new point is in them."""
  num, num_train = labels.masks.shape
  none = np.zeros((num, len(both.labels) - num_train), bool)
  return labels_lib.make(
      np.concatenate([labels.masks, none], axis=1),
      labels.parameters,
      gradient_norm=labels.gradient_norm,
      groups=labels.groups,
  )
