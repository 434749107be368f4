"""Directions in the space of training examples, checked at their ends.

The weights of one datamodel are a vector with one coordinate for each training
example, so a direction is a set of training examples with signs. Removing the
examples at one end of it should move the targets at either end oppositely.
"""

import dataclasses
from typing import Any

import numpy as np

from jdm import effects

ENDS = ('positive', 'negative')
GROUPS = ('top', 'bottom', 'all', 'top minus bottom')
_SHOWN = 20  # Rows at each end that a JSON lists.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Directions:
  """Orthogonal directions, that of most variance first.

  Attributes:
    loadings: `[num_directions, num_train]`, unit vectors; the largest loading
      of each is positive.
    projections: `[num_directions, num_targets]`, of the targets' vectors, less
      their mean.
    explained: `[num_directions]`, shares of the variance of the vectors.
    mean: `[num_train]`, of the vectors.
    spectrum: `[min(num_targets, num_train)]`, the shares of all directions,
      largest first.
  """

  loadings: np.ndarray
  projections: np.ndarray
  explained: np.ndarray
  mean: np.ndarray
  spectrum: np.ndarray

  def __len__(self) -> int:
    return len(self.loadings)

  def to_json(self) -> list[dict[str, Any]]:
    """The examples and targets at the ends of each direction."""
    listed = []
    for number in range(len(self)):
      row: dict[str, Any] = {'explained': float(self.explained[number])}
      for name, values in (
          ('train', self.loadings[number]),
          ('targets', self.projections[number]),
      ):
        for end, chosen in zip(ENDS, ends(values, min(_SHOWN, len(values)))):
          row[f'{name}_{end}'] = chosen.tolist()
          row[f'{name}_{end}_values'] = values[chosen].tolist()
      listed.append(row)
    return listed


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Removals:
  """What removing either end of each direction did, by retraining.

  Axes of effects: direction, end that was removed (of `ENDS`), group of targets
  (of `GROUPS`): the highest projections, the lowest, all targets, and the
  difference of the first two. Changes of the mean outcome, in outcome units.

  Attributes:
    removed: int `[num_directions, 2, num_removed]`, train rows.
    groups: int `[num_directions, 2, group_size]`, targets with the highest and
      with the lowest projections.
    predicted: `[num_directions, 2, 4]`, minus the sum of the removed weights.
    observed: same shape, means over retrainings.
    interval: `[2, num_directions, 2, 4]`, 95 % (Student's t over retrainings);
      None with fewer than two.
    random: `[num_directions, 4]`, the same groups after removing as many random
      examples, mean over random sets.
    random_interval: `[2, num_directions, 4]`, with random sets as the sample;
      None with fewer than two sets.
    agreement: of predicted and observed change over all targets and removals.
    replicates: retrainings of each subset.
    num_retrained: models trained in all, controls included.
  """

  removed: np.ndarray
  groups: np.ndarray
  predicted: np.ndarray
  observed: np.ndarray
  interval: np.ndarray | None
  random: np.ndarray
  random_interval: np.ndarray | None
  agreement: effects.Agreement
  replicates: int
  num_retrained: int

  @property
  def opposite(self) -> np.ndarray:
    """Bool `[num_directions, 2]`: whether the two groups moved oppositely.

    True where the intervals of both groups exclude 0, on the sides that the
    direction says: removing its positive end lowers the group of the highest
    projections and raises that of the lowest; its negative end the reverse.
    """
    if self.interval is None:
      return np.zeros(self.observed.shape[:2], bool)
    low, high = self.interval
    sides = []
    for end, (falls, rises) in enumerate(((0, 1), (1, 0))):
      sides.append((high[:, end, falls] < 0) & (low[:, end, rises] > 0))
    return np.stack(sides, axis=1)

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self) | {
        'ends': list(ENDS),
        'group_names': list(GROUPS),
        'opposite': self.opposite.tolist(),
    }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RemovalPlan:
  """How the ends of directions are checked.

  Attributes:
    num_directions: how many are checked, the first ones.
    num_removed: training examples at one end; None is a 20th of all.
    group_size: targets with the highest and with the lowest projections, of
      which the mean change is told; None is a tenth of all.
    replicates: retrainings of each subset.
    control_replicates: trainings on the full set.
    num_random: random sets of `num_removed` that are removed for comparison.
    batch_size: the fewest training examples that may be left.
    train_labels: int `[num_train]`, classes, each of which must keep an
      example; None for regression.
    seed: of the random sets.
  """

  num_directions: int = 3
  num_removed: int | None = None
  group_size: int | None = None
  replicates: int = 10
  control_replicates: int = 20

  def __post_init__(self):
    effects.check_replicates(
        'RemovalPlan',
        replicates=self.replicates,
        control_replicates=self.control_replicates,
    )

  num_random: int = 5
  batch_size: int = 1
  train_labels: np.ndarray | None = None
  seed: int = 0

  def num_retrainings(self) -> int:
    """How many models `remove_ends` trains."""
    num_sets = len(ENDS) * self.num_directions + self.num_random
    return num_sets * self.replicates + self.control_replicates


