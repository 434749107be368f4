r"""How fast all LASSO paths of a pool are solved, against other solvers.

  python -m venv .venv-lasso && .venv-lasso/bin/pip install scikit-learn skglm celer
  python -m venv .venv-old && .venv-old/bin/pip install 'numpy<2' adelie python_glmnet
  env -u OPENBLAS_CORETYPE taskset -c 0 \
      python -m experiments.benchmarks.lasso --workdir=runs/lasso \
      --problem=n1800_m9000 --tol=1e-4 --peers=sklearn32,sklearn64 \
      --peer_python=.venv-lasso/bin/python --old_python=.venv-old/bin/python

Penalties fall to a hundredth (`_deep`: a thousandth) of each target's largest,
30 of them, each solved to a relative duality gap of `--tol`: by the dual point
of the scaled residual, or by the better of that and of a corrected one
(`--dual_point`, `jdm.solvers.certificate`), the same for all sides. Peers
(`peers/lasso_paths.py` lists them and what each is given) run in processes of
their own at their best settings: of each, the loosest tolerance whose *true* gap
is small enough on probed targets; some reach it at none, and their row says so
(`peer_reached`). They solve a sample of targets, others each turn, one after
the other, and no more than `--peer_budget` CPU seconds allow a turn (at least
one); their time is scaled to all targets. jdm solves them all.

Process CPU seconds of one core, compiled before; all take turns, each time is
the median of its turns and stands with the lowest and highest. Gaps are
recomputed in float64 by the definition, from the weights of the sampled
targets. Moments, which most need, are timed apart. `epochs` are sweeps of a
target over the whole path, `gemm_gflops` is the float32 matrix product of
jaxlib (1,024 cubed) in the same run, and `share_of_peak` counts 2 n^2 flops an
epoch and target, as if every sweep were over all coordinates; it can be above
what is really multiplied. `peer_epochs` (fast_l1 alone) cost 4 m n flops.

A row a peer is appended to lasso.csv as soon as it is there, and a row that is
there for this commit, problem, tol and number of targets is not measured again
(`--again`): stop it and go on at will. Some minutes a problem with scikit-learn alone; glmnet, celer and
skglm on the masks take minutes a row. `python -m
experiments.benchmarks.lasso_pictures` draws the rows.

Goals set before, as ratios to scikit-learn with a shared Gram matrix, float32 at
1e-4 and float64 at 1e-6: 5 and 12 at n1800_m9000 (measured 5.3 and 11.1), 8 and
15 at n5000_m10000 (11.6 and 13.9), 3 and 8 with as many models as
examples (1.8 and 2.1), .75 of the GEMM peak at n = 5000 (.73), two dense
gradients a penalty (1.0 sweeps at n1800_m9000). All sides are certified by
corrected dual points; by the scaled residual n1800_m9000 has 2.3 at 1e-4, with 74
sweeps instead of 30. What keeps m = n back: there the smallest curvature of the
Gram matrix is next to nothing, so that corrected points say no more than
residuals do, a penalty takes 6 sweeps (10 at 1e-6, there with float64 products),
and coordinate descent pays for the coordinates alone that move, most of which
stay at 0. Of a sweep's 88 ns a coordinate and target, 42 are the product itself,
18 proximal steps, 28 gaps, Anderson's history and jumps (n = 1800, 256 targets).
The product alone grows with n: to 117 ns at n = 5000, of 160 with the rest, which
is the .73.
Tried without gain: blocks of 64 and 256, a line search instead of Anderson's
jumps; float32 states take 17 % less where few models are and were not kept: their
certificates would need a second try more often. With half as many models as
examples (n1800_m900, 400 targets) all paths are finished and certified, in 13
and 21 sweeps a penalty, 2.5 (1e-4) and 2.1 times (1e-6) as fast as float64
scikit-learn; in float32 it reaches neither gap. Leaving a path where validation
error has risen was not kept: validating its points costs more than solving
them. Rows at 1e-6 from before
2026-11-26T22:48 gave scikit-learn no tolerance looser than 1.5e-4, which on some
problems is tighter than it needs (at n1800_m9000 some 5 % of its time).
"""

import csv
import json
import os
import pathlib
import subprocess
import sys
import time

from absl import app
from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import lasso_problems
from experiments.benchmarks import record
from jdm import provenance
from jdm import solvers
from jdm.solvers import centred
from jdm.solvers import certificate

