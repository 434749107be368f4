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

from experiments import attributor_cases
from experiments import attributor_checks
from experiments import attributor_methods
from experiments import attributor_peers
from experiments import attributor_steps
from experiments import metagradient_cases
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
    for name in ('attributors_tiny.md', 'attributors_tiny.png'):
      self.assertTrue(os.path.exists(f'{folder}/{name}'))

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
    own, other = again
    self.assertEqual(other['method'], 'other')
    self.assertEqual(other['num_models'], 4 + 3)
    self.assertEqual(abs(other['lds']), abs(own['lds']))
    self.assertIn(other['options']['reg'], (1, 2))
    self.assertEqual(other['top_overlap'], other['options']['reg'] / 4)
    missing = set(rows[1]) - set(other)
    # Retraining and planted answers, of our own methods alone.
    self.assertEqual(missing, set(attributor_checks.COLUMNS))
    _write_peer(pool, a=np.zeros_like(good))  # Computed again.
    os.utime(f'{pool}/peer_other.npz', (2e9, 2e9))
    _, again = self._run(folder, chosen=['influence'])
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
        _TINY, targets='train', num_targets=7, num_heldout=30
    )
    chosen = ['informed', 'lasso', 'ridge', 'influence', 'difference_of_means']
    options = {'chosen': chosen, 'checks': False, 'num_seeds': 2}
    with mock.patch.dict(attributor_cases.SETTINGS, tiny=setting):
      rows = attributor_steps.run(folder, ['tiny'], **options)
    chosen.remove('ridge')  # Knows no train targets.
    self.assertEqual([row['method'] for row in rows], 2 * chosen)
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
