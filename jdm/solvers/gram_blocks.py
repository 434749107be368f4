"""The Gram matrix in blocks of rows: no whole float64 copy where it is large.

Counts are exact integers; a block of rows is centred in float64 when it is
needed, rounded to the dtype of products, or multiplied, and forgotten.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import centred
from jdm.solvers import precision

WHOLE_TRAIN = 8192  # Up to here a float64 copy (512 MiB) is no burden.
_BLOCK_BYTES = 2**28  # Of a block of rows in float64.
_TILE = 256  # Rows of weights at once on the device.


def block_rows(num_train: int) -> int:
  """How many rows are computed at once."""
  return max(1, min(num_train, _BLOCK_BYTES // (8 * num_train)))


def blocks(num_train: int) -> Iterator[slice]:
  """Rows that are computed at once."""
  step = block_rows(num_train)
  for start in range(0, num_train, step):
    yield slice(start, min(start + step, num_train))


def rounded(
    moments: centred.Statistics,
    dtype: str,
    columns: slice = slice(None),
) -> np.ndarray:
  """The centred Gram matrix, or some of its columns, in another dtype.

  Args:
    moments: of the models.
    dtype: of products.
    columns: of the matrix; it is symmetric.

  Returns:
    `[num_train, num_columns]`, on the host.
  """
  start, stop, _ = columns.indices(moments.num_train)
  gram = np.empty((moments.num_train, stop - start), dtype)
  for rows in blocks(moments.num_train):
    gram[rows] = moments.gram_rows(rows)[:, start:stop]
  return gram


@jax.jit
def _add_product(total, weights, block):
  """Adds weights [tile, block] @ block [block, num_train]."""
  return total + weights @ block


class Product:
  """Float64 products of rows of weights with the Gram matrix.

  A small matrix stays on the device; of a large one a block of rows passes
  through it at a time, for all weights of a call: many in a call cost least.

  Attributes:
    whole: float64 `[num_train, num_train]` on the device, or None.
    rows_at_once: rows of weights that a call does well to have.
  """

  def __init__(self, moments: centred.Statistics, device: jax.Device | None):
    self._moments, self._device = moments, device
    self.whole: jax.Array | None = None
    self.rows_at_once = _TILE
    if moments.num_train <= WHOLE_TRAIN:
      with precision.float64(), jax.default_device(device):
        self.whole = jnp.asarray(moments.gram())
    else:
      self.rows_at_once = max(_TILE, 2**30 // (8 * moments.num_train))

  def __call__(self, weights: np.ndarray) -> np.ndarray:
    """Weights `[k, num_train]` @ G, float64, on the host."""
    total = np.zeros(weights.shape)
    with precision.float64(), jax.default_device(self._device):
      if self.whole is not None:
        for part in self._parts(len(weights)):
          some = jnp.asarray(weights[part], jnp.float64)
          total[part] = np.asarray(some @ self.whole)
        return total
      for rows in blocks(self._moments.num_train):
        block = jnp.asarray(self._moments.gram_rows(rows))
        for part in self._parts(len(weights)):
          some = jnp.asarray(weights[part, rows], jnp.float64)
          added = _add_product(jnp.asarray(total[part]), some, block)
          total[part] = np.asarray(added)
    return total

  def _parts(self, count: int) -> Iterator[slice]:
    """Rows of weights on the device at once."""
    for start in range(0, count, _TILE):
      yield slice(start, start + _TILE)
