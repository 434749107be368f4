"""What would models say had they never seen some examples? Compared with truth.

Deleting a forget set is predicted without training: the outcomes of models
trained on everything are shifted by minus the sum of its weights. The
distribution over models is compared with that of models trained without the
forget set, beside doing nothing and beside the best that is possible.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm import intervals
from jdm.analysis import interventions

_WHO = 'unlearning'
METHODS = ('nothing', 'predicted', 'observed mean', 'floor')
# Twenty models a half are the fewest that a histogram makes sense of.
MIN_REPLICATES = 40
_LEAST_SHARE = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Distance:
  """KLoM of one method, over the targets of one group.

  Attributes:
    mean: over targets, nats.
    interval: 95 % bootstrap of `mean` over targets; NaN with one target.
    median: over targets.
    percentile_95: over targets.
  """

  mean: float
  interval: tuple[float, float]
  median: float
  percentile_95: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Unlearning:
  """Predicted and true outcomes after deletion.

  Attributes:
    forget: by forget set, int train rows.
    groups: by forget set, by group ('test', or 'forget' and 'retain' for train
      targets), int columns of the datamodels.
    predicted: by forget set, `[num_targets]`, predicted change of the mean
      outcome by deleting the set, in outcome units.
    observed: the same, retrained without the set minus trained on everything;
      empty without retraining, as are all that follow.
    agreement: by forget set and group, of predicted with observed mean changes
      over targets; with the ceiling of two halves of all models.
    rms_change: by forget set and group, root mean squared observed change: the
      RMSE of predicting none.
    klom: by forget set, group and method, see `unlearning`.
    shown: by forget set, outcomes of the target with the largest observed
      change: its column under 'target', and by 'nothing', 'predicted',
      'retrained', the numbers of all models.
    num_bins: of the histograms.
    replicates: models trained on everything, and without each set.
    num_retrained: models trained in all.
  """

  forget: Mapping[str, np.ndarray]
  groups: Mapping[str, Mapping[str, np.ndarray]]
  predicted: Mapping[str, np.ndarray]
  observed: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  agreement: Mapping[str, Mapping[str, effects.Agreement]] = dataclasses.field(
      default_factory=dict
  )
  rms_change: Mapping[str, Mapping[str, float]] = dataclasses.field(
      default_factory=dict
  )
  klom: Mapping[str, Mapping[str, Mapping[str, Distance]]] = dataclasses.field(
      default_factory=dict
  )
  shown: Mapping[str, Mapping[str, Any]] = dataclasses.field(
      default_factory=dict
  )
  num_bins: int = 0
  replicates: int = 0
  num_retrained: int = 0

  def to_json(self) -> dict[str, Any]:
    """The numbers; groups as their sizes, without outcomes of single models."""
    names = [field.name for field in dataclasses.fields(self)]
    values = {name: getattr(self, name) for name in names if name != 'shown'}
    values['groups'] = {
        name: {group: len(columns) for group, columns in own.items()}
        for name, own in self.groups.items()
    }
    return effects.to_json(values)


def unlearning(
    datamodels: datamodels_lib.Datamodels,
    forget: Mapping[str, Sequence[int] | np.ndarray],
    *,
    own_effects: np.ndarray | None = None,
    retrain: effects.Retrain | None = None,
    replicates: int = 200,
    num_bins: int | None = None,
    batch_size: int = 1,
    train_labels: np.ndarray | None = None,
    num_classes: int = 0,
    seed: int = 0,
) -> Unlearning:
  """Predicts outcomes after deleting forget sets, and compares with retraining.

  The distance of two populations of models is the KLoM (see `klom`), by target.
  Half of the models trained on everything (F1, F2) and half of those trained
  without the forget set (R1, R2) are compared, so that all histograms are of
  the same number of models:

  - 'nothing': F1 with R1, F2 with R2;
  - 'predicted': the same after the predicted shift;
  - 'observed mean': F1 shifted by mean(R2) - mean(F2) with R1, and F2 likewise:
    the best that any shift of the mean could do;
  - 'floor': R2 with R1, R1 with R2: retraining itself.

  Args:
    datamodels: of test targets; or of train targets (the outcome ends in
      `_train`), whose weights are of other examples.
    forget: by name, train rows to delete.
    own_effects: `[num_targets]`, for train targets, what training on the target
      itself changes in its outcome (`memorization`); without it, targets in the
      forget set are shifted for the others in the set alone.
    retrain: see `effects.Retrain`, of the same outcome and targets; None
      predicts only.
    replicates: models trained on everything and without each set; at least 40,
      better 200.
    num_bins: of the histograms; by default one for 5 models of a half, from 4
      to 20.
    batch_size: the fewest examples that can be trained on.
    train_labels: int `[num_train]`; every class must keep an example.
    num_classes: of `train_labels`.
    seed: of the bootstrap over targets.

  Raises:
    ValueError: on rows out of range or repeated, too few replicates, or a
      forget set that leaves nothing to train on.

  References:
    Georgiev et al., `Attribute-to-Delete <https://arxiv.org/abs/2410.23232>`_,
    2025, §3 and E.1, there with 100 models and 20 bins.
  """
  num_train, num_targets = datamodels.num_train, datamodels.num_targets
  rows = {
      name: interventions.check_ids(
          _WHO, f'forget set {name!r}', ids, num_train
      )
      for name, ids in forget.items()
  }
  if not rows:
    raise ValueError(f'`{_WHO}` needs at least one forget set.')
  result = Unlearning(
      forget=rows,
      groups={name: _groups(datamodels, ids) for name, ids in rows.items()},
      predicted={
          name: predicted_change(datamodels, ids, own_effects)
          for name, ids in rows.items()
      },
  )
  if retrain is None:
    return result
  if replicates < MIN_REPLICATES:
    raise ValueError(
        f'`{_WHO}` compares histograms of half of the models, which takes at'
        f' least {MIN_REPLICATES} replicates (better 200), got {replicates};'
        ' pass `retrain=None` to predict only.'
    )
  bins = min(max(replicates // 10, 4), 20) if num_bins is None else num_bins
  masks = np.ones((len(rows) + 1, num_train), bool)
  for number, ids in enumerate(rows.values()):
    masks[number + 1, ids] = False
  effects.check_masks_trainable(
      f'{_WHO} of {list(rows)}',
      masks[1:],
      batch_size=batch_size,
      labels=train_labels,
      num_classes=num_classes,
  )
  outcomes = effects.retrained(_WHO, retrain, masks, replicates, num_targets)
  outcomes = outcomes[np.isfinite(outcomes).all(axis=(1, 2))]
  if len(outcomes) < MIN_REPLICATES:
    raise ValueError(
        f'`{_WHO}`: only {len(outcomes)} of {replicates} replicates did not'
        f' diverge; {MIN_REPLICATES} are needed.'
    )
  return _compared(result, outcomes, bins, len(masks) * replicates, seed)


def predicted_change(
    datamodels: datamodels_lib.Datamodels,
    forget: np.ndarray,
    own_effects: np.ndarray | None = None,
) -> np.ndarray:
  """Predicts what deleting examples changes: minus the sum of their weights.

  Args:
    datamodels: see `unlearning`.
    forget: train rows.
    own_effects: `[num_targets]`, for targets that are train examples; taken off
      for those in `forget`.

  Returns:
    float64 `[num_targets]`, in outcome units.

  Raises:
    ValueError: if `own_effects` has another shape or the targets are no train
      examples.
  """
  weights = np.asarray(datamodels.weights)[forget]
  change = -weights.sum(axis=0, dtype=np.float64)
  if own_effects is None:
    return change
  if not _of_train(datamodels) or np.shape(own_effects) != change.shape:
    raise ValueError(
        f'`{_WHO}` expects own_effects [{len(change)}] and only for datamodels'
        f' of train targets, got shape {list(np.shape(own_effects))} for'
        f' outcome {datamodels.outcome!r}.'
    )
  return change - np.where(
      np.isin(datamodels.target_ids, forget), own_effects, 0
  )


def klom(
    unlearned: np.ndarray, retrained: np.ndarray, *, num_bins: int = 20
) -> np.ndarray:
  """KL divergence of margins between two populations of models, by target.

  The sum over bins of p log(p / q), p the share of the unlearned models in the
  bin and q that of the retrained ones, at least 1e-5. All bins but two are
  equally wide and span the retrained models; the outer two are open. So the bins
  of a target are the same whatever is compared, and as fine as retraining
  varies; the original takes the range of both populations.

  Args:
    unlearned: `[num_models, num_targets]`, margins.
    retrained: the same of models trained without the forget set.
    num_bins: at least 3.

  Returns:
    `[num_targets]`, nats; from 0 to log(1e5) = 11.5.

  Raises:
    ValueError: on shapes that do not fit, or too few bins.

  References:
    Georgiev et al., `Attribute-to-Delete <https://arxiv.org/abs/2410.23232>`_,
    2025, E.1.
  """
  arrays = [np.asarray(a, np.float64) for a in (unlearned, retrained)]
  if any(a.ndim != 2 or a.shape[1] != arrays[0].shape[1] for a in arrays):
    raise ValueError(
        '`klom` expects outcomes of shape [num_models, num_targets], got'
        f' {[a.shape for a in arrays]}.'
    )
  if num_bins < 3:
    raise ValueError(f'`klom` expects at least 3 bins, got {num_bins}.')
  low, high = arrays[1].min(axis=0), arrays[1].max(axis=0)
  shares = [_shares(a, low, high, num_bins) for a in arrays]
  p, q = shares[0], np.maximum(shares[1], _LEAST_SHARE)
  return np.sum(p * np.log(np.where(p > 0, p, 1) / q), axis=1)


def _shares(values, low, high, num_bins) -> np.ndarray:
  """Share of models in each bin, `[num_targets, num_bins]`."""
  width = np.where(high > low, high - low, 1)  # Equal ones fill one bin.
  place = np.floor((values - low[None]) / width[None] * (num_bins - 2))
  # The highest belongs to the last bin that is not open.
  inside = values <= high[None]
  place = np.where(inside, np.minimum(place, num_bins - 3), num_bins - 2)
  place = np.clip(place, -1, num_bins - 2).astype(np.int64) + 1
  num_targets = values.shape[1]
  flat = place + np.arange(num_targets)[None] * num_bins
  counts = np.bincount(flat.ravel(), minlength=num_targets * num_bins)
  return counts.reshape(num_targets, num_bins) / len(values)


def _compared(result, outcomes, num_bins, num_retrained, seed) -> Unlearning:
  """Adds all comparisons; outcomes are `[replicates, 1 + sets, targets]`."""
  full = outcomes[:, 0]
  found: dict[str, dict[str, Any]] = {
      name: {}
      for name in ('observed', 'agreement', 'rms_change', 'klom', 'shown')
  }
  for number, name in enumerate(result.forget):
    after, shift = outcomes[:, number + 1], result.predicted[name]
    observed = effects.change(after, full)
    parts = effects.halves(after, full)
    assert parts is not None  # There are replicates enough.
    distances = _distances(full, after, shift, num_bins)
    groups = result.groups[name]
    found['observed'][name] = observed
    found['agreement'][name] = {
        group: effects.agreement(
            shift[ids],
            observed[ids],
            effects.split_half_ceiling(parts[0][ids], parts[1][ids]),
        )
        for group, ids in groups.items()
    }
    found['rms_change'][name] = {
        group: float(np.sqrt(np.mean(observed[ids] ** 2)))
        for group, ids in groups.items()
    }
    found['klom'][name] = {
        group: {
            method: _distance(values[ids], seed)
            for method, values in distances.items()
        }
        for group, ids in groups.items()
    }
    shown = int(np.argmax(np.abs(observed)))
    found['shown'][name] = {
        'target': shown,
        'nothing': full[:, shown],
        'predicted': full[:, shown] + shift[shown],
        'retrained': after[:, shown],
    }
  return dataclasses.replace(
      result,
      **found,
      num_bins=num_bins,
      replicates=len(outcomes),
      num_retrained=num_retrained,
  )


def _distances(full, after, shift, num_bins) -> dict[str, np.ndarray]:
  """KLoM by method, `[num_targets]`, mean over the two pairs of halves."""
  size = len(full) // 2  # Of an odd number, one is left out.
  kept, truth = [full[:size], full[size : 2 * size]], [
      after[:size],
      after[size : 2 * size],
  ]
  found: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
  for own, other in ((0, 1), (1, 0)):
    mean_change = effects.change(truth[other], kept[other])
    unlearned = {
        'nothing': kept[own],
        'predicted': kept[own] + shift[None],
        'observed mean': kept[own] + mean_change[None],
        'floor': truth[other],
    }
    for method, values in unlearned.items():
      found[method].append(klom(values, truth[own], num_bins=num_bins))
  return {method: np.mean(values, axis=0) for method, values in found.items()}


def _distance(values: np.ndarray, seed: int) -> Distance:
  interval = (float('nan'), float('nan'))
  if len(values) > 1:
    interval = intervals.bootstrap_interval(values, seed=seed)
  return Distance(
      mean=float(values.mean()),
      interval=interval,
      median=float(np.median(values)),
      percentile_95=float(np.quantile(values, 0.95)),
  )


def _groups(datamodels, forget) -> dict[str, np.ndarray]:
  """Columns of the datamodels by group; no empty ones."""
  if not _of_train(datamodels):
    return {'test': np.arange(datamodels.num_targets)}
  forgotten = np.isin(np.asarray(datamodels.target_ids), forget)
  groups = {
      'forget': np.flatnonzero(forgotten),
      'retain': np.flatnonzero(~forgotten),
  }
  return {name: ids for name, ids in groups.items() if ids.size}


def _of_train(datamodels) -> bool:
  return datamodels.outcome.endswith('_train')
