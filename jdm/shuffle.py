"""Random choices and random orders that vectorize over models.

`jax.random.permutation` sorts pairs, which under vmap costs as much as a third
of the training of a small model.
"""

import jax
from jax import lax
import jax.numpy as jnp

# Up to this many entries, 17 or more random bits stand beside the index in one
# 32-bit word. Ties, broken by index, then touch at most one entry in 16.
_MAX_PACKED = 1 << 14


def choose(key: jax.Array, size: jax.Array | int, num: int) -> jax.Array:
  """Chooses `size` of `num` things, every set with the same chance.

  The entries with the smallest random words are chosen; the largest of them is
  found bit by bit, which needs no sort. Equal words are taken in order.

  Args:
    key: used once.
    size: `[]`, how many to choose; may be traced.
    num: static number of things.

  Returns:
    bool `[num]` with `size` entries True.
  """
  words = jax.random.bits(key, (num,), jnp.uint32)

  def count(condition):
    return jnp.sum(condition, dtype=jnp.int32)

  def set_bit(position, threshold):
    # `threshold` stays the largest value with fewer than `size` words below.
    candidate = threshold | (jnp.uint32(1) << (31 - position))
    enough = count(words < candidate) < size
    return jnp.where(enough, candidate, threshold)

  zero = jnp.zeros((), jnp.uint32)
  threshold = lax.fori_loop(0, 32, set_bit, zero)
  below, equal = words < threshold, words == threshold
  first_equal = jnp.cumsum(equal, dtype=jnp.int32) <= size - count(below)
  return below | (equal & first_equal)


def order(
    key: jax.Array, size: jax.Array, *, capacity: int, limit: int
) -> jax.Array:
  """Draws a random order of `range(size)`, padded to `capacity`.

  The order depends on the key and on `size`, not on `capacity`: a padded draw
  equals an unpadded one bit for bit.

  Args:
    key: used once.
    size: `[]`, int; how many entries are real.
    capacity: static length of the result, at least `size`.
    limit: static bound of any `size`; the same in all programs of a run.

  Returns:
    int32 `[capacity]`: a random order of `range(size)`, then the padding.
  """
  index = jnp.arange(capacity, dtype=jnp.uint32)
  bits = jax.random.bits(key, (capacity,), jnp.uint32) >> 1
  padding = (index >= size.astype(jnp.uint32)).astype(jnp.uint32) << 31
  if limit <= _MAX_PACKED:  # One operand to sort: faster than two.
    low = jnp.uint32((1 << max(1, (limit - 1).bit_length())) - 1)
    words = lax.sort(padding | (bits & ~low) | index, is_stable=False)
    return (words & low).astype(jnp.int32)
  operands = (padding | bits, index.astype(jnp.int32))
  return lax.sort(operands, num_keys=2, is_stable=False)[1]
