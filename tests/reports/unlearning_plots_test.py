"""Pictures of unlearning are drawn, or are None."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.applications import unlearning as unlearning_lib
from jdm.reports import canvas
from jdm.reports import unlearning_plots
from tests.reports import made_up

_WEIGHTS = np.asarray(made_up.datamodels().weights)


def _retrain(masks, replicates):
  rng = np.random.default_rng(0)
  outcomes = np.stack([masks @ _WEIGHTS] * replicates)
  return outcomes + rng.normal(size=outcomes.shape)


def _words(figure):
  """All texts of a figure."""
  return ' '.join(text.get_text() for text in figure.findobj(_is_text))


def _is_text(artist):
  return hasattr(artist, 'get_text')


class UnlearningPlotsTest(parameterized.TestCase):

  @parameterized.parameters(1, 3)
  def test_drawn(self, num_sets):
    forget = {f'set {i}': [i, i + 9] for i in range(num_sets)}
    found = unlearning_lib.unlearning(
        made_up.datamodels(), forget, retrain=_retrain, replicates=40
    )
    for draw in (
        unlearning_plots.klom_bars,
        unlearning_plots.change_scatter,
        unlearning_plots.outcome_histograms,
    ):
      figure = draw(found)
      self.assertIn('set 0', _words(figure))
      self.assertGreater(len(canvas.png(figure)), 1000)

  def test_nothing_retrained(self):
    found = unlearning_lib.unlearning(made_up.datamodels(), {'a': [1]})
    self.assertIsNone(unlearning_plots.klom_bars(found))
    self.assertIsNone(unlearning_plots.change_scatter(found))
    self.assertIsNone(unlearning_plots.outcome_histograms(found))


if __name__ == '__main__':
  absltest.main()
