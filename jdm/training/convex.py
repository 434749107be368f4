r"""Convex objectives of linear models, and their exact minimizers, in batches.

For a subset with weights m_i (0 or 1, or how often an example is drawn)

  F(theta) = sum_i m_i loss(x_i' W + b, y_i) + lam / 2 ||W||^2

over theta = (W, b): a sum, as in scikit-learn with C = 1 / lam, so the penalty
stays while the sum grows. `penalize_intercept` puts b into the penalty, too.

Every function takes many subsets at once, `weights [num_models, num_train]`
beside `parameters [num_models, num_parameters]`, and shares the examples: the
Hessians of all subsets are one product of coefficients with the pairwise
products of the columns. Everything here wants float64 (`solvers.precision`).
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

# Of the identity, added where a Hessian may be singular: an intercept whose
# examples are all fitted has no curvature left.
_JITTER = 1e-12
_ARMIJO = 1e-4
_MOST_HALVINGS = 30
# Parameters, up to which Newton's equations are solved by a Cholesky factor.
_MOST_FACTORED = 250
_LARGEST_RESIDUAL = 0.01  # Of Newton's equations, relative to the gradient.
# Of an objective: how far float64 sums let it fall at all.
_FLOOR = 1e-15


class Examples(NamedTuple):
  """Examples of a linear model.

  Attributes:
    columns: `[num_train, num_features + 1]`, the last column is 1.
    labels: `[num_train]`, int classes, or float for regression.
  """

  columns: jax.Array
  labels: jax.Array


def examples(inputs: Any, labels: Any) -> Examples:
  """Flattens inputs `[num_train, ...]` and appends the intercept's column."""
  inputs, labels = np.asarray(inputs), np.asarray(labels)
  flat = inputs.reshape(len(inputs), -1).astype(np.float64)
  ones = np.ones((len(flat), 1))
  if np.issubdtype(labels.dtype, np.floating):
    labels = labels.astype(np.float64)
  return Examples(jnp.asarray(np.hstack([flat, ones])), jnp.asarray(labels))


# --- Losses: of scores `[..., k]` and labels `[...]`.


def _logistic(scores, labels):
  return jax.nn.softplus(scores[..., 0]) - labels * scores[..., 0]


def _logistic_slope(scores, labels):
  return jax.nn.sigmoid(scores) - labels[..., None]


def _logistic_curvature(scores, labels):
  del labels
  chance = jax.nn.sigmoid(scores)
  return (chance * (1 - chance))[..., None]


def _softmax(scores, labels):
  own = jnp.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
  return jax.nn.logsumexp(scores, axis=-1) - own


def _softmax_slope(scores, labels):
  one_hot = jax.nn.one_hot(labels, scores.shape[-1], dtype=scores.dtype)
  return jax.nn.softmax(scores, axis=-1) - one_hot


def _softmax_curvature(scores, labels):
  del labels
  chance = jax.nn.softmax(scores, axis=-1)
  shape = (*scores.shape, scores.shape[-1])
  is_own = jnp.broadcast_to(jnp.eye(shape[-1], dtype=bool), shape)
  own = jnp.where(is_own, chance[..., None], 0)
  return own - chance[..., :, None] * chance[..., None, :]


def _slack(scores, labels):
  return jnp.maximum(1 - (2 * labels - 1) * scores[..., 0], 0)


def _squared_hinge(scores, labels):
  return _slack(scores, labels) ** 2


def _squared_hinge_slope(scores, labels):
  return (-2 * (2 * labels - 1) * _slack(scores, labels))[..., None]


def _squared_hinge_curvature(scores, labels):
  is_inside = (_slack(scores, labels) > 0).astype(scores.dtype)
  return 2 * is_inside[..., None, None]


def _half_square(scores, labels):
  return 0.5 * (scores[..., 0] - labels) ** 2


def _half_square_slope(scores, labels):
  return scores - labels[..., None]


