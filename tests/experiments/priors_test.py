"""Scores that an informed regression starts from, made by the binary."""

import json
import os
import pathlib
import tempfile

from absl.testing import absltest
import numpy as np

from experiments import priors
from jdm import datamodels as datamodels_lib
from jdm import store as store_lib
from tests.attributors import made as made_lib
from tests.experiments import forked

_POOL = (
    '--dataset=digits',
    '--num_train=80',
    '--num_test=9',
    '--epochs=3',
    '--batch_size=20',
    '--num_models=40',
    '--targets=test,train',
)


class PriorsTest(absltest.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls._folder = tempfile.TemporaryDirectory()
    cls.workdir = cls._folder.name
    done = forked.run('collect_outcomes', f'--workdir={cls.workdir}', *_POOL)
    assert done.returncode == 0, done.stderr

  @classmethod
  def tearDownClass(cls):
    cls._folder.cleanup()
    super().tearDownClass()

  def _fit(self, *flags):
    return forked.run(
        'fit_datamodels',
        f'--workdir={self.workdir}',
        '--regressor=informed',
        *flags,
    )

  def test_fits_around_influence_and_around_a_file(self):
    done = self._fit('--num_prior=10')
    self.assertEqual(done.returncode, 0, done.stderr)
    path = os.path.join(self.workdir, 'datamodels_informed_test.npz')
    fitted = datamodels_lib.load(path)
    self.assertEqual(fitted.regressor, 'informed')
    self.assertEqual(fitted.weights.shape, (80, 9))
    self.assertLen(fitted.fit_ids, 40)
    summary = json.loads(pathlib.Path(self.workdir, 'fit.json').read_text())
    self.assertEqual(summary['num_val'], 0)
    file = os.path.join(self.workdir, 'scores.npy')
    np.save(file, fitted.weights)
    other = os.path.join(self.workdir, 'around_a_file.npz')
    done = self._fit(f'--prior={file}', f'--datamodels={other}')
    self.assertEqual(done.returncode, 0, done.stderr)
    again = datamodels_lib.load(other)
    pairs = zip(fitted.weights.T, again.weights.T)
    agreement = [np.corrcoef(*pair)[0, 1] for pair in pairs]
    self.assertGreater(np.median(agreement), 0.8)

  def test_train_targets_leave_out_the_models_that_trained_on_them(self):
    for prior in ('influence', 'trak'):
      path = os.path.join(self.workdir, f'{prior}_train.npz')
      done = self._fit(
          '--targets=train',
          '--num_prior=20',
          f'--prior={prior}',
          f'--datamodels={path}',
      )
      self.assertEqual(done.returncode, 0, done.stderr)
      fitted = datamodels_lib.load(path)
      self.assertEqual(fitted.weights.shape, (80, 80))
      self.assertEqual(fitted.outcome, 'soft_margin_train')
      np.testing.assert_array_equal(
          datamodels_lib.own_ids(fitted), np.arange(80)
      )
      np.testing.assert_array_equal(np.diagonal(fitted.weights), 0)
      self.assertTrue((fitted.gap <= 1.1e-4).all())

  def test_folds_are_left_out_of_their_own_scores(self):
    store = store_lib.OutcomeStore.open(os.path.join(self.workdir, 'store'))
    rows = store.completed()
    options = {'prior': 'influence', 'outcome': 'soft_margin'}
    found = priors.make(store, rows, num_prior=10, **options)
    # Of linear models, but with more parameters than examples.
    self.assertLen(found, len(priors.DAMPINGS))
    # Of ten models in five folds, the mean of what leaves out each is the mean.
    for prior in found:
      np.testing.assert_allclose(
          prior.without_fold.mean(axis=0), prior.values, rtol=1e-3, atol=1e-5
      )

  def test_small_linear_models_have_an_exact_hessian_beside(self):
    for name, expected in (('linear', 9), ('mlp', 0)):
      made, gradients = priors.cross_fitted(
          'influence', made_lib.trained(name, 4), 2
      )
      exact = [one for one in made if 'logits' in one.name]
      self.assertLen(exact, expected)
      self.assertLen(made, len(priors.DAMPINGS) + expected)
      # Of 60 examples, 8 targets and a subset of 30: the classes of these, too.
      per_model = 60 + 8 + 30 + (60 + 8 + 3 * 30 if expected else 0)
      self.assertEqual(gradients, 4 * per_model)

  def test_bad_flags(self):
    for flags, said in (
        (['--prior=shap'], 'influence'),
        (['--prior=missing.npy'], 'finds no file'),
        (['--num_prior=3'], '--num_prior must be 5'),
        (['--num_val=5'], 'leave --num_val out'),
        (['--dry_run'], 'prices regressors without a prior'),
    ):
      done = self._fit(*flags)
      self.assertEqual(done.returncode, 2, done.stderr)
      self.assertIn(said, done.stderr)


if __name__ == '__main__':
  absltest.main()
