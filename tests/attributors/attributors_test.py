"""Tests of the shelf as a whole, and of attributors of few lines."""

import dataclasses

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm import attributors
from jdm.analysis import knn_shapley
from jdm.attributors import scores as scores_lib
from jdm.attributors import tracin
from jdm.attributors import trained as trained_lib
from jdm.training import sgd
from tests.attributors import made

_OF_MODELS = ('influence', 'metagradient', 'representation', 'tracin', 'trak')


def _with_checkpoints(name='mlp', num_models=2):
  trained = made.trained(name, num_models)
  path = np.stack([0.5 * trained.parameters, trained.parameters])
  return dataclasses.replace(
      trained, checkpoints=path, rates=np.array([0.01, 0.02])
  )


def _arguments(name):
  trained = _with_checkpoints()
  if name in _OF_MODELS:
    return (trained,)
  if name == 'knn':
    return (
        trained.inputs,
        trained.labels,
        trained.target_inputs,
        trained.target_labels,
    )
  generator = np.random.default_rng(0)
  return generator.random((9, 60)) < 0.5, generator.normal(size=(9, 8))


class ShelfTest(parameterized.TestCase):

  @parameterized.parameters(*attributors.ATTRIBUTORS)
  def test_contract(self, name):
    found = attributors.get(name)(*_arguments(name))
    self.assertIsInstance(found, attributors.Scores)
    self.assertEqual(found.method, name)
    self.assertEqual(found.values.shape, (60, 8))
    self.assertEqual(found.values.dtype, np.float32)
    self.assertNotEmpty(found.units)

  @parameterized.parameters(*(set(_OF_MODELS) - {'metagradient'}))
  def test_examples_of_a_target_itself_help(self, name):
    """A target that is in the training set is helped by itself."""
    trained = _with_checkpoints()
    trained = dataclasses.replace(
        trained,
        target_inputs=trained.inputs[:8],
        target_labels=trained.labels[:8],
    )
    found = attributors.get(name)(trained).values
    self.assertTrue((np.diagonal(found) > 0).all())

  def test_unknown_name(self):
    with self.assertRaisesRegex(ValueError, 'known are empirical_influence'):
      attributors.get('shapley')


class TracinTest(parameterized.TestCase):

  def test_matches_products_written_out(self):
    trained = _with_checkpoints()
    found = tracin.scores(trained, example_batch=7)

    @jax.jit
    def product(flat):
      def losses(flat):
        logits = trained_lib.logits(trained.model, flat, trained.inputs)
        return sgd.losses(logits, jnp.asarray(trained.labels))

      def outcomes(flat):
        logits = trained_lib.logits(trained.model, flat, trained.target_inputs)
        return trained.compute(logits, trained.target_labels)

      return jax.jacobian(losses)(flat) @ jax.jacobian(outcomes)(flat).T

    expected = np.zeros((60, 8))
    rates = trained.rates / (1 - trained.config.momentum)
    for path, rate in zip(trained.checkpoints, rates):
      expected -= rate * np.mean([product(flat) for flat in path], axis=0)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.values, expected, atol=1e-5 * scale)

  def test_checkpoints_are_needed(self):
    with self.assertRaisesRegex(ValueError, r'rebuild\(store, rows, epochs='):
      tracin.scores(made.trained())


class KnnTest(parameterized.TestCase):

  def test_the_mean_is_the_value(self):
    arguments = _arguments('knn')
    np.testing.assert_allclose(
        attributors.get('knn')(*arguments).values.mean(axis=1),
        knn_shapley.knn_shapley(*arguments),
        atol=1e-7,
    )


class RepresentationTest(parameterized.TestCase):

  def test_signs(self):
    trained = made.trained()
    plain = attributors.get('representation')(trained, signed=False).values
    signed = attributors.get('representation')(trained).values
    same = trained.labels[:, None] == trained.target_labels[None]
    np.testing.assert_allclose(signed, np.where(same, plain, -plain))

  def test_bad_options(self):
    with self.assertRaisesRegex(ValueError, "'input', 'penultimate'"):
      attributors.get('representation')(made.trained(), layer='last')
    model = dataclasses.replace(made.trained().model, features=None)
    without = dataclasses.replace(made.trained(), model=model)
    with self.assertRaisesRegex(ValueError, "layer='input'"):
      attributors.get('representation')(without)


class ScoresTest(parameterized.TestCase):

  def test_not_finite(self):
    with self.assertRaisesRegex(ValueError, '1 scores that are not finite'):
      scores_lib.Scores(
          values=np.array([[np.nan, 1.0]]), method='trak', units=''
      )

  def test_wrong_shape(self):
    with self.assertRaisesRegex(ValueError, r'got shape \[3\]'):
      scores_lib.Scores(values=np.zeros(3), method='trak', units='')


if __name__ == '__main__':
  absltest.main()