_WORKDIR = flags.DEFINE_string(
    'workdir', 'runs/lasso', 'Trained pools, and what peers read.'
)
_PROBLEM = flags.DEFINE_enum(
    'problem', 'n1800_m9000', list(lasso_problems.PROBLEMS), 'Which one.'
)
_NUM_TARGETS = flags.DEFINE_integer('num_targets', None, 'The first so many.')
_NUM_LAMS = flags.DEFINE_integer('num_lams', 30, 'Penalties of each path.')
_TOL = flags.DEFINE_float('tol', 1e-4, 'Relative duality gap.')
_DUAL_POINT = flags.DEFINE_enum(
    'dual_point',
    'corrected',
    list(certificate.DUAL_POINTS),
    'What certifies all sides.',
)
_PEERS = flags.DEFINE_list('peers', ['sklearn32', 'sklearn64'], 'Which peers.')
_PEER_PYTHON = flags.DEFINE_string(
    'peer_python', sys.executable, 'With scikit-learn, skglm and celer.'
)
_OLD_PYTHON = flags.DEFINE_string(
    'old_python', sys.executable, 'With numpy < 2, adelie and python_glmnet.'
)
_SAMPLE = flags.DEFINE_integer('sample', 20, 'Targets a peer solves a turn.')
_BUDGET = flags.DEFINE_float('peer_budget', 30, 'CPU seconds of a turn.')
_TURNS = flags.DEFINE_integer('turns', 5, 'Times each side is measured.')
_AGAIN = flags.DEFINE_bool('again', False, 'Also rows that are there already.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of a synthetic pool.')

_OLD = ('adelie', 'glmnet')
_GEMM = 1024


def main(argv: list[str]) -> None:
  """Makes the problem, lets all sides solve it in turns, records rows."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  names = [name for name in _PEERS.value if _AGAIN.value or not _recorded(name)]
  if not names:
    print('all of these rows are there; --again measures them again')
    return
  os.makedirs(_WORKDIR.value, exist_ok=True)
  problem = lasso_problems.make(
      _PROBLEM.value,
      _WORKDIR.value,
      seed=_SEED.value,
      num_targets=_NUM_TARGETS.value,
  )
  moments_seconds = _timed(
      lasso_problems.moments, problem.masks, problem.outcomes
  )[1]
  path = _solve(problem)  # Compiles.
  file = os.path.join(_WORKDIR.value, f'{_PROBLEM.value}.{os.getpid()}.npz')
  problem.save(file, path.lams)
  try:
    peers = [_Peer(name, file) for name in names]
  finally:
    os.remove(file)  # They have read it.
  ours, gemms = [], []
  for turn in range(_TURNS.value):
    path, seconds = _timed(_solve, problem)
    ours.append(seconds)
    gemms.append(_gemm_gflops())
    for peer in peers:
      peer.take_turn(turn, problem, path.lams)
  row = _our_row(problem, path, ours, gemms, peers[0].sampled)
  row['moments_seconds'] = round(moments_seconds, 2)
  for peer in peers:
    peer.close()
    record.append(__file__, {**row, **peer.row(problem, row)})


def _recorded(name: str) -> bool:
  """Whether this commit has a row of this peer."""
  path = pathlib.Path(__file__).with_suffix('.csv')
  if not path.exists():
    return False
  num_targets = (
      _NUM_TARGETS.value or lasso_problems.PROBLEMS[_PROBLEM.value].num_targets
  )
  # The rows themselves are a change of the checkout.
  commit = provenance.commit().rstrip('+')
  with path.open(newline='', encoding='utf-8') as file:
    return any(
        row['commit'].rstrip('+') == commit
        and row['problem'] == _PROBLEM.value
        and float(row['tol']) == _TOL.value
        and row['dual_point'] == _DUAL_POINT.value
        and int(row['num_targets']) == num_targets
        and row['peer'] == name
        for row in csv.DictReader(file)
    )


def _timed(function, *args):
  """Result and process CPU seconds."""
  start = time.process_time()
  result = function(*args)
  return result, time.process_time() - start


def _solve(problem: lasso_problems.Problem) -> solvers.LassoPath:
  """The whole paths; gaps as the solver sees them, as the peers' are."""
  return solvers.lasso_path(
      problem.moments,
      num_lams=_NUM_LAMS.value,
      min_ratio=problem.min_ratio,
      tol=_TOL.value,
      dual_point=_DUAL_POINT.value,
      keep='all',
      certify=False,
      devices=jax.local_devices()[:1],
  )


def _gaps(problem, targets, weights, lams) -> np.ndarray:
  """True gaps of some targets' paths, in float64."""
  if _DUAL_POINT.value == 'residual':
    return problem.gaps(targets, weights, lams)
  some = centred.of(problem.moments).targets(targets)
  lams = lams[:, targets]
  return certificate.from_moments(some, weights, lams, dual_point='corrected')


_multiply = jax.jit(lambda x, y: x @ y)


def _gemm_gflops() -> float:
  """GF/s of a large float32 product of jaxlib on this core."""
  ones = jnp.ones((_GEMM, _GEMM), jnp.float32)
  _multiply(ones, ones).block_until_ready()
  start = time.process_time()
  for _ in range(5):
    _multiply(ones, ones).block_until_ready()
  return 5 * 2e-9 * _GEMM**3 / (time.process_time() - start)


