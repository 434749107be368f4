"""The rule for the group size: stable, for a rule decides the bits."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp

from jdm import models
from jdm.models import model as model_lib
from jdm.training import group


def _size(name, input_shape, batch_size=50, platform='cpu', **options):
  model = models.make(name, input_shape, 10, **options)
  num_bytes = group.bytes_of_model(model, input_shape, batch_size)
  return group.size(num_bytes, platform)


class GroupTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('linear', 'linear', (64,), {}, 64),
      ('mlp64', 'mlp', (64,), {'hidden': (64,)}, 16),
      ('mlp256', 'mlp', (64,), {'hidden': (256,)}, 4),
      ('cnn', 'cnn', (784,), {'image_shape': (28, 28)}, 1),
  )
  def test_on_a_cpu(self, name, input_shape, options, expected):
    self.assertEqual(_size(name, input_shape, **options), expected)

  def test_of_resnets(self):
    """Patches count: im2col needs more memory, and large networks go alone."""
    self.assertEqual(_size('resnet9', (32, 32, 3), batch_size=512), 1)
    num_bytes = {
        name: group.bytes_of_model(
            models.make('resnet9', (32, 32, 3), 10, width=8, convolution=name),
            (32, 32, 3),
            8,
        )
        for name in ('im2col', 'lax')
    }
    # The patches of the last seven convolutions: positions, times pixels of the
    # kernel, times channels.
    patches = 16**2 * (25 * 8 + 3 * 9 * 16) + 8**2 * 3 * 9 * 32
    self.assertGreater(
        num_bytes['im2col'] - num_bytes['lax'], 0.9 * 4 * 8 * patches
    )

  def test_an_accelerator_takes_more(self):
    self.assertEqual(_size('linear', (64,), platform='gpu'), 1024)
    self.assertGreater(
        _size('cnn', (784,), platform='gpu', image_shape=(28, 28)), 16
    )

  def test_is_a_power_of_two_that_falls_with_the_bytes(self):
    sizes = [group.size(1 << power, 'cpu') for power in range(4, 30)]
    self.assertEqual(sizes, sorted(sizes, reverse=True))
    self.assertEqual((sizes[0], sizes[-1]), (64, 1))
    self.assertTrue(all(size & (size - 1) == 0 for size in sizes))

  def test_bytes_by_hand(self):
    model = model_lib.stateless(
        lambda key: {'w': jnp.zeros((4, 3))}, lambda p, x: x @ p['w']
    )
    # Weights thrice, a batch of inputs and one of outputs, 4 bytes a number.
    expected = 4 * (3 * 12 + 7 * 4 + 7 * 3)
    self.assertEqual(group.bytes_of_model(model, (4,), 7), expected)

  def test_bytes_look_into_nested_calls(self):
    def apply(params, inputs):
      return jax.jit(lambda x: x * 2 + 1)(inputs) @ params

    model = model_lib.stateless(lambda key: jnp.zeros((4, 3)), apply)
    expected = 4 * (3 * 12 + 7 * 4 + 2 * 7 * 4 + 7 * 3)
    self.assertEqual(group.bytes_of_model(model, (4,), 7), expected)

  def test_fastest(self):
    calls = []

    def run(candidate):
      calls.append(candidate)
      return candidate

    best, seconds = group.fastest(run, (2, 8))
    self.assertEqual(calls, [2, 2, 8, 8])
    self.assertIn(best, (2, 8))
    self.assertEqual(set(seconds), {2, 8})


if __name__ == '__main__':
  absltest.main()
