"""Tests of pictures: what they say, and that no screen is needed."""

import dataclasses
import io
import os
import sys

from absl.testing import absltest
from absl.testing import parameterized
import matplotlib
import numpy as np
from PIL import Image

from jdm import metrics
from jdm.reports import canvas
from jdm.reports import plots
from tests.reports import made_up

_FIGURES = {
    'lds_bar': lambda: plots.lds_bar(made_up.evaluation()),
    'curves': lambda: plots.counterfactual_curves(made_up.counterfactuals()),
    'target': lambda: plots.target_curve(made_up.counterfactuals(), 1),
    'scatter': lambda: plots.counterfactual_scatter(made_up.counterfactuals()),
    'weights': lambda: plots.weight_histogram(made_up.datamodels()),
    'outcomes': lambda: plots.outcome_histogram(made_up.evaluation().outcomes),
    'lds': lambda: plots.lds_histogram(made_up.evaluation()),
    'density': lambda: plots.prediction_density(made_up.evaluation()),
    'grid': lambda: plots.example_grid(
        made_up.dataset(), made_up.datamodels(), [2, 0]
    ),
}


def _texts(figure) -> str:
  """All words of a figure."""
  axes = figure.axes
  found = [text.get_text() for a in axes for text in a.texts]
  found += [text for a in axes for text in (a.get_title(), a.get_xlabel())]
  legends = [a.get_legend() for a in axes if a.get_legend()]
  found += [text.get_text() for one in legends for text in one.get_texts()]
  return '\n'.join(found)


