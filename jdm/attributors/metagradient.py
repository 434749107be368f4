r"""Metagradients: the exact derivative of an outcome by the weights of data.

Training is a program of the weights w of its examples' losses (1 for those of
the subset); its outcome's derivative by w_i, at the weights it was trained
with, is the first-order effect of example i on that one training, with its own
initialization and order. It is taken backwards through all steps, which are
replayed from the parameters at the start of each epoch, and through their
optimizer, for many targets at once.

A model is one training. Scores of a pool are means over the models that trained
on an example: an effect that only exists for one order averages out.
"""

from collections.abc import Sequence
import functools
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm.attributors import over_models
from jdm.attributors import scores as scores_lib
from jdm.attributors import trained as trained_lib
from jdm.solvers import precision
from jdm.training import sgd

_NAME = 'metagradient'
_WHO = f'`{_NAME}`'


def scores(
    trained: trained_lib.Trained,
    *,
    target_batch: int = 64,
    float64: bool = False,
    devices: Sequence[jax.Device] | None = None,
    progress: over_models.Progress | None = None,
) -> scores_lib.Scores:
  """Differentiates the trainings of some models.

  Args:
    trained: models trained by SGD, whose keys are known (from `rebuild`, or
      from `single`).
    target_batch: targets differentiated at once; memory grows by as many copies
      of parameters and moments.
    float64: trains and differentiates in float64.
    devices: see `over_models.mean`.
    progress: likewise.

  Returns:
    The scores, in outcome units per weight: the linear prediction of what an
    example's inclusion does. An example that no model trained on has 0.

  Raises:
    ValueError: if it is not known how the models were trained, with
      augmentations, or if derivatives are not finite.

  References:
    Engstrom et al., `Optimizing ML training with metagradient descent
    <https://arxiv.org/abs/2503.13751>`_, 2025, §2; Ilyas and Engstrom, `MAGIC
    <https://arxiv.org/abs/2504.16430>`_, 2025.
  """
  config, keys = _check(trained)
  if target_batch < 1:
    raise ValueError(f'{_WHO} expects target_batch >= 1, got {target_batch}.')
  if not trained_lib.is_smooth(trained.model, trained.inputs):
    logging.warning(
        '%s: the model has kinks (ReLU), where a step may cross one the'
        ' derivative says nothing about it; a smooth model, such as --model=mlp'
        ' with the option activation=gelu, is predicted far better.',
        _WHO,
    )
  program = _program(
      trained.model,
      config,
      trained.compute,
      min(target_batch, trained.num_targets),
      float64,
  )
  dtype = np.float64 if float64 else np.float32
  ids, real = trained.subset_rows()
  counts = np.maximum(trained.masks.sum(axis=0), 1)
  share = trained.num_models / counts  # A mean over models with the example.
  rows = [
      (key, row, np.int32(kept.sum()), np.where(mask, share, 0).astype(dtype))
      for key, row, kept, mask in zip(keys, ids, real, trained.masks)
  ]
  data = _data(trained, dtype)
  if float64:
    with precision.float64():
      found = over_models.mean(
          program, rows, data, devices=devices, progress=progress
      )
  else:
    found = over_models.mean(
        program, rows, data, devices=devices, progress=progress
    )
  steps = float(real.sum()) * config.epochs
  return scores_lib.Scores(
      values=found.astype(np.float32),
      method=_NAME,
      units='outcome units',
      num_models=trained.num_models,
      # Backwards through a gradient: two products with a Hessian's rows.
      gradients=int(steps * (2 + 2 * trained.num_targets)),
      options={'float64': float64},
  )


def outcomes(
    trained: trained_lib.Trained,
    weights: np.ndarray,
    *,
    float64: bool = False,
    batch: int = 16,
) -> np.ndarray:
  """Trains one model with other weights of its examples.

  Initialization, order and batches stay as they are: an example of weight 0 is
  left out of each of its batches and moves nothing else. This is what
  `scores` of one model is the derivative of.

  Args:
    trained: with one model.
    weights: `[num_weights, num_train]`, such as masks.
    float64: trains in float64.
    batch: trainings at once.

  Returns:
    `[num_weights, num_targets]`.

  Raises:
    ValueError: if there is not one model, or shapes do not fit.
  """
  config, keys = _check(trained)
  weights = np.asarray(weights)
  if trained.num_models != 1 or weights.ndim != 2:
    raise ValueError(
        f'{_WHO} expects one model and weights [num_weights, num_train], got'
        f' {trained.num_models} models and weights {list(weights.shape)}; pass'
        ' `trained.take([0])`.'
    )
  if weights.shape[1] != trained.num_train:
    raise ValueError(
        f'{_WHO} expects weights of {trained.num_train} examples, got'
        f' {weights.shape[1]}.'
    )
  dtype = np.float64 if float64 else np.float32
  program = _retrain(trained.model, config, trained.compute, batch, float64)
  ids, real = trained.subset_rows()
  row = (keys[0], ids[0], np.int32(real[0].sum()))
  arguments = (*row, weights.astype(dtype), *_data(trained, dtype))
  if float64:
    with precision.float64():
      return np.asarray(program(*arguments))
  return np.asarray(program(*arguments))


