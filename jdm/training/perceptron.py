r"""Multilayer perceptrons trained by full-batch gradient descent, in batches.

For a subset with weights m_i (0 or 1, or how often an example is drawn)

  F(theta) = sum_i m_i loss(f(x_i; theta), y_i) + lam / 2 ||theta||^2

where f has dense layers with tanh between them and theta holds all weights and
biases: a sum, as in `convex`, but with every parameter in the penalty. F has
many minima, so the model of a subset is not one of them: it is where

  v <- momentum v + grad F(theta) / sum_i m_i,   theta <- theta - rate v

ends after a given number of steps from v = 0 and an initialization that is the
same for all subsets. The batch is always full, so there is no order of data;
the step is by the mean over the subset, so its size does not change the length
of a step. With all of this fixed, theta is a function of the subset.

Every function takes many subsets at once, `weights [num_models, num_train]`
beside `parameters [num_models, num_parameters]`, and shares the examples.
Training is in float64 (`solvers.precision`): rounding grows along the steps,
and in float32 the same subset would end at visibly other parameters in a batch
of another size. It takes 1.7 times as long as float32 on a CPU.
"""

import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jdm.training import convex


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
  """F(theta) and the descent that starts on it; hashable, static under jit.

  `parameters` are `[..., num_parameters]`: for each layer, first to last, the
  matrix (W; b) of shape `[fan_in + 1, fan_out]` in rows.

  Attributes:
    loss: name of `convex.LOSSES`.
    lam: penalty of all weights and biases, not negative.
    num_features: of an input.
    hidden: widths of the hidden layers, one or more.
    num_scores: 1, or the number of classes of 'softmax'.
    num_steps: of the descent.
    learning_rate: of a step by the mean of the subset.
    momentum: in [0, 1).
    init_seed: of the initialization.
  """

  loss: str
  lam: float
  num_features: int
  hidden: tuple[int, ...] = (8,)
  num_scores: int = 1
  num_steps: int = 300
  learning_rate: float = 0.05
  momentum: float = 0.9
  init_seed: int = 0

  def __post_init__(self):
    # Lists come from JSON; a static argument must be hashable.
    object.__setattr__(self, 'hidden', tuple(self.hidden))
    if self.loss not in convex.LOSSES:
      raise ValueError(
          f'no loss is called {self.loss!r}; known losses:'
          f' {sorted(convex.LOSSES)}'
      )
    if not self.lam >= 0:
      raise ValueError(f'lam must not be negative, got {self.lam}')
    if not self.hidden or min(self.hidden) < 1:
      raise ValueError(
          'a perceptron needs a hidden layer, all of positive widths, got'
          f' hidden={self.hidden}'
      )
    if min(self.num_features, self.num_scores, self.num_steps) < 1:
      raise ValueError(
          'a perceptron needs a feature, a score and a step, got num_features='
          f'{self.num_features}, num_scores={self.num_scores}, num_steps='
          f'{self.num_steps}'
      )
    if not self.learning_rate > 0 or not 0 <= self.momentum < 1:
      raise ValueError(
          'learning_rate must be positive and momentum in [0, 1), got'
          f' {self.learning_rate} and {self.momentum}'
      )

  @property
  def shapes(self) -> tuple[tuple[int, int], ...]:
    """Shape of (W; b) of each layer."""
    widths = (self.num_features, *self.hidden, self.num_scores)
    return tuple((a + 1, b) for a, b in zip(widths, widths[1:]))

  @property
  def num_parameters(self) -> int:
    """Entries of theta."""
    return sum(rows * columns for rows, columns in self.shapes)

  @property
  def task(self) -> str:
    """'binary', 'classes' or 'regression'."""
    return convex.LOSSES[self.loss].task

  @property
  def has_gauge(self) -> bool:
    """Nothing that is free: every parameter has a start, and a penalty."""
    return False

  @property
  def is_convex(self) -> bool:
    """No: parameters are where training ends, not a minimum."""
    return False

  def matrices(self, parameters: jax.Array) -> list[jax.Array]:
    """(W; b) of each layer, `[..., fan_in + 1, fan_out]`."""
    found, first = [], 0
    for shape in self.shapes:
      last = first + shape[0] * shape[1]
      part = parameters[..., first:last]
      found.append(part.reshape(*part.shape[:-1], *shape))
      first = last
    return found

  def initial(self) -> jax.Array:
    """Where every descent starts, `[num_parameters]`.

    Weights are normal with variance 1 / fan_in, biases 0. Drawn on the host: a
    compiled program may differ from another in the last bit of a normal, and
    the start of all models is to be the same.
    """
    random, parts = np.random.default_rng(self.init_seed), []
    for rows, columns in self.shapes:
      drawn = random.normal(size=(rows - 1, columns)) / np.sqrt(rows - 1)
      parts += [drawn.ravel(), np.zeros(columns)]
    return jnp.asarray(np.concatenate(parts))

  def scores(self, parameters: jax.Array, columns: jax.Array) -> jax.Array:
    """Scores `[..., num_examples, num_scores]` of examples' columns.

    Args:
      parameters: `[..., num_parameters]`.
      columns: `[num_examples, num_features + 1]`, the last column is 1.
    """
    first, *rest = self.matrices(parameters)
    hidden = jnp.einsum('nd,...dk->...nk', columns, first)
    for matrix in rest:
      weights, bias = matrix[..., :-1, :], matrix[..., -1:, :]
      hidden = jnp.einsum('...nd,...dk->...nk', jnp.tanh(hidden), weights)
      hidden += bias
    return hidden

  def logits(self, parameters: jax.Array, columns: jax.Array) -> jax.Array:
    """Scores as logits of classes: of two classes, 0 and the score."""
    scores = self.scores(parameters, columns)
    if self.task == 'binary':
      return jnp.concatenate([jnp.zeros_like(scores), scores], axis=-1)
    return scores

  def value(
      self, parameters: jax.Array, weights: jax.Array, data: convex.Examples
  ) -> jax.Array:
    """F, `[num_models]`."""
    scores = self.scores(parameters, data.columns)
    labels = jnp.broadcast_to(data.labels, scores.shape[:-1])
    loss = convex.LOSSES[self.loss].value(scores, labels)
    penalty = 0.5 * self.lam * jnp.sum(parameters**2, axis=-1)
    return jnp.sum(weights * loss, axis=-1) + penalty

  def gradient(
      self, parameters: jax.Array, weights: jax.Array, data: convex.Examples
  ) -> jax.Array:
    """Gradient of F, `[num_models, num_parameters]`."""
    scores, back = jax.vjp(lambda at: self.scores(at, data.columns), parameters)
    labels = jnp.broadcast_to(data.labels, scores.shape[:-1])
    slope = convex.LOSSES[self.loss].slope(scores, labels)
    return back(weights[..., None] * slope)[0] + self.lam * parameters

  def hessian_product(
      self,
      parameters: jax.Array,
      weights: jax.Array,
      data: convex.Examples,
      vectors: jax.Array,
  ) -> jax.Array:
    """Hessian of F times `vectors [num_models, num_parameters]`."""
    return jax.jvp(
        lambda at: self.gradient(at, weights, data), (parameters,), (vectors,)
    )[1]


