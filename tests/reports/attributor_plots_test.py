"""Tests of pictures of attributors."""

from absl.testing import absltest

from jdm.reports import attributor_plots
from jdm.reports import canvas


def _row(method, num_models, lds):
  return {
      'method': method,
      'num_models': num_models,
      'cpu_seconds': 0.1 + num_models,
      'lds': lds,
      'lds_interval': [lds - 0.01, lds + 0.02],
      'noise_ceiling': 0.7,
  }


class CostsTest(absltest.TestCase):

  def test_pools_of_one_budget_are_one_point(self):
    rows = [
        _row('lasso', 100, 0.2),
        _row('lasso', 100, 0.4),
        _row('lasso', 500, 0.5),
        _row('knn', 0, 0.1),
    ]
    figure = attributor_plots.costs(rows)
    first = figure.axes[0]
    lines = {c.get_label(): c.lines[0] for c in first.containers}
    self.assertEqual(list(lines), ['lasso', 'knn'])
    self.assertSequenceAlmostEqual(lines['lasso'].get_ydata(), [0.3, 0.5])
    self.assertSequenceEqual(list(lines['lasso'].get_xdata()), [100, 500])
    self.assertNotEmpty(canvas.png(figure))

  def test_no_rows(self):
    with self.assertRaisesRegex(ValueError, 'at least one row'):
      attributor_plots.costs([])


class ChecksTest(absltest.TestCase):

  def test_points_and_ceilings(self):
    rows = [
        {'method': 'lasso', 'loo_correlation': 0.2, 'loo_ceiling': 0.7},
        {'method': 'other', 'lds': 0.5},
        {
            'method': 'k_nn',
            'loo_correlation': 0.1,
            'loo_ceiling': None,
            'leakage_auc': 0.9,
        },
    ]
    figure = attributor_plots.checks(rows)
    loo, leakage = figure.axes
    points, ceilings, _ = loo.lines
    self.assertSequenceEqual(list(points.get_xdata()), [0.2, 0.1])
    self.assertSequenceEqual(list(points.get_ydata()), [0, 1])
    self.assertSequenceEqual(list(ceilings.get_xdata()), [0.7])
    labels = [label.get_text() for label in loo.get_yticklabels()]
    self.assertEqual(labels, ['lasso', 'k nn'])
    self.assertSequenceEqual(list(leakage.lines[0].get_ydata()), [1])
    self.assertNotEmpty(canvas.png(figure))

  def test_nothing_to_draw(self):
    with self.assertRaisesRegex(ValueError, 'a row with any of'):
      attributor_plots.checks([{'method': 'lasso', 'lds': 0.5}])


class RemovalsTest(absltest.TestCase):

  def test_lines(self):
    rows = [
        {
            'activation': activation,
            'method': method,
            'removed': removed,
            'lds': lds,
            'lds_interval': [lds - 0.1, lds + 0.2],
            'lds_of_another_seed': 0.3,
            'lds_of_another_seed_interval': [0.2, 0.35],
            'agreement_of_both_seeds': 0.5,
        }
        for activation in ('gelu', 'relu')
        for method in ('metagradient', 'influence')
        for removed, lds in ((0.01, 0.6), (0.01, 0.8), (0.2, 0.5))
    ]
    figure = attributor_plots.removals(rows)
    self.assertLen(figure.axes, 2)
    lines = {c.get_label(): c.lines[0] for c in figure.axes[1].containers}
    self.assertLen(lines, 4)
    own = lines['metagradient, this training']
    self.assertSequenceAlmostEqual(own.get_xdata(), [0.01, 0.2])
    self.assertSequenceAlmostEqual(own.get_ydata(), [0.7, 0.5])
    self.assertNotEmpty(canvas.png(figure))

  def test_no_rows(self):
    with self.assertRaisesRegex(ValueError, 'at least one row'):
      attributor_plots.removals([])


if __name__ == '__main__':
  absltest.main()
