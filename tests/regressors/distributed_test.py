"""Processes that fit together agree with one that fits alone."""

import os
import pathlib
import socket
import subprocess
import sys
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.regressors import distributed
from jdm.regressors import lasso
from jdm.solvers import moments
from jdm.solvers import path
from tests import planted

_ROOT = pathlib.Path(__file__).parents[2]
_OPTIONS = {'num_val': 60, 'num_lams': 12, 'min_ratio': 0.05}
_CHILD = """
import sys
import jax
address, count, index, folder = sys.argv[1:]
jax.config.update('jax_num_cpu_devices', 2)
jax.distributed.initialize(address, int(count), int(index))
from jdm import datamodels
from tests.regressors import distributed_test
fitted = distributed_test.fit()
datamodels.save(f'{folder}/{index}.npz', fitted)
"""


def _problem():
  return planted.sparse_linear(0, 40, 300, 8)


def fit(**options):
  """Fits the planted problem with the processes there are."""
  problem = _problem()
  outcomes = problem.outcomes.astype(np.float32)

  def read(rows):
    return problem.masks[rows], outcomes[rows]

  return distributed.fit(
      read, np.arange(300), **(_OPTIONS | options), outcome='made_up'
  )


def free_port():
  """A port that nobody listens on now."""
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


class FitTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    problem = _problem()
    cls.expected = lasso.fit(
        problem.masks,
        problem.outcomes.astype(np.float32),
        outcome='made_up',
        **_OPTIONS,
    )
    cls.alone = fit()

  def assertSameFit(self, found):
    # Sums in another order: rounding of float64.
    np.testing.assert_allclose(found.lam, self.expected.lam, rtol=1e-12)
    self.assertLess(found.gap.max(), 1.1e-4)
    for name in ('fit_ids', 'val_ids', 'train_ids', 'target_ids'):
      np.testing.assert_array_equal(
          getattr(found, name), getattr(self.expected, name)
      )
    self.assertEqual(found.outcome, 'made_up')
    self.assertAlmostEqual(found.alpha, self.expected.alpha)
    # What a relative gap of 1e-4 leaves undecided.
    scale = np.abs(self.expected.weights).max()
    np.testing.assert_allclose(
        found.weights, self.expected.weights, atol=0.02 * scale
    )
    np.testing.assert_allclose(found.val_mse, self.expected.val_mse, rtol=0.02)

  def test_one_process(self):
    self.assertSameFit(self.alone)

  @parameterized.parameters(2, 4)
  def test_processes(self, count):
    folder = self.create_tempdir().full_path
    address = f'127.0.0.1:{free_port()}'
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', _CHILD, address, str(count), str(i), folder],
            cwd=_ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]
    for process in processes:
      _, stderr = process.communicate(timeout=100)
      self.assertEqual(process.returncode, 0, stderr)
    found = [
        datamodels_lib.load(os.path.join(folder, f'{i}.npz'))
        for i in range(count)
    ]
    self.assertSameFit(found[0])
    # Sums are added in the order in which one process adds them.
    np.testing.assert_array_equal(found[0].lam, self.alone.lam)
    for other in found[1:]:
      np.testing.assert_array_equal(other.weights, found[0].weights)
      np.testing.assert_array_equal(other.nnz, found[0].nnz)

  def test_without_a_refit(self):
    found = fit(refit=False)
    self.assertLen(found.fit_ids, 240)
    np.testing.assert_array_equal(found.lam, self.alone.lam)

  def test_fewer_models_than_parts_and_examples(self):
    """With columns that are alike: weights depend on the route."""
    masks, outcomes = _problem().masks[:14], _problem().outcomes[:14]
    found = distributed.fit(
        lambda rows: (masks[rows], outcomes[rows]),
        np.arange(14),
        num_val=3,
        refit=False,
    )
    expected = path.lasso_path(
        moments.of(masks[:11], outcomes[:11]),
        val_masks=masks[11:],
        val_outcomes=outcomes[11:],
    )
    np.testing.assert_allclose(found.lam, expected.lam, rtol=1e-12)
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-3)
    self.assertLess(found.gap.max(), 1.1e-4)

  def test_processes_that_would_fit_different_models(self):
    with mock.patch.object(
        distributed.multihost_utils,
        'process_allgather',
        side_effect=lambda own: np.stack([own, own ^ 1]),
    ):
      with self.assertRaisesRegex(ValueError, 'the same models and options'):
        fit()

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, 'num_val from 1 to 298'):
      fit(num_val=300)
    with self.assertRaisesRegex(ValueError, 'tol above 0'):
      fit(tol=0)
    with self.assertRaisesRegex(TypeError, 'keywords cats'):
      fit(cats=1)
    with self.assertRaisesRegex(ValueError, 'same training set'):
      same = np.ones((8, 4), bool), np.ones((8, 3), np.float32)
      distributed.fit(lambda rows: (same[0][rows], same[1][rows]), np.arange(8))


if __name__ == '__main__':
  absltest.main()
