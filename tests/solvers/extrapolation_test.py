from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import extrapolation
from jdm.solvers import penalties
from jdm.solvers import precision


def _run(depth, num_steps):
  """Gradient descent on two quadratics, with or without jumps."""
  generator = np.random.default_rng(0)
  curvature = jnp.asarray(generator.uniform(0.05, 1, size=(2, 4)))
  start = jnp.asarray(generator.normal(size=(2, 4)))
  objective = lambda point: 0.5 * jnp.sum(curvature * point[0] ** 2, axis=1)
  penalty = penalties.of(jnp.zeros(2))
  point = start, -curvature * start
  history = extrapolation.init(point, depth)
  update = jax.jit(extrapolation.update, static_argnums=3)
  values, jumps = [], 0
  for step in range(num_steps):
    weights = point[0] - curvature * point[0]
    point = weights, -curvature * weights
    restart = jnp.full(2, step == 0)
    history, point, jumped = update(history, point, restart, objective, penalty)
    jumps += int(jumped.sum())
    values.append(np.asarray(objective(point)))
    # What is affine in the weights stays so.
    np.testing.assert_allclose(point[1], -curvature * point[0], atol=1e-12)
  return np.array(values), jumps


class ExtrapolationTest(absltest.TestCase):

  def test_jumps_help_and_never_harm(self):
    with precision.float64():
      plain, none = _run(0, 40)
      fast, jumps = _run(3, 40)
    self.assertEqual(none, 0)
    self.assertGreater(jumps, 0)
    self.assertTrue((np.diff(fast, axis=0) <= 0).all())
    self.assertTrue((fast[-1] < 1e-3 * plain[-1]).all())

  def test_a_history_at_rest_stays(self):
    point = jnp.ones((2, 3)), jnp.zeros((2, 3))
    history = extrapolation.init(point, 2)
    objective = lambda point: jnp.sum(point[0] ** 2, axis=1)
    penalty = penalties.of(jnp.zeros(2))
    for _ in range(6):
      history, point, _ = extrapolation.update(
          history, point, jnp.zeros(2, bool), objective, penalty
      )
    np.testing.assert_array_equal(point[0], 1)

  def test_a_direction_without_curvature_is_followed_to_its_end(self):
    # |w1| + |w2| along w1 + 2 w2 = const: equal steps, until w1 is zero.
    penalty = penalties.of(jnp.ones(1))
    objective = lambda point: jnp.sum(jnp.abs(point[0]), axis=1)
    step = jnp.array([[-0.02, 0.01]])
    with precision.float64():
      point = jnp.array([[1.0, 0.5]]), jnp.zeros((1, 2))
      history = extrapolation.init(point, 2)
      for number in range(4):
        point = point[0] + step, point[1]
        restart = jnp.full(1, number == 0)
        history, point, jumped = extrapolation.update(
            history, point, restart, objective, penalty
        )
        if jumped.any():
          break
    np.testing.assert_allclose(point[0], [[0.0, 1.0]], atol=1e-6)


if __name__ == '__main__':
  absltest.main()
