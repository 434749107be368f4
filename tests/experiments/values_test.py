"""The commands of valuation, selection and unlearning on a tiny pool."""

import json
import os
import tempfile

from absl.testing import absltest
from absl.testing import flagsaver
from absl.testing import parameterized
import numpy as np
import pytest

from experiments.applications import job as job_lib
from experiments.applications import selection
from experiments.applications import unlearning
from experiments.applications import valuation
from jdm import collection
from jdm import datamodels
from jdm import recipe
from jdm.regressors import ridge
from jdm.training import sgd

_NUM_TRAIN, _NUM_TEST, _NUM_MODELS = 100, 30, 60


def _collect(workdir, **changes):
  pool = recipe.build(
      recipe.Recipe(
          dataset_options={'num_train': _NUM_TRAIN, 'num_test': _NUM_TEST},
          training=sgd.Config(batch_size=5, epochs=2),
          outcomes=('soft_margin', 'margin'),
          **changes,
      )
  )
  path = os.path.join(workdir, 'store')
  return collection.collect(pool, path, num_models=_NUM_MODELS)


class CommandsTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.TemporaryDirectory()
    cls.workdir = os.path.join(cls.folder.name, 'fixed')
    store = _collect(cls.workdir, targets=('test', 'train'))
    rows = store.completed()
    for name, targets in (
        ('soft_margin', 'test'),
        ('soft_margin_train', 'train'),
    ):
      # A LASSO takes ten seconds to compile.
      fitted = ridge.fit(
          store.read('masks', rows),
          store.read(name, rows),
          outcome=name,
          num_val=10,
      )
      path = os.path.join(cls.workdir, f'datamodels_lasso_{targets}.npz')
      datamodels.save(path, fitted)

  @classmethod
  def tearDownClass(cls):
    cls.folder.cleanup()
    super().tearDownClass()

  @flagsaver.flagsaver(
      valuation_utilities=['mean', 'recall:1'],
      valuation_methods=['banzhaf', 'ridge'],
  )
  def test_valuation(self):
    job = job_lib.Job(self.workdir, replicates=2, sizes=[5, 70])
    expected = valuation.num_trainings(job)
    # 3 ways, each two ends removed and one added, twice; 10 random of both.
    self.assertEqual(expected, 2 * (2 * (3 * 3 * 2 + 2 * 10) + 2))
    findings = valuation.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertEqual(set(result['utilities']), {'mean', 'recall:1'})
    self.assertEqual(set(result['values']), {'banzhaf', 'ridge'})
    self.assertLessEqual(findings.table['models retrained'], expected)
    self.assertIn(
        'mean: remove by mean weight, lowest first, over random',
        findings.table,
    )
    self.assertRegex(
        ' '.join(findings.limits), '5 left out.*without an example'
    )
    for figure in findings.figures.values():
      self.assertIsNotNone(figure)

  @pytest.mark.slow
  @flagsaver.flagsaver(valuation_utilities=['mean'])
  def test_shapley(self):
    workdir = os.path.join(self.folder.name, 'prefixes')
    _collect(
        workdir, sampler='permutation_prefixes', sampler_options={'step': 50}
    )
    job = job_lib.Job(workdir, replicates=2, sizes=[5])
    findings = valuation.run(job)
    self.assertEqual(set(findings.result['values']), {'shapley'})
    self.assertRegex(' '.join(findings.limits), 'Without datamodels')

  @flagsaver.flagsaver(selection_targets=['hardest', 'all'])
  def test_selection(self):
    job = job_lib.Job(self.workdir, replicates=2, sizes=[50])
    expected = selection.num_trainings(job)
    findings = selection.run(job)
    result = json.loads(json.dumps(findings.result))
    titles = list(result['distributions'])
    self.assertLen(titles, 2)
    self.assertRegex(titles[0], r'class \d')
    self.assertEqual(titles[1], 'all')
    own = result['distributions']['all']
    self.assertLen(own['choice_ids'], 15)
    self.assertIn('nearest representation', own['predicted'])
    self.assertLessEqual(findings.table['models retrained'], expected)
    self.assertIsNone(findings.figures['all rest'])

  def test_selection_of_rows_in_a_file(self):
    path = os.path.join(self.folder.name, 'rows.txt')
    np.savetxt(path, [3, 5, 8], fmt='%d')
    job = job_lib.Job(self.workdir, replicates=2, sizes=[50])
    with flagsaver.flagsaver(selection_targets=[path]):
      findings = selection.run(job)
    self.assertEqual(list(findings.result['distributions']), ['rows.txt'])

  def test_unlearning(self):
    path = os.path.join(self.folder.name, 'forget.npy')
    np.save(path, np.arange(4))
    job = job_lib.Job(self.workdir, replicates=40)
    with flagsaver.flagsaver(unlearning_forget=path):
      expected = unlearning.num_trainings(job)
      findings = unlearning.run(job)
    self.assertEqual(expected, 2 * 5 * 40)
    self.assertEqual(findings.table['models retrained'], expected)
    result = json.loads(json.dumps(findings.result))
    self.assertEqual(result['test']['forget']['given'], [0, 1, 2, 3])
    self.assertEqual(
        result['train']['groups']['given'], {'forget': 4, 'retain': 96}
    )
    sizes = [len(ids) for ids in result['test']['forget'].values()]
    self.assertEqual(max(sizes), 5)
    for figure in findings.figures.values():
      self.assertIsNotNone(figure)

  @parameterized.named_parameters(
      ('share', unlearning, {'unlearning_share': 1.0}, 'between 0 and 1'),
      (
          'class',
          selection,
          {'selection_targets': ['class:77']},
          'class 77 has 0',
      ),
      ('file', selection, {'selection_targets': ['x']}, "'x' is none of these"),
      ('none', selection, {'selection_targets': []}, 'at least one'),
      ('utility', valuation, {'valuation_utilities': ['x']}, "got 'x'"),
      ('method', valuation, {'valuation_methods': ['x']}, "got 'x'"),
      (
          'shapley',
          valuation,
          {'valuation_methods': ['shapley']},
          'sampler=uniform_size',
      ),
  )
  def test_bad_flags(self, command, flags, words):
    job = job_lib.Job(self.workdir, replicates=40, sizes=[50])
    with flagsaver.flagsaver(**flags):
      with self.assertRaisesRegex(ValueError, words):
        command.run(job)

  def test_too_few_replicates(self):
    job = job_lib.Job(self.workdir, replicates=10)
    with self.assertRaisesRegex(
        ValueError, '--replicates .*at least 40.*got 10'
    ):
      unlearning.num_trainings(job)

  def test_no_list_of_rows(self):
    path = os.path.join(self.folder.name, 'words.txt')
    with open(path, 'w', encoding='utf-8') as file:
      file.write('three five')
    with self.assertRaisesRegex(ValueError, 'no list of row numbers'):
      selection.read_rows(path)


if __name__ == '__main__':
  absltest.main()
