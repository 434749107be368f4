"""Datamodels of a working directory: what is noted, and what is refused."""

import dataclasses
import os

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from experiments import workdir as workdir_lib
from jdm import datamodels as datamodels_lib
from jdm import store as store_lib
from tests import planted

_RECIPE = {
    'dataset': 'digits',
    'fingerprint': 'a' * 64,
    'model': 'linear',
    'seed': 0,
    'first_id': 40,
    'outcomes': ['logits', 'margin'],
    'sampler_options': {'alpha': 0.5},
}


def _make_store(workdir, num_train=12, **changes):
  """A store of planted outcomes, complete."""
  problem = planted.sparse_linear(0, num_train, 80, num_train)
  store = store_lib.OutcomeStore.create(
      os.path.join(workdir, 'store'),
      recipe={**_RECIPE, **changes},
      num_models=80,
      num_train=num_train,
      outcomes={
          'margin': ((3,), 'float32'),
          'margin_train': ((num_train,), 'float32'),
      },
  )
  outcomes = {
      'margin': problem.outcomes[:, :3],
      'margin_train': problem.outcomes,
  }
  store.write(np.arange(80), problem.masks, outcomes)
  return store


class WorkdirTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.workdir = self.create_tempdir().full_path
    self.store = _make_store(self.workdir)

  def _fit(self, **options):
    rows = self.store.completed()
    return workdir_lib.fit(self.store, rows, outcome='margin', **options)

  def _save(self, fitted, name='datamodels_lasso_test.npz'):
    path = os.path.join(self.workdir, name)
    datamodels_lib.save(path, fitted)
    return path

  def test_a_fit_notes_its_pool(self):
    self.assertEqual(workdir_lib.first_outcome(self.store), 'margin')
    self._save(self._fit(regressor='ridge'))
    fitted = workdir_lib.load_datamodels(self.workdir, None)
    self.assertEqual(
        dict(fitted.meta),
        {key: _RECIPE[key] for key in ('fingerprint', 'dataset')}
        | {'model': 'linear', 'seed': 0},
    )
    np.testing.assert_array_equal(fitted.fit_ids, 40 + np.arange(80))
    self.assertEqual((fitted.outcome, fitted.alpha), ('margin', 0.5))

  def test_train_targets_know_their_columns(self):
    fitted = self._fit(targets='train', tol=1e-3)
    np.testing.assert_array_equal(fitted.target_ids, np.arange(12))
    np.testing.assert_array_equal(datamodels_lib.own_ids(fitted), np.arange(12))
    np.testing.assert_array_equal(np.diagonal(fitted.weights), 0)
    path = self._save(fitted, 'datamodels_lasso_train.npz')
    for given in (None, path):
      loaded = workdir_lib.load_datamodels(self.workdir, given, targets='train')
      self.assertEqual(loaded.outcome, 'margin_train')
    with self.assertRaisesRegex(ValueError, 'train targets, and this takes te'):
      workdir_lib.load_datamodels(self.workdir, path)

  def test_test_targets_are_no_train_targets(self):
    path = self._save(self._fit(regressor='ridge'))
    with self.assertRaisesRegex(ValueError, 'test targets, and this takes tra'):
      workdir_lib.load_datamodels(self.workdir, path, targets='train')
    with self.assertRaisesRegex(ValueError, 'fit_datamodels --targets=train f'):
      workdir_lib.load_datamodels(self.workdir, None, targets='train')

  def test_train_targets_need_the_lasso(self):
    with self.assertRaisesRegex(ValueError, 'need --regressor=lasso'):
      self._fit(regressor='ridge', targets='train')

  def test_another_dataset_is_refused(self):
    path = self._save(self._fit(regressor='ridge'))
    other = self.create_tempdir().full_path
    _make_store(other, dataset='iris', fingerprint='b' * 64)
    words = "'digits' .fingerprint a{12}.*'iris' .fingerprint b{12}\\)"
    with self.assertRaisesRegex(ValueError, words) as caught:
      workdir_lib.load_datamodels(other, path)
    self.assertNotIn('\n', str(caught.exception))

  def test_another_size_is_refused(self):
    fitted = dataclasses.replace(self._fit(regressor='ridge'), meta=())
    path = self._save(fitted)
    other = self.create_tempdir().full_path
    _make_store(other, num_train=14)
    with self.assertRaisesRegex(ValueError, 'fitted to 12 .* has 14'):
      workdir_lib.load_datamodels(other, path)

  @parameterized.parameters({'model': 'mlp'}, {'seed': 5})
  def test_another_model_or_seed_of_the_same_data_is_accepted(self, **changes):
    path = self._save(self._fit(regressor='ridge'))
    other = self.create_tempdir().full_path
    _make_store(other, **changes)
    self.assertEqual(workdir_lib.load_datamodels(other, path).num_targets, 3)

  def test_files_that_name_no_dataset_are_accepted(self):
    fitted = dataclasses.replace(self._fit(regressor='ridge'), meta=())
    path = self._save(fitted)
    for workdir in (self.workdir, self.create_tempdir().full_path):
      workdir_lib.load_datamodels(workdir, path)

  def test_an_outcome_that_is_not_there(self):
    with self.assertRaisesRegex(ValueError, 'Collect with --outcomes=cats'):
      rows = self.store.completed()
      workdir_lib.fit(self.store, rows, outcome='cats')


if __name__ == '__main__':
  absltest.main()
