"""Utilities of sets against scikit-learn and closed forms."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import linear_model
from sklearn import metrics

from jdm.analysis import sampled_values
from jdm.modelpred import baselines
from jdm.modelpred import evaluation
from jdm.modelpred import utilities
from tests.modelpred import made_up

_BOTH = ('loss', 'accuracy')


def _validation(loss='logistic'):
  other = made_up.pool(loss, seed=5)
  return other.inputs, other.labels


class RetrainedTest(parameterized.TestCase):

  @parameterized.parameters('logistic', 'softmax')
  def test_matches_scikit_learn(self, loss):
    pool = made_up.pool(loss)
    inputs, labels = _validation(loss)
    masks = made_up.masks(7, 3, pool)
    found = utilities.retrained(pool, inputs, labels, _BOTH)(masks)
    for mask, (log_loss, accuracy) in zip(masks, found):
      model = linear_model.LogisticRegression(tol=1e-8, max_iter=1000)
      model.fit(pool.inputs[mask], pool.labels[mask])
      chances = model.predict_proba(inputs)
      expected = -metrics.log_loss(
          labels, chances, labels=np.arange(chances.shape[1])
      )
      np.testing.assert_allclose(log_loss, expected, atol=1e-6)
      # Sklearn stops at its own tolerance.
      self.assertAlmostEqual(accuracy, model.score(inputs, labels))

  @parameterized.parameters(
      ('logistic', -np.log(2), 1 / 2), ('softmax', -np.log(3), 1 / 3)
  )
  def test_empty_and_missing_classes(self, loss, worth, guess):
    pool = made_up.pool(loss)
    utility = utilities.retrained(pool, *_validation(loss), _BOTH)
    masks = np.stack([np.zeros(made_up.NUM, bool), pool.labels == 1])
    np.testing.assert_allclose(utility(masks), [[worth, guess]] * 2)
    np.testing.assert_allclose(utility.empty, [worth, guess])

  def test_regression(self):
    pool = made_up.pool('half_square')
    inputs, labels = _validation('half_square')
    utility = utilities.retrained(pool, inputs, labels)
    nothing = np.zeros((1, made_up.NUM), bool)
    np.testing.assert_allclose(utility(nothing)[0], -np.mean(labels**2) / 2)
    model = linear_model.Ridge(alpha=1.0).fit(pool.inputs, pool.labels)
    expected = -np.mean((model.predict(inputs) - labels) ** 2) / 2
    np.testing.assert_allclose(utility(~nothing)[0], expected, atol=1e-9)
    with self.assertRaisesRegex(ValueError, 'no accuracy'):
      utilities.retrained(pool, inputs, labels, _BOTH)

  def test_a_penalized_intercept_has_a_minimum_in_one_class(self):
    pool = made_up.pool('squared_hinge')
    utility = utilities.retrained(pool, *_validation('squared_hinge'))
    nothing = np.zeros((1, made_up.NUM), bool)
    np.testing.assert_allclose(utility(nothing), [[-1.0]])
    one_class = (pool.labels == 1)[None]
    self.assertNotAlmostEqual(float(utility(one_class)[0, 0]), -1.0)

  def test_rows_do_not_depend_on_their_neighbours(self):
    pool = made_up.pool()
    masks = np.random.default_rng(0).random((300, made_up.NUM)) < 0.4
    utility = utilities.retrained(pool, *_validation())
    whole = utility(masks)
    # Chunks of another size are other programs, which round otherwise and may
    # stop a step earlier.
    np.testing.assert_allclose(utility(masks[:5]), whole[:5], atol=1e-7)

  @parameterized.parameters(*utilities.MEASURES)
  def test_of_each_example(self, measure):
    pool = made_up.pool()
    masks = made_up.masks(5, 3, pool)
    retrain = utilities.retrainer(pool, *_validation(), measure)
    found = retrain(masks, 2)
    self.assertEqual(found.shape, (2, len(masks), made_up.NUM))
    expected = utilities.retrained(pool, *_validation(), (measure,))(masks)
    np.testing.assert_allclose(found.mean(axis=2)[1], expected[:, 0])
    with self.assertRaisesRegex(ValueError, 'misses a class'):
      retrain(np.zeros((1, made_up.NUM), bool), 1)

  @parameterized.parameters((('x',), "got .'x'."), ((), 'utilities measure'))
  def test_unknown(self, measures, words):
    with self.assertRaisesRegex(ValueError, words):
      utilities.retrained(made_up.pool(), *_validation(), measures)

  def test_shapes(self):
    inputs, labels = _validation()
    with self.assertRaisesRegex(ValueError, r'inputs \[num_val, 3\]'):
      utilities.retrained(made_up.pool(), inputs[:, :2], labels)


class PredictedTest(parameterized.TestCase):

  def test_baselines_and_newton_steps(self):
    pool = made_up.pool()
    masks = made_up.masks(50, 3, pool)
    exact = utilities.retrained(pool, *_validation())(masks)
    errors = []
    for steps in (0, 1, 8):
      utility = utilities.predicted(
          baselines.full(pool), pool, *_validation(), num_refines=steps
      )
      errors.append(np.abs(utility(masks) - exact).mean())
    self.assertLess(errors[1], 0.5 * errors[0])
    self.assertLess(errors[2], 1e-7)  # What the exact ones are off by.
    with self.assertRaisesRegex(ValueError, '0 or more'):
      utilities.predicted(
          baselines.full(pool), pool, *_validation(), num_refines=-1
      )

  def test_values_of_the_exact_minimum(self):
    """The two rooms fit together; values add up."""
    pool = made_up.pool()
    utility = utilities.retrained(pool, *_validation(), _BOTH)
    walked = sampled_values.walk(
        utility, made_up.NUM, num_orders=4, empty_utility=utility.empty
    )
    found = sampled_values.shapley(walked, names=_BOTH)
    full = utility(np.ones((1, made_up.NUM), bool))[0]
    np.testing.assert_allclose(
        found.values.sum(axis=0), full - utility.empty, atol=1e-9
    )

  def test_perceptrons(self):
    pool = made_up.perceptrons()
    utility = utilities.retrained(pool, pool.inputs, pool.labels)
    masks = np.zeros((2, len(pool.labels)), bool)
    masks[1, :12] = True
    found = utility(masks)
    np.testing.assert_allclose(found[0], -np.log(2))  # Nothing: a guess.
    losses, _ = evaluation.test_losses(
        pool.objective,
        pool.solve(masks[1:]).parameters,
        pool.inputs,
        pool.labels,
    )
    np.testing.assert_allclose(found[1], -losses, rtol=1e-6)


if __name__ == '__main__':
  absltest.main()
