"""Runs the binaries as a user would, on a tiny pool."""

import json
import os
import pathlib
import tempfile

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib
from jdm import store as store_lib
from tests.experiments import forked

_SMALL = (
    '--dataset=digits',
    '--num_train=120',
    '--num_test=12',
    '--epochs=2',
    '--batch_size=20',
)


run = forked.run


class PipelineTest(parameterized.TestCase):
  """One pool, and every binary that reads it."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls._folder = tempfile.TemporaryDirectory(suffix=' with a space')
    cls.workdir = f'{cls._folder.name}/pool'
    cls.collected = run(
        'collect_outcomes',
        f'--workdir={cls.workdir}',
        '--num_models=100',
        '--chunk=32',
        '--targets=test,train',
        *_SMALL,
    )

  @classmethod
  def tearDownClass(cls):
    cls._folder.cleanup()
    super().tearDownClass()

  def _run(self, name, *flags):
    done = run(name, f'--workdir={self.workdir}', *flags)
    self.assertEqual(done.returncode, 0, done.stderr)
    return done

  def _read(self, name):
    return json.loads(pathlib.Path(self.workdir, name).read_text())

  def test_collect_prints_estimate_progress_and_table(self):
    self.assertEqual(self.collected.returncode, 0, self.collected.stderr)
    self.assertIn('100 models to train, about', self.collected.stdout)
    self.assertRegex(self.collected.stdout, r'completed +100')
    self.assertRegex(self.collected.stderr, r'training.*100/100.*model/s')

  def test_status_reads_the_store(self):
    done = self._run('status')
    self.assertIn('100 of 100', done.stdout)
    self.assertIn('passes its checksum', done.stdout)

  def test_fit_and_evaluate(self):
    self._run('fit_datamodels')
    fit = self._read('fit.json')
    self.assertEqual(
        (fit['regressor'], fit['num_fit'], fit['num_val'], fit['num_targets']),
        ('lasso', 100, 20, 12),
    )
    self.assertLessEqual(fit['max_gap'], 1e-4)
    self.assertLen(fit['fit_ids'], 100)
    self._run('evaluate_datamodels', '--num_heldout=16')
    result = self._read('evaluation.json')
    self.assertBetween(result['lds'], -1, 1)
    self.assertLen(result['lds_interval'], 2)
    self.assertGreater(result['noise_ceiling'], 0.5)
    self.assertEqual(result['num_heldout'], 16)
    self.assertIn('commit', result['made_by'])
    self.assertTrue(os.path.isdir(f'{self.workdir}/heldout/replicate_1'))

  def test_fit_prints_its_cost_first(self):
    before = set(os.listdir(self.workdir))
    done = self._run('fit_datamodels', '--dry_run', '--num_val=30')
    words = r'^lasso: 12 targets, 70 fit \+ 30 validation models, about \d+ s$'
    self.assertRegex(done.stdout.strip(), words)
    self.assertEqual(set(os.listdir(self.workdir)), before)
    done = self._run('fit_datamodels', '--regressor=ridge')
    words = r'^ridge: 12 targets, 80 fit \+ 20 validation models, about \d+ s\n'
    self.assertRegex(done.stdout, words)

  def test_fits_by_folds_and_from_an_earlier_fit(self):
    net = ('--regressor=elastic_net', '--tol=1e-3')
    self._run(
        'fit_datamodels',
        *net,
        '--num_models=80',
        '--num_folds=2',
        '--rule=one_se',
        '--l1_ratio=0.5,1',
    )
    fit = self._read('fit.json')
    self.assertEqual((fit['num_folds'], fit['rule']), (2, 'one_se'))
    self.assertEqual(sum(fit['l1_ratio'].values()), 12)
    self.assertLen(fit['fit_ids'], 80)
    path = f'{self.workdir}/datamodels_elastic_net_test.npz'
    early = datamodels_lib.load(path)
    later = f'{self.workdir}/later.npz'
    self._run(
        'fit_datamodels', *net, f'--start={path}', f'--datamodels={later}'
    )
    found = datamodels_lib.load(later)
    np.testing.assert_array_equal(found.lam, early.lam)
    np.testing.assert_array_equal(found.l1_ratio, early.l1_ratio)
    self.assertLen(found.fit_ids, 100)
    self.assertEqual(self._read('later.json')['start'], path)
    for flags in (('--regressor=ridge',), ('--regressor=informed',)):
      done = run(
          'fit_datamodels', f'--workdir={self.workdir}', '--num_folds=3', *flags
      )
      self.assertEqual(done.returncode, 2)
      self.assertIn('takes no --num_folds', done.stderr)

  def test_datamodels_of_another_outcome_are_not_overwritten(self):
    self._run('fit_datamodels', '--regressor=ridge')
    other = ('--regressor=ridge', '--outcome=margin')
    done = run('fit_datamodels', f'--workdir={self.workdir}', *other)
    self.assertEqual(done.returncode, 2)
    self.assertRegex(done.stderr, "'soft_margin'.*'margin' by --datamodels")
    path = f'{self.workdir}/hard.npz'
    self._run('fit_datamodels', *other, f'--datamodels={path}')
    self.assertEqual(datamodels_lib.load(path).outcome, 'margin')
    self.assertEqual(self._read('hard.json')['outcome'], 'margin')

  def test_datamodels_of_another_dataset_are_refused(self):
    self._run('fit_datamodels', '--regressor=ridge')
    other = f'{self._folder.name}/other'
    done = run(
        'collect_outcomes',
        f'--workdir={other}',
        '--num_models=8',
        '--chunk=8',
        '--dataset=wine',
        *_SMALL[1:],
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    done = run(
        'evaluate_datamodels',
        f'--workdir={other}',
        f'--datamodels={self.workdir}/datamodels_ridge_test.npz',
    )
    self.assertEqual(done.returncode, 2)
    self.assertRegex(done.stderr, "error: .*'digits'.*'wine'")
    self.assertFalse(os.path.exists(f'{other}/heldout'))

  def test_train_targets(self):
    self._run('fit_datamodels', '--targets=train', '--tol=1e-3')
    self.assertEqual(self._read('fit.json')['num_targets'], 120)
    self._run('evaluate_datamodels', '--targets=train', '--num_heldout=40')
    result = self._read('evaluation_train.json')
    self.assertEqual((result['targets'], result['num_targets']), ('train', 120))
    # The definition: each target on the models that did not train on it.
    fitted = datamodels_lib.load(f'{self.workdir}/datamodels_lasso_train.npz')
    store = store_lib.OutcomeStore.open(f'{self.workdir}/heldout')
    rows = np.arange(40)
    masks = store.read('masks', rows)
    outcomes = store.read('soft_margin_train', rows)
    predicted = masks @ fitted.weights + fitted.bias[None]
    ranks = np.zeros(120)
    for t in np.flatnonzero(fitted.nnz):  # Of no weights, no ranks: 0.
      kept = ~masks[:, t]
      pair = predicted[kept, t], outcomes[kept, t]
      ranks[t] = stats.spearmanr(*pair).statistic
    self.assertAlmostEqual(result['lds'], ranks.mean(), places=4)
    path = f'{self.workdir}/datamodels_lasso_train.npz'
    done = run(
        'evaluate_datamodels',
        f'--workdir={self.workdir}',
        f'--datamodels={path}',
    )
    self.assertEqual(done.returncode, 2)
    self.assertIn('did not train on the target', done.stderr)

  def test_damage_of_heldout_models_is_named_and_repaired(self):
    self._run('fit_datamodels')
    self._run('evaluate_datamodels', '--num_heldout=16')
    before = self._read('evaluation.json')['lds']
    chunk = pathlib.Path(self.workdir, 'heldout/soft_margin/c/0/0')
    whole = chunk.read_bytes()
    chunk.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    done = run('status', f'--workdir={self.workdir}')
    self.assertEqual(done.returncode, 1)
    self.assertRegex(done.stdout, "heldout: array 'soft_margin'")
    repair = ('--num_models=100', '--targets=test,train', *_SMALL)
    done = self._run('collect_outcomes', '--repair', *repair)
    self.assertIn('16 models will be trained again', done.stdout)
    self._run('evaluate_datamodels', '--num_heldout=16')
    self.assertEqual(self._read('evaluation.json')['lds'], before)

  @parameterized.parameters('ridge', 'least_squares', 'difference_of_means')
  def test_other_regressors(self, regressor):
    self._run('fit_datamodels', f'--regressor={regressor}')
    path = f'{self.workdir}/datamodels_{regressor}_test.npz'
    self.assertTrue(os.path.exists(path))

  def test_counterfactuals(self):
    self._run('fit_datamodels')
    done = self._run(
        'run_application',
        '--application=counterfactuals',
        '--num_targets=2',
        '--sizes=4,16',
        '--replicates=2',
    )
    self.assertIn('Spearman', done.stdout)
    result = self._read('counterfactuals.json')
    self.assertLen(result['target_ids'], 2)
    self.assertIn('helpful', result['agreement'])
    self.assertTrue(
        os.path.exists(f'{self.workdir}/counterfactuals_curves.png')
    )

  def test_another_recipe_is_refused(self):
    done = run(
        'collect_outcomes', f'--workdir={self.workdir}', '--seed=1', *_SMALL
    )
    self.assertEqual(done.returncode, 2)
    self.assertIn('seed: 0 there, 1 here', done.stderr)
    self.assertNotIn('Traceback', done.stderr)

  def test_damage_is_named_and_repaired(self):
    workdir = f'{self._folder.name}/damaged'
    flags = (f'--workdir={workdir}', '--num_models=64', '--chunk=32', *_SMALL)
    self.assertEqual(run('collect_outcomes', *flags).returncode, 0)
    chunk = pathlib.Path(workdir, 'store/soft_margin/c/1/0')
    whole = chunk.read_bytes()
    chunk.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    done = run('status', f'--workdir={workdir}')
    self.assertEqual(done.returncode, 1)
    self.assertRegex(done.stdout, "checksum.*'soft_margin', rows 32 to 63")
    fit = run('fit_datamodels', f'--workdir={workdir}')
    self.assertEqual(fit.returncode, 2)
    self.assertIn('--repair', fit.stderr)
    self.assertEqual(run('collect_outcomes', '--repair', *flags).returncode, 0)
    self.assertEqual(chunk.read_bytes(), whole)
    self.assertEqual(run('status', f'--workdir={workdir}').returncode, 0)


class QuickstartTest(absltest.TestCase):

  def test_whole_tour(self):
    workdir = self.create_tempdir().full_path
    flags = (
        f'--workdir={workdir}',
        '--num_models=80',
        '--num_heldout=12',
        '--num_targets=4',
        '--num_shown=3',
        '--replicates=2',
        *_SMALL,
    )
    done = run('quickstart', *flags)
    self.assertEqual(done.returncode, 0, done.stderr)
    results = json.loads(pathlib.Path(workdir, 'results.json').read_text())
    expected = {
        'lds',
        'lds_interval',
        'noise_ceiling',
        'num_fit',
        'num_val',
        'num_heldout',
        'counterfactual_spearman',
        'seconds',
    }  # pyformat: disable
    self.assertContainsSubset(expected, set(results))
    report = pathlib.Path(workdir, 'report.html').read_text()
    self.assertIn('data:image/png;base64,', report)
    self.assertNotIn('src="http', report)
    # Again: everything trained is found, nothing is trained twice.
    again = run('quickstart', *flags)
    self.assertIn('is complete', again.stdout)
    self.assertNotIn('models to train', again.stdout)

  def test_dry_run_prints_the_cost_only(self):
    workdir = self.create_tempdir().full_path
    done = run('quickstart', f'--workdir={workdir}', '--dry_run', *_SMALL)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertIn('models to train, about', done.stdout)
    self.assertEmpty(os.listdir(workdir))


class BadInputTest(parameterized.TestCase):
  """One clear line and exit code 2."""

  @parameterized.parameters(
      ('collect_outcomes', '--alpha=1.5', 'alpha is the fraction'),
      ('collect_outcomes', '--alpha=0.01', 'cannot hold a batch'),
      ('collect_outcomes', '--dataset=cats', 'known: .*digits'),
      ('collect_outcomes', '--model=cats', 'known models: .*mlp'),
      ('collect_outcomes', '--sampler=cats', 'known samplers: .*bernoulli'),
      ('collect_outcomes', '--outcomes=cats', 'soft_margin'),
      ('collect_outcomes', '--optimizer=cats', 'optax has no'),
      ('collect_outcomes', '--augmentations=cats', 'known augmentations'),
      ('collect_outcomes', '--targets=cats', 'targets are'),
      ('collect_outcomes', '--alphaa=1', 'Did you mean: alpha'),
      ('collect_outcomes', '--dataset=arrays', 'data_path'),
      ('collect_outcomes', 'alpha', 'flags look like'),
      ('fit_datamodels', '--regressor=lasso', 'no store at'),
      ('run_application', '--num_targets=3', '--application is required'),
      ('evaluate_datamodels', '--num_heldout=9', 'run experiments.fit_data'),
      ('collect_outcomes', '--optimizer=chain', 'optax has no'),
      ('collect_outcomes', '--cpu_devices=-1', 'cpu_devices=-1'),
      ('quickstart', '--outcomes=logits', 'such as --outcomes=soft_margin'),
      ('quickstart', '--targets=train', 'about test targets'),
      ('quickstart', '--num_heldout=2', '--num_heldout must be 3 or more'),
      ('quickstart', '--num_models=3', '--num_models must be 4 or more'),
      ('quickstart', '--num_val=1999', 'from 1 to 1998, got 1999'),
  )
  def test_message(self, name, flag, words):
    workdir = self.create_tempdir().full_path
    done = run(name, f'--workdir={workdir}', flag)
    self.assertEqual(done.returncode, 2, done.stderr)
    lines = [s for s in done.stderr.splitlines() if s.startswith('error: ')]
    self.assertLen(lines, 1)
    self.assertRegex(lines[0], words)
    self.assertNotIn('Traceback', done.stderr)
    self.assertEmpty(os.listdir(workdir))

  def test_workdir_is_required(self):
    done = run('collect_outcomes')
    self.assertEqual(done.returncode, 2)
    self.assertIn('--workdir is required', done.stderr)

  def test_workdir_that_cannot_be_written(self):
    file = self.create_tempfile('file').full_path
    done = run('collect_outcomes', f'--workdir={file}/below', *_SMALL)
    self.assertEqual(done.returncode, 2)
    self.assertIn('Choose a workdir that can be written', done.stderr)


if __name__ == '__main__':
  absltest.main()
