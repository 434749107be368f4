"""Several processes that run one command together, by `jax.distributed`."""

from collections.abc import Callable, Iterator
import contextlib
import os
import sys
import threading

from absl import flags
import jax
from jax.experimental import multihost_utils

_DISTRIBUTED = flags.DEFINE_bool(
    'distributed',
    False,
    'This is one of several processes. Slurm, Kubernetes and Cloud TPUs say by'
    ' themselves which; else the next three flags do.',
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
    'coordinator_address', None, 'HOST:PORT of process 0, with --distributed.'
)
_NUM_PROCESSES = flags.DEFINE_integer(
    'num_processes', None, 'How many processes, with --distributed.'
)
_PROCESS_ID = flags.DEFINE_integer(
    'process_id', None, 'Which process this is, from 0, with --distributed.'
)
_COORDINATOR_TIMEOUT = flags.DEFINE_integer(
    'coordinator_timeout_secs',
    300,
    'How long processes wait for each other at the start.',
    lower_bound=1,
)

_UNREACHABLE = 2


def wanted() -> bool:
  """Whether --distributed was given.

  Raises:
    ValueError: if only flags that mean nothing without it were.
  """
  given = (_COORDINATOR_ADDRESS, _NUM_PROCESSES, _PROCESS_ID)
  if not _DISTRIBUTED.value and any(flag.value is not None for flag in given):
    raise ValueError(
        '--coordinator_address, --num_processes and --process_id are for'
        ' --distributed; add it, or each process fits everything'
    )
  return _DISTRIBUTED.value


@contextlib.contextmanager
def connected(complain: Callable[[Exception], int]) -> Iterator[bool]:
  """Joins the other processes; must come before anything of JAX runs.

  Args:
    complain: prints an error and returns the exit code.

  Yields:
    Whether this is the process that writes.

  Raises:
    ValueError: if flags or the environment do not say who is who.
  """
  _connect()
  try:
    # Connects them all: the end of one is then heard of at once, and not half a
    # minute later, when those who still look for it give up.
    multihost_utils.sync_global_devices('connected')
    yield jax.process_index() == 0
    # No process may end well before the files are written.
    multihost_utils.sync_global_devices('written')
  except Exception as error:
    if isinstance(error, jax.errors.JaxRuntimeError):
      first = str(error).split(' [type.')[0].splitlines()[0]
      error = OSError(f'a process failed, another or this one: {first}')
    code = complain(error)
    sys.stdout.flush()
    sys.stderr.flush()
    # A regular exit would wait for the others, who wait for this one.
    os._exit(code)


def _connect() -> None:
  address, count = _COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value
  index = _PROCESS_ID.value
  given = address, count, index
  if any(x is not None for x in given) and any(x is None for x in given):
    raise ValueError(
        '--coordinator_address, --num_processes and --process_id go together'
    )
  if count is not None and index is not None and not 0 <= index < count:
    raise ValueError(f'--process_id must lie in [0, {count}), got {index}')
  if address is not None and not address.rpartition(':')[2].isdigit():
    raise ValueError(f'--coordinator_address is HOST:PORT, got {address!r}')
  timeout = _COORDINATOR_TIMEOUT.value
  timer = threading.Timer(timeout, _give_up, (given, timeout))
  timer.daemon = True
  timer.start()
  # It would take SIGTERM for a notice of work still to be saved, and go on; a
  # fit that is told to end shall end, and is started again.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    # Its own timeout aborts the process with a stack trace: it shall not come.
    jax.distributed.initialize(
        address, count, index, initialization_timeout=timeout + 60
    )
  except (RuntimeError, ValueError) as error:
    raise ValueError(
        '--distributed found no processes to join:'
        f' {str(error).splitlines()[0]} Where neither Slurm, Kubernetes nor a'
        ' Cloud TPU says who is who, pass --coordinator_address=HOST:PORT,'
        ' --num_processes and --process_id.'
    ) from error
  finally:
    timer.cancel()


def _give_up(given: tuple, timeout: int) -> None:
  """Ends the process with one line."""
  address, count, index = given
  me = 'this process' if index is None else f'process {index} of {count}'
  where = address or 'the coordinator that the environment names'
  message = (
      f'error: {me} waited {timeout} s (--coordinator_timeout_secs) for the'
      f' others at {where}; check that all processes were started, with the same'
      ' --coordinator_address and --num_processes and each its own --process_id,'
      ' that process 0 runs on that host, and that the port is free there and'
      ' not behind a firewall'
  )
  # The main thread is inside JAX and would not hear an exception.
  os.write(sys.stderr.fileno(), f'{message}\n'.encode())
  os._exit(_UNREACHABLE)