def unit_rows(weights: np.ndarray) -> np.ndarray:
  """Targets' weight vectors, each scaled to length 1.

  Args:
    weights: `[num_train, num_targets]`.

  Returns:
    float64 `[num_targets, num_train]`; a vector of zeros stays one.
  """
  rows = np.asarray(weights, np.float64).T
  norms = np.linalg.norm(rows, axis=1, keepdims=True)
  return rows / np.where(norms > 0, norms, 1.0)


def loadings(found: Directions, rows: np.ndarray) -> np.ndarray:
  """Loadings that other vectors of the same targets give the directions.

  Args:
    found: directions, whose projections are kept.
    rows: `[num_targets, num_train]`, such as those that resampled models give.

  Returns:
    `[num_train, num_directions]`; of the vectors that the directions were found
    in, their loadings. No longer of length 1.
  """
  squares = np.sum(found.projections**2, axis=1)
  return rows.T @ (found.projections.T / np.where(squares > 0, squares, 1))


def principal(who: str, rows: np.ndarray, num_directions: int) -> Directions:
  """Finds the directions of most variance: PCA of centred rows.

  Args:
    who: the function that complains.
    rows: `[num_targets, num_train]`, such as `unit_rows(weights)`.
    num_directions: how many to keep.

  Raises:
    ValueError: if there are not so many, or all rows are the same.
  """
  from sklearn import decomposition  # Takes a second to import.

  most = min(len(rows) - 1, rows.shape[1])
  if not 1 <= num_directions <= most:
    raise ValueError(
        f'`{who}` expects from 1 to {most} directions for {len(rows)} targets'
        f' and {rows.shape[1]} training examples, got {num_directions}.'
    )
  if not np.ptp(rows, axis=0).any():
    raise ValueError(
        f'`{who}`: the vectors of all {len(rows)} targets are the same, so no'
        ' direction tells them apart; were these weights shrunk to 0?'
    )
  pca = decomposition.PCA(svd_solver='full').fit(rows)
  loadings = pca.components_[:num_directions]
  # scikit-learn's choice of signs differs between versions.
  largest = np.abs(loadings).argmax(axis=1)[:, None]
  loadings = loadings * np.sign(np.take_along_axis(loadings, largest, axis=1))
  return Directions(
      loadings=loadings,
      projections=loadings @ (rows - pca.mean_[None]).T,
      explained=pca.explained_variance_ratio_[:num_directions],
      mean=pca.mean_,
      spectrum=pca.explained_variance_ratio_,
  )


