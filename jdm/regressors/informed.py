"""Informed datamodels: a regression that starts from scores of an attributor.

Models that were trained for masks and outcomes have gradients as well. Scores
made of them (`jdm.attributors`, damped influence above all) say much about the
weights before any regression; what the regression then has to find is smaller,
and it is larger where the scores are large:

  w_t = c_t tau_t + u_t,   u_tj of variance proportional to |tau_tj| + floor

with tau the scores, their scale c_t by least squares, and u by ridge regression
with these variances (a Gaussian process with tau as its mean), or by the
weighted LASSO, whose penalties are their inverses. Where scores are wrong about
an example they are wrong about examples like it: a second ridge regression lets
u_tj and u_tk have a correlation, `correlation` times the cosine of the scores
tau_.j and tau_.k over targets. What is chosen (which scores, which penalty,
which strength) is chosen by cross-validation on all models. Scores that do not
help a ridge regression clearly have to beat plain LASSO as well, so that useless
ones do no harm.

Tried and left out (LDS on digits, MLP, 2,000 models: .602 without correlations,
.610 with them; these without): a strength for each target (.602, but .569
instead of .575 with 100 models), mixtures of scores of several dampings (.602)
or of influence with the matrix of all examples (.604, for four times the time),
gradients of 400 models instead of 100 (the scores alone .570 instead of .566),
other powers and floors of the variances (.599 to .602), noise that targets share
as generalized least squares (.598), and predictions mixed over targets (.599,
Breiman and Friedman 1997).

A target that is a training example is fitted, and what is chosen for it is
scored, by the models that did not train on it.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, NamedTuple, Unpack

from absl import logging
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.regressors import observations as observations_lib
from jdm.regressors import own_models
from jdm.solvers import direct
from jdm.solvers import folds as folds_lib
from jdm.solvers import general_ridge
from jdm.solvers import penalties

_NAME = 'informed'
_WHO = f'{_NAME}.fit'
PENALTIES = ('auto', 'ridge', 'l1', 'all')
_RIDGES = ('ridge', 'correlated', 'plain')
# Noise over prior variance of an outcome, from the prior alone to nearly none.
_STRENGTHS = tuple(float(x) for x in np.geomspace(300, 0.03, 9))
_MIN_RATIO = 1e-2
_NUM_LAMS = 20
# Numbers that stand for an example's scores over targets, at most.
_MOST_DIRECTIONS = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prior:
  """Scores that a regression starts from.

  Attributes:
    values: `[num_train, num_targets]`, positive = helpful; only their ratios
      within a target matter. From all models.
    without_fold: `[num_folds, num_train, num_targets]`, fold k of models that
      are in no fold k: they score fold k. None if no model of the regression
      has a part in the scores.
    name: shown with the choice.
  """

  values: np.ndarray
  without_fold: np.ndarray | None = None
  name: str = 'prior'


class _Candidate(NamedTuple):
  """What may be chosen.

  Attributes:
    kind: 'ridge', 'correlated' (ridge with correlated deviations), 'plain'
      (ridge without scores), 'l1' or 'lasso'.
    prior: index of the scores.
    strength: of ridge; nan otherwise.
    lam: `[num_targets]`, of l1; None otherwise.
    errors: `[num_targets]`, mean squared errors of cross-validation.
    by_fold: `[num_folds]`, mean over targets of errors as shares of their
      variances, where nothing was chosen target by target.
  """

  kind: str
  prior: int
  strength: float
  lam: np.ndarray | None
  errors: np.ndarray
  by_fold: np.ndarray


def fit(
    masks: Any,
    outcomes: Any,
    prior: Any,
    *,
    num_folds: int = 5,
    penalty: str = 'auto',
    floor: float = 0.1,
    correlation: float = 0.5,
    tol: float = 1e-4,
    own_ids: Any = None,
    progress: Callable[[int, int], None] | None = None,
    **labels: Unpack[observations_lib.Labels],
) -> datamodels_lib.Datamodels:
  """Fits a linear datamodel to each target, around scores.

  Args:
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`; row i is
      model i's training set.
    outcomes: `[num_models, num_targets]`, finite.
    prior: `[num_train, num_targets]` scores, or a `Prior`, or several of either,
      of which the one that predicts best by itself is taken.
    num_folds: of the cross-validation; model i is in fold i mod num_folds.
    penalty: 'ridge', with and without correlation; 'l1'; 'all' for the best of
      all of these, of plain LASSO and of ridge without scores; or 'auto', which
      tries l1 only where ridge regression is not better with the scores than
      without by a standard error over folds (with fewer models than examples it
      costs far more than ridge).
    floor: of the prior's sizes, over their mean: what scores of 0 are given.
    correlation: of deviations from the scores where two examples have the same
      scores, in [0, 1); 0 leaves the correlated regression out. The default has
      the lowest error of cross-validation on digits (.03 to .95 were tried).
    tol: bound of the relative duality gap.
    own_ids: int `[num_targets]`, the column of `masks` that is the target
      itself, -1 for none. A target is then fitted to, and in every fold scored
      on, the models that did not train on it; its own weight is 0, whatever the
      prior says. As `lasso.fit`, it is noted by `outcome` (a name that ends in
      `_train`) and `target_ids`.
    progress: called with the number of steps done and in all.
    **labels: ids and names to note, `observations.Labels`.

  Returns:
    Datamodels. `val_mse` is the cross-validation's; lam is the ridge's or that
    of the l1 penalty.

  Raises:
    TypeError: on unknown keywords.
    ValueError: if shapes, dtypes, values or options do not make sense; a prior
      that is transposed, constant for all targets, or not finite; a target
      that nearly all models trained on.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, for
    the regression; Park et al., `TRAK <https://arxiv.org/abs/2303.14186>`_,
    2023, for scores of gradients averaged over models.
  """
  observations = observations_lib.split(
      _NAME, masks, outcomes, choose=False, labels=labels
  )
  if penalty not in PENALTIES:
    raise ValueError(f'`{_WHO}` expects penalty {PENALTIES}, got {penalty!r}.')
  if not floor > 0 or not tol > 0:
    raise ValueError(
        f'`{_WHO}` expects floor and tol above 0, got {floor} and {tol}.'
    )
  if not 2 <= num_folds <= len(observations.masks) // 2:
    raise ValueError(
        f'`{_WHO}` expects num_folds from 2 to half of the'
        f' {len(observations.masks)} models, got {num_folds}.'
    )
  if not 0 <= correlation < 1:
    raise ValueError(
        f'`{_WHO}` expects a correlation from 0 to below 1, got {correlation}.'
    )
  shape = observations.num_train, observations.num_targets
  fold_of = folds_lib.assign(len(observations.masks), num_folds)
  if own_ids is not None:
    own_ids = direct.check_own_ids(own_ids, *shape)
    own_models.check(_WHO, observations.masks, own_ids, fold_of)
  priors = [_checked(one, shape, num_folds, own_ids) for one in _as_list(prior)]
  models = own_models.Models(observations.masks, observations.outcomes, own_ids)
  choice = _Choice(
      models, priors, fold_of, _Covariance(floor, correlation), tol, progress
  )
  best = choice.choose(penalty)
  weights, bias, lam, gap = choice.fit(best)
  return observations_lib.to_datamodels(
      observations,
      weights=weights.astype(np.float32),
      bias=bias,
      lam=lam,
      gap=gap,
      val_mse=best.errors,
  )


def _as_list(prior: Any) -> list[Prior]:
  """One or several priors, each as a `Prior`."""
  if isinstance(prior, Prior):
    return [prior]
  several = isinstance(prior, Sequence) and len(prior) > 0
  if several and isinstance(prior[0], Prior):
    return list(prior)
  if several and np.ndim(prior[0]) == 2:
    return [
        Prior(values=np.asarray(one), name=f'prior {index}')
        for index, one in enumerate(prior)
    ]
  return [Prior(values=np.asarray(prior))]


def _checked(
    prior: Prior,
    shape: tuple[int, int],
    num_folds: int,
    own_ids: np.ndarray | None,
) -> Prior:
  """The prior, or an error that says what is wrong."""
  values = np.asarray(prior.values)
  if values.shape != shape:
    turned = values.shape == shape[::-1]
    cure = '; it is transposed: pass `prior.T`' if turned else ''
    raise ValueError(
        f'`{_WHO}` expects a prior of shape [num_train, num_targets] ='
        f' {shape}, got {values.shape}{cure}.'
    )
  parts = prior.without_fold
  if parts is not None:
    parts = np.asarray(parts)
    if parts.shape != (num_folds, *shape):
      raise ValueError(
          f'`{_WHO}` expects without_fold of shape {(num_folds, *shape)}, the'
          f' prior without each fold, got {parts.shape}.'
      )
  for array in (values, *(() if parts is None else parts)):
    is_finite = np.isfinite(_as_read(array, own_ids))
    if not is_finite.all():
      raise ValueError(
          f'`{_WHO}` expects a finite prior, got'
          f' {int(np.sum(~is_finite))} of {array.size} values that are'
          ' not; raise the damping of the scores, or drop the models that'
          ' diverged.'
      )
  if (np.ptp(_as_read(values, own_ids), axis=0) == 0).all():
    raise ValueError(
        f'`{_WHO}` expects a prior that tells examples apart, got the same'
        ' value for all examples of each target; without scores use'
        ' `regressors.lasso`.'
    )
  return dataclasses.replace(prior, values=values, without_fold=parts)


def _as_read(scores: np.ndarray, own_ids: np.ndarray | None) -> np.ndarray:
  """Scores in float64, 0 of each example on itself."""
  scores = np.asarray(scores, np.float64)
  if own_ids is None:
    return scores
  return own_models.without_own(scores, own_ids)


class _Covariance(NamedTuple):
  """What that of the deviations from scores is made by: options of `fit`."""

  floor: float
  correlation: float


class _Choice:
  """Candidates and their errors by cross-validation."""

  def __init__(self, models, priors, fold_of, covariance, tol, progress):
    self._models = models
    self._priors, self._covariance, self._tol = priors, covariance, tol
    self._fold_of = fold_of
    self._sizes = np.bincount(fold_of)
    self._num_folds = len(self._sizes)
    # Models of each fold that count for each target, if these differ.
    self._counts = None
    if models.own_ids is not None:
      self._counts = np.zeros((self._num_folds, len(models.counts)), int)
      np.add.at(self._counts, fold_of, models.kept)
    self._steps = 0
    self._progress, self._done = progress, 0
    # A lower bound of the noise keeps a target that varies little in its place.
    spread = models.variance()
    self._level = np.where(spread > 0, spread, 1)

  def choose(self, penalty: str) -> _Candidate:
    """The candidate with the lowest error, as a share of each variance.

    Errors are averaged over targets before they are compared: with few models
    those of one target say little.
    """
    kinds = {'ridge': _RIDGES[:2], 'l1': ('l1',)}.get(
        penalty, (*_RIDGES, 'l1', 'lasso')
    )
    if not self._covariance.correlation:
      kinds = tuple(kind for kind in kinds if kind != 'correlated')
    self._steps = self._num_folds * (1 + len(kinds))
    prior = self._best_prior()
    found: dict[str, _Candidate] = {}
    for kind in kinds:
      if kind in _RIDGES:
        near = found.get('ridge') if kind == 'correlated' else None
        found[kind] = self._lowest(self._ridges(kind, prior, near))
      elif penalty != 'auto' or not self._helps(found):
        found[kind] = self._lasso(kind, prior)
    best = self._lowest(list(found.values()))
    logging.info(
        '`%s` chose %s around %s (strength %.3g); errors as shares of the'
        ' variance: %s',
        _WHO,
        best.kind,
        self._priors[best.prior].name,
        best.strength,
        {kind: round(self._score(one), 4) for kind, one in found.items()},
    )
    return best

  def _score(self, candidate: _Candidate) -> float:
    return float(np.average(candidate.by_fold, weights=self._sizes))

  def _lowest(self, candidates: Sequence[_Candidate]) -> _Candidate:
    return min(candidates, key=self._score)

  def _helps(self, found: dict[str, _Candidate]) -> bool:
    """Whether ridge regression is better with the scores than without."""
    less = found['plain'].by_fold - found['ridge'].by_fold
    error = np.std(less, ddof=1) / np.sqrt(len(less))
    return bool(np.average(less, weights=self._sizes) > error)

  def _shares(self, errors: np.ndarray) -> np.ndarray:
    """Mean over targets, as shares of their variances.

    Args:
      errors: `[num_folds, ..., num_targets]`.

    Returns:
      `[num_folds, ...]`.
    """
    shares = errors / self._level
    if self._counts is None:
      return np.mean(shares, axis=-1)
    scored = _like(self._counts > 0, errors)
    return np.mean(shares, axis=-1, where=scored)

  def _tick(self) -> None:
    self._done += 1
    if self._progress is not None:
      self._progress(self._done, self._steps)

  def _split(self, fold: int) -> tuple[own_models.Models, own_models.Models]:
    """The models outside a fold, and those of it."""
    inside = self._fold_of == fold
    return self._models.take(~inside), self._models.take(inside)

  def _scores(self, prior: int, fold: int | None) -> np.ndarray:
    """Scores that no model of the fold has a part in."""
    chosen = self._priors[prior]
    scores = chosen.values
    if fold is not None and chosen.without_fold is not None:
      scores = chosen.without_fold[fold]
    return _as_read(scores, self._models.own_ids)

  def _average(self, errors: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over folds, by the models of each."""
    if self._counts is None:
      return np.average(np.stack(errors), axis=0, weights=self._sizes)
    weights = _like(self._counts, np.stack(errors))
    return np.average(np.stack(errors), axis=0, weights=weights)

  def _best_prior(self) -> int:
    """The prior that predicts best without more."""
    errors = [[] for _ in self._priors]
    for fold in range(self._num_folds):
      rest, left_out = self._split(fold)
      for index, found in enumerate(errors):
        mean = own_models.offset(rest, self._scores(index, fold))
        found.append(own_models.errors(rest, left_out, mean))
      self._tick()
    shares = np.stack([self._shares(np.stack(found)) for found in errors])
    return int(np.argmin(shares @ self._sizes))

  def _ridges(
      self, kind: str, prior: int, near: _Candidate | None
  ) -> list[_Candidate]:
    """Ridge regression at each strength, or at those about another's."""
    strengths = _STRENGTHS
    if near is not None:
      middle = _STRENGTHS.index(near.strength)
      strengths = _STRENGTHS[max(middle - 1, 0) : middle + 2]
    errors = [[] for _ in strengths]
    for fold in range(self._num_folds):
      rest, left_out = self._split(fold)
      scores = self._scores(prior, fold)
      for index, found in enumerate(self._ridge(kind, rest, scores, strengths)):
        errors[index].append(own_models.errors(rest, left_out, found.weights.T))
      self._tick()
    return [
        _Candidate(
            kind=kind,
            prior=prior,
            strength=strength,
            lam=None,
            errors=self._average(some),
            by_fold=self._shares(np.stack(some)),
        )
        for strength, some in zip(strengths, errors)
    ]

  def _ridge(self, kind: str, models: own_models.Models, scores, strengths):
    """Solutions at several strengths."""
    features = None
    if kind == 'plain':
      mean = np.zeros((models.masks.shape[1], models.outcomes.shape[1]))
      variance = np.ones_like(mean)
    else:
      mean = own_models.offset(models, scores)
      variance = _prior_variance(scores, self._covariance.floor)
    if kind == 'correlated':
      share = self._covariance.correlation
      variance = (1 - share) * variance
      features = np.sqrt(share / (1 - share)) * _directions(scores)
    return general_ridge.path(
        models.masks,
        models.outcomes,
        mean,
        variance,
        [strength * models.unit() for strength in strengths],
        features=features,
        own_ids=models.own_ids,
        tol=self._tol,
    )

  def _lasso(self, kind: str, prior: int) -> _Candidate:
    """A LASSO, weighted and around the scores or plain; each target's lam."""
    lams = self._grid(kind, prior)
    errors = []
    for fold in range(self._num_folds):
      rest, left_out = self._split(fold)
      mean, factor = self._around(kind, prior, fold, rest)
      errors.append(
          own_models.val_errors(
              rest.minus(mean),
              left_out.minus(mean),
              factor=factor,
              lams=lams,
              tol=self._tol,
          )
      )
      self._tick()
    by_fold = np.stack(errors)
    # Each target's own lowest error is too low to be compared with others: what
    # it would have been at one index for all is not.
    shares = self._shares(by_fold)
    index = np.average(shares, axis=0, weights=self._sizes).argmin()
    mean = self._average(errors)
    kept, columns = mean.argmin(axis=0), np.arange(mean.shape[1])
    return _Candidate(
        kind=kind,
        prior=prior,
        strength=np.nan,
        lam=lams[kept, columns],
        errors=mean[kept, columns],
        by_fold=shares[:, index],
    )

  def _around(self, kind, prior, fold, models):
    """Offset and factors of a LASSO; (0, None) for the plain one."""
    if kind == 'lasso':
      return np.zeros((1, 1)), None
    scores = self._scores(prior, fold)
    factor = 1 / _prior_variance(scores, self._covariance.floor)
    return own_models.offset(models, scores), factor

  def _grid(self, kind, prior) -> np.ndarray:
    """Penalties [num_lams, num_targets] of all models' problem."""
    mean, factor = self._around(kind, prior, None, self._models)
    models = self._models.minus(mean)
    centred = models.centred(models.outcomes)
    cross = models.masks.T.astype(np.float32) @ centred
    if models.own_ids is None:
      cross, spread = cross / len(models.masks), centred.var(axis=0)
    else:
      cross, spread = cross / models.counts[None], models.variance()
    largest = penalties.largest(cross.astype(np.float64), spread, factor)
    return penalties.grid(largest, num_lams=_NUM_LAMS, min_ratio=_MIN_RATIO)

  def fit(self, best: _Candidate):
    """Weights, bias, lam and gap of a candidate on all models."""
    models = self._models
    if best.kind in _RIDGES:
      scores = self._scores(best.prior, None)
      (found,) = self._ridge(best.kind, models, scores, (best.strength,))
      weights, gap = found.weights.T, found.gap
      lam = np.full(len(gap), best.strength * models.unit())
    else:
      mean, factor = self._around(best.kind, best.prior, None, models)
      result = own_models.path(
          models.minus(mean),
          factor=factor,
          lams=np.asarray(best.lam)[None],
          tol=self._tol,
      )
      weights, lam, gap = result.weights + mean, result.lam, result.gap
    # What no mask tells of is 0, whatever the scores say.
    held = models.held
    weights = np.where((held > 0) & (held < 1), weights, 0)
    bias = models.mean(models.outcomes) - models.mean_predicted(weights)
    return weights, bias, lam, gap


