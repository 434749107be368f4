"""The binaries of ModelPred, as a user runs them, on a tiny pool."""

import dataclasses
import json
import os
import tempfile

from absl.testing import absltest
import numpy as np

from experiments import modelpred_workdir
from jdm import recipe as recipe_lib
from jdm.training import exact
from tests.experiments import forked

run = forked.run


class SetsTest(absltest.TestCase):

  def test_heldout_prefixes_are_each_of_a_permutation_of_its_own(self):
    recipe = recipe_lib.Recipe(
        dataset='iris',
        dataset_options={'first_classes': 2},
        model='linear',
        sampler='permutation_prefixes',
        sampler_options={'step': 1},
        training=exact.Config(),
        outcomes=('parameters',),
        targets=('test',),
    )
    pool = recipe_lib.build(recipe)
    heldout = modelpred_workdir.heldout(pool)
    self.assertEqual(heldout.first_id, 2**30)
    drawn = np.asarray(heldout.masks(np.arange(200)))
    sizes = drawn.sum(axis=1)
    self.assertEqual(sizes.min(), 1)
    self.assertBetween(sizes.mean(), 34, 47)  # 40.5, 4 standard errors.
    # Of one permutation, the smaller would lie in the larger.
    is_inside = (drawn[1:] <= drawn[:-1]).all(axis=1)
    self.assertLess(is_inside.mean(), 0.1)
    random = dataclasses.replace(recipe, sampler='bernoulli')
    random = dataclasses.replace(random, sampler_options={'alpha': 0.5})
    same = modelpred_workdir.heldout(recipe_lib.build(random))
    self.assertEqual(same.description['sampler'], 'bernoulli')


class ModelpredTest(absltest.TestCase):

  def test_fit_and_evaluate(self):
    with tempfile.TemporaryDirectory() as workdir:
      small = (
          f'--workdir={workdir}',
          '--dataset=breast_cancer',
          '--num_train=60',
          '--num_models=300',
          '--min_size=20',
      )
      none = run('evaluate_modelpred', f'--workdir={workdir}')
      self.assertEqual(none.returncode, 2)
      done = run('fit_modelpred', *small, '--steps=300')
      self.assertEqual(done.returncode, 0, done.stderr)
      self.assertRegex(done.stdout, r'num_labels +300')
      done = run('fit_modelpred', *small, '--steps=20', '--preset=paper')
      self.assertEqual(done.returncode, 0, done.stderr)
      again = run('fit_modelpred', *small, '--steps=20')
      self.assertEqual(again.returncode, 2)
      self.assertIn('is there already', again.stderr)
      done = run(
          'evaluate_modelpred', f'--workdir={workdir}', '--num_heldout=60'
      )
      self.assertEqual(done.returncode, 0, done.stderr)
      with open(os.path.join(workdir, 'modelpred.json')) as file:
        result = json.load(file)
      rows = {row['predictor']: row for row in result['rows']}
      self.assertLen(rows['default']['curves']['deletion']['distance'], 8)
      self.assertLen(rows['default']['curves']['addition']['num_points'], 8)
      self.assertNotIn('addition', rows['ridge_mask']['curves'])
      for name in ('default', 'default_refined', 'paper', 'influence'):
        for key in (
            'parameter_r2',
            'test_loss_nrmse',
            'spearman',
            'accuracy_gap',
            'fit_cpu_seconds',
            'query_cpu_seconds',
        ):
          self.assertTrue(np.isfinite(rows[name][key]), (name, key))
      self.assertGreater(rows['default_refined']['parameter_r2'], 0.9)
      self.assertGreater(rows['exact']['parameter_r2'], 1 - 1e-9)
      for name in ('default', 'paper_refined'):
        self.assertEqual(rows[name]['certificates_hold'], 1.0)
      self.assertIsNone(rows['exact']['break_even'])
      for kind in ('addition', 'growth'):
        self.assertGreater(rows['exact'][f'{kind}_r2'], 1 - 1e-9)
        self.assertGreater(rows['default_refined'][f'{kind}_r2'], 0.5)
        self.assertIsNone(rows['ridge_mask'][f'{kind}_r2'])
        self.assertTrue(np.isfinite(rows['influence'][f'{kind}_nrmse']))
      self.assertEqual(rows['default']['growth_is_outside'], 1.0)
      self.assertEqual(rows['default']['held_out_is_outside'], 0.0)
      self.assertEqual(result['num_new_points'], 57)
      self.assertTrue(os.path.exists(os.path.join(workdir, 'modelpred.png')))

  def test_perceptrons(self):
    with tempfile.TemporaryDirectory() as workdir:
      done = run(
          'fit_modelpred',
          f'--workdir={workdir}',
          '--dataset=breast_cancer',
          '--num_train=40',
          '--num_models=150',
          '--min_size=10',
          '--model=mlp',
          '--training=full_batch',
          '--hidden=3',
          '--training_steps=30',
          '--preset=function',
          '--steps=100',
      )
      self.assertEqual(done.returncode, 0, done.stderr)
      self.assertRegex(done.stdout, r'num_parameters +97')
      done = run(
          'evaluate_modelpred',
          f'--workdir={workdir}',
          '--num_heldout=20',
          '--num_refines=10',
      )
      self.assertEqual(done.returncode, 0, done.stderr)
      with open(os.path.join(workdir, 'modelpred.json')) as file:
        result = json.load(file)
      self.assertEqual(result['objective']['hidden'], [3])
      self.assertEqual(result['num_refines'], 10)
      rows = {row['predictor']: row for row in result['rows']}
      self.assertGreater(rows['exact']['parameter_r2'], 1 - 1e-9)
      self.assertNotIn('influence', rows)
      for start in ('init', 'full', 'ridge'):
        self.assertIn(f'warm_10_from_{start}', rows)
      for name in ('function', 'function_refined'):
        self.assertTrue(np.isfinite(rows[name]['score_r2']))
        self.assertNotIn('certificates_hold', rows[name])
      warm = rows['warm_10_from_ridge']
      self.assertGreater(warm['label_cpu_seconds'], 0)


if __name__ == '__main__':
  absltest.main()
