"""What every attributor returns: a number for each example and target."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
  """What each training example does to each target, and what it cost.

  Attributes:
    values: float32 `[num_train, num_targets]`. Positive where the example
      raises the outcome: helpful, for outcomes of which more is better.
    method: name of the attributor.
    units: of the values; only 'outcome units' can be compared with weights of
      datamodels without a scale that is fitted.
    num_models: trained models that were read.
    gradients: gradients of one example (or target) in one model that were
      taken; products with a Hessian count as two for each of its examples.
    options: what was chosen, by name.
  """

  values: np.ndarray
  method: str
  units: str
  num_models: int = 0
  gradients: int = 0
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    values = np.asarray(self.values)
    if values.ndim != 2:
      raise ValueError(
          '`Scores` expects values [num_train, num_targets], got shape'
          f' {list(values.shape)}.'
      )
    num_bad = values.size - np.count_nonzero(np.isfinite(values))
    if num_bad:
      raise ValueError(
          f'`{self.method}` found {num_bad} scores that are not finite, of'
          f' {values.size}; raise the damping, or leave out models that'
          ' diverged.'
      )
