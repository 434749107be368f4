r"""Scores predictors of trained parameters beside every baseline.

  python -m experiments.evaluate_modelpred --workdir=runs/modelpred

Retrains `--num_heldout` sets of each kind, none of which a fit has seen:

  held out   drawn as the pool was; where its subsets are prefixes of
             permutations, one prefix of each of so many other permutations
  deletion   at least half of all points
  addition   a random half of the points, and 5 to 100 new ones
  growth     all points, and 5 to 100 new ones: larger than any set of a fit

New points are half of the test split (100 of it at most); the test loss of
these two kinds is measured on the other half. What learned a number for each
point of the pool cannot predict them: a dash. Scores every `predictor_NAME` of
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
from typing import Any, NamedTuple

from absl import flags
import numpy as np

from experiments import binary
from experiments import modelpred_workdir
from jdm import collection
from jdm import recipe as recipe_lib
from jdm import store as store_lib
from jdm.modelpred import addition
from jdm.modelpred import baselines
from jdm.modelpred import evaluation
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import points as points_lib
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
_MOST_NEW = 100  # Points of the test split that sets grow by.
_SHARES = {'addition': 0.5, 'growth': 1.0}  # Of the pool, beside new points.
_NEED_LABELS = ('mean', 'size_curve', 'ridge_mask', 'ridge_mask_size')
_ADDITION = 'addition'
_NUM_PLACES = 8  # Of curves.
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
      'held_out': _collected(
          workdir, modelpred_workdir.heldout(pool), 'heldout'
      ),
      'deletion': _collected(
          workdir, modelpred_workdir.deletion(pool), 'deletion'
      ),
  }
  new = _new_sets(points, pool)
  exact_seconds = _query_seconds(
      baselines.exact(points), sets['held_out'].masks
  )
  num_refines = given or (1 if points.objective.is_convex else 20)
  num_labels = len(labels)
  judge = _Judge(
      points, pool, sets, new, exact_seconds, num_labels, num_refines
  )
  options = {'num_warm_steps': num_refines}
  _ = points.full  # Compiles it: each baseline that needs it trains it.
  made = baselines.all_of(points, train, val, **options)
  grown = addition.all_of(points, new.both, train, val, **options)
  rows = [
      judge.baseline(name, make, grown.get(name)) for name, make in made.items()
  ]
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


class _NewSets(NamedTuple):
  """Sets with new points.

  Attributes:
    both: the pool's points and new ones.
    sets: exact labels of sets of these, by kind.
    inputs: of the test examples that are no new points.
    labels: of these.
  """

  both: points_lib.Pool
  sets: dict[str, labels_lib.Labels]
  inputs: np.ndarray
  labels: np.ndarray


def _new_sets(points: points_lib.Pool, pool: recipe_lib.Pool) -> _NewSets:
  """Retrains sets with half of the test examples as new points."""
  assert pool.dataset is not None  # Made from a recipe.
  test, num_train = pool.dataset.test, len(points.labels)
  order = np.random.default_rng(pool.seed).permutation(len(test))
  new, rest = order[: len(test) // 2][:_MOST_NEW], order[len(test) // 2 :]
  both = addition.union(points, test.inputs[new], test.labels[new])
  sets = {}
  for number, (kind, share) in enumerate(_SHARES.items()):
    drawn = addition.masks(
        _NUM_HELDOUT.value,
        num_train,
        len(new),
        share=share,
        fewest=min(5, len(new)),
        seed=len(_SHARES) * pool.seed + number,
    )
    sets[kind] = addition.exact(both, drawn)
  return _NewSets(both, sets, test.inputs[rest], test.labels[rest])


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
      new,
      exact_seconds: float,
      num_labels: int,
      num_refines: int,
  ):
    self.points, self.sets, self.new = points, sets, new
    self.num_refines = num_refines
    self.test = pool.dataset.test
    self.exact_seconds, self.num_labels = exact_seconds, num_labels

  def baseline(
      self,
      name: str,
      make: Callable[[], baselines.Predict],
      make_new: Callable[[], baselines.Predict] | None,
  ) -> dict[str, Any]:
    """One baseline, made here; `make_new` is it for sets with new points."""
    start = time.process_time()
    predict = make()
    seconds = time.process_time() - start
    new = make_new() if make_new else None
    needs = name in _NEED_LABELS or name.endswith(_WARM_RIDGE)
    return self._row(name, predict, new, seconds, needs, False)

  def predictor(self, folder: str) -> list[dict[str, Any]]:
    """A saved predictor, as it is and refined."""
    name = os.path.basename(folder).removeprefix('predictor_')
    fitted = predictor_lib.load(folder)
    with open(os.path.join(folder, 'fit.json'), encoding='utf-8') as file:
      seconds = json.load(file)['cpu_seconds']
    needs = fitted.config.needs_labels
    outside = {
        f'{kind}_is_outside': float(np.mean(fitted.is_outside(truth.masks)))
        for kind, truth in {**self.sets, **self.new.sets}.items()
    }
    both = self.new.both

    def new(masks):
      return fitted.outputs(masks, both)

    def refined(pool, start):
      return baselines.refined(pool, self.num_refines, start)

    rows = [
        self._row(name, fitted.outputs, new, seconds, needs, True),
        self._row(
            f'{name}_refined',
            refined(self.points, fitted.outputs),
            refined(both, new),
            seconds,
            needs,
            True,
        ),
    ]
    for row, steps in zip(rows, (0, self.num_refines)):
      row |= outside
      if self.points.objective.is_convex:  # Else there are no certificates.
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

  def _row(
      self, name, predict, predict_new, seconds, needs_labels, is_predictor
  ):
    def score(found, truth, inputs, labels):
      return evaluation.evaluate(
          self.points.objective, found, truth, inputs, labels
      )

    found = {k: predict(truth.masks) for k, truth in self.sets.items()}
    scores = {
        kind: score(found[kind], truth, self.test.inputs, self.test.labels)
        for kind, truth in self.sets.items()
    }
    if predict_new is not None:
      found |= {k: predict_new(t.masks) for k, t in self.new.sets.items()}
      scores |= {
          kind: score(found[kind], truth, self.new.inputs, self.new.labels)
          for kind, truth in self.new.sets.items()
      }
    query = _query_seconds(predict, self.sets['held_out'].masks)
    labelling = self.exact_seconds * self.num_labels if needs_labels else 0.0
    gain = self.exact_seconds - query
    row = {'predictor': name, **scores['held_out'].to_json()}
    for kind in ('deletion', *_SHARES):
      own = scores.get(kind)
      row[f'{kind}_r2'] = own and own.parameter_r2
      row[f'{kind}_nrmse'] = own and own.test_loss_nrmse
      row[f'{kind}_spearman'] = own and own.spearman
    return {
        **row,
        'curves': self._curves(found),
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

  def _curves(self, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Distances of parameters by the points deleted, and by those added."""
    num_points = len(self.points.labels)
    curves = {}
    for kind, truth in (
        ('deletion', self.sets['deletion']),
        (_ADDITION, self.new.sets[_ADDITION]),
    ):
      if kind not in found:
        continue
      own = truth.masks[:, :num_points]
      counted = (~own).sum(axis=1)
      if kind == _ADDITION:
        counted = truth.masks[:, num_points:].sum(axis=1)
      distance = np.linalg.norm(found[kind] - truth.parameters, axis=1)
      parts = np.array_split(np.argsort(counted, kind='stable'), _NUM_PLACES)
      curves[kind] = {
          'num_points': [float(counted[part].mean()) for part in parts],
          'distance': [float(distance[part].mean()) for part in parts],
      }
    return curves


