"""Many models at once: the same bits by any devices, order and chunks."""

import json
import os
import pathlib
import subprocess
import sys

from absl.testing import absltest
from absl.testing import parameterized
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm import outcomes
from jdm import subsets
from jdm.models import convolution
from jdm.training import ensemble
from jdm.training import sgd
from tests.training import bits

_ROOT = pathlib.Path(__file__).parents[2]
_NUM_TRAIN, _BATCH = 30, 5
_RNG = np.random.default_rng(0)
_INPUTS = _RNG.normal(size=(_NUM_TRAIN, 4)).astype(np.float32)
_LABELS = (_INPUTS[:, 0] > 0).astype(np.int32)
_KEY = jax.random.key(0)


class _Normalized(nn.Module):
  """A convolution of 2 x 2 images and batch normalization: has a state."""

  @nn.compact
  def __call__(self, inputs, train=False):
    images = convolution.batch_last(inputs, (2, 2, 1))
    hidden = convolution.NormalizedConv(3, 2, 1, 0)(images, train)
    return nn.Dense(2)(nn.relu(hidden).reshape(3, -1).T)


def _linear_trainer(num_devices=2, **config):
  return _trainer(models.make('linear', (4,), 2), num_devices, **config)


def _trainer(model, num_devices=2, **config):
  train_one = sgd.make_train_one(
      model,
      sgd.Config(epochs=2, batch_size=_BATCH, **config),
      outcomes.get(('soft_margin', 'correctness'), 2),
  )
  data = sgd.TrainingData(_INPUTS, _LABELS, {'': (_INPUTS[:6], _LABELS[:6])})
  return ensemble.Trainer(
      train_one,
      data,
      _NUM_TRAIN,
      group=2,
      min_subset_size=_BATCH,
      exact_sizes=(14,),
      devices=jax.devices()[:num_devices],
  )


def _masks(ids, alpha=14 / 30):
  return np.asarray(
      subsets.fixed_size(_KEY, np.asarray(ids), _NUM_TRAIN, alpha)
  )


class TrainerTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.trainer = _linear_trainer()
    cls.ids = np.arange(11)
    cls.masks = _masks(cls.ids)
    cls.found = cls.trainer.train(_KEY, cls.ids, cls.masks)

  def _assert_same(self, found, expected):
    self.assertEqual(set(found), set(expected))
    for name in expected:
      np.testing.assert_array_equal(found[name], expected[name])

  def test_shapes(self):
    shapes = self.trainer.outcome_shapes()
    self.assertEqual(set(shapes), {'soft_margin', 'correctness'})
    for name, shape in shapes.items():
      self.assertEqual(self.found[name].shape, (11, *shape.shape))
      self.assertEqual(self.found[name].dtype, shape.dtype)
    self.assertTrue(np.isfinite(self.found['soft_margin']).all())

  def test_models_learn(self):
    self.assertGreater(self.found['correctness'].mean(), 0.8)

  @parameterized.parameters(1, 3, 4, 7)
  def test_any_chunks(self, chunk):
    for first in range(0, 11, chunk):
      rows = slice(first, first + chunk)
      part = self.trainer.train(_KEY, self.ids[rows], self.masks[rows])
      self._assert_same(part, {n: v[rows] for n, v in self.found.items()})

  def test_any_order(self):
    order = np.random.default_rng(1).permutation(11)
    found = self.trainer.train(_KEY, self.ids[order], self.masks[order])
    self._assert_same(found, {n: v[order] for n, v in self.found.items()})

  def test_one_device(self):
    found = _linear_trainer(num_devices=1).train(_KEY, self.ids, self.masks)
    self._assert_same(found, self.found)

  def test_running_statistics_are_of_one_model(self):
    """Bits of a model with a state by one device and by two."""
    model = models.from_flax(_Normalized(), jnp.zeros((1, 4)))
    here, there = (
        _trainer(model, num_devices).train(_KEY, self.ids, self.masks)
        for num_devices in (1, 2)
    )
    self._assert_same(here, there)
    again = _trainer(model).train(_KEY, self.ids[3:], self.masks[3:])
    self._assert_same(again, {n: v[3:] for n, v in here.items()})
    self.assertLen(np.unique(here['soft_margin'][:, 0]), 11)

  def test_far_ids(self):
    ids = 2**31 - 1 - np.arange(3)
    found = self.trainer.train(_KEY, ids, self.masks[:3])
    self.assertFalse(
        np.array_equal(found['soft_margin'], self.found['soft_margin'][:3])
    )

  def test_replicates_share_the_subset_and_differ_in_the_rest(self):
    ids, masks = np.repeat(self.ids[:2], 2), np.repeat(self.masks[:2], 2, 0)
    replicates = np.array([0, 1, 0, 1])
    found = self.trainer.train(_KEY, ids, masks, replicates)['soft_margin']
    np.testing.assert_array_equal(found[::2], self.found['soft_margin'][:2])
    self.assertFalse(np.any(np.all(found[::2] == found[1::2], axis=1)))
    again = self.trainer.train(_KEY, ids[1::2], masks[1::2], 1)['soft_margin']
    np.testing.assert_array_equal(again, found[1::2])

  def test_a_subset_without_a_batch_is_nan(self):
    masks = self.masks[:3].copy()
    masks[1] = False
    masks[1, : _BATCH - 1] = True
    found = self.trainer.train(_KEY, self.ids[:3], masks)
    for name, values in found.items():
      self.assertTrue(np.isnan(values[1]).all())
      rows = [0, 2]
      np.testing.assert_array_equal(values[rows], self.found[name][rows])

  def test_a_diverged_model_is_not_finite(self):
    found = _linear_trainer(learning_rate=1e30).train(
        _KEY, self.ids[:2], self.masks[:2]
    )
    for values in found.values():
      self.assertFalse(np.isfinite(values).all())

  def test_sizes_share_few_programs_and_capacity_changes_nothing(self):
    trainer = self.trainer
    capacities = {trainer.capacity(size) for size in range(_NUM_TRAIN + 1)}
    self.assertLess(len(capacities), _NUM_TRAIN // 2)
    for size in range(_NUM_TRAIN + 1):
      self.assertBetween(trainer.capacity(size), size, _NUM_TRAIN)
    self.assertEqual(trainer.capacity(14), 14)
    padded = ensemble.Trainer(
        trainer.train_one,
        trainer.data,
        _NUM_TRAIN,
        group=2,
        min_subset_size=_BATCH,
    )
    self.assertGreater(padded.capacity(14), 14)
    self._assert_same(padded.train(_KEY, self.ids, self.masks), self.found)

  @parameterized.named_parameters(
      ('ids', np.arange(3), np.ones((2, 30), bool), 'one id for each of the 2'),
      ('width', np.arange(2), np.ones((2, 29), bool), r'\[num_models, 30\]'),
      ('type', np.arange(2), np.ones((2, 30)), 'bool masks'),
  )
  def test_errors(self, ids, masks, words):
    with self.assertRaisesRegex(ValueError, words):
      self.trainer.train(_KEY, ids, masks)

  def test_group(self):
    with self.assertRaisesRegex(ValueError, 'at least 1, got 0'):
      ensemble.Trainer(lambda: {}, (), 3, group=0)


class OwnTrainOneTest(absltest.TestCase):

  def test_any_jittable_function(self):
    """A user's own program: here the mean label, and the noise of the key."""

    def train_one(key, subset_ids, subset_size, data):
      real = jnp.arange(subset_ids.shape[0]) < subset_size
      total = jnp.sum(jnp.where(real, data['labels'][subset_ids], 0.0))
      return {
          'mean': total / subset_size,
          'noise': jax.random.normal(key, (2,)),
      }

    labels = np.arange(8, dtype=np.float32)
    trainer = ensemble.Trainer(train_one, {'labels': labels}, 8, group=3)
    masks = np.random.default_rng(0).random((10, 8)) < 0.6
    masks[:, 0] = True
    found = trainer.train(_KEY, np.arange(10), masks)
    np.testing.assert_allclose(
        found['mean'], masks @ labels / masks.sum(axis=1), rtol=1e-6
    )
    self.assertEqual(found['noise'].shape, (10, 2))
    self.assertLen(np.unique(found['noise']), 20)


class DevicesTest(absltest.TestCase):

  def test_devices_do_not_talk(self):
    trainer = _linear_trainer()
    ids = np.arange(trainer.rows_a_call)
    padded = trainer._padded(ids, 0 * ids, _masks(ids), None, 14)
    lowered = trainer._program.lower(_KEY, *padded, trainer._placed_data)
    program = lowered.compile().as_text()
    self.assertIn('num_partitions=2', program)
    for word in ('all-reduce', 'all-gather', 'all-to-all', 'permute'):
      self.assertNotIn(word, program)

  def test_two_four_and_eight_devices_elsewhere_make_the_bits_of_one_here(self):
    environment = {
        **os.environ,
        'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
        'JAX_PLATFORMS': 'cpu',
        'PYTHONPATH': str(_ROOT),
    }
    child = subprocess.Popen(
        [sys.executable, bits.__file__],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    here = {
        name: bits.digest(bits.outcomes(name, np.arange(9), num_devices=1))
        for name in bits.MODELS
    }
    there = json.loads(child.communicate(timeout=240)[0])
    some = {f'linear on {n}': here['linear'] for n in bits.SOME_DEVICES}
    self.assertEqual(there, {'num_devices': 8, **here, **some})


if __name__ == '__main__':
  absltest.main()
