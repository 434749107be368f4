"""Where the outcomes of all models live: a Zarr v3 group written by TensorStore.

    STORE/zarr.json      group; attributes.jdm = recipe, shapes
    STORE/masks/         uint8 packed bits [num_models, ceil(num_train / 8)]
    STORE/NAME/          one array an outcome [num_models, ...], fill NaN
    STORE/diverged/      bool [num_models]
    STORE/completed/     bool [num_models], written last
    STORE/provenance/    one JSON a chunk: versions, device, seconds

Row i is model i, so no model can be stored twice. A chunk of rows is one unit
of work and one file an array, with a checksum; it counts once `completed` says
so, which is written after everything else is durable. Any number of processes
may write different chunks. Readable by zarr-python and xarray without jdm.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import json
import os
from typing import Any

from absl import logging
import numpy as np
import tensorstore as ts

from jdm import locations
from jdm import zarr_files

_FORMAT = 1
_FLAGS = ('completed', 'diverged')
_NOT_OUTCOMES = ('masks', *_FLAGS)


class StoreError(ValueError):
  """A store that cannot be created, opened, read or written; says why."""


class StoreWriteError(StoreError, OSError):
  """Writing failed half-way (a full disk, say); completed rows are safe."""


@dataclasses.dataclass(frozen=True)
class Damage:
  """A piece of a store that cannot be trusted.

  Attributes:
    array: name of the array.
    first_row: first row of the damaged chunk.
    last_row: last row of it.
    reason: what is wrong.
  """

  array: str
  first_row: int
  last_row: int
  reason: str

  def __str__(self) -> str:
    return (
        f'array {self.array!r}, rows {self.first_row} to {self.last_row}:'
        f' {self.reason}'
    )


class OutcomeStore:
  """Masks and outcomes of many models, by row; see the file's docstring.

  Attributes:
    path: folder, or an URL that TensorStore accepts (gs://, s3://).
    recipe: how the rows are made; what `create` was given.
    chunk: rows in one chunk.
    num_train: number of training examples.
    outcomes: `{name: (shape of one row, dtype name)}`.
  """

  def __init__(self, path: str, attributes: Mapping[str, Any]):
    self.path = path
    self.recipe: dict[str, Any] = attributes['recipe']
    self.chunk: int = attributes['chunk']
    self.num_train: int = attributes['num_train']
    self.outcomes = {
        name: (tuple(shape), dtype)
        for name, (shape, dtype) in attributes['outcomes'].items()
    }
    self._initial_models = attributes['num_models']
    # `completed` is made last: where it stands, everything stands.
    self._arrays = {
        name: self._open_array(name)
        for name in ('masks', *self.outcomes, 'diverged', 'completed')
    }

  @classmethod
  def create(
      cls,
      path: str | os.PathLike[str],
      *,
      recipe: Mapping[str, Any],
      num_models: int,
      num_train: int,
      outcomes: Mapping[str, tuple[tuple[int, ...], str]],
      chunk: int = 256,
  ) -> 'OutcomeStore':
    """Creates a store, or opens the one that is there if the recipe agrees.

    Args:
      path: folder or URL.
      recipe: JSON-serializable; a store made with another one is an error.
      num_models: number of rows; an existing store grows to it.
      num_train: number of training examples.
      outcomes: shape of one row and dtype name of each outcome.
      chunk: rows in one chunk; an existing store keeps its own.

    Returns:
      The open store.

    Raises:
      StoreError: if another recipe made the store there (prints the
        difference), or the path cannot be written.
    """
    path = os.fspath(path)
    _check_names(outcomes)
    if num_models < 1 or chunk < 1:
      raise StoreError(
          f'a store needs at least one model and one row a chunk, got'
          f' num_models={num_models}, chunk={chunk}'
      )
    attributes = {
        'format': _FORMAT,
        'recipe': json.loads(json.dumps(recipe)),
        'num_models': num_models,
        'num_train': num_train,
        'chunk': chunk,
        'outcomes': {n: [list(s), str(d)] for n, (s, d) in outcomes.items()},
    }
    group = {
        'zarr_format': 3,
        'node_type': 'group',
        'attributes': {'jdm': attributes},
    }
    try:
      zarr_files.create_group(path, json.dumps(group, indent=1).encode())
    except Exception as error:
      raise StoreError(
          f'cannot create a store at {path}: {locations.reason(error)}. Choose a'
          ' workdir that can be written.'
      ) from error
    store = cls.open(path)
    _check_same(store, attributes)
    if num_models > store.num_models:
      store.grow(num_models)
    return store

  @classmethod
  def open(cls, path: str | os.PathLike[str]) -> 'OutcomeStore':
    """Opens an existing store.

    Raises:
      StoreError: if there is none, or its description cannot be read.
    """
    path = os.fspath(path)
    try:
      found = zarr_files.read_group(path)
    except Exception as error:
      raise StoreError(
          f'cannot open a store at {path}: {locations.reason(error)}'
      ) from error
    if found is None:
      raise StoreError(
          f'there is no store at {path}; experiments.collect_outcomes makes'
          ' one'
      )
    try:
      attributes = json.loads(found)['attributes']['jdm']
      version = attributes['format']
    except (ValueError, KeyError, TypeError) as error:
      raise StoreError(
          f'{path}/zarr.json does not describe a store of jdm: {error!r}'
      ) from error
    if version != _FORMAT:
      raise StoreError(
          f'{path} has store format {version}; this version of'
          f' jdm reads format {_FORMAT}'
      )
    return cls(path, attributes)

  @property
  def num_models(self) -> int:
    """Number of rows, completed or not."""
    return self._arrays['completed'].shape[0]

  def grow(self, num_models: int) -> None:
    """Adds empty rows up to `num_models`; never removes any."""
    for name, array in self._arrays.items():  # `completed` comes last.
      if array.shape[0] >= num_models:
        continue
      size = [num_models, *array.shape[1:]]
      try:
        # Never shrinks, should another process have grown it further since.
        grown = array.resize(exclusive_max=size, expand_only=True).result()
      except Exception as error:
        grown = self._open_array(name)
        if grown.shape[0] < num_models:
          raise StoreWriteError(
              f'could not grow array {name!r} of {self.path} to {num_models}'
              f' rows: {locations.reason(error)}'
          ) from error
      self._arrays[name] = grown

  def write(
      self,
      rows: np.ndarray,
      masks: np.ndarray,
      outcomes: Mapping[str, np.ndarray],
      provenance: Mapping[str, Any] | None = None,
  ) -> np.ndarray:
    """Stores models: durable first, then visible.

    Args:
      rows: `[k]`, int; ascending. Best the whole of a chunk.
      masks: bool `[k, num_train]`.
      outcomes: `[k, ...]` for every outcome of the store. Rows with a
        non-finite number are marked as diverged.
      provenance: JSON-serializable; kept beside the chunk.

    Returns:
      bool `[k]`, True where a model diverged.

    Raises:
      StoreError: on wrong shapes or names, or if writing fails (a full disk,
        say): then no row of this call counts as completed, and none that was
        completed before is lost.
    """
    rows = np.asarray(rows, np.int64)
    masks = np.asarray(masks)
    self._check_write(rows, masks, outcomes)
    stored, finite = {}, np.ones(len(rows), bool)
    for name, (_, dtype) in self.outcomes.items():
      with np.errstate(over='ignore'):  # Beyond float16 counts as diverged.
        stored[name] = np.asarray(outcomes[name]).astype(dtype)
      flat = stored[name].reshape(len(rows), -1)
      finite &= np.isfinite(flat).all(axis=1)
    stored['masks'] = np.packbits(masks, axis=1)
    stored['diverged'] = ~finite
    try:
      writes = [self._at(n, rows).write(value) for n, value in stored.items()]
      for future in writes:
        future.result()
      if provenance is not None:
        record = {**provenance, 'rows': [int(rows[0]), int(rows[-1])]}
        name = f'provenance/{rows[0]:010d}.json'
        locations.files(self.path).write(
            name, json.dumps(record).encode()
        ).result()
      self._at('completed', rows).write(True).result()
    except Exception as error:
      raise StoreWriteError(
          f'could not write rows {rows[0]} to {rows[-1]} of {self.path}:'
          f' {locations.reason(error)}. Rows completed before are safe; make room and'
          ' run the same command again.'
      ) from error
    return ~finite

  def completed(self) -> np.ndarray:
    """Rows that hold a good model: int64, ascending; diverged ones left out."""
    diverged = self._flags('diverged', unreadable=True)
    return np.flatnonzero(self._flags('completed') & ~diverged)

  def diverged(self) -> np.ndarray:
    """Rows whose training gave non-finite outcomes: int64, ascending."""
    done = self._flags('completed') & self._flags('diverged')
    return np.flatnonzero(done)

  def missing(self, rows: np.ndarray | None = None) -> np.ndarray:
    """Rows that are still to be trained: int64, ascending.

    Args:
      rows: int `[k]`, ascending; looks only at these, and reads no others.
    """
    if rows is None:
      return np.flatnonzero(~self._flags('completed'))
    rows = np.asarray(rows, np.int64)
    try:
      return rows[~self._at('completed', rows).read().result()]
    except Exception:  # A damaged chunk; its rows do not count.
      return np.intersect1d(rows, self.missing())

  def chunks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Splits rows at the borders of chunks, so that no chunk is shared."""
    rows = np.asarray(rows, np.int64)
    for number in np.unique(rows // self.chunk):
      yield rows[rows // self.chunk == number]

  def read(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Reads one array for some rows.

    Args:
      name: an outcome, or 'masks'.
      rows: `[k]`, int; None stands for `completed()`.

    Returns:
      `[k, ...]`; masks as bool `[k, num_train]`.

    Raises:
      StoreError: on an unknown name, a row that is not completed, or a chunk
        that fails its checksum (named).
    """
    if name not in ('masks', *self.outcomes):
      raise StoreError(
          f'the store at {self.path} has no {name!r}; it has'
          f' {["masks", *self.outcomes]}'
      )
    rows = self.completed() if rows is None else np.asarray(rows, np.int64)
    outside = rows[(rows < 0) | (rows >= self.num_models)]
    unwritten = np.setdiff1d(rows, np.flatnonzero(self._flags('completed')))
    if outside.size or unwritten.size:
      first = (outside if outside.size else unwritten)[0]
      raise StoreError(
          f'row {first} of {self.path} is not completed; read only rows of'
          ' `completed()`'
      )
    if not rows.size:
      return np.zeros((0, *self._row_shape(name)), self._dtype(name))
    try:
      values = self._at(name, rows).read().result()
    except Exception as error:
      damages = [str(damage) for damage in self.verify(names=(name,))]
      raise StoreError(
          f'{self.path} is damaged: {"; ".join(damages) or locations.reason(error)}. Run'
          ' experiments.status to see all, and experiments.collect_outcomes'
          ' --repair to train those rows again.'
      ) from error
    if name != 'masks':
      return values
    return np.unpackbits(values, axis=1, count=self.num_train).view(bool)

  def verify(
      self,
      *,
      names: tuple[str, ...] | None = None,
      expected_masks: Callable[[np.ndarray], np.ndarray] | None = None,
  ) -> list[Damage]:
    """Reads every chunk that holds completed rows and lists what is damaged.

    Args:
      names: arrays to read; all by default.
      expected_masks: rows -> bool masks, what the sampler draws; compared with
        what is stored.

    Returns:
      One entry for each damaged chunk of an array: a failed checksum, a torn
      or missing file, or masks that are not the sampler's.
    """
    names = (
        ('completed', 'diverged', 'masks', *self.outcomes)
        if not names
        else names
    )
    damages = []
    for first in range(0, self.num_models, self.chunk):
      last = min(first + self.chunk, self.num_models) - 1
      for name in names:
        reason = self._damage(name, first, last, expected_masks)
        if reason:
          damages.append(Damage(name, first, last, reason))
    return damages

  def forget(self, damages: list[Damage]) -> np.ndarray:
    """Marks the rows of damaged chunks as not completed; returns them.

    The damaged files go: a chunk that is written in part is read before.
    """
    chunks = sorted({(d.first_row, d.last_row) for d in damages})
    for first, _ in chunks:
      for name in _FLAGS:
        zarr_files.delete_chunk(self.path, self._arrays[name], name, first)
    for damage in damages:
      array = self._arrays[damage.array]
      zarr_files.delete_chunk(self.path, array, damage.array, damage.first_row)
    ranges = [np.arange(first, last + 1) for first, last in chunks]
    return np.concatenate([np.zeros(0, np.int64), *ranges])

  def provenance(self) -> list[dict[str, Any]]:
    """What was recorded with each chunk, in the order of rows."""
    files = locations.files(self.path)
    folder = ts.KvStore.KeyRange('provenance/', 'provenance0')
    names = sorted(files.list(folder).result())
    records = []
    for name in names:
      try:
        records.append(json.loads(files.read(name).result().value))
      except ValueError as error:  # A note beside the data; it can be missed.
        logging.warning('%s/%s: %s', self.path, name.decode(), error)
    return records

  def _flags(self, name: str, unreadable: bool = False) -> np.ndarray:
    """Reads flags of all rows; those of a damaged chunk are `unreadable`."""
    try:
      return self._arrays[name].read().result()
    except Exception:
      flags = np.full(self.num_models, unreadable)
      for first in range(0, self.num_models, self.chunk):
        rows = slice(first, min(first + self.chunk, self.num_models))
        try:
          flags[rows] = self._arrays[name][rows].read().result()
        except Exception:
          logging.warning(
              '%s: a chunk of %r, rows %d to %d, fails its checksum; its rows do'
              ' not count. See experiments.status.',
              self.path,
              name,
              rows.start,
              rows.stop - 1,
          )
      return flags

  def _damage(self, name, first, last, expected_masks) -> str:
    rows = slice(first, last + 1)
    try:
      values = self._arrays[name][rows].read().result()
    except Exception as error:
      return f'checksum or size is wrong ({locations.reason(error)})'
    try:
      done = self._arrays['completed'][rows].read().result()
      diverged = self._arrays['diverged'][rows].read().result()
    except Exception:  # Damage of those arrays, not of this one.
      return ''
    if name in _FLAGS or not done.any():
      return ''
    if name == 'masks':
      # An empty subset counts as diverged; no other row is without examples.
      if not values[done & ~diverged].any(axis=1).all():
        return 'checksum cannot be checked: the chunk is missing'
      if expected_masks is not None:
        drawn = expected_masks(np.arange(first, last + 1)[done])
        if not np.array_equal(np.packbits(drawn, axis=1), values[done]):
          return 'masks differ from what the sampler draws'
      return ''
    good = values[done & ~diverged]
    if not np.isfinite(good).all():
      return 'checksum cannot be checked: the chunk is missing'
    return ''

  def _check_write(self, rows, masks, outcomes) -> None:
    ascending = rows.ndim == 1 and rows.size > 0 and (np.diff(rows) > 0).all()
    if not ascending or rows[0] < 0 or rows[-1] >= self.num_models:
      raise StoreError(
          '`write` expects one or more ascending rows in'
          f' [0, {self.num_models}), got {rows}'
      )
    if masks.dtype != np.bool_ or masks.shape != (len(rows), self.num_train):
      raise StoreError(
          f'`write` expects bool masks of shape [{len(rows)},'
          f' {self.num_train}], got {masks.dtype} {masks.shape}'
      )
    if set(outcomes) != set(self.outcomes):
      raise StoreError(
          f'`write` expects the outcomes {sorted(self.outcomes)}, got'
          f' {sorted(outcomes)}'
      )
    for name, (shape, _) in self.outcomes.items():
      if np.shape(outcomes[name]) != (len(rows), *shape):
        raise StoreError(
            f'`write` expects {name} of shape {(len(rows), *shape)}, got'
            f' {np.shape(outcomes[name])}'
        )

  def _row_shape(self, name: str) -> tuple[int, ...]:
    if name == 'masks':
      return (self.num_train,)
    return self.outcomes[name][0]

  def _dtype(self, name: str) -> str:
    return 'bool' if name == 'masks' else self.outcomes[name][1]

  def _at(self, name: str, rows: np.ndarray) -> Any:
    """A view of some rows; contiguous ones as a slice, which is faster."""
    array = self._arrays[name]
    if len(rows) == rows[-1] - rows[0] + 1 and (np.diff(rows) == 1).all():
      return array[int(rows[0]) : int(rows[-1]) + 1]
    return array[rows]

  def _open_array(self, name: str) -> ts.TensorStore:
    """Opens an array, or makes it if a creator was stopped before."""
    try:
      array = zarr_files.open_array(self.path, name)
    except Exception as error:
      raise StoreError(
          f'array {name!r} of {self.path} cannot be opened:'
          f' {locations.reason(error)}'
      ) from error
    if array is not None:
      return array
    shape, dtype, fill = self._layout(name)
    return zarr_files.create_array(
        self.path,
        name,
        shape=(self._initial_models, *shape),
        chunk=self.chunk,
        dtype=dtype,
        fill=fill,
    )

  def _layout(self, name: str) -> tuple[tuple[int, ...], str, Any]:
    if name == 'masks':
      return (-(-self.num_train // 8),), 'uint8', 0
    if name in _FLAGS:
      return (), 'bool', False
    shape, dtype = self.outcomes[name]
    # NaN, so that a file that vanished cannot be taken for outcomes of zero.
    return shape, dtype, 'NaN'


def exists(path: str | os.PathLike[str]) -> bool:
  """Whether there is a store at a path."""
  try:
    return zarr_files.read_group(os.fspath(path)) is not None
  except ValueError:
    return False


def differences(stored: Any, asked: Any, name: str = '') -> list[str]:
  """Lists where two recipes differ, one line a difference."""
  if isinstance(stored, dict) and isinstance(asked, dict):
    lines = []
    for key in sorted(set(stored) | set(asked)):
      inner = f'{name}.{key}' if name else key
      lines += differences(stored.get(key), asked.get(key), inner)
    return lines
  return (
      [] if stored == asked else [f'{name}: {stored!r} there, {asked!r} here']
  )


def _check_same(store: OutcomeStore, attributes: Mapping[str, Any]) -> None:
  outcomes = {n: [list(s), d] for n, (s, d) in store.outcomes.items()}
  there = {'num_train': store.num_train, 'outcomes': outcomes}
  here = {name: attributes[name] for name in there}
  lines = differences(
      {**store.recipe, **there}, {**attributes['recipe'], **here}
  )
  if lines:
    raise StoreError(
        f'the store at {store.path} was made with another recipe:\n  '
        + '\n  '.join(lines)
        + '\nChoose another workdir, or the options it was made with.'
    )


def _check_names(outcomes: Mapping[str, Any]) -> None:
  taken = sorted(set(outcomes) & set(_NOT_OUTCOMES))
  if taken or not outcomes:
    raise StoreError(
        'a store needs at least one outcome, and none may be called'
        f' {list(_NOT_OUTCOMES)}; got {sorted(outcomes)}'
    )
