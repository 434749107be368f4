"""What one pool's learning algorithm does and another's does not (ModelDiff).

WORKDIR holds pool A, --comparison_other pool B: the same training examples and
targets, another model, training or content. Both need their store and their
datamodels (`experiments.fit_datamodels`) of the same outcome.
"""

import dataclasses
import functools
from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from experiments.applications import ranked
from jdm.analysis import cues as cues_lib
from jdm.analysis import directions as directions_lib
from jdm.applications import comparison as comparison_lib
from jdm.datasets import dataset as dataset_lib
from jdm.reports import comparison_plots
from jdm.reports import uncertainty_plots

_OTHER = flags.DEFINE_string(
    'comparison_other', None, 'Working directory of pool B.'
)
_COMPONENTS = flags.DEFINE_integer(
    'comparison_components', 5, 'Directions to find, each way.'
)
_VERIFIED = flags.DEFINE_integer(
    'comparison_verified',
    1,
    'Directions, each way, whose ends are removed and both algorithms'
    ' retrained; 0 retrains nothing.',
)
_WORDS = {'a_minus_b': 'A without B', 'b_minus_a': 'B without A'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cue:
  """A patch that was planted in A's training set: does a direction show it?

  Attributes:
    separation: of the directions of A without B.
    effect: of the patch on test images, in A and in B.
    planted_targets: int `[num]`, test rows with the patch.
    groups: by name, bool `[num_targets]`: the patch's class, and the others.
  """

  separation: cues_lib.Separation
  effect: cues_lib.CueEffect
  planted_targets: np.ndarray
  groups: dict[str, np.ndarray]


def num_trainings(job: job_lib.Job) -> int:
  """Removals at both ends, both ways, in A and in B; told in models of A."""
  if not _VERIFIED.value:
    return 0
  return _plan(job).num_retrainings() * len(_WORDS) * 2


def _plan(job: job_lib.Job) -> directions_lib.RemovalPlan:
  defaults = directions_lib.RemovalPlan()
  dataset = job.dataset
  return directions_lib.RemovalPlan(
      num_directions=_VERIFIED.value,
      replicates=job.replicates or defaults.replicates,
      batch_size=job.store.recipe['training']['batch_size'],
      train_labels=dataset.train.labels if dataset.num_classes else None,
      seed=job.seed,
  )


def run(job: job_lib.Job) -> job_lib.Findings:
  """Compares with the pool of --comparison_other."""
  return compare(job, _other(job))


def compare(job: job_lib.Job, other: job_lib.Job) -> job_lib.Findings:
  """Compares two pools both ways and retrains; `job` is of A."""
  fitted_a, fitted_b = job.datamodels(), other.datamodels()
  comparison_lib.check_pair(fitted_a, fitted_b)
  check_datasets(job.dataset, other.dataset)
  retrain = None
  if _VERIFIED.value:
    outcome = fitted_a.outcome
    retrain = job.retrain(outcome), other.retrain(outcome)
  found = comparison_lib.comparison(
      fitted_a,
      fitted_b,
      num_components=_COMPONENTS.value,
      retrain=retrain,
      plan=_plan(job),
  )
  means = [one.outcomes(fitted_a.outcome).mean(axis=0) for one in (job, other)]
  cue = planted_cue(found, job.dataset, *means, seed=job.seed)
  limits = [
      'Directions are sets of examples; what they have in common is for a'
      ' person to say, and to test.'
  ]
  if retrain is None:
    limits.append('Nothing was retrained: directions are not checked.')
  sure, pictures = _uncertainty((job, other), found, limits)
  result = found.to_json() | {'other': other.workdir, 'cue': None}
  if cue is not None:
    result['cue'] = {
        'separation': cue.separation.to_json(),
        'effect': cue.effect.to_json(),
    }
  return job_lib.Findings(
      result=result,
      table=table(found, cue) | sure,
      lead=_lead(found, cue),
      figures=figures(found, cue, job.dataset, fitted_a.outcome) | pictures,
      limits=limits,
  )


def _uncertainty(
    jobs: tuple[job_lib.Job, job_lib.Job],
    found: comparison_lib.Comparison,
    limits: list[str],
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Says how sure the loadings are, either pool's models being resampled."""
  both = [np.asarray(one.datamodels().weights) for one in jobs]
  table, figures = {}, {}
  for name, own, other in (('a_minus_b', 0, 1), ('b_minus_a', 1, 0)):
    way = found.way(name)
    drawn = jobs[own].uncertainty(
        jobs[own].datamodels(),
        limits,
        statistic=functools.partial(_loadings, way=way, other=both[other]),
    )
    if drawn is None:
      return {}, {}
    table[f'{_WORDS[name]}, loadings'] = ranked.noise(drawn)
    figures[f'{_WORDS[name]} loadings'] = uncertainty_plots.top_weights(
        drawn, 0, label='loading on direction 1'
    )
  return table, figures


def _loadings(
    weights: np.ndarray, *, way: comparison_lib.OneWay, other: np.ndarray
) -> np.ndarray:
  return comparison_lib.loadings(way, weights, other)


def _other(job: job_lib.Job) -> job_lib.Job:
  """Pool B, whose retrainings count with those of A."""
  if not _OTHER.value:
    raise ValueError(
        'comparison needs --comparison_other=WORKDIR, the folder of pool B,'
        ' collected and fitted like pool A with another model, training or'
        ' dataset option'
    )
  other = job_lib.Job(
      _OTHER.value,
      seed=job.seed,
      replicates=job.replicates,
      num_bootstrap=job.num_bootstrap,
  )
  other.retrain_seconds = job.retrain_seconds
  return other


def check_datasets(
    first: dataset_lib.Dataset, second: dataset_lib.Dataset
) -> None:
  """Raises ValueError unless rows of both are the same examples.

  Contents may differ: that can be what the algorithms differ in.
  """
  for name in ('train', 'test'):
    splits = first.split(name), second.split(name)
    for field in ('ids', 'labels'):
      pair = [getattr(split, field) for split in splits]
      if not np.array_equal(pair[0], pair[1]):
        raise ValueError(
            f'comparison expects pools of the same {name} examples, but their'
            f' {field} differ; collect pool B with the same --dataset,'
            ' --num_train and --num_test'
        )


def planted_cue(
    found: comparison_lib.Comparison,
    dataset: dataset_lib.Dataset,
    means_a: np.ndarray,
    means_b: np.ndarray,
    *,
    seed: int = 0,
) -> Cue | None:
  """Scores the comparison by the patch planted in A; None if there is none.

  Args:
    found: the comparison.
    dataset: of A.
    means_a: `[num_targets]`, mean outcomes of the models of A.
    means_b: the same of B.
    seed: of the bootstrap.
  """
  planted = dataset.planted
  if planted is None or planted.kind != 'patch' or not len(planted.poisoned):
    return None
  patched = dataset.train.labels[planted.poisoned[0]]
  is_own = dataset.test.labels == patched
  groups = {'class of the cue': is_own, 'other classes': ~is_own}
  has_cue = np.isin(np.arange(len(is_own)), planted.triggered)
  groups = {  # An effect compares two targets with the cue and two without.
      name: members
      for name, members in groups.items()
      if min(np.sum(members & has_cue), np.sum(members & ~has_cue)) >= 2
  }
  return Cue(
      separation=cues_lib.separation(
          found.a_minus_b.directions,
          planted_train=planted.poisoned,
          planted_targets=planted.triggered,
          # The patch speaks for its class and against all others.
          signs=np.where(is_own, 1, -1),
          seed=seed,
      ),
      effect=cues_lib.cue_effect(means_a, means_b, planted.triggered, groups),
      planted_targets=planted.triggered,
      groups=groups,
  )


def table(found: comparison_lib.Comparison, cue: Cue | None) -> dict[str, Any]:
  """The summary."""
  rows: dict[str, Any] = {
      'mean cosine of A’s and B’s datamodels': found.mean_cosine
  }
  for name, words in _WORDS.items():
    way = found.way(name)
    for number in range(min(3, len(way.directions))):
      rows[f'{words}, direction {number + 1}, variance'] = (
          f'{way.directions.explained[number]:.1%} of the residuals,'
          f' {way.explained_own[number]:.2%} of its own datamodels,'
          f' {way.explained_other[number]:.2%} of the other’s'
      )
    for algorithm, removals in found.removals.get(name, {}).items():
      rows[f'{words}, + end removed, models of {algorithm.upper()}'] = (
          f'top {removals.observed[0, 0, 0]:+.2f}, bottom'
          f' {removals.observed[0, 0, 1]:+.2f}, difference'
          f' {_interval(removals.observed, removals.interval, (0, 0, 3))}'
      )
      rows[f'{words}, random removed, models of {algorithm.upper()}'] = (
          'difference'
          f' {_interval(removals.random, removals.random_interval, (0, 3))}'
      )
  if cue is None:
    return rows
  one = cue.separation
  rows['cue, AUC of loadings, direction 1'] = _with_interval(
      one.train_auc[0], one.train_interval
  )
  rows['cue, AUC of projections, direction 1'] = _with_interval(
      one.target_auc[0], one.target_interval
  )
  rows['cue, AUC of projections, other directions'] = ', '.join(
      f'{value:.3f}' for value in one.target_auc[1:]
  )
  rows['the cue is the first direction'] = 'yes' if one.is_first else 'no'
  effect = cue.effect
  for number, name in enumerate(effect.groups):
    rows[f'effect of the cue on outcomes, {name}'] = (
        f'A {effect.effect_a[number]:+.2f}, B {effect.effect_b[number]:+.2f},'
        ' difference '
        + _interval(effect.difference, effect.interval, (number,))
    )
  return rows


def figures(
    found: comparison_lib.Comparison,
    cue: Cue | None,
    dataset: dataset_lib.Dataset,
    outcome: str,
) -> dict[str, Any]:
  """The pictures; None where there is nothing to show."""
  drawn = {
      'explained': comparison_plots.explained(found),
      'A without B': comparison_plots.sheet(dataset, found),
      'B without A': comparison_plots.sheet(dataset, found, 'b_minus_a'),
      'removals': comparison_plots.removals(found, outcome=outcome),
  }
  if cue is not None:
    drawn['projections'] = comparison_plots.projections(
        found, cue.planted_targets, cue.groups
    )
    drawn['effect of the cue'] = comparison_plots.cue_effects(
        cue.effect, outcome=outcome
    )
  return drawn


def _interval(
    values: np.ndarray, interval: np.ndarray | None, place: tuple[int, ...]
) -> str:
  text = f'{values[place]:+.2f}'
  if interval is not None:
    low, high = interval[(slice(None), *place)]
    text += f' [{low:+.2f}, {high:+.2f}]'
  return text


def _with_interval(value: float, interval: tuple[float, float]) -> str:
  return f'{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]'


def _lead(found: comparison_lib.Comparison, cue: Cue | None) -> str:
  text = (
      f'For each of {len(found.target_ids)} targets, what pool B’s datamodel'
      ' does not explain of pool A’s, and the reverse. The principal directions'
      ' of these residuals are sets of training examples that one algorithm'
      ' uses and the other does not; the share of the variance of A’s own and of'
      ' B’s datamodels along them says how much.'
  )
  if found.removals:
    text += (
        ' The training examples at the ends of the first direction were removed'
        ' and both algorithms retrained: the mean outcome of the targets with'
        ' the highest projections (top) and the lowest (bottom) should move'
        ' oppositely in one and not in the other.'
    )
  if cue is not None:
    text += (
        ' The training images of A carry a planted patch on one class. AUC says'
        ' how well loadings tell training images with the patch from all'
        ' others, and how well projections tell test images with it (.5 is'
        ' chance).'
    )
  return text
