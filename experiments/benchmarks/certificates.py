r"""Are the duality gaps that come with LASSO weights true?

  python -m experiments.benchmarks.certificates

1,000 random problems (`certificate_cases`) of 2 to 60 training examples, half as
many to ten times as many models, alpha .1, .5 and .9, with duplicates, groups,
constant columns, constant and identical and 0/1 outcomes and large means; gaps
of 1e-3 to 1e-7, six penalties each. The gaps of the weights as returned are
computed again, by the definition, from the rows, in extended precision: no
claimed gap (`LassoPath.gap`) may be less than the true one. `max_excess` is the
largest true over claimed gap (1 up to rounding), `worst_over_tol` the largest
true gap over the tolerance, `missed` the penalties that are not `converged`
(which is said, and allowed).

A row for each tolerance and ratio of models is appended to certificates.csv.
One CPU minute, nearly all of it compiling.
"""

import time

from absl import app
from absl import flags
import jax
import numpy as np

from experiments.benchmarks import certificate_cases as cases
from experiments.benchmarks import record
from jdm import solvers

_NUM_PROBLEMS = flags.DEFINE_integer('num_problems', 1000, 'Problems.')
_NUM_LAMS = flags.DEFINE_integer('num_lams', 6, 'Penalties of each path.')
_SEED = flags.DEFINE_integer('seed', 0, 'The first problem.')

# Few sizes: each is compiled.
_SIZES = (2, 3, 7, 20, 41, 60)
_TOLS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def main(argv: list[str]) -> None:
  """Solves all problems and records what their gaps are."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments {argv[1:]}')
  cells: dict[tuple, list] = {
      (tol, ratio): [] for tol in _TOLS for ratio in cases.RATIOS
  }
  start = time.process_time()
  for index in range(_NUM_PROBLEMS.value):
    # Sizes, tolerances and ratios go round at different paces.
    cell = list(cells)[index % len(cells)]
    num_train = _SIZES[index // len(cells) % len(_SIZES)]
    cells[cell].append(_check(_SEED.value + index, num_train, *cell))
  for (tol, ratio), found in cells.items():
    if found:
      record.append(__file__, _row(tol, ratio, found))
  print(f'{time.process_time() - start:.0f} CPU seconds')


def _check(seed: int, num_train: int, tol: float, ratio: float) -> tuple:
  """Excess of a problem, its largest true gap, and what was missed."""
  case = cases.make(seed, num_train, max(2, round(ratio * num_train)))
  num_train, num_targets = case.masks.shape[1], case.outcomes.shape[1]
  moments = solvers.Moments.zeros(num_train, num_targets)
  moments = moments.add(case.masks, case.outcomes)
  options = {
      'num_lams': _NUM_LAMS.value,
      'min_ratio': (1e-2, 1e-3)[seed % 2],
      'keep': 'all',
      'tol': tol,
      'devices': jax.local_devices()[:1],
  }
  path = solvers.lasso_path(moments, **options)
  pair = case.masks, case.outcomes
  true = cases.true_gaps(*pair, path.weights, path.lams)
  return (
      cases.excess(path.gap, true).max(),
      true.max(),
      np.sum(~path.converged),
      true.size,
  )


def _row(tol: float, ratio: float, found: list) -> dict:
  excess, worst, missed, size = np.array(found).T
  return {
      'tol': tol,
      'models_over_train': ratio,
      'problems': len(found),
      'solutions': int(size.sum()),
      'max_excess': f'{excess.max():.6f}',
      'worst_over_tol': f'{worst.max() / tol:.3f}',
      'missed': int(missed.sum()),
  }


if __name__ == '__main__':
  app.run(main)
