"""What runs around the tests of every file."""

import gc
import pathlib

import jax
import pytest

# Files of the most seconds first: no core waits at the end for one of them.
_LONGEST = (
    'experiments/colabs_test.py',
    'experiments/binaries_test.py',
    'experiments/modelpred_test.py',
    'experiments/crash_study_test.py',
    'ray_collection_test.py',
    'experiments/directions_test.py',
    'experiments/collect_outcomes_test.py',
    'modelpred/predictor_test.py',
    'experiments/shapley_study_test.py',
    'experiments/processes_test.py',
    'models/resnet_test.py',
    'experiments/remote_test.py',
    'experiments/predictors_test.py',
    'training/ensemble_test.py',
    'training/convex_test.py',
    'modelpred/set_functions_test.py',
    'training/exact_test.py',
    'experiments/expressivity_test.py',
)

# Rooms whose programs run for a moment: code is made for them without LLVM's
# optimizations, which takes a quarter less time in all. Rooms that promise bits
# or float32's accuracy (training, solvers, collections) are tested as they run.
_UNOPTIMIZED = (
    'analysis',
    'applications',
    'attributors',
    'interop',
    'modelpred',
    'regressors',
    'reports',
)


def pytest_collection_modifyitems(items):
  """Starts with the longest files."""
  folder = pathlib.Path(__file__).parent
  places = {folder / name: place for place, name in enumerate(_LONGEST)}
  items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(autouse=True, scope='module')
def _compile_quickly(request):
  """Compiles the programs of some rooms without optimizing them."""
  before = jax.config.read('jax_disable_most_optimizations')
  room = request.path.relative_to(pathlib.Path(__file__).parent).parts[0]
  if room in _UNOPTIMIZED:
    jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture(autouse=True, scope='module')
def _forget_programs():
  """Lets compiled programs go after each file.

  Each maps memory of its own, and a process may have 65,530 maps (Linux's
  default): the programs of the whole suite are more than that.
  """
  yield
  jax.clear_caches()
  gc.collect()