def _half_square_curvature(scores, labels):
  del labels
  return jnp.ones_like(scores)[..., None]


@dataclasses.dataclass(frozen=True)
class Loss:
  """A convex loss of one example's scores `[..., k]` and label `[...]`.

  Attributes:
    value: the loss `[...]`.
    slope: its gradient with respect to the scores, `[..., k]`.
    curvature: its Hessian, `[..., k, k]`; where it has kinks, one of them.
    task: 'binary', 'classes' or 'regression'.
  """

  value: Callable[[jax.Array, jax.Array], jax.Array]
  slope: Callable[[jax.Array, jax.Array], jax.Array]
  curvature: Callable[[jax.Array, jax.Array], jax.Array]
  task: str


LOSSES = {
    'logistic': Loss(
        _logistic, _logistic_slope, _logistic_curvature, task='binary'
    ),
    'softmax': Loss(_softmax, _softmax_slope, _softmax_curvature, 'classes'),
    'squared_hinge': Loss(
        _squared_hinge,
        _squared_hinge_slope,
        _squared_hinge_curvature,
        task='binary',
    ),
    'half_square': Loss(
        _half_square, _half_square_slope, _half_square_curvature, 'regression'
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
  """F(theta), see the top of this file; hashable, a static argument of jit.

  `parameters` are `[..., num_parameters]`, the matrix (W; b) of shape
  `[num_features + 1, num_scores]` in rows.

  Attributes:
    loss: name of `LOSSES`.
    lam: penalty, positive; scikit-learn's 1 / C, or the alpha of its `Ridge`.
    num_features: of an input, without the intercept.
    num_scores: 1, or the number of classes of 'softmax'.
    penalize_intercept: whether the penalty includes b, as scikit-learn's
      `LinearSVC` does (with intercept_scaling=1).
  """

  loss: str
  lam: float
  num_features: int
  num_scores: int = 1
  penalize_intercept: bool = False

  def __post_init__(self):
    if self.loss not in LOSSES:
      raise ValueError(
          f'no loss is called {self.loss!r}; known losses: {sorted(LOSSES)}'
      )
    if not self.lam > 0:
      raise ValueError(
          'lam must be positive (it makes the minimum unique), got'
          f' {self.lam}'
      )
    if self.num_features < 1 or self.num_scores < 1:
      raise ValueError(
          'an objective needs a feature and a score, got num_features='
          f'{self.num_features}, num_scores={self.num_scores}'
      )

  @property
  def num_parameters(self) -> int:
    """Entries of theta."""
    return (self.num_features + 1) * self.num_scores

  @property
  def task(self) -> str:
    """'binary', 'classes' or 'regression'."""
    return LOSSES[self.loss].task

  @property
  def has_gauge(self) -> bool:
    """Whether one number may be added to all intercepts and change nothing."""
    return self.loss == 'softmax' and not self.penalize_intercept

  @property
  def is_convex(self) -> bool:
    """Yes: parameters are the minimum."""
    return True

  def matrix(self, parameters: jax.Array) -> jax.Array:
    """Parameters as `[..., num_features + 1, num_scores]`."""
    shape = (self.num_features + 1, self.num_scores)
    return parameters.reshape(*parameters.shape[:-1], *shape)

  def penalties(self) -> np.ndarray:
    """The penalty on each parameter, `[num_parameters]`: lam or 0."""
    penalty = np.full((self.num_features + 1, self.num_scores), self.lam)
    if not self.penalize_intercept:
      penalty[-1] = 0.0
    return penalty.ravel()

  def scores(self, parameters: jax.Array, columns: jax.Array) -> jax.Array:
    """Scores `[..., num_examples, num_scores]` of examples' columns."""
    return jnp.einsum('nd,...dk->...nk', columns, self.matrix(parameters))

  def logits(self, parameters: jax.Array, columns: jax.Array) -> jax.Array:
    """Scores as logits of classes: of two classes, 0 and the score."""
    scores = self.scores(parameters, columns)
    if self.task == 'binary':
      return jnp.concatenate([jnp.zeros_like(scores), scores], axis=-1)
    return scores

  def value(
      self, parameters: jax.Array, weights: jax.Array, data: Examples
  ) -> jax.Array:
    """F, `[num_models]`."""
    scores = self.scores(parameters, data.columns)
    return self._value_at(scores, parameters, weights, data)

  def gradient(
      self, parameters: jax.Array, weights: jax.Array, data: Examples
  ) -> jax.Array:
    """Gradient of F, `[num_models, num_parameters]`."""
    return self._gradient_at(
        self.scores(parameters, data.columns), parameters, weights, data
    )

  def example_gradients(
      self, parameters: jax.Array, data: Examples
  ) -> jax.Array:
    """Gradient of each example's loss, `[num_train, num_parameters]`.

    The penalty is no part of it: it does not belong to any example.

    Args:
      parameters: of one model, `[num_parameters]`.
      data: the examples.
    """
    scores = self.scores(parameters, data.columns)
    slope = LOSSES[self.loss].slope(scores, data.labels)
    each = data.columns[:, :, None] * slope[:, None, :]
    return each.reshape(len(data.columns), -1)

  def hessian(
      self, parameters: jax.Array, weights: jax.Array, data: Examples
  ) -> jax.Array:
    """Hessian of F, `[num_models, num_parameters, num_parameters]`."""
    scores = self.scores(parameters, data.columns)
    return self._hessian_at(scores, weights, data)

  def hessian_product(
      self,
      parameters: jax.Array,
      weights: jax.Array,
      data: Examples,
      vectors: jax.Array,
  ) -> jax.Array:
    """Hessian of F times `vectors [num_models, num_parameters]`."""
    scores = self.scores(parameters, data.columns)
    curvature = LOSSES[self.loss].curvature(scores, _like(data.labels, scores))
    change = self.scores(vectors, data.columns)
    back = jnp.einsum('...nkl,...nl->...nk', curvature, change)
    product = jnp.einsum(
        'nd,...nk->...dk', data.columns, weights[..., None] * back
    )
    return product.reshape(vectors.shape) + self._penalty_slope(vectors)

  def _penalty_slope(self, parameters):
    return jnp.broadcast_to(self.penalties(), parameters.shape) * parameters

  def _value_at(self, scores, parameters, weights, data):
    loss = LOSSES[self.loss].value(scores, _like(data.labels, scores))
    penalty = self._penalty_slope(parameters) * parameters
    return jnp.sum(weights * loss, axis=-1) + 0.5 * jnp.sum(penalty, axis=-1)

  def _gradient_at(self, scores, parameters, weights, data):
    slope = LOSSES[self.loss].slope(scores, _like(data.labels, scores))
    product = jnp.einsum(
        'nd,...nk->...dk', data.columns, weights[..., None] * slope
    )
    return product.reshape(parameters.shape) + self._penalty_slope(parameters)

  def _hessian_at(self, scores, weights, data):
    num_columns = self.num_features + 1
    curvature = LOSSES[self.loss].curvature(scores, _like(data.labels, scores))
    # Symmetric in columns and in scores: each pair once.
    rows, columns = np.triu_indices(num_columns)
    first, second = np.triu_indices(self.num_scores)
    pairs = data.columns[:, rows] * data.columns[:, columns]
    coefficients = weights[..., None] * curvature[..., first, second]
    products = jnp.einsum('...ns,nq->...sq', coefficients, pairs)
    place = np.zeros((num_columns, num_columns), np.int32)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    which = np.zeros((self.num_scores, self.num_scores), np.int32)
    which[first, second] = which[second, first] = np.arange(len(first))
    whole = products[..., which[None, :, None, :], place[:, None, :, None]]
    size = self.num_parameters
    whole = whole.reshape(*whole.shape[:-4], size, size)
    return whole + jnp.broadcast_to(np.diag(self.penalties()), whole.shape)


def _like(labels: jax.Array, scores: jax.Array) -> jax.Array:
  """Labels [num_examples] for scores [..., num_examples, num_scores]."""
  return jnp.broadcast_to(labels, scores.shape[:-1])


def gauge(objective: Objective) -> np.ndarray:
  """Curvature for the direction that changes nothing, `[p, p]`; mostly 0."""
  if not objective.has_gauge:
    return np.zeros((objective.num_parameters, objective.num_parameters))
  shape = (objective.num_features + 1, objective.num_scores)
  direction = np.zeros(shape)
  direction[-1] = 1 / np.sqrt(objective.num_scores)
  return np.outer(direction.ravel(), direction.ravel())


def newton_direction(
    objective: Objective,
    parameters: jax.Array,
    weights: jax.Array,
    data: Examples,
) -> tuple[jax.Array, jax.Array]:
  """Steps to the minimum of the quadratic model, and gradients.

  Returns:
    Steps and gradients, each `[num_models, num_parameters]`; steps do not move
    along the gauge.
  """
  scores = objective.scores(parameters, data.columns)
  gradient = objective._gradient_at(scores, parameters, weights, data)
  hessian = objective._hessian_at(scores, weights, data)
  return -_solve(objective, hessian, gradient), gradient


def _solve(objective, hessian, right):
  """Solutions `[num_models, num_parameters]` of Newton's equations."""
  size = objective.num_parameters
  added = gauge(objective) + _JITTER * np.eye(size)
  whole = hessian + jnp.broadcast_to(added, hessian.shape)
  if jax.default_backend() == 'cpu':
    return jax.vmap(_solve_alone)(whole, right)
  return jax.vmap(_solve_one)(whole, right)


def _solve_one(matrix, right):
  factor = jnp.linalg.cholesky(matrix)
  return jax.scipy.linalg.cho_solve((factor, True), right)


# One matrix after another: on a CPU, batched decompositions share a pool of
# threads, and two that run at once (on two emulated devices, say) can wait for
# each other for ever; seen with jax 0.10.2 on two cores.
_solve_alone = jax.custom_batching.sequential_vmap(_solve_one)


def _conjugate_gradients(objective, scores, weights, data, gradient, limit):
  """Solves Newton's equations inexactly, `[num_models, num_parameters]`.

  To a residual that falls with the gradient, so that the steps converge as
  Newton's do; or to a tenth of the `limit [num_models]` of the gradient, below
  which nothing is gained. Only products with the Hessian are needed.

  References:
    Dembo, Eisenstat and Steihaug, Inexact Newton methods, SIAM J. Numer. Anal.
    19, 1982.
  """
  loss, labels = LOSSES[objective.loss], _like(data.labels, scores)
  # The curvature itself has num_scores^2 entries an example.
  _, bend = jax.linearize(lambda at: loss.slope(at, labels), scores)

  def product(vectors):
    back = bend(objective.scores(vectors, data.columns))
    found = jnp.einsum('nd,mnk->mdk', data.columns, weights[..., None] * back)
    return found.reshape(vectors.shape) + objective._penalty_slope(vectors)

  curvature = loss.curvature(scores, labels)
  own = jnp.diagonal(curvature, axis1=-2, axis2=-1) * weights[..., None]
  diagonal = jnp.einsum('nd,mnk->mdk', data.columns**2, own)
  diagonal = diagonal.reshape(gradient.shape) + objective.penalties()[None]
  diagonal = jnp.maximum(diagonal, _JITTER)
  norm = jnp.linalg.norm(gradient, axis=1)
  size = jnp.linalg.norm(
      objective.gradient(jnp.zeros_like(gradient), weights, data), axis=1
  )
  share = jnp.minimum(norm / jnp.maximum(size, 1.0), _LARGEST_RESIDUAL)
  goal = jnp.maximum(share * norm, 0.1 * limit)

  def is_open(state):
    return jnp.linalg.norm(state.residual, axis=1) > goal

  def step(state):
    moving = is_open(state)[:, None]
    image = product(state.direction)
    length = _ratio(state.energy, jnp.sum(state.direction * image, axis=1))
    found = state.found + length[:, None] * state.direction
    residual = state.residual - length[:, None] * image
    scaled = residual / diagonal
    energy = jnp.sum(residual * scaled, axis=1)
    turned = scaled + _ratio(energy, state.energy)[:, None] * state.direction
    return _Conjugate(
        jnp.where(moving, found, state.found),
        jnp.where(moving, residual, state.residual),
        jnp.where(moving, turned, state.direction),
        jnp.where(moving[:, 0], energy, state.energy),
        state.num_steps + 1,
    )

  scaled = gradient / diagonal
  state = _Conjugate(
      jnp.zeros_like(gradient),
      gradient,
      scaled,
      jnp.sum(gradient * scaled, axis=1),
      jnp.zeros((), int),
  )
  most = 2 * objective.num_parameters
  state = lax.while_loop(
      lambda s: jnp.any(is_open(s)) & (s.num_steps < most), step, state
  )
  if not objective.has_gauge:
    return state.found
  # Along the gauge nothing changes: stay where the sum of intercepts is.
  matrix = objective.matrix(state.found)
  level = matrix[:, -1] - matrix[:, -1].mean(axis=1, keepdims=True)
  return matrix.at[:, -1].set(level).reshape(state.found.shape)


class _Conjugate(NamedTuple):
  found: jax.Array  # [num_models, num_parameters], and the next two.
  residual: jax.Array
  direction: jax.Array
  energy: jax.Array  # [num_models]
  num_steps: jax.Array  # []


def _ratio(above: jax.Array, below: jax.Array) -> jax.Array:
  """0 where there is nothing left to divide by."""
  return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), 0.0)


