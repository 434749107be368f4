"""ModelDiff in a linear world: the planted difference, and a plain oracle."""

import dataclasses
import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import decomposition

from jdm import datamodels as datamodels_lib
from jdm.analysis import cues
from jdm.analysis import directions as directions_lib
from jdm.applications import comparison as lib

_NUM_TRAIN, _NUM_TARGETS = 50, 36
_CUE_TRAIN = np.arange(8)
_CUE_TARGETS = np.arange(0, _NUM_TARGETS, 2)


def _datamodels(weights, **fields):
  num_train, num_targets = weights.shape
  values: dict[str, Any] = {
      name: np.zeros(num_targets) for name in ('bias', 'lam', 'gap', 'val_mse')
  }
  values |= {
      'nnz': np.zeros(num_targets, int),
      'train_ids': np.arange(num_train),
      'target_ids': np.arange(num_targets),
      'outcome': 'soft_margin',
  }
  return datamodels_lib.Datamodels(weights=weights, **(values | fields))


def _pair(seed=0):
  """A uses eight examples on half of the targets; B does not."""
  rng = np.random.default_rng(seed)
  shared = rng.normal(size=(_NUM_TRAIN, _NUM_TARGETS))
  first = shared + 0.05 * rng.normal(size=shared.shape)
  second = shared + 0.05 * rng.normal(size=shared.shape)
  first[np.ix_(_CUE_TRAIN, _CUE_TARGETS)] += 1.5
  return first, second


def _retrain(weights):
  def retrain(masks, replicates, *, relabel=None):
    del relabel
    noise = np.random.default_rng(0).normal(size=(replicates, len(masks), 1))
    return (masks @ weights)[None] + 0.01 * noise

  return retrain


