"""Whether probabilities mean what they say: scores of predicted classes.

All of it is about `probabilities [num, num_classes]`, rows adding up to 1, and
int `labels [num]`.
"""

import dataclasses
from typing import Any

import numpy as np
from scipy import optimize
from scipy import special

from jdm import intervals

_WHO = 'calibration'
SCORES = ('nll', 'brier', 'ece', 'accuracy', 'coverage', 'set_size')
_LOWEST = 1e-12  # Of a probability whose logarithm is taken.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """Scores by name, with intervals by resampling the examples.

  Attributes:
    values: of each of `SCORES`: 'nll' mean negative log-likelihood, nats;
      'brier' mean squared error over classes, 0 to 2; 'ece' expected
      calibration error, a share; 'accuracy', a share; 'coverage', share of the
      labels inside the smallest set of classes that holds `level` of the
      probability; 'set_size', mean number of classes in it. Lower is better for
      the first three, higher for accuracy; coverage should be `level` or more.
    interval: `(low, high)` of each, 95 % percentile bootstrap over examples.
      That of 'ece' is biased upwards: resamples are less even than the data.
    num: examples.
  """

  values: dict[str, float]
  interval: dict[str, tuple[float, float]]
  num: int

  def to_json(self) -> dict[str, Any]:
    """The numbers by name."""
    return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
  """How often predictions of some confidence are right.

  Attributes:
    confidence: `[num_bins]`, mean probability of the predicted class; NaN where
      a bin is empty.
    accuracy: `[num_bins]`, share that is right.
    count: int `[num_bins]`, examples.
  """

  confidence: np.ndarray
  accuracy: np.ndarray
  count: np.ndarray


def score(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    level: float = 0.9,
    num_bins: int = 15,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> Score:
  """Scores predicted probabilities.

  Args:
    probabilities: `[num, num_classes]`.
    labels: int `[num]`, two or more.
    level: probability that a set of classes must hold, for the coverage.
    num_bins: equal bins of confidence, for the calibration error.
    num_bootstrap: resamples of the examples.
    seed: of the resamples.

  Raises:
    ValueError: if shapes do not fit, rows do not add up to 1, or labels are out
      of range.

  References:
    Guo et al., `On calibration of modern neural networks
    <https://arxiv.org/abs/1706.04599>`_, 2017, §2 (expected calibration error).
  """
  probabilities, labels = _checked(probabilities, labels)
  columns = _each(probabilities, labels, level)
  edges = _bins(probabilities, num_bins)

  def values(rows: np.ndarray) -> dict[str, float]:
    found = {name: float(own[rows].mean()) for name, own in columns.items()}
    found['ece'] = _ece(
        edges[rows], columns['confidence'][rows], columns['accuracy'][rows]
    )
    return {name: found[name] for name in SCORES}

  num = len(labels)
  rng = np.random.default_rng(seed)
  drawn = [values(rng.integers(num, size=num)) for _ in range(num_bootstrap)]
  return Score(
      values=values(np.arange(num)),
      interval={
          name: intervals.percentiles(np.array([d[name] for d in drawn]), 0.95)
          for name in SCORES
      },
      num=num,
  )


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, *, num_bins: int = 10
) -> Reliability:
  """Sorts predictions into equal bins of confidence; errors as of `score`."""
  probabilities, labels = _checked(probabilities, labels)
  bins = _bins(probabilities, num_bins)
  count = np.bincount(bins, minlength=num_bins)
  right = probabilities.argmax(axis=1) == labels
  means = [
      np.bincount(bins, weights=own, minlength=num_bins)
      for own in (probabilities.max(axis=1), right)
  ]
  confidence, accuracy = (intervals.divide(own, count) for own in means)
  return Reliability(confidence=confidence, accuracy=accuracy, count=count)


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
  """The number to divide logits by for the lowest negative log-likelihood.

  Args:
    logits: `[num, num_classes]`, of examples that are not reported on.
    labels: int `[num]`.

  References:
    Guo et al., `On calibration of modern neural networks
    <https://arxiv.org/abs/1706.04599>`_, 2017, §4.2.
  """
  logits = np.asarray(logits, np.float64)
  _checked(special.softmax(logits, axis=1), labels)
  rows = np.arange(len(labels))

  def nll(log_temperature: float) -> float:
    scaled = logits / np.exp(log_temperature)
    return float(
        np.mean(special.logsumexp(scaled, axis=1) - scaled[rows, labels])
    )

  found = optimize.minimize_scalar(nll, bounds=(-4, 4), method='bounded')
  return float(np.exp(found.x))


def _each(probabilities, labels, level) -> dict[str, np.ndarray]:
  """What the scores are means of, `[num]` each."""
  rows = np.arange(len(labels))
  own = probabilities[rows, labels]
  one_hot = np.zeros_like(probabilities)
  one_hot[rows, labels] = 1
  order = np.argsort(-probabilities, axis=1, kind='stable')
  sums = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
  # The set ends with the class that brings the sum to the level.
  size = 1 + np.sum(sums < level - 1e-9, axis=1)
  size = np.minimum(size, probabilities.shape[1])
  place = np.argmax(order == labels[:, None], axis=1)
  return {
      'nll': -np.log(np.maximum(own, _LOWEST)),
      'brier': np.sum((probabilities - one_hot) ** 2, axis=1),
      'accuracy': (order[:, 0] == labels).astype(np.float64),
      'confidence': probabilities.max(axis=1),
      'coverage': (place < size).astype(np.float64),
      'set_size': size.astype(np.float64),
  }


def _bins(probabilities: np.ndarray, num_bins: int) -> np.ndarray:
  """The bin of each prediction's confidence, int `[num]`."""
  if num_bins < 1:
    raise ValueError(f'`{_WHO}` expects num_bins of 1 or more, got {num_bins}.')
  bins = (probabilities.max(axis=1) * num_bins).astype(np.int64)
  return np.minimum(bins, num_bins - 1)


def _ece(bins, confidence, right) -> float:
  """Mean over examples of the gap of their bin."""
  gaps = np.bincount(bins, weights=confidence - right)
  return float(np.sum(np.abs(gaps)) / len(bins))


def _checked(probabilities: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
  probabilities = np.asarray(probabilities, np.float64)
  labels = np.asarray(labels)
  if (
      probabilities.ndim != 2
      or labels.shape != probabilities.shape[:1]
      or len(labels) < 2
      or not np.issubdtype(labels.dtype, np.integer)
  ):
    raise ValueError(
        f'`{_WHO}` expects probabilities [num, num_classes] and int labels'
        f' [num] of two examples or more, got {list(probabilities.shape)} and'
        f' {labels.dtype} {list(labels.shape)}.'
    )
  off = np.abs(probabilities.sum(axis=1) - 1).max()
  if not off < 1e-4 or (probabilities < -1e-9).any():
    raise ValueError(
        f'`{_WHO}` expects rows of probabilities that add up to 1; one is off'
        f' by {off:.3g}. Pass logits through softmax first.'
    )
  if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
    raise ValueError(
        f'`{_WHO}` expects labels from 0 to {probabilities.shape[1] - 1}, got'
        f' {labels.min()} to {labels.max()}.'
    )
  return probabilities, labels
