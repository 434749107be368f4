"""Directions against NumPy's SVD, and removals in a linear world."""

import json

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.analysis import directions as lib

_NUM_TRAIN, _NUM_TARGETS = 40, 30


def _weights(seed=0):
  """Two groups of targets that rely on two ends of one direction, and noise."""
  rng = np.random.default_rng(seed)
  weights = 0.01 * rng.normal(size=(_NUM_TRAIN, _NUM_TARGETS))
  weights[:5, :15] += 1.0
  weights[:5, 15:] -= 1.0
  weights[5:10, :15] -= 0.5
  weights[5:10, 15:] += 0.5
  return weights


def _linear(weights, noise=0.0, seed=0):
  rng = np.random.default_rng(seed)

  def retrain(masks, replicates, *, relabel=None):
    del relabel
    outcomes = np.stack([masks @ weights] * replicates)
    return outcomes + noise * rng.normal(size=outcomes.shape)

  return retrain


def _removed(weights, retrain, **options):
  options = {'num_directions': 1, 'num_removed': 5, 'group_size': 3} | options
  found = lib.principal('test', lib.unit_rows(weights), 2)
  return lib.remove_ends(
      'test',
      weights,
      scores=found.loadings,
      projections=found.projections,
      retrain=retrain,
      plan=lib.RemovalPlan(**options),
  )


