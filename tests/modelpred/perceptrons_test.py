"""Predictors, baselines and warm starts where the models are perceptrons."""

import dataclasses
import os

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.modelpred import baselines
from jdm.modelpred import config as config_lib
from jdm.modelpred import evaluation
from jdm.modelpred import fitting
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import predictor as lib
from jdm.modelpred import refine
from jdm.solvers import precision
from jdm.training import convex
from tests.modelpred import made_up

_QUICK = config_lib.Config(width=32, num_steps=600, check_every=200)
_SHORT = dataclasses.replace(_QUICK, num_steps=20, check_every=10)


def _labels(num=400, seed=1):
  return made_up.labels(num, seed, of_perceptrons=True)


def _fit(config=_QUICK):
  return fitting.fit(made_up.perceptrons(), _labels(), _labels(80, 2), config)


def _score(parameters, truth):
  own, test = made_up.perceptrons(), made_up.pool(seed=3)
  return evaluation.evaluate(
      own.objective, parameters, truth, test.inputs, test.labels
  )


class PredictorTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.fitted = _fit()
    cls.test = _labels(100, 5)

  def test_it_predicts_and_steps_of_training_help(self):
    found = self.fitted.predict(self.test.masks)
    self.assertGreater(_score(found.parameters, self.test).parameter_r2, 0.5)
    refined = self.fitted.predict(self.test.masks, num_refines=20)
    self.assertEqual(refined.num_steps.tolist(), [20] * len(self.test))
    before, after = (
        _score(one.parameters, self.test).score_r2 for one in (found, refined)
    )
    self.assertGreater(after, before)
    again = made_up.perceptrons().solve(
        self.test.masks, found.parameters, num_steps=20
    )
    np.testing.assert_array_equal(refined.parameters, again.parameters)
    np.testing.assert_allclose(refined.gradient_norm, again.gradient_norm)

  def test_nothing_is_certified(self):
    found = self.fitted.predict(self.test.masks[:5])
    self.assertTrue(np.isposinf(found.bound).all())
    self.assertTrue(np.isnan(found.decrement).all())
    self.assertTrue((found.gradient_norm > 0).all())
    with self.assertRaisesRegex(ValueError, 'no bound.*num_refines instead'):
      self.fitted.predict(self.test.masks, tol=1e-3)

  def test_a_class_may_be_missing(self):
    mask = (made_up.pool().labels == 1)[None]
    found = self.fitted.predict(mask, num_refines=3)
    self.assertTrue(np.isfinite(found.parameters).all())

  def test_saved_and_loaded(self):
    path = os.path.join(self.create_tempdir().full_path, 'predictor')
    lib.save(path, self.fitted)
    loaded = lib.load(path)
    self.assertEqual(loaded.pool.objective, self.fitted.pool.objective)
    first, second = (
        one.predict(self.test.masks, num_refines=2).parameters
        for one in (self.fitted, loaded)
    )
    np.testing.assert_array_equal(first, second)

  def test_function_space(self):
    config = dataclasses.replace(_QUICK, parameter_kind='function')
    fitted = _fit(config)
    found = _score(fitted.outputs(self.test.masks), self.test)
    self.assertGreater(found.score_r2, 0.8)
    # The last look is the scores' mean square error on the pool's points.
    own, val = made_up.perceptrons(), _labels(80, 2)
    best = min(value for _, value in fitted.history)
    scores, truth = (
        evaluation.test_scores(own.objective, at, own.inputs)
        for at in (fitted.outputs(val.masks), val.parameters)
    )
    np.testing.assert_allclose(np.mean((scores - truth) ** 2), best, rtol=1e-3)

  def test_function_space_upon_a_base_is_of_whole_parameters(self):
    config = dataclasses.replace(
        _SHORT, parameter_kind='function', base='ridge'
    )
    fitted = _fit(config)
    base = baselines.ridge(made_up.perceptrons(), _labels(), _labels(80, 2))
    before = _score(base(self.test.masks), self.test).score_r2
    after = _score(fitted.outputs(self.test.masks), self.test).score_r2
    self.assertGreater(after, before - 0.1)

  @parameterized.parameters(
      ({'local': 0.1},),
      ({'global_': 1.0},),
      ({'parameter': 0.0, 'label_free': 1.0},),
  )
  def test_other_losses_run(self, changes):
    fitted = _fit(dataclasses.replace(_SHORT, **changes))
    self.assertTrue(np.isfinite(fitted.history[-1][1]))

  @parameterized.parameters('released', 'decrement')
  def test_losses_of_convex_objectives_only(self, kind):
    config = dataclasses.replace(_SHORT, local=1.0, local_kind=kind)
    with self.assertRaisesRegex(ValueError, "local_kind='squared'"):
      _fit(config)

  @parameterized.parameters(
      {'lam': 0.1},
      {'num_steps': 20},
      {'init_seed': 1},
      {'loss': 'squared_hinge'},
  )
  def test_labels_of_another_training(self, **changes):
    own = made_up.perceptrons()
    other = dataclasses.replace(
        own, objective=dataclasses.replace(own.objective, **changes)
    )
    with self.assertRaisesRegex(ValueError, 'not what training gives again'):
      fitting.fit(other, _labels(), _labels(80, 2), _SHORT)


