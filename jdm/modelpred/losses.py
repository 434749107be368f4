r"""What a predictor is trained by, as ModelPred released it and in other forms.

For a set S with weights m, prediction p and truth t:

  parameter   how far p is from t
  local       the gradient of F_S at p: 0 at the truth, so that no label is
              needed; ModelPred's local regularization
  global      how far the training loss of p is from that of t; its global
              (utility) regularization
  objective   F_S(p) itself, lowest at the truth: a loss without labels

`released` forms are those of the authors' code, whose norms run over the whole
batch and are not squared. All are means (or norms) over a batch, float32.

References:
  Zeng et al., `ModelPred <https://arxiv.org/abs/2111.12545>`_, SaTML 2023, and
  the code released with it (github.com/yyzeng43/ModelPred).
"""

from typing import Any

import jax
import jax.numpy as jnp

from jdm.modelpred import heads
from jdm.training import convex

PARAMETER = ('plain', 'whitened')
LOCAL = ('released', 'squared', 'decrement')
GLOBAL = ('released', 'squared')
# Probabilities are clipped to these in the released utility.
_LOWEST, _HIGHEST = 1e-5, 1 - 1e-6


def parameter(
    kind: str, head: heads.Head, predicted: jax.Array, truth: jax.Array
) -> jax.Array:
  """Mean squared error of parameters, or of whitened outputs.

  Args:
    kind: of `PARAMETER`.
    head: of the predictor.
    predicted: `[batch, num_parameters]`.
    truth: the same.
  """
  error = predicted - truth
  if kind == 'whitened':
    error = error @ head.basis.T / head.scale[None]
  return jnp.mean(error**2)


def local(
    kind: str,
    own: convex.Objective,
    predicted: jax.Array,
    weights: jax.Array,
    data: convex.Examples,
) -> jax.Array:
  """The gradient of each subset's objective at the prediction.

  Args:
    kind: of `LOCAL`. 'released': the norms of the gradients by weights and by
      intercepts, each over the whole batch, of 1/2 ||w||^2 + C sum loss.
      'squared': mean squared norm of the gradient over the set's size.
      'decrement': mean Newton decrement g' H^-1 g over the set's size.
    own: the objective.
    predicted: `[batch, num_parameters]`.
    weights: `[batch, num_train]`.
    data: the pool.
  """
  gradient = own.gradient(predicted, weights, data)
  if kind == 'released':
    matrix = own.matrix(gradient / own.lam)
    return jnp.sqrt(jnp.sum(matrix[:, :-1] ** 2)) + jnp.sqrt(
        jnp.sum(matrix[:, -1] ** 2)
    )
  size = jnp.maximum(jnp.sum(weights, axis=1), 1.0)
  if kind == 'squared':
    return jnp.mean(jnp.sum((gradient / size[:, None]) ** 2, axis=1))
  # g' H^-1 g is the highest 2 s'g - s'H s over s, which is s = H^-1 g: with s
  # held there its derivative is right, and none of the solve is needed.
  fixed = jax.lax.stop_gradient(predicted)
  step = -convex.newton_direction(own, fixed, weights, data)[0]
  curved = own.hessian_product(predicted, weights, data, step)
  return jnp.mean(jnp.sum(2 * step * gradient - step * curved, axis=1) / size)


def utility(
    own: convex.Objective,
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
    own: convex.Objective,
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
    own: convex.Objective,
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
