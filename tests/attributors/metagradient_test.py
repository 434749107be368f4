"""Tests of derivatives of whole trainings."""

import dataclasses
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm.attributors import metagradient
from jdm.attributors import trained as trained_lib
from tests.attributors import made


def _single():
  trained = made.trained('mlp', 1)
  return metagradient.single(
      trained.model,
      trained.config,
      key=jax.random.key(3),
      inputs=trained.inputs,
      labels=trained.labels,
      target_inputs=trained.target_inputs,
      target_labels=trained.target_labels,
      compute=trained.compute,
  )


def _outcomes(trained):
  @jax.jit
  def read(flat):
    logits = trained_lib.logits(trained.model, flat, trained.target_inputs)
    return trained.compute(logits, trained.target_labels)

  return read(trained.parameters[0])


class MetagradientTest(parameterized.TestCase):

  def test_matches_finite_differences(self):
    trained = made.trained('mlp', 1)
    found = metagradient.scores(trained, float64=True, target_batch=3).values
    examples = np.flatnonzero(trained.masks[0])[:6]
    step = 1e-4
    weights = np.ones((12, 60))
    weights[np.arange(6), examples] += step
    weights[np.arange(6) + 6, examples] -= step
    outcomes = metagradient.outcomes(trained, weights, float64=True)
    expected = (outcomes[:6] - outcomes[6:]) / (2 * step)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        found[examples], expected, rtol=1e-3, atol=1e-6 * scale
    )
    self.assertFalse(found[~trained.masks[0]].any())

  def test_weights_of_one_are_the_training_itself(self):
    for trained in (made.trained('mlp', 1), _single()):
      found = metagradient.outcomes(trained, np.ones((40, 60)))
      expected = _outcomes(trained)
      np.testing.assert_allclose(found[0], expected, atol=1e-4)

  def test_predicts_removals(self):
    trained = _single()
    found = metagradient.scores(trained).values
    masks = np.random.default_rng(0).random((40, 60)) > 0.03
    outcomes = metagradient.outcomes(trained, masks)
    for target in range(outcomes.shape[1]):
      correlation = np.corrcoef(masks @ found[:, target], outcomes[:, target])
      self.assertGreater(correlation[0, 1], 0.9)

  def test_the_mean_over_models_that_trained_on_an_example(self):
    trained = made.trained('mlp', 3)
    parts = [metagradient.scores(trained.take([i])).values for i in range(3)]
    counts = trained.masks.sum(axis=0)[:, None]
    expected = np.sum(parts, axis=0) / np.maximum(counts, 1)
    found = metagradient.scores(trained).values
    np.testing.assert_allclose(
        found, expected, atol=1e-4 * np.abs(expected).max()
    )

  def test_kinks_are_warned_of(self):
    zeros = mock.Mock(return_value=np.zeros((60, 8)))
    with mock.patch.object(metagradient.over_models, 'mean', zeros):
      with self.assertLogs(level='WARNING') as logs:
        metagradient.scores(made.trained('mlp', 1, 'relu'))
    self.assertRegex(logs.output[0], 'kinks.*activation=gelu')

  def test_how_it_was_trained_must_be_known(self):
    unknown = dataclasses.replace(made.trained(), keys=None)
    with self.assertRaisesRegex(ValueError, 'runs the training again'):
      metagradient.scores(unknown)
    trained = made.trained()
    config = dataclasses.replace(trained.config, augmentations=('flip',))
    with self.assertRaisesRegex(ValueError, 'without augmentations'):
      metagradient.scores(dataclasses.replace(trained, config=config))

  def test_bad_shapes(self):
    with self.assertRaisesRegex(ValueError, 'one model'):
      metagradient.outcomes(made.trained(), np.ones((1, 60)))
    with self.assertRaisesRegex(ValueError, 'of 60 examples'):
      metagradient.outcomes(made.trained('mlp', 1), np.ones((1, 59)))
    with self.assertRaisesRegex(ValueError, 'target_batch'):
      metagradient.scores(made.trained(), target_batch=0)


if __name__ == '__main__':
  absltest.main()
