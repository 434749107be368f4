"""Trains a predictor of parameters: the loop, and what it is given."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jdm import subsets
from jdm.modelpred import baselines
from jdm.modelpred import config as config_lib
from jdm.modelpred import heads
from jdm.modelpred import labels as labels_lib
from jdm.modelpred import losses
from jdm.modelpred import points as points_lib
from jdm.modelpred import predictor as predictor_lib
from jdm.modelpred import set_functions
from jdm.training import convex
from jdm.training import exact
from jdm.training import perceptron

_WHO = 'modelpred.fit'
_CHECKED = 64  # Labels whose gradients are looked at before training.
_RETRAINED = 8  # Labels of a perceptron that are trained again instead.
_SAME = 1e-3  # Of the way from the initialization: labels farther are others.
_MINIMUM = 1e-3  # Of the gradient at zero: labels above are no minima.
_FEWEST_SCHEDULED = 20  # Steps; fewer have a constant rate.


def fit(
    pool: points_lib.Pool,
    labels: labels_lib.Labels,
    val: labels_lib.Labels,
    config: config_lib.Config = config_lib.Config(),
    *,
    progress: Callable[[int, int], None] | None = None,
) -> predictor_lib.Predictor:
  """Trains a predictor.

  Args:
    pool: the points, and the objective that labels are the minimum of (or of
      a perceptron, the end of its descent).
    labels: to learn from. Without labels (`Config.needs_labels` False) they
      only give the head its scale: a few hundred do, or those of `val`.
    val: chooses when to stop; never reported on.
    config: how.
    progress: called with steps done and in all.

  Raises:
    ValueError: if masks and points do not fit, labels are no minima of the
      objective (other loss, penalty or points; of a perceptron: are not what
      retraining gives), or a loss is not defined for the objective.
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
      (val.masks, val_targets, _based(base, val)),
      progress,
  )
  sizes = labels.masks.sum(axis=1)
  largest = len(pool.labels) if config.label_free else int(sizes.max())
  smallest = int(sizes.min())
  if config.label_free:
    smallest = min(smallest, config.min_size)
  return predictor_lib.Predictor(
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


def _check_labels(pool: points_lib.Pool, labels: labels_lib.Labels) -> None:
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
  if isinstance(own, perceptron.Objective):
    _check_retrained(pool, labels)
    return
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


def _check_retrained(pool: points_lib.Pool, labels: labels_lib.Labels) -> None:
  """Trains a few sets again: the gradient at the end of a descent is not 0."""
  some = labels.take(slice(None, None, -(-len(labels) // _RETRAINED)))
  again = pool.solve(some.masks).parameters
  away = np.linalg.norm(again - some.parameters, axis=1)
  moved = np.linalg.norm(again - pool.initial[None], axis=1)
  bad = int(np.sum(~(away <= _SAME * moved)))
  if bad:
    raise ValueError(
        f'`{_WHO}`: {bad} of {len(away)} labels looked at are not what training'
        f' gives again: they are up to {np.max(away):.3g} from it, which is'
        f' {np.max(moved):.3g} from the initialization. Pass the objective (its'
        ' loss, penalty, widths, steps and seed) and the points that they were'
        ' trained with.'
    )


class _Trainer:
  """The training loop, on the device."""

  def __init__(self, pool, config, head, points):
    self.config, self.head, self.own = config, head, pool.objective
    self.network = predictor_lib.make_network(
        config, head.num_outputs, len(pool.labels)
    )
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
      whole, truth = found + base, targets + base
      if config.parameter:
        total += config.parameter * self.error(found, targets, base)
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

  def error(self, found, targets, base):
    """The parameter error of predictions without a base."""
    kind = self.config.parameter_kind
    if kind == 'function':
      found, targets = found + base, targets + base
    return losses.parameter(
        kind, self.head, found, targets, self.own, self.data
    )

  def _fresh(self, key):
    """New subsets of uniform size; those without a minimum count nothing."""
    num_train = len(self.points)
    low = min(self.config.min_size, num_train)
    masks = subsets.uniform_size(
        key, jnp.arange(self.config.batch_size), num_train, low
    )
    weights = masks.astype(jnp.float32)
    if isinstance(self.own, perceptron.Objective):
      return weights  # Whose descent ends somewhere for any set.
    has = exact.has_minimum(self.own, weights, self.data.labels)
    # Everything stands in for a set without a minimum.
    return jnp.where(has[:, None], weights, 1.0)

  def run(self, train, val, progress):
    """Trains; returns the best variables and the looks at validation."""
    config = self.config
    key = jax.random.key(config.seed)
    init_key, run_key = jax.random.split(key)
    weights, targets, base = (jnp.asarray(a, jnp.float32) for a in train)
    val_weights, val_targets, val_base = (
        jnp.asarray(a, jnp.float32) for a in val
    )
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
      return self.error(found, val_targets, val_base)

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


def _optimizer(config: config_lib.Config) -> optax.GradientTransformation:
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
