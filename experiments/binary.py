"""What all binaries share: exit codes, progress, tables, result files."""

from collections.abc import Callable, Mapping, Sequence
import gc
import json
import math
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

from absl import app
from absl import flags
from absl import logging
import jax
import numpy as np
import tqdm

from jdm import collection
from jdm import locations
from jdm import provenance
from jdm import recipe as recipe_lib
from jdm import shares
from jdm import store as store_lib

_WORKDIR = flags.DEFINE_string(
    'workdir',
    None,
    'Folder of everything this command reads and writes; for collect_outcomes,'
    ' status, fit_datamodels and evaluate_datamodels also gs:// or s3://.',
)
_CPU_DEVICES = flags.DEFINE_integer(
    'cpu_devices',
    None,
    'On a CPU, devices to emulate: how many groups of models train side by'
    ' side. Default: one a core, at most 8. Changes no result.',
    lower_bound=1,
)

_BAD_INPUT = 2
_FAILURE = 1
STOPPED = 3  # On request, before everything was done; nothing is lost.


def run(main: Callable[[str], None], *, remote: bool = False) -> None:
  """Runs `main(workdir)`; exits 0, 2 on bad input (one line), 1 on failure.

  Args:
    main: what to run.
    remote: whether it can work in a folder far away (gs://, s3://).
  """

  def checked(argv: Sequence[str]) -> None:
    if len(argv) > 1:
      _complain(
          f'unexpected arguments {argv[1:]}; flags look like --name=value'
      )
    if not _WORKDIR.value:
      _complain('--workdir is required: the folder to read and write')
    # What imports made stays; searching it for garbage takes a tenth of a second
    # each time, more than half as much as tracing a training.
    gc.freeze()
    _emulate_devices()
    logging.set_verbosity(logging.WARNING)
    try:
      _check_workdir(_WORKDIR.value, remote)
      main(os.path.expanduser(_WORKDIR.value))
    except (OSError, ValueError) as error:
      sys.exit(complain(error))

  def parse(argv: Sequence[str]) -> list[str]:
    try:
      return flags.FLAGS(argv)
    except flags.Error as error:
      _complain(str(error))

  app.run(checked, flags_parser=parse)


def _check_workdir(workdir: str, remote: bool) -> None:
  if locations.is_remote(workdir) and not remote:
    raise ValueError(
        f'this command writes to a local folder, got --workdir={workdir};'
        ' collect_outcomes, status, fit_datamodels and evaluate_datamodels take'
        ' URLs'
    )
  locations.check(workdir)


def complain(error: Exception) -> int:
  """Prints an error, in one line if it was to be expected; the exit code."""
  if not isinstance(error, (OSError, ValueError)):
    traceback.print_exception(error)
    return _FAILURE
  logging.debug('traceback', exc_info=True)
  print(f'error: {error}', file=sys.stderr)
  # A full disk, say, is not the user's input; what the library refused is.
  return _FAILURE if isinstance(error, OSError) else _BAD_INPUT


def _complain(message: str) -> NoReturn:
  print(f'error: {message}', file=sys.stderr)
  sys.exit(_BAD_INPUT)


def _emulate_devices() -> None:
  count = _CPU_DEVICES.value or min(os.cpu_count() or 1, 8)
  if 'xla_force_host_platform_device_count' in os.environ.get('XLA_FLAGS', ''):
    return  # Whoever set it meant it.
  jax.config.update('jax_num_cpu_devices', count)


class Progress:
  """A progress bar with rate and time left; call it with (done, total).

  The first call of a piece of work says how much was done before it began.
  """

  def __init__(self, description: str, unit: str = 'model'):
    self._description = description
    self._unit = unit
    self._bar: tqdm.tqdm | None = None

  def __call__(self, done: int, total: int) -> None:
    """Moves the bar."""
    if self._bar is None and done >= total:
      return  # Nothing to wait for.
    if self._bar is None:
      self._bar = tqdm.tqdm(
          desc=self._description,
          total=total,
          initial=done,
          unit=self._unit,
          mininterval=0.2 if sys.stderr.isatty() else 10.0,
          dynamic_ncols=True,
      )
    self._bar.update(done - self._bar.n)
    if done >= total:
      self._bar.close()
      self._bar = None  # The next call begins another piece of work.


class StopRequest:
  """Catches SIGTERM: what schedulers send before they kill.

  A second one stops the process at once, as if it had not been caught.
  """

  def __init__(self):
    self._is_asked = False
    signal.signal(signal.SIGTERM, self._ask)

  def is_asked(self) -> bool:
    """Whether it came."""
    return self._is_asked

  def _ask(self, number: int, frame: Any) -> None:
    del frame
    self._is_asked = True
    signal.signal(number, signal.SIG_DFL)
    os.write(
        2, b'\nstopping after what is being trained; again stops at once\n'
    )


def print_estimate(
    pool: recipe_lib.Pool,
    path: str,
    num_models: int,
    *,
    in_stages: bool = False,
    share: shares.Share | None = None,
    chunk: int = 256,
) -> collection.Estimate | None:
  """Prints and returns what filling a store will cost; None if it is full.

  Of a share only; `chunk` is that of a new store.
  """
  store = None
  if store_lib.exists(path):
    store = store_lib.OutcomeStore.open(path)
    left = collection.missing_rows(store, num_models, share)
    if store.num_models >= num_models and not len(left):
      whole = f'{store.num_models} models' if share is None else str(share)
      print(f'{path} is complete: {whole}')
      return None
  cost = collection.estimate(
      pool,
      num_models=num_models,
      store=store,
      in_stages=in_stages,
      share=share,
      chunk=chunk,
  )
  print(f'{path}: {cost}')
  return cost


def table(title: str, rows: Mapping[str, Any]) -> None:
  """Prints one summary table."""
  width = max(len(name) for name in rows)
  print(f'\n{title}')
  for name, value in rows.items():
    print(f'  {name:<{width}}  {text(value)}')


def text(value: Any) -> str:
  """A number, an interval or a word, short."""
  if isinstance(value, float):
    return f'{value:.4g}'
  if isinstance(value, (list, tuple)) and len(value) == 2:
    return f'[{text(value[0])}, {text(value[1])}]'
  return str(value)


def write_json(path: str, values: Mapping[str, Any]) -> None:
  """Writes a result with the flags, versions and commit that made it."""
  name = os.path.splitext(os.path.basename(sys.argv[0]))[0]
  made_by = {
      'command': f'python -m experiments.{name} {" ".join(sys.argv[1:])}',
      **provenance.record(),
  }
  content = json.dumps(_plain({**values, 'made_by': made_by}), indent=1) + '\n'
  if locations.is_remote(path):
    locations.write(path, content.encode())
    return
  os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
  temporary = f'{path}.tmp'
  with open(temporary, 'w', encoding='utf-8') as file:
    file.write(content)
  os.replace(temporary, path)


def _plain(value: Any) -> Any:
  """JSON has no NaN: unknown numbers are null."""
  if isinstance(value, Mapping):
    return {str(key): _plain(inner) for key, inner in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(inner) for inner in value]
  if isinstance(value, np.ndarray):
    return _plain(value.tolist())
  if isinstance(value, np.generic):
    return _plain(value.item())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
