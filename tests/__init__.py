"""Settings shared by all tests: absl flags parsed, strict shapes, two devices.

Programs compiled once are shared with the binaries that tests start, through a
cache that lives as long as the session, or in the folder that
JAX_COMPILATION_CACHE_DIR names.
"""

import atexit
import os
import shutil
import tempfile

if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  _cache = tempfile.mkdtemp(prefix='jdm_test_jax_cache_')
  atexit.register(shutil.rmtree, _cache, ignore_errors=True)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _cache
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.05')

# These read the settings above.
from absl import flags  # noqa: E402
import jax  # noqa: E402

jax.config.update('jax_num_cpu_devices', 2)
jax.config.update('jax_numpy_rank_promotion', 'raise')
flags.FLAGS.mark_as_parsed()
