"""The training of ONE perceptron by full-batch descent, for the ensemble.

The counterpart of `exact` for `perceptron` objectives: no randomness beyond the
seed of an initialization that all models share, float64, and the gradient norm
at the end beside the outcomes.
"""

from collections.abc import Mapping
import dataclasses

import jax.numpy as jnp

from jdm import outcomes as outcomes_lib
from jdm.training import convex
from jdm.training import exact
from jdm.training import perceptron
from jdm.training import sgd

GRADIENT_NORM = exact.GRADIENT_NORM


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """What is descended, from where, and how far; see `perceptron`.

  A subset that misses a class is trained as any other: after finitely many
  steps there is nothing infinite about it.

  Attributes:
    hidden: widths of the hidden layers, with tanh.
    loss: name of `convex.LOSSES`; None chooses by the dataset, as
      `exact.Config` does.
    lam: penalty of all parameters, beside the sum of losses.
    num_steps: of the descent.
    learning_rate: of a step by the mean of the subset.
    momentum: in [0, 1).
    init_seed: of the initialization, the same for all models.
  """

  hidden: tuple[int, ...] = (8,)
  loss: str | None = None
  lam: float = 1.0
  num_steps: int = 300
  learning_rate: float = 0.05
  momentum: float = 0.9
  init_seed: int = 0

  def __post_init__(self):
    object.__setattr__(self, 'hidden', tuple(self.hidden))
    # All but the loss is checked by an objective of any dataset.
    self._objective(self.loss or 'logistic', 1, 1)

  def _objective(
      self, loss: str, num_features: int, num_scores: int
  ) -> perceptron.Objective:
    values = dataclasses.asdict(self) | {'loss': loss}
    return perceptron.Objective(
        num_features=num_features, num_scores=num_scores, **values
    )


def objective(
    config: Config, num_features: int, num_classes: int
) -> perceptron.Objective:
  """The objective of a config for a dataset.

  Args:
    config: what is descended.
    num_features: of one input, flattened.
    num_classes: of the dataset; 0 stands for regression.

  Raises:
    ValueError: if the loss does not suit the task.
  """
  loss = exact.loss_for(config.loss, num_classes)
  num_scores = num_classes if loss == 'softmax' else 1
  return config._objective(loss, num_features, num_scores)


def make_train_one(
    own: perceptron.Objective, outcomes: Mapping[str, outcomes_lib.Outcome]
) -> sgd.TrainOne:
  """Makes the function that trains one model and reads its outcomes.

  Args:
    own: the objective.
    outcomes: what to read off it, by name; 'parameters' are the layers' (W; b)
      in one row, float64.

  Returns:
    As `exact.make_train_one`. 'gradient_norm' is of F at the end: not small, as
    the end is no minimum.
  """

  def train_one(key, subset_ids, subset_size, data):
    del key
    weights, labels = exact.weigh(subset_ids, subset_size, data)
    shared = convex.Examples(exact.columns(data.inputs), labels)
    solution = perceptron.solve(own, weights[None], shared)
    good = solution.converged[0]
    parameters = jnp.where(good, solution.parameters[0], jnp.nan)
    norm = jnp.where(good, solution.gradient_norm[0], jnp.nan)
    read = exact.read(own, parameters, outcomes, data)
    return {**read, GRADIENT_NORM: norm}

  return train_one


def bytes_of_model(own: perceptron.Objective, num_train: int) -> int:
  """Bytes that one model touches in a step: parameters and activations."""
  activations = num_train * 3 * (sum(own.hidden) + own.num_scores)
  return 8 * (4 * own.num_parameters + activations)
