"""Which examples does a model treat alike?

Two questions, each answered by datamodels beside other measures of likeness:
which training examples help or hurt most on a target, and which targets need
the same training examples (the cosine between their weights).
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm.analysis import likeness

WEIGHTS = 'datamodels'
_WHO = 'similarity'
_LEVEL = 0.95
_LISTED = 100  # Targets whose neighbours are in the JSON.

Features = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
  """The candidates of highest score of each target.

  Attributes:
    ids: int `[num_targets, count]`, highest first; -1 where a target has no
      more, which happens to weights that are 0 only.
    scores: `[num_targets, count]`; NaN where there is no more.
    frequency: `[num_targets, count]`, share of bootstrap resamples of the
      models in which the weight was not 0; None where it is not known.
  """

  ids: np.ndarray
  scores: np.ndarray
  frequency: np.ndarray | None = None

  def head(self, count: int) -> 'Neighbours':
    """Those of the first targets only."""
    often = None if self.frequency is None else self.frequency[:count]
    return Neighbours(
        ids=self.ids[:count], scores=self.scores[:count], frequency=often
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
  """Methods that rank the same candidates for the same targets.

  Attributes:
    methods: their names; the first is that of datamodels.
    neighbours: by method.
    same_class: `[num_methods]`, share of the neighbours that have the class of
      their target, mean over targets.
    same_class_interval: `[2, num_methods]`, 95 % (Student's t, targets as a
      sample); NaN with fewer than two.
    random_same_class: the same of candidates at random.
    overlap: `[num_methods, num_methods]`, share of the neighbours by one method
      that are neighbours by the other too, mean over targets.
    random_overlap: the same of two random choices.
    num_candidates: for each target.
  """

  methods: tuple[str, ...]
  neighbours: dict[str, Neighbours]
  same_class: np.ndarray
  same_class_interval: np.ndarray
  random_same_class: float
  overlap: np.ndarray
  random_overlap: float
  num_candidates: int

  def head(self, count: int) -> 'Comparison':
    """The same, with the neighbours of the first targets only."""
    some = {name: one.head(count) for name, one in self.neighbours.items()}
    return dataclasses.replace(self, neighbours=some)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Similarity:
  """Similar examples by datamodels and by other measures.

  Attributes:
    target_ids: int `[num_targets]`, columns of the datamodels.
    count: neighbours of each target.
    opponents: the training examples that hurt a target most; their scores are
      weights, most negative first.
    opponents_same_class: share that has the class of the target, NaN if there
      is none.
    train: training examples near to targets. By datamodels: the proponents,
      those that help most; scores are weights, outcome units.
    targets: other targets near to targets. By datamodels: scores are cosines
      between weights.
  """

  target_ids: np.ndarray
  count: int
  opponents: Neighbours
  opponents_same_class: float
  train: Comparison
  targets: Comparison

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values; neighbours of a hundred targets."""
    return effects.to_json(
        dataclasses.replace(
            self,
            opponents=self.opponents.head(_LISTED),
            train=self.train.head(_LISTED),
            targets=self.targets.head(_LISTED),
        )
    )


