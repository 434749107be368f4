"""Evaluation against the metrics, and its refusal of seen models."""

import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib
from jdm import evaluation
from jdm import metrics

_NUM_TRAIN, _NUM_TARGETS, _NUM_HELDOUT = 12, 3, 40
_HELDOUT_IDS = 2**30 + np.arange(_NUM_HELDOUT)
_RNG = np.random.default_rng(0)
_WEIGHTS = _RNG.normal(size=(_NUM_TRAIN, _NUM_TARGETS))
_MASKS = _RNG.random((_NUM_HELDOUT, _NUM_TRAIN)) < 0.5


def _datamodels(**changes):
  fields: dict[str, Any] = {
      'weights': _WEIGHTS,
      'bias': np.arange(3.0),
      'lam': np.zeros(3),
      'gap': np.zeros(3),
      'nnz': np.full(3, _NUM_TRAIN),
      'val_mse': np.zeros(3),
      'train_ids': np.arange(_NUM_TRAIN),
      'target_ids': np.arange(3),
      'fit_ids': np.arange(100),
      'val_ids': np.arange(100, 120),
  }
  return datamodels_lib.Datamodels(**(fields | changes))


def _outcomes(noise, replicates=2):
  signal = _MASKS @ _WEIGHTS + np.arange(3.0)[None]
  rng = np.random.default_rng(1)
  return signal[None] + noise * rng.normal(size=(replicates, *signal.shape))


