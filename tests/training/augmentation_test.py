"""Random changes of images: what they do, how often, and to whom."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm import datasets
from jdm import recipe as recipe_lib
from jdm.training import augmentation
from jdm.training import sgd

_IMAGES = np.arange(400 * 5 * 6.0, dtype=np.float32).reshape(400, 5, 6, 1)
_KEY = jax.random.key(0)


class AugmentationTest(parameterized.TestCase):

  def test_flip(self):
    flipped = np.asarray(jax.jit(augmentation.flip)(_KEY, _IMAGES))
    mirrored = _IMAGES[:, :, ::-1]
    is_same = (flipped == _IMAGES).all(axis=(1, 2, 3))
    is_mirror = (flipped == mirrored).all(axis=(1, 2, 3))
    self.assertTrue((is_same ^ is_mirror).all())
    # Five standard deviations of 400 fair coins.
    self.assertBetween(is_mirror.sum(), 150, 250)

  def test_translate(self):
    moved = np.asarray(jax.jit(augmentation.translate)(_KEY, _IMAGES))
    padded = np.pad(_IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode='edge')
    counts = np.zeros((5, 5), int)
    for row in range(5):
      for column in range(5):
        cut = padded[:, row : row + 5, column : column + 6]
        counts[row, column] = (moved == cut).all(axis=(1, 2, 3)).sum()
    self.assertEqual(counts.sum(), 400)  # Each image is one of the 25 shifts.
    # 16 expected of each; five standard deviations and more.
    self.assertBetween(counts.min(), 1, 16)
    self.assertLess(counts.max(), 40)

  def test_cutout(self):
    images = _IMAGES + 1  # No pixel is 0 before.
    cut = np.asarray(jax.jit(augmentation.cutout)(_KEY, images))
    counts = np.zeros((2, 3), int)
    for row in range(2):
      for column in range(3):
        expected = images.copy()
        expected[:, row : row + 4, column : column + 4] = 0
        counts[row, column] = (cut == expected).all(axis=(1, 2, 3)).sum()
    self.assertEqual(counts.sum(), 400)  # Each image is one of the 6 cuts.
    # 67 expected of each; five standard deviations.
    self.assertBetween(counts.min(), 30, 67)

  @parameterized.parameters(*augmentation.AUGMENTATIONS)
  def test_contract(self, name):
    augment = jax.jit(augmentation.make((name,), (30,), (5, 6)))
    flat = _IMAGES.reshape(400, 30)
    first, again = augment(_KEY, flat), augment(_KEY, flat)
    self.assertEqual((first.shape, first.dtype), (flat.shape, flat.dtype))
    np.testing.assert_array_equal(first, again)
    other = augment(jax.random.key(1), flat)
    self.assertFalse(np.array_equal(first, other))

  def test_chain_uses_a_key_of_its_own_for_each(self):
    chain = jax.jit(augmentation.make(('flip', 'translate'), (5, 6, 1), None))

    @jax.jit
    def by_hand(key, images):
      images = augmentation.flip(jax.random.fold_in(key, 0), images)
      return augmentation.translate(jax.random.fold_in(key, 1), images)

    np.testing.assert_array_equal(chain(_KEY, _IMAGES), by_hand(_KEY, _IMAGES))

  def test_nothing(self):
    augment = augmentation.make((), (7,), None)
    inputs = jnp.ones((3, 7))
    np.testing.assert_array_equal(augment(_KEY, inputs), inputs)

  def test_models_see_different_images(self):
    """Two models on one subset, of an epoch of one batch: only images differ."""
    dataset = datasets.load('digits', num_train=20, num_test=5)
    pool = recipe_lib.build(
        recipe_lib.Recipe(
            training=sgd.Config(
                epochs=1, batch_size=20, augmentations=('translate',)
            ),
            sampler='uniform_size',
            sampler_options={'min_size': 20},
            outcomes=('parameters',),
            group=2,
        ),
        dataset=dataset,
    )
    masks = np.ones((2, 20), bool)
    found = pool.trainer.train(_KEY, np.arange(2), masks)['parameters']
    # From zero weights, one step on the same 20 images would end the same, up
    # to the order of sums.
    self.assertGreater(np.abs(found[0] - found[1]).max(), 1e-3)

  def test_unknown(self):
    with self.assertRaisesRegex(ValueError, r"\['blur'\].*'flip', 'translate'"):
      augmentation.make(('flip', 'blur'), (5, 5), None)

  def test_tables(self):
    with self.assertRaisesRegex(
        ValueError, r"\['flip'\] expect images.*\(9,\)"
    ):
      augmentation.make(('flip',), (9,), None)


class ViewsTest(parameterized.TestCase):

  @parameterized.parameters(((5, 6, 3), None), ((90,), (5, 6, 3)))
  def test_mirror_along_the_width(self, input_shape, image_shape):
    images = np.arange(2 * 90.0).reshape(2, 5, 6, 3)
    inputs = jnp.asarray(images).reshape(2, *input_shape)
    same, mirrored = augmentation.views('flip', inputs, image_shape)
    np.testing.assert_array_equal(same, inputs)
    for column in range(6):
      np.testing.assert_array_equal(
          np.asarray(mirrored).reshape(images.shape)[:, :, column],
          images[:, :, 5 - column],
      )

  def test_none(self):
    (same,) = augmentation.views('none', jnp.ones((3, 7)))
    self.assertEqual(same.shape, (3, 7))

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, r"\['flip'\] expect images"):
      augmentation.views('flip', jnp.ones((3, 7)))
    with self.assertRaisesRegex(ValueError, "'none', 'flip'.*'mirror'"):
      augmentation.views('mirror', jnp.ones((3, 7)))


if __name__ == '__main__':
  absltest.main()
