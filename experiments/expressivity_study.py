r"""How wide and deep must a set function be to predict trained parameters?

  python -m experiments.expressivity_study --workdir=runs/expressivity

Logistic regression (penalty 1) of subsets of 32, 64 and 128 points of
breast_cancer, standardized: many labels, so that data are not the limit (the
R2 of training sets stands beside that of held-out ones), and networks of width
4 to 256, three layers that look at a point; depths 1 and 2 at one pool and
width. Both networks are trained in the same way, that of the default preset:
what is compared is what they can express, and learn, not the released training.

  deepsets       as ModelPred's released code has it: input and label side by
                 side, no biases, sum pooling
  deepsets_plus  signed features, mean and sum pooling, sizes of set and classes

What theory says: a sum over points of width w, then any continuous function,
represents every continuous function of sets of at most w numbers, and for some
functions no smaller w does (Wagstaff et al. 2019, theorems 4.1 and 4.3; of
points that are vectors, w >= the largest set size is necessary too). Parameters
are no such function: argmin F_S depends on S through sums of smooth gradients,
and heavy penalties make few directions of these count, so that w far below |S|
may do. ModelPred states theorems of its own on this, which are not known to us.

Each seed has its own points, sets and network. What is there is not done again.
Writes `expressivity_study.json`, `.md` and a picture: means over seeds with
95 % intervals of Student's t. About 15 CPU minutes.

References:
  Wagstaff et al., `On the limitations of representing functions on sets
  <https://arxiv.org/abs/1901.09006>`_, ICML 2019.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import json
import os
import time
from typing import Any, NamedTuple

from absl import flags
import jax
import numpy as np

from experiments import binary
from experiments import modelpred_tables
from jdm import datasets
from jdm.modelpred import config as config_lib
from jdm.modelpred import evaluation
from jdm.modelpred import fitting
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import points as points_lib
from jdm.reports import canvas
from jdm.reports import modelpred_plots
from jdm.reports import tables
from jdm.training import convex

NETWORKS = {
    'deepsets': {'set_function': 'deepsets', 'features': 'plain'},
    'deepsets_plus': {'set_function': 'deepsets_plus', 'features': 'signed'},
}
WIDTHS = (4, 8, 16, 32, 64, 128, 256)
DEPTHS = (1, 2)
_DEPTH = 3  # Of the curves over widths.
_DEPTH_WIDTH, _DEPTH_POINTS = 64, 64  # Where depth is looked at.
_NUM_VAL = _NUM_TEST = 500
_SMALLEST = 4

_POINTS = flags.DEFINE_list('num_points', ['32', '64', '128'], 'Of pools.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of everything random.')
_NUM_LABELS = flags.DEFINE_integer('num_labels', 20_000, 'To learn from.')
_STEPS = flags.DEFINE_integer('steps', 2000, 'Of each training.')


class Case(NamedTuple):
  """One network on one pool."""

  num_points: int
  network: str
  width: int
  depth: int
  seed: int


class _Data(NamedTuple):
  """A pool and sets of it."""

  pool: points_lib.Pool
  train: labels_lib.Labels
  val: labels_lib.Labels
  test: labels_lib.Labels
  inputs: np.ndarray
  labels: np.ndarray


def main(workdir: str) -> None:
  """Trains what is missing, and writes the tables."""
  for flag in (_POINTS, _SEEDS):
    if not all(text.isdigit() for text in flag.value):
      raise ValueError(f'--{flag.name} are numbers, got {flag.value}')
  if len(_SEEDS.value) < 2:
    raise ValueError('--seeds are two or more, for intervals')
  found = {}
  for case in cases([int(n) for n in _POINTS.value], map(int, _SEEDS.value)):
    path = os.path.join(workdir, 'rows', f'{"_".join(map(str, case))}.json')
    if not os.path.exists(path):
      row = _measured(case)
      binary.write_json(path, row)
      print(f'{case}: R2 {row["r2"]:.4f}', flush=True)
    with open(path, encoding='utf-8') as file:
      found[case] = json.load(file)
  _write(workdir, summarized(found))


def cases(num_points: Sequence[int], seeds: Any) -> Iterator[Case]:
  """All of them, those of one pool after another."""
  for seed in list(seeds):
    for num in num_points:
      for network in NETWORKS:
        for width in WIDTHS:
          yield Case(num, network, width, _DEPTH, seed)
        if num == _DEPTH_POINTS:
          for depth in DEPTHS:
            yield Case(num, network, _DEPTH_WIDTH, depth, seed)


@functools.lru_cache(maxsize=1)
def _data(num_points: int, seed: int) -> _Data:
  """The first points of a split, and exact labels of random subsets."""
  source = datasets.load('breast_cancer', split_seed=seed)
  inputs = source.train.inputs.astype(np.float64)
  pool = points_lib.Pool(
      objective=convex.Objective(
          loss='logistic', lam=1.0, num_features=inputs.shape[1]
      ),
      inputs=inputs[:num_points],
      labels=np.asarray(source.train.labels[:num_points]),
  )
  num = _NUM_LABELS.value + _NUM_VAL + _NUM_TEST
  rng = np.random.default_rng(seed)
  sizes = rng.integers(_SMALLEST, num_points + 1, (num, 1))
  drawn = rng.random((num, num_points)).argsort(axis=1).argsort(axis=1) < sizes
  drawn = drawn[(drawn @ pool.classes > 0).all(axis=1)]  # Others: no minimum.
  solution = pool.solve(drawn)
  kept = np.flatnonzero(solution.converged)
  whole = labels_lib.make(drawn[kept], solution.parameters[kept])
  parts = np.split(np.arange(len(whole)), [-_NUM_VAL - _NUM_TEST, -_NUM_TEST])
  return _Data(
      pool,
      *map(whole.take, parts),
      inputs=source.test.inputs,
      labels=source.test.labels,
  )


def _measured(case: Case) -> dict[str, Any]:
  """Trains and scores one network."""
  data = _data(case.num_points, case.seed)
  config = config_lib.Config(
      **NETWORKS[case.network],
      width=case.width,
      depth=case.depth,
      num_steps=_STEPS.value,
      seed=case.seed,
  )
  start = time.process_time()
  fitted = fitting.fit(data.pool, data.train, data.val, config)
  seconds = time.process_time() - start
  some = data.train.take(slice(0, _NUM_TEST))
  scores = {
      name: evaluation.evaluate(
          data.pool.objective,
          fitted.outputs(labels.masks),
          labels,
          data.inputs,
          data.labels,
      )
      for name, labels in (('test', data.test), ('train', some))
  }
  jax.clear_caches()  # No program serves a second time.
  return {
      **case._asdict(),
      'r2': scores['test'].parameter_r2,
      'train_r2': scores['train'].parameter_r2,
      'test_loss_nrmse': scores['test'].test_loss_nrmse,
      'num_labels': len(data.train),
      'cpu_seconds': seconds,
      'config': dataclasses.asdict(config),
  }


def summarized(found: Mapping[Case, Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Means and intervals over seeds."""
  groups: dict[tuple[Any, ...], list[Any]] = {}
  for case, row in found.items():
    groups.setdefault(tuple(case[:-1]), []).append(row)
  return [
      {
          **dict(zip(Case._fields, group)),
          'width_over_size': group[2] / group[0],
          **{
              key: modelpred_tables.summary([row[key] for row in rows])
              for key in ('r2', 'train_r2', 'test_loss_nrmse', 'cpu_seconds')
          },
      }
      for group, rows in groups.items()
  ]