class Solution(NamedTuple):
  """Minimizers of many subsets.

  Attributes:
    parameters: `[num_models, num_parameters]`.
    gradient_norm: `[num_models]`, Euclidean, of F at the parameters.
    converged: bool `[num_models]`, whether it came below the tolerance.
    num_steps: int `[]`, Newton steps taken by the slowest.
  """

  parameters: jax.Array
  gradient_norm: jax.Array
  converged: jax.Array
  num_steps: jax.Array


@functools.partial(jax.jit, static_argnames=('objective', 'max_steps'))
def solve(
    objective: Objective,
    weights: jax.Array,
    data: Examples,
    start: jax.Array | None = None,
    *,
    tol: float = 1e-9,
    max_steps: int = 50,
) -> Solution:
  """Minimizes F for many subsets by damped Newton steps.

  Of objectives with many parameters, Newton's equations are solved by conjugate
  gradients, as far as the step deserves; of others by a Cholesky factor. A step
  that halves the gradient's norm is taken, any other is halved until F falls as
  Armijo's rule asks. Call it within `solvers.precision.float64()`.

  Args:
    objective: what to minimize.
    weights: `[num_models, num_train]`; see the top of this file.
    data: the examples.
    start: `[num_models, num_parameters]`; zeros by default.
    tol: of the gradient norm, relative to that at zero parameters (or to 1, if
      that is smaller).
    max_steps: Newton steps at most.

  Returns:
    The solution. A subset without a minimum (one class only, and an intercept
    that nothing holds back) is not converged, or far out.
  """
  num_models = len(weights)
  zeros = jnp.zeros((num_models, objective.num_parameters))
  scale = jnp.linalg.norm(objective.gradient(zeros, weights, data), axis=1)
  limit = tol * jnp.maximum(scale, 1.0)
  start = zeros if start is None else jnp.asarray(start, zeros.dtype)

  def is_open(state):
    norm = jnp.linalg.norm(state.gradient, axis=1)
    return (norm > limit) & ~state.is_stuck

  def at(parameters):
    scores = objective.scores(parameters, data.columns)
    return scores, objective._gradient_at(scores, parameters, weights, data)

  def step(state):
    moving = is_open(state)
    if objective.num_parameters > _MOST_FACTORED:
      direction = -_conjugate_gradients(
          objective, state.scores, weights, data, state.gradient, limit
      )
    else:
      hessian = objective._hessian_at(state.scores, weights, data)
      direction = -_solve(objective, hessian, state.gradient)
    whole = at(state.parameters + direction)
    halves = _halves(whole[1], state.gradient)

    def searched():
      rate, falls = _search(objective, state, direction, weights, data)
      rate = jnp.where(halves, 1.0, rate)
      new = at(state.parameters + rate[:, None] * direction)
      return rate, halves | falls, *new

    # F is convex: its minimum is where these halvings end. The search would
    # cost a third of a step.
    rate, falls, scores, gradient = lax.cond(
        jnp.all(halves | ~moving),
        lambda: (jnp.ones_like(scale), jnp.ones_like(moving), *whole),
        searched,
    )
    moves = (moving & falls)[:, None]
    new = state.parameters + rate[:, None] * direction
    return _State(
        jnp.where(moves, new, state.parameters),
        jnp.where(moves[..., None], scores, state.scores),
        jnp.where(moves, gradient, state.gradient),
        state.is_stuck | (moving & ~falls),
        state.num_steps + 1,
    )

  state = _State(
      start,
      *at(start),
      jnp.zeros(num_models, bool),
      jnp.zeros((), int),
  )
  state = lax.while_loop(
      lambda s: jnp.any(is_open(s)) & (s.num_steps < max_steps), step, state
  )
  norm = jnp.linalg.norm(state.gradient, axis=1)
  return Solution(state.parameters, norm, norm <= limit, state.num_steps)


