"""How good predicted parameters are, as parameters and as models."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import stats

from jdm.modelpred import labels as labels_lib
from jdm.modelpred import points
from jdm.solvers import precision
from jdm.training import convex
from jdm.training import exact

_AT_ONCE = 256  # Sets whose scores are computed in one call.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """Predictions of many sets against the models trained on them.

  The accuracy gap alone says little: the parameters of everything, whatever the
  set, are within a percent or two. Look at the loss and at its ranks.

  Attributes:
    parameter_r2: 1 - sum of squared errors over that of the mean, over all sets
      and parameters; 1 is perfect, 0 what the mean of these sets reaches.
    score_r2: the same of the scores of test examples, over all sets, examples
      and scores: how well the functions are known, whatever the parameters.
    test_loss_nrmse: root mean squared error of the test loss, over its range
      among the trained models; 0 is perfect.
    spearman: rank correlation of predicted and true test losses over sets.
    accuracy_gap: mean absolute difference of test accuracy; NaN in regression.
    num_sets: how many.
  """

  parameter_r2: float
  score_r2: float
  test_loss_nrmse: float
  spearman: float
  accuracy_gap: float
  num_sets: int

  def to_json(self) -> dict[str, Any]:
    """The numbers by name."""
    return dataclasses.asdict(self)


def test_scores(
    own: points.Objective, parameters: np.ndarray, inputs: np.ndarray
) -> np.ndarray:
  """Scores `[num_sets, num_test, num_scores]` of test examples, float64."""
  with precision.float64():
    columns = exact.columns(jnp.asarray(np.asarray(inputs, np.float64)))
    parts = [
        np.asarray(own.scores(jnp.asarray(parameters[first:end]), columns))
        for first, end in _chunks(len(parameters))
    ]
  return np.concatenate(parts)


def _chunks(num: int) -> list[tuple[int, int]]:
  return [(first, first + _AT_ONCE) for first in range(0, num, _AT_ONCE)]


def test_losses(
    own: points.Objective,
    parameters: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Mean losses and accuracies on test examples, each `[num_sets]`."""
  losses, right = losses_of_each(own, parameters, inputs, labels)
  return losses.mean(axis=1), right.mean(axis=1)


def losses_of_each(
    own: points.Objective,
    parameters: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Losses, and whether each is right (0 or 1), both `[num_sets, num_test]`.

  Losses are in nats for logistic and softmax, of half squares and squared
  hinges as trained; in regression nothing is right or wrong: NaN.
  """
  return _each_loss(own, test_scores(own, parameters, inputs), labels)


def _losses(own, scores, labels) -> tuple[np.ndarray, np.ndarray]:
  """Mean losses and accuracies, of scores `[num_sets, num_test, k]`."""
  losses, right = _each_loss(own, scores, labels)
  return losses.mean(axis=1), right.mean(axis=1)


def _each_loss(own, scores, labels) -> tuple[np.ndarray, np.ndarray]:
  """The same of each example, `[num_sets, num_test]`."""
  with precision.float64():
    at = jnp.asarray(scores)
    like = jnp.broadcast_to(jnp.asarray(labels), at.shape[:-1])
    losses = np.asarray(convex.LOSSES[own.loss].value(at, like))
  if own.task == 'classes':
    right = scores.argmax(axis=2) == labels[None]
  elif own.task == 'binary':
    right = (2 * labels - 1)[None] * scores[..., 0] > 0
  else:
    right = np.full(losses.shape, np.nan)
  return losses, right.astype(np.float64)


def evaluate(
    own: points.Objective,
    predicted: np.ndarray,
    truth: labels_lib.Labels,
    inputs: np.ndarray,
    labels: np.ndarray,
) -> Score:
  """Scores predictions of sets that no fit has seen.

  Args:
    own: the objective.
    predicted: `[num_sets, num_parameters]`.
    truth: exact labels of the same sets, two or more.
    inputs: of test examples, `[num_test, ...]`.
    labels: `[num_test]`.

  Raises:
    ValueError: if shapes do not fit.
  """
  if predicted.shape != truth.parameters.shape or len(truth) < 2:
    raise ValueError(
        '`evaluate` expects predictions of the shape of the true parameters of'
        f' two sets or more, {list(truth.parameters.shape)}, got'
        f' {list(predicted.shape)}.'
    )
  scores = test_scores(own, predicted, inputs)
  true_scores = test_scores(own, truth.parameters, inputs)
  losses, accuracy = _losses(own, scores, labels)
  true_losses, true_accuracy = _losses(own, true_scores, labels)
  spread = np.ptp(true_losses)
  varies = spread > 0 and np.ptp(losses) > 0
  rmse = np.sqrt(np.mean((losses - true_losses) ** 2))
  return Score(
      parameter_r2=_r2(predicted, truth.parameters),
      score_r2=_r2(scores, true_scores),
      test_loss_nrmse=float(rmse / spread) if spread else float('nan'),
      spearman=(
          float(stats.spearmanr(losses, true_losses).statistic)
          if varies
          else float('nan')
      ),
      accuracy_gap=float(np.mean(np.abs(accuracy - true_accuracy))),
      num_sets=len(truth),
  )


def _r2(found: np.ndarray, truth: np.ndarray) -> float:
  """1 - squared error over that of the mean over sets, all entries together."""
  centred = truth - truth.mean(axis=0, keepdims=True)
  return float(1 - np.sum((found - truth) ** 2) / np.sum(centred**2))