class ComparisonTest(parameterized.TestCase):

  def test_matches_the_formulas_written_out(self):
    first, second = _pair()
    found = lib.comparison(
        _datamodels(first), _datamodels(second), num_components=3
    )
    rows = []
    for a, b in zip(first.T, second.T):
      a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
      rows.append(a - (a @ b) / (b @ b) * b)
    pca = decomposition.PCA(3, svd_solver='full').fit(rows)
    np.testing.assert_allclose(
        found.a_minus_b.directions.explained, pca.explained_variance_ratio_
    )
    cosines = np.sum(found.a_minus_b.directions.loadings * pca.components_, 1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-9)
    units = [directions_lib.unit_rows(w) for w in (first, second)]
    for unit, explained in zip(
        units, (found.a_minus_b.explained_own, found.a_minus_b.explained_other)
    ):
      centred = unit - unit.mean(axis=0)
      along = [np.var(centred @ v) for v in pca.components_]
      total = np.sum(np.var(centred, axis=0))
      np.testing.assert_allclose(explained, np.array(along) / total)
    expected = np.sum(units[0] * units[1], axis=1)
    np.testing.assert_allclose(found.cosine, expected)
    np.testing.assert_allclose(found.mean_cosine, expected.mean())

  def test_the_planted_difference_is_the_first_direction(self):
    first, second = _pair()
    found = lib.comparison(_datamodels(first), _datamodels(second))
    separation = cues.separation(
        found.a_minus_b.directions,
        planted_train=_CUE_TRAIN,
        planted_targets=_CUE_TARGETS,
    )
    self.assertTrue(separation.is_first)
    self.assertGreater(separation.train_auc[0], 0.99)
    self.assertGreater(separation.target_auc[0], 0.95)
    way = found.a_minus_b
    self.assertGreater(way.explained_own[0], 2 * way.explained_other[0])
    self.assertGreater(way.score[0], 0)

  def test_the_reverse_is_the_comparison_the_other_way_round(self):
    first, second = map(_datamodels, _pair())
    one, other = lib.comparison(first, second), lib.comparison(second, first)
    np.testing.assert_allclose(
        one.b_minus_a.directions.loadings, other.a_minus_b.directions.loadings
    )
    np.testing.assert_allclose(
        one.way('b_minus_a').score, other.way('a_minus_b').score
    )

  def test_loadings_of_other_weights(self):
    first, second = _pair()
    found = lib.comparison(
        _datamodels(first), _datamodels(second), num_components=2
    )
    for name, own, other in (
        ('a_minus_b', first, second),
        ('b_minus_a', second, first),
    ):
      way = found.way(name)
      np.testing.assert_allclose(
          lib.loadings(way, own, other).T, way.directions.loadings, atol=1e-10
      )

  def test_lengths_do_not_matter(self):
    first, second = _pair()
    scales = np.linspace(0.5, 20, _NUM_TARGETS)
    plain = lib.comparison(_datamodels(first), _datamodels(second))
    scaled = lib.comparison(
        _datamodels(first * scales[None]), _datamodels(second / scales[None])
    )
    np.testing.assert_allclose(
        plain.a_minus_b.directions.loadings,
        scaled.a_minus_b.directions.loadings,
        atol=1e-9,
    )

  def test_targets_without_weights_take_nothing_off(self):
    rows = lib.residuals(np.eye(2), np.array([[0.0, 0.0], [0.0, 2.0]]))
    np.testing.assert_allclose(rows, [[1, 0], [0, 0]])
    first, second = _pair()
    second[:, 3] = 0
    found = lib.comparison(_datamodels(first), _datamodels(second))
    self.assertTrue(np.isnan(found.cosine[3]))
    self.assertTrue(np.isfinite(found.mean_cosine))
    self.assertTrue(np.isfinite(found.a_minus_b.directions.loadings).all())

  def test_retraining_tells_the_algorithms_apart(self):
    first, second = _pair()
    found = lib.comparison(
        _datamodels(first),
        _datamodels(second),
        retrain=(_retrain(first), _retrain(second)),
        plan=directions_lib.RemovalPlan(
            num_directions=1, num_removed=8, group_size=5, replicates=4
        ),
    )
    own, other = (found.removals['a_minus_b'][name] for name in 'ab')
    self.assertEqual(set(own.removed[0, 0].tolist()), set(_CUE_TRAIN))
    np.testing.assert_array_equal(own.removed, other.removed)
    # Eight weights of about 1.5 that only A has.
    self.assertLess(own.observed[0, 0, 3], -7)
    self.assertGreater(other.observed[0, 0, 3], own.observed[0, 0, 3] + 7)
    self.assertEqual(set(found.removals), set(lib.WAYS))
    text = json.dumps(found.to_json())
    self.assertLess(len(text), 2e6)

  def test_errors(self):
    first, second = map(_datamodels, _pair())
    with self.assertRaisesRegex(ValueError, 'same datamodels twice'):
      lib.comparison(first, first)
    with self.assertRaisesRegex(ValueError, r'shapes \[50, 36\] and \[50, 3\]'):
      lib.comparison(first, _datamodels(np.ones((50, 3))))
    other = dataclasses.replace(
        second, target_ids=np.arange(_NUM_TARGETS) + (np.arange(36) > 30)
    )
    with self.assertRaisesRegex(
        ValueError, r'same target_ids.* 5 of 36 differ, the first at place 31'
    ):
      lib.comparison(first, other)
    other = dataclasses.replace(second, train_ids=np.arange(_NUM_TRAIN) + 1)
    with self.assertRaisesRegex(ValueError, 'same train_ids'):
      lib.comparison(first, other)
    other = dataclasses.replace(second, outcome='margin')
    with self.assertRaisesRegex(ValueError, "one outcome, got 'soft_margin'"):
      lib.comparison(first, other)
    with self.assertRaisesRegex(ValueError, 'from 1 to 35 directions'):
      lib.comparison(first, second, num_components=36)


if __name__ == '__main__':
  absltest.main()
