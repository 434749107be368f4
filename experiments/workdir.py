"""The steps that several binaries take in a working directory.

WORKDIR/store                    the pool
WORKDIR/heldout                  models that no fit sees, replicate 0
WORKDIR/heldout/replicate_R      the same subsets, trained again
WORKDIR/verify/HASH              retrained counterfactuals
WORKDIR/datamodels_REGRESSOR_TARGETS.npz
"""

from collections.abc import Callable
import glob
import os
from typing import Any

import numpy as np

from experiments import binary
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import recipe as recipe_lib
from jdm import regressors
from jdm import store as store_lib

_NOT_REGRESSED = ('logits', 'parameters')


def first_outcome(store: store_lib.OutcomeStore) -> str:
  """The outcome that is fitted where none is named: the recipe's first."""
  names = [n for n in store.recipe['outcomes'] if n not in _NOT_REGRESSED]
  if not names:
    raise ValueError(
        f'the store at {store.path} has no outcome with one number a target;'
        f' it has {list(store.outcomes)}'
    )
  return names[0]


def stores(workdir: str) -> list[str]:
  """Paths of all stores of a working directory."""
  patterns = ('store', 'heldout', 'heldout/replicate_*', 'verify/*')
  found = (glob.glob(os.path.join(workdir, pattern)) for pattern in patterns)
  return [p for paths in found for p in sorted(paths) if store_lib.exists(p)]


def load_datamodels(
    workdir: str, path: str | None
) -> datamodels_lib.Datamodels:
  """Loads a file, by default that of the LASSO on test targets.

  Raises:
    ValueError: if it is not there, or holds train targets: scoring those takes
      other models for each target, those that did not train on it.
  """
  path = path or os.path.join(workdir, 'datamodels_lasso_test.npz')
  if not os.path.exists(path):
    raise ValueError(
        f'there are no datamodels at {path}; run experiments.fit_datamodels'
        ' first, or pass --datamodels=FILE'
    )
  fitted = datamodels_lib.load(path)
  if fitted.outcome.endswith('_train'):
    raise ValueError(
        f'{path} holds datamodels of train targets, which are compared only'
        ' with models that did not train on the target; this command takes'
        ' test targets'
    )
  return fitted


def fit(
    store: store_lib.OutcomeStore,
    rows: np.ndarray,
    *,
    regressor: str = 'lasso',
    outcome: str,
    targets: str = 'test',
    num_val: int | None = None,
    tol: float = 1e-4,
    progress: Callable[[int, int], None] | None = None,
) -> datamodels_lib.Datamodels:
  """Fits one regressor to some rows of a pool.

  Raises:
    ValueError: if the outcome is not there for these targets, or as the
      regressor does.
  """
  fit_function = regressors.get(regressor)
  name = outcome if targets == 'test' else f'{outcome}_train'
  if name not in store.outcomes:
    raise ValueError(
        f'the store at {store.path} has no {name!r}; it has'
        f' {list(store.outcomes)}. Collect with --outcomes={outcome}'
        f' --targets={targets}.'
    )
  options: dict[str, Any] = {}
  if regressor == 'lasso':
    options.update(tol=tol, progress=progress)
  if progress:
    progress(0, store.outcomes[name][0][0])
  if targets == 'train':
    if regressor != 'lasso':
      raise ValueError(
          'train targets need --regressor=lasso, which leaves out the models'
          f' that trained on a target; got {regressor!r}'
      )
    options['own_ids'] = np.arange(store.num_train)
  return fit_function(
      store.read('masks', rows),
      store.read(name, rows),
      num_val=num_val,
      model_ids=rows + store.recipe['first_id'],
      outcome=name,
      alpha=store.recipe.get('sampler_options', {}).get('alpha'),
      **options,
  )


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
  outcomes = np.stack([store.read(outcome, rows) for store in stores])
  ids = rows + stores[0].recipe['first_id']
  return stores[0].read('masks', rows), outcomes, ids
