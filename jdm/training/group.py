"""How many models share one vmap: a rule, so that bits do not move.

The width of a vmap decides which machine code runs, and with it the last bits
of every result. So the group size is a pure function of the recipe and the
kind of device, never of the number of devices, the chunk or the load.
"""

from collections.abc import Callable, Sequence
import time
from typing import Any

import jax
from jax.extend import core as jax_core
import jax.numpy as jnp

from jdm.models import model as model_lib
from jdm.training import memory

# Working set of a group. On a CPU the second-level cache of a core; on an
# accelerator enough to fill it, well below its memory.
_BUDGET_BYTES = {'cpu': 2 << 20}
_ACCELERATOR_BYTES = 256 << 20
_LARGEST = {'cpu': 64}
_LARGEST_ON_ACCELERATOR = 1024
# Parameters, momentum and gradient.
_COPIES = 3


def bytes_of_model(
    model: model_lib.Model,
    input_shape: tuple[int, ...],
    batch_size: int,
) -> int:
  """Estimates the bytes one model touches in a training step.

  Args:
    model: the network.
    input_shape: shape of one input.
    batch_size: examples a step.

  Returns:
    Bytes of parameters, momentum, gradient, a batch and all activations.
  """
  params, state = jax.eval_shape(model.init, jax.random.key(0))
  batch = jax.ShapeDtypeStruct((batch_size, *input_shape), jnp.float32)
  forward = jax.make_jaxpr(lambda p, s, x: model.apply(p, s, x, True)[0])
  activations = _intermediate_bytes(forward(params, state, batch).jaxpr)
  weights = sum(_bytes(leaf) for leaf in jax.tree.leaves((params, state)))
  return _COPIES * weights + _bytes(batch) + activations


def size(num_bytes: int, platform: str) -> int:
  """The group size for models of `num_bytes` on 'cpu', 'gpu' or 'tpu'.

  The power of two nearest to what fits the budget, from 1 to 64 on a CPU.
  """
  budget = _BUDGET_BYTES.get(platform, _ACCELERATOR_BYTES)
  largest = _LARGEST.get(platform, _LARGEST_ON_ACCELERATOR)
  group = 1
  while group < largest and 1.5 * group * num_bytes <= budget:
    group *= 2
  return group


def fastest(
    run: Callable[[Any], int], candidates: Sequence[Any] = (1, 4, 16, 64, 256)
) -> tuple[Any, dict[Any, float]]:
  """Times candidates once; for users who ask for `--group=auto` and the like.

  Args:
    run: trains a few models by a candidate, waits for them and returns how many
      they were (on each device).
    candidates: group sizes to try, or any other choice.

  Returns:
    The fastest candidate, and the seconds a model took for each that fits into
    the device's memory.

  Raises:
    DoesNotFitError: if none does.
  """
  seconds = {}
  for candidate in candidates:
    try:
      run(candidate)  # Compiles.
    except memory.DoesNotFitError:
      if candidate == candidates[-1] and not seconds:
        raise
      continue
    start = time.perf_counter()
    num_models = run(candidate)
    seconds[candidate] = (time.perf_counter() - start) / num_models
  return min(seconds, key=seconds.__getitem__), seconds


def _bytes(value: Any) -> int:
  return value.size * value.dtype.itemsize


def _intermediate_bytes(jaxpr: Any) -> int:
  total = 0
  for equation in jaxpr.eqns:
    inner = [
        getattr(value, 'jaxpr', value)
        for value in equation.params.values()
        if isinstance(value, (jax_core.Jaxpr, jax_core.ClosedJaxpr))
    ]
    if inner:
      total += sum(_intermediate_bytes(nested) for nested in inner)
    else:
      total += sum(_bytes(output.aval) for output in equation.outvars)
  return total
