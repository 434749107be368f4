"""What the solvers are compared with: scikit-learn and definitions."""

import numpy as np
from sklearn import linear_model


def lasso(masks, outcome, lam):
  """Weights and intercept of one target, by scikit-learn in float64."""
  model = linear_model.Lasso(alpha=lam, tol=1e-13, max_iter=10**6)
  model.fit(masks.astype(np.float64), outcome.astype(np.float64))
  return model.coef_, model.intercept_


def elastic_net(masks, outcome, lam, factor, l1_ratio, positive):
  """Weights of one target, by scikit-learn; factor is that of the l1 part.

  Columns are scaled to stand for factors, so that a factor other than 1 needs
  l1_ratio 1.
  """
  model = linear_model.ElasticNet(
      alpha=lam, l1_ratio=l1_ratio, positive=positive, tol=1e-13, max_iter=10**6
  )
  model.fit(masks / factor[None], outcome.astype(np.float64))
  return model.coef_ / factor


def objective(masks, outcome, weights, bias, lam):
  """1/(2m) ||y - X w - b||^2 + lam ||w||_1, in float64."""
  weights = np.asarray(weights, np.float64)
  residual = outcome.astype(np.float64) - masks @ weights - bias
  return np.mean(residual**2) / 2 + lam * np.abs(weights).sum()


def relative_gap(masks, outcome, weights, lam):
  """Primal minus dual objective by definition, relative, in float64."""
  masks = masks - masks.mean(axis=0)[None]
  outcome = outcome.astype(np.float64)
  outcome = outcome - outcome.mean()
  weights = weights.astype(np.float64)
  residual = outcome - masks @ weights
  primal = np.mean(residual**2) / 2 + lam * np.abs(weights).sum()
  largest = np.abs(masks.T @ residual / len(masks)).max()
  dual_point = residual * min(1, lam / largest)
  half_variance = np.mean(outcome**2) / 2
  dual = half_variance - np.mean((outcome - dual_point) ** 2) / 2
  return (primal - dual) / half_variance