def _write(workdir: str, rows: list[dict[str, Any]], judge: _Judge) -> None:
  result = {
      'rows': rows,
      'exact_cpu_seconds': judge.exact_seconds,
      'num_labels': judge.num_labels,
      'num_heldout': len(judge.sets['held_out']),
      'num_sets': {
          kind: len(truth)
          for kind, truth in {**judge.sets, **judge.new.sets}.items()
      },
      'num_new_points': len(judge.new.both.labels) - len(judge.points.labels),
      'objective': dataclasses.asdict(judge.points.objective),
      'num_refines': judge.num_refines,
  }
  path = os.path.join(workdir, 'modelpred')
  binary.write_json(f'{path}.json', result)
  shown = [_shown(row) for row in rows]
  canvas.write(f'{path}.md', tables.markdown(shown).encode())
  canvas.save(modelpred_plots.comparison(rows), f'{path}.png')
  canvas.save(modelpred_plots.curves(rows), f'{path}_curves.png')
  print('\n' + tables.text(shown))
  print(
      f'\nexact retraining, batched: {judge.exact_seconds * 1e3:.3g} CPU-ms a'
      f' set; {path}.json'
  )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
  """A row for people."""
  even = row['break_even']

  def digits(name):
    return tables.UNKNOWN if row[name] is None else f'{row[name]:.4f}'

  return {
      'predictor': row['predictor'],
      'R2': f'{row["parameter_r2"]:.4f}',
      'score R2': f'{row["score_r2"]:.4f}',
      'loss NRMSE': f'{row["test_loss_nrmse"]:.4f}',
      'Spearman': f'{row["spearman"]:.4f}',
      'accuracy gap': f'{row["accuracy_gap"]:.4f}',
      'deletion R2': digits('deletion_r2'),
      'addition R2': digits('addition_r2'),
      'addition NRMSE': digits('addition_nrmse'),
      'addition Spearman': digits('addition_spearman'),
      'growth R2': digits('growth_r2'),
      'size warnings': (
          f'{100 * row["addition_is_outside"]:.0f} %,'
          f' {100 * row["growth_is_outside"]:.0f} %'
          if 'addition_is_outside' in row
          else ''
      ),
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
