"""Tests of the pictures: what stands on the axes."""

import dataclasses

from absl.testing import absltest
import numpy as np

from jdm.analysis import learning_curves
from jdm.analysis import noise_stability
from jdm.analysis import scores
from jdm.applications import pool_design
from jdm.reports import canvas
from jdm.reports import pool_design_plots

_LDS = np.array([[0.3, 0.4, 0.5], [0.1, 0.2, 0.3]])
_R2 = np.array([[0.1, 0.2, 0.25], [-3.0, -1.0, 0.1]])
_CURVE = learning_curves.LearningCurve(
    regressors=('lasso', 'least_squares'),
    num_models=np.array([100, 200, 400]),
    lds=_LDS,
    lds_interval=np.stack([_LDS - 0.02, _LDS + 0.02]),
    r2=_R2,
    r2_interval=np.stack([_R2 - 0.02, _R2 + 0.02]),
    noise_ceiling=0.7,
    ceiling_interval=(0.69, 0.71),
    num_heldout=50,
    num_targets=6,
)
_SHARE = noise_stability.LinearShare(
    value=0.4, interval=(0.38, 0.42), per_target=np.full(6, 0.4), num_models=400
)
_NORMALITY = scores.Normality(
    skewness=0.0,
    abs_skewness=0.1,
    kurtosis=0.2,
    shapiro=0.99,
    rejected=0.1,
    num_targets=6,
    num_constant=0,
)
_SCORE = scores.Score(
    outcome='margin',
    alpha=0.5,
    num_models=400,
    num_heldout=50,
    lds=0.5,
    lds_interval=(0.48, 0.52),
    noise_ceiling=0.7,
    ceiling_interval=(0.69, 0.71),
    r2=0.25,
    linear_share=_SHARE,
    normality=_NORMALITY,
)
_STABILITY = noise_stability.Stability(
    rhos=np.array([0.5, 1.0]),
    correlations=np.array([0.2, 0.45]),
    correlation_interval=np.array([[0.18, 0.43], [0.22, 0.47]]),
    degrees=np.array([0.38, 0.06]),
    degree_interval=np.array([[0.3, 0], [0.4, 0.1]]),
    bounds=(0.35, 0.4),
    bounds_interval=(0.3, 0.43),
    num_pairs=np.array([30, 50]),
)
_LAW = learning_curves.recommend(_CURVE.num_models, _R2[0], limit=0.4)
_DESIGN = pool_design.PoolDesign(
    outcome='margin',
    target_ids=np.arange(6),
    curve=_CURVE,
    outcomes=(_SCORE,),
    linear_share=_SHARE,
    stability=_STABILITY,
    recommendation=_LAW,
    num_models_interval=(1000.0, 3000.0),
    free_recommendation=_LAW,
    num_retrained=30,
)


def _labels(axes):
  return [text.get_text() for text in axes.get_legend().get_texts()]


class PoolDesignPlotsTest(absltest.TestCase):

  def test_lds_curve(self):
    figure = pool_design_plots.lds_curve(_CURVE)
    (axes,) = figure.axes
    self.assertSameElements(
        _labels(axes), ['noise ceiling 0.700', 'LASSO', 'least squares']
    )
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    self.assertEqual(ticks, ['100', '200', '400'])
    self.assertStartsWith(canvas.png(figure), b'\x89PNG')

  def test_without_a_ceiling(self):
    nan = float('nan')
    curve = dataclasses.replace(
        _CURVE, noise_ceiling=nan, ceiling_interval=(nan, nan)
    )
    (axes,) = pool_design_plots.lds_curve(curve).axes
    self.assertSameElements(_labels(axes), ['LASSO', 'least squares'])

  def test_r2_curve(self):
    (axes,) = pool_design_plots.r2_curve(_DESIGN).axes
    labels = _labels(axes)
    self.assertIn('best linear datamodel 0.400', labels)
    self.assertTrue(any(label.startswith('95 %: ') for label in labels))
    self.assertIn('below -0.25 not shown', axes.get_ylabel())
    self.assertGreater(axes.get_ylim()[0], -0.3)

  def test_r2_curve_without_limits(self):
    none = learning_curves.recommend([100], [0.1])
    design = dataclasses.replace(
        _DESIGN, linear_share=None, recommendation=none
    )
    (axes,) = pool_design_plots.r2_curve(design).axes
    self.assertSameElements(_labels(axes), ['LASSO', 'least squares'])

  def test_stability_curve(self):
    (axes,) = pool_design_plots.stability_curve(_STABILITY, _SHARE).axes
    self.assertSameElements(
        _labels(axes),
        [
            'fit of degrees 1 to 2',
            'linear part alone, 0.400 rho (from the pool)',
            'pairs of models',
        ],
    )

  def test_score_bars(self):
    other = dataclasses.replace(_SCORE, lds=0.05, noise_ceiling=float('nan'))
    (axes,) = pool_design_plots.score_bars([_SCORE, other], ['a', 'b']).axes
    widths = [bar.get_width() for bar in axes.patches]
    np.testing.assert_allclose(widths, [0.5, 0.05])
    with self.assertRaisesRegex(ValueError, '1 scores and 2 names'):
      pool_design_plots.score_bars([_SCORE], ['a', 'b'])


if __name__ == '__main__':
  absltest.main()
