"""Sizes at which margins cross zero, against loops and by hand."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm.analysis import interventions
from jdm.analysis import support as lib

_RNG = np.random.default_rng(0)


class SizesTest(parameterized.TestCase):

  def test_default_sizes(self):
    self.assertEqual(lib.default_sizes(100), [1, 2, 3, 4, 6, 8, 11, 16, 20])
    self.assertEqual(lib.default_sizes(3), [1])
    self.assertEqual(lib.default_sizes(1500)[-1], 300)

  def test_predicted_by_a_loop(self):
    weights = _RNG.normal(size=(30, 40))
    control = _RNG.uniform(0.1, 12, size=40)
    rows = interventions.rank(weights, weights > 0, 20)
    found = lib.predicted(control, weights, rows, 12)
    for target in range(40):
      margin, expected = control[target], 0
      for size, row in enumerate(rows[target, :12], start=1):
        if row < 0:
          break
        margin -= weights[row, target]
        if margin < 0:
          expected = size
          break
      self.assertEqual(found[target], expected)
    self.assertIn(0, found)  # Both kinds were met.
    self.assertGreater(found.max(), 1)

  @parameterized.parameters(
      ([1.0, -1.0], 7),  # 0 at 6 is not below 0.
      ([1.0, -3.5], 5),  # 0 at 4.89.
      ([-2.0, -3.0], 3),
      ([1.0, 0.5], 0),
      ([3.0, -1.0], 7),  # Pooled to 2.5 at 0 and 4; 0 at 6.86.
      ([-0.5, 0.3], 4),  # Pooled to -0.1 at 4 and 8; 0 at 3.8.
      ([np.nan, -2.0], 5),
      ([1.0, np.nan], 0),
  )
  def test_interpolated_by_hand(self, margins, expected):
    found = lib.interpolated(
        np.array([2.0]), np.array([4, 8]), np.array(margins)[:, None]
    )
    self.assertEqual(found[0], expected)

  def test_interpolated_finds_a_straight_crossing(self):
    control = _RNG.uniform(1, 9, size=50)
    slope = _RNG.uniform(0.1, 0.5, size=50)
    sizes = np.array(lib.default_sizes(500))
    margins = control[None] - slope[None] * sizes[:, None]
    found = lib.interpolated(control, sizes, margins)
    np.testing.assert_array_equal(found, np.floor(control / slope) + 1)

  def test_inflated(self):
    found = lib.inflated(np.array([0, 1, 5, 10, 50]), 0.2, 40)
    np.testing.assert_array_equal(found, [0, 2, 6, 12, 40])

  def test_safe_shift_covers(self):
    rng = np.random.default_rng(1)
    spread, num = 2.0, 20_000
    measured = rng.normal(scale=spread / np.sqrt(5), size=num)
    fresh = rng.normal(scale=spread / np.sqrt(20), size=num)
    shift = lib.safe_shift(np.array([spread**2, np.nan]), 5, 20)
    share = np.mean(fresh <= measured + shift[0])
    self.assertAlmostEqual(share, 0.9, delta=0.01)  # Five standard errors.
    self.assertEqual(shift[1], 0)


class EstimateTest(parameterized.TestCase):

  def test_counts(self):
    sizes = np.array([0, 3, 5, 9, 2])
    margins = np.array([np.nan, -1.0, 0.5, -0.1, np.nan])
    found = lib.certified(sizes, margins)
    self.assertEqual(
        (found.num_censored, found.num_certified, found.num_held), (1, 3, 2)
    )
    self.assertAlmostEqual(found.hold_rate, 2 / 3)
    expected = stats.binomtest(2, 3).proportion_ci(0.95, method='wilson')
    self.assertEqual(found.interval, (expected.low, expected.high))
    shares = [lib.share_flipped(found, k, certified=False) for k in (1, 3, 9)]
    self.assertEqual(shares, [0, 2 / 5, 4 / 5])
    shares = [lib.share_flipped(found, k, certified=True) for k in (1, 3, 9)]
    self.assertEqual(shares, [0, 1 / 5, 2 / 5])

  def test_nothing_certified(self):
    found = lib.certified(np.array([0, 3]), np.full(2, np.nan))
    self.assertEqual(found.num_certified, 0)
    self.assertTrue(np.isnan([found.hold_rate, *found.interval]).all())


if __name__ == '__main__':
  absltest.main()
