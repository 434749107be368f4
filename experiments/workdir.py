"""The steps that several binaries take in a working directory.

WORKDIR/store                    the pool
WORKDIR/heldout                  models that no fit sees, replicate 0
WORKDIR/heldout/replicate_R      the same subsets, trained again
WORKDIR/verify/HASH              retrained counterfactuals
WORKDIR/datamodels_REGRESSOR_TARGETS.npz
"""

from collections.abc import Callable, Sequence
import glob
import os
import pathlib
from typing import Any

import numpy as np

from experiments import binary
from experiments import fitting
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import locations
from jdm import recipe as recipe_lib
from jdm import store as store_lib

FEWEST_MODELS = 4  # For a fit with validation.
_NOT_REGRESSED = ('logits', 'parameters')


def first_outcome(store: store_lib.OutcomeStore) -> str:
  """The outcome that is fitted where none is named: the recipe's first."""
  names = regressed(store.recipe['outcomes'])
  if not names:
    raise ValueError(
        f'the store at {store.path} has no outcome with one number a target;'
        f' it has {list(store.outcomes)}. Name one that follows from them, such'
        ' as --outcome=soft_margin.'
    )
  return names[0]


def regressed(outcomes: Sequence[str]) -> list[str]:
  """Of some outcomes, those with one number a target, which can be fitted."""
  return [name for name in outcomes if name not in _NOT_REGRESSED]


def stores(workdir: str) -> list[str]:
  """Paths of all stores of a working directory."""
  patterns = ('store', 'heldout', 'heldout/replicate_*', 'verify/*')
  if locations.is_remote(workdir):
    files = [pathlib.PurePosixPath('/', f) for f in locations.names(workdir)]
    found = [
        [
            workdir.rstrip('/') + str(f.parent)
            for f in files
            if f.match(f'/{p}/zarr.json')
        ]
        for p in patterns
    ]
  else:
    found = [glob.glob(os.path.join(workdir, pattern)) for pattern in patterns]
  return [p for paths in found for p in sorted(paths) if store_lib.exists(p)]


def load_datamodels(
    workdir: str, path: str | None, *, targets: str = 'test'
) -> datamodels_lib.Datamodels:
  """Loads a file, by default that of the LASSO on these targets.

  Args:
    workdir: the pool that the datamodels are to be compared with.
    path: the file; None stands for `WORKDIR/datamodels_lasso_TARGETS.npz`.
    targets: 'test' or 'train'.

  Raises:
    ValueError: if it is not there, holds other targets (a train target is
      compared only with models that did not train on it), or was fitted to
      another dataset than that of `WORKDIR/store`, as far as it says to which.
      Another model or seed is fine: datamodels may be tried on other pools.
  """
  path = path or os.path.join(workdir, f'datamodels_lasso_{targets}.npz')
  if not locations.exists(path):
    option = '' if targets == 'test' else f' --targets={targets}'
    raise ValueError(
        f'there are no datamodels at {path}; run'
        f' experiments.fit_datamodels{option} first, or pass --datamodels=FILE'
    )
  fitted = datamodels_lib.load(path)
  found = 'train' if fitted.outcome.endswith('_train') else 'test'
  if found != targets:
    raise ValueError(
        f'{path} holds datamodels of {found} targets, and this takes'
        f' {targets} targets; train targets are compared only with models that'
        ' did not train on the target'
    )
  store_path = os.path.join(workdir, 'store')
  if store_lib.exists(store_path):
    _check_dataset(path, fitted, store_lib.OutcomeStore.open(store_path))
  return fitted


def _check_dataset(
    path: str,
    fitted: datamodels_lib.Datamodels,
    store: store_lib.OutcomeStore,
) -> None:
  """Refuses datamodels that were fitted to other examples."""
  made = dict(fitted.meta)
  theirs, ours = made.get('fingerprint'), store.recipe.get('fingerprint')
  if theirs and ours and theirs != ours:
    raise ValueError(
        f'{path} was fitted to dataset {made.get("dataset")!r} (fingerprint'
        f' {str(theirs)[:12]}), and {store.path} is of dataset'
        f' {store.recipe.get("dataset")!r} (fingerprint {ours[:12]}): weights'
        ' of other examples. Fit to this store, or choose the workdir of the file.'
    )
  if fitted.num_train != store.num_train:
    raise ValueError(
        f'{path} was fitted to {fitted.num_train} training examples, and'
        f' {store.path} has {store.num_train}'
    )


def fit(
    store: store_lib.OutcomeStore,
    rows: np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> datamodels_lib.Datamodels:
  """Fits one regressor to some rows of a pool; options as `fitting.read`.

  Raises:
    ValueError: if the outcome is not there for these targets, or as the
      regressor does.
  """
  return fitting.read(store, rows, **options).fit(progress)


def collect_heldout(
    workdir: str, pool: recipe_lib.Pool, num_heldout: int, replicates: int
) -> list[store_lib.OutcomeStore]:
  """Trains what is missing of the held-out models; one store a replicate."""
  stores = []
  for replicate in range(replicates):
    heldout = recipe_lib.heldout(pool, replicate)
    path = os.path.join(workdir, 'heldout')
    if replicate:
      path = os.path.join(path, f'replicate_{replicate}')
    binary.print_estimate(heldout, path, num_heldout)
    stores.append(
        collection.collect(
            heldout,
            path,
            num_models=num_heldout,
            progress=binary.Progress(f'held-out models {replicate + 1}'),
        )
    )
  return stores


def read_heldout(
    stores: list[store_lib.OutcomeStore], outcome: str, num_heldout: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Masks, outcomes `[replicates, num_heldout, num_targets]`, and model ids.

  A model that diverged in any replicate is left out of all.
  """
  rows = np.arange(num_heldout)
  for store in stores:
    rows = np.intersect1d(rows, store.completed())
  outcomes = np.stack(
      [collection.read_outcome(store, outcome, rows) for store in stores]
  )
  ids = rows + stores[0].recipe['first_id']
  return stores[0].read('masks', rows), outcomes, ids
