"""The commands of similarity and leakage on a tiny pool, and the study's tables."""

import csv
import io
import json
import os
import tempfile

from absl.testing import absltest
from absl.testing import flagsaver
from absl.testing import parameterized
import numpy as np

from experiments import leakage_tables
from experiments.applications import job as job_lib
from experiments.applications import leakage as command
from experiments.applications import similarity as similarity_command
from jdm import collection
from jdm import datamodels
from jdm import datasets
from jdm import effects
from jdm import recipe
from jdm.analysis import detection
from jdm.analysis import pairs as pairs_lib
from jdm.applications import leakage as leakage_lib
from jdm.regressors import ridge
from jdm.training import sgd

_NUM_TRAIN, _NUM_TEST, _NUM_MODELS = 100, 30, 40


class CommandsTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.TemporaryDirectory()
    cls.workdir = cls.folder.name
    pool = recipe.build(
        recipe.Recipe(
            dataset='planted',
            dataset_options={
                'plant': 'atypical',
                'count': 4,
                'num_train': _NUM_TRAIN,
                'num_test': _NUM_TEST,
            },
            training=sgd.Config(batch_size=10),
            outcomes=('soft_margin', 'log_loss'),
            targets=('test', 'train'),
        )
    )
    store = collection.collect(
        pool, os.path.join(cls.workdir, 'store'), num_models=_NUM_MODELS
    )
    rows = store.completed()
    fitted = ridge.fit(  # A LASSO takes ten seconds to compile.
        store.read('masks', rows),
        store.read('soft_margin', rows),
        outcome='soft_margin',
        num_val=10,
    )
    datamodels.save(
        os.path.join(cls.workdir, 'datamodels_lasso_test.npz'), fitted
    )

  @classmethod
  def tearDownClass(cls):
    cls.folder.cleanup()
    super().tearDownClass()

  @flagsaver.flagsaver(leakage_verify=4, leakage_num_pairs=50)
  def test_leakage(self):
    job = job_lib.Job(self.workdir, replicates=2)
    self.assertEqual(command.num_trainings(job), 4 * 2 + 20)
    findings = command.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertLen(result['pairs'], 50)
    weights = [pair['weight'] for pair in result['pairs']]
    self.assertEqual(weights, sorted(weights, reverse=True))
    fitted = job.datamodels()
    first = result['pairs'][0]
    self.assertEqual(
        first['weight'], float(fitted.weights[first['train'], first['test']])
    )
    self.assertEqual(
        list(dict.fromkeys(one['score'] for one in result['detections'])),
        [
            'ridge',
            'ridge_standardized',
            'difference_of_means',
            'difference_of_means_standardized',
            'pixels',
            'representation',
            'log_probability_10',
            'log_probability_20',
            'log_probability_40',
        ],
    )
    self.assertLen(result['removals']['observed'], 4)
    self.assertTrue(any('log-loss' in limit for limit in findings.limits))
    self.assertIsNotNone(findings.figures['ROC'])

  def test_metadata(self):
    data = datasets.load('digits', num_train=5, num_test=3)
    path = os.path.join(self.workdir, 'metadata.npz')
    np.savez(
        path,
        train_metadata=np.array([[0.0], [1], [2], [3], [4]]),
        test_metadata=np.array([[0.1], [2.9], [9]]),
    )
    with flagsaver.flagsaver(leakage_metadata=path, leakage_threshold=0.5):
      truth = command.known_pairs(data)
    np.testing.assert_array_equal(truth.pairs, [[0, 0], [3, 1]])
    self.assertIsNone(command.known_pairs(data))
    larger = datasets.load('digits', num_train=6, num_test=3)
    with flagsaver.flagsaver(leakage_metadata=path, leakage_threshold=0.5):
      with self.assertRaisesRegex(ValueError, 'of 5 training .* has 6'):
        command.known_pairs(larger)
    with flagsaver.flagsaver(leakage_metadata=path):
      with self.assertRaisesRegex(ValueError, '--leakage_threshold'):
        command.known_pairs(data)
    with flagsaver.flagsaver(leakage_metadata='no', leakage_threshold=1.0):
      with self.assertRaisesRegex(ValueError, 'there is no file no'):
        command.known_pairs(data)
    np.savez(path, train=np.zeros(3))
    with flagsaver.flagsaver(leakage_metadata=path, leakage_threshold=1.0):
      with self.assertRaisesRegex(ValueError, 'lacks .*train_metadata'):
        command.known_pairs(data)

  @flagsaver.flagsaver(similarity_count=3, similarity_shown=2)
  def test_similarity(self):
    job = job_lib.Job(self.workdir)
    self.assertEqual(similarity_command.num_trainings(job), 0)
    findings = similarity_command.run(job)
    self.assertEqual(
        findings.result['train']['methods'],
        ['datamodels', 'representation', 'pixels'],
    )
    self.assertEqual(findings.table['targets'], _NUM_TEST)
    self.assertIsNotNone(findings.figures['training examples'])
    self.assertTrue(
        any('elastic_net and lasso' in one for one in findings.limits)
    )


