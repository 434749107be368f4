"""Derivatives by masks against finite differences and exact solutions."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.modelpred import config as config_lib
from jdm.modelpred import evaluation
from jdm.modelpred import fitting
from jdm.modelpred import mask_gradients
from tests.modelpred import made_up


def _validation(loss):
  own = made_up.pool(loss, seed=9)
  return own.inputs, own.labels


class MaskGradientsTest(parameterized.TestCase):

  @parameterized.parameters('logistic', 'softmax', 'squared_hinge')
  def test_exact_is_the_slope_of_exact_solutions(self, loss):
    pool = made_up.pool(loss)
    inputs, labels = _validation(loss)
    mask = np.ones(len(pool.labels))
    found = mask_gradients.exact(pool, mask, inputs, labels)
    for point in (0, 3, 11):
      moved = np.repeat(mask[None], 2, axis=0)
      moved[:, point] += (-1e-4, 1e-4)
      losses, _ = evaluation.test_losses(
          pool.objective, pool.solve(moved).parameters, inputs, labels
      )
      self.assertAlmostEqual(
          found[point], (losses[1] - losses[0]) / 2e-4, delta=1e-6
      )

  def test_through_a_predictor(self):
    pool = made_up.pool()
    inputs, labels = _validation('logistic')
    fitted = fitting.fit(
        pool,
        made_up.labels(),
        made_up.labels(80, 2),
        config_lib.Config(width=32, num_steps=600, check_every=200),
    )
    masks = made_up.masks(4, 5, pool).astype(np.float64)
    slopes = mask_gradients.through_predictor(fitted, inputs, labels)
    losses, gradients = slopes(masks)
    expected, _ = evaluation.test_losses(
        pool.objective, fitted.outputs(masks), inputs, labels
    )
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    self.assertEqual(gradients.shape, masks.shape)
    for point in (1, 6):
      moved = np.repeat(masks[:1], 2, axis=0)
      moved[:, point] += (-1e-2, 1e-2)
      ends, _ = slopes(moved)
      self.assertAlmostEqual(
          gradients[0, point], (ends[1] - ends[0]) / 2e-2, delta=2e-4
      )
    # It knows which points help: the slopes are those of exact training.
    everything = np.ones((1, len(pool.labels)))
    _, own = slopes(everything)
    exact = mask_gradients.exact(pool, everything[0], inputs, labels)
    self.assertGreater(np.corrcoef(own[0], exact)[0, 1], 0.5)


if __name__ == '__main__':
  absltest.main()
