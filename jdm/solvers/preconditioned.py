"""Sweeps for targets that leave models out, led by the Gram of all models.

A target that is a training example has a Gram matrix of its own, of the models
that did not train on it, which costs products with the masks. That of all models
is near it. So a sweep descends on the objective with the Gram matrix of all
models in place of the target's own, which is cheap, and then computes residuals
and correlations from the masks: what it converges to, and certifies, is the
target's own problem (a proximal quasi-Newton method).

With a share s of the models kept, s times the target's matrix is below that of
all, so steps descend for s above a half; below, `rate` shortens them. On one CPU
core it takes 2.4 times the epochs of `direct.masks_sweep`, each a quarter the
time: 37 -> 23 s for 128 targets of 6,000 models and 1,500 examples, 94 -> 72 s
for 256 targets of 2,000 models, 26 -> 18 s to a gap of 1e-6. With a fifth of the
models kept it is slower (32 -> 44 s), with fewer models it may not settle; hence
`applies`; 1.2 to 1.45 times as fast in `experiments.benchmarks.train_targets`, at
700 examples. Two of its steps an epoch, or exact products on active columns alone,
bring nothing more.

References:
  Lee, Sun and Saunders, `Proximal Newton-type methods for minimizing composite
  functions <https://arxiv.org/abs/1206.1623>`_, 2014.
"""

import functools

import jax
import jax.numpy as jnp

from jdm.solvers import centred
from jdm.solvers import penalties
from jdm.solvers import proximal

_NUM_SWEEPS = 2  # On the Gram matrix, for each product with the masks.
_LEAST_KEPT = 0.45
_MOST_TRAIN = 16384  # The matrix takes 1 GiB, in float64 two.
# Of a target's own column, which is constant over its models and not over all.
_NEVER = 1e20


def applies(least: int, num_models: int, num_train: int) -> bool:
  """Whether the Gram matrix of all models is near those of all targets.

  Args:
    least: the fewest models that a target keeps.
    num_models: of all.
    num_train: columns of the masks.
  """
  near = least >= max(_LEAST_KEPT * num_models, num_train / 2)
  return bool(near and num_train <= _MOST_TRAIN)


@functools.partial(jax.jit, static_argnames=('block', 'copies'))
def gram(columns: jax.Array, block: int, copies: bool) -> proximal.Gram:
  """The Gram matrix of all models, laid out for sweeps.

  Args:
    columns: `[num_train, num_models]`, masks in the dtype of the products.
    block: coordinates at once.
    copies: of `proximal.prepare`.
  """
  mean = jnp.mean(columns, axis=1)
  second = columns @ columns.T / columns.shape[1] - mean[:, None] * mean[None]
  return proximal.prepare(second, block, copies=copies)


def sweep(
    columns: jax.Array,
    shared: proximal.Gram,
    rows: tuple[jax.Array, jax.Array, jax.Array],
    point: tuple[jax.Array, jax.Array, jax.Array],
    penalty: penalties.Penalty,
    rate: jax.Array,
    *,
    block: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Sweeps on the shared matrix, then takes its step on the targets' models.

  Args:
    columns: `[num_train, num_models]`, masks in the dtype of the products.
    shared: of `gram`.
    rows: kept `[num_targets, num_models]`, 1 for the models of a target, their
      count `[num_targets]`, and the target's own column `[num_targets]` or -1.
    point: weights, correlations (each `[num_targets, num_train]`) and
      residuals `[num_targets, num_models]`, float64.
    penalty: of the targets.
    rate: `[num_targets]`, at most 1; shortens steps, by a matrix that is larger
      by its reciprocal.
    block: coordinates at once.

  Returns:
    The new point.
  """
  kept, count, own = rows
  weights, correlation, residual = point
  narrow = columns.dtype
  led = _led(penalty, rate, own, weights)
  # All of the model's terms times the rate: the matrix stays as it is.
  ahead = weights, rate[:, None] * correlation
  for _ in range(_NUM_SWEEPS):
    whole = jnp.ones_like(rate)
    ahead = proximal.gram_sweep(shared, ahead, led, whole, block=block)
  change = ((ahead[0] - weights).astype(narrow) @ columns).astype(
      residual.dtype
  )
  residual = centred.centre(residual - change, kept, count)
  product = residual.astype(narrow) @ columns.T / count.astype(narrow)[:, None]
  return ahead[0], product.astype(weights.dtype), residual


def _led(penalty, rate, own, weights) -> penalties.Penalty:
  """The penalty times the rate; that of a target's own column forbids it."""
  is_own = jnp.arange(weights.shape[1])[None] == own[:, None]
  factor = 1.0 if penalty.factor is None else penalty.factor
  ridge = penalty.ridge
  return penalties.Penalty(
      lam=penalty.lam * rate,
      factor=jnp.where(is_own, _NEVER, factor).astype(weights.dtype),
      ridge=None if ridge is None else ridge * rate,
      positive=penalty.positive,
  )
