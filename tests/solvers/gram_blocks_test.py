from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.solvers import centred
from jdm.solvers import dense
from jdm.solvers import gram_blocks
from tests import planted


def _statistics():
  problem = planted.sparse_linear(0)
  masks = problem.moments
  columns = np.random.default_rng(0).normal(size=(90, 60))
  columns[:, 7] = 2.0
  real = dense.of(columns, columns[:, :2])
  return {'masks': masks, 'dense': real, 'centred': centred.of(masks)}


class GramBlocksTest(parameterized.TestCase):

  @parameterized.product(
      kind=('masks', 'dense', 'centred'), whole=(10, 100), block=(1, 13, 60)
  )
  def test_equals_the_whole(self, kind, whole, block):
    moments = _statistics()[kind]
    weights = np.random.default_rng(1).normal(size=(5, 60))
    with mock.patch.multiple(
        gram_blocks, WHOLE_TRAIN=whole, _BLOCK_BYTES=8 * 60 * block, _TILE=2
    ):
      product = gram_blocks.Product(moments, None)(weights)
      rounded = gram_blocks.rounded(moments, 'float32')
      some = gram_blocks.rounded(moments, 'float64', slice(20, 33))
    gram = moments.gram()
    np.testing.assert_allclose(product, weights @ gram, atol=1e-12)
    np.testing.assert_array_equal(rounded, gram.astype(np.float32))
    np.testing.assert_array_equal(some, gram[:, 20:33])


if __name__ == '__main__':
  absltest.main()