class PrincipalTest(parameterized.TestCase):

  def test_matches_a_singular_value_decomposition(self):
    rows = np.random.default_rng(0).normal(size=(12, 20)) * np.arange(1, 21)
    found = lib.principal('test', rows, 4)
    centred = rows - rows.mean(axis=0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    shares = values**2 / np.sum(values**2)
    np.testing.assert_allclose(found.explained, shares[:4], rtol=1e-10)
    np.testing.assert_allclose(found.spectrum, shares, rtol=1e-8, atol=1e-12)
    for number in range(4):
      sign = np.sign(found.loadings[number] @ right[number])
      np.testing.assert_allclose(
          found.loadings[number], sign * right[number], atol=1e-10
      )
      np.testing.assert_allclose(
          found.projections[number],
          sign * left[:, number] * values[number],
          atol=1e-9,
      )
      largest = np.abs(found.loadings[number]).argmax()
      self.assertGreater(found.loadings[number, largest], 0)

  def test_loadings_of_other_vectors(self):
    rows = lib.unit_rows(_weights())
    found = lib.principal('test', rows, 3)
    np.testing.assert_allclose(
        lib.loadings(found, rows).T, found.loadings, atol=1e-10
    )
    np.testing.assert_allclose(
        lib.loadings(found, 2 * rows + 7), 2 * lib.loadings(found, rows)
    )

  def test_unit_rows(self):
    rows = lib.unit_rows(np.array([[3.0, 0.0], [4.0, 0.0]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 0.0]])

  def test_ends(self):
    high, low = lib.ends(np.array([0.1, 5.0, -2.0, 1.0]), 2)
    self.assertEqual(high.tolist(), [1, 3])
    self.assertEqual(low.tolist(), [2, 0])

  def test_errors(self):
    rows = np.random.default_rng(0).normal(size=(5, 9))
    for count in (0, 5):
      with self.assertRaisesRegex(ValueError, '`who` expects from 1 to 4 dir'):
        lib.principal('who', rows, count)
    with self.assertRaisesRegex(ValueError, '`who`: .* are the same'):
      lib.principal('who', np.zeros((5, 9)), 1)


class RemoveEndsTest(parameterized.TestCase):

  def test_ends_and_groups_are_the_planted_ones(self):
    found = _removed(_weights(), _linear(_weights()))
    ends = [set(rows) for rows in found.removed[0].tolist()]
    self.assertCountEqual(ends, [set(range(5)), set(range(5, 10))])
    highest, lowest = found.groups[0]
    # The group of the highest projections is of one kind, the lowest of the
    # other; the five strongest training examples are the positive end.
    self.assertTrue((highest < 15).all() != (lowest < 15).all())
    self.assertEqual(set(found.removed[0, 0].tolist()), set(range(5)))

  def test_a_linear_world_is_predicted_and_moves_oppositely(self):
    weights = _weights()
    found = _removed(weights, _linear(weights, noise=0.01))
    np.testing.assert_allclose(found.observed, found.predicted, atol=0.05)
    self.assertTrue(found.opposite.all())
    # By hand: the positive end holds 5 examples of weight 1.
    self.assertAlmostEqual(found.observed[0, 0, 0], -5, delta=0.1)
    self.assertAlmostEqual(found.observed[0, 0, 1], 5, delta=0.1)
    self.assertAlmostEqual(found.observed[0, 0, 2], 0, delta=0.1)
    self.assertAlmostEqual(found.observed[0, 0, 3], -10, delta=0.2)
    self.assertAlmostEqual(found.observed[0, 1, 3], 5, delta=0.2)
    self.assertGreater(found.agreement.spearman, 0.9)
    low, high = found.interval
    self.assertTrue((low <= found.observed).all())
    self.assertTrue((high >= found.observed).all())

  def test_a_direction_that_retraining_denies_is_not_opposite(self):
    found = _removed(_weights(), _linear(0 * _weights(), noise=0.1))
    self.assertFalse(found.opposite.any())
    self.assertLess(np.abs(found.observed).max(), 0.2)

  def test_random_removals(self):
    weights = _weights()
    found = _removed(weights, _linear(weights), num_random=200)
    # A random set of 5 of 40 holds 5/8 of an example of either end.
    expected = -(5 / 8 - 0.5 * 5 / 8)
    self.assertAlmostEqual(
        found.random[0, 0],
        np.sign(-found.predicted[0, 0, 0]) * expected,
        delta=0.25,
    )
    low, high = found.random_interval[:, 0, 0]
    self.assertLess(low, found.random[0, 0])
    self.assertGreater(high, found.random[0, 0])

  def test_one_retraining_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'at least 2, got 1.*no interval'):
      _removed(_weights(), _linear(_weights()), replicates=1, num_random=1)

  def test_diverged_retrainings_are_left_out(self):
    weights = _weights()
    inner = _linear(weights)

    def retrain(masks, replicates, *, relabel=None):
      outcomes = inner(masks, replicates, relabel=relabel)
      outcomes[0, 0] = np.nan
      return outcomes

    found = _removed(weights, retrain)
    np.testing.assert_allclose(found.observed, found.predicted, atol=1e-9)

  def test_counts_its_trainings(self):
    weights, trained = _weights(), []
    inner = _linear(weights)

    def retrain(masks, replicates, *, relabel=None):
      trained.append(len(masks) * replicates)
      return inner(masks, replicates, relabel=relabel)

    found = _removed(weights, retrain, replicates=3, control_replicates=4)
    self.assertEqual(sum(trained), found.num_retrained)
    plan = lib.RemovalPlan(num_directions=1, replicates=3, control_replicates=4)
    self.assertEqual(plan.num_retrainings(), found.num_retrained)

  def test_json(self):
    weights = _weights()
    text = json.dumps(_removed(weights, _linear(weights)).to_json())
    self.assertIn('opposite', text)
    found = lib.principal('test', lib.unit_rows(weights), 2)
    listed = json.loads(json.dumps(found.to_json()))
    self.assertLen(listed, 2)
    self.assertEqual(set(listed[0]['train_positive'][:5]), set(range(5)))

  @parameterized.parameters(
      ({'num_removed': 21}, 'num_removed from 1 to 20, got 21'),
      ({'num_removed': 0}, 'num_removed from 1 to 20, got 0'),
      ({'group_size': 16}, 'group_size from 1 to 15'),
      ({'num_directions': 3}, 'num_directions from 1 to 2'),
      ({'replicates': 0}, 'replicates of at least 2'),
      ({'num_random': 0}, 'num_random at least 1'),
      ({'batch_size': 36}, 'smaller than a batch of 36'),
      (
          {'train_labels': np.repeat([0, 1], [5, 35])},
          'leave class 0 without an example',
      ),
  )
  def test_errors(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      _removed(_weights(), _linear(_weights()), **options)


if __name__ == '__main__':
  absltest.main()
