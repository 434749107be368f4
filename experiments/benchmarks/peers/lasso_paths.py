"""The peers of lasso: other solvers of the LASSO on the same statistics.

Runs in an environment of its own (`pip install scikit-learn skglm celer`, or
`pip install 'numpy<2' adelie python_glmnet`) and imports nothing of jdm.

  python lasso_paths.py problem.npz sklearn32 1e-4 60 residual

The .npz holds gram, cross, variance and lams (as in `lasso_problems.Problem`),
masks (packed) and outcomes. The program first looks for the peer's best setting:
of those listed, with the loosest tolerance of a ladder at which the true gap of
a few probed targets is small enough, the fastest. It prints one JSON line that
says so; then it solves the targets of each line of its input, one after the
other, for at most so many CPU seconds, and prints a JSON line. Weights are
written to the path that the line names.

What each peer is given at no cost: centred Gram matrix and products with the
outcomes, in its layout and dtype, where it takes them; otherwise the centred
masks as float64, Fortran order.

  sklearn32, sklearn64  lasso_path with precompute; its tol is a gap over
                        ||y||^2, so that half of ours is the loosest
  skglm_gram            GramCD's epoch and its Anderson acceleration, cyclic with
                        and without acceleration, greedy without; the class makes
                        the Gram matrix again for each penalty, and is not used
  skglm                 AndersonCD on the masks
  celer                 celer_path on the masks
  adelie                gaussian_cov
  glmnet                python_glmnet's ElasticNet on the masks (glmnet's Fortran)
  fast_l1               MadryLab's SAGA (see `Saga`), for its epochs alone: on a
                        GPU it is what the datamodels paper used
"""

from collections.abc import Callable
from importlib import metadata
import json
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings('ignore')

_NUM_PROBES = 40
_LOOSER = (3000, 1000, 300, 100, 50, 30, 10, 3)
_VIOLATIONS = 10.0 ** -np.arange(-0.5, 4.5, 0.5)


class Problem:
  """The arrays of a problem, and the true gap of weights."""

  def __init__(self, path):
    arrays = np.load(path)
    self.gram, self.cross = arrays['gram'], arrays['cross']
    self.variance, self.lams = arrays['variance'], arrays['lams']
    self.num_train, self.num_targets = self.cross.shape
    self.outcomes = arrays['outcomes'].astype(np.float64)
    self.outcomes -= self.outcomes.mean(axis=0)
    self.num_models = len(self.outcomes)
    self._packed = arrays['masks']
    self._centred = None
    self._inverse = None

  def correct(self):
    """Also tries corrected dual points (`jdm.solvers.certificate`)."""
    lifted, level = self.gram, np.mean(np.diagonal(self.gram))
    self._balanced = np.abs(lifted.sum(axis=1)).max() < 1e-10 * level * len(
        lifted
    )
    if self._balanced:
      lifted = lifted + level / len(lifted)
    self._inverse = np.linalg.inv(lifted)

  def masks(self):
    """Masks as numbers, [num_models, num_train] uint8."""
    return np.unpackbits(self._packed, axis=1, count=self.num_train)

  def centred(self):
    """Centred masks, float64 in Fortran order."""
    if self._centred is None:
      masks = np.asfortranarray(self.masks().astype(np.float64))
      masks -= masks.mean(axis=0)
      self._centred = masks
    return self._centred

  def gap(self, target, weights, some=slice(None)):
    """Largest true relative gap of weights [num_train, num_lams]."""
    cross, lams = self.cross[:, [target]], self.lams[some, target]
    weights = weights.astype(np.float64)
    correlation = cross - self.gram @ weights
    largest = np.maximum(np.abs(correlation).max(axis=0), 1e-300)
    scale = np.minimum(1, lams / largest)
    residual = self.variance[target] - np.sum(
        weights * (cross + correlation), axis=0
    )
    terms = lams * np.abs(weights) - scale * weights * correlation
    gap = 0.5 * (1 - scale) ** 2 * residual + terms.sum(axis=0)
    if self._inverse is not None:
      other = self._corrected(weights, correlation, residual, lams)
      gap = np.minimum(gap, other)
    return float(gap.max() / (self.variance[target] / 2))

  def _corrected(self, weights, correlation, residual, lams):
    """The gap by a residual from which G^-1 of what is lacking is taken."""
    aim = np.where(
        weights != 0,
        lams * np.sign(weights),
        np.clip(correlation, -lams, lams),
    )
    if self._balanced:  # What is lacking must sum to 0.
      missing = (correlation - aim).sum(axis=0)
      room = np.where(weights != 0, 0, lams - np.sign(missing) * aim)
      share = np.abs(missing) / np.maximum(room.sum(axis=0), 1e-300)
      aim = aim + np.sign(missing) * share * room
    move = self._inverse @ (correlation - aim)
    change = self.gram @ move
    dual = correlation - change
    scale = 1 / np.maximum(np.abs(dual).max(axis=0) / lams, 1)
    square = (
        (1 - scale) ** 2 * residual
        + 2 * scale * (1 - scale) * np.sum(correlation * move, axis=0)
        + scale**2 * np.sum(move * change, axis=0)
    )
    terms = lams * np.abs(weights) - scale * weights * dual
    return 0.5 * square + terms.sum(axis=0)


