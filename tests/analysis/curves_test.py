"""Removal and addition curves in a planted additive world."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm.analysis import curves

_NUM_TRAIN, _NUM_TARGETS = 12, 3
_WEIGHTS = np.random.default_rng(0).normal(size=(_NUM_TRAIN, _NUM_TARGETS))
_MEASURES = {
    'first': lambda outcomes: outcomes[..., 0],
    'mean': lambda outcomes: outcomes.mean(axis=-1),
}


def _exact(masks, replicates):
  return np.stack([masks @ _WEIGHTS] * replicates)


def _noisy(seed=0):
  rng = np.random.default_rng(seed)

  def retrain(masks, replicates):
    outcomes = _exact(masks, replicates)
    return outcomes + rng.normal(size=outcomes.shape)

  return retrain


def _retrained(orders, sizes, mode='remove', retrain=_exact, replicates=3):
  return curves.retrained(
      'test',
      orders,
      sizes,
      mode=mode,
      measures=_MEASURES,
      retrain=retrain,
      replicates=replicates,
      num_targets=_NUM_TARGETS,
  )


class OrdersTest(parameterized.TestCase):

  def test_by_value(self):
    values = np.array([0.5, -1.0, 2.0, 0.0])
    orders = curves.by_value({'v': values}, 'remove', num_random=5, seed=0)
    self.assertEqual(orders['v, highest first'].tolist(), [2, 0, 3, 1])
    self.assertEqual(orders['v, lowest first'].tolist(), [1, 3, 0, 2])
    self.assertEqual(orders['random'].shape, (5, 4))
    added = curves.by_value({'v': values}, 'add', num_random=5, seed=0)
    self.assertNotIn('v, lowest first', added)
    np.testing.assert_array_equal(orders['random'], added['random'])

  def test_ties_are_broken_at_random(self):
    values = {'v': np.zeros(30)}
    orders = [
        curves.by_value(values, 'add', 1, seed)['v, highest first']
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(orders[0], orders[1])
    self.assertFalse(np.array_equal(orders[0], orders[2]))
    self.assertFalse(np.array_equal(orders[0], np.arange(30)))

  def test_masks(self):
    order = np.array([3, 1, 0, 2])
    added = curves.masks_of(order, np.array([1, 3]), 'add')
    self.assertEqual(added.tolist(), [[0, 0, 0, 1], [1, 1, 0, 1]])
    removed = curves.masks_of(order, np.array([1, 3]), 'remove')
    np.testing.assert_array_equal(removed, ~added)

  def test_halves(self):
    first, second = curves.halves('test', 11, seed=3)
    self.assertLen(first, 5)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([first, second])), np.arange(11)
    )
    given, others = curves.halves('test', 5, [4, 1])
    self.assertEqual((given.tolist(), others.tolist()), ([1, 4], [0, 2, 3]))


class RetrainedTest(parameterized.TestCase):

  @parameterized.parameters('remove', 'add')
  def test_values_by_hand(self, mode):
    order = np.random.default_rng(1).permutation(_NUM_TRAIN)
    draws = np.stack([np.roll(order, shift) for shift in (1, 2)])
    found = _retrained({'own': order, 'random': draws}, [2, 5, 6], mode)
    for number, size in enumerate([2, 5, 6]):
      kept = order[:size] if mode == 'add' else order[size:]
      outcomes = _WEIGHTS[kept].sum(axis=0)
      np.testing.assert_allclose(
          found.values[:, 0, number], [outcomes[0], outcomes.mean()]
      )
    own = found.values[:, 0]
    area = (1.5 * (own[:, 0] + own[:, 1]) + 0.5 * (own[:, 1] + own[:, 2])) / 4
    np.testing.assert_allclose(found.area[:, 0], area)
    np.testing.assert_allclose(found.gain[:, 0], area - found.area[:, 1])
    np.testing.assert_allclose(found.gain[:, 1], 0)
    self.assertEqual(found.units, (3, 2))
    self.assertEqual(found.num_retrained, 3 * (3 + 2))
    self.assertTrue(np.isnan(found.gain_interval[:, :, 1]).all())

  def test_intervals_by_hand(self):
    order = np.arange(_NUM_TRAIN)
    draws = np.stack([order, order[::-1], np.roll(order, 3)])
    outcomes = []
    noisy = _noisy()

    def retrain(masks, replicates):
      outcomes.append(noisy(masks, replicates))
      return outcomes[-1]

    found = _retrained({'own': order, 'random': draws}, [4], retrain=retrain)
    own = outcomes[0][:, 0, 0]  # Replicates of one subset.
    drawn = outcomes[1][0, :, 0]  # One training of each order.
    half = stats.t.ppf(0.975, 2) * stats.sem(own)
    np.testing.assert_allclose(
        found.interval[:, 0, 0, 0], [own.mean() - half, own.mean() + half]
    )
    welch = stats.ttest_ind(own, drawn, equal_var=False)
    interval = welch.confidence_interval(0.95)
    np.testing.assert_allclose(
        found.gain_interval[:, 0, 0], [interval.low, interval.high]
    )

  def test_diverged_trainings_are_left_out(self):
    def retrain(masks, replicates):
      outcomes = _exact(masks, replicates)
      if replicates > 1:
        outcomes[0] = np.nan
      return outcomes

    order = np.arange(_NUM_TRAIN)
    orders = {'own': order, 'random': np.stack([order, order[::-1]])}
    found = _retrained(orders, [3, 4], retrain=retrain)
    expected = _retrained(orders, [3, 4])
    np.testing.assert_allclose(found.values, expected.values)

  def test_one_training_has_no_interval(self):
    order = np.arange(_NUM_TRAIN)
    found = _retrained({'own': order, 'random': order[::-1]}, [3], replicates=1)
    self.assertTrue(np.isnan(found.interval).all())
    self.assertTrue(np.isnan(found.gain_interval).all())


class CheckTest(parameterized.TestCase):

  def _check(self, order=None, sizes=(2, 4), mode='remove', **options):
    order = np.arange(_NUM_TRAIN) if order is None else np.asarray(order)
    curves.check('test', {'own': order}, sizes, mode, batch_size=3, **options)

  def test_passes(self):
    self._check(labels=np.arange(_NUM_TRAIN) % 2, num_classes=2)

  @parameterized.named_parameters(
      ('mode', {'mode': 'swap'}, "modes.*'swap'"),
      ('descending', {'sizes': (4, 2)}, r'ascending sizes.*\[4, 2\]'),
      ('none', {'sizes': ()}, 'at least one'),
      ('zero', {'sizes': (0, 2)}, 'cannot remove 0 to 2 of 12'),
      ('all', {'sizes': (2, 12)}, 'cannot remove 2 to 12 of 12'),
      ('order', {'order': [0] * 12}, "order 'own' to hold every"),
      ('batch', {'sizes': (2, 10)}, 'remove by own.*smaller than a batch of 3'),
      (
          'class',
          {'labels': np.arange(12) // 4, 'num_classes': 3},
          'leave class 0 without an example',
      ),
  )
  def test_errors(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      self._check(**options)

  def test_trainable_sizes(self):
    kept, reasons = curves.trainable_sizes(
        {'own': np.arange(_NUM_TRAIN)},
        [2, 4, 11],
        'remove',
        batch_size=3,
        labels=np.arange(12) // 4,
        num_classes=3,
    )
    self.assertEqual(kept, [2])
    self.assertLen(reasons, 2)
    self.assertIn('4 left out', reasons[0])
    self.assertIn('class 0', reasons[0])

  @parameterized.parameters(
      ([5], r'in \[0, 5\), got \[5\]'),
      ([1, 1], 'once'),
      ([0, 1, 2, 3, 4], 'no target to report on'),
      ([], 'at least one'),
  )
  def test_halves(self, ids, words):
    with self.assertRaisesRegex(ValueError, words):
      curves.halves('test', 5, ids)


if __name__ == '__main__':
  absltest.main()