class EvaluationTest(parameterized.TestCase):

  def test_the_mean_of_replicates_has_a_higher_ceiling(self):
    outcomes = _outcomes(noise=2.0, replicates=4)
    one, mean = (
        evaluation.evaluate(
            _datamodels(),
            _MASKS,
            outcomes,
            heldout_ids=_HELDOUT_IDS,
            average=average,
        )
        for average in (False, True)
    )
    np.testing.assert_allclose(mean.outcomes, outcomes.mean(axis=0))
    self.assertGreater(mean.lds.value, one.lds.value)
    assert one.noise_ceiling and mean.noise_ceiling
    expected = metrics.noise_ceiling(*outcomes[:2], num_replicates=4)
    self.assertEqual(mean.noise_ceiling.value, expected.value)
    self.assertGreater(mean.noise_ceiling.value, one.noise_ceiling.value)

  def test_one_id_a_model(self):
    with self.assertRaisesRegex(ValueError, 'expects 40 heldout_ids, got 2'):
      evaluation.evaluate(
          _datamodels(), _MASKS, _outcomes(1.0), heldout_ids=_HELDOUT_IDS[:2]
      )

  def test_equals_the_metrics(self):
    outcomes = _outcomes(noise=1.0)
    found = evaluation.evaluate(
        _datamodels(), _MASKS, outcomes, heldout_ids=_HELDOUT_IDS
    )
    predictions = _MASKS @ _WEIGHTS + np.arange(3.0)[None]
    # The prediction is a float32 product.
    np.testing.assert_allclose(found.predictions, predictions, atol=1e-5)
    np.testing.assert_array_equal(found.outcomes, outcomes[0])
    ranks = [
        stats.spearmanr(predictions[:, t], outcomes[0][:, t]).statistic
        for t in range(3)
    ]
    self.assertAlmostEqual(found.lds.value, np.mean(ranks), places=6)
    errors = np.mean((predictions - outcomes[0]) ** 2)
    self.assertAlmostEqual(found.mse.value, errors, places=4)
    np.testing.assert_allclose(
        found.pearson, metrics.pearson(predictions, outcomes[0]), atol=1e-5
    )
    expected = metrics.noise_ceiling(outcomes[0], outcomes[1], seed=0)
    assert found.noise_ceiling is not None
    self.assertEqual(found.noise_ceiling.value, expected.value)
    self.assertEqual((found.num_heldout, found.num_fit), (40, 120))

  def test_targets_are_scored_on_models_that_did_not_train_on_them(self):
    own_ids = np.array([4, -1, 7])
    outcomes = _outcomes(noise=1.0)
    for t, own in enumerate(own_ids):
      if own >= 0:  # Memorized: what no datamodel predicts.
        outcomes[:, _MASKS[:, own], t] = 100 + t
    found = evaluation.evaluate(
        _datamodels(),
        _MASKS,
        outcomes,
        heldout_ids=_HELDOUT_IDS,
        own_ids=own_ids,
    )
    predictions = _MASKS @ _WEIGHTS + np.arange(3.0)[None]
    assert found.where is not None and found.noise_ceiling is not None
    for t, own in enumerate(own_ids):
      kept = np.ones(40, bool) if own < 0 else ~_MASKS[:, own]
      np.testing.assert_array_equal(found.where[:, t], kept)
      rank = stats.spearmanr(predictions[kept, t], outcomes[0, kept, t])
      self.assertAlmostEqual(found.lds.per_target[t], rank.statistic, places=6)
      rank = stats.spearmanr(*outcomes[:, kept, t])
      self.assertAlmostEqual(
          found.noise_ceiling.reliability[t], rank.statistic, places=6
      )
      error = np.mean((predictions - outcomes[0])[kept, t] ** 2)
      self.assertAlmostEqual(found.mse.per_target[t], error, places=4)
    self.assertGreater(found.lds.value, 0.5)

  @parameterized.parameters(
      ([0, 1], 'own_ids to be 3 integers'),
      ([0.0, 1.0, 2.0], 'own_ids to be 3 integers'),
      ([0, 1, 12], r'from -1 \(none\) to 11, got 0 to 12'),
  )
  def test_own_ids_out_of_range(self, own_ids, words):
    with self.assertRaisesRegex(ValueError, words):
      evaluation.evaluate(
          _datamodels(),
          _MASKS,
          _outcomes(1.0),
          heldout_ids=_HELDOUT_IDS,
          own_ids=np.array(own_ids),
      )

  def test_a_target_in_nearly_every_model(self):
    masks = _MASKS.copy()
    masks[2:, 5] = True
    with self.assertRaisesRegex(ValueError, 'train more held-out models'):
      evaluation.evaluate(
          _datamodels(),
          masks,
          _outcomes(1.0),
          heldout_ids=_HELDOUT_IDS,
          own_ids=np.array([5, 5, 5]),
      )

  def test_json(self):
    found = evaluation.evaluate(
        _datamodels(), _MASKS, _outcomes(1.0), heldout_ids=_HELDOUT_IDS
    ).to_json()
    again = json.loads(json.dumps(found, allow_nan=False))
    self.assertContainsSubset(
        {
            'lds',
            'lds_interval',
            'noise_ceiling',
            'mse',
            'r2',
            'pearson',
            'pooled_spearman',
            'num_heldout',
            'num_fit',
        },
        again,
    )
    low, high = again['lds_interval']
    self.assertBetween(again['lds'], low, high)

  def test_exact_datamodels_score_one(self):
    found = evaluation.evaluate(
        _datamodels(), _MASKS, _outcomes(0.0, 1), heldout_ids=_HELDOUT_IDS
    )
    self.assertAlmostEqual(found.lds.value, 1.0, places=6)
    self.assertAlmostEqual(found.r2.value, 1.0, places=6)
    self.assertIsNone(found.noise_ceiling)
    self.assertIsNone(found.to_json()['noise_ceiling'])

  @parameterized.parameters('fit_ids', 'val_ids')
  def test_refuses_models_that_were_seen(self, field):
    seen = _datamodels(**{field: np.array([3, 2**30 + 7])})
    words = r'1 held-out models \(id 1073741831 first\)'
    with self.assertRaisesRegex(ValueError, words):
      evaluation.evaluate(
          seen, _MASKS, _outcomes(1.0), heldout_ids=_HELDOUT_IDS
      )

  @parameterized.parameters(((40, 3),), ((2, 39, 3),))
  def test_shapes(self, shape):
    with self.assertRaisesRegex(ValueError, r'for 40 masks, got \('):
      evaluation.evaluate(
          _datamodels(), _MASKS, np.ones(shape), heldout_ids=_HELDOUT_IDS
      )


if __name__ == '__main__':
  absltest.main()
