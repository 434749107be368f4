"""Recipes: to words and back, and what they refuse."""

import dataclasses
import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np
import optax

from jdm import datasets
from jdm import models
from jdm import recipe as recipe_lib
from jdm import subsets
from jdm.training import sgd

_TRAINING = sgd.Config(epochs=1, batch_size=10)
_FULL = recipe_lib.Recipe(
    dataset_options={'num_train': 40, 'num_test': 6},
    model='mlp',
    model_options={'hidden': [8]},
    sampler_options={'alpha': 0.3},
    training=sgd.Config(
        epochs=2, batch_size=5, optimizer='adam', augmentations=('flip',)
    ),
    outcomes=('margin', 'parameters'),
    targets=('test', 'train'),
    dtype='float16',
    seed=3,
    first_id=7,
    replicate=2,
)


def _build(devices=None, **changes):
  options: dict[str, Any] = {
      'dataset_options': {'num_train': 40, 'num_test': 6},
      'training': _TRAINING,
  }
  return recipe_lib.build(
      recipe_lib.Recipe(**(options | changes)), devices=devices
  )


_IMAGES = np.random.default_rng(0).normal(size=(6, 8, 8)).astype(np.float32)


def _train_once(test_augmentation, inputs):
  """Logits of a model at some inputs, after training on digits."""
  dataset = datasets.load('digits', num_train=40, num_test=6)
  test = dataclasses.replace(
      dataset.test, inputs=inputs.reshape(6, 64), images=None
  )
  dataset = dataclasses.replace(dataset, test=test)
  training = dataclasses.replace(_TRAINING, test_augmentation=test_augmentation)
  recipe = recipe_lib.Recipe(training=training, outcomes=('logits',), group=1)
  pool = recipe_lib.build(recipe, dataset=dataset)
  rows = np.arange(1)
  return pool.trainer.train(jax.random.key(0), rows, pool.masks(rows))['logits']


class JsonTest(parameterized.TestCase):

  @parameterized.parameters(recipe_lib.Recipe(), _FULL)
  def test_round_trip(self, recipe):
    words = json.dumps(recipe.to_json())
    again = recipe_lib.Recipe.from_json(json.loads(words))
    self.assertEqual(again.to_json(), recipe.to_json())
    self.assertEqual(again.training, recipe.training)

  def test_a_store_of_before_there_were_test_augmentations(self):
    values = recipe_lib.Recipe().to_json()
    self.assertNotIn('test_augmentation', values['training'])
    training = recipe_lib.Recipe.from_json(values).training
    self.assertEqual(training.test_augmentation, 'none')
    changed = dataclasses.replace(training, test_augmentation='flip')
    values = recipe_lib.Recipe(training=changed).to_json()
    self.assertEqual(values['training']['test_augmentation'], 'flip')
    self.assertEqual(recipe_lib.Recipe.from_json(values).training, changed)

  def test_a_description_builds_itself_again(self):
    pool = recipe_lib.build(_FULL)
    stored = json.loads(json.dumps(pool.description))
    recipe = recipe_lib.Recipe.from_json(stored)
    self.assertEqual(recipe.group, pool.trainer.group)
    again = recipe_lib.build(recipe)
    self.assertEqual(json.loads(json.dumps(again.description)), stored)

  def test_an_optimizer_that_is_a_function(self):
    recipe = recipe_lib.Recipe(training=sgd.Config(optimizer=optax.adam))
    with self.assertRaisesRegex(ValueError, 'names its optimizer'):
      recipe.to_json()


