"""Tests of models that are read from a store or trained again."""

import dataclasses
import json
import pathlib

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import collection
from jdm import recipe as recipe_lib
from jdm import store as store_lib
from jdm.attributors import influence
from jdm.attributors import rebuild
from jdm.attributors import trained as trained_lib
from jdm.training import exact
from jdm.training import sgd

_DATA = {'num_train': 60, 'num_test': 6}


def _recipe(**changes):
  options = {
      'dataset': 'digits',
      'dataset_options': _DATA,
      'model': 'mlp',
      'model_options': {'hidden': [5]},
      'training': sgd.Config(epochs=2, batch_size=10, learning_rate=0.1),
      'outcomes': ('soft_margin',),
  }
  return recipe_lib.Recipe(**{**options, **changes})


class RebuildTest(parameterized.TestCase):

  def _store(self, name='store', **changes):
    pool = recipe_lib.build(_recipe(**changes))
    path = self.create_tempdir().full_path + f'/{name}'
    return collection.collect(pool, path, num_models=4), pool

  def test_trained_again_is_what_was_stored(self):
    with_them, _ = self._store(outcomes=('soft_margin', 'parameters'))
    without, _ = self._store()
    rows = np.array([3, 1])
    read = rebuild.rebuild(with_them, rows)
    again = rebuild.rebuild(without, rows)
    np.testing.assert_array_equal(read.parameters, again.parameters)
    np.testing.assert_array_equal(read.masks, with_them.read('masks', rows))
    np.testing.assert_array_equal(read.keys, again.keys)
    margins = [
        read.compute(
            trained_lib.logits(read.model, flat, read.target_inputs),
            read.target_labels,
        )
        for flat in read.parameters
    ]
    np.testing.assert_allclose(
        np.stack(margins), with_them.read('soft_margin', rows), atol=1e-4
    )

  def test_checkpoints(self):
    store, _ = self._store(outcomes=('soft_margin', 'parameters'))
    trained = rebuild.rebuild(store, np.arange(3), epochs=(1, 2))
    self.assertEqual(trained.checkpoints.shape[:2], (2, 3))
    np.testing.assert_allclose(
        trained.checkpoints[-1], store.read('parameters', np.arange(3))
    )
    # One pass over an example is a step of the rate over the batch size.
    mean = np.mean([sgd.triangular(s, 6.0, 0.2) for s in range(6)])
    np.testing.assert_allclose(trained.rates.sum(), 2 * 0.1 * mean / 10)
    for epochs in ((2, 1), (0, 1), (3,)):
      with self.assertRaisesRegex(ValueError, 'epochs'):
        rebuild.rebuild(store, np.arange(3), epochs=epochs)

  def test_exact_minima(self):
    store, _ = self._store(
        model='linear',
        model_options={},
        training=exact.Config(lam=1.0),
        outcomes=('soft_margin', 'parameters'),
    )
    trained = rebuild.rebuild(store, store.completed())
    found = influence.scores(trained, curvature='logits')
    self.assertEqual(found.values.shape, (60, 6))
    with self.assertRaisesRegex(ValueError, 'checkpoints are of training by'):
      rebuild.rebuild(store, store.completed(), epochs=(1,))

  def test_train_targets(self):
    store, _ = self._store(targets=('test', 'train'))
    trained = rebuild.rebuild(store, np.arange(2), targets='train')
    self.assertEqual(trained.num_targets, 60)

  def test_rows_that_are_not_there(self):
    store, _ = self._store()
    with self.assertRaisesRegex(ValueError, '1 are missing'):
      rebuild.rebuild(store, np.array([1, 9]))

  def _edit(self, store, change):
    path = pathlib.Path(store.path) / 'zarr.json'
    group = json.loads(path.read_text())
    change(group['attributes']['jdm'])
    path.write_text(json.dumps(group))
    return store_lib.OutcomeStore.open(store.path)

  def test_other_data(self):
    store, _ = self._store()
    edited = self._edit(
        store, lambda about: about['recipe'].update(fingerprint='other')
    )
    with self.assertRaisesRegex(store_lib.StoreError, 'fingerprint'):
      rebuild.rebuild(edited, np.arange(2))

  def test_a_recipe_of_ones_own(self):
    store, pool = self._store()
    del store
    own = dataclasses.replace(pool, description={'mine': 1})
    path = self.create_tempdir().full_path + '/own'
    mine = collection.collect(own, path, num_models=2)
    with self.assertRaisesRegex(store_lib.StoreError, 'not made from a recipe'):
      rebuild.rebuild(mine, np.arange(2))

  def test_other_trainings(self):
    """As if other versions had trained the models of the store."""
    store, pool = self._store()
    masks = store.read('masks', np.arange(4))
    outcomes = {'soft_margin': np.ones((4, 6), np.float32)}
    other = store_lib.OutcomeStore.create(
        self.create_tempdir().full_path + '/other',
        recipe=pool.description,
        num_models=4,
        num_train=60,
        outcomes=pool.outcome_layout(),
    )
    other.write(np.arange(4), masks, outcomes, {'versions': {'jax': '0.1'}})
    with self.assertRaisesRegex(store_lib.StoreError, "differs.*'0.1'"):
      rebuild.rebuild(other, np.arange(4))

  def test_outcomes_without_a_derivative(self):
    store, _ = self._store()
    with self.assertRaisesRegex(ValueError, 'differentiate one number'):
      rebuild.rebuild(store, np.arange(2), outcome='correctness')


if __name__ == '__main__':
  absltest.main()
