"""Selection for a convex model: which k points to train on, by predictions.

Needs a folder of `experiments.fit_modelpred`. Rules drop points while the loss
on one half of the test examples falls; exact models of what is left are judged
on the other half.
"""

import functools
from typing import Any

from absl import flags
import numpy as np

from experiments import binary
from experiments.applications import job as job_lib
from experiments.applications import predictors
from jdm.analysis import curves as curves_lib
from jdm.applications import predicted_selection as lib
from jdm.modelpred import baselines
from jdm.modelpred import mask_gradients
from jdm.reports import predicted_plots

_ROUNDS = flags.DEFINE_integer(
    'predicted_selection_rounds', 60, 'Of the greedy rules, at most.'
)
_RANDOM = flags.DEFINE_integer(
    'predicted_selection_random', 20, 'Random picks of each size.'
)
_SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)


def num_trainings(job: job_lib.Job) -> int:
  """Exact trainings at most: of the exact greedy rule, and of the picks."""
  sizes = _sizes(job)
  picks = len(sizes) * (_RANDOM.value + 3 * len(predictors.names(job)) + 2)
  return job.store.num_train * _ROUNDS.value + picks + 1


def run(job: job_lib.Job) -> job_lib.Findings:
  """Picks, trains, judges."""
  pool = predictors.pool_of(job)
  loaded = predictors.load(job)
  test = job.dataset.test
  choice, _ = curves_lib.halves(
      'predicted_selection', len(test.labels), seed=job.seed
  )
  own = test.inputs[choice], test.labels[choice]
  sizes = _sizes(job)
  step = -(-(len(pool.labels) - sizes[0]) // max(_ROUNDS.value, 1))
  greedy = {'step': step, 'smallest': sizes[0]}
  rules: dict[str, lib.Rule] = {}
  for name, fitted in loaded.items():
    rules[f'{name}: greedy'] = functools.partial(
        lib.backward, pool, fitted.outputs, *own, **greedy
    )
    rules[f'{name}: gradient at each set'] = functools.partial(
        lib.by_gradient, fitted, *own, **greedy
    )
    rules[f'{name}: gradient at everything'] = functools.partial(
        _one_shot, pool, fitted, own
    )
  if pool.objective.is_convex:
    rules['influence at everything'] = functools.partial(
        _one_shot, pool, None, own
    )
  rules['exact greedy'] = functools.partial(
      lib.backward,
      pool,
      baselines.exact(pool),
      *own,
      progress=binary.Progress('exact greedy', 'point'),
      **greedy,
  )
  found = lib.predicted_selection(
      pool,
      test.inputs,
      test.labels,
      rules,
      sizes=sizes,
      choice_ids=choice,
      num_random=_RANDOM.value,
      seed=job.seed,
  )
  job.retrain_seconds['cpu'] += found.seconds['exact greedy']
  return job_lib.Findings(
      result=found.to_json(),
      table=_table(found),
      lead=_lead(found),
      figures={
          'curves': predicted_plots.selection_curves(found),
          'picks': predicted_plots.selection_grid(job.dataset, found),
      },
      limits=[
          'The seconds of a predictor’s rules are those of its queries; labels'
          ' and fit come on top (see modelpred.json).'
      ],
  )


def _one_shot(pool, fitted, own) -> np.ndarray:
  """By the gradient at everything, of a predictor or exact."""
  everything = np.ones(len(pool.labels))
  if fitted is None:
    return lib.one_shot(mask_gradients.exact(pool, everything, *own), pool)
  _, found = mask_gradients.through_predictor(fitted, *own)(everything[None])
  return lib.one_shot(found[0], pool)


def _sizes(job: job_lib.Job) -> list[int]:
  if job.sizes:
    return job.sizes
  num = job.store.num_train
  least = 2 * max(job.dataset.num_classes, 1)
  return sorted({max(round(share * num), least) for share in _SHARES})


def _table(found: lib.PredictedSelection) -> dict[str, Any]:
  table: dict[str, Any] = {
      'chosen by, reported on': (
          f'{len(found.choice_ids)}, {len(found.report_ids)} test examples'
      ),
      'everything': (
          f'loss {found.full_loss:.4f}, accuracy {found.full_accuracy:.4f}'
      ),
  }
  for row, name in enumerate(found.rules):
    cells = []
    for column, size in enumerate(found.sizes):
      text = f'{size}: {found.loss[row, column]:.4f}'
      if name != lib.RANDOM:
        low, high = found.gain_interval[:, row, column]
        text += f' ({found.gain[row, column]:+.3f} [{low:+.3f}, {high:+.3f}])'
      cells.append(text)
    table[name] = '; '.join(cells)
    if name in found.seconds:
      table[f'{name}, CPU s'] = found.seconds[name]
  return table


def _lead(found: lib.PredictedSelection) -> str:
  return (
      'For each number of points, the loss on the report examples of the model'
      ' trained exactly on what a rule picked; in brackets how much lower than'
      ' that of random picks (positive is better), with a 95 % interval over'
      f' the examples. Rules saw {len(found.choice_ids)} other test examples.'
      ' Greedy rules drop the points whose removal, one trial each, costs'
      ' least; gradients are those of the loss with respect to the mask.'
  )
