"""What runs around the tests of every file."""

import gc

import jax
import pytest


@pytest.fixture(autouse=True, scope='module')
def _forget_programs():
  """Lets compiled programs go after each file.

  Each maps memory of its own, and a process may have 65,530 maps (Linux's
  default): the programs of the whole suite are more than that.
  """
  yield
  jax.clear_caches()
  gc.collect()
