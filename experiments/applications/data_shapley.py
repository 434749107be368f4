"""Data Shapley: what each training example is worth to an exactly trained model.

Needs the store of `fit_modelpred` (or of `collect_outcomes --training=exact`).
The utility, of the test examples of one half, is that of models trained on the
sets that an estimator asks for, or with --shapley_utility=predictor that of
parameters guessed by `WORKDIR/predictor_NAME`. Curves are of exact models,
measured on the other half.
"""

import time
from typing import Any

from absl import flags
import numpy as np

from experiments import modelpred_workdir
from experiments.applications import job as job_lib
from experiments.applications import predictors
from jdm.analysis import curves as curves_lib
from jdm.analysis import knn_shapley
from jdm.analysis import semivalues
from jdm.applications import data_shapley as lib
from jdm.modelpred import points as points_lib
from jdm.modelpred import predictor as predictor_lib
from jdm.modelpred import utilities
from jdm.reports import data_shapley_plots
from jdm.reports import valuation_plots

_KNN = 'knn'
_UTILITY = flags.DEFINE_enum(
    'shapley_utility',
    'retrain',
    ['retrain', 'predictor'],
    'Where the models of sets come from.',
)
_PREDICTOR = flags.DEFINE_string(
    'shapley_predictor', 'default', 'NAME of WORKDIR/predictor_NAME.'
)
_REFINES = flags.DEFINE_integer(
    'shapley_refines', 0, 'Newton steps from what a predictor predicts.'
)
_MEASURE = flags.DEFINE_enum(
    'shapley_measure', 'loss', list(utilities.MEASURES), 'Of test examples.'
)
_ESTIMATORS = flags.DEFINE_list(
    'shapley_estimators',
    [*lib.ESTIMATORS, _KNN],
    f'Of {", ".join(lib.ESTIMATORS)} and {_KNN}.',
)
_NUM_ORDERS = flags.DEFINE_integer(
    'num_orders', 100, 'Random orders of the training examples; even.'
)
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_NUM_RANDOM = 10
_NUM_NEIGHBOURS = 5


def num_trainings(job: job_lib.Job) -> int:
  """Models trained at most: what estimators ask for, and both ends of curves."""
  num_train, ways = job.store.num_train, len(_ESTIMATORS.value)
  curves = len(_sizes(job)) * (3 * ways + 2 * _NUM_RANDOM)
  if _UTILITY.value == 'predictor':
    return curves
  asked = {
      'leave_one_out': num_train + 1,
      _KNN: 0,
  }
  every = _NUM_ORDERS.value * num_train
  return curves + sum(asked.get(name, every) for name in _ESTIMATORS.value)


def run(job: job_lib.Job) -> job_lib.Findings:
  """Estimates, retrains, compares."""
  pool = predictors.pool_of(job)
  dataset, limits = job.dataset, []
  ids, others = curves_lib.halves(
      'data_shapley', len(dataset.test), seed=job.seed
  )
  utility = _utility(job, pool, ids)
  own = [name for name in _ESTIMATORS.value if name != _KNN]
  start = time.process_time()
  rankings = _rankings(pool, dataset.test, ids, limits)
  knn_seconds = time.process_time() - start
  _compile(utility, job.store.num_train)
  bad = None if dataset.planted is None else dataset.planted.mislabels
  found = lib.data_shapley(
      utility,
      job.store.num_train,
      measure=_MEASURE.value,
      estimators=own,
      num_orders=_NUM_ORDERS.value,
      empty_utility=utility.empty,
      rankings=rankings,
      bad=bad,
      resampling=semivalues.Resampling(seed=job.seed),
      seed=job.seed,
  )
  found = _retrained(job, pool, found, others, limits)
  return _findings(found, (len(ids), len(others)), knn_seconds, limits)


def _utility(
    job: job_lib.Job, pool: points_lib.Pool, ids: np.ndarray
) -> utilities.Utility:
  test = job.dataset.test
  validation = test.inputs[ids], test.labels[ids], (_MEASURE.value,)
  if _UTILITY.value == 'retrain':
    return utilities.retrained(pool, *validation)
  path = modelpred_workdir.predictor_path(job.workdir, _PREDICTOR.value)
  fitted = predictor_lib.load(path)
  if len(fitted.pool.labels) != len(pool.labels) or not np.array_equal(
      fitted.pool.labels, pool.labels
  ):
    raise ValueError(f'{path} was fitted to other points than the store')
  return utilities.predicted(
      fitted, pool, *validation, num_refines=_REFINES.value
  )


def _compile(utility: utilities.Utility, num_train: int) -> None:
  """Asks for a few and for many sets, so that no estimator's time has it."""
  masks = np.random.default_rng(0).random((2000, num_train)) < 0.5
  for num in (1, len(masks)):
    utility(masks[:num])


