"""The contract of a model, and the adapters that bring others to it."""

from collections.abc import Callable
import dataclasses
import inspect
from typing import Any

from flax import linen as nn
import jax

Params = Any
State = Any


@dataclasses.dataclass(frozen=True)
class Model:
  """A network as pure functions; hashable, so that programs can be cached.

  Attributes:
    init: `init(key) -> (params, state)`; state holds what is not trained, such
      as running statistics, and is `{}` where there is none.
    apply: `apply(params, state, inputs, train) -> (logits, state)`; inputs
      `[batch, ...]`, logits `[batch, num_classes]`.
    features: `features(params, state, inputs) -> [batch, num_features]`, the
      penultimate layer; None where there is none.
  """

  init: Callable[[jax.Array], tuple[Params, State]]
  apply: Callable[[Params, State, jax.Array, bool], tuple[jax.Array, State]]
  features: Callable[[Params, State, jax.Array], jax.Array] | None = None


def stateless(
    init: Callable[[jax.Array], Params],
    apply: Callable[[Params, jax.Array], jax.Array],
    features: Callable[[Params, jax.Array], jax.Array] | None = None,
) -> Model:
  """Makes a model of a pair of pure functions without state.

  Args:
    init: `init(key) -> params`.
    apply: `apply(params, inputs) -> logits [batch, num_classes]`.
    features: `features(params, inputs) -> [batch, num_features]`, or None.
  """

  def apply_with_state(params, state, inputs, train):
    del train
    return apply(params, inputs), state

  if features is None:
    return Model(lambda key: (init(key), {}), apply_with_state)

  def features_with_state(params, state, inputs):
    del state
    return features(params, inputs)

  return Model(
      lambda key: (init(key), {}), apply_with_state, features_with_state
  )


def from_flax(module: nn.Module, example: jax.Array) -> Model:
  """Makes a model of any flax.linen module.

  Collections other than 'params' (batch statistics) become the state. A module
  whose `__call__` takes `train` is told; one with a method `features` offers
  its penultimate layer. Modules that need random numbers in `apply` (dropout)
  are not supported.

  Args:
    module: a linen module that maps `[batch, ...]` to logits.
    example: inputs of the right shape, `[1, ...]`; values do not matter.
  """
  takes_train = 'train' in inspect.signature(module.__call__).parameters

  def mode(train: bool) -> dict[str, Any]:
    return {'train': train} if takes_train else {}

  def init(key):
    variables = dict(module.init(key, example, **mode(False)))
    return variables.pop('params', {}), variables

  def apply(params, state, inputs, train) -> Any:
    variables = {'params': params, **state}
    if train and state:
      return module.apply(variables, inputs, mutable=list(state), **mode(True))
    return module.apply(variables, inputs, **mode(train)), state

  def features(params, state, inputs) -> Any:
    variables = {'params': params, **state}
    return module.apply(variables, inputs, method='features')

  has_features = callable(getattr(module, 'features', None))
  return Model(init, apply, features if has_features else None)
