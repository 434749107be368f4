"""The command that compares outcomes, numbers of models and alphas."""

import json
import os
import tempfile
from unittest import mock

from absl.testing import absltest
from absl.testing import flagsaver
from absl.testing import parameterized

from experiments.applications import job as job_lib
from experiments.applications import pool_design
from jdm import collection
from jdm import recipe
from jdm.training import sgd

_QUICK = {
    # A LASSO takes ten seconds to compile.
    'pool_design_regressors': ['difference_of_means', 'ridge'],
    'pool_design_outcomes': ['soft_margin', 'margin', 'log_loss'],
    'pool_design_pairs': 10,
}


def _collect(workdir, replicates=2, **changes):
  """A tiny pool and its held-out models."""
  pool = recipe.build(
      recipe.Recipe(
          dataset_options={'num_train': 100, 'num_test': 30},
          training=sgd.Config(batch_size=5, epochs=2),
          outcomes=('soft_margin', 'margin'),
          **changes,
      )
  )
  collection.collect(pool, os.path.join(workdir, 'store'), num_models=60)
  for replicate in range(replicates):
    parts = ('heldout', f'replicate_{replicate}')[: 1 + bool(replicate)]
    collection.collect(
        recipe.heldout(pool, replicate),
        os.path.join(workdir, *parts),
        num_models=20,
    )


class PoolDesignTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.TemporaryDirectory()
    cls.workdir = os.path.join(cls.folder.name, 'half')
    cls.other = os.path.join(cls.folder.name, 'fifth')
    _collect(cls.workdir)
    _collect(cls.other, sampler_options={'alpha': 0.2})

  @classmethod
  def tearDownClass(cls):
    cls.folder.cleanup()
    super().tearDownClass()

  def _run(self, workdir=None, **flags):
    with flagsaver.flagsaver(**(_QUICK | flags)):
      job = job_lib.Job(workdir or self.workdir, num_targets=7)
      return pool_design.num_trainings(job), pool_design.run(job)

  def test_all_of_it(self):
    expected, findings = self._run(pool_design_workdirs=[self.other])
    self.assertEqual(expected, 20)
    result = json.loads(json.dumps(findings.result))
    self.assertEqual(result['num_retrained'], expected)
    self.assertEqual(
        [row['outcome'] for row in result['outcomes']],
        ['soft_margin', 'margin'],
    )
    self.assertLen(result['target_ids'], 7)
    self.assertEqual([row['alpha'] for row in result['pools']], [0.2, 0.5])
    self.assertEqual(result['pools'][0]['workdir'], self.other)
    self.assertLen(findings.figures, 5)
    self.assertIn('alpha 0.2', findings.table)
    self.assertRegex(' '.join(findings.limits), 'log_loss')
    self.assertIn('LDS of', findings.lead)

  def test_nothing_retrained(self):
    expected, findings = self._run(pool_design_pairs=0)
    self.assertEqual(expected, 0)
    self.assertIsNone(findings.result['stability'])
    self.assertLen(findings.figures, 3)

  def test_other_samplers_do_not_tell_how_linear(self):
    with mock.patch.object(pool_design, '_sampler', lambda _: 'uniform_size'):
      expected, findings = self._run()
    self.assertEqual(expected, 0)
    self.assertIsNone(findings.result['stability'])
    self.assertRegex(' '.join(findings.limits), "sampler 'uniform_size'")

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, 'numbers, got'):
      self._run(pool_design_rhos=['half'])
    with self.assertRaisesRegex(ValueError, 'between 0 and 1'):
      self._run(pool_design_rhos=['1.5'])
    with self.assertRaisesRegex(ValueError, '--pool_design_outcomes'):
      self._run(pool_design_outcomes=['log_loss'])
    with self.assertRaisesRegex(ValueError, 'unknown regressor'):
      self._run(pool_design_regressors=['forest'])
    alone = os.path.join(self.folder.name, 'alone')
    _collect(alone, replicates=0)
    with self.assertRaisesRegex(ValueError, 'experiments.evaluate_datamodels'):
      self._run(alone)


if __name__ == '__main__':
  absltest.main()
