"""How well datamodels predict models that no fit has seen."""

import dataclasses
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
  """Scores on held-out models; targets are columns.

  Attributes:
    lds: linear datamodeling score against single trainings, with interval.
    noise_ceiling: the highest LDS that the noise of training allows; None
      without a second training of the same subsets.
    mse: squared outcome units, mean over targets and per target.
    r2: share of the variance of each target's outcomes, mean and per target.
    pearson: `[num_targets]`.
    pooled_spearman: over all pairs of model and target; most of it is that
      targets differ in their mean, so it is no LDS.
    num_heldout: held-out subsets.
    num_fit: models that the datamodels were fitted to or chosen by.
    predictions: `[num_heldout, num_targets]`, outcome units.
    outcomes: `[num_heldout, num_targets]`, what was predicted.
    where: bool `[num_heldout, num_targets]`, the entries that were scored: the
      models that did not train on the target; None for all.
  """

  lds: metrics.LDS
  noise_ceiling: metrics.NoiseCeiling | None
  mse: metrics.Scores
  r2: metrics.Scores
  pearson: np.ndarray
  pooled_spearman: float
  num_heldout: int
  num_fit: int
  predictions: np.ndarray
  outcomes: np.ndarray
  where: np.ndarray | None = None

  def to_json(self) -> dict[str, Any]:
    """The scalars under the names of `evaluation.json`; None is unknown."""
    ceiling = self.noise_ceiling
    return {
        'lds': self.lds.value,
        'lds_interval': list(self.lds.interval),
        'lds_num_undefined': self.lds.num_undefined,
        'noise_ceiling': None if ceiling is None else ceiling.value,
        'noise_ceiling_interval': (
            None if ceiling is None else list(ceiling.interval)
        ),
        'noise_ceiling_clipped': None if ceiling is None else ceiling.clipped,
        'mse': self.mse.value,
        'r2': self.r2.value,
        'pearson': float(np.mean(np.nan_to_num(self.pearson))),
        'pooled_spearman': self.pooled_spearman,
        'num_heldout': self.num_heldout,
        'num_fit': self.num_fit,
        'num_targets': self.lds.num_targets,
    }


def evaluate(
    datamodels: datamodels_lib.Datamodels,
    masks: np.ndarray,
    outcomes: np.ndarray,
    *,
    heldout_ids: np.ndarray,
    own_ids: np.ndarray | None = None,
    average: bool = False,
    seed: int = 0,
) -> Evaluation:
  """Compares predictions with the outcomes of held-out models.

  Args:
    datamodels: fitted, for the same targets.
    masks: bool `[num_heldout, num_train]` or `subsets.PackedMasks`.
    outcomes: `[replicates, num_heldout, num_targets]`: replicates of one row
      trained on the same subset. The first is predicted; the second, if there
      is one, gives the noise ceiling.
    heldout_ids: int `[num_heldout]`, ids of the held-out models.
    own_ids: int `[num_targets]`, the column of `masks` that is the target
      itself, -1 for none, as from `datamodels.own_ids`. A target is then scored
      on the held-out models that did not train on it; it needs three or more.
    average: predicts the mean of all replicates, and raises the ceiling
      accordingly (Spearman-Brown).
    seed: of the bootstrap.

  Returns:
    The scores.

  Raises:
    ValueError: if a held-out model is among those the datamodels were fitted
      or selected by (as far as `fit_ids` and `val_ids` name them), a target has
      too few models that did not train on it, or shapes disagree.

  References:
    LDS: Park et al., TRAK (2023), section 2.2.
  """
  masks, outcomes = np.asarray(masks), np.asarray(outcomes)
  _check(masks, outcomes, heldout_ids)
  num_fit = _check_unseen(datamodels, heldout_ids)
  predictions = np.asarray(datamodels_lib.predict(datamodels, masks))
  where = None
  if own_ids is not None:
    where = _not_trained_on(masks, own_ids, datamodels.num_targets)
  observed = outcomes.mean(axis=0) if average else outcomes[0]
  ceiling = None
  if len(outcomes) > 1:
    ceiling = metrics.noise_ceiling(
        outcomes[0],
        outcomes[1],
        where=where,
        num_replicates=len(outcomes) if average else 1,
        seed=seed,
    )
  pair = predictions, observed
  return Evaluation(
      lds=metrics.lds(*pair, where=where, seed=seed),
      noise_ceiling=ceiling,
      mse=metrics.mse(*pair, where=where),
      r2=metrics.r2(*pair, where=where),
      pearson=metrics.pearson(*pair, where=where),
      pooled_spearman=metrics.pooled_spearman(*pair, where=where),
      num_heldout=len(masks),
      num_fit=num_fit,
      predictions=predictions,
      outcomes=observed,
      where=where,
  )


def _check(masks, outcomes, heldout_ids) -> None:
  """Row i of everything is about one model."""
  if outcomes.ndim != 3 or outcomes.shape[1] != len(masks):
    raise ValueError(
        '`evaluate` expects outcomes [replicates, num_heldout, num_targets] for'
        f' {len(masks)} masks, got {outcomes.shape}'
    )
  if len(heldout_ids) != len(masks):
    raise ValueError(
        f'`evaluate` expects {len(masks)} heldout_ids, got {len(heldout_ids)}'
    )


def _check_unseen(datamodels, heldout_ids) -> int:
  """Refuses models that a fit has seen; returns how many it saw."""
  seen = np.union1d(
      np.asarray(datamodels.fit_ids), np.asarray(datamodels.val_ids)
  )
  shared = np.intersect1d(seen, heldout_ids)
  if shared.size:
    raise ValueError(
        f'{shared.size} held-out models (id {shared[0]} first) were used to fit'
        ' or to choose the penalty; evaluate on models that no fit has seen'
    )
  return len(seen)


def _not_trained_on(masks, own_ids, num_targets: int) -> np.ndarray:
  """Models that did not train on a target: bool [num_heldout, num_targets]."""
  own_ids = np.asarray(own_ids)
  is_integer = np.issubdtype(own_ids.dtype, np.integer)
  if own_ids.shape != (num_targets,) or not is_integer:
    raise ValueError(
        f'`evaluate` expects own_ids to be {num_targets} integers, got'
        f' {own_ids.dtype} of shape {own_ids.shape}'
    )
  num_train = masks.shape[1]
  if own_ids.min() < -1 or own_ids.max() >= num_train:
    raise ValueError(
        f'`evaluate` expects own_ids from -1 (none) to {num_train - 1}, got'
        f' {own_ids.min()} to {own_ids.max()}'
    )
  return ~(masks[:, own_ids] & (own_ids >= 0)[None])
