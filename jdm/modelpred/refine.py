"""From a prediction towards the truth: Newton, gradient or training steps."""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from jdm.modelpred import points
from jdm.training import convex
from jdm.training import perceptron

METHODS = ('newton', 'gradient', 'training')


@functools.partial(
    jax.jit, static_argnames=('objective', 'num_steps', 'method')
)
def refine(
    objective: points.Objective,
    parameters: jax.Array,
    weights: jax.Array,
    data: convex.Examples,
    *,
    num_steps: int = 1,
    method: str | None = None,
) -> jax.Array:
  """Takes steps from given parameters; call it in float64.

  Args:
    objective: what is minimized, or descended.
    parameters: `[num_sets, num_parameters]`.
    weights: `[num_sets, num_train]`.
    data: the pool.
    num_steps: steps.
    method: 'newton' takes whole Newton steps; where one would make the
      objective grow, it is halved until it does not. 'gradient' steps by 1 / L,
      L a bound of the curvature (of softmax, logistic, half square and squared
      hinge losses). 'training' goes on with the descent of a perceptron, from
      momentum 0. None is Newton's for a convex objective, else training.

  Raises:
    ValueError: if the method is unknown, or not of this kind of objective.
  """
  method = method or ('newton' if objective.is_convex else 'training')
  if method not in METHODS:
    raise ValueError(f'refine methods are {METHODS}, got {method!r}')
  if isinstance(objective, perceptron.Objective):
    if method != 'training':
      raise ValueError(
          f'{method!r} steps are for convex objectives only; a perceptron takes'
          " steps of its own training, 'training'"
      )
    return perceptron.solve(
        objective, weights, data, parameters, num_steps=num_steps
    ).parameters
  if method == 'training':
    raise ValueError(
        "'training' steps are of perceptrons; a convex objective takes"
        " 'newton' or 'gradient' steps"
    )
  if method == 'newton':
    # No tolerance is met: just so many steps.
    return convex.solve(
        objective, weights, data, parameters, tol=0.0, max_steps=num_steps
    ).parameters
  rate = 1 / _steepest(objective, weights, data)

  def step(_, at):
    return at - rate[:, None] * objective.gradient(at, weights, data)

  return lax.fori_loop(0, num_steps, step, parameters)


def _steepest(objective, weights, data) -> jax.Array:
  """An upper bound of the curvature of each objective, `[num_sets]`."""
  highest = {
      'logistic': 0.25,
      'softmax': 0.5,
      'half_square': 1.0,
      'squared_hinge': 2.0,
  }[objective.loss]
  gram = jnp.einsum('sn,nd,ne->sde', weights, data.columns, data.columns)
  return highest * jnp.linalg.eigvalsh(gram)[:, -1] + objective.lam
