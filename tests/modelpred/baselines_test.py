"""Baselines: the correct influence, and the released error beside it."""

from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import linear_model

from jdm.modelpred import baselines
from jdm.modelpred import points
from jdm.solvers import precision
from jdm.training import convex
from tests.modelpred import made_up


def _r2(predict, labels):
  error = np.sum((predict(labels.masks) - labels.parameters) ** 2)
  centred = labels.parameters - labels.parameters.mean(axis=0)[None]
  return 1 - error / np.sum(centred**2)


class BaselinesTest(parameterized.TestCase):

  def test_exact_is_scikit_learns(self):
    own = made_up.pool()
    masks = made_up.masks(5, 3, own)
    found = baselines.exact(own)(masks)
    for mask, row in zip(masks, found):
      model = linear_model.LogisticRegression(tol=1e-10, max_iter=10_000)
      model.fit(own.inputs[mask], own.labels[mask])
      expected = np.append(model.coef_[0], model.intercept_)
      np.testing.assert_allclose(row, expected, atol=1e-5)

  def test_influence_is_the_derivative(self):
    own = made_up.pool()
    predict = baselines.influence(own)
    step = 1e-4
    weights = np.ones((2, made_up.NUM))
    weights[0, 4] += step
    weights[1, 4] -= step
    truth = own.solve(weights, tol=1e-13).parameters
    slope = (truth[0] - truth[1]) / (2 * step)
    found = (predict(weights)[0] - predict(weights)[1]) / (2 * step)
    np.testing.assert_allclose(found, slope, rtol=1e-5)

  def test_the_released_influence_predicts_that_deleting_all_changes_nothing(
      self,
  ):
    own = made_up.pool()
    with precision.float64():
      data = convex.examples(own.inputs, own.labels)
      each = own.objective.example_gradients(own.full, data)
      hessian = own.objective.hessian(own.full, np.ones(made_up.NUM), data)
    penalty = own.objective.penalties() * own.full
    nothing = np.zeros((1, made_up.NUM))
    released = np.linalg.solve(
        hessian, (np.asarray(each) + penalty / made_up.NUM).sum(axis=0)
    )
    np.testing.assert_allclose(released, 0, atol=1e-8)
    correct = baselines.influence(own)(nothing)[0] - own.full
    self.assertGreater(np.linalg.norm(correct), 0.1)

  def test_more_than_one_newton_step_is_nearly_exact(self):
    own, test = made_up.pool(), made_up.labels(num=100, seed=5)
    one, two = (
        _r2(baselines.newton(own, k, baselines.full(own)), test) for k in (1, 2)
    )
    self.assertGreater(one, 0.5)
    self.assertGreater(two, max(one, 0.99))

  @parameterized.parameters(*baselines.RIDGE_FEATURES)
  def test_ridge_beats_the_mean(self, kind):
    own = made_up.pool()
    train, val = made_up.labels(), made_up.labels(num=80, seed=2)
    test = made_up.labels(num=100, seed=5)
    found = _r2(baselines.ridge(own, train, val, kind), test)
    self.assertGreater(found, _r2(baselines.mean(train), test))
    if kind == 'mask_size':
      self.assertGreater(found, 0.8)

  @parameterized.parameters('softmax', 'half_square', 'squared_hinge')
  def test_every_baseline_of_every_objective(self, loss):
    own = made_up.pool(loss)
    train = made_up.labels(num=80, loss=loss)
    val = made_up.labels(num=30, seed=2, loss=loss)
    for name, make in baselines.all_of(own, train, val).items():
      found = make()(val.masks)
      self.assertEqual(found.shape, val.parameters.shape, name)
      self.assertTrue(np.isfinite(found).all(), name)
    exact = baselines.exact(own)(val.masks)
    np.testing.assert_allclose(exact, val.parameters, atol=1e-8)

  def test_each_baseline_trains_the_model_of_everything_anew(self):
    pool = made_up.pool()
    labels = made_up.labels(num=10)
    with mock.patch.object(
        points.Pool, 'solve', autospec=True, side_effect=points.Pool.solve
    ) as solve:
      for name in ('full_data', 'influence', 'newton_1_from_full'):
        baselines.all_of(pool, labels, labels)[name]()
    self.assertEqual(solve.call_count, 3)

  def test_ridge_features(self):
    masks = np.array([[1.0, 1, 0, 1]])
    classes = np.eye(2)[[0, 1, 1, 1]]
    size = baselines.ridge_features(masks, classes, 'size')
    expected = [3, np.log(3), 3**0.5, 1 / 3]
    np.testing.assert_allclose(size[0, :4], expected)
    np.testing.assert_allclose(size[0, 4:], np.log([2, 3, 1.5]))
    both = baselines.ridge_features(masks, classes, 'mask_size')
    self.assertEqual(both.shape, (1, 7 + 12))
    with self.assertRaisesRegex(ValueError, "got 'ids'"):
      baselines.ridge_features(masks, classes, 'ids')


if __name__ == '__main__':
  absltest.main()
