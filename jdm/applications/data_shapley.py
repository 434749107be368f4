"""What is each training example worth, by training on sets chosen to find out?

`valuation` reads values off a pool of models that is there already. Here a
utility is asked about the sets that an estimator chooses: it trains on them, or
has a predictor guess the trained models. Values are judged on test examples
that had no part in them, by retraining without the examples of highest or of
lowest value, or on the highest alone.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import time
from typing import Any

import numpy as np

from jdm import effects
from jdm.analysis import curves as curves_lib
from jdm.analysis import sampled_values
from jdm.analysis import semivalues
from jdm.analysis import suspects
from jdm.applications import valuation as valuation_lib

_WHO = 'data_shapley'
ESTIMATORS = (
    'antithetic',
    'shapley',
    'truncated',
    'beta',
    'banzhaf',
    'leave_one_out',
)
_COPIES = 2  # Of a training without randomness: its variance is then 0.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DataShapley:
  """Values by several estimators, and what became of them when retrained.

  Attributes:
    measure: name of the utility.
    values: by estimator, `semivalues.Values`; positive raises the utility.
    rankings: by name, `[num_train]`, values of the caller's own.
    cpu_seconds: by estimator, of this process; what the utility cost to make
      (labels and fit of a predictor) is not in it.
    agreement: Spearman correlation over examples of each two ways to value
      them; keys are 'FIRST, SECOND'.
    detections: by way, how well low values find examples known to be bad;
      empty if none are known.
    removal: curves of training on all but the first of each order; None
      without retraining.
    addition: curves of training on the first of each order alone.
    full: the measure on the report targets of a model trained on everything;
      None without retraining.
  """

  measure: str
  values: Mapping[str, semivalues.Values]
  rankings: Mapping[str, np.ndarray]
  cpu_seconds: Mapping[str, float]
  agreement: Mapping[str, float]
  detections: Mapping[str, suspects.Detection]
  removal: curves_lib.Curves | None = None
  addition: curves_lib.Curves | None = None
  full: float | None = None

  def ways(self) -> dict[str, np.ndarray]:
    """By estimator and by ranking, the values `[num_train]`."""
    found = {name: own.values[:, 0] for name, own in self.values.items()}
    return found | dict(self.rankings)

  def to_json(self) -> dict[str, Any]:
    """The numbers; intervals of values only for the extremes."""
    names = [field.name for field in dataclasses.fields(self)]
    kept = {n: getattr(self, n) for n in names if n != 'values'}
    kept['values'] = {
        name: {
            'values': own.values[:, 0],
            'standard_error': own.standard_error[:, 0],
            'stability': own.stability[0],
            'num_evaluations': own.num_models,
            'num_saved': own.num_saved,
            'extremes': valuation_lib.extremes(own, 0),
        }
        for name, own in self.values.items()
    }
    return effects.to_json(kept)


def data_shapley(
    utility: sampled_values.Utility,
    num_train: int,
    *,
    measure: str = 'utility',
    estimators: Sequence[str] = ('antithetic',),
    num_orders: int = 100,
    truncate_within: float = 0.05,
    beta: tuple[float, float] = (16.0, 1.0),
    empty_utility: np.ndarray | float | None = None,
    rankings: Mapping[str, np.ndarray] | None = None,
    bad: np.ndarray | None = None,
    resampling: semivalues.Resampling = semivalues.Resampling(),
    seed: int = 0,
) -> DataShapley:
  """Estimates values; `retrained` adds the curves.

  Args:
    utility: see `sampled_values.Utility`; one number a set.
    num_train: examples.
    measure: name of the utility.
    estimators: of `ESTIMATORS`: Shapley values from random orders ('shapley'),
      from pairs of an order and its reverse ('antithetic'), from orders that
      stop near the utility of everything ('truncated'); Beta Shapley values of
      such pairs ('beta'); Banzhaf values of as many random sets as the orders
      have prefixes; leave-one-out values.
    num_orders: random orders; even.
    truncate_within: share of the distance from the utility of nothing to that
      of everything at which an order is stopped.
    beta: alpha and beta of Beta Shapley values.
    empty_utility: U(none); by default the utility is asked.
    rankings: by name, `[num_train]`, other values to compare, higher is better.
    bad: int, rows known to be bad, to be found by low values; None if none are.
    resampling: for intervals and stability.
    seed: of the orders and sets.

  Raises:
    ValueError: on unknown estimators, rankings that do not fit, or as
      `sampled_values.walk`.
  """
  unknown = sorted(set(estimators) - set(ESTIMATORS))
  if unknown or not estimators:
    raise ValueError(
        f'`{_WHO}` knows the estimators {list(ESTIMATORS)}, got'
        f' {list(estimators)}.'
    )
  runs = _Runs(
      utility=utility,
      num_train=num_train,
      num_orders=num_orders,
      truncate_within=truncate_within,
      beta=beta,
      empty_utility=empty_utility,
      options={'names': (measure,), 'resampling': resampling},
      seed=seed,
  )
  values, seconds = {}, {}
  for name in estimators:
    start = time.process_time()
    values[name] = runs.estimate(name)
    seconds[name] = time.process_time() - start
  found = DataShapley(
      measure=measure,
      values=values,
      rankings=curves_lib.check_rankings(
          _WHO, rankings or {}, num_train, estimators
      ),
      cpu_seconds=seconds,
      agreement={},
      detections={},
  )
  ways = found.ways()
  detections = {}
  if bad is not None and len(bad):
    suspicion = {name: -own for name, own in ways.items()}
    detections = suspects.detect(suspicion, bad, seed=seed)
  return dataclasses.replace(
      found, agreement=curves_lib.agreement(ways), detections=detections
  )


def retrained(
    found: DataShapley,
    retrain: effects.Retrain,
    num_targets: int,
    *,
    removal_sizes: Sequence[int] | np.ndarray = (),
    addition_sizes: Sequence[int] | np.ndarray = (),
    num_random: int = 10,
    train_labels: np.ndarray | None = None,
    num_classes: int = 0,
    seed: int = 0,
) -> DataShapley:
  """Adds the curves, by training without randomness on other targets.

  Args:
    found: the values.
    retrain: see `effects.Retrain`, of the measure by target; replicates are the
      same training.
    num_targets: targets to report on.
    removal_sizes: how many to remove, ascending.
    addition_sizes: how many to train on, ascending.
    num_random: random orders. The intervals of gains over random are theirs:
      training on an order has no noise.
    train_labels: int `[num_train]`; every class must keep an example.
    num_classes: of `train_labels`.
    seed: of random orders and ties.

  Raises:
    ValueError: on too few random orders, or sizes that cannot be trained on.
  """
  if num_random < 2:
    raise ValueError(
        f'`{_WHO}` needs two random orders or more for an interval, got'
        f' {num_random}.'
    )
  ways = found.ways()
  made = {}
  sizes = {'remove': removal_sizes, 'add': addition_sizes}
  for mode, own in sizes.items():
    if not len(own):
      continue
    orders = curves_lib.by_value(ways, mode, num_random, seed)
    curves_lib.check(
        _WHO,
        orders,
        own,
        mode,
        batch_size=1,
        labels=train_labels,
        num_classes=num_classes,
    )
    made[mode] = curves_lib.retrained(
        _WHO,
        orders,
        own,
        mode=mode,
        measures={found.measure: lambda outcomes: outcomes.mean(axis=-1)},
        retrain=retrain,
        replicates=_COPIES,
        num_targets=num_targets,
    )
  everything = np.ones((1, len(next(iter(ways.values())))), bool)
  return dataclasses.replace(
      found,
      removal=made.get('remove'),
      addition=made.get('add'),
      full=float(np.mean(retrain(everything, 1))),
  )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Runs:
  """What all estimators share."""

  utility: sampled_values.Utility
  num_train: int
  num_orders: int
  truncate_within: float
  beta: tuple[float, float]
  empty_utility: Any
  options: Mapping[str, Any]
  seed: int

  def estimate(self, name: str) -> semivalues.Values:
    """Values by one estimator of `ESTIMATORS`."""
    if name == 'leave_one_out':
      return sampled_values.leave_one_out(
          self.utility, self.num_train, names=self.options['names']
      )
    if name == 'banzhaf':
      return sampled_values.banzhaf(
          self.utility,
          self.num_train,
          num_sets=self.num_orders * (self.num_train - 1),
          seed=self.seed,
          **self.options,
      )
    tolerance = self._tolerance() if name == 'truncated' else None
    walked = sampled_values.walk(
        self.utility,
        self.num_train,
        num_orders=self.num_orders,
        antithetic=name in ('antithetic', 'beta'),
        tolerance=tolerance,
        empty_utility=self.empty_utility,
        seed=self.seed,
    )
    if name == 'beta':
      alpha, beta = self.beta
      return sampled_values.beta_shapley(
          walked, alpha=alpha, beta=beta, **self.options
      )
    return sampled_values.shapley(walked, **self.options)

  def _tolerance(self) -> float:
    masks = np.array([[False], [True]]).repeat(self.num_train, axis=1)
    if self.empty_utility is None:
      ends = np.ravel(self.utility(masks))
    else:
      ends = np.ravel(self.utility(masks[1:]))[0] - self.empty_utility, 0.0
    return self.truncate_within * float(abs(np.ravel(ends[0] - ends[1])[0]))
