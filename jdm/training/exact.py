"""The training of ONE convex model to its exact minimum, for the ensemble.

The counterpart of `sgd` for `convex` objectives: no randomness, float64, and
the gradient norm that was reached beside the outcomes.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdm import outcomes as outcomes_lib
from jdm.training import convex
from jdm.training import perceptron
from jdm.training import sgd

GRADIENT_NORM = 'gradient_norm'
MISSING_CLASS = ('drop', 'zero')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """What is minimized, and how far.

  Attributes:
    loss: name of `convex.LOSSES`; None chooses by the dataset: 'logistic' for
      two classes, 'softmax' for more, 'half_square' for regression.
    lam: penalty; scikit-learn's 1 / C.
    penalize_intercept: see `convex.Objective`; None is what scikit-learn does:
      only 'squared_hinge' (its `LinearSVC`) has the intercept penalized.
    missing_class: of subsets without a minimum, because a class is missing and
      the intercept is free: 'drop' counts them as diverged, so that no fit sees
      them; 'zero' gives them parameters 0, as ModelPred's code does for iris.
    tol: of the gradient norm, see `convex.solve`.
    max_steps: Newton steps at most; a model that needs more counts as diverged.
  """

  loss: str | None = None
  lam: float = 1.0
  penalize_intercept: bool | None = None
  missing_class: str = 'drop'
  tol: float = 1e-9
  max_steps: int = 50

  def __post_init__(self):
    if self.loss is not None and self.loss not in convex.LOSSES:
      raise ValueError(
          f'loss must be one of {sorted(convex.LOSSES)}, got {self.loss!r}'
      )
    for name in ('lam', 'tol', 'max_steps'):
      if not getattr(self, name) > 0:
        raise ValueError(f'{name} must be positive, got {getattr(self, name)}')
    if self.missing_class not in MISSING_CLASS:
      raise ValueError(
          f'missing_class is one of {MISSING_CLASS}, got {self.missing_class!r}'
      )


def objective(
    config: Config, num_features: int, num_classes: int
) -> convex.Objective:
  """The objective of a config for a dataset.

  Args:
    config: what is minimized.
    num_features: of one input, flattened.
    num_classes: of the dataset; 0 stands for regression.

  Raises:
    ValueError: if the loss does not suit the task.
  """
  loss = loss_for(config.loss, num_classes)
  penalize = config.penalize_intercept
  return convex.Objective(
      loss=loss,
      lam=config.lam,
      num_features=num_features,
      num_scores=num_classes if loss == 'softmax' else 1,
      penalize_intercept=(
          loss == 'squared_hinge' if penalize is None else penalize
      ),
  )


def loss_for(loss: str | None, num_classes: int) -> str:
  """The loss for a dataset: the given one, or the default of its task.

  Raises:
    ValueError: if the given one does not suit the task.
  """
  by_task = {0: 'half_square', 2: 'logistic'}
  default = by_task.get(num_classes, 'softmax')
  fitting = {
      'binary': num_classes == 2,
      'classes': num_classes >= 2,
      'regression': num_classes == 0,
  }
  if loss is not None and not fitting[convex.LOSSES[loss].task]:
    kind = f'{num_classes} classes' if num_classes else 'regression'
    raise ValueError(
        f'loss {loss!r} is not for a dataset of {kind}; by default the loss is'
        f' {default!r} there'
    )
  return loss or default


def has_minimum(
    own: convex.Objective, weights: jax.Array, labels: jax.Array
) -> jax.Array:
  """Whether F of some subsets has a minimum, bool `[num_models]`.

  A free intercept runs off where a class is missing, and is undefined where
  nothing is left.

  Args:
    own: the objective.
    weights: `[num_models, num_train]`.
    labels: `[num_train]`.
  """
  if own.penalize_intercept:
    return jnp.ones(len(weights), bool)
  if own.task == 'regression':
    return jnp.sum(weights, axis=1) > 0
  num_classes = max(own.num_scores, 2)
  one_hot = jax.nn.one_hot(labels, num_classes, dtype=weights.dtype)
  return jnp.all(weights @ one_hot > 0, axis=1)


def make_train_one(
    own: convex.Objective,
    config: Config,
    outcomes: Mapping[str, outcomes_lib.Outcome],
) -> sgd.TrainOne:
  """Makes the function that trains one model and reads its outcomes.

  Args:
    own: the objective.
    config: how far it is minimized.
    outcomes: what to read off it, by name; 'parameters' are the `[num_features
      + 1, num_scores]` matrix (W; b) in one row, float64.

  Returns:
    `train_one(key, subset_ids, subset_size, data) -> {name: array}` for an
    `ensemble.Trainer` with `float64` and `one_capacity`; the key is unused.
    'gradient_norm' is always there. All is NaN where there is no minimum or it
    was not reached.
  """

  def train_one(key, subset_ids, subset_size, data):
    del key
    weights, labels = weigh(subset_ids, subset_size, data)
    shared = convex.Examples(columns(data.inputs), labels)
    solution = convex.solve(
        own, weights[None], shared, tol=config.tol, max_steps=config.max_steps
    )
    exists = has_minimum(own, weights[None], labels)[0]
    good = exists & solution.converged[0]
    parameters = jnp.where(good, solution.parameters[0], jnp.nan)
    norm = jnp.where(good, solution.gradient_norm[0], jnp.nan)
    if config.missing_class == 'zero':
      parameters = jnp.where(exists, parameters, 0.0)
      norm = jnp.where(exists, norm, 0.0)
    found = read(own, parameters, outcomes, data)
    return {**found, GRADIENT_NORM: norm}

  return train_one


def weigh(
    subset_ids: jax.Array, subset_size: jax.Array, data: sgd.TrainingData
) -> tuple[jax.Array, jax.Array]:
  """Weights and labels, each `[num_train]`, of one subset given by its ids."""
  is_real = jnp.arange(len(subset_ids)) < subset_size
  # Ids beyond num_train carry other labels, see `sgd.TrainingData`.
  num_train = len(data.inputs)
  examples = subset_ids % num_train
  weights = jnp.zeros(num_train).at[examples].add(is_real)
  labels = jnp.asarray(data.labels[:num_train])
  if len(data.labels) != num_train:
    chosen = jnp.where(is_real, data.labels[subset_ids], 0)
    named = jnp.zeros(num_train, labels.dtype).at[examples].add(chosen)
    labels = jnp.where(weights > 0, named, labels)
  return weights, labels


def columns(inputs: jax.Array) -> jax.Array:
  """Flattened inputs and a column of ones, `[num, num_features + 1]`."""
  flat = inputs.reshape(len(inputs), -1)
  return jnp.concatenate([flat, jnp.ones((len(flat), 1), flat.dtype)], axis=1)


def read(
    own: convex.Objective | perceptron.Objective,
    parameters: jax.Array,
    outcomes: Mapping[str, outcomes_lib.Outcome],
    data: sgd.TrainingData,
) -> dict[str, jax.Array]:
  """All outcomes of one model, by name and suffix; float64."""
  result = {n: parameters for n, o in outcomes.items() if o.of_parameters}
  for suffix, (inputs, labels) in data.targets.items():
    logits = own.logits(parameters, columns(jnp.asarray(inputs)))
    for name, outcome in outcomes.items():
      if not outcome.of_parameters:
        result[name + suffix] = outcome.compute(logits, labels)
  return result


def evaluator(
    own: convex.Objective | perceptron.Objective,
    compute: Callable[..., jax.Array],
    inputs: np.ndarray,
    labels: np.ndarray,
) -> Callable[[jax.Array], jax.Array]:
  """Reads an outcome off stored parameters.

  Args:
    own: the objective.
    compute: of `(logits, labels)`, as `Outcome.compute`.
    inputs: `[num_targets, ...]`.
    labels: `[num_targets]`.

  Returns:
    A function of parameters `[num_models, num_parameters]` to outcomes
    `[num_models, num_targets, ...]`.
  """
  of_targets = columns(jnp.asarray(inputs))

  @jax.jit
  def evaluate(parameters):
    return jax.vmap(compute, in_axes=(0, None))(
        own.logits(parameters, of_targets), labels
    )

  return evaluate


def bytes_of_model(own: convex.Objective, num_train: int) -> int:
  """Bytes that one model touches in a Newton step: curvatures and Hessian."""
  pairs = own.num_scores * (own.num_scores + 1) // 2
  values = num_train * (pairs + own.num_scores) + 2 * own.num_parameters**2
  return 8 * values


def float64_data(data: sgd.TrainingData) -> sgd.TrainingData:
  """The same data with floating arrays in float64, on the host."""

  def widen(array: Any) -> np.ndarray:
    array = np.asarray(array)
    if np.issubdtype(array.dtype, np.floating):
      return array.astype(np.float64)
    return array

  return jax.tree.map(widen, data)
