"""One training against plain loops, and what it may not depend on."""

import functools

from absl.testing import absltest
from absl.testing import parameterized
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jdm import models
from jdm import outcomes
from jdm import shuffle
from jdm.training import sgd

_NUM_TRAIN, _NUM_FEATURES, _NUM_CLASSES = 40, 5, 3
_RNG = np.random.default_rng(0)
_INPUTS = _RNG.normal(size=(_NUM_TRAIN, _NUM_FEATURES)).astype(np.float32)
_LABELS = (np.arange(_NUM_TRAIN) % _NUM_CLASSES).astype(np.int32)
_SUBSET = np.sort(_RNG.permutation(_NUM_TRAIN)[:27]).astype(np.int32)
_CONFIG = sgd.Config(epochs=3, batch_size=8, learning_rate=0.1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fit(model, config, key, ids, size):
  return sgd.fit_one(
      model, config, key, ids, size, jnp.asarray(_INPUTS), jnp.asarray(_LABELS)
  )


def _batches(key, config):
  """Ids of the examples of each step, by the documented order."""
  order_key = jax.random.fold_in(key, 1)
  size = len(_SUBSET)
  steps = size // config.batch_size
  for epoch in range(config.epochs):
    order = shuffle.order(
        jax.random.fold_in(order_key, epoch),
        jnp.int32(size),
        capacity=size,
        limit=_NUM_TRAIN,
    )
    ids = _SUBSET[np.asarray(order)][: steps * config.batch_size]
    yield from ids.reshape(steps, config.batch_size)


def _fit_by_numpy(key, config):
  """Softmax regression from zeros, by SGD with momentum, in float64."""
  weights = np.zeros((_NUM_CLASSES, _NUM_FEATURES + 1))
  momentum = np.zeros_like(weights)
  batches = list(_batches(key, config))
  for step, ids in enumerate(batches):
    design = np.concatenate([_INPUTS[ids], np.ones((len(ids), 1))], axis=1)
    scores = np.exp(design @ weights.T)
    errors = scores / scores.sum(axis=1, keepdims=True)
    errors[np.arange(len(ids)), _LABELS[ids]] -= 1
    gradient = errors.T @ design / len(ids) + config.weight_decay * weights
    momentum = config.momentum * momentum + gradient
    done = (step + 1) / len(batches)
    fall = (1 - done) / (1 - config.peak) + 1 / len(batches)
    rate = config.learning_rate * min(done / config.peak, fall)
    weights = weights - rate * momentum
  return weights


class _Normalized(nn.Module):

  @nn.compact
  def __call__(self, inputs, train=False):
    hidden = nn.BatchNorm(use_running_average=not train)(inputs)
    return nn.Dense(_NUM_CLASSES)(hidden)


class FitOneTest(parameterized.TestCase):

  def test_equals_numpy(self):
    key = jax.random.key(5)
    model = models.make('linear', (_NUM_FEATURES,), _NUM_CLASSES)
    params, _ = _fit(model, _CONFIG, key, _SUBSET, np.int32(len(_SUBSET)))
    layer = params['BatchLastDense_0']
    found = np.concatenate([layer['kernel'], layer['bias'][:, None]], axis=1)
    # Nine steps in float32.
    np.testing.assert_allclose(found, _fit_by_numpy(key, _CONFIG), atol=1e-6)

  @parameterized.named_parameters(
      ('by_name', 'adam', optax.adam),
      ('by_function', optax.lion, optax.lion),
  )
  def test_equals_an_optax_loop(self, optimizer, factory):
    key = jax.random.key(6)
    config = sgd.Config(
        epochs=2,
        batch_size=8,
        learning_rate=0.01,
        weight_decay=0.0,
        label_smoothing=0.1,
        optimizer=optimizer,
    )
    model = models.make('mlp', (_NUM_FEATURES,), _NUM_CLASSES, hidden=(4,))
    found, _ = _fit(model, config, key, _SUBSET, np.int32(len(_SUBSET)))

    batches = list(_batches(key, config))
    rates = jnp.asarray(
        [
            0.01 * sgd.triangular(step, len(batches), config.peak)
            for step in range(len(batches))
        ]
    )
    tx = factory(lambda step: rates[step])
    params, state = model.init(jax.random.fold_in(key, 0))
    moments = tx.init(params)

    @jax.jit
    def step(params, moments, ids):
      def loss(params):
        logits = model.apply(params, state, jnp.asarray(_INPUTS)[ids], True)[0]
        hot = jax.nn.one_hot(jnp.asarray(_LABELS)[ids], _NUM_CLASSES)
        labels = optax.smooth_labels(hot, 0.1)
        return jnp.mean(optax.softmax_cross_entropy(logits, labels))

      updates, moments = tx.update(jax.grad(loss)(params), moments, params)
      return optax.apply_updates(params, updates), moments

    for ids in batches:
      params, moments = step(params, moments, ids)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(params)):
      # Adam divides by a small root: float32 errors of 1e-7 grow a hundredfold.
      np.testing.assert_allclose(one, other, atol=2e-5)

  @parameterized.parameters('linear', 'batch_norm')
  def test_padding_does_not_change_a_bit(self, name):
    key, size = jax.random.key(7), np.int32(len(_SUBSET))
    if name == 'batch_norm':
      model = models.from_flax(_Normalized(), jnp.asarray(_INPUTS[:1]))
    else:
      model = models.make('linear', (_NUM_FEATURES,), _NUM_CLASSES)
    exact = _fit(model, _CONFIG, key, _SUBSET, size)
    # Two more batches than the subset has; what pads is never read.
    padded_ids = np.concatenate([_SUBSET, np.full(13, 39, np.int32)])
    padded = _fit(model, _CONFIG, key, padded_ids, size)
    self.assertNotEmpty(jax.tree.leaves(exact))
    for one, other in zip(jax.tree.leaves(exact), jax.tree.leaves(padded)):
      np.testing.assert_array_equal(one, other)
    if name == 'batch_norm':
      mean = padded[1]['batch_stats']['BatchNorm_0']['mean']
      self.assertGreater(np.abs(mean).max(), 0.0)  # Training moved the state.

  def test_without_a_whole_batch_nothing_moves(self):
    model = models.make('linear', (_NUM_FEATURES,), _NUM_CLASSES)
    params, _ = _fit(model, _CONFIG, jax.random.key(5), _SUBSET, np.int32(7))
    for leaf in jax.tree.leaves(params):
      self.assertFalse(np.asarray(leaf).any())

  def test_regression(self):
    labels = _INPUTS @ np.arange(1.0, 6.0).astype(np.float32) + 2
    config = sgd.Config(
        epochs=60, batch_size=10, learning_rate=0.05, weight_decay=0.0
    )
    model = models.make('linear', (_NUM_FEATURES,), 1)
    ids = np.arange(_NUM_TRAIN, dtype=np.int32)
    params, _ = jax.jit(
        lambda key: sgd.fit_one(
            model,
            config,
            key,
            jnp.asarray(ids),
            jnp.int32(_NUM_TRAIN),
            jnp.asarray(_INPUTS),
            jnp.asarray(labels),
        )
    )(jax.random.key(0))
    layer = params['BatchLastDense_0']
    # The labels are exactly linear, so what is left is the distance to go.
    np.testing.assert_allclose(layer['kernel'][0], np.arange(1, 6), atol=1e-2)
    np.testing.assert_allclose(layer['bias'], [2.0], atol=1e-2)


