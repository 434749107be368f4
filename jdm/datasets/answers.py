"""What was planted in a dataset: rows whose role is known beforehand."""

import dataclasses

import numpy as np


def _none() -> np.ndarray:
  return np.empty(0, np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
  """The known answers of a dataset; what was not planted is empty.

  Attributes:
    kind: what was planted: 'synthetic', or a key of `planted.PLANTS`.
    duplicates: int `[num, 2]`: a train row and the test row that it repeats.
    duplicate_kinds: how each repeats it: 'exact', 'shift', 'rotate', 'noise',
      or 'atypical' (an atypical example with a random label, repeated with
      small noise).
    mislabels: int `[num]`: train rows whose label was set to another class.
    clean_labels: int `[num_train]`: labels as they were before mislabels or a
      backdoor were planted.
    poisoned: int `[num]`: train rows that carry a trigger or a patch.
    triggered: int `[num]`: test rows that carry it.
    clusters: int `[num_train]`: the cluster that a train row was drawn from
      (of num_classes times num_clusters), -1 for rows from none.
    test_clusters: int `[num_test]`: the same for test rows.

  Raises:
    ValueError: if `duplicates` is not `[num, 2]`, or has no kind for each.
  """

  kind: str = ''
  duplicates: np.ndarray = dataclasses.field(
      default_factory=lambda: np.empty((0, 2), np.int64)
  )
  duplicate_kinds: tuple[str, ...] = ()
  mislabels: np.ndarray = dataclasses.field(default_factory=_none)
  clean_labels: np.ndarray = dataclasses.field(default_factory=_none)
  poisoned: np.ndarray = dataclasses.field(default_factory=_none)
  triggered: np.ndarray = dataclasses.field(default_factory=_none)
  clusters: np.ndarray = dataclasses.field(default_factory=_none)
  test_clusters: np.ndarray = dataclasses.field(default_factory=_none)

  def __post_init__(self):
    shape = np.shape(self.duplicates)
    if len(shape) != 2 or shape[1] != 2:
      raise ValueError(
          '`Planted` expects duplicates of shape [num, 2] (train row, test'
          f' row), got {list(shape)}.'
      )
    if len(self.duplicate_kinds) != shape[0]:
      raise ValueError(
          f'`Planted` expects one kind for each of {shape[0]} duplicates, got'
          f' {len(self.duplicate_kinds)}.'
      )

  def take(self, train_rows: np.ndarray, test_rows: np.ndarray) -> 'Planted':
    """Renumbers the answers for a subset of rows; what is not in it drops.

    Args:
      train_rows: int `[num]`, the train rows that are kept, in their new order.
      test_rows: the same of the test split.
    """
    pairs = np.stack(
        [
            _new_numbers(self.duplicates[:, 0], train_rows),
            _new_numbers(self.duplicates[:, 1], test_rows),
        ],
        axis=1,
    )
    kept = np.all(pairs >= 0, axis=1)
    kinds = zip(self.duplicate_kinds, kept)
    return Planted(
        kind=self.kind,
        duplicates=pairs[kept],
        duplicate_kinds=tuple(kind for kind, is_kept in kinds if is_kept),
        mislabels=_kept(self.mislabels, train_rows),
        clean_labels=_values(self.clean_labels, train_rows),
        poisoned=_kept(self.poisoned, train_rows),
        triggered=_kept(self.triggered, test_rows),
        clusters=_values(self.clusters, train_rows),
        test_clusters=_values(self.test_clusters, test_rows),
    )


def _new_numbers(old: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """The places of old row numbers in `rows`, -1 for those not there."""
  size = 1 + max(old.max(initial=-1), rows.max(initial=-1))
  numbers = np.full(size, -1)
  numbers[rows] = np.arange(len(rows))
  return numbers[old]


def _kept(old: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """The new numbers of those rows that are kept, sorted."""
  numbers = _new_numbers(old, rows)
  return np.sort(numbers[numbers >= 0])


def _values(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """One value a row for the rows that are kept, if there are values."""
  return values[rows] if len(values) else values
