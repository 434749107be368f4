"""The commands of embeddings and comparison on tiny pools, and the study."""

import json
import os
import tempfile
from unittest import mock

from absl.testing import absltest
from absl.testing import flagsaver
from absl.testing import parameterized
import numpy as np
import pytest

from experiments.applications import comparison
from experiments.applications import embeddings
from experiments.applications import job as job_lib
from experiments.applications import similarity
from jdm import collection
from jdm import datamodels
from jdm import datasets
from jdm import recipe
from jdm.regressors import elastic_net
from jdm.regressors import ridge
from jdm.training import sgd
from tests.experiments import forked

_NUM_MODELS = 60
_NO_PATCH = 1e-6  # A share of a class that rounds to no image.
_OPTIONS = {
    'plant': 'patch',
    'plant_seed': 3,  # Three of six targets of the patch's class carry it.
    'num_train': 200,
    'num_test': 60,
}


def _small(share):
  return recipe.Recipe(
      dataset='planted',
      dataset_options={**_OPTIONS, 'patch_share': share},
      training=sgd.Config(batch_size=20, epochs=5, learning_rate=0.05),
      outcomes=('soft_margin',),
  )


def _pool(workdir, described, num_models=_NUM_MODELS):
  """A pool whose datamodels are ridge's: a LASSO takes seconds to compile."""
  store = collection.collect(
      recipe.build(described),
      os.path.join(workdir, 'store'),
      num_models=num_models,
  )
  rows = store.completed()
  fitted = ridge.fit(
      store.read('masks', rows),
      store.read('soft_margin', rows),
      outcome='soft_margin',
      num_val=num_models // 5,
  )
  path = os.path.join(workdir, 'datamodels_lasso_test.npz')
  datamodels.save(path, fitted)


class CommandsTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.TemporaryDirectory()
    cls.first, cls.second = (f'{cls.folder.name}/{name}' for name in 'ab')
    _pool(cls.first, _small(1.0))
    _pool(cls.second, _small(_NO_PATCH))

  @classmethod
  def tearDownClass(cls):
    cls.folder.cleanup()
    super().tearDownClass()

  def test_halves_of_elastic_nets_keep_their_penalties(self):
    job, limits = job_lib.Job(self.first), []
    masks, outcomes = job.masks(), job.outcomes('soft_margin')
    fitted = elastic_net.fit(
        masks, outcomes, lam=0.02, l1_ratio=0.5, outcome='soft_margin'
    )
    with mock.patch.object(embeddings, '_TOL', 1e-6):
      found = embeddings._halves(job, fitted, 'test', limits)
    self.assertEmpty(limits)
    assert found is not None
    half = elastic_net.fit(
        masks[::2], outcomes[::2], lam=0.02, l1_ratio=0.5, tol=1e-6
    )
    # Gaps of 1e-6 leave a thousandth of the largest weights, near 1.
    np.testing.assert_allclose(found[0], half.weights, atol=2e-3)
    shown = np.array([0, 3])
    frequency = similarity._frequency(job, fitted, shown, limits)
    self.assertTrue(np.isfinite(frequency[:, shown]).all())
    self.assertIn('elastic_net keeps', limits[-1])

  def test_embeddings(self):
    job = job_lib.Job(self.first, replicates=2)
    with flagsaver.flagsaver(
        embeddings_components=4, embeddings_verified=2, embeddings_removed=6
    ):
      self.assertEqual(embeddings.num_trainings(job), (2 * 2 + 5) * 2 + 20)
      findings = embeddings.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertLen(result['components'], 4)
    self.assertEqual(result['targets'], 'test')
    self.assertEqual(result['removals']['num_retrained'], 38)
    self.assertEqual(np.shape(result['removals']['removed']), (2, 2, 6))
    self.assertEqual(
        set(result['spectra']), {'datamodels', 'shuffled', 'features'}
    )
    for name, figure in findings.figures.items():
      self.assertIsNotNone(figure, name)
    text = ' '.join(findings.limits)
    for words in (
        '--targets=train',
        'no hidden layer',
        'elastic_net and lasso',
    ):
      self.assertIn(words, text)
    self.assertGreater(job.retrain_seconds['cpu'], 0)

  def test_embeddings_without_retraining(self):
    job = job_lib.Job(self.first)
    with flagsaver.flagsaver(embeddings_verified=0):
      self.assertEqual(embeddings.num_trainings(job), 0)
      findings = embeddings.run(job)
    self.assertIsNone(findings.result['removals'])
    self.assertIsNone(findings.figures['removals'])
    self.assertIn('Nothing was retrained', ' '.join(findings.limits))

  def test_too_much_removed(self):
    job = job_lib.Job(self.first)
    with flagsaver.flagsaver(embeddings_removed=101):
      with self.assertRaisesRegex(ValueError, 'num_removed from 1 to 100'):
        embeddings.run(job)

  def test_comparison(self):
    job = job_lib.Job(self.first, replicates=2)
    with flagsaver.flagsaver(
        comparison_other=self.second, comparison_components=3
    ):
      self.assertEqual(comparison.num_trainings(job), 4 * ((2 + 5) * 2 + 20))
      findings = comparison.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertEqual(result['other'], self.second)
    for way in ('a_minus_b', 'b_minus_a'):
      self.assertLen(result[way], 3)
      self.assertEqual(set(result['removals'][way]), {'a', 'b'})
    # Sixty models find no direction, but the patch itself shows.
    self.assertGreater(result['cue']['effect']['difference'][0], 0)
    self.assertIn('the cue is the first direction', findings.table)
    for name, figure in findings.figures.items():
      self.assertIsNotNone(figure, name)

  def test_comparison_errors(self):
    job = job_lib.Job(self.first)
    with self.assertRaisesRegex(ValueError, '--comparison_other=WORKDIR'):
      comparison.run(job)
    with flagsaver.flagsaver(comparison_other=self.first):
      with self.assertRaisesRegex(ValueError, 'same datamodels twice'):
        comparison.run(job)
    data = [
        datasets.load('digits', num_train=num, num_test=9) for num in (20, 30)
    ]
    with self.assertRaisesRegex(ValueError, 'same train examples'):
      comparison.check_datasets(*data)
    comparison.check_datasets(data[0], data[0])

  @flagsaver.flagsaver(comparison_verified=0)
  def test_another_dataset_has_no_cue(self):
    job = job_lib.Job(self.second)
    findings = comparison.compare(job, job_lib.Job(self.first))
    self.assertIsNone(findings.result['cue'])
    self.assertNotIn('projections', findings.figures)
    self.assertEqual(findings.result['removals'], {})

  def test_the_pools_of_the_study_differ_in_the_patch_alone(self):
    first, second = (
        datasets.load('planted', plant='patch', patch_share=share, plant_seed=3)
        for share in (0.3, _NO_PATCH)
    )
    self.assertEmpty(second.planted.poisoned)
    np.testing.assert_array_equal(first.test.inputs, second.test.inputs)
    differ = np.any(first.train.inputs != second.train.inputs, axis=1)
    np.testing.assert_array_equal(
        np.flatnonzero(differ), first.planted.poisoned
    )
    np.testing.assert_array_equal(first.train.labels, second.train.labels)


@pytest.mark.slow
class StudyTest(absltest.TestCase):

  def test_goes_on_from_what_is_there(self):
    with tempfile.TemporaryDirectory() as folder:
      # Pools of the study's own recipes: others would be refused.
      for name, share in (('a', 0.3), ('b', _NO_PATCH)):
        _pool(
            os.path.join(folder, 'digits_linear_seed1', name),
            recipe.Recipe(
                dataset='planted',
                dataset_options={
                    'base': 'digits',
                    'plant': 'patch',
                    'patch_share': share,
                    'plant_seed': 1,
                },
                outcomes=('soft_margin',),
            ),
            num_models=400,
        )
      done = forked.run(
          'comparison_study',
          *(f'--workdir={folder}', '--settings=digits_linear'),
          *('--seeds=1', '--num_models=400', '--replicates=2'),
      )
      self.assertEqual(done.returncode, 0, done.stderr)
      path = os.path.join(folder, 'comparison_study')
      with open(f'{path}.json', encoding='utf-8') as file:
        row = json.load(file)['rows'][0]
      self.assertEqual((row['seed'], row['role']), (1, 'report'))
      self.assertGreater(row['train_auc'], 0.8)  # Chance is .5.
      self.assertLess(row['removal_a'], row['removal_b'])
      with open(f'{path}.md', encoding='utf-8') as file:
        self.assertIn('digits_linear', file.read())
      self.assertTrue(os.path.exists(f'{path}.csv'))


if __name__ == '__main__':
  absltest.main()
