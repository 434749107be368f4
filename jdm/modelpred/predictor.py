"""A network that maps a training set to the parameters trained on it."""

from collections.abc import Callable
import dataclasses
import functools
import json
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdm.modelpred import baselines
from jdm.modelpred import certificates
from jdm.modelpred import config as config_lib
from jdm.modelpred import heads
from jdm.modelpred import points as points_lib
from jdm.modelpred import refine as refine_lib
from jdm.modelpred import set_functions
from jdm.training import convex
from jdm.training import perceptron

_MOST_REFINES = 50


class Prediction(NamedTuple):
  """Predicted parameters of sets, and what is known of their error.

  Attributes:
    parameters: float64 `[num_sets, num_parameters]`.
    gradient_norm: `[num_sets]`, of the set's objective there.
    decrement: `[num_sets]`, Newton decrement; NaN of a perceptron.
    bound: `[num_sets]`, upper bound of the distance to the truth; infinite
      where none is known, see `certificates`.
    num_steps: `[num_sets]`, int, steps taken from the network's output.
    is_outside: bool `[num_sets]`, sets smaller or larger than any that the
      predictor was trained on: look at the certificate.
  """

  parameters: np.ndarray
  gradient_norm: np.ndarray
  decrement: np.ndarray
  bound: np.ndarray
  num_steps: np.ndarray
  is_outside: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Predictor:
  """A fitted predictor.

  Attributes:
    config: how it was made.
    pool: its points and objective.
    num_classes: of the points' labels; 0 stands for regression.
    variables: of the network.
    head: from the network's outputs to parameters.
    shift: what is subtracted from point features, `[width]`.
    scale: what they are divided by, `[width]`.
    sizes: smallest and largest set of the training labels.
    base: added to the network's output, or None.
    history: `(step, validation error)` of each look, whitened or plain.
  """

  config: config_lib.Config
  pool: points_lib.Pool
  num_classes: int
  variables: Any
  head: heads.Head
  shift: np.ndarray
  scale: np.ndarray
  sizes: tuple[int, int]
  base: baselines.Predict | None = None
  history: tuple[tuple[int, float], ...] = ()

  def network(self) -> Any:
    """The flax module."""
    return make_network(
        self.config, self.head.num_outputs, len(self.pool.labels)
    )

  def outputs(
      self,
      masks: np.ndarray,
      pool: points_lib.Pool | None = None,
  ) -> np.ndarray:
    """Parameters `[num_sets, num_parameters]` as the network puts them out.

    Args:
      masks: `[num_sets, num_points]`, 0/1 or counts.
      pool: other points than those of the fit, such as the pool and new ones.

    Raises:
      ValueError: as `predict`.
    """
    pool = self.pool if pool is None else pool
    masks = _checked_masks(masks, pool)
    points = jnp.asarray(self._features(pool))
    classes = jnp.asarray(pool.classes, jnp.float32)
    found = _outputs(
        self.network(),
        self.variables,
        self.head,
        points,
        jnp.asarray(masks, jnp.float32),
        classes,
    )
    found = _without_gauge(pool.objective, np.asarray(found, np.float64))
    if self.base is None:
      return found
    if pool is not self.pool:
      raise ValueError(
          'this predictor stands on a ridge regression of the mask, which knows'
          " its own pool's points only; fit one with base=None for new points"
      )
    return found + self.base(masks)

  def traced(self) -> Callable[[jax.Array], jax.Array]:
    """The network on its own pool, as a function that JAX can differentiate.

    Returns:
      From float32 weights `[num_sets, num_points]` to parameters `[num_sets,
      num_parameters]`, as `outputs` without checks.

    Raises:
      ValueError: if the predictor stands on a base, which is no JAX function.
    """
    if self.base is not None:
      raise ValueError(
          'a predictor that stands on a base has no gradient; fit one with'
          ' base=None'
      )
    points = jnp.asarray(self._features(self.pool))
    classes = jnp.asarray(self.pool.classes, jnp.float32)
    network = self.network()

    def call(weights: jax.Array) -> jax.Array:
      return _outputs(
          network, self.variables, self.head, points, weights, classes
      )

    return call

  def predict(
      self,
      masks: np.ndarray,
      *,
      pool: points_lib.Pool | None = None,
      num_refines: int = 0,
      tol: float | None = None,
  ) -> Prediction:
    """Predicts, refines and certifies.

    Args:
      masks: `[num_sets, num_points]`, 0/1, or how often each point counts.
      pool: other points than those of the fit.
      num_refines: steps from the network's output, for every set: Newton's, or
        of a perceptron those of its own training.
      tol: takes further steps, of the sets that need them, until `bound` is at
        most `tol`.

    Raises:
      ValueError: if a set is empty or misses a class (and so has no minimum),
        masks do not fit the points, points have another dimension, or `tol` is
        given for a perceptron, of which no bound is known.
    """
    pool = self.pool if pool is None else pool
    if tol is not None and not pool.objective.is_convex:
      raise ValueError(
          '`predict` takes tol for convex objectives only: no bound of the error'
          ' of a perceptron is known; pass num_refines instead'
      )
    masks = _checked_masks(masks, pool)
    parameters = self.outputs(masks, pool)
    if num_refines:
      parameters = _refined(pool, parameters, masks, num_refines)
    steps = np.full(len(masks), num_refines)
    certificate = _certified(pool, parameters, masks)
    for _ in range(_MOST_REFINES if tol is not None else 0):
      rows = np.flatnonzero(~(certificate.bound <= tol))
      if not rows.size:
        break
      parameters[rows] = _refined(pool, parameters[rows], masks[rows], 1)
      steps[rows] += 1
      again = _certified(pool, parameters[rows], masks[rows])
      for old, new in zip(certificate, again):
        old[rows] = new
    return Prediction(
        parameters=parameters,
        gradient_norm=certificate.gradient_norm,
        decrement=certificate.decrement,
        bound=certificate.bound,
        num_steps=steps,
        is_outside=self.is_outside(masks),
    )

  def is_outside(self, masks: np.ndarray) -> np.ndarray:
    """Which sets are smaller or larger than any of the fit, `[num_sets]`."""
    size = np.asarray(masks).sum(axis=1)
    return (size < self.sizes[0]) | (size > self.sizes[1])

  def _features(self, pool: points_lib.Pool) -> np.ndarray:
    found = set_functions.point_features(
        pool.inputs,
        pool.labels,
        num_classes=self.num_classes,
        kind=self.config.features,
    )
    if found.shape[1] != len(self.shift):
      raise ValueError(
          f'`predict` expects points of the dimension of the fit, whose features'
          f' are {len(self.shift)} numbers, got {found.shape[1]}.'
      )
    return (found - self.shift[None]) / self.scale[None]


