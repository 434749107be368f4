"""Which training examples would some targets choose? Picked, and retrained.

The training examples with the highest mean datamodel weight over examples of a
target distribution are trained on alone. The pick is made by one half of these
targets and judged on the other, beside random subsets of the same size.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm.analysis import curves as curves_lib
from jdm.analysis import interventions

_WHO = 'selection'
_SIGNED = ('margin', 'soft_margin', 'correctness')
_SHOWN = 50


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
  """Subsets picked for a target distribution, and what models make of them.

  Attributes:
    choice_ids: int, targets of the distribution that the picks were made by.
    report_ids: int, its other targets, that models were judged on.
    rest_ids: int, all targets outside the distribution; may be empty.
    sizes: int `[num_sizes]`, how many examples were picked.
    min_per_class: of these, the first of each class, whatever their score.
    orders: by rule, train rows, first picked first: int `[num_train]`, or
      `[num_random, num_train]` for random rules.
    predicted: by rule, `[num_sizes]`, predicted mean outcome on the report
      targets, in outcome units; of random rules the mean over draws.
    curves: measures of the retrained models; None without retraining. Measures:
      'target', the mean outcome on the report targets; 'target accuracy', the
      share of them with an outcome above 0 (margins and correctness only);
      'rest', the mean outcome on the rest.
    agreement: of the predicted with the observed 'target' measure, both as
      differences from random picks, over rules and sizes; None without
      retraining.
    full: by measure, mean for models trained on everything.
    num_retrained: models trained in all.
  """

  choice_ids: np.ndarray
  report_ids: np.ndarray
  rest_ids: np.ndarray
  sizes: np.ndarray
  min_per_class: int
  orders: Mapping[str, np.ndarray]
  predicted: Mapping[str, np.ndarray]
  curves: curves_lib.Curves | None = None
  agreement: effects.Agreement | None = None
  full: Mapping[str, float] = dataclasses.field(default_factory=dict)
  num_retrained: int = 0

  def to_json(self) -> dict[str, Any]:
    """The numbers; of each rule that is not random, the whole order."""
    names = [field.name for field in dataclasses.fields(self)]
    values = {name: getattr(self, name) for name in names}
    values['orders'] = {
        name: order for name, order in self.orders.items() if order.ndim == 1
    }
    return effects.to_json(values)


def selection(
    datamodels: datamodels_lib.Datamodels,
    target_ids: Sequence[int] | np.ndarray,
    *,
    sizes: Sequence[int] | np.ndarray,
    scores: Mapping[str, np.ndarray] | None = None,
    choice_ids: Sequence[int] | np.ndarray | None = None,
    train_labels: np.ndarray | None = None,
    target_labels: np.ndarray | None = None,
    num_classes: int = 0,
    min_per_class: int = 1,
    retrain: effects.Retrain | None = None,
    replicates: int = 10,
    num_random: int = 10,
    batch_size: int = 1,
    seed: int = 0,
) -> Selection:
  """Picks training subsets for a target distribution; predicts and retrains.

  Rules: 'datamodel', the highest mean weight over the choice targets; each of
  `scores`, its highest mean; 'random'; and with labels 'same class', random
  examples in the class proportions of the choice targets.

  Args:
    datamodels: of an outcome of which more is better.
    target_ids: columns of the datamodels, examples of the distribution.
    sizes: how many to pick, ascending.
    scores: by name, `[num_train, num_targets]`, higher = more alike, such as
      the cosine of features.
    choice_ids: those of `target_ids` to pick by; a random half by default. The
      others are reported on.
    train_labels: int `[num_train]`; None for regression.
    target_labels: int `[num_targets]`, of all targets.
    num_classes: of both.
    min_per_class: so many of each class come first in every order, by the
      rule's own score: models are trained on all classes. Needs labels.
    retrain: see `effects.Retrain`; None predicts only.
    replicates: trainings of each pick, at least 2.
    num_random: draws of each random rule, each trained once.
    batch_size: the fewest examples that can be trained on.
    seed: of halves, draws and ties.

  Returns:
    The picks. Predictions extrapolate: datamodels are of random subsets of
    their alpha, and a pick is anything but random.

  Raises:
    ValueError: on ids or sizes out of range or repeated, an outcome of which
      less is better, scores of another shape, or picks that cannot be trained
      on.

  References:
    Engstrom et al., `DsDm <https://arxiv.org/abs/2401.12926>`_, 2024, §3.
  """
  interventions.check_higher_is_better(_WHO, datamodels.outcome)
  targets = interventions.check_ids(
      _WHO, 'target_ids', target_ids, datamodels.num_targets
  )
  choice, report = _halves(targets, choice_ids, seed)
  labelled = train_labels is not None and target_labels is not None
  counts = np.asarray(sizes, np.int64)
  orders = _orders(
      _mean_scores(datamodels, scores or {}, choice),
      np.asarray(train_labels) if labelled else None,
      np.asarray(target_labels)[choice] if labelled else None,
      min_per_class,
      num_random,
      seed,
  )
  curves_lib.check(
      _WHO,
      orders,
      counts,
      'add',
      batch_size=batch_size,
      labels=train_labels,
      num_classes=num_classes,
  )
  result = Selection(
      choice_ids=choice,
      report_ids=report,
      rest_ids=np.setdiff1d(np.arange(datamodels.num_targets), targets),
      sizes=counts,
      min_per_class=min_per_class if labelled else 0,
      orders=orders,
      predicted={
          name: _predicted(datamodels, order, counts, report)
          for name, order in orders.items()
      },
  )
  if retrain is None:
    return result
  effects.check_replicates(_WHO, replicates=replicates)
  return _retrained(datamodels, result, retrain, replicates)


def proportional_order(
    train_labels: np.ndarray,
    target_labels: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
  """Orders examples at random, every prefix in the targets' class proportions.

  Args:
    train_labels: int `[num_train]`.
    target_labels: int `[num]`; examples of other classes come last.
    rng: of the order.

  Returns:
    int `[num_train]`.
  """
  due = np.full(len(train_labels), np.inf)
  for label in np.unique(target_labels):
    members = rng.permutation(np.flatnonzero(train_labels == label))
    share = np.mean(target_labels == label)
    # The j-th of a class is due when the prefix holds j / share examples.
    due[members] = (np.arange(len(members)) + rng.random()) / share
  return np.lexsort([rng.permutation(len(due)), due])


def _mean_scores(datamodels, scores, choice) -> dict[str, np.ndarray]:
  """By rule, the mean score over the choice targets, `[num_train]`."""
  shape = (datamodels.num_train, datamodels.num_targets)
  found = {'datamodel': np.asarray(datamodels.weights, np.float64)}
  for name, score in scores.items():
    if np.shape(score) != shape or not np.isfinite(score).all():
      raise ValueError(
          f'`{_WHO}` expects score {name!r} as finite numbers {list(shape)}'
          f' [num_train, num_targets], got shape {list(np.shape(score))}.'
      )
    if name in ('datamodel', 'random', 'same class'):
      raise ValueError(f'`{_WHO}`: a score cannot be called {name!r}.')
    found[name] = np.asarray(score)
  return {
      name: score[:, choice].mean(axis=1, dtype=np.float64)
      for name, score in found.items()
  }


def _orders(
    means, train_labels, choice_labels, min_per_class, num_random, seed
) -> dict[str, np.ndarray]:
  """Orders of all rules."""
  if min_per_class < 0 or num_random < 1:
    raise ValueError(
        f'`{_WHO}` expects min_per_class of at least 0 and num_random of at'
        f' least 1, got {min_per_class} and {num_random}.'
    )
  rng = np.random.default_rng(seed)
  orders: dict[str, np.ndarray] = {}
  num_train = 0
  for name, mean in means.items():
    num_train = len(mean)
    orders[name] = np.lexsort([rng.permutation(num_train), -mean])
  draws = range(num_random)
  if train_labels is not None:
    orders['same class'] = np.stack(
        [proportional_order(train_labels, choice_labels, rng) for _ in draws]
    )
  orders['random'] = np.stack([rng.permutation(num_train) for _ in draws])
  if train_labels is None:
    return orders
  return {
      name: np.apply_along_axis(
          _classes_first, -1, order, train_labels, min_per_class
      )
      for name, order in orders.items()
  }


def _classes_first(order, labels, count: int) -> np.ndarray:
  """Moves the first `count` of every class to the front."""
  own = labels[order]
  nth = np.empty(len(order), np.int64)
  for label in np.unique(labels):
    nth[own == label] = np.arange(np.sum(own == label))
  return order[np.argsort(nth >= count, kind='stable')]


def _predicted(datamodels, order, sizes, report) -> np.ndarray:
  """Predicted mean outcome on the report targets, `[num_sizes]`."""
  weights = np.asarray(datamodels.weights, np.float64)[:, report].mean(axis=1)
  bias = np.asarray(datamodels.bias, np.float64)[report].mean()
  sums = np.cumsum(weights[np.atleast_2d(order)], axis=1)
  return bias + sums[:, sizes - 1].mean(axis=0)


def _retrained(datamodels, result, retrain, replicates) -> Selection:
  """Adds what models make of the picks."""
  num_targets = datamodels.num_targets
  report, rest = result.report_ids, result.rest_ids
  measures = {'target': lambda outcomes: outcomes[..., report].mean(axis=-1)}
  if datamodels.outcome.removesuffix('_train') in _SIGNED:
    measures['target accuracy'] = lambda outcomes: np.where(
        np.isfinite(outcomes[..., report]), outcomes[..., report] > 0, np.nan
    ).mean(axis=-1)
  if rest.size:
    measures['rest'] = lambda outcomes: outcomes[..., rest].mean(axis=-1)
  curves = curves_lib.retrained(
      _WHO,
      result.orders,
      result.sizes,
      mode='add',
      measures=measures,
      retrain=retrain,
      replicates=replicates,
      num_targets=num_targets,
  )
  everything = np.ones((1, datamodels.num_train), bool)
  full = effects.retrained(_WHO, retrain, everything, replicates, num_targets)
  rules = [name for name in result.orders if name != 'random']
  observed = curves.values[0]
  own = [observed[curves.orders.index(name)] for name in rules]
  predicted = [result.predicted[name] for name in rules]
  return dataclasses.replace(
      result,
      curves=curves,
      agreement=effects.agreement(
          np.stack(predicted) - result.predicted['random'][None],
          np.stack(own) - observed[curves.orders.index('random')][None],
      ),
      full={n: float(effects.mean(f(full))[0]) for n, f in measures.items()},
      num_retrained=curves.num_retrained + replicates,
  )


def _halves(targets, choice_ids, seed) -> tuple[np.ndarray, np.ndarray]:
  """Targets to choose by and targets to report on, column numbers."""
  places = None
  if choice_ids is not None:
    chosen = interventions.check_ids(
        _WHO, 'choice_ids', choice_ids, int(targets.max()) + 1
    )
    outside = np.setdiff1d(chosen, targets)
    if outside.size:
      raise ValueError(
          f'`{_WHO}` expects choice_ids among target_ids, got'
          f' {outside[:5].tolist()}.'
      )
    places = np.flatnonzero(np.isin(targets, chosen))
  if len(targets) < 2:
    raise ValueError(
        f'`{_WHO}` needs at least two targets, to choose by one and report on'
        ' another.'
    )
  first, second = curves_lib.halves(_WHO, len(targets), places, seed)
  return np.sort(targets[first]), np.sort(targets[second])
