"""What is each training example worth to a utility, such as the accuracy?

Values are made on one half of the targets and judged on the other: train
without the highest valued, without the lowest valued, or on these alone, beside
random ones.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np

from jdm import effects
from jdm import regressors
from jdm.analysis import curves as curves_lib
from jdm.analysis import semivalues
from jdm.analysis import shapley

_WHO = 'valuation'
_EXTREMES = 20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Valuation:
  """Values of training examples, and what became of them when retrained.

  Attributes:
    utilities: names of the utilities.
    values: by method, `semivalues.Values`; positive raises the utility.
    rankings: by name, `[num_train]`, values of the caller's own.
    rank_by: the utility whose values order the examples in the curves.
    valuation_ids: int, targets that the utilities were read on.
    report_ids: int, the other targets, that the curves were measured on.
    columns: those of the utilities that are the caller's own numbers.
    agreement: Spearman correlation over examples of each two ways to value
      them, for `rank_by`; keys are 'FIRST, SECOND'.
    removal: curves of training on all but the first of each order; None
      without retraining.
    addition: curves of training on the first of each order alone.
    full: by measure, mean utility on the report targets of models trained on
      everything; empty without retraining.
    num_retrained: models trained in all.
  """

  utilities: tuple[str, ...]
  values: Mapping[str, semivalues.Values]
  rankings: Mapping[str, np.ndarray]
  rank_by: str
  valuation_ids: np.ndarray
  report_ids: np.ndarray
  columns: tuple[str, ...] = ()
  agreement: Mapping[str, float] = dataclasses.field(default_factory=dict)
  removal: curves_lib.Curves | None = None
  addition: curves_lib.Curves | None = None
  full: Mapping[str, float] = dataclasses.field(default_factory=dict)
  num_retrained: int = 0

  def to_json(self) -> dict[str, Any]:
    """The numbers; intervals of values only for the extremes."""
    names = [field.name for field in dataclasses.fields(self)]
    kept = {n: getattr(self, n) for n in names if n != 'values'}
    kept['values'] = {
        method: {
            'values': values.values,
            'standard_error': values.standard_error,
            'stability': dict(zip(values.names, values.stability)),
            'num_models': values.num_models,
            'alpha': values.alpha,
            'extremes': extremes(values, values.names.index(self.rank_by)),
        }
        for method, values in self.values.items()
    }
    return effects.to_json(kept)


def valuation(
    masks: np.ndarray,
    outcomes: np.ndarray,
    *,
    utilities: Sequence[str] = ('accuracy', 'mean'),
    target_labels: np.ndarray | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    methods: Sequence[str] = ('banzhaf',),
    groups: np.ndarray | None = None,
    rankings: Mapping[str, np.ndarray] | None = None,
    valuation_ids: Sequence[int] | np.ndarray | None = None,
    rank_by: str | None = None,
    resampling: semivalues.Resampling = semivalues.Resampling(),
    removal_sizes: Sequence[int] | np.ndarray = (),
    addition_sizes: Sequence[int] | np.ndarray = (),
    retrain: effects.Retrain | None = None,
    replicates: int = 10,
    num_random: int = 10,
    batch_size: int = 1,
    train_labels: np.ndarray | None = None,
    num_classes: int = 0,
    seed: int = 0,
) -> Valuation:
  """Values training examples from a pool, and checks it by retraining.

  Args:
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`, of which more is better and 0 is the
      border of right and wrong: margins, or correctness.
    utilities: see `utility`.
    target_labels: int `[num_targets]`, for recalls.
    columns: by name, `[num_models]`, utilities of the caller's own; they are
      valued, but retraining does not measure them.
    methods: 'banzhaf', 'shapley', or the name of a regressor; see `semivalues`
      and `shapley`.
    groups: int `[num_models]`, for Shapley values from growing prefixes.
    rankings: by name, `[num_train]`, other values to compare, higher is better.
    valuation_ids: targets to value by; a random half by default. All others are
      reported on.
    rank_by: the utility whose values are put to the test; the first.
    resampling: of models, for intervals and stability.
    removal_sizes: how many to remove, ascending.
    addition_sizes: how many to train on, ascending.
    retrain: see `effects.Retrain`, of the same outcome; None only values.
    replicates: trainings of each subset.
    num_random: random orders, each trained once.
    batch_size: the fewest examples that can be trained on.
    train_labels: int `[num_train]`; every class must keep an example.
    num_classes: of `train_labels`.
    seed: of the halves, random orders and ties.

  Returns:
    The values and, with `retrain`, the curves.

  Raises:
    ValueError: on unknown names, ids out of range or repeated, too few
      replicates for an interval, or subsets that cannot be trained on.
  """
  masks, outcomes = np.asarray(masks), np.asarray(outcomes)
  _check_pool(masks, outcomes)
  num_targets = outcomes.shape[1]
  ids, others = curves_lib.halves(_WHO, num_targets, valuation_ids, seed)
  names, table = _table(outcomes, utilities, columns, ids, target_labels)
  rank_by = names[0] if rank_by is None else rank_by
  values = {
      method: _estimate(method, masks, table, names, groups, resampling)
      for method in methods
  }
  result = Valuation(
      utilities=names,
      values=values,
      rankings=_checked_rankings(rankings or {}, masks.shape[1], methods),
      columns=tuple(columns or ()),
      rank_by=rank_by,
      valuation_ids=ids,
      report_ids=others,
  )
  result = ranked_by(result, rank_by)
  if retrain is None:
    return result
  return retrained(
      result,
      retrain,
      removal_sizes=removal_sizes,
      addition_sizes=addition_sizes,
      target_labels=target_labels,
      replicates=replicates,
      num_random=num_random,
      batch_size=batch_size,
      train_labels=train_labels,
      num_classes=num_classes,
      seed=seed,
  )


def retrained(
    valued: Valuation,
    retrain: effects.Retrain,
    *,
    removal_sizes: Sequence[int] | np.ndarray = (),
    addition_sizes: Sequence[int] | np.ndarray = (),
    target_labels: np.ndarray | None = None,
    replicates: int = 10,
    num_random: int = 10,
    batch_size: int = 1,
    train_labels: np.ndarray | None = None,
    num_classes: int = 0,
    seed: int = 0,
) -> Valuation:
  """Adds the curves to values; arguments and errors as of `valuation`."""
  if min(replicates, num_random) < 2:
    raise ValueError(
        f'`{_WHO}` needs at least two replicates and two random orders for an'
        f' interval, got {replicates} and {num_random}.'
    )
  num_targets = len(valued.valuation_ids) + len(valued.report_ids)
  orders = {
      mode: curves_lib.by_value(ways(valued), mode, num_random, seed)
      for mode in curves_lib.MODES
  }
  measures = _measures(valued, target_labels)
  sizes = {'remove': removal_sizes, 'add': addition_sizes}
  sizes = {mode: own for mode, own in sizes.items() if len(own)}
  for mode, own in sizes.items():
    curves_lib.check(
        _WHO,
        orders[mode],
        own,
        mode,
        batch_size=batch_size,
        labels=train_labels,
        num_classes=num_classes,
    )
  everything = np.ones((1, len(next(iter(ways(valued).values())))), bool)
  full = effects.retrained(_WHO, retrain, everything, replicates, num_targets)
  found = {
      mode: curves_lib.retrained(
          _WHO,
          orders[mode],
          own,
          mode=mode,
          measures=measures,
          retrain=retrain,
          replicates=replicates,
          num_targets=num_targets,
      )
      for mode, own in sizes.items()
  }
  return dataclasses.replace(
      valued,
      removal=found.get('remove'),
      addition=found.get('add'),
      full={n: float(effects.mean(f(full))[0]) for n, f in measures.items()},
      num_retrained=replicates + sum(c.num_retrained for c in found.values()),
  )


def ranked_by(valued: Valuation, utility_name: str) -> Valuation:
  """The same values, to be put to the test by another utility.

  Raises:
    ValueError: if there is no such utility, or retraining cannot measure it.
  """
  known = [name for name in valued.utilities if name not in valued.columns]
  if utility_name not in known:
    raise ValueError(
        f'`{_WHO}` ranks by one of the utilities {known}, got'
        f' {utility_name!r}.'
    )
  own = dataclasses.replace(valued, rank_by=utility_name)
  agreement = curves_lib.agreement(ways(own))
  return dataclasses.replace(own, agreement=agreement)


def ways(valued: Valuation) -> dict[str, np.ndarray]:
  """By method and by ranking, the values `[num_train]` that order examples."""
  place = valued.utilities.index(valued.rank_by)
  found = {name: own.values[:, place] for name, own in valued.values.items()}
  return found | dict(valued.rankings)


def utility(
    name: str,
    outcomes: np.ndarray,
    *,
    target_ids: np.ndarray,
    target_labels: np.ndarray | None = None,
) -> np.ndarray:
  """Reads a utility off the outcomes of models, on some targets.

  Args:
    name: 'mean', the mean outcome; 'accuracy', the share of targets whose
      outcome is above 0; 'recall:CLASS', the same of one class.
    outcomes: `[..., num_targets]`; more is better.
    target_ids: int, which targets.
    target_labels: int `[num_targets]`, for recalls.

  Returns:
    `[...]`, in outcome units or as a share; NaN for a diverged model.

  Raises:
    ValueError: on an unknown name, or a class without a target.
  """
  ids = np.asarray(target_ids)
  kind, _, label = name.partition(':')
  if kind == 'recall' and label.isdigit() and target_labels is not None:
    ids = ids[np.asarray(target_labels)[ids] == int(label)]
    if not ids.size:
      raise ValueError(
          f'`{_WHO}`: no target of class {label} is among those that {name!r}'
          ' is read on.'
      )
  elif name not in ('mean', 'accuracy'):
    raise ValueError(
        f'`{_WHO}` knows the utilities mean, accuracy and recall:CLASS (a'
        f' number, with `target_labels`), got {name!r}.'
    )
  own = np.asarray(outcomes)[..., ids]
  if name == 'mean':
    return own.mean(axis=-1)
  # A diverged model gets no accuracy, not that of guessing.
  return np.where(np.isfinite(own), own > 0, np.nan).mean(axis=-1)


def extremes(
    values: semivalues.Values, utility_index: int, count: int = _EXTREMES
) -> dict[str, list[dict[str, Any]]]:
  """The examples of highest and of lowest value, with their uncertainty.

  Returns:
    'highest' and 'lowest', rows with the train row, value, standard error and
    interval (None without resamples), utility units.
  """
  own = values.values[:, utility_index]
  order = np.argsort(-own, kind='stable')

  def row(i: int) -> dict[str, Any]:
    interval = None
    if values.interval is not None:
      interval = values.interval[:, i, utility_index].tolist()
    return {
        'train': int(i),
        'value': float(own[i]),
        'standard_error': float(values.standard_error[i, utility_index]),
        'interval': interval,
    }

  return {
      'highest': [row(i) for i in order[:count]],
      'lowest': [row(i) for i in order[::-1][:count]],
  }


def _measures(valued, target_labels) -> dict[str, curves_lib.Measure]:
  """The utilities of retrained models, on the targets reported on."""
  return {
      name: functools.partial(
          utility,
          name,
          target_ids=valued.report_ids,
          target_labels=target_labels,
      )
      for name in valued.utilities
      if name not in valued.columns
  }


def _table(
    outcomes, utilities, columns, ids, target_labels
) -> tuple[tuple[str, ...], np.ndarray]:
  """Names and numbers `[num_models, num_utilities]` of all utilities."""
  found = {
      name: utility(name, outcomes, target_ids=ids, target_labels=target_labels)
      for name in utilities
  }
  for name, column in (columns or {}).items():
    if np.shape(column) != (len(outcomes),):
      raise ValueError(
          f'`{_WHO}` expects column {name!r} of shape [{len(outcomes)}], one'
          f' number a model, got {list(np.shape(column))}.'
      )
    found[name] = np.asarray(column, np.float64)
  if not utilities:
    raise ValueError(f'`{_WHO}` needs at least one utility.')
  return tuple(found), np.stack(list(found.values()), axis=1)


def _estimate(
    method, masks, table, names, groups, resampling
) -> semivalues.Values:
  estimators: dict[str, Callable[..., semivalues.Values]] = {
      'banzhaf': semivalues.banzhaf,
      'shapley': shapley.from_sizes,
  }
  if method == 'banzhaf' and groups is not None:
    raise ValueError(
        f'`{_WHO}`: Banzhaf values want models that were drawn independently,'
        ' not in groups; ask for Shapley values of prefixes.'
    )
  if method == 'shapley' and groups is not None:
    estimators['shapley'] = functools.partial(
        shapley.from_prefixes, groups=np.asarray(groups)
    )
  if method in estimators:
    estimator = estimators[method]
    return estimator(masks, table, names=names, resampling=resampling)
  if method in regressors.REGRESSORS:
    return semivalues.regression(
        masks, table, regressor=method, names=names, seed=resampling.seed
    )
  raise ValueError(
      f'`{_WHO}` knows the methods banzhaf, shapley and'
      f' {sorted(regressors.REGRESSORS)}, got {method!r}.'
  )


def _check_pool(masks: np.ndarray, outcomes: np.ndarray) -> None:
  if outcomes.ndim != 2 or len(outcomes) != len(masks) or not outcomes.size:
    raise ValueError(
        f'`{_WHO}` expects outcomes of shape [{len(masks)}, num_targets], one'
        f' row a mask, got {list(outcomes.shape)}.'
    )
  if not np.isfinite(outcomes).all():
    raise ValueError(
        f'`{_WHO}` expects finite outcomes; leave diverged models out.'
    )


def _checked_rankings(rankings, num_train, methods) -> dict[str, np.ndarray]:
  if not methods and not rankings:
    raise ValueError(f'`{_WHO}` needs at least one method or ranking.')
  return curves_lib.check_rankings(_WHO, rankings, num_train, methods)
