"""Tests of the stored pool that a notebook starts from."""

import json

from absl.testing import absltest
import numpy as np

from experiments.colabs import make_small_pool
from jdm import recipe as recipe_lib


class SmallPoolTest(absltest.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    with np.load(make_small_pool.PATH) as file:
      cls.file = {name: file[name] for name in file.files}

  def test_is_small(self):
    self.assertLessEqual(make_small_pool.PATH.stat().st_size, 2_000_000)

  def test_is_what_its_recipe_makes(self):
    made = make_small_pool.make(24)
    self.assertEqual(set(made), set(self.file))
    for name, values in made.items():
      stored = self.file[name]
      if name == 'recipe':
        # Models in one vmap and the like change no number.
        recipes = [
            recipe_lib.Recipe.from_json(json.loads(str(text)) | {'group': 0})
            for text in (values, stored)
        ]
        self.assertEqual(recipes[0], recipes[1])
      elif name.startswith('margin'):
        self.assertEqual(stored.dtype, np.float16)
        # Half precision, and sums in another order on another processor.
        np.testing.assert_allclose(values, stored[:24], rtol=0.01, atol=0.01)
      else:
        np.testing.assert_array_equal(values, stored[: len(values)])

  def test_masks_are_halves_and_wrong_labels_are_wrong(self):
    masks = np.unpackbits(self.file['masks'], axis=1, count=500)
    self.assertEqual(masks.shape, (make_small_pool.NUM_MODELS, 500))
    np.testing.assert_array_equal(masks.sum(axis=1), 250)
    margins = self.file['margin_train'].astype(np.float64)
    out_of_bag = (margins * (1 - masks)).sum(axis=0) / (1 - masks).sum(axis=0)
    bad = self.file['mislabels']
    self.assertLen(bad, 25)
    self.assertLess(out_of_bag[bad].mean(), -3)
    self.assertGreater(np.delete(out_of_bag, bad).mean(), 2)


if __name__ == '__main__':
  absltest.main()
