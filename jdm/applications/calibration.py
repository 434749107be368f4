"""Are averages over resampled training sets better calibrated than one model?

Each way to predict is a set of models of the same test examples; their
probabilities are averaged. Temperatures are chosen on one half of the test
examples, and everything is reported on the other.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np
from scipy import special

from jdm import effects
from jdm.analysis import calibration as scores_lib
from jdm.analysis import curves as curves_lib

_WHO = 'calibration'
SCALED = ', temperature'


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
  """Scores of ways to predict.

  Attributes:
    scores: by name; those that end in `SCALED` had their logits (of averages:
      their log-probabilities) divided by a temperature.
    reliability: by name.
    temperature: by name without the ending.
    num_models: by name, models that were averaged.
    difference: by name, mean absolute difference of probabilities from those of
      `reference`; empty without one.
    reference: name that the others are held against, or ''.
    choice_ids: int, test examples that chose temperatures.
    report_ids: int, the others, that scores are of.
    level: of the coverage.
  """

  scores: Mapping[str, scores_lib.Score]
  reliability: Mapping[str, scores_lib.Reliability]
  temperature: Mapping[str, float]
  num_models: Mapping[str, int]
  difference: Mapping[str, float]
  reference: str
  choice_ids: np.ndarray
  report_ids: np.ndarray
  level: float

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self)


def calibration(
    logits: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    scaled: Sequence[str] = (),
    reference: str = '',
    choice_ids: Sequence[int] | np.ndarray | None = None,
    level: float = 0.9,
    seed: int = 0,
) -> Calibration:
  """Scores each way to predict, averaged over its models.

  Args:
    logits: by name, `[num_models, num_test, num_classes]`.
    labels: int `[num_test]`.
    scaled: names that are also scored after temperature scaling.
    reference: a name whose averaged probabilities the others should have, such
      as exact retraining on the same resamples.
    choice_ids: test examples that choose temperatures; a random half by
      default. The others are reported on.
    level: of the coverage, see `analysis.calibration.Score`.
    seed: of the halves and of the bootstrap.

  Raises:
    ValueError: if shapes do not fit, names are unknown, or ids are out of range
      or repeated.
  """
  labels = np.asarray(labels)
  _check(logits, labels, scaled, reference)
  choice, report = curves_lib.halves(_WHO, len(labels), choice_ids, seed)
  averages = {
      name: special.softmax(np.asarray(own, np.float64), axis=2).mean(axis=0)
      for name, own in logits.items()
  }
  found = {name: own[report] for name, own in averages.items()}
  temperatures = {}
  for name in scaled:
    logs = np.log(np.maximum(averages[name], np.finfo(float).tiny))
    value = scores_lib.temperature(logs[choice], labels[choice])
    temperatures[name] = value
    found[name + SCALED] = special.softmax(logs[report] / value, axis=1)
  difference = {}
  if reference:
    difference = {
        name: float(np.mean(np.abs(own - found[reference])))
        for name, own in found.items()
        if name != reference and not name.endswith(SCALED)
    }
  return Calibration(
      scores={
          name: scores_lib.score(own, labels[report], level=level, seed=seed)
          for name, own in found.items()
      },
      reliability={
          name: scores_lib.reliability(own, labels[report])
          for name, own in found.items()
      },
      temperature=temperatures,
      num_models={name: len(own) for name, own in logits.items()},
      difference=difference,
      reference=reference,
      choice_ids=choice,
      report_ids=report,
      level=level,
  )


def _check(logits, labels, scaled, reference) -> None:
  if not logits:
    raise ValueError(f'`{_WHO}` expects logits of at least one way to predict.')
  shapes = {np.shape(own)[1:] for own in logits.values()}
  ranks = {np.ndim(own) for own in logits.values()}
  if ranks != {3} or len(shapes) != 1 or next(iter(shapes))[0] != len(labels):
    raise ValueError(
        f'`{_WHO}` expects logits [num_models, {len(labels)}, num_classes] for'
        f' {len(labels)} labels, got'
        f' { {name: list(np.shape(own)) for name, own in logits.items()} }.'
    )
  unknown = sorted({*scaled, *([reference] if reference else [])} - set(logits))
  if unknown:
    raise ValueError(
        f'`{_WHO}` has logits of {sorted(logits)}, not of {unknown}.'
    )
