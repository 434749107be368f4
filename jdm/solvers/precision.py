"""float64 inside a scope, so that importing jdm changes nothing for its host."""

import contextlib

import jax
from jax import experimental


def float64() -> contextlib.AbstractContextManager:
  """Opens a scope, of this thread only, in which JAX arrays may be float64.

  Statistics and certificates need more than float32 holds. Outside the scope
  the caller's setting of `jax_enable_x64` is what it was.

  Returns:
    A context manager for a `with` statement.
  """
  # `jax.enable_x64` is absent before jax 0.8; its older home is gone in 0.10.
  home = jax if hasattr(jax, 'enable_x64') else experimental
  return getattr(home, 'enable_x64')(True)  # noqa: B009
