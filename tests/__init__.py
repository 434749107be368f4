"""Settings shared by all tests: absl flags parsed, strict shapes, two devices."""

from absl import flags
import jax

jax.config.update('jax_num_cpu_devices', 2)
jax.config.update('jax_numpy_rank_promotion', 'raise')
flags.FLAGS.mark_as_parsed()
