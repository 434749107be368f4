"""The store: nothing lost, nothing doubled, damage found and named."""

import concurrent.futures
import json
import pathlib
import subprocess
import sys

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import zarr

from jdm import store as store_lib

_ROOT = pathlib.Path(__file__).parents[1]
_NUM_TRAIN, _NUM_TARGETS, _CHUNK = 21, 3, 4
_RECIPE = {'dataset': 'digits', 'seed': 0, 'training': {'epochs': 5}}
_OUTCOMES = {'margin': ((_NUM_TARGETS,), 'float32')}


def _create(path, num_models=10, **changes):
  options = {
      'recipe': _RECIPE,
      'num_train': _NUM_TRAIN,
      'outcomes': _OUTCOMES,
      'chunk': _CHUNK,
  }
  return store_lib.OutcomeStore.create(
      path, num_models=num_models, **(options | changes)
  )


def _masks(rows):
  """Masks that are a function of the row, as a sampler's are."""
  drawn = [np.random.default_rng(row).permutation(_NUM_TRAIN) for row in rows]
  return np.stack(drawn) < _NUM_TRAIN // 2


def _margins(rows):
  return np.stack(
      [np.random.default_rng(row).normal(size=_NUM_TARGETS) for row in rows]
  ).astype(np.float32)


def _fill(store, rows):
  for part in store.chunks(np.asarray(rows)):
    store.write(part, _masks(part), {'margin': _margins(part)}, {'at': 'test'})
  return store


def _chunk_file(store, name, number=0):
  inner = () if name in ('completed', 'diverged') else ('0',)
  return pathlib.Path(store.path, name, 'c', str(number), *inner)


