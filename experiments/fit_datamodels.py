r"""Fits one datamodel to every target of a pool.

  python -m experiments.fit_datamodels --workdir=runs/mlp

Reads `WORKDIR/store`, chooses each target's penalty on the last `--num_val`
completed models, fits again on all of them, and writes
`WORKDIR/datamodels_REGRESSOR_TARGETS.npz` and `fit.json`. Before that it solves
a few targets and prints about what all will cost, often within a factor of two;
`--dry_run` prints only that and writes nothing. On digits (1,500 train, 297
targets, two cores) the LASSO takes about 20 seconds on 2,000 linear models or
5,000 MLPs, most of them spent on compiling.

`--num_folds=5` chooses by cross-validation on all models instead (lasso and
elastic_net; `--rule=one_se` for sparser datamodels). When models were added to
the pool, `--start=WORKDIR/datamodels_lasso_test.npz` keeps the penalties of an
earlier fit and starts at its weights, or with `--num_val` or `--num_folds` tries
the penalties around them.

`--regressor=informed` starts from scores of an attributor, made of the first
`--num_prior` models of the pool (`--prior=influence`), or from a user's file:

  python -m experiments.fit_datamodels --workdir=runs/mlp --regressor=informed

All models fit; what is chosen is chosen by cross-validation over five folds, each
scored without its own models' part in the scores. `--targets=train` takes the
training examples as targets, each fitted to (and scored by) the models that did
not train on it.

`--distributed` fits the LASSO of test targets by several processes at once,
each of which starts this same command: models and targets are shared out, and
process 0 writes. Scripts are in `experiments/launch/`.
"""

from collections.abc import Callable
import dataclasses
import functools
import os
import time

from absl import flags
import numpy as np

from experiments import binary
from experiments import fitting
from experiments import priors
from experiments import processes
from experiments import workdir as workdir_lib
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import locations
from jdm import regressors
from jdm import store as store_lib
from jdm.regressors import distributed
from jdm.regressors import informed

_OUTCOME = flags.DEFINE_string(
    'outcome', None, 'Which outcome; by default the first of the store.'
)
_REGRESSOR = flags.DEFINE_string('regressor', 'lasso', 'Name of a regressor.')
_TARGETS = flags.DEFINE_enum(
    'targets',
    'test',
    ['test', 'train'],
    'Which targets. Train targets are fitted from the models that did not train'
    ' on them (lasso, elastic_net and informed).',
)
_NUM_VAL = flags.DEFINE_integer(
    'num_val', None, 'Validation models, the last ones; a fifth.'
)
_NUM_MODELS = flags.DEFINE_integer(
    'num_models', None, 'Uses only the first models, validation included.'
)
_NUM_FOLDS = flags.DEFINE_integer(
    'num_folds',
    None,
    'Chooses penalties by cross-validation over this many folds of all models,'
    ' instead of --num_val (lasso and elastic_net).',
)
_RULE = flags.DEFINE_enum(
    'rule',
    'min',
    ['min', 'one_se'],
    'Of the cross-validation: the lowest error, or the largest penalty within one'
    ' standard error of it.',
)
_L1_RATIO = flags.DEFINE_list(
    'l1_ratio',
    None,
    'Of --regressor=elastic_net: the share of the penalty that is l1, above 0, at'
    ' most 1. Of several, each target gets the best. By default 0.5.',
)
_START = flags.DEFINE_string(
    'start',
    None,
    'File of an earlier fit of the same targets, as before models were added:'
    ' keeps its penalties, or with --num_val or --num_folds tries those around'
    ' them (lasso and elastic_net).',
)
_TOL = flags.DEFINE_float(
    'tol', 1e-4, 'Duality gap, relative, of lasso and elastic_net.'
)
_DATAMODELS = flags.DEFINE_string(
    'datamodels',
    None,
    'File to write; by default WORKDIR/datamodels_REGRESSOR_TARGETS.npz. Its'
    ' summary lies beside it: fit.json, or FILE.json.',
)
_PRIOR = flags.DEFINE_string(
    'prior',
    'influence',
    'Scores that --regressor=informed starts from: influence, trak, tracin, or a'
    ' .npy file [num_train, num_targets].',
)
_NUM_PRIOR = flags.DEFINE_integer(
    'num_prior', 100, 'Models whose gradients make those scores.'
)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Prints the cost and stops.')