def _spread(name: str, values: list[float], digits: int = 3) -> dict:
  """Median, lowest and highest."""
  return {
      name: round(float(np.median(values)), digits),
      f'{name}_low': round(min(values), digits),
      f'{name}_high': round(max(values), digits),
  }


def _our_row(problem, path, ours, gemms, sampled) -> dict:
  """The columns of jdm."""
  (num_models, num_train), num_targets = problem.masks.shape, len(path.lams[0])
  epochs = float(path.num_epochs.mean())
  peak = float(np.median(gemms))
  flops = 2 * num_train**2 * num_targets * epochs
  gaps = _gaps(problem, sampled, path.weights[:, :, sampled], path.lams)
  return {
      'problem': _PROBLEM.value,
      'num_train': num_train,
      'num_models': num_models,
      'num_targets': num_targets,
      'num_lams': len(path.lams),
      'min_ratio': problem.min_ratio,
      'tol': _TOL.value,
      'dual_point': _DUAL_POINT.value,
      **_spread('seconds', ours),
      'max_gap': f'{gaps.max():.2e}',
      'epochs': round(epochs, 1),
      'missed': int(np.sum(~path.converged.all(axis=0))),
      'gemm_gflops': round(peak, 1),
      'share_of_peak': round(flops / np.median(ours) / peak / 1e9, 2),
      'turns': len(ours),
  }


class _Peer:
  """A process that solves some targets when asked."""

  def __init__(self, name: str, file: str):
    self._name = name
    self._weights = f'{file}.{name}.npy'
    program = pathlib.Path(__file__).parent / 'peers' / 'lasso_paths.py'
    python = _OLD_PYTHON.value if name in _OLD else _PEER_PYTHON.value
    one = {f'{x}_NUM_THREADS': '1' for x in ('OMP', 'OPENBLAS', 'NUMBA')}
    self._process = subprocess.Popen(
        [python, program, file, name]
        + [str(_TOL.value), str(_BUDGET.value), _DUAL_POINT.value],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **one},
    )
    self.said = self._listen()
    self._seconds: list[float] = []
    self._epochs: list[float] = []
    self._gaps: list[float] = []
    self._solved: list[np.ndarray] = []

  @property
  def sampled(self) -> np.ndarray:
    """Targets solved in any turn."""
    return np.unique(np.concatenate(self._solved))

  def _listen(self) -> dict:
    """The next line of the process."""
    assert self._process.stdout is not None
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError(
          f'the peer {self._name} ended with {self._process.wait()}; its'
          ' message is above'
      )
    return json.loads(line)

  def take_turn(self, turn, problem, lams) -> None:
    """Lets it solve targets spread over the classes, others each turn."""
    if self._epochs:
      return  # They are counted, not timed: once is enough.
    num_targets = lams.shape[1]
    sample = min(_SAMPLE.value, num_targets)
    step = num_targets // sample
    targets = np.arange(sample) * step + turn % step
    # Whatever the budget cuts off, classes are not.
    targets = np.random.default_rng(turn).permutation(targets)
    assert self._process.stdin is not None
    line = ' '.join([self._weights, *map(str, targets)])
    self._process.stdin.write(f'{line}\n')
    self._process.stdin.flush()
    found = self._listen()
    weights = np.load(self._weights)
    os.remove(self._weights)
    targets = targets[: len(found['seconds'])]
    self._gaps.append(_gaps(problem, targets, weights, lams).max())
    self._seconds.append(float(np.mean(found['seconds'])) * num_targets)
    self._epochs += found['epochs']
    self._solved.append(targets)

  def close(self) -> None:
    """Ends the process."""
    self._process.communicate()

  def row(self, problem, ours: dict) -> dict:
    """The columns of the peer."""
    gap = max(self._gaps)
    row = {
        'peer': self._name,
        'peer_version': self.said['version'],
        'peer_setting': self.said['setting'],
        'peer_targets': len(self.sampled),
        'peer_max_gap': f'{gap:.2e}',
        'peer_reached': bool(gap <= 1.1 * _TOL.value),
    }
    if self._epochs:  # Its flops alone count.
      epochs = float(np.mean(self._epochs))
      num_models, num_train = problem.masks.shape
      flops = epochs * 2 * num_models / (num_train * ours['epochs'])
      row |= {'peer_epochs': round(epochs, 1), 'flops_ratio': round(flops, 1)}
      return row
    row |= _spread('peer_seconds', self._seconds)
    row['ratio'] = round(row['peer_seconds'] / ours['seconds'], 2)
    return row


if __name__ == '__main__':
  app.run(main)
