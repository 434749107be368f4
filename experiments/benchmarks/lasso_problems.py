"""The problems of the LASSO benchmarks: synthetic pools, and two real ones."""

import dataclasses
import functools
import os
import subprocess
import sys

import numpy as np

from jdm import solvers
from jdm import store as store_lib

_NUM_CLASSES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
  """A problem's size and where its pool comes from.

  Attributes:
    num_train: training examples; 0 if the pool says.
    num_models: trained models.
    num_targets: targets.
    min_ratio: of the last penalty to the first.
    pool: flags of `collect_outcomes`; none for a synthetic pool.
  """

  num_train: int = 0
  num_models: int
  num_targets: int
  min_ratio: float = 1e-2
  pool: tuple[str, ...] = ()


PROBLEMS = {
    'n500_m2500': Spec(num_train=500, num_models=2500, num_targets=1000),
    'n1800_m18000': Spec(num_train=1800, num_models=18_000, num_targets=1000),
    'n1800_m9000': Spec(num_train=1800, num_models=9000, num_targets=1000),
    'n1800_m3600': Spec(num_train=1800, num_models=3600, num_targets=1000),
    'n1800_m1800': Spec(num_train=1800, num_models=1800, num_targets=1000),
    'n1800_m900': Spec(num_train=1800, num_models=900, num_targets=1000),
    'n5000_m10000': Spec(num_train=5000, num_models=10_000, num_targets=1000),
    'n1800_m9000_deep': Spec(
        num_train=1800, num_models=9000, num_targets=100, min_ratio=1e-3
    ),
    # 1,500 train and 297 test examples, MLP 64-64-10.
    'digits': Spec(num_models=4000, num_targets=297, pool=('--model=mlp',)),
    # 2,000 and 300 images on 100 principal components, MLP 100-64-10.
    'fashion': Spec(
        num_models=6000,
        num_targets=300,
        pool=(
            '--dataset=idx',
            '--num_train=2000',
            '--num_test=300',
            '--num_components=100',
            '--model=mlp',
            '--hidden=64',
        ),
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """Masks, outcomes, and the exact statistics of both.

  Attributes:
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    moments: of them.
    min_ratio: of the last penalty to the first.
  """

  masks: np.ndarray
  outcomes: np.ndarray
  moments: solvers.Moments
  min_ratio: float

  @functools.cached_property
  def gram(self) -> np.ndarray:
    """Float64 `[num_train, num_train]`."""
    return self.moments.gram()

  @functools.cached_property
  def cross(self) -> np.ndarray:
    """Float64 `[num_train, num_targets]`."""
    return self.moments.centred_cross()

  @functools.cached_property
  def variance(self) -> np.ndarray:
    """Float64 `[num_targets]`."""
    return self.moments.variance()

  def save(self, path: str, lams: np.ndarray) -> None:
    """Writes what peers read, `[num_lams, num_targets]` penalties with it."""
    np.savez(
        path,
        gram=self.gram,
        cross=self.cross,
        variance=self.variance,
        lams=lams,
        masks=np.packbits(self.masks, axis=1),
        outcomes=self.outcomes,
    )

  def gaps(
      self, targets: np.ndarray, weights: np.ndarray, lams: np.ndarray
  ) -> np.ndarray:
    """True relative gaps by definition, primal minus dual, in float64.

    Args:
      targets: int `[k]`.
      weights: `[num_lams, num_train, k]`.
      lams: `[num_lams, num_targets]`.

    Returns:
      `[num_lams, k]`.
    """
    lams = lams[:, targets]
    cross, variance = self.cross[:, targets], self.variance[targets]
    gaps = np.zeros(lams.shape)
    for index, some in enumerate(weights):
      some = some.astype(np.float64)
      correlation = cross - self.gram @ some
      residual = variance - np.sum(some * (cross + correlation), axis=0)
      largest = np.maximum(np.abs(correlation).max(axis=0), 1e-300)
      scale = np.minimum(1, lams[index] / largest)
      primal = residual / 2 + lams[index] * np.abs(some).sum(axis=0)
      product = variance - np.sum(cross * some, axis=0)
      gaps[index] = primal - (scale * product - scale**2 * residual / 2)
    return gaps / (variance / 2)[None]


def make(
    name: str, workdir: str, *, seed: int = 0, num_targets: int | None = None
) -> Problem:
  """Makes a problem, training its pool in `workdir` if it needs one.

  Args:
    name: of `PROBLEMS`.
    workdir: where pools are collected; what is there is not trained again.
    seed: of a synthetic pool.
    num_targets: instead of the problem's own, for a quick look.

  Returns:
    The problem.
  """
  spec = PROBLEMS[name]
  if num_targets:
    spec = dataclasses.replace(spec, num_targets=num_targets)
  if not spec.pool:
    return synthetic(spec, seed)
  masks, outcomes = _collected(spec, os.path.join(workdir, name))
  outcomes = outcomes[:, : spec.num_targets]
  # A constant outcome has no path.
  outcomes = outcomes[:, outcomes.std(axis=0) > 0]
  return _with_moments(spec, masks, outcomes)


def _with_moments(spec, masks, outcomes) -> Problem:
  return Problem(
      masks=masks,
      outcomes=outcomes,
      moments=moments(masks, outcomes),
      min_ratio=spec.min_ratio,
  )


def moments(masks: np.ndarray, outcomes: np.ndarray) -> solvers.Moments:
  """The moments of a pool."""
  empty = solvers.Moments.zeros(masks.shape[1], outcomes.shape[1])
  return empty.add(masks, outcomes)


def _collected(spec: Spec, workdir: str) -> tuple[np.ndarray, np.ndarray]:
  """Masks and soft margins of a trained pool."""
  subprocess.run(
      [
          sys.executable,
          '-m',
          'experiments.collect_outcomes',
          f'--workdir={workdir}',
          f'--num_models={spec.num_models}',
          *spec.pool,
      ],
      check=True,
      stdout=subprocess.DEVNULL,
  )
  store = store_lib.OutcomeStore.open(os.path.join(workdir, 'store'))
  rows = store.completed()
  return store.read('masks', rows), store.read('soft_margin', rows)


def synthetic(spec: Spec, seed: int = 0) -> Problem:
  """Makes half-size subsets, and outcomes of few strong and many weak influences.

  Four fifths of a target's strong influences are in its own class, and targets
  come class by class.

  Args:
    spec: sizes.
    seed: of everything.

  Returns:
    The problem.
  """
  generator = np.random.default_rng(seed)
  num_train, num_targets = spec.num_train, spec.num_targets
  ranks = generator.random((spec.num_models, num_train)).argsort(axis=1)
  masks = ranks < num_train // 2
  labels = generator.integers(_NUM_CLASSES, size=num_train)
  weights = np.zeros((num_train, num_targets), np.float32)
  strong = max(4, num_train // 50)
  for target in range(num_targets):
    label = target * _NUM_CLASSES // num_targets
    own = np.flatnonzero(labels == label)
    own = generator.choice(own, min(len(own), 4 * strong // 5), replace=False)
    rest = generator.choice(num_train, strong - len(own), replace=False)
    weights[own, target] += generator.laplace(1.0, size=len(own))
    weights[rest, target] -= 0.7 * generator.exponential(size=len(rest))
    power = np.sum(weights[:, target] ** 2) / num_train
    weights[:, target] += generator.normal(size=num_train) * np.sqrt(
        0.15 * power
    )
  signal = masks.astype(np.float32) @ weights
  signal /= signal.std(axis=0)[None]
  share = generator.uniform(0.5, 0.9, size=num_targets)  # Of the variance.
  noise = generator.normal(size=signal.shape) * np.sqrt(1 / share - 1)[None]
  outcomes = (2 * (signal + noise) + 1.5).astype(np.float32)
  return _with_moments(spec, masks, outcomes)
