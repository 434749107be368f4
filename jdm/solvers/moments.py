"""The sufficient statistics of masks and outcomes, streamed and exact.

Everything the LASSO and ridge need to know about m models is the number of
models that hold both example i and example j, and the sums of outcomes over
the models that hold example i. The first is an integer; it stays one.
"""

import dataclasses
import os
from typing import Any
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import precision

_WORD_BITS = 32
_SIDE = 256  # Of the tiles that pairs are counted in.
_STRIP = 128  # Rows of a tile at a time: their counts stay in the cache.
_TILES = 256  # Counted in one call.
_CHUNK_BYTES = 2**28  # Of masks as float64.
_WORDS_BYTES = 2**28  # Of packed masks that are counted at once.
_GRAM_ROWS = 1024  # Of the Gram matrix, computed at a time.


@jax.jit
def _count_tiles(blocks: jax.Array, pairs: jax.Array) -> jax.Array:
  """Counts of common bits of pairs of columns.

  Args:
    blocks: uint32 `[num_blocks, num_words, side]`, the columns.
    pairs: int32 `[num_tiles, 2]`, pairs of blocks.

  Returns:
    int32 `[num_tiles, side, side]`.
  """
  side = blocks.shape[2]
  strip = _STRIP if side % _STRIP == 0 else side

  def count(pair):
    left, right = blocks[pair[0]], blocks[pair[1]]
    strips = left.reshape(len(left), side // strip, strip).swapaxes(0, 1)

    def count_strip(words):
      # One word after the other, all columns side by side: ten times faster
      # than a reduction over the words of each pair.
      def add_word(k, counts):
        both = words[k][:, None] & right[k][None]
        return counts + jax.lax.population_count(both).astype(jnp.int32)

      zero = jnp.zeros((strip, side), jnp.int32)
      return jax.lax.fori_loop(0, len(words), add_word, zero)

    return jax.lax.map(count_strip, strips).reshape(side, side)

  return jax.lax.map(count, pairs)


def _add_pairs(counts: np.ndarray, words: np.ndarray) -> None:
  """Adds the counts of common bits of all pairs of columns, in place.

  Args:
    counts: int32 `[n, n]`; one triangle is counted, the other mirrored.
    words: uint32 `[num_words, n]`.
  """
  num_words, num_train = words.shape
  side = min(_SIDE, num_train)
  num_blocks = -(-num_train // side)
  padded = np.pad(words, ((0, 0), (0, num_blocks * side - num_train)))
  blocks = padded.reshape(num_words, num_blocks, side).swapaxes(0, 1)
  blocks = jnp.asarray(np.ascontiguousarray(blocks))
  pairs = np.stack(np.triu_indices(num_blocks), axis=1).astype(np.int32)
  step = min(_TILES, len(pairs))
  for start in range(0, len(pairs), step):
    some = pairs[start : start + step]
    missing = step - len(some)  # The last pair again: one compiled shape.
    tiles = _count_tiles(blocks, np.pad(some, ((0, missing), (0, 0)), 'edge'))
    for (row, column), tile in zip(some * side, np.asarray(tiles)):
      here, there = slice(row, row + side), slice(column, column + side)
      tile = tile[: num_train - row, : num_train - column]
      counts[here, there] += tile
      if row != column:
        counts[there, here] += tile.T


@jax.jit
def _cross(masks: jax.Array, outcomes: jax.Array) -> jax.Array:
  """Sums of outcomes [m, t] over the models that hold each example [m, n]."""
  return masks.astype(outcomes.dtype).T @ outcomes


def _pack_words(masks: np.ndarray) -> np.ndarray:
  """Packs bool [num_models, n] along models into uint32 [num_words, n]."""
  packed = np.packbits(masks, axis=0)
  packed = np.pad(packed, ((0, -len(packed) % 4), (0, 0)))
  grouped = packed.reshape(-1, 4, masks.shape[1]).transpose(0, 2, 1)
  return np.ascontiguousarray(grouped).view(np.uint32)[..., 0]


def _unpack_bits(bits: np.ndarray, num_train: int) -> np.ndarray:
  """Rows of packed bits as bool, checked."""
  bits = np.asarray(bits)
  width = -(-num_train // 8)
  if bits.dtype != np.uint8 or bits.ndim != 2 or bits.shape[1] != width:
    raise ValueError(
        f'packed masks of {num_train} examples must be uint8 [num_models,'
        f' {width}], got {bits.dtype} of shape {bits.shape}.'
    )
  return np.unpackbits(bits, axis=1, count=num_train).view(bool)


def unpack(masks: Any) -> np.ndarray:
  """Returns masks as a bool array on the host.

  Args:
    masks: bool `[num_models, num_train]`, or packed: an object with `bits`
      (uint8 `[num_models, ceil(num_train / 8)]`, as from `numpy.packbits`) and
      `num_train`.

  Returns:
    bool `[num_models, num_train]`.

  Raises:
    ValueError: if the masks are neither.
  """
  if hasattr(masks, 'bits') and hasattr(masks, 'num_train'):
    return _unpack_bits(masks.bits, masks.num_train)
  masks = np.asarray(masks)
  if masks.dtype != np.bool_ or masks.ndim != 2:
    raise ValueError(
        'masks must be bool [num_models, num_train] or subsets.PackedMasks, got'
        f' {masks.dtype} of shape {masks.shape}; for 0/1 numbers pass'
        ' `masks.astype(bool)`, for packed bits `PackedMasks(bits, num_train)`.'
    )
  return masks


def _take(masks: Any, rows: slice) -> np.ndarray:
  """Some rows of masks of either kind, as bool."""
  if hasattr(masks, 'bits'):
    return _unpack_bits(masks.bits[rows], masks.num_train)
  return unpack(masks[rows])


def _chunk_size(num_models: int, num_train: int) -> int:
  """Rows at a time: bounded memory, whole words, few compiled shapes."""
  most = min(max(_CHUNK_BYTES // (8 * num_train), 256), 8192)
  rows = -(-num_models // -(-num_models // most))  # Evenly: little is padded.
  return -(-rows // _WORD_BITS) * _WORD_BITS


def _chunks_counted(num_chunks: int, chunk: int, num_train: int) -> int:
  """Chunks whose pairs are counted at once: evenly, within bounded memory."""
  most = max(_WORDS_BYTES * 8 // (chunk * num_train), 1)
  num_groups = -(-num_chunks // most)
  return -(-num_chunks // num_groups)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
  """Sums over models from which linear datamodels are fitted.

  Outcomes are summed as differences from `shift` (the outcomes of the first
  model seen), so that a large mean costs no digits and a constant outcome has
  variance exactly 0.

  Attributes:
    counts: int32 `[num_train, num_train]`; models that hold both examples.
    cross: float64 `[num_train, num_targets]`; outcomes - shift, summed over the
      models that hold the example.
    outcome_sum: float64 `[num_targets]`; sum of outcomes - shift.
    outcome_square: float64 `[num_targets]`; sum of (outcomes - shift)^2.
    shift: float64 `[num_targets]`, outcome units.
    num_models: how many models were added.
  """

  counts: np.ndarray
  cross: np.ndarray
  outcome_sum: np.ndarray
  outcome_square: np.ndarray
  shift: np.ndarray
  num_models: int

  @classmethod
  def zeros(cls, num_train: int, num_targets: int) -> 'Moments':
    """Makes the moments of no models."""
    return cls(
        counts=np.zeros((num_train, num_train), np.int32),
        cross=np.zeros((num_train, num_targets)),
        outcome_sum=np.zeros(num_targets),
        outcome_square=np.zeros(num_targets),
        shift=np.zeros(num_targets),
        num_models=0,
    )

  @property
  def num_train(self) -> int:
    """Training examples."""
    return self.cross.shape[0]

  @property
  def num_targets(self) -> int:
    """Targets."""
    return self.cross.shape[1]

  def add(self, masks: Any, outcomes: jax.Array | np.ndarray) -> 'Moments':
    """Adds models, in chunks of bounded memory.

    Args:
      masks: bool `[num_models, num_train]` or `subsets.PackedMasks`.
      outcomes: `[num_models, num_targets]`, finite.

    Returns:
      The moments of the models so far and these.

    Raises:
      ValueError: if a shape or dtype does not fit, or an outcome is not finite.
    """
    outcomes = np.asarray(outcomes)
    packed = hasattr(masks, 'bits')
    rows = len(masks.bits) if packed else len(masks)
    width = masks.num_train if packed else np.shape(masks)[-1]
    expected = (rows, self.num_train), (rows, self.num_targets)
    if ((rows, width), outcomes.shape) != expected:
      raise ValueError(
          f'`Moments.add` expects masks of shape [num_models, {self.num_train}]'
          f' and outcomes of shape [num_models, {self.num_targets}], got'
          f' {(rows, width)} and {outcomes.shape}.'
      )
    if self.num_models + rows >= 2**31:
      raise ValueError('`Moments` counts up to 2**31 - 1 models.')
    if not np.isfinite(outcomes).all():
      raise ValueError(
          '`Moments.add` got outcomes that are not finite; drop the rows of'
          ' the models that diverged.'
      )
    if not rows:
      return self
    shift = self.shift
    if not self.num_models:
      shift = outcomes[0].astype(np.float64)
    return self._add_rows(masks, outcomes, shift)

  def _add_rows(self, masks, outcomes, shift) -> 'Moments':
    """Adds checked rows around a shift."""
    fresh = not self.num_models  # Large zeros need not be copied.
    counts = np.zeros_like(self.counts) if fresh else self.counts.copy()
    cross, total = self.cross.copy(), self.outcome_sum.copy()
    square = self.outcome_square.copy()
    chunk = _chunk_size(len(outcomes), self.num_train)
    starts = range(0, len(outcomes), chunk)
    group = _chunks_counted(len(starts), chunk, self.num_train)
    num_words = chunk // _WORD_BITS
    words = np.zeros((group * num_words, self.num_train), np.uint32)
    for index, start in enumerate(starts):
      rows = slice(start, start + chunk)
      part = _take(masks, rows)
      values = outcomes[rows].astype(np.float64) - shift[None]
      missing = chunk - len(part)  # Rows of zeros add nothing.
      part = np.pad(part, ((0, missing), (0, 0)))
      with precision.float64():
        some = _cross(part, np.pad(values, ((0, missing), (0, 0))))
      cross += np.asarray(some)
      total += values.sum(0)
      square += (values**2).sum(0)
      place = index % group * num_words
      words[place : place + num_words] = _pack_words(part)
      if index % group == group - 1 or start == starts[-1]:
        words[place + num_words :] = 0
        _add_pairs(counts, words)
    return Moments(
        counts=counts,
        cross=cross,
        outcome_sum=total,
        outcome_square=square,
        shift=shift,
        num_models=self.num_models + len(outcomes),
    )

  def shifted(self, shift: np.ndarray) -> 'Moments':
    """Expresses the same models around another shift `[num_targets]`."""
    step = self.shift - shift
    held = np.diagonal(self.counts).astype(np.float64)
    return dataclasses.replace(
        self,
        cross=self.cross + held[:, None] * step[None],
        outcome_sum=self.outcome_sum + self.num_models * step,
        outcome_square=self.outcome_square
        + 2 * step * self.outcome_sum
        + self.num_models * step**2,
        shift=np.asarray(shift),
    )

  def __add__(self, other: 'Moments') -> 'Moments':
    """Joins the moments of disjoint models of one problem."""
    self._check_same(other)
    if not self.num_models:
      return other
    return self._combine(other, 1)

  def subtract(self, other: 'Moments') -> 'Moments':
    """Takes models out again, for instance a fold; counts stay exact.

    Args:
      other: the moments of models that are among those of `self`.

    Returns:
      The moments of the models that are left.

    Raises:
      ValueError: if shapes differ or `other` holds models that `self` does not.
    """
    self._check_same(other)
    left = self._combine(other, -1)
    sound = (
        left.num_models >= 0
        and left.counts.min(initial=0) >= 0
        and np.diagonal(left.counts).max(initial=0) <= left.num_models
    )
    if not sound:
      raise ValueError(
          '`Moments.subtract` expects models that were added before, got'
          f' {other.num_models} models to take from {self.num_models}, which'
          ' leaves pairs of examples in fewer models than none, or examples in'
          ' more models than there are.'
      )
    return left

  def _check_same(self, other: Any) -> None:
    """Raises unless both are sums of one problem's masks and outcomes."""
    if not isinstance(other, Moments):
      raise TypeError(
          f'`Moments` combine with `Moments`, got {type(other).__name__}; counts'
          ' of masks and sums of real columns are different designs.'
      )
    if self.cross.shape != other.cross.shape:
      raise ValueError(
          'Moments of one problem are expected: [num_train, num_targets] is'
          f' {self.cross.shape} and {other.cross.shape}.'
      )

  def _combine(self, other: 'Moments', sign: int) -> 'Moments':
    """Self + sign * other, around the shift of self."""
    other = other.shifted(self.shift)
    return Moments(
        counts=self.counts + sign * other.counts,
        cross=self.cross + sign * other.cross,
        outcome_sum=self.outcome_sum + sign * other.outcome_sum,
        outcome_square=self.outcome_square + sign * other.outcome_square,
        shift=self.shift,
        num_models=self.num_models + sign * other.num_models,
    )

  def mean_mask(self) -> np.ndarray:
    """Share of the models that hold each example, float64 `[num_train]`."""
    return np.diagonal(self.counts) / max(self.num_models, 1)

  def mean_outcome(self) -> np.ndarray:
    """Mean outcome, float64 `[num_targets]`."""
    return self.shift + self.outcome_sum / max(self.num_models, 1)

  def gram_rows(self, rows: slice) -> np.ndarray:
    """Rows of the centred Gram matrix, float64 `[len(rows), num_train]`."""
    mean = self.mean_mask()
    gram = self.counts[rows] / max(self.num_models, 1)
    gram -= mean[rows][:, None] * mean[None]
    return gram

  def gram(self) -> np.ndarray:
    """Centred Gram matrix Xc'Xc / m, float64 `[num_train, num_train]`."""
    gram = np.empty(self.counts.shape)
    for start in range(0, self.num_train, _GRAM_ROWS):
      rows = slice(start, start + _GRAM_ROWS)
      gram[rows] = self.gram_rows(rows)
    return gram

  def centred_cross(self) -> np.ndarray:
    """Centred product Xc'yc / m, float64 `[num_train, num_targets]`."""
    count = max(self.num_models, 1)
    mean = self.mean_mask()
    return self.cross / count - mean[:, None] * (self.outcome_sum / count)[None]

  def variance(self) -> np.ndarray:
    """Variance of the outcomes, ||yc||^2 / m, float64 `[num_targets]`."""
    count = max(self.num_models, 1)
    variance = self.outcome_square / count - (self.outcome_sum / count) ** 2
    # Below this the difference is rounding: the outcome does not vary.
    floor = 8 * np.finfo(np.float64).eps * self.outcome_square / count
    return np.where(variance > floor, variance, 0.0)

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes one `.npz` file, complete or not at all.

    Raises:
      FileNotFoundError: if its folder is not there.
    """
    path = os.fspath(path)
    folder = os.path.dirname(path) or '.'
    if not os.path.isdir(folder):
      raise FileNotFoundError(
          f'`Moments.save` finds no folder {folder} for {path}; make it first:'
          f' `os.makedirs({folder!r})`.'
      )
    part = f'{path}.{os.getpid()}.part'
    try:
      with open(part, 'wb') as file:
        np.savez(file, **dataclasses.asdict(self))
      os.replace(part, path)
    finally:
      if os.path.exists(part):  # Writing failed: a full disk, say.
        os.remove(part)

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> 'Moments':
    """Reads what `save` wrote.

    Args:
      path: the file.

    Returns:
      The moments.

    Raises:
      FileNotFoundError: if there is nothing.
      ValueError: if the file holds something else.
    """
    if not os.path.exists(path):
      raise FileNotFoundError(
          f'`Moments.load` finds nothing at {os.fspath(path)}; `Moments.save`'
          ' writes such a file.'
      )
    names = [field.name for field in dataclasses.fields(cls)]
    try:
      with np.load(path) as arrays:
        values = {name: arrays[name] for name in names}
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
      raise ValueError(
          f'`Moments.load` expects a file written by `Moments.save`: {path} is'
          ' another kind of file or damaged.'
      ) from error
    values['num_models'] = int(values['num_models'])
    return cls(**values)


def of(masks: Any, outcomes: jax.Array | np.ndarray) -> Moments:
  """Computes the moments of all given models; see `Moments.add`."""
  outcomes = np.asarray(outcomes)
  num_train = getattr(masks, 'num_train', None) or np.shape(masks)[-1]
  return Moments.zeros(num_train, outcomes.shape[-1]).add(masks, outcomes)
