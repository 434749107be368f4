"""Unlearning: outcomes after deleting examples, predicted and retrained.

Test targets always; train targets (of the forget set, and of what is retained)
where WORKDIR/datamodels_lasso_train.npz exists, at the price of training again
what was trained for the test targets.
"""

from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from experiments.applications import selection
from jdm import datamodels as datamodels_lib
from jdm.analysis import likeness
from jdm.applications import unlearning as lib
from jdm.reports import unlearning_plots

_SHARE = flags.DEFINE_float(
    'unlearning_share', 0.05, 'Share of the training set in a forget set.'
)
_FORGET = flags.DEFINE_string(
    'unlearning_forget', None, 'File (.npy, or text) of train rows to forget.'
)
_TRAIN = flags.DEFINE_bool(
    'unlearning_train', True, 'Whether to look at train targets, too.'
)
_REPLICATES, _HELPED = 200, 5


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings at most: everything, and without each set; twice with train."""
  _check(job)
  sets = 3 + (_FORGET.value is not None)
  kinds = 1 + _looks_at_train(job)
  return kinds * (sets + 1) * (job.replicates or _REPLICATES)


def run(job: job_lib.Job) -> job_lib.Findings:
  """Predicts, retrains and compares."""
  _check(job)
  limits = [
      'A shift moves every model alike: what deletion does to the spread over'
      ' models is not predicted.'
  ]
  fitted = job.datamodels()
  forget = _forget_sets(job, fitted)
  found = {'test': _unlearning(job, fitted, forget)}
  if _looks_at_train(job):
    of_train = job.datamodels('train')
    found['train'] = _unlearning(
        job, of_train, forget, _own_effects(job, of_train, limits)
    )
  elif _TRAIN.value:
    limits.append(
        'Targets in the forget set are not looked at: they take outcomes of'
        ' train targets (collect with --targets=test,train) and'
        ' experiments.fit_datamodels --targets=train.'
    )
  figures = {}
  for targets, one in found.items():
    outcome = fitted.outcome
    figures |= {
        f'distances {targets}': unlearning_plots.klom_bars(one),
        f'changes {targets}': unlearning_plots.change_scatter(
            one, outcome=outcome
        ),
        f'distributions {targets}': unlearning_plots.outcome_histograms(
            one, outcome=outcome
        ),
    }
  return job_lib.Findings(
      result={
          'outcome': fitted.outcome,
          **{targets: one.to_json() for targets, one in found.items()},
      },
      table=_table(found),
      lead=_lead(found['test']),
      figures=figures,
      limits=limits,
  )


def _check(job: job_lib.Job) -> None:
  if not 0 < _SHARE.value < 1:
    raise ValueError(
        f'--unlearning_share is between 0 and 1, got {_SHARE.value}'
    )
  replicates = job.replicates or _REPLICATES
  if replicates < lib.MIN_REPLICATES:
    raise ValueError(
        'unlearning compares histograms over models: --replicates must be at'
        f' least {lib.MIN_REPLICATES} (better {_REPLICATES}), got {replicates}'
    )


def _looks_at_train(job: job_lib.Job) -> bool:
  return _TRAIN.value and job.has_datamodels('train')


def _unlearning(
    job: job_lib.Job,
    fitted: datamodels_lib.Datamodels,
    forget: dict[str, np.ndarray],
    own_effects: np.ndarray | None = None,
) -> lib.Unlearning:
  targets = 'train' if fitted.outcome.endswith('_train') else 'test'
  classes = job.dataset.num_classes
  return lib.unlearning(
      fitted,
      forget,
      own_effects=own_effects,
      retrain=job.retrain(
          fitted.outcome.removesuffix('_train'), targets=targets
      ),
      replicates=job.replicates or _REPLICATES,
      batch_size=job.pool.trainer.min_subset_size,
      train_labels=job.dataset.train.labels if classes else None,
      num_classes=classes,
      seed=job.seed,
  )


def _forget_sets(
    job: job_lib.Job, fitted: datamodels_lib.Datamodels
) -> dict[str, np.ndarray]:
  """At random; alike and of one class; helpful to some targets; one's own."""
  train, rng = job.dataset.train, np.random.default_rng(job.seed)
  size = max(round(_SHARE.value * len(train)), 1)
  forget = {'random': np.sort(rng.permutation(len(train))[:size])}
  anchor = int(rng.integers(len(train)))
  members = np.arange(len(train))
  if job.dataset.num_classes:
    members = np.flatnonzero(train.labels == train.labels[anchor])
  near = likeness.negative_distance(
      train.inputs[members], train.inputs[anchor : anchor + 1]
  )[:, 0]
  # A class is not emptied, however small.
  count = min(size, len(members) - 1)
  nearest = np.argsort(-near, kind='stable')[:count]
  forget['alike, one class'] = np.sort(members[nearest])
  helped = rng.permutation(fitted.num_targets)[:_HELPED]
  weights = np.asarray(fitted.weights)[:, helped].mean(axis=1)
  order = np.argsort(-weights, kind='stable')[:size]
  forget[f'helpful to {len(helped)} targets'] = np.sort(order)
  if _FORGET.value is not None:
    forget['given'] = selection.read_rows(_FORGET.value)
  return forget


