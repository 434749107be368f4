"""Data support in planted worlds, where the truth is known."""

import dataclasses
import json
from typing import Any

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.applications import brittleness as lib

_NUM_TRAIN, _NUM_TARGETS = 60, 12
_RNG = np.random.default_rng(0)
_WEIGHTS = _RNG.normal(size=(_NUM_TRAIN, _NUM_TARGETS)) / 4
_LABELS = np.arange(_NUM_TRAIN) % 3
_WRONG = np.arange(_NUM_TARGETS) % 3
# Margins with everything: the first two targets are wrong.
_CONTROL = np.concatenate([[-1.0, -0.2], _RNG.uniform(0.2, 2.5, 10)])


def _datamodels(weights=_WEIGHTS):
  fields: dict[str, Any] = {
      name: np.zeros(_NUM_TARGETS) for name in ('bias', 'lam', 'gap', 'val_mse')
  }
  return datamodels_lib.Datamodels(
      weights=weights,
      nnz=np.zeros(_NUM_TARGETS, int),
      train_ids=np.arange(_NUM_TRAIN),
      target_ids=np.arange(_NUM_TARGETS),
      outcome='margin',
      **fields,
  )


class _World:
  """Margins are linear in the masks; a wrong label costs three times."""

  def __init__(self, noise=0.0, seed=0, factor=1.0):
    self.noise, self.factor = noise, factor
    self.rng = np.random.default_rng(seed)
    self.num_trained = 0
    self.replicates = []

  def __call__(self, masks, replicates, *, relabel=None):
    lost = ~masks
    effect = lost.astype(float)
    if relabel is not None:
      effect += 3 * (masks & (relabel >= 0) & (relabel != _LABELS[None]))
    margins = _CONTROL - self.factor * effect @ _WEIGHTS
    self.num_trained += replicates * len(masks)
    self.replicates.append(replicates)
    noise = self.rng.normal(size=(replicates, *margins.shape))
    return margins + self.noise * noise


def _control(world=None, replicates=20):
  everything = np.ones((1, _NUM_TRAIN), bool)
  return (world or _World())(everything, replicates)[:, 0]


def _true_support(target, factor=1.0, rows=None):
  """Fewest of the most helpful to lose, 0 if all of them do not do."""
  order = np.argsort(-_WEIGHTS[:, target]) if rows is None else rows
  margin = _CONTROL[target]
  for size, row in enumerate(order, start=1):
    if _WEIGHTS[row, target] <= 0:
      return 0
    margin -= factor * _WEIGHTS[row, target]
    if margin < 0:
      return size
  return 0


