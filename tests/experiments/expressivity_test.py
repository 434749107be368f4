"""The study of width and depth: its cases, one small run, its picture."""

import json
import os
import subprocess
import sys
import tempfile

from absl.testing import absltest

from experiments import expressivity_cases as study
from jdm.reports import canvas
from jdm.reports import modelpred_plots


class ExpressivityTest(absltest.TestCase):

  def test_cases(self):
    cases = list(study.cases([32, 64], [0, 1]))
    self.assertLen(set(cases), len(cases))
    self.assertLen(cases, 2 * 2 * (2 * len(study.WIDTHS) + len(study.DEPTHS)))

  def test_means_and_picture(self):
    found = {
        case: {
            'r2': 0.9 + 0.01 * case.seed,
            'train_r2': 0.95,
            'test_loss_nrmse': 0.1,
            'cpu_seconds': 1.0,
        }
        for case in study.cases([32, 64], [0, 1])
    }
    highest = {
        (num, seed): {str(width): 0.99 for width in study.WIDTHS}
        for num in (32, 64)
        for seed in (0, 1)
    }
    rows = study.summarized(found, highest)
    self.assertEqual(rows[0]['ceiling']['mean'], 0.99)
    self.assertLen(rows, len(found) // 2)
    self.assertAlmostEqual(rows[0]['r2']['mean'], 0.905)
    self.assertEqual(rows[0]['width_over_size'], 4 / 32)
    curves = [row for row in rows if row['depth'] == 3]
    figure = modelpred_plots.expressivity(curves)
    self.assertGreater(len(canvas.png(figure)), 1000)

  def test_a_small_run(self):
    with tempfile.TemporaryDirectory() as workdir:
      code = (
          'from experiments import binary, expressivity_study;'
          'from experiments import expressivity_cases as s;'
          's.WIDTHS = (8,); s.DEPTHS = ();'
          's.NETWORKS = {"deepsets_plus": s.NETWORKS["deepsets_plus"]};'
          'binary.run(expressivity_study.main)'
      )
      command = [
          sys.executable,
          '-c',
          code,
          f'--workdir={workdir}',
          '--num_points=32',
          '--seeds=0,1',
          '--num_labels=300',
          '--steps=40',
      ]
      done = subprocess.run(
          command, capture_output=True, text=True, check=False
      )
      self.assertEqual(done.returncode, 0, done.stderr)
      self.assertLen(os.listdir(os.path.join(workdir, 'rows')), 4)
      path = os.path.join(workdir, 'expressivity_study')
      with open(f'{path}.json') as file:
        self.assertLen(json.load(file)['rows'], 1)
      for suffix in ('md', 'png'):
        self.assertTrue(os.path.exists(f'{path}.{suffix}'))


if __name__ == '__main__':
  absltest.main()
