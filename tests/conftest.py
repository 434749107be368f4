"""What runs around the tests of every file."""

import contextlib
import functools
import gc
import importlib
import os
import pathlib
from typing import Any
from unittest import mock

import jax
import pytest

# Files of the most seconds first: no core waits at the end for one of them.
_LONGEST = (
    'experiments/colabs_test.py',
    'experiments/crash_study_test.py',
    'experiments/binaries_test.py',
    'ray_collection_test.py',
    'experiments/directions_test.py',
    'solvers/sharded_test.py',
    'experiments/modelpred_test.py',
    'modelpred/predictor_test.py',
    'models/resnet_test.py',
    'training/ensemble_test.py',
    'training/convex_test.py',
    'regressors/distributed_test.py',
    'experiments/attributors_test.py',
    'experiments/collect_outcomes_test.py',
    'experiments/remote_test.py',
    'experiments/processes_test.py',
    'solvers/tiles_test.py',
    'solvers/direct_test.py',
    'modelpred/set_functions_test.py',
    'training/exact_test.py',
    'experiments/shapley_study_test.py',
    'experiments/expressivity_test.py',
)

# Rooms whose programs run for a moment: code is made for them, and for the
# binaries they start, without LLVM's optimizations and without XLA's emitters
# of fusions, which takes a third of the time. Rooms that promise bits or
# float32's accuracy (training, solvers, collections) are tested as they run.
_UNOPTIMIZED = (
    'analysis',
    'applications',
    'attributors',
    'experiments',
    'interop',
    'modelpred',
    'regressors',
    'reports',
)
# Files of these rooms that train for longer: with some of the optimizations.
_TRAINING = ('experiments/colabs_test.py', 'experiments/crash_study_test.py')
# And longest: with all of them.
_OPTIMIZED = ('experiments/directions_test.py',)
_EMITTERS = 'xla_cpu_use_fusion_emitters'
_LEVEL = 'xla_backend_optimization_level'


def pytest_collection_modifyitems(items):
  """Starts with the longest files."""
  folder = pathlib.Path(__file__).parent
  places = {folder / name: place for place, name in enumerate(_LONGEST)}
  items.sort(key=lambda item: places.get(item.path, len(places)))


@functools.cache
def _can_set_options() -> bool:
  """Whether this version of XLA has the options, and JAX a place for them."""
  options = {_EMITTERS: False, _LEVEL: 1}
  try:
    jax.jit(lambda: 0, compiler_options=options)()
  except jax.errors.JaxRuntimeError:
    return False
  return hasattr(_compiler(), 'get_compile_options')


def _compiler() -> Any:
  """JAX's own module: there is no public setting for all programs."""
  try:
    return importlib.import_module('jax._src.compiler')
  except ImportError:
    return None


@contextlib.contextmanager
def _compiled_with(options):
  """Compiles all programs with options, here and in processes started."""
  compiler = _compiler()
  get = compiler.get_compile_options

  def get_more(*args, **kwargs):
    made = get(*args, **kwargs)
    made.env_option_overrides = [*made.env_option_overrides, *options.items()]
    return made

  flags = [os.environ.get('XLA_FLAGS', '')]
  flags += [f'--{name}={str(value).lower()}' for name, value in options.items()]
  with (
      mock.patch.object(compiler, 'get_compile_options', get_more),
      mock.patch.dict(os.environ, XLA_FLAGS=' '.join(flags).strip()),
  ):
    yield


@contextlib.contextmanager
def _compiled_without_optimizations():
  """The same without LLVM's optimizations."""
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', True)
  try:
    with mock.patch.dict(os.environ, JAX_DISABLE_MOST_OPTIMIZATIONS='1'):
      yield
  finally:
    jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture(autouse=True, scope='module')
def _compile_quickly(request):
  """Compiles the programs of some rooms in less time."""
  file = request.path.relative_to(pathlib.Path(__file__).parent)
  with contextlib.ExitStack() as stack:
    as_it_runs = file.as_posix() in _OPTIMIZED
    if file.parts[0] in _UNOPTIMIZED and not as_it_runs:
      options = {_EMITTERS: False}
      if file.as_posix() in _TRAINING:
        options[_LEVEL] = 1
      else:
        stack.enter_context(_compiled_without_optimizations())
      if _can_set_options():
        stack.enter_context(_compiled_with(options))
    yield


@pytest.fixture(autouse=True, scope='module')
def _forget_programs():
  """Lets compiled programs go after each file.

  Each maps memory of its own, and a process may have 65,530 maps (Linux's
  default): the programs of the whole suite are more than that.
  """
  yield
  jax.clear_caches()
  gc.collect()
