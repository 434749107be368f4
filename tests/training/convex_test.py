"""Convex objectives, against automatic derivatives and scikit-learn."""

from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np
from sklearn import linear_model
from sklearn import svm

from jdm.solvers import precision
from jdm.training import convex

_NUM, _FEATURES = 40, 3
_KINDS = ('logistic', 'softmax', 'squared_hinge', 'half_square')


def _problem(loss, seed=0, **options):
  """An objective, its examples, and weights of five subsets (some repeats)."""
  rng = np.random.default_rng(seed)
  inputs = rng.normal(size=(_NUM, _FEATURES))
  noisy = inputs @ rng.normal(size=(_FEATURES, 3)) + rng.normal(size=(_NUM, 3))
  labels = {
      'softmax': noisy.argmax(axis=1).astype(np.int32),
      'half_square': noisy[:, 0],
  }.get(loss, (noisy[:, 0] > 0).astype(np.int32))
  own = convex.Objective(
      loss=loss,
      lam=options.pop('lam', 0.7),
      num_features=_FEATURES,
      num_scores=3 if loss == 'softmax' else 1,
      **options,
  )
  weights = rng.integers(0, 3, size=(5, _NUM)).astype(np.float64)
  return own, inputs, labels, weights


class ObjectiveTest(parameterized.TestCase):

  @parameterized.product(loss=_KINDS, penalize_intercept=[False, True])
  def test_derivatives(self, loss, penalize_intercept):
    own, inputs, labels, weights = _problem(
        loss, penalize_intercept=penalize_intercept
    )
    rng = np.random.default_rng(1)
    with precision.float64():
      data = convex.examples(inputs, labels)
      parameters, vectors = jnp.asarray(
          rng.normal(size=(2, len(weights), own.num_parameters))
      )
      weights = jnp.asarray(weights)

      def value(row, weight):
        return own.value(row[None], weight[None], data)[0]

      gradient = own.gradient(parameters, weights, data)
      hessian = own.hessian(parameters, weights, data)
      product = own.hessian_product(parameters, weights, data, vectors)
      np.testing.assert_allclose(
          gradient, jax.vmap(jax.grad(value))(parameters, weights), rtol=1e-10
      )
      np.testing.assert_allclose(
          hessian,
          jax.vmap(jax.hessian(value))(parameters, weights),
          rtol=1e-10,
          atol=1e-10,
      )
      np.testing.assert_allclose(
          product, np.einsum('mpq,mq->mp', hessian, vectors), rtol=1e-9
      )
      each = own.example_gradients(parameters[0], data)
      penalty = own.penalties() * parameters[0]
      np.testing.assert_allclose(weights[0] @ each + penalty, gradient[0])

  def test_value_by_hand(self):
    own, inputs, labels, weights = _problem('logistic')
    with precision.float64():
      data = convex.examples(inputs, labels)
      parameters = np.linspace(-1, 1, own.num_parameters)
      found = own.value(parameters[None], weights[:1], data)[0]
    scores = inputs @ parameters[:-1] + parameters[-1]
    losses = np.log1p(np.exp(-np.where(labels > 0, scores, -scores)))
    expected = weights[0] @ losses + 0.35 * np.sum(parameters[:-1] ** 2)
    self.assertAlmostEqual(float(found), expected, places=9)

  def test_logits_of_two_classes(self):
    own, inputs, labels, _ = _problem('logistic')
    with precision.float64():
      columns = convex.examples(inputs, labels).columns
      parameters = jnp.ones((2, own.num_parameters))
      logits = own.logits(parameters, columns)
      scores = own.scores(parameters, columns)
    self.assertEqual(logits.shape, (2, _NUM, 2))
    difference = logits[..., 1] - logits[..., 0]
    np.testing.assert_allclose(difference, scores[..., 0])

  @parameterized.parameters(
      ({'loss': 'hinge', 'lam': 1.0}, 'known losses'),
      ({'loss': 'logistic', 'lam': 0.0}, 'lam must be positive'),
  )
  def test_errors(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      convex.Objective(num_features=2, **options)


class SolveTest(parameterized.TestCase):

  def _solve(self, own, inputs, labels, weights, **options):
    with precision.float64():
      data = convex.examples(inputs, labels)
      found = convex.solve(own, jnp.asarray(weights), data, **options)
      return jax.tree.map(np.asarray, found)

  def _peer(self, own, inputs, labels, weight):
    options = {'tol': 1e-10, 'max_iter': 100_000}
    if own.loss == 'half_square':
      model = linear_model.Ridge(alpha=own.lam, solver='cholesky')
    elif own.loss == 'squared_hinge':
      model = svm.LinearSVC(C=1 / own.lam, **options)
    else:
      model = linear_model.LogisticRegression(C=1 / own.lam, **options)
    model.fit(inputs, labels, sample_weight=weight)
    coefficients = np.atleast_2d(model.coef_).T
    return np.vstack([coefficients, np.atleast_2d(model.intercept_)])

  @parameterized.product(loss=_KINDS, lam=[0.05, 1.0])
  def test_matches_scikit_learn(self, loss, lam):
    own, inputs, labels, weights = _problem(
        loss, lam=lam, penalize_intercept=loss == 'squared_hinge'
    )
    found = self._solve(own, inputs, labels, weights)
    self.assertTrue(found.converged.all())
    for row, weight in zip(found.parameters, weights):
      expected = self._peer(own, inputs, labels, weight)
      # scikit-learn's own tolerance: its gradient is below 1e-7 or so.
      np.testing.assert_allclose(own.matrix(row), expected, atol=3e-5)

  @parameterized.parameters(*_KINDS)
  def test_the_gradient_is_zero_and_rows_do_not_interact(self, loss):
    own, inputs, labels, weights = _problem(loss, penalize_intercept=True)
    together = self._solve(own, inputs, labels, weights)
    self.assertLess(together.gradient_norm.max(), 1e-6)
    alone = self._solve(own, inputs, labels, weights[2:3])
    np.testing.assert_allclose(
        alone.parameters[0], together.parameters[2], atol=1e-9
    )

  def test_starts_from_the_solution_and_takes_no_step(self):
    own, inputs, labels, weights = _problem('logistic')
    found = self._solve(own, inputs, labels, weights)
    again = self._solve(  # Handed over as numpy: float64 whatever the setting.
        own, inputs, labels, weights, start=found.parameters
    )
    self.assertEqual(again.num_steps, 0)
    np.testing.assert_array_equal(again.parameters, found.parameters)

  def test_softmax_intercepts_sum_to_zero(self):
    own, inputs, labels, weights = _problem('softmax')
    found = self._solve(own, inputs, labels, weights)
    sums = own.matrix(found.parameters)[:, -1].sum(axis=1)
    np.testing.assert_allclose(sums, 0, atol=1e-9)

  def test_two_classes_of_softmax_are_logistic_at_half_the_penalty(self):
    # W_1 - W_0 = w is cheapest as +-w/2: ||W||^2 = ||w||^2 / 2.
    own, inputs, labels, weights = _problem('logistic')
    two = convex.Objective(
        loss='softmax', lam=2 * own.lam, num_features=_FEATURES, num_scores=2
    )
    one = self._solve(own, inputs, labels, weights).parameters
    both = two.matrix(self._solve(two, inputs, labels, weights).parameters)
    np.testing.assert_allclose(both[..., 1] - both[..., 0], one, atol=1e-7)

  def test_without_a_minimum_it_says_so(self):
    own, inputs, labels, weights = _problem('logistic')
    weights = weights * (labels > 0)
    found = self._solve(own, inputs, labels, weights, max_steps=12)
    self.assertFalse(found.converged.all())

  def test_badly_scaled_inputs(self):
    own, inputs, labels, weights = _problem('logistic', lam=1e-3)
    inputs = inputs * np.array([1e3, 1.0, 1e-2])
    found = self._solve(own, inputs, labels, weights)
    self.assertTrue(found.converged.all())


class ConjugateGradientsTest(parameterized.TestCase):

  @parameterized.product(loss=_KINDS, penalize_intercept=[False, True])
  def test_agree_with_factors(self, loss, penalize_intercept):
    found = []
    for lam, most in ((0.7, 250), (0.7 + 1e-12, 1)):  # Two programs.
      own, inputs, labels, weights = _problem(
          loss, lam=lam, penalize_intercept=penalize_intercept
      )
      with (
          mock.patch.object(convex, '_MOST_FACTORED', most),
          precision.float64(),
      ):
        data = convex.examples(inputs, labels)
        found.append(convex.solve(own, jnp.asarray(weights), data))
    self.assertTrue(np.all(found[1].converged))
    np.testing.assert_allclose(
        found[1].parameters, found[0].parameters, atol=1e-7
    )


if __name__ == '__main__':
  absltest.main()