def similarity(
    datamodels: datamodels_lib.Datamodels,
    *,
    train_labels: np.ndarray,
    target_labels: np.ndarray,
    features: Mapping[str, Features] | None = None,
    distances: Mapping[str, Features] | None = None,
    target_ids: Sequence[int] | np.ndarray | None = None,
    count: int = 10,
    frequency: np.ndarray | None = None,
) -> Similarity:
  """Finds the neighbours of targets, by datamodels and otherwise.

  Args:
    datamodels: of test targets.
    train_labels: int `[num_train]`.
    target_labels: int `[num_targets]`.
    features: by name, of training examples `[num_train, ...]` and of targets
      `[num_targets, ...]`, compared by their cosine; such as the penultimate
      layer (`representation.penultimate`).
    distances: the same, compared by minus the Euclidean distance; such as
      pixels.
    target_ids: columns of the datamodels to look at; all by default. Neighbours
      are searched among all targets.
    count: neighbours of each.
    frequency: `[num_train, num_targets]`, in what share of resamples of the
      models each weight was not 0.

  Returns:
    The neighbours, the share that has the target's class, and how far methods
    agree, each beside what chance gives.

  Raises:
    ValueError: if shapes do not fit, ids are out of range or repeated, or
      `count` exceeds the candidates.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022.
  """
  weights = np.asarray(datamodels.weights)
  num_train, num_targets = weights.shape
  labels = np.asarray(train_labels), np.asarray(target_labels)
  targets = np.arange(num_targets) if target_ids is None else target_ids
  targets = _checked_ids(targets, num_targets)
  _check(weights, labels, count, frequency)
  named = {**(features or {}), **(distances or {})}
  if WEIGHTS in named or len(named) != len(features or {}) + len(
      distances or {}
  ):
    raise ValueError(
        f'`{_WHO}` expects each name once and none {WEIGHTS!r}, got'
        f' {sorted(features or {})} and {sorted(distances or {})}.'
    )
  _check_features(named, num_train, num_targets)
  measures = [
      (likeness.cosine, features),
      (likeness.negative_distance, distances),
  ]
  to_train = {WEIGHTS: weights[:, targets]}
  to_targets = {WEIGHTS: likeness.cosine(weights.T, weights.T[targets])}
  for measure, some in measures:
    for name, (train, test) in (some or {}).items():
      own = np.asarray(test)[targets]
      to_train[name] = measure(train, own)
      to_targets[name] = measure(test, own)
  if frequency is not None:
    frequency = np.asarray(frequency)[:, targets]
  own_labels = labels[1][targets]
  opponents = _nearest(-weights[:, targets], count, frequency, least=0.0)
  opponents = dataclasses.replace(opponents, scores=-opponents.scores)
  return Similarity(
      target_ids=targets,
      count=count,
      opponents=opponents,
      opponents_same_class=_mean(
          _share_of_class(opponents.ids, labels[0], own_labels)
      ),
      train=_compare(to_train, count, labels[0], own_labels, None, frequency),
      targets=_compare(to_targets, count, labels[1], own_labels, targets, None),
  )


def _compare(
    scores: Mapping[str, np.ndarray],
    count: int,
    labels: np.ndarray,
    own_labels: np.ndarray,
    own_ids: np.ndarray | None,
    frequency: np.ndarray | None,
) -> Comparison:
  """Compares scores `[num_candidates, num_targets]` by their neighbours."""
  num_candidates = len(labels)
  found = {}
  for name, array in scores.items():
    is_weights = name == WEIGHTS and own_ids is None
    if own_ids is not None:  # Nobody is a neighbour of itself.
      array = np.array(array)
      array[own_ids, np.arange(len(own_ids))] = -np.inf
    found[name] = _nearest(
        array,
        count,
        frequency if is_weights else None,
        least=0.0 if is_weights else -np.inf,
    )
  shares = np.stack(
      [_share_of_class(one.ids, labels, own_labels) for one in found.values()]
  )
  means = [
      [_shared(a.ids, b.ids) for b in found.values()] for a in found.values()
  ]
  same = labels[:, None] == own_labels[None]
  others = num_candidates - (own_ids is not None)
  num_same = same.sum(axis=0) - (own_ids is not None)
  return Comparison(
      methods=tuple(found),
      neighbours=found,
      same_class=np.array([_mean(share) for share in shares]),
      same_class_interval=np.stack([_t_interval(s) for s in shares], axis=1),
      random_same_class=float(np.mean(num_same / others)),
      overlap=np.array(means),
      random_overlap=count / others,
      num_candidates=others,
  )


