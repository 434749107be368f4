from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import linear_model

from jdm import solvers
from jdm.solvers import moments as moments_lib
from jdm.solvers import offsets

_LAMS = np.array([0.1, 0.03, 0.01, 0.003])


def _pool(num_models=120, num_train=30, num_targets=5, explained=0.5, seed=0):
  """Masks, outcomes and offsets of which masks explain a part."""
  rng = np.random.default_rng(seed)
  # Of random sizes, so that solutions are unique.
  masks = rng.random((num_models, num_train)) < 0.5
  weights = rng.normal(size=(num_train, num_targets)) * (
      rng.random((num_train, num_targets)) < 0.3
  )
  columns = masks @ rng.normal(size=(num_train, num_targets))
  columns *= explained / columns.std(axis=0)
  columns += rng.normal(size=columns.shape)
  noise = rng.normal(size=columns.shape)
  outcomes = masks @ weights + 2.0 * columns + noise + 3.0
  return masks, outcomes, columns + 5.0


def _projected(masks, outcomes, offset):
  """Columns and an outcome off the offset and 1."""
  basis = np.stack([np.ones(len(offset)), offset], axis=1)
  off = lambda x: x - basis @ np.linalg.lstsq(basis, x, rcond=None)[0]
  return off(masks.astype(np.float64)), off(outcomes)


class OffsetsTest(parameterized.TestCase):

  @parameterized.parameters(0.0, 0.5, 3.0)
  def test_is_the_lasso_of_projected_columns(self, explained):
    masks, outcomes, columns = _pool(explained=explained)
    found = offsets.lasso_path(
        masks, outcomes, columns, lams=_LAMS, tol=1e-9, max_epochs=50_000
    )
    self.assertTrue(found.converged.all())
    for target in range(outcomes.shape[1]):
      x, y = _projected(masks, outcomes[:, target], columns[:, target])
      for index, lam in enumerate(_LAMS):
        oracle = linear_model.Lasso(
            alpha=lam, fit_intercept=False, tol=1e-12, max_iter=100_000
        )
        oracle.fit(x, y)
        np.testing.assert_allclose(
            found.weights[index, :, target], oracle.coef_, atol=2e-4
        )

  def test_conditions_of_the_optimum(self):
    masks, outcomes, columns = _pool(seed=1)
    found = offsets.lasso_path(masks, outcomes, columns, lams=_LAMS, tol=1e-9)
    left = outcomes[None] - found.predict(masks, columns)
    np.testing.assert_allclose(left.mean(axis=1), 0, atol=1e-9)
    # beta is not penalized: what is left does not vary with the offset.
    along = np.einsum('lmt,mt->lt', left, columns - columns.mean(axis=0))
    np.testing.assert_allclose(along / len(masks), 0, atol=1e-9)
    slope = np.einsum('mn,lmt->lnt', masks - masks.mean(axis=0), left)
    slope /= len(masks)
    lams = np.broadcast_to(_LAMS[:, None, None], slope.shape)
    self.assertLess(np.max(np.abs(slope) - lams), 1e-4)
    used = found.weights != 0
    signs = np.sign(found.weights)
    np.testing.assert_allclose(slope[used], (lams * signs)[used], atol=1e-4)

  def test_the_gap_is_that_of_the_projected_problem(self):
    masks, outcomes, columns = _pool(seed=2)
    found = offsets.lasso_path(masks, outcomes, columns, lams=_LAMS, tol=1e-3)
    for target in range(outcomes.shape[1]):
      x, y = _projected(masks, outcomes[:, target], columns[:, target])
      for index, lam in enumerate(_LAMS):
        weights = found.weights[index, :, target].astype(np.float64)
        left = y - x @ weights
        dual = x.T @ left / len(y)
        scale = min(1, lam / np.abs(dual).max())
        primal = left @ left / (2 * len(y)) + lam * np.abs(weights).sum()
        gap = primal - (y @ y - np.sum((y - scale * left) ** 2)) / (2 * len(y))
        relative = gap / (y @ y / (2 * len(y)))
        self.assertAlmostEqual(found.gap[index, target], relative, delta=1e-9)

  def test_a_constant_offset_changes_nothing(self):
    masks, outcomes, columns = _pool(seed=3)
    columns[:, 1] = 7.0
    found = offsets.lasso_path(masks, outcomes, columns, lams=_LAMS, tol=1e-8)
    plain = solvers.lasso_path(
        moments_lib.of(masks, outcomes), lams=_LAMS, tol=1e-8, keep='all'
    )
    np.testing.assert_allclose(
        found.weights[:, :, 1], plain.weights[:, :, 1], atol=1e-4
    )
    np.testing.assert_array_equal(found.beta[:, 1], 0)

  def test_an_offset_that_explains_all(self):
    masks, outcomes, columns = _pool(seed=4)
    outcomes[:, 0] = 3 * columns[:, 0] - 1
    found = offsets.lasso_path(masks, outcomes, columns, lams=_LAMS)
    np.testing.assert_array_equal(found.weights[:, :, 0], 0)
    np.testing.assert_allclose(found.beta[:, 0], 3, rtol=1e-6)
    np.testing.assert_allclose(found.bias[:, 0], -1, atol=1e-5)

  @parameterized.parameters(
      ('shape', r'\[num_models, num_targets\] = \[120, 5\]'),
      ('nan', 'numbers not finite'),
      ('models', 'for the 2 masks or more'),
  )
  def test_bad_input(self, kind, message):
    masks, outcomes, columns = _pool()
    if kind == 'shape':
      columns = columns[:, :1]
    elif kind == 'nan':
      columns[3, 2] = np.nan
    else:
      outcomes = outcomes[:-1]
    with self.assertRaisesRegex(ValueError, message):
      offsets.lasso_path(masks, outcomes, columns)

  def test_unknown_options(self):
    with self.assertRaisesRegex(TypeError, 'unexpected options keep'):
      offsets.lasso_path(*_pool(), keep='best')


if __name__ == '__main__':
  absltest.main()
