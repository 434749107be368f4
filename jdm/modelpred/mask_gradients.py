"""How a validation loss changes with each point's weight in the training set.

The gradient with respect to the mask ranks points without training anything:
through a predictor, or at an exact solution by the implicit function theorem
(which is what influence functions are).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jdm.modelpred import points
from jdm.modelpred import predictor as predictor_lib
from jdm.solvers import precision
from jdm.training import convex

Slopes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def through_predictor(
    fitted: predictor_lib.Predictor, inputs: np.ndarray, labels: np.ndarray
) -> Slopes:
  """Makes the function of validation losses of predicted models.

  Args:
    fitted: a predictor without a base.
    inputs: of validation examples, `[num, ...]`.
    labels: `[num]`.

  Returns:
    From masks `[num_sets, num_points]` of its pool, of any weights from 0 to 1,
    to mean losses `[num_sets]`, and their derivatives `[num_sets, num_points]`
    by the weight of each point: negative where more of the point helps.

  Raises:
    ValueError: if the predictor stands on a base.
  """
  call, own = fitted.traced(), fitted.pool.objective
  data = convex.examples(inputs, labels)

  @jax.jit
  def both(weights):
    def total(weights):
      scores = own.scores(call(weights), data.columns)
      wanted = jnp.broadcast_to(data.labels, scores.shape[:-1])
      losses = convex.LOSSES[own.loss].value(scores, wanted).mean(axis=-1)
      return losses.sum(), losses

    return jax.value_and_grad(total, has_aux=True)(weights)

  def slopes(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (_, losses), gradients = both(jnp.asarray(masks, jnp.float32))
    return np.asarray(losses), np.asarray(gradients)

  return slopes


def exact(
    pool: points.Pool, mask: np.ndarray, inputs: np.ndarray, labels: np.ndarray
) -> np.ndarray:
  """The same derivatives `[num_points]` at the exact solution of one set.

  With F_S minimal at theta, d theta / d m_i = -H^-1 grad loss_i.

  Args:
    pool: points with a convex objective.
    mask: `[num_points]`.
    inputs: of validation examples, `[num, ...]`.
    labels: `[num]`.

  Raises:
    ValueError: if the objective is not convex: no one solution has a slope.

  References:
    Koh and Liang, `Understanding black-box predictions via influence functions
    <https://arxiv.org/abs/1703.04730>`_, 2017, §2.
  """
  own = pool.objective
  if not isinstance(own, convex.Objective):
    raise ValueError(
        '`mask_gradients.exact` expects a convex objective, got'
        f' {type(own).__name__}.'
    )
  parameters = pool.solve(np.asarray(mask)[None]).parameters[0]
  with precision.float64():
    data = convex.examples(pool.inputs, pool.labels)
    at = jnp.asarray(parameters)
    hessian = own.hessian(at, jnp.asarray(mask, jnp.float64), data)
    slope = own.example_gradients(at, convex.examples(inputs, labels))
    toward = jnp.linalg.solve(hessian + convex.gauge(own), slope.mean(axis=0))
    return -np.asarray(own.example_gradients(at, data) @ toward)
