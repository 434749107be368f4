"""Groups of examples that depend on each other: maximum-sum submatrices.

Of a square matrix, entry (i, j) what example i does to example j, a set of a
given size with a large sum of its entries is searched by swaps. Each row pays
its own mean for every entry, or examples that help everyone would be found.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_LEAST_GAIN = 1e-6  # Of a swap, relative to the largest entry: rounding.
_LARGEST_SHARE = 0.8  # Of all examples, in one set.
_NEAR_BEST = 0.05  # Values that much below the highest count as good as it.


class Sets(NamedTuple):
  """Sets of several sizes.

  Attributes:
    values: `[num_sizes]`, sum of the entries of the set; NaN where there are
      too few examples for the size.
    sets: for each size that is not NaN, the set that each value is the mean of:
      one by each half, or one.
  """

  values: np.ndarray
  sets: list[list[np.ndarray]]

  def near_best(self) -> np.ndarray:
    """Places of the sizes whose value is not 5 % below the highest."""
    known = self.values[: len(self.sets)]
    if not known.size:
      return np.zeros(0, np.int64)
    return np.flatnonzero(known >= known.max() - _NEAR_BEST * abs(known.max()))


def excess(influence: np.ndarray) -> np.ndarray:
  """Influence beyond what an example does to everyone, `[num, num]` float32.

  The sum over a set S of size k is the sum of its entries (the diagonal counts
  as 0) minus k / num times the sum of its whole rows; over everything it is 0.

  Raises:
    ValueError: if the matrix is not square or not finite off its diagonal.
  """
  matrix = np.array(influence, np.float32)
  if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
    raise ValueError(
        '`excess` expects a square matrix [num, num], training examples by'
        f' training examples, got {list(matrix.shape)}.'
    )
  np.fill_diagonal(matrix, 0)
  if not np.isfinite(matrix).all():
    raise ValueError(
        '`excess` expects finite influences, got'
        f' {np.sum(~np.isfinite(matrix))} that are not; train more models.'
    )
  return matrix - matrix.mean(axis=1, keepdims=True)


def total(matrix: np.ndarray, rows: np.ndarray) -> float:
  """Sum of the entries of a set, diagonal included."""
  return float(matrix[np.ix_(rows, rows)].sum(dtype=np.float64))


def search(
    matrix: np.ndarray, size: int, *, num_restarts: int = 20, seed: int = 0
) -> np.ndarray:
  """Finds a set whose entries have a large sum: swaps from random sets.

  From each random set, the member that gives least leaves and the example that
  would give most comes in, as long as the sum grows. The best set is then
  taken on until no swap of any two examples makes its sum larger.

  Args:
    matrix: `[num, num]`, such as `excess` makes.
    size: of the set, from 1 to num - 1.
    num_restarts: random sets to start from.
    seed: of these.

  Returns:
    int `[size]`, rows in ascending order; a local maximum, not always the
    global one.

  Raises:
    ValueError: if the size is out of range, or nothing is started from.

  References:
    Khaddaj et al., `Rethinking backdoor attacks
    <https://arxiv.org/abs/2307.10163>`_, ICML 2023, §4 and §5.
  """
  num = len(matrix)
  if not 1 <= size < num or num_restarts < 1:
    raise ValueError(
        f'`search` expects a size from 1 to {num - 1} and at least one restart,'
        f' got {size} and {num_restarts}.'
    )
  both = (matrix + matrix.T).astype(np.float32)
  diagonal = np.diagonal(matrix).astype(np.float32)
  np.fill_diagonal(both, 0)
  least = _LEAST_GAIN * max(float(np.abs(both).max()), 1e-30)
  rng = np.random.default_rng(seed)
  # The `size` smallest of random numbers: a random set a row.
  draws = rng.random((num_restarts, num)).argsort(axis=1)
  members = np.zeros((num_restarts, num), bool)
  np.put_along_axis(members, draws[:, :size], True, axis=1)
  # What each example adds to the sum, or would add.
  gains = members.astype(np.float32) @ both + diagonal[None]
  left = np.arange(num_restarts)
  while left.size:
    out = np.where(members[left], gains[left], np.inf).argmin(axis=1)
    new = np.where(members[left], -np.inf, gains[left]).argmax(axis=1)
    change = gains[left, new] - gains[left, out] - both[out, new]
    goes_on = change > least
    left, out, new = left[goes_on], out[goes_on], new[goes_on]
    members[left, out], members[left, new] = False, True
    gains[left] += both[new] - both[out]
  sums = np.where(members, gains + diagonal[None], 0).sum(axis=1)
  best = int(sums.argmax())
  return _polish(both, diagonal, members[best], least)


def refine(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Replaces a set by the examples that its members do most to.

  What one example does to a set is hard to tell: the noise of the estimate is
  much the same for all targets that depend on the same thing. What a set does
  to one example is a mean over estimates whose noise is not.

  Args:
    matrix: `[num, num]`.
    rows: int `[size]`.

  Returns:
    int `[size]`, in ascending order. One step: more of them wander off.
  """
  received = _received(matrix, rows)
  return np.sort(np.argsort(-received, kind='stable')[: len(rows)])


