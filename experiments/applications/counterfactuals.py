"""Counterfactuals: what datamodels predict, and what retraining shows.

Parts, each for the same targets:
  remove     from the full set: most helpful, most harmful, random examples,
             doubling up to at most a fifth of the set
  baselines  the same with rules that know nothing of datamodels choosing
  stress     as remove, a fifth of the set at once: far from what the datamodels
             were fitted on
  subset     as remove, from random subsets of the pool's size, where they were
             fitted; the sizes are the same shares of the subsets
  add        to these subsets
  relabel    to the class that the target is most likely mistaken for
  transfer   as remove, with --counterfactuals_model retrained
"""

from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from experiments.applications import ranked
from jdm.analysis import interventions
from jdm.analysis import likeness
from jdm.applications import counterfactuals as lib
from jdm.regressors import difference_of_means
from jdm.reports import counterfactual_plots
from jdm.reports import plots

_PARTS = flags.DEFINE_list(
    'counterfactuals_parts',
    ['remove', 'baselines', 'stress', 'subset', 'add', 'relabel'],
    'Of remove, baselines, stress, subset, add, relabel; remove always runs.',
)
_MODEL = flags.DEFINE_string(
    'counterfactuals_model',
    None,
    'Also retrains this class of models (linear, mlp, cnn), of which the'
    ' datamodels know nothing.',
)
_KNOWN = ('remove', 'baselines', 'stress', 'subset', 'add', 'relabel')
_RELABEL_KINDS = ('helpful', 'random')
_TARGETS, _REPLICATES, _CONTROLS = 60, 20, 20


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings at most."""
  targets = min(job.num_targets or _TARGETS, job.datamodels().num_targets)
  replicates = job.replicates or _REPLICATES
  each = len(_sizes(job)) * targets * replicates
  kinds = {
      'remove': 3,
      'baselines': 4,
      'subset': 3,
      'add': 3,
      'relabel': len(_RELABEL_KINDS),
      'transfer': 3,
  }
  total = sum(kinds[part] * each for part in _parts() if part != 'stress')
  if 'stress' in _parts():
    total += 3 * targets * replicates
  on_subsets = {'subset', 'add'} & set(_parts())
  controls = 2 + (targets if on_subsets else 0) + (_MODEL.value is not None)
  return total + controls * _CONTROLS


def run(job: job_lib.Job) -> job_lib.Findings:
  """Predicts and retrains."""
  fitted = job.datamodels()
  outcome = fitted.outcome
  targets = job.random_targets(fitted.num_targets, _TARGETS)
  dataset = job.dataset
  options: dict[str, Any] = {
      'sizes': _sizes(job),
      'target_ids': targets,
      'retrain': job.retrain(outcome),
      'replicates': job.replicates or _REPLICATES,
      'control_replicates': _CONTROLS,
      'labels': dataset.train.labels if dataset.num_classes else None,
      'batch_size': job.pool.trainer.min_subset_size,
      'skip_untrainable': True,
      'seed': job.seed,
  }
  results, limits = {}, []
  for part in _parts():
    changes = _options_of(part, job, targets, limits)
    if changes is not None:
      results[part] = lib.counterfactuals(fitted, **{**options, **changes})
  limits += _limits(results)
  main = results['remove']
  sure, weights = ranked.targets(job, targets, limits)
  return job_lib.Findings(
      result={
          **main.to_json(),
          'outcome': outcome,
          'parts': {
              part: result.to_json()
              for part, result in results.items()
              if part != 'remove'
          },
      },
      table=_table(results) | sure,
      lead=_lead(main, outcome, targets),
      figures=_figures(results, outcome) | weights,
      limits=limits,
  )


def _parts() -> list[str]:
  unknown = sorted(set(_PARTS.value) - set(_KNOWN))
  if unknown:
    raise ValueError(f'--counterfactuals_parts knows {_KNOWN}, got {unknown}')
  parts = [part for part in _KNOWN if part in {'remove', *_PARTS.value}]
  return parts + (['transfer'] if _MODEL.value else [])


def _sizes(job: job_lib.Job) -> list[int]:
  return job.sizes or lib.default_sizes(job.datamodels().num_train)


def _options_of(
    part: str, job: job_lib.Job, targets, limits: list[str]
) -> dict[str, Any] | None:
  """What a part changes in the call; None where it cannot be done."""
  num_classes = job.dataset.num_classes
  if part == 'stress':
    return {'sizes': [max(job.datamodels().num_train // 5, 1)]}
  if part == 'baselines':
    scores = _baseline_scores(job, limits)
    if not num_classes:
      return {'kinds': (), 'scores': scores}
    return {
        'kinds': (lib.SAME_CLASS,),
        'target_labels': job.dataset.test.labels,
        'scores': scores,
    }
  if part in ('subset', 'add'):
    fitted = job.datamodels()
    bases = interventions.random_bases(
        fitted.num_train, fitted.alpha, len(targets), job.seed
    )
    sizes = {max(round(fitted.alpha * size), 1) for size in _sizes(job)}
    return {
        'bases': bases,
        'sizes': sorted(sizes),
        'action': 'add' if part == 'add' else 'remove',
    }
  if part == 'relabel':
    if not num_classes:
      limits.append('A regression task has no classes to relabel to.')
      return None
    return {
        'action': 'relabel',
        'kinds': _RELABEL_KINDS,
        'new_labels': wrong_classes(job),
    }
  if part == 'transfer':
    outcome = job.datamodels().outcome
    return {'retrain': job.retrain(outcome, model=_MODEL.value)}
  return {}


def wrong_classes(job: job_lib.Job) -> np.ndarray:
  """The class each test target is most likely mistaken for, `[num_targets]`.

  By the mean logits of 20 models trained on everything.
  """
  everything = np.ones((1, job.store.num_train), bool)
  logits = job.retrain('logits')(everything, _CONTROLS)[:, 0]
  return interventions.likely_wrong_class(logits, job.dataset.test.labels)


def _baseline_scores(
    job: job_lib.Job, limits: list[str]
) -> dict[str, np.ndarray]:
  """Rules that choose, `[num_train, num_targets]`; higher goes first."""
  train, test = (job.dataset.split(name).inputs for name in ('train', 'test'))
  scores = {'nearest_input': likeness.negative_distance(train, test)}
  try:
    features = job.features()
    scores['nearest_representation'] = likeness.cosine(
        features['train'], features['test']
    )
  except ValueError as error:
    limits.append(f'No baseline by representation: {error}')
  rows = job.rows()
  differences = difference_of_means.fit(
      job.masks(rows), job.outcomes(job.datamodels().outcome, rows=rows)
  )
  scores['difference_of_means'] = np.asarray(differences.weights)
  return scores


def _table(results: dict[str, lib.Counterfactuals]) -> dict[str, str]:
  return {
      f'{part}: {kind}': (
          f'Spearman {a.spearman:.3f} (ceiling {a.ceiling:.3f}), Pearson'
          f' {a.pearson:.3f}, slope {a.slope:.2f}, MSE {a.mse:.3g}'
      )
      for part, result in results.items()
      for kind, a in result.agreement.items()
  }


def _lead(main: lib.Counterfactuals, outcome: str, targets) -> str:
  score = main.agreement['helpful']
  return (
      f'For {len(targets)} test examples, {main.sizes.min()} to'
      f' {main.sizes.max()} training examples were changed and the model was'
      f' trained again, {main.replicates} times each. Predicted is the sum of'
      f' the weights, in units of {outcome}; negative changes make the target'
      ' more wrong. Removing the most helpful examples of each target, predicted'
      f' and observed changes have a rank correlation of {score.spearman:.3f}'
      f' (what the noise of retraining leaves possible: {score.ceiling:.3f})'
      f' and a slope of {score.slope:.2f}.'
  )


def _figures(results, outcome: str) -> dict[str, Any]:
  main = results['remove']
  figures: dict[str, Any] = {
      'curves': plots.counterfactual_curves(main, outcome=outcome),
      'scatter': plots.counterfactual_scatter(main, outcome=outcome),
  }
  if 'baselines' in results:
    both = {name: results[name] for name in ('remove', 'baselines')}
    figures['rules'] = counterfactual_plots.rules(both, outcome=outcome)
  if len(results) > 1:
    figures['agreement'] = counterfactual_plots.agreements(results)
  if 'transfer' in results:
    figures['transfer'] = plots.counterfactual_scatter(
        results['transfer'], outcome=outcome
    )
  return figures


def _limits(results: dict[str, lib.Counterfactuals]) -> list[str]:
  limits = [
      f'{part}: {result.num_skipped} of {result.predicted.size} counterfactuals'
      ' were left out, because a rule had too few examples to choose from or'
      ' they would have emptied a class.'
      for part, result in results.items()
      if result.num_skipped
  ]
  if 'relabel' in results:
    limits.append(
        'Of relabelling, datamodels predict only that the examples lose their'
        ' own weights: a lower bound of the effect.'
    )
  return limits
