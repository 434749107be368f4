"""Trained models of a pool as attributors want them: parameters and examples.

`rebuild` makes one of a pool; whoever trained elsewhere makes one of arrays.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm import outcomes as outcomes_lib
from jdm import subsets
from jdm.outcomes import soft_margin
from jdm.training import sgd

Compute = Callable[[jax.Array, jax.Array], jax.Array]
_NOT_SMOOTH = ('max', 'min', 'abs', 'sign', 'reduce_max', 'reduce_window_max')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
  """Trained models, their subsets, and what they are asked about.

  Attributes:
    model: without a state.
    parameters: `[num_models, num_parameters]`, as `outcomes.parameters`.
    masks: bool `[num_models, num_train]`; row i is model i's training set.
    inputs: `[num_train, ...]`.
    labels: `[num_train]`, int classes, or float for regression.
    target_inputs: `[num_targets, ...]`.
    target_labels: `[num_targets]`.
    compute: the outcome, of `(logits, labels)`; smooth.
    weight_decay: of the mean loss, `weight_decay / 2 ||parameters||^2`.
    penalties: `[num_parameters]`, of the sum of losses, `penalties / 2 *
      parameters^2`; None where there is a weight decay instead.
    config: how they were trained, where that is by SGD.
    keys: key data of each training, uint32 `[num_models, ...]`; None if
      unknown.
    checkpoints: `[num_checkpoints, num_models, num_parameters]`, or None.
    own_ids: int `[num_targets]`, for targets that are training examples: which,
      -1 for none. Scores are then means over the models that did not train on
      the target, the ones that regressions on such targets know (metagradients
      take all). None if no target is one.
    rates: `[num_checkpoints]`, what one pass over an example moves: the sum of
      learning rates of the steps that a checkpoint stands for, over the number
      of these steps and the batch size.
  """

  model: models.Model
  parameters: np.ndarray
  masks: np.ndarray
  inputs: np.ndarray
  labels: np.ndarray
  target_inputs: np.ndarray
  target_labels: np.ndarray
  compute: Compute = soft_margin.log_odds
  weight_decay: float = 0.0
  penalties: np.ndarray | None = None
  config: sgd.Config | None = None
  keys: np.ndarray | None = None
  checkpoints: np.ndarray | None = None
  rates: np.ndarray | None = None
  own_ids: np.ndarray | None = None

  def __post_init__(self):
    masks = subsets.check_masks(
        self.masks, who='`Trained`', num_train=len(self.labels)
    )
    if self.parameters.ndim != 2 or len(self.parameters) != len(masks):
      raise ValueError(
          '`Trained` expects parameters [num_models, num_parameters] for'
          f' {len(masks)} masks, got {list(self.parameters.shape)}.'
      )
    size = _num_parameters(self.model)
    if self.parameters.shape[1] != size:
      raise ValueError(
          f'`Trained` expects {size} parameters of each model, got'
          f' {self.parameters.shape[1]}; they are of another model.'
      )
    if not np.isfinite(self.parameters).all():
      raise ValueError(
          '`Trained` expects finite parameters; leave out models that diverged.'
      )
    if self.own_ids is not None:
      self._check_own_ids(np.asarray(self.own_ids))

  def _check_own_ids(self, own_ids: np.ndarray) -> None:
    """Raises ValueError unless they are examples, or -1."""
    is_integer = np.issubdtype(own_ids.dtype, np.integer)
    if own_ids.shape != (self.num_targets,) or not is_integer:
      raise ValueError(
          f'`Trained` expects own_ids to be {self.num_targets} integers, got'
          f' {own_ids.dtype} of shape {own_ids.shape}.'
      )
    if own_ids.min(initial=0) < -1 or own_ids.max(initial=0) >= self.num_train:
      raise ValueError(
          f'`Trained` expects own_ids from -1 to {self.num_train - 1}, got'
          f' {own_ids.min()} to {own_ids.max()}.'
      )

  @property
  def num_models(self) -> int:
    """Trained models."""
    return len(self.parameters)

  @property
  def num_train(self) -> int:
    """Training examples."""
    return len(self.labels)

  @property
  def num_targets(self) -> int:
    """Targets."""
    return len(self.target_labels)

  @property
  def is_regression(self) -> bool:
    """Whether labels are numbers."""
    return np.issubdtype(np.asarray(self.labels).dtype, np.floating)

  def take(self, rows: Any) -> 'Trained':
    """Some of the models, by slice or row numbers."""
    return dataclasses.replace(
        self,
        parameters=self.parameters[rows],
        masks=self.masks[rows],
        keys=None if self.keys is None else self.keys[rows],
        checkpoints=(
            None if self.checkpoints is None else self.checkpoints[:, rows]
        ),
    )

  def take_targets(self, ids: np.ndarray) -> 'Trained':
    """Some of the targets, by their numbers."""
    return dataclasses.replace(
        self,
        target_inputs=self.target_inputs[ids],
        target_labels=self.target_labels[ids],
        own_ids=None if self.own_ids is None else self.own_ids[ids],
    )

  def counted(self) -> np.ndarray | None:
    """Models that did not train on a target, bool `[num_models, num_targets]`.

    None where all models count for all targets.
    """
    if self.own_ids is None:
      return None
    return ~(self.masks[:, self.own_ids] & (self.own_ids >= 0)[None])

  def subset_rows(self) -> tuple[np.ndarray, np.ndarray]:
    """Ids of each model's subset, padded, and which are real (0 or 1)."""
    capacity = int(self.masks.sum(axis=1).max())
    ids, sizes = subsets.to_indices(self.masks, capacity)
    real = np.arange(capacity)[None] < sizes[:, None]
    return ids, real.astype(np.float32)


