"""Which code, versions and device made a result."""

import datetime
import functools
from importlib import metadata
import pathlib
import subprocess
from typing import Any

import jax

_PACKAGES = ('jdm', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'tensorstore')


def record() -> dict[str, Any]:
  """Versions, device and commit of this process, JSON-serializable."""
  device = jax.devices()[0]
  return {
      'versions': versions(),
      'device_kind': device.device_kind,
      'platform': device.platform,
      'num_devices': jax.device_count(),
      'commit': commit(),
      'date': datetime.datetime.now(datetime.UTC).isoformat('T', 'seconds'),
  }


@functools.cache
def versions() -> dict[str, str]:
  """Installed versions of jdm and of the packages that decide its bits."""
  found = {}
  for name in _PACKAGES:
    try:
      found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      found[name] = 'not installed'
  return found


@functools.cache
def commit() -> str:
  """The checkout's commit, with '+' if files differ; '' outside a checkout."""
  folder = pathlib.Path(__file__).parent

  def git(*words: str) -> str:
    command = ['git', '-C', str(folder), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=10
    )
    return done.stdout.strip() if done.returncode == 0 else ''

  try:
    head = git('rev-parse', '--short=12', 'HEAD')
    changed = git('status', '--porcelain', '--untracked-files=no')
  except (OSError, subprocess.TimeoutExpired):
    return ''
  return head + ('+' if head and changed else '')