def _nearest(
    scores: np.ndarray,
    count: int,
    frequency: np.ndarray | None,
    least: float,
) -> Neighbours:
  """The `count` highest of each column that are above `least`."""
  order = np.argsort(-scores, axis=0, kind='stable')[:count]
  values = np.take_along_axis(scores, order, axis=0).astype(np.float64)
  is_there = values > least
  often = None
  if frequency is not None:
    often = np.take_along_axis(frequency, order, axis=0)
    often = np.where(is_there, often, np.nan).T
  return Neighbours(
      ids=np.where(is_there, order, -1).T,
      scores=np.where(is_there, values, np.nan).T,
      frequency=often,
  )


def _share_of_class(
    ids: np.ndarray, labels: np.ndarray, own_labels: np.ndarray
) -> np.ndarray:
  """Share of neighbours of the same class, by target; NaN without any."""
  is_there = ids >= 0
  same = (labels[ids] == own_labels[:, None]) & is_there
  number = is_there.sum(axis=1)
  return np.where(number > 0, same.sum(axis=1) / np.maximum(number, 1), np.nan)


def _shared(first: np.ndarray, second: np.ndarray) -> float:
  """Share of the neighbours in `first` that `second` has too."""
  is_there = first >= 0
  both = (first[:, :, None] == second[:, None, :]).any(axis=2) & is_there
  number = is_there.sum(axis=1)
  kept = number > 0
  return _mean(both.sum(axis=1)[kept] / number[kept])


def _mean(values: np.ndarray) -> float:
  values = values[np.isfinite(values)]
  return float(values.mean()) if values.size else float('nan')


def _t_interval(values: np.ndarray) -> np.ndarray:
  """Student's t interval of the mean, `[2]`; NaN with fewer than two."""
  values = values[np.isfinite(values)]
  if len(values) < 2:
    return np.full(2, np.nan)
  error = values.std(ddof=1) / np.sqrt(len(values))
  half = stats.t.ppf(0.5 + _LEVEL / 2, len(values) - 1) * error
  return values.mean() + np.array([-half, half])


def _checked_ids(ids: Any, num_targets: int) -> np.ndarray:
  ids = np.asarray(ids)
  is_list = ids.ndim == 1 and ids.size
  if not is_list or not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(
        f'`{_WHO}` expects target_ids as integers [num], at least one, got'
        f' {ids.dtype} of shape {ids.shape}.'
    )
  if ids.min() < 0 or ids.max() >= num_targets:
    raise ValueError(
        f'`{_WHO}` expects target_ids in [0, {num_targets}), got {ids.min()} to'
        f' {ids.max()}.'
    )
  if len(np.unique(ids)) != len(ids):
    raise ValueError(f'`{_WHO}` expects each of target_ids once.')
  return ids.astype(np.int64)


def _check(weights, labels, count, frequency) -> None:
  num_train, num_targets = weights.shape
  if (labels[0].shape, labels[1].shape) != ((num_train,), (num_targets,)):
    raise ValueError(
        f'`{_WHO}` expects train_labels [{num_train}] and target_labels'
        f' [{num_targets}], as the datamodels have, got {labels[0].shape} and'
        f' {labels[1].shape}.'
    )
  if not 1 <= count <= min(num_train, num_targets - 1):
    raise ValueError(
        f'`{_WHO}` expects a count from 1 to {min(num_train, num_targets - 1)}'
        f' (training examples, and other targets), got {count}.'
    )
  if frequency is not None and np.shape(frequency) != weights.shape:
    raise ValueError(
        f'`{_WHO}` expects frequency of shape {weights.shape}, got'
        f' {np.shape(frequency)}.'
    )


def _check_features(
    named: Mapping[str, Features], num_train: int, num_targets: int
) -> None:
  for name, (train, test) in named.items():
    if (len(train), len(test)) != (num_train, num_targets):
      raise ValueError(
          f'`{_WHO}` expects {name!r} of {num_train} training examples and'
          f' {num_targets} targets, got {len(train)} and {len(test)}.'
      )
