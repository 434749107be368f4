"""Tests of the convolutional network and of convolutions as products."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm.models import convolution


class ConvTest(parameterized.TestCase):

  @parameterized.product(
      (
          dict(size=1, stride=2, shape=(1, 9, 9)),
          dict(size=3, stride=1, shape=(3, 8, 11)),
          dict(size=3, stride=2, shape=(3, 8, 11)),
          dict(size=5, stride=2, shape=(1, 28, 28)),
          dict(size=5, stride=3, shape=(3, 8, 11)),
          dict(size=2, stride=3, shape=(2, 8, 11)),
      ),
      formulation=convolution.CONVOLUTIONS,
  )
  def test_equals_lax_conv_and_its_gradient(
      self, size, stride, shape, formulation
  ):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(*shape, 4)).astype(np.float32)
    kernel = rng.normal(size=(size, size, shape[0], 6)).astype(np.float32)
    kernel, bias = kernel / size, rng.normal(size=6).astype(np.float32)

    def own(images, kernel):
      layer = convolution.Conv(6, size, stride, convolution=formulation)
      params = {'kernel': kernel.reshape(-1, 6), 'bias': bias}
      return layer.apply({'params': params}, images)

    def theirs(images, kernel):
      found = lax.conv_general_dilated(
          images,
          kernel,
          (stride, stride),
          'VALID',
          dimension_numbers=('CHWN', 'HWIO', 'CHWN'),
          precision='highest',
      )
      return found + bias.reshape(6, 1, 1, 1)

    @jax.jit
    def all_of(images, kernel):
      values, back = jax.vjp(theirs, images, kernel)
      ours, our_back = jax.vjp(own, images, kernel)
      return (ours, our_back(values)), (values, back(values))

    found, expected = all_of(images, kernel)
    # float32 sums of up to 75 terms, those of the kernel's gradient of 576, in
    # another order; values are about 1, gradients up to 500.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-4),
        found,
        expected,
    )
    np.testing.assert_allclose(found[0], expected[0], atol=2e-5)

  def test_patches_by_hand(self):
    images = jnp.arange(16.0).reshape(1, 4, 4, 1)
    patches = convolution.patches(images, 2, 2)
    np.testing.assert_array_equal(
        jnp.moveaxis(patches[..., 0], 0, -1),
        [[[0, 1, 4, 5], [2, 3, 6, 7]], [[8, 9, 12, 13], [10, 11, 14, 15]]],
    )

  def test_images_become_batch_last(self):
    inputs = jnp.arange(2 * 3 * 4 * 2).reshape(2, 24)
    images = convolution.batch_last(inputs, (3, 4, 2))
    self.assertEqual(images.shape, (2, 3, 4, 2))
    self.assertEqual(images[1, 2, 3, 0], inputs[0, -1])
    self.assertEqual(images[0, 0, 1, 1], inputs[1, 2])

  def test_scale_of_the_initial_kernel(self):
    layer = convolution.Conv(400, 5, 1)
    params = layer.init(jax.random.key(0), jnp.zeros((4, 5, 5, 1)))['params']
    # Variance 2 / fan-in of 100; 40,000 draws: standard error 0.4 %.
    self.assertAlmostEqual(float(params['kernel'].std()), 0.02**0.5, delta=2e-3)


class CnnTest(parameterized.TestCase):

  @parameterized.parameters(
      ((784,), (28, 28), 5 * 5 * 32),
      ((28, 28), None, 5 * 5 * 32),
      ((32, 32, 3), None, 6 * 6 * 32),
      ((64,), (8, 8), 2 * 2 * 32),
      ((8, 8, 1), None, 2 * 2 * 32),
  )
  def test_features(self, input_shape, image_shape, num_features):
    model = models.make('cnn', input_shape, 10, image_shape=image_shape)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)
    features = jax.eval_shape(model.features, params, state, inputs)
    self.assertEqual(features.shape, (2, num_features))
    self.assertEqual(params['head']['kernel'].shape, (num_features, 10))

  @parameterized.parameters(*convolution.CONVOLUTIONS)
  def test_equals_images_that_have_channels_last(self, formulation):
    model = models.make(
        'cnn', (14, 16, 2), 3, channels=(4, 6), convolution=formulation
    )
    params, state = model.init(jax.random.key(0))
    inputs = np.random.default_rng(0).normal(size=(5, 14, 16, 2))
    hidden = inputs = inputs.astype(np.float32)
    for name, size in (('convolutions_0', 5), ('convolutions_1', 3)):
      own = params[name]
      hidden = lax.conv_general_dilated(
          hidden,
          own['kernel'].reshape(size, size, hidden.shape[-1], -1),
          (2, 2),
          'VALID',
          dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      )
      hidden = jax.nn.relu(hidden + own['bias'][None, None, None])
    features = hidden.reshape(5, -1)
    logits = features @ params['head']['kernel'] + params['head']['bias'][None]
    found = model.apply(params, state, inputs, False)[0]
    np.testing.assert_allclose(found, logits, atol=1e-5)
    found = model.features(params, state, inputs)
    np.testing.assert_allclose(found, features, atol=1e-5)

  def test_every_channel_makes_a_convolution(self):
    model = models.make('cnn', (28, 28), 10, channels=(4, 8, 16))
    params = jax.eval_shape(model.init, jax.random.key(0))[0]
    self.assertLen([name for name in params if 'conv' in name], 3)
    self.assertEqual(params['head']['kernel'].shape, (2 * 2 * 16, 10))

  def test_table(self):
    with self.assertRaisesRegex(ValueError, 'expects images.*--model=mlp'):
      models.make('cnn', (20,), 2)

  def test_image_too_small(self):
    with self.assertRaisesRegex(ValueError, r'kernels \(3, 3\).*\(4, 4, 1\)'):
      models.make('cnn', (4, 4), 2)

  def test_lengths_differ(self):
    with self.assertRaisesRegex(ValueError, '2 channels, 1 sizes'):
      models.make('cnn', (28, 28), 2, sizes=(3,))


if __name__ == '__main__':
  absltest.main()