@functools.partial(jax.jit, static_argnames=('objective',))
def solve(
    objective: Objective,
    weights: jax.Array,
    data: convex.Examples,
    start: jax.Array | None = None,
    *,
    num_steps: jax.Array | int | None = None,
) -> convex.Solution:
  """Trains many subsets by gradient descent; see the top of this file.

  Call it within `solvers.precision.float64()`. Subsets do not interact. One
  without a class, or an empty one, ends somewhere as any other: the steps are
  finite.

  Args:
    objective: what is descended, and how.
    weights: `[num_models, num_train]`.
    data: the examples.
    start: `[num_models, num_parameters]`, without momentum; by default the
      initialization of the objective.
    num_steps: other than the objective's, for a warm start.

  Returns:
    Where it ends, and the norm of the gradient of F there, which is not small;
    converged where all is finite (a learning rate may be too large).
  """
  if start is None:
    shape = len(weights), objective.num_parameters
    start = jnp.broadcast_to(objective.initial()[None], shape)
  size = jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1.0)

  def step(_, state):
    at, velocity = state
    gradient = objective.gradient(at, weights, data) / size
    velocity = objective.momentum * velocity + gradient
    return at - objective.learning_rate * velocity, velocity

  steps = jnp.asarray(objective.num_steps if num_steps is None else num_steps)
  end, _ = lax.fori_loop(0, steps, step, (start, jnp.zeros_like(start)))
  norm = jnp.linalg.norm(objective.gradient(end, weights, data), axis=1)
  finite = jnp.isfinite(norm) & jnp.all(jnp.isfinite(end), axis=1)
  return convex.Solution(end, norm, finite, steps)
