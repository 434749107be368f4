"""Scores of likeness, against loops."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.analysis import likeness


class LikenessTest(parameterized.TestCase):

  def test_against_loops(self):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(5, 2, 3)), rng.normal(size=(4, 2, 3))
    test[1] = train[2]
    train[4] = 0
    cosine = likeness.cosine(train, test)
    distance = likeness.negative_distance(train, test)
    for i, j in np.ndindex(5, 4):
      a, b = train[i].ravel(), test[j].ravel()
      lengths = np.linalg.norm(a) * np.linalg.norm(b)
      expected = a @ b / lengths if lengths else 0.0
      self.assertAlmostEqual(cosine[i, j], expected, places=5)
      self.assertAlmostEqual(distance[i, j], -np.linalg.norm(a - b), places=5)
    self.assertEqual(distance[2, 1], 0)

  def test_log_probability_correlation(self):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(8, 5, 3)), rng.normal(size=(8, 4, 3))
    found = likeness.log_probability_correlation(train, test)
    logs = [
        x - np.log(np.exp(x).sum(axis=2, keepdims=True)) for x in (train, test)
    ]
    for i, j in np.ndindex(5, 4):
      by_class = [
          np.corrcoef(logs[0][:, i, c], logs[1][:, j, c])[0, 1]
          for c in range(3)
      ]
      self.assertAlmostEqual(found[i, j], np.mean(by_class), places=5)
    # What shifts all logits of a model alike changes no probability.
    shifted = likeness.log_probability_correlation(
        train + rng.normal(size=(8, 5, 1)), test
    )
    np.testing.assert_allclose(shifted, found, atol=1e-5)

  def test_log_losses(self):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(8, 5)), rng.normal(size=(8, 4))
    train[:, 3] = 0.1
    found = likeness.log_probability_correlation(train, test)
    expected = np.corrcoef(np.delete(train, 3, 1), test, rowvar=False)[:4, 4:]
    np.testing.assert_allclose(np.delete(found, 3, 0), expected, atol=1e-6)
    np.testing.assert_array_equal(found[3], 0)

  def test_standardized(self):
    weights = np.random.default_rng(0).normal(size=(6, 3)) * [1, 10, 0]
    found = likeness.standardized(weights)
    np.testing.assert_allclose((found**2).mean(axis=0), [1, 1, 0])
    ratio = weights[:, :2] / found[:, :2]
    np.testing.assert_allclose(ratio, ratio[:1].repeat(6, axis=0))

  def test_all_scores(self):
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(12, 6)), rng.normal(size=(12, 4))
    scores = likeness.all_scores(
        {'lasso': rng.normal(size=(6, 4))},
        distances={
            'pixels': (rng.normal(size=(6, 9)), rng.normal(size=(4, 9)))
        },
        outputs=outputs,
        num_models=(10, 20, 12),
    )
    self.assertEqual(
        list(scores),
        [
            'lasso',
            'lasso_standardized',
            'pixels',
            'log_probability_10',
            'log_probability_12',
        ],
    )
    np.testing.assert_array_equal(
        scores['log_probability_10'],
        likeness.log_probability_correlation(outputs[0][:10], outputs[1][:10]),
    )

  @parameterized.named_parameters(
      ('models', (3, 5), (4, 5), 'same models'),
      ('axes', (3, 5, 2), (3, 5), 'same models'),
      ('few', (2, 5), (2, 4), 'at least 3 models, got 2'),
  )
  def test_correlation_errors(self, train, test, words):
    with self.assertRaisesRegex(ValueError, words):
      likeness.log_probability_correlation(np.ones(train), np.ones(test))

  def test_feature_errors(self):
    with self.assertRaisesRegex(ValueError, r'got \(3, 2\) and \(3, 4\)'):
      likeness.cosine(np.ones((3, 2)), np.ones((3, 4)))
    with self.assertRaisesRegex(ValueError, 'finite numbers, got 6'):
      likeness.cosine(np.full((3, 2), np.nan), np.ones((3, 2)))


if __name__ == '__main__':
  absltest.main()