class LinearWorldTest(parameterized.TestCase):

  def test_everything_holds_where_datamodels_are_exact(self):
    chooser, judge = _World(), _World()
    found = lib.brittleness(
        _datamodels(),
        _control(),
        sizes=range(1, 16),
        retrain=chooser,
        certify=judge,
        replicates=3,
        num_random=2,
    )
    np.testing.assert_array_equal(found.target_ids, np.arange(2, 12))
    self.assertEqual(found.num_wrong, 2)
    np.testing.assert_allclose(found.control, _CONTROL[2:])
    truth = np.array([_true_support(t) for t in range(2, 12)])
    for name in ('predicted', 'interpolated'):
      estimate = found.estimates[name]
      np.testing.assert_array_equal(estimate.sizes, truth)
      self.assertEqual(estimate.hold_rate, 1.0)
      self.assertEqual(estimate.num_censored, np.sum(truth == 0))
      more = found.estimates[name + lib.INFLATED]
      np.testing.assert_array_equal(more.sizes, np.ceil(truth * 1.2 - 1e-9))
      self.assertEqual(more.num_held, more.num_certified)
    self.assertEqual(
        found.num_retrained, chooser.num_trained + judge.num_trained
    )
    # The grid was trained 3 times, the certificates 20 times.
    self.assertEqual(set(chooser.replicates), {3})
    self.assertEqual(set(judge.replicates), {20})
    self.assertEqual(found.random_margins.shape, (2, 15, 10))

  def test_grid_margins_are_those_of_the_top_examples(self):
    found = lib.brittleness(
        _datamodels(), _control(), sizes=[2, 9], retrain=_World()
    )
    for place, target in enumerate(found.target_ids):
      order = np.argsort(-_WEIGHTS[:, target])
      np.testing.assert_array_equal(found.removed[place, :9], order[:9])
      for number, size in enumerate((2, 9)):
        expected = _CONTROL[target] - _WEIGHTS[order[:size], target].sum()
        self.assertAlmostEqual(found.grid_margins[number, place], expected)

  def test_optimistic_datamodels_are_found_out(self):
    """Effects are half of the predicted: only retraining sees it."""
    found = lib.brittleness(
        _datamodels(),
        _control(),
        sizes=range(1, 25),
        retrain=_World(factor=0.5),
        certify=_World(factor=0.5),
    )
    first, second = (
        found.estimates[name] for name in ('predicted', 'interpolated')
    )
    several = first.sizes > 1  # One example may be far more than it takes.
    self.assertFalse(first.flipped[several].any())
    self.assertEqual(second.hold_rate, 1.0)
    truth = [_true_support(t, 0.5) for t in range(2, 12)]
    np.testing.assert_array_equal(second.sizes, truth)

  def test_starts_from_the_observed_margin(self):
    """A wrong intercept of the datamodels changes nothing."""
    found = [
        lib.brittleness(
            datamodels_lib.Datamodels(**{**vars(_datamodels()), 'bias': bias}),
            _control(),
            sizes=[12],
        )
        .estimates['predicted']
        .sizes
        for bias in (np.zeros(12), np.full(12, 50.0))
    ]
    np.testing.assert_array_equal(*found)

  def test_mislabel(self):
    found = lib.brittleness(
        _datamodels(),
        _control(),
        sizes=range(1, 16),
        retrain=_World(),
        certify=_World(),
        labels=_LABELS,
        wrong_class=_WRONG,
    )
    estimate = found.estimates['mislabel']
    for place, target in enumerate(found.target_ids):
      order = np.argsort(-_WEIGHTS[:, target])
      others = [row for row in order if _LABELS[row] != _WRONG[target]]
      self.assertNotIn(_WRONG[target], _LABELS[found.relabelled[place, :8]])
      self.assertEqual(
          estimate.sizes[place], _true_support(target, 3.0, others)
      )
    self.assertEqual(estimate.hold_rate, 1.0)
    removed = found.estimates['interpolated'].sizes
    both = (removed > 0) & (estimate.sizes > 0)
    self.assertTrue((estimate.sizes <= removed)[both].all())

  def test_a_class_is_never_emptied(self):
    labels = np.zeros(_NUM_TRAIN, int)
    target = 5
    best = np.argsort(-_WEIGHTS[:, target])
    labels[best[:4]] = 1  # A class of four, all of them its best.
    smallest = []

    def retrain(masks, replicates, *, relabel=None):
      del relabel
      smallest.append((masks[:, labels == 1].sum(axis=1)).min())
      return np.stack([np.ones((len(masks), _NUM_TARGETS))] * replicates)

    found = lib.brittleness(
        _datamodels(),
        _control(),
        target_ids=[target],
        sizes=[2, 3, 4],
        retrain=retrain,
        labels=labels,
        num_random=0,
    )
    self.assertEqual(min(smallest), 1)
    np.testing.assert_array_equal(found.removed[0, :4], [*best[:3], -1])
    np.testing.assert_array_equal(np.isnan(found.grid_margins[:, 0]), [0, 0, 1])
    self.assertEqual(found.estimates['interpolated'].num_censored, 1)

  def test_examples_of_no_weight_follow(self):
    weights = np.where(np.abs(_WEIGHTS) > 0.25, _WEIGHTS, 0)
    found = [
        lib.brittleness(
            _datamodels(weights),
            _control(),
            sizes=range(1, 31),
            retrain=_World(),
            then=then,
            num_random=0,
        )
        for then in (None, _WEIGHTS)
    ]
    ends = [(one.removed >= 0).sum(axis=1) for one in found]
    np.testing.assert_array_equal(ends[0], (weights[:, 2:] > 0).sum(axis=0))
    for place, target in enumerate(found[0].target_ids):
      order = np.argsort(-_WEIGHTS[:, target])
      positive = order[_WEIGHTS[order, target] > 0][:36]
      rows = found[1].removed[place]
      np.testing.assert_array_equal(rows[rows >= 0], positive)
    first, second = (one.estimates['predicted'] for one in found)
    np.testing.assert_array_equal(first.sizes, second.sizes)
    more, fewer = (one.estimates['interpolated'].num_censored for one in found)
    self.assertLess(fewer, more)

  def test_assured_sizes_are_beyond_the_crossing(self):
    found = lib.brittleness(
        _datamodels(),
        _control(),
        sizes=range(1, 16),
        retrain=_World(0.5, 1),
        certify=_World(0.5, 2),
        replicates=20,
    ).estimates
    both = found['assured'].sizes > 0
    self.assertTrue(both.any())
    self.assertTrue(
        (found['assured'].sizes >= found['interpolated'].sizes)[both].all()
    )
    self.assertEqual(found['assured'].hold_rate, 1.0)