def largest_size(num: int) -> int:
  """The largest set that is searched among `num` examples."""
  return min(max(int(_LARGEST_SHARE * num), 1), num - 1)


def search_sizes(
    matrices: Sequence[np.ndarray],
    sizes: Sequence[int] | np.ndarray,
    *,
    num_restarts: int = 20,
    seed: int = 0,
) -> Sets:
  """Searches sets of several sizes, refines them, and values them.

  Args:
    matrices: one, `[num, num]`, or two estimates of it: sets of each are valued
      by the other.
    sizes: ascending.
    num_restarts: of each search.
    seed: of these.
  """
  pairs = [(0, 1), (1, 0)] if len(matrices) > 1 else [(0, 0)]
  values, sets = np.full(len(sizes), np.nan), []
  for number, size in enumerate(sizes):
    if size > largest_size(len(matrices[0])):
      break
    found = [
        refine(
            matrices[here],
            search(
                matrices[here], int(size), num_restarts=num_restarts, seed=seed
            ),
        )
        for here, _ in pairs
    ]
    values[number] = np.mean(
        [total(matrices[to], rows) for (_, to), rows in zip(pairs, found)]
    )
    sets.append(found)
  return Sets(values, sets)


def scores(matrices: Sequence[np.ndarray], found: Sets) -> np.ndarray:
  """Mean over the best sizes of what the set does to each example.

  Args:
    matrices: as in `search_sizes`; sets of each are scored by the other.
    found: what was searched in them.

  Returns:
    `[num]`, mean entry from a member of the set to an example beyond that from
    everyone.
  """
  result, count = np.zeros(len(matrices[0])), 0
  for number in found.near_best():
    for matrix, members in zip(reversed(matrices), found.sets[number]):
      result += _received(matrix, members)
      count += 1
  return result / count


def _received(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Mean entry from members of a set to an example beyond that from all."""
  given = matrix[rows].sum(axis=0, dtype=np.float64)
  everyone = matrix.sum(axis=0, dtype=np.float64)
  own = np.diagonal(matrix).astype(np.float64)
  is_member = np.isin(np.arange(len(matrix)), rows)
  given -= np.where(is_member, own, 0)
  return given / np.maximum(len(rows) - is_member, 1) - (everyone - own) / max(
      len(matrix) - 1, 1
  )


def _polish(both, diagonal, members: np.ndarray, least: float) -> np.ndarray:
  """Swaps the best pair until none helps."""
  members = members.copy()
  while True:
    inside, outside = np.flatnonzero(members), np.flatnonzero(~members)
    gains = both[:, inside].sum(axis=1) + diagonal
    change = (
        gains[outside][None]
        - gains[inside][:, None]
        - both[np.ix_(inside, outside)]
    )
    out, new = np.unravel_index(change.argmax(), change.shape)
    if change[out, new] <= least:
      return inside
    members[inside[out]], members[outside[new]] = False, True
