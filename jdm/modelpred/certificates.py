r"""How far predicted parameters can be from the minimum, without finding it.

For a convex objective F_S with a gradient g at a point, strong convexity bounds
the distance to the minimum: ||p - t|| <= ||g|| / mu. Which mu is known:

* A penalty lam on every parameter (an intercept that is penalized too): mu is
  at least lam everywhere.
* Half squares: the curvature is the same everywhere, mu is the smallest
  eigenvalue of the Hessian.
* A free intercept, of logistic and softmax losses: nothing bounds its curvature
  from below everywhere, but these losses are generalized self-concordant: along
  a step v their curvature falls by a factor of exp(-c ||v||) at most, c the
  longest column of the set (times sqrt 2 for softmax, whose scores move apart).
  With mu the smallest eigenvalue of the Hessian at p, it follows that

    ||p - t|| <= -log(1 - c ||g|| / mu) / c        if c ||g|| < mu,

  and nothing otherwise. For two classes there is a second bound, good far from
  the minimum too: with b*(w) the intercept that is best for weights w, w is
  within ||grad_w F(w, b*(w))|| / lam of its end, and b*(w) moves by at most R
  for a unit of w, R the longest input.

An objective that is not convex (a perceptron) has many minima, and its models are
where a descent ends: no bound of the distance to it is known, and the norm of
the gradient, which is not 0 at the truth either, tells little.

All of it is in float64, for the objective as it was optimized.

References:
  Bach, `Self-concordant analysis for logistic regression
  <https://arxiv.org/abs/0910.4627>`_, 2010; Sun and Tran-Dinh, `Generalized
  self-concordant functions <https://arxiv.org/abs/1703.04599>`_, 2019.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jdm.modelpred import points
from jdm.training import convex
from jdm.training import perceptron

_HALVINGS = 80  # Of the interval that holds the best intercept.
_LEAST = 1e-300
# What float64 sums of gradients may be off by, relative to their terms.
_ROUNDING = 1e-14


class Certificate(NamedTuple):
  """What is known of predictions, each `[num_sets]`.

  Attributes:
    gradient_norm: Euclidean norm of the gradient of F_S.
    decrement: Newton decrement g' H^-1 g: twice what F_S falls by, at second
      order, to its minimum; NaN where the objective is not convex.
    bound: upper bound of the distance to the minimum, all parameters; infinite
      where none is known (see the module).
  """

  gradient_norm: jax.Array
  decrement: jax.Array
  bound: jax.Array


@functools.partial(jax.jit, static_argnames=('objective',))
def certify(
    objective: points.Objective,
    parameters: jax.Array,
    weights: jax.Array,
    data: convex.Examples,
) -> Certificate:
  """Bounds the distance of parameters from the minimum of each set.

  Call it within `solvers.precision.float64()`.

  Args:
    objective: as it was optimized.
    parameters: `[num_sets, num_parameters]`. Intercepts of softmax count up to
      a common number: the minimum in which they sum to what they sum to here.
    weights: `[num_sets, num_train]`.
    data: the pool.
  """
  gradient = objective.gradient(parameters, weights, data)
  norm = jnp.linalg.norm(gradient, axis=1)
  if isinstance(objective, perceptron.Objective):
    unknown = jnp.full_like(norm, jnp.inf)
    return Certificate(norm, jnp.full_like(norm, jnp.nan), unknown)
  # One decomposition for all: on a CPU, XLA may run two batched ones at once,
  # which then wait for each other's threads for ever (seen with jax 0.10.2).
  values, vectors = _eigen(objective, parameters, weights, data)
  along = jnp.einsum('sij,si->sj', vectors, gradient)
  decrement = jnp.sum(along**2 / jnp.maximum(values, _LEAST), axis=1)
  mu = jnp.maximum(values[:, 0] * (1 - 1e-9), _LEAST)
  # What rounding may hide of the gradient.
  terms = jnp.sum(weights, axis=1) * jnp.max(jnp.abs(data.columns))
  safe = norm + _ROUNDING * terms
  if objective.penalize_intercept:
    bound = safe / objective.lam
  elif objective.loss == 'half_square':
    bound = safe / mu
  elif objective.loss in ('logistic', 'softmax'):
    bound = _self_concordant(objective, weights, data, safe, mu)
    if objective.loss == 'logistic':
      far = _profiled(objective, parameters, weights, data)
      bound = jnp.minimum(bound, far)
  else:
    bound = jnp.full_like(norm, jnp.inf)
  return Certificate(
      norm, decrement, jnp.where(jnp.isfinite(norm), bound, jnp.inf)
  )


def _eigen(objective, parameters, weights, data):
  """Eigenvalues, ascending, and vectors of each Hessian; the gauge last."""
  hessian = objective.hessian(parameters, weights, data)
  if objective.has_gauge:
    # The gauge's curvature is put above all others.
    top = jnp.trace(hessian, axis1=1, axis2=2)[:, None, None]
    hessian += top * jnp.broadcast_to(convex.gauge(objective), hessian.shape)
  return jnp.linalg.eigh(hessian)


def _self_concordant(objective, weights, data, norm, mu) -> jax.Array:
  lengths = jnp.linalg.norm(data.columns, axis=1)
  inside = jnp.broadcast_to(lengths, weights.shape) * (weights > 0)
  rate = jnp.max(inside, axis=1)
  if objective.loss == 'softmax':
    rate *= jnp.sqrt(2.0)
  share = rate * norm / mu
  known = share < 1
  return jnp.where(
      known, -jnp.log1p(-jnp.where(known, share, 0.0)) / rate, jnp.inf
  )


def _profiled(objective, parameters, weights, data) -> jax.Array:
  """The bound through the best intercept, of the logistic loss."""
  best, spread = _best_intercept(objective, parameters, weights, data)
  moved = parameters.at[:, -1].set(best)
  gradient = objective.gradient(moved, weights, data)
  own = jnp.linalg.norm(gradient[:, :-1], axis=1)
  rest = jnp.abs(gradient[:, -1])
  # lam d^2 <= own d + rest (spread + R d), by strong convexity in w.
  lengths = jnp.linalg.norm(data.columns[:, :-1], axis=1)
  inside = jnp.broadcast_to(lengths, weights.shape) * (weights > 0)
  reach = jnp.max(inside, axis=1)
  slope = own + rest * reach
  lam = objective.lam
  distance = (slope + jnp.sqrt(slope**2 + 4 * lam * rest * spread)) / (2 * lam)
  shift = jnp.abs(parameters[:, -1] - best) + spread + reach * distance
  return jnp.sqrt(distance**2 + shift**2)


def _best_intercept(objective, parameters, weights, data):
  """The best intercept for the weights of each set, and how sure it is.

  Bisection: the slope in b grows, and is negative far left, positive far right.
  """
  scores = objective.scores(parameters.at[:, -1].set(0.0), data.columns)[..., 0]
  positives = jnp.sum(weights * (data.labels == 1)[None], axis=1)

  def slope(b):
    chance = jax.nn.sigmoid(scores + b[:, None])
    return jnp.sum(weights * chance, axis=1) - positives

  size = jnp.sum(weights, axis=1)
  share = jnp.clip(positives / jnp.maximum(size, 1.0), 1e-12, 1 - 1e-12)
  middle = jnp.log(share) - jnp.log1p(-share)
  inside = weights > 0
  highest = jnp.max(jnp.where(inside, scores, -jnp.inf), axis=1)
  lowest = jnp.min(jnp.where(inside, scores, jnp.inf), axis=1)

  def halve(_, ends):
    low, high = ends
    at = 0.5 * (low + high)
    above = slope(at) > 0
    return jnp.where(above, low, at), jnp.where(above, at, high)

  low, high = lax.fori_loop(
      0, _HALVINGS, halve, (middle - highest - 1, middle - lowest + 1)
  )
  return 0.5 * (low + high), high - low
