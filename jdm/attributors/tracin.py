"""TracIn: inner products of gradients along the training.

A step on example i moves the outcome of a target by minus its rate times the
product of both gradients; summed over the checkpoints of a training, each
standing for the passes since the one before, and averaged over models.
"""

from collections.abc import Sequence
import functools

import jax
import numpy as np

from jdm.attributors import gradients
from jdm.attributors import over_models
from jdm.attributors import scores as scores_lib
from jdm.attributors import trained as trained_lib

_NAME = 'tracin'


def scores(
    trained: trained_lib.Trained,
    *,
    only_trained: bool = False,
    example_batch: int = 512,
    devices: Sequence[jax.Device] | None = None,
    progress: over_models.Progress | None = None,
) -> scores_lib.Scores:
  """Computes TracIn scores.

  Args:
    trained: models with checkpoints, as `rebuild(..., epochs=...)` makes them.
    only_trained: averages over the models that trained on an example; by
      default over all.
    example_batch: examples whose gradients are held at once.
    devices: see `over_models.mean`.
    progress: likewise.

  Returns:
    The scores, in outcome units per inclusion (momentum and weight decay are
    left out of account).

  Raises:
    ValueError: if there are no checkpoints, or scores are not finite.

  References:
    Pruthi et al., `Estimating training data influence by tracing gradient
    descent <https://arxiv.org/abs/2002.08484>`_, 2020, §3.2 (TracInCP).
  """
  if trained.checkpoints is None or trained.rates is None:
    raise ValueError(
        '`tracin` needs checkpoints of the trainings, which this pool does not'
        ' have; `rebuild(store, rows, epochs=(2, 5, 10))` trains the models'
        ' again and keeps their parameters after these epochs.'
    )
  num_checkpoints = len(trained.checkpoints)
  program = _program(
      trained.model,
      trained.compute,
      gradients.losses(trained.config),
      min(example_batch, trained.num_train),
  )
  momentum = trained.config.momentum if trained.config else 0.0
  rates = trained.rates / (1 - momentum)
  share = np.ones(trained.masks.shape)
  if only_trained:
    share = trained.masks / np.maximum(trained.masks.mean(axis=0), 1e-12)[None]
  rows = [
      (
          trained.checkpoints[:, number].astype(np.float32),
          share[number].astype(np.float32),
      )
      for number in range(trained.num_models)
  ]
  data = (
      np.asarray(trained.inputs, np.float32),
      trained.labels,
      np.asarray(trained.target_inputs, np.float32),
      trained.target_labels,
      np.asarray(rates, np.float32),
  )
  found = over_models.mean(
      program,
      rows,
      data,
      counted=trained.counted(),
      devices=devices,
      progress=progress,
  )
  per_model = num_checkpoints * (trained.num_train + trained.num_targets)
  return scores_lib.Scores(
      values=found.astype(np.float32),
      method=_NAME,
      units='outcome units',
      num_models=trained.num_models,
      gradients=per_model * trained.num_models,
      options={
          'num_checkpoints': num_checkpoints,
          'only_trained': only_trained,
      },
  )


@functools.lru_cache(maxsize=32)
def _program(model, compute, loss, example_batch):
  """The program of one model: `[num_train, num_targets]`."""

  def one(path, share, *data):
    inputs, labels, target_inputs, target_labels, rates = data

    def at(checkpoint):
      flat, rate = checkpoint
      targets = gradients.of_examples(
          model, flat, target_inputs, target_labels, compute
      )

      def of_batch(some_inputs, some_labels):
        rows = gradients.of_examples(
            model, flat, some_inputs, some_labels, loss
        )
        return gradients.inner(rows, targets)

      products = gradients.in_batches(of_batch, (inputs, labels), example_batch)
      return -rate * products

    # One checkpoint at a time.
    def add(total, checkpoint):
      return total + at(checkpoint), None

    start = jax.numpy.zeros((len(labels), len(target_labels)), path.dtype)
    total, _ = jax.lax.scan(add, start, (path, rates))
    return total * share[:, None]

  return jax.jit(one)
