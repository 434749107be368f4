"""Reads a store: rows completed and missing, rate, disk, damage.

  python -m experiments.status --workdir=runs/mlp

Exits 0 if the store is sound, complete or not; 1 if anything in it is damaged.
"""

import os
import sys

from absl import flags

from experiments import binary
from experiments import workdir as workdir_lib
from jdm import collection
from jdm import locations
from jdm import store as store_lib

_DEEP = flags.DEFINE_bool(
    'deep', True, 'Draws all masks again and compares them with the stored.'
)


def main(workdir: str) -> None:
  """Prints the state of `workdir/store`."""
  store = store_lib.OutcomeStore.open(os.path.join(workdir, 'store'))
  completed, missing = store.completed(), store.missing()
  records = store.provenance()
  seconds = sum(record['seconds'] for record in records)
  rows = sum(r['rows'][1] - r['rows'][0] + 1 for r in records)
  binary.table(
      store.path,
      {
          'completed': f'{len(completed)} of {store.num_models}',
          'diverged': len(store.diverged()),
          'missing': len(missing),
          'models/s': f'{rows / seconds:.0f}' if seconds else 'unknown',
          'time left': _time_left(len(missing), rows, seconds),
          'disk': _disk(store.path),
          'recipe': _summary(store),
      },
  )
  for warning in _changes(records):
    print(f'warning: {warning}')
  masks = None
  if _DEEP.value and store.recipe.get('sampler') != 'given':
    masks = collection.pool_of(store).masks
  damages = [str(d) for d in store.verify(expected_masks=masks)]
  for path in workdir_lib.stores(workdir):
    if path != store.path:
      other = store_lib.OutcomeStore.open(path)
      damages += [f'{path}: {damage}' for damage in other.verify()]
  if not damages:
    print('every stored chunk passes its checksum')
    return
  for damage in damages:
    print(f'checksum: {damage}')
  print('train those rows again: experiments.collect_outcomes --repair ...')
  sys.exit(1)


def _time_left(missing: int, rows: int, seconds: float) -> str:
  return f'{missing * seconds / rows:.0f} s' if rows else 'unknown'


def _disk(path: str) -> str:
  if locations.is_remote(path):
    return f'{len(locations.names(path))} files'  # Sizes are not listed.
  files = (
      os.path.join(folder, name)
      for folder, _, names in os.walk(path)
      for name in names
  )
  return f'{sum(os.path.getsize(file) for file in files) / 1e6:.1f} MB'


def _summary(store: store_lib.OutcomeStore) -> str:
  names = ('dataset', 'model', 'sampler', 'sampler_options', 'seed', 'group')
  return ', '.join(f'{name}={store.recipe.get(name)}' for name in names)


def _changes(records: list[dict]) -> list[str]:
  """Versions, commits or devices that are not the same in all chunks."""
  warnings = []
  for name in ('versions', 'device_kind', 'commit'):
    values = {str(record[name]) for record in records}
    if len(values) > 1:
      warnings.append(
          f'chunks were made with {len(values)} different {name}, so their last'
          f' bits may differ: {sorted(values)}'
      )
  return warnings


if __name__ == '__main__':
  binary.run(main, remote=True)
