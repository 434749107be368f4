"""The route of sweeps on a Gram matrix that every device holds."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jdm.solvers import proximal
from jdm.solvers import tiles


@dataclasses.dataclass(frozen=True, kw_only=True)
class GramRoute:
  """Sweeps on the Gram matrix.

  Attributes:
    gram: float64 `[num_train, num_train]`.
    start: `[num_targets, num_train]`, weights, or None for 0.
    cross: `[num_targets, num_train]`, in the units of start.
    narrow: dtype of products.
    block: coordinates at once.
    copies: of `proximal.prepare`.
  """

  gram: np.ndarray
  start: np.ndarray | None
  cross: np.ndarray
  narrow: str
  block: int
  copies: bool

  def place(self):
    """The matrix in float64, to start from weights, and laid out for sweeps."""
    gram = jnp.asarray(self.gram)
    return gram, proximal.prepare(
        gram.astype(self.narrow), self.block, copies=self.copies
    )

  def load(self, shared, targets, tile):
    """Weights and correlations of some targets to start from."""
    cross = jnp.asarray(tiles.pad_rows(self.cross, targets, tile))
    if self.start is None:
      return None, (jnp.zeros_like(cross), cross)
    start = jnp.asarray(tiles.pad_rows(self.start, targets, tile))
    return None, (start, cross - start @ shared[0])

  def advance(self, shared, *args, **options):
    """Sweeps on the Gram matrix; see `proximal.advance`."""
    return proximal.advance(shared[1], *args, block=self.block, **options)
