"""Random choices and random orders that vectorize over models.

`jax.random.permutation` sorts pairs, which under vmap costs as much as a third
of the training of a small model.
"""

import jax
from jax import lax
import jax.numpy as jnp

# Words of a network: on a CPU it is ahead of a sort for many rows side by side
# that stay in the cache, and takes longer to compile.
_FEWEST_ENTRIES, _FEWEST_ROWS, _MOST_WORDS = 256, 32, 1 << 18
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
    words = _sorted(padding | (bits & ~low) | index)
    return (words & low).astype(jnp.int32)
  operands = (padding | bits, index.astype(jnp.int32))
  return lax.sort(operands, num_keys=2, is_stable=False)[1]


@jax.custom_batching.custom_vmap
def _sorted(words: jax.Array) -> jax.Array:
  """Sorts `[num]`, uint32."""
  return lax.sort(words, is_stable=False)


@_sorted.def_vmap
def _sorted_rows(axis_size, in_batched, words):
  """Sorts many rows at once; the same words whichever way."""
  del in_batched  # The only argument is.
  sort = lambda words: lax.sort(words, is_stable=False)
  num = words.shape[1]
  is_small = axis_size << (num - 1).bit_length() <= _MOST_WORDS
  if axis_size < _FEWEST_ROWS or num < _FEWEST_ENTRIES or not is_small:
    return sort(words), True
  found = lax.platform_dependent(words, cpu=_by_network, default=sort)
  return found, True


def _by_network(words: jax.Array) -> jax.Array:
  """Sorts the rows of uint32 `[num_rows, num]` by a bitonic network.

  All rows take the same steps, each the smaller and the larger of pairs of
  entries: the processor compares 16 rows in one instruction, where a sort
  guesses each comparison.

  References:
    Batcher, `Sorting networks and their applications
    <https://doi.org/10.1145/1468075.1468121>`_, 1968.
  """
  num_rows, num = words.shape
  length = 1 << (num - 1).bit_length()
  last = jnp.uint32(0xFFFFFFFF)
  padding = ((0, length - num), (0, 0))
  columns = jnp.pad(words.T, padding, constant_values=last)
  block = 2
  while block <= length:  # Sorted blocks of half the length are merged.
    columns = _compared(columns, block // 2, backwards=True)
    distance = block // 4
    while distance:
      columns = _compared(columns, distance)
      distance //= 2
    block *= 2
  return columns[:num].T


def _compared(
    columns: jax.Array, distance: int, backwards: bool = False
) -> jax.Array:
  """Orders all pairs of entries at a distance, or from both ends of a block.

  In operations of `lax`: a network has some 60 such steps, and those of
  `jax.numpy` take five times as long to trace.
  """
  length, num_rows = columns.shape
  shape = length // (2 * distance), 2, distance, num_rows
  blocks = lax.reshape(columns, shape)
  low, high = lax.split(blocks, (1, 1), axis=1)
  if backwards:
    high = lax.rev(high, (2,))
  low, high = lax.min(low, high), lax.max(low, high)
  if backwards:
    high = lax.rev(high, (2,))
  columns = lax.reshape(lax.concatenate((low, high), 1), columns.shape)
  # Each step once: fused, each would compute all that came before.
  return lax.optimization_barrier(columns)