def _rankings(pool, test, ids, limits) -> dict[str, np.ndarray]:
  """KNN-Shapley values of the inputs, if asked for."""
  if _KNN not in _ESTIMATORS.value:
    return {}
  if not pool.classes.shape[1]:
    limits.append('KNN-Shapley is of classes; this is a regression.')
    return {}
  values = knn_shapley.knn_shapley(
      pool.inputs,
      pool.labels,
      test.inputs[ids].reshape(len(ids), -1),
      test.labels[ids],
      num_neighbours=min(_NUM_NEIGHBOURS, len(pool.labels)),
  )
  return {_KNN: values}


def _retrained(job, pool, found, others, limits) -> lib.DataShapley:
  """Adds the curves at all sizes that can be trained on."""
  test, num_classes = job.dataset.test, job.dataset.num_classes
  trainable: dict[str, Any] = {}
  if num_classes:
    trainable = {'num_classes': num_classes, 'train_labels': pool.labels}
  sizes = {}
  for mode in curves_lib.MODES:
    sizes[mode], reasons = curves_lib.trainable_sizes(
        curves_lib.by_value(found.ways(), mode, _NUM_RANDOM, job.seed),
        _sizes(job),
        mode,
        batch_size=1,
        labels=pool.labels if num_classes else None,
        num_classes=num_classes,
    )
    limits.extend(reasons)
  retrain = utilities.retrainer(
      pool, test.inputs[others], test.labels[others], _MEASURE.value
  )
  return lib.retrained(
      found,
      retrain,
      len(others),
      removal_sizes=sizes['remove'],
      addition_sizes=sizes['add'],
      num_random=_NUM_RANDOM,
      seed=job.seed,
      **trainable,
  )


def _sizes(job: job_lib.Job) -> list[int]:
  if job.sizes:
    return job.sizes
  num_train = job.store.num_train
  return sorted({max(round(share * num_train), 1) for share in _SHARES})


def _findings(found, counts, knn_seconds, limits) -> job_lib.Findings:
  limits.append(
      'Intervals over random are those of the random orders: training has no'
      ' noise here, and the test examples are taken as given.'
  )
  figures: dict[str, Any] = {
      'agreement': data_shapley_plots.agreement(found),
      'removal': data_shapley_plots.curves(found, 'remove'),
      'addition': data_shapley_plots.curves(found, 'add'),
  }
  for name, values in list(found.values.items())[:1]:
    figures[f'{name} extremes'] = valuation_plots.extreme_values(
        values, found.measure
    )
  seconds = {**found.cpu_seconds} | dict.fromkeys(found.rankings, knn_seconds)
  return job_lib.Findings(
      result={
          **found.to_json(),
          'cpu_seconds_by_estimator': seconds,
          'utility': _source(),
      },
      table=_table(found, counts, seconds),
      lead=_lead(found, counts),
      figures=figures,
      limits=limits,
  )


def _source() -> str:
  if _UTILITY.value == 'retrain':
    return 'retrain'
  return f'predictor_{_PREDICTOR.value}, {_REFINES.value} Newton steps'


def _table(found: lib.DataShapley, counts, seconds) -> dict[str, Any]:
  table: dict[str, Any] = {
      'valued by, reported on': f'{counts[0]}, {counts[1]} test examples',
      'models of sets': _source(),
  }
  for name, values in found.values.items():
    own, error = values.values[:, 0], values.standard_error[:, 0]
    saved = f', {values.num_saved} saved' if values.num_saved else ''
    table[name] = (
        f'{values.num_models} evaluations{saved}, {seconds[name]:.2f} CPU s,'
        f' deviation of values {own.std():.2g}, standard error'
        f' {error.mean():.2g}'
    )
  for pair, score in found.agreement.items():
    table[f'Spearman of {pair}'] = score
  for name, one in found.detections.items():
    low, high = one.auc_interval
    table[f'AUC of mislabels by {name}'] = (
        f'{one.auc:.3f} [{low:.3f}, {high:.3f}]'
    )
  if found.full is not None:
    table['all of it'] = found.full
  for curves in (found.removal, found.addition):
    if curves is None:
      continue
    for number, order in enumerate(curves.orders):
      if order == curves.baseline:
        table[f'{curves.mode} at random'] = float(curves.area[0, number])
        continue
      low, high = curves.gain_interval[:, 0, number]
      gain = curves.gain[0, number]
      table[f'{curves.mode} by {order}, over random'] = (
          f'{gain:+.4f} [{low:+.4f}, {high:+.4f}]'
      )
  return table


def _lead(found: lib.DataShapley, counts) -> str:
  what = {'loss': 'minus the mean loss', 'accuracy': 'the accuracy'}
  return (
      f'What each training example adds to {what[found.measure]} on {counts[0]}'
      ' test examples, by estimators that choose the sets they ask about; models'
      f' of these sets come from: {_source()}. The curves show the same measure,'
      f' on the other {counts[1]} test examples, of models trained exactly'
      ' without the examples of highest or of lowest value, or on the highest'
      ' alone. Numbers over random are mean heights of a curve minus that of'
      ' random orders, with 95 % intervals over these.'
  )
