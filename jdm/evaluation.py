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
    num_fit: models that the datamodels were fitted to.
    predictions: `[num_heldout, num_targets]`, outcome units.
    outcomes: `[num_heldout, num_targets]`, what was predicted.
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
    average: bool = False,
    seed: int = 0,
) -> Evaluation:
  """Compares predictions with the outcomes of held-out models.

  Args:
    datamodels: fitted, for the same targets.
    masks: bool `[num_heldout, num_train]`.
    outcomes: `[replicates, num_heldout, num_targets]`: replicates of one row
      trained on the same subset. The first is predicted; the second, if there
      is one, gives the noise ceiling.
    heldout_ids: `[num_heldout]`, ids of the held-out models.
    average: predicts the mean of all replicates, and raises the ceiling
      accordingly (Spearman-Brown).
    seed: of the bootstrap.

  Returns:
    The scores.

  Raises:
    ValueError: if a held-out model is among those the datamodels were fitted
      or selected by, or shapes disagree.

  References:
    LDS: Park et al., TRAK (2023), section 2.2.
  """
  outcomes = np.asarray(outcomes)
  if outcomes.ndim != 3 or outcomes.shape[1] != len(masks):
    raise ValueError(
        '`evaluate` expects outcomes [replicates, num_heldout, num_targets] for'
        f' {len(masks)} masks, got {outcomes.shape}'
    )
  if len(heldout_ids) != len(masks):
    raise ValueError(
        f'`evaluate` expects {len(masks)} heldout_ids, got {len(heldout_ids)}'
    )
  seen = np.union1d(
      np.asarray(datamodels.fit_ids), np.asarray(datamodels.val_ids)
  )
  shared = np.intersect1d(seen, heldout_ids)
  if shared.size:
    raise ValueError(
        f'{shared.size} held-out models (id {shared[0]} first) were used to fit'
        ' or to choose the penalty; evaluate on models that no fit has seen'
    )
  predictions = np.asarray(datamodels_lib.predict(datamodels, masks))
  observed = outcomes.mean(axis=0) if average else outcomes[0]
  ceiling = None
  if len(outcomes) > 1:
    ceiling = metrics.noise_ceiling(
        outcomes[0],
        outcomes[1],
        num_replicates=len(outcomes) if average else 1,
        seed=seed,
    )
  return Evaluation(
      lds=metrics.lds(predictions, observed, seed=seed),
      noise_ceiling=ceiling,
      mse=metrics.mse(predictions, observed),
      r2=metrics.r2(predictions, observed),
      pearson=metrics.pearson(predictions, observed),
      pooled_spearman=metrics.pooled_spearman(predictions, observed),
      num_heldout=len(masks),
      num_fit=len(seen),
      predictions=predictions,
      outcomes=observed,
  )