def make_network(
    config: config_lib.Config, num_outputs: int, num_train: int
) -> Any:
  """The flax module of a config, for parameters of some head.

  Args:
    config: how.
    num_outputs: of the head.
    num_train: points of the pool, by which sums are scaled.

  Raises:
    ValueError: if a depth is asked of a set function that has no choice.
  """
  options: dict[str, Any] = {'width': config.width}
  if config.depth is not None:
    options['depth'] = config.depth
  if config.set_function != 'deepsets':
    options['scale'] = float(max(num_train / 2, 1))
  return set_functions.make(config.set_function, num_outputs, **options)


@functools.partial(jax.jit, static_argnums=0)
def _outputs(network, variables, head, points, weights, classes):
  outputs = network.apply({'params': variables}, points, weights, classes)
  return head.to_parameters(outputs)


def _checked_masks(masks: Any, pool: points_lib.Pool) -> np.ndarray:
  """Masks as float64, or an error that says what is wrong with the sets."""
  masks = np.asarray(masks)
  num = len(pool.labels)
  if masks.ndim != 2 or masks.shape[1] != num:
    raise ValueError(
        f'`predict` expects masks [num_sets, {num}], one column a point, got'
        f' {list(masks.shape)}; for one set pass `mask[None]`.'
    )
  masks = masks.astype(np.float64)
  if not np.isfinite(masks).all() or (masks < 0).any():
    raise ValueError('`predict` expects masks of 0 and 1, or counts from 0.')
  empty = np.flatnonzero(masks.sum(axis=1) == 0)
  if empty.size:
    raise ValueError(
        f'`predict`: {empty.size} of {len(masks)} sets are empty (number'
        f' {empty[0]} first).'
    )
  own = pool.objective
  is_free = isinstance(own, convex.Objective) and not own.penalize_intercept
  if not is_free or not pool.classes.shape[1]:
    return masks  # Every set has its model.
  counts = masks @ pool.classes
  missing = np.flatnonzero((counts == 0).any(axis=1))
  if missing.size:
    label = int(np.flatnonzero(counts[missing[0]] == 0)[0])
    raise ValueError(
        f'`predict`: {missing.size} of {len(masks)} sets miss a class (number'
        f' {missing[0]} has none of class {label}); a free intercept has no'
        ' minimum there.'
    )
  return masks


