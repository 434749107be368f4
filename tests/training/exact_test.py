"""Exact training through the engine, the store and the samplers."""

import dataclasses

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np
from sklearn import linear_model

from jdm import collection
from jdm import datasets
from jdm import recipe as recipe_lib
from jdm.training import exact


def _recipe(dataset='breast_cancer', num_train=60, **changes):
  return recipe_lib.Recipe(
      dataset=dataset,
      dataset_options={'num_train': num_train, 'num_test': 10},
      training=changes.pop('training', exact.Config()),
      outcomes=changes.pop('outcomes', ('parameters',)),
      **changes,
  )


class ObjectiveTest(parameterized.TestCase):

  @parameterized.parameters(
      (None, 2, 'logistic', 1, False),
      (None, 3, 'softmax', 3, False),
      (None, 0, 'half_square', 1, False),
      ('squared_hinge', 2, 'squared_hinge', 1, True),
      ('softmax', 2, 'softmax', 2, False),
  )
  def test_defaults(self, loss, classes, expected, scores, penalized):
    own = exact.objective(exact.Config(loss=loss), 5, classes)
    self.assertEqual(own.loss, expected)
    self.assertEqual(own.num_scores, scores)
    self.assertEqual(own.penalize_intercept, penalized)

  @parameterized.parameters(('logistic', 3), ('half_square', 2), ('softmax', 0))
  def test_loss_of_another_task(self, loss, classes):
    with self.assertRaisesRegex(ValueError, f'{loss}.*is not for a dataset'):
      exact.objective(exact.Config(loss=loss), 5, classes)

  @parameterized.parameters(
      ({'loss': 'hinge'}, 'loss must be one of'),
      ({'lam': 0.0}, 'lam must be positive'),
      ({'missing_class': 'keep'}, "one of .*got 'keep'"),
  )
  def test_errors(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      exact.Config(**options)


class PoolTest(parameterized.TestCase):

  def _collect(self, recipe, num_models=12, devices=None, **options):
    pool = recipe_lib.build(recipe, devices=devices)
    path = self.create_tempdir().full_path + '/store'
    return collection.collect(pool, path, num_models=num_models, **options)

  @parameterized.parameters(
      'uniform_size', 'fixed_size', 'permutation_prefixes', 'leave_one_out'
  )
  def test_labels_are_scikit_learns(self, sampler):
    options = {'fixed_size': {'alpha': 0.3}, 'uniform_size': {'min_size': 10}}
    recipe = _recipe(sampler=sampler, sampler_options=options.get(sampler, {}))
    store = self._collect(recipe, num_models=12)
    self.assertEqual(store.outcomes['parameters'][1], 'float64')
    rows = store.completed()
    masks, found = store.read('masks', rows), store.read('parameters', rows)
    norms = store.read('gradient_norm', rows)
    self.assertLess(norms.max(), 1e-5)
    data = datasets.load('breast_cancer', num_train=60, num_test=10).train
    for mask, parameters in list(zip(masks, found))[:4]:
      model = linear_model.LogisticRegression(tol=1e-9, max_iter=10_000)
      model.fit(data.inputs[mask].astype(float), data.labels[mask])
      expected = np.append(model.coef_[0], model.intercept_)
      np.testing.assert_allclose(parameters, expected, atol=1e-4)

  def test_a_missing_class_is_dropped_or_zero_by_rule(self):
    options = {'sampler': 'uniform_size', 'sampler_options': {'min_size': 1}}
    store = self._collect(_recipe(num_train=12, **options), num_models=40)
    masks = recipe_lib.build(_recipe(num_train=12, **options)).masks(
        np.arange(40)
    )
    data = datasets.load('breast_cancer', num_train=12, num_test=10).train
    labels = data.labels
    one_class = [len(set(labels[mask])) < 2 for mask in masks]
    self.assertGreater(sum(one_class), 0)
    np.testing.assert_array_equal(store.diverged(), np.flatnonzero(one_class))
    zero = exact.Config(missing_class='zero')
    store = self._collect(
        _recipe(num_train=12, training=zero, **options), num_models=40
    )
    self.assertEmpty(store.diverged())
    parameters = store.read('parameters', np.arange(40))
    np.testing.assert_array_equal(~parameters.any(axis=1), one_class)

  def test_same_bits_on_any_devices_and_chunks(self):
    recipe = _recipe(sampler='uniform_size', sampler_options={'min_size': 10})
    one = self._collect(recipe, devices=jax.devices()[:1], chunk=5)
    two = self._collect(recipe, devices=jax.devices()[:2], chunk=3)
    rows = one.completed()
    for name in ('parameters', 'gradient_norm', 'masks'):
      np.testing.assert_array_equal(one.read(name, rows), two.read(name, rows))

  def test_outcomes_follow_from_parameters(self):
    names = ('parameters', 'soft_margin', 'log_loss')
    recipe = _recipe(outcomes=names, targets=('test', 'train'))
    store = self._collect(recipe)
    rows = store.completed()
    alone = self._collect(_recipe())
    for name in ('soft_margin', 'log_loss_train'):
      read = collection.read_outcome(alone, name, rows)
      np.testing.assert_allclose(read, store.read(name, rows), atol=2e-5)
    margin = store.read('soft_margin', rows)
    loss = store.read('log_loss', rows)
    np.testing.assert_allclose(loss, np.logaddexp(0, -margin), atol=1e-6)

  def test_three_classes_and_regression(self):
    store = self._collect(_recipe('wine'))
    shape = store.outcomes['parameters'][0]
    self.assertEqual(shape, (14 * 3,))
    store = self._collect(_recipe('diabetes', outcomes=('prediction',)))
    self.assertEqual(store.outcomes['prediction'][0], (10,))

  def test_relabelled_examples_train_with_the_other_label(self):
    store = self._collect(_recipe(outcomes=('soft_margin',)))
    retrain = collection.retrainer(store)
    labels = datasets.load('breast_cancer', num_train=60, num_test=10).train
    masks = np.ones((1, 60), bool)
    relabel = np.where(np.arange(60) < 20, 1 - labels.labels, -1)[None]
    found = retrain(masks, 1, relabel=relabel.astype(np.int32))[0, 0]
    model = linear_model.LogisticRegression(tol=1e-9, max_iter=10_000)
    flipped = np.where(relabel[0] >= 0, relabel[0], labels.labels)
    model.fit(labels.inputs.astype(float), flipped)
    test = datasets.load('breast_cancer', num_train=60, num_test=10).test
    scores = model.decision_function(test.inputs.astype(float))
    expected = np.where(test.labels == 1, scores, -scores)
    np.testing.assert_allclose(found, expected, atol=1e-3)

  def test_recipes_survive_the_store(self):
    recipe = _recipe(training=exact.Config(lam=0.1, missing_class='zero'))
    again = recipe_lib.Recipe.from_json(recipe.to_json())
    self.assertEqual(again.training, recipe.training)
    self.assertNotIn('kind', recipe_lib.Recipe().to_json()['training'])

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, 'only a linear model'):
      recipe_lib.build(_recipe(model='mlp'))
    with self.assertRaisesRegex(ValueError, 'takes no options'):
      recipe_lib.build(_recipe(model_options={'random_init': True}))
    sgd_recipe = dataclasses.replace(_recipe(num_train=200), training=None)
    pool = recipe_lib.build(sgd_recipe)
    with self.assertRaisesRegex(ValueError, 'minimized exactly'):
      recipe_lib.make_objective(sgd_recipe, pool.dataset)


if __name__ == '__main__':
  absltest.main()