class PlotsTest(parameterized.TestCase):

  @parameterized.parameters(*_FIGURES)
  def test_saves_a_png(self, name):
    path = os.path.join(self.create_tempdir(), 'new', 'figure.png')
    plots.save(_FIGURES[name](), path)
    with Image.open(path) as image:
      image.load()
      self.assertEqual(image.format, 'PNG')
      self.assertGreater(image.width, 700)
    self.assertEqual(os.listdir(os.path.dirname(path)), ['figure.png'])

  def test_global_state_of_matplotlib_is_left_alone(self):
    before = dict(matplotlib.rcParams)
    for draw in _FIGURES.values():
      draw()
    self.assertEqual(dict(matplotlib.rcParams), before)
    pyplot = sys.modules.get('matplotlib.pyplot')  # Another test's, if at all.
    self.assertEmpty(pyplot.get_fignums() if pyplot else [])

  def test_lds_bar_says_score_interval_and_ceiling(self):
    evaluation = made_up.evaluation()
    words = _texts(plots.lds_bar(evaluation))
    low, high = evaluation.lds.interval
    self.assertIn(f'LDS {evaluation.lds.value:.3f}', words)
    self.assertIn(f'{low:.3f} to {high:.3f}', words)
    self.assertIn(f'ceiling {evaluation.noise_ceiling.value:.3f}', words)

  def test_lds_pictures_without_ceiling_and_interval(self):
    evaluation = made_up.evaluation(replicates=1)
    score = metrics.lds(
        -evaluation.predictions, evaluation.outcomes, num_bootstrap=0
    )
    evaluation = dataclasses.replace(evaluation, lds=score)
    figure = plots.lds_bar(evaluation)
    self.assertNotIn('ceiling', _texts(figure))
    self.assertNotIn('nan', _texts(figure))
    self.assertLess(figure.axes[0].get_xlim()[0], score.value)
    self.assertNotIn('ceiling', _texts(plots.lds_histogram(evaluation)))

  def test_curves_hold_the_means(self):
    effects = made_up.counterfactuals()
    lines = plots.counterfactual_curves(effects).axes[0].get_lines()
    drawn = [line.get_ydata() for line in lines if len(line.get_xdata()) == 4]
    expected = effects.predicted.mean(axis=2)
    np.testing.assert_allclose([line[1:] for line in drawn], expected)
    points = [line.get_ydata() for line in lines if len(line.get_xdata()) == 3]
    observed = effects.observed.mean(axis=2)
    for kind in observed:
      self.assertTrue(any(np.allclose(kind, line) for line in points))

  def test_mean_over_targets_matches_student(self):
    observed = np.random.default_rng(0).normal(size=(2, 3, 5))
    observed[0, 0, 1] = np.nan
    means, interval = plots._mean_over_targets(observed)
    np.testing.assert_allclose(means, np.nanmean(observed, axis=2))
    # t(.975) of 4 degrees of freedom is 2.776, from tables (4 digits).
    error = observed[1].std(axis=1, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(
        interval[1, 1] - means[1], 2.776 * error, rtol=1e-3
    )

  def test_curves_without_retraining_interval_or_finite_targets(self):
    predicted = made_up.counterfactuals(retrained=False)
    once = made_up.counterfactuals(target_ids=(3,))
    once = dataclasses.replace(once, interval=None)
    effects = made_up.counterfactuals()
    broken = effects.observed.copy()
    broken[0, 0] = np.nan
    broken = dataclasses.replace(effects, observed=broken)
    for effects in (predicted, once, broken):
      figure = plots.counterfactual_curves(effects)
      words = _texts(figure)
      self.assertEqual('observed' in words, effects.observed is not None)
      canvas.png(figure)
      canvas.png(plots.target_curve(effects, 0))
    canvas.png(plots.counterfactual_scatter(broken))
    with self.assertRaisesRegex(ValueError, 'retrain='):
      plots.counterfactual_scatter(predicted)
    with self.assertRaisesRegex(ValueError, 'index from 0 to 1'):
      plots.target_curve(predicted, 2)

  def test_scatter_says_how_well_they_agree(self):
    effects = made_up.counterfactuals()
    words = _texts(plots.counterfactual_scatter(effects, outcome='margin'))
    score = effects.agreement['all']
    self.assertIn(f'Spearman {score.spearman:.2f}', words)
    self.assertIn(f'slope {score.slope:.2f}', words)
    self.assertIn(f'ceiling of Spearman {score.ceiling:.2f}', words)
    self.assertIn('logits', words)

  def test_histograms_say_the_shares(self):
    fitted = made_up.datamodels()
    share = 100 * np.mean(np.asarray(fitted.weights) == 0)
    words = _texts(plots.weight_histogram(fitted))
    self.assertIn(f'{share:.1f} % of the weights are exactly 0', words)
    empty = dataclasses.replace(fitted, weights=np.zeros((4, 2)))
    self.assertIn('all weights are 0', _texts(plots.weight_histogram(empty)))
    outcomes = np.array([[-1.0, 2.0], [np.nan, 1.0], [3.0, np.inf]])
    words = _texts(plots.outcome_histogram(outcomes, outcome='soft_margin'))
    self.assertIn('25.0 % are below 0', words)
    nothing = _texts(plots.outcome_histogram(np.full((2, 2), np.nan)))
    self.assertIn('no finite outcome', nothing)

  def test_grid_shows_labels_weights_and_margins(self):
    names = ('cat', 'dog', 'fox', 'owl')
    figure = plots.example_grid(
        made_up.dataset(channels=3, names=names),
        made_up.datamodels(),
        [2],
        count=2,
        mean_margins=np.arange(6.0),
    )
    words = _texts(figure)
    for expected in ('fox\nmean +2.0', 'fox\n+0.75', 'owl\n−0.25'):
      self.assertIn(expected, words)
    # One target, two helpful and the one harmful example that there is.
    images = [axes for axes in figure.axes if axes.get_images()]
    self.assertLen(images, 4)

  def test_grid_needs_images(self):
    dataset = made_up.dataset(with_images=False)
    with self.assertRaisesRegex(ValueError, 'needs images.*examples.rows'):
      plots.example_grid(dataset, made_up.datamodels(), [0])

  def test_same_picture_twice(self):
    first, second = (canvas.png(_FIGURES['weights']()) for _ in range(2))
    pixels = [np.asarray(Image.open(io.BytesIO(p))) for p in (first, second)]
    np.testing.assert_array_equal(*pixels)


if __name__ == '__main__':
  absltest.main()
