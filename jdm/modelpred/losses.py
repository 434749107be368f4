r"""What a predictor is trained by, as ModelPred released it and in other forms.

For a set S with weights m, prediction p and truth t:

  parameter   how far p is from t, or the scores of p from those of t
  local       the gradient of F_S at p: 0 at the truth, so that no label is
              needed; ModelPred's local regularization
  global      how far the training loss of p is from that of t; its global
              (utility) regularization
  objective   F_S(p) itself, lowest at the truth: a loss without labels

`released` forms are those of the authors' code, whose norms run over the whole
batch and are not squared. All are means (or norms) over a batch, float32.

Of a perceptron the truth is where a descent ends, not a minimum: its gradient
is not 0 there and F_S not lowest. The local ('squared') and the label-free loss
still say how good a model of the set p is, and pull it from t.

References:
  Zeng et al., `ModelPred <https://arxiv.org/abs/2111.12545>`_, SaTML 2023, and
  the code released with it (github.com/yyzeng43/ModelPred).
"""

from typing import Any

import jax
import jax.numpy as jnp

from jdm.modelpred import heads
from jdm.modelpred import points
from jdm.training import convex
from jdm.training import perceptron

PARAMETER = ('plain', 'whitened', 'function')
LOCAL = ('released', 'squared', 'decrement')
GLOBAL = ('released', 'squared')
# Probabilities are clipped to these in the released utility.
_LOWEST, _HIGHEST = 1e-5, 1 - 1e-6


def parameter(
    kind: str,
    head: heads.Head,
    predicted: jax.Array,
    truth: jax.Array,
    own: points.Objective | None = None,
    data: convex.Examples | None = None,
) -> jax.Array:
  """Mean squared error of parameters, of whitened outputs, or of scores.

  Args:
    kind: of `PARAMETER`. 'function' is the error of the scores of all points of
      the pool: parameters that make the same function are equally good, of
      which a perceptron has many.
    head: of the predictor.
    predicted: `[batch, num_parameters]`; whole for 'function', without what a
      base adds or with it otherwise.
    truth: the same.
    own: the objective, for 'function'.
    data: the pool, for 'function'.

  Raises:
    ValueError: if 'function' has no objective or no points.
  """
  if kind == 'function':
    if own is None or data is None:
      raise ValueError("parameter error 'function' needs objective and points")
    found = own.scores(predicted, data.columns)
    return jnp.mean((found - own.scores(truth, data.columns)) ** 2)
  error = predicted - truth
  if kind == 'whitened':
    error = error @ head.basis.T / head.scale[None]
  return jnp.mean(error**2)


def local(
    kind: str,
    own: points.Objective,
    predicted: jax.Array,
    weights: jax.Array,
    data: convex.Examples,
) -> jax.Array:
  """The gradient of each subset's objective at the prediction.

  Args:
    kind: of `LOCAL`; all but 'squared' are for convex objectives. 'released': the norms of the gradients by weights and by
      intercepts, each over the whole batch, of 1/2 ||w||^2 + C sum loss.
      'squared': mean squared norm of the gradient over the set's size.
      'decrement': mean Newton decrement g' H^-1 g over the set's size.
    own: the objective.
    predicted: `[batch, num_parameters]`.
    weights: `[batch, num_train]`.
    data: the pool.

  Raises:
    ValueError: if the kind is not defined for the objective.
  """
  if isinstance(own, perceptron.Objective) and kind != 'squared':
    raise ValueError(
        f'the local loss {kind!r} is for convex objectives only; of a'
        " perceptron choose local_kind='squared', or local=0"
    )
  gradient = own.gradient(predicted, weights, data)
  if kind == 'released':
    assert isinstance(own, convex.Objective)
    matrix = own.matrix(gradient / own.lam)
    return jnp.sqrt(jnp.sum(matrix[:, :-1] ** 2)) + jnp.sqrt(
        jnp.sum(matrix[:, -1] ** 2)
    )
  size = jnp.maximum(jnp.sum(weights, axis=1), 1.0)
  if kind == 'squared':
    return jnp.mean(jnp.sum((gradient / size[:, None]) ** 2, axis=1))
  # g' H^-1 g is the highest 2 s'g - s'H s over s, which is s = H^-1 g: with s
  # held there its derivative is right, and none of the solve is needed.
  assert isinstance(own, convex.Objective)
  fixed = jax.lax.stop_gradient(predicted)
  step = -convex.newton_direction(own, fixed, weights, data)[0]
  curved = own.hessian_product(predicted, weights, data, step)
  return jnp.mean(jnp.sum(2 * step * gradient - step * curved, axis=1) / size)


def utility(
    own: points.Objective,
    parameters: jax.Array,
    weights: jax.Array,
    data: convex.Examples,
    *,
    clip: bool = False,
) -> jax.Array:
  """Mean loss of each subset's model on the subset itself, `[batch]`."""
  scores = own.scores(parameters, data.columns)
  labels = jnp.broadcast_to(data.labels, scores.shape[:-1])
  if clip and own.loss == 'logistic':
    chance = jnp.clip(jax.nn.sigmoid(scores[..., 0]), _LOWEST, _HIGHEST)
    loss = -jnp.where(labels == 1, jnp.log(chance), jnp.log1p(-chance))
  else:
    loss = convex.LOSSES[own.loss].value(scores, labels)
  size = jnp.maximum(jnp.sum(weights, axis=1), 1.0)
  return jnp.sum(weights * loss, axis=1) / size


def global_(
    kind: str,
    own: points.Objective,
    predicted: jax.Array,
    truth: jax.Array,
    weights: jax.Array,
    data: convex.Examples,
) -> jax.Array:
  """How far the training loss of the prediction is from that of the truth.

  Args:
    kind: of `GLOBAL`: the norm of the differences of a batch, or their mean
      square.
    own: the objective.
    predicted: `[batch, num_parameters]`.
    truth: the same.
    weights: `[batch, num_train]`.
    data: the pool.
  """
  clip = kind == 'released'
  difference = utility(own, predicted, weights, data, clip=clip) - utility(
      own, truth, weights, data, clip=clip
  )
  if kind == 'released':
    return jnp.sqrt(jnp.sum(difference**2))
  return jnp.mean(difference**2)


def objective(
    own: points.Objective,
    predicted: jax.Array,
    weights: jax.Array,
    data: convex.Examples,
) -> jax.Array:
  """Mean of F_S over the set's size: needs no retraining."""
  size = jnp.maximum(jnp.sum(weights, axis=1), 1.0)
  return jnp.mean(own.value(predicted, weights, data) / size)


def weight_penalties(variables: Any) -> tuple[jax.Array, jax.Array]:
  """Sums over weight matrices of their l1 norms and of their l2 norms."""
  matrices = [leaf for leaf in jax.tree.leaves(variables) if leaf.ndim == 2]
  absolute = sum(jnp.sum(jnp.abs(matrix)) for matrix in matrices)
  squared = sum(jnp.sqrt(jnp.sum(matrix**2)) for matrix in matrices)
  return jnp.asarray(absolute), jnp.asarray(squared)