def _without_gauge(
    own: points_lib.Objective, parameters: np.ndarray
) -> np.ndarray:
  """Intercepts of softmax sum to 0, as those of the minimum do."""
  if not own.has_gauge:
    return parameters
  shape = len(parameters), own.num_features + 1, own.num_scores
  matrix = parameters.reshape(shape).copy()
  matrix[:, -1] -= matrix[:, -1].mean(axis=1, keepdims=True)
  return matrix.reshape(parameters.shape)


class _Certificate(NamedTuple):
  """`certificates.Certificate` on the host."""

  gradient_norm: np.ndarray
  decrement: np.ndarray
  bound: np.ndarray


def _refined(pool, parameters, masks, num_steps: int) -> np.ndarray:
  def call(weights, at, data):
    return (
        refine_lib.refine(
            pool.objective, at, weights, data, num_steps=num_steps
        ),
    )

  return pool.in_chunks(call, masks, parameters)[0]


def _certified(pool, parameters, masks) -> _Certificate:
  def call(weights, at, data):
    return certificates.certify(pool.objective, at, weights, data)

  return _Certificate(*pool.in_chunks(call, masks, parameters))


def save(path: str, fitted: Predictor) -> None:
  """Writes a predictor to a folder: arrays by orbax, the rest as JSON.

  Raises:
    ValueError: if it stands on a base, which is not written down.
    FileExistsError: if the folder is there already.
  """
  from orbax import checkpoint  # Takes a second to import.

  if fitted.base is not None:
    raise ValueError('a predictor with a base cannot be saved; use base=None')
  path = os.path.abspath(path)
  if os.path.exists(path):
    raise FileExistsError(f'{path} is there already')
  tree = {
      'variables': fitted.variables,
      'head': fitted.head._asdict(),
      'shift': fitted.shift,
      'scale': fitted.scale,
      'inputs': np.asarray(fitted.pool.inputs),
      'labels': np.asarray(fitted.pool.labels),
  }
  with checkpoint.StandardCheckpointer() as saver:
    saver.save(os.path.join(path, 'arrays'), tree)
  about = {
      'config': dataclasses.asdict(fitted.config),
      'objective': dataclasses.asdict(fitted.pool.objective),
      'is_convex': fitted.pool.objective.is_convex,
      'num_classes': fitted.num_classes,
      'sizes': list(fitted.sizes),
      'history': [list(look) for look in fitted.history],
  }
  temporary = os.path.join(path, 'predictor.json.tmp')
  with open(temporary, 'w', encoding='utf-8') as file:
    json.dump(about, file, indent=1)
  os.replace(temporary, os.path.join(path, 'predictor.json'))


def load(path: str) -> Predictor:
  """Reads what `save` wrote.

  Raises:
    ValueError: if there is no predictor.
  """
  from orbax import checkpoint

  path = os.path.abspath(path)
  name = os.path.join(path, 'predictor.json')
  if not os.path.exists(name):
    raise ValueError(f'there is no predictor at {path}')
  with open(name, encoding='utf-8') as file:
    about = json.load(file)
  with checkpoint.StandardCheckpointer() as reader:
    tree = reader.restore(os.path.join(path, 'arrays'))
  # What was written before there were perceptrons is convex.
  kind = (
      convex.Objective if about.get('is_convex', True) else perceptron.Objective
  )
  pool = points_lib.Pool(
      objective=kind(**about['objective']),
      inputs=np.asarray(tree['inputs']),
      labels=np.asarray(tree['labels']),
  )
  return Predictor(
      config=config_lib.Config(**about['config']),
      pool=pool,
      num_classes=about['num_classes'],
      variables=jax.tree.map(jnp.asarray, tree['variables']),
      head=heads.Head(**{n: jnp.asarray(a) for n, a in tree['head'].items()}),
      shift=np.asarray(tree['shift']),
      scale=np.asarray(tree['scale']),
      sizes=(about['sizes'][0], about['sizes'][1]),
      history=tuple((int(s), float(v)) for s, v in about['history']),
  )
