"""What all binaries share: estimates that are printed, files of results."""

import contextlib
import io
import json
import os

from absl.testing import absltest
import numpy as np

from experiments import binary
from jdm import collection
from jdm import recipe as recipe_lib
from jdm import shares
from jdm.training import sgd


class EstimateTest(absltest.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    recipe = recipe_lib.Recipe(
        dataset_options={'num_train': 40, 'num_test': 6},
        training=sgd.Config(epochs=1, batch_size=10),
        group=2,
    )
    cls.pool = recipe_lib.build(recipe)

  def setUp(self):
    super().setUp()
    self.path = self.create_tempdir().full_path + '/store'

  def _estimate(self, num_models, index, **options):
    """What is printed of a share of three, and returned."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      cost = binary.print_estimate(
          self.pool,
          self.path,
          num_models,
          share=shares.Share(index, 3, 'flags'),
          **options,
      )
    return printed.getvalue(), cost

  def test_of_a_share_of_a_new_store(self):
    # Chunks of 4 rows: 0 to 3, 4 to 7, 8 and 9.
    for index, expected in enumerate((4, 4, 2)):
      printed, cost = self._estimate(10, index, chunk=4)
      self.assertEqual(cost.num_models, expected)
      self.assertIn(f'{self.path}: {expected} models to train', printed)
    self.assertFalse(os.path.exists(self.path))

  def test_of_a_share_of_what_is_missing(self):
    first = shares.Share(0, 3, 'flags')
    options = {'num_models': 10, 'chunk': 4}
    collection.collect(self.pool, self.path, share=first, **options)
    printed, cost = self._estimate(10, 0)
    self.assertIsNone(cost)
    self.assertEqual(printed, f'{self.path} is complete: {first}\n')
    # The chunk is the store's, whatever is asked for.
    _, cost = self._estimate(10, 2, chunk=5)
    self.assertEqual(cost.num_models, 2)
    # A pool that grows: rows 12 to 13 are the first share's.
    _, cost = self._estimate(14, 0)
    self.assertEqual(cost.num_models, 2)


class WriteJsonTest(absltest.TestCase):

  def test_a_name_without_a_folder(self):
    folder = self.create_tempdir().full_path
    with contextlib.chdir(folder):
      binary.write_json('it.json', {'value': np.float32(0.5), 'none': np.nan})
    self.assertEqual(os.listdir(folder), ['it.json'])
    with open(f'{folder}/it.json', encoding='utf-8') as file:
      found = json.load(file)
    self.assertEqual((found['value'], found['none']), (0.5, None))
    self.assertIn('versions', found['made_by'])


if __name__ == '__main__':
  absltest.main()
