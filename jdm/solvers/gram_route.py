"""The route of sweeps on a Gram matrix that every device holds."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from jdm.solvers import centred
from jdm.solvers import gram_blocks
from jdm.solvers import proximal
from jdm.solvers import tiles


@dataclasses.dataclass(frozen=True, kw_only=True)
class GramRoute(tiles.OneDevice):
  """Sweeps on the Gram matrix.

  Attributes:
    moments: of the models.
    start: `[num_targets, num_train]`, weights, or None for 0.
    correlation: float64 `[num_targets, num_train]`, of start.
    narrow: dtype of products.
    block: coordinates at once.
    copies: of `proximal.prepare`.
  """

  moments: centred.Statistics
  start: np.ndarray | None
  correlation: np.ndarray
  narrow: str
  block: int
  copies: bool

  def place(self):
    """The matrix in the dtype of products, laid out for sweeps."""
    gram = jnp.asarray(gram_blocks.rounded(self.moments, self.narrow))
    return proximal.prepare(gram, self.block, copies=self.copies)

  def load(self, shared, targets, tile) -> tuple[Any, Any]:
    """Weights and correlations of some targets to start from."""
    del shared
    correlation = jnp.asarray(tiles.pad_rows(self.correlation, targets, tile))
    if self.start is None:
      return None, (jnp.zeros_like(correlation), correlation)
    start = jnp.asarray(tiles.pad_rows(self.start, targets, tile))
    return None, (start, correlation)

  def advance(self, shared, *args, **options):
    """Sweeps on the Gram matrix; see `proximal.advance`."""
    return proximal.advance(shared, *args, block=self.block, **options)