def _own_effects(
    job: job_lib.Job,
    fitted: datamodels_lib.Datamodels,
    limits: list[str],
) -> np.ndarray:
  """What training on a train target changes in its own outcome, `[num]`."""
  outcomes = job.outcomes(fitted.outcome.removesuffix('_train'), 'train')
  ids = np.asarray(fitted.target_ids)
  held = job.masks()[:, ids]
  limits.append(
      'For targets in the forget set, the effect of training on the target'
      ' itself is its difference of means over the pool, added to the weights'
      ' of the others.'
  )
  num_held, total = held.sum(axis=0), outcomes.sum(axis=0, dtype=np.float64)
  inside = np.where(held, outcomes, 0).sum(axis=0, dtype=np.float64)
  # A target that all models hold, or none, has no effect that could be known.
  known = (num_held > 0) & (num_held < len(held))
  own = inside / np.maximum(num_held, 1)
  own -= (total - inside) / np.maximum(len(held) - num_held, 1)
  return np.where(known, own, 0.0)


def _table(found: dict[str, lib.Unlearning]) -> dict[str, Any]:
  table: dict[str, Any] = {}
  for one in found.values():
    for name, groups in one.klom.items():
      for group, distances in groups.items():
        where = f'{name}, {group}'
        agreement = one.agreement[name][group]
        table[f'{where}: change of means'] = (
            f'Spearman {agreement.spearman:.3f} (ceiling'
            f' {agreement.ceiling:.3f}), slope {agreement.slope:.2f}, RMSE'
            f' {np.sqrt(agreement.mse):.3g} of {one.rms_change[name][group]:.3g}'
        )
        for method, distance in distances.items():
          low, high = distance.interval
          table[f'{where}: KLoM, {method}'] = (
              f'{distance.mean:.3f} [{low:.3f}, {high:.3f}], median'
              f' {distance.median:.3f}, 95th percentile'
              f' {distance.percentile_95:.3f}'
          )
  table['models retrained'] = sum(one.num_retrained for one in found.values())
  return table


def _lead(one: lib.Unlearning) -> str:
  sizes = ', '.join(f'{name}: {len(ids)}' for name, ids in one.forget.items())
  return (
      f'Some training examples are deleted ({sizes}). Outcomes of the'
      f' {one.replicates} models trained on everything, shifted by minus the sum'
      ' of the weights of what was deleted, are compared with those of as many'
      ' models trained without it: the KL divergence between their histograms'
      f' ({one.num_bins} bins), mean over targets, in nats; lower is better.'
      ' Beside it: doing nothing, shifting by the true change of the mean, and'
      ' the floor, retrained models against others of their kind.'
  )
