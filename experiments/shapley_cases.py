"""What `shapley_study` compares: settings, estimators, reference, tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import json
import os
import time
from typing import Any

import numpy as np
from scipy import stats

from experiments import binary
from jdm import datasets
from jdm import effects
from jdm import metrics
from jdm.analysis import knn_shapley
from jdm.analysis import sampled_values
from jdm.analysis import semivalues
from jdm.datasets import dataset as dataset_lib
from jdm.modelpred import baselines
from jdm.modelpred import config as config_lib
from jdm.modelpred import fitting
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import points as points_lib
from jdm.modelpred import utilities
from jdm.reports import canvas
from jdm.reports import data_shapley_plots
from jdm.reports import tables
from jdm.training import exact


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """Points to value, and how much is spent on it.

  Attributes:
    dataset: name and options of the dataset.
    num_train: points.
    classes: of the dataset, those whose examples are kept; None keeps all.
    num_wrong: points whose label is set wrong.
    num_components: principal components of the points; None takes the inputs.
    lam: penalty.
    reference_orders: random orders of the reference, in pairs.
    num_orders: the most an estimator by exact retraining gets.
    num_guessed_orders: the most one by guessed parameters gets.
    num_labels: exact retrainings that a predictor learns from.
    num_steps: of training a network.
  """

  dataset: Mapping[str, Any]
  num_train: int
  num_wrong: int
  classes: tuple[int, ...] | None = None
  num_components: int | None = None
  lam: float = 1.0
  reference_orders: int
  num_orders: int
  num_guessed_orders: int
  num_labels: int = 1000
  num_steps: int = 4000


SETTINGS: dict[str, Setting] = {
    'breast_cancer': Setting(
        dataset={'name': 'breast_cancer'},
        num_train=100,
        num_wrong=10,
        reference_orders=2000,
        num_orders=1024,
        num_guessed_orders=2048,
    ),
    'digits': Setting(
        dataset={'name': 'digits'},
        num_train=200,
        num_wrong=20,
        num_components=16,
        reference_orders=200,
        num_orders=32,
        num_guessed_orders=64,
        num_steps=2000,
    ),
    'fashion_pair': Setting(  # Pullovers and coats.
        dataset={'name': 'idx'},
        num_train=1000,
        classes=(2, 4),
        num_wrong=100,
        num_components=20,
        reference_orders=400,
        num_orders=64,
        num_guessed_orders=128,
    ),
}
_REFERENCE_SEED = 1_000_000
_NUM_VAL = 1000  # Test examples at most.
_BETA = (4.0, 1.0)
_TRUNCATE_WITHIN = 0.05
_NUM_NEIGHBOURS = 5
_GOALS = (0.7, 0.8, 0.9)


def run(
    workdir: str,
    names: Sequence[str] = tuple(SETTINGS),
    *,
    num_seeds: int = 3,
    shrink: int = 1,
) -> None:
  """Fills the tables of some settings.

  Args:
    workdir: the folder; what is there already is not done again.
    names: of `SETTINGS`.
    num_seeds: of every estimator, 2 or more.
    shrink: divides all orders and steps.

  Raises:
    ValueError: if a setting is unknown, or numbers are out of range.
  """
  unknown = sorted(set(names) - set(SETTINGS))
  if unknown or num_seeds < 2 or shrink < 1:
    raise ValueError(
        f'--settings are of {list(SETTINGS)}, --num_seeds 2 or more, --shrink'
        f' positive; got {list(names)}, {num_seeds}, {shrink}'
    )
  for name in names:
    setting = shrunk(SETTINGS[name], shrink)
    folder = os.path.join(workdir, name)
    os.makedirs(folder, exist_ok=True)
    study = Study(setting)
    reference = _reference(study, folder)
    rows = []
    for seed in range(num_seeds):
      for estimator, ask in ESTIMATORS.items():
        path = os.path.join(folder, f'{estimator}_seed{seed}.json')
        if not os.path.exists(path):
          points = [dataclasses.asdict(p) for p in ask(study, seed)]
          binary.write_json(path, {'points': points})
        with open(path, encoding='utf-8') as file:
          found = json.load(file)['points']
        rows += [
            {'estimator': estimator, 'seed': seed, **point} for point in found
        ]
    _write(workdir, name, study, reference, rows, num_seeds)


def shrunk(setting: Setting, factor: int) -> Setting:
  """The same setting with less of everything, for tests."""
  if factor == 1:
    return setting
  return dataclasses.replace(
      setting,
      reference_orders=max(setting.reference_orders // factor // 2 * 2, 8),
      num_orders=max(setting.num_orders // factor // 2 * 2, 4),
      num_guessed_orders=max(setting.num_guessed_orders // factor // 2 * 2, 4),
      num_labels=max(setting.num_labels // factor, 60),
      num_steps=max(setting.num_steps // factor, 20),
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
  """Values at one budget.

  Attributes:
    budget: random orders, or sets where there are none.
    values: `[num_train]`.
    labels: CPU seconds of exact retrainings to learn from.
    fit: CPU seconds.
    query: CPU seconds.
  """

  budget: int
  values: list[float]
  labels: float = 0.0
  fit: float = 0.0
  query: float = 0.0


class Study:
  """The points of a setting, and utilities of their sets."""

  def __init__(self, setting: Setting):
    self.setting = setting
    inputs, labels, val_inputs, val_labels = _examples(setting)
    rng = np.random.default_rng(0)
    self.wrong = rng.choice(len(labels), setting.num_wrong, replace=False)
    num_classes = int(labels.max()) + 1
    shift = rng.integers(1, num_classes, setting.num_wrong)
    labels[self.wrong] = (labels[self.wrong] + shift) % num_classes
    own = exact.objective(
        exact.Config(lam=setting.lam), inputs.shape[1], num_classes
    )
    self.pool = points_lib.Pool(objective=own, inputs=inputs, labels=labels)
    self.val = val_inputs, val_labels
    self.exact = utilities.retrained(self.pool, *self.val)
    self.num_train = len(labels)

  def guessed(self, predict: Any, num_refines: int = 0) -> utilities.Utility:
    """The utility of guessed parameters."""
    return utilities.predicted(
        predict, self.pool, *self.val, num_refines=num_refines
    )

  def warm(self, utility: utilities.Utility) -> utilities.Utility:
    """Compiles what few and many sets need."""
    masks = np.random.default_rng(0).random((1100, self.num_train)) < 0.5
    for num in (1, 20, len(masks)):
      utility(masks[:num])
    return utility

  def walk(
      self, utility: utilities.Utility, num_orders: int, seed: int, **options
  ) -> tuple[sampled_values.Walks, float]:
    """Random orders and their CPU seconds."""
    self.warm(utility)
    start = time.process_time()
    walked = sampled_values.walk(
        utility,
        self.num_train,
        num_orders=num_orders,
        empty_utility=utility.empty,
        seed=seed,
        **options,
    )
    return walked, time.process_time() - start

  def along(
      self,
      utility: utilities.Utility,
      num_orders: int,
      seed: int,
      *,
      beta: tuple[float, float] = (1.0, 1.0),
      labels: float = 0.0,
      fit: float = 0.0,
      **options: Any,
  ) -> Iterator[Point]:
    """Values of 2, 4, 8, ... orders of one walk."""
    walked, seconds = self.walk(utility, num_orders, seed, **options)
    weights = sampled_values.beta_weights(self.num_train, *beta)
    each = walked.gains[:, :, 0] * weights[walked.places]
    budget = 2
    while budget <= num_orders:
      yield Point(
          budget=budget,
          values=each[:budget].mean(axis=0).tolist(),
          labels=labels,
          fit=fit,
          query=seconds * budget / num_orders,
      )
      budget *= 2

  def labels(
      self, seed: int
  ) -> tuple[labels_lib.Labels, labels_lib.Labels, float]:
    """Exact labels of sets of uniform size, split to fit and to validate."""
    num, key = self.setting.num_labels, np.random.default_rng((seed, 1))
    size = key.integers(4, self.num_train + 1, num)
    ranks = key.random((num, self.num_train)).argsort(axis=1)
    masks = ranks < size[:, None]
    masks = masks[self.exact.has_minimum(masks)]
    self.pool.solve(masks[:300], tol=1e-8)  # Compiles.
    start = time.process_time()
    solution = self.pool.solve(masks, tol=1e-8)
    seconds = time.process_time() - start
    train, val = labels_lib.split(
        labels_lib.make(masks, solution.parameters), seed=seed
    )
    return train, val, seconds


def _exact(study: Study, seed: int, **options: Any) -> Iterator[Point]:
  return study.along(study.exact, study.setting.num_orders, seed, **options)


def _truncated(study: Study, seed: int) -> Iterator[Point]:
  full = study.exact(np.ones((1, study.num_train), bool))[0]
  tolerance = _TRUNCATE_WITHIN * abs(float(full[0] - study.exact.empty[0]))
  return _exact(study, seed, tolerance=tolerance)


def _banzhaf(study: Study, seed: int) -> Iterator[Point]:
  study.warm(study.exact)
  num_sets = study.setting.num_orders * study.num_train
  while num_sets >= 4 * study.num_train:
    start = time.process_time()
    found = sampled_values.banzhaf(
        study.exact,
        study.num_train,
        num_sets=num_sets,
        seed=seed,
        resampling=semivalues.Resampling(num_bootstrap=0, num_splits=1),
    )
    yield Point(
        budget=num_sets,
        values=found.values[:, 0].tolist(),
        query=time.process_time() - start,
    )
    num_sets //= 4


def _leave_one_out(
    study: Study, utility: utilities.Utility, fit: float = 0.0
) -> Iterator[Point]:
  study.warm(utility)
  start = time.process_time()
  found = sampled_values.leave_one_out(utility, study.num_train)
  seconds = time.process_time() - start
  values = found.values[:, 0].tolist()
  yield Point(budget=study.num_train, values=values, fit=fit, query=seconds)


def _knn(study: Study, seed: int) -> Iterator[Point]:
  del seed
  pool = study.pool

  def estimate():
    return knn_shapley.knn_shapley(
        pool.inputs, pool.labels, *study.val, num_neighbours=_NUM_NEIGHBOURS
    )

  estimate()  # Imports.
  start = time.process_time()
  values = estimate()
  seconds = time.process_time() - start
  yield Point(budget=0, values=values.tolist(), query=seconds)


def _timed(make: Callable[[], Any]) -> tuple[Any, float]:
  """A result and its CPU seconds, compiled before."""
  make()
  start = time.process_time()
  return make(), time.process_time() - start


def _influence(study: Study, seed: int) -> Iterator[Point]:
  """First-order leave-one-out values."""
  del seed
  predict, fit = _timed(lambda: baselines.influence(study.pool))
  return _leave_one_out(study, study.guessed(predict), fit)


def _influence_orders(study: Study, seed: int) -> Iterator[Point]:
  predict, fit = _timed(lambda: baselines.influence(study.pool))
  return study.along(
      study.guessed(predict), study.setting.num_guessed_orders, seed, fit=fit
  )


def _newton(study: Study, seed: int, start: str) -> Iterator[Point]:
  predict = baselines.full(study.pool)
  if start == 'zero':
    shape = study.pool.objective.num_parameters
    predict = lambda masks: np.zeros((len(masks), shape))
  return study.along(
      study.guessed(predict, 1),
      study.setting.num_guessed_orders,
      seed,
      antithetic=True,
  )


def _ridge(study: Study, seed: int) -> Iterator[Point]:
  train, val, labels = study.labels(seed)
  start = time.process_time()
  predict = baselines.ridge(study.pool, train, val)
  fit = time.process_time() - start
  return study.along(
      study.guessed(predict),
      study.setting.num_guessed_orders,
      seed,
      labels=labels,
      fit=fit,
      antithetic=True,
  )


def _network(
    study: Study, seed: int, preset: str, num_refines: int = 0
) -> Iterator[Point]:
  train, val, labels = study.labels(seed)
  config = config_lib.PRESETS[preset]
  num_steps = study.setting.num_steps
  config = dataclasses.replace(
      config,
      num_steps=num_steps,
      check_every=max(num_steps // 10, 1),
      seed=seed,
  )
  looks = []

  def look(done: int, total: int) -> None:
    del total
    looks.append((done, time.process_time()))

  fitted = fitting.fit(study.pool, train, val, config, progress=look)
  (first, start), (last, end) = looks[0], looks[-1]
  fit = (end - start) / (last - first) * last
  if not config.needs_labels:
    labels = 0.0  # They only scale the head.
  return study.along(
      study.guessed(fitted, num_refines),
      study.setting.num_guessed_orders,
      seed,
      labels=labels,
      fit=fit,
      antithetic=True,
  )


ESTIMATORS: dict[str, Callable[[Study, int], Iterator[Point]]] = {
    'exact': _exact,
    'exact_antithetic': lambda s, seed: _exact(s, seed, antithetic=True),
    'exact_truncated': _truncated,
    'exact_beta': lambda s, seed: _exact(s, seed, antithetic=True, beta=_BETA),
    'exact_banzhaf': _banzhaf,
    'leave_one_out': lambda s, seed: _leave_one_out(s, s.exact),
    'knn': _knn,
    'influence': _influence,
    'influence_orders': _influence_orders,
    'newton_1_from_full': lambda s, seed: _newton(s, seed, 'full'),
    'newton_1_from_zero': lambda s, seed: _newton(s, seed, 'zero'),
    'ridge': _ridge,
    'default': lambda s, seed: _network(s, seed, 'default'),
    'default_newton_1': lambda s, seed: _network(s, seed, 'default', 1),
    'label_free': lambda s, seed: _network(s, seed, 'label_free'),
}


def _examples(setting: Setting) -> tuple[np.ndarray, ...]:
  """Inputs and labels of the points, and of test examples."""
  options = dict(setting.dataset)
  data = datasets.load(options.pop('name'), **options)
  inputs, labels = _first(data.train, setting.num_train, setting.classes)
  val_inputs, val_labels = _first(data.test, _NUM_VAL, setting.classes)
  if setting.num_components:
    middle = inputs.mean(axis=0)
    axes = np.linalg.svd(inputs - middle[None], full_matrices=False)[2]
    axes = axes[: setting.num_components].T
    inputs, val_inputs = (inputs - middle) @ axes, (val_inputs - middle) @ axes
    spread = inputs.std(axis=0)
    inputs, val_inputs = inputs / spread[None], val_inputs / spread[None]
  return inputs, labels, val_inputs, val_labels


def _first(
    split: dataset_lib.Split, most: int, classes: tuple[int, ...] | None
) -> tuple[np.ndarray, np.ndarray]:
  """Flat float64 inputs and labels of the first examples of some classes."""
  labels = np.asarray(split.labels)
  if classes is None:
    rows = np.arange(len(labels))[:most]
    labels = labels[rows]
  else:
    rows = np.flatnonzero(np.isin(labels, classes))[:most]
    labels = np.searchsorted(np.sort(classes), labels[rows])
  inputs = split.inputs[rows]
  return inputs.reshape(len(inputs), -1).astype(np.float64), labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
  """Shapley and Beta Shapley values, and how sure their ranks are."""

  values: np.ndarray
  beta: np.ndarray
  halves: float
  beta_halves: float
  seconds: float
  num_evaluations: int

  def ceiling(self, is_beta: bool = False) -> float:
    """The Spearman correlation that perfect values would reach."""
    halves = self.beta_halves if is_beta else self.halves
    return float(np.sqrt(max(2 * halves / (1 + halves), 0)))


def _reference(study: Study, folder: str) -> Reference:
  path = os.path.join(folder, 'reference.npz')
  if not os.path.exists(path):
    num_orders = study.setting.reference_orders
    walked, seconds = study.walk(
        study.exact, num_orders, _REFERENCE_SEED, antithetic=True
    )
    weights = sampled_values.beta_weights(study.num_train, *_BETA)
    gains = {
        'values': walked.gains[:, :, 0],
        'beta': walked.gains[:, :, 0] * weights[walked.places],
    }
    half = num_orders // 4 * 2  # Whole pairs.
    found = {name: own.mean(axis=0) for name, own in gains.items()}
    for name, halves in (('values', 'halves'), ('beta', 'beta_halves')):
      own = gains[name]
      found[halves] = effects.spearman(
          own[:half].mean(axis=0), own[half:].mean(axis=0)
      )
    with open(f'{path}.part', 'wb') as file:
      np.savez(
          file,
          seconds=seconds,
          num_evaluations=walked.num_evaluations,
          **found,
      )
    os.replace(f'{path}.part', path)
  with np.load(path) as file:
    return Reference(
        values=file['values'],
        beta=file['beta'],
        halves=float(file['halves']),
        beta_halves=float(file['beta_halves']),
        seconds=float(file['seconds']),
        num_evaluations=int(file['num_evaluations']),
    )


def _write(
    workdir: str,
    setting_name: str,
    study: Study,
    reference: Reference,
    rows: Sequence[Mapping[str, Any]],
    num_seeds: int,
) -> None:
  """Scores, averages over seeds, and writes."""
  scored = [_scored(row, study, reference) for row in rows]
  groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
  for row in scored:
    groups.setdefault((row['estimator'], row['budget']), []).append(row)
  means = [_mean(*key, group) for key, group in sorted(groups.items())]
  reached = [_reached(name, means) for name in ESTIMATORS]
  path = os.path.join(workdir, setting_name)
  binary.write_json(
      f'{path}.json',
      {
          'setting': dataclasses.asdict(study.setting),
          'ceiling': reference.ceiling(),
          'beta_ceiling': reference.ceiling(is_beta=True),
          'reference_halves': reference.halves,
          'reference_cpu_seconds': reference.seconds,
          'exact_cpu_milliseconds': (
              1e3 * reference.seconds / reference.num_evaluations
          ),
          'num_seeds': num_seeds,
          'rows': means,
          'reached': reached,
      },
  )
  shown = [_shown(row) for row in reached]
  canvas.write(f'{path}.md', tables.markdown(shown).encode())
  canvas.save(
      data_shapley_plots.race(means, ceiling=reference.ceiling()),
      f'{path}.png',
  )
  print(f'\n{setting_name}: ceiling {reference.ceiling():.3f}')
  print(tables.text(shown))


def _scored(row, study: Study, reference: Reference) -> dict[str, Any]:
  values = np.array(row['values'])
  is_wrong = np.zeros(len(values), bool)
  is_wrong[study.wrong] = True
  own = float('nan')
  if row['estimator'] == 'exact_beta':
    own = effects.spearman(values, reference.beta)
  return {
      'estimator': row['estimator'],
      'budget': row['budget'],
      'seconds': row['labels'] + row['fit'] + row['query'],
      'labels': row['labels'],
      'fit': row['fit'],
      'query': row['query'],
      'spearman': effects.spearman(values, reference.values),
      'own': own,
      'auc': metrics.auc(-values, is_wrong),
  }


def _mean(estimator: str, budget: int, group) -> dict[str, Any]:
  """Means over seeds, with a t interval of the Spearman correlation."""
  found = {
      name: float(np.mean([row[name] for row in group]))
      for name in group[0]
      if name not in ('estimator', 'budget')
  }
  scores = np.array([row['spearman'] for row in group])
  half = stats.t.ppf(0.975, len(scores) - 1) * scores.std(ddof=1)
  half /= np.sqrt(len(scores))
  interval = found['spearman'] - half, found['spearman'] + half
  return {
      'estimator': estimator,
      'budget': budget,
      'interval': [float(end) for end in interval],
      **found,
  }


def _reached(estimator: str, means) -> dict[str, Any]:
  """The best mean correlation, and the seconds at which goals are met."""
  own = [row for row in means if row['estimator'] == estimator]
  best = max(own, key=lambda row: row['spearman'])
  found: dict[str, Any] = {'estimator': estimator, 'best': best}
  for goal in _GOALS:
    seconds = [row['seconds'] for row in own if row['spearman'] >= goal]
    found[f'seconds_to_{goal}'] = min(seconds) if seconds else None
  return found


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
  """A row for people."""
  best = row['best']
  low, high = best['interval']
  shown = {
      'estimator': row['estimator'],
      'best Spearman': f'{best["spearman"]:.3f} [{low:.3f}, {high:.3f}]',
      'AUC': f'{best["auc"]:.3f}',
      'labels s': f'{best["labels"]:.2f}',
      'fit s': f'{best["fit"]:.2f}',
      'all s': f'{best["seconds"]:.2f}',
  }
  for goal in _GOALS:
    seconds = row[f'seconds_to_{goal}']
    shown[f's to {goal}'] = '–' if seconds is None else f'{seconds:.2f}'
  return shown
