"""What `expressivity_study` trains: networks of many widths on small pools."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import modelpred_tables
from jdm import datasets
from jdm.modelpred import config as config_lib
from jdm.modelpred import evaluation
from jdm.modelpred import fitting
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import points as points_lib
from jdm.training import convex

NETWORKS = {
    'deepsets': {'set_function': 'deepsets', 'features': 'plain'},
    'deepsets_plus': {'set_function': 'deepsets_plus', 'features': 'signed'},
}
WIDTHS = (4, 8, 16, 32, 64, 128, 256)
DEPTHS = (1, 2)
DEPTH = 3  # Of the curves over widths.
_DEPTH_WIDTH, _DEPTH_POINTS = 64, 64  # Where depth is looked at.
_NUMBERS = ('r2', 'ceiling', 'train_r2', 'test_loss_nrmse', 'cpu_seconds')
_NUM_VAL = _NUM_TEST = 500
_SMALLEST = 4


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


def cases(num_points: Sequence[int], seeds: Any) -> Iterator[Case]:
  """All of them, those of one pool after another."""
  for seed in list(seeds):
    for num in num_points:
      for network in NETWORKS:
        for width in WIDTHS:
          yield Case(num, network, width, DEPTH, seed)
        if num == _DEPTH_POINTS:
          for depth in DEPTHS:
            yield Case(num, network, _DEPTH_WIDTH, depth, seed)


@functools.lru_cache(maxsize=1)
def _data(num_points: int, seed: int, num_labels: int) -> _Data:
  """The first points of a split, and exact labels of random subsets."""
  jax.clear_caches()  # Programs of another pool serve no more.
  source = datasets.load('breast_cancer', split_seed=seed)
  inputs = source.train.inputs.astype(np.float64)
  pool = points_lib.Pool(
      objective=convex.Objective(
          loss='logistic', lam=1.0, num_features=inputs.shape[1]
      ),
      inputs=inputs[:num_points],
      labels=np.asarray(source.train.labels[:num_points]),
  )
  num = num_labels + _NUM_VAL + _NUM_TEST
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


def measured(case: Case, num_labels: int, num_steps: int) -> dict[str, Any]:
  """Trains and scores one network.

  Args:
    case: which.
    num_labels: to learn from, about so many.
    num_steps: of the training.

  Returns:
    What the case is, R2 of held-out and of some training sets, and seconds.
  """
  data = _data(case.num_points, case.seed, num_labels)
  config = config_lib.Config(
      **NETWORKS[case.network],
      width=case.width,
      depth=case.depth,
      num_steps=num_steps,
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
  return {
      **case._asdict(),
      'r2': scores['test'].parameter_r2,
      'train_r2': scores['train'].parameter_r2,
      'test_loss_nrmse': scores['test'].test_loss_nrmse,
      'num_labels': len(data.train),
      'cpu_seconds': seconds,
      'config': dataclasses.asdict(config),
  }


def ceilings(num_points: int, seed: int, num_labels: int) -> dict[str, float]:
  """R2 that networks cannot pass, by width: their last layer is width / 2 wide.

  So many principal components of the parameters of training sets, and their
  mean, are what such a layer can put out at best.
  """
  data = _data(num_points, seed, num_labels)
  mean = data.train.parameters.mean(axis=0)
  rows = np.linalg.svd(data.train.parameters - mean[None], full_matrices=False)
  centred = data.test.parameters - mean[None]
  spread = data.test.parameters - data.test.parameters.mean(axis=0)[None]
  found = {}
  for width in WIDTHS:
    basis = rows[2][: width // 2]
    left = centred - centred @ basis.T @ basis
    found[str(width)] = float(1 - np.sum(left**2) / np.sum(spread**2))
  return found


def summarized(
    found: Mapping[Case, Mapping[str, Any]],
    highest: Mapping[tuple[int, int], Mapping[str, float]],
) -> list[dict[str, Any]]:
  """Means and intervals over seeds.

  Args:
    found: of `measured`.
    highest: of `ceilings`, by points and seed.
  """
  groups: dict[tuple[Any, ...], list[Any]] = {}
  for case, row in found.items():
    ceiling = highest[case.num_points, case.seed][str(case.width)]
    row = {**row, 'ceiling': ceiling}
    groups.setdefault(tuple(case[:-1]), []).append(row)
  return [
      {
          **dict(zip(Case._fields, group)),
          'width_over_size': group[2] / group[0],
          **{
              key: modelpred_tables.summary([row[key] for row in rows])
              for key in _NUMBERS
          },
      }
      for group, rows in groups.items()
  ]
