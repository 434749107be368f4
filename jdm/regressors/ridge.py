"""Ridge datamodels: all targets and penalties from one eigendecomposition."""

from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.regressors import observations as observations_lib
from jdm.solvers import moments as moments_lib
from jdm.solvers import precision

_NAME = 'ridge'
_WHO = f'{_NAME}.fit'
# The largest penalty tried, over the largest eigenvalue: it leaves a hundredth.
_LARGEST = 100.0


class _Basis(NamedTuple):
  """Moments in the eigenvectors of the Gram matrix, float64."""

  values: jax.Array  # [num_train]
  vectors: jax.Array  # [num_train, num_train]
  cross: jax.Array  # [num_train, num_targets]


@jax.jit
def _decompose(gram, cross) -> _Basis:
  values, vectors = jnp.linalg.eigh(gram)
  return _Basis(jnp.maximum(values, 0), vectors, vectors.T @ cross)


@jax.jit
def _weights(basis: _Basis, lam: jax.Array) -> jax.Array:
  """Solutions [num_train, num_targets] at penalties [num_targets]."""
  return basis.vectors @ (basis.cross / (basis.values[:, None] + lam[None]))


@jax.jit
def _errors(basis: _Basis, lams, masks, outcomes) -> jax.Array:
  """Validation errors [num_lams, num_targets] of penalties [num_lams]."""
  projected = masks @ basis.vectors

  def error(lam):
    predicted = projected @ (basis.cross / (basis.values[:, None] + lam))
    return jnp.mean((outcomes - predicted) ** 2, axis=0)

  return jax.lax.map(error, lams)


def fit(
    masks: Any,
    outcomes: Any,
    *,
    num_val: int | None = None,
    val_masks: Any = None,
    val_outcomes: Any = None,
    lam: Any = None,
    num_lams: int = 30,
    min_ratio: float = 1e-6,
    refit: bool = True,
    **labels: Unpack[observations_lib.Labels],
) -> datamodels_lib.Datamodels:
  """Fits a dense linear datamodel to each target by ridge regression.

  Minimizes 1/(2m) ||y - X w - b||^2 + lam / 2 ||w||^2 over w and b, with X the
  raw 0/1 masks; scikit-learn's `Ridge(alpha=m * lam)`. Each target's lam is the
  one with the lowest squared error on validation models.

  Args:
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`; row i is
      model i's training set.
    outcomes: `[num_models, num_targets]`, finite.
    num_val: how many of the last rows are for validation; by default a fifth,
      at least one, or none if `lam` or `val_masks` is given.
    val_masks: bool `[num_val, num_train]`, validation models of their own; pass
      their `val_model_ids` too, or evaluation cannot refuse them.
    val_outcomes: `[num_val, num_targets]`.
    lam: a penalty or `[num_targets]` penalties; then nothing is chosen.
    num_lams: penalties tried, evenly in the log below a hundred times the
      largest eigenvalue of the centred Gram matrix.
    min_ratio: of the smallest penalty to the largest.
    refit: whether to fit again, at the penalties chosen, to the models of both
      kinds.
    **labels: ids and names to note, `observations.Labels`.

  Returns:
    Datamodels.

  Raises:
    TypeError: on unknown keywords.
    ValueError: if shapes, dtypes, values or options do not make sense.
  """
  observations = observations_lib.split(
      _NAME,
      masks,
      outcomes,
      num_val=num_val,
      val_masks=val_masks,
      val_outcomes=val_outcomes,
      choose=lam is None,
      labels=labels,
  )
  if num_lams < 1 or not 0 < min_ratio < 1:
    raise ValueError(
        f'`{_WHO}` expects num_lams >= 1 and 0 < min_ratio < 1, got {num_lams}'
        f' and {min_ratio}.'
    )
  if lam is None:
    lam, val_mse = _choose(observations, num_lams, min_ratio)
  else:
    lam = observations_lib.penalties(_WHO, lam, observations.num_targets)
    val_mse = None
  pair = observations.masks, observations.outcomes
  weights, bias = _solve(*(observations.joined() if refit else pair), lam)
  return observations_lib.to_datamodels(
      observations,
      weights=weights.astype(np.float32),
      bias=bias,
      lam=lam,
      val_mse=val_mse,
      refitted=refit,
  )


def _basis(moments: moments_lib.Moments) -> _Basis:
  return _decompose(moments.gram(), moments.centred_cross())


def _choose(observations, num_lams, min_ratio) -> tuple[np.ndarray, np.ndarray]:
  """The best penalty of each target and its validation error."""
  moments = moments_lib.of(observations.masks, observations.outcomes)
  masks = observations.val_masks - moments.mean_mask()[None]
  outcomes = observations.val_outcomes - moments.mean_outcome()[None]
  with precision.float64():
    basis = _basis(moments)
    exponents = np.arange(num_lams) / max(num_lams - 1, 1)
    lams = _LARGEST * float(basis.values[-1]) * min_ratio**exponents
    errors = np.asarray(_errors(basis, lams, masks, outcomes))
  # The first of equals is the most cautious.
  return lams[errors.argmin(axis=0)], errors.min(axis=0)


def _solve(masks, outcomes, lam) -> tuple[np.ndarray, np.ndarray]:
  """Weights and intercepts, float64."""
  moments = moments_lib.of(masks, outcomes)
  with precision.float64():
    weights = np.array(_weights(_basis(moments), lam))
  # An example in every model or none has no curvature: exactly 0, not rounding.
  weights[np.diagonal(moments.gram()) <= 0] = 0
  return weights, moments.mean_outcome() - moments.mean_mask() @ weights
