"""The whole comparison in a planted world: linear, quadratic and noise."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import effects
from jdm.applications import pool_design as lib
from tests import planted

_NUM_TRAIN, _NUM_TARGETS = 40, 8
_RNG = np.random.default_rng(0)
_LINEAR = _RNG.normal(size=(_NUM_TRAIN, _NUM_TARGETS))
_LINEAR *= np.sqrt(0.5) / np.linalg.norm(_LINEAR, axis=0, keepdims=True)
_PAIRS = _RNG.permutation(_NUM_TRAIN).reshape(-1, 2)
_QUADRATIC = _RNG.normal(size=(len(_PAIRS), _NUM_TARGETS))
_QUADRATIC *= np.sqrt(0.3) / np.linalg.norm(_QUADRATIC, axis=0, keepdims=True)


def _outcomes(masks, rng):
  """Variances .5 (linear), .3 (quadratic) and .2 (noise)."""
  scaled = 2.0 * masks - 1
  noise = np.sqrt(0.2) * rng.normal(size=(len(masks), _NUM_TARGETS))
  products = scaled[:, _PAIRS].prod(axis=2)
  return scaled @ _LINEAR + products @ _QUADRATIC + noise


def _masks(num, seed):
  generator = np.random.default_rng(seed)
  return planted.fixed_size_masks(generator, num, _NUM_TRAIN, 0.5)


def _retrain(masks, replicates, *, relabel=None):
  del relabel
  rng = np.random.default_rng(7)
  return np.stack([_outcomes(masks, rng) for _ in range(replicates)])


_MASKS, _HELDOUT_MASKS = _masks(1200, 1), _masks(200, 2)
_POOL = _outcomes(_MASKS, _RNG)
_HELDOUT = np.stack([_outcomes(_HELDOUT_MASKS, _RNG) for _ in range(2)])


def _design(**changes):
  options: dict[str, Any] = {
      'num_models': [150, 300, 600, 1200],
      'regressors': ['difference_of_means', 'least_squares'],
      'num_bootstrap': 50,
  }
  outcomes = changes.pop('outcomes', {'margin': _POOL})
  heldout = changes.pop('heldout', {'margin': _HELDOUT})
  return lib.pool_design(
      _MASKS, outcomes, _HELDOUT_MASKS, heldout, **(options | changes)
  )


class PoolDesignTest(parameterized.TestCase):

  def test_planted(self):
    found = _design(retrain=_retrain, num_pairs=1200)
    assert found.linear_share is not None and found.stability is not None
    # W_1 is half of the variance; 1,200 models know it to about .02, and pairs
    # to about .05; subsets of one size shift it by about 1 / 40.
    self.assertAlmostEqual(found.linear_share.value, 0.5, delta=0.05)
    self.assertAlmostEqual(found.stability.degrees[0], 0.5, delta=0.12)
    low, high = found.stability.bounds_interval
    self.assertBetween(0.5, low, high)
    self.assertAlmostEqual(found.stability.correlations[-1], 0.8, delta=0.06)
    np.testing.assert_array_equal(found.stability.num_pairs, [1200, 1200, 200])
    law = found.recommendation
    self.assertTrue(law.limit_given)
    self.assertEqual(law.limit, found.linear_share.value)
    self.assertGreater(law.num_models, 300)
    self.assertEqual(found.num_retrained, 2400)
    self.assertEqual(
        found.num_retrained, lib.num_trainings([0.25, 0.5], 1200, 1200, 2)
    )

  def test_same_subsets_are_trained_where_nothing_was_twice(self):
    calls = []

    def retrain(masks, replicates, **options):
      calls.append(len(masks))
      return _retrain(masks, replicates, **options)

    found = _design(
        retrain=retrain,
        num_pairs=100,
        rhos=[0.5],
        heldout={'margin': _HELDOUT[:1]},
    )
    self.assertEqual(calls, [200])
    self.assertEqual(lib.num_trainings([0.5], 100, 1200, 1), 200)
    assert found.stability is not None
    np.testing.assert_array_equal(found.stability.num_pairs, [100, 100])
    self.assertTrue(np.isnan(found.curve.noise_ceiling))

  def test_diverged_models_leave_their_pair(self):
    def retrain(masks, replicates, **options):
      outcomes = _retrain(masks, replicates, **options)
      outcomes[:, :10] = np.nan
      return outcomes

    found = _design(retrain=retrain, num_pairs=100, rhos=[0.5])
    assert found.stability is not None
    np.testing.assert_array_equal(found.stability.num_pairs, [90, 200])

  def test_some_targets_and_two_outcomes(self):
    found = _design(
        target_ids=[5, 2],
        outcomes={'margin': _POOL, 'bent': np.exp(_POOL)},
        heldout={'margin': _HELDOUT, 'bent': np.exp(_HELDOUT)},
        outcome='bent',
    )
    self.assertEqual(found.outcome, 'bent')
    self.assertEqual(
        [row.outcome for row in found.outcomes], ['margin', 'bent']
    )
    self.assertEqual(found.curve.num_targets, 2)
    assert found.linear_share is not None
    self.assertEqual(found.linear_share.per_target.shape, (2,))
    # The last point of the curve is the row of the outcome.
    self.assertAlmostEqual(
        found.curve.lds[0, -1], found.outcomes[1].lds, places=12
    )
    self.assertIsNone(found.stability)

  def test_json(self):
    text = json.dumps(_design(retrain=_retrain, num_pairs=50).to_json())
    self.assertLess(len(text), 50_000)
    self.assertIn('linear_share', json.loads(text))
    self.assertEqual(effects.to_json(np.float32(2)), 2)

  @parameterized.parameters(
      ({'outcomes': {}}, 'at least one outcome'),
      ({'heldout': {}}, r"of each, got \['margin'\]"),
      ({'outcome': 'loss'}, "one of the outcomes .*got 'loss'"),
      ({'rhos': [1.0]}, 'between 0 and 1'),
      ({'num_pairs': 2}, '3 pairs'),
      ({'target_ids': [0, 8]}, r'in \[0, 8\)'),
      ({'target_ids': [1, 1]}, 'once'),
      ({'target_ids': [0.5, 1.2]}, 'integers'),
      ({'target_ids': [True, False]}, 'flatnonzero'),
      ({'retrain': lambda masks, replicates: _POOL}, 'shape'),
  )
  def test_errors(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      _design(**changes)


if __name__ == '__main__':
  absltest.main()
