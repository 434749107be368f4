"""The study of predictors: its commands, tables and picture, without training."""

import json
import os
from unittest import mock

from absl.testing import absltest

from experiments import modelpred_applications
from experiments import modelpred_steps
from experiments import modelpred_tables
from jdm import provenance
from jdm.reports import canvas
from jdm.reports import modelpred_plots
from tests.experiments import forked


def _evaluation(r2, is_known=True):
  """A `modelpred.json` of two rows."""
  numbers = {name: 0.5 for name in modelpred_tables._COLUMNS}
  rows = [
      {**numbers, 'predictor': name, 'is_predictor': name != 'ridge_mask'}
      for name in ('ridge_mask', 'default')
  ]
  del rows[0]['certificates_hold']
  rows[0] |= {'addition_r2': None, 'break_even': None}
  rows[1] |= {'parameter_r2': r2, 'certificates_hold': 1.0 if is_known else 0.9}
  return {
      'rows': rows,
      'exact_cpu_seconds': 1e-3,
      'num_sets': {'held_out': 500},
      'num_labels': 9990,
      'num_new_points': 57,
      'objective': {},
      'made_by': {},
  }


_CALIBRATION = ('nll', 'brier', 'ece', 'accuracy')


class ModelpredStudyTest(absltest.TestCase):

  def test_commands(self):
    folder = self.create_tempdir().full_path
    steps = list(
        modelpred_steps.steps(folder, modelpred_steps.SETTINGS['mnist_head'], 2)
    )
    self.assertEqual(
        [step.binary for step in steps],
        ['fit_modelpred', 'fit_modelpred', 'evaluate_modelpred'],
    )
    for option in ('--seed=2', '--split_seed=2', '--predictor_seed=2'):
      self.assertIn(option, steps[0].options)
    path = os.path.join(folder, 'predictor_default', 'fit.json')
    os.makedirs(os.path.dirname(path))
    open(path, 'w').close()
    self.assertEqual([s.is_done() for s in steps], [True, False, False])

  def test_tables_and_picture(self):
    workdir = self.create_tempdir().full_path
    folders = [os.path.join(workdir, str(seed)) for seed in range(3)]
    for folder, r2 in zip(folders, (0.92, 0.93, 0.94)):
      os.makedirs(folder)
      with open(os.path.join(folder, 'modelpred.json'), 'w') as file:
        json.dump(_evaluation(r2, is_known=r2 < 0.935), file)
    found = {'breast_cancer': modelpred_tables.read(folders)}
    rows = {row['predictor']: row for row in found['breast_cancer']['rows']}
    r2 = rows['default']['parameter_r2']
    self.assertAlmostEqual(r2['mean'], 0.93)
    # 4.303 standard errors, of .01 / sqrt 3.
    self.assertAlmostEqual(r2['high'] - r2['mean'], 0.02484, places=5)
    self.assertIsNone(rows['ridge_mask']['addition_r2'])
    goals = {
        (goal['predictor'], goal['number']): goal['reached']
        for goal in modelpred_tables.goals(found)
    }
    self.assertTrue(goals['default', 'R2'])
    self.assertFalse(goals['default', 'deletion R2'])
    self.assertFalse(goals['default_refined', 'R2'])
    self.assertFalse(goals['each, refined or not', 'bounds that hold'])
    about = {'breast_cancer': {'num_models': 10_000}}
    with mock.patch.object(provenance, 'commit', lambda: 'it'):
      modelpred_tables.write(workdir, found, about, ['0', '1', '2'])
    with open(os.path.join(workdir, 'modelpred_study.md')) as file:
      page = file.read()
    self.assertIn('| 0.930 ± 0.025 |', page)
    with open(os.path.join(workdir, 'modelpred_study.json')) as file:
      kept = json.load(file)
    self.assertLen(kept['rows']['breast_cancer'], 2)
    self.assertEqual(kept['settings']['breast_cancer']['num_models'], 10_000)

  def test_picture_of_many_settings(self):
    row = {
        'predictor': 'default',
        'is_predictor': True,
        'parameter_r2': {'values': [0.9, 0.8, 0.95]},
        'addition_r2': None,
    }
    settings = {f'setting_{number}': [row] for number in range(4)}
    figure = modelpred_plots.study(settings)
    self.assertEqual(
        [a.get_visible() for a in figure.axes], [True] * 4 + [0] * 2
    )
    self.assertGreater(len(canvas.png(figure)), 1000)

  def test_applications(self):
    folders = []
    for seed in range(2):
      folders.append(self.create_tempdir().full_path)
      results = {
          'calibration': {
              'scores': {
                  way: {'values': dict.fromkeys(_CALIBRATION, 0.1 * (1 + seed))}
                  for way in ('exact', 'default')
              },
              'difference': {'default': 0.01},
          },
          'predicted_memorization': {
              'ways': ['exact'],
              'num_sets': [[100, 300]],
              'spearman': [[0.5, 0.6 + 0.2 * seed]],
              'bias': [0.001],
              'way_cpu_seconds': [[1.0, 3.0]],
          },
          'predicted_selection': {
              'rules': ['default: greedy', 'random'],
              'sizes': [30],
              'gain': [[-0.1], [0.0]],
          },
      }
      for name, result in results.items():
        with open(os.path.join(folders[-1], f'{name}.json'), 'w') as file:
          json.dump(result, file)
    found = modelpred_applications.read(folders)
    memorized = found['predicted_memorization']['exact']
    self.assertAlmostEqual(memorized['Spearman, 300 sets']['mean'], 0.7)
    self.assertEqual(memorized['CPU s']['values'], [3, 3])
    self.assertIsNone(found['calibration']['exact']['from exact'])
    self.assertEqual(list(found['predicted_selection']), ['default: greedy'])
    page = modelpred_applications.page(found)
    self.assertIn('### Predicted selection', page)
    self.assertIn('| default: greedy | -0.1 ± 0 |', page)

  def test_flags(self):
    options = '--workdir=nowhere', '--settings=iris_prefixes', '--dry_run'
    done = forked.run('modelpred_study', *options)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEqual(done.stdout.count('experiments.fit_modelpred'), 6)
    self.assertFalse(os.path.exists('nowhere'))
    for flag, words in (
        ('--settings=wine', "got ['wine']"),
        ('--seeds=0', 'two numbers or more'),
    ):
      done = forked.run('modelpred_study', *options, flag)
      self.assertEqual(done.returncode, 2)
      self.assertIn(words, done.stderr)


if __name__ == '__main__':
  absltest.main()
