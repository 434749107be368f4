"""Published settings: each flag file makes the recipe that it says."""

import pathlib

from absl import flags
from absl.testing import absltest
from absl.testing import flagsaver
from absl.testing import parameterized
import jax
import numpy as np

from experiments import training_flags
from jdm import recipe as recipe_lib
from jdm.datasets import arrays

_FOLDER = pathlib.Path(__file__).parents[2] / 'experiments' / 'flagfiles'


def _recipe(name):
  """The recipe of a flag file of `collect_outcomes`."""
  lines = (_FOLDER / f'{name}.flags').read_text().splitlines()
  given = [line for line in lines if line.startswith('--')]
  with flagsaver.flagsaver():
    flags.FLAGS(['collect_outcomes', *given])
    return training_flags.recipe()


def _dataset(side, num_classes):
  """Images of the right shape, fewer of them."""
  images = np.zeros((4, side, side, 3), np.uint8)
  images[0] = 255  # A standard deviation that is not 0.
  labels = np.arange(4) % num_classes
  return arrays.from_arrays(
      images, labels, images, labels, num_classes=num_classes
  )


class FlagFilesTest(parameterized.TestCase):

  @parameterized.parameters(
      ('cifar10', 32, 10, 2_274_880, 5, 24),
      ('fmow', 224, 62, 11_208_318, 6, 15),
  )
  def test_model(self, name, side, num_classes, num_parameters, top, epochs):
    recipe = _recipe(name)
    model = recipe_lib.make_model(recipe, _dataset(side, num_classes))
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    leaves = jax.tree.leaves(params)
    self.assertEqual(sum(leaf.size for leaf in leaves), num_parameters)
    batch = jax.ShapeDtypeStruct((512, side, side, 3), np.float32)
    logits, _ = jax.eval_shape(
        lambda p, s, x: model.apply(p, s, x, True), params, state, batch
    )
    self.assertEqual(logits.shape, (512, num_classes))
    training = recipe.training
    assert training is not None
    self.assertEqual((training.epochs, training.batch_size), (epochs, 512))
    self.assertAlmostEqual(training.peak * epochs, top, places=4)
    recipe.to_json()

  def test_cifar10(self):
    training = _recipe('cifar10').training
    self.assertEqual(training.augmentations, ('flip', 'translate', 'cutout'))
    self.assertEqual(training.test_augmentation, 'flip')
    self.assertEqual(training.label_smoothing, 0.1)
    self.assertEqual(training.weight_decay, 5e-4)

  def test_defaults_are_left_out_of_a_recipe(self):
    with flagsaver.flagsaver():
      flags.FLAGS(['x', '--model=cnn', '--convolution=im2col'])
      self.assertEqual(training_flags.recipe().model_options, {})
      flags.FLAGS(
          ['x', '--convolution=lax', '--compute_dtype=bfloat16', '--width=8']
      )
      self.assertEqual(
          training_flags.recipe().model_options,
          {'width': 8, 'convolution': 'lax', 'compute_dtype': 'bfloat16'},
      )


if __name__ == '__main__':
  absltest.main()
