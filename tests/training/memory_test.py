"""The estimate of memory against what XLA plans, and what is refused."""

import dataclasses
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm import recipe as recipe_lib
from jdm.datasets import arrays
from jdm.training import group
from jdm.training import memory
from jdm.training import sgd

_RNG = np.random.default_rng(0)


def _pool(model, shape, size, batch_size=20, **options):
  images = _RNG.normal(size=(120, *shape)).astype(np.float32)
  labels = np.arange(120) % 10
  dataset = arrays.from_arrays(images[:100], labels[:100], images, labels)
  recipe = recipe_lib.Recipe(
      model=model,
      model_options=options,
      training=sgd.Config(epochs=2, batch_size=batch_size),
      group=size,
  )
  return recipe_lib.build(recipe, dataset=dataset, devices=jax.devices()[:1])


def _planned(trainer, size):
  """Arguments, temporary arrays and outputs of the compiled program, bytes."""
  ids = np.zeros(trainer.group, np.int32)
  rows = (ids, ids, np.zeros((trainer.group, size), np.int32), ids)
  lowered = trainer._program.lower(jax.random.key(0), *rows, trainer.data)
  # Quickly compiled; the memory of buffers is planned all the same.
  options = {'xla_backend_optimization_level': 0}
  found = lowered.compile(compiler_options=options).memory_analysis()
  return (
      found.argument_size_in_bytes
      + found.temp_size_in_bytes
      + found.output_size_in_bytes
  )


class PeakBytesTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('linear', 'linear', (8, 8), 1, {}),
      ('linears', 'linear', (8, 8), 64, {}),
      ('mlps', 'mlp', (8, 8), 4, {'hidden': (256,)}),
      ('cnns', 'cnn', (28, 28), 2, {}),
      ('cnn_lax', 'cnn', (28, 28), 1, {'convolution': 'lax'}),
      ('resnet9', 'resnet9', (16, 16, 3), 1, {'width': 4}),
  )
  def test_within_twice_of_what_xla_plans(self, model, shape, size, options):
    trainer = _pool(model, shape, size, **options).trainer
    expected = _planned(trainer, 50)
    # Which operations are fused is for XLA to decide.
    self.assertBetween(trainer.peak_bytes(50), expected / 2, expected * 2)

  def test_grows_by_a_model_at_a_time(self):
    # A few models need less than the patches of targets, which all share.
    four, seven, ten = (
        _pool('cnn', (12, 12), size).trainer.peak_bytes(50)
        for size in (4, 7, 10)
    )
    self.assertAlmostEqual((seven - four) / (ten - seven), 1.0, delta=0.01)

  def test_by_hand(self):
    def run(x):  # x 4000, its square 4000, the product 40000, the sum 400.
      return ((x * x) @ jnp.ones((10, 100))).sum(axis=0)

    jaxpr = jax.make_jaxpr(run)(jnp.ones((100, 10)))
    found = memory.peak_bytes(jaxpr.jaxpr)
    self.assertEqual(found, 4000 + 4000 + 40000)

  def test_a_view_keeps_what_it_shows(self):
    def run(x):
      doubled = (x * 2).reshape(-1)
      others = jnp.sin(jnp.cos(x))
      return doubled.sum() + others.sum()

    jaxpr = jax.make_jaxpr(run)(jnp.ones((100, 10)))
    self.assertBetween(memory.peak_bytes(jaxpr.jaxpr), 4 * 4000, 4 * 4000 + 8)


class DeviceBytesTest(absltest.TestCase):

  def test_of_the_device_or_of_the_host(self):
    device = mock.Mock()
    device.memory_stats.return_value = {'bytes_limit': 12}
    self.assertEqual(memory.device_bytes(device, 3), 12)
    device.memory_stats.return_value = None
    whole = memory.device_bytes(device)
    self.assertGreater(whole, 1 << 28)
    self.assertEqual(memory.device_bytes(device, 2), whole // 2)


class RefusalTest(absltest.TestCase):

  def test_says_which_group_would_fit(self):
    pool = _pool('linear', (8, 8), 16)
    masks = pool.masks(np.arange(16))
    needed, five = (
        dataclasses.replace(pool.trainer, group=size).peak_bytes(50)
        for size in (16, 5)
    )
    with mock.patch.object(memory, 'device_bytes', return_value=five):
      with self.assertRaisesRegex(
          memory.DoesNotFitError,
          f'16 models at once needs about {needed / 1e9:.3g} GB.*'
          f'{five / 1e9:.3g} GB; pass --group=4$',
      ):
        pool.trainer.train(jax.random.key(0), np.arange(16), masks)
      fitting = dataclasses.replace(pool.trainer, group=4)
      fitting.train(jax.random.key(0), np.arange(4), masks[:4])

  def test_an_estimate_of_long_trainings_is_refused_as_well(self):
    pool = _pool('linear', (8, 8), 16)
    four = dataclasses.replace(pool.trainer, group=4)
    masks = pool.masks(np.arange(16))
    key = jax.random.key(0)
    with mock.patch.object(
        memory, 'device_bytes', return_value=four.peak_bytes(50)
    ):
      with self.assertRaisesRegex(memory.DoesNotFitError, 'pass --group=4$'):
        pool.trainer.timed_in_stages(key, np.arange(16), masks)
      _, seconds = four.timed_in_stages(key, np.arange(4), masks[:4])
    self.assertGreater(seconds, 0)

  def test_not_even_one(self):
    pool = _pool('linear', (8, 8), 4)
    masks = pool.masks(np.arange(4))
    with mock.patch.object(memory, 'device_bytes', return_value=100):
      with self.assertRaisesRegex(
          ValueError, 'not even one.*lower --batch_size'
      ):
        pool.trainer.train(jax.random.key(0), np.arange(4), masks)

  def test_timing_passes_over_what_does_not_fit(self):
    def run(size):
      if size > 4:
        raise memory.DoesNotFitError('too many')
      return size

    _, seconds = group.fastest(run, (1, 4, 16))
    self.assertEqual(set(seconds), {1, 4})
    with self.assertRaisesRegex(ValueError, 'too many'):
      group.fastest(run, (16, 64))


if __name__ == '__main__':
  absltest.main()
