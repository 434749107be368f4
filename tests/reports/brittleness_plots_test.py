"""Pictures of support, of choosing rules and of groups, from made-up numbers."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm.applications import brittleness
from jdm.applications import counterfactuals
from jdm.applications import group_removal
from jdm.reports import brittleness_plots
from jdm.reports import canvas
from jdm.reports import counterfactual_plots
from jdm.reports import group_removal_plots
from tests.reports import made_up

_CONTROL = np.array([0.4, 0.7, -1.0, 0.9, 0.76, 5.0])


def _margins(masks, replicates, *, relabel=None):
  """Hard margins as the datamodels predict; a wrong label costs twice."""
  lost = (~masks).astype(float)
  if relabel is not None:
    lost += 2 * (relabel >= 0)
  weights = np.asarray(made_up.datamodels().weights)
  return np.stack([_CONTROL - lost @ weights] * replicates)


def _support(**changes):
  options = {
      'sizes': [1, 2, 4, 8],
      'retrain': _margins,
      'certify': lambda *args, **options: _margins(*args, **options),
      'labels': made_up.dataset().train.labels,
      'wrong_class': np.arange(1, 7) % 4,
      **changes,
  }
  return brittleness.brittleness(
      made_up.datamodels('margin'), np.tile(_CONTROL, (20, 1)), **options
  )


def _retrain(masks, replicates):
  predicted = datamodels_lib.predict(made_up.datamodels(), masks)
  noise = np.random.default_rng(0).normal(size=(replicates, *predicted.shape))
  return np.asarray(predicted)[None] + 0.1 * noise


def _texts(figure) -> str:
  found = [t.get_text() for a in figure.axes for t in a.texts]
  for axes in figure.axes:
    found += [axes.get_xlabel(), axes.get_ylabel()]
    found += [label.get_text() for label in axes.get_yticklabels()]
    if axes.get_legend():
      found += [text.get_text() for text in axes.get_legend().get_texts()]
  return '\n'.join(found)


class BrittlenessPlotsTest(parameterized.TestCase):

  def test_flipped_curves(self):
    figure = brittleness_plots.flipped_curves(_support())
    words = _texts(figure)
    self.assertIn('removed, certified (2 censored)', words)
    self.assertIn('mislabelled, certified', words)
    self.assertIn('removed at random', words)
    self.assertIn('% of 5', words)
    line = figure.axes[0].lines[0]  # Certified removal.
    self.assertAlmostEqual(max(line.get_ydata()), 60)
    self.assertTrue((np.diff(line.get_ydata()) >= 0).all())
    self.assertGreater(len(canvas.png(figure)), 1000)

  def test_only_predicted(self):
    result = _support(retrain=None, certify=None, wrong_class=None)
    words = _texts(brittleness_plots.flipped_curves(result))
    self.assertNotIn('certified', words)
    self.assertIsNone(brittleness_plots.hold_rates(result))
    figure = brittleness_plots.smallest_supports(result, made_up.dataset())
    self.assertIn('is expected to flip it', _texts(figure))

  def test_hold_rates(self):
    result = _support()
    words = _texts(brittleness_plots.hold_rates(result))
    for estimate in result.estimates.values():
      self.assertIn(f'{estimate.num_held} of {estimate.num_certified}', words)
    self.assertIn('between retrained sizes, 20 % more', words)
    self.assertIn('given the noise', words)

  def test_smallest_supports(self):
    result = _support()
    figure = brittleness_plots.smallest_supports(
        result, made_up.dataset(), num_shown=2
    )
    words = _texts(figure)
    self.assertIn('whose removal flips it', words)
    self.assertIn('margin +0.40', words)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    train = made_up.dataset().train.images
    # Target 0 falls with example 0 alone, target 1 with example 1.
    np.testing.assert_array_equal(images[1].get_array(), train[0])
    without = made_up.dataset(with_images=False)
    self.assertIsNone(brittleness_plots.smallest_supports(result, without))


class CounterfactualPlotsTest(parameterized.TestCase):

  def _results(self):
    scores = np.random.default_rng(0).normal(size=(40, 6))
    return {
        'remove': made_up.counterfactuals(),
        'baselines': counterfactuals.counterfactuals(
            made_up.datamodels(),
            sizes=[2, 5, 10],
            target_ids=[2, 0],
            kinds=('same_class',),
            scores={'nearest_input': scores},
            labels=made_up.dataset().train.labels,
            target_labels=made_up.dataset().test.labels,
            skip_untrainable=True,
            retrain=_retrain,
        ),
    }

  def test_rules(self):
    results = self._results()
    figure = counterfactual_plots.rules(results, outcome='soft_margin')
    words = _texts(figure)
    for kind in ('helpful', 'random', 'same class', 'nearest input'):
      self.assertIn(kind, words)
    self.assertIn('soft margin (logits)', words)
    containers = {c.get_label(): c for c in figure.axes[0].containers}
    line = containers['same class'].lines[0]
    # Classes of ten: nobody can lose ten.
    np.testing.assert_array_equal(line.get_xdata(), [2, 5])
    np.testing.assert_allclose(
        line.get_ydata(), results['baselines'].observed[0, :2].mean(axis=1)
    )

  def test_rules_need_retraining(self):
    results = {'remove': made_up.counterfactuals(retrained=False)}
    with self.assertRaisesRegex(ValueError, 'needs observed'):
      counterfactual_plots.rules(results)

  def test_agreements(self):
    figure = counterfactual_plots.agreements(self._results())
    words = _texts(figure)
    self.assertIn('remove: harmful', words)
    self.assertIn('baselines: all', words)
    self.assertGreater(len(canvas.png(figure)), 1000)

  def test_groups(self):
    groups = {'a': [0, 1, 2], 'b': [7, 9]}
    options = {'retrain': _retrain, 'replicates': 2}
    results = {
        kind: group_removal.group_removal(
            made_up.datamodels(), groups, **options
        )
        for kind in ('clusters', 'random')
    }
    figure = group_removal_plots.scatter(results, outcome='margin')
    self.assertIn('clusters: Spearman', _texts(figure))
    points = figure.axes[0].collections[0].get_offsets()
    self.assertLen(points, 12)
    nothing = group_removal.group_removal(made_up.datamodels(), groups)
    self.assertIsNone(group_removal_plots.scatter({'clusters': nothing}))


if __name__ == '__main__':
  absltest.main()
