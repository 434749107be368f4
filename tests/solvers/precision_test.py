import threading

from absl.testing import absltest
import jax.numpy as jnp

from jdm.solvers import precision


class PrecisionTest(absltest.TestCase):

  def test_is_scoped(self):
    with precision.float64():
      self.assertEqual(jnp.zeros(1).dtype, jnp.float64)
    self.assertEqual(jnp.zeros(1).dtype, jnp.float32)

  def test_is_of_this_thread_only(self):
    seen = []
    with precision.float64():
      thread = threading.Thread(target=lambda: seen.append(jnp.zeros(1).dtype))
      thread.start()
      thread.join()
    self.assertEqual(seen, [jnp.float32])

  def test_ends_with_an_error(self):
    with self.assertRaises(KeyError):
      with precision.float64():
        raise KeyError
    self.assertEqual(jnp.zeros(1).dtype, jnp.float32)


if __name__ == '__main__':
  absltest.main()
