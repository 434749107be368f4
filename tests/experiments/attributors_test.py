"""Tests of the comparison of attributors, on pools of a few seconds."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import types
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np
from scipy import special
from scipy import stats

from experiments import metagradient_cases
from experiments.attributors import cases as attributor_cases
from experiments.attributors import checks as attributor_checks
from experiments.attributors import methods as attributor_methods
from experiments.attributors import peers as attributor_peers
from experiments.attributors import steps as attributor_steps
from experiments.benchmarks.peers import attributor_sweep
from jdm import metrics
from jdm.interop import dattri
from jdm.training import exact
from jdm.training import sgd

_CONFIG = sgd.Config(epochs=2, batch_size=10, learning_rate=0.1)
_TINY = attributor_cases.Setting(
    recipe={
        'dataset': 'digits',
        'dataset_options': {'num_train': 60, 'num_test': 6},
        'model': 'mlp',
        'model_options': {'hidden': [5]},
        'training': _CONFIG,
    },
    budgets=(30,),
    few=(15,),
    alphas=(0.5,),
    num_heldout=12,
    num_plants=15,
    num_planted=3,
    removals=2,
    replicates=2,
    loo_replicates=2,
    epochs=(1, 2),
)


def _write_peer(pool, **scores):
  np.savez(f'{pool}/peer_other.npz', **scores)
  values = {
      'method': 'other',
      'budget': 15,
      'num_read': 4,
      'cpu_seconds': 1.0,
      'gradients': 5,
      'candidates': {name: {'reg': i + 1} for i, name in enumerate(scores)},
      'top_overlap': {name: (i + 1) / 4 for i, name in enumerate(scores)},
      'versions': {},
  }
  with open(f'{pool}/peer_other.json', 'w', encoding='utf-8') as file:
    json.dump(values, file)


class CompareTest(parameterized.TestCase):

  def _run(self, folder, **options):
    with mock.patch.dict(attributor_cases.SETTINGS, tiny=_TINY):
      return attributor_steps.run(folder, ['tiny'], **options)

  def test_rows(self):
    folder = self.create_tempdir().full_path
    chosen = ['ridge', 'influence', 'tracin', 'input_similarity']
    rows = self._run(folder, chosen=chosen, peers=True)
    self.assertEqual([row['method'] for row in rows], chosen)
    for row in rows:
      self.assertBetween(row['lds'], -1, 1)
      self.assertLess(*row['lds_interval'])
      self.assertEqual(row['num_heldout'], 12)
      for name in ('mislabel_auc', 'leakage_auc'):
        self.assertBetween(row[name], 0, 1)
      self.assertBetween(row['loo_correlation'], -1, 1)
      self.assertBetween(row['loo_ceiling'], 0, 1)
      # Of two removals that may leave a class empty.
      self.assertIn('counterfactual_spearman', row)
    by_name = {row['method']: row for row in rows}
    # A fifth of each budget chooses, and is paid for where it does.
    self.assertEqual(by_name['ridge']['num_models'], 30)
    self.assertEqual(by_name['influence']['num_models'], 15)
    self.assertEqual(by_name['input_similarity']['num_models'], 0)
    self.assertBetween(by_name['ridge']['top_overlap'], 0, 1)
    self.assertEqual(by_name['influence']['num_candidates'], 7)
    self._check_files(folder, rows)
    self._check_peers(folder, rows)

  def _check_files(self, folder, rows):
    with open(f'{folder}/attributors_tiny.json', encoding='utf-8') as file:
      found = json.load(file)
    self.assertLen(found['rows'], len(rows))
    self.assertIn('recipe', found)
    with open(f'{folder}/attributors_tiny.csv', encoding='utf-8') as file:
      self.assertLen(list(csv.DictReader(file)), len(rows))
    for name in ('.md', '.png', '_checks.png'):
      self.assertTrue(os.path.exists(f'{folder}/attributors_tiny{name}'))

  def _check_peers(self, folder, rows):
    """Scores of another package are scored and chosen as our own."""
    pool = f'{folder}/tiny/alpha_0.5_seed_0'
    truth = dattri.load(f'{pool}/ground_truth.npz')
    self.assertEqual(truth.indices.shape, (12, 30))
    with np.load(f'{pool}/peers.npz') as file:
      self.assertEqual(file['kernel_0'].shape, (12, 5, 64))
      self.assertEqual(file['kernel_1'].shape, (12, 10, 5))
      about = json.loads(str(file['about']))
    self.assertEqual(about, {'num_read': {'15': 12}, 'convolutions': []})
    with np.load(f'{pool}/influence_15.npz') as file:
      good = file['values']
    _write_peer(pool, a=-good, b=good)
    with mock.patch.object(
        attributor_methods, 'choose', wraps=attributor_methods.choose
    ) as choose:
      again = self._run(folder, chosen=['influence'])
    choose.assert_called_once()  # Nothing of our own is done again.
    self.assertEqual(again[:-1], rows)  # And nothing is left out.
    own, other = again[1], again[-1]
    self.assertEqual(other['method'], 'other')
    self.assertEqual(other['num_models'], 4 + 3)
    self.assertEqual(abs(other['lds']), abs(own['lds']))
    self.assertIn(other['options']['reg'], (1, 2))
    self.assertEqual(other['top_overlap'], other['options']['reg'] / 4)
    missing = set(rows[1]) - set(other)
    # Retraining and planted answers, of our own methods alone.
    self.assertEqual(missing, {'commit', *attributor_checks.COLUMNS})
    _write_peer(pool, a=np.zeros_like(good))  # Computed again.
    again = self._run(folder, chosen=['influence'])[-1]
    self.assertEqual((again['lds'], again['num_models']), (0, 4))

  def test_peers_have_rows_at_every_budget(self):
    folder = self.create_tempdir().full_path
    setting = dataclasses.replace(_TINY, few=(20, 15))
    case = attributor_cases.Case(
        setting, f'{folder}/tiny/alpha_0.5_seed_0', 0.5, 0
    )
    with np.load(attributor_peers.export(case)) as file:
      self.assertLen(file['masks'], 16)
      np.testing.assert_array_equal(file['masks'], case.budget(20).masks[:16])
      about = json.loads(str(file['about']))
      work = types.SimpleNamespace(
          folder=case.folder, train=range(60), tests=range(6)
      )
    work.num_read = {int(k): v for k, v in about['num_read'].items()}
    self.assertEqual(work.num_read, {15: 12, 20: 16})
    generator = np.random.default_rng(0)
    parts = generator.normal(size=(16, 60, 6))
    peer = attributor_sweep.Peer(
        package='numpy',
        shared=[{'of': 1}, {'of': 2}],
        options=[{'reg': 3}, {'reg': np.nan}],
        prepare=lambda work, row, shared: (row, shared['of']),
        score=lambda work, state, options: (
            parts[state[0]] * state[1] + 0 * options['reg'],
            np.full((60, 1), state[0]),
        ),
    )
    with contextlib.redirect_stdout(io.StringIO()):
      attributor_sweep.sweep(work, 'mean', peer, np.inf)
      attributor_sweep.sweep(work, 'short', peer, -1.0)  # One model.
    with mock.patch.dict(attributor_cases.SETTINGS, tiny=setting):
      rows = attributor_steps.run(
          folder, ['tiny'], chosen=['input_similarity'], checks=False
      )[1:]
    self.assertEqual([r['method'] for r in rows], 2 * ['mean'] + 2 * ['short'])
    # Read and, as there are two finite candidates, for validation.
    self.assertEqual([r['num_models'] for r in rows], [12 + 3, 16 + 4, 4, 5])
    for row, num in zip(rows, (12, 16)):
      self.assertEqual(row['num_candidates'], 2)
      halves = [
          parts[some].mean(axis=0) * np.arange(16)[some].mean()
          for some in (slice(0, num // 2), slice(num // 2, num))
      ]
      expected = metrics.top_overlap(*halves, 10).mean()
      self.assertAlmostEqual(row['top_overlap'], expected)
    with np.load(f'{case.folder}/peer_mean_15.npz') as file:
      self.assertLen(list(file), 2)  # Those that are finite.
      expected = 2 * parts[:12].mean(axis=0) * np.arange(12).mean()
      np.testing.assert_allclose(file['c1'], expected, atol=1e-5)

  @parameterized.parameters('mlp', 'linear', 'cnn')
  def test_exported_models_say_what_they_said(self, model):
    setting = _TINY
    if model == 'linear':
      recipe = {
          'dataset': 'iris',
          'model': 'linear',
          'training': exact.Config(lam=1.0),
      }
      setting = dataclasses.replace(_TINY, recipe=recipe)
    elif model == 'cnn':
      recipe = {**_TINY.recipe, 'model': 'cnn'}
      recipe['model_options'] = {'channels': [3, 5]}
      setting = dataclasses.replace(_TINY, recipe=recipe)
    folder = self.create_tempdir().full_path
    case = attributor_cases.Case(setting, folder, 0.5, 0)
    with np.load(attributor_peers.export(case)) as file:
      arrays = dict(file)
    about = json.loads(str(arrays['about']))
    values = arrays['target_inputs']
    num_layers = int(arrays['num_layers'])
    self.assertEqual(num_layers, {'linear': 1, 'mlp': 2, 'cnn': 3}[model])
    strides = [one['stride'] for one in about['convolutions']]
    for layer in range(num_layers):  # Of the first model, as PyTorch has them.
      values = np.maximum(values, 0) if layer else values
      kernel, bias = arrays[f'kernel_{layer}'][0], arrays[f'bias_{layer}'][0]
      if kernel.ndim == 4:
        steps = (strides[layer], strides[layer])
        values = jax.lax.conv(values, kernel, steps, 'VALID')
        values = np.asarray(values) + bias[:, None, None]
      else:
        values = values.reshape(len(values), -1) @ kernel.T + bias
    is_own = np.eye(values.shape[1], dtype=bool)[arrays['target_labels']]
    rest = special.logsumexp(np.where(is_own, -np.inf, values), axis=1)
    np.testing.assert_allclose(
        values[is_own] - rest, arrays['margins'][0], atol=1e-4
    )

  def test_validation_chooses(self):
    budget = mock.Mock()
    budget.case.counted.return_value = None
    generator = np.random.default_rng(0)
    budget.masks = generator.random((40, 8)) < 0.5
    weights = generator.normal(size=(8, 3))
    budget.outcomes = budget.masks @ weights
    budget.num_val = 20
    found = [
        attributor_methods.Candidate(values=values)
        for values in (-weights, weights, generator.normal(size=(8, 3)))
    ]
    self.assertIs(attributor_methods.choose(budget, found), found[1])

  def test_train_targets_are_scored_by_models_that_leave_them_out(self):
    folder = self.create_tempdir().full_path
    setting = dataclasses.replace(
        _TINY,
        targets='train',
        num_targets=7,
        num_heldout=30,
        removals=0,
        loo_replicates=0,
        num_plants=0,
    )
    chosen = ['informed', 'lasso', 'ridge', 'influence', 'difference_of_means']
    options = {'chosen': chosen, 'checks': False, 'num_seeds': 2}
    with mock.patch.dict(attributor_cases.SETTINGS, tiny=setting):
      rows = attributor_steps.run(folder, ['tiny'], **options)
    # Ridge knows no train targets.
    order = ['lasso', 'difference_of_means', 'informed', 'influence']
    self.assertEqual([row['method'] for row in rows], 2 * order)
    case = attributor_cases.Case(
        setting, f'{folder}/tiny/alpha_0.5_seed_0', 0.5, 0
    )
    masks, outcomes, _ = case.heldout
    self.assertEqual(outcomes.shape, (2, 30, 7))
    for row in rows[:4]:
      path = f'{case.folder}/{row["method"]}_'
      path += '15.npz' if row['method'] == 'influence' else '30.npz'
      with np.load(path) as file:
        values = file['values']
      marks = []
      for target, own in enumerate(case.own_ids):
        kept = ~masks[:, own]
        predicted = masks[kept] @ values[:, target]
        wanted = outcomes[0, kept, target]
        if np.ptp(predicted):
          marks.append(stats.spearmanr(predicted, wanted)[0])
        else:
          marks.append(0)
      # Ranks of float32 sums.
      self.assertAlmostEqual(row['lds'], np.mean(marks), delta=0.02)
    with open(f'{folder}/attributors_tiny.md', encoding='utf-8') as file:
      self.assertIn('| seed |', file.readline())

  def test_lasso_with_the_folds_of_informed_counts_all_its_models(self):
    folder = self.create_tempdir().full_path
    setting = dataclasses.replace(_TINY, budgets=(20, 30), lasso_folds=True)
    with mock.patch.dict(attributor_cases.SETTINGS, tiny=setting):
      (row,) = attributor_steps.run(
          folder, ['tiny'], chosen=['lasso_folds'], checks=False
      )
    self.assertEqual((row['num_models'], row['options']['num_folds']), (30, 5))

  def test_informed_counts_all_its_models(self):
    folder = self.create_tempdir().full_path
    (row,) = self._run(folder, chosen=['informed'])
    self.assertEqual(row['num_models'], 30)
    # Its halves read the models of one half each.
    self.assertBetween(row['top_overlap'], 0.1, 1)
    self.assertEqual(row['options'], {'num_prior': 30, 'num_folds': 5})
    self.assertGreater(row['gradients'], 0)

  def test_training_is_no_part_of_a_methods_time(self):
    folder = self.create_tempdir().full_path
    trained, timed = [], attributor_cases.timed

    def watched(make):
      trained.append(
          os.path.exists(f'{folder}/tiny/alpha_0.5_seed_0/trained.json')
      )
      return timed(make)

    with mock.patch.object(attributor_cases, 'timed', watched):
      self._run(folder, chosen=['ridge'], checks=False)
    self.assertEqual(trained, [True])

  def test_budgets_share_a_prior_and_each_counts_its_time(self):
    folder = self.create_tempdir().full_path
    shared = dataclasses.replace(_TINY, budgets=(20, 30), num_prior=15)
    with mock.patch.dict(attributor_cases.SETTINGS, tiny=shared):
      case = attributor_cases.Case(shared, f'{folder}/pool', 0.5, 0)
      first, second = (
          attributor_methods.informed(case.budget(num))[0]
          for num in shared.budgets
      )
    self.assertEqual(first.cpu_seconds, 0)
    self.assertGreater(second.cpu_seconds, 0)
    self.assertEqual(first.gradients, second.gradients)

  def test_other_alphas_are_shown_if_they_are_there(self):
    folder = self.create_tempdir().full_path
    two = dataclasses.replace(
        _TINY, alphas=(0.5, 0.3), removals=0, num_plants=0
    )
    with mock.patch.dict(attributor_cases.SETTINGS, tiny=two):
      rows = []
      for alphas, chosen in (([0.3], 'ridge'), ([0.5], 'input_similarity')):
        rows = attributor_steps.run(
            folder, ['tiny'], chosen=[chosen], alphas=alphas
        )
      with self.assertRaisesRegex(ValueError, r'--alphas are of \[0.3, 0.5\]'):
        attributor_steps.run(folder, ['tiny'], alphas=[0.2])
      found = [(row['alpha'], row['method']) for row in rows]
      self.assertEqual(found, [(0.5, 'input_similarity'), (0.3, 'ridge')])
      self.assertIn('loo_correlation', rows[0])
      # Checks that are there are shown, too.
      again = attributor_steps.run(
          folder, ['tiny'], chosen=['knn'], alphas=[0.3], checks=False
      )
      self.assertEqual(again[0], rows[0])
    with open(f'{folder}/attributors_tiny.csv', encoding='utf-8') as file:
      self.assertLen(list(csv.DictReader(file)), 3)

  def test_effects_of_leaving_out(self):
    folder = self.create_tempdir().full_path
    few = dataclasses.replace(_TINY, loo_examples=5, loo_replicates=4)
    case = attributor_cases.Case(few, f'{folder}/pool', 0.5, 0)
    effects = attributor_checks.loo_effects(case)
    self.assertEqual(effects.shape, (4, 5, 6))
    self.assertGreater(np.abs(effects).max(), 1e-3)
    # One that is there is not trained again, and half of one is no file.
    path = f'{case.folder}/loo_5_2.npy'
    os.remove(f'{case.folder}/loo_5_1.npy')
    moved = np.load(path) + np.arange(6)[:, None]
    np.save(path, moved)
    attributor_checks.loo_effects.cache_clear()
    again = attributor_checks.loo_effects(case)
    np.testing.assert_array_equal(again[[0, 1, 3]], effects[[0, 1, 3]])
    steps = np.arange(5, 0, -1)[:, None]  # The last row is that of all.
    np.testing.assert_allclose(again[2], effects[2] + steps, atol=1e-5)

  def test_exact_minima_are_left_out_once(self):
    recipe = {
        'dataset': 'iris',
        'model': 'linear',
        'training': exact.Config(lam=1.0),
    }
    setting = dataclasses.replace(_TINY, recipe=recipe, loo_examples=20)
    folder = self.create_tempdir().full_path
    case = attributor_cases.Case(setting, f'{folder}/pool', 0.5, 0)
    effects = attributor_checks.loo_effects(case)
    num_targets = case.one_trained.num_targets
    self.assertEqual(effects.shape, (1, 20, num_targets))
    values = np.zeros((case.store.num_train, num_targets))
    ids = attributor_checks.loo_ids(setting, len(values))
    values[ids] = 2 * effects[0]
    found = attributor_checks._loo(case, values)
    self.assertAlmostEqual(found['loo_correlation'], 1)
    self.assertEqual(found['loo_ceiling'], 1)

  def test_what_was_made_from_something_else_is_made_again(self):
    path = self.create_tempdir().full_path + '/file.json'
    make = mock.Mock(side_effect=[{'value': 1}, {'value': 2}])
    self.assertEqual(attributor_cases.kept(path, None, num=3), {})
    for _ in range(2):
      found = attributor_cases.kept(path, make, num=3)
      self.assertEqual(found, {'value': 1})
    self.assertEqual(attributor_cases.kept(path, None, num=4), {})
    self.assertEqual(attributor_cases.kept(path, make, num=4), {'value': 2})

  @parameterized.parameters('removals', 'loo_replicates', 'num_plants')
  def test_checks_are_of_test_targets(self, name):
    none = dataclasses.replace(
        _TINY, removals=0, loo_replicates=0, num_plants=0
    )
    dataclasses.replace(none, targets='train')
    with self.assertRaisesRegex(ValueError, 'checks are of test targets'):
      dataclasses.replace(none, targets='train', **{name: 2})

  @parameterized.parameters(
      (['digits'], {}),
      (['tiny'], {'chosen': ['shapley']}),
      (['tiny'], {'num_seeds': 0}),
      ([], {}),
  )
  def test_bad_flags(self, names, options):
    with self.assertRaisesRegex(ValueError, '--settings are of'):
      with mock.patch.dict(attributor_cases.SETTINGS, tiny=_TINY):
        attributor_steps.run('unused', names, **options)

  def test_every_setting_shrinks(self):
    for setting in attributor_cases.SETTINGS.values():
      small = attributor_cases.shrunk(setting, 100)
      self.assertLess(small.num_heldout, setting.num_heldout)


class MetagradientsTest(absltest.TestCase):

  def test_rows(self):
    setting = metagradient_cases.Setting(
        dataset={'name': 'digits', 'num_train': 60, 'num_test': 6},
        hidden=(5,),
        config=_CONFIG,
    )
    folder = self.create_tempdir().full_path
    options = {'activations': ['gelu'], 'num_subsets': 12, 'num_targets': 3}
    with mock.patch.dict(metagradient_cases.SETTINGS, tiny=setting):
      rows = metagradient_cases.run(folder, ['tiny'], **options)
      with mock.patch.object(metagradient_cases, '_measure') as measure:
        self.assertEqual(
            metagradient_cases.run(folder, ['tiny'], **options), rows
        )
      measure.assert_not_called()
    self.assertLen(rows, 6)
    # A step or six of an almost linear training.
    exact = [row for row in rows if row['method'] == 'metagradient']
    self.assertGreater(exact[0]['lds'], 0.8)

  def test_bad_flags(self):
    with self.assertRaisesRegex(ValueError, '--settings are of'):
      metagradient_cases.run('unused', ['mnist'])


if __name__ == '__main__':
  absltest.main()
