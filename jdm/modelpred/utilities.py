"""What a training set is worth: how well the model trained on it does.

A `Utility` is asked for many sets at once, as `analysis.sampled_values` does.
Where parameters come from is a choice: `retrained` finds the exact minimum of
each set, `predicted` asks a predictor, and may take Newton steps from there.

Sets without a minimum, which are empty or miss a class, are worth what zero
parameters are: every score is 0, all classes are as likely as each other. For
the loss that is minus log 2 for two classes, minus log K for K of softmax;
minus 1 for the squared hinge, and minus half the mean square of the labels in
regression. For the accuracy it is the expectation of a guess: 1 / K. Where the
intercept is penalized only the empty set is without a minimum, by this rule.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdm.modelpred import baselines
from jdm.modelpred import points as points_lib
from jdm.modelpred import predictor as predictor_lib
from jdm.modelpred import refine
from jdm.solvers import precision
from jdm.training import convex

MEASURES = ('loss', 'accuracy')
# Numbers of sets in one call: few programs to compile, little to fill up.
_TRAINED_AT_ONCE = (16, 128)
_PREDICTED_AT_ONCE = (16, 1024)
# Relative to the gradient at zero. Validation losses were then off by 1e-9
# (median) to 1e-5 (most) where tried; by 5e-4 with 1e-4.
_TOL = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Utility:
  """Measures of the models of sets, on given validation examples.

  Attributes:
    pool: the points that sets are made of.
    inputs: `[num_val, num_features]`, flattened.
    labels: `[num_val]`.
    measures: of `MEASURES`: 'loss' is minus the mean loss (nats for logistic
      and softmax), 'accuracy' the share of right answers.
    parameters: from masks to parameters; None trains.
    num_steps: Newton steps from these parameters.
  """

  pool: points_lib.Pool
  inputs: np.ndarray
  labels: np.ndarray
  measures: tuple[str, ...] = ('loss',)
  parameters: baselines.Predict | None = None
  num_steps: int = 0

  def __post_init__(self):
    own = self.pool.objective
    unknown = sorted(set(self.measures) - set(MEASURES))
    if unknown or not self.measures:
      raise ValueError(
          f'utilities measure {MEASURES}, got {list(self.measures)}'
      )
    if own.task == 'regression' and 'accuracy' in self.measures:
      raise ValueError('a regression has no accuracy; measure the loss')
    if np.ndim(self.inputs) != 2 or np.shape(self.inputs) != (
        len(self.labels),
        own.num_features,
    ):
      raise ValueError(
          f'a utility expects inputs [num_val, {own.num_features}] and one of'
          f' labels for each, got {list(np.shape(self.inputs))} and'
          f' {list(np.shape(self.labels))}.'
      )

  def __call__(self, masks: np.ndarray) -> np.ndarray:
    """Utilities float64 `[num_sets, num_measures]` of bool masks."""
    masks = np.asarray(masks)
    found = np.repeat(self.empty[None], len(masks), axis=0)
    rows = np.flatnonzero(self.has_minimum(masks))
    # Sets of one size take as many Newton steps: they wait for each other.
    # Large ones first: one is known, that of everything.
    rows = rows[np.argsort(-masks[rows].sum(axis=1), kind='stable')]
    if rows.size:
      found[rows] = self._of(masks[rows], is_mean=True)
    return found

  def of_examples(self, masks: np.ndarray) -> np.ndarray:
    """Measures `[num_sets, num_measures, num_val]` of sets with a minimum."""
    return self._of(np.asarray(masks), is_mean=False)

  @functools.cached_property
  def empty(self) -> np.ndarray:
    """What a set without a minimum is worth, `[num_measures]`."""
    own = self.pool.objective
    with precision.float64():
      columns = convex.examples(self.inputs, self.labels)
      scores = jnp.zeros((len(self.labels), own.num_scores))
      loss = convex.LOSSES[own.loss].value(scores, columns.labels)
      worth = {'loss': -float(jnp.mean(loss))}
    worth['accuracy'] = 1 / max(own.num_scores, 2)
    return np.array([worth[name] for name in self.measures])

  def has_minimum(self, masks: np.ndarray) -> np.ndarray:
    """Which sets have one, bool `[num_sets]`."""
    own, classes = self.pool.objective, self.pool.classes
    is_free = isinstance(own, convex.Objective) and not own.penalize_intercept
    if not is_free or not classes.shape[1]:
      return np.sum(masks, axis=1) > 0
    return np.min(masks @ classes, axis=1) > 0

  def _of(self, masks: np.ndarray, is_mean: bool) -> np.ndarray:
    with precision.float64():
      validation = convex.examples(self.inputs, self.labels)

    def read(unused_weights, at, unused_data):
      own = self.pool.objective
      return (_read(own, self.measures, is_mean, at, validation),)

    num = len(masks)
    if self.parameters is None:
      found = self._trained(masks)
    else:
      masks = _filled(masks, _TRAINED_AT_ONCE)
      found = self._refined(masks, _predict(self.parameters, masks))
    masks = _filled(masks, _TRAINED_AT_ONCE)
    found = _filled(found, _TRAINED_AT_ONCE)
    return self.pool.in_chunks(read, masks, found)[0][:num]

  def _refined(self, masks: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    if not self.num_steps:
      return parameters

    def call(weights, at, data):
      own, steps = self.pool.objective, self.num_steps
      return (refine.refine(own, at, weights, data, num_steps=steps),)

    return self.pool.in_chunks(call, masks, parameters)[0]

  def _trained(self, masks: np.ndarray) -> np.ndarray:
    """Minima `[num_sets, num_parameters]`.

    Training starts from the minimum of the most similar set of those that were
    trained on just before, so that sets in the order of their sizes, which is
    what prefixes of random orders come in, take few steps.
    """
    parts, most = [], _TRAINED_AT_ONCE[-1]
    known, minima = np.ones((1, masks.shape[1]), bool), self._full[None]
    for first in range(0, len(masks), most):
      own = masks[first : first + most]
      sets = _filled(own, _TRAINED_AT_ONCE)
      start = _nearest(sets, known, minima)
      known = sets
      minima = self.pool.solve(sets, start, tol=_TOL).parameters
      parts.append(minima[: len(own)])
    return np.concatenate(parts)

  @functools.cached_property
  def _full(self) -> np.ndarray:
    # Of a number of sets for which there is a program anyway.
    masks = np.ones((_TRAINED_AT_ONCE[0], len(self.pool.labels)))
    return self.pool.solve(masks, tol=_TOL).parameters[0]


def retrained(
    pool: points_lib.Pool,
    inputs: np.ndarray,
    labels: np.ndarray,
    measures: Sequence[str] = ('loss',),
) -> Utility:
  """The utility of the exact minimum of each set, or of a trained perceptron.

  Args:
    pool: what sets are made of.
    inputs: of validation examples, `[num_val, ...]`.
    labels: `[num_val]`.
    measures: of `MEASURES`.

  Raises:
    ValueError: on unknown measures, or shapes that do not fit.
  """
  return Utility(
      pool=pool,
      inputs=_flat(inputs),
      labels=np.asarray(labels),
      measures=tuple(measures),
      # Of a convex objective the validation loss is known before the minimum
      # is, which `Utility` uses.
      parameters=None if pool.objective.is_convex else baselines.exact(pool),
  )


def retrainer(
    pool: points_lib.Pool,
    inputs: np.ndarray,
    labels: np.ndarray,
    measure: str = 'loss',
) -> Callable[..., np.ndarray]:
  """Measures of each validation example, as removal curves take them.

  Args:
    pool: what sets are made of; all sets asked for must have a minimum.
    inputs: of validation examples, `[num_val, ...]`.
    labels: `[num_val]`.
    measure: of `MEASURES`.

  Returns:
    A function of `(masks, replicates)` to `[replicates, num_sets, num_val]`,
    minus losses or 0 and 1. The minimum is unique: it is found once, and
    replicates are copies.

  Raises:
    ValueError: as `retrained`; when called, if a set has no minimum.
  """
  own = retrained(pool, inputs, labels, (measure,))

  def retrain(masks: np.ndarray, replicates: int) -> np.ndarray:
    masks = np.asarray(masks)
    if not own.has_minimum(masks).all():
      raise ValueError('`retrainer`: a set is empty or misses a class')
    each = own.of_examples(masks)[:, 0]
    return np.repeat(each[None], replicates, axis=0)

  return retrain


def predicted(
    fitted: predictor_lib.Predictor | baselines.Predict,
    pool: points_lib.Pool,
    inputs: np.ndarray,
    labels: np.ndarray,
    measures: Sequence[str] = ('loss',),
    *,
    num_refines: int = 0,
) -> Utility:
  """The utility of predicted parameters.

  Args:
    fitted: a predictor, or one of `baselines`.
    pool: its points.
    inputs: of validation examples, `[num_val, ...]`.
    labels: `[num_val]`.
    measures: of `MEASURES`.
    num_refines: Newton steps (of a perceptron: training steps) from the
      prediction, for every set.

  Raises:
    ValueError: as `retrained`, or on a negative number of steps.
  """
  if num_refines < 0:
    raise ValueError(f'num_refines must be 0 or more, got {num_refines}')
  is_network = isinstance(fitted, predictor_lib.Predictor)
  predict: Any = fitted.outputs if is_network else fitted
  own = retrained(pool, inputs, labels, measures)
  return dataclasses.replace(own, parameters=predict, num_steps=num_refines)


def _nearest(
    masks: np.ndarray, known: np.ndarray, parameters: np.ndarray
) -> np.ndarray:
  """Parameters of the known set that differs least from each; or zeros.

  Zeros where even that set differs by more points than a set has.
  """
  own, other = masks.astype(np.float32), known.astype(np.float32)
  size, other_size = own.sum(axis=1), other.sum(axis=1)
  apart = size[:, None] + other_size[None] - 2 * own @ other.T
  which = apart.argmin(axis=1)
  is_near = apart[np.arange(len(own)), which] <= size
  return np.where(is_near[:, None], parameters[which], 0.0)


def _predict(predict: Callable[..., Any], masks: np.ndarray) -> np.ndarray:
  """Predictions in chunks of one size, so that one program is compiled."""
  parts, most = [], _PREDICTED_AT_ONCE[-1]
  for start in range(0, len(masks), most):
    own = masks[start : start + most]
    found = predict(_filled(own, _PREDICTED_AT_ONCE))
    parts.append(np.asarray(found)[: len(own)])
  return np.concatenate(parts)


def _filled(masks: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
  """Masks filled up with the first one to the next of some numbers."""
  size = next((size for size in sizes if size >= len(masks)), len(masks))
  return np.concatenate([masks, np.repeat(masks[:1], size - len(masks), 0)])


@functools.partial(jax.jit, static_argnames=('own', 'measures', 'is_mean'))
def _read(
    own: points_lib.Objective,
    measures: tuple[str, ...],
    is_mean: bool,
    parameters: jax.Array,
    validation: convex.Examples,
) -> jax.Array:
  """Measures `[num_sets, num_measures]` of parameters; without mean, of each."""
  scores = own.scores(parameters, validation.columns)
  labels = jnp.broadcast_to(validation.labels, scores.shape[:-1])
  found = {'loss': -convex.LOSSES[own.loss].value(scores, labels)}
  if 'accuracy' in measures:
    logits = own.logits(parameters, validation.columns)
    right = jnp.argmax(logits, axis=-1) == labels
    found['accuracy'] = right.astype(scores.dtype)
  each = jnp.stack([found[name] for name in measures], axis=1)
  return each.mean(axis=2) if is_mean else each


def _flat(inputs: np.ndarray) -> np.ndarray:
  return np.asarray(inputs, np.float64).reshape(len(inputs), -1)