def main(workdir: str) -> None:
  """Fits, and writes the datamodels and a summary."""
  if not processes.wanted():
    store, outcome, path = _what(workdir)
    if _REGRESSOR.value in regressors.WITH_PRIOR:
      _check_informed()
      fit = functools.partial(_fit_informed, store, outcome)
      _fit(workdir, store, outcome, path, fit)
      return
    problem = fitting.read(
        store,
        _rows(store),
        regressor=_REGRESSOR.value,
        outcome=outcome,
        targets=_TARGETS.value,
        num_val=_NUM_VAL.value,
        tol=_TOL.value,
        num_folds=_NUM_FOLDS.value,
        rule=_RULE.value,
        l1_ratio=_l1_ratios(),
        start=_start(workdir),
    )
    print(f'{_REGRESSOR.value}: {fitting.estimate(problem)}')
    if not _DRY_RUN.value:
      _fit(workdir, store, outcome, path, problem.fit)
    return
  _check_distributed()
  with processes.connected(binary.complain) as writes:
    store, outcome, path = _what(workdir)
    fit = functools.partial(_fit_distributed, store, outcome)
    _fit(workdir, store, outcome, path, fit, writes=writes)


def _what(workdir: str) -> tuple[store_lib.OutcomeStore, str, str]:
  """The pool, the outcome that is fitted, and the file to write."""
  store = store_lib.OutcomeStore.open(os.path.join(workdir, 'store'))
  outcome = _OUTCOME.value or workdir_lib.first_outcome(store)
  return store, outcome, _path(workdir, outcome)


def _l1_ratios() -> list[float] | None:
  """The shares of --l1_ratio."""
  if _L1_RATIO.value is None:
    return None
  try:
    return [float(one) for one in _L1_RATIO.value]
  except ValueError:
    raise ValueError(
        '--l1_ratio is a number or several between commas, such as 0.2,0.5,1;'
        f' got {",".join(_L1_RATIO.value)!r}'
    ) from None


def _start(workdir: str) -> datamodels_lib.Datamodels | None:
  """The earlier fit of --start."""
  if not _START.value:
    return None
  return workdir_lib.load_datamodels(
      workdir, _START.value, targets=_TARGETS.value
  )


def _check_validated(who: str) -> None:
  """Raises ValueError of flags that only the fit of one process has."""
  flag_of = {
      '--num_folds': _NUM_FOLDS.value,
      '--rule': _RULE.value != 'min' or None,
      '--l1_ratio': _L1_RATIO.value,
      '--start': _START.value,
  }
  given = [name for name, value in flag_of.items() if value is not None]
  if given:
    raise ValueError(
        f'{who} takes no {", ".join(given)}: they are of --regressor=lasso and'
        ' elastic_net in one process'
    )


def _check_distributed() -> None:
  """Raises ValueError of what several processes cannot do."""
  _check_validated('--distributed')
  if _REGRESSOR.value != 'lasso' or _TARGETS.value != 'test':
    raise ValueError(
        '--distributed fits --regressor=lasso to --targets=test, got'
        f' {_REGRESSOR.value!r} and {_TARGETS.value!r}: closed forms and train'
        ' targets are for one process, without --distributed'
    )
  if _DRY_RUN.value:
    raise ValueError('--dry_run prices one process, without --distributed')


def _check_informed() -> None:
  """Raises ValueError of what a regression with a prior does not do."""
  _check_validated('--regressor=informed')
  if _NUM_VAL.value is not None:
    raise ValueError(
        '--regressor=informed chooses by cross-validation on all models: leave'
        ' --num_val out'
    )
  if _DRY_RUN.value:
    raise ValueError(
        '--dry_run prices regressors without a prior; of informed, the gradients'
        ' of --num_prior models are most of the cost'
    )


def _fit_informed(
    store: store_lib.OutcomeStore,
    outcome: str,
    progress: Callable[[int, int], None] | None,
) -> datamodels_lib.Datamodels:
  """Makes the scores, and fits around them."""
  rows = _rows(store)
  is_train = _TARGETS.value == 'train'
  name = f'{outcome}_train' if is_train else outcome
  own_ids = np.arange(store.num_train) if is_train else None
  outcomes = collection.read_outcome(store, name, rows)  # Raises soon.
  found = priors.make(
      store,
      rows,
      prior=_PRIOR.value,
      outcome=outcome,
      targets=_TARGETS.value,
      num_prior=_NUM_PRIOR.value,
  )
  fitted = informed.fit(
      store.read('masks', rows),
      outcomes,
      found,
      own_ids=own_ids,
      target_ids=own_ids,
      num_folds=priors.NUM_FOLDS,
      tol=_TOL.value,
      progress=progress,
      **fitting.labels_of(store, rows, name),
  )
  return dataclasses.replace(fitted, meta=fitting.meta_of(store))


