r"""Scores predictors of trained parameters beside every baseline.

  python -m experiments.evaluate_modelpred --workdir=runs/modelpred

Retrains `--num_heldout` subsets that no fit has seen, drawn as the pool was
(ids from 2^30 on: other permutations, where subsets are prefixes), and as many
deletion sets of at least half of all points; scores every `predictor_NAME` of
the folder, as it is and after `--num_refines` steps (Newton's; of a perceptron
those of its training), and all baselines; and writes `modelpred.json`,
`modelpred.md` and a picture.

Seconds are of the process's CPU time: `fit` with and `label` for making the
labels that a predictor learns from, `query` for one set. `break_even` is the
number of queries from which on labels, fit and queries cost less than exact
batched retraining of the same sets; a dash means never.
"""

from collections.abc import Callable, Mapping
import dataclasses
import json
import os
import time
from typing import Any

from absl import flags
import numpy as np

from experiments import binary
from experiments import modelpred_workdir
from jdm import collection
from jdm import recipe as recipe_lib
from jdm import store as store_lib
from jdm.modelpred import baselines
from jdm.modelpred import evaluation
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import predictor as predictor_lib
from jdm.reports import canvas
from jdm.reports import modelpred_plots
from jdm.reports import tables

_NUM_HELDOUT = flags.DEFINE_integer('num_heldout', 500, 'Sets of each kind.')
_NUM_REFINES = flags.DEFINE_integer(
    'num_refines',
    None,
    'Steps of the refined rows, and of warm starts of a perceptron: 1 Newton'
    ' step, or 20 training steps.',
)
_NEED_LABELS = ('mean', 'size_curve', 'ridge_mask', 'ridge_mask_size')
_WARM_RIDGE = '_from_ridge'  # Ends the names of warm starts that need labels.


def main(workdir: str) -> None:
  """Retrains what is missing, scores, writes."""
  given = _NUM_REFINES.value
  if _NUM_HELDOUT.value < 10 or (given is not None and given < 1):
    raise ValueError('--num_heldout must be at least 10, --num_refines 1')
  store = store_lib.OutcomeStore.open(os.path.join(workdir, 'store'))
  pool = collection.pool_of(store)
  points = modelpred_workdir.points(pool)
  labels = modelpred_workdir.read_labels(store)
  train, val = modelpred_workdir.split(labels)
  sets = {
      'held_out': _collected(workdir, recipe_lib.heldout(pool), 'heldout'),
      'deletion': _collected(workdir, _deletion(pool), 'deletion'),
  }
  exact_seconds = _query_seconds(
      baselines.exact(points), sets['held_out'].masks
  )
  num_refines = given or (1 if points.objective.is_convex else 20)
  judge = _Judge(points, pool, sets, exact_seconds, len(labels), num_refines)
  made = baselines.all_of(points, train, val, num_warm_steps=num_refines)
  rows = [judge.baseline(name, make) for name, make in made.items()]
  for folder in [
      modelpred_workdir.predictor_path(workdir, name)
      for name in modelpred_workdir.predictor_names(workdir)
  ]:
    rows += judge.predictor(folder)
  if not any(row['is_predictor'] for row in rows):
    raise ValueError(
        f'{workdir} holds no predictor; run experiments.fit_modelpred first'
    )
  _write(workdir, rows, judge)


def _deletion(pool: recipe_lib.Pool) -> recipe_lib.Pool:
  """Sets of half of all points or more, at ids of their own."""
  num_train = pool.trainer.num_train
  recipe = recipe_lib.Recipe.from_json(pool.description)
  recipe = dataclasses.replace(
      recipe,
      sampler='uniform_size',
      sampler_options={
          'min_size': num_train // 2,
          'max_size': num_train - 1,
      },
      first_id=recipe_lib.HELDOUT_FIRST_ID + 2**29,
  )
  return recipe_lib.build(recipe, dataset=pool.dataset)


def _collected(
    workdir: str, pool: recipe_lib.Pool, name: str
) -> labels_lib.Labels:
  path = os.path.join(workdir, name)
  binary.print_estimate(pool, path, _NUM_HELDOUT.value)
  store = collection.collect(
      pool,
      path,
      num_models=_NUM_HELDOUT.value,
      progress=binary.Progress(name),
  )
  return modelpred_workdir.read_labels(store)


def _query_seconds(predict: Callable[..., Any], masks: np.ndarray) -> float:
  """CPU seconds of one set, in a batch, compiled before."""
  predict(masks)
  start = time.process_time()
  predict(masks)
  return (time.process_time() - start) / len(masks)


