"""How well a score of training examples finds those known to be bad.

A score is `[num_train]`, higher = more suspect. Ties count half in the AUC,
and in proportion where examples are inspected in the order of the score.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np
from scipy import stats

from jdm import intervals
from jdm import metrics

_CURVE_POINTS = 201
_STREAM = 4  # Any number: it makes the stream another one.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
  """How well one score finds the bad training examples.

  Attributes:
    auc: chance that a bad example scores higher than another one; .5 by chance.
    auc_interval: 95 %, percentile bootstrap over bad and over other examples;
      the models are taken as given.
    precision: share of bad ones among as many of highest score as there are bad
      ones (so it is their recall, too).
    precision_interval: 95 %, Wilson.
    inspected: `[num_points]`, shares of the training set looked at, highest
      score first, from 0 to 1.
    found: `[num_points]`, shares of the bad ones found by then.
    num_bad: bad examples.
    num_train: all examples.
  """

  auc: float
  auc_interval: tuple[float, float]
  precision: float
  precision_interval: tuple[float, float]
  inspected: np.ndarray
  found: np.ndarray
  num_bad: int
  num_train: int


def detect(
    scores: Mapping[str, np.ndarray],
    bad: Sequence[int] | np.ndarray,
    *,
    num_bootstrap: int = 400,
    seed: int = 0,
) -> dict[str, Detection]:
  """Measures scores by known bad examples.

  Args:
    scores: by name, `[num_train]`, finite, higher = more suspect.
    bad: int, rows of the bad examples; some, not all.
    num_bootstrap: resamples for the intervals of AUC.
    seed: of the resamples.

  Raises:
    ValueError: if scores do not fit, or rows are out of range or repeated.
  """
  check_scores('detect', scores)
  num_train = len(next(iter(scores.values())))
  is_bad = np.zeros(num_train, bool)
  is_bad[check_rows('detect', bad, num_train)] = True
  if not 0 < is_bad.sum() < num_train:
    raise ValueError(
        f'`detect` expects some bad examples and some others, got'
        f' {is_bad.sum()} bad of {num_train}.'
    )
  return {
      name: _detection(np.asarray(score), is_bad, num_bootstrap, seed)
      for name, score in scores.items()
  }


def best(found: Mapping[str, Detection]) -> str:
  """The score of highest AUC; ties by precision, then by order.

  What it chooses is to be reported on other bad examples than it was chosen by.
  """
  key = {name: (one.auc, one.precision) for name, one in found.items()}
  return max(key, key=lambda name: key[name])


def ranking(score: np.ndarray) -> np.ndarray:
  """Rows, most suspect first; ties in the order of rows."""
  return np.argsort(-np.asarray(score), kind='stable')


def generator(seed: int) -> np.random.Generator:
  """Random numbers of a stream of its own.

  Whoever else draws rows by the same plain seed must not draw the same ones;
  `datasets.planted` keeps a stream of its own for the same reason.
  """
  return np.random.default_rng((seed, _STREAM))


def check_scores(who: str, scores: Mapping[str, np.ndarray]) -> None:
  """Raises ValueError unless all scores are finite and of one `[num_train]`."""
  shapes = {np.shape(score) for score in scores.values()}
  if len(shapes) != 1 or len(next(iter(shapes))) != 1:
    raise ValueError(
        f'`{who}` expects one or more scores of one shape [num_train], got'
        f' {sorted(shapes)}.'
    )
  for name, score in scores.items():
    if not np.isfinite(score).all():
      raise ValueError(
          f'`{who}` expects finite scores; {name!r} has'
          f' {np.sum(~np.isfinite(score))} that are not.'
      )


def check_rows(
    who: str, rows: Sequence[int] | np.ndarray, num_train: int
) -> np.ndarray:
  """Rows as int64; raises ValueError if out of range or repeated."""
  rows = np.asarray(rows)
  if rows.ndim != 1 or (
      rows.size and not np.issubdtype(rows.dtype, np.integer)
  ):
    raise ValueError(
        f'`{who}` expects train rows as integers [num], got {rows.dtype}'
        f' {list(rows.shape)}.'
    )
  rows = rows.astype(np.int64)
  if rows.size and (rows.min() < 0 or rows.max() >= num_train):
    raise ValueError(
        f'`{who}` expects train rows from 0 to {num_train - 1}, got'
        f' {rows.min()} to {rows.max()}.'
    )
  if np.unique(rows).size != rows.size:
    raise ValueError(f'`{who}` expects each train row once, got some twice.')
  return rows


def _detection(score, is_bad, num_bootstrap: int, seed: int) -> Detection:
  bad, others = score[is_bad], score[~is_bad]
  points = np.linspace(0, 1, _CURVE_POINTS)
  found = _found(score, is_bad, points * len(score))
  num_bad = len(bad)
  precision = float(_found(score, is_bad, np.array([num_bad]))[0])
  rng = generator(seed)
  resampled = [
      _area(rng.choice(bad, len(bad)), rng.choice(others, len(others)))
      for _ in range(num_bootstrap)
  ]
  return Detection(
      auc=metrics.auc(score, is_bad),
      auc_interval=intervals.percentiles(np.array(resampled), 0.95),
      precision=precision,
      precision_interval=intervals.wilson_interval(
          round(precision * num_bad), num_bad
      ),
      inspected=points,
      found=found,
      num_bad=num_bad,
      num_train=len(score),
  )


def _area(bad: np.ndarray, others: np.ndarray) -> float:
  """AUC, by ranks."""
  ranks = stats.rankdata(np.concatenate([bad, others]))[: len(bad)]
  least = len(bad) * (len(bad) + 1) / 2
  return float((ranks.sum() - least) / (len(bad) * len(others)))


def _found(
    score: np.ndarray, is_bad: np.ndarray, counts: np.ndarray
) -> np.ndarray:
  """Shares of the bad ones among the `counts` highest scores; ties shared."""
  _, groups, sizes = np.unique(-score, return_inverse=True, return_counts=True)
  hits = np.bincount(groups, weights=is_bad, minlength=len(sizes))
  ends = np.concatenate([[0], np.cumsum(sizes)])
  sums = np.concatenate([[0], np.cumsum(hits)])
  return np.interp(counts, ends, sums) / is_bad.sum()
