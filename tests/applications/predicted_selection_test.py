"""Picking training points greedily, by gradients and at random."""

import itertools
import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.applications import predicted_selection as lib
from jdm.modelpred import baselines
from jdm.modelpred import evaluation
from jdm.modelpred import mask_gradients
from jdm.modelpred import points
from tests.modelpred import made_up

_CHOICE = np.arange(0, 40, 2)


def _noisy(loss='logistic'):
  """A pool with some labels turned, and clean validation examples."""
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(70, 3))
  scores = 3 * inputs @ rng.normal(size=(3, 3)) + 0.5 * rng.normal(size=(70, 3))
  num_classes = 3 if loss == 'softmax' else 2
  labels = scores.argmax(axis=1) if num_classes == 3 else scores[:, 0] > 0
  labels = labels.astype(np.int32)
  train = np.array(labels[:30])
  train[:6] = (train[:6] + 1) % num_classes
  pool = points.Pool(
      objective=made_up.pool(loss).objective, inputs=inputs[:30], labels=train
  )
  return pool, inputs[30:], labels[30:]


class RulesTest(parameterized.TestCase):

  @parameterized.parameters('logistic', 'softmax')
  def test_picks_beat_random_ones_and_leave_turned_labels_out(self, loss):
    pool, inputs, labels = _noisy(loss)
    num = len(pool.labels)
    own = inputs[_CHOICE], labels[_CHOICE]
    gradient = mask_gradients.exact(pool, np.ones(num), *own)
    rules = {
        'greedy': lambda: lib.backward(
            pool, baselines.exact(pool), *own, step=2
        ),
        'gradient': lambda: lib.one_shot(gradient, pool),
    }
    sizes = [num // 3, num // 2]
    found = lib.predicted_selection(
        pool, inputs, labels, rules, sizes=sizes, choice_ids=_CHOICE
    )
    self.assertEqual(found.rules, ('greedy', 'gradient', 'random'))
    # A single gradient says less: its picks are judged, too.
    self.assertTrue(np.all(found.gain[0] > 0))
    np.testing.assert_array_equal(found.gain[2], 0)
    low, high = found.gain_interval
    self.assertTrue(np.all((low <= found.gain) & (found.gain <= high)))
    for order in found.orders.values():
      self.assertLess(np.isin(order[: num // 2], np.arange(6)).sum(), 3)
    self.assertEqual(set(found.seconds), {'greedy', 'gradient'})
    json.dumps(found.to_json())

  def test_backward_is_the_greedy_search_written_out(self):
    pool, inputs, labels = _noisy()
    predict = baselines.exact(pool)
    found = lib.backward(pool, predict, inputs, labels, smallest=27)
    mask, dropped = np.ones(len(pool.labels)), []
    for _ in range(3):
      trials = np.flatnonzero(mask)
      masks = np.repeat(mask[None], len(trials), axis=0)
      masks[np.arange(len(trials)), trials] = 0
      losses, _ = evaluation.test_losses(
          pool.objective, predict(masks), inputs, labels
      )
      point = int(trials[np.argmin(losses)])
      mask[point] = 0
      dropped.append(point)
    self.assertEqual(found[::-1][:3].tolist(), dropped)

  def test_every_class_keeps_a_point(self):
    pool, inputs, labels = _noisy('softmax')
    order = lib.backward(
        pool, baselines.exact(pool), inputs, labels, step=5, smallest=1
    )
    np.testing.assert_array_equal(np.sort(order), np.arange(len(order)))
    self.assertLen(set(pool.labels[order[:3]].tolist()), 3)

  @parameterized.parameters(
      ({'sizes': [0]}, 'sizes'),
      ({'sizes': [1]}, 'first 1 points.*miss a class'),
      ({'choice_ids': np.array([1, 1])}, 'target_ids'),
  )
  def test_errors(self, options, words):
    pool, inputs, labels = _noisy()
    given: Any = {'sizes': [10], 'choice_ids': _CHOICE, **options}
    order = np.arange(len(pool.labels))
    with self.assertRaisesRegex(ValueError, words):
      lib.predicted_selection(
          pool, inputs, labels, {'all': lambda: order}, **given
      )

  def test_orders_and_steps_are_checked(self):
    pool, inputs, labels = _noisy()
    with self.assertRaisesRegex(ValueError, "'some' to order all"):
      lib.predicted_selection(
          pool,
          inputs,
          labels,
          {'some': lambda: np.arange(3)},
          sizes=[10],
          choice_ids=_CHOICE,
      )
    for step, smallest in itertools.product((0, 1), (0, 10**6)):
      with self.assertRaisesRegex(ValueError, 'a step of 1 or more'):
        lib.backward(
            pool,
            baselines.exact(pool),
            inputs,
            labels,
            step=step,
            smallest=smallest,
        )


if __name__ == '__main__':
  absltest.main()
