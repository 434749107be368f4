"""Pictures of embeddings and comparisons, drawn from made-up numbers."""

import dataclasses

from absl.testing import absltest
import numpy as np

from jdm.analysis import cues
from jdm.analysis import directions as directions_lib
from jdm.applications import comparison as comparison_lib
from jdm.applications import embeddings as embeddings_lib
from jdm.reports import canvas
from jdm.reports import comparison_plots
from jdm.reports import directions_plots
from jdm.reports import embeddings_plots
from tests.reports import made_up


def _weights(seed):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(made_up.NUM_TRAIN, made_up.NUM_TARGETS))


def _retrain(masks, replicates, *, relabel=None):
  del relabel
  noise = np.random.default_rng(0).normal(size=(replicates, len(masks), 1))
  return (masks @ _weights(0))[None] + 0.1 * noise


def _datamodels(seed):
  fitted = made_up.datamodels()
  return type(fitted)(**{**vars(fitted), 'weights': _weights(seed)})


def _plan(**options):
  options = {'num_directions': 2, 'replicates': 3, 'num_random': 2} | options
  return directions_lib.RemovalPlan(**options)


def _embeddings(**options):
  fitted = _datamodels(0)
  return embeddings_lib.embeddings(
      fitted,
      np.zeros(made_up.NUM_TARGETS, int),
      num_components=3,
      num_clusters=2,
      **options,
  )


def _comparison(retrained=True):
  return comparison_lib.comparison(
      _datamodels(0),
      _datamodels(1),
      num_components=3,
      retrain=(_retrain, _retrain) if retrained else None,
      plan=_plan(num_directions=1),
  )


def _texts(figure):
  """All words on a figure."""
  found = [
      text.get_text()
      for text in figure.findobj(lambda a: hasattr(a, 'get_text'))
  ]
  return '\n'.join(found)


class EmbeddingsPlotsTest(absltest.TestCase):

  def test_spectra(self):
    features = np.random.default_rng(0).normal(size=(made_up.NUM_TARGETS, 3))
    found = _embeddings(features=features, halves=(_weights(0), _weights(0)))
    figure = embeddings_plots.spectra(found, features='inputs')
    axes = figure.axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1]
    self.assertLen(curves, 4)
    for curve in curves:
      self.assertAlmostEqual(curve.get_ydata()[-1], 1.0)
    self.assertIn('inputs: ', _texts(figure))
    self.assertIn('effective dimension', _texts(figure))
    canvas.png(figure)

  def test_sheets(self):
    data, found = made_up.dataset(), _embeddings()
    figure = embeddings_plots.component_sheet(
        data, found, num_components=2, count=3
    )
    images = [axes for axes in figure.axes if axes.images]
    self.assertLen(images, 2 * 2 * 2 * 3)
    # The first image is the training example of the highest loading.
    first = found.scores[0].argmax()
    np.testing.assert_array_equal(
        images[0].images[0].get_array(), data.train.images[first]
    )
    canvas.png(figure)
    clusters = embeddings_plots.cluster_sheet(data, found, classes=[0, 1, 2, 3])
    self.assertLen(
        [axes for axes in clusters.axes if axes.images], made_up.NUM_TARGETS
    )
    canvas.png(clusters)

  def test_no_images_no_sheets(self):
    data, found = made_up.dataset(with_images=False), _embeddings()
    self.assertIsNone(embeddings_plots.component_sheet(data, found))
    self.assertIsNone(embeddings_plots.cluster_sheet(data, found))
    self.assertIsNone(comparison_plots.sheet(data, _comparison(False)))

  def test_removals(self):
    found = _embeddings(retrain=_retrain, plan=_plan()).removals
    figure = directions_plots.removals({'': found}, outcome='soft_margin')
    panels = figure.axes
    self.assertLen(panels, 2)
    heights = [bar.get_height() for bar in panels[0].patches]
    expected = np.concatenate([found.observed[0], found.random[:1]])[:, :3]
    np.testing.assert_allclose(heights, expected.T.ravel())
    self.assertIn('logits', panels[0].get_ylabel())
    self.assertIn('predicted', _texts(figure))
    canvas.png(figure)
    bare = dataclasses.replace(found, interval=None, random_interval=None)
    canvas.png(directions_plots.removals({'': bare}))


class ComparisonPlotsTest(absltest.TestCase):

  def test_explained(self):
    found = _comparison(False)
    figure = comparison_plots.explained(found)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    way = found.a_minus_b
    np.testing.assert_allclose(
        heights, [*way.explained_own, *way.explained_other]
    )
    self.assertEqual(figure.axes[1].get_title(), 'B without A')
    canvas.png(figure)

  def test_removals_and_sheet(self):
    found = _comparison()
    figure = comparison_plots.removals(found, outcome='margin')
    titles = [axes.get_title() for axes in figure.axes]
    self.assertEqual(
        titles, ['models of A, direction 1', 'models of B, direction 1']
    )
    canvas.png(figure)
    self.assertIsNone(comparison_plots.removals(_comparison(False)))
    sheet = comparison_plots.sheet(made_up.dataset(), found, 'b_minus_a')
    canvas.png(sheet)

  def test_cue(self):
    found = _comparison(False)
    is_own = np.arange(made_up.NUM_TARGETS) < 3
    groups = {'own': is_own, 'others': ~is_own}
    figure = comparison_plots.projections(found, np.array([0, 4]), groups)
    counts = [
        sum(bar.get_height() for bar in axes.patches) for axes in figure.axes
    ]
    self.assertEqual(counts, [3, 3])
    canvas.png(figure)
    effect = cues.CueEffect(
        groups=('own', 'others'),
        effect_a=np.array([2.0, -1.0]),
        effect_b=np.array([0.5, 0.0]),
        difference=np.array([1.5, -1.0]),
        interval=np.array([[1.0, -2.0], [2.0, 0.0]]),
    )
    drawn = comparison_plots.cue_effects(effect, outcome='soft_margin')
    self.assertLen(drawn.axes[0].patches, 6)
    canvas.png(drawn)


if __name__ == '__main__':
  absltest.main()