class ScheduleTest(parameterized.TestCase):

  def test_by_hand(self):
    steps = np.arange(10, dtype=np.float32)
    found = sgd.triangular(jnp.asarray(steps), jnp.float32(10), 0.2)
    expected = [0.5, 1.0, *(np.arange(7, -1, -1) / 8 + 0.1)]
    np.testing.assert_allclose(found, expected, atol=1e-6)

  @parameterized.product(num_steps=[1, 3, 50], peak=[0.0, 0.2, 0.9])
  def test_is_positive_and_at_most_one(self, num_steps, peak):
    steps = jnp.arange(num_steps, dtype=jnp.float32)
    found = sgd.triangular(steps, jnp.float32(num_steps), peak)
    self.assertGreater(float(found.min()), 0.0)
    # The line that falls is raised by one step, so that the last one counts.
    self.assertLessEqual(float(found.max()), 1.0 + 1 / num_steps)


class LossTest(parameterized.TestCase):

  @parameterized.parameters(0.0, 0.1)
  def test_equals_optax(self, smoothing):
    logits = jnp.asarray(_RNG.normal(size=(9, 4)), jnp.float32)
    labels = jnp.arange(9) % 4
    aim = optax.smooth_labels(jax.nn.one_hot(labels, 4), smoothing)
    expected = jnp.mean(optax.softmax_cross_entropy(logits, aim))
    found = sgd.mean_loss(logits, labels, smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # float32 sums.

  def test_float_labels(self):
    found = sgd.mean_loss(jnp.asarray([[1.0], [3.0]]), jnp.asarray([0.0, 1.0]))
    self.assertAlmostEqual(float(found), 0.5 * (1 + 4) / 2)


class EvaluateTest(parameterized.TestCase):

  def test_large_sets_go_in_batches(self):
    model = models.stateless(
        lambda key: {}, lambda params, x: x.reshape(len(x), -1)[:, :2]
    )
    images = jnp.arange(230 * 4.0).reshape(230, 2, 2)
    found = sgd.evaluate(model, {}, {}, images)
    np.testing.assert_array_equal(found, images.reshape(230, 4)[:, :2])

  @parameterized.parameters(7, 230)
  def test_flip_averages_over_mirror_images(self, num_images):
    """A model that reads one pixel, and images that are not symmetric."""
    model = models.stateless(
        lambda key: {},
        lambda params, x: x.reshape(len(x), 4, 5, 3)[:, 1, :2, 0],
    )
    images = _RNG.normal(size=(num_images, 4, 5, 3)).astype(np.float32)
    expected = (images[:, 1, :2, 0] + images[:, 1, 4:2:-1, 0]) / 2
    for inputs, shape in (
        (images, None),
        (images.reshape(num_images, 60), (4, 5, 3)),
    ):
      found = sgd.evaluate(
          model,
          {},
          {},
          jnp.asarray(inputs),
          test_augmentation='flip',
          image_shape=shape,
      )
      np.testing.assert_array_equal(found, expected)

  def test_names_of_outcomes(self):
    model = models.stateless(lambda key: jnp.ones(2), lambda p, x: x * p[None])
    data = sgd.TrainingData(
        _INPUTS[:, :2],
        _LABELS % 2,
        {
            '': (_INPUTS[:4, :2], _LABELS[:4] % 2),
            '_train': (_INPUTS[:, :2], _LABELS % 2),
        },
    )
    names = ('margin', 'logits', 'parameters')
    found = sgd.read_outcomes(
        model, jnp.ones(2), {}, outcomes.get(names, 2), data
    )
    shapes = {name: value.shape for name, value in found.items()}
    expected = {
        'margin': (4,),
        'logits': (4, 2),
        'margin_train': (40,),
        'logits_train': (40, 2),
        'parameters': (2,),
    }
    self.assertEqual(shapes, expected)


class ConfigTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('epochs', {'epochs': 0}, 'epochs must be positive, got 0'),
      ('batch', {'batch_size': -1}, 'batch_size must be positive'),
      ('rate', {'learning_rate': float('nan')}, 'learning_rate must be'),
      ('peak', {'peak': 1.0}, r'peak must be in \[0, 1\), got 1.0'),
      ('smoothing', {'label_smoothing': -0.1}, 'label_smoothing must be'),
      ('momentum', {'momentum': 1.5}, 'momentum must be'),
      ('optimizer', {'optimizer': 'sdg'}, "'sdg'; try sgd, adam"),
      ('not_an_optimizer', {'optimizer': 'chain'}, "'chain'; try sgd"),
      ('views', {'test_augmentation': 'crop'}, "'none', 'flip'.*'crop'"),
      ('decay', {'weight_decay': -1.0}, 'weight_decay must not be'),
  )
  def test_errors(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      sgd.Config(**changes)


if __name__ == '__main__':
  absltest.main()
