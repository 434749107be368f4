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


if __name__ == '__main__':
  absltest.main()
