"""Labels: splits that do not leak, and what is refused."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import numpy as np

from jdm import subsets
from jdm.modelpred import heads
from jdm.modelpred import labels as lib


def _labels(num=60, groups=None):
  rng = np.random.default_rng(0)
  masks = rng.random((num, 8)) < 0.7
  masks[:, 0] = True
  return lib.make(masks, rng.normal(size=(num, 4)), groups=groups)


class LabelsTest(parameterized.TestCase):

  @parameterized.parameters(((0.5, 0.1, 0.4),), ((0.8, 0.2),), ((0.3, 0.3),))
  def test_splits_keep_groups_whole(self, shares):
    groups = np.repeat(np.arange(12), 5)
    parts = lib.split(_labels(groups=groups), shares, seed=1)
    seen = [set(part.groups) for part in parts]
    for place, one in enumerate(seen):
      self.assertNotEmpty(one)
      self.assertAlmostEqual(len(one), 12 * shares[place], delta=1)
      for other in seen[place + 1 :]:
        self.assertEmpty(one & other)
      self.assertLen(parts[place], 5 * len(one))

  def test_every_part_has_a_group(self):
    parts = lib.split(_labels(num=3), (0.98, 0.01, 0.01))
    self.assertEqual([len(part) for part in parts], [1, 1, 1])

  def test_prefixes_of_a_permutation_are_one_group(self):
    ids = np.arange(25)
    masks = np.asarray(
        subsets.permutation_prefixes(jax.random.key(0), ids, 10, step=2)
    )
    groups = lib.prefix_groups(ids, 10, step=2)
    for group in range(5):
      sizes = masks[groups == group].sum(axis=1)
      np.testing.assert_array_equal(sizes, [2, 4, 6, 8, 10])
      nested = masks[groups == group]
      self.assertTrue((nested[:-1] <= nested[1:]).all())

  @parameterized.parameters(
      ({'parameters': np.zeros((2, 4))}, r'\[60, num_parameters\]'),
      ({'parameters': np.full((60, 4), np.nan)}, '60 of 60 rows'),
      ({'masks': np.zeros((60, 8), bool)}, '60 empty sets'),
      ({'masks': np.ones((60, 8))}, 'bool masks'),
      ({'groups': np.zeros(3, int)}, r'groups \[60\], got \[3\]'),
  )
  def test_errors(self, changes, words):
    own = _labels()
    options = {'masks': own.masks, 'parameters': own.parameters, **changes}
    with self.assertRaisesRegex(ValueError, words):
      lib.make(options.pop('masks'), options.pop('parameters'), **options)

  def test_split_errors(self):
    groups = np.zeros(60, int)
    with self.assertRaisesRegex(ValueError, '2 parts of 1 groups'):
      lib.split(_labels(groups=groups))
    with self.assertRaisesRegex(ValueError, 'add up to 1'):
      lib.split(_labels(), (0.8, 0.8))


class HeadsTest(absltest.TestCase):

  def test_whitened_outputs_have_variance_one(self):
    rng = np.random.default_rng(0)
    low = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 9)) + 5
    head = heads.make('whitened', low)
    self.assertEqual(head.num_outputs, 3)
    outputs = head.to_outputs(low)
    np.testing.assert_allclose(np.std(outputs, axis=0), 1, atol=1e-3)
    np.testing.assert_allclose(head.to_parameters(outputs), low, atol=1e-3)

  def test_raw_is_the_identity(self):
    head = heads.make('raw', np.ones((1, 4)))
    values = np.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(head.to_parameters(values), values)

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, "got 'pca'"):
      heads.make('pca', np.ones((2, 2)))
    with self.assertRaisesRegex(ValueError, 'two sets or more'):
      heads.make('whitened', np.ones((1, 2)))


if __name__ == '__main__':
  absltest.main()
