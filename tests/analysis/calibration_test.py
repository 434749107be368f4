"""Calibration scores against scikit-learn and by hand."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import special
from sklearn import calibration as sk_calibration
from sklearn import metrics

from jdm.analysis import calibration


def _made_up(num=400, num_classes=3, scale=1.0, seed=0):
  """Labels drawn from the softmax of logits; what is told is scaled."""
  rng = np.random.default_rng(seed)
  logits = 2 * rng.normal(size=(num, num_classes))
  chances = special.softmax(logits, axis=1)
  labels = np.array([rng.choice(num_classes, p=row) for row in chances])
  return scale * logits, labels


class ScoreTest(parameterized.TestCase):

  def test_matches_scikit_learn(self):
    logits, labels = _made_up()
    probabilities = special.softmax(logits, axis=1)
    found = calibration.score(probabilities, labels, num_bootstrap=50)
    values = found.values
    self.assertAlmostEqual(
        values['nll'], metrics.log_loss(labels, probabilities)
    )
    one_hot = np.eye(3)[labels]
    self.assertAlmostEqual(
        values['brier'], np.mean(np.sum((probabilities - one_hot) ** 2, axis=1))
    )
    self.assertAlmostEqual(
        values['accuracy'],
        metrics.accuracy_score(labels, probabilities.argmax(axis=1)),
    )
    for name, (low, high) in found.interval.items():
      if name != 'ece':
        self.assertBetween(values[name], low, high, name)

  def test_calibration_error(self):
    logits, labels = _made_up(4000)
    probabilities = special.softmax(logits, axis=1)
    right = probabilities.argmax(axis=1) == labels
    share, mean = sk_calibration.calibration_curve(
        right, probabilities.max(axis=1), n_bins=15
    )
    found = calibration.reliability(probabilities, labels, num_bins=15)
    kept = found.count > 0
    np.testing.assert_allclose(found.accuracy[kept], share)
    np.testing.assert_allclose(found.confidence[kept], mean)
    ece = np.sum(found.count[kept] * np.abs(share - mean)) / len(labels)
    own = calibration.score(probabilities, labels, num_bootstrap=2)
    self.assertAlmostEqual(own.values['ece'], ece)
    self.assertLess(ece, 0.03)
    sharper = special.softmax(3 * logits, axis=1)
    worse = calibration.score(sharper, labels, num_bootstrap=2)
    self.assertGreater(worse.values['ece'], 0.1)

  def test_coverage_by_hand(self):
    probabilities = np.array([[0.6, 0.3, 0.1], [0.05, 0.93, 0.02]])
    found = calibration.score(
        probabilities, np.array([1, 0]), level=0.9, num_bootstrap=2
    )
    # Sets {0, 1} and {1}: the first holds its label, the second does not.
    self.assertEqual(found.values['coverage'], 0.5)
    self.assertEqual(found.values['set_size'], 1.5)

  def test_true_probabilities_are_covered(self):
    logits, labels = _made_up(4000)
    probabilities = special.softmax(logits, axis=1)
    found = calibration.score(probabilities, labels, num_bootstrap=2)
    # Whole classes: the sets hold more than the level.
    self.assertBetween(found.values['coverage'], 0.9, 0.98)

  @parameterized.parameters(0.5, 1.0, 4.0)
  def test_temperature(self, scale):
    logits, labels = _made_up(8000, scale=scale)
    self.assertAlmostEqual(
        calibration.temperature(logits, labels), scale, delta=0.08 * scale
    )

  @parameterized.parameters(
      (np.ones((3, 2)), np.zeros(3, int), 'add up to 1.*off by 1'),
      (np.full((3, 2), 0.5), np.full(3, 2), 'labels from 0 to 1, got 2'),
      (np.full((3, 2), 0.5), np.zeros(2, int), r'\[3, 2\] and int64 \[2\]'),
      (np.full((3, 2), 0.5), np.zeros(3), 'int labels'),
  )
  def test_errors(self, probabilities, labels, words):
    with self.assertRaisesRegex(ValueError, words):
      calibration.score(probabilities, labels)


if __name__ == '__main__':
  absltest.main()
