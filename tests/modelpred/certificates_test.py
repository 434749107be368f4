"""Certificates must hold, and be worth something near the minimum."""

from absl.testing import absltest
from absl.testing import parameterized
import jax.numpy as jnp
import numpy as np

from jdm.modelpred import certificates
from jdm.modelpred import refine
from jdm.solvers import precision
from jdm.training import convex

_NUM, _FEATURES, _SETS = 50, 4, 12


def _problem(loss, penalize, lam=0.5, seed=0):
  rng = np.random.default_rng(seed)
  inputs = rng.normal(size=(_NUM, _FEATURES)) * 1.5
  noisy = inputs @ rng.normal(size=(_FEATURES, 3)) + rng.normal(size=(_NUM, 3))
  labels = {
      'softmax': noisy.argmax(axis=1),
      'half_square': noisy[:, 0],
  }.get(loss, (noisy[:, 0] > 0.5).astype(int))
  own = convex.Objective(
      loss=loss,
      lam=lam,
      num_features=_FEATURES,
      num_scores=3 if loss == 'softmax' else 1,
      penalize_intercept=penalize,
  )
  masks = rng.random((_SETS, _NUM)) < rng.uniform(0.5, 1, (_SETS, 1))
  return own, convex.examples(inputs, labels), jnp.asarray(masks, jnp.float64)


_CASES = [
    (loss, penalize)
    for loss in ('logistic', 'softmax', 'half_square', 'squared_hinge')
    for penalize in (False, True)
    if (loss, penalize) != ('squared_hinge', False)
]


class CertificatesTest(parameterized.TestCase):

  @parameterized.product(
      case=_CASES, distance=[1e-9, 1e-4, 1e-2, 0.3, 3.0], lam=[0.05, 1.0]
  )
  def test_bounds_hold(self, case, distance, lam):
    with precision.float64():
      own, data, weights = _problem(*case, lam=lam)
      truth = convex.solve(own, weights, data).parameters
      rng = np.random.default_rng(1)
      away = rng.normal(size=truth.shape)
      if own.has_gauge:  # Distances are measured at equal sums of intercepts.
        matrix = away.reshape(-1, _FEATURES + 1, 3)
        matrix[:, -1] -= matrix[:, -1].mean(axis=1, keepdims=True)
        away = matrix.reshape(truth.shape)
      away *= distance / np.linalg.norm(away, axis=1, keepdims=True)
      found = certificates.certify(own, truth + away, weights, data)
    # The truth itself is known to 1e-9 or so.
    self.assertTrue((np.asarray(found.bound) >= distance - 1e-8).all())
    if case[0] == 'logistic' or case[1] or case[0] == 'half_square':
      self.assertTrue(np.isfinite(found.bound).all())

  @parameterized.parameters(*_CASES)
  def test_bounds_close_in(self, loss, penalize):
    with precision.float64():
      own, data, weights = _problem(loss, penalize)
      start = jnp.zeros((_SETS, own.num_parameters))
      truth = convex.solve(own, weights, data).parameters
      last = np.inf
      for num_steps in (3, 6, 12):
        near = refine.refine(own, start, weights, data, num_steps=num_steps)
        found = certificates.certify(own, near, weights, data)
        error = np.linalg.norm(near - truth, axis=1)
        self.assertTrue((found.bound >= error - 1e-8).all())
        bound = float(np.median(found.bound))
        self.assertLessEqual(bound, max(last, 1e-10))
        last = bound
    self.assertLess(last, 1e-6)

  def test_decrement_is_twice_what_is_left(self):
    with precision.float64():
      own, data, weights = _problem('logistic', False)
      solution = convex.solve(own, weights, data)
      near = solution.parameters + 1e-3
      found = certificates.certify(own, near, weights, data)
      left = own.value(near, weights, data) - own.value(
          solution.parameters, weights, data
      )
    np.testing.assert_allclose(found.decrement, 2 * left, rtol=1e-2)

  def test_a_free_intercept_of_a_hinge_has_no_bound(self):
    with precision.float64():
      own, data, weights = _problem('squared_hinge', False)
      at = jnp.zeros((_SETS, own.num_parameters))
      found = certificates.certify(own, at, weights, data)
    self.assertTrue(np.isinf(found.bound).all())


class RefineTest(parameterized.TestCase):

  @parameterized.product(
      loss=['logistic', 'softmax', 'half_square', 'squared_hinge'],
      method=['newton', 'gradient'],
  )
  def test_steps_lower_the_objective(self, loss, method):
    with precision.float64():
      own, data, weights = _problem(loss, True)
      at = jnp.ones((_SETS, own.num_parameters))
      values = [own.value(at, weights, data)]
      for _ in range(3):
        at = refine.refine(own, at, weights, data, method=method)
        values.append(own.value(at, weights, data))
    self.assertTrue((np.diff(np.asarray(values), axis=0) < 1e-12).all())

  def test_one_newton_step_solves_half_squares(self):
    with precision.float64():
      own, data, weights = _problem('half_square', False)
      start = jnp.zeros((_SETS, own.num_parameters))
      found = refine.refine(own, start, weights, data)
      truth = convex.solve(own, weights, data).parameters
    np.testing.assert_allclose(found, truth, atol=1e-9)

  def test_unknown_method(self):
    with precision.float64():
      own, data, weights = _problem('logistic', False)
      with self.assertRaisesRegex(ValueError, "got 'adam'"):
        refine.refine(own, weights, weights, data, method='adam')


if __name__ == '__main__':
  absltest.main()
