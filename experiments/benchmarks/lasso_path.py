r"""How fast all LASSO paths of a pool are solved, against scikit-learn.

  env -u OPENBLAS_CORETYPE taskset -c 0 \
      python -m experiments.benchmarks.lasso_path

Penalties fall to a hundredth of each target's largest, each solved to a
relative duality gap of `--tol`. scikit-learn's `lasso_path` is given what jdm
uses, the Gram matrix in float32 and the products with the outcomes, and solves
a sample of targets, one after the other; its stopping rule is a gap relative to
||y||^2, so its `tol` is half of ours. Process CPU seconds of one core, compiled
before; the two take turns, and each time is the median of the turns. Gaps are
recomputed in float64 from the weights of the sampled targets. The moments are
timed apart: both need them. Three minutes. Appends a row to lasso_path.csv.
"""

import time
import warnings

from absl import app
from absl import flags
import jax
import numpy as np
import sklearn
from sklearn import linear_model

from experiments.benchmarks import record
from jdm import solvers

_NUM_TRAIN = flags.DEFINE_integer('num_train', 1800, 'Training examples.')
_NUM_MODELS = flags.DEFINE_integer('num_models', 9000, 'Trained models.')
_NUM_TARGETS = flags.DEFINE_integer('num_targets', 1000, 'Targets.')
_NUM_LAMS = flags.DEFINE_integer('num_lams', 30, 'Penalties of each path.')
_TOL = flags.DEFINE_float('tol', 1e-4, 'Relative duality gap.')
_SAMPLE = flags.DEFINE_integer('sample', 20, 'Targets the peer solves a turn.')
_TURNS = flags.DEFINE_integer('turns', 5, 'Times each side is measured.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the synthetic pool.')
_NUM_CLASSES = 10


def main(argv: list[str]) -> None:
  """Makes a pool, lets both sides solve it in turns, and records a row."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  masks, outcomes = _pool(np.random.default_rng(_SEED.value))
  _moments(masks, outcomes)  # Compiles.
  moments, moments_seconds = _timed(_moments, masks, outcomes)
  _solve(moments)  # Compiles.
  peer = _Peer(moments, outcomes)
  ours, theirs, peer_gaps = [], [], []
  for turn in range(_TURNS.value):
    path, seconds = _timed(_solve, moments)
    ours.append(seconds)
    targets = peer.targets(turn)
    weights, seconds = _timed(peer.solve, targets, path.lams)
    theirs.append(seconds / len(targets) * _NUM_TARGETS.value)
    peer_gaps.append(peer.gaps(targets, weights, path.lams).max())
  every = np.concatenate([peer.targets(turn) for turn in range(_TURNS.value)])
  gaps = peer.gaps(every, path.weights[:, :, every], path.lams)
  seconds, peer_seconds = float(np.median(ours)), float(np.median(theirs))
  row = {
      'num_train': _NUM_TRAIN.value,
      'num_models': _NUM_MODELS.value,
      'num_targets': _NUM_TARGETS.value,
      'num_lams': _NUM_LAMS.value,
      'tol': _TOL.value,
      'moments_seconds': round(moments_seconds, 2),
      'seconds': round(seconds, 2),
      'max_gap': f'{gaps.max():.2e}',
      'epochs': round(float(path.num_epochs.mean()), 1),
      'scikit_learn': sklearn.__version__,
      'peer_targets': len(every),
      'peer_seconds': round(peer_seconds, 2),
      'peer_max_gap': f'{max(peer_gaps):.2e}',
      'ratio': round(peer_seconds / seconds, 2),
  }
  record.append(__file__, row)


def _pool(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """Half-size subsets; outcomes of few strong and many weak influences.

  Four fifths of a target's strong influences are in its own class, and targets
  come class by class.
  """
  num_train, num_targets = _NUM_TRAIN.value, _NUM_TARGETS.value
  ranks = generator.random((_NUM_MODELS.value, num_train)).argsort(axis=1)
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
  return masks, (2 * (signal + noise) + 1.5).astype(np.float32)


def _timed(function, *args):
  """Result and process CPU seconds."""
  start = time.process_time()
  result = function(*args)
  return result, time.process_time() - start


def _moments(masks: np.ndarray, outcomes: np.ndarray) -> solvers.Moments:
  empty = solvers.Moments.zeros(masks.shape[1], outcomes.shape[1])
  return empty.add(masks, outcomes)


def _solve(moments: solvers.Moments) -> solvers.LassoPath:
  """The whole paths; gaps as the solver sees them, as the peer's are."""
  return solvers.lasso_path(
      moments,
      num_lams=_NUM_LAMS.value,
      tol=_TOL.value,
      keep='all',
      certify=False,
      devices=jax.local_devices()[:1],
  )


class _Peer:
  """scikit-learn with the same statistics."""

  def __init__(self, moments: solvers.Moments, outcomes: np.ndarray):
    self._gram, self._cross = moments.gram(), moments.centred_cross()
    self._variance, num_models = moments.variance(), moments.num_models
    self._outcomes = outcomes - outcomes.mean(axis=0)[None]
    self._gram32 = (self._gram * num_models).astype(np.float32)
    self._cross32 = (self._cross * num_models).astype(np.float32)
    # With Gram matrix and products given, only the shape of this is read.
    shape = num_models, self._gram.shape[0]
    self._masks = np.zeros(shape, np.float32, order='F')

  def targets(self, turn: int) -> np.ndarray:
    """Targets of a turn, spread over the classes."""
    step = _NUM_TARGETS.value // _SAMPLE.value
    return np.arange(_SAMPLE.value) * step + turn % max(step, 1)

  def solve(self, targets: np.ndarray, lams: np.ndarray) -> np.ndarray:
    """Weights [num_lams, num_train, len(targets)]."""
    return np.stack([self._solve_one(j, lams[:, j]).T for j in targets], axis=2)

  def _solve_one(self, target: int, lams: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # It warns where float32 stops it.
      return linear_model.lasso_path(
          self._masks,
          np.ascontiguousarray(self._outcomes[:, target]),
          alphas=lams,
          precompute=self._gram32,
          Xy=np.ascontiguousarray(self._cross32[:, target]),
          tol=_TOL.value / 2,
          max_iter=100_000,
          check_input=False,
      )[1]

  def gaps(
      self, targets: np.ndarray, weights: np.ndarray, lams: np.ndarray
  ) -> np.ndarray:
    """True relative gaps [num_lams, len(targets)], in float64."""
    weights, lams = weights.astype(np.float64), lams[:, targets]
    cross, variance = self._cross[:, targets], self._variance[targets]
    correlation = cross[None] - np.einsum(
        'ij,kjt->kit', self._gram, weights, optimize=True
    )
    residual = variance[None] - np.sum(
        weights * (cross[None] + correlation), axis=1
    )
    scale = np.minimum(1, lams / np.abs(correlation).max(axis=1))
    primal = residual / 2 + lams * np.abs(weights).sum(axis=1)
    product = variance[None] - np.sum(cross[None] * weights, axis=1)
    dual = scale * product - scale**2 * residual / 2
    return (primal - dual) / (variance / 2)[None]


if __name__ == '__main__':
  app.run(main)
