"""Which outcome, which alpha, how many models: what a pool should be like.

Answers come from a pool that is there: several outcomes of the same models side
by side, regressors by number of models, and the R2 that the best linear
datamodels could reach, which is measured without fitting any.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import jax
import numpy as np

from jdm import effects
from jdm.analysis import correlated_subsets
from jdm.analysis import interventions
from jdm.analysis import learning_curves
from jdm.analysis import noise_stability
from jdm.analysis import scores as scores_lib


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PoolDesign:
  """What a pool says about outcomes, regressors and the number of models.

  Attributes:
    outcome: that curve, shares and recommendation are about.
    target_ids: int `[num_targets]`, the targets looked at.
    curve: scores by regressor and number of models.
    outcomes: one row an outcome, all models fitted by the first regressor.
    linear_share: R2 of the best linear datamodels, from all pairs of models of
      the pool; None if the sampler does not allow to tell.
    stability: the same from models on correlated subsets; None if nothing was
      retrained.
    recommendation: how many models reach 95 % of the limit of R2, by the first
      regressor's curve; the limit is `linear_share`.
    num_models_interval: of its number of models, at both ends of the interval
      of `linear_share`; NaN where an end lies below the curve.
    free_recommendation: the same with the limit fitted to the curve alone.
    num_retrained: models trained for `stability`.
  """

  outcome: str
  target_ids: np.ndarray
  curve: learning_curves.LearningCurve
  outcomes: tuple[scores_lib.Score, ...]
  linear_share: noise_stability.LinearShare | None
  stability: noise_stability.Stability | None
  recommendation: learning_curves.Recommendation
  num_models_interval: tuple[float, float]
  free_recommendation: learning_curves.Recommendation
  num_retrained: int

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self)


def pool_design(
    masks: np.ndarray,
    outcomes: Mapping[str, np.ndarray],
    heldout_masks: np.ndarray,
    heldout_outcomes: Mapping[str, np.ndarray],
    *,
    outcome: str | None = None,
    target_ids: Sequence[int] | np.ndarray | None = None,
    num_models: Sequence[int] | None = None,
    regressors: Sequence[str] = learning_curves.REGRESSORS,
    retrain: effects.Retrain | None = None,
    rhos: Sequence[float] = (0.25, 0.5),
    num_pairs: int = 300,
    bernoulli_alpha: float | None = None,
    num_bootstrap: int = 100,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PoolDesign:
  """Compares outcomes and regressors, and says how many models it takes.

  Args:
    masks: bool `[num_models, num_train]`, the pool.
    outcomes: by name, `[num_models, num_targets]`.
    heldout_masks: bool `[num_heldout, num_train]`, of models never fitted.
    heldout_outcomes: by the same names, `[replicates, num_heldout,
      num_targets]`. With two replicates there are noise ceilings, and they are
      the pairs on the same subset of `stability`.
    outcome: which of them the curves are about; the first by default.
    target_ids: columns of all outcomes; all by default.
    num_models: of the learning curve; a quarter, half and all by default.
    regressors: of the learning curve; the first fits the outcomes.
    retrain: `(masks, 1) -> [1, num_models, num_targets]` of `outcome`, to train
      the second models of the pairs; None leaves `stability` out.
    rhos: correlations of the pairs, between 0 and 1.
    num_pairs: of each correlation; the first models are the pool's.
    bernoulli_alpha: chance of an example to be in a subset, if the pool's were
      drawn example by example; None for subsets of one size.
    num_bootstrap: resamples for all intervals.
    seed: of pairs and resamples.
    progress: called with the number of fits of the learning curve done and in
      all.

  Returns:
    The comparison.

  Raises:
    ValueError: if shapes, names or options do not make sense.
  """
  name = _check(outcomes, heldout_outcomes, outcome, rhos, num_pairs)
  masks, heldout_masks = np.asarray(masks), np.asarray(heldout_masks)
  targets = _targets(target_ids, np.asarray(outcomes[name]).shape[1])
  some = {key: np.asarray(array)[:, targets] for key, array in outcomes.items()}
  heldout = {
      key: np.asarray(heldout_outcomes[key])[:, :, targets] for key in outcomes
  }
  options: Any = {'num_bootstrap': num_bootstrap, 'seed': seed}
  curve = learning_curves.learning_curve(
      masks,
      some[name],
      heldout_masks,
      heldout[name],
      num_models=num_models,
      regressors=regressors,
      progress=progress,
      **options,
  )
  rows = scores_lib.compare_outcomes(
      masks, some, heldout_masks, heldout, regressor=regressors[0], **options
  )
  share = next(row.linear_share for row in rows if row.outcome == name)
  stability, num_retrained = None, 0
  if retrain is not None:
    pairs, num_retrained = _pairs(
        masks,
        np.asarray(outcomes[name]),
        np.asarray(heldout_outcomes[name]),
        retrain,
        rhos=rhos,
        num_pairs=num_pairs,
        alpha=bernoulli_alpha,
        seed=seed,
    )
    stability = noise_stability.stability(
        {
            rho: (first[:, targets], second[:, targets])
            for rho, (first, second) in pairs.items()
        },
        seed=seed,
    )
  points = curve.num_models, curve.r2[0]
  low, high = (np.nan, np.nan) if share is None else share.interval
  return PoolDesign(
      outcome=name,
      target_ids=targets,
      curve=curve,
      outcomes=rows,
      linear_share=share,
      stability=stability,
      recommendation=learning_curves.recommend(
          *points, limit=None if share is None else share.value
      ),
      num_models_interval=(_enough(points, low), _enough(points, high)),
      free_recommendation=learning_curves.recommend(*points),
      num_retrained=num_retrained,
  )


def _enough(points, limit: float) -> float:
  """Models recommended with a limit; NaN if the curve is not below it."""
  found = learning_curves.recommend(*points, limit=limit)
  return found.num_models if found.limit_given else float('nan')


def num_trainings(
    rhos: Sequence[float], num_pairs: int, num_models: int, replicates: int
) -> int:
  """How many models the pairs take.

  Args:
    rhos: correlations.
    num_pairs: of each.
    num_models: of the pool.
    replicates: of the held-out models; with two, they are pairs already.
  """
  return min(num_pairs, num_models) * (len(rhos) + (replicates < 2))


def _check(outcomes, heldout_outcomes, outcome, rhos, num_pairs) -> str:
  """The outcome to look at most."""
  if not outcomes or set(outcomes) - set(heldout_outcomes):
    raise ValueError(
        '`pool_design` expects at least one outcome, and held-out models of'
        f' each, got {list(outcomes)} and {list(heldout_outcomes)}.'
    )
  name = next(iter(outcomes)) if outcome is None else outcome
  if name not in outcomes:
    raise ValueError(
        f'`pool_design` expects one of the outcomes {list(outcomes)}, got'
        f' {name!r}.'
    )
  if not all(0 < rho < 1 for rho in rhos) or num_pairs < 3:
    raise ValueError(
        '`pool_design` expects rhos between 0 and 1 and 3 pairs or more, got'
        f' {list(rhos)} and {num_pairs}.'
    )
  return name


def _targets(target_ids: Any, num_targets: int) -> np.ndarray:
  if target_ids is None:
    return np.arange(num_targets)
  return interventions.check_ids(
      'pool_design', 'target_ids', target_ids, num_targets
  )


def _pairs(
    masks, outcomes, heldout, retrain, *, rhos, num_pairs, alpha, seed
) -> tuple[dict[float, tuple[np.ndarray, np.ndarray]], int]:
  """Outcomes of pairs by rho, and how many models were trained for them."""
  masks, first = masks[:num_pairs], outcomes[:num_pairs]
  key = jax.random.key(seed)
  second = [
      correlated_subsets.correlated_masks(
          jax.random.fold_in(key, number), masks, rho, alpha=alpha
      )
      for number, rho in enumerate(rhos)
  ]
  same = len(heldout) < 2
  # One call: what is trained side by side costs less.
  asked = np.concatenate([*second, masks] if same else second)
  trained = effects.retrained(
      'pool_design', retrain, asked, 1, outcomes.shape[1]
  )[0]
  parts = np.split(trained, len(asked) // len(masks))
  found = {
      correlated_subsets.overlap_correlation(masks, other): (first, part)
      for other, part in zip(second, parts)
  }
  found[1.0] = (first, parts[-1]) if same else (heldout[0], heldout[1])
  finite = {}
  for rho, pair in found.items():
    kept = np.isfinite(pair).all(axis=(0, 2))  # The others diverged.
    finite[rho] = pair[0][kept], pair[1][kept]
  return finite, len(asked)
