"""What a predictor of parameters has to beat, none of them a neural network.

Each is made from the pool (and, where it learns, from labels), and then maps
masks `[num_sets, num_train]` to parameters `[num_sets, num_parameters]`,
float64 on the host.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from jdm.modelpred import labels as labels_lib
from jdm.modelpred import points
from jdm.modelpred import refine
from jdm.solvers import precision
from jdm.training import convex
from jdm.training import perceptron

Predict = Callable[[np.ndarray], np.ndarray]
RIDGE_FEATURES = ('size', 'mask', 'mask_size')
_PENALTIES = np.logspace(-3, 5, 17)


def mean(labels: labels_lib.Labels) -> Predict:
  """The mean of the labels' parameters, whatever the set."""
  value = labels.parameters.mean(axis=0)
  return lambda masks: np.repeat(value[None], len(masks), axis=0)


def full(pool: points.Pool) -> Predict:
  """The parameters of everything, whatever the set."""
  value = pool.full
  return lambda masks: np.repeat(value[None], len(masks), axis=0)


def influence(pool: points.Pool, both: points.Pool | None = None) -> Predict:
  """First-order influence of what is left out, from the model of everything.

  theta(S) = theta + H^-1 sum over i not in S of grad loss_i, minus that sum
  over points of S that are new (`both`, see `addition`). The penalty is no
  part of an example's gradient: adding penalty / num_train to each, as the code
  released with ModelPred does, makes the gradients of all examples add up to 0
  at the minimum, and predicts that deleting everything changes nothing.

  References:
    Koh and Liang, `Understanding black-box predictions via influence functions
    <https://arxiv.org/abs/1703.04730>`_, 2017, §2.
  """
  own = _convex(pool, 'influence')
  with precision.float64():
    both = pool if both is None else both
    data = convex.examples(both.inputs, both.labels)
    parameters = jnp.asarray(pool.full)
    is_old = np.arange(len(both.labels)) < len(pool.labels)
    hessian = own.hessian(parameters, jnp.asarray(is_old, float), data)
    moves = np.asarray(
        jnp.linalg.solve(
            hessian + convex.gauge(own),
            own.example_gradients(parameters, data).T,
        )
    ).T

  def predict(masks: np.ndarray) -> np.ndarray:
    return pool.full[None] + (is_old[None] - np.asarray(masks, float)) @ moves

  return predict


def newton(
    pool: points.Pool, num_steps: int, start: Predict | None = None
) -> Predict:
  """Newton steps for each set, from zero or from another prediction.

  Raises:
    ValueError: if the objective is not convex.
  """
  _convex(pool, 'newton')
  return refined(pool, num_steps, start)


def warm_start(
    pool: points.Pool, num_steps: int, start: Predict | None = None
) -> Predict:
  """Training steps for each set, from the initialization or a prediction.

  The same descent as the training of a perceptron, with momentum 0 at first;
  from the initialization it is that training, cut short.

  Raises:
    ValueError: if the objective is convex: its exact minimum does not depend on
      the start (see `newton`).
  """
  if not isinstance(pool.objective, perceptron.Objective):
    raise ValueError(
        '`warm_start` is of perceptrons; for a convex objective use `newton`'
    )
  return refined(pool, num_steps, start)


def refined(
    pool: points.Pool, num_steps: int, start: Predict | None = None
) -> Predict:
  """Steps of the objective's own kind: Newton's, or those of training."""

  def predict(masks: np.ndarray) -> np.ndarray:
    begin = None if start is None else start(masks)

    def call(weights, at, data):
      return (
          refine.refine(pool.objective, at, weights, data, num_steps=num_steps),
      )

    return pool.in_chunks(call, masks, begin)[0]

  return predict


def _convex(pool: points.Pool, who: str) -> convex.Objective:
  if not isinstance(pool.objective, convex.Objective):
    raise ValueError(f'`{who}` is for convex objectives only')
  return pool.objective


def exact(pool: points.Pool) -> Predict:
  """Batched retraining: the truth."""
  return lambda masks: pool.solve(masks).parameters


