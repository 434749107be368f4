import dataclasses

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import homotopy
from jdm.solvers import precision


def _tile(seed, num_targets=3):
  """A tile of one-example problems, and a sweep that solves them."""
  generator = np.random.default_rng(seed)
  cross = jnp.asarray(generator.uniform(1, 2, size=(num_targets, 1)))
  lams = cross * jnp.array([[1.0, 0.5, 0.1]])
  problem = homotopy.Problem(
      cross=cross, variance=cross[:, 0] ** 2 + 1, lams=lams
  )
  point = jnp.zeros_like(cross), cross
  return problem, homotopy.init(problem, point, depth=0, dtype='float64')


def _follow(problem, state, **options):
  def sweep(point, penalty, rate):
    del rate
    weights = penalty.shrink(problem.cross, jnp.ones((1, 1)))
    del point
    return weights, problem.cross - weights

  options = {'tol': 1e-9, 'limit': 0, 'max_epochs': 10} | options
  return jax.device_get(homotopy.follow(sweep, problem, state, **options))


class HomotopyTest(absltest.TestCase):

  def test_follows_each_target_to_its_end(self):
    with precision.float64():
      problem, state = _tile(0)
      state = _follow(problem, state)
    np.testing.assert_array_equal(state.lam_index, 3)
    expected = np.asarray(problem.cross) - np.asarray(problem.lams)
    np.testing.assert_allclose(state.path[:, :, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(state.gaps, 0, atol=1e-12)
    np.testing.assert_array_equal(state.num_epochs, 3)
    # Finished rows are cleared, not to keep coordinates active.
    np.testing.assert_array_equal(state.point[0], 0)

  def test_gives_up_after_max_epochs_but_stores_what_it_has(self):
    with precision.float64():
      problem, state = _tile(0)
      still = lambda point, penalty, rate: point
      state = homotopy.follow(
          still, problem, state, tol=1e-9, limit=0, max_epochs=4
      )
      state = jax.device_get(state)
    np.testing.assert_array_equal(state.lam_index, 3)
    np.testing.assert_array_equal(state.num_epochs, 1 + 4 + 4)
    self.assertTrue((state.gaps[:, 1:] > 0).all())

  def test_constant_outcomes_are_finished_from_the_start(self):
    with precision.float64():
      problem, _ = _tile(0)
      problem = dataclasses.replace(
          problem, variance=problem.variance.at[1].set(0)
      )
      point = jnp.zeros_like(problem.cross), problem.cross
      state = homotopy.init(problem, point, depth=0, dtype='float64')
      state = _follow(problem, state)
    np.testing.assert_array_equal(state.num_epochs, [3, 0, 3])
    np.testing.assert_array_equal(state.path[1], 0)

  def test_merge_takes_rows_of_two_tiles(self):
    with precision.float64():
      first, second = _tile(0), _tile(1)
      source = np.array([2, 4, 0])
      problem, state = homotopy.merge(first, second, source)
      for index, array in enumerate((first, second)):
        rows = np.flatnonzero(source // 3 == index)
        np.testing.assert_array_equal(
            problem.cross[rows], array[0].cross[source[rows] % 3]
        )
      state = _follow(problem, state)
    self.assertEqual(state.path.shape, (3, 3, 1))
    expected = np.asarray(problem.cross) - np.asarray(problem.lams)
    np.testing.assert_allclose(state.path[:, :, 0], expected, rtol=1e-12)

  def test_a_step_that_was_too_long_is_noticed(self):
    with precision.float64():
      problem, state = _tile(0)

      def worse(point, penalty, rate):
        weights = point[0] - 1.0
        return weights, problem.cross - weights

      state = homotopy.follow(
          worse, problem, state, tol=1e-9, limit=0, max_epochs=3
      )
      state = jax.device_get(state)
    self.assertTrue((state.rate < 1).all())

  def test_warm_start_ratio_follows_the_penalties(self):
    lams = jnp.array([[4.0, 3.0, 2.5]] * 3)
    index, leave = jnp.array([0, 1, 2]), jnp.ones(3, bool)
    ratio = homotopy.warm_start_ratio(lams, index, leave)
    np.testing.assert_allclose(ratio, [0, 0.5, 0])
    ratio = homotopy.warm_start_ratio(lams, index, ~leave)
    np.testing.assert_array_equal(ratio, 0)
    self.assertEqual(jax.tree.leaves(ratio)[0].shape, (3,))


if __name__ == '__main__':
  absltest.main()
