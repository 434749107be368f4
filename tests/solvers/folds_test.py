from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np
from sklearn import linear_model
from sklearn import model_selection

from jdm.solvers import dense
from jdm.solvers import folds as folds_lib
from jdm.solvers import moments as moments_lib
from tests import planted


def _masks(seed=0, num_targets=2):
  problem = planted.sparse_linear(seed, 20, 103, num_targets)
  empty = moments_lib.Moments.zeros(20, num_targets)
  return problem, empty, folds_lib.assign(103, 4)


class FoldsTest(parameterized.TestCase):

  def test_the_rest_of_masks_is_exact(self):
    problem, empty, fold_of = _masks()
    parts = folds_lib.split(empty, problem.masks, problem.outcomes, fold_of)
    total = folds_lib.join(parts)
    self.assertEqual([p.num_models for p in parts], [26, 26, 26, 25])
    for fold, part in enumerate(parts):
      rest = fold_of != fold
      direct = moments_lib.of(problem.masks[rest], problem.outcomes[rest])
      left = total.subtract(part)
      np.testing.assert_array_equal(left.counts, direct.counts)
      np.testing.assert_allclose(
          left.centred_cross(), direct.centred_cross(), atol=1e-13
      )

  @parameterized.parameters('masks', 'dense')
  def test_errors_and_choices_match_scikit_learn(self, kind):
    problem, empty, fold_of = _masks(1)
    if kind == 'dense':
      empty = dense.around(problem.masks, problem.outcomes)
    parts = folds_lib.split(empty, problem.masks, problem.outcomes, fold_of)
    found = folds_lib.cross_validate(
        folds_lib.join(parts), parts, num_lams=8, tol=1e-9
    )
    self.assertLessEqual(found.max_gap, 1.1e-9)
    split = model_selection.PredefinedSplit(fold_of)
    for target in range(2):
      model = linear_model.LassoCV(
          alphas=found.lams[:, target], cv=split, tol=1e-11, max_iter=10**5
      )
      model.fit(problem.masks.astype(float), problem.outcomes[:, target])
      # Predictions are off by the root of the gap.
      np.testing.assert_allclose(
          found.errors[:, :, target].T, model.mse_path_, rtol=2e-4
      )
      kept = found.choose('min')[target]
      self.assertEqual(found.lams[kept, target], model.alpha_)

  def test_rules_choose_what_they_say(self):
    # Three folds of one size, two targets, four penalties.
    errors = np.zeros((3, 4, 2))
    errors[:, :, 0] = [[5, 3.1, 2, 2.5], [5, 3.1, 3, 3.5], [5, 3.1, 4, 4.5]]
    errors[:, :, 1] = 1  # All equal: the largest penalty.
    found = folds_lib.FoldErrors(
        lams=np.repeat([[4.0], [3], [2], [1]], 2, 1),
        errors=errors,
        sizes=np.array([7.0, 7, 7]),
        max_gap=0.0,
    )
    np.testing.assert_allclose(found.mean()[:, 0], [5, 3.1, 3, 3.5])
    expected = np.std([2, 3, 4], ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(found.standard_error()[2, 0], expected)
    np.testing.assert_array_equal(found.choose(), [2, 0])
    np.testing.assert_array_equal(found.choose('one_se'), [1, 0])
    with self.assertRaisesRegex(ValueError, "'min', 'one_se'"):
      found.choose('max')

  def test_folds_weigh_by_their_size(self):
    found = folds_lib.FoldErrors(
        lams=np.ones((1, 1)),
        errors=np.array([1.0, 4.0])[:, None, None],
        sizes=np.array([3.0, 1.0]),
        max_gap=0.0,
    )
    np.testing.assert_allclose(found.mean(), 1.75)
    variance = (0.75 * 0.75**2 + 0.25 * 2.25**2) / 1
    np.testing.assert_allclose(found.standard_error(), np.sqrt(variance))

  def test_parts_of_targets_make_no_difference(self):
    problem, empty, fold_of = _masks(2, 4)
    parts = folds_lib.split(empty, problem.masks, problem.outcomes, fold_of)
    total = folds_lib.join(parts)
    options = {'num_lams': 8, 'tol': 1e-9, 'tile': 2}
    options['devices'] = jax.local_devices()[:1]
    # Arrays of targets go with them.
    options['factor'] = np.linspace(1, 2, 80).reshape(20, 4)
    options['start'] = problem.weights
    whole = folds_lib.cross_validate(total, parts, **options)
    with absltest.mock.patch.object(
        folds_lib, '_parts', return_value=[slice(0, 2), slice(2, 4)]
    ):
      pieces = folds_lib.cross_validate(total, parts, **options)
    np.testing.assert_allclose(pieces.errors, whole.errors, rtol=2e-4)

  def test_kinds_of_penalties_have_their_grids(self):
    problem, empty, fold_of = _masks(5)
    parts = folds_lib.split(empty, problem.masks, problem.outcomes, fold_of)
    total = folds_lib.join(parts)
    factor = np.linspace(1, 2, 20)
    found = folds_lib.cross_validate(
        total, parts, num_lams=8, tol=1e-6, factor=factor, positive=True
    )
    expected = (total.centred_cross() / factor[:, None]).max(axis=0)
    np.testing.assert_allclose(found.lams[0], expected)
    constant = problem.outcomes.var(axis=0)  # At the largest penalty.
    np.testing.assert_allclose(found.mean()[0], constant, rtol=0.05)

  def test_folds_that_do_not_add_up_raise(self):
    problem, empty, fold_of = _masks(3)
    masks, outcomes = problem.masks, problem.outcomes
    for start in (empty, dense.around(masks, outcomes)):
      parts = folds_lib.split(start, masks, outcomes, fold_of)
      total = folds_lib.join(parts)
      with self.assertRaisesRegex(ValueError, 'are 78, the total has 103'):
        folds_lib.check(total, parts[:3])
      with self.assertRaisesRegex(ValueError, '2 folds or more'):
        folds_lib.check(total, [total])
      other = start.add(masks[fold_of == 3], outcomes[fold_of == 3] + 1)
      with self.assertRaisesRegex(ValueError, 'their sums do not'):
        folds_lib.check(total, [*parts[:3], other])
      mixed = np.roll(masks[fold_of == 3], 1, axis=1)
      other = start.add(mixed, outcomes[fold_of == 3])
      with self.assertRaisesRegex(ValueError, 'add up to|added before'):
        folds_lib.check(total, [*parts[:3], other])
      folds_lib.check(total, parts)

  def test_bad_folds_raise(self):
    problem, empty, fold_of = _masks(4)
    for num_folds in (1, 104):
      with self.assertRaisesRegex(ValueError, 'from 2 to 103'):
        folds_lib.assign(103, num_folds)
    pair = problem.masks, problem.outcomes
    with self.assertRaisesRegex(ValueError, '103 integers'):
      folds_lib.split(empty, *pair, fold_of[:5])
    with self.assertRaisesRegex(ValueError, 'each with a model'):
      folds_lib.split(empty, *pair, fold_of + 1)
    with self.assertRaisesRegex(ValueError, 'each with a model'):
      folds_lib.split(empty, *pair, fold_of - 1)


if __name__ == '__main__':
  absltest.main()
