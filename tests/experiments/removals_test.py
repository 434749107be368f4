"""The commands that remove, add and relabel, on a tiny pool."""

import json
import os
import tempfile

from absl.testing import absltest
from absl.testing import flagsaver
from absl.testing import parameterized

from experiments.applications import brittleness
from experiments.applications import counterfactuals
from experiments.applications import group_removal
from experiments.applications import job as job_lib
from jdm import collection
from jdm import datamodels
from jdm import recipe
from jdm.regressors import ridge
from jdm.training import sgd

_NUM_TRAIN, _NUM_TEST, _NUM_MODELS = 150, 20, 40


class CommandsTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.TemporaryDirectory()
    cls.workdir = cls.folder.name
    pool = recipe.build(
        recipe.Recipe(
            dataset_options={'num_train': _NUM_TRAIN, 'num_test': _NUM_TEST},
            training=sgd.Config(batch_size=10, epochs=2),
            outcomes=('margin',),
        )
    )
    path = os.path.join(cls.workdir, 'store')
    store = collection.collect(pool, path, num_models=_NUM_MODELS)
    rows = store.completed()
    fitted = ridge.fit(  # A LASSO takes ten seconds to compile.
        store.read('masks', rows),
        store.read('margin', rows),
        outcome='margin',
        num_val=10,
        alpha=0.5,
    )
    name = os.path.join(cls.workdir, 'datamodels_lasso_test.npz')
    datamodels.save(name, fitted)

  @classmethod
  def tearDownClass(cls):
    cls.folder.cleanup()
    super().tearDownClass()

  def _job(self, **options):
    return job_lib.Job(self.workdir, **options)

  def _check_figures(self, findings):
    for figure in findings.figures.values():
      self.assertIsNotNone(figure)

  @flagsaver.flagsaver(counterfactuals_model='linear')
  def test_counterfactuals(self):
    job = self._job(num_targets=3, replicates=2, sizes=[2, 17])
    most = counterfactuals.num_trainings(job)
    findings = counterfactuals.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertEqual(result['sizes'], [2, 17])
    parts = result['parts']
    self.assertEqual(
        set(parts),
        {'baselines', 'stress', 'subset', 'add', 'relabel', 'transfer'},
    )
    self.assertEqual(parts['stress']['sizes'], [30])
    self.assertEqual(parts['subset']['sizes'], [1, 8])
    self.assertIn('nearest_representation', parts['baselines']['kinds'])
    self.assertEqual(parts['add']['action'], 'add')
    # Few classes have 17 examples.
    self.assertGreaterEqual(parts['baselines']['num_skipped'], 1)
    self.assertRegex(' '.join(findings.limits), 'baselines: .* left out')
    trained = [result, *parts.values()]
    # Each part counts its control, which is trained once.
    self.assertLessEqual(
        sum(one['num_retrained'] for one in trained) - 160, most
    )
    self.assertIn('transfer: helpful', findings.table)
    self._check_figures(findings)

  @flagsaver.flagsaver(counterfactuals_parts=['remove', 'guess'])
  def test_unknown_part(self):
    with self.assertRaisesRegex(ValueError, r"knows .*'relabel'.*\['guess'\]"):
      counterfactuals.num_trainings(self._job())

  @flagsaver.flagsaver(brittleness_certifications=3)
  def test_brittleness(self):
    job = self._job(num_targets=8, replicates=2, sizes=[1, 4, 16])
    most = brittleness.num_trainings(job)
    findings = brittleness.run(job)
    result = json.loads(json.dumps(findings.result))
    self.assertEqual(result['grid'], [1, 4, 16])
    self.assertEqual(
        set(result['estimates']),
        {
            'predicted',
            'predicted_inflated',
            'interpolated',
            'interpolated_inflated',
            'assured',
            'mislabel',
            'mislabel_inflated',
        },
    )
    self.assertLen(result['target_ids'], 8 - result['num_wrong'])
    self.assertEqual(result['certify_replicates'], 3)
    self.assertLessEqual(findings.table['models retrained'], most)
    self._check_figures(findings)

  @flagsaver.flagsaver(brittleness_certifications=0)
  def test_brittleness_without_certificates(self):
    with self.assertRaisesRegex(ValueError, 'must be positive'):
      brittleness.num_trainings(self._job())

  def test_group_removal(self):
    path = os.path.join(self.workdir, 'groups.json')
    with open(path, 'w', encoding='utf-8') as file:
      json.dump({'mine': [3, 5, 8]}, file)
    job = self._job(replicates=2)
    with flagsaver.flagsaver(group_removal_file=path, group_removal_clusters=2):
      most = group_removal.num_trainings(job)
      findings = group_removal.run(job)
    self.assertEqual(findings.table['models retrained'], most)
    result = json.loads(json.dumps(findings.result))
    self.assertEqual(result['own']['sizes'], [3])
    self.assertLen(result['classes']['names'], 10)
    self.assertEqual(sum(result['classes']['sizes']), _NUM_TRAIN)
    self.assertEqual(sum(result['clusters']['sizes']), _NUM_TRAIN)
    self.assertEqual(result['clusters']['sizes'], result['random']['sizes'])
    self._check_figures(findings)

  @parameterized.parameters(
      ('[]', 'expects {"name"'),
      ('{', 'group_removal_file'),
      ('{"mine": [150]}', r"group 'mine' in \[0, 150\)"),
  )
  def test_groups_of_a_bad_file(self, text, words):
    path = os.path.join(self.workdir, 'bad.json')
    with open(path, 'w', encoding='utf-8') as file:
      file.write(text)
    with flagsaver.flagsaver(group_removal_file=path):
      with self.assertRaisesRegex(ValueError, words):
        group_removal.run(self._job(replicates=2))


if __name__ == '__main__':
  absltest.main()