class _Judge:
  """Makes the rows of the table."""

  def __init__(
      self,
      points,
      pool,
      sets,
      exact_seconds: float,
      num_labels: int,
      num_refines: int,
  ):
    self.points, self.sets, self.num_refines = points, sets, num_refines
    self.test = pool.dataset.test
    self.exact_seconds, self.num_labels = exact_seconds, num_labels

  def baseline(
      self, name: str, make: Callable[[], baselines.Predict]
  ) -> dict[str, Any]:
    """One baseline, made here."""
    start = time.process_time()
    predict = make()
    seconds = time.process_time() - start
    needs = name in _NEED_LABELS or name.endswith(_WARM_RIDGE)
    return self._row(name, predict, seconds, needs, False)

  def predictor(self, folder: str) -> list[dict[str, Any]]:
    """A saved predictor, as it is and refined."""
    name = os.path.basename(folder).removeprefix('predictor_')
    fitted = predictor_lib.load(folder)
    with open(os.path.join(folder, 'fit.json'), encoding='utf-8') as file:
      seconds = json.load(file)['cpu_seconds']
    needs = fitted.config.needs_labels

    def refined(masks):
      start = fitted.outputs(masks)
      return baselines.refined(self.points, self.num_refines, lambda _: start)(
          masks
      )

    rows = [self._row(name, fitted.outputs, seconds, needs, True)]
    rows.append(self._row(f'{name}_refined', refined, seconds, needs, True))
    if self.points.objective.is_convex:  # Else there are no certificates.
      for row, steps in zip(rows, (0, self.num_refines)):
        row |= self._certified(fitted, steps)
    return rows

  def _certified(self, fitted, num_refines: int) -> dict[str, Any]:
    truth = self.sets['held_out']
    found = fitted.predict(truth.masks, num_refines=num_refines)
    error = np.linalg.norm(found.parameters - truth.parameters, axis=1)
    known = np.isfinite(found.bound)
    # The truth itself is known to about its gradient over lam.
    slack = truth.gradient_norm / self.points.objective.lam + 1e-9
    return {
        'certified': float(np.mean(known)),
        'certificates_hold': float(np.mean(found.bound + slack >= error)),
        'median_bound': float(np.median(found.bound)),
        'median_error': float(np.median(error)),
    }

  def _row(self, name, predict, seconds, needs_labels, is_predictor):
    scores = {
        kind: evaluation.evaluate(
            self.points.objective,
            predict(truth.masks),
            truth,
            self.test.inputs,
            self.test.labels,
        )
        for kind, truth in self.sets.items()
    }
    query = _query_seconds(predict, self.sets['held_out'].masks)
    labelling = self.exact_seconds * self.num_labels if needs_labels else 0.0
    gain = self.exact_seconds - query
    return {
        'predictor': name,
        **scores['held_out'].to_json(),
        'deletion_r2': scores['deletion'].parameter_r2,
        'deletion_nrmse': scores['deletion'].test_loss_nrmse,
        'deletion_spearman': scores['deletion'].spearman,
        'fit_cpu_seconds': seconds,
        'label_cpu_seconds': labelling,
        'query_cpu_seconds': query,
        'break_even': (
            (seconds + labelling) / gain
            if gain > 0 and name != 'exact'
            else None
        ),
        'is_predictor': is_predictor,
    }


def _write(workdir: str, rows: list[dict[str, Any]], judge: _Judge) -> None:
  result = {
      'rows': rows,
      'exact_cpu_seconds': judge.exact_seconds,
      'num_labels': judge.num_labels,
      'num_heldout': len(judge.sets['held_out']),
      'objective': dataclasses.asdict(judge.points.objective),
      'num_refines': judge.num_refines,
  }
  path = os.path.join(workdir, 'modelpred')
  binary.write_json(f'{path}.json', result)
  shown = [_shown(row) for row in rows]
  canvas.write(f'{path}.md', tables.markdown(shown).encode())
  canvas.save(modelpred_plots.comparison(rows), f'{path}.png')
  print('\n' + tables.text(shown))
  print(
      f'\nexact retraining, batched: {judge.exact_seconds * 1e3:.3g} CPU-ms a'
      f' set; {path}.json'
  )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
  """A row for people."""
  even = row['break_even']
  return {
      'predictor': row['predictor'],
      'R2': f'{row["parameter_r2"]:.4f}',
      'score R2': f'{row["score_r2"]:.4f}',
      'loss NRMSE': f'{row["test_loss_nrmse"]:.4f}',
      'Spearman': f'{row["spearman"]:.4f}',
      'accuracy gap': f'{row["accuracy_gap"]:.4f}',
      'deletion R2': f'{row["deletion_r2"]:.4f}',
      'fit s': f'{row["fit_cpu_seconds"]:.2f}',
      'labels s': f'{row["label_cpu_seconds"]:.2f}',
      'query us': f'{row["query_cpu_seconds"] * 1e6:.1f}',
      'break-even': '–' if even is None else f'{even:,.0f}',
      'bounds hold': (
          f'{100 * row["certificates_hold"]:.0f} %'
          if 'certificates_hold' in row
          else ''
      ),
  }


if __name__ == '__main__':
  binary.run(main)
