"""The command of data Shapley, on a tiny pool with planted mislabels."""

import json
import os
import tempfile
import types

from absl.testing import absltest
from absl.testing import flagsaver
import numpy as np

from experiments.applications import data_shapley
from experiments.applications import job as job_lib
from experiments.applications import predictors
from jdm import collection
from jdm import recipe
from jdm.modelpred import config as config_lib
from jdm.modelpred import fitting
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import predictor as predictor_lib
from jdm.training import exact
from jdm.training import sgd

_NUM_TRAIN, _NUM_MODELS = 40, 64


def _recipe(training):
  return recipe.Recipe(
      dataset='planted',
      dataset_options={
          'base': 'breast_cancer',
          'plant': 'mislabels',
          'count': 5,
          'num_train': _NUM_TRAIN,
          'num_test': 60,
      },
      sampler='uniform_size',
      sampler_options={'min_size': 10},
      training=training,
      outcomes=('parameters',)
      if isinstance(training, exact.Config)
      else ('margin',),
  )


class DataShapleyTest(absltest.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.TemporaryDirectory()
    cls.workdir = cls.folder.name
    pool = recipe.build(_recipe(exact.Config()))
    path = os.path.join(cls.workdir, 'store')
    store = collection.collect(pool, path, num_models=_NUM_MODELS)
    job = job_lib.Job(cls.workdir)
    rows = store.completed()
    labels = labels_lib.make(
        store.read('masks', rows), store.read('parameters', rows)
    )
    fitted = fitting.fit(
        predictors.pool_of(job),
        labels,
        labels,
        config_lib.Config(width=8, num_steps=20),
    )
    path = os.path.join(cls.workdir, 'predictor_default')
    predictor_lib.save(path, fitted)

  @classmethod
  def tearDownClass(cls):
    cls.folder.cleanup()
    super().tearDownClass()

  @flagsaver.flagsaver(num_orders=4)
  def test_retrain(self):
    job = job_lib.Job(self.workdir, sizes=[4, 30])
    expected = data_shapley.num_trainings(job)
    # 5 sampled estimators and leave-one-out; curves of 7 ways at two sizes.
    self.assertEqual(expected, 5 * 4 * 40 + 41 + 2 * (3 * 7 + 20))
    findings = data_shapley.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertLen(result['values'], 6)
    self.assertLen(result['values']['shapley']['values'], _NUM_TRAIN)
    self.assertEqual(result['utility'], 'retrain')
    self.assertEqual(set(result['rankings']), {'knn'})
    self.assertIn('AUC of mislabels by knn', findings.table)
    self.assertIn('remove by beta, lowest first, over random', findings.table)
    for figure in findings.figures.values():
      self.assertIsNotNone(figure)

  @flagsaver.flagsaver(
      num_orders=4,
      shapley_utility='predictor',
      shapley_refines=1,
      shapley_measure='accuracy',
      shapley_estimators=['antithetic'],
  )
  def test_predictor(self):
    job = job_lib.Job(self.workdir, sizes=[10])
    self.assertEqual(data_shapley.num_trainings(job), 3 + 20)
    findings = data_shapley.run(job)
    self.assertIn('predictor_default, 1', findings.result['utility'])
    values = np.array(findings.result['values']['antithetic']['values'])
    self.assertTrue(np.isfinite(values).all())

  @flagsaver.flagsaver(shapley_utility='predictor', shapley_predictor='none')
  def test_no_predictor(self):
    with self.assertRaisesRegex(ValueError, 'no predictor at'):
      data_shapley.run(job_lib.Job(self.workdir))

  def test_a_store_of_sgd(self):
    job = job_lib.Job(self.workdir)
    pool = recipe.build(_recipe(sgd.Config(batch_size=5)))
    job.__dict__['store'] = types.SimpleNamespace(recipe=pool.description)
    with self.assertRaisesRegex(ValueError, 'trained by SGD'):
      data_shapley.run(job)


if __name__ == '__main__':
  absltest.main()
