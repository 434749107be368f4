"""Sampled values against enumeration of small games, and their errors."""

import dataclasses

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.analysis import sampled_values
from jdm.analysis import semivalues
from tests import games

_PLAIN = semivalues.Resampling(num_bootstrap=0, num_splits=1)
_NUM = 6
_MASKS = games.all_masks(_NUM)
_UTILITIES = games.random_utilities(_NUM)
_WEIGHTS = np.array([3.0, -1.0, 0.5, 2.0, 0.0, -4.0])


def _number(masks):
  return masks @ (1 << np.arange(_NUM)[::-1])


def _game(masks):
  """The utility of a set, from the table of all sets."""
  return _UTILITIES[_number(masks)]


def _additive(masks):
  return 1.5 + masks @ _WEIGHTS


class _Counter:
  """A utility that counts the sets it is asked for."""

  def __init__(self, utility):
    self.utility, self.count = utility, 0

  def __call__(self, masks):
    self.count += len(masks)
    return self.utility(masks)


def _all_orders():
  """Walks of every order once: then the means are exact."""
  walked = sampled_values.walk(_game, _NUM, num_orders=20_000, seed=3)
  orders = np.argsort(walked.places, axis=1)
  _, first = np.unique(orders, axis=0, return_index=True)
  assert len(first) == 720
  return dataclasses.replace(
      walked,
      gains=walked.gains[first],
      places=walked.places[first],
      units=np.arange(720),
  )


class ShapleyTest(parameterized.TestCase):

  def test_every_order_once_is_exact(self):
    found = sampled_values.shapley(_all_orders(), resampling=_PLAIN)
    expected = games.shapley(_MASKS, _UTILITIES)
    np.testing.assert_allclose(found.values[:, 0], expected, atol=1e-12)

  @parameterized.parameters((16, 1), (4, 1), (1, 4), (2, 3), (1, 1))
  def test_beta(self, alpha, beta):
    found = sampled_values.beta_shapley(
        _all_orders(), alpha=alpha, beta=beta, resampling=_PLAIN
    )
    weights = sampled_values.beta_weights(_NUM, alpha, beta)
    self.assertAlmostEqual(weights.sum(), _NUM)
    # Kwon and Zou's definition, by integration over the chance of being drawn:
    # an example's others are in with chance p ~ Beta(beta, alpha).
    chance = (np.arange(20_000) + 0.5) / 20_000
    density = chance ** (beta - 1) * (1 - chance) ** (alpha - 1)
    density /= density.sum()
    expected = games.semivalues(
        _MASKS,
        _UTILITIES,
        lambda size: np.sum(
            density * chance**size * (1 - chance) ** (_NUM - 1 - size)
        ),
    )
    # The sum over 20,000 midpoints is off by about this.
    np.testing.assert_allclose(found.values[:, 0], expected, atol=1e-6)

  @parameterized.product(antithetic=[False, True], num_utilities=[1, 2])
  def test_additive_is_exact(self, antithetic, num_utilities):
    def utility(masks):
      own = _additive(masks)
      return own if num_utilities == 1 else np.stack([own, -own], axis=1)

    walked = sampled_values.walk(
        utility, _NUM, num_orders=4, antithetic=antithetic
    )
    found = sampled_values.shapley(walked)
    np.testing.assert_allclose(found.values[:, 0], _WEIGHTS, atol=1e-12)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-12)
    self.assertEqual(found.values.shape, (_NUM, num_utilities))
    if num_utilities == 2:
      np.testing.assert_allclose(found.values[:, 1], -_WEIGHTS, atol=1e-12)

  @parameterized.parameters(False, True)
  def test_standard_errors(self, antithetic):
    """Over repetitions, errors are as large as the standard errors say."""
    exact = games.shapley(_MASKS, _UTILITIES)
    scores = []
    for seed in range(200):
      walked = sampled_values.walk(
          _game, _NUM, num_orders=40, antithetic=antithetic, seed=seed
      )
      found = sampled_values.shapley(walked, resampling=_PLAIN)
      error = found.values[:, 0] - exact
      scores.append(error / found.standard_error[:, 0])
      self.assertAlmostEqual(found.values.sum(), _UTILITIES[-1] - _UTILITIES[0])
    scores = np.array(scores)
    # 200 x 6 scores, about 1,000 of them free: a deviation known to 0.03, more
    # by the t distribution of 20 pairs.
    self.assertLess(abs(scores.std() - 1), 0.12)
    self.assertLess(abs(scores.mean()), 0.1)

  def test_antithetic_pairs_are_exact_for_quadratic_games(self):
    """What comes before an example in one order comes after in the other."""
    weights = np.arange(1.0, _NUM + 1)

    def diminishing(masks):
      total = masks @ weights
      return 10 * total - 0.2 * total**2

    options = {'num_orders': 4, 'antithetic': True}
    walked = sampled_values.walk(diminishing, _NUM, **options)
    np.testing.assert_array_equal(
        walked.places[::2], _NUM - 1 - walked.places[1::2]
    )
    found = sampled_values.shapley(walked, resampling=_PLAIN)
    expected = games.shapley(_MASKS, diminishing(_MASKS))
    np.testing.assert_allclose(found.values[:, 0], expected, atol=1e-10)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-10)

  @parameterized.parameters(False, True)
  def test_more_orders_continue(self, antithetic):
    options = {'antithetic': antithetic, 'seed': 5}
    whole = sampled_values.walk(_game, _NUM, num_orders=10, **options)
    first = sampled_values.walk(_game, _NUM, num_orders=4, **options)
    rest = sampled_values.walk(
        _game, _NUM, num_orders=6, first_order=4, **options
    )
    joined = sampled_values.join(first, rest)
    np.testing.assert_array_equal(joined.gains, whole.gains)
    np.testing.assert_array_equal(joined.units, whole.units)

  def test_evaluations_are_counted(self):
    utility = _Counter(_game)
    walked = sampled_values.walk(utility, _NUM, num_orders=7)
    self.assertEqual(walked.num_evaluations, 2 + 7 * (_NUM - 1))
    self.assertEqual(utility.count, walked.num_evaluations)
    self.assertEqual(walked.num_saved, 0)
    utility = _Counter(_game)
    again = sampled_values.walk(
        utility, _NUM, num_orders=7, empty_utility=_UTILITIES[0]
    )
    self.assertEqual(utility.count, walked.num_evaluations - 1)
    np.testing.assert_array_equal(again.gains, walked.gains)


