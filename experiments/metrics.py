"""What a long run says of itself while it runs, for programs and TensorBoard.

`WORKDIR/metrics.jsonl` has one JSON object a line: `time` (UTC), `event`,
`process`, and what belongs to the event. Any number of processes append to it.

  start   num_models: still missing; estimated_seconds
  chunk   first_row, last_row, num_models, num_diverged, seconds, rate (models a
          second), means (of outcomes)
  end     num_models: trained by this process; seconds; is_complete;
          estimate_error: (seconds - estimated) / estimated, where there was one
"""

from collections.abc import Mapping
import dataclasses
import datetime
import json
import os
import time
from typing import Any

import jax

from jdm import collection
from jdm import locations

_FILE = 'metrics.jsonl'


class Metrics:
  """Writes down what happens to one collection.

  Attributes:
    num_models: trained by this process.
  """

  def __init__(
      self,
      workdir: str,
      cost: collection.Estimate | None,
      *,
      tensorboard: bool = False,
      profile: bool = False,
  ):
    """Begins.

    Args:
      workdir: where `metrics.jsonl`, `tensorboard/` and `profile/` are written.
      cost: what was estimated; None if nothing is to be done.
      tensorboard: also writes scalars for TensorBoard.
      profile: records the second chunk with JAX's profiler (the first one
        compiles); xprof shows it.

    Raises:
      ValueError: if the package that writes for TensorBoard is missing, or the
        folder is far away (where nothing is appended, `metrics.jsonl` neither).
    """
    self.num_models, self._num_chunks = 0, 0
    # Files far away cannot be appended to.
    self._is_remote = locations.is_remote(workdir)
    if self._is_remote and (tensorboard or profile):
      raise ValueError('--tensorboard and --profile need a local --workdir')
    self._workdir, self._profile = workdir, profile
    self._start = time.monotonic()
    # The estimate has compiled in this process what will run.
    self._estimated = cost.seconds if cost else 0.0
    self._board = _board(workdir) if tensorboard else None
    self._cost = cost

  def on_chunk(self, done: collection.ChunkDone) -> None:
    """For `collection.collect`."""
    if not self._num_chunks and self._cost:  # The store is there: all is well.
      self._write(
          'start',
          {
              'num_models': self._cost.num_models,
              'estimated_seconds': self._estimated,
          },
      )
    self.num_models += done.num_models
    self._num_chunks += 1
    rate = done.num_models / max(done.seconds, 1e-9)
    self._write('chunk', {**dataclasses.asdict(done), 'rate': rate})
    if self._board:
      scalars = {
          'models_a_second': rate,
          'share_diverged': done.num_diverged / done.num_models,
          **{f'mean/{name}': value for name, value in done.means.items()},
      }
      for name, value in scalars.items():
        self._board.add_scalar(name, value, self.num_models)
    if self._profile and self._num_chunks == 1:
      jax.profiler.start_trace(os.path.join(self._workdir, 'profile'))
    elif self._profile and self._num_chunks == 2:
      jax.profiler.stop_trace()
      self._profile = False

  def end(self, is_complete: bool) -> dict[str, float]:
    """Ends; returns what a summary says of the estimate, in seconds."""
    if self._profile and self._num_chunks == 1:  # There was no second chunk.
      jax.profiler.stop_trace()
    if self._board:
      self._board.close()
    if not self.num_models:
      return {}
    seconds = time.monotonic() - self._start
    values: dict[str, Any] = {
        'num_models': self.num_models,
        'seconds': seconds,
        'is_complete': is_complete,
    }
    if not self._cost:  # Damage that was repaired is in no estimate.
      self._write('end', values)
      return {'seconds': seconds}
    error = (seconds - self._estimated) / max(self._estimated, 1e-9)
    self._write('end', {**values, 'estimate_error': error})
    return {'seconds': seconds, 'estimated': self._estimated}

  def _write(self, event: str, values: Mapping[str, Any]) -> None:
    if self._is_remote:
      return
    line = {
        'time': datetime.datetime.now(datetime.UTC).isoformat('T', 'seconds'),
        'event': event,
        'process': os.getpid(),
        **values,
    }
    os.makedirs(self._workdir, exist_ok=True)
    path = os.path.join(self._workdir, _FILE)
    # One write of a short line: processes do not cut into each other's.
    with open(path, 'a', encoding='utf-8') as file:
      file.write(json.dumps(line) + '\n')


def _board(workdir: str) -> Any:
  try:
    import tensorboardX  # Optional.
  except ImportError as error:
    raise ValueError(
        '--tensorboard needs the package tensorboardX: pip install'
        " 'jdm[tensorboard]'"
    ) from error
  return tensorboardX.SummaryWriter(os.path.join(workdir, 'tensorboard'))
