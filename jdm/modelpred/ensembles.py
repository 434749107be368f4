"""Many models of one training set: resamples of its points, and Laplace's.

Averages of their predictions say how sure the training set makes a model.
"""

import jax.numpy as jnp
import numpy as np

from jdm.modelpred import points
from jdm.solvers import precision
from jdm.training import convex

KINDS = ('half', 'bootstrap')
_MOST_DRAWS = 1000  # Of one resample, until it holds every class.


def resamples(
    pool: points.Pool, num: int, *, kind: str = 'half', seed: int = 0
) -> np.ndarray:
  """Draws sets of the pool's points.

  Args:
    pool: the points.
    num: sets.
    kind: 'half' draws half of the points without replacement, whose models vary
      about as those of bootstrap samples do (Politis and Romano's subsampling
      at m = n / 2); 'bootstrap' draws as many points as there are with
      replacement, and counts them.
    seed: set i depends on (seed, i) alone.

  Returns:
    float64 `[num, num_points]`, how often each point counts. A set that misses
    a class is drawn again.

  Raises:
    ValueError: if the kind is unknown, `num` is below 1, or no set with every
      class is found.
  """
  if kind not in KINDS or num < 1:
    raise ValueError(
        f'`resamples` expects a kind of {KINDS} and a num of 1 or more, got'
        f' {kind!r} and {num}.'
    )
  num_points = len(pool.labels)
  drawn = np.zeros((num, num_points))
  for number in range(num):
    rng = np.random.default_rng([seed, number])
    for _ in range(_MOST_DRAWS):
      if kind == 'half':
        counts = np.zeros(num_points)
        counts[rng.permutation(num_points)[: num_points // 2]] = 1
      else:
        counts = np.bincount(
            rng.integers(num_points, size=num_points), minlength=num_points
        )
      if (counts @ pool.classes > 0).all():
        break
    else:
      raise ValueError(
          f'`resamples`: none of {_MOST_DRAWS} draws of {num_points} points held'
          ' every class; the rarest class is too rare.'
      )
    drawn[number] = counts
  return drawn


def laplace(pool: points.Pool, num: int, *, seed: int = 0) -> np.ndarray:
  """Draws parameters from Laplace's approximation of the posterior.

  The objective of everything is taken for a negative log-posterior; near its
  minimum that is a Gaussian whose precision is the Hessian.

  Args:
    pool: the points, with a convex objective that is a negative log-likelihood
      (logistic, softmax, half square with noise of variance 1).
    num: draws.
    seed: of the draws.

  Returns:
    float64 `[num, num_parameters]`.

  Raises:
    ValueError: if the objective is no negative log-likelihood.

  References:
    MacKay, The evidence framework applied to classification networks, Neural
    Computation 4, 1992.
  """
  own = pool.objective
  likelihoods = ('logistic', 'softmax', 'half_square')
  if not isinstance(own, convex.Objective) or own.loss not in likelihoods:
    raise ValueError(
        f'`laplace` expects a convex objective of loss {likelihoods}, got'
        f' {own}.'
    )
  with precision.float64():
    hessian = own.hessian(
        jnp.asarray(pool.full),
        jnp.ones(len(pool.labels)),
        convex.examples(pool.inputs, pool.labels),
    )
    # Along the gauge nothing is known, and nothing changes.
    root = np.linalg.cholesky(np.asarray(hessian) + convex.gauge(own))
  noise = np.random.default_rng(seed).normal(size=(len(root), num))
  return pool.full[None] + np.linalg.solve(root.T, noise).T