class TruncationTest(parameterized.TestCase):

  def _saturating(self, masks):
    return np.minimum(masks.sum(axis=1), 30) / 30.0

  def test_saves_work_and_keeps_values(self):
    num = 100
    utility = _Counter(self._saturating)
    walked = sampled_values.walk(utility, num, num_orders=8, tolerance=0.0)
    whole = sampled_values.walk(self._saturating, num, num_orders=8)
    np.testing.assert_array_equal(walked.gains, whole.gains)
    self.assertEqual(utility.count, walked.num_evaluations)
    # Blocks of 5: the 30th prefix is in the sixth.
    self.assertEqual(walked.num_evaluations, 2 + 8 * 30)
    self.assertEqual(
        walked.num_saved, whole.num_evaluations - walked.num_evaluations
    )
    found = sampled_values.shapley(walked)
    self.assertEqual(found.num_saved, walked.num_saved)
    self.assertEqual(found.num_models, walked.num_evaluations)

  def test_stops_at_the_first_prefix_within_the_tolerance(self):
    walked = sampled_values.walk(
        self._saturating, 100, num_orders=4, tolerance=0.2001
    )
    # 24 of 30 are within a fifth: the gains of 24 examples are kept.
    np.testing.assert_array_equal(walked.gains[:, :, 0] > 0, walked.places < 24)

  def test_blocks_do_not_matter(self):
    """By hand: the same orders, cut at the first prefix within tolerance."""
    tolerance = 0.8
    walked = sampled_values.walk(
        _game, _NUM, num_orders=50, tolerance=tolerance
    )
    whole = sampled_values.walk(_game, _NUM, num_orders=50)
    orders = np.argsort(whole.places, axis=1)
    for row in range(50):
      steps = whole.gains[row, orders[row], 0]
      prefixes = _UTILITIES[0] + np.cumsum(steps)
      near = np.abs(prefixes - _UTILITIES[-1]) <= tolerance
      steps[int(near.argmax()) + 1 :] = 0
      np.testing.assert_allclose(
          walked.gains[row, orders[row], 0], steps, atol=1e-12
      )


class OthersTest(parameterized.TestCase):

  def test_banzhaf(self):
    found = sampled_values.banzhaf(
        _game, _NUM, num_sets=20_000, resampling=_PLAIN
    )
    error = found.values[:, 0] - games.banzhaf(_MASKS, _UTILITIES)
    self.assertLess(np.abs(error / found.standard_error[:, 0]).max(), 4)
    self.assertLess(np.abs(error).max(), 0.1)

  def test_leave_one_out(self):
    found = sampled_values.leave_one_out(_game, _NUM, names=('u',))
    rows = 63 - (1 << np.arange(_NUM)[::-1])
    np.testing.assert_allclose(
        found.values[:, 0], _UTILITIES[63] - _UTILITIES[rows]
    )
    self.assertEqual(found.num_models, _NUM + 1)
    self.assertEqual(found.names, ('u',))
    np.testing.assert_array_equal(found.standard_error, 0)

  @parameterized.parameters(
      ({'num_orders': 3, 'antithetic': True}, 'must be even'),
      ({'num_orders': 0}, 'an order or more'),
      ({'num_orders': 2, 'first_order': -1}, 'from 0'),
  )
  def test_bad_numbers(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      sampled_values.walk(_game, _NUM, **options)

  def test_bad_utilities(self):
    with self.assertRaisesRegex(ValueError, r'got \[3\]'):
      sampled_values.walk(lambda masks: np.zeros(3), _NUM, num_orders=2)
    with self.assertRaisesRegex(ValueError, '1 of 1 sets have none'):
      sampled_values.walk(
          lambda masks: np.full(len(masks), np.nan), _NUM, num_orders=2
      )

  def test_one_unit_is_too_few(self):
    walked = sampled_values.walk(_game, _NUM, num_orders=2, antithetic=True)
    with self.assertRaisesRegex(ValueError, 'two random orders'):
      sampled_values.shapley(walked)

  def test_beta_refuses_zero(self):
    with self.assertRaisesRegex(ValueError, 'positive alpha and beta'):
      sampled_values.beta_weights(5, 0, 1)


if __name__ == '__main__':
  absltest.main()