class BuildTest(parameterized.TestCase):

  def test_defaults(self):
    pool = recipe_lib.build(recipe_lib.Recipe())
    self.assertEqual(pool.description['num_train'], 1500)
    self.assertEqual(pool.description['num_test'], 297)
    self.assertEqual(pool.trainer.group, 64)
    self.assertEqual(
        pool.outcome_layout(), {'soft_margin': ((297,), 'float32')}
    )
    masks = pool.masks(np.arange(2))
    np.testing.assert_array_equal(masks.sum(axis=1), 750)
    self.assertEqual(
        pool.description['fingerprint'], datasets.load('digits').fingerprint
    )

  def test_layout(self):
    layout = recipe_lib.build(_FULL).outcome_layout()
    num_parameters = 64 * 8 + 8 + 8 * 10 + 10
    self.assertEqual(
        layout,
        {
            'margin': ((6,), 'float16'),
            'margin_train': ((40,), 'float16'),
            'parameters': ((num_parameters,), 'float16'),
        },
    )

  def test_each_model_has_its_own_training(self):
    mlp = recipe_lib.Recipe(model='mlp').training
    self.assertEqual((mlp.learning_rate, mlp.weight_decay), (0.1, 5e-4))
    linear = recipe_lib.Recipe(model='linear').training
    self.assertEqual((linear.learning_rate, linear.weight_decay), (0.05, 1e-3))

  def test_every_model_has_training_defaults(self):
    self.assertEqual(set(recipe_lib.TRAINING_DEFAULTS), set(models.MODELS))
    for options in recipe_lib.TRAINING_DEFAULTS.values():
      sgd.Config(**options)

  def test_masks_follow_seed_and_first_id(self):
    pool = _build()
    shifted = _build(first_id=5)
    np.testing.assert_array_equal(
        shifted.masks(np.arange(3)), pool.masks(np.arange(5, 8))
    )
    other = _build(seed=1)
    self.assertFalse(
        np.array_equal(other.masks(np.arange(3)), pool.masks(np.arange(3)))
    )

  def test_group_is_of_the_recipe(self):
    self.assertEqual(_build(group=3).description['group'], 3)
    # The rule: larger models, smaller groups.
    wide = _build(model='mlp', model_options={'hidden': [512]})
    self.assertLess(wide.trainer.group, _build().trainer.group)
    # Not of the machine, else another number of devices would move bits.
    alone = _build(devices=jax.devices()[:1])
    self.assertEqual(alone.trainer.num_devices, 1)
    self.assertEqual(alone.description, _build().description)

  def test_flips_at_test_time_average_over_mirror_images(self):
    outcomes = [
        _train_once(test_augmentation=name, inputs=inputs)
        for name, inputs in (
            ('none', _IMAGES),
            ('none', _IMAGES[:, :, ::-1]),
            ('flip', _IMAGES),
        )
    ]
    # float32 sums.
    np.testing.assert_allclose(
        outcomes[2], (outcomes[0] + outcomes[1]) / 2, atol=1e-5
    )
    self.assertGreater(np.abs(outcomes[0] - outcomes[1]).max(), 1e-2)

  def test_regression(self):
    pool = _build(
        dataset='diabetes',
        dataset_options={'num_train': 40, 'num_test': 6},
        outcomes=('squared_error', 'logits'),
    )
    self.assertEqual(pool.outcome_layout()['logits'], ((6, 1), 'float32'))

  @parameterized.parameters(*subsets.SAMPLERS)
  def test_every_sampler(self, name):
    options = {
        'fixed_size': {'alpha': 0.5},
        'bernoulli': {'alpha': 0.5},
        'by_group': {'groups': [i // 4 for i in range(40)]},
    }
    pool = _build(sampler=name, sampler_options=options.get(name, {}))
    self.assertEqual(pool.masks(np.arange(1)).shape, (1, 40))
    json.dumps(pool.description)


class ErrorsTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('dataset', {'dataset': 'cifar'}, "'cifar'.*digits"),
      ('model', {'model': 'tree'}, "'tree'.*mlp"),
      ('model_option', {'model_options': {'x': 1}}, r"no option \['x'\]"),
      ('sampler', {'sampler': 'coin'}, "'coin'.*fixed_size"),
      ('sampler_option', {'sampler_options': {'alpha': 0.5, 'x': 1}}, "'x'"),
      ('no_alpha', {'sampler_options': {}}, 'alpha'),
      ('alpha', {'sampler_options': {'alpha': 1.5}}, 'alpha is the fraction'),
      ('outcomes', {'outcomes': ('loss',)}, 'soft_margin'),
      ('task', {'outcomes': ('squared_error',)}, 'classification problem'),
      ('targets', {'targets': ('val',)}, r"\['test', 'train'\].*\['val'\]"),
      ('no_targets', {'targets': ()}, 'one or both'),
      ('dtype', {'dtype': 'int8'}, "float32 or float16, got 'int8'"),
      ('first_id', {'first_id': 2**31}, r'first_id must be in \[0, 2\*\*31\)'),
      ('negative_id', {'first_id': -1}, 'first_id'),
      ('replicate', {'replicate': -1}, 'replicate not negative'),
      (
          'batch',
          {'sampler_options': {'alpha': 0.2}},
          'subsets of 8 of 40 examples cannot hold a batch of 10; lower',
      ),
      (
          'batch_of_everything',
          {'training': sgd.Config(batch_size=50), 'sampler': 'bernoulli'},
          'subsets of 20 of 40 examples cannot hold a batch of 50',
      ),
      (
          'augmentation',
          {'training': sgd.Config(batch_size=5, augmentations=('blur',))},
          'blur.*flip',
      ),
      (
          'batch_of_one',
          {
              'model': 'resnet9',
              'model_options': {'width': 1},
              'training': sgd.Config(batch_size=1),
          },
          "'resnet9' normalizes by the statistics of a batch.*--batch_size",
      ),
      (
          'flip_of_a_table',
          {
              'dataset': 'iris',
              'training': sgd.Config(batch_size=5, test_augmentation='flip'),
          },
          r"\['flip'\] expect images",
      ),
  )
  def test_build(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      pool = _build(**changes)
      pool.outcome_layout()


class GivenMasksTest(parameterized.TestCase):

  def test_rows_are_the_masks(self):
    pool = dataclasses.replace(_build(), first_id=100)
    masks = np.random.default_rng(0).random((5, 40)) < 0.5
    given = recipe_lib.given_masks(pool, masks)
    np.testing.assert_array_equal(given.masks(np.array([3, 1])), masks[[3, 1]])
    self.assertEqual(given.description['sampler'], 'given')
    other = recipe_lib.given_masks(pool, ~masks)
    self.assertNotEqual(given.description, other.description)

  def test_replicates_share_mask_and_id(self):
    masks = np.random.default_rng(0).random((5, 40)) < 0.5
    given = recipe_lib.given_masks(_build(), masks, replicates=3)
    rows = np.array([1, 6, 11])
    np.testing.assert_array_equal(given.masks(rows), masks[[1, 1, 1]])
    self.assertLen(set(given.model_ids(rows).tolist()), 1)
    self.assertEqual(given.replicates(rows).tolist(), [0, 1, 2])
    with self.assertRaisesRegex(ValueError, 'at least one mask'):
      recipe_lib.given_masks(_build(), masks, replicates=0)

  def test_wrong_masks(self):
    with self.assertRaisesRegex(ValueError, r'`given_masks`.*num_models, 40'):
      recipe_lib.given_masks(_build(), np.ones((2, 39), bool))


if __name__ == '__main__':
  absltest.main()