class StoreTestCase(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.path = self.create_tempdir().full_path + '/store'


class RoundTripTest(StoreTestCase):

  @parameterized.parameters('float16', 'float32', 'float64')
  def test_types(self, dtype):
    outcomes = {'a': ((2,), dtype), 'b': ((2, 3), dtype), 'c': ((), dtype)}
    store = _create(self.path, outcomes=outcomes)
    rows = np.arange(4)
    rng = np.random.default_rng(0)
    values = {
        name: rng.normal(size=(4, *shape)).astype(dtype)
        for name, (shape, _) in outcomes.items()
    }
    store.write(rows, _masks(rows), values)
    again = store_lib.OutcomeStore.open(self.path)
    for name, value in values.items():
      found = again.read(name)
      self.assertEqual(found.dtype, np.dtype(dtype))
      np.testing.assert_array_equal(found, value)
    masks = again.read('masks')
    self.assertEqual(masks.dtype, np.bool_)
    np.testing.assert_array_equal(masks, _masks(rows))

  def test_any_rows(self):
    store = _fill(_create(self.path), range(10))
    for rows in ([7], [9, 0, 4], [3, 3, 2], [2, 3, 4, 5]):
      np.testing.assert_array_equal(
          store.read('margin', np.array(rows)), _margins(rows)
      )
      np.testing.assert_array_equal(
          store.read('masks', np.array(rows)), _masks(rows)
      )

  def test_nothing_yet(self):
    store = _create(self.path)
    self.assertEqual(store.read('margin').shape, (0, _NUM_TARGETS))
    self.assertEqual(store.read('masks').shape, (0, _NUM_TRAIN))
    self.assertEqual(store.read('masks').dtype, np.bool_)
    self.assertEmpty(store.verify())

  def test_parts_of_a_chunk(self):
    store = _create(self.path)
    for rows in ([0, 3], [1], [2, 4, 9]):
      store.write(np.array(rows), _masks(rows), {'margin': _margins(rows)})
    rows = store.completed()
    np.testing.assert_array_equal(rows, [0, 1, 2, 3, 4, 9])
    np.testing.assert_array_equal(store.read('margin'), _margins(rows))
    self.assertEmpty(store.verify(expected_masks=_masks))

  def test_read_by_zarr(self):
    store = _fill(_create(self.path), range(8))
    group = zarr.open_group(self.path, mode='r')
    np.testing.assert_array_equal(group['margin'][:8], _margins(range(8)))
    self.assertTrue(np.isnan(group['margin'][8:]).all())
    np.testing.assert_array_equal(
        group['masks'][:8], np.packbits(_masks(range(8)), axis=1)
    )
    np.testing.assert_array_equal(
        group['completed'][:], [True] * 8 + [False] * 2
    )
    self.assertEqual(group.attrs['jdm']['recipe'], store.recipe)

  def test_provenance(self):
    store = _fill(_create(self.path), range(10))
    records = store.provenance()
    self.assertEqual(
        [record['rows'] for record in records], [[0, 3], [4, 7], [8, 9]]
    )
    self.assertEqual(records[0]['at'], 'test')


class ProgressTest(StoreTestCase):

  def test_rows_move_from_missing_to_completed(self):
    store = _create(self.path)
    np.testing.assert_array_equal(store.missing(), np.arange(10))
    _fill(store, [4, 5, 6, 7])
    again = store_lib.OutcomeStore.open(self.path)
    self.assertEqual(again.completed().dtype, np.int64)
    np.testing.assert_array_equal(again.completed(), [4, 5, 6, 7])
    np.testing.assert_array_equal(again.missing(), [0, 1, 2, 3, 8, 9])
    chunks = [rows.tolist() for rows in again.chunks(again.missing())]
    self.assertEqual(chunks, [[0, 1, 2, 3], [8, 9]])
    with self.assertRaisesRegex(store_lib.StoreError, 'row 3 .*not completed'):
      again.read('margin', np.array([4, 3]))

  @parameterized.parameters(np.nan, np.inf, -np.inf)
  def test_a_number_that_is_not_finite_marks_its_row(self, bad):
    store = _create(self.path)
    rows = np.arange(4)
    margins = _margins(rows)
    margins[2, 1] = bad
    marked = store.write(rows, _masks(rows), {'margin': margins})
    np.testing.assert_array_equal(marked, [False, False, True, False])
    np.testing.assert_array_equal(store.completed(), [0, 1, 3])
    np.testing.assert_array_equal(store.diverged(), [2])
    np.testing.assert_array_equal(store.missing(), np.arange(4, 10))
    self.assertEmpty(store.verify(expected_masks=_masks))

  def test_what_float16_cannot_hold_counts_as_diverged(self):
    store = _create(self.path, outcomes={'margin': ((3,), 'float16')})
    margins = np.array([[1, 2, 3], [1, 1e5, 2]], np.float32)
    store.write(np.arange(2), _masks(range(2)), {'margin': margins})
    np.testing.assert_array_equal(store.diverged(), [1])

  def test_an_empty_subset_that_diverged_is_no_damage(self):
    store = _create(self.path)
    masks, margins = _masks(range(4)), _margins(range(4))
    masks[1], margins[1] = False, np.nan
    store.write(np.arange(4), masks, {'margin': margins})
    self.assertEmpty(store.verify())

  def test_grow(self):
    store = _fill(_create(self.path), range(10))
    grown = _create(self.path, num_models=23)
    self.assertEqual(grown.num_models, 23)
    np.testing.assert_array_equal(grown.completed(), np.arange(10))
    _fill(grown, grown.missing())
    np.testing.assert_array_equal(grown.read('margin'), _margins(range(23)))
    self.assertEmpty(grown.verify(expected_masks=_masks))
    # Asking for fewer, or for another chunk, takes nothing away.
    same = _create(self.path, num_models=5, chunk=7)
    self.assertEqual((same.num_models, same.chunk), (23, _CHUNK))
    self.assertLen(same.completed(), 23)
    store.grow(12)  # Opened when there were 10.
    self.assertLen(store_lib.OutcomeStore.open(self.path).completed(), 23)


class RecipeTest(StoreTestCase):

  @parameterized.named_parameters(
      ('seed', {'recipe': _RECIPE | {'seed': 1}}, 'seed: 0 there, 1 here'),
      (
          'inner',
          {'recipe': _RECIPE | {'training': {'epochs': 6}}},
          'training.epochs: 5 there, 6 here',
      ),
      (
          'dataset',
          {'recipe': _RECIPE | {'dataset': 'iris'}},
          "dataset: 'digits' there, 'iris' here",
      ),
      ('new', {'recipe': _RECIPE | {'new': 1}}, 'new: None there, 1 here'),
      ('num_train', {'num_train': 22}, 'num_train: 21 there, 22 here'),
      (
          'outcomes',
          {'outcomes': {'margin': ((2,), 'float32')}},
          r'outcomes.margin: \[\[3\].*\[\[2\]',
      ),
  )
  def test_another_recipe_names_the_difference(self, changes, words):
    _create(self.path)
    with self.assertRaisesRegex(store_lib.StoreError, words):
      _create(self.path, **changes)

  def test_the_same_recipe_in_tuples(self):
    recipe = _RECIPE | {'hidden': [64]}
    _create(self.path, recipe=recipe)
    _create(self.path, recipe=_RECIPE | {'hidden': (64,)})

  @parameterized.named_parameters(
      ('name', {'outcomes': {'masks': ((2,), 'float32')}}, 'may be called'),
      ('none', {'outcomes': {}}, 'at least one outcome'),
      ('rows', {'num_models': 0}, 'at least one model.*num_models=0'),
      ('chunk', {'chunk': 0}, 'chunk=0'),
  )
  def test_bad_layout(self, changes, words):
    with self.assertRaisesRegex(store_lib.StoreError, words):
      _create(self.path, **changes)

  def test_no_store(self):
    self.assertFalse(store_lib.exists(self.path))
    with self.assertRaisesRegex(store_lib.StoreError, 'no store.*collect'):
      store_lib.OutcomeStore.open(self.path)
    _create(self.path)
    self.assertTrue(store_lib.exists(self.path))

  @parameterized.parameters('', '{}', '{"attributes": {"jdm": 3}}')
  def test_a_group_of_somebody_else(self, content):
    pathlib.Path(self.path).mkdir()
    pathlib.Path(self.path, 'zarr.json').write_text(content, encoding='utf-8')
    with self.assertRaisesRegex(store_lib.StoreError, 'does not describe'):
      store_lib.OutcomeStore.open(self.path)

  def test_a_later_format(self):
    _create(self.path)
    file = pathlib.Path(self.path, 'zarr.json')
    content = json.loads(file.read_text(encoding='utf-8'))
    content['attributes']['jdm']['format'] = 99
    file.write_text(json.dumps(content), encoding='utf-8')
    with self.assertRaisesRegex(store_lib.StoreError, 'format 99.*format 1'):
      store_lib.OutcomeStore.open(self.path)

  def test_a_path_that_cannot_be_written(self):
    file = self.create_tempfile().full_path
    with self.assertRaisesRegex(store_lib.StoreError, 'cannot create a store'):
      _create(file + '/store')
    self.assertFalse(store_lib.exists(file + '/store'))

  def test_a_creator_that_was_stopped(self):
    _create(self.path)
    for name in ('completed', 'diverged'):
      pathlib.Path(self.path, name, 'zarr.json').unlink()
    store = _fill(_create(self.path), range(10))
    self.assertLen(store.completed(), 10)

  @parameterized.named_parameters(
      ('type', {'masks': np.ones((4, 21))}, 'bool masks.*float64'),
      ('width', {'masks': np.ones((4, 20), bool)}, r'\[4, 21\]'),
      (
          'names',
          {'outcomes': {'m': np.ones((4, 3))}},
          r"\['margin'\], got \['m'",
      ),
      ('shape', {'outcomes': {'margin': np.ones((4, 2))}}, 'margin of shape'),
      ('order', {'rows': np.array([3, 2, 1, 0])}, 'ascending rows'),
      ('twice', {'rows': np.array([0, 0, 1, 2])}, 'ascending rows'),
      ('range', {'rows': np.arange(8, 12)}, r'in \[0, 10\)'),
      ('none', {'rows': np.arange(0)}, 'one or more'),
  )
  def test_bad_writes(self, changes, words):
    store = _create(self.path)
    arguments = {
        'rows': np.arange(4),
        'masks': _masks(range(4)),
        'outcomes': {'margin': _margins(range(4))},
    }
    with self.assertRaisesRegex(store_lib.StoreError, words):
      store.write(**(arguments | changes))
    self.assertEmpty(store.completed())

  def test_bad_reads(self):
    store = _fill(_create(self.path), range(4))
    with self.assertRaisesRegex(store_lib.StoreError, "no 'loss'.*'margin'"):
      store.read('loss')
    for row in (-1, 10):
      with self.assertRaisesRegex(store_lib.StoreError, f'row {row} '):
        store.read('margin', np.array([row]))


_WRITER = """
import sys
import numpy as np
from tests import store_test
store = store_test._create(sys.argv[1], num_models=64)
for rows in list(store.chunks(np.arange(64)))[int(sys.argv[2])::2]:
  store_test._fill(store, rows)
"""


class WritersTest(StoreTestCase):

  def test_two_processes_create_and_write_at_once(self):
    children = [
        subprocess.Popen(
            [sys.executable, '-c', _WRITER, self.path, str(number)], cwd=_ROOT
        )
        for number in range(2)
    ]
    self.assertEqual([child.wait(timeout=60) for child in children], [0, 0])
    store = store_lib.OutcomeStore.open(self.path)
    np.testing.assert_array_equal(store.completed(), np.arange(64))
    np.testing.assert_array_equal(store.read('margin'), _margins(range(64)))
    self.assertEmpty(store.verify(expected_masks=_masks))

  def test_threads_create_at_once(self):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
      stores = list(threads.map(lambda _: _create(self.path), range(8)))
    self.assertEqual({store.num_models for store in stores}, {10})

  def test_threads_write_rows_of_one_chunk(self):
    store = _create(self.path)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
      list(threads.map(lambda row: _fill(store, [row]), range(10)))
    np.testing.assert_array_equal(store.read('margin'), _margins(range(10)))


def _truncate(file):
  file.write_bytes(file.read_bytes()[:-3])


def _empty(file):
  file.write_bytes(b'')


def _flip(file):
  content = bytearray(file.read_bytes())
  content[len(content) // 2 - 2] ^= 4
  file.write_bytes(content)


_DAMAGES = {'truncated': _truncate, 'emptied': _empty, 'flipped': _flip}


class DamageTest(StoreTestCase):

  @parameterized.product(
      kind=list(_DAMAGES), name=['margin', 'masks', 'completed', 'diverged']
  )
  def test_is_found_and_named(self, kind, name):
    store = _create(self.path)
    margins = _margins(range(10))
    margins[5] = np.nan  # Makes a chunk of `diverged` that can be damaged.
    for rows in store.chunks(np.arange(10)):
      store.write(rows, _masks(rows), {'margin': margins[rows]})
    _DAMAGES[kind](_chunk_file(store, name, 1))
    store = store_lib.OutcomeStore.open(self.path)
    damages = store.verify(expected_masks=_masks)
    self.assertLen(damages, 1, msg=damages)
    self.assertEqual(
        (damages[0].array, damages[0].first_row, damages[0].last_row),
        (name, 4, 7),
    )
    self.assertRegex(str(damages[0]), f"'{name}', rows 4 to 7: checksum")
    # What is sound can still be read.
    rows = np.array([0, 1, 2, 3, 8, 9])
    np.testing.assert_array_equal(store.read('margin', rows), margins[rows])
    if name in ('margin', 'masks'):
      words = f"damaged.*'{name}', rows 4 to 7: checksum.*--repair"
      with self.assertRaisesRegex(store_lib.StoreError, words):
        store.read(name)
    else:  # Of rows whose flags are lost none counts as good.
      self.assertNoCommonElements(store.completed(), range(4, 8))
    np.testing.assert_array_equal(store.forget(damages), np.arange(4, 8))
    np.testing.assert_array_equal(store.missing(), np.arange(4, 8))
    _fill(store, store.missing())
    self.assertEmpty(store.verify(expected_masks=_masks))
    np.testing.assert_array_equal(store.read('margin'), _margins(range(10)))

  @parameterized.parameters('margin', 'masks', 'completed', 'diverged')
  def test_a_partial_chunk_at_the_end_is_repaired(self, name):
    store = _create(self.path)
    margins = _margins(range(10))
    margins[9] = np.nan
    for rows in store.chunks(np.arange(10)):
      store.write(rows, _masks(rows), {'margin': margins[rows]})
    _flip(_chunk_file(store, name, 2))
    store = store_lib.OutcomeStore.open(self.path)
    np.testing.assert_array_equal(store.forget(store.verify()), [8, 9])
    _fill(store, store.missing())
    self.assertEmpty(store.verify(expected_masks=_masks))
    np.testing.assert_array_equal(store.read('margin'), _margins(range(10)))

  def test_unreadable_flags_are_said(self):
    store = _fill(_create(self.path), range(10))
    _flip(_chunk_file(store, 'completed', 1))
    store = store_lib.OutcomeStore.open(self.path)
    with self.assertLogs('absl', 'WARNING') as logs:
      self.assertLen(store.completed(), 6)
    self.assertRegex(logs.output[0], "'completed', rows 4 to 7.*checksum")

  def test_a_torn_provenance_file_is_said_and_passed_over(self):
    store = _create(self.path)
    for rows in store.chunks(np.arange(10)):
      store.write(rows, _masks(rows), {'margin': _margins(rows)}, {'n': 1})
    (pathlib.Path(self.path) / 'provenance' / f'{4:010d}.json').write_text('{')
    with self.assertLogs('absl', 'WARNING') as logs:
      self.assertLen(store.provenance(), 2)
    self.assertIn('0000000004.json', logs.output[0])

  @parameterized.parameters('margin', 'masks')
  def test_a_deleted_chunk(self, name):
    store = _fill(_create(self.path), range(10))
    _chunk_file(store, name, 2).unlink()
    damages = store.verify()
    self.assertLen(damages, 1)
    self.assertRegex(str(damages[0]), f"'{name}', rows 8 to 9: .*missing")

  def test_a_deleted_chunk_of_completed_is_work_to_be_done(self):
    store = _fill(_create(self.path), range(10))
    _chunk_file(store, 'completed', 0).unlink()
    np.testing.assert_array_equal(store.missing(), np.arange(4))

  def test_a_deleted_chunk_of_diverged(self):
    store = _create(self.path)
    margins = _margins(range(4))
    margins[1] = np.nan
    store.write(np.arange(4), _masks(range(4)), {'margin': margins})
    _chunk_file(store, 'diverged', 0).unlink()
    self.assertLen(store.verify(), 1)

  def test_masks_of_another_sampler(self):
    store = _fill(_create(self.path), range(10))
    damages = store.verify(expected_masks=lambda rows: ~_masks(rows))
    self.assertLen(damages, 3)
    self.assertRegex(str(damages[0]), 'differ from what the sampler draws')


_FULL_DISK = """
import resource, signal, sys
import numpy as np
from tests import store_test
store = store_test._create(sys.argv[1], num_models=8, chunk=4,
                           outcomes={'margin': ((5000,), 'float32')})
def fill(rows):
  margins = np.tile(store_test._margins(rows)[:, :1], (1, 5000))
  store.write(rows, store_test._masks(rows), {'margin': margins})
fill(np.arange(4))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
try:
  fill(np.arange(4, 8))
except store_test.store_lib.StoreWriteError as error:
  print(error)
"""


class FullDiskTest(StoreTestCase):

  def test_in_the_middle_of_a_chunk(self):
    done = subprocess.run(
        [sys.executable, '-c', _FULL_DISK, self.path],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    self.assertRegex(
        done.stdout, 'could not write rows 4 to 7.*are safe; make room and run'
    )
    store = store_lib.OutcomeStore.open(self.path)
    np.testing.assert_array_equal(store.completed(), np.arange(4))
    np.testing.assert_array_equal(store.missing(), np.arange(4, 8))
    np.testing.assert_array_equal(
        store.read('margin')[:, 0], _margins(range(4))[:, 0]
    )
    self.assertEmpty(store.verify(expected_masks=_masks))
    rows = np.arange(4, 8)
    store.write(rows, _masks(rows), {'margin': np.ones((4, 5000))})
    self.assertLen(store.completed(), 8)


if __name__ == '__main__':
  absltest.main()
