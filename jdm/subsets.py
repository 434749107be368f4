"""Which training examples each model sees: samplers of subset masks.

A sampler draws row i from (seed, i) alone, `key = jax.random.key(seed)`, so any
row can be drawn again, by anybody, in any chunk. Every model owns the keys
`subset_key` and `training_key`; the second also takes a replicate number:
replicates of a model share its subset and differ in initialization and order.
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdm import shuffle

Sampler = Callable[..., jax.Array]


class PackedMasks(NamedTuple):
  """Masks at one bit an example, the form in which they are stored.

  Attributes:
    bits: `[num_models, ceil(num_train / 8)]`, uint8, as `np.packbits` lays out.
    num_train: number of training examples, for the bits at the end.
  """

  bits: np.ndarray
  num_train: int

  def __array__(self, dtype: Any = None, copy: bool | None = None):
    """The bool masks: whoever takes an array takes packed masks."""
    del copy  # Unpacking makes a new array anyway.
    return np.asarray(unpack(self), dtype)


def pack(masks: jax.Array | np.ndarray) -> PackedMasks:
  """Packs bool masks `[num_models, num_train]` into bits."""
  masks = check_masks(masks, who='`pack`')
  return PackedMasks(np.packbits(masks, axis=1), masks.shape[1])


def unpack(packed: PackedMasks) -> np.ndarray:
  """Unpacks to bool masks `[num_models, num_train]`.

  Raises:
    ValueError: if the bits are not uint8 `[num_models, ceil(num_train / 8)]`.
  """
  if not isinstance(packed, PackedMasks):
    raise ValueError(
        '`unpack` expects `subsets.PackedMasks(bits, num_train)`, got'
        f' {type(packed).__name__}.'
    )
  bits, num_train = np.asarray(packed.bits), packed.num_train
  width = -(-num_train // 8)
  if bits.dtype != np.uint8 or bits.ndim != 2 or bits.shape[1] != width:
    raise ValueError(
        f'`unpack` expects the masks of {num_train} examples as uint8'
        f' [num_models, {width}], as `np.packbits(masks, axis=1)` lays them'
        f' out, got {bits.dtype} of shape {bits.shape}.'
    )
  return np.unpackbits(bits, axis=1, count=num_train).view(bool)


def check_masks(
    masks: jax.Array | np.ndarray,
    *,
    who: str,
    num_train: int | None = None,
) -> np.ndarray:
  """Returns masks as a host array, or raises what is wrong with them.

  Args:
    masks: bool `[num_models, num_train]`.
    who: the function that complains.
    num_train: the expected number of columns; None accepts any.

  Returns:
    The same masks, a numpy array.

  Raises:
    ValueError: if they are not bool, not 2-D, or of another width.
  """
  masks = np.asarray(masks)
  width = 'num_train' if num_train is None else num_train
  if masks.ndim != 2 or (num_train is not None and masks.shape[1] != num_train):
    raise ValueError(
        f'{who} expects masks of shape [num_models, {width}], got'
        f' {masks.shape}; for one subset pass `mask[None]`.'
    )
  if masks.dtype != np.bool_:
    raise ValueError(
        f'{who} expects bool masks, True where the example is in the subset;'
        f' got {masks.dtype}. Pass `masks.astype(bool)`, or packed bits as'
        ' `subsets.PackedMasks(bits, num_train)`.'
    )
  return masks


def subset_key(key: jax.Array, model_id: jax.Array | int) -> jax.Array:
  """The key that draws the subset of one model."""
  return jax.random.fold_in(jax.random.fold_in(key, model_id), 0)


def training_key(
    key: jax.Array,
    model_id: jax.Array | int,
    replicate: jax.Array | int = 0,
) -> jax.Array:
  """The key of everything random in one training but its subset."""
  model_key = jax.random.fold_in(key, model_id)
  return jax.random.fold_in(jax.random.fold_in(model_key, 1), replicate)


def subset_size(num_train: int, alpha: float) -> int:
  """The size of an alpha-subset: `alpha * num_train`, rounded.

  Raises:
    ValueError: if alpha is outside (0, 1) or the subset is empty or everything.
  """
  if not 0.0 < alpha < 1.0:
    raise ValueError(
        f'alpha is the fraction of examples in a subset, in (0, 1); got {alpha}'
    )
  size = round(alpha * num_train)
  if not 0 < size < num_train:
    raise ValueError(
        f'alpha={alpha} of {num_train} examples makes subsets of {size};'
        ' choose an alpha that leaves at least one example in and one out.'
    )
  return size


def fixed_size(
    key: jax.Array,
    model_ids: jax.Array | np.ndarray,
    num_train: int,
    alpha: float,
) -> jax.Array:
  """Samples subsets of exactly `alpha * num_train` examples.

  Args:
    key: `jax.random.key(seed)`.
    model_ids: `[num_models]`, int; row i is drawn from (key, model_ids[i]).
    num_train: number of training examples.
    alpha: subset fraction, in (0, 1).

  Returns:
    bool `[num_models, num_train]`, True where the example is in the subset.

  Raises:
    ValueError: if alpha is outside (0, 1), or the subset empty or everything.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, §2.
  """
  size = subset_size(num_train, alpha)
  return _fixed_size_masks(key, _ids(model_ids), num_train, size)


def bernoulli(
    key: jax.Array,
    model_ids: jax.Array | np.ndarray,
    num_train: int,
    alpha: float,
) -> jax.Array:
  """Samples subsets that hold each example independently with chance alpha.

  Arguments, result and errors as in `fixed_size`.
  """
  subset_size(num_train, alpha)
  return _bernoulli_masks(key, _ids(model_ids), num_train, alpha)


def uniform_size(
    key: jax.Array,
    model_ids: jax.Array | np.ndarray,
    num_train: int,
    min_size: int = 1,
    max_size: int | None = None,
) -> jax.Array:
  """Samples subsets whose size is uniform in `[min_size, max_size]`.

  Args:
    key: `jax.random.key(seed)`.
    model_ids: `[num_models]`, int.
    num_train: number of training examples.
    min_size: smallest size.
    max_size: largest size; None stands for `num_train`.

  Returns:
    bool `[num_models, num_train]`.

  Raises:
    ValueError: unless `1 <= min_size <= max_size <= num_train`.

  References:
    The sampling under which values by size are uniform, as in the Shapley
    value; Zeng et al., `ModelPred <https://arxiv.org/abs/2111.12545>`_, §4.
  """
  max_size = num_train if max_size is None else max_size
  if not 1 <= min_size <= max_size <= num_train:
    raise ValueError(
        '`uniform_size` expects 1 <= min_size <= max_size <= num_train, got'
        f' {min_size}, {max_size}, {num_train}.'
    )
  return _uniform_masks(key, _ids(model_ids), num_train, min_size, max_size)


def permutation_prefixes(
    key: jax.Array,
    model_ids: jax.Array | np.ndarray,
    num_train: int,
    step: int = 1,
) -> jax.Array:
  """Samples random orders; consecutive rows are growing prefixes of one order.

  Row i belongs to permutation `i // num_prefixes` and holds its first
  `(i % num_prefixes + 1) * step` examples (the last row all of them), where
  `num_prefixes = ceil(num_train / step)`.

  Args:
    key: `jax.random.key(seed)`.
    model_ids: `[num_models]`, int.
    num_train: number of training examples.
    step: by how many examples a prefix grows.

  Returns:
    bool `[num_models, num_train]`.

  Raises:
    ValueError: unless `1 <= step <= num_train`.
  """
  if not 1 <= step <= num_train:
    raise ValueError(
        '`permutation_prefixes` expects 1 <= step <= num_train, got step='
        f'{step} for {num_train} examples.'
    )
  return _permutation_masks(key, _ids(model_ids), num_train, step)


def leave_one_out(
    key: jax.Array, model_ids: jax.Array | np.ndarray, num_train: int
) -> jax.Array:
  """All examples but one: row i leaves out example `i % num_train`.

  Args:
    key: unused; here because every sampler takes it.
    model_ids: `[num_models]`, int.
    num_train: number of training examples, at least 2.

  Returns:
    bool `[num_models, num_train]`.

  Raises:
    ValueError: if there are fewer than two examples.
  """
  del key
  if num_train < 2:
    raise ValueError(
        f'`leave_one_out` expects at least 2 examples, got {num_train}.'
    )
  left_out = _ids(model_ids) % num_train
  return jnp.arange(num_train)[None, :] != left_out[:, None]


def by_group(
    key: jax.Array,
    model_ids: jax.Array | np.ndarray,
    num_train: int,
    groups: Any = (),
    alpha: float = 0.5,
) -> jax.Array:
  """Samples whole groups: a fixed-size alpha-subset of the groups.

  Args:
    key: `jax.random.key(seed)`.
    model_ids: `[num_models]`, int.
    num_train: number of training examples.
    groups: `[num_train]`, int; the group of each example, from 0.
    alpha: fraction of the groups in a subset.

  Returns:
    bool `[num_models, num_train]`.

  Raises:
    ValueError: if `groups` has another length or negative entries.
  """
  groups = np.asarray(groups)
  if groups.shape != (num_train,) or groups.min() < 0:
    raise ValueError(
        f'`by_group` expects groups of shape [{num_train}], integers from 0;'
        f' got shape {groups.shape}.'
    )
  chosen = fixed_size(key, model_ids, int(groups.max()) + 1, alpha)
  return chosen[:, groups]


SAMPLERS: Mapping[str, Sampler] = {
    'fixed_size': fixed_size,
    'bernoulli': bernoulli,
    'uniform_size': uniform_size,
    'permutation_prefixes': permutation_prefixes,
    'leave_one_out': leave_one_out,
    'by_group': by_group,
}


def sampler(name: str, **options: Any) -> Callable[..., jax.Array]:
  """Returns the named sampler with its options bound.

  Raises:
    ValueError: if the name is unknown; lists the known ones.
  """
  if name not in SAMPLERS:
    raise ValueError(
        f'no sampler is called {name!r}; known samplers: {sorted(SAMPLERS)}'
    )
  return functools.partial(SAMPLERS[name], **options)


def to_indices(masks: np.ndarray, capacity: int) -> tuple[np.ndarray, ...]:
  """Lists the examples of each subset, padded to a common length.

  Args:
    masks: bool `[num_models, num_train]`.
    capacity: length of a row of the result, at least the largest subset.

  Returns:
    `subset_ids`, int32 `[num_models, capacity]`: ascending ids, then zeros;
    `subset_sizes`, int32 `[num_models]`.

  Raises:
    ValueError: if a subset is larger than `capacity`, or as `check_masks`.
  """
  masks = check_masks(masks, who='`to_indices`')
  sizes = masks.sum(axis=1, dtype=np.int32)
  if sizes.max(initial=0) > capacity:
    raise ValueError(
        f'`to_indices` expects a capacity of at least {sizes.max()}, the size'
        f' of the largest subset, got {capacity}.'
    )
  rows, columns = np.nonzero(masks)
  starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
  ids = np.zeros((len(masks), capacity), np.int32)
  ids[rows, np.arange(len(rows)) - starts] = columns
  return ids, sizes


def _ids(model_ids: jax.Array | np.ndarray) -> jax.Array:
  if isinstance(model_ids, jax.core.Tracer):
    return jnp.asarray(model_ids, jnp.int32)
  ids = np.asarray(model_ids)
  in_range = ids.size == 0 or (ids.min() >= 0 and ids.max() < 2**31)
  if not np.issubdtype(ids.dtype, np.integer) or not in_range:
    raise ValueError(
        f'model ids are integers in [0, 2**31), got {ids.dtype} {ids}'
    )
  return jnp.asarray(ids, jnp.int32)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _fixed_size_masks(key, model_ids, num_train, size):
  def one(model_id):
    return shuffle.choose(subset_key(key, model_id), size, num_train)

  return jax.vmap(one)(model_ids)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _bernoulli_masks(key, model_ids, num_train, alpha):
  def one(model_id):
    return jax.random.bernoulli(subset_key(key, model_id), alpha, (num_train,))

  return jax.vmap(one)(model_ids)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _uniform_masks(key, model_ids, num_train, min_size, max_size):
  def one(model_id):
    size_key, choice_key = jax.random.split(subset_key(key, model_id))
    size = jax.random.randint(size_key, (), min_size, max_size + 1)
    return shuffle.choose(choice_key, size, num_train)

  return jax.vmap(one)(model_ids)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _permutation_masks(key, model_ids, num_train, step):
  num_prefixes = -(-num_train // step)

  def one(model_id):
    # The smallest words come first, so growing choices are nested.
    choice_key = subset_key(key, model_id // num_prefixes)
    size = jnp.minimum((model_id % num_prefixes + 1) * step, num_train)
    return shuffle.choose(choice_key, size, num_train)

  return jax.vmap(one)(model_ids)
