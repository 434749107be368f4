"""The points that sets are made of, and the models trained on many sets."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jdm.solvers import precision
from jdm.training import convex
from jdm.training import perceptron

Objective = convex.Objective | perceptron.Objective
_AT_ONCE = 256  # Sets in one call of a solver.


class Solution(NamedTuple):
  """`convex.Solution` on the host."""

  parameters: np.ndarray
  gradient_norm: np.ndarray
  converged: np.ndarray
  num_steps: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
  """The points that sets are made of, and how a set becomes parameters.

  Attributes:
    objective: what the parameters are the minimum of, if it is convex; else
      where its descent ends.
    inputs: `[num_train, num_features]`, flattened.
    labels: `[num_train]`, int classes or float.
  """

  objective: Objective
  inputs: np.ndarray
  labels: np.ndarray

  @functools.cached_property
  def classes(self) -> np.ndarray:
    """One-hot labels `[num_train, num_classes]`; no columns in regression."""
    if self.objective.task == 'regression':
      return np.zeros((len(self.labels), 0))
    num_classes = max(self.objective.num_scores, 2)
    return np.eye(num_classes)[np.asarray(self.labels)]

  def solve(
      self, masks: np.ndarray, start: np.ndarray | None = None, **options: Any
  ) -> Solution:
    """Trains the models of sets, in chunks; arrays on the host.

    Exact minima of a convex objective; of a perceptron, the end of its descent.

    Args:
      masks: `[num_sets, num_train]`, 0/1 or counts.
      start: `[num_sets, num_parameters]`; `initial` by default.
      **options: of `convex.solve` or `perceptron.solve`.
    """

    def call(weights, begin, data):
      own = self.objective
      if isinstance(own, perceptron.Objective):
        return perceptron.solve(own, weights, data, begin, **options)
      return convex.solve(own, weights, data, begin, **options)

    return Solution(*self.in_chunks(call, masks, start))

  def in_chunks(
      self, call: Callable[..., Any], masks: np.ndarray, start: Any = None
  ) -> list[np.ndarray]:
    """Calls `call(weights, start, data)` in float64 for chunks of one size.

    Without a start, it is `initial` for every set.

    Returns:
      Its outputs, joined; scalars as the last chunk had them.
    """
    masks = np.asarray(masks, np.float64)
    size = min(_AT_ONCE, max(len(masks), 1))
    parts = []
    with precision.float64():
      data = convex.examples(self.inputs, self.labels)
      if start is None:
        start = np.repeat(self.initial[None], len(masks), axis=0)
      for first in range(0, len(masks), size):
        rows = slice(first, first + size)
        weights, begin = masks[rows], np.asarray(start, np.float64)[rows]
        short = size - len(weights)
        # The last chunk is filled up with its own first set: one program.
        weights = np.concatenate([weights, np.repeat(weights[:1], short, 0)])
        begin = np.concatenate([begin, np.repeat(begin[:1], short, 0)])
        found = call(jnp.asarray(weights), jnp.asarray(begin), data)
        parts.append(
            [
                np.asarray(x)[: size - short] if np.ndim(x) else np.asarray(x)
                for x in found
            ]
        )
    return [
        np.concatenate(arrays) if arrays[0].ndim else arrays[-1]
        for arrays in zip(*parts)
    ]

  @functools.cached_property
  def initial(self) -> np.ndarray:
    """Where training starts, float64 `[num_parameters]`: 0 if convex."""
    if isinstance(self.objective, perceptron.Objective):
      with precision.float64():
        return np.asarray(self.objective.initial())
    return np.zeros(self.objective.num_parameters)

  @functools.cached_property
  def full(self) -> np.ndarray:
    """Parameters of everything, `[num_parameters]`."""
    return self.solve(np.ones((1, len(self.labels)))).parameters[0]
