"""Keeps what long trainings have reached, for a process that comes after.

For models that train for minutes: a group of them is saved between epochs, every
so many seconds, and a process that is started again goes on from there, on any
number of devices. What is finished belongs to the store, which is the real
checkpoint; a chunk of models that train for seconds is cheaper to train again.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import fcntl
import os
import shutil
import time
from typing import Any
import zlib

from absl import logging
import jax
import numpy as np

_STATE, _ABOUT = 'state', 'about'
_KEPT = 2


@dataclasses.dataclass(frozen=True)
class Saved:
  """Models in the middle of their training.

  Attributes:
    names: of the models, `[num_models]`; a name says all that decides the bits.
    epoch: how many are done.
    leaves: of the carries, each `[num_models, ...]`.
  """

  names: Sequence[str]
  epoch: int
  leaves: Sequence[np.ndarray]


class Checkpoints:
  """A folder of saved groups, written by one process at a time.

  Attributes:
    every_secs: seconds between two saves.
    identity: of the pool, versions and device that train; others find nothing.
    is_held: keeps what is saved: nothing is saved or cleared.
  """

  def __init__(
      self, folder: str | os.PathLike[str], every_secs: float, identity: str
  ):
    """Opens a folder, or makes it.

    Raises:
      ValueError: if `every_secs` is not positive, or another process has the
        folder open.
    """
    if not every_secs > 0:
      raise ValueError(
          f'`Checkpoints` expects every_secs > 0, got {every_secs}'
      )
    self.every_secs, self.identity = every_secs, identity
    self._folder = os.path.abspath(folder)
    self._last, self.is_held = time.monotonic(), False
    os.makedirs(os.path.dirname(self._folder), exist_ok=True)
    self._lock = open(f'{self._folder}.lock', 'w', encoding='utf-8')
    try:
      fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      self._lock.close()
      raise ValueError(
          f'another process keeps its checkpoints in {self._folder}; wait until'
          ' it ends, or train without'
      ) from error
    self._manager = _manager(self._folder)

  def is_due(self) -> bool:
    """Whether `every_secs` have passed since the last save."""
    return not self.is_held and time.monotonic() - self._last >= self.every_secs

  def save(self, names: Sequence[str], epoch: int, carry: Any) -> None:
    """Saves a group; writing goes on in the background.

    Args:
      names: of the models.
      epoch: how many are done.
      carry: its leaves begin with these models; more rows are padding.
    """
    from orbax import checkpoint as ocp  # Takes a second.

    leaves = [np.asarray(leaf)[: len(names)] for leaf in jax.tree.leaves(carry)]
    about = {
        'identity': self.identity,
        'names': list(names),
        'epoch': epoch,
        'checksums': [zlib.crc32(leaf.tobytes()) for leaf in leaves],
    }
    try:
      step = (self._manager.latest_step() or 0) + 1
      self._manager.save(
          step,
          args=ocp.args.Composite(
              **{
                  _STATE: ocp.args.StandardSave(_numbered(leaves)),
                  _ABOUT: ocp.args.JsonSave(about),
              }
          ),
      )
    except Exception as error:  # A full disk, say: training goes on.
      logging.warning('no checkpoint in %s: %s', self._folder, error)
    self._last = time.monotonic()

  def load(self, carry: Any) -> Saved | None:
    """The newest group of this pool that can be read, or None.

    Args:
      carry: of one model, arrays or their shapes: what the leaves must be.
    """
    self._wait()
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        return self._read(step, carry)
      except Exception as error:  # Torn, of another pool, of other versions.
        logging.warning(
            'checkpoint %d of %s is of no use: %s', step, self._folder, error
        )
    return None

  def clear(self) -> None:
    """Deletes all: what they led to is stored."""
    if self.is_held:
      return
    self._wait()
    for step in self._manager.all_steps():
      self._manager.delete(step)

  def close(self) -> None:
    """Ends writing; another process may open the folder."""
    self._wait()
    self._manager.close()
    self._lock.close()

  def remove(self) -> None:
    """Deletes the folder."""
    self.close()
    shutil.rmtree(self._folder, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
      os.remove(f'{self._folder}.lock')

  def _wait(self) -> None:
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      logging.warning('no checkpoint in %s: %s', self._folder, error)

  def _read(self, step: int, carry: Any) -> Saved:
    from orbax import checkpoint as ocp

    about = self._manager.restore(
        step, args=ocp.args.Composite(**{_ABOUT: ocp.args.JsonRestore()})
    )[_ABOUT]
    if about['identity'] != self.identity:
      raise ValueError('it is of another pool')
    shapes = jax.tree.leaves(carry)
    num = len(about['names'])
    # As arrays of the host, whatever devices saved them.
    expected = _numbered(
        [np.zeros((num, *leaf.shape), leaf.dtype) for leaf in shapes]
    )
    state = self._manager.restore(
        step,
        args=ocp.args.Composite(**{_STATE: ocp.args.StandardRestore(expected)}),
    )[_STATE]
    leaves = [np.asarray(state[name]) for name in sorted(state)]
    # Orbax has no checksum of its own.
    if [zlib.crc32(leaf.tobytes()) for leaf in leaves] != about['checksums']:
      raise ValueError('its checksum is wrong')
    return Saved(about['names'], about['epoch'], leaves)


def _numbered(leaves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
  return {f'{number:04d}': leaf for number, leaf in enumerate(leaves)}


def _manager(folder: str) -> Any:
  from orbax import checkpoint as ocp

  return ocp.CheckpointManager(
      folder,
      options=ocp.CheckpointManagerOptions(
          max_to_keep=_KEPT, create=True, enable_async_checkpointing=True
      ),
  )
