"""Collecting: the same bits however often it is stopped; nothing twice."""

import dataclasses
import os
import pathlib
import random
import subprocess
import sys
import time
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm import collection
from jdm import datasets
from jdm import recipe as recipe_lib
from jdm import shares
from jdm import store as store_lib
from jdm.training import ensemble
from jdm.training import sgd

_ROOT = pathlib.Path(__file__).parents[1]
_OPTIONS = {'num_train': 40, 'num_test': 6}
_RECIPE = recipe_lib.Recipe(
    dataset_options=_OPTIONS,
    training=sgd.Config(epochs=1, batch_size=10),
    group=2,
)


def _contents(path):
  """The bytes of every chunk of every array of a store."""
  files = sorted(pathlib.Path(path).glob('*/c/**/*'))
  return {
      str(file.relative_to(path)): file.read_bytes()
      for file in files
      if file.is_file() and '__lock' not in file.name
  }


class _CountedTestCase(parameterized.TestCase):
  """Records in `self.trained` the ids of all models that are trained."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.pool = recipe_lib.build(_RECIPE)

  def setUp(self):
    super().setUp()
    self.path = self.create_tempdir().full_path + '/store'
    self.trained = []
    start = ensemble.Trainer.start

    def counted(trainer, key, model_ids, *args, **options):
      self.trained.extend(np.asarray(model_ids).tolist())
      return start(trainer, key, model_ids, *args, **options)

    self.enter_context(mock.patch.object(ensemble.Trainer, 'start', counted))

  def _collect(self, num_models=10, path=None, pool=None, **options):
    return collection.collect(
        pool or self.pool,
        path or self.path,
        num_models=num_models,
        **({'chunk': 4} | options),
    )


class CollectTest(_CountedTestCase):

  def test_holds_what_training_gives(self):
    store = self._collect()
    rows = np.arange(10)
    np.testing.assert_array_equal(store.completed(), rows)
    masks = store.read('masks')
    np.testing.assert_array_equal(masks, self.pool.masks(rows))
    np.testing.assert_array_equal(masks.sum(axis=1), 20)
    found = self.pool.trainer.train(jax.random.key(0), rows, masks)
    np.testing.assert_array_equal(
        store.read('soft_margin'), found['soft_margin']
    )
    self.assertEmpty(store.verify(expected_masks=self.pool.masks))

  @parameterized.parameters(1, 3, 100)
  def test_chunks_do_not_change_a_bit(self, chunk):
    expected = self._collect().read('soft_margin')
    other = self._collect(path=self.path + '2', chunk=chunk)
    np.testing.assert_array_equal(other.read('soft_margin'), expected)

  def test_growing_trains_only_what_is_new(self):
    self._collect(5)
    self.trained.clear()
    store = self._collect(10)
    self.assertEqual(sorted(self.trained), [5, 6, 7, 8, 9])
    at_once = self._collect(10, self.path + '2')
    np.testing.assert_array_equal(
        store.read('soft_margin'), at_once.read('soft_margin')
    )
    self.trained.clear()
    self._collect(7)
    self.assertEmpty(self.trained)

  def test_progress(self):
    calls = []
    self._collect(progress=lambda *call: calls.append(call))
    self.assertEqual(calls, [(0, 10), (4, 10), (8, 10), (10, 10)])
    calls.clear()
    self._collect(progress=lambda *call: calls.append(call))
    self.assertEqual(calls, [(10, 10)])

  def test_chunks_are_told_and_a_request_to_stop_is_heard(self):
    told = []
    store = self._collect(
        on_chunk=told.append, should_stop=lambda: len(told) > 0
    )
    # The second was under way when the first was told.
    self.assertEqual(
        [(c.first_row, c.last_row) for c in told], [(0, 3), (4, 7)]
    )
    self.assertEqual([c.num_diverged for c in told], [0, 0])
    np.testing.assert_allclose(
        told[1].means['soft_margin'],
        store.read('soft_margin', np.arange(4, 8)).mean(),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(store.missing(), [8, 9])
    told.clear()
    self.assertEmpty(self._collect(on_chunk=told.append).missing())
    self.assertEqual([c.num_models for c in told], [2])

  def test_a_failed_write_loses_nothing_and_a_rerun_finishes(self):
    expected = _contents(self._collect(path=self.path + '2').path)
    write, calls = store_lib.OutcomeStore.write, []

    def failing(store, rows, *arguments):
      calls.append(rows[0])
      if len(calls) == 2:
        raise store_lib.StoreWriteError('disk full; make room')
      return write(store, rows, *arguments)

    with mock.patch.object(store_lib.OutcomeStore, 'write', failing):
      with self.assertRaisesRegex(store_lib.StoreWriteError, 'make room'):
        self._collect()
    store = store_lib.OutcomeStore.open(self.path)
    np.testing.assert_array_equal(store.completed(), np.arange(4))
    self.trained.clear()
    store = self._collect()
    self.assertEqual(sorted(self.trained), [4, 5, 6, 7, 8, 9])
    self.assertEqual(_contents(store.path), expected)

  def test_diverged_models_are_marked_and_reported(self):
    training = dataclasses.replace(_RECIPE.training, learning_rate=1e30)
    recipe = dataclasses.replace(_RECIPE, training=training)
    pool = recipe_lib.build(recipe)
    with self.assertLogs('absl', 'WARNING') as logs:
      store = self._collect(pool=pool)
    self.assertRegex(logs.output[0], '10 of 10 models.*diverged.*selection')
    np.testing.assert_array_equal(store.diverged(), np.arange(10))
    self.assertEmpty(store.completed())
    self.trained.clear()
    self._collect(pool=pool)
    self.assertEmpty(self.trained)

  def test_subsets_without_a_batch_are_never_good(self):
    recipe = dataclasses.replace(
        _RECIPE,
        sampler='uniform_size',
        sampler_options={'min_size': 8, 'max_size': 11},
    )
    pool = recipe_lib.build(recipe)
    with self.assertLogs('absl', 'WARNING'):
      store = self._collect(pool=pool)
    sizes = pool.masks(np.arange(10)).sum(axis=1)
    self.assertBetween((sizes < 10).sum(), 1, 9)
    np.testing.assert_array_equal(store.diverged(), np.flatnonzero(sizes < 10))
    np.testing.assert_array_equal(
        store.completed(), np.flatnonzero(sizes >= 10)
    )
    self.assertTrue(np.isfinite(store.read('soft_margin')).all())
    self.assertEmpty(store.verify(expected_masks=pool.masks))

  def test_ids_beyond_31_bits(self):
    pool = dataclasses.replace(self.pool, first_id=2**31 - 5)
    with self.assertRaisesRegex(ValueError, 'beyond id 2147483648'):
      self._collect(pool=pool)
    self.assertLen(self._collect(5, pool=pool).completed(), 5)

  def test_pools_end_where_retrained_models_begin(self):
    with self.assertRaisesRegex(ValueError, 'beyond id 536870912'):
      collection.collect(self.pool, self.path, num_models=2**29 + 1)

  def test_another_recipe(self):
    self._collect()
    recipe = dataclasses.replace(_RECIPE, seed=1)
    with self.assertRaisesRegex(store_lib.StoreError, 'seed: 0 there, 1 here'):
      self._collect(pool=recipe_lib.build(recipe))


class ShareTest(_CountedTestCase):

  def test_trains_its_chunks_only(self):
    expected = _contents(self._collect(path=self.path + '2').path)
    self.trained.clear()
    calls = []
    store = self._collect(
        share=shares.Share(1, 3), progress=lambda *call: calls.append(call)
    )
    self.assertEqual(self.trained, [4, 5, 6, 7])
    self.assertEqual(calls, [(0, 4), (4, 4)])
    self.assertLen(store.missing(), 6)
    self._collect(share=shares.Share(3, 4))  # More workers than chunks.
    self._collect(share=shares.Share(0, 2))  # Others were three.
    store = self._collect(share=shares.Share(1, 2))
    self.assertEqual(sorted(self.trained), list(range(10)))
    self.assertEmpty(store.missing())
    self.assertEqual(_contents(store.path), expected)

  def test_repairs_its_chunks_only(self):
    store = self._collect()
    for chunk in (0, 1):
      pathlib.Path(store.path, f'soft_margin/c/{chunk}/0').write_bytes(b'')
    self.trained.clear()
    with self.assertLogs('absl', 'WARNING'):
      self._collect(repair=True, share=shares.Share(1, 2))
    self.assertEqual(self.trained, [4, 5, 6, 7])
    self.assertLen(store.verify(), 1)


class RepairTest(_CountedTestCase):

  @parameterized.parameters('soft_margin', 'masks', 'completed')
  def test_trains_exactly_the_damaged_rows(self, name):
    store = self._collect()
    expected = _contents(store.path)
    inner = 'c/1' if name == 'completed' else 'c/1/0'
    file = pathlib.Path(store.path, name, inner)
    content = bytearray(file.read_bytes())
    content[1] ^= 1
    file.write_bytes(content)
    self.trained.clear()
    with self.assertLogs('absl', 'WARNING') as logs:
      self._collect(repair=True)
    self.assertRegex(logs.output[0], f"'{name}', rows 4 to 7: checksum")
    self.assertEqual(sorted(self.trained), [4, 5, 6, 7])
    self.assertEqual(_contents(store.path), expected)

  def test_without_repair_damage_stays_and_is_told(self):
    store = self._collect()
    pathlib.Path(store.path, 'soft_margin/c/1/0').write_bytes(b'')
    self.trained.clear()
    store = self._collect()
    self.assertEmpty(self.trained)
    with self.assertRaisesRegex(store_lib.StoreError, 'rows 4 to 7: checksum'):
      store.read('soft_margin')


class HeldoutTest(_CountedTestCase):

  def test_ids_never_meet_and_replicates_share_subsets(self):
    heldout = recipe_lib.heldout(self.pool)
    again = recipe_lib.heldout(self.pool, replicate=1)
    rows = np.arange(6)
    np.testing.assert_array_equal(heldout.masks(rows), again.masks(rows))
    self.assertFalse(np.array_equal(heldout.masks(rows), self.pool.masks(rows)))
    first = self._collect(6, pool=heldout)
    second = self._collect(6, self.path + '2', again)
    self.assertEqual(self.trained, 2 * [2**30 + row for row in rows])
    self.assertFalse(
        np.array_equal(first.read('soft_margin'), second.read('soft_margin'))
    )
    with self.assertRaisesRegex(store_lib.StoreError, 'replicate: 0 there, 1'):
      self._collect(6, pool=again)


class RetrainerTest(_CountedTestCase):

  def setUp(self):
    super().setUp()
    self.store = self._collect()
    self.trained.clear()
    draw = np.random.default_rng(0).permutation
    self.masks = np.stack([draw(40) < 30 for _ in range(3)])

  def test_equals_training_and_is_cached(self):
    retrain = collection.retrainer(self.store)
    found = retrain(self.masks, 2)
    self.assertEqual(found.shape, (2, 3, 6))
    self.assertFalse(np.array_equal(found[0], found[1]))
    self.assertLen(self.trained, 6)
    self.assertEqual(self.trained[:3], self.trained[3:])
    self.assertLen(set(self.trained), 3)
    self.assertBetween(min(self.trained), 2**29, 2**30 - 1)
    self.assertLess(max(self.trained), 2**30)
    direct = self.pool.trainer.train(
        jax.random.key(0),
        np.array(self.trained),
        np.concatenate([self.masks] * 2),
        np.repeat([0, 1], 3),
    )
    np.testing.assert_array_equal(found.reshape(6, 6), direct['soft_margin'])
    self.trained.clear()
    again = collection.retrainer(self.store)(self.masks, 2)
    np.testing.assert_array_equal(again, found)
    self.assertEmpty(self.trained)
    verify = pathlib.Path(self.path).parent / 'verify'
    self.assertLen(list(verify.iterdir()), 1)

  def test_a_mask_is_trained_alike_in_any_company(self):
    cache = self.create_tempdir().full_path
    retrain = collection.retrainer(self.store, cache=cache)
    together = retrain(self.masks, 2)
    np.testing.assert_array_equal(
        retrain(self.masks[2:], 1)[0], together[0, 2:]
    )

  def test_another_outcome_and_a_given_cache(self):
    cache = self.create_tempdir().full_path
    retrain = collection.retrainer(
        self.store, outcome='correctness', cache=cache
    )
    found = retrain(self.masks, 1)
    self.assertEqual(set(np.unique(found)), {0.0, 1.0})
    self.assertLen(os.listdir(cache), 1)

  def test_a_mask_without_a_batch_is_refused(self):
    masks = np.zeros((2, 40), bool)
    masks[1] = True
    retrain = collection.retrainer(self.store)
    with self.assertRaisesRegex(ValueError, 'subset 0 has 0 examples'):
      retrain(masks, 1)

  def test_a_pool_without_the_outcome_is_refused(self):
    pool = collection.pool_of(self.store)
    with self.assertRaisesRegex(ValueError, "returns 'correctness', got"):
      collection.retrainer(self.store, pool=pool, outcome='correctness')
    with self.assertRaisesRegex(ValueError, r"pool with \['model'\] changed"):
      collection.retrainer(self.store, pool=pool, changes={'model': 'mlp'})

  def test_first_replicate_goes_on_where_others_ended(self):
    together = collection.retrainer(self.store)(self.masks, 3)
    later = collection.retrainer(self.store, first_replicate=1)
    np.testing.assert_array_equal(later(self.masks, 2), together[1:])

  def test_relabelled_examples_train_with_the_other_label(self):
    relabel = np.full(self.masks.shape, -1)
    relabel[0, :7], relabel[2, 30:] = 3, 0
    retrain = collection.retrainer(self.store)
    found = retrain(self.masks, 1, relabel=relabel)
    own = retrain(self.masks, 1)
    np.testing.assert_array_equal(found[0, 1], own[0, 1])
    ids = np.array(self.trained[:3])
    for row in (0, 2):
      self.assertFalse(np.array_equal(found[0, row], own[0, row]))
      train = self.pool.dataset.train
      labels = np.where(relabel[row] < 0, train.labels, relabel[row])
      changed = dataclasses.replace(
          self.pool.dataset,
          train=dataclasses.replace(train, labels=labels.astype(np.int32)),
      )
      trainer = recipe_lib.build(_RECIPE, dataset=changed).trainer
      direct = trainer.train(jax.random.key(0), ids, self.masks)
      np.testing.assert_array_equal(found[0, row], direct['soft_margin'][row])

  def test_wrong_labels(self):
    retrain = collection.retrainer(self.store)
    for relabel, words in (
        (np.zeros((3, 2), int), 'of shape'),
        (np.zeros((3, 40)), 'integers'),
        (np.full((3, 40), 10), 'to 9, got 10'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        retrain(self.masks, 1, relabel=relabel)

  def test_train_targets_and_another_model(self):
    retrain = collection.retrainer(self.store, targets='train')
    self.assertEqual(retrain(self.masks, 1).shape, (1, 3, 40))
    other = collection.retrainer(
        self.store, changes={'model': 'mlp', 'model_options': {'hidden': [4]}}
    )
    self.assertEqual(other(self.masks, 1).shape, (1, 3, 6))
    with self.assertRaisesRegex(ValueError, 'test or train'):
      collection.retrainer(self.store, targets='val')

  def test_another_dataset(self):
    other = datasets.load('digits', num_train=41, num_test=6)
    with mock.patch.object(datasets, 'load', return_value=other):
      with self.assertRaisesRegex(store_lib.StoreError, 'fingerprint'):
        collection.retrainer(self.store)

  def test_pool_of(self):
    pool = collection.pool_of(self.store)
    self.assertEqual(pool.description, self.pool.description)
    other = datasets.load('digits', num_train=41, num_test=6)
    with mock.patch.object(datasets, 'load', return_value=other):
      with self.assertRaisesRegex(store_lib.StoreError, 'num_train: 40 there'):
        collection.pool_of(self.store)


class ReadOutcomeTest(_CountedTestCase):

  @parameterized.parameters('logits', 'parameters')
  def test_computed_from_what_is_stored(self, stored):
    both = ('test', 'train')
    names = ('margin', 'log_loss', 'correctness')
    recipe = dataclasses.replace(_RECIPE, outcomes=names, targets=both)
    direct = self._collect(pool=recipe_lib.build(recipe))
    recipe = dataclasses.replace(_RECIPE, outcomes=(stored,), targets=both)
    path = self.create_tempdir().full_path + '/store'
    store = self._collect(pool=recipe_lib.build(recipe), path=path)
    rows = np.array([1, 4])
    for name in names:
      for suffix in ('', '_train'):
        np.testing.assert_allclose(
            collection.read_outcome(store, name + suffix, rows),
            collection.read_outcome(direct, name + suffix, rows),
            atol=1e-5,
        )

  def test_what_cannot_be_computed_names_the_flags(self):
    store = self._collect()
    with self.assertRaisesRegex(
        ValueError, '--outcomes=margin --targets=train'
    ):
      collection.read_outcome(store, 'margin_train', np.arange(2))


class EstimateTest(_CountedTestCase):

  def test_counts_and_writes_nothing(self):
    found = collection.estimate(self.pool, num_models=100)
    self.assertEqual(found.num_models, 100)
    self.assertEqual(found.num_bytes, 100 * (5 + 6 * 4))
    self.assertGreater(found.seconds, 0)
    self.assertRegex(str(found), '100 models to train.*MB on disk')
    self.assertFalse(os.path.exists(self.path))

  def test_what_is_there_costs_nothing(self):
    store = self._collect()
    before = _contents(self.path)
    found = collection.estimate(self.pool, num_models=12, store=store)
    self.assertEqual(found.num_models, 2)
    done = collection.estimate(self.pool, num_models=10, store=store)
    self.assertEqual((done.num_models, done.seconds), (0, 0))
    self.assertRegex(str(done), '0 models')
    self.assertEqual(_contents(self.path), before)


def collect_slowly(path, log):
  """A user's own pool of 80 models; every chunk trained is a line of `log`."""

  def train_one(key, subset_ids, subset_size, data):
    del subset_ids
    return {'margin': jax.random.normal(key, (4,)) + subset_size * data}

  def draw(model_ids):
    return np.stack(
        [
            np.random.default_rng(model_id).random(30) < 0.5
            for model_id in model_ids
        ]
    )

  class Slow(ensemble.Trainer):

    def start(self, key, model_ids, masks, replicates=0):
      with open(log, 'a', encoding='utf-8') as file:
        file.write(f'{session} {model_ids.tolist()}\n')
      time.sleep(0.01)
      return super().start(key, model_ids, masks, replicates)

  pool = recipe_lib.Pool(
      description={'own': 1},
      trainer=Slow(train_one, np.float32(0.5), 30, 2),
      draw_masks=draw,
  )
  session = os.getpid()
  if store_lib.exists(path):
    done = store_lib.OutcomeStore.open(path).completed().tolist()
    with open(log, 'a', encoding='utf-8') as file:
      file.write(f'{session} done {done}\n')
  warm_up = ensemble.Trainer.start  # Compiles; leaves no line.
  warm_up(pool.trainer, jax.random.key(0), np.arange(2), draw(range(2))).wait()
  print('ready', flush=True)
  return collection.collect(
      pool,
      path,
      num_models=80,
      chunk=2,
      progress=lambda *call: print(call, flush=True),
  )


