"""The bytes that a program needs, from its jaxpr, and that a device has.

An estimate made before compiling, so that a group that cannot fit is refused in
a second and with advice, not by the compiler after minutes.
"""

from collections.abc import Iterator
import os
from typing import Any

import jax
from jax.extend import core as jax_core

# What XLA computes where it is read, without writing it to memory.
_VIEWS = ('broadcast_in_dim', 'reshape', 'squeeze', 'slice')


class DoesNotFitError(ValueError):
  """A group of models needs more memory than a device has."""


def peak_bytes(jaxpr: jax_core.Jaxpr) -> int:
  """Estimates the most bytes that a program holds at once.

  Its arguments, and the largest set of arrays that are computed and read again
  later; of a training step these are parameters, momentum and gradient,
  the activations and patches that are kept for the gradient, and outcomes.
  Between half and twice what XLA plans for linear models, perceptrons and
  convolutional networks.

  Args:
    jaxpr: of the program of one device.
  """
  arguments = sum(_bytes(variable) for variable in jaxpr.invars)
  constants = sum(_bytes(variable) for variable in jaxpr.constvars)
  return arguments + constants + _temporary_bytes(jaxpr)


def device_bytes(device: jax.Device, num_devices: int = 1) -> int:
  """The memory of a device.

  Args:
    device: what would run.
    num_devices: local devices that share the memory of the host, if the device
      does not know its own. All of the host's memory counts, not what is free
      now: files that the system caches would count as used.
  """
  stats = device.memory_stats() or {}
  if 'bytes_limit' in stats:
    return int(stats['bytes_limit'])
  host = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  return host // num_devices


def device_jaxpr(jaxpr: jax_core.Jaxpr) -> jax_core.Jaxpr:
  """The part of a program that `shard_map` runs on each device."""
  (equation,) = (e for e in jaxpr.eqns if e.primitive.name == 'shard_map')
  return next(_nested(equation))


def complaint(
    needed: int, there: int, device: jax.Device, group: int, fits: int | None
) -> str:
  """Says what was needed, what there is, and which group would fit.

  Args:
    needed: bytes for the whole group.
    there: bytes of the device.
    device: which one.
    group: models in one vmap.
    fits: a group that would fit; None if not even one model does.
  """
  advice = f'pass --group={fits}'
  if fits is None:
    advice = (
        'not even one model fits: lower --batch_size, or take fewer examples or'
        ' a smaller model'
    )
  return (
      f'training {group} models at once needs about {needed / 1e9:.3g} GB, and'
      f' {device} has {there / 1e9:.3g} GB; {advice}'
  )


def _temporary_bytes(jaxpr: jax_core.Jaxpr) -> int:
  """The most bytes of what the equations make, in their order."""
  source: dict[Any, Any] = {}  # Of each view, the array that it shows.
  last_use: dict[Any, int] = {}

  def note(atoms, number):
    for atom in atoms:
      if _is_array(atom):
        last_use[source.get(atom, atom)] = number

  for number, equation in enumerate(jaxpr.eqns):
    note(equation.invars, number)
    if equation.primitive.name in _VIEWS:
      (operand, *_), (view,) = equation.invars, equation.outvars
      source[view] = (
          source.get(operand, operand) if _is_array(operand) else view
      )
  note(jaxpr.outvars, len(jaxpr.eqns))

  held: dict[Any, int] = {}
  peak = 0
  for number, equation in enumerate(jaxpr.eqns):
    ends = [variable for variable in held if last_use[variable] == number]
    made = {v: _bytes(v) for v in equation.outvars if v not in source}
    here = sum(made.values())
    inside = max(map(_temporary_bytes, _nested(equation)), default=0)
    if equation.primitive.name in ('scan', 'while'):
      # The state that goes round takes the place of the one it began with.
      here = inside + max(here - sum(held[v] for v in ends), 0)
    peak = max(peak, sum(held.values()) + max(inside, here))
    held.update((v, size) for v, size in made.items() if v in last_use)
    for variable in ends:
      del held[variable]
  return peak


def _is_array(atom: Any) -> bool:
  return not isinstance(atom, jax_core.Literal)


def _nested(equation: Any) -> Iterator[jax_core.Jaxpr]:
  for value in equation.params.values():
    for inner in value if isinstance(value, (tuple, list)) else (value,):
      if isinstance(inner, jax_core.ClosedJaxpr):
        yield inner.jaxpr
      elif isinstance(inner, jax_core.Jaxpr):
        yield inner


def _bytes(variable: Any) -> int:
  aval = variable.aval
  if not hasattr(aval, 'dtype'):
    return 0
  return aval.size * aval.dtype.itemsize
