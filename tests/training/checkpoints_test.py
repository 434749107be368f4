"""Trainings that go on where another process was stopped."""

import dataclasses
import functools
import pathlib
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm import collection
from jdm import datasets
from jdm import recipe as recipe_lib
from jdm.training import checkpoints as lib
from jdm.training import ensemble
from jdm.training import sgd

_RECIPE = recipe_lib.Recipe(
    model='linear',
    training=sgd.Config(epochs=4, batch_size=10),
    outcomes=('soft_margin',),
    group=2,
)
_DATA = datasets.load('digits', num_train=60, num_test=20)
_ROWS = np.arange(5)


class _Stop(Exception):
  pass


class _Stopping(lib.Checkpoints):
  """Saves after every epoch, and stops at one of the saves; 0 saves none."""

  def __init__(self, folder, stop_at):
    super().__init__(folder, 1e-9 if stop_at else 1e9, 'pool')
    self.stop_at, self.num_saved, self.loaded = stop_at, 0, None

  def save(self, names, epoch, carry):
    super().save(names, epoch, carry)
    self.num_saved += 1
    if self.num_saved == self.stop_at:
      self._manager.wait_until_finished()
      raise _Stop

  def load(self, carry):
    self.loaded = super().load(carry)
    return self.loaded


@functools.cache
def _pool(num_devices=1):
  devices = jax.devices()[:num_devices]
  return recipe_lib.build(_RECIPE, dataset=_DATA, devices=devices)


def _train(checkpoints, num_devices=1, rows=_ROWS):
  pool = _pool(num_devices)
  return pool.start(rows, pool.masks(rows), checkpoints).wait()['soft_margin']


class CheckpointsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _closed(self, made):
    """Checkpoints whose threads end with the test."""
    self.addCleanup(made.remove)
    return made

  def _never(self):
    folder = self.create_tempdir().full_path
    return self._closed(lib.Checkpoints(folder, 1e9, 'pool'))

  @parameterized.parameters((1, 2), (2, 1))
  def test_goes_on_with_the_same_bits_on_any_devices(self, before, after):
    expected = _train(self._never())
    stopping = self._closed(_Stopping(self.folder, 2))
    with self.assertRaises(_Stop):
      _train(stopping, before)
    stopping.close()
    going_on = self._closed(_Stopping(self.folder, 0))
    found = _train(going_on, after)
    self.assertEqual(going_on.loaded.epoch, 2)
    self.assertLen(going_on.loaded.names, 2 * before)
    np.testing.assert_array_equal(found, expected)

  def test_trains_what_one_program_of_all_epochs_does(self):
    pool = _pool()
    whole = pool.start(_ROWS, pool.masks(_ROWS)).wait()['soft_margin']
    np.testing.assert_allclose(_train(self._never()), whole, atol=1e-5)

  def test_other_models_begin_anew(self):
    with self.assertRaises(_Stop):
      stopping = self._closed(_Stopping(self.folder, 3))
      try:
        _train(stopping)
      finally:
        stopping.close()
    rows = np.array([7, 0, 9])  # One of the two that were saved.
    found = _train(self._closed(_Stopping(self.folder, 0)), rows=rows)
    np.testing.assert_array_equal(found, _train(self._never(), rows=rows))

  @parameterized.parameters('identity', 'bits', 'torn')
  def test_what_cannot_be_used_is_passed_over(self, kind):
    carry = {'a': jnp.arange(6.0).reshape(2, 3), 'b': jnp.ones(2, int)}
    one = jax.tree.map(lambda leaf: leaf[0], carry)
    saver = self._closed(lib.Checkpoints(self.folder, 1.0, 'pool'))
    saver.save(['x', 'y'], 1, carry)
    saver.save(['x', 'y'], 2, carry)
    # Waits, too: in truth, its process is gone.
    self.assertEqual(saver.load(one).epoch, 2)
    saver.close()
    name = 'other' if kind == 'identity' else 'pool'
    reader = self._closed(lib.Checkpoints(self.folder, 1.0, name))
    if kind != 'identity':
      files = [
          path
          for path in sorted(pathlib.Path(self.folder).glob('2/state/**/d/*'))
          if path.is_file()
      ]
      self.assertNotEmpty(files)
      for path in files:
        content = path.read_bytes()
        half = len(content) // 2
        if kind == 'torn':
          path.write_bytes(content[:half])
        else:
          flipped = bytes([content[half] ^ 255])
          path.write_bytes(content[:half] + flipped + content[half + 1 :])
    found = reader.load(one)
    if kind == 'identity':
      self.assertIsNone(found)
    else:
      self.assertEqual(found.epoch, 1)
      np.testing.assert_array_equal(found.leaves[0], carry['a'])

  def test_clear(self):
    saver = self._closed(lib.Checkpoints(self.folder, 1.0, 'pool'))
    carry = {'a': jnp.zeros((2, 3))}
    saver.save(['x'], 1, carry)
    saver.clear()
    self.assertIsNone(saver.load({'a': jnp.zeros(3)}))

  def test_one_process_at_a_time(self):
    first = self._closed(lib.Checkpoints(self.folder, 1.0, 'pool'))
    with self.assertRaisesRegex(ValueError, 'another process'):
      lib.Checkpoints(self.folder, 1.0, 'pool')
    first.close()
    lib.Checkpoints(self.folder, 1.0, 'pool').close()

  def test_held(self):
    saver = self._closed(lib.Checkpoints(self.folder, 1e-9, 'pool'))
    carry = {'a': jnp.zeros((1, 3))}
    saver.save(['x'], 1, carry)
    saver.is_held = True
    self.assertFalse(saver.is_due())
    saver.clear()
    self.assertIsNotNone(saver.load({'a': jnp.zeros(3)}))

  def test_collecting_on_fewer_devices_uses_all_that_was_saved(self):
    two = self._closed(_Stopping(self.folder, 2))
    store = self.create_tempdir().full_path + '/store'
    with self.assertRaises(_Stop):
      collection.collect(_pool(2), store, num_models=6, checkpoints=two)
    two.close()
    one = self._closed(lib.Checkpoints(self.folder, 1e9, 'pool'))
    trainer = ensemble.Trainer
    with mock.patch.object(
        trainer, '_restored', autospec=True, side_effect=trainer._restored
    ) as restored:
      done = collection.collect(_pool(), store, num_models=6, checkpoints=one)
      begun = [len(call.args[2]) for call in restored.call_args_list]
    self.assertEqual(begun, [2, 2])  # All four that were saved.
    expected = _train(self._never(), rows=np.arange(6))
    np.testing.assert_array_equal(
        done.read('soft_margin', np.arange(6)), expected
    )

  def test_subsets_of_mixed_sizes_are_saved_by_capacity(self):
    sizes = np.array([20, 40, 20, 40, 20, 40])
    places = (np.arange(60)[None] + np.arange(6)[:, None]) % 60
    masks = places < sizes[:, None]
    pool = recipe_lib.given_masks(_pool(), masks, replicates=1)
    started = []
    start = ensemble.Trainer.start

    def counted(trainer, key, model_ids, masks, *rest, **options):
      started.append(masks.sum(axis=1).tolist())
      return start(trainer, key, model_ids, masks, *rest, **options)

    def collect(name, checkpoints):
      started.clear()
      path = f'{self.create_tempdir().full_path}/{name}'
      with mock.patch.object(ensemble.Trainer, 'start', counted):
        store = collection.collect(
            pool, path, num_models=6, checkpoints=checkpoints
        )
      return store.read('soft_margin', np.arange(6))

    expected = collect('whole', self._never())
    self.assertEqual(started, [[20, 20], [20], [40, 40], [40]])
    # A call saves three times: this is in the middle of the third.
    stopping = self._closed(_Stopping(self.folder, 8))
    with self.assertRaises(_Stop):
      collect('stopped', stopping)
    self.assertEqual(started, [[20, 20], [20], [40, 40]])
    stopping.close()
    going_on = self._closed(_Stopping(self.folder, 0))
    found = collect('gone_on', going_on)  # Of a store that was lost.
    self.assertEqual(started, [[40, 40], [20, 20], [20], [40]])
    np.testing.assert_array_equal(found, expected)

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'every_secs > 0'):
      lib.Checkpoints(self.folder, 0.0, 'pool')
    pool = _pool()
    trainer = dataclasses.replace(pool.trainer, stages=None)
    with self.assertRaisesRegex(ValueError, 'no `stages`'):
      trainer.start(
          jax.random.key(0),
          _ROWS,
          pool.masks(_ROWS),
          checkpoints=self._never(),
      )


if __name__ == '__main__':
  absltest.main()
