"""A small pool of points, and exact labels of random subsets of it."""

import dataclasses
import functools

import numpy as np

from jdm.modelpred import labels as labels_lib
from jdm.modelpred import points
from jdm.training import convex
from jdm.training import perceptron

NUM, FEATURES = 30, 3


@functools.cache
def pool(loss: str = 'logistic', seed: int = 0) -> points.Pool:
  """Points of two noisy classes (three for softmax)."""
  rng = np.random.default_rng(seed)
  inputs = rng.normal(size=(NUM, FEATURES))
  noisy = inputs @ rng.normal(size=(FEATURES, 3)) + rng.normal(size=(NUM, 3))
  labels = {
      'softmax': noisy.argmax(axis=1).astype(np.int32),
      'half_square': noisy[:, 0],
  }.get(loss, (noisy[:, 0] > 0).astype(np.int32))
  own = convex.Objective(
      loss=loss,
      lam=1.0,
      num_features=FEATURES,
      num_scores=3 if loss == 'softmax' else 1,
      penalize_intercept=loss == 'squared_hinge',
  )
  return points.Pool(objective=own, inputs=inputs, labels=labels)


@functools.cache
def perceptrons(loss: str = 'logistic') -> points.Pool:
  """The same points, for small perceptrons."""
  convex_pool = pool(loss)
  own = perceptron.Objective(
      loss=loss,
      lam=1.0,
      num_features=FEATURES,
      hidden=(3,),
      num_scores=convex_pool.objective.num_scores,
      num_steps=40,
  )
  return dataclasses.replace(convex_pool, objective=own)


def masks(num: int, seed: int, own: points.Pool) -> np.ndarray:
  """Subsets of random sizes from 8 on that hold every class."""
  rng = np.random.default_rng(seed)
  size = rng.integers(8, NUM + 1, num)
  drawn = rng.random((num, NUM)).argsort(axis=1) < size[:, None]
  if own.classes.shape[1]:
    drawn = drawn[(drawn @ own.classes > 0).all(axis=1)]
  return drawn


@functools.cache
def labels(
    num: int = 400,
    seed: int = 1,
    loss: str = 'logistic',
    of_perceptrons: bool = False,
) -> labels_lib.Labels:
  """Labels of such subsets, exact or of perceptrons."""
  own = perceptrons(loss) if of_perceptrons else pool(loss)
  drawn = masks(num, seed, own)
  solution = own.solve(drawn)
  assert solution.converged.all()
  return labels_lib.make(
      drawn, solution.parameters, gradient_norm=solution.gradient_norm
  )
