"""Scores of predicted parameters, against scikit-learn and loops."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import special
from scipy import stats
from sklearn import metrics as sklearn_metrics

from jdm.modelpred import evaluation
from jdm.reports import canvas
from jdm.reports import modelpred_plots
from tests.modelpred import made_up


def _score_r2(predicted, truth, inputs):
  columns = np.hstack([inputs, np.ones((len(inputs), 1))])
  found, true = (
      np.stack([columns @ row.reshape(columns.shape[1], -1) for row in rows])
      for rows in (predicted, truth)
  )
  centred = true - true.mean(axis=0)[None]
  return 1 - np.sum((found - true) ** 2) / np.sum(centred**2)


class EvaluationTest(parameterized.TestCase):

  @parameterized.parameters(
      'logistic', 'softmax', 'squared_hinge', 'half_square'
  )
  def test_against_scikit_learn(self, loss):
    pool = made_up.pool(loss)
    own, test = pool.objective, made_up.pool(loss, seed=3)
    truth = made_up.labels(num=40, seed=5, loss=loss)
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.normal(size=truth.parameters.shape)
    predicted = truth.parameters + noise
    found = evaluation.evaluate(own, predicted, truth, test.inputs, test.labels)
    self.assertAlmostEqual(
        found.parameter_r2,
        1
        - np.sum(noise**2)
        / np.sum((truth.parameters - truth.parameters.mean(axis=0)) ** 2),
    )
    self.assertAlmostEqual(
        found.score_r2, _score_r2(predicted, truth.parameters, test.inputs)
    )
    losses, true_losses = [], []
    for rows, kept in ((predicted, losses), (truth.parameters, true_losses)):
      for row in rows:
        matrix = row.reshape(made_up.FEATURES + 1, -1)
        scores = test.inputs @ matrix[:-1] + matrix[-1]
        if loss == 'softmax':
          chance = special.softmax(scores, axis=1)
          kept.append(sklearn_metrics.log_loss(test.labels, chance))
        elif loss == 'logistic':
          chance = special.expit(scores[:, 0])
          kept.append(sklearn_metrics.log_loss(test.labels, chance))
        elif loss == 'half_square':
          kept.append(np.mean((scores[:, 0] - test.labels) ** 2) / 2)
        else:
          signs = np.where(test.labels == 1, 1, -1) * scores[:, 0]
          kept.append(np.mean(np.maximum(1 - signs, 0) ** 2))
    error = np.array(losses) - np.array(true_losses)
    nrmse = np.sqrt(np.mean(error**2)) / np.ptp(true_losses)
    self.assertAlmostEqual(found.test_loss_nrmse, nrmse, places=9)
    rank = stats.spearmanr(losses, true_losses).statistic
    self.assertAlmostEqual(found.spearman, rank, places=9)
    self.assertEqual(np.isnan(found.accuracy_gap), loss == 'half_square')

  def test_perfect_and_constant(self):
    pool = made_up.pool()
    truth = made_up.labels(num=40, seed=5)
    options = truth, pool.inputs, pool.labels
    same = evaluation.evaluate(pool.objective, truth.parameters, *options)
    self.assertEqual((same.parameter_r2, same.test_loss_nrmse), (1.0, 0.0))
    self.assertEqual(same.score_r2, 1.0)
    self.assertEqual(same.accuracy_gap, 0.0)
    constant = np.repeat(truth.parameters[:1], len(truth), axis=0)
    found = evaluation.evaluate(pool.objective, constant, *options)
    self.assertTrue(np.isnan(found.spearman))
    with self.assertRaisesRegex(ValueError, 'two sets or more'):
      evaluation.evaluate(
          pool.objective, constant[:1], truth.take([0]), *options[1:]
      )

  def test_picture(self):
    rows = [
        {
            'predictor': name,
            'parameter_r2': r2,
            'query_cpu_seconds': seconds,
            'is_predictor': name == 'default',
        }
        for name, r2, seconds in (
            ('exact', 1.0, 1e-3),
            ('mean', -20.0, 0.0),
            ('default', 0.9, 1e-5),
        )
    ]
    figure = modelpred_plots.comparison(rows)
    self.assertLen(figure.axes[0].lines, 3)
    self.assertGreater(len(canvas.png(figure)), 1000)

  def test_curves(self):
    place = {'num_points': [1.0, 9.0], 'distance': [0.1, 0.0]}
    rows = [
        {
            'predictor': 'default',
            'is_predictor': True,
            'curves': {'deletion': place, 'addition': place},
        },
        {
            'predictor': 'ridge_mask',
            'is_predictor': False,
            'curves': {'deletion': place},
        },
    ]
    left, right = modelpred_plots.curves(rows).axes
    self.assertLen(left.get_lines(), 2)
    self.assertLen(right.get_lines(), 1)
    self.assertEqual(right.get_xlabel(), 'new points added')


if __name__ == '__main__':
  absltest.main()
