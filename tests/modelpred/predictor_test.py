"""Predictors of small pools: fitting, certificates, errors, saving."""

import dataclasses
import os

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm.modelpred import config as config_lib
from jdm.modelpred import fitting
from jdm.modelpred import points
from jdm.modelpred import predictor as lib
from jdm.training import convex
from tests.modelpred import made_up

_QUICK = config_lib.Config(width=32, num_steps=600, check_every=200)


def _fit(config=_QUICK, loss='logistic'):
  return fitting.fit(
      made_up.pool(loss),
      made_up.labels(loss=loss),
      made_up.labels(num=80, seed=2, loss=loss),
      config,
  )


def _r2(parameters, labels):
  error = np.sum((parameters - labels.parameters) ** 2)
  centred = labels.parameters - labels.parameters.mean(axis=0)[None]
  return 1 - error / np.sum(centred**2)


class PredictorTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.fitted = _fit()
    cls.test = made_up.labels(num=100, seed=5)

  def test_it_predicts_refines_and_certifies(self):
    found = self.fitted.predict(self.test.masks)
    self.assertGreater(_r2(found.parameters, self.test), 0.7)
    refined = self.fitted.predict(self.test.masks, num_refines=1)
    self.assertGreater(_r2(refined.parameters, self.test), 0.99)
    for one in (found, refined):
      error = np.linalg.norm(one.parameters - self.test.parameters, axis=1)
      self.assertTrue((one.bound >= error - 1e-8).all())
    self.assertTrue((refined.gradient_norm < found.gradient_norm).all())
    self.assertFalse(found.is_outside.any())

  def test_tolerance_is_met_by_the_sets_that_need_it(self):
    found = self.fitted.predict(self.test.masks, tol=1e-4)
    self.assertLessEqual(found.bound.max(), 1e-4)
    self.assertGreater(found.num_steps.max(), 0)
    error = np.linalg.norm(found.parameters - self.test.parameters, axis=1)
    self.assertLess(error.max(), 1e-4)
    loose = self.fitted.predict(self.test.masks, tol=1e3)
    self.assertEqual(loose.num_steps.max(), 0)

  def test_points_that_no_training_has_seen(self):
    own, new = made_up.pool(), made_up.pool(seed=7)
    both = points.Pool(
        objective=own.objective,
        inputs=np.concatenate([own.inputs, new.inputs[:5]]),
        labels=np.concatenate([own.labels, new.labels[:5]]),
    )
    masks = np.concatenate(
        [self.test.masks, np.zeros((len(self.test), 5), bool)], axis=1
    )
    same = self.fitted.predict(masks, pool=both).parameters
    np.testing.assert_allclose(
        same, self.fitted.predict(self.test.masks).parameters, atol=1e-4
    )
    masks[:, -5:] = True
    found = self.fitted.predict(masks, pool=both, tol=1e-6)
    truth = both.solve(masks).parameters
    np.testing.assert_allclose(found.parameters, truth, atol=1e-5)
    self.assertTrue(found.is_outside[self.test.masks.all(axis=1)].all())

  def test_same_seed_same_bits(self):
    short = dataclasses.replace(_QUICK, num_steps=20, check_every=20)
    first, second = _fit(short), _fit(short)
    np.testing.assert_array_equal(
        first.outputs(self.test.masks), second.outputs(self.test.masks)
    )

  def test_saved_and_loaded(self):
    path = os.path.join(self.create_tempdir().full_path, 'predictor')
    lib.save(path, self.fitted)
    loaded = lib.load(path)
    np.testing.assert_array_equal(
        loaded.outputs(self.test.masks), self.fitted.outputs(self.test.masks)
    )
    self.assertEqual(loaded.config, self.fitted.config)
    self.assertEqual(loaded.history, self.fitted.history)
    with self.assertRaises(FileExistsError):
      lib.save(path, self.fitted)
    with self.assertRaisesRegex(ValueError, 'no predictor at'):
      lib.load(path + '2')

  def test_without_labels(self):
    config = dataclasses.replace(
        config_lib.LABEL_FREE, width=32, num_steps=1500, check_every=500
    )
    fitted = fitting.fit(
        made_up.pool(), made_up.labels(num=60), made_up.labels(60, 2), config
    )
    found = fitted.predict(self.test.masks).parameters
    self.assertGreater(_r2(found, self.test), 0.6)
    self.assertEqual(fitted.sizes, (4, made_up.NUM))

  @parameterized.parameters(
      ({'set_function': 'deepsets', 'features': 'plain', 'head': 'raw'},),
      ({'set_function': 'set_transformer'},),
      ({'local': 1.0, 'global_': 1.0},),
      ({'local': 0.1, 'local_kind': 'decrement'},),
      ({'base': 'ridge'},),
  )
  def test_other_configs_run(self, changes):
    config = dataclasses.replace(
        _QUICK, num_steps=60, check_every=30, **changes
    )
    fitted = _fit(config)
    found = fitted.predict(self.test.masks, num_refines=2)
    self.assertGreater(_r2(found.parameters, self.test), 0.9)
    self.assertLen(fitted.history, 2)

  @parameterized.parameters('deepsets', 'deepsets_plus')
  def test_depth(self, name):
    sizes = []
    for depth in (None, 3, 1):
      config = config_lib.Config(set_function=name, width=8, depth=depth)
      network = lib.make_network(config, 4, made_up.NUM)
      arrays = np.zeros((5, 7)), np.ones((2, 5)), np.zeros((5, 2))
      variables = network.init(jax.random.key(0), *arrays)
      sizes.append(len(jax.tree.leaves(variables['params']['phi'])))
    self.assertEqual(sizes[0], sizes[1])
    self.assertEqual(sizes[0], 3 * sizes[2])

  def test_a_base_is_added(self):
    config = dataclasses.replace(
        _QUICK, base='ridge', num_steps=30, check_every=30
    )
    fitted = _fit(config)
    self.assertGreater(
        _r2(fitted.predict(self.test.masks).parameters, self.test), 0.8
    )
    with self.assertRaisesRegex(ValueError, 'base=None'):
      fitted.outputs(self.test.masks, made_up.pool(seed=7))
    with self.assertRaisesRegex(ValueError, 'cannot be saved'):
      lib.save(self.create_tempdir().full_path + '/it', fitted)

  @parameterized.parameters('softmax', 'half_square', 'squared_hinge')
  def test_other_objectives(self, loss):
    config = dataclasses.replace(_QUICK, num_steps=100, check_every=100)
    fitted = _fit(config, loss)
    test = made_up.labels(num=60, seed=5, loss=loss)
    found = fitted.predict(test.masks, num_refines=3)
    error = np.linalg.norm(found.parameters - test.parameters, axis=1)
    self.assertTrue((found.bound >= error - 1e-8).all())
    self.assertGreater(_r2(found.parameters, test), 0.99)

  def test_paper_preset_is_the_released_recipe(self):
    config = config_lib.PAPER
    self.assertEqual(
        (config.learning_rate, config.batch_size, config.l1, config.l2),
        (1e-4, 32, 0.01, 0.01),
    )
    self.assertEqual((config.local, config.global_), (1.0, 1.0))
    self.assertEqual(config.set_function, 'deepsets')
    fitted = _fit(dataclasses.replace(config, num_steps=20, check_every=10))
    self.assertTrue(np.isfinite(fitted.outputs(self.test.masks)).all())


class ErrorsTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.fitted = _fit(dataclasses.replace(_QUICK, num_steps=1, check_every=1))

  @parameterized.parameters(
      (np.ones((2, 5), bool), r'\[num_sets, 30\].*\[2, 5\]'),
      (np.ones(30, bool), 'mask\\[None\\]'),
      (np.zeros((1, 30), bool), '1 of 1 sets are empty'),
      (-np.ones((1, 30)), '0 and 1, or counts'),
  )
  def test_masks(self, masks, words):
    with self.assertRaisesRegex(ValueError, words):
      self.fitted.predict(masks)

  def test_a_missing_class(self):
    masks = np.stack([np.ones(30, bool), made_up.pool().labels == 1])
    with self.assertRaisesRegex(ValueError, 'number 1 has none of class 0'):
      self.fitted.predict(masks)

  def test_points_of_another_dimension(self):
    own = made_up.pool()
    wide = points.Pool(
        objective=dataclasses.replace(own.objective, num_features=4),
        inputs=np.hstack([own.inputs, own.inputs[:, :1]]),
        labels=own.labels,
    )
    with self.assertRaisesRegex(ValueError, 'points of the dimension'):
      self.fitted.predict(np.ones((1, 30), bool), pool=wide)

  def test_labels_of_another_objective(self):
    own = made_up.pool()
    other = dataclasses.replace(
        own, objective=dataclasses.replace(own.objective, lam=0.01)
    )
    with self.assertRaisesRegex(ValueError, 'are no minima.*lam=0.01'):
      fitting.fit(other, made_up.labels(), made_up.labels(80, 2), _QUICK)
    short = convex.Objective(loss='logistic', lam=1.0, num_features=2)
    other = points.Pool(
        objective=short, inputs=own.inputs[:, :2], labels=own.labels
    )
    with self.assertRaisesRegex(ValueError, 'expects 3 parameters.*got 4'):
      fitting.fit(other, made_up.labels(), made_up.labels(80, 2), _QUICK)

  @parameterized.parameters(
      ({'head': 'pca'}, 'head is one of'),
      ({'depth': 0}, 'depth must be positive'),
      ({'num_steps': 0}, 'num_steps must be positive'),
      ({'parameter': 0.0}, 'all have weight 0'),
  )
  def test_config(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      config_lib.Config(**options)


if __name__ == '__main__':
  absltest.main()