def single(
    model: models.Model,
    config: sgd.Config,
    *,
    key: jax.Array,
    inputs: np.ndarray,
    labels: np.ndarray,
    target_inputs: np.ndarray,
    target_labels: np.ndarray,
    compute: trained_lib.Compute,
) -> trained_lib.Trained:
  """Describes one training on everything, for the single-model setting.

  Args:
    model: without a state.
    config: how it is trained.
    key: of initialization and order, `jax.random.key(...)`.
    inputs: `[num_train, ...]`.
    labels: `[num_train]`.
    target_inputs: `[num_targets, ...]`.
    target_labels: `[num_targets]`.
    compute: the outcome of `(logits, labels)`.

  Returns:
    One model, trained.
  """
  num_train = len(labels)

  @jax.jit
  def fit(data):
    params, _ = sgd.fit_one(
        model, config, key, jnp.arange(num_train), jnp.asarray(num_train), *data
    )
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])

  return trained_lib.Trained(
      model=model,
      parameters=np.asarray(fit((inputs, labels)))[None],
      masks=np.ones((1, num_train), bool),
      inputs=inputs,
      labels=labels,
      target_inputs=target_inputs,
      target_labels=target_labels,
      compute=compute,
      config=config,
      weight_decay=config.weight_decay,
      keys=np.asarray(jax.random.key_data(key))[None],
  )


def _check(trained: trained_lib.Trained) -> tuple[sgd.Config, np.ndarray]:
  """How the models were trained, and their keys."""
  if trained.config is None or trained.keys is None:
    raise ValueError(
        f'{_WHO} runs the training again and needs to know it: models trained'
        ' by SGD, from `rebuild` or `metagradient.single`. Exact minima have an'
        ' exact `influence` instead.'
    )
  if trained.config.augmentations:
    raise ValueError(
        f'{_WHO} expects a training without augmentations, got'
        f' {list(trained.config.augmentations)}.'
    )
  return trained.config, trained.keys


def _data(trained, dtype) -> tuple[Any, ...]:
  labels = [trained.labels, trained.target_labels]
  if trained.is_regression:
    labels = [np.asarray(values, dtype) for values in labels]
  return (
      np.asarray(trained.inputs, dtype),
      labels[0],
      np.asarray(trained.target_inputs, dtype),
      labels[1],
  )


def _outcomes(model, config, compute, dtype):
  """`(weights, key, ids, size, data) -> [num_targets]`."""

  def run(weights, key, ids, size, data):
    inputs, labels, target_inputs, target_labels = data
    params, state = sgd.fit_one(
        model,
        config,
        jax.random.wrap_key_data(key),
        ids,
        size,
        inputs,
        labels,
        weights=weights,
        dtype=dtype,
    )
    logits = model.apply(params, state, target_inputs, False)[0]
    return compute(logits, target_labels)

  return run


@functools.lru_cache(maxsize=32)
def _program(model, config, compute, target_batch, float64):
  """The program of one model: `[num_train, num_targets]`."""
  run = _outcomes(
      model, config, compute, jnp.float64 if float64 else jnp.float32
  )

  def one(key, ids, size, share, *data):
    inputs, labels, target_inputs, target_labels = data

    def of_batch(targets):
      own = (inputs, labels, target_inputs[targets], target_labels[targets])
      found, back = jax.vjp(
          lambda weights: run(weights, key, ids, size, own),
          jnp.ones(len(labels), inputs.dtype),
      )
      (slopes,) = jax.vmap(back)(jnp.eye(len(targets), dtype=found.dtype))
      return slopes

    num = len(target_labels)
    count = -(-num // target_batch)
    place = np.arange(count * target_batch).reshape(count, target_batch)
    place = jnp.asarray(np.where(place < num, place, 0))
    slopes = jax.lax.map(of_batch, place)
    slopes = slopes.reshape(-1, len(labels))[:num]
    return slopes.T * share[:, None]

  return jax.jit(one)


@functools.lru_cache(maxsize=32)
def _retrain(model, config, compute, batch, float64):
  """Trainings with rows of weights: `[num_weights, num_targets]`."""
  run = _outcomes(
      model, config, compute, jnp.float64 if float64 else jnp.float32
  )

  def all_rows(key, ids, size, weights, *data):
    return jax.lax.map(
        lambda row: run(row, key, ids, size, data), weights, batch_size=batch
    )

  return jax.jit(all_rows)
