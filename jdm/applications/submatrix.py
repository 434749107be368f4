"""Groups of examples that depend on each other: maximum-sum submatrices.

Of a square matrix, entry (i, j) what example i does to example j, a set of a
given size with a large sum of its entries is searched by swaps. Each row pays
its own mean for every entry, or examples that help everyone would be found.
"""

import numpy as np

_LEAST_GAIN = 1e-6  # Of a swap, relative to the largest entry: rounding.


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