def _fit_distributed(
    store: store_lib.OutcomeStore,
    outcome: str,
    progress: Callable[[int, int], None] | None,
) -> datamodels_lib.Datamodels:
  """Fits together with the other processes."""
  rows = _rows(store)

  def read(some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    masks = store.read('masks', some)
    return masks, collection.read_outcome(store, outcome, some)

  fitted = distributed.fit(
      read,
      rows,
      num_val=_NUM_VAL.value,
      tol=_TOL.value,
      progress=progress,
      **fitting.labels_of(store, rows, outcome),
  )
  return dataclasses.replace(fitted, meta=fitting.meta_of(store))


def _fit(
    workdir: str,
    store: store_lib.OutcomeStore,
    outcome: str,
    path: str,
    fit: Callable[..., datamodels_lib.Datamodels],
    *,
    writes: bool = True,
) -> None:
  """Fits, and lets one process write the datamodels and a summary."""
  start, cpu = time.perf_counter(), time.process_time()
  fitted = fit(binary.Progress('fitting', 'target') if writes else None)
  if not writes:
    return
  datamodels_lib.save(path, fitted)
  summary = {
      'regressor': _REGRESSOR.value,
      'outcome': outcome,
      'targets': _TARGETS.value,
      'num_fit': len(fitted.fit_ids),
      'num_val': len(fitted.val_ids),
      'num_diverged': len(store.diverged()),
      'num_missing': len(store.missing()),
      'num_targets': fitted.num_targets,
      'num_train': fitted.num_train,
      'alpha': fitted.alpha,
      'max_gap': float(np.max(fitted.gap)),
      'mean_nnz': float(np.mean(fitted.nnz)),
      'val_mse': float(np.mean(fitted.val_mse)),
      **_chosen_by(fitted),
      'seconds': time.perf_counter() - start,
      'cpu_seconds': time.process_time() - cpu,
      'fit_ids': np.asarray(fitted.fit_ids),
      'val_ids': np.asarray(fitted.val_ids),
      'datamodels': os.path.basename(path),
  }
  beside = os.path.join(workdir, 'fit.json')
  if _DATAMODELS.value:
    beside = os.path.splitext(path)[0] + '.json'
  binary.write_json(beside, summary)
  shown = {k: v for k, v in summary.items() if not k.endswith('_ids')}
  binary.table('Fitted', shown)


def _chosen_by(fitted: datamodels_lib.Datamodels) -> dict[str, object]:
  """How penalties were chosen, where that may be said by flags."""
  if _REGRESSOR.value not in regressors.SPARSE:
    return {}
  folds = _NUM_FOLDS.value
  told: dict[str, object] = {
      'num_folds': folds,
      'rule': None if folds is None else _RULE.value,
      'start': _START.value,
  }
  if len(fitted.l1_ratio):
    shares, counts = np.unique(np.asarray(fitted.l1_ratio), return_counts=True)
    told['l1_ratio'] = {
        f'{share:g}': int(count) for share, count in zip(shares, counts)
    }
  return told


def _path(workdir: str, outcome: str) -> str:
  """The file to write; one of another outcome is not overwritten."""
  name = f'datamodels_{_REGRESSOR.value}_{_TARGETS.value}.npz'
  path = _DATAMODELS.value or os.path.join(workdir, name)
  if not path.endswith('.npz'):
    raise ValueError(f'--datamodels is a file ending in .npz, got {path!r}')
  if locations.exists(path):
    found = datamodels_lib.load(path).outcome
    wanted = outcome if _TARGETS.value == 'test' else f'{outcome}_train'
    if found != wanted:
      raise ValueError(
          f'{path} holds datamodels of {found!r}; to keep them, name another'
          f' file for those of {wanted!r} by --datamodels=FILE'
      )
  return path


def _rows(store: store_lib.OutcomeStore) -> np.ndarray:
  """The models that are fitted or validate."""
  fewest = workdir_lib.FEWEST_MODELS
  if _NUM_MODELS.value is not None and _NUM_MODELS.value < fewest:
    raise ValueError(f'--num_models must be {fewest} or more')
  rows = store.completed()[: _NUM_MODELS.value]
  if len(rows) < fewest:
    raise ValueError(
        f'{store.path} has {len(rows)} good models ({len(store.diverged())}'
        f' diverged, {len(store.missing())} missing); a fit with validation'
        f' needs {fewest} or more'
    )
  return rows


if __name__ == '__main__':
  binary.run(main, remote=True)
