"""The peer of shapley: pyDVL's permutation Shapley values, one process.

Runs in an environment of its own (`pip install pydvl`) and imports nothing of
jdm: it reads the examples from an .npz and prints one JSON line.

  python pydvl_shapley.py examples.npz 20

pyDVL at its best: `ShapleyValuation` with a `PermutationSampler` (each prefix
is trained on once), no cache (no set comes twice), no progress bar, no joblib
workers, scikit-learn told to check nothing, and a scorer of one line. Of the
solvers of `LogisticRegression` that minimize the same objective, the one that
was fastest on two permutations is used, with its default tolerance. A bare loop
over the same prefixes says how much of the time is scikit-learn's.
"""

import json
import sys
import time
import warnings

import numpy as np
import sklearn
from sklearn import linear_model

warnings.filterwarnings('ignore')

# The filter goes first: importing pyDVL warns.
import pydvl  # noqa: E402
from pydvl import valuation  # noqa: E402

SOLVERS = ('lbfgs', 'newton-cholesky')
MAX_STEPS = 1000


class Model(linear_model.LogisticRegression):
  """Counts its fits."""

  fits = 0

  def fit(self, inputs, labels):
    """Fits, and counts it."""
    Model.fits += 1
    return super().fit(inputs, labels)


def minus_loss(model, inputs, labels):
  """Minus the mean loss in nats."""
  scores = model.decision_function(inputs)
  if scores.ndim == 1:
    return -np.mean(np.logaddexp(0, np.where(labels == 1, -scores, scores)))
  top = scores.max(axis=1)
  total = np.log(np.sum(np.exp(scores - top[:, None]), axis=1)) + top
  return np.mean(scores[np.arange(len(labels)), labels] - total)


def estimate(data, solver, num_permutations, seed):
  """Values, standard errors and CPU seconds of pyDVL."""
  train = valuation.Dataset(data['inputs'], data['labels'])
  val = valuation.Dataset(data['val_inputs'], data['val_labels'])
  scorer = valuation.SupervisedScorer(
      minus_loss, val, default=float(data['empty'])
  )
  model = Model(solver=solver, C=float(data['c']), max_iter=MAX_STEPS)
  utility = valuation.ModelUtility(
      model, scorer, catch_errors=True, show_warnings=False
  )
  method = valuation.ShapleyValuation(
      utility,
      valuation.PermutationSampler(seed=seed),
      valuation.MaxUpdates(num_permutations),
      progress=False,
  )
  Model.fits = 0
  start = time.process_time()
  method.fit(train)
  seconds = time.process_time() - start
  return method.result, Model.fits, seconds


def bare_loop(data, solver, num_permutations, seed):
  """CPU seconds and fits of the same work without pyDVL; classes permitting."""
  rng = np.random.default_rng(seed)
  inputs, labels = data['inputs'], data['labels']
  num_classes, fits = len(np.unique(labels)), 0
  start = time.process_time()
  for _ in range(num_permutations):
    order = rng.permutation(len(labels))
    for size in range(1, len(labels) + 1):
      rows = order[:size]
      fits += 1
      if len(np.unique(labels[rows])) == num_classes:
        model = linear_model.LogisticRegression(
            solver=solver, C=float(data['c']), max_iter=MAX_STEPS
        ).fit(inputs[rows], labels[rows])
        minus_loss(model, data['val_inputs'], data['val_labels'])
  return fits, time.process_time() - start


def utilities(data, solver):
  """Utilities of given sets, to compare solutions."""
  found = []
  for mask in data['masks']:
    model = linear_model.LogisticRegression(
        solver=solver, C=float(data['c']), max_iter=MAX_STEPS
    ).fit(data['inputs'][mask], data['labels'][mask])
    found.append(minus_loss(model, data['val_inputs'], data['val_labels']))
  return found


def main(path, num_permutations):
  sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
  data = dict(np.load(path))
  rates = {}
  for solver in SOLVERS:
    _, fits, seconds = estimate(data, solver, 2, seed=1)
    rates[solver] = fits / seconds
  best = max(rates, key=lambda solver: rates[solver])
  result, fits, seconds = estimate(data, best, num_permutations, seed=0)
  loop_fits, loop_seconds = bare_loop(data, best, 3, seed=0)
  order = np.argsort(result.indices)
  print(
      json.dumps(
          {
              'pydvl': pydvl.__version__,
              'scikit_learn': sklearn.__version__,
              'solver': best,
              'fits': fits,
              'seconds': seconds,
              'loop_rate': loop_fits / loop_seconds,
              'values': np.asarray(result.values)[order].tolist(),
              'standard_error': np.asarray(result.stderr)[order].tolist(),
              'counts': np.asarray(result.counts)[order].tolist(),
              'utilities': utilities(data, best),
          }
      )
  )


if __name__ == '__main__':
  main(sys.argv[1], int(sys.argv[2]))