class ScikitLearn:
  """lasso_path with the Gram matrix."""

  package = 'scikit-learn'
  settings = ({},)

  def __init__(self, problem, dtype):
    from sklearn import linear_model

    self._solve = linear_model.lasso_path
    self._problem, self._dtype = problem, dtype
    count = problem.num_models
    self._gram = np.ascontiguousarray((problem.gram * count).astype(dtype))
    self._cross = np.asfortranarray((problem.cross * count).astype(dtype))
    self._outcomes = np.asfortranarray(problem.outcomes.astype(dtype))
    # With Gram matrix and products given, only the shape of this is read.
    shape = count, problem.num_train
    self._masks = np.zeros(shape, dtype, order='F')

  def ladder(self, tol):
    """Tolerances from the loosest."""
    return tol / np.array([2, 4, 10, 30, 100])

  def solve(self, target, tol):
    """Weights of one target's path."""
    return self._solve(
        self._masks,
        self._outcomes[:, target],
        alphas=self._problem.lams[:, target],
        precompute=self._gram,
        Xy=self._cross[:, target],
        tol=tol,
        max_iter=100_000,
        check_input=False,
    )[1]


class Celer:
  """celer_path on the masks."""

  package = 'celer'
  settings = ({'prune': 0}, {'prune': 1})

  def __init__(self, problem):
    from celer import celer_path

    self._solve, self._problem = celer_path, problem
    self._masks = problem.centred()

  def ladder(self, tol):
    """Tolerances from the loosest."""
    return tol * np.array([10, 4, 2, 1, 0.5, 0.2, 0.1, 0.03])

  def solve(self, target, tol, prune):
    """Weights of one target's path."""
    return self._solve(
        self._masks,
        np.ascontiguousarray(self._problem.outcomes[:, target]),
        'lasso',
        alphas=self._problem.lams[:, target],
        tol=tol,
        prune=prune,
        max_iter=200,
        max_epochs=100_000,
    )[1]


class SkglmGram:
  """The epochs of skglm's GramCD on a given Gram matrix."""

  package = 'skglm'
  settings = (
      {'greedy': False, 'accelerate': True},
      {'greedy': False, 'accelerate': False},
      {'greedy': True, 'accelerate': False},
  )

  def __init__(self, problem):
    from skglm import penalties
    from skglm.solvers import gram_cd
    from skglm.utils import anderson
    from skglm.utils import jit_compilation

    self._epoch = gram_cd._gram_cd_epoch
    self._acceleration = anderson.AndersonAcceleration
    self._penalty = jit_compilation.compiled_clone(penalties.L1(1.0))
    # A column is read for each update: Fortran order makes it contiguous.
    self._problem, self._gram = problem, np.asfortranarray(problem.gram)

  def ladder(self, tol):
    """Violations of optimality, over the largest penalty."""
    return np.sqrt(tol) * _VIOLATIONS

  def solve(self, target, tol, greedy, accelerate):
    """Weights of one target's path."""
    cross = np.ascontiguousarray(self._problem.cross[:, target])
    lams = self._problem.lams[:, target]
    weights, gradient = np.zeros_like(cross), -cross
    path, columns = np.zeros((len(cross), len(lams))), np.arange(len(cross))
    for index, lam in enumerate(lams):
      self._penalty.alpha = float(lam)
      acceleration = self._acceleration(K=5)
      violation = self._penalty.subdiff_distance(weights, gradient, columns)
      for _ in range(5000):
        if violation.max() <= tol * lams[0]:
          break
        violation = self._epoch(
            self._gram, weights, gradient, self._penalty, greedy
        )
        if accelerate:
          self._jump(acceleration, weights, gradient, cross, lam)
      path[:, index] = weights
    return path

  def _jump(self, acceleration, weights, gradient, cross, lam):
    """Takes the extrapolated point where its objective is lower."""
    further, slope, extrapolated = acceleration.extrapolate(weights, gradient)

    def objective(weights, gradient):
      smooth = 0.5 * weights @ (gradient - cross)
      return smooth + lam * np.abs(weights).sum()

    if extrapolated and (
        objective(further, slope) < objective(weights, gradient)
    ):
      weights[:], gradient[:] = further, slope


