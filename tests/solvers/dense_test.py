from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.solvers import centred
from jdm.solvers import certificate
from jdm.solvers import dense
from jdm.solvers import path as path_lib
from tests import planted
from tests.solvers import oracle

_OPTIONS = {'lams': np.array([0.05]), 'tol': 1e-8}


def _problem(seed=0, num_models=50, num_train=6, num_targets=3):
  generator = np.random.default_rng(seed)
  inputs = generator.normal(size=(num_models, num_train))
  inputs = 10.0 ** generator.uniform(-2, 2, num_train) * inputs + 1000
  weights = generator.normal(size=(num_train, num_targets))
  noise = generator.normal(size=(num_models, num_targets))
  return inputs, inputs @ weights + noise, generator.random(num_models) + 0.1


class DenseMomentsTest(parameterized.TestCase):

  def assertSame(self, first, second, rtol):
    for name in ('gram', 'centred_cross', 'variance', 'mean_mask'):
      expected = getattr(second, name)()
      np.testing.assert_allclose(
          getattr(first, name)(),
          expected,
          rtol=rtol,
          atol=rtol * np.abs(expected).max(),
          err_msg=name,
      )
    np.testing.assert_allclose(
        first.mean_outcome(), second.mean_outcome(), rtol=rtol
    )

  @parameterized.product(intercept=(True, False), weighted=(True, False))
  def test_matches_the_definition(self, intercept, weighted):
    inputs, outcomes, weight = _problem()
    if not weighted:
      weight = np.ones(len(inputs))
    sums = dense.of(inputs, outcomes, weight, intercept=intercept)
    share = weight / weight.sum()
    means = share @ inputs * intercept, share @ outcomes * intercept
    rows, values = inputs - means[0][None], outcomes - means[1][None]
    np.testing.assert_allclose(sums.mean_mask(), means[0], rtol=1e-12)
    np.testing.assert_allclose(sums.mean_outcome(), means[1], rtol=1e-12)
    # Means near 1,000 leave 13 digits of the differences.
    for found, expected in (
        (sums.gram(), (share[:, None] * rows).T @ rows),
        (sums.centred_cross(), (share[:, None] * rows).T @ values),
        (sums.variance(), share @ values**2),
    ):
      np.testing.assert_allclose(
          found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max()
      )

  def test_chunks_folds_and_weights_make_no_difference(self):
    inputs, outcomes, weight = _problem(1)
    empty = dense.around(inputs, outcomes)
    whole = empty.add(inputs, outcomes, weight)
    parts = [
        empty.add(inputs[k::3], outcomes[k::3], weight[k::3]) for k in range(3)
    ]
    self.assertSame(parts[0] + parts[1] + parts[2], whole, 1e-12)
    rest = whole.subtract(parts[0])
    self.assertSame(rest, parts[1] + parts[2], 1e-11)
    self.assertEqual(rest.num_models, 33)
    twice = empty.add(np.repeat(inputs, 2, 0), np.repeat(outcomes, 2, 0))
    self.assertSame(empty.add(inputs, outcomes, np.full(50, 2.0)), twice, 1e-12)
    zero = np.where(np.arange(50) < 40, 1.0, 0.0)
    some = empty.add(inputs[:40], outcomes[:40])
    self.assertSame(empty.add(inputs, outcomes, zero), some, 1e-12)
    self.assertEqual(empty.add(inputs, outcomes, zero).num_models, 40)

  def test_another_reference_makes_no_difference(self):
    inputs, outcomes, weight = _problem(2)
    whole = dense.of(inputs, outcomes, weight)
    moved = whole.shifted(inputs[0], outcomes[1])
    self.assertSame(moved, whole, 1e-9)
    joined = moved.subtract(moved) + whole
    self.assertSame(joined, whole, 1e-9)

  def test_a_large_mean_costs_no_digits(self):
    inputs, outcomes, _ = _problem(3)
    inputs = np.round(inputs * 1024) / 1024  # Sums with 2^30 are exact.
    plain = dense.of(inputs, outcomes)
    far = dense.of(inputs + 2.0**30, outcomes + 2.0**20)
    np.testing.assert_allclose(
        far.gram(), plain.gram(), rtol=1e-9, atol=1e-9 * plain.gram().max()
    )

  @parameterized.parameters(0.1, 1e9 / 3)
  def test_constant_columns_and_outcomes_have_no_variance(self, value):
    inputs, outcomes, _ = _problem(4)
    inputs[:, 2], outcomes[:, 1] = value, value
    sums = dense.of(inputs, outcomes)
    self.assertEqual(sums.variance()[1], 0)
    np.testing.assert_array_equal(sums.gram()[2], 0)
    np.testing.assert_array_equal(sums.centred_cross()[2], 0)
    # A column that is constant only without a fold is so to rounding.
    inputs[:10, 2] += 7
    empty = dense.around(inputs, outcomes)
    whole = empty.add(inputs, outcomes)
    rest = whole.subtract(empty.add(inputs[:10], outcomes[:10]))
    self.assertLess(abs(rest.gram()[2, 2]), 1e-14 * whole.gram()[2, 2])

  def test_masks_give_what_moments_give(self):
    problem = planted.sparse_linear(0, 20, 100)
    sums = dense.of(problem.masks, problem.outcomes)
    self.assertSame(sums, problem.moments, 1e-12)
    path = path_lib.lasso_path(sums, **_OPTIONS)
    expected = path_lib.lasso_path(problem.moments, **_OPTIONS)
    np.testing.assert_allclose(path.weights, expected.weights, atol=1e-6)
    again = certificate.from_moments(sums, path.weights, path.lam)
    np.testing.assert_allclose(again, path.gap, rtol=1e-9)

  def test_bad_arguments_raise(self):
    inputs, outcomes, weight = _problem()
    empty = dense.around(inputs, outcomes)
    with self.assertRaisesRegex(ValueError, r'\[num_models, 6\]'):
      empty.add(inputs[:, :5], outcomes)
    with self.assertRaisesRegex(ValueError, r'0 or more.*\[50\]'):
      empty.add(inputs, outcomes, -weight)
    with self.assertRaisesRegex(ValueError, 'finite sample weights'):
      empty.add(inputs, outcomes, weight * np.nan)
    with self.assertRaisesRegex(ValueError, 'not finite'):
      empty.add(np.full_like(inputs, np.nan), outcomes)
    with self.assertRaisesRegex(ValueError, '50 rows to take from 0'):
      empty.subtract(empty.add(inputs, outcomes))
    with self.assertRaisesRegex(ValueError, 'one problem'):
      empty + dense.around(inputs[:, :5], outcomes)
    with self.assertRaisesRegex(ValueError, 'shifts of 0'):
      dense.DenseMoments.zeros(np.ones(2), np.ones(1), intercept=False)