class _State(NamedTuple):
  parameters: jax.Array  # [num_models, num_parameters]
  scores: jax.Array  # [num_models, num_train, num_scores]
  gradient: jax.Array  # [num_models, num_parameters]
  is_stuck: jax.Array  # bool [num_models]: no step makes F fall.
  num_steps: jax.Array  # []


def _halves(new: jax.Array, old: jax.Array) -> jax.Array:
  """Where a gradient is at most half as long, bool [num_models]."""
  sizes = [jnp.linalg.norm(each, axis=1) for each in (new, old)]
  return sizes[0] <= 0.5 * sizes[1]  # Not where it is NaN.


def _search(
    objective, state, direction, weights, data
) -> tuple[jax.Array, jax.Array]:
  """Step lengths [num_models] that make F fall, and whether there is one."""
  change = objective.scores(direction, data.columns)
  slope = jnp.sum(state.gradient * direction, axis=1)

  def value(rate):
    moved = state.scores + rate[:, None, None] * change
    at = state.parameters + rate[:, None] * direction
    return objective._value_at(moved, at, weights, data)

  start = value(jnp.zeros_like(slope))
  floor = _FLOOR * jnp.abs(start) * data.columns.shape[0] ** 0.5

  def falls(rate):
    # Near the minimum the fall drowns in rounding: the full step is right.
    return value(rate) <= start + _ARMIJO * rate * slope + floor

  def halve(carry):
    rate, fine, count = carry
    rate = jnp.where(fine, rate, 0.5 * rate)
    return rate, fine | falls(rate), count + 1

  rate = jnp.ones_like(slope)
  rate, fine, _ = lax.while_loop(
      lambda c: ~jnp.all(c[1]) & (c[2] < _MOST_HALVINGS),
      halve,
      (rate, falls(rate), 0),
  )
  return rate, fine & jnp.isfinite(slope)