class KillTest(parameterized.TestCase):

  def test_killed_again_and_again(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    path, log = str(folder / 'store'), str(folder / 'log')
    # First while the store is made, then in the middle of some chunk.
    for num_lines in (1, 3, 6):
      self._kill_after(num_lines, path, log)
      if store_lib.exists(path):
        store = store_lib.OutcomeStore.open(path)
        store.read('margin')  # What counts as completed can be read.
        self.assertEmpty(store.verify())
    # What was told as done is: a chunk of the second child, four of the third.
    self.assertBetween(
        len(store_lib.OutcomeStore.open(path).completed()), 10, 79
    )
    store = collect_slowly(path, log)
    whole = collect_slowly(str(folder / 'whole'), str(folder / 'other_log'))
    self.assertLen(store.completed(), 80)
    self.assertEqual(_contents(store.path), _contents(whole.path))
    self._check_nothing_trained_twice(log)

  def _kill_after(self, num_lines, path, log):
    """Kills a child some milliseconds after it has printed some lines."""
    code = (
        'import sys; from tests import collection_test as test;'
        ' test.collect_slowly(sys.argv[1], sys.argv[2])'
    )
    child = subprocess.Popen(
        [sys.executable, '-c', code, path, log],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    for _ in range(num_lines):
      self.assertNotEmpty(child.stdout.readline())
    time.sleep(random.uniform(0.0, 0.04))  # Anywhere: no seed.
    child.kill()
    child.communicate()

  def _check_nothing_trained_twice(self, log):
    """No session trains what was completed when it began."""
    done: dict[str, set[int]] = {}
    for line in pathlib.Path(log).read_text(encoding='utf-8').splitlines():
      session, _, words = line.partition(' ')
      is_done = words.startswith('done ')
      ids = {int(i) for i in words.removeprefix('done ')[1:-1].split(',') if i}
      if is_done:
        done[session] = ids
      elif session in done:
        self.assertEmpty(ids & done[session])


if __name__ == '__main__':
  absltest.main()
