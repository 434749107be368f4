"""Similarity of what models see of a training example and of a target."""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jdm.attributors import over_models
from jdm.attributors import scores as scores_lib
from jdm.attributors import trained as trained_lib

_NAME = 'representation'
LAYERS = ('input', 'penultimate')
SIMILARITIES = ('cosine', 'product')


def scores(
    trained: trained_lib.Trained,
    *,
    layer: str = 'penultimate',
    similarity: str = 'cosine',
    signed: bool = True,
    devices: Sequence[jax.Device] | None = None,
    progress: over_models.Progress | None = None,
) -> scores_lib.Scores:
  """Compares representations, the mean over models.

  Args:
    trained: models of a pool.
    layer: 'penultimate', or 'input', which needs no model.
    similarity: 'cosine' or 'product'.
    signed: takes the similarity to an example of another label as harm, as it
      is for a model that goes by likeness; of regression nothing is known.
    devices: see `over_models.mean`.
    progress: likewise.

  Returns:
    The scores, as similarities: their scale is not that of outcomes.

  Raises:
    ValueError: on unknown options, or if the model has no penultimate layer.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, §3,
    where it is a baseline.
  """
  for value, known in ((layer, LAYERS), (similarity, SIMILARITIES)):
    if value not in known:
      raise ValueError(
          f'`{_NAME}` expects one of {list(known)}, got {value!r}.'
      )
  arrays = trained.inputs, trained.target_inputs
  if layer == 'input':
    first, second = (jnp.reshape(jnp.asarray(a), (len(a), -1)) for a in arrays)
    values = np.asarray(_compare(first, second, similarity))
  elif trained.model.features is None:
    raise ValueError(
        f"`{_NAME}` expects a model with `features`; use layer='input'."
    )
  else:
    program = _program(trained.model, similarity)
    rows = [(row.astype(np.float32),) for row in trained.parameters]
    values = over_models.mean(
        program,
        rows,
        arrays,
        counted=trained.counted(),
        devices=devices,
        progress=progress,
    )
  if signed and not trained.is_regression:
    same = trained.labels[:, None] == trained.target_labels[None]
    values = np.where(same, values, -values)
  return scores_lib.Scores(
      values=values.astype(np.float32),
      method=_NAME,
      units='similarity',
      num_models=0 if layer == 'input' else trained.num_models,
      options={'layer': layer, 'similarity': similarity, 'signed': signed},
  )


@functools.lru_cache(maxsize=32)
def _program(model, similarity):
  def one(flat, inputs, target_inputs):
    params = trained_lib.unravel(model)(flat)
    first = model.features(params, {}, inputs)
    second = model.features(params, {}, target_inputs)
    return _compare(first, second, similarity)

  return jax.jit(one)


def _compare(first, second, similarity: str):
  if similarity == 'cosine':
    first, second = (
        rows / (jnp.linalg.norm(rows, axis=1, keepdims=True) + 1e-12)
        for rows in (first, second)
    )
  return first @ second.T
