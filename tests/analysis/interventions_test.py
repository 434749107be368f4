"""Changes of training sets, against loops that a reader can check."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.analysis import interventions as lib

_RNG = np.random.default_rng(0)
_SCORES = _RNG.normal(size=(8, 3))
_EVERYTHING = np.ones((8, 3), bool)


class OrderTest(parameterized.TestCase):

  def test_rank(self):
    rows = lib.rank(_SCORES, _EVERYTHING, 5)
    expected = np.argsort(-_SCORES, axis=0)[:5].T
    np.testing.assert_array_equal(rows, expected)

  @parameterized.parameters('rank', 'shuffle')
  def test_only_candidates_and_then_nothing(self, rule):
    candidates = np.zeros((8, 3), bool)
    candidates[[1, 4, 6], 0] = candidates[:, 1] = True
    if rule == 'rank':
      rows = lib.rank(_SCORES, candidates, 5)
    else:
      rows = lib.shuffle(candidates, 5, seed=0)
    self.assertEqual(set(rows[0]), {1, 4, 6, -1})
    np.testing.assert_array_equal(rows[0, 3:], -1)
    self.assertLen(set(rows[1]) - {-1}, 5)
    np.testing.assert_array_equal(rows[2], -1)

  def test_ties_go_to_the_lower_row(self):
    rows = lib.rank(np.zeros((4, 1)), np.ones((4, 1), bool), 6)
    np.testing.assert_array_equal(rows, [[0, 1, 2, 3, -1, -1]])

  def test_equal_scores_by_another(self):
    scores = np.array([1.0, 2, 1, 2, 0])[:, None]
    then = np.array([5.0, 1, 6, 2, 9])[:, None]
    rows = lib.rank(scores, np.ones((5, 1), bool), 5, then=then)
    np.testing.assert_array_equal(rows, [[3, 1, 2, 0, 4]])

  def test_shuffle_is_even(self):
    candidates = np.ones((6, 3000), bool)
    candidates[0] = False
    first = lib.shuffle(candidates, 1, seed=1)[:, 0]
    counts = np.bincount(first, minlength=6)
    self.assertEqual(counts[0], 0)
    # 600 expected of each; five standard deviations are 110.
    self.assertLess(np.abs(counts[1:] - 600).max(), 110)

  def test_keep_classes(self):
    labels = np.array([0, 0, 1, 1, 1, 0, 1, 1])
    rows = np.array([[0, 2, 1, 5, 3], [2, 3, 0, 4, -1]])
    found = lib.keep_classes(rows, labels)
    np.testing.assert_array_equal(found, [[0, 2, 1, -1, -1], [2, 3, 0, 4, -1]])

  def test_random_bases(self):
    bases = lib.random_bases(40, 0.25, 500, seed=0)
    np.testing.assert_array_equal(bases.sum(axis=1), 10)
    # 125 expected of each column; five standard deviations are 48.
    self.assertLess(np.abs(bases.sum(axis=0) - 125).max(), 48)

  def test_sums(self):
    rows = np.array([[3, 1, 0], [2, 5, -1], [7, -1, -1]])
    found = lib.sums(_SCORES, rows, [1, 3])
    np.testing.assert_allclose(
        found,
        [
            [_SCORES[3, 0], _SCORES[2, 1], _SCORES[7, 2]],
            [_SCORES[[3, 1, 0], 0].sum(), np.nan, np.nan],
        ],
    )

  def test_likely_wrong_class(self):
    logits = np.zeros((2, 3, 3))
    logits[:, 0] = [[5, 1, 2], [5, 4, 0]]  # Means 5, 2.5, 1; 0 is right.
    logits[:, 1] = [[0, 9, -1], [0, 9, -2]]
    logits[:, 2] = [[1, 0, 0], [np.nan] * 3]
    found = lib.likely_wrong_class(logits, np.array([0, 1, 0]))
    np.testing.assert_array_equal(found, [1, 0, 1])


class TrialsTest(parameterized.TestCase):

  @parameterized.parameters(*lib.ACTIONS)
  def test_make_trials(self, action):
    bases = np.random.default_rng(1).random((3, 8)) < 0.5
    inside = bases if action != 'add' else ~bases
    rows = lib.rank(_SCORES, inside.T, 4)
    sizes = np.array([1, 2, 4])
    trials = lib.make_trials(
        action,
        rows,
        sizes,
        bases=bases,
        targets=np.array([5, 6, 7]),
        new_labels=np.array([2, 0, 1]),
    )
    for number, size in enumerate(sizes):
      changed = [row for row in rows[number, :size] if row >= 0]
      mask, labels = bases[number].copy(), np.full(8, -1)
      mask[changed] = action != 'remove'
      labels[changed] = [2, 0, 1][number]
      np.testing.assert_array_equal(trials.masks[number], mask)
      if action == 'relabel':
        np.testing.assert_array_equal(trials.relabel[number], labels)
      else:
        self.assertIsNone(trials.relabel)

  def test_trainable(self):
    masks = np.ones((4, 6), bool)
    masks[1, :2] = masks[2, :5] = False
    relabel = np.full((4, 6), -1)
    relabel[3, [0, 1]] = 1
    labels = np.array([0, 0, 1, 1, 1, 1])
    removals = lib.Trials(masks=masks, targets=np.arange(4))
    relabels = lib.Trials(
        masks=np.ones((4, 6), bool), targets=np.arange(4), relabel=relabel
    )
    cases = [
        (removals, {'batch_size': 2}, [1, 1, 0, 1]),
        (removals, {'labels': labels}, [1, 0, 0, 1]),
        (relabels, {'batch_size': 2, 'labels': labels}, [1, 1, 1, 0]),
    ]
    for trials, options, expected in cases:
      np.testing.assert_array_equal(lib.trainable(trials, **options), expected)
      with self.assertRaisesRegex(ValueError, 'me'):
        lib.check_trainable('me', trials, **options)
    lib.check_trainable('me', removals)

  def test_own_outcomes_in_several_calls(self):
    calls = []

    def retrain(masks, replicates, *, relabel=None):
      calls.append(len(masks))
      self.assertIsNone(relabel)
      return np.stack([masks @ _SCORES + r for r in range(replicates)])

    masks = np.random.default_rng(2).random((7, 8)) < 0.5
    targets = np.array([0, 1, 2, 0, 1, 2, 0])
    trials = lib.Trials(masks=masks, targets=targets)
    with absltest.mock.patch.object(lib, '_VALUES_A_CALL', 2 * 3 * 3):
      found = lib.own_outcomes('me', retrain, trials, 2, 3)
    self.assertEqual(calls, [3, 3, 1])
    expected = (masks @ _SCORES)[np.arange(7), targets]
    np.testing.assert_allclose(found, [expected, expected + 1])
    nothing = trials.take(np.zeros(7, bool))
    self.assertEqual(lib.own_outcomes('me', retrain, nothing, 2, 3).size, 0)


class ErrorsTest(parameterized.TestCase):

  @parameterized.parameters(
      ([], r'integers \[num\], at least one, got shape \[0\]'),
      ([[1]], r'got shape \[1, 1\]'),
      ([0.5], 'got float64'),
      ([True, False], 'np.flatnonzero'),
      ([1, 4], r'in \[0, 4\), got \[4\]'),
      ([-1], r'got \[-1\]'),
      ([2, 1, 2], r'once, got \[2\] more than once'),
  )
  def test_ids(self, ids, words):
    with self.assertRaisesRegex(ValueError, f'`me` expects.* ids.*{words}'):
      lib.check_ids('me', 'ids', ids, 4)

  @parameterized.parameters(0.0, 1.0, float('nan'))
  def test_alpha(self, alpha):
    with self.assertRaisesRegex(ValueError, 'alpha between 0 and 1'):
      lib.random_bases(10, alpha, 1)

  def test_logits(self):
    with self.assertRaisesRegex(ValueError, r'got \(3, 4\)'):
      lib.likely_wrong_class(np.zeros((3, 4)), np.zeros(4, int))


class ChecksTest(parameterized.TestCase):

  @parameterized.parameters(
      ([], 'at least one'),
      ([[1]], 'at least one'),
      ([2.5], 'ascending integers'),
      ([True], 'ascending integers'),
      ([3, 2], 'ascending'),
      ([2, 2], 'each once'),
      ([0], 'from 1 to 9'),
      ([10], 'from 1 to 9'),
  )
  def test_sizes(self, sizes, words):
    with self.assertRaisesRegex(ValueError, words):
      lib.check_sizes('it', sizes, 9)

  def test_good_sizes(self):
    np.testing.assert_array_equal(lib.check_sizes('it', [1, 9], 9), [1, 9])

  @parameterized.parameters('log_loss', 'squared_error_train')
  def test_lower_is_better(self, outcome):
    with self.assertRaisesRegex(ValueError, '`it` expects datamodels of an'):
      lib.check_higher_is_better('it', outcome)

  @parameterized.parameters('', 'margin', 'my own', 'soft_margin_train')
  def test_higher_is_better(self, outcome):
    lib.check_higher_is_better('it', outcome)

  def test_most_common_wrong_class(self):
    logits = np.array(
        [
            [[9.0, 1, 0], [9, 0, 1]],
            [[0.0, 0, 2], [9, 0, 1]],
            [[0.0, 0, 2], [9, 0, 1]],
            [[0.0, 9, 2], [np.nan, 0, 1]],
        ]
    )
    # Predicted: 0, 2, 2, 1 (right: 0); never wrong: the highest mean logit.
    found = lib.likely_wrong_class(logits, np.zeros(2, int))
    np.testing.assert_array_equal(found, [2, 2])


if __name__ == '__main__':
  absltest.main()