class Skglm:
  """AndersonCD on the masks, with working sets."""

  package = 'skglm'
  settings = ({'strategy': 'subdiff'}, {'strategy': 'fixpoint'})

  def __init__(self, problem):
    from skglm import datafits
    from skglm import penalties
    from skglm import solvers
    from skglm.utils import jit_compilation

    self._solver = solvers.AndersonCD
    self._fit = jit_compilation.compiled_clone(datafits.Quadratic())
    self._penalty = jit_compilation.compiled_clone(penalties.L1(1.0))
    self._problem, self._masks = problem, problem.centred()

  def ladder(self, tol):
    """Violations of optimality, over the largest penalty."""
    return np.sqrt(tol) * _VIOLATIONS

  def solve(self, target, tol, strategy):
    """Weights of one target's path."""
    outcome = np.ascontiguousarray(self._problem.outcomes[:, target])
    lams = self._problem.lams[:, target]
    solver = self._solver(
        max_iter=200,
        max_epochs=100_000,
        tol=tol * lams[0],
        fit_intercept=False,
        warm_start=True,
        ws_strategy=strategy,
    )
    self._fit.initialize(self._masks, outcome)
    num_train = self._problem.num_train
    weights, product = np.zeros(num_train), np.zeros(len(outcome))
    path = np.zeros((num_train, len(lams)))
    for index, lam in enumerate(lams):
      self._penalty.alpha = float(lam)
      weights = solver.solve(
          self._masks, outcome, self._fit, self._penalty, weights, product
      )[0]
      product = self._masks @ weights
      path[:, index] = weights
    return path


class Adelie:
  """gaussian_cov: the covariance method of adelie."""

  package = 'adelie'
  settings = ({'rule': 'pivot'}, {'rule': 'strong'})

  def __init__(self, problem):
    import adelie

    self._solve, self._problem = adelie.gaussian_cov, problem
    self._gram = np.asfortranarray(problem.gram)

  def ladder(self, tol):
    """Tolerances from the loosest."""
    return tol * 10.0 ** -np.arange(7)

  def solve(self, target, tol, rule):
    """Weights of one target's path."""
    lams = self._problem.lams[:, target]
    state = self._solve(
        self._gram,
        self._problem.cross[:, target].copy(),
        penalty=np.ones(len(self._gram)),
        lmda_path=lams,
        tol=tol,
        rdev_tol=0,
        early_exit=False,
        screen_rule=rule,
        progress_bar=False,
        n_threads=1,
    )
    return np.asarray(state.betas.todense()).T


class Glmnet:
  """glmnet's Fortran through python_glmnet, on the masks."""

  package = 'python_glmnet'
  settings = ({},)

  def __init__(self, problem):
    import glmnet

    self._model, self._problem = glmnet.ElasticNet, problem
    self._masks = problem.centred()

  def ladder(self, tol):
    """Tolerances from the loosest."""
    return tol * 10.0 ** -np.arange(6)

  def solve(self, target, tol):
    """Weights of one target's path."""
    model = self._model(
        alpha=1,
        lambda_path=self._problem.lams[:, target],
        standardize=False,
        fit_intercept=True,
        n_splits=0,
        tol=tol,
        max_iter=10**7,
    )
    return model.fit(self._masks, self._problem.outcomes[:, target]).coef_path_


