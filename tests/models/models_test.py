"""The contract of a model, kept by everything in the table."""

import functools

from absl.testing import absltest
from absl.testing import parameterized
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm.models import dense
from jdm.training import sgd
from tests.models import quick

_NUM_CLASSES = 3
_INPUTS = np.random.default_rng(0).normal(size=(12, 64)).astype(np.float32)
_LABELS = np.arange(12) % _NUM_CLASSES
# Smaller than by default, to be quick.
_OPTIONS = {'resnet9': {'width': 4}, 'resnet18': {'width': 2, 'stem': 'small'}}
_LOGIT_SCALE = {'resnet9': 0.2}
# Takes long to compile; `resnet_test` compares its steps with flax's.
_QUICK = [name for name in models.MODELS if name != 'resnet18']


@functools.cache
def _make(name):
  """A small model of each kind."""
  options = _OPTIONS.get(name, {})
  return models.make(name, (64,), _NUM_CLASSES, image_shape=(8, 8), **options)


@functools.cache
def _init(name):
  return quick.jit(_make(name).init)


@functools.cache
def _evaluate(name):
  model = _make(name)
  return quick.jit(lambda *arguments: model.apply(*arguments, False)[0])


def _leaves(tree):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


class ContractTest(parameterized.TestCase):

  @parameterized.parameters(*models.MODELS)
  def test_shapes_and_types(self, name):
    model = _make(name)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    for train in (False, True):
      logits, new_state = jax.eval_shape(
          functools.partial(model.apply, train=train), params, state, _INPUTS
      )
      self.assertEqual(logits.shape, (12, _NUM_CLASSES))
      self.assertEqual(logits.dtype, jnp.float32)
      self.assertEqual(jax.tree.structure(new_state), jax.tree.structure(state))
    for leaf in jax.tree.leaves(params):
      self.assertEqual(leaf.dtype, jnp.float32)

  @parameterized.parameters(*models.MODELS)
  def test_init_is_a_function_of_the_key(self, name):
    first, again = (_init(name)(jax.random.key(3))[0] for _ in range(2))
    np.testing.assert_array_equal(_leaves(first), _leaves(again))
    if name != 'linear':  # Starts from zeros.
      other = _init(name)(jax.random.key(4))[0]
      self.assertFalse(np.array_equal(_leaves(first), _leaves(other)))

  @parameterized.parameters(*_QUICK)
  def test_many_at_once(self, name):
    model = _make(name)

    def run(key):
      params, state = model.init(key)
      return model.apply(params, state, _INPUTS, False)[0]

    keys = jax.random.split(jax.random.key(0), 3)
    together = quick.jit(jax.vmap(run))(keys)
    for row, key in enumerate(keys):
      alone = _evaluate(name)(*_init(name)(key), _INPUTS)
      # A batched product sums in another order.
      np.testing.assert_allclose(together[row], alone, atol=1e-5)

  @parameterized.parameters(*models.MODELS)
  def test_logits_are_linear_in_the_features(self, name):
    model = _make(name)
    params, state = _init(name)(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    features = np.asarray(quick.jit(model.features)(params, state, _INPUTS))
    self.assertEqual(features.ndim, 2)
    head = params['BatchLastDense_0' if name == 'linear' else 'head']
    kernel = np.asarray(head['kernel'])
    kernel = kernel if kernel.shape[0] == features.shape[1] else kernel.T
    found = features @ kernel * _LOGIT_SCALE.get(name, 1.0)
    if 'bias' in head:
      found = found + np.asarray(head['bias'])[None]
    logits = _evaluate(name)(params, state, _INPUTS)
    # Sums of up to 128 float32 products, in another order.
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-4)

  @parameterized.parameters(*_QUICK)
  def test_gradient_descent_lowers_the_loss(self, name):
    model = _make(name)
    params, state = _init(name)(jax.random.key(0))

    @quick.jit
    def step(params):
      def loss(params):
        logits = model.apply(params, state, _INPUTS, True)[0]
        return sgd.mean_loss(logits, jnp.asarray(_LABELS))

      value, gradient = jax.value_and_grad(loss)(params)
      params = jax.tree.map(lambda p, g: p - 0.05 * g, params, gradient)
      return params, value

    losses = []
    for _ in range(20):
      params, value = step(params)
      losses.append(float(value))
    self.assertLess(losses[-1], 0.8 * losses[0])


