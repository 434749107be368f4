"""What if a whole group of training examples had not been there?

A group is any list of training rows: a class, a cluster, what one source gave.
One removal is felt by every target, so each group is one prediction a target.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm.analysis import interventions

_WHO = 'group_removal'


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GroupRemoval:
  """Predicted and observed effects of removing groups.

  Attributes:
    names: of the groups.
    sizes: int `[num_groups]`, examples in each.
    target_ids: int `[num_targets]`, columns of the datamodels.
    predicted: `[num_groups, num_targets]`, minus the sum of the group's
      weights, in outcome units; negative where removal hurts.
    observed: same shape, mean change over retrainings; None if only predicted.
    interval: `[2, num_groups, num_targets]`, 95 % interval of `observed`; None
      with fewer than two retrainings.
    control: `[num_targets]`, mean outcome of training on everything; or None.
    agreement: over the targets of each group by its name, and over all pairs as
      'all'; empty if only predicted.
    agreement_of_means: over groups, of the mean change over targets; or None.
    replicates: retrainings of each.
    num_retrained: models trained in all, controls included.
  """

  names: tuple[str, ...]
  sizes: np.ndarray
  target_ids: np.ndarray
  predicted: np.ndarray
  observed: np.ndarray | None = None
  interval: np.ndarray | None = None
  control: np.ndarray | None = None
  agreement: dict[str, effects.Agreement] = dataclasses.field(
      default_factory=dict
  )
  agreement_of_means: effects.Agreement | None = None
  replicates: int = 0
  num_retrained: int = 0

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values; of the pairs, the means."""
    values = effects.to_json(self)
    for name in ('predicted', 'observed', 'interval'):
      del values[name]
    values['mean_predicted'] = self.predicted.mean(axis=1).tolist()
    if self.observed is not None:
      means = effects.mean(self.observed.T)
      values['mean_observed'] = means.tolist()
    return values


def group_removal(
    datamodels: datamodels_lib.Datamodels,
    groups: Mapping[str, Sequence[int] | np.ndarray],
    *,
    target_ids: Sequence[int] | np.ndarray | None = None,
    labels: np.ndarray | None = None,
    batch_size: int = 1,
    retrain: effects.Retrain | None = None,
    replicates: int = 20,
    control_replicates: int = 20,
) -> GroupRemoval:
  """Removes groups from the full training set; predicts and retrains.

  Args:
    datamodels: fitted at some alpha.
    groups: train rows of each, by name; groups may overlap.
    target_ids: columns of the datamodels to report; all by default.
    labels: int `[num_train]`. With them, a removal that leaves a class empty is
      refused; leave them out to remove whole classes.
    batch_size: a removal that leaves fewer examples is refused.
    retrain: see `effects.Retrain`; None predicts only.
    replicates: retrainings of each; at least two for intervals.
    control_replicates: trainings on the full set.

  Raises:
    ValueError: on groups or targets that are empty, repeated or out of range,
      on removals that cannot be trained on, or if `retrain` returns another
      shape. It names the group.
  """
  num_train, num_targets = datamodels.num_train, datamodels.num_targets
  ids = np.arange(num_targets) if target_ids is None else target_ids
  ids = interventions.check_ids(_WHO, 'target_ids', ids, num_targets)
  if not groups:
    raise ValueError(f'`{_WHO}` expects at least one group, got none.')
  if labels is not None and np.shape(labels) != (num_train,):
    raise ValueError(
        f'`{_WHO}` expects labels [{num_train}], got {list(np.shape(labels))}.'
    )
  masks = np.ones((len(groups), num_train), bool)
  for number, (name, rows) in enumerate(groups.items()):
    group = f'ids of group {name!r}'
    masks[number, interventions.check_ids(_WHO, group, rows, num_train)] = False
    one = interventions.Trials(
        masks=masks[number : number + 1], targets=np.zeros(1, np.int64)
    )
    who = f'{_WHO}: group {name!r}'
    interventions.check_trainable(
        who, one, batch_size=batch_size, labels=labels
    )
  weights = np.asarray(datamodels.weights, np.float64)[:, ids]
  result = GroupRemoval(
      names=tuple(groups),
      sizes=np.sum(~masks, axis=1),
      target_ids=ids,
      predicted=-(~masks).astype(np.float64) @ weights,
  )
  if retrain is None:
    return result
  effects.check_replicates(
      _WHO, replicates=replicates, control_replicates=control_replicates
  )
  everything = np.ones((1, num_train), bool)
  control = effects.retrained(
      _WHO, retrain, everything, control_replicates, num_targets
  )[:, 0, ids]
  own = effects.retrained(_WHO, retrain, masks, replicates, num_targets)
  own = own[:, :, ids]
  return dataclasses.replace(
      result,
      observed=effects.change(own, control),
      interval=effects.interval(own, control),
      control=effects.mean(control),
      replicates=replicates,
      num_retrained=len(masks) * replicates + control_replicates,
      **_agreements(result, own, control),
  )


def _agreements(result: GroupRemoval, own, control) -> dict[str, Any]:
  observed = effects.change(own, control)
  nothing = np.full(observed.shape, np.nan)
  first, second = effects.halves(own, control) or (nothing, nothing)
  by_name = {
      name: effects.agreement(
          result.predicted[number],
          observed[number],
          effects.split_half_ceiling(first[number], second[number]),
      )
      for number, name in enumerate(result.names)
  }
  by_name['all'] = effects.agreement(
      result.predicted, observed, effects.split_half_ceiling(first, second)
  )
  return {
      'agreement': by_name,
      'agreement_of_means': effects.agreement(
          result.predicted.mean(axis=1),
          effects.mean(observed.T),
          effects.split_half_ceiling(
              effects.mean(first.T), effects.mean(second.T)
          ),
      ),
  }
