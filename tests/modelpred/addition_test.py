"""Sets with new points: draws, exact labels, baselines of unions."""

from absl.testing import absltest
import numpy as np
from sklearn import linear_model

from jdm.modelpred import addition
from tests.modelpred import made_up

_NEW = 12


def _both():
  new = made_up.pool(seed=7)
  return addition.union(made_up.pool(), new.inputs[:_NEW], new.labels[:_NEW])


class AdditionTest(absltest.TestCase):

  def test_draws(self):
    drawn = addition.masks(400, 30, _NEW, fewest=3, seed=1)
    self.assertEqual((drawn.shape, drawn.dtype), ((400, 42), bool))
    self.assertTrue((drawn[:, :30].sum(axis=1) == 15).all())
    counts = drawn[:, 30:].sum(axis=1)
    self.assertEqual((counts.min(), counts.max()), (3, _NEW))
    # Each new point is as likely, each number of them too.
    rates = drawn[:, 30:].mean(axis=0)
    np.testing.assert_allclose(rates, 7.5 / _NEW, atol=0.1)  # 4 sd.
    whole = addition.masks(3, 30, _NEW, share=1.0)
    self.assertTrue(whole[:, :30].all())
    again = addition.masks(400, 30, _NEW, fewest=3, seed=1)
    np.testing.assert_array_equal(drawn, again)

  def test_exact_labels_are_scikit_learns(self):
    both = _both()
    truth = addition.exact(both, addition.masks(4, 30, _NEW))
    self.assertLen(truth, 4)
    for mask, row in zip(truth.masks, truth.parameters):
      model = linear_model.LogisticRegression(tol=1e-10, max_iter=10_000)
      model.fit(both.inputs[mask], both.labels[mask])
      expected = np.append(model.coef_[0], model.intercept_)
      np.testing.assert_allclose(row, expected, atol=1e-5)

  def test_a_set_without_a_minimum_is_left_out(self):
    both = _both()
    drawn = addition.masks(3, 30, _NEW)
    drawn[1] = both.labels == 0
    self.assertLen(addition.exact(both, drawn), 2)

  def test_baselines(self):
    pool, both = made_up.pool(), _both()
    made = addition.all_of(
        pool, both, made_up.labels(), made_up.labels(num=80, seed=2)
    )
    truth = addition.exact(both, addition.masks(30, 30, _NEW))
    error = {
        name: np.sum((made[name]()(truth.masks) - truth.parameters) ** 2)
        for name in ('mean', 'full_data', 'size_curve', 'newton_1_from_full')
    }
    self.assertLess(error['newton_1_from_full'], error['full_data'])
    self.assertIn('exact', made)
    self.assertTrue(np.isfinite(list(error.values())).all())

  def test_influence_of_a_new_point_is_the_derivative(self):
    pool, both = made_up.pool(), _both()
    predict = addition.all_of(
        pool, both, made_up.labels(), made_up.labels(num=80, seed=2)
    )['influence']()
    weights = np.zeros((2, 30 + _NEW))
    weights[:, :30] = 1
    np.testing.assert_allclose(predict(weights)[0], pool.full, atol=1e-12)
    step = 1e-5
    weights[1, 33] = step
    truth = both.solve(weights, tol=1e-13).parameters
    found = predict(weights)
    slopes = [(pair[1] - pair[0]) / step for pair in (truth, found)]
    # Second order in the step.
    np.testing.assert_allclose(slopes[1], slopes[0], rtol=1e-3, atol=1e-5)

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, 'of 3 features.*5, 2'):
      addition.union(made_up.pool(), np.zeros((5, 2)), np.zeros(5, int))
    with self.assertRaisesRegex(ValueError, 'fewest=9, num_new=8'):
      addition.masks(3, 30, 8, fewest=9)


if __name__ == '__main__':
  absltest.main()
