"""How good predicted parameters are, as parameters and as models."""

import dataclasses
from typing import Any

import numpy as np
from scipy import special
from scipy import stats

from jdm.modelpred import labels as labels_lib
from jdm.training import convex


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """Predictions of many sets against the models trained on them.

  The accuracy gap alone says little: the parameters of everything, whatever the
  set, are within a percent or two. Look at the loss and at its ranks.

  Attributes:
    parameter_r2: 1 - sum of squared errors over that of the mean, over all sets
      and parameters; 1 is perfect, 0 what the mean of these sets reaches.
    test_loss_nrmse: root mean squared error of the test loss, over its range
      among the trained models; 0 is perfect.
    spearman: rank correlation of predicted and true test losses over sets.
    accuracy_gap: mean absolute difference of test accuracy; NaN in regression.
    num_sets: how many.
  """

  parameter_r2: float
  test_loss_nrmse: float
  spearman: float
  accuracy_gap: float
  num_sets: int

  def to_json(self) -> dict[str, Any]:
    """The numbers by name."""
    return dataclasses.asdict(self)


def test_losses(
    own: convex.Objective,
    parameters: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Mean losses and accuracies on test examples, each `[num_sets]`."""
  losses, right = losses_of_each(own, parameters, inputs, labels)
  return losses.mean(axis=1), right.mean(axis=1)


def losses_of_each(
    own: convex.Objective,
    parameters: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Losses, and whether each is right (0 or 1), both `[num_sets, num_test]`.

  Losses are in nats for logistic and softmax, of half squares and squared
  hinges as trained; in regression nothing is right or wrong: NaN.
  """
  columns = np.hstack(
      [inputs.reshape(len(inputs), -1), np.ones((len(inputs), 1))]
  )
  shape = len(parameters), own.num_features + 1, own.num_scores
  scores = np.einsum('nd,sdk->snk', columns, parameters.reshape(shape))
  if own.loss == 'softmax':
    picked = scores[:, np.arange(len(labels)), labels]
    losses = special.logsumexp(scores, axis=2) - picked
    right = (scores.argmax(axis=2) == labels[None]).astype(np.float64)
  elif own.loss == 'half_square':
    losses = 0.5 * (scores[..., 0] - labels[None]) ** 2
    right = np.full(losses.shape, np.nan)
  else:
    signs = (2 * labels - 1)[None] * scores[..., 0]
    right = (signs > 0).astype(np.float64)
    losses = (
        np.logaddexp(0, -signs)
        if own.loss == 'logistic'
        else np.maximum(1 - signs, 0) ** 2
    )
  return losses, right


def evaluate(
    own: convex.Objective,
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
  centred = truth.parameters - truth.parameters.mean(axis=0)[None]
  error = np.sum((predicted - truth.parameters) ** 2) / np.sum(centred**2)
  losses, accuracy = test_losses(own, predicted, inputs, labels)
  true_losses, true_accuracy = test_losses(
      own, truth.parameters, inputs, labels
  )
  spread = np.ptp(true_losses)
  varies = spread > 0 and np.ptp(losses) > 0
  rmse = np.sqrt(np.mean((losses - true_losses) ** 2))
  return Score(
      parameter_r2=float(1 - error),
      test_loss_nrmse=float(rmse / spread) if spread else float('nan'),
      spearman=(
          float(stats.spearmanr(losses, true_losses).statistic)
          if varies
          else float('nan')
      ),
      accuracy_gap=float(np.mean(np.abs(accuracy - true_accuracy))),
      num_sets=len(truth),
  )
