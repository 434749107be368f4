r"""Gradients of each example by the parameters, as factors where layers are dense.

A dense layer's gradient is an outer product of what went in and what came back,
so the inner product of two gradients is a sum over layers of

  (a . a') (b . b')

which needs no gradient written out: for an MLP 64-64-10 it takes a thirtieth of
the work. `Rows` holds such factors; a model of other layers has one pair, the
gradients themselves and ones.
"""

from collections.abc import Callable
import contextlib
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm.attributors import trained as trained_lib
from jdm.models import dense as dense_lib
from jdm.training import sgd

# `[num, fan_in]` and `[num, fan_out]` of each layer.
Rows = tuple[tuple[jax.Array, jax.Array], ...]
Read = Callable[[jax.Array, jax.Array], jax.Array]
_BATCH = 64  # Examples at once, where gradients are written out.


def in_batches(function, arrays, size: int):
  """`function` over batches of the first axis, padded with the first row.

  Args:
    function: of a batch of each array, of examples one by one.
    arrays: `[num, ...]` each.
    size: of a batch.
  """
  num = len(arrays[0])
  count = -(-num // size)
  place = np.arange(count * size).reshape(count, size)
  place = jnp.asarray(np.where(place < num, place, 0))
  found = lax.map(lambda rows: function(*(a[rows] for a in arrays)), place)
  return found.reshape(count * size, *found.shape[2:])[:num]


def inner(first: Rows, second: Rows) -> jax.Array:
  """Inner products `[num_first, num_second]` of gradients."""
  products = [(a @ c.T) * (b @ d.T) for (a, b), (c, d) in zip(first, second)]
  return sum(products[1:], products[0])


def squares(rows: Rows) -> jax.Array:
  """Squared lengths `[num]` of gradients."""
  parts = [jnp.sum(a * a, axis=1) * jnp.sum(b * b, axis=1) for a, b in rows]
  return sum(parts[1:], parts[0])


def scaled(rows: Rows, factors: jax.Array) -> Rows:
  """Gradients times numbers `[num]`."""
  return tuple((a, b * factors[:, None]) for a, b in rows)


def written_out(rows: Rows) -> jax.Array:
  """Gradients as `[num, num_parameters]`, in one order of parameters."""
  parts = [(b[:, :, None] * a[:, None, :]).reshape(len(a), -1) for a, b in rows]
  return jnp.concatenate(parts, axis=1)


def of_examples(
    model: models.Model,
    flat: jax.Array,
    inputs: jax.Array,
    labels: jax.Array,
    read: Read,
    *,
    factored: bool = True,
) -> Rows:
  """Gradients of `read(logits, labels) [num]`, one an example.

  Args:
    model: without a state; an example's logits depend on that example alone.
    flat: `[num_parameters]`.
    inputs: `[num, ...]`.
    labels: `[num]`.
    read: what is differentiated.
    factored: whether factors may be used; without, parameters are in the order
      of `flat`.
  """
  layers = _layers(model, inputs.shape[1:]) if factored else None
  if layers is None:
    return (
        (
            _written(model, flat, inputs, labels, read),
            jnp.ones((len(labels), 1), flat.dtype),
        ),
    )
  taps = [jnp.zeros((len(inputs), out), flat.dtype) for _, out, _ in layers]

  def total(taps):
    logits, seen = _tapped(model, flat, inputs, taps)
    return jnp.sum(read(logits, labels)), seen

  back, seen = jax.grad(total, has_aux=True)(taps)
  return _paired(layers, seen, back)


def of_logits(
    model: models.Model,
    flat: jax.Array,
    inputs: jax.Array,
    mix: Callable[[jax.Array], jax.Array],
    *,
    factored: bool = True,
) -> Rows:
  """Gradients of mixtures of logits, `[num * num_mixtures]` of them.

  Args:
    model: as of `of_examples`.
    flat: likewise.
    inputs: likewise.
    mix: from logits `[num, num_classes]` to `[num, num_classes,
      num_mixtures]`, the weights of the logits (held fixed) in each mixture.
    factored: likewise.
  """
  weights = mix(trained_lib.logits(model, flat, inputs))
  parts = [
      of_examples(
          model,
          flat,
          inputs,
          weights[:, :, number],
          _mixture,
          factored=factored,
      )
      for number in range(weights.shape[2])
  ]
  return tuple(
      (
          jnp.concatenate([into for into, _ in layer]),
          jnp.concatenate([slope for _, slope in layer]),
      )
      for layer in zip(*parts)
  )


def _mixture(logits, weights):
  return jnp.sum(logits * lax.stop_gradient(weights), axis=-1)


def losses(config: sgd.Config | None) -> Read:
  """The training loss of each example, without penalties."""
  smoothing = config.label_smoothing if config else 0.0
  return _Losses(smoothing)


class _Losses:
  """Hashable by value, so that programs can be cached."""

  def __init__(self, smoothing: float):
    self._smoothing = smoothing

  def __call__(self, logits, labels):
    return sgd.losses(logits, labels, self._smoothing)

  def __eq__(self, other):
    return isinstance(other, _Losses) and self._smoothing == other._smoothing

  def __hash__(self):
    return hash(self._smoothing)


def _written(model, flat, inputs, labels, read) -> jax.Array:
  """Gradients `[num, num_parameters]` in the order of `flat`."""

  def one(example):
    single, label = example

    def value(flat):
      return read(trained_lib.logits(model, flat, single[None]), label[None])[0]

    return jax.grad(value)(flat)

  return lax.map(one, (inputs, labels), batch_size=min(_BATCH, len(labels)))


def _is_dense(module: Any) -> bool:
  return isinstance(module, (dense_lib.BatchLastDense, nn.Dense))


def _tapped(model, flat, inputs, taps) -> tuple[jax.Array, list[jax.Array]]:
  """Logits, with a tap added to each dense layer's output, and its input."""
  seen: list[jax.Array] = []

  def intercept(call, args, kwargs, context):
    if not _is_dense(context.module) or context.method_name != '__call__':
      return call(*args, **kwargs)
    is_last = isinstance(context.module, dense_lib.BatchLastDense)
    tap = taps[len(seen)]
    seen.append(args[0].T if is_last else args[0])
    return call(*args, **kwargs) + (tap.T if is_last else tap)

  with nn.intercept_methods(intercept):
    logits = trained_lib.logits(model, flat, inputs)
  return logits, seen


def _layers(
    model: models.Model, shape: tuple[int, ...]
) -> list[tuple[int, int, bool]] | None:
  """Fan-in, fan-out and whether there is a bias, of a model of dense layers.

  None where parameters are anywhere else.
  """
  found: list[tuple[int, int, bool]] = []
  is_flat = True

  def intercept(call, args, kwargs, context):
    nonlocal is_flat
    output = call(*args, **kwargs)
    if _is_dense(context.module) and context.method_name == '__call__':
      is_flat &= args[0].ndim == 2
      is_last = isinstance(context.module, dense_lib.BatchLastDense)
      axis = 0 if is_last else -1
      has_bias = is_last or context.module.use_bias
      found.append((args[0].shape[axis], output.shape[axis], has_bias))
    return output

  params, state = jax.eval_shape(model.init, jax.random.key(0))
  size = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
  example = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
  with nn.intercept_methods(intercept), contextlib.suppress(AttributeError):
    jax.eval_shape(
        lambda p, x: model.apply(p, state, x, False)[0], params, example
    )
  covered = sum(out * (into + bias) for into, out, bias in found)
  return found if found and is_flat and covered == size else None


def _paired(layers, seen, back) -> Rows:
  pairs = []
  for (_, _, has_bias), into, slope in zip(layers, seen, back):
    if has_bias:
      into = jnp.concatenate(
          [into, jnp.ones((len(into), 1), into.dtype)], axis=1
      )
    pairs.append((into, slope))
  return tuple(pairs)
