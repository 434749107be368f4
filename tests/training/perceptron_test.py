"""Perceptrons, against naive loops and automatic derivatives."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import precision
from jdm.training import convex
from jdm.training import perceptron

_NUM, _FEATURES = 5, 3
_KINDS = ('logistic', 'softmax', 'squared_hinge', 'half_square')


def _problem(loss='logistic', **options):
  """An objective, its examples, and weights of four subsets."""
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(_NUM, _FEATURES))
  labels = {
      'softmax': np.arange(_NUM) % 3,
      'half_square': rng.normal(size=_NUM),
  }.get(loss, np.arange(_NUM) % 2)
  own = perceptron.Objective(
      loss=loss,
      lam=options.pop('lam', 0.3),
      num_features=_FEATURES,
      num_scores=3 if loss == 'softmax' else 1,
      **{'hidden': (4, 2), 'num_steps': 30, **options},
  )
  weights = rng.integers(0, 3, size=(4, _NUM)).astype(np.float64)
  return own, inputs, labels, weights


def _naive(own, inputs, labels, weight):
  """F of one subset as a function of theta, example by example."""

  def value(theta):
    total = 0.5 * own.lam * jnp.sum(theta**2)
    for x, y, m in zip(inputs, labels, weight):
      first, hidden = 0, jnp.asarray(x)
      for number, (rows, columns) in enumerate(own.shapes):
        size = rows * columns
        layer = theta[first : first + size].reshape(rows, columns)
        first += size
        hidden = hidden if number == 0 else jnp.tanh(hidden)
        hidden = hidden @ layer[:-1] + layer[-1]
      label = jnp.asarray(y)
      total += m * convex.LOSSES[own.loss].value(hidden, label)
    return total

  return value


class ObjectiveTest(parameterized.TestCase):

  @parameterized.parameters(*_KINDS)
  def test_derivatives(self, loss):
    own, inputs, labels, weights = _problem(loss)
    rng = np.random.default_rng(1)
    with precision.float64():
      data = convex.examples(inputs, labels)
      parameters, vectors = jnp.asarray(
          rng.normal(size=(2, len(weights), own.num_parameters))
      )
      value = own.value(parameters, weights, data)
      gradient = own.gradient(parameters, jnp.asarray(weights), data)
      product = own.hessian_product(
          parameters, jnp.asarray(weights), data, vectors
      )
      # One subset: the oracle compiles slowly.
      naive = _naive(own, inputs, labels, weights[0])
      at, along = (parameters[0],), (vectors[0],)
      np.testing.assert_allclose(value[0], jax.jit(naive)(*at), rtol=1e-12)
      expected, change = jax.jvp(jax.jit(jax.grad(naive)), at, along)
      np.testing.assert_allclose(gradient[0], expected, rtol=1e-9)
      np.testing.assert_allclose(product[0], change, rtol=1e-8, atol=1e-9)

  def test_logits_of_two_classes(self):
    own, inputs, labels, _ = _problem()
    with precision.float64():
      columns = convex.examples(inputs, labels).columns
      parameters = jnp.ones((2, own.num_parameters))
      logits = own.logits(parameters, columns)
      scores = own.scores(parameters, columns)
    self.assertEqual(logits.shape, (2, _NUM, 2))
    np.testing.assert_array_equal(logits[..., 1:], scores)

  def test_initialization_is_of_the_seed_alone(self):
    own = _problem()[0]
    single = np.asarray(own.initial())
    with precision.float64():
      double = np.asarray(own.initial())
      other = np.asarray(_problem(init_seed=1)[0].initial())
    self.assertEqual(double.dtype, np.float64)
    np.testing.assert_array_equal(single, double.astype(np.float32))
    self.assertGreater(np.abs(other - double).max(), 0.1)
    for matrix in own.matrices(double):
      self.assertFalse(matrix[-1].any())
    wide = perceptron.Objective(
        loss='logistic', lam=1.0, num_features=400, hidden=(50,)
    )
    weights = np.asarray(wide.matrices(wide.initial())[0])[:-1]
    self.assertAlmostEqual(float(weights.std()), 400**-0.5, delta=1e-3)

  @parameterized.parameters(
      ({'loss': 'hinge'}, 'known losses'),
      ({'lam': -1.0}, 'must not be negative'),
      ({'hidden': ()}, 'needs a hidden layer'),
      ({'num_steps': 0}, 'and a step'),
      ({'momentum': 1.0}, r'momentum in \[0, 1\)'),
  )
  def test_errors(self, changes, words):
    options = {'loss': 'logistic', 'lam': 1.0, 'num_features': 2, **changes}
    with self.assertRaisesRegex(ValueError, words):
      perceptron.Objective(**options)


class SolveTest(parameterized.TestCase):

  def _solve(self, own, rows=slice(None), start=None, **options):
    _, inputs, labels, weights = _problem(own.loss)
    with precision.float64():
      data = convex.examples(inputs, labels)
      found = perceptron.solve(
          own, jnp.asarray(weights[rows]), data, start, **options
      )
    return jax.tree.map(np.asarray, found)

  def test_descent_by_hand(self):
    own, inputs, labels, weights = _problem(num_steps=5)
    found = self._solve(own)
    with precision.float64():
      for row in range(2):
        slope = jax.jit(jax.grad(_naive(own, inputs, labels, weights[row])))
        at = np.asarray(own.initial())
        velocity = np.zeros_like(at)
        for _ in range(own.num_steps):
          gradient = np.asarray(slope(jnp.asarray(at))) / weights[row].sum()
          velocity = own.momentum * velocity + gradient
          at = at - own.learning_rate * velocity
        np.testing.assert_allclose(found.parameters[row], at, rtol=1e-9)
        norm = np.linalg.norm(slope(jnp.asarray(at)))
        self.assertAlmostEqual(found.gradient_norm[row], norm, places=9)

  @parameterized.parameters(*_KINDS)
  def test_a_set_alone_is_a_set_in_a_batch(self, loss):
    own = _problem(loss)[0]
    together = self._solve(own).parameters
    for row in range(2):
      alone = self._solve(own, slice(row, row + 1)).parameters
      # Sums of another order, in float64, along 30 steps.
      np.testing.assert_allclose(alone[0], together[row], rtol=1e-10)

  def test_a_warm_start_resets_momentum(self):
    own = _problem()[0]
    half = self._solve(own, num_steps=10).parameters
    warm = self._solve(own, start=half, num_steps=20).parameters
    whole = self._solve(own).parameters
    self.assertGreater(np.abs(warm - whole).max(), 1e-4)
    # Without momentum nothing is reset: two runs are one.
    plain = _problem(momentum=0.0)[0]
    half = self._solve(plain, num_steps=10).parameters
    warm = self._solve(plain, start=half, num_steps=20).parameters
    whole = self._solve(plain).parameters
    np.testing.assert_array_equal(warm, whole)

  def test_size_does_not_change_the_step(self):
    own = _problem(lam=0.0)[0]
    _, inputs, labels, weights = _problem()
    with precision.float64():
      data = convex.examples(inputs, labels)
      once, thrice = (
          perceptron.solve(own, times * jnp.asarray(weights), data).parameters
          for times in (1, 3)
      )
    np.testing.assert_allclose(once, thrice, rtol=1e-10)

  def test_a_large_rate_diverges_and_says_so(self):
    found = self._solve(_problem('half_square', learning_rate=1e30)[0])
    self.assertFalse(found.converged.any())
    self.assertTrue(self._solve(_problem('half_square')[0]).converged.all())


if __name__ == '__main__':
  absltest.main()
