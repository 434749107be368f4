"""Pictures of calibration and of predicted memorization and selection."""

from absl.testing import absltest
import numpy as np

from jdm.applications import calibration as calibration_lib
from jdm.applications import predicted_memorization as memorization_lib
from jdm.applications import predicted_selection as selection_lib
from jdm.modelpred import baselines
from jdm.reports import calibration_plots
from jdm.reports import canvas
from jdm.reports import predicted_plots
from tests.modelpred import made_up as made_up_pool
from tests.reports import made_up


def _words(figure):
  texts = figure.findobj(lambda artist: hasattr(artist, 'get_text'))
  return ' '.join(text.get_text() for text in texts)


class PredictedPlotsTest(absltest.TestCase):

  def test_calibration(self):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=40)
    logits = {
        name: rng.normal(size=(num, 40, 3)) + 2 * np.eye(3)[labels][None]
        for name, num in (('one model', 1), ('exact', 5))
    }
    found = calibration_lib.calibration(logits, labels, scaled=('one model',))
    for figure in (
        calibration_plots.scores(found),
        calibration_plots.reliability(found),
    ):
      self.assertGreater(len(canvas.png(figure)), 1000)
      self.assertIn('one model, temperature', _words(figure))
      self.assertIn('calibration error', _words(figure))

  def test_memorization(self):
    pool = made_up_pool.pool()
    found = memorization_lib.predicted_memorization(
        pool,
        {'exact': baselines.exact(pool)},
        num_sets={'exact': [20, 40]},
        num_reference=40,
    )
    curves = predicted_plots.memorization_curves(found, np.array([[1.0, 2.0]]))
    scatter = predicted_plots.memorization_scatter(found)
    for figure in (curves, scatter):
      self.assertGreater(len(canvas.png(figure)), 1000)
    self.assertIn('CPU seconds', _words(curves))
    self.assertIn('probability', _words(scatter))
    self.assertIsNone(
        predicted_plots.memorization_grid(
            made_up.dataset(with_images=False), found
        )
    )

  def test_selection(self):
    pool = made_up_pool.pool()
    order = np.arange(len(pool.labels))
    order = selection_lib.one_shot(order.astype(float), pool)
    found = selection_lib.predicted_selection(
        pool,
        pool.inputs[:20],
        pool.labels[:20],
        {'mine': lambda: order},
        sizes=[8, 16],
        choice_ids=np.arange(10),
        num_random=3,
    )
    figure = predicted_plots.selection_curves(found)
    self.assertGreater(len(canvas.png(figure)), 1000)
    for words in ('mine', 'random', 'everything'):
      self.assertIn(words, _words(figure))
    dataset = made_up.dataset()
    grid = predicted_plots.selection_grid(dataset, found, count=3)
    self.assertIsNotNone(grid)


if __name__ == '__main__':
  absltest.main()