class CentredTest(absltest.TestCase):

  def test_squared_error_is_that_of_the_rows(self):
    problem = planted.sparse_linear(1, 20, 100)
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(2, 20, 5))
    bias = generator.normal(size=(2, 5))
    for moments in (
        problem.moments,
        dense.of(problem.masks, problem.outcomes),
    ):
      found = centred.of(moments).squared_error(weights, bias)
      residual = (
          problem.outcomes[None]
          - np.einsum('mn,knt->kmt', problem.masks, weights)
          - bias[:, None]
      )
      np.testing.assert_allclose(found, np.mean(residual**2, 1), rtol=1e-10)

  def test_scaling_and_padding_are_undone_by_weights(self):
    problem = planted.sparse_linear(2, 16, 100, 4)
    lam = 0.05
    changed = centred.of(problem.moments).scaled(0.5).padded(20, 6)
    path = path_lib.lasso_path(
        changed.targets(np.arange(1, 6)),
        lams=np.array([lam * 0.5]),
        tol=1e-8,
    )
    np.testing.assert_array_equal(path.weights[16:], 0)
    np.testing.assert_array_equal(path.weights[:, 3:], 0)
    for j in (1, 3):
      coef, intercept = oracle.lasso(problem.masks, problem.outcomes[:, j], lam)
      # A gap of 1e-8 leaves about its root.
      found = path.weights[:16, j - 1] * 0.5
      np.testing.assert_allclose(found, coef, atol=1e-3)
      np.testing.assert_allclose(path.bias[j - 1], intercept, atol=1e-3)


if __name__ == '__main__':
  absltest.main()