class Saga:
  """fast_l1's algorithm, written anew in numpy: batched SAGA, all targets.

  A table of residuals of all models, batches in order, standardized masks,
  float32, a bias, a step and a soft threshold for each batch (Wong et al.,
  `Leveraging Sparse Linear Layers for Debuggable Deep Networks
  <https://arxiv.org/abs/2105.04857>`_, 2021). Different here, all in its favour:
  the step is that of the theory, 1 / (3 L) for the largest L of any batch, not
  a constant to be tuned; a target goes on to its next penalty when its true gap
  (looked up at no cost after each epoch) is small enough; penalties are divided
  by the columns' deviations, so that the problem solved is the one asked for.
  And one defect is mended: fast_l1 moves the columns of finished targets to the
  end but leaves two arrays behind (which targets are done, and their first
  penalties), so that some targets go on with another's penalty; here no column
  ever moves.
  """

  package = 'fast_l1'
  settings = ({'batches': 4}, {'batches': 10}, {'batches': 25})
  max_epochs = 3000

  def __init__(self, problem):
    self._problem = problem
    masks = problem.masks().astype(np.float32)
    self._deviation = masks.std(axis=0) + np.float32(1e-12)
    self._masks = (masks - masks.mean(axis=0)) / self._deviation

  def ladder(self, tol):
    """One: the gap itself."""
    return np.array([tol])

  def solve_many(self, targets, tol, batches):
    """Weights [num_lams, num_train, len(targets)], and epochs of each target."""
    problem, num_targets = self._problem, len(targets)
    parts = np.array_split(np.arange(problem.num_models), batches)
    smooth = max(self._smoothness(rows) for rows in parts)
    rate = np.float32(1 / (3 * smooth))
    lams = problem.lams[:, targets]
    state = _SagaState(problem, targets)
    path = np.zeros((len(lams), problem.num_train, num_targets))
    weights, index = state.weights, np.zeros(num_targets, int)
    epochs = np.zeros(num_targets, int)
    for _ in range(self.max_epochs):
      live = np.flatnonzero(index < len(lams))
      if not len(live):
        break
      lam = np.zeros(num_targets, np.float32)
      lam[live] = lams[index[live], live]
      for rows in parts:
        state.step(
            self._masks[rows], rows, rate, lam[None] / self._deviation[:, None]
        )
      epochs[live] += 1
      weights = state.weights / self._deviation[:, None]
      for column in live:
        here, at = weights[:, [column]], index[column]
        if problem.gap(targets[column], here, slice(at, at + 1)) <= tol:
          path[at, :, column] = here[:, 0]
          index[column] += 1
    for column in np.flatnonzero(index < len(lams)):  # Cut off: as they are.
      path[index[column] :, :, column] = weights[:, column]
    return path, epochs

  def _smoothness(self, rows):
    """The largest eigenvalue of a batch's second moments."""
    vector = np.ones(self._problem.num_train, np.float32)
    norm = 1.0
    for _ in range(30):
      vector = self._masks[rows].T @ (self._masks[rows] @ vector) / len(rows)
      norm = np.linalg.norm(vector)
      vector /= norm
    return 1.02 * norm


class _SagaState:
  """Weights, bias, the table of residuals, and the mean gradient."""

  def __init__(self, problem, targets):
    num_targets = len(targets)
    self._outcomes = problem.outcomes[:, targets].astype(np.float32)
    self._table = np.zeros_like(self._outcomes)
    self._mean = np.zeros((problem.num_train, num_targets), np.float32)
    self._bias_mean = np.zeros(num_targets, np.float32)
    self.weights = np.zeros_like(self._mean)
    self.bias = np.zeros(num_targets, np.float32)

  def step(self, masks, rows, rate, lam):
    """One batch: gradient, step, table, soft threshold."""
    share = np.float32(len(rows) / len(self._outcomes))
    residual = masks @ self.weights + self.bias[None] - self._outcomes[rows]
    change = (residual - self._table[rows]) / np.float32(len(rows))
    gradient, bias_gradient = masks.T @ change, change.sum(axis=0)
    self.weights -= rate * (gradient + self._mean)
    self.bias -= rate * (bias_gradient + self._bias_mean)
    self._mean += share * gradient
    self._bias_mean += share * bias_gradient
    self._table[rows] = residual
    width = rate * lam
    self.weights -= np.clip(self.weights, -width, width)