@functools.lru_cache(maxsize=32)
def unravel(model: models.Model) -> Callable[[jax.Array], Any]:
  """The function from a row of parameters to what the model takes.

  Raises:
    ValueError: if the model has a state (running statistics).
  """
  params, state = jax.eval_shape(model.init, jax.random.key(0))
  if jax.tree.leaves(state):
    raise ValueError(
        'attributors expect a model without a state, and this one has running'
        ' statistics, which are not stored with its parameters'
    )
  _, tree = jax.tree.flatten(params)
  shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
  ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

  def to_tree(flat):  # In the dtype of the row.
    parts = jnp.split(flat, ends)
    leaves = [part.reshape(shape) for part, shape in zip(parts, shapes)]
    return jax.tree.unflatten(tree, leaves)

  return to_tree


def _num_parameters(model: models.Model) -> int:
  params, state = jax.eval_shape(model.init, jax.random.key(0))
  if jax.tree.leaves(state):
    unravel(model)  # Raises.
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def logits(model: models.Model, flat: jax.Array, inputs: jax.Array):
  """Logits `[num, num_classes]` of a row of parameters."""
  return model.apply(unravel(model)(flat), {}, inputs, False)[0]


def is_smooth(model: models.Model, inputs: Any) -> bool:
  """Whether the program of a model has no kinks (such as those of ReLU)."""
  params, state = jax.eval_shape(model.init, jax.random.key(0))
  example = jax.ShapeDtypeStruct((2, *np.shape(inputs)[1:]), jnp.float32)
  traced = jax.make_jaxpr(lambda p, x: model.apply(p, state, x, False)[0])(
      params, example
  )
  return not any(name in _NOT_SMOOTH for name in _primitives(traced.jaxpr))


def is_linear(model: models.Model, inputs: Any) -> bool:
  """Whether logits are linear in the parameters, as of one dense layer."""
  generator = np.random.default_rng(0)
  first, second = generator.normal(size=(2, _num_parameters(model)))
  of = lambda flat: np.asarray(
      logits(model, jnp.asarray(flat, 'float32'), jnp.asarray(inputs[:2]))
  )
  apart = of(first) + of(second)
  return np.allclose(of(first + second), apart, atol=1e-3 * np.ptp(apart))


def _primitives(jaxpr: Any):
  for equation in jaxpr.eqns:
    yield equation.primitive.name
    for inner in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
    ):
      inner = getattr(inner, 'jaxpr', inner)
      if hasattr(inner, 'eqns'):
        yield from _primitives(inner)


def outcome_function(name: str, num_classes: int) -> Compute:
  """The outcome as a smooth function of `(logits, labels)`.

  Args:
    name: of `outcomes.OUTCOMES`, one number a target.
    num_classes: 0 stands for regression.

  Raises:
    ValueError: if the outcome is unknown, has steps (correctness) or is not
      one number a target.
  """
  if name == 'soft_margin' and num_classes:
    return soft_margin.log_odds  # In the precision of the logits.
  found = outcomes_lib.get([name], num_classes)[name]
  if name in ('correctness', 'logits') or found.of_parameters:
    raise ValueError(
        f'attributors differentiate one number a target, and {name!r} is not'
        ' such a one; choose soft_margin, margin or log_loss (prediction or'
        ' squared_error of a regression)'
    )
  return found.compute
