"""Tests of damped Gauss-Newton influence."""

import dataclasses

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm.attributors import influence
from jdm.attributors import trained as trained_lib
from jdm.outcomes import soft_margin
from jdm.solvers import precision
from jdm.training import convex
from jdm.training import exact
from tests.attributors import made


def _derivatives(trained):
  """A program of one model's Jacobians, margins and chances, in float64."""
  inputs = jnp.asarray(trained.inputs, jnp.float64)
  targets = jnp.asarray(trained.target_inputs, jnp.float64)

  def logits(flat, inputs):
    return trained_lib.logits(trained.model, flat, inputs)

  def margins(flat, inputs, labels):
    return soft_margin.log_odds(logits(flat, inputs), jnp.asarray(labels))

  @jax.jit
  def all_of(flat):
    return (
        jax.jacobian(logits)(flat, inputs),
        jax.jacobian(margins)(flat, inputs, trained.labels),
        jax.jacobian(margins)(flat, targets, trained.target_labels),
        jax.nn.sigmoid(-margins(flat, inputs, trained.labels)),
        jax.nn.softmax(logits(flat, inputs)),
    )

  return all_of


def _explicit(trained, damping, curvature):
  """The formula with all matrices written out, in float64, by model."""
  total = 0
  for row, flat in enumerate(trained.parameters.astype(np.float64)):
    subset = np.flatnonzero(trained.masks[row])
    with precision.float64():
      found = _derivatives(trained)(flat)
    jacobian, slopes, of_targets, missing, chance = map(np.asarray, found)
    jacobian, chance = jacobian[subset], chance[subset]
    if curvature == 'logits':
      bend = chance[:, :, None] * np.eye(chance.shape[1])[None]
      bend = bend - chance[:, :, None] * chance[:, None, :]
      matrix = np.einsum('nkp,nkl,nlq->pq', jacobian, bend, jacobian)
    else:
      weights = (missing * (1 - missing))[subset]
      matrix = (slopes[subset] * weights[:, None]).T @ slopes[subset]
    mu = damping * np.trace(matrix) / len(subset)
    mu += trained.weight_decay * len(subset)
    damped = matrix + mu * np.eye(len(matrix))
    solved = np.linalg.solve(damped, of_targets.T)
    total = total + (slopes * missing[:, None]) @ solved
  return total / trained.num_models


