"""From a prediction towards the minimum: Newton and gradient steps, batched."""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from jdm.training import convex

METHODS = ('newton', 'gradient')


@functools.partial(
    jax.jit, static_argnames=('objective', 'num_steps', 'method')
)
def refine(
    objective: convex.Objective,
    parameters: jax.Array,
    weights: jax.Array,
    data: convex.Examples,
    *,
    num_steps: int = 1,
    method: str = 'newton',
) -> jax.Array:
  """Takes steps from given parameters; call it in float64.

  Args:
    objective: what is minimized.
    parameters: `[num_sets, num_parameters]`.
    weights: `[num_sets, num_train]`.
    data: the pool.
    num_steps: steps.
    method: 'newton' takes whole Newton steps; where one would make the
      objective grow, it is halved until it does not. 'gradient' steps by 1 / L,
      L a bound of the curvature (of softmax, logistic, half square and squared
      hinge losses).

  Raises:
    ValueError: if the method is unknown.
  """
  if method not in METHODS:
    raise ValueError(f'refine methods are {METHODS}, got {method!r}')
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