class NoiseTest(parameterized.TestCase):

  def test_certificates_do_not_see_the_noise_that_chose(self):
    """Where nothing flips, lucky grids are not certified but by their own luck."""
    weights = np.full((_NUM_TRAIN, _NUM_TARGETS), 1e-6)
    control = np.full((20, _NUM_TARGETS), 0.3)

    def coin(seed):
      rng = np.random.default_rng(seed)
      return lambda masks, replicates: 0.3 + rng.normal(
          size=(replicates, len(masks), _NUM_TARGETS)
      )

    found = lib.brittleness(
        _datamodels(weights),
        control,
        sizes=range(1, 20),
        retrain=coin(1),
        certify=coin(2),
        replicates=2,
        certify_replicates=400,
        num_random=0,
    )
    estimate = found.estimates['interpolated']
    self.assertGreater(estimate.num_certified, 0)
    self.assertEqual(estimate.num_held, 0)
    self.assertEqual(found.estimates['predicted'].num_censored, _NUM_TARGETS)

  def test_a_margin_of_safety_helps(self):
    found = lib.brittleness(
        _datamodels(),
        _control(_World(0.3, 1)),
        sizes=range(1, 16),
        retrain=_World(0.3, 2),
        certify=_World(0.3, 3),
        replicates=20,
        labels=_LABELS,
        wrong_class=_WRONG,
    )
    for name in ('predicted', 'interpolated', 'mislabel'):
      self.assertGreaterEqual(
          found.estimates[name + lib.INFLATED].hold_rate,
          found.estimates[name].hold_rate,
      )

  def test_diverged_trainings_are_left_out(self):
    control = _control()
    control[3, 4] = np.nan

    def retrain(masks, replicates, *, relabel=None):
      margins = _World()(masks, replicates, relabel=relabel)
      margins[0] = np.nan
      return margins

    found = lib.brittleness(
        _datamodels(), control, sizes=range(1, 16), certify=retrain
    )
    self.assertEqual(found.estimates['predicted'].hold_rate, 1.0)


