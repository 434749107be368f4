"""Pairs of a training example and a target: the strongest, and the known ones.

A score of pairs is `[num_train, num_targets]`, higher for pairs more likely to
belong together.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

EARTH_RADIUS = 6371.0  # Kilometres, the mean.
ALL = 'all'


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
  """Pairs that are known to belong together.

  Attributes:
    pairs: int `[num, 2]`, train row and target column, each pair once.
    kinds: one word a pair, such as 'exact' or 'near'.

  Raises:
    ValueError: if shapes do not fit, or there is no pair.
  """

  pairs: np.ndarray
  kinds: tuple[str, ...]

  def __post_init__(self):
    pairs = np.asarray(self.pairs)
    if pairs.ndim != 2 or pairs.shape[1:] != (2,) or not len(pairs):
      raise ValueError(
          '`Truth` expects pairs [num, 2] of a train row and a target, at least'
          f' one, got shape {pairs.shape}.'
      )
    if len(self.kinds) != len(pairs):
      raise ValueError(
          f'`Truth` expects one kind for each of {len(pairs)} pairs, got'
          f' {len(self.kinds)}.'
      )
    if len(np.unique(pairs, axis=0)) != len(pairs):
      raise ValueError('`Truth` expects each pair once, got some twice.')
    object.__setattr__(self, 'pairs', pairs.astype(np.int64))
    object.__setattr__(self, 'kinds', tuple(self.kinds))

  def members(self, kind: str) -> np.ndarray:
    """Which pairs are of a kind, bool `[num]`; 'all' is every pair."""
    return np.array([kind in (ALL, own) for own in self.kinds])

  def all_kinds(self) -> tuple[str, ...]:
    """The kinds in order of appearance, and 'all' if there are several."""
    names = tuple(dict.fromkeys(self.kinds))
    return names if len(names) == 1 else (*names, ALL)

  def mask(self, shape: tuple[int, ...]) -> np.ndarray:
    """Bool `[num_train, num_targets]`, True for known pairs.

    Raises:
      ValueError: if a pair lies outside.
    """
    low, high = self.pairs.min(axis=0), self.pairs.max(axis=0)
    if low.min() < 0 or (high >= np.array(shape)).any():
      raise ValueError(
          f'known pairs go up to train row {high[0]} and target {high[1]}, but'
          f' the scores are of {shape[0]} training examples and'
          f' {shape[1]} targets; pass those of the same dataset.'
      )
    mask = np.zeros(shape, bool)
    mask[self.pairs[:, 0], self.pairs[:, 1]] = True
    return mask


def strongest(scores: np.ndarray, num_pairs: int) -> np.ndarray:
  """The pairs of highest score, int `[num_pairs, 2]`, strongest first.

  Ties go to the lower train row, then to the lower target; all pairs if there
  are fewer.
  """
  flat = np.asarray(scores).ravel()
  num_pairs = min(num_pairs, flat.size)
  border = np.partition(flat, flat.size - num_pairs)[flat.size - num_pairs]
  above = np.flatnonzero(flat > border)
  at = np.flatnonzero(flat == border)[: num_pairs - len(above)]
  chosen = np.sort(np.concatenate([above, at]))
  chosen = chosen[np.argsort(-flat[chosen], kind='stable')]
  return np.stack(np.unravel_index(chosen, np.shape(scores)), axis=1)


def nearby(
    train_metadata: np.ndarray,
    target_metadata: np.ndarray,
    *,
    threshold: float,
    metric: str = 'euclidean',
    kind: str = 'near',
) -> Truth:
  """Takes pairs for known whose metadata are close, such as capture sites.

  Args:
    train_metadata: `[num_train, num_fields]`.
    target_metadata: `[num_targets, num_fields]`.
    threshold: pairs at a distance below it count; in units of the metadata,
      kilometres for 'haversine'.
    metric: 'euclidean', or 'haversine' for fields latitude and longitude in
      degrees.
    kind: what to call the pairs.

  Raises:
    ValueError: if shapes or values do not fit, or if no pair is close enough.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022,
    for satellite images and the sites where they were taken.
  """
  arrays = [
      np.asarray(array, np.float64)
      for array in (train_metadata, target_metadata)
  ]
  _check_metadata(arrays, metric)
  if not threshold > 0:
    raise ValueError(f'`nearby` expects a threshold above 0, got {threshold}.')
  from sklearn.metrics import pairwise  # Takes a second to import.

  if metric == 'haversine':
    distances = pairwise.haversine_distances(*map(np.radians, arrays))
    distances *= EARTH_RADIUS
  else:
    distances = pairwise.euclidean_distances(*arrays)
  pairs = np.argwhere(distances < threshold)
  if not len(pairs):
    raise ValueError(
        f'`nearby` finds no pair closer than {threshold}; the closest are at'
        f' {distances.min():.4g}. Raise the threshold.'
    )
  return Truth(pairs=pairs, kinds=(kind,) * len(pairs))


def check_scores(name: str, scores: np.ndarray) -> np.ndarray:
  """Scores as an array, checked to be finite `[num_train, num_targets]`."""
  scores = np.asarray(scores)
  if scores.ndim != 2 or not scores.size:
    raise ValueError(
        f'scores {name!r} must be [num_train, num_targets], got shape'
        f' {scores.shape}.'
    )
  if not np.isfinite(scores).all():
    raise ValueError(f'scores {name!r} must be finite, got NaN or infinite.')
  return scores


def check_same_shape(scores: Mapping[str, np.ndarray]) -> None:
  """Raises ValueError unless all scores are of the same pairs."""
  shapes = {name: np.shape(array) for name, array in scores.items()}
  if len(set(shapes.values())) > 1:
    raise ValueError(f'scores must be of the same pairs, got shapes {shapes}.')


def _check_metadata(arrays: Sequence[np.ndarray], metric: str) -> None:
  if metric not in ('euclidean', 'haversine'):
    raise ValueError(
        f'`nearby` knows the metrics euclidean and haversine, got {metric!r}.'
    )
  shapes = [array.shape for array in arrays]
  if any(len(s) != 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
    raise ValueError(
        '`nearby` expects metadata [num_train, num_fields] and [num_targets,'
        f' num_fields], got {shapes[0]} and {shapes[1]}.'
    )
  if not all(np.isfinite(array).all() for array in arrays):
    raise ValueError('`nearby` expects finite metadata; leave others out.')
  if metric != 'haversine':
    return
  most = [np.abs(array).max(axis=0) for array in arrays]
  if shapes[0][1] != 2 or any((m > [90, 360]).any() for m in most):
    raise ValueError(
        "`nearby` with 'haversine' expects two fields, latitude (-90 to 90) and"
        f' longitude in degrees, got {shapes[0][1]} fields of sizes up to'
        f' {np.max(most, axis=0)}.'
    )