def _like(by_fold: np.ndarray, errors: np.ndarray) -> np.ndarray:
  """[num_folds, num_targets] in the shape [num_folds, ..., num_targets]."""
  middle = (1,) * (errors.ndim - 2)
  shape = (len(by_fold), *middle, by_fold.shape[1])
  return np.broadcast_to(by_fold.reshape(shape), errors.shape)


def _directions(scores: np.ndarray) -> np.ndarray:
  """Of each example's scores over targets, unit length.

  Targets count alike, whatever their scale. Of many targets a random projection
  keeps the cosines to 3 % or so.

  Args:
    scores: `[num_train, num_targets]`.

  Returns:
    `[num_train, num_targets or less]`.
  """
  sizes = np.abs(scores).mean(axis=0)
  scaled = scores / np.where(sizes > 0, sizes, 1)[None]
  num_targets = scores.shape[1]
  if num_targets > _MOST_DIRECTIONS:
    shape = num_targets, _MOST_DIRECTIONS
    scaled = scaled @ np.random.default_rng(0).standard_normal(shape)
  lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
  return scaled / np.where(lengths > 0, lengths, 1)


def _prior_variance(scores: np.ndarray, floor: float) -> np.ndarray:
  """Prior variances of mean 1 [num_train, num_targets]."""
  sizes = np.abs(scores)
  mean = sizes.mean(axis=0)
  sizes = sizes / np.where(mean > 0, mean, 1)[None] + floor
  return sizes / sizes.mean(axis=0)[None]
