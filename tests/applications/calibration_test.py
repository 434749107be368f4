"""Averages of models are scored on examples that chose nothing."""

import json

from absl.testing import absltest
import numpy as np
from scipy import special

from jdm.analysis import calibration as scores
from jdm.applications import calibration as lib


def _made_up(num=600, seed=0):
  """Labels of known chances; members are noisy and too sure of themselves."""
  rng = np.random.default_rng(seed)
  truth = rng.normal(size=(num, 3))
  labels = np.array([rng.choice(3, p=row) for row in special.softmax(truth, 1)])
  members = 2 * truth[None] + 2 * rng.normal(size=(30, num, 3))
  return {'one': members[:1], 'many': members}, labels


class CalibrationTest(absltest.TestCase):

  def test_averages_and_temperatures(self):
    logits, labels = _made_up()
    found = lib.calibration(
        logits, labels, scaled=('one', 'many'), reference='many'
    )
    nll = {name: one.values['nll'] for name, one in found.scores.items()}
    self.assertLess(nll['many'], nll['one'])
    self.assertLess(nll['one, temperature'], nll['one'])
    self.assertLess(nll['many, temperature'], nll['one, temperature'])
    self.assertGreater(found.temperature['one'], 1.5)
    self.assertEqual(set(found.difference), {'one'})
    self.assertEqual(found.num_models, {'one': 1, 'many': 30})
    average = special.softmax(logits['many'], axis=2).mean(axis=0)
    expected = scores.score(average[found.report_ids], labels[found.report_ids])
    self.assertEqual(found.scores['many'].values, expected.values)
    self.assertEmpty(np.intersect1d(found.choice_ids, found.report_ids))
    values = json.loads(json.dumps(found.to_json()))
    self.assertIn('interval', values['scores']['one'])

  def test_errors(self):
    logits, labels = _made_up(20)
    for given, options, words in (
        ({}, {}, 'at least one way'),
        (logits, {'scaled': ('other',)}, "not of .'other'."),
        ({'one': logits['one'][0]}, {}, 'num_models, 20, num_classes'),
        (logits, {'choice_ids': [0, 0]}, 'target_ids'),
    ):
      with self.assertRaisesRegex(ValueError, words):
        lib.calibration(given, labels, **options)


if __name__ == '__main__':
  absltest.main()
