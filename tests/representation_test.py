"""Features of a model trained on everything."""

from absl.testing import absltest
import numpy as np
from sklearn import linear_model

from jdm import recipe as recipe_lib
from jdm import representation
from jdm.training import sgd


def _pool(model, **options):
  return recipe_lib.build(
      recipe_lib.Recipe(
          dataset_options={'num_train': 300, 'num_test': 100},
          model=model,
          model_options=options,
          training=sgd.Config(epochs=3),
      )
  )


class PenultimateTest(absltest.TestCase):

  def test_hidden_layers_tell_classes_apart(self):
    pool = _pool('mlp', hidden=[32, 8])
    found = representation.penultimate(pool, num_models=2)
    self.assertEqual(found['train'].shape, (300, 16))
    self.assertEqual(found['test'].shape, (100, 16))
    self.assertGreaterEqual(found['train'].min(), 0)  # After the ReLU.
    self.assertFalse(
        np.array_equal(found['train'][:, :8], found['train'][:, 8:])
    )
    again = representation.penultimate(pool, num_models=1)
    np.testing.assert_array_equal(again['train'], found['train'][:, :8])
    classifier = linear_model.LogisticRegression(max_iter=1000)
    classifier.fit(found['train'], pool.dataset.train.labels)
    score = classifier.score(found['test'], pool.dataset.test.labels)
    self.assertGreater(score, 0.8)

  def test_a_linear_model_sees_its_inputs(self):
    pool = _pool('linear')
    found = representation.penultimate(pool)
    np.testing.assert_array_equal(found['test'], pool.dataset.test.inputs)

  def test_no_models(self):
    with self.assertRaisesRegex(ValueError, 'at least one model'):
      representation.penultimate(_pool('linear'), num_models=0)


if __name__ == '__main__':
  absltest.main()