PEERS: dict[str, Callable] = {
    'sklearn32': lambda problem: ScikitLearn(problem, np.float32),
    'sklearn64': lambda problem: ScikitLearn(problem, np.float64),
    'skglm_gram': SkglmGram,
    'skglm': Skglm,
    'celer': Celer,
    'adelie': Adelie,
    'glmnet': Glmnet,
    'fast_l1': Saga,
}


def solve_all(peer, targets, setting, tol, budget):
  """Weights of the targets that fit in the budget, seconds of each, epochs."""
  if isinstance(peer, Saga):
    start = time.process_time()
    path, epochs = peer.solve_many(targets, tol, **setting)
    seconds = (time.process_time() - start) / len(targets)
    return list(path.transpose(2, 1, 0)), [seconds] * len(targets), epochs
  solved, seconds = [], []
  for target in targets:
    start = time.process_time()
    solved.append(np.asarray(peer.solve(target, tol, **setting)))
    seconds.append(time.process_time() - start)
    if sum(seconds) > budget:
      break
  return solved, seconds, np.zeros(0)


def choose(peer, problem, tol, budget, looser=()):
  """The fastest setting whose true gap is small enough, or the best gap.

  Args:
    peer: who solves.
    problem: what.
    tol: the gap.
    budget: CPU seconds.
    looser: multiples of a peer's loosest tolerance to begin with.

  Returns:
    Whether it missed, its cost, setting, tolerance and gap.
  """
  count = min(_NUM_PROBES, problem.num_targets)
  probes = np.linspace(0, problem.num_targets - 1, count).astype(int)
  # The budget can cut them off.
  probes = np.random.default_rng(0).permutation(probes)
  found = []
  for setting in peer.settings:
    if not isinstance(peer, Saga):
      # Compiles what is compiled.
      solve_all(peer, probes[:1], setting, peer.ladder(tol)[0], 0)
    rungs = peer.ladder(tol)
    for inner in [*(rungs[0] * factor for factor in looser), *rungs]:
      solved, seconds, epochs = solve_all(
          peer, probes, setting, inner, budget / 3
      )
      gap = max(problem.gap(j, w) for j, w in zip(probes, solved))
      reached = gap <= tol
      cost = float(np.mean(epochs if len(epochs) else seconds))
      cost = cost if reached else gap
      found.append((not reached, cost, setting, float(inner), gap))
      if reached or np.mean(seconds) > budget:
        break
  return min(found, key=lambda row: row[:2])


def _number(value):
  """A value of a setting in few digits."""
  return f'{value:.3g}' if isinstance(value, float) else value


def main(path, name, tol, budget, dual_point):
  """Finds the best setting, then solves what it is asked for."""
  problem, looser = Problem(path), ()
  if dual_point == 'corrected':
    problem.correct()
    looser = _LOOSER
  peer = PEERS[name](problem)
  missed, _, setting, inner, gap = choose(peer, problem, tol, budget, looser)
  try:
    version = metadata.version(peer.package)
  except metadata.PackageNotFoundError:
    version = 'own port'
  said = {'tol': inner, **setting}
  words = ' '.join(f'{key}={_number(value)}' for key, value in said.items())
  print(
      json.dumps(
          {
              'version': version,
              'setting': words,
              'probe_gap': gap,
              'reached': not missed,
          }
      ),
      flush=True,
  )
  for line in sys.stdin:
    where, *targets = line.split()
    targets = [int(target) for target in targets]
    solved, seconds, epochs = solve_all(peer, targets, setting, inner, budget)
    np.save(where, np.stack(solved, axis=2).transpose(1, 0, 2))
    print(
        json.dumps({'seconds': seconds, 'epochs': epochs.tolist()}), flush=True
    )


if __name__ == '__main__':
  _path, _name, _tol, _budget, _dual_point = sys.argv[1:]
  main(_path, _name, float(_tol), float(_budget), _dual_point)
