"""What does one learning algorithm learn from the data that another does not?

ModelDiff: two pools of models on the same training examples and targets, made
by algorithms A and B. The part of A's datamodels that B's do not explain has a
few strong directions; each is a set of training examples that A uses and B does
not, with the targets that it matters for.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm.analysis import directions as directions_lib

WAYS = ('a_minus_b', 'b_minus_a')
_WHO = 'comparison'
_ALGORITHMS = ('a', 'b')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OneWay:
  """What one algorithm does and the other does not.

  Attributes:
    directions: PCA of the residuals, most variance first.
    explained_own: `[num_directions]`, share of the variance of the algorithm's
      own datamodels (rows of length 1, centred) along each direction.
    explained_other: the same of the other algorithm's.
  """

  directions: directions_lib.Directions
  explained_own: np.ndarray
  explained_other: np.ndarray

  @property
  def score(self) -> np.ndarray:
    """How much a direction tells apart, in [-1, 1]: own less other share."""
    return self.explained_own - self.explained_other

  def to_json(self) -> list[dict[str, Any]]:
    """One entry a direction."""
    return [
        {
            'score': float(self.score[number]),
            'explained_own': float(self.explained_own[number]),
            'explained_other': float(self.explained_other[number]),
            'explained_residual': row.pop('explained'),
            **row,
        }
        for number, row in enumerate(self.directions.to_json())
    ]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
  """What sets two learning algorithms apart, by their datamodels.

  Attributes:
    target_ids: `[num_targets]`, of both datamodels.
    cosine: `[num_targets]`, of A's and B's weights; 1 is the same use of the
      training set, NaN where either has none.
    a_minus_b: what A does and B does not.
    b_minus_a: the reverse.
    removals: by way ('a_minus_b', 'b_minus_a') and retrained algorithm ('a',
      'b'), the effects of removing the ends of the leading directions; empty
      if nothing was retrained.
  """

  target_ids: np.ndarray
  cosine: np.ndarray
  a_minus_b: OneWay
  b_minus_a: OneWay
  removals: Mapping[str, Mapping[str, directions_lib.Removals]]

  @property
  def mean_cosine(self) -> float:
    """Mean of `cosine` over the targets that have one."""
    return float(effects.mean(self.cosine))

  def way(self, name: str) -> OneWay:
    """The way 'a_minus_b' or 'b_minus_a'."""
    return self.a_minus_b if name == 'a_minus_b' else self.b_minus_a

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return {
        'num_targets': len(self.target_ids),
        'mean_cosine': self.mean_cosine,
        'cosine': self.cosine.tolist(),
        'a_minus_b': self.a_minus_b.to_json(),
        'b_minus_a': self.b_minus_a.to_json(),
        'removals': {
            way: {name: found.to_json() for name, found in both.items()}
            for way, both in self.removals.items()
        },
    }


def comparison(
    datamodels_a: datamodels_lib.Datamodels,
    datamodels_b: datamodels_lib.Datamodels,
    *,
    num_components: int = 5,
    retrain: tuple[effects.Retrain, effects.Retrain] | None = None,
    plan: directions_lib.RemovalPlan = directions_lib.RemovalPlan(),
) -> Comparison:
  """Finds the directions that set two learning algorithms apart.

  Each target's weights are scaled to length 1, a for A and b for B. What B does
  not explain of A's is the residual a - (a.b / b.b) b; the directions are
  those of a PCA of the residuals of all targets.

  Args:
    datamodels_a: of pool A.
    datamodels_b: of pool B: the same training rows and the same targets.
    num_components: directions each way.
    retrain: `effects.Retrain` of A and of B, for the same targets; the leading
      directions are then checked by removing the training examples at their
      ends and training both again. None skips this.
    plan: of this check.

  Returns:
    The comparison. A direction's check is sound whichever targets it was found
    on: the retrained models are fresh.

  Raises:
    ValueError: if the datamodels are not of the same examples and targets, or
      on numbers out of range.

  References:
    Shah, Park, Ilyas and Madry, `ModelDiff: a framework for comparing learning
    algorithms <https://arxiv.org/abs/2211.12491>`_, 2023, §3.
  """
  check_pair(datamodels_a, datamodels_b)
  units = [
      directions_lib.unit_rows(np.asarray(fitted.weights))
      for fitted in (datamodels_a, datamodels_b)
  ]
  if np.allclose(units[0], units[1], rtol=0, atol=1e-9):
    raise ValueError(
        f'`{_WHO}` got the same datamodels twice, up to their lengths; pass'
        ' those of two pools.'
    )
  ways = {
      'a_minus_b': _one_way(units[0], units[1], num_components),
      'b_minus_a': _one_way(units[1], units[0], num_components),
  }
  removals = {}
  if retrain is not None:
    for name, way in ways.items():
      removals[name] = {
          algorithm: directions_lib.remove_ends(
              _WHO,
              np.asarray(fitted.weights),
              scores=way.directions.loadings,
              projections=way.directions.projections,
              retrain=own_retrain,
              plan=plan,
          )
          for algorithm, fitted, own_retrain in zip(
              _ALGORITHMS, (datamodels_a, datamodels_b), retrain
          )
      }
  dots = np.sum(units[0] * units[1], axis=1)
  has_both = units[0].any(axis=1) & units[1].any(axis=1)
  return Comparison(
      target_ids=np.asarray(datamodels_a.target_ids),
      cosine=np.where(has_both, dots, np.nan),
      removals=removals,
      **ways,
  )


def check_pair(
    datamodels_a: datamodels_lib.Datamodels,
    datamodels_b: datamodels_lib.Datamodels,
) -> None:
  """Raises ValueError unless two datamodels can be compared."""
  shapes = datamodels_a.weights.shape, datamodels_b.weights.shape
  if shapes[0] != shapes[1]:
    raise ValueError(
        f'`{_WHO}` expects two datamodels of the same training examples and'
        ' targets, got weights [num_train, num_targets] of shapes'
        f' {list(shapes[0])} and {list(shapes[1])}.'
    )
  for name in ('train_ids', 'target_ids'):
    pair = [np.asarray(getattr(d, name)) for d in (datamodels_a, datamodels_b)]
    differ = np.flatnonzero(pair[0] != pair[1])
    if differ.size:
      raise ValueError(
          f'`{_WHO}` expects the same {name} in both datamodels;'
          f' {differ.size} of {len(pair[0])} differ, the first at place'
          f' {differ[0]} ({pair[0][differ[0]]} and {pair[1][differ[0]]}).'
      )
  outcomes = datamodels_a.outcome, datamodels_b.outcome
  if outcomes[0] != outcomes[1]:
    raise ValueError(
        f'`{_WHO}` expects datamodels of one outcome, got {outcomes[0]!r} and'
        f' {outcomes[1]!r}; fit both to the same (--outcome).'
    )


def residuals(own: np.ndarray, other: np.ndarray) -> np.ndarray:
  """What is left of each row after its projection on the other's is taken off.

  Args:
    own: `[num_targets, num_train]`.
    other: same shape; a row of zeros takes nothing off.
  """
  squares = np.sum(other * other, axis=1)
  dots = np.sum(own * other, axis=1)
  factors = np.where(squares > 0, dots / np.where(squares > 0, squares, 1), 0)
  return own - factors[:, None] * other


def loadings(way: OneWay, own: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Loadings that other weights of one algorithm give the directions.

  Args:
    way: whose directions and projections are kept.
    own: `[num_train, num_targets]`, weights of the algorithm that has them.
    other: same shape, weights of the algorithm that does not.

  Returns:
    `[num_train, num_directions]`; of the weights compared, their loadings.
  """
  rows = residuals(
      directions_lib.unit_rows(own), directions_lib.unit_rows(other)
  )
  return directions_lib.loadings(way.directions, rows)


def _one_way(own: np.ndarray, other: np.ndarray, num: int) -> OneWay:
  found = directions_lib.principal(_WHO, residuals(own, other), num)
  explained = []
  for rows in (own, other):
    centred = rows - rows.mean(axis=0, keepdims=True)
    total = np.sum(centred**2)
    along = np.sum((centred @ found.loadings.T) ** 2, axis=0)
    explained.append(along / total if total > 0 else np.zeros(num))
  return OneWay(
      directions=found, explained_own=explained[0], explained_other=explained[1]
  )
