from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import moments as moments_lib
from jdm.solvers import path as path_lib
from tests import planted
from tests.solvers import oracle

_RATIOS = (0.5, 1, 2, 10)


class LassoPathTest(parameterized.TestCase):

  @parameterized.product(
      ratio=_RATIOS, alpha=(0.1, 0.5, 0.9), seed=(0, 1, 2, 3)
  )
  def test_objective_matches_scikit_learn(self, ratio, alpha, seed):
    num_models = int(60 * ratio)
    problem = planted.sparse_linear(seed, 60, num_models, 5, alpha)
    for tol in (1e-4, 1e-6, 1e-8):
      path = path_lib.lasso_path(
          problem.moments, num_lams=8, keep='all', tol=tol
      )
      self.assertTrue(path.converged.all())
      for k, j in ((2, 0), (7, 1)):
        pair = problem.masks, problem.outcomes[:, j]
        lam = path.lams[k, j]
        best = oracle.objective(*pair, *oracle.lasso(*pair, lam), lam)
        found = oracle.objective(
            *pair, path.weights[k, :, j], path.bias[k, j], lam
        )
        scale = problem.outcomes[:, j].astype(np.float64).var() / 2
        # The oracle itself is solved to 1e-13.
        self.assertLessEqual(found - best, path.gap[k, j] * scale + 1e-12)
        if tol == 1e-8:
          np.testing.assert_allclose(found, best, rtol=1e-7)

  @parameterized.product(ratio=_RATIOS, tol=(1e-4, 1e-6))
  def test_gap_is_that_of_the_weights_returned(self, ratio, tol):
    problem = planted.sparse_linear(1, 60, int(60 * ratio), 5)
    path = path_lib.lasso_path(
        problem.moments, num_lams=8, keep='all', tol=tol, dtype='float32'
    )
    self.assertEqual(path.weights.dtype, np.float32)
    for k in range(8):
      for j in range(3):
        gap = oracle.relative_gap(
            problem.masks,
            problem.outcomes[:, j],
            path.weights[k, :, j],
            path.lams[k, j],
        )
        # The definition subtracts numbers near 1: 1e-14 is its rounding.
        np.testing.assert_allclose(path.gap[k, j], gap, rtol=1e-4, atol=1e-13)
        self.assertLessEqual(gap, 1.1 * tol)

  @parameterized.product(
      ratio=(0.5, 5),
      kind=('factor', 'elastic', 'positive', 'elastic positive'),
      dual_point=('residual', 'corrected'),
  )
  def test_other_penalties_match_scikit_learn(self, ratio, kind, dual_point):
    problem = planted.sparse_linear(2, 60, int(60 * ratio), 3)
    generator = np.random.default_rng(0)
    factor = np.ones((60, 3))
    if kind == 'factor':
      factor = generator.uniform(0.3, 3, size=(60, 3))
    l1_ratio = 0.4 if 'elastic' in kind else 1.0
    options = {'l1_ratio': l1_ratio, 'positive': 'positive' in kind}
    path = path_lib.lasso_path(
        problem.moments,
        num_lams=5,
        min_ratio=0.03,
        keep='all',
        tol=1e-8,
        factor=factor if kind == 'factor' else None,
        dual_point=dual_point,
        **options,
    )
    self.assertTrue(path.converged.all())
    np.testing.assert_array_equal(path.weights[0], 0)
    for k, j in ((2, 0), (4, 1), (4, 2)):
      pair = problem.masks, problem.outcomes[:, j]
      lam = path.lams[k, j]
      best = oracle.elastic_net(*pair, lam, factor[:, j], **options)
      found = path.weights[k, :, j]
      values = []
      for weights in (best, found):
        bias = np.mean(problem.outcomes[:, j] - problem.masks @ weights)
        value = oracle.objective(*pair, weights, bias, 0)
        value += lam * l1_ratio * np.sum(factor[:, j] * np.abs(weights))
        values.append(value + lam * (1 - l1_ratio) / 2 * np.sum(weights**2))
      np.testing.assert_allclose(values[1], values[0], rtol=1e-7)
      if options['positive']:
        self.assertTrue((found >= 0).all())

  @parameterized.product(ratio=(4, 10), tol=(1e-4, 1e-6))
  def test_corrected_dual_points_take_fewer_epochs(self, ratio, tol):
    problem = planted.sparse_linear(1, 60, 60 * ratio, 5)
    options = {'num_lams': 8, 'keep': 'all', 'tol': tol}
    slow = path_lib.lasso_path(problem.moments, **options)
    fast = path_lib.lasso_path(
        problem.moments, dual_point='corrected', **options
    )
    self.assertLess(fast.num_epochs.sum(), 0.7 * slow.num_epochs.sum())
    self.assertTrue((fast.gap <= 1.05 * tol).all())
    for j in range(5):
      pair = problem.masks, problem.outcomes[:, j]
      lam = fast.lams[7, j]
      best = oracle.objective(*pair, *oracle.lasso(*pair, lam), lam)
      args = fast.weights[7, :, j], fast.bias[7, j], lam
      scale = problem.outcomes[:, j].astype(np.float64).var() / 2
      excess = oracle.objective(*pair, *args) - best
      self.assertLessEqual(excess, 1.05 * tol * scale)

  def test_the_weights_kept_are_certified_by_their_residual(self):
    problem = planted.sparse_linear(3, 60, 400, 5)
    moments = moments_lib.of(problem.masks[:300], problem.outcomes[:300])
    val = {
        'val_masks': problem.masks[300:],
        'val_outcomes': problem.outcomes[300:],
    }
    path = path_lib.lasso_path(moments, **val)
    for j in range(5):
      gap = oracle.relative_gap(
          problem.masks[:300],
          problem.outcomes[:300, j],
          path.weights[:, j],
          path.lam[j],
      )
      np.testing.assert_allclose(path.gap[j], gap, rtol=1e-4, atol=1e-13)
      self.assertLessEqual(gap, 1e-4)
    corrected = path_lib.lasso_path(moments, dual_point='corrected', **val)
    np.testing.assert_allclose(corrected.val_mse, path.val_mse, rtol=3e-3)
    self.assertTrue((corrected.num_epochs <= path.num_epochs).all())

  def test_satisfies_the_optimality_conditions(self):
    problem = planted.sparse_linear(2)
    path = path_lib.lasso_path(
        problem.moments, num_lams=8, keep='all', tol=1e-8, dtype='float64'
    )
    gram, cross = problem.moments.gram(), problem.moments.centred_cross()
    correlation = cross[None] - np.einsum('ij,kjt->kit', gram, path.weights)
    lam = path.lams[:, None] * np.ones_like(correlation)
    active = path.weights != 0
    # A gap of 1e-8 bounds the error of correlations by about its root.
    np.testing.assert_array_less(np.abs(correlation), lam + 1e-4)
    np.testing.assert_allclose(
        correlation[active], (lam * np.sign(path.weights))[active], atol=1e-4
    )

  def test_orthogonal_design_has_a_closed_form(self):
    # All 2^4 subsets: centred columns are orthogonal, of square norm m / 4.
    masks = np.unpackbits(np.arange(16, dtype=np.uint8)[:, None], axis=1) > 0
    masks = masks[:, 4:]
    outcomes = np.random.default_rng(0).normal(size=(16, 2))
    moments = moments_lib.of(masks, outcomes)
    path = path_lib.lasso_path(
        moments, lams=np.array([0.05]), tol=1e-10, dtype='float64'
    )
    cross = moments.centred_cross()
    shrunk = np.sign(cross) * np.maximum(np.abs(cross) - 0.05, 0)
    np.testing.assert_allclose(path.weights, shrunk * 4, atol=1e-5)

  def test_weights_are_exactly_zero_at_the_largest_penalty(self):
    problem = planted.sparse_linear(3)
    path = path_lib.lasso_path(problem.moments, num_lams=8, keep='all')
    np.testing.assert_array_equal(path.weights[0], 0)
    np.testing.assert_array_equal(path.nnz[0], 0)
    mean = problem.outcomes.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(path.bias[0], mean, rtol=1e-12)
    self.assertTrue((path.nnz[1] > 0).all())
    nnz = (path.weights != 0).sum(axis=1)
    np.testing.assert_array_equal(path.nnz, nnz)
    self.assertLess(path.nnz[1].max(), 60)

  def test_a_shift_or_a_scale_of_outcomes_changes_what_it_must(self):
    problem = planted.sparse_linear(4)
    path = path_lib.lasso_path(problem.moments, num_lams=8, keep='all')
    moved = moments_lib.of(problem.masks, problem.outcomes * 1024.0 + 5120)
    shifted = path_lib.lasso_path(moved, num_lams=8, keep='all')
    # A power of two is exact; float32 outcomes are rounded by the shift.
    np.testing.assert_allclose(
        shifted.weights, path.weights * 1024, atol=1024 * 1e-4
    )
    np.testing.assert_allclose(
        shifted.bias, path.bias * 1024 + 5120, atol=1024 * 1e-3
    )

  def test_targets_do_not_interact(self):
    problem = planted.sparse_linear(5, num_targets=10)
    options = {'num_lams': 8, 'keep': 'all', 'tol': 1e-6}
    options['devices'] = jax.local_devices()[:1]
    path = path_lib.lasso_path(problem.moments, tile=5, **options)
    order = np.random.default_rng(0).permutation(10)
    mixed = moments_lib.of(problem.masks, problem.outcomes[:, order])
    for tile in (10, 5):
      other = path_lib.lasso_path(mixed, tile=tile, **options)
      self.assertTrue(other.converged.all())
      # Two solutions within a gap of 1e-6 differ by about its root.
      np.testing.assert_allclose(
          other.weights, path.weights[:, :, order], atol=2e-3
      )

  @parameterized.parameters(1, 7, 60)
  def test_block_size_does_not_matter(self, block):
    problem = planted.sparse_linear(6)
    path = path_lib.lasso_path(
        problem.moments, num_lams=8, keep='all', tol=1e-6, block=block
    )
    self.assertTrue(path.converged.all())

  def test_two_devices_agree_with_one(self):
    problem = planted.sparse_linear(7, num_targets=10)
    seen = []
    options = {'num_lams': 8, 'keep': 'all', 'tol': 1e-6, 'tile': 5}
    one, two = (
        path_lib.lasso_path(
            problem.moments,
            devices=jax.local_devices()[:count],
            progress=lambda done, total: seen.append((done, total)),
            **options,
        )
        for count in (1, 2)
    )
    self.assertLen(jax.local_devices(), 2)
    self.assertEqual(seen[-1], (10, 10))
    # Two solutions within a gap of 1e-6 differ by about its root.
    np.testing.assert_allclose(one.weights, two.weights, atol=2e-3)

  def test_keeps_the_best_penalty_by_the_intercept_of_the_fit(self):
    problem = planted.sparse_linear(8, num_models=200)
    other = planted.sparse_linear(8, num_models=280)
    val = other.masks[200:], other.outcomes[200:] + 0.5
    options = {'val_masks': val[0], 'val_outcomes': val[1], 'num_lams': 8}
    path = path_lib.lasso_path(problem.moments, keep='all', **options)
    predicted = np.einsum('mn,knt->kmt', val[0], path.weights)
    predicted += path.bias[:, None]
    expected = np.mean((val[1][None] - predicted) ** 2, axis=1)
    # float32 products of predictions of size 10.
    np.testing.assert_allclose(path.val_mse_path, expected, rtol=1e-5)
    best = path_lib.lasso_path(problem.moments, keep='best', **options)
    # What is only compared is solved less far.
    np.testing.assert_allclose(best.val_mse_path, expected, rtol=3e-3)
    index, columns = best.val_mse_path.argmin(axis=0), np.arange(5)
    np.testing.assert_array_equal(best.lam, path.lams[index, columns])
    chosen = expected[index, columns]
    np.testing.assert_allclose(chosen, expected.min(axis=0), rtol=1e-3)
    np.testing.assert_allclose(best.val_mse, chosen, rtol=1e-4)
    np.testing.assert_allclose(
        best.weights, path.weights[index, :, columns].T, atol=3e-3
    )
    self.assertTrue((best.gap <= 1e-4).all())

  def test_constant_outcomes_and_constant_columns(self):
    problem = planted.sparse_linear(9)
    masks, outcomes = problem.masks.copy(), problem.outcomes.copy()
    outcomes[:, 1] = 0.1
    masks[:, 3], masks[:, 4] = True, False
    path = path_lib.lasso_path(
        moments_lib.of(masks, outcomes), num_lams=8, keep='all'
    )
    np.testing.assert_array_equal(path.weights[:, :, 1], 0)
    np.testing.assert_array_equal(path.gap[:, 1], 0)
    np.testing.assert_allclose(path.bias[:, 1], np.float32(0.1), rtol=1e-12)
    np.testing.assert_array_equal(path.weights[:, 3:5], 0)
    self.assertTrue(np.isfinite(path.weights).all())
    self.assertTrue(path.converged.all())

  def test_copies_of_an_example_and_of_a_model(self):
    # Rank one blocks: the worst case for step lengths.
    problem = planted.sparse_linear(10, num_train=8, num_models=40)
    masks = np.repeat(problem.masks, 8, axis=1)
    path = path_lib.lasso_path(
        moments_lib.of(masks, problem.outcomes),
        num_lams=8,
        keep='all',
        tol=1e-6,
    )
    self.assertTrue(path.converged.all())

  def test_what_float32_products_miss_is_solved_in_float64(self):
    # Examples come in groups of near copies.
    generator = np.random.default_rng(0)
    masks = np.repeat(generator.random((300, 10)) < 0.5, 6, axis=1)
    masks ^= generator.random(masks.shape) < 0.02
    outcomes = masks @ generator.normal(size=(60, 5))
    outcomes += generator.normal(size=outcomes.shape)
    moments = moments_lib.of(masks, outcomes)
    lams = np.geomspace(1, 1e-3, 8)
    options = {'lams': lams, 'keep': 'all', 'tol': 1e-5}
    path = path_lib.lasso_path(moments, **options)
    self.assertTrue(path.converged.all())
    best = path_lib.lasso_path(
        moments,
        lams=lams,
        tol=1e-5,
        val_masks=masks[:50],
        val_outcomes=outcomes[:50],
    )
    self.assertTrue(best.converged.all())

  def test_the_honest_gap_of_an_unfinished_target(self):
    problem = planted.sparse_linear(11, num_models=60)
    path = path_lib.lasso_path(
        problem.moments, num_lams=8, keep='all', tol=1e-8, max_epochs=2
    )
    self.assertFalse(path.converged.all())
    np.testing.assert_array_equal(path.converged, path.gap <= 1.1e-8)
    self.assertTrue(np.isfinite(path.gap).all())
    gap = oracle.relative_gap(
        problem.masks,
        problem.outcomes[:, 0],
        path.weights[7, :, 0],
        path.lams[7, 0],
    )
    np.testing.assert_allclose(path.gap[7, 0], gap, rtol=1e-6)

  def test_the_running_gap_is_near_the_certificate(self):
    problem = planted.sparse_linear(12)
    options = {'num_lams': 8, 'keep': 'all', 'tol': 1e-4}
    path = path_lib.lasso_path(problem.moments, **options)
    running = path_lib.lasso_path(problem.moments, certify=False, **options)
    np.testing.assert_allclose(running.gap, path.gap, rtol=0.02, atol=1e-9)

  def test_starts_from_given_weights(self):
    problem = planted.sparse_linear(13)
    lams = np.full((1, 5), 0.02)
    cold = path_lib.lasso_path(problem.moments, lams=lams, tol=1e-6)
    warm = path_lib.lasso_path(
        problem.moments, lams=lams, tol=1e-6, start=cold.weights
    )
    self.assertEqual(warm.num_epochs.max(), 1)
    self.assertTrue(warm.converged.all())

  @parameterized.product(
      keep=('best', 'all'), dual_point=('residual', 'corrected')
  )
  def test_weights_may_be_kept_in_a_file(self, keep, dual_point):
    problem = planted.sparse_linear(3, num_models=400)
    options = {'num_lams': 4, 'keep': keep, 'dual_point': dual_point}
    if keep == 'best':
      options['val_masks'] = problem.masks
      options['val_outcomes'] = problem.outcomes
    plain = path_lib.lasso_path(problem.moments, **options)
    file = self.create_tempfile('weights.npy').full_path
    kept = path_lib.lasso_path(problem.moments, weights_file=file, **options)
    np.testing.assert_array_equal(kept.weights, plain.weights)
    np.testing.assert_array_equal(kept.gap, plain.gap)
    self.assertIsInstance(kept.weights, np.memmap)
    on_disk = np.load(file, mmap_mode='r')
    by_target = kept.weights if keep == 'all' else kept.weights[None]
    np.testing.assert_array_equal(on_disk, by_target.transpose(2, 0, 1))

  def test_leaves_precision_and_arrays_as_they_were(self):
    path = path_lib.lasso_path(
        planted.sparse_linear(0).moments, num_lams=8, keep='all'
    )
    self.assertEqual(path.weights.dtype, np.float32)
    self.assertEqual(jnp.ones(2).dtype, jnp.float32)


if __name__ == '__main__':
  absltest.main()
