"""The study of Shapley estimators, on a few points."""

import dataclasses
import json
import os
import tempfile
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import pytest

from experiments import shapley_cases as study
from jdm import datasets

_SMALL = study.Setting(
    dataset={'name': 'breast_cancer'},
    num_train=30,
    num_wrong=3,
    reference_orders=8,
    num_orders=4,
    num_guessed_orders=4,
    num_labels=80,
    num_steps=20,
)
_QUICK = ('exact_antithetic', 'exact_beta', 'leave_one_out', 'knn')


def _run(workdir, estimators):
  chosen = {name: study.ESTIMATORS[name] for name in estimators}
  with mock.patch.object(study, 'ESTIMATORS', chosen):
    with mock.patch.object(study, 'SETTINGS', {'small': _SMALL}):
      study.run(workdir, ['small'], num_seeds=2)
  with open(os.path.join(workdir, 'small.json'), encoding='utf-8') as file:
    return json.load(file)


class ShapleyStudyTest(parameterized.TestCase):

  def test_runs_and_resumes(self):
    with tempfile.TemporaryDirectory() as workdir:
      first = _run(workdir, _QUICK)
      again = _run(workdir, _QUICK)
      self.assertTrue(os.path.exists(os.path.join(workdir, 'small.png')))
    self.assertEqual(first['rows'], again['rows'])
    self.assertEqual([row['estimator'] for row in first['reached']], [*_QUICK])
    budgets = [
        row['budget']
        for row in first['rows']
        if row['estimator'] == 'exact_antithetic'
    ]
    self.assertEqual(budgets, [2, 4])
    for row in first['rows']:
      self.assertBetween(row['spearman'], -1, 1)
      self.assertGreater(row['seconds'], 0)
      is_beta = row['estimator'] == 'exact_beta'
      self.assertEqual(row['own'] is not None, is_beta)
    self.assertBetween(first['ceiling'], 0, 1)

  @pytest.mark.slow
  def test_every_estimator(self):
    with tempfile.TemporaryDirectory() as workdir:
      found = _run(workdir, study.ESTIMATORS)
    rows = {row['estimator']: row['best'] for row in found['reached']}
    for name in ('default', 'ridge'):
      self.assertGreater(rows[name]['labels'], 0)
      self.assertGreater(rows[name]['fit'], 0)
    self.assertEqual(rows['label_free']['labels'], 0)

  def test_points(self):
    made = study.Study(dataclasses.replace(_SMALL, num_components=5))
    self.assertEqual(made.pool.inputs.shape, (30, 5))
    np.testing.assert_allclose(made.pool.inputs.std(axis=0), 1)
    clean = study.Study(dataclasses.replace(_SMALL, num_wrong=0))
    differ = np.flatnonzero(made.pool.labels != clean.pool.labels)
    self.assertCountEqual(differ, made.wrong)

  def test_points_of_some_classes(self):
    setting = dataclasses.replace(
        _SMALL, dataset={'name': 'digits'}, classes=(8, 3), num_wrong=0
    )
    made = study.Study(setting)
    split = datasets.load('digits').train
    kept = np.isin(split.labels, (3, 8))
    np.testing.assert_array_equal(
        made.pool.labels, (np.asarray(split.labels)[kept] == 8)[:30]
    )
    self.assertEqual(made.pool.objective.task, 'binary')
    self.assertLessEqual(set(made.val[1]), {0, 1})

  def test_shrunk(self):
    for setting in study.SETTINGS.values():
      small = study.shrunk(setting, 1000)
      self.assertEqual(small.num_orders, 4)
      self.assertEqual(small.reference_orders % 2, 0)

  def test_unknown_setting(self):
    with self.assertRaisesRegex(ValueError, "got .'x'."):
      study.run('', ['x'])


if __name__ == '__main__':
  absltest.main()
