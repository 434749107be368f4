"""The sharded route against the route of one device, on emulated devices.

`python -m tests.solvers.sharded_cases` checks 4 and 8 devices, and what XLA
would take on eight.
"""

import jax
import numpy as np

from jdm.solvers import memory
from jdm.solvers import moments as moments_lib
from jdm.solvers import path as path_lib
from tests import planted
from tests.solvers import oracle

CASES = {
    'validation': {'num_models': 400, 'tol': 1e-4},
    'underdetermined': {'num_models': 40, 'tol': 1e-4, 'keep': 'all'},
    'float64': {'num_models': 200, 'tol': 1e-8, 'keep': 'all'},
    'factor': {
        'num_models': 200,
        'tol': 1e-5,
        'keep': 'all',
        'factor': np.random.default_rng(0).uniform(0.3, 3, size=(61, 6)),
        'l1_ratio': 0.6,
    },
}


def check(count: int, name: str) -> None:
  """Fits one case on one device and on several, which have to agree."""
  case = dict(CASES[name])
  num_models, tol = case.pop('num_models'), case['tol']
  problem = planted.sparse_linear(3, 61, num_models, 6)
  num_fit = num_models
  if 'keep' not in case:
    num_fit -= 100
    case['val_masks'] = problem.masks[num_fit:]
    case['val_outcomes'] = problem.outcomes[num_fit:]
  moments = moments_lib.of(problem.masks[:num_fit], problem.outcomes[:num_fit])
  options = {'num_lams': 5, 'min_ratio': 0.03, 'tile': 4, **case}
  devices = jax.local_devices()
  assert len(devices) >= count, devices
  one = path_lib.lasso_path(moments, devices=devices[:1], **options)
  many = path_lib.lasso_path(
      moments, devices=devices[:count], shard=True, **options
  )
  for path in (one, many):
    assert path.converged.all(), (count, name, path.gap)
    assert (path.gap <= 1.1 * tol).all(), (count, name, path.gap)
  np.testing.assert_array_equal(one.lams, many.lams)
  assert one.weights.shape == many.weights.shape
  if name == 'validation':
    np.testing.assert_allclose(
        one.val_mse_path, many.val_mse_path, rtol=3e-3, err_msg=name
    )
    _same_gap(problem, num_fit, many)
    return
  if 'factor' in case:
    # Solutions differ by about the root of a gap of 1e-5.
    np.testing.assert_allclose(one.weights, many.weights, atol=0.02)
  else:
    _same_objective(problem, one, many)


def _same_objective(problem, one, many) -> None:
  """Objectives differ by no more than the certificates."""
  for k in range(len(one.lams)):
    for j in range(6):
      values = [
          oracle.objective(
              problem.masks,
              problem.outcomes[:, j],
              path.weights[k, :, j],
              path.bias[k, j],
              path.lams[k, j],
          )
          for path in (one, many)
      ]
      scale = problem.outcomes[:, j].astype(np.float64).var() / 2
      bound = max(one.gap[k, j], many.gap[k, j]) * scale + 1e-12
      assert abs(values[0] - values[1]) <= bound, (k, j, values, bound)


def _same_gap(problem, num_fit, path) -> None:
  """The gap is that of the weights, by its definition."""
  for j in range(6):
    gap = oracle.relative_gap(
        problem.masks[:num_fit],
        problem.outcomes[:num_fit, j],
        path.weights[:, j],
        path.lam[j],
    )
    np.testing.assert_allclose(path.gap[j], gap, rtol=1e-4, atol=1e-13)


def check_memory() -> None:
  """The plan is an upper bound of what XLA takes, and near it."""
  for sizes in (
      # The largest problem that one device of 80 GB is meant for, and eight.
      memory.Sizes(
          num_train=50_000,
          num_models=300_000,
          num_targets=10_000,
          num_devices=8,
      ),
      memory.Sizes(
          num_train=60_000,
          num_models=80_000,
          num_targets=10_000,
          num_devices=8,
          tile=512,
          depth=0,
          num_lams=20,
      ),
  ):
    bytes_taken = memory.dry_run(sizes, jax.local_devices())
    planned = memory.needs(sizes)['sweeps']
    own = bytes_taken.argument_size_in_bytes
    own += bytes_taken.output_size_in_bytes + bytes_taken.temp_size_in_bytes
    whole = sum(size for size in planned.values())
    print(f'{own / 2**30:.2f} GiB taken, {whole / 2**30:.2f} planned')
    assert 0.9 * whole <= own <= whole, (own, planned)


if __name__ == '__main__':
  jax.config.update('jax_num_cpu_devices', 8)
  check_memory()
  for devices_used, case_name in (
      (4, 'float64'),
      (8, 'underdetermined'),
  ):
    check(devices_used, case_name)
    print(devices_used, case_name, 'agrees', flush=True)
