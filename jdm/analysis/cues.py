"""A cue whose place is known: does a comparison of algorithms find it?

A cue is something that some training examples and some targets carry, such as a
patch on an image, and that one of two learning algorithms makes use of.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from jdm import effects
from jdm import intervals
from jdm import metrics
from jdm.analysis import directions as directions_lib

_NUM_BOOTSTRAP = 200


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Separation:
  """How well a direction tells planted examples from others.

  The sign of a direction is free: it is turned so that planted training
  examples have the higher loadings.

  Attributes:
    train_auc: `[num_directions]`, in [.5, 1], of loadings for planted training
      examples.
    target_auc: `[num_directions]`, of projections for planted targets; .5 says
      nothing, below .5 is the wrong way round.
    train_interval: 95 % of the first direction's `train_auc` (bootstrap over
      training examples).
    target_interval: the same of `target_auc` (over targets).
  """

  train_auc: np.ndarray
  target_auc: np.ndarray
  train_interval: tuple[float, float]
  target_interval: tuple[float, float]

  @property
  def is_first(self) -> bool:
    """Whether the first direction is the planted one.

    Its training AUC is at least .9, and its targets' AUC is the farthest from
    .5 of all directions, on the right side.
    """
    away = np.abs(self.target_auc - 0.5)
    return bool(
        self.train_auc[0] >= 0.9
        and self.target_auc[0] > 0.5
        and away.argmax() == 0
    )

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self) | {'is_first': self.is_first}


def separation(
    directions: directions_lib.Directions,
    *,
    planted_train: np.ndarray,
    planted_targets: np.ndarray,
    signs: np.ndarray | None = None,
    seed: int = 0,
) -> Separation:
  """Compares directions with what was planted.

  Args:
    directions: such as `Comparison.a_minus_b.directions`.
    planted_train: int `[num]`, train rows that carry the planted cue.
    planted_targets: int `[num]`, targets that carry it.
    signs: `[num_targets]`, 1 for targets that the cue should help, -1 for those
      that it should hurt, 0 for those to leave out; all 1 by default.
    seed: of the bootstrap.

  Raises:
    ValueError: if either set is empty or holds everything.
  """
  num_directions, num_train = directions.loadings.shape
  num_targets = directions.projections.shape[1]
  is_train = np.isin(np.arange(num_train), planted_train)
  is_target = np.isin(np.arange(num_targets), planted_targets)
  signs = np.ones(num_targets) if signs is None else np.asarray(signs)
  kept = signs != 0
  loadings = directions.loadings.copy()
  projections = directions.projections * signs[None]
  train_auc = np.array([metrics.auc(row, is_train) for row in loadings])
  turn = np.where(train_auc < 0.5, -1.0, 1.0)[:, None]
  loadings, projections = turn * loadings, turn * projections
  target_auc = [metrics.auc(row[kept], is_target[kept]) for row in projections]
  return Separation(
      train_auc=np.maximum(train_auc, 1 - train_auc),
      target_auc=np.array(target_auc),
      train_interval=_auc_interval(loadings[0], is_train, seed),
      target_interval=_auc_interval(
          projections[0][kept], is_target[kept], seed
      ),
  )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CueEffect:
  """What a cue on test inputs does to the outcome of A's and of B's models.

  Targets that carry the cue against those that do not, which were drawn at
  random. Arrays are by group of targets.

  Attributes:
    groups: names.
    effect_a: mean outcome with the cue minus without, models of A.
    effect_b: the same of B.
    difference: `effect_a - effect_b`.
    interval: `[2, num_groups]`, 95 % of `difference`, targets as the sample.
  """

  groups: tuple[str, ...]
  effect_a: np.ndarray
  effect_b: np.ndarray
  difference: np.ndarray
  interval: np.ndarray

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self)


def cue_effect(
    means_a: np.ndarray,
    means_b: np.ndarray,
    planted_targets: np.ndarray,
    groups: Mapping[str, np.ndarray],
) -> CueEffect:
  """Compares what a cue on test inputs does in A and in B.

  Args:
    means_a: `[num_targets]`, mean outcomes over the models of A.
    means_b: the same of B.
    planted_targets: int `[num]`, targets that carry the cue.
    groups: by name, bool `[num_targets]`.

  Raises:
    ValueError: if a group has fewer than two targets with or without the cue.
  """
  has_cue = np.isin(np.arange(len(means_a)), planted_targets)
  found: dict[str, list[Any]] = {
      name: [] for name in ('effect_a', 'effect_b', 'difference', 'interval')
  }
  for name, members in groups.items():
    sides = np.asarray(members) & has_cue, np.asarray(members) & ~has_cue
    if min(side.sum() for side in sides) < 2:
      raise ValueError(
          f'`cue_effect` needs two targets of {name!r} with the cue and two'
          f' without, got {sides[0].sum()} and {sides[1].sum()}.'
      )
    for field, means in (
        ('effect_a', means_a),
        ('effect_b', means_b),
        ('difference', means_a - means_b),
    ):
      found[field].append(effects.change(*(means[side] for side in sides)))
    both = (means_a - means_b)[sides[0]], (means_a - means_b)[sides[1]]
    found['interval'].append(effects.interval(*both))
  values = {field: np.array(numbers) for field, numbers in found.items()}
  values['interval'] = values['interval'].T
  return CueEffect(groups=tuple(groups), **values)


def _auc_interval(
    scores: np.ndarray, labels: np.ndarray, seed: int
) -> tuple[float, float]:
  """Bootstrap over examples; resamples without one of both kinds count .5."""

  def auc(rows: np.ndarray) -> float:
    is_planted = rows[:, 1] > 0
    if is_planted.all() or not is_planted.any():
      return 0.5
    return metrics.auc(rows[:, 0], is_planted)

  rows = np.stack([scores, labels.astype(np.float64)], axis=1)
  return intervals.bootstrap_interval(
      rows, auc, num_bootstrap=_NUM_BOOTSTRAP, seed=seed
  )