class MakeTest(parameterized.TestCase):

  def test_unknown_model(self):
    with self.assertRaisesRegex(ValueError, "'tree'.*cnn.*linear.*mlp"):
      models.make('tree', (4,), 2)

  def test_unknown_option(self):
    with self.assertRaisesRegex(
        ValueError, r"'mlp'.*'depth'.*\['activation', 'hidden'\]"
    ):
      models.make('mlp', (4,), 2, depth=3)

  def test_activations(self):
    with self.assertRaisesRegex(ValueError, "'gelu', 'relu'.*'softmax'"):
      models.make('mlp', (4,), 2, activation='softmax')
    inputs = jnp.linspace(-1.0, 1.0, 8).reshape(2, 4)
    logits = []
    for name in ('relu', 'gelu', 'tanh'):
      model = models.make('mlp', (4,), 2, activation=name)
      params, state = model.init(jax.random.key(0))
      logits.append(model.apply(params, state, inputs, False)[0])
    self.assertGreater(jnp.abs(logits[0] - logits[1]).max(), 1e-3)
    self.assertGreater(jnp.abs(logits[1] - logits[2]).max(), 1e-3)

  def test_image_shape_is_dropped_where_it_is_not_asked_for(self):
    model = models.make('linear', (4,), 2, image_shape=(2, 2))
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    self.assertEqual(params['BatchLastDense_0']['kernel'].shape, (2, 4))
    self.assertEqual(state, {})


class _Normalized(nn.Module):
  """Has a state, `batch_stats`, that training changes."""

  @nn.compact
  def __call__(self, inputs, train=False):
    hidden = nn.Dense(8)(inputs)
    hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden)
    return nn.Dense(_NUM_CLASSES)(nn.relu(hidden))


class _Silent(nn.Module):
  """Takes no `train` and has no features."""

  @nn.compact
  def __call__(self, inputs):
    return nn.Dense(_NUM_CLASSES)(inputs)


class FromFlaxTest(parameterized.TestCase):

  def test_state_is_carried_and_only_training_changes_it(self):
    module = _Normalized()
    model = models.from_flax(module, jnp.asarray(_INPUTS[:1]))
    params, state = quick.jit(model.init)(jax.random.key(0))
    self.assertEqual(set(state), {'batch_stats'})
    apply = quick.jit(model.apply, static_argnums=3)
    logits, evaluated = apply(params, state, _INPUTS, False)
    np.testing.assert_array_equal(_leaves(evaluated), _leaves(state))
    expected = quick.jit(module.apply)({'params': params, **state}, _INPUTS)
    np.testing.assert_array_equal(logits, expected)
    trained = apply(params, state, _INPUTS, True)[1]
    # Running mean and variance, by hand: 0.9 of the old and 0.1 of the batch.
    layer = jax.tree.map(np.asarray, params['Dense_0'])
    hidden = _INPUTS @ layer['kernel'] + layer['bias'][None]
    found = trained['batch_stats']['BatchNorm_0']
    np.testing.assert_allclose(found['mean'], 0.1 * hidden.mean(0), atol=1e-5)
    np.testing.assert_allclose(
        found['var'], 0.9 + 0.1 * hidden.var(0), atol=1e-5
    )

  def test_module_without_train_and_features(self):
    model = models.from_flax(_Silent(), jnp.asarray(_INPUTS[:1]))
    self.assertIsNone(model.features)
    params, state = model.init(jax.random.key(0))
    self.assertEqual(state, {})
    logits, state = model.apply(params, state, jnp.asarray(_INPUTS), True)
    self.assertEqual(logits.shape, (12, _NUM_CLASSES))
    self.assertEqual(state, {})


class StatelessTest(parameterized.TestCase):

  def test_pair_of_functions(self):
    model = models.stateless(
        lambda key: jax.random.normal(key, (64, 2)),
        lambda params, inputs: inputs @ params,
        lambda params, inputs: inputs[:, :5],
    )
    params, state = model.init(jax.random.key(0))
    logits, new_state = model.apply(params, state, jnp.asarray(_INPUTS), True)
    np.testing.assert_array_equal(logits, _INPUTS @ params)
    self.assertEqual((state, new_state), ({}, {}))
    assert model.features is not None
    features = model.features(params, state, jnp.asarray(_INPUTS))
    np.testing.assert_array_equal(features, _INPUTS[:, :5])

  def test_without_features(self):
    model = models.stateless(lambda key: 1.0, lambda p, x: p * x)
    self.assertIsNone(model.features)


class DenseTest(absltest.TestCase):

  def test_equals_a_product_with_the_batch_last(self):
    layer = dense.BatchLastDense(5)
    kernel = np.arange(5 * 64, dtype=np.float32).reshape(5, 64) / 100
    bias = np.arange(5, dtype=np.float32)
    found = layer.apply(
        {'params': {'kernel': kernel, 'bias': bias}},
        dense.batch_last(jnp.asarray(_INPUTS)),
    )
    expected = _INPUTS @ kernel.T + bias[None]
    # Sums of 64 float32 products of size 3.
    np.testing.assert_allclose(np.asarray(found).T, expected, atol=1e-4)

  def test_scale_of_the_initial_kernel(self):
    kernel = dense.scaled_normal(jax.random.key(0), (400, 100))
    # Variance 1 / features_in; 40,000 draws: standard error 0.4 %.
    self.assertAlmostEqual(float(kernel.std()), 0.1, delta=0.002)


if __name__ == '__main__':
  absltest.main()
