"""The commands of mislabels, backdoor and memorization on tiny pools."""

import json
import os
import tempfile

from absl.testing import absltest
from absl.testing import flagsaver
from absl.testing import parameterized
import numpy as np

from experiments import faults_study
from experiments.applications import backdoor
from experiments.applications import job as job_lib
from experiments.applications import memorization
from experiments.applications import mislabels
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import recipe
from jdm.regressors import difference_of_means
from jdm.training import sgd

_NUM_TRAIN, _NUM_TEST, _NUM_MODELS = 120, 20, 150


def _collect(folder, plant, outcomes, targets=('test', 'train')):
  dataset_options = {'num_train': _NUM_TRAIN, 'num_test': _NUM_TEST}
  if plant:
    dataset_options |= {'plant': plant, 'count': 12}
  pool = recipe.build(
      recipe.Recipe(
          dataset='planted' if plant else 'digits',
          dataset_options=dataset_options,
          training=sgd.Config(batch_size=10, epochs=3),
          outcomes=outcomes,
          targets=targets,
      )
  )
  path = os.path.join(folder, 'store')
  return collection.collect(pool, path, num_models=_NUM_MODELS)


class CommandsTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.TemporaryDirectory()
    outcomes = ('soft_margin', 'correctness', 'log_loss')
    for plant in ('mislabels', 'backdoor'):
      _collect(os.path.join(cls.folder.name, plant), plant, outcomes)
    _collect(os.path.join(cls.folder.name, 'plain'), '', ('margin',), ('test',))

  @classmethod
  def tearDownClass(cls):
    cls.folder.cleanup()
    super().tearDownClass()

  def _job(self, name):
    return job_lib.Job(os.path.join(self.folder.name, name), replicates=2)

  def test_mislabels(self):
    job = self._job('mislabels')
    self.assertEqual(mislabels.num_trainings(job), 4 * 2 + 10 + 1)
    findings = mislabels.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertEqual(result['chosen'], 'data_oob')
    self.assertIn('full_loss', result['detections'])
    self.assertIn('knn_shapley_inputs', result['detections'])
    self.assertNotIn('knn_shapley_features', result['detections'])
    self.assertGreater(result['detections']['out_of_bag_loss']['auc'], 0.8)
    self.assertEqual(result['cleaning']['num_removed'], 12)
    self.assertTrue(all(figure for figure in findings.figures.values()))
    self.assertIn('12 of 120 labels were set wrong', findings.lead)
    words = ' '.join(findings.limits)
    self.assertIn('--targets=train', words)
    self.assertIn('was not chosen by measurements', words)

  @flagsaver.flagsaver(mislabels_retrain=False)
  def test_mislabels_by_datamodels_and_a_choice_made_elsewhere(self):
    job = self._job('mislabels')
    rows = job.rows()
    fitted = difference_of_means.fit(
        job.masks(rows),
        job.outcomes('soft_margin', 'train'),
        outcome='soft_margin_train',
    )
    weights = np.array(fitted.weights)
    np.fill_diagonal(weights, 0)
    path = os.path.join(job.workdir, 'datamodels_lasso_train.npz')
    datamodels_lib.save(
        path,
        datamodels_lib.Datamodels(**{**vars(fitted), 'weights': weights}),
    )
    self.addCleanup(os.remove, path)
    other = self.create_tempdir().full_path
    with open(os.path.join(other, 'mislabels.json'), 'w') as file:
      json.dump({'best': 'predicted_margin'}, file)
    with flagsaver.flagsaver(mislabels_choose_on=other):
      findings = mislabels.run(job)
    self.assertEqual(findings.result['chosen'], 'predicted_margin')
    self.assertIn('datamodel_harm', findings.result['scores'])
    self.assertIsNone(findings.figures['cleaning'])
    self.assertIn('chosen on other mislabels', ' '.join(findings.limits))
    with flagsaver.flagsaver(mislabels_choose_on='/nowhere'):
      with self.assertRaisesRegex(ValueError, 'run this application there'):
        mislabels.run(job)

  def test_backdoor(self):
    job = self._job('backdoor')
    self.assertEqual(backdoor.num_trainings(job), 3 * 2)
    findings = backdoor.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertSameElements(
        result['detections'],
        ['backdoor', 'self_influence', 'low_margin', 'out_of_bag_margin'],
    )
    self.assertIn('without labels', result['others'])
    self.assertIn('triggered', result['removal']['groups'])
    self.assertTrue(all(figure for figure in findings.figures.values()))
    self.assertIn('12 examples were poisoned', findings.lead)
    self.assertIn('accuracy, triggered', findings.table)

  @flagsaver.flagsaver(memorization_retrained=3)
  def test_memorization(self):
    job = self._job('mislabels')
    self.assertEqual(memorization.num_trainings(job), 2 * 3 * 2 + 20)
    findings = memorization.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertLen(result['memorization']['value'], _NUM_TRAIN)
    self.assertLen(result['left_out']['rows'], 6)
    self.assertEqual(result['num_models'], _NUM_MODELS)
    self.assertIsNotNone(findings.figures['left out'])
    self.assertIn('left out of the full set', findings.table)

  @parameterized.parameters(mislabels, backdoor, memorization)
  def test_a_pool_without_train_targets_says_which_flag(self, command):
    with self.assertRaisesRegex(ValueError, '--targets'):
      command.run(self._job('plain'))


class StudyTest(parameterized.TestCase):

  def test_the_first_seed_chooses_and_the_others_report(self):
    def result(best, auc):
      detections = {
          name: {
              'auc': auc + shift,
              'auc_interval': [0.5, 1.0],
              'precision': 0.5,
          }
          for name, shift in (('loss', 0), ('data_oob', 0.1))
      }
      return {
          'best': best,
          'chosen': 'loss',
          'detections': detections,
          'cleaning': {'change': {'suspects': 0.1, 'random': 0.0}},
      }

    rows = faults_study._rows(
        'tiny',
        'mislabels',
        {3: result('loss', 0.7), 5: result('data_oob', 0.6)},
    )
    roles = {(row['seed'], row['score']): row['role'] for row in rows}
    self.assertEqual(roles[3, 'loss when trained on'], 'chooses')
    self.assertEqual(roles[5, 'loss when trained on'], 'reports')
    self.assertEqual(roles[5, 'Data-OOB'], '')

  @parameterized.parameters(*faults_study.SETTINGS)
  def test_recipes(self, name):
    setting = faults_study.SETTINGS[name]
    for plant in faults_study.PLANTS:
      first, second = (setting.recipe(plant, seed) for seed in (0, 1))
      self.assertEqual(first.dataset_options['plant'], plant)
      self.assertNotEqual(first.dataset_options, second.dataset_options)
      self.assertNotEqual(first.seed, second.seed)
      json.dumps(first.to_json())


if __name__ == '__main__':
  absltest.main()
