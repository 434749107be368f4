"""Faults that a collection has to survive, and what is checked after each.

A case does something to a collection of one small pool in a folder of its own.
After it, `check` looks whether `status` tells the truth, runs the collection
to its end, and compares the result with that of an undisturbed run: the same
bits, and no chunk that was finished before trained again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

from experiments import binary
from jdm import store as store_lib

_CHUNK = 16
_DAY = 86_400.0
_OUTCOME = 'soft_margin'
_TMPFS_KIB = 512  # Enough for a part of a store.
_CORRUPTED = 2  # Number of the chunk whose files are torn or changed.


class Unsupported(Exception):
  """A case that this machine cannot make, and why."""


@dataclasses.dataclass(frozen=True)
class Found:
  """What one case found.

  Attributes:
    case: its name.
    num_times: faults that were made.
    status_true: whether `status` said what is the case, each time.
    bits_equal: whether the end is what an undisturbed run ends with.
    trained_again: chunks that were finished and were trained again.
    seconds: wall time.
    note: what else is to be said.
  """

  case: str
  num_times: int
  status_true: bool
  bits_equal: bool
  trained_again: int
  seconds: float
  note: str = ''

  @property
  def is_good(self) -> bool:
    """Whether nothing went wrong."""
    return self.status_true and self.bits_equal and not self.trained_again


class Bench:
  """Runs collections of one pool in processes.

  Attributes:
    folder: of everything.
    num_models: of the pool.
    whole: the store of the undisturbed run.
    seconds: its wall time, start of the process included.
  """

  def __init__(self, folder: str, num_models: int):
    self.folder, self.num_models = pathlib.Path(folder), num_models
    undisturbed = self.folder / 'undisturbed'
    self.run('collect_outcomes', undisturbed)  # Compiles, for all that follow.
    shutil.rmtree(undisturbed)
    start = time.monotonic()
    self.run('collect_outcomes', undisturbed)
    self.seconds = time.monotonic() - start
    self.whole = store_lib.OutcomeStore.open(undisturbed / 'store')

  def start(
      self, name: str, workdir: pathlib.Path, *options: str
  ) -> subprocess.Popen:
    """Starts a binary on a folder."""
    command = [sys.executable, '-m', f'experiments.{name}']
    command += [f'--workdir={workdir}', *options]
    if name == 'collect_outcomes':
      command += [f'--num_models={self.num_models}', f'--chunk={_CHUNK}']
      command += ['--cpu_devices=1', '--outcomes=soft_margin']
    environment = {
        **os.environ,
        'JAX_COMPILATION_CACHE_DIR': str(self.folder / 'programs'),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    }
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

  def run(
      self, name: str, workdir: pathlib.Path, *options: str, expect: int = 0
  ) -> str:
    """Runs a binary; returns what it prints.

    Raises:
      RuntimeError: on another exit code than expected.
    """
    child = self.start(name, workdir, *options)
    printed = child.communicate()[0]
    if child.returncode != expect:
      raise RuntimeError(
          f'{name} ended with exit code {child.returncode}, expected {expect}:'
          f'\n{printed}'
      )
    return printed

  def status_is_true(
      self, workdir: pathlib.Path, *, is_damaged: bool = False
  ) -> bool:
    """Whether `status` says what a look at the store says."""
    if not store_lib.exists(workdir / 'store'):
      return True  # Killed before there was any.
    printed = self.run('status', workdir, expect=int(is_damaged))
    store = store_lib.OutcomeStore.open(workdir / 'store')
    says = f'{len(store.completed())} of {store.num_models}'
    return says in printed and is_damaged == ('\nchecksum' in printed)

  def is_complete(self, workdir: pathlib.Path) -> bool:
    """Whether no model is missing."""
    if not store_lib.exists(workdir / 'store'):
      return False
    return not len(store_lib.OutcomeStore.open(workdir / 'store').missing())

  def finished(self, workdir: pathlib.Path) -> dict[str, bytes]:
    """What was written down of each chunk when it was finished."""
    if not store_lib.exists(workdir / 'store'):
      return {}
    store = store_lib.OutcomeStore.open(workdir / 'store')
    missing = set(store.missing() // store.chunk)
    return {
        path.name: path.read_bytes()
        for path in (workdir / 'store' / 'provenance').glob('*.json')
        if int(path.stem) // store.chunk not in missing
    }

  def equals_whole(self, workdir: pathlib.Path) -> bool:
    """Whether a store holds what the undisturbed one does, bit for bit."""
    store = store_lib.OutcomeStore.open(workdir / 'store')
    rows = np.arange(self.num_models)
    return not len(store.missing()) and all(
        self.whole.read(name, rows).tobytes()
        == store.read(name, rows).tobytes()
        for name in ('masks', _OUTCOME)
    )

  def end(
      self, case: str, workdir: pathlib.Path, begin: float, **found: Any
  ) -> Found:
    """Runs the collection to its end, and judges it."""
    before, damaged = self.finished(workdir), found.pop('damaged', ())
    self.run('collect_outcomes', workdir, *found.pop('options', ()))
    after = self.finished(workdir)
    again = [
        name
        for name, text in before.items()
        if after[name] != text and name not in damaged
    ]
    return Found(
        case=case,
        bits_equal=self.equals_whole(workdir),
        trained_again=found.pop('trained_again', 0) + len(again),
        seconds=time.monotonic() - begin,
        **found,
    )


def kills(
    bench: Bench, workdir: pathlib.Path, num_times: int
) -> dict[str, Any]:
  """Kill -9 at random moments, from the start of the process on."""
  is_true, again, num_killed = True, 0, 0
  rng = random.Random(0)
  before: dict[str, bytes] = {}
  while num_killed < num_times:
    child = bench.start('collect_outcomes', workdir)
    try:
      child.communicate(timeout=rng.uniform(0.2, 0.9) * bench.seconds)
      # It was done before: there was not much left to do.
    except subprocess.TimeoutExpired:
      child.kill()
      child.communicate()
      num_killed += 1
    is_true &= bench.status_is_true(workdir)
    after = bench.finished(workdir)
    again += sum(after.get(name) != text for name, text in before.items())
    before = after
    if bench.is_complete(workdir):
      shutil.rmtree(workdir)  # Begins again: a kill needs something to do.
      before = {}
  return {
      'num_times': num_killed,
      'status_true': is_true,
      'trained_again': again,
  }


def terminations(
    bench: Bench, workdir: pathlib.Path, num_times: int
) -> dict[str, Any]:
  """SIGTERM at random moments: finishes a chunk, and the exit code says so."""
  codes, is_true, rng = [], True, random.Random(1)
  for _ in range(num_times):
    child = bench.start('collect_outcomes', workdir)
    time.sleep(rng.uniform(0.5, 1.0) * bench.seconds)
    child.send_signal(signal.SIGTERM)
    child.communicate()
    codes.append(child.returncode)
    is_true &= bench.status_is_true(workdir)
    # Before it listens, and once Python takes leave, it dies of the signal.
    allowed = {0} if bench.is_complete(workdir) else {binary.STOPPED}
    is_true &= child.returncode in {*allowed, -signal.SIGTERM}
    if bench.is_complete(workdir):
      shutil.rmtree(workdir)  # Begins again: there has to be something to stop.
  return {
      'num_times': num_times,
      'status_true': is_true,
      'note': f'exit codes {codes}',
  }


def full_disk(bench: Bench, workdir: pathlib.Path) -> dict[str, Any]:
  """A disk of half a MiB, which fills up in the middle."""
  small = workdir.parent / 'small_disk'
  small.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', f'size={_TMPFS_KIB}k', 'tmpfs']
  try:
    done = subprocess.run(
        [*mount, str(small)], capture_output=True, text=True, check=False
    )
    problem = done.stderr.strip() if done.returncode else ''
  except OSError as error:
    problem = str(error)
  if problem:
    raise Unsupported(f'cannot mount a small disk: {problem}')
  try:
    printed = bench.run('collect_outcomes', small / 'run', expect=1)
    is_true = bench.status_is_true(small / 'run')
    num = len(store_lib.OutcomeStore.open(small / 'run' / 'store').completed())
    shutil.copytree(small / 'run', workdir)
  finally:
    subprocess.run(['umount', str(small)], check=True)
  return {
      'num_times': 1,
      'status_true': is_true and 'make room' in printed,
      'note': f'{num} models were safe when the disk was full',
  }


def _corrupted(change: Callable[[bytes], bytes]):
  """A case that changes one file of a finished store."""

  def case(bench: Bench, workdir: pathlib.Path) -> dict[str, Any]:
    bench.run('collect_outcomes', workdir)
    path = workdir / 'store' / _OUTCOME / 'c' / str(_CORRUPTED) / '0'
    path.write_bytes(change(path.read_bytes()))
    is_true = bench.status_is_true(workdir, is_damaged=True)
    return {
        'num_times': 1,
        'status_true': is_true,
        'options': ('--repair',),
        'damaged': (f'{_CORRUPTED * _CHUNK:010d}.json',),
    }

  return case


def _flipped(content: bytes) -> bytes:
  middle = len(content) // 2
  flipped = bytes([content[middle] ^ 1])
  return content[:middle] + flipped + content[middle + 1 :]


def _torn(content: bytes) -> bytes:
  return content[: len(content) // 2]


def two_at_once(bench: Bench, workdir: pathlib.Path) -> dict[str, Any]:
  """Two processes do the same rows at the same time."""
  children = [bench.start('collect_outcomes', workdir) for _ in range(2)]
  codes = [child.wait() for child in children if child.communicate()]
  return {
      'num_times': 1,
      'status_true': codes == [0, 0] and bench.status_is_true(workdir),
  }


def skewed_clock(bench: Bench, workdir: pathlib.Path) -> dict[str, Any]:
  """Half of the files are a day old, and half are of tomorrow."""
  child = bench.start('collect_outcomes', workdir)
  time.sleep(0.8 * bench.seconds)
  child.kill()
  child.communicate()
  for number, path in enumerate(sorted(workdir.rglob('*'))):
    moment = time.time() + (_DAY if number % 2 else -_DAY)
    os.utime(path, (moment, moment))
  return {'num_times': 1, 'status_true': bench.status_is_true(workdir)}


def host_that_comes_back(bench: Bench, workdir: pathlib.Path) -> dict[str, Any]:
  """One process sleeps while another does all of the work; then it wakes."""
  child = bench.start('collect_outcomes', workdir)
  time.sleep(0.7 * bench.seconds)
  child.send_signal(signal.SIGSTOP)
  bench.run('collect_outcomes', workdir)
  is_true = bench.status_is_true(workdir)
  child.send_signal(signal.SIGCONT)
  child.communicate()
  return {
      'num_times': 1,
      'status_true': is_true and child.returncode == 0,
      'note': 'chunks under way when it slept are written twice, alike',
  }


def cases(num_kills: int) -> Mapping[str, Callable[..., dict[str, Any]]]:
  """All cases by name: functions of a bench and a folder."""
  few = max(num_kills // 5, 1)
  return {
      'killed': lambda bench, workdir: kills(bench, workdir, num_kills),
      'terminated': lambda bench, workdir: terminations(bench, workdir, few),
      'full_disk': full_disk,
      'torn_chunk': _corrupted(_torn),
      'flipped_bit': _corrupted(_flipped),
      'two_at_once': two_at_once,
      'skewed_clock': skewed_clock,
      'host_that_comes_back': host_that_comes_back,
  }


def run(
    bench: Bench, num_kills: int, names: Sequence[str]
) -> Iterator[Found | tuple[str, str]]:
  """Runs some cases; yields what each found, or (case, why it cannot be)."""
  of_all = cases(num_kills)
  for name in names:
    case = of_all[name]
    workdir, begin = bench.folder / name / 'run', time.monotonic()
    workdir.parent.mkdir()
    try:
      found = case(bench, workdir)
    except Unsupported as error:
      yield name, str(error)
      continue
    yield bench.end(name, workdir, begin, **found)


def to_json(found: Found) -> dict[str, Any]:
  """As JSON-serializable values."""
  return json.loads(json.dumps(dataclasses.asdict(found)))
