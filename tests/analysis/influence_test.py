"""Differences of means against a loop over pairs."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.analysis import influence as lib

_RNG = np.random.default_rng(0)
_MASKS = _RNG.random((60, 7)) < 0.5
_OUTCOMES = _RNG.normal(3, 2, size=(60, 5)).astype(np.float32)


def _by_hand(included, outcomes):
  """Difference of means and Welch's error of one pair."""
  inside, outside = outcomes[included], outcomes[~included]
  error = np.sqrt(
      inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside)
  )
  return inside.mean() - outside.mean(), error


class InfluenceTest(parameterized.TestCase):

  def test_matches_a_loop(self):
    found = lib.influence(_MASKS, _OUTCOMES)
    for i in range(7):
      for j in range(5):
        value, error = _by_hand(_MASKS[:, i], _OUTCOMES[:, j])
        # Sums in float32.
        np.testing.assert_allclose(found.value[i, j], value, atol=1e-5)
        np.testing.assert_allclose(found.error[i, j], error, rtol=1e-5)
      self.assertTrue((found.num_with[i] == _MASKS[:, i].sum()).all())
    self.assertTrue((found.num_with + found.num_without == 60).all())

  def test_own_models_are_left_out(self):
    own_ids = np.array([3, -1, 0, 6, 6])
    found = lib.influence(_MASKS, _OUTCOMES, own_ids=own_ids)
    for j, own in enumerate(own_ids):
      kept = np.ones(60, bool) if own < 0 else ~_MASKS[:, own]
      for i in range(7):
        if i == own:
          self.assertEqual(found.value[i, j], 0)
          self.assertEqual(found.num_with[i, j], 0)
          continue
        value, error = _by_hand(_MASKS[kept, i], _OUTCOMES[kept, j])
        np.testing.assert_allclose(found.value[i, j], value, atol=1e-5)
        np.testing.assert_allclose(found.error[i, j], error, rtol=1e-5)
        self.assertEqual(found.num_without[i, j], (~_MASKS[kept, i]).sum())

  def test_tiles_change_nothing(self):
    outcomes = np.tile(_OUTCOMES, 300)  # More targets than a tile.
    own_ids = np.arange(outcomes.shape[1]) % 8 - 1
    found = lib.influence(_MASKS, outcomes, own_ids=own_ids)
    last = lib.influence(_MASKS, outcomes[:, -3:], own_ids=own_ids[-3:])
    np.testing.assert_allclose(found.value[:, -3:], last.value, atol=1e-6)
    np.testing.assert_array_equal(found.num_with[:, -3:], last.num_with)

  def test_planted_effect_and_coverage(self):
    rng = np.random.default_rng(1)
    masks = rng.random((400, 300)) < 0.5
    weights = rng.normal(0, 0.1, size=(300, 4))
    outcomes = masks @ weights + rng.normal(size=(400, 4))
    found = lib.influence(masks, outcomes)
    within = np.abs(found.value - weights) < 2 * found.error
    self.assertBetween(within.mean(), 0.92, 0.98)  # 95 % of 1,200 intervals.

  def test_self_influence_matches_a_loop(self):
    outcomes = _RNG.normal(-1, 3, size=(60, 7))
    found = lib.self_influence(_MASKS, outcomes)
    for i in range(7):
      value, error = _by_hand(_MASKS[:, i], outcomes[:, i])
      np.testing.assert_allclose(found.value[i], value, atol=1e-5)
      np.testing.assert_allclose(found.error[i], error, rtol=1e-5)
      inside = outcomes[_MASKS[:, i], i].mean()
      np.testing.assert_allclose(found.mean_with[i], inside, atol=1e-5)
    np.testing.assert_allclose(
        found.mean_with - found.mean_without, found.value, atol=1e-6
    )

  def test_what_cannot_be_told_is_nan(self):
    masks = _MASKS.copy()
    masks[:, 0], masks[:, 1] = True, False
    masks[:, 2] = np.arange(60) == 5
    found = lib.influence(masks, _OUTCOMES)
    self.assertTrue(np.isnan(found.value[:2]).all())
    self.assertTrue(np.isfinite(found.value[2:]).all())
    self.assertTrue(np.isnan(found.error[:3]).all())
    own = lib.self_influence(masks, np.tile(_OUTCOMES[:, :1], 7))
    np.testing.assert_array_equal(np.isnan(own.value), np.arange(7) < 2)

  @parameterized.parameters(
      ({'masks': _MASKS.astype(int)}, 'bool masks'),
      ({'masks': _MASKS[:1]}, '2 models or more'),
      ({'outcomes': _OUTCOMES[:-1]}, r'outcomes \[60, num_targets\]'),
      ({'outcomes': _OUTCOMES * np.nan}, 'models that diverged'),
      ({'own_ids': np.arange(4)}, '5 integers from -1 to 6'),
      ({'own_ids': np.arange(5) + 3}, '5 integers from -1 to 6'),
  )
  def test_errors(self, changes, message):
    options = {'masks': _MASKS, 'outcomes': _OUTCOMES, **changes}
    with self.assertRaisesRegex(ValueError, message):
      lib.influence(**options)

  def test_self_influence_needs_own_outcomes(self):
    with self.assertRaisesRegex(ValueError, '--targets=test,train'):
      lib.self_influence(_MASKS, _OUTCOMES)


if __name__ == '__main__':
  absltest.main()
