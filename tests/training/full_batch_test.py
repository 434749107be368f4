"""Full-batch training through the engine, the store and the recipes."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm import collection
from jdm import datasets
from jdm import recipe as recipe_lib
from jdm.modelpred import points
from jdm.training import exact
from jdm.training import full_batch

_QUICK = full_batch.Config(hidden=(3,), num_steps=20)
_UNIFORM = {'sampler': 'uniform_size', 'sampler_options': {'min_size': 2}}


def _recipe(dataset='breast_cancer', num_train=40, **changes):
  options = {'model': 'mlp', 'training': _QUICK, **_UNIFORM, **changes}
  return recipe_lib.Recipe(
      dataset=dataset,
      dataset_options={'num_train': num_train, 'num_test': 10},
      outcomes=options.pop('outcomes', ('parameters',)),
      **options,
  )


class ConfigTest(parameterized.TestCase):

  @parameterized.parameters(
      (2, 'logistic', 1), (3, 'softmax', 3), (0, 'half_square', 1)
  )
  def test_objective(self, classes, loss, num_scores):
    config = full_batch.Config(hidden=(4, 3), lam=0.5, init_seed=2)
    own = full_batch.objective(config, 5, classes)
    self.assertEqual((own.loss, own.num_scores), (loss, num_scores))
    self.assertEqual((own.hidden, own.lam, own.init_seed), ((4, 3), 0.5, 2))
    sizes = 6 * 4 + 5 * 3 + 4 * num_scores
    self.assertEqual(own.num_parameters, sizes)

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, 'not for a dataset of 3 classes'):
      full_batch.objective(full_batch.Config(loss='logistic'), 5, 3)
    for changes, words in (
        ({'loss': 'hinge'}, 'known losses'),
        ({'hidden': (0,)}, 'positive widths'),
        ({'learning_rate': 0.0}, 'learning_rate must be positive'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        full_batch.Config(**changes)


class PoolTest(parameterized.TestCase):

  def _collect(self, recipe, num_models=12, devices=None, path='', **options):
    pool = recipe_lib.build(recipe, devices=devices)
    path = path or self.create_tempdir().full_path + '/store'
    return collection.collect(pool, path, num_models=num_models, **options)

  def test_labels_are_what_a_pool_of_points_trains(self):
    store = self._collect(_recipe())
    self.assertEqual(store.outcomes['parameters'][1], 'float64')
    self.assertEmpty(store.diverged())  # Also where a class is missing.
    rows = store.completed()
    dataset = datasets.load('breast_cancer', num_train=40, num_test=10)
    own = points.Pool(
        objective=recipe_lib.make_objective(_recipe(), dataset),
        inputs=dataset.train.inputs.astype(np.float64),
        labels=dataset.train.labels,
    )
    found = own.solve(store.read('masks', rows))
    # The order of sums differs with the batch, in float64.
    parameters = store.read('parameters', rows)
    np.testing.assert_allclose(found.parameters, parameters, atol=1e-11)
    norms = store.read('gradient_norm', rows)
    np.testing.assert_allclose(found.gradient_norm, norms, rtol=1e-7)

  def test_same_bits_on_any_devices_and_chunks_and_resumed(self):
    one = self._collect(_recipe(), devices=jax.devices()[:1], chunk=5)
    two = self._collect(_recipe(), devices=jax.devices()[:2], chunk=3)
    path = self.create_tempdir().full_path + '/store'
    self._collect(_recipe(), num_models=7, path=path)
    resumed = self._collect(_recipe(), path=path)
    rows = one.completed()
    self.assertLen(rows, 12)
    for name in ('parameters', 'gradient_norm', 'masks'):
      for other in (two, resumed):
        np.testing.assert_array_equal(
            one.read(name, rows), other.read(name, rows)
        )

  def test_outcomes_follow_from_parameters(self):
    names = ('parameters', 'soft_margin', 'log_loss')
    store = self._collect(_recipe(outcomes=names, targets=('test', 'train')))
    rows = store.completed()
    alone = self._collect(_recipe())
    for name in ('soft_margin', 'log_loss_train'):
      read = collection.read_outcome(alone, name, rows)
      np.testing.assert_allclose(read, store.read(name, rows), atol=1e-5)

  @parameterized.parameters(('wine', 'logits', (10, 3)), ('diabetes', None, ()))
  def test_other_tasks(self, dataset, outcome, shape):
    names = ('prediction',) if outcome is None else (outcome,)
    store = self._collect(_recipe(dataset, outcomes=names), num_models=2)
    self.assertEqual(store.outcomes[names[0]][0], shape or (10,))

  def test_recipes_survive_the_store(self):
    config = full_batch.Config(hidden=(5, 4), lam=0.1, init_seed=3)
    recipe = _recipe(training=config)
    again = recipe_lib.Recipe.from_json(recipe.to_json())
    self.assertEqual(again.training, config)
    self.assertEqual(again.to_json(), recipe.to_json())
    store = self._collect(_recipe(), num_models=2)
    pool = collection.pool_of(store)
    self.assertEqual(
        recipe_lib.Recipe.from_json(pool.description).training, _QUICK
    )

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, "trained by full.*'linear'"):
      recipe_lib.build(_recipe(model='linear'))
    with self.assertRaisesRegex(ValueError, "got model 'mlp'"):
      recipe_lib.build(_recipe(training=exact.Config()))
    with self.assertRaisesRegex(ValueError, 'widths from its training config'):
      recipe_lib.build(_recipe(model_options={'hidden': (8,)}))


if __name__ == '__main__':
  absltest.main()