def ridge_features(
    masks: np.ndarray, classes: np.ndarray, kind: str
) -> np.ndarray:
  """What a ridge regression sees of sets, `[num_sets, width]`.

  Args:
    masks: `[num_sets, num_train]`.
    classes: one-hot labels `[num_train, num_classes]`.
    kind: 'size': constant, size, its log, root and inverse, logs of the sizes of
      classes and of their ratios to the first. 'mask': the mask (a linear
      datamodel of parameters). 'mask_size': both, and the mask times the log of
      the size and over its root.

  Raises:
    ValueError: if the kind is unknown.
  """
  if kind not in RIDGE_FEATURES:
    raise ValueError(f'ridge features are {RIDGE_FEATURES}, got {kind!r}')
  masks = np.asarray(masks, np.float64)
  if kind == 'mask':
    return masks
  size = masks.sum(axis=1, keepdims=True)
  counts = masks @ classes
  logs = np.log1p(counts)
  sizes = [size, np.log(size), np.sqrt(size), 1 / size, logs]
  if counts.shape[1]:
    sizes.append(logs[:, 1:] - logs[:, :1])
  if kind == 'size':
    return np.hstack(sizes)
  num_train = masks.shape[1]
  products = masks * np.log(size) / np.sqrt(num_train), masks / np.sqrt(size)
  return np.hstack([*sizes, masks, *products])


def ridge(
    pool: points.Pool,
    labels: labels_lib.Labels,
    val: labels_lib.Labels,
    kind: str = 'mask_size',
) -> Predict:
  """Ridge regression of parameters; its penalty is chosen on validation labels.

  Args:
    pool: for the classes of points.
    labels: to fit.
    val: to choose the penalty, of all parameters together.
    kind: of `ridge_features`.
  """
  features = ridge_features(labels.masks, pool.classes, kind)
  middle, spread = features.mean(axis=0), features.std(axis=0)
  spread = np.where(spread < 1e-9 * np.maximum(np.abs(middle), 1), 1, spread)
  columns = (features - middle[None]) / spread[None]
  offset = labels.parameters.mean(axis=0)
  values, vectors = np.linalg.eigh(columns.T @ columns)
  values = np.maximum(values, 0)
  cross = vectors.T @ (columns.T @ (labels.parameters - offset[None]))

  def standardized(masks):
    found = ridge_features(masks, pool.classes, kind)
    return (found - middle[None]) / spread[None]

  seen = standardized(val.masks) @ vectors
  errors = [
      np.mean(
          (seen @ (cross / (values + lam)[:, None]) + offset - val.parameters)
          ** 2
      )
      for lam in _PENALTIES
  ]
  lam = _PENALTIES[int(np.argmin(errors))]
  weights = vectors @ (cross / (values + lam)[:, None])
  return lambda masks: standardized(masks) @ weights + offset[None]


def all_of(
    pool: points.Pool,
    labels: labels_lib.Labels,
    val: labels_lib.Labels,
    *,
    num_warm_steps: int = 20,
) -> Mapping[str, Callable[[], Predict]]:
  """Every baseline by name; making one is what is timed as its fit.

  What starts from the model of everything trains it, each anew.

  Args:
    pool: the points and the objective, which decides what is defined.
    labels: to learn from.
    val: to choose penalties.
    num_warm_steps: training steps of a perceptron's warm starts.
  """

  def untrained() -> points.Pool:
    return dataclasses.replace(pool)  # Knows no model of everything yet.

  of_all: dict[str, Callable[[], Predict]] = {
      'mean': lambda: mean(labels),
      'full_data': lambda: full(untrained()),
      'size_curve': lambda: ridge(pool, labels, val, 'size'),
      'ridge_mask': lambda: ridge(pool, labels, val, 'mask'),
      'ridge_mask_size': lambda: ridge(pool, labels, val, 'mask_size'),
  }
  last = {'exact': lambda: exact(pool)}
  if isinstance(pool.objective, perceptron.Objective):
    starts: dict[str, Callable[[], Predict | None]] = {
        'init': lambda: None,
        'full': lambda: full(untrained()),
        'ridge': lambda: ridge(pool, labels, val),
    }
    warm = {
        f'warm_{num_warm_steps}_from_{name}': functools.partial(
            _warm, pool, num_warm_steps, make
        )
        for name, make in starts.items()
    }
    return {**of_all, **warm, **last}
  return {
      **of_all,
      'influence': lambda: influence(untrained()),
      'newton_1_from_full': lambda: newton(pool, 1, full(untrained())),
      'newton_2_from_full': lambda: newton(pool, 2, full(untrained())),
      'newton_1_from_zero': lambda: newton(pool, 1),
      **last,
  }


def _warm(pool, num_steps, make) -> Predict:
  return warm_start(pool, num_steps, make())
