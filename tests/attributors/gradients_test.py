"""Tests of gradients of examples."""

import functools

from absl.testing import absltest
from absl.testing import parameterized
import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm.attributors import gradients
from jdm.attributors import trained as trained_lib
from jdm.outcomes import soft_margin
from tests.attributors import made


def _by_hand(trained, row):
  """Gradients of margins, one example at a time."""

  def value(flat, single, label):
    logits = trained_lib.logits(trained.model, flat, single[None])
    return soft_margin.log_odds(logits, label[None])[0]

  slope = jax.jit(jax.grad(value))
  flat = jnp.asarray(trained.parameters[row])
  pairs = zip(trained.inputs, trained.labels)
  return np.stack([slope(flat, single, label) for single, label in pairs])


@functools.partial(jax.jit, static_argnums=(0, 4))
def _rows(model, flat, inputs, labels, factored=True):
  """Gradients of margins, inner products, squares, and written out."""
  rows = gradients.of_examples(
      model, flat, inputs, labels, soft_margin.log_odds, factored=factored
  )
  return (
      rows,
      gradients.inner(rows, rows),
      gradients.squares(rows),
      gradients.written_out(rows),
  )


class GradientsTest(parameterized.TestCase):

  @parameterized.product(name=['linear', 'mlp'], factored=[True, False])
  def test_inner_products(self, name, factored):
    trained = made.trained(name)
    expected = _by_hand(trained, 0)
    rows, inner, squares, written = _rows(
        trained.model,
        trained.parameters[0],
        trained.inputs,
        trained.labels,
        factored,
    )
    self.assertLen(rows, (1 if name == 'linear' else 2) if factored else 1)
    scale = np.abs(expected @ expected.T).max()  # float32.
    np.testing.assert_allclose(inner, expected @ expected.T, atol=1e-5 * scale)
    np.testing.assert_allclose(squares, (expected**2).sum(1), atol=1e-5 * scale)
    np.testing.assert_allclose(
        written @ written.T, expected @ expected.T, atol=1e-5 * scale
    )
    if not factored:  # In the order of the parameters.
      np.testing.assert_allclose(written, expected, atol=1e-5)

  def test_convolutions_are_written_out(self):
    model = models.make('cnn', (8, 8, 1), 3, channels=(2, 3))
    params, _ = model.init(jax.random.key(0))
    flat = flatten_util.ravel_pytree(params)[0]
    inputs = jax.random.normal(jax.random.key(1), (5, 8, 8, 1))
    labels = jnp.arange(5) % 3
    rows = _rows(model, flat, inputs, labels)[0]
    self.assertLen(rows, 1)
    self.assertEqual(rows[0][0].shape, (5, len(flat)))

    def total(flat):
      logits = trained_lib.logits(model, flat, inputs)
      return jnp.sum(soft_margin.log_odds(logits, labels))

    np.testing.assert_allclose(
        rows[0][0].sum(axis=0), jax.jit(jax.grad(total))(flat), atol=1e-4
    )

  @parameterized.parameters(
      ('relu', False), ('gelu', True), ('tanh', True), ('silu', True)
  )
  def test_kinks_are_seen(self, activation, expected):
    trained = made.trained('mlp', 1, activation)
    self.assertEqual(
        trained_lib.is_smooth(trained.model, trained.inputs), expected
    )

  def test_a_linear_model_is_smooth(self):
    trained = made.trained('linear', 1)
    self.assertTrue(trained_lib.is_smooth(trained.model, trained.inputs))

  @parameterized.parameters(('linear', True), ('mlp', False))
  def test_linear_models_are_known(self, model, expected):
    trained = made.trained(model, 1)
    self.assertEqual(
        trained_lib.is_linear(trained.model, trained.inputs), expected
    )


if __name__ == '__main__':
  absltest.main()
