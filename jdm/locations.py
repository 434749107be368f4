"""Folders and files near and far: on disk, gs://BUCKET/..., s3://BUCKET/...

What is no URL is a path on disk. URLs are read and written by TensorStore,
which stores Zarr there as well; credentials are found as the vendors' own tools
find them. AWS_ENDPOINT_URL names another server that speaks S3 (MinIO, Ceph),
as it does for the tools of AWS.
"""

import os
from typing import Any

import tensorstore as ts

_S3 = 's3://'
_S3_REGION = 'us-east-1'  # Of servers that have none.


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Whether a path is an URL."""
  return '://' in os.fspath(path)


def kvstore(path: str, name: str = '') -> Any:
  """Where TensorStore finds a folder, or the folder `name` in it."""
  end = f'{name}/' if name else ''
  if not is_remote(path):
    return {'driver': 'file', 'path': f'{os.path.abspath(path)}/{end}'}
  url = f'{path.rstrip("/")}/{end}'
  if not url.startswith(_S3):
    return url
  bucket, _, inner = url.removeprefix(_S3).partition('/')
  spec: dict[str, Any] = {'driver': 's3', 'bucket': bucket, 'path': inner}
  # TensorStore reads neither variable itself.
  endpoint = os.environ.get('AWS_ENDPOINT_URL_S3') or os.environ.get(
      'AWS_ENDPOINT_URL'
  )
  if endpoint:
    spec['endpoint'] = endpoint
    spec['aws_region'] = os.environ.get(
        'AWS_REGION', os.environ.get('AWS_DEFAULT_REGION', _S3_REGION)
    )
  if 'AWS_ACCESS_KEY_ID' in os.environ:
    # By default it looks for files too, and logs ten lines if there are none.
    spec['aws_credentials'] = {'type': 'environment'}
  return spec


def files(path: str) -> ts.KvStore:
  """The files of a folder by name."""
  return ts.KvStore.open(kvstore(path)).result()


def check(path: str) -> None:
  """Raises ValueError if an URL is none that TensorStore knows."""
  if not is_remote(path):
    return
  try:
    ts.KvStore.Spec(kvstore(path))
  except ValueError as error:
    raise ValueError(
        f'{path} is neither a folder nor an URL that TensorStore writes, such as'
        f' gs://BUCKET/FOLDER or s3://BUCKET/FOLDER: {reason(error)}'
    ) from error


def exists(path: str) -> bool:
  """Whether there is a file (or, on disk, a folder)."""
  if not is_remote(path):
    return os.path.exists(path)
  folder, _, name = path.rpartition('/')
  return files(folder).read(name).result().state != 'missing'


def read(path: str) -> bytes:
  """Reads a file.

  Raises:
    FileNotFoundError: if there is none.
    OSError: if it cannot be read.
  """
  folder, _, name = path.rpartition('/')
  try:
    found = files(folder).read(name).result()
  except Exception as error:
    raise OSError(f'could not read {path}: {reason(error)}') from error
  if found.state == 'missing':
    raise FileNotFoundError(f'there is no file at {path}')
  return found.value


def write(path: str, content: bytes) -> None:
  """Writes a file, complete or not at all.

  Raises:
    OSError: if it cannot be written.
  """
  folder, _, name = path.rpartition('/')
  try:
    files(folder).write(name, content).result()
  except Exception as error:
    raise OSError(f'could not write {path}: {reason(error)}') from error


def names(path: str) -> list[str]:
  """Names of all files below a folder, from there on, in order."""
  found = files(path).list().result()
  return sorted(name.decode().lstrip('/') for name in found)


def reason(error: Exception) -> str:
  """The part of a TensorStore error that is meant for people."""
  text = str(error)
  for detail in (' [tensorstore_spec', ' [source', ' [http_'):
    text = text.split(detail)[0]
  return ' '.join(text.split())
