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
`applies`. Two of its steps an epoch, or exact products on active columns alone,
bring nothing more.

References:
  Lee, Sun and Saunders, `Proximal Newton-type methods for minimizing composite
  functions <https://arxiv.org/abs/1206.1623>`_, 2014.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import centred
from jdm.solvers import penalties
from jdm.solvers import proximal

_NUM_SWEEPS = 2  # On the Gram matrix, for each product with the masks.
_LEAST_KEPT = 0.45
_MOST_TRAIN = 16384  # The matrix takes 1 GiB.
_MOST_COPIED = 8192


def applies(counts: np.ndarray, num_models: int, num_train: int) -> bool:
  """Whether the Gram matrix of all models is near those of all targets.

  Args:
    counts: `[num_targets]`, models that are kept.
    num_models: of all.
    num_train: columns of the masks.
  """
  least = counts.min(initial=num_models)
  near = least >= max(_LEAST_KEPT * num_models, num_train / 2)
  return bool(near and num_train <= _MOST_TRAIN)


def gram(columns: jax.Array, block: int) -> proximal.Gram:
  """The Gram matrix of all models, from masks `[num_train, num_models]`."""
  mean = jnp.mean(columns, axis=1)
  second = columns @ columns.T / columns.shape[1] - mean[:, None] * mean[None]
  return proximal.prepare(second, block, copies=len(columns) <= _MOST_COPIED)


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
    rate: `[num_targets]`, at most 1; shortens steps.
    block: coordinates at once.

  Returns:
    The new point.
  """
  kept, count, own = rows
  weights, correlation, residual = point
  narrow = columns.dtype
  ahead = weights, correlation
  for _ in range(_NUM_SWEEPS):
    ahead = proximal.gram_sweep(
        shared, ahead, penalty, jnp.ones_like(rate), block=block
    )
  # Whole steps are stored as they are: zeros stay exact.
  shorter = weights + rate[:, None] * (ahead[0] - weights)
  new = jnp.where((rate < 1)[:, None], shorter, ahead[0])
  # A target's own column is constant over its models; not over all of them.
  new = jnp.where(jnp.arange(len(columns))[None] == own[:, None], 0, new)
  change = ((new - weights).astype(narrow) @ columns).astype(residual.dtype)
  residual = centred.centre(residual - change, kept, count)
  product = residual.astype(narrow) @ columns.T / count.astype(narrow)[:, None]
  return new, product.astype(weights.dtype), residual