def _measured(seed, good):
  """What the study writes down of one pool, with one good score for a kind."""
  rng = np.random.default_rng(seed)
  truth = pairs_lib.Truth(
      pairs=np.stack([np.arange(6), np.arange(6)], axis=1),
      kinds=('exact', 'shift') * 3,
  )
  scores = {name: rng.normal(size=(30, 10)) for name in ('lasso', 'pixels')}
  scores[good][np.arange(6), np.arange(6)] += 9
  found = leakage_lib.leakage(
      scores['lasso'],
      score='lasso',
      others={'pixels': scores['pixels']},
      truth=truth,
      counts=(10, 100),
  )
  removed = leakage_lib.removals(
      scores['lasso'],
      truth.pairs,
      retrain=lambda masks, replicates: np.stack(
          [masks @ scores['lasso']] * replicates
      ),
      kinds=truth.kinds,
      replicates=2,
  )
  return {
      **found.to_json(),
      'num_models': 7,
      'num_train': 30,
      'num_targets': 10,
      'recipe': {},
      'weights': {},
      'cpu_seconds': {'training': 1.0},
      'at_threshold': {
          'pixels': detection.at_threshold(scores['pixels'], truth, 4.0)
      },
      'removals': effects.to_json(removed),
  }


class TablesTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    # The first seed chooses pixels; on the second the LASSO is better.
    one = {0: _measured(0, 'pixels'), 1: _measured(1, 'lasso')}
    self.measured = {'digits_linear': json.loads(json.dumps(one))}
    by_seed = self.measured['digits_linear']
    self.measured['digits_linear'] = {int(k): v for k, v in by_seed.items()}

  def test_the_first_seed_chooses_and_the_others_report(self):
    summary = leakage_tables.summarize(self.measured)
    rows = {
        (row['seed'], row['score'], row['kind']): row for row in summary['rows']
    }
    self.assertLen(rows, 2 * 2 * 3)
    self.assertEqual(rows[0, 'lasso', 'all']['role'], 'choice')
    self.assertEqual(rows[1, 'lasso', 'all']['role'], 'report')
    for row in summary['chosen']:
      self.assertEqual(row['chosen'], 'pixel distance')
      mine = rows[1, 'pixels', row['kind']]['auc']
      self.assertEqual(row['its AUC'], f'{mine:.4f}')
      self.assertLess(mine, 0.95)
      self.assertEqual(row['best AUC there'], '1.0000')
    for row in summary['removals']:
      self.assertAlmostEqual(row['slope'], 1)
    json.dumps(summary)

  def test_texts(self):
    written = leakage_tables.texts(leakage_tables.summarize(self.measured))
    rows = list(csv.DictReader(io.StringIO(written['csv'])))
    self.assertLen(rows, 12)
    self.assertIn('| LASSO weight | 1.0000 | 1.0000 | 1.0000 |', written['md'])
    self.assertRegex(written['md'], r'\| pixel distance \| 0\.\d+ \* \|')

  def test_figures(self):
    drawn = leakage_tables.figures(self.measured)
    self.assertEqual(set(drawn), {'auc_digits_linear', 'removals_digits'})


if __name__ == '__main__':
  absltest.main()
