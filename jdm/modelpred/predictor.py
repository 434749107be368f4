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
import optax

from jdm import subsets
from jdm.modelpred import baselines
from jdm.modelpred import certificates
from jdm.modelpred import heads
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import losses
from jdm.modelpred import refine as refine_lib
from jdm.modelpred import set_functions
from jdm.training import convex
from jdm.training import exact

_WHO = 'modelpred.fit'
_CHECKED = 64  # Labels whose gradients are looked at before training.
_MINIMUM = 1e-3  # Of the gradient at zero: labels above are no minima.
_MOST_REFINES = 50
_FEWEST_SCHEDULED = 20  # Steps; fewer have a constant rate.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """How a predictor is made and trained.

  Attributes:
    set_function: name of `set_functions.SET_FUNCTIONS`.
    width: of its layers.
    features: of points, see `set_functions.point_features`; standardized over
      the pool unless 'plain'.
    head: of `heads.HEADS`.
    base: 'ridge' adds the network to ridge regression of the mask and size;
      None starts from nothing. A base knows the pool's points only.
    parameter: weight of the parameter error; 0 trains without labels.
    parameter_kind: of `losses.PARAMETER`.
    local: weight of the local regularization.
    local_kind: of `losses.LOCAL`.
    global_: weight of the global (utility) regularization.
    global_kind: of `losses.GLOBAL`.
    label_free: weight of the objective itself, on fresh random subsets, which
      needs no retraining.
    min_size: smallest fresh subset.
    l1: weight of the sum of the absolute weights of the network.
    l2: weight of the sum of the (not squared) l2 norms of its matrices.
    learning_rate: peak of Adam's.
    is_constant_rate: keeps the rate; else it warms up and falls as a cosine.
    clip: of the gradient's global norm; 0 clips nothing.
    num_steps: batches.
    batch_size: sets in one.
    check_every: steps between looks at the validation error; the parameters of
      the best look are kept.
    seed: of initialization and batches.
  """

  set_function: str = 'deepsets_plus'
  width: int = 128
  features: str = 'signed'
  head: str = 'whitened'
  base: str | None = None
  parameter: float = 1.0
  parameter_kind: str = 'whitened'
  local: float = 0.0
  local_kind: str = 'squared'
  global_: float = 0.0
  global_kind: str = 'squared'
  label_free: float = 0.0
  min_size: int = 4
  l1: float = 0.0
  l2: float = 0.0
  learning_rate: float = 3e-3
  is_constant_rate: bool = False
  clip: float = 10.0
  num_steps: int = 8000
  batch_size: int = 64
  check_every: int = 500
  seed: int = 0

  def __post_init__(self):
    for name, known in (
        ('head', heads.HEADS),
        ('features', set_functions.FEATURES),
        ('base', (None, 'ridge')),
        ('parameter_kind', losses.PARAMETER),
        ('local_kind', losses.LOCAL),
        ('global_kind', losses.GLOBAL),
        ('set_function', tuple(set_functions.SET_FUNCTIONS)),
    ):
      if getattr(self, name) not in known:
        raise ValueError(
            f'{name} is one of {known}, got {getattr(self, name)!r}'
        )
    for name in ('num_steps', 'batch_size', 'check_every', 'learning_rate'):
      if not getattr(self, name) > 0:
        raise ValueError(f'{name} must be positive, got {getattr(self, name)}')
    if not (self.parameter or self.label_free or self.local):
      raise ValueError(
          'a predictor needs the parameter error, the local or the label-free'
          ' loss; all have weight 0'
      )

  @property
  def needs_labels(self) -> bool:
    """Whether training reads parameters of retrained models."""
    return bool(self.parameter or self.global_)


# The released recipe to the letter; one pass is 15 epochs there, about 7,000
# batches of its 300-point pools.
PAPER = Config(
    set_function='deepsets',
    features='plain',
    head='raw',
    parameter_kind='plain',
    local=1.0,
    local_kind='released',
    global_=1.0,
    global_kind='released',
    l1=0.01,
    l2=0.01,
    learning_rate=1e-4,
    is_constant_rate=True,
    clip=0.0,
    num_steps=7000,
    batch_size=32,
    check_every=500,
)
LABEL_FREE = Config(parameter=0.0, label_free=1.0)
PRESETS = {'default': Config(), 'paper': PAPER, 'label_free': LABEL_FREE}


class Prediction(NamedTuple):
  """Predicted parameters of sets, and what is known of their error.

  Attributes:
    parameters: float64 `[num_sets, num_parameters]`.
    gradient_norm: `[num_sets]`, of the set's objective there.
    decrement: `[num_sets]`, Newton decrement.
    bound: `[num_sets]`, upper bound of the distance to the truth; infinite
      where none is known, see `certificates`.
    num_steps: `[num_sets]`, int, Newton steps taken from the network's output.
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

  config: Config
  pool: baselines.Pool
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
    return _network(self.config, self.head.num_outputs, len(self.pool.labels))

  def outputs(
      self,
      masks: np.ndarray,
      pool: baselines.Pool | None = None,
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

  def predict(
      self,
      masks: np.ndarray,
      *,
      pool: baselines.Pool | None = None,
      num_refines: int = 0,
      tol: float | None = None,
  ) -> Prediction:
    """Predicts, refines and certifies.

    Args:
      masks: `[num_sets, num_points]`, 0/1, or how often each point counts.
      pool: other points than those of the fit.
      num_refines: Newton steps from the network's output, for every set.
      tol: takes further steps, of the sets that need them, until `bound` is at
        most `tol`.

    Raises:
      ValueError: if a set is empty or misses a class (and so has no minimum),
        masks do not fit the points, or points have another dimension.
    """
    pool = self.pool if pool is None else pool
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
    size = masks.sum(axis=1)
    return Prediction(
        parameters=parameters,
        gradient_norm=certificate.gradient_norm,
        decrement=certificate.decrement,
        bound=certificate.bound,
        num_steps=steps,
        is_outside=(size < self.sizes[0]) | (size > self.sizes[1]),
    )

  def _features(self, pool: baselines.Pool) -> np.ndarray:
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


def _network(config: Config, num_outputs: int, num_train: int) -> Any:
  options: dict[str, Any] = {'width': config.width}
  if config.set_function != 'deepsets':
    options['scale'] = float(max(num_train / 2, 1))
  return set_functions.make(config.set_function, num_outputs, **options)


@functools.partial(jax.jit, static_argnums=0)
def _outputs(network, variables, head, points, weights, classes):
  outputs = network.apply({'params': variables}, points, weights, classes)
  return head.to_parameters(outputs)


def _checked_masks(masks: Any, pool: baselines.Pool) -> np.ndarray:
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
  if pool.objective.penalize_intercept or not pool.classes.shape[1]:
    return masks
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


def _without_gauge(own: convex.Objective, parameters: np.ndarray) -> np.ndarray:
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


def fit(
    pool: baselines.Pool,
    labels: labels_lib.Labels,
    val: labels_lib.Labels,
    config: Config = Config(),
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Predictor:
  """Trains a predictor.

  Args:
    pool: the points, and the objective that labels are the minimum of.
    labels: to learn from. Without labels (`Config.needs_labels` False) they
      only give the head its scale: a few hundred do, or those of `val`.
    val: chooses when to stop; never reported on.
    config: how.
    progress: called with steps done and in all.

  Raises:
    ValueError: if masks and points do not fit, or labels are no minima of the
      objective (other loss, penalty or points).
  """
  _check_labels(pool, labels)
  _check_labels(pool, val)
  base, targets, val_targets = None, labels.parameters, val.parameters
  if config.base == 'ridge':
    base = baselines.ridge(pool, labels, val)
    targets = targets - base(labels.masks)
    val_targets = val_targets - base(val.masks)
  head = heads.make(config.head, targets)
  num_classes = pool.classes.shape[1]
  features = set_functions.point_features(
      pool.inputs, pool.labels, num_classes=num_classes, kind=config.features
  )
  shift, scale = np.zeros((2, features.shape[1]), np.float32)
  scale += 1
  if config.features != 'plain':
    shift, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
  trainer = _Trainer(pool, config, head, (features - shift[None]) / scale[None])
  variables, history = trainer.run(
      (labels.masks, targets, _based(base, labels)),
      (val.masks, val_targets),
      progress,
  )
  sizes = labels.masks.sum(axis=1)
  largest = len(pool.labels) if config.label_free else int(sizes.max())
  smallest = int(sizes.min())
  if config.label_free:
    smallest = min(smallest, config.min_size)
  return Predictor(
      config=config,
      pool=pool,
      num_classes=num_classes,
      variables=variables,
      head=head,
      shift=shift,
      scale=scale,
      sizes=(smallest, largest),
      base=base,
      history=tuple(history),
  )


def _based(base, labels) -> np.ndarray:
  """What a base predicts, where the loss needs whole parameters."""
  if base is None:
    return np.zeros_like(labels.parameters)
  return base(labels.masks)


def _check_labels(pool: baselines.Pool, labels: labels_lib.Labels) -> None:
  num, own = len(pool.labels), pool.objective
  if labels.masks.shape[1] != num:
    raise ValueError(
        f'`{_WHO}` expects masks over the {num} points of the pool, got'
        f' {labels.masks.shape[1]} columns.'
    )
  if labels.parameters.shape[1] != own.num_parameters:
    raise ValueError(
        f'`{_WHO}` expects {own.num_parameters} parameters of this objective'
        f' and these points, got {labels.parameters.shape[1]}.'
    )
  some = labels.take(slice(None, None, max(len(labels) // _CHECKED, 1)))

  def call(weights, at, data):
    zero = own.gradient(jnp.zeros_like(at), weights, data)
    there = own.gradient(at, weights, data)
    return jnp.linalg.norm(there, axis=1), jnp.linalg.norm(zero, axis=1)

  norm, scale = pool.in_chunks(call, some.masks, some.parameters)
  bad = int(np.sum(norm > _MINIMUM * np.maximum(scale, 1)))
  if bad:
    raise ValueError(
        f'`{_WHO}`: {bad} of {len(norm)} labels looked at are no minima of the'
        f' objective {own.loss!r} with lam={own.lam}: their gradient is up to'
        f' {norm.max():.3g}, that of zero parameters {scale.max():.3g}. Pass the'
        ' objective and the points that they were trained with.'
    )


class _Trainer:
  """The training loop, on the device."""

  def __init__(self, pool, config, head, points):
    self.config, self.head, self.own = config, head, pool.objective
    self.network = _network(config, head.num_outputs, len(pool.labels))
    self.points = jnp.asarray(points, jnp.float32)
    self.classes = jnp.asarray(pool.classes, jnp.float32)
    columns = np.hstack([pool.inputs, np.ones((len(pool.labels), 1))])
    labels = np.asarray(pool.labels)
    if np.issubdtype(labels.dtype, np.floating):
      labels = labels.astype(np.float32)
    self.data = convex.Examples(
        jnp.asarray(columns, jnp.float32), jnp.asarray(labels)
    )
    self.optimizer = _optimizer(config)

  def predict(self, variables, weights):
    """Parameters of sets, without a base."""
    outputs = self.network.apply(
        {'params': variables}, self.points, weights, self.classes
    )
    return self.head.to_parameters(outputs)

  def loss(self, variables, batch, key):
    """The loss of one batch `(weights, targets, base)`."""
    config, total = self.config, jnp.zeros(())
    weights, targets, base = batch
    if config.parameter or config.local or config.global_:
      found = self.predict(variables, weights)
      if config.parameter:
        total += config.parameter * losses.parameter(
            config.parameter_kind, self.head, found, targets
        )
      whole, truth = found + base, targets + base
      if config.local:
        total += config.local * losses.local(
            config.local_kind, self.own, whole, weights, self.data
        )
      if config.global_:
        total += config.global_ * losses.global_(
            config.global_kind, self.own, whole, truth, weights, self.data
        )
    if config.label_free:
      fresh = self._fresh(key)
      found = self.predict(variables, fresh)
      total += config.label_free * losses.objective(
          self.own, found, fresh, self.data
      )
    if config.l1 or config.l2:
      absolute, squared = losses.weight_penalties(variables)
      total += config.l1 * absolute + config.l2 * squared
    return total

  def _fresh(self, key):
    """New subsets of uniform size; those without a minimum count nothing."""
    num_train = len(self.points)
    low = min(self.config.min_size, num_train)
    masks = subsets.uniform_size(
        key, jnp.arange(self.config.batch_size), num_train, low
    )
    weights = masks.astype(jnp.float32)
    has = exact.has_minimum(self.own, weights, self.data.labels)
    # Everything stands in for a set without a minimum.
    return jnp.where(has[:, None], weights, 1.0)

  def run(self, train, val, progress):
    """Trains; returns the best variables and the looks at validation."""
    config = self.config
    key = jax.random.key(config.seed)
    init_key, run_key = jax.random.split(key)
    weights, targets, base = (jnp.asarray(a, jnp.float32) for a in train)
    val_weights, val_targets = (jnp.asarray(a, jnp.float32) for a in val)
    variables = self.network.init(
        init_key, self.points, weights[:1], self.classes
    )['params']
    state = variables, self.optimizer.init(variables)

    def step(state, number):
      variables, moments = state
      own_key = jax.random.fold_in(run_key, number)
      rows = jax.random.randint(
          own_key, (config.batch_size,), 0, weights.shape[0]
      )
      batch = weights[rows], targets[rows], base[rows]
      gradient = jax.grad(self.loss)(variables, batch, own_key)
      updates, moments = self.optimizer.update(gradient, moments, variables)
      return (optax.apply_updates(variables, updates), moments), None

    @jax.jit
    def advance(state, numbers):
      return jax.lax.scan(step, state, numbers)[0]

    @jax.jit
    def error(variables):
      found = self.predict(variables, val_weights)
      if not config.needs_labels:
        # Validation by the loss itself: labels are not looked at.
        return losses.objective(self.own, found, val_weights, self.data)
      return losses.parameter(
          config.parameter_kind, self.head, found, val_targets
      )

    best, history, done = (np.inf, variables), [], 0
    while done < config.num_steps:
      count = min(config.check_every, config.num_steps - done)
      state = advance(state, jnp.arange(done, done + count))
      done += count
      value = float(error(state[0]))
      history.append((done, value))
      if value < best[0]:
        best = value, state[0]
      if progress:
        progress(done, config.num_steps)
    return best[1], history


def _optimizer(config: Config) -> optax.GradientTransformation:
  rate: Any = config.learning_rate
  if not config.is_constant_rate and config.num_steps >= _FEWEST_SCHEDULED:
    rate = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        min(100, config.num_steps // 10),
        config.num_steps,
        config.learning_rate * 0.01,
    )
  clip = [optax.clip_by_global_norm(config.clip)] if config.clip else []
  return optax.chain(*clip, optax.adam(rate))


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
  pool = baselines.Pool(
      objective=convex.Objective(**about['objective']),
      inputs=np.asarray(tree['inputs']),
      labels=np.asarray(tree['labels']),
  )
  return Predictor(
      config=Config(**about['config']),
      pool=pool,
      num_classes=about['num_classes'],
      variables=jax.tree.map(jnp.asarray, tree['variables']),
      head=heads.Head(**{n: jnp.asarray(a) for n, a in tree['head'].items()}),
      shift=np.asarray(tree['shift']),
      scale=np.asarray(tree['scale']),
      sizes=(about['sizes'][0], about['sizes'][1]),
      history=tuple((int(s), float(v)) for s, v in about['history']),
  )