def ends(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Places of the highest values, highest first, and of the lowest."""
  order = np.argsort(-np.asarray(values), kind='stable')
  return order[:count], order[::-1][:count]


def remove_ends(
    who: str,
    weights: np.ndarray,
    *,
    scores: np.ndarray,
    projections: np.ndarray,
    retrain: effects.Retrain,
    plan: RemovalPlan,
) -> Removals:
  """Removes the training examples at either end of directions; trains again.

  Args:
    who: the function that complains.
    weights: `[num_train, num_targets]`, what predicts the changes.
    scores: `[num_directions, num_train]`, by which the ends are chosen:
      loadings, or projections of the training examples' own datamodels.
    projections: `[num_directions, num_targets]`, by which groups are chosen.
    retrain: see `effects.Retrain`.
    plan: how many of what.

  Raises:
    ValueError: if ends or groups overlap, a subset cannot be trained on, or
      there is nothing to compare.
  """
  num_train, num_targets = weights.shape
  num_removed, group_size = plan.num_removed, plan.group_size
  num_removed = max(1, num_train // 20) if num_removed is None else num_removed
  group_size = max(1, num_targets // 10) if group_size is None else group_size
  check_counts(
      who,
      num_directions=(plan.num_directions, len(scores)),
      num_removed=(num_removed, num_train // 2),
      group_size=(group_size, num_targets // 2),
      replicates=(plan.replicates, None),
      control_replicates=(plan.control_replicates, None),
      num_random=(plan.num_random, None),
  )
  scores = scores[: plan.num_directions]
  projections = projections[: plan.num_directions]
  removed = np.stack([ends(score, num_removed) for score in scores])
  groups = np.stack([ends(values, group_size) for values in projections])
  masks, random_masks = _masks(who, removed, num_train, plan)
  num_ends = len(masks)
  everything = np.ones((1, num_train), bool)
  control = effects.retrained(
      who, retrain, everything, plan.control_replicates, num_targets
  )
  outcomes = effects.retrained(
      who,
      retrain,
      np.concatenate([masks, random_masks]),
      plan.replicates,
      num_targets,
  )
  shape = (plan.replicates, *removed.shape[:2], num_targets)
  own = outcomes[:, :num_ends].reshape(shape)
  control = control[:, :, None]  # [replicates, 1, 1, num_targets].
  predicted = -np.asarray(weights, np.float64)[removed].sum(axis=2)
  by_group, control_by_group = _grouped(own, groups), _grouped(control, groups)
  # Sets differ more than retrainings of one: they are the sample.
  chance = effects.mean(outcomes[:, num_ends:])
  chance = _grouped(chance[:, None, None], groups)
  interval = effects.interval(chance, control_by_group)
  return Removals(
      removed=removed,
      groups=groups,
      predicted=_grouped(predicted, groups),
      observed=effects.change(by_group, control_by_group),
      interval=effects.interval(by_group, control_by_group),
      random=effects.change(chance, control_by_group)[:, 0],
      random_interval=None if interval is None else interval[:, :, 0],
      agreement=_agreement(predicted, own, control),
      replicates=plan.replicates,
      num_retrained=plan.num_retrainings(),
  )


def check_counts(who: str, **counts: tuple[int, int | None]) -> None:
  """Checks whole numbers `name=(value, most)`, all at least 1.

  Raises:
    ValueError: naming the first that is out of range.
  """
  for name, (value, most) in counts.items():
    if value < 1 or most is not None and value > most:
      limit = 'at least 1' if most is None else f'from 1 to {most}'
      raise ValueError(f'`{who}` expects {name} {limit}, got {value}.')


def _masks(
    who: str, removed: np.ndarray, num_train: int, plan: RemovalPlan
) -> tuple[np.ndarray, np.ndarray]:
  """Masks `[num_directions * 2, num_train]`, and those of random removals."""
  rng = np.random.default_rng(plan.seed)
  num_removed = removed.shape[2]
  random = [
      rng.permutation(num_train)[:num_removed] for _ in range(plan.num_random)
  ]
  both = []
  for sets in (removed.reshape(-1, num_removed), np.stack(random)):
    masks = np.ones((len(sets), num_train), bool)
    np.put_along_axis(masks, sets, False, axis=1)
    labels = plan.train_labels
    effects.check_masks_trainable(
        who,
        masks,
        batch_size=plan.batch_size,
        labels=labels,
        num_classes=0 if labels is None else int(np.max(labels)) + 1,
    )
    both.append(masks)
  return both[0], both[1]


def _grouped(outcomes: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Means over groups: `[..., directions or 1, ends or 1, targets]` -> `GROUPS`.

  A model that diverged is NaN for all its targets, and stays so.
  """
  num_directions = len(groups)
  shape = (*outcomes.shape[:-3], num_directions, *outcomes.shape[-2:])
  outcomes = np.broadcast_to(outcomes, shape)
  means = []
  for side in (0, 1):
    of_directions = [
        outcomes[..., number, :, :][..., groups[number, side]].mean(axis=-1)
        for number in range(num_directions)
    ]
    means.append(np.stack(of_directions, axis=-2))
  means.append(outcomes.mean(axis=-1))
  means.append(means[0] - means[1])
  return np.stack(means, axis=-1)


def _agreement(
    predicted: np.ndarray, own: np.ndarray, control: np.ndarray
) -> effects.Agreement:
  """Over all targets and removals, with the ceiling of the retrainings."""
  halves = effects.halves(own, control)
  ceiling = float('nan')
  if halves is not None:
    ceiling = effects.split_half_ceiling(*halves)
  return effects.agreement(predicted, effects.change(own, control), ceiling)
