"""Losses, against loops over sets and the formulas of the released code."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm.modelpred import heads
from jdm.modelpred import losses
from jdm.solvers import precision
from jdm.training import convex

_LAM = 0.5


def _problem():
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(30, 3))
  labels = (inputs[:, 0] + rng.normal(size=30) > 0).astype(int)
  own = convex.Objective(loss='logistic', lam=_LAM, num_features=3)
  weights = (rng.random((5, 30)) < 0.6).astype(float)
  predicted, truth = rng.normal(size=(2, 5, 4))
  return own, convex.examples(inputs, labels), weights, predicted, truth


def _by_hand(data, weights, parameters):
  """Gradients of 1/2 |w|^2 + C sum loss, and clipped mean losses."""
  columns, labels = np.asarray(data.columns), np.asarray(data.labels)
  gradients, means = [], []
  for weight, row in zip(weights, parameters):
    chance = 1 / (1 + np.exp(-columns @ row))
    gradient = (weight * (chance - labels)) @ columns / _LAM
    gradient[:3] += row[:3]
    gradients.append(gradient)
    chance = np.clip(chance, 1e-5, 1 - 1e-6)
    loss = -(labels * np.log(chance) + (1 - labels) * np.log(1 - chance))
    means.append(np.sum(weight * loss) / weight.sum())
  return np.array(gradients), np.array(means)


class LossesTest(parameterized.TestCase):

  def test_released_local_and_global(self):
    with precision.float64():
      own, data, weights, predicted, truth = _problem()
      local = losses.local('released', own, predicted, weights, data)
      match = losses.global_('released', own, predicted, truth, weights, data)
      gradients, means = _by_hand(data, weights, predicted)
      _, true_means = _by_hand(data, weights, truth)
    expected = np.linalg.norm(gradients[:, :3]) + np.linalg.norm(
        gradients[:, 3]
    )
    self.assertAlmostEqual(float(local), expected, places=9)
    self.assertAlmostEqual(
        float(match), np.linalg.norm(means - true_means), places=9
    )

  @parameterized.parameters(*losses.LOCAL)
  def test_local_is_zero_at_the_minimum_only(self, kind):
    with precision.float64():
      own, data, weights, _, _ = _problem()
      best = convex.solve(own, jnp.asarray(weights), data).parameters
      at, away = (
          float(losses.local(kind, own, best + shift, weights, data))
          for shift in (0.0, 0.1)
      )
    self.assertLess(at, 1e-6)
    self.assertGreater(away, 1e-4)

  def test_decrement_and_its_derivative(self):
    with precision.float64():
      own, data, weights, predicted, _ = _problem()
      predicted = jnp.asarray(predicted)

      def plain(at):
        gradient = own.gradient(at, weights, data)
        hessian = own.hessian(at, weights, data)
        solved = jnp.linalg.solve(hessian, gradient[..., None])[..., 0]
        return jnp.mean(
            jnp.sum(gradient * solved, axis=1) / weights.sum(axis=1)
        )

      def found(at):
        return losses.local('decrement', own, at, weights, data)

      value, slope = jax.value_and_grad(found)(predicted)
      expected, expected_slope = jax.value_and_grad(plain)(predicted)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-7, atol=1e-12)

  @parameterized.parameters(*losses.GLOBAL)
  def test_global_is_zero_at_the_truth(self, kind):
    with precision.float64():
      own, data, weights, predicted, truth = _problem()
      at = losses.global_(kind, own, truth, truth, weights, data)
      away = losses.global_(kind, own, predicted, truth, weights, data)
    self.assertEqual(float(at), 0)
    self.assertGreater(float(away), 0.01)

  def test_objective_is_lowest_at_the_minimum(self):
    with precision.float64():
      own, data, weights, predicted, _ = _problem()
      best = convex.solve(own, jnp.asarray(weights), data).parameters
      low = losses.objective(own, best, weights, data)
      high = losses.objective(own, predicted, weights, data)
      expected = own.value(best, weights, data) / weights.sum(axis=1)
    self.assertLess(float(low), float(high))
    self.assertAlmostEqual(float(low), float(expected.mean()))

  def test_parameter_errors(self):
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(50, 4)) * np.array([1.0, 10, 1, 1])
    predicted = truth + rng.normal(size=truth.shape)
    head = heads.make('whitened', truth)
    plain = losses.parameter('plain', head, predicted, truth)
    self.assertAlmostEqual(
        float(plain), np.mean((predicted - truth) ** 2), places=5
    )
    outputs = head.to_outputs(predicted) - head.to_outputs(truth)
    whitened = losses.parameter('whitened', head, predicted, truth)
    self.assertAlmostEqual(
        float(whitened), float(np.mean(outputs**2)), places=4
    )

  def test_function_space_error_is_of_scores(self):
    with precision.float64():
      own, data, _, predicted, truth = _problem()
      head = heads.make('whitened', truth)
      found = losses.parameter('function', head, predicted, truth, own, data)
    expected = np.mean((np.asarray(data.columns) @ (predicted - truth).T) ** 2)
    self.assertAlmostEqual(float(found), float(expected), places=9)
    with self.assertRaisesRegex(ValueError, 'needs objective and points'):
      losses.parameter('function', head, predicted, truth)

  def test_weight_penalties(self):
    tree = {'a': {'kernel': jnp.array([[3.0, -4.0]]), 'bias': jnp.ones(2)}}
    absolute, squared = losses.weight_penalties(tree)
    self.assertEqual((float(absolute), float(squared)), (7.0, 5.0))


if __name__ == '__main__':
  absltest.main()
