"""ResNets against the same networks written with flax's own layers."""

import functools

from absl.testing import absltest
from absl.testing import parameterized
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm.models import convolution
from jdm.training import sgd
from tests.models import quick

_WIDTH, _BATCH, _CLASSES = 2, 8, 3
# Of smaller images XLA's second computations happen to have the same bits.
_SHAPE = (20, 20, 3)
_RNG = np.random.default_rng(0)
_IMAGES = _RNG.normal(size=(_BATCH, *_SHAPE)).astype(np.float32)
_LABELS = jnp.arange(_BATCH) % _CLASSES


class _NormalizedConv(nn.Module):
  channels: int
  size: int = 3
  stride: int = 1
  padding: int = 1

  @nn.compact
  def __call__(self, images, train):
    images = nn.Conv(
        self.channels,
        (self.size, self.size),
        (self.stride, self.stride),
        self.padding,
        use_bias=False,
        name='conv',
    )(images)
    norm = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, name='norm')
    return norm(images)


class _ResNet9(nn.Module):
  """As the paper's code has it, layer by layer."""

  @nn.compact
  def __call__(self, x, train):
    def block(name, x, *options):
      return nn.relu(_NormalizedConv(*options, name=name)(x, train))

    x = block('stem_0', x, _WIDTH, 3, 1, 1)
    x = block('stem_1', x, 2 * _WIDTH, 5, 2, 2)
    inner = block('first_residual_0', x, 2 * _WIDTH)
    x = x + block('first_residual_1', inner, 2 * _WIDTH)
    x = nn.max_pool(block('middle', x, 4 * _WIDTH), (2, 2), (2, 2))
    inner = block('second_residual_0', x, 4 * _WIDTH)
    x = x + block('second_residual_1', inner, 4 * _WIDTH)
    x = block('last', x, 2 * _WIDTH, 3, 1, 0)
    x = nn.max_pool(x, x.shape[1:3]).reshape(len(x), -1)
    return nn.Dense(_CLASSES, use_bias=False, name='head')(x) * 0.2


class _Block(nn.Module):
  channels: int
  stride: int

  @nn.compact
  def __call__(self, x, train):
    first = _NormalizedConv(self.channels, 3, self.stride, name='first')
    hidden = nn.relu(first(x, train))
    hidden = _NormalizedConv(self.channels, name='second')(hidden, train)
    if self.stride != 1:
      around = _NormalizedConv(self.channels, 1, self.stride, 0, name='around')
      x = around(x, train)
    return nn.relu(x + hidden)


