"""Tests of the pictures of intervals: what is on the axes."""

import dataclasses

from absl.testing import absltest
import numpy as np

from jdm.analysis import uncertainty as uncertainty_lib
from jdm.reports import canvas
from jdm.reports import uncertainty_plots


def _uncertainty(**changes) -> uncertainty_lib.Uncertainty:
  rng = np.random.default_rng(0)
  weights = rng.normal(size=(12, 3)).astype(np.float32)
  weights[::3] = 0
  weights[:, 2] = 0
  made = uncertainty_lib.Uncertainty(
      target_ids=np.array([4, 7, 9]),
      weights=weights,
      interval=np.stack([weights - 0.2, weights + 0.1]),
      error=np.full(weights.shape, 0.1, np.float32),
      selected=rng.random(weights.shape).astype(np.float32),
      ranked=np.zeros((2, 2, 3), np.int64),
      rank_interval=np.ones((2, 2, 2, 3)),
      regressor='lasso',
      num_models=1000,
      num_bootstrap=50,
      level=0.95,
      max_gap=0.0,
  )
  return dataclasses.replace(made, **changes)


class UncertaintyPlotsTest(absltest.TestCase):

  def test_top_weights(self):
    made = _uncertainty()
    figure = uncertainty_plots.top_weights(
        made, 0, count=2, outcome='soft_margin'
    )
    assert figure is not None
    left, right = figure.axes
    order = np.argsort(-made.weights[:, 0])
    rows = [order[0], order[1], order[-2], order[-1]]
    ticks = [tick.get_text() for tick in left.get_yticklabels()]
    self.assertEqual(ticks, [f'train {row}' for row in rows])
    self.assertIn('logits', left.get_xlabel())
    self.assertIn('50 resamples of 1,000 models', left.get_title(loc='left'))
    widths = [bar.get_width() for bar in right.patches]
    np.testing.assert_allclose(widths, 100 * made.selected[rows, 0])
    self.assertStartsWith(canvas.png(figure), b'\x89PNG')

  def test_names_and_losses(self):
    figure = uncertainty_plots.top_weights(
        _uncertainty(),
        1,
        count=1,
        names=[f'n{i}' for i in range(12)],
        outcome='log_loss',
    )
    assert figure is not None
    self.assertRegex(figure.axes[0].get_yticklabels()[0].get_text(), '^n')
    self.assertIn('lower helps', figure.axes[0].get_xlabel())

  def test_nothing_to_draw(self):
    self.assertIsNone(uncertainty_plots.top_weights(_uncertainty(), 2))

  def test_without_zeros_there_is_no_selection(self):
    made = _uncertainty(selected=np.ones((12, 3)))
    figure = uncertainty_plots.top_weights(made, 0)
    assert figure is not None
    self.assertLen(figure.axes, 1)
    self.assertIsNone(uncertainty_plots.selection_scatter(made))

  def test_selection_scatter(self):
    made = _uncertainty()
    figure = uncertainty_plots.selection_scatter(made, outcome='margin')
    assert figure is not None
    drawn = sum(len(c.get_offsets()) for c in figure.axes[0].collections)
    self.assertEqual(drawn, np.count_nonzero(made.weights))

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, 'index from 0 to 2 .*got 3'):
      uncertainty_plots.top_weights(_uncertainty(), 3)
    with self.assertRaisesRegex(ValueError, '12 names, got 1'):
      uncertainty_plots.top_weights(_uncertainty(), 0, names=['a'])


if __name__ == '__main__':
  absltest.main()
