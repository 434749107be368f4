"""Pictures of mislabels, backdoors and memorization are drawn, or are None."""

import dataclasses

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.applications import backdoor as backdoor_lib
from jdm.applications import memorization as memorization_lib
from jdm.applications import mislabels as mislabels_lib
from jdm.datasets import answers
from jdm.reports import backdoor_plots
from jdm.reports import canvas
from jdm.reports import memorization_plots
from jdm.reports import mislabels_plots
from tests.reports import made_up

_NUM_TRAIN, _NUM_TEST = made_up.NUM_TRAIN, made_up.NUM_TARGETS
_BAD = np.array([1, 5, 9, 13])
_LABELS = np.arange(_NUM_TRAIN) % 4
_RNG = np.random.default_rng(0)
_MASKS = _RNG.random((50, _NUM_TRAIN)) < 0.5


def _words(figure):
  """All texts of a figure."""
  texts = figure.findobj(lambda artist: hasattr(artist, 'get_text'))
  return ' '.join(text.get_text() for text in texts)


def _retrain(num_targets):
  def retrain(masks, replicates):
    rng = np.random.default_rng(1)
    return rng.random((replicates, len(masks), num_targets))

  return retrain


def _planted(dataset):
  planted = answers.Planted(mislabels=_BAD, clean_labels=3 - _LABELS)
  return dataclasses.replace(dataset, planted=planted)


class MislabelsPlotsTest(parameterized.TestCase):

  def _found(self, **options):
    names = ('data_oob', 'loss', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'knn')
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(size=_NUM_TRAIN) for name in names}
    scores['loss'][_BAD] += 5
    return mislabels_lib.mislabels(scores, **options)

  @parameterized.parameters(2, 3)
  def test_drawn(self, replicates):
    found = self._found(
        bad=_BAD,
        retrain=_retrain(_NUM_TEST),
        num_targets=_NUM_TEST,
        replicates=replicates,
    )
    drawn = {
        'curves': mislabels_plots.curves(found),
        'areas': mislabels_plots.areas(found),
        'sheet': mislabels_plots.sheet(found, _planted(made_up.dataset())),
        'cleaning': mislabels_plots.cleaning(found),
    }
    for name, figure in drawn.items():
      self.assertGreater(len(canvas.png(figure)), 1000, name)
    # The score that is used is always there, with that of highest AUC.
    self.assertIn('Data-OOB', _words(drawn['curves']))
    self.assertIn('loss when trained on: AUC 1.000', _words(drawn['curves']))
    self.assertIn('at random', _words(drawn['curves']))
    self.assertIn('without all mislabels', _words(drawn['cleaning']))
    row = found.order[0]
    self.assertIn(f'labelled {_LABELS[row]}', _words(drawn['sheet']))

  def test_nothing_known_or_retrained(self):
    found = self._found()
    for draw in (
        mislabels_plots.curves,
        mislabels_plots.areas,
        mislabels_plots.cleaning,
    ):
      self.assertIsNone(draw(found))
    self.assertIsNone(
        mislabels_plots.sheet(found, made_up.dataset(with_images=False))
    )
    self.assertNotIn(
        'planted', _words(mislabels_plots.sheet(found, made_up.dataset()))
    )


class BackdoorPlotsTest(parameterized.TestCase):

  def _found(self, labels=_LABELS, **options):
    matrix = _RNG.normal(size=(_NUM_TRAIN, _NUM_TRAIN))
    matrix[np.ix_(_BAD, _BAD)] += 5
    found = backdoor_lib.backdoor(matrix, labels, sizes=[2, 4], **options)
    return matrix, found

  @parameterized.parameters(True, False)
  def test_drawn(self, is_known):
    options = {'poisoned': _BAD} if is_known else {}
    matrix, found = self._found(**options)
    found = backdoor_lib.removal(
        found,
        _LABELS,
        _retrain(_NUM_TEST),
        num_targets=_NUM_TEST,
        triggered=[0, 2] if is_known else [],
    )
    dataset = made_up.dataset(names=('ant', 'bee', 'cat', 'dog'))
    drawn = {
        'values': backdoor_plots.values(found, dataset, outcome='margin'),
        'matrix': backdoor_plots.matrix(found, matrix, _LABELS),
        'scores': backdoor_plots.scores(found, _LABELS, outcome='margin'),
        'sheet': backdoor_plots.sheet(found, dataset),
        'removal': backdoor_plots.removal(found),
    }
    for name, figure in drawn.items():
      self.assertGreater(len(canvas.png(figure)), 1000, name)
    self.assertIn('label bee', _words(drawn['values']))
    self.assertIn('logits', _words(drawn['values']))
    self.assertEqual(is_known, 'poisoned' in _words(drawn['scores']))
    self.assertEqual(is_known, 'trigger' in _words(drawn['removal']))

  def test_without_labels_images_or_retraining(self):
    matrix, found = self._found(labels=None)
    dataset = made_up.dataset(with_images=False)
    self.assertIsNone(backdoor_plots.sheet(found, dataset))
    self.assertIsNone(backdoor_plots.removal(found))
    figure = backdoor_plots.values(found, dataset)
    self.assertIn('all examples', _words(figure))
    figure = backdoor_plots.matrix(found, matrix, _LABELS)
    self.assertIn('36 others', _words(figure))


class MemorizationPlotsTest(parameterized.TestCase):

  def _found(self, **options):
    rng = np.random.default_rng(0)
    train = (rng.random(_MASKS.shape) < 0.5 + 0.4 * _MASKS).astype(float)
    test = rng.random((50, _NUM_TEST)) + 0.5 * _MASKS[:, :_NUM_TEST]
    return memorization_lib.memorization(_MASKS, train, test, **options)

  def test_drawn(self):
    found = self._found(retrain=_retrain(_NUM_TRAIN), num_retrained=3)
    dataset = made_up.dataset()
    drawn = {
        'distribution': memorization_plots.distribution(found),
        'sheet': memorization_plots.sheet(found, dataset),
        'pairs': memorization_plots.pairs_sheet(found, dataset),
        'shrinkage': memorization_plots.shrinkage(found),
        'left_out': memorization_plots.left_out(found),
    }
    for name, figure in drawn.items():
      self.assertGreater(len(canvas.png(figure)), 1000, name)
    self.assertIn('50 models', _words(drawn['distribution']))
    # One pair a test example.
    tests = len(set(found.pairs.pairs[:, 1]))
    self.assertEqual(_words(drawn['pairs']).count('test'), tests)
    self.assertIn('other half', _words(drawn['shrinkage']))

  def test_nothing_to_draw(self):
    found = self._found(min_influence=9)
    dataset = made_up.dataset()
    self.assertIsNone(memorization_plots.pairs_sheet(found, dataset))
    self.assertIsNone(memorization_plots.left_out(found))
    plain = made_up.dataset(with_images=False)
    self.assertIsNone(memorization_plots.sheet(found, plain))
    self.assertIsNone(memorization_plots.pairs_sheet(self._found(), plain))


if __name__ == '__main__':
  absltest.main()
