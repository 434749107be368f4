"""Pictures of values and of curves are drawn, or are None."""

from absl.testing import absltest
from absl.testing import parameterized
from matplotlib import figure as figure_lib
import numpy as np

from jdm.analysis import semivalues
from jdm.applications import valuation as valuation_lib
from jdm.reports import canvas
from jdm.reports import curve_plots
from jdm.reports import valuation_plots
from tests.reports import made_up

_WEIGHTS = np.asarray(made_up.datamodels().weights)
_FEW = semivalues.Resampling(num_bootstrap=10, num_splits=1)


def _retrain(masks, replicates):
  rng = np.random.default_rng(0)
  outcomes = np.stack([masks @ _WEIGHTS] * replicates)
  return outcomes + rng.normal(size=outcomes.shape)


def _valuation(retrain=_retrain):
  masks = np.random.default_rng(0).random((60, made_up.NUM_TRAIN)) < 0.5
  return valuation_lib.valuation(
      masks,
      _retrain(masks, 1)[0],
      utilities=('mean', 'accuracy'),
      methods=('banzhaf', 'difference_of_means'),
      rankings={'mine': np.arange(made_up.NUM_TRAIN)},
      resampling=_FEW,
      removal_sizes=[4, 8],
      addition_sizes=[8, 20],
      retrain=retrain,
      replicates=3,
      num_random=3,
  )


def _words(figure):
  """All texts of a figure."""
  return ' '.join(text.get_text() for text in figure.findobj(_is_text))


def _is_text(artist):
  return hasattr(artist, 'get_text')


class ValuationPlotsTest(parameterized.TestCase):

  @parameterized.parameters('remove', 'add')
  def test_curves(self, mode):
    figure = valuation_plots.curves(_valuation(), mode, outcome='margin')
    assert figure is not None
    words = _words(figure)
    self.assertIn('mean margin (logits)', words)
    self.assertIn('random', words)
    self.assertIn('mine, highest first', words)
    self.assertEqual('mine, lowest first' in words, mode == 'remove')
    self.assertGreater(len(canvas.png(figure)), 1000)

  def test_nothing_retrained(self):
    self.assertIsNone(valuation_plots.curves(_valuation(None), 'remove'))

  def test_extremes(self):
    found = _valuation(None)
    for values in found.values.values():  # With and without intervals.
      figure = valuation_plots.extreme_values(values, 'accuracy', count=3)
      self.assertIn('accuracy (share of targets)', _words(figure))
      self.assertGreater(len(canvas.png(figure)), 1000)

  def test_grid(self):
    values = _valuation(None).values['banzhaf']
    figure = valuation_plots.extreme_grid(
        made_up.dataset(), values, 'mean', count=4
    )
    self.assertIsInstance(figure, figure_lib.Figure)
    self.assertIn('highest values', _words(figure))
    without = made_up.dataset(with_images=False)
    self.assertIsNone(valuation_plots.extreme_grid(without, values, 'mean'))

  def test_recall(self):
    self.assertIn('class 3', valuation_plots.axis_label('recall:3'))

  def test_unknown_measure(self):
    with self.assertRaisesRegex(ValueError, "measures.*got 'speed'"):
      curve_plots.curve_lines(_valuation().removal, 'speed', label='')


if __name__ == '__main__':
  absltest.main()
