import dataclasses

from absl.testing import absltest
import numpy as np

from jdm.attributors import cross_fit
from jdm.attributors import influence
from jdm.attributors import scores as scores_lib
from tests.attributors import made


class _Models:
  """Stands for trained models: scores of model i are i."""

  def __init__(self, ids):
    self.ids = ids

  @property
  def num_models(self):
    return len(self.ids)

  def counted(self):
    return None

  def take(self, rows):
    return _Models(self.ids[rows])


def _find(models):
  return [
      scores_lib.Scores(
          values=np.full((3, 2), scale * models.ids.mean()),
          method='made up',
          units='none',
          num_models=models.num_models,
          gradients=10 * models.num_models,
      )
      for scale in (1, 2)
  ]


class CrossFitTest(absltest.TestCase):

  def test_scores_are_means_without_each_fold(self):
    ids, fold_of = np.arange(7.0), np.array([0, 1, 3, 0, 1, 3, 3])
    found = cross_fit.scores(_find, _Models(ids), fold_of, 4)
    self.assertLen(found, 2)
    for scale, one in zip((1, 2), found):
      np.testing.assert_allclose(one.scores.values, scale * ids.mean())
      self.assertEqual(one.scores.num_models, 7)
      self.assertEqual(one.scores.gradients, 70)
      for fold in range(4):
        np.testing.assert_allclose(
            one.without_fold[fold],
            scale * ids[fold_of != fold].mean(),
            rtol=1e-6,
        )

  def test_models_that_trained_on_a_target_do_not_count(self):
    own_ids = np.array([2, -1, 5, 7, 9, 20, 30, 59])
    trained = dataclasses.replace(made.trained(num_models=7), own_ids=own_ids)
    options = {'dampings': (0.5, 2.0)}
    fold_of = np.array([0, 1, 2, 0, 1, 2, 0])
    found = cross_fit.scores(
        lambda some: influence.path(some, **options), trained, fold_of, 3
    )
    alone = [
        influence.path(
            dataclasses.replace(trained.take([row]), own_ids=None), **options
        )
        for row in range(7)
    ]
    for index, one in enumerate(found):
      values = np.stack([scores[index].values for scores in alone])
      for target, own in enumerate(own_ids):
        rows = np.ones(7, bool) if own < 0 else ~trained.masks[:, own]
        # A target that no model counts for has 0.
        parts = [*one.without_fold, one.scores.values]
        for fold, found_values in enumerate(parts):
          some = rows & (fold_of != fold)
          expected = values[some, :, target].mean(axis=0) if some.any() else 0
          np.testing.assert_allclose(
              found_values[:, target], expected, rtol=1e-4, atol=1e-5
          )

  def test_bad_folds_raise(self):
    models = _Models(np.arange(4.0))
    with self.assertRaisesRegex(ValueError, 'each of 4 models'):
      cross_fit.scores(_find, models, np.zeros(3, int), 2)
    for fold_of in (np.zeros(4, int), np.array([0, 1, 2, 3])):
      with self.assertRaisesRegex(ValueError, 'two folds or more of 2'):
        cross_fit.scores(_find, models, fold_of, 2)


if __name__ == '__main__':
  absltest.main()
