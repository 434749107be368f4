"""Compiling for tests: half the time, and programs that run slowly."""

import functools

import jax

jit = functools.partial(
    jax.jit, compiler_options={'xla_backend_optimization_level': 0}
)