class _ResNet18(nn.Module):

  @nn.compact
  def __call__(self, x, train):
    x = nn.relu(_NormalizedConv(_WIDTH, 7, 2, 3, name='stem_layer')(x, train))
    x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    strides = (1, 1, 2, 1, 2, 1, 2, 1)
    for number, stride in enumerate(strides):
      channels = _WIDTH * 2 ** (number // 2)
      x = _Block(channels, stride, name=f'blocks_{number}')(x, train)
    return nn.Dense(_CLASSES, name='head')(x.mean(axis=(1, 2)))


_REFERENCES = {'resnet9': _ResNet9(), 'resnet18': _ResNet18()}


def _start(model, seed):
  """Random parameters and state, near those of a fresh network."""
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  rng = np.random.default_rng(seed)

  def draw(shape):
    if len(shape.shape) == 2:
      values = rng.normal(size=shape.shape) * (2 / shape.shape[0]) ** 0.5
    else:
      values = rng.uniform(0.5, 1.5, shape.shape)
    return values.astype(np.float32)

  return jax.tree.map(draw, shapes)


def _step(apply, params, state):
  """Loss, logits, new state and gradient of one training step."""

  def loss(params):
    logits, new_state = apply(params, state, _IMAGES)
    return sgd.mean_loss(logits, _LABELS), (logits, new_state)

  return jax.value_and_grad(loss, has_aux=True)(params)


@functools.cache
def _reference(name):
  """A step of the same network of flax's layers, and what it evaluates to."""
  module = _REFERENCES[name]
  shapes = jax.eval_shape(
      lambda key: module.init(key, _IMAGES, False), jax.random.key(0)
  )

  def shaped(params, state):
    variables = {'params': params, **state}
    return jax.tree.map(lambda x, y: x.reshape(y.shape), variables, shapes)

  def apply(params, state, images):
    variables = shaped(params, state)
    return module.apply(variables, images, True, mutable=['batch_stats'])

  return quick.jit(lambda *variables: _step(apply, *variables))


def _assert_close(found, expected):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    # float32 sums in another order, through up to eighteen normalizations.
    scale = max(0.1, float(np.abs(other).max()))
    np.testing.assert_allclose(one, other, atol=5e-4 * scale)


class ResNetTest(parameterized.TestCase):

  @parameterized.parameters(
      ('resnet9', 'im2col'), ('resnet9', 'lax'), ('resnet18', 'im2col')
  )
  def test_a_group_equals_its_models_of_plain_flax(self, name, formulation):
    """Forward, gradients and running statistics of one training step."""
    model = models.make(
        name, _SHAPE, _CLASSES, convolution=formulation, width=_WIDTH
    )

    def ours(params, state):
      def apply(params, state, images):
        return model.apply(params, state, images, True)

      return _step(apply, params, state)

    alone = [_start(model, seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    together = quick.jit(jax.vmap(ours))(*stacked)
    for row, variables in enumerate(alone):
      found = jax.tree.map(lambda leaf, row=row: leaf[row], together)
      _assert_close(found, _reference(name)(*variables))
    if (name, formulation) == ('resnet9', 'im2col'):
      _assert_close(quick.jit(ours)(*alone[0]), _reference(name)(*alone[0]))

  @parameterized.named_parameters(
      ('cifar', 'resnet9', (32, 32, 3), None, 10, 2_274_880),
      ('fashion', 'resnet9', (784,), (28, 28), 10, 2_274_880 - 2 * 64 * 9),
      ('imagenet', 'resnet18', (224, 224, 3), None, 1000, 11_689_512),
      ('fmow', 'resnet18', (224, 224, 3), None, 62, 11_208_318),
  )
  def test_number_of_parameters(self, name, shape, image_shape, num, expected):
    model = models.make(name, shape, num, image_shape=image_shape)
    params = jax.eval_shape(model.init, jax.random.key(0))[0]
    self.assertEqual(sum(x.size for x in jax.tree.leaves(params)), expected)

  def test_bfloat16_is_of_products_alone(self):
    model = models.make(
        'resnet9', _SHAPE, _CLASSES, compute_dtype='bfloat16', width=_WIDTH
    )
    exact = models.make('resnet9', _SHAPE, _CLASSES, width=_WIDTH)
    params, state = _start(model, 0)
    outputs = jax.eval_shape(
        lambda *variables: model.apply(*variables, True), params, state, _IMAGES
    )
    self.assertEqual(
        {x.dtype for x in jax.tree.leaves(outputs)},
        {np.dtype(np.float32)},
    )
    features = jax.eval_shape(model.features, params, state, _IMAGES)
    self.assertEqual(features.shape, (_BATCH, 2 * _WIDTH))
    logits, expected = (
        quick.jit(lambda *variables, m=m: m.apply(*variables, False)[0])(
            params, state, _IMAGES
        )
        for m in (model, exact)
    )
    self.assertGreater(np.abs(logits - expected).max(), 0)
    # Eight bits of mantissa, through many layers.
    np.testing.assert_allclose(logits, expected, atol=0.2)

  @parameterized.named_parameters(
      ('table', 'resnet9', (20,), {}, 'resnet9 expects images.*--model=mlp'),
      ('small', 'resnet9', (5, 5), {}, 'at least 6 pixels'),
      ('width', 'resnet18', (8, 8), {'width': 0}, 'width of at least 1'),
      ('stem', 'resnet18', (8, 8), {'stem': 'x'}, "'large', 'small'.*'x'"),
      ('form', 'resnet9', (8, 8), {'convolution': 'fft'}, "im2col.*'fft'"),
      ('dtype', 'cnn', (8, 8), {'compute_dtype': 'int8'}, "bfloat16.*'int8'"),
  )
  def test_errors(self, name, shape, options, words):
    with self.assertRaisesRegex(ValueError, words):
      models.make(name, shape, 2, **options)

  def test_evaluation_uses_the_running_statistics(self):
    model = models.make('resnet9', _SHAPE, _CLASSES, width=_WIDTH)
    params, state = _start(model, 0)
    module, variables = _ResNet9(), {'params': params, **state}
    shapes = jax.eval_shape(
        lambda key: module.init(key, _IMAGES, False), jax.random.key(0)
    )
    shaped = jax.tree.map(lambda x, y: x.reshape(y.shape), variables, shapes)
    apply = quick.jit(model.apply, static_argnums=3)
    found, kept = apply(params, state, _IMAGES, False)
    expected = quick.jit(module.apply, static_argnums=2)(shaped, _IMAGES, False)
    _assert_close(found, expected)
    _assert_close(kept, state)

  def test_pooling_has_the_gradient_of_flax(self):
    """After normalization and ReLU, where many pixels tie at 0."""
    layer = convolution.NormalizedConv(4)
    images = _RNG.normal(size=(3, 6, 8, 5)).astype(np.float32)
    variables = layer.init(jax.random.key(0), images, False)

    def loss(images, pooled):
      hidden = nn.relu(layer.apply(variables, images, False))
      return jnp.sum(jnp.sin(pooled(hidden)))

    def ours(images):
      return convolution.global_max(convolution.max_pool(images, 3, 2, 1))

    def flax(images):
      images = nn.max_pool(images, (3, 3), (2, 2), ((1, 1), (1, 1)))
      return nn.max_pool(images, images.shape[1:3])

    gradients = [
        jax.jit(jax.grad(lambda x, pooled=pooled: loss(x, pooled)))(images)
        for pooled in (ours, flax)
    ]
    _assert_close(*gradients)


if __name__ == '__main__':
  absltest.main()
