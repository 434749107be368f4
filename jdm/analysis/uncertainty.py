"""How sure the weights of datamodels are: a bootstrap over models.

Models are drawn with replacement, all targets with the same draws, and every
datamodel is fitted again at the penalty that it has. What moves is what another
pool of the same kind would have moved.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import Any, NamedTuple

from absl import logging
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import intervals
from jdm import metrics
from jdm import regressors
from jdm.regressors import pools
from jdm.solvers import moments as moments_lib

KINDS = ('helpful', 'harmful')
_BYTES = 2**29  # Of the running tails; more targets are taken in tiles.

# From weights `[num_train, num_targets]` to numbers `[num_rows, num_columns]`.
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Uncertainty:
  """Intervals of weights, and how often each is chosen; targets are columns.

  Attributes:
    target_ids: int `[num_targets]`, columns of the datamodels.
    weights: `[num_train, num_targets]`, as fitted to all models, outcome units.
    interval: `[2, num_train, num_targets]`, percentiles over resamples.
    error: `[num_train, num_targets]`, standard deviation over resamples.
    selected: `[num_train, num_targets]`, share of the resamples in which the
      weight is not 0; 1 for regressors that make no zeros.
    ranked: int `[2, num_ranked, num_targets]`, train rows of the highest
      weights (of `KINDS`: helpful, highest first; harmful, lowest first).
    rank_interval: `[2, 2, num_ranked, num_targets]`: lower and upper rank of
      each of `ranked` over resamples; rank 1 is the highest weight (of the
      harmful: the lowest), and ties share the best rank.
    regressor: what was fitted again.
    num_models: models that were drawn from.
    num_bootstrap: resamples.
    level: of the intervals.
    max_gap: largest relative duality gap of a refit; 0 for closed forms.
  """

  target_ids: np.ndarray
  weights: np.ndarray
  interval: np.ndarray
  error: np.ndarray
  selected: np.ndarray
  ranked: np.ndarray
  rank_interval: np.ndarray
  regressor: str
  num_models: int
  num_bootstrap: int
  level: float
  max_gap: float

  def to_json(self, count: int = 5) -> dict[str, Any]:
    """The top weights of each target as JSON-serializable values.

    Args:
      count: at most so many helpful and so many harmful ones a target.
    """
    scalars = ('regressor', 'num_models', 'num_bootstrap', 'level', 'max_gap')
    values = {name: getattr(self, name) for name in scalars}
    count = min(count, self.ranked.shape[1])
    values['rows'] = [
        self._row(kind, place, column)
        for column in range(len(self.target_ids))
        for kind in range(len(KINDS))
        for place in range(count)
    ]
    return values

  def _row(self, kind: int, place: int, column: int) -> dict[str, Any]:
    """One ranked weight."""
    row = int(self.ranked[kind, place, column])
    return {
        'target': int(self.target_ids[column]),
        'effect': KINDS[kind],
        'train': row,
        'weight': float(self.weights[row, column]),
        'weight_interval': self.interval[:, row, column].tolist(),
        'selected': float(self.selected[row, column]),
        'rank': place + 1,
        'rank_interval': self.rank_interval[:, kind, place, column].tolist(),
    }


def bootstrap(
    masks: Any,
    outcomes: np.ndarray,
    datamodels: datamodels_lib.Datamodels,
    *,
    num_bootstrap: int = 50,
    level: float = 0.95,
    seed: int = 0,
    tol: float = 1e-4,
    target_ids: Sequence[int] | np.ndarray | None = None,
    num_ranked: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> Uncertainty:
  """Fits datamodels again to resampled models, at the penalties they have.

  What the intervals mean. They show how far a weight moves when the models are
  drawn again. For differences of means they are intervals of the true effect. A
  LASSO or ridge weight is shrunk towards 0 and its interval is about the shrunk
  weight. On a planted problem (600 models, 100 examples of which 10 matter, 50
  resamples) 95 % intervals of differences of means held 95 % of the true
  weights that are not 0; those of the LASSO held 93 % of the weights that other
  pools give on average, and 67 % of the true ones. Nothing is corrected for the
  choice of the penalty, or for looking at the strongest of many weights.

  Where the true weight is 0 the bootstrap of the LASSO is known not to be
  consistent: look at `selected` there. A resample holds about 63 % of the
  models, some of them several times, so that a refit keeps more weights than
  the fit did and `selected` errs upwards: weights of 0 in truth were kept in
  24 % of the refits above, and in 13 % of fits to new pools.

  Args:
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`: the models
      that the datamodels were fitted to (`fit_ids`).
    outcomes: `[num_models, num_targets]`, for every target of the datamodels.
    datamodels: by any of `jdm.regressors`. LASSO datamodels of train targets
      (an outcome that ends in `_train`, whose `target_ids` are ids of training
      examples) leave out, in each refit, the models that trained on the target.
    num_bootstrap: resamples. They set how fine the tails are known: with 50
      the ends of a 95 % interval lie between the two outermost resamples.
    level: of the intervals.
    seed: of the resamples.
    tol: relative duality gap of a LASSO refit.
    target_ids: columns of the datamodels; all by default.
    num_ranked: how many weights of each kind get an interval of their rank.
    progress: called with the number of refits done and in all.

  Returns:
    The intervals, for the targets asked for. Memory grows with the weights
    asked for, not with `num_bootstrap`.

  Raises:
    ValueError: if shapes or options do not make sense, if there are too few
      resamples for the level, or if the regressor is unknown.

  References:
    Efron and Tibshirani, An introduction to the bootstrap, 1993, §13.3; of the
    LASSO: Bach, `Bolasso <https://arxiv.org/abs/0804.1302>`_, 2008; Chatterjee
    and Lahiri, Asymptotic properties of the residual bootstrap for lasso
    estimators, Proc. AMS 138, 2010 (where it fails).
  """
  masks, outcomes = moments_lib.unpack(masks), np.asarray(outcomes)
  targets = _targets(target_ids, datamodels.num_targets)
  _check(masks, outcomes, datamodels, num_bootstrap, level)
  width = _tile(len(masks.T), num_bootstrap, level)
  parts = []
  num_tiles = -(-len(targets) // width)
  for tile in range(num_tiles):
    some = targets[tile * width : (tile + 1) * width]

    def report(done, tile=tile):
      if progress is not None:
        progress(tile * num_bootstrap + done, num_tiles * num_bootstrap)

    resampler = _Resampler(masks, outcomes, datamodels, some, tol)
    draws = resampler.draw(num_bootstrap, seed, report)
    parts.append(
        _summarize(draws, resampler.weights, num_bootstrap, level, num_ranked)
    )
    resampler.report()
  joined = {
      name: np.concatenate([part[name] for part in parts], axis=-1)
      for name in parts[0]
  }
  return Uncertainty(
      target_ids=targets,
      regressor=datamodels.regressor,
      num_models=len(masks),
      num_bootstrap=num_bootstrap,
      level=level,
      max_gap=float(joined.pop('gap').max()),
      **joined,
  )


def bootstrap_statistic(
    masks: Any,
    outcomes: np.ndarray,
    datamodels: datamodels_lib.Datamodels,
    statistic: Statistic,
    *,
    num_bootstrap: int = 50,
    level: float = 0.95,
    seed: int = 0,
    tol: float = 1e-4,
    num_ranked: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> Uncertainty:
  """Intervals of what is computed from the weights of all targets.

  Such as mean weights over targets, or loadings on a direction. The draws are
  those of `bootstrap`, and what is said there holds.

  Args:
    masks: as of `bootstrap`.
    outcomes: as of `bootstrap`.
    datamodels: as of `bootstrap`.
    statistic: from weights `[num_train, num_targets]` to numbers
      `[num_rows, num_columns]`, in any units; rows are what is ranked.
    num_bootstrap: resamples.
    level: of the intervals.
    seed: of the resamples.
    tol: relative duality gap of a LASSO refit.
    num_ranked: how many rows of each kind get an interval of their rank.
    progress: called with the number of refits done and in all.

  Returns:
    The intervals: `weights` are the statistic of the fit, and `target_ids`
    number its columns.

  Raises:
    ValueError: as `bootstrap`; and if the statistic is not two-dimensional.
  """
  masks, outcomes = moments_lib.unpack(masks), np.asarray(outcomes)
  _check(masks, outcomes, datamodels, num_bootstrap, level)
  every = np.arange(datamodels.num_targets)
  resampler = _Resampler(masks, outcomes, datamodels, every, tol)
  fitted = np.asarray(statistic(resampler.weights), np.float32)
  if fitted.ndim != 2:
    raise ValueError(
        '`bootstrap_statistic` expects a statistic of shape [num_rows,'
        f' num_columns], got {list(fitted.shape)}.'
    )

  def report(done: int) -> None:
    if progress is not None:
      progress(done, num_bootstrap)

  draws = (
      _Draw(np.asarray(statistic(weights)), np.max(gap, keepdims=True))
      for weights, gap in resampler.draw(num_bootstrap, seed, report)
  )
  summary = _summarize(draws, fitted, num_bootstrap, level, num_ranked)
  resampler.report()
  return Uncertainty(
      target_ids=np.arange(fitted.shape[1]),
      regressor=datamodels.regressor,
      num_models=len(masks),
      num_bootstrap=num_bootstrap,
      level=level,
      max_gap=float(summary.pop('gap').max()),
      **summary,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Halves:
  """How far two halves of the models agree on who helps most.

  Attributes:
    overlap: `[num_targets]`, share of the `num_top` examples of highest weight
      in one half's datamodel that the other's has among its own.
    mean: over targets.
    interval: of the mean, 95 %, targets resampled.
    by_chance: what rankings at random would have.
    num_top: examples.
    num_models: of both halves.
  """

  overlap: np.ndarray
  mean: float
  interval: tuple[float, float]
  by_chance: float
  num_top: int
  num_models: int


def halves(
    masks: Any,
    outcomes: np.ndarray,
    datamodels: datamodels_lib.Datamodels,
    *,
    num_top: int = 10,
    tol: float = 1e-4,
    seed: int = 0,
) -> Halves:
  """Fits datamodels to either half of the models, and compares their tops.

  Rows of even and of odd number are the halves, each fitted at the penalties
  that the datamodels have. What is fitted to all models agrees better with
  another pool than halves do with each other.

  Args:
    masks: as of `bootstrap`.
    outcomes: as of `bootstrap`.
    datamodels: as of `bootstrap`.
    num_top: examples that are compared.
    tol: relative duality gap of a LASSO refit.
    seed: of the interval.

  Raises:
    ValueError: as `bootstrap`; and if `num_top` is out of range.
  """
  masks, outcomes = moments_lib.unpack(masks), np.asarray(outcomes)
  _check_pool('halves', masks, outcomes, datamodels)
  every = np.arange(datamodels.num_targets)
  resampler = _Resampler(masks, outcomes, datamodels, every, tol)
  even, odd = (resampler.fit(np.arange(k, len(masks), 2)) for k in (0, 1))
  overlap = metrics.top_overlap(even.weights, odd.weights, num_top)
  resampler.report()
  mean = float(overlap.mean())
  interval = mean, mean
  if len(overlap) > 1:
    interval = intervals.bootstrap_interval(overlap, seed=seed)
  return Halves(
      overlap=overlap,
      mean=mean,
      interval=interval,
      by_chance=num_top / masks.shape[1],
      num_top=num_top,
      num_models=len(masks),
  )


def _targets(target_ids: Any, num_targets: int) -> np.ndarray:
  """Columns of the datamodels, checked."""
  if target_ids is None:
    return np.arange(num_targets)
  targets = np.asarray(target_ids)
  if (
      targets.ndim != 1
      or not targets.size
      or not np.issubdtype(targets.dtype, np.integer)
      or targets.min() < 0
      or targets.max() >= num_targets
      or len(np.unique(targets)) < len(targets)
  ):
    raise ValueError(
        '`bootstrap` expects target_ids to be different integers from 0 to'
        f' {num_targets - 1}, at least one, got {np.asarray(target_ids)}.'
    )
  return targets.astype(np.int64)


def _check_pool(who: str, masks, outcomes, datamodels) -> None:
  """Raises unless these are models that the datamodels can be fitted to."""
  expected = len(masks), datamodels.num_targets
  if masks.shape[1] != datamodels.num_train or outcomes.shape != expected:
    raise ValueError(
        f'`{who}` expects masks [num_models,'
        f' {datamodels.num_train}] and outcomes [num_models,'
        f' {datamodels.num_targets}] of the models that the datamodels were'
        f' fitted to, got {masks.shape} and {outcomes.shape}.'
    )
  if not np.isfinite(outcomes).all():
    raise ValueError(
        f'`{who}` got outcomes that are not finite; drop the rows of the'
        ' models that diverged.'
    )
  is_train = datamodels.outcome.endswith('_train')
  if datamodels.regressor not in regressors.REGRESSORS or (
      is_train and datamodels.regressor not in regressors.SPARSE
  ):
    raise ValueError(
        f'`{who}` knows the regressors {sorted(regressors.REGRESSORS)} (of'
        f' train targets: {", ".join(regressors.SPARSE)}), got'
        f' {datamodels.regressor!r} of outcome {datamodels.outcome!r}.'
    )


def _check(masks, outcomes, datamodels, num_bootstrap, level) -> None:
  _check_pool('bootstrap', masks, outcomes, datamodels)
  if not 0 < level < 1:
    raise ValueError(
        f'`bootstrap` expects a level between 0 and 1, got {level}.'
    )
  least = int(np.ceil(2 / (1 - level) - 1e-9)) - 1
  if num_bootstrap < least:
    raise ValueError(
        f'`bootstrap` expects num_bootstrap of at least {least} for intervals'
        f' of level {level}, got {num_bootstrap}.'
    )


def _tile(num_train: int, num_bootstrap: int, level: float) -> int:
  """Targets at once, so that the tails stay within bounds."""
  column = 4 * num_train * (2 * _place(num_bootstrap, level)[0] + 6)
  return max(1, _BYTES // column)


def _place(num_bootstrap: int, level: float) -> tuple[int, float]:
  """Where the lower percentile is: order statistic from 1, and share beyond.

  Weibull's places p (B + 1): a draw of the same kind falls below the k-th of B
  with chance k / (B + 1), so the intervals are not too short with few draws.
  """
  place = (1 - level) / 2 * (num_bootstrap + 1)
  whole = max(int(place + 1e-9), 1)
  return whole, max(place - whole, 0.0)


class _Draw(NamedTuple):
  """A refit to one resample."""

  weights: np.ndarray  # [num_train, num_targets]
  gap: np.ndarray  # [num_targets]


class _Resampler:
  """Fits some targets again to models drawn with replacement."""

  def __init__(self, masks, outcomes, datamodels, targets, tol):
    self._masks, self._outcomes = masks, outcomes[:, targets]
    self._regressor, self._tol = datamodels.regressor, tol
    self._lam = np.asarray(datamodels.lam, np.float64)[targets]
    self._l1_ratio = np.ones(len(self._lam))
    if len(datamodels.l1_ratio):
      self._l1_ratio = np.asarray(datamodels.l1_ratio)[targets]
    self._own_ids = _own_ids(datamodels, targets)
    self.weights = np.asarray(datamodels.weights, np.float32)[:, targets]
    self._missed = 0

  def draw(
      self, num_bootstrap: int, seed: int, report: Callable[[int], None]
  ) -> Iterator[_Draw]:
    """Refits, one resample after the other; each has its own seed."""
    for number in range(num_bootstrap):
      rng = np.random.default_rng([seed, number])
      rows = np.sort(rng.integers(len(self._masks), size=len(self._masks)))
      yield self.fit(rows)
      report(number + 1)

  def fit(self, rows: np.ndarray) -> _Draw:
    """Fits to some rows, which may repeat."""
    masks, outcomes = self._masks[rows], self._outcomes[rows]
    if self._regressor in regressors.SPARSE:
      return self._sparse(masks, outcomes)
    options = {'lam': self._lam} if self._regressor == 'ridge' else {}
    fitted = regressors.get(self._regressor)(masks, outcomes, **options)
    return _Draw(np.asarray(fitted.weights), np.asarray(fitted.gap))

  def _sparse(self, masks, outcomes) -> _Draw:
    """Starts from the weights fitted to all models, which are near."""
    found = pools.pool_of(masks, outcomes, self._own_ids).at(
        self._lam,
        self._l1_ratio,
        start=self.weights,
        tol=self._tol,
        certify=False,
    )
    self._missed += int(np.sum(~found.converged))
    return _Draw(found.weights, found.gap)

  def report(self) -> None:
    """Warns of refits that missed the tolerance."""
    if self._missed:
      logging.warning(
          '`bootstrap`: %d refits missed the tolerance %g.',
          self._missed,
          self._tol,
      )


def _own_ids(datamodels, targets) -> np.ndarray | None:
  """The column of masks that is each target, -1 for none; None of test ones."""
  own = datamodels_lib.own_ids(datamodels)
  return None if own is None else own[targets]


def _insert(tails: np.ndarray, values: np.ndarray) -> None:
  """Keeps the lowest values, ascending: tails `[count, ...]`, in place."""
  for place in range(len(tails)):
    larger = np.maximum(tails[place], values)
    np.minimum(tails[place], values, out=tails[place])
    values = larger


def _percentiles(tails: np.ndarray, share: float) -> np.ndarray:
  """Between the last two of the lowest values."""
  return tails[-2] + share * (tails[-1] - tails[-2])


def _ranks(weights: np.ndarray, ranked: np.ndarray) -> np.ndarray:
  """Ranks `[2, num_ranked, num_targets]` of rows among all weights."""
  ranks = np.empty(ranked.shape, np.int32)
  for kind, sign in enumerate((1, -1)):
    for place, rows in enumerate(ranked[kind]):
      own = np.take_along_axis(weights, rows[None], axis=0)
      above = sign * weights > sign * own
      ranks[kind, place] = 1 + np.count_nonzero(above, axis=0)
  return ranks


def _summarize(
    draws: Iterator[_Draw],
    weights: np.ndarray,
    num_bootstrap: int,
    level: float,
    num_ranked: int,
) -> dict[str, np.ndarray]:
  """What is kept of the refits of some targets, as they come."""
  num_ranked = min(num_ranked, len(weights))
  order = np.argsort(-weights, axis=0, kind='stable')
  ranked = np.stack([order[:num_ranked], order[::-1][:num_ranked]])
  whole, share = _place(num_bootstrap, level)
  low, high = np.full((2, whole + 1, *weights.shape), np.inf, np.float32)
  # Around the fit: sums of squares of small numbers keep their digits.
  total, square = np.zeros((2, *weights.shape), np.float32)
  selected = np.zeros(weights.shape, np.int32)
  gap = np.zeros(weights.shape[1])
  ranks = []
  for draw in draws:
    drawn = draw.weights.astype(np.float32)
    _insert(low, drawn)
    _insert(high, -drawn)
    total += drawn - weights
    square += (drawn - weights) ** 2
    selected += drawn != 0
    gap = np.maximum(gap, draw.gap)
    ranks.append(_ranks(drawn, ranked))
  variance = (square - total**2 / num_bootstrap) / (num_bootstrap - 1)
  tails = (1 - level) / 2, (1 + level) / 2
  return {
      'weights': weights,
      'interval': np.stack(
          [_percentiles(low, share), -_percentiles(high, share)]
      ),
      'error': np.sqrt(np.maximum(variance, 0)),
      'selected': (selected / num_bootstrap).astype(np.float32),
      'ranked': ranked,
      'rank_interval': np.quantile(ranks, tails, axis=0, method='weibull'),
      'gap': gap,
  }
