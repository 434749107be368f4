"""Neural networks of sets of labelled points, for many subsets of one pool.

A set function is a flax module with two methods: `encode` looks at each point
of the pool, once, and `combine` puts the codes of each subset together. A sum
over the points of many subsets is one product `masks @ codes`, so that looking
at the points costs nothing per subset.

Weights of a subset (a point drawn twice) are as good as 0/1 masks, and points
that no training has seen can stand in the pool.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

FEATURES = ('plain', 'signed')


def point_features(
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    kind: str = 'plain',
) -> np.ndarray:
  """What a set function sees of labelled points, float32 `[num, width]`.

  Args:
    inputs: `[num, num_features]`.
    labels: `[num]`, int classes, or float for regression.
    num_classes: of the labels; 0 stands for regression.
    kind: 'plain' puts the label beside the input, as a number (two classes,
      regression) or one-hot: what ModelPred's released code does. 'signed' adds
      the input times the label in signs (of two classes), one-hot or as a
      number: what the gradient of a linear model's loss is made of.

  Raises:
    ValueError: if the kind is unknown.
  """
  if kind not in FEATURES:
    raise ValueError(f'features are one of {FEATURES}, got {kind!r}')
  inputs = np.asarray(inputs, np.float32).reshape(len(inputs), -1)
  if num_classes > 2:
    coded = np.eye(num_classes, dtype=np.float32)[labels]
  else:
    coded = np.asarray(labels, np.float32)[:, None]
  if kind == 'plain':
    return np.hstack([inputs, coded])
  if num_classes == 2:
    coded = 2 * coded - 1
  products = inputs[:, None, :] * coded[:, :, None]
  return np.hstack([inputs, products.reshape(len(inputs), -1), coded])


class Mlp(nn.Module):
  """Dense layers with ELU between them (and after the last, if asked).

  Attributes:
    widths: of the layers.
    use_bias: whether layers have biases.
    active_end: whether the last layer is followed by ELU.
  """

  widths: tuple[int, ...]
  use_bias: bool = True
  active_end: bool = False

  @nn.compact
  def __call__(self, inputs: jax.Array) -> jax.Array:
    """Maps `[..., width]` to `[..., widths[-1]]`."""
    hidden = inputs
    for place, width in enumerate(self.widths):
      hidden = nn.Dense(width, use_bias=self.use_bias, kernel_init=_init)(
          hidden
      )
      if self.active_end or place + 1 < len(self.widths):
        hidden = nn.elu(hidden)
    return hidden


def _init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
  """Uniform in +-1/sqrt(fan_in), as PyTorch does: what ModelPred started from."""
  bound = 1 / np.sqrt(shape[0])
  return jax.random.uniform(key, shape, dtype, -bound, bound)


class DeepSets(nn.Module):
  """DeepSets as ModelPred's released code has it: sum pooling, no biases.

  Without biases the code of an all-zero point is 0, which is how the released
  code pads.

  Attributes:
    num_outputs: numbers put out for a set.
    width: of the layers.
    depth: layers that look at a point.
  """

  num_outputs: int
  width: int = 128
  depth: int = 3

  def setup(self):
    """Makes the layers."""
    self.phi = Mlp((self.width,) * self.depth, use_bias=False)
    self.rho = Mlp(
        (self.width, self.width, self.width // 2),
        use_bias=False,
        active_end=True,
    )
    self.out = nn.Dense(self.num_outputs, kernel_init=_init)

  def encode(self, points: jax.Array) -> jax.Array:
    """Codes `[num, width]` of points `[num, point_width]`."""
    return self.phi(points)

  def combine(
      self, codes: jax.Array, weights: jax.Array, classes: jax.Array
  ) -> jax.Array:
    """Puts out `[num_sets, num_outputs]`.

    Args:
      codes: of `encode`.
      weights: `[num_sets, num]`, 0/1, how often a point is in a set.
      classes: `[num, num_classes]`, one-hot labels; unused here.
    """
    del classes
    return self.out(self.rho(weights @ codes))

  def __call__(self, points, weights, classes):
    """Encodes and combines."""
    return self.combine(self.encode(points), weights, classes)


class DeepSetsPlus(nn.Module):
  """DeepSets with mean and sum pooling and the sizes of set and classes.

  Attributes:
    num_outputs: numbers put out for a set.
    width: of the layers.
    depth: layers that look at a point.
    scale: a typical set size; sums are divided by it, logs centred on it.
  """

  num_outputs: int
  width: int = 128
  depth: int = 3
  scale: float = 100.0

  def setup(self):
    """Makes the layers."""
    self.phi = Mlp((self.width,) * self.depth)
    self.rho = Mlp((self.width, self.width, self.width // 2), active_end=True)
    self.out = nn.Dense(self.num_outputs, kernel_init=_init)

  def encode(self, points: jax.Array) -> jax.Array:
    """Codes `[num, width]` of points `[num, point_width]`."""
    return self.phi(points)

  def combine(
      self, codes: jax.Array, weights: jax.Array, classes: jax.Array
  ) -> jax.Array:
    """As `DeepSets.combine`."""
    pooled = pool(codes, weights, self.scale)
    sizes = log_sizes(weights, classes, self.scale)
    return self.out(self.rho(jnp.concatenate([pooled, sizes], axis=1)))

  def __call__(self, points, weights, classes):
    """Encodes and combines."""
    return self.combine(self.encode(points), weights, classes)


def pool(codes: jax.Array, weights: jax.Array, scale: float) -> jax.Array:
  """Mean and scaled sum of the codes of each set, `[num_sets, 2 * width]`."""
  total = weights @ codes
  size = jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1.0)
  return jnp.concatenate([total / size, total / scale], axis=1)


def log_sizes(
    weights: jax.Array, classes: jax.Array, scale: float
) -> jax.Array:
  """Log sizes of each set and of its classes, `[num_sets, 1 + num_classes]`."""
  size = jnp.sum(weights, axis=1, keepdims=True)
  counts = jnp.concatenate([size, weights @ classes], axis=1)
  return jnp.log1p(counts) - jnp.log1p(scale)


class Attention(nn.Module):
  """Multi-head attention of queries to keys that count with weights.

  Attributes:
    width: of queries, keys and values, all heads together.
    heads: number of heads.
  """

  width: int
  heads: int = 4

  def setup(self):
    """Makes the layers."""
    self.query = nn.Dense(self.width)
    self.key = nn.Dense(self.width)
    self.value = nn.Dense(self.width)
    self.norm = nn.LayerNorm()
    self.norm_out = nn.LayerNorm()
    self.feed = Mlp((2 * self.width, self.width))

  def _split(self, array: jax.Array) -> jax.Array:
    """[..., num, width] to [..., heads, num, width / heads]."""
    *rest, num, _ = array.shape
    shape = (*rest, num, self.heads, self.width // self.heads)
    return jnp.moveaxis(array.reshape(shape), -2, -3)

  def _finish(self, query: jax.Array, mixed: jax.Array) -> jax.Array:
    """Joins heads, adds the query, and feeds forward."""
    mixed = jnp.moveaxis(mixed, -3, -2)
    mixed = mixed.reshape(*mixed.shape[:-2], self.width)
    hidden = self.norm(jnp.broadcast_to(query, mixed.shape) + mixed)
    return self.norm_out(hidden + self.feed(hidden))

  def shared(
      self, query: jax.Array, keys: jax.Array, weights: jax.Array
  ) -> jax.Array:
    """The same queries to the points of many sets.

    Attention weights of a set are those of the pool, times the weight of each
    point, over their sum: two products for all sets.

    Args:
      query: `[num_queries, width]`.
      keys: `[num, width]`, codes of the pool.
      weights: `[num_sets, num]`.

    Returns:
      `[num_sets, num_queries, width]`.
    """
    own = self.query(query)
    heads = self._split(own), self._split(self.key(keys))
    scores = jnp.einsum('hqd,hnd->hqn', *heads) / np.sqrt(heads[0].shape[-1])
    scores -= jnp.max(scores, axis=-1, keepdims=True)
    chance = jnp.exp(scores)
    value = self._split(self.value(keys))
    total = jnp.einsum('sn,hqn->shq', weights, chance)
    mixed = jnp.einsum('sn,hqn,hnd->shqd', weights, chance, value)
    mixed /= jnp.maximum(total, 1e-9)[..., None]
    return self._finish(own, mixed)

  def __call__(
      self, query: jax.Array, keys: jax.Array, weights: jax.Array | None = None
  ) -> jax.Array:
    """Queries of each set to its own keys.

    Args:
      query: `[num_sets, num_queries, width]`.
      keys: `[num_sets, num, width]`.
      weights: `[num_sets, num]`, how often a key counts; None is once.
    """
    own = self.query(query)
    heads = self._split(own), self._split(self.key(keys))
    scores = jnp.einsum('shqd,shnd->shqn', *heads)
    scores /= np.sqrt(heads[0].shape[-1])
    if weights is not None:
      is_in = weights[:, None, None, :] > 0
      logs = jnp.log(jnp.maximum(weights, 1e-9))[:, None, None, :]
      scores = jnp.where(is_in, scores + logs, -1e9)
    chance = jax.nn.softmax(scores, axis=-1)
    mixed = jnp.einsum('shqn,shnd->shqd', chance, self._split(self.value(keys)))
    return self._finish(own, mixed)


class SetTransformer(nn.Module):
  """Set Transformer: induced-point attention, pooled by attention.

  The first block's induced points look at the whole pool at once
  (`Attention.shared`); what the points of a set make of these is computed for
  each set.

  Attributes:
    num_outputs: numbers put out for a set.
    width: of the layers.
    num_induced: induced points of the block.
    heads: of each attention.
    scale: as in `DeepSetsPlus`.

  References:
    Lee et al., `Set Transformer <https://arxiv.org/abs/1810.00825>`_, 2019, §3.
  """

  num_outputs: int
  width: int = 64
  num_induced: int = 16
  heads: int = 4
  scale: float = 100.0

  def setup(self):
    """Makes the layers."""
    self.phi = Mlp((self.width, self.width))
    normal = nn.initializers.normal(1.0)
    shape = (self.num_induced, self.width)
    self.induced = self.param('induced', normal, shape)
    self.seed = self.param('seed', normal, (1, 1, self.width))
    self.look = Attention(self.width, self.heads)
    self.answer = Attention(self.width, self.heads)
    self.gather = Attention(self.width, self.heads)
    self.rho = Mlp((2 * self.width, self.width), active_end=True)
    self.out = nn.Dense(self.num_outputs, kernel_init=_init)

  def encode(self, points: jax.Array) -> jax.Array:
    """Codes `[num, width]` of points `[num, point_width]`."""
    return self.phi(points)

  def combine(
      self, codes: jax.Array, weights: jax.Array, classes: jax.Array
  ) -> jax.Array:
    """As `DeepSets.combine`."""
    induced = self.look.shared(self.induced, codes, weights)
    shape = (len(weights), *codes.shape)
    members = self.answer(jnp.broadcast_to(codes, shape), induced)
    seed = jnp.broadcast_to(self.seed, (len(weights), 1, self.width))
    gathered = self.gather(seed, members, weights)[:, 0]
    sizes = log_sizes(weights, classes, self.scale)
    pooled = pool(codes, weights, self.scale)
    return self.out(
        self.rho(jnp.concatenate([gathered, pooled, sizes], axis=1))
    )

  def __call__(self, points, weights, classes):
    """Encodes and combines."""
    return self.combine(self.encode(points), weights, classes)


SET_FUNCTIONS: dict[str, Any] = {
    'deepsets': DeepSets,
    'deepsets_plus': DeepSetsPlus,
    'set_transformer': SetTransformer,
}


def make(name: str, num_outputs: int, **options: Any) -> nn.Module:
  """Makes a set function by name.

  Raises:
    ValueError: if there is none of that name, or it takes no such option.
  """
  if name not in SET_FUNCTIONS:
    raise ValueError(
        f'no set function is called {name!r}; known: {sorted(SET_FUNCTIONS)}'
    )
  try:
    return SET_FUNCTIONS[name](num_outputs=num_outputs, **options)
  except TypeError as error:
    raise ValueError(f'set function {name!r}: {error}') from error
