"""Pictures of picked subsets are drawn, or are None."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.applications import selection as selection_lib
from jdm.reports import canvas
from jdm.reports import selection_plots
from tests.reports import made_up

_WEIGHTS = np.asarray(made_up.datamodels().weights)


def _retrain(masks, replicates):
  rng = np.random.default_rng(0)
  outcomes = np.stack([masks @ _WEIGHTS] * replicates)
  return outcomes + rng.normal(size=outcomes.shape)


def _selection(retrain=_retrain):
  dataset = made_up.dataset()
  return selection_lib.selection(
      made_up.datamodels(),
      [0, 4, 1],
      sizes=[8, 16],
      train_labels=dataset.train.labels,
      target_labels=dataset.test.labels,
      num_classes=4,
      retrain=retrain,
      replicates=2,
      num_random=3,
  )


def _words(figure):
  """All texts of a figure."""
  return ' '.join(text.get_text() for text in figure.findobj(_is_text))


def _is_text(artist):
  return hasattr(artist, 'get_text')


class SelectionPlotsTest(parameterized.TestCase):

  @parameterized.parameters('target', 'target accuracy', 'rest')
  def test_curves(self, measure):
    figure = selection_plots.curves(_selection(), measure, outcome='margin')
    assert figure is not None
    words = _words(figure)
    for name in ('datamodel', 'same class', 'random'):
      self.assertIn(name, words)
    self.assertGreater(len(canvas.png(figure)), 1000)

  def test_nothing_retrained(self):
    self.assertIsNone(selection_plots.curves(_selection(None)))

  def test_picks(self):
    found = _selection(None)
    figure = selection_plots.picked_grid(made_up.dataset(), found, count=5)
    self.assertIn('picked by datamodel', _words(figure))
    without = made_up.dataset(with_images=False)
    self.assertIsNone(selection_plots.picked_grid(without, found))


if __name__ == '__main__':
  absltest.main()
