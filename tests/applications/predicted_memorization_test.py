"""Memorization by exact training and by stand-ins for a predictor."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.applications import predicted_memorization as lib
from jdm.modelpred import baselines
from tests.modelpred import made_up


class PredictedMemorizationTest(parameterized.TestCase):

  @parameterized.parameters('logistic', 'softmax')
  def test_exact_training_finds_the_reference(self, loss):
    pool = made_up.pool(loss)
    found = lib.predicted_memorization(
        pool,
        {'exact': baselines.exact(pool), 'full': baselines.full(pool)},
        num_sets={'exact': [50, 400], 'full': [0, 100]},
        num_reference=800,
    )
    self.assertGreater(found.spearman[0, 1], 0.8)
    self.assertGreater(found.spearman[0, 1], found.spearman[0, 0])
    self.assertGreater(found.reliability, 0.9)
    self.assertTrue(np.isnan(found.spearman[1, 0]))
    # The model of everything does not know who is missing.
    np.testing.assert_allclose(found.memorization[1], 0, atol=1e-6)
    # Training on a point raises its own probability.
    self.assertGreater(found.reference.mean(), 0)
    z = (found.memorization[0] - found.reference) / np.hypot(
        found.error[0], found.reference_error
    )
    self.assertLess(np.abs(z).mean(), 1.2)
    values = json.loads(json.dumps(found.to_json()))
    self.assertEqual(values['ways'], ['exact', 'full'])

  def test_smaller_estimates_are_the_first_sets(self):
    pool = made_up.pool()
    ways = {'exact': baselines.exact(pool)}
    few = lib.predicted_memorization(
        pool, ways, num_sets={'exact': [60]}, num_reference=50
    )
    both = lib.predicted_memorization(
        pool, ways, num_sets={'exact': [60, 90]}, num_reference=50
    )
    self.assertEqual(few.spearman[0, 0], both.spearman[0, 0])

  def test_correctness_of_hinges(self):
    pool = made_up.pool('squared_hinge')
    ways = {'exact': baselines.exact(pool)}
    found = lib.predicted_memorization(
        pool,
        ways,
        num_sets={'exact': [60]},
        num_reference=50,
        outcome='correctness',
    )
    self.assertTrue(np.all(np.abs(found.reference) <= 1))
    with self.assertRaisesRegex(ValueError, 'squared_hinge.*no probabilities'):
      lib.predicted_memorization(pool, ways, num_sets={'exact': [60]})

  @parameterized.parameters(
      ({'outcome': 'loss'}, "got 'loss'"),
      ({'num_sets': {'other': [1]}}, "ways .'exact'. and num_sets .'other'."),
      ({'num_sets': {'exact': [0]}}, '0 or more for every way'),
      ({'num_reference': 2}, '4 or more, got 2'),
      ({'num_reference': 10**9}, 'too large'),
      ({'alpha': 0.05}, 'miss a class'),
  )
  def test_errors(self, options, words):
    pool = made_up.pool()
    given: Any = {'num_sets': {'exact': [20]}, 'num_reference': 50, **options}
    with self.assertRaisesRegex(ValueError, words):
      lib.predicted_memorization(
          pool, {'exact': baselines.exact(pool)}, **given
      )


if __name__ == '__main__':
  absltest.main()