def _write(workdir: str, rows: Sequence[dict[str, Any]]) -> None:
  path = os.path.join(workdir, 'expressivity_study')
  values = {
      'rows': rows,
      'seeds': _SEEDS.value,
      'num_labels': _NUM_LABELS.value,
      'num_steps': _STEPS.value,
  }
  binary.write_json(f'{path}.json', values)
  shown = [
      {
          'points': row['num_points'],
          'network': row['network'],
          'width': row['width'],
          'width / largest set': f'{row["width_over_size"]:g}',
          'depth': row['depth'],
          'R2': modelpred_tables.text(row['r2']),
          'R2 of training sets': modelpred_tables.text(row['train_r2']),
          'loss NRMSE': modelpred_tables.text(row['test_loss_nrmse']),
          'fit CPU s': modelpred_tables.text(row['cpu_seconds']),
      }
      for row in rows
  ]
  canvas.write(f'{path}.md', (_ABOUT + tables.markdown(shown)).encode())
  curves = [row for row in rows if row['depth'] == _DEPTH]
  canvas.save(modelpred_plots.expressivity(curves), f'{path}.png')
  print(tables.text(shown))


_ABOUT = """# Width, depth and set size

Means over seeds ± half of a 95 % interval (Student's t). For every continuous
function of sets to be a sum over points and then a function of it, the sum has
to be at least as wide as the largest set (Wagstaff et al. 2019). Parameters are
one smooth function of sums of gradients, which may need far less: rows with
`width / largest set` below 1. ModelPred's own theorems are not known to us.

"""


if __name__ == '__main__':
  binary.run(main)
