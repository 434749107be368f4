"""The commands that ask a predictor, on a tiny ModelPred folder."""

import dataclasses
import json
import os
import tempfile

from absl.testing import absltest
from absl.testing import flagsaver
import numpy as np

from experiments import binary
from experiments import modelpred_workdir
from experiments.applications import calibration
from experiments.applications import job as job_lib
from experiments.applications import predicted_memorization
from experiments.applications import predicted_selection
from experiments.applications import predictors
from jdm import collection
from jdm import recipe
from jdm.modelpred import config
from jdm.modelpred import fitting
from jdm.modelpred import predictor
from jdm.training import exact


class CommandsTest(absltest.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.TemporaryDirectory()
    workdir = cls.folder.name
    pool = recipe.build(
        recipe.Recipe(
            dataset='breast_cancer',
            dataset_options={'num_train': 40, 'num_test': 60},
            model='linear',
            sampler='uniform_size',
            sampler_options={'min_size': 15},
            training=exact.Config(),
            outcomes=('parameters',),
        )
    )
    store = collection.collect(
        pool, os.path.join(workdir, 'store'), num_models=200
    )
    train, val = modelpred_workdir.split(modelpred_workdir.read_labels(store))
    small = config.Config(width=16, num_steps=200, check_every=100)
    for name, own in (
        ('default', small),
        ('free', dataclasses.replace(small, parameter=0.0, label_free=1.0)),
    ):
      path = modelpred_workdir.predictor_path(workdir, name)
      points = modelpred_workdir.points(pool)
      predictor.save(path, fitting.fit(points, train, val, own))
      binary.write_json(os.path.join(path, 'fit.json'), {'cpu_seconds': 2.0})

  @classmethod
  def tearDownClass(cls):
    cls.folder.cleanup()
    super().tearDownClass()

  def _job(self, **options):
    return job_lib.Job(self.folder.name, **options)

  def _checked(self, findings, num_pictures):
    json.loads(json.dumps(findings.result))
    drawn = [f for f in findings.figures.values() if f is not None]
    self.assertLen(drawn, num_pictures)
    return findings

  def test_ways_and_their_costs(self):
    job = self._job()
    pool = predictors.pool_of(job)
    ways = predictors.ways(job, pool, predictors.load(job))
    self.assertEqual(
        list(ways),
        [
            'exact',
            'default',
            'default, one Newton step',
            'free',
            'free, one Newton step',
        ],
    )
    self.assertEqual(ways['exact'].fixed_seconds, 0)
    self.assertEqual(ways['free'].fixed_seconds, 2)
    self.assertGreater(ways['default'].fixed_seconds, 2)  # And its labels.
    masks = np.ones((3, 40))
    truth = ways['exact'].predict(masks)
    near, step = (
        np.linalg.norm(ways[name].predict(masks) - truth)
        for name in ('default', 'default, one Newton step')
    )
    self.assertLess(step, near)
    with flagsaver.flagsaver(predictors=['default', 'none']):
      with self.assertRaisesRegex(ValueError, r"not \['none'\]"):
        predictors.load(job)

  @flagsaver.flagsaver(calibration_models=12, predictors=['default'])
  def test_calibration(self):
    job = self._job()
    self.assertEqual(calibration.num_trainings(job), 13)
    findings = self._checked(calibration.run(job), 2)
    self.assertEqual(
        list(findings.result['scores']),
        [
            'one model',
            'exact',
            'default',
            'default, one Newton step',
            'Laplace',
            'one model, temperature',
            'exact, temperature',
        ],
    )
    differences = findings.result['difference']
    self.assertLess(
        differences['default, one Newton step'], differences['one model']
    )
    with flagsaver.flagsaver(calibration_models=1):
      with self.assertRaisesRegex(ValueError, '2 or more, got 1'):
        calibration.run(job)

  @flagsaver.flagsaver(
      predicted_memorization_sets=['60', '20'],
      predicted_memorization_reference=100,
      predictors=['default'],
  )
  def test_memorization(self):
    job = self._job()
    self.assertEqual(predicted_memorization.num_trainings(job), 160)
    # Its points are no images.
    findings = self._checked(predicted_memorization.run(job), 2)
    self.assertEqual(findings.result['num_sets'][0], [20, 60])
    self.assertGreater(findings.result['way_cpu_seconds'][1][0], 2)
    with flagsaver.flagsaver(predicted_memorization_sets=['0']):
      with self.assertRaisesRegex(ValueError, 'list of positive numbers'):
        predicted_memorization.run(job)

  @flagsaver.flagsaver(
      predicted_selection_rounds=5,
      predicted_selection_random=4,
      predictors=['free'],
  )
  def test_selection(self):
    job = self._job(sizes=[10, 20])
    findings = self._checked(predicted_selection.run(job), 1)
    self.assertEqual(
        list(findings.result['rules']),
        [
            'free: greedy',
            'free: gradient at each set',
            'free: gradient at everything',
            'influence at everything',
            'exact greedy',
            'random',
        ],
    )
    self.assertEqual(np.shape(findings.result['loss']), (6, 2))
    self.assertIn('exact greedy, CPU s', findings.table)


class ErrorsTest(absltest.TestCase):

  def test_without_a_predictor(self):
    with tempfile.TemporaryDirectory() as workdir:
      with self.assertRaisesRegex(ValueError, 'fit_modelpred first'):
        predictors.names(job_lib.Job(workdir))


if __name__ == '__main__':
  absltest.main()
