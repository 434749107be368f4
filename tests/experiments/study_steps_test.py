"""The commands of the study of all applications, and its page."""

import json
import os
import subprocess
import tempfile
from unittest import mock

from absl.testing import absltest

from experiments import study_steps as study
from jdm import provenance
from tests.experiments import forked


class ApplicationsStudyTest(absltest.TestCase):

  def test_steps_come_in_order_and_know_when_they_are_done(self):
    folder = self.create_tempdir().full_path
    setting = study.SETTINGS['digits_mlp']
    steps = list(study.steps(folder, setting, study.APPLICATIONS))
    names = [step.binary for step in steps]
    self.assertEqual(names[0], 'collect_outcomes')
    self.assertEqual(names.count('collect_outcomes'), 1 + len(setting.alphas))
    applications = [
        step.writes for step in steps if step.binary == 'run_application'
    ]
    self.assertEqual(applications, [f'{n}.json' for n in study.APPLICATIONS])
    last_fit = max(i for i, n in enumerate(names) if n == 'fit_datamodels')
    self.assertLess(last_fit, names.index('run_application'))
    self.assertFalse(any(step.is_done() for step in steps))
    brittle = next(s for s in steps if s.writes == 'brittleness.json')
    hard = os.path.join(folder, 'datamodels_lasso_test_margin.npz')
    self.assertIn(f'--datamodels={hard}', brittle.options)
    open(os.path.join(folder, 'brittleness.json'), 'w').close()
    self.assertTrue(brittle.is_done())

  def test_runs_what_is_missing_and_writes_the_page(self):
    with tempfile.TemporaryDirectory() as workdir:
      folder = os.path.join(workdir, 'digits_linear')
      ran = []

      def run(command, **unused):
        ran.append(command[2])
        writes = {
            'experiments.evaluate_datamodels': 'evaluation.json',
            'experiments.run_application': 'similarity.json',
        }.get(command[2])
        if writes:
          os.makedirs(folder, exist_ok=True)
          summary = {'rank | overlap': [0.1234567, 0.5]}
          values = {'lds': 0.5, 'summary': summary}
          values['made_by'] = {'command': 'python -m it'}
          with open(os.path.join(folder, writes), 'w') as file:
            json.dump(values, file)
        return subprocess.CompletedProcess(command, 0)

      setting, names = study.SETTINGS['digits_linear'], ['similarity']
      with (
          mock.patch.object(subprocess, 'run', run),
          mock.patch.object(provenance, 'commit', lambda: 'it'),
      ):
        study.run(study.steps(folder, setting, names))
        study.write(folder, names)
        first = len(ran)
        study.run(study.steps(folder, setting, names))
      self.assertEqual(ran[:first].count('experiments.run_application'), 1)
      self.assertNotIn('experiments.run_application', ran[first:])
      with open(os.path.join(folder, 'applications_study.md')) as file:
        page = file.read()
      with open(os.path.join(folder, 'applications_study.json')) as file:
        kept = json.load(file)
    self.assertIn('## Similarity\n\n`python -m it`', page)
    self.assertIn('[0.1235, 0.5]', page)
    self.assertEqual(kept['similarity']['summary']['rank | overlap'][1], 0.5)

  def test_a_command_that_fails_stops_the_study(self):
    failed = subprocess.CompletedProcess([], 2)
    folder = self.create_tempdir().full_path
    steps = study.steps(folder, study.SETTINGS['digits_mlp'], ['similarity'])
    with mock.patch.object(subprocess, 'run', lambda *_, **__: failed):
      with self.assertRaisesRegex(ValueError, 'exit code 2.*goes on'):
        study.run(steps)

  def test_dry_run_prints_commands(self):
    options = '--workdir=nowhere', '--setting=fashion_mlp', '--dry_run'
    done = forked.run('applications_study', *options)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertIn('python -m experiments.collect_outcomes', done.stdout)
    self.assertFalse(os.path.exists('nowhere'))
    done = forked.run('applications_study', *options, '--applications=backdoor')
    self.assertEqual(done.returncode, 2)
    self.assertIn("got ['backdoor']", done.stderr)


if __name__ == '__main__':
  absltest.main()