class BaselinesTest(parameterized.TestCase):

  @parameterized.parameters('logistic', 'softmax', 'half_square')
  def test_every_baseline(self, loss):
    own = made_up.perceptrons(loss)
    train, val = (
        labels_lib.make(masks, own.solve(masks).parameters)
        for masks in (made_up.masks(80, 1, own), made_up.masks(30, 2, own))
    )
    made = baselines.all_of(own, train, val, num_warm_steps=5)
    self.assertSameElements(
        made,
        [
            'mean',
            'full_data',
            'size_curve',
            'ridge_mask',
            'ridge_mask_size',
            'warm_5_from_init',
            'warm_5_from_full',
            'warm_5_from_ridge',
            'exact',
        ],
    )
    for name, make in made.items():
      found = make()(val.masks)
      self.assertEqual(found.shape, val.parameters.shape, name)
      self.assertTrue(np.isfinite(found).all(), name)

  def test_warm_starts_are_training_from_there(self):
    own, masks = made_up.perceptrons(), made_up.masks(6, 3, made_up.pool())
    for steps in (7, own.objective.num_steps):
      cold = baselines.warm_start(own, steps)(masks)
      found = own.solve(masks, num_steps=steps).parameters
      np.testing.assert_array_equal(cold, found)
    np.testing.assert_array_equal(cold, baselines.exact(own)(masks))
    start = baselines.full(own)
    warm = baselines.warm_start(own, 7, start)(masks)
    again = own.solve(masks, start(masks), num_steps=7).parameters
    np.testing.assert_array_equal(warm, again)

  def test_ridge_is_the_best_start(self):
    own, test = made_up.perceptrons(), _labels(100, 5)
    made = baselines.all_of(own, _labels(), _labels(80, 2), num_warm_steps=10)
    scores = {
        start: _score(made[f'warm_10_from_{start}']()(test.masks), test)
        for start in ('init', 'full', 'ridge')
    }
    ridge = scores.pop('ridge')
    for start, other in scores.items():
      self.assertGreater(ridge.parameter_r2, other.parameter_r2, start)

  def test_what_is_for_convex_objectives_only(self):
    own, convex_pool = made_up.perceptrons(), made_up.pool()
    with self.assertRaisesRegex(ValueError, '`influence` is for convex'):
      baselines.influence(own)
    with self.assertRaisesRegex(ValueError, '`newton` is for convex'):
      baselines.newton(own, 1)
    with self.assertRaisesRegex(ValueError, '`warm_start` is of perceptrons'):
      baselines.warm_start(convex_pool, 1)

  def test_refine_methods(self):
    with precision.float64():
      for own, method, words in (
          (made_up.perceptrons(), 'newton', "'newton' steps are for convex"),
          (made_up.perceptrons(), 'gradient', 'of its own training'),
          (made_up.pool(), 'training', "'training' steps are of perceptrons"),
      ):
        data = convex.examples(own.inputs, own.labels)
        weights = np.ones((1, made_up.NUM))
        start = own.initial[None]
        with self.assertRaisesRegex(ValueError, words):
          refine.refine(own.objective, start, weights, data, method=method)


if __name__ == '__main__':
  absltest.main()
