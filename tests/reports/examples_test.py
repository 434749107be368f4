"""Tests of what a report shows."""

from absl.testing import absltest
import numpy as np

from jdm.reports import examples
from tests.reports import made_up


class ChooseTargetsTest(absltest.TestCase):

  def test_hard_ones_first_then_typical_of_other_labels(self):
    means = np.array([9.0, -2.0, 5.0, -1.0, 5.1, 4.8, 0.0, 5.2])
    labels = np.array([0, 1, 1, 1, 2, 1, 3, 2])
    outcomes = np.stack([means - 1, means + 1])
    chosen = examples.choose_targets(outcomes, labels, count=4)
    # Medians lie at 4.9: 5 (4.8) is nearest, but its label was shown; of label
    # 2, 4 (5.1) is nearest; then one of the labels not shown yet, 0 or 3.
    self.assertEqual(chosen[:3].tolist(), [1, 3, 4])
    self.assertEqual(chosen[3], 0)

  def test_diverged_models_and_targets_without_any(self):
    outcomes = np.array([[1.0, np.nan, -5.0], [np.nan, np.nan, 1.0]])
    chosen = examples.choose_targets(outcomes, np.zeros(3), count=2)
    self.assertEqual(chosen.tolist(), [2, 0])

  def test_all_targets_if_there_are_few(self):
    chosen = examples.choose_targets(np.zeros((2, 3)), np.zeros(3), count=10)
    self.assertCountEqual(chosen.tolist(), range(3))

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, r'outcomes \[num_models'):
      examples.choose_targets(np.zeros((2, 3)), np.zeros(4))
    with self.assertRaisesRegex(ValueError, 'count of at least 1'):
      examples.choose_targets(np.zeros((2, 3)), np.zeros(3), count=0)


class RowsTest(absltest.TestCase):

  def test_strongest_holds_no_zeros_and_no_wrong_signs(self):
    weights = np.array([0.0, 3.0, -1.0, 0.5, 0.0, -2.0])
    helpful, harmful = examples.strongest(weights, 4)
    self.assertEqual(helpful.tolist(), [1, 3])
    self.assertEqual(harmful.tolist(), [5, 2])

  def test_rows_name_the_examples(self):
    rows = examples.rows(
        made_up.dataset(names=('a', 'b', 'c', 'd')),
        made_up.datamodels(),
        [2],
        count=1,
    )
    self.assertLen(rows, 2)
    self.assertEqual(
        rows[1],
        {
            'target': 2,
            'target label': 'c',
            'effect': 'harmful',
            'train row': 3,
            'source id': 1003,
            'label': 'd',
            'weight': -0.25,
        },
    )

  def test_errors(self):
    dataset, fitted = made_up.dataset(), made_up.datamodels()
    with self.assertRaisesRegex(
        ValueError, r'40 training .* 10; .*take\(train'
    ):
      examples.rows(dataset.take(train=10), fitted, [0])
    with self.assertRaisesRegex(ValueError, r'6 targets and 3 .*take\(test'):
      examples.rows(dataset.take(test=3), fitted, [0])
    with self.assertRaisesRegex(ValueError, 'from 0 to 5, got 6 to 6'):
      examples.rows(dataset, fitted, [6])
    for bad in ([], [0.5], 3):
      with self.assertRaisesRegex(ValueError, 'target_ids as integers'):
        examples.rows(dataset, fitted, bad)


if __name__ == '__main__':
  absltest.main()
