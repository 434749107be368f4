r"""TRAK: influence of margins in a random projection of their gradients.

With phi the gradient of the soft margin of an example, projected to few
dimensions, and q = 1 - p what is missing to a sure answer,

  tau_i = phi_target' (Phi_S' D Phi_S + mu I)^-1 phi_i q_i

averaged over models. D = 1 is the paper's; D = p (1 - p) ('margin') makes it
the Gauss-Newton influence of `influence`, for models whose matrix is too large.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm.attributors import gradients
from jdm.attributors import over_models
from jdm.attributors import scores as scores_lib
from jdm.attributors import trained as trained_lib
from jdm.outcomes import soft_margin

_NAME = 'trak'
_WHO = f'`{_NAME}`'
CURVATURES = ('identity', 'margin')
PROJECTIONS = ('sketch', 'normal')


class _Setup(NamedTuple):
  model: models.Model
  compute: trained_lib.Compute
  num_dimensions: int
  projection: str
  curvature: str
  is_regression: bool
  example_batch: int


def scores(
    trained: trained_lib.Trained, *, damping: float = 1.0, **options
) -> scores_lib.Scores:
  """Computes TRAK scores at one damping; options as of `path`."""
  return path(trained, dampings=(damping,), **options)[0]


def path(
    trained: trained_lib.Trained,
    *,
    dampings: Sequence[float],
    num_dimensions: int = 512,
    projection: str = 'sketch',
    curvature: str = 'identity',
    own_subset: bool = True,
    example_batch: int = 512,
    seed: int = 0,
    devices: Sequence[jax.Device] | None = None,
    progress: over_models.Progress | None = None,
) -> list[scores_lib.Scores]:
  """Computes TRAK scores at several dampings.

  Args:
    trained: models of a pool.
    dampings: mu = damping * trace(Phi_S' D Phi_S) / |S|.
    num_dimensions: of the projection.
    projection: 'sketch' adds up parameters in `num_dimensions` random groups,
      with random signs: one addition a parameter. 'normal' is a dense matrix of
      normal numbers: as many products a parameter as there are dimensions.
      Inner products are right on average, with the same error, in both.
    curvature: 'identity' as in the paper, or 'margin'.
    own_subset: whether Phi has a model's own subset, or (as in the paper) all.
    example_batch: examples whose gradients are written out at once.
    seed: of the projection; model j has the projection of (seed, j).
    devices: see `over_models.mean`.
    progress: likewise.

  Returns:
    One for each damping, in outcome units for 'margin' and in outcome units up
    to a scale for 'identity'.

  Raises:
    ValueError: on options that make no sense, or scores that are not finite.

  References:
    Park et al., `TRAK <https://arxiv.org/abs/2303.14186>`_, 2023, §3; the
    sketch is that of Charikar et al., Finding frequent items in data streams,
    2002, with groups of equal size.
  """
  _check(dampings, num_dimensions, projection, curvature, example_batch)
  setup = _Setup(
      trained.model,
      trained.compute,
      min(num_dimensions, trained.parameters.shape[1]),
      projection,
      curvature,
      trained.is_regression,
      min(example_batch, trained.num_train),
  )
  masks = trained.masks if own_subset else np.ones_like(trained.masks)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(
      jax.random.key(seed), jnp.arange(trained.num_models)
  )
  data = (
      np.asarray(trained.inputs, np.float32),
      trained.labels,
      np.asarray(trained.target_inputs, np.float32),
      trained.target_labels,
      np.asarray(dampings, np.float32),
  )
  rows = list(
      zip(
          trained.parameters.astype(np.float32),
          masks.astype(np.float32),
          keys,
      )
  )
  found = over_models.mean(
      _program(setup),
      rows,
      data,
      counted=trained.counted(),
      devices=devices,
      progress=progress,
  )
  per_model = trained.num_train + trained.num_targets
  units = 'outcome units' + (
      ' up to a scale' if curvature == 'identity' else ''
  )
  return [
      scores_lib.Scores(
          values=values.astype(np.float32),
          method=_NAME,
          units=units,
          num_models=trained.num_models,
          gradients=per_model * trained.num_models,
          options={
              'damping': float(damping),
              'num_dimensions': num_dimensions,
              'projection': projection,
              'curvature': curvature,
              'own_subset': own_subset,
          },
      )
      for damping, values in zip(dampings, found)
  ]


def _check(dampings, num_dimensions, projection, curvature, batch) -> None:
  if not len(dampings) or not all(np.isfinite(d) and d > 0 for d in dampings):
    raise ValueError(
        f'{_WHO} expects one or more positive dampings, got {list(dampings)}.'
    )
  if num_dimensions < 1 or batch < 1:
    raise ValueError(
        f'{_WHO} expects num_dimensions and example_batch of at least 1, got'
        f' {num_dimensions} and {batch}.'
    )
  for value, known in ((projection, PROJECTIONS), (curvature, CURVATURES)):
    if value not in known:
      raise ValueError(f'{_WHO} expects one of {list(known)}, got {value!r}.')


def _projector(setup: _Setup, key, size: int, dtype):
  """`rows [num, size] -> [num, num_dimensions]`."""
  dimensions = setup.num_dimensions
  if setup.projection == 'normal':
    matrix = jax.random.normal(key, (size, dimensions), dtype)
    return lambda rows: rows @ matrix / jnp.sqrt(dimensions)
  order_key, sign_key = jax.random.split(key)
  signs = jax.random.rademacher(sign_key, (size,), dtype)
  order = jax.random.permutation(order_key, size)
  padding = -size % dimensions

  def project(rows):
    rows = jnp.pad((rows * signs[None])[:, order], ((0, 0), (0, padding)))
    return rows.reshape(len(rows), -1, dimensions).sum(axis=1)

  return project


@functools.lru_cache(maxsize=32)
def _program(setup: _Setup):
  """The program of one model: `[num_dampings, num_train, num_targets]`."""

  def one(flat, mask, key, *data):
    inputs, labels, target_inputs, target_labels, dampings = data
    project = _projector(setup, key, len(flat), flat.dtype)

    def features(read):
      def batch(some_inputs, some_labels):
        rows = gradients.of_examples(
            setup.model, flat, some_inputs, some_labels, read
        )
        return project(gradients.written_out(rows))

      return batch

    read = _prediction if setup.is_regression else soft_margin.log_odds
    size = setup.example_batch
    phi = gradients.in_batches(features(read), (inputs, labels), size)
    targets = gradients.in_batches(
        features(setup.compute), (target_inputs, target_labels), size
    )
    outputs = gradients.in_batches(
        lambda x, y: read(trained_lib.logits(setup.model, flat, x), y),
        (inputs, labels),
        size,
    )
    missing = (
        labels - outputs if setup.is_regression else jax.nn.sigmoid(-outputs)
    )
    bend = jnp.ones_like(outputs)
    if setup.curvature == 'margin' and not setup.is_regression:
      bend = missing * (1 - missing)
    curved = phi * jnp.sqrt(bend * mask)[:, None]
    values, vectors = jnp.linalg.eigh(curved.T @ curved)
    values = jnp.maximum(values, 0)
    mus = dampings * jnp.sum(values) / jnp.sum(mask)
    mus = jnp.maximum(mus, jnp.finfo(mus.dtype).tiny ** 0.5)
    left = (phi * missing[:, None]) @ vectors
    right = targets @ vectors

    def at(mu):
      return (left / (values + mu)[None]) @ right.T

    return jax.lax.map(at, mus)

  return jax.jit(one)


def _prediction(logits, labels):
  del labels
  return logits[:, 0]