class InfluenceTest(parameterized.TestCase):

  @parameterized.parameters(
      # Of 18 and of 57 parameters: more or fewer than the 30 or 90 rows.
      ('linear', 'margin', (0.3,)),
      ('linear', 'logits', (0.3, 3.0)),
      ('mlp', 'margin', (0.3, 3.0)),
      ('mlp', 'margin', (0.3,)),
      ('mlp', 'logits', (0.3,)),
  )
  def test_matches_written_out_matrices(self, name, curvature, dampings):
    trained = made.trained(name, 2)
    found = influence.path(
        trained, dampings=dampings, curvature=curvature, float64=True
    )
    for damping, scores in zip(dampings, found):
      expected = _explicit(trained, damping, curvature)
      np.testing.assert_allclose(
          scores.values, expected, atol=1e-5 * np.abs(expected).max()
      )
      self.assertEqual(scores.options['damping'], damping)

  def test_subsets_of_other_sizes(self):
    trained = made.trained('mlp', 2)
    masks = trained.masks.copy()
    masks[0, np.flatnonzero(masks[0])[:7]] = False
    trained = dataclasses.replace(trained, masks=masks)
    found = influence.scores(trained, damping=0.3, float64=True).values
    expected = _explicit(trained, 0.3, 'margin')
    np.testing.assert_allclose(
        found, expected, atol=1e-5 * np.abs(expected).max()
    )

  @parameterized.parameters(((0.3, 3.0),), ((0.3,),))
  def test_losses_of_margins_take_a_shorter_way(self, dampings):
    trained = made.trained('mlp', 2)
    # So little smoothing changes nothing but the way.
    config = dataclasses.replace(trained.config, label_smoothing=1e-9)
    other = dataclasses.replace(trained, config=config)
    short, long = (
        influence.path(one, dampings=dampings, float64=True, example_batch=7)
        for one in (trained, other)
    )
    for one, expected in zip(short, long):
      scale = np.abs(expected.values).max()
      np.testing.assert_allclose(one.values, expected.values, atol=1e-6 * scale)

  @parameterized.parameters(('linear', 'logits'), ('mlp', 'margin'))
  def test_conjugate_gradients_agree(self, name, curvature):
    trained = made.trained(name, 2)
    options = {'damping': 0.5, 'curvature': curvature}
    dense = influence.scores(trained, solver='dense', **options)
    found = influence.scores(trained, solver='cg', tol=1e-5, **options)
    scale = np.abs(dense.values).max()
    np.testing.assert_allclose(found.values, dense.values, atol=2e-4 * scale)
    self.assertGreater(found.gradients, dense.gradients)

  @parameterized.parameters('dense', 'cg')
  def test_batches_and_orders_of_targets_do_not_matter(self, solver):
    trained = made.trained('mlp', 2)
    whole = influence.scores(trained, solver=solver, tol=1e-5).values
    scale = np.abs(whole).max()
    small = influence.scores(
        trained, solver=solver, tol=1e-5, example_batch=7, target_batch=3
    )
    np.testing.assert_allclose(small.values, whole, atol=1e-4 * scale)
    order = np.arange(trained.num_targets)[::-1]
    turned = dataclasses.replace(
        trained,
        target_inputs=trained.target_inputs[order],
        target_labels=trained.target_labels[order],
    )
    np.testing.assert_allclose(
        influence.scores(turned, solver=solver, tol=1e-5).values,
        whole[:, order],
        atol=1e-4 * scale,
    )

  def test_the_mean_over_models(self):
    trained = made.trained('mlp', 3)
    parts = [influence.scores(trained.take([i])).values for i in range(3)]
    whole = influence.scores(trained, devices=jax.local_devices()).values
    np.testing.assert_allclose(
        whole, np.mean(parts, axis=0), atol=1e-5 * np.abs(whole).max()
    )

  def test_retraining_of_a_convex_model(self):
    inputs, labels, target_inputs, target_labels = made.blobs()
    own = convex.Objective(
        loss='softmax', lam=1.0, num_features=5, num_scores=3
    )
    step = 1e-4
    weights = np.ones((121, 60))
    weights[np.arange(60), np.arange(60)] = 0
    weights[np.arange(60) + 60, np.arange(60)] += step
    with precision.float64():
      data = convex.examples(inputs, labels)
      solved = convex.solve(own, jnp.asarray(weights), data, tol=1e-10)
      parameters = np.asarray(solved.parameters)
      columns = exact.columns(jnp.asarray(target_inputs, jnp.float64))
      margins = np.asarray(
          jax.vmap(soft_margin.log_odds, (0, None))(
              own.logits(jnp.asarray(parameters), columns), target_labels
          )
      )
    model = models.stateless(
        lambda key: jnp.zeros(18),
        lambda flat, x: own.logits(flat, exact.columns(x)),
    )
    trained = trained_lib.Trained(
        model=model,
        parameters=parameters[-1:],
        masks=np.ones((1, 60), bool),
        inputs=inputs,
        labels=labels,
        target_inputs=target_inputs,
        target_labels=target_labels,
        penalties=own.penalties(),
    )
    # Exact: the Hessian of the objective itself, but for its gauge.
    found = influence.scores(
        trained, damping=1e-9, curvature='logits', float64=True
    ).values
    slopes = (margins[60:120] - margins[-1:]) / step
    np.testing.assert_allclose(
        found, slopes, rtol=1e-2, atol=2e-3 * np.abs(slopes).max()
    )
    # First order, of a 60th of the data.
    effects = margins[-1:] - margins[:60]
    for target in range(effects.shape[1]):
      correlation = np.corrcoef(found[:, target], effects[:, target])[0, 1]
      self.assertGreater(correlation, 0.95)

  def test_of_all_examples_is_something_else(self):
    trained = made.trained('mlp', 2)
    own = influence.scores(trained).values
    of_all = influence.scores(trained, own_subset=False).values
    self.assertGreater(np.abs(own - of_all).max(), 1e-3)

  @parameterized.parameters(
      ({'damping': -1.0}, 'damping of 0 or above'),
      ({'damping': float('nan')}, 'damping of 0 or above'),
      ({'curvature': 'hessian'}, "'margin', 'logits'"),
      ({'solver': 'lu'}, "'dense' or 'cg'"),
      ({'target_batch': 0}, 'at least 1'),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      influence.scores(made.trained(), **options)

  def test_no_dampings(self):
    with self.assertRaisesRegex(ValueError, 'at least one damping'):
      influence.path(made.trained(), dampings=())


class TrainedTest(parameterized.TestCase):

  @parameterized.parameters(
      ({'parameters': np.zeros((4, 3), np.float32)}, 'another model'),
      ({'parameters': np.zeros((3, 57), np.float32)}, 'for 4 masks'),
      ({'parameters': np.full((4, 57), np.nan)}, 'diverged'),
      ({'masks': np.ones((4, 60))}, 'bool'),
      ({'masks': np.ones((4, 61), bool)}, 'num_models, 60'),
  )
  def test_what_does_not_fit(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      dataclasses.replace(made.trained(), **changes)

  def test_models_with_a_state(self):
    model = models.make('resnet9', (8, 8, 3), 3, width=4)
    with self.assertRaisesRegex(ValueError, 'without a state'):
      dataclasses.replace(made.trained(), model=model)


if __name__ == '__main__':
  absltest.main()