class PredictOnlyTest(parameterized.TestCase):

  def test_only_the_first_estimate(self):
    found = lib.brittleness(_datamodels(), _control(), sizes=[15])
    self.assertEqual(
        set(found.estimates), {'predicted', 'predicted' + lib.INFLATED}
    )
    self.assertEqual(found.num_retrained, 0)
    self.assertIsNone(found.grid_margins)
    self.assertTrue(np.isnan(found.estimates['predicted'].hold_rate))

  def test_json(self):
    found = lib.brittleness(
        _datamodels(),
        _control(),
        sizes=[3, 15],
        retrain=_World(),
        certify=_World(),
        labels=_LABELS,
        wrong_class=_WRONG,
    )
    values = json.loads(json.dumps(found.to_json()))
    self.assertEqual(values['grid'], [3, 15])
    self.assertLen(values['random_share_flipped'], 2)
    shares = values['share_flipped']['predicted']
    sizes = found.estimates['predicted'].sizes
    self.assertAlmostEqual(shares[0], np.mean((sizes > 0) & (sizes <= 3)))
    self.assertNotIn('removed', values)


class ErrorsTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('size', {'sizes': [0, 2]}, r'sizes from 1 to 59 .*got \[0, 2\]'),
      ('too_many', {'sizes': [55], 'batch_size': 10}, 'from 1 to 50'),
      ('target', {'target_ids': [12]}, r'in \[0, 12\), got \[12\]'),
      ('twice', {'target_ids': [3, 3]}, r'once, got \[3\]'),
      ('all_wrong', {'target_ids': [0, 1]}, 'all 2 targets wrong'),
      ('labels', {'labels': np.zeros(5)}, r'labels of shape \[60\], got \[5\]'),
      ('wrong', {'wrong_class': _WRONG}, 'needs labels together'),
      (
          'wrong_shape',
          {'wrong_class': _WRONG[:3], 'labels': _LABELS},
          r'wrong_class of shape \[12\], got \[3\]',
      ),
      ('then', {'then': np.zeros((3, 12))}, r'\[60, 12\], got \[3, 12\]'),
      ('inflation', {'inflation': -1}, 'no negative inflation'),
      ('replicates', {'retrain': _World(), 'replicates': 1}, 'at least 2'),
      (
          'certificates',
          {'certify': _World(), 'certify_replicates': 0},
          'one retraining',
      ),
      (
          'retrain',
          {'retrain': lambda masks, replicates: masks @ _WEIGHTS},
          'expects `retrain',
      ),
  )
  def test_arguments(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      lib.brittleness(_datamodels(), _control(), **({'sizes': [9]} | changes))

  def test_what_trained_the_grid_cannot_certify(self):
    world = _World()
    with self.assertRaisesRegex(ValueError, 'the same function'):
      lib.brittleness(
          _datamodels(), _control(), sizes=[9], retrain=world, certify=world
      )

  def test_weights_in_other_units_predict_no_sizes(self):
    soft = dataclasses.replace(_datamodels(), outcome='soft_margin')
    found = lib.brittleness(soft, _control(), sizes=[3, 9], retrain=_World())
    self.assertNotIn('predicted', found.estimates)
    self.assertIn('interpolated', found.estimates)
    losses = dataclasses.replace(soft, outcome='log_loss')
    with self.assertRaisesRegex(ValueError, 'more is better'):
      lib.brittleness(losses, _control(), sizes=[9])

  def test_random_removals_that_empty_a_class_are_left_out(self):
    labels = np.where(np.arange(_NUM_TRAIN) < 3, 1, 0)
    found = lib.brittleness(
        _datamodels(),
        _control(),
        sizes=[3, 40],
        retrain=_World(),
        labels=labels,
        num_random=20,
    )
    gone = np.isnan(found.random_margins).all(axis=(0, 2))
    self.assertFalse(gone[0])
    some = np.isnan(found.random_margins[:, 1]).all(axis=1)
    self.assertTrue(some.any())
    self.assertTrue(np.isfinite(found.random_share_flipped()).all())

  @parameterized.parameters(
      (_control(replicates=19), 'at least 20 trainings on everything.*got 19'),
      (
          np.zeros((20, 3)),
          r'control_margins of shape \[20, 12\], got \[20, 3\]',
      ),
  )
  def test_control(self, control, words):
    with self.assertRaisesRegex(ValueError, words):
      lib.brittleness(_datamodels(), control, sizes=[9])


if __name__ == '__main__':
  absltest.main()
