r"""Damped Gauss-Newton influence, the mean over models of a pool.

With theta a model trained on a subset S, an example i that is added to it with
a small weight moves the outcome f of a target by

  tau_i = - grad f' (H_S + mu I)^-1 grad loss_i

where H_S is the Gauss-Newton matrix of the sum of losses over S, with the
penalty of the training. Each model has the matrix of its own subset: with that
of all examples the score is far worse, for examples outside S bend the matrix
where the model is wrong about them.

Curvature 'margin' takes a loss as a function of one number, the soft margin m:
softplus(-m), whose second derivative is p (1 - p). 'logits' takes all logits,
which for linear models is the exact Hessian of the cross-entropy.

The matrix is never larger than the smaller of parameters and rows (examples,
or examples times classes). `damping` is relative: mu = damping * trace(H_S) /
|S|, and one eigendecomposition serves many.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdm.attributors import gradients
from jdm.attributors import influence_programs as programs
from jdm.attributors import over_models
from jdm.attributors import scores as scores_lib
from jdm.attributors import trained as trained_lib
from jdm.solvers import precision

_NAME = 'influence'
_WHO = f'`{_NAME}`'
CURVATURES = ('margin', 'logits')
_MOST_WRITTEN = 20_000  # Parameters beyond which gradients are not written out.


def scores(
    trained: trained_lib.Trained,
    *,
    damping: float = 1.0,
    curvature: str = 'margin',
    solver: str = 'auto',
    own_subset: bool = True,
    tol: float = 1e-3,
    max_steps: int = 200,
    example_batch: int = 512,
    target_batch: int = 512,
    float64: bool = False,
    devices: Sequence[jax.Device] | None = None,
    progress: over_models.Progress | None = None,
) -> scores_lib.Scores:
  """Computes the influence of each example on each target.

  Args:
    trained: models of a pool.
    damping: relative to the mean eigenvalue of |S|, see the file; 0 or above.
    curvature: 'margin' or 'logits'; the same for regression.
    solver: 'dense' factors a matrix, 'cg' solves by conjugate gradients and
      writes out neither matrix nor gradients; 'auto' chooses by the number of
      parameters.
    own_subset: whether the matrix is of a model's own subset, or of all.
    tol: of 'cg', the residual relative to the target's gradient.
    max_steps: of 'cg'.
    example_batch: examples whose gradients are held at once.
    target_batch: likewise targets; with `example_batch`, bounds memory beside
      the subset's own rows and products with all examples, `[num_train,
      subset]`.
    float64: computes in float64.
    devices: see `over_models.mean`.
    progress: likewise.

  Returns:
    The scores, in outcome units per inclusion.

  Raises:
    ValueError: on options that make no sense, or scores that are not finite.

  References:
    Koh and Liang, `Understanding black-box predictions via influence functions
    <https://arxiv.org/abs/1703.04730>`_, 2017, §2; Martens, `New insights and
    perspectives on the natural gradient method
    <https://arxiv.org/abs/1412.1193>`_, 2020, §8, for the Gauss-Newton matrix.
  """
  _check(damping, curvature, solver)
  if solver == 'auto':
    is_large = trained.parameters.shape[1] > _MOST_WRITTEN
    solver = 'cg' if is_large else 'dense'
  options = {
      'damping': damping,
      'curvature': curvature,
      'solver': solver,
      'own_subset': own_subset,
  }
  if solver == 'dense':
    return path(
        trained,
        dampings=(damping,),
        curvature=curvature,
        own_subset=own_subset,
        example_batch=example_batch,
        target_batch=target_batch,
        float64=float64,
        devices=devices,
        progress=progress,
    )[0]
  setup = _setup(trained, curvature, example_batch, target_batch, True)
  program = programs.conjugate_gradients(setup, max_steps)
  shared = (np.float32(damping), np.float32(tol))
  found, steps = _mean(
      program, trained, own_subset, shared, float64, devices, progress
  )
  per_model = 2 * trained.num_targets * float(steps) * _size(trained)
  return _finish(trained, found, options, int(per_model * trained.num_models))


def path(
    trained: trained_lib.Trained,
    *,
    dampings: Sequence[float],
    curvature: str = 'margin',
    own_subset: bool = True,
    example_batch: int = 512,
    target_batch: int = 512,
    float64: bool = False,
    devices: Sequence[jax.Device] | None = None,
    progress: over_models.Progress | None = None,
) -> list[scores_lib.Scores]:
  """Computes `scores` at several dampings, for little more than one.

  Arguments are those of `scores`, solved densely.

  Returns:
    One for each damping.

  Raises:
    ValueError: as `scores`, or if there is no damping.
  """
  for damping in dampings:
    _check(damping, curvature, 'dense')
  if not len(dampings):
    raise ValueError(f'{_WHO} expects at least one damping, got none.')
  setup = _setup(
      trained, curvature, example_batch, target_batch, len(dampings) == 1
  )
  shared = (np.asarray(dampings, np.float32),)
  found = _mean(
      programs.dense(setup),
      trained,
      own_subset,
      shared,
      float64,
      devices,
      progress,
  )
  return [
      _finish(
          trained,
          values,
          {
              'damping': float(damping),
              'curvature': curvature,
              'solver': 'dense',
              'own_subset': own_subset,
          },
          _num_gradients(trained, curvature, own_subset),
      )
      for damping, values in zip(dampings, found)
  ]


def _check(damping: float, curvature: str, solver: str) -> None:
  if not damping >= 0 or not np.isfinite(damping):
    raise ValueError(f'{_WHO} expects a damping of 0 or above, got {damping}.')
  if curvature not in CURVATURES:
    raise ValueError(
        f'{_WHO} expects curvature of {list(CURVATURES)}, got {curvature!r}.'
    )
  if solver not in ('auto', 'dense', 'cg'):
    raise ValueError(
        f"{_WHO} expects solver 'auto', 'dense' or 'cg', got {solver!r}."
    )


def _setup(
    trained, curvature, example_batch, target_batch, one
) -> programs.Setup:
  if min(example_batch, target_batch) < 1:
    raise ValueError(f'{_WHO} expects batches of at least 1.')
  is_regression = trained.is_regression
  shape = jax.eval_shape(
      lambda x: trained_lib.logits(
          trained.model, jnp.zeros(trained.parameters.shape[1]), x
      ),
      jax.ShapeDtypeStruct((2, *trained.inputs.shape[1:]), jnp.float32),
  )
  loss = gradients.losses(trained.config)
  curvature = 'value' if is_regression else curvature
  return programs.Setup(
      model=trained.model,
      compute=trained.compute,
      loss=loss,
      curvature=curvature,
      of_margins=curvature == 'margin' and loss == gradients.losses(None),
      num_classes=shape.shape[1],
      example_batch=min(example_batch, trained.num_train),
      target_batch=min(target_batch, trained.num_targets),
      has_penalties=trained.penalties is not None,
      one_damping=one,
  )


def _mean(program, trained, own_subset, shared, float64, devices, progress):
  """The mean over models of what a program finds."""
  if own_subset:
    ids, real = trained.subset_rows()
  else:
    ids = np.tile(np.arange(trained.num_train), (trained.num_models, 1))
    real = np.ones(ids.shape, np.float32)
  penalties = trained.penalties
  if penalties is None:
    # Of the mean loss over the steps, times the examples: of the sum.
    sizes = trained.masks.sum(axis=1, dtype=np.float64)
    per_model = trained.weight_decay * sizes
  else:
    per_model = np.zeros(trained.num_models)
  dtype = np.float64 if float64 else np.float32
  pad = np.zeros(1) if penalties is None else penalties
  data = (
      trained.inputs,
      trained.labels,
      trained.target_inputs,
      trained.target_labels,
      pad,
      *shared,
  )
  rows = list(zip(trained.parameters, ids, real, per_model))
  if float64:
    with precision.float64():
      return over_models.mean(
          program,
          _cast(rows, dtype),
          _cast(data, dtype),
          counted=trained.counted(),
          devices=devices,
          progress=progress,
      )
  return over_models.mean(
      program,
      _cast(rows, dtype),
      _cast(data, dtype),
      counted=trained.counted(),
      devices=devices,
      progress=progress,
  )


def _cast(tree: Any, dtype: Any) -> Any:
  def one(leaf):
    leaf = np.asarray(leaf)
    is_real = np.issubdtype(leaf.dtype, np.floating)
    return leaf.astype(dtype) if is_real else leaf.astype(np.int32)

  return jax.tree.map(one, tree)


def _finish(trained, values, options, num_gradients) -> scores_lib.Scores:
  return scores_lib.Scores(
      values=np.asarray(values, np.float32),
      method=_NAME,
      units='outcome units',
      num_models=trained.num_models,
      gradients=num_gradients,
      options=options,
  )


def _size(trained) -> float:
  return float(trained.masks.sum(axis=1).mean())


def _num_gradients(trained, curvature, own_subset) -> int:
  rows = _size(trained) if own_subset else trained.num_train
  if curvature == 'logits' and not trained.is_regression:
    rows *= len(np.unique(trained.labels))
  per_model = trained.num_train + trained.num_targets + rows
  return int(per_model * trained.num_models)
