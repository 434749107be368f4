"""The training of ONE model by stochastic gradient descent, as a pure function.

`make_train_one` returns `train_one(key, subset_ids, subset_size, data)`; it is
`training.ensemble` that runs it for many models at once.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from jdm import outcomes as outcomes_lib
from jdm import shuffle
from jdm.models import model as model_lib
from jdm.training import augmentation

TrainOne = Callable[..., dict[str, jax.Array]]
_EVALUATION_INPUTS = 1 << 20  # Input values evaluated at once.


class TrainingData(NamedTuple):
  """What a training reads; one copy a device, shared by all models.

  Attributes:
    inputs: `[num_train, ...]`.
    labels: `[num_train]`, int (float for regression); or `[k * num_train]`,
      where entry `j * num_train + i` is another label of example i. Subset ids
      run over the labels: id `j * num_train + i` trains on example i with that
      label.
    targets: for each set of targets `(inputs [num_targets, ...], labels)`; its
      key is the suffix of the outcome's name ('' or '_train').
  """

  inputs: jax.Array | np.ndarray
  labels: jax.Array | np.ndarray
  targets: Mapping[str, tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """How one model is trained.

  Attributes:
    epochs: passes over the subset; a last partial batch is dropped in each.
    batch_size: examples a step.
    learning_rate: the peak of the schedule.
    momentum: of SGD; unused by other optimizers.
    weight_decay: added to the gradient, times the parameters (L2).
    peak: where the triangular schedule is highest, as a fraction of all steps.
    label_smoothing: share of the label's mass spread over all classes.
    optimizer: 'sgd', or the name of any optax optimizer that takes a learning
      rate, or a function `(schedule) -> optax.GradientTransformation`.
    augmentations: names of `training.augmentation`, applied inside the step.
    test_augmentation: 'none'; or 'flip', which averages the logits of an image
      and of its mirror image.
  """

  epochs: int = 10
  batch_size: int = 50
  learning_rate: float = 0.05
  momentum: float = 0.9
  weight_decay: float = 1e-3
  peak: float = 0.2
  label_smoothing: float = 0.0
  optimizer: str | Callable[..., optax.GradientTransformation] = 'sgd'
  augmentations: tuple[str, ...] = ()
  test_augmentation: str = 'none'

  def __post_init__(self):
    positive = ('epochs', 'batch_size', 'learning_rate')
    for name in positive:
      if not getattr(self, name) > 0:
        raise ValueError(f'{name} must be positive, got {getattr(self, name)}')
    for name in ('peak', 'label_smoothing', 'momentum'):
      if not 0.0 <= getattr(self, name) < 1.0:
        raise ValueError(f'{name} must be in [0, 1), got {getattr(self, name)}')
    if self.weight_decay < 0:
      raise ValueError(
          f'weight_decay must not be negative, got {self.weight_decay}'
      )
    if self.test_augmentation not in augmentation.TEST_AUGMENTATIONS:
      raise ValueError(
          'test_augmentation is one of'
          f' {list(augmentation.TEST_AUGMENTATIONS)}, got'
          f' {self.test_augmentation!r}'
      )
    if isinstance(self.optimizer, str) and not _is_optimizer(self.optimizer):
      raise ValueError(
          f'optax has no optimizer {self.optimizer!r}; try sgd, adam or adamw,'
          ' which take a learning rate alone'
      )


def _is_optimizer(name: str) -> bool:
  try:
    made = getattr(optax, name)(0.1)
  except Exception:  # Whatever else optax has by that name.
    return False
  return isinstance(made, optax.GradientTransformation)


def triangular(step: jax.Array, num_steps: jax.Array, peak: float) -> jax.Array:
  """The schedule's factor: a straight line up to 1 at `peak`, then down to 0.

  Args:
    step: `[]`, from 0.
    num_steps: `[]`, the length of the whole run.
    peak: position of the top, as a fraction of the run.

  References:
    Ilyas et al., Datamodels (2022): peak at epoch 5 of 24 for ResNet-9.
  """
  done = (step + 1) / num_steps
  rise = done / max(peak, 1e-6)
  fall = (1.0 - done) / (1.0 - peak) + 1.0 / num_steps
  return jnp.minimum(rise, fall)


def make_optimizer(
    config: Config, num_steps: jax.Array
) -> optax.GradientTransformation:
  """Makes the optimizer of one run of `num_steps` steps (may be traced)."""

  def schedule(step):
    factor = triangular(step, num_steps, config.peak)
    return config.learning_rate * factor

  if callable(config.optimizer):
    return config.optimizer(schedule)
  decay = optax.add_decayed_weights(config.weight_decay)
  if config.optimizer == 'sgd':
    momentum = config.momentum or None
    return optax.chain(decay, optax.sgd(schedule, momentum=momentum))
  return optax.chain(decay, getattr(optax, config.optimizer)(schedule))


def mean_loss(
    logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0
) -> jax.Array:
  """Mean cross-entropy, or half the mean squared error of float labels.

  Args:
    logits: `[batch, num_classes]`; `[batch, 1]` for regression.
    labels: `[batch]`, int; float for regression.
    label_smoothing: see `Config`.
  """
  return jnp.mean(losses(logits, labels, label_smoothing))


def losses(
    logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0
) -> jax.Array:
  """The losses `[batch]` whose mean is `mean_loss`; float32 or wider."""
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  if jnp.issubdtype(labels.dtype, jnp.floating):
    return 0.5 * jnp.square(logits[:, 0] - labels)
  # Classes first: models compute that way, so both transpositions vanish.
  scores = logits.T
  num_classes = scores.shape[0]
  own = labels[None, :] == jnp.arange(num_classes)[:, None]
  aim = own.astype(logits.dtype)
  aim = (1 - label_smoothing) * aim + label_smoothing / num_classes
  log_normalizer = jax.nn.logsumexp(scores, axis=0)
  return log_normalizer - jnp.sum(scores * aim, axis=0)


def make_train_one(
    model: model_lib.Model,
    config: Config,
    outcomes: Mapping[str, outcomes_lib.Outcome],
    *,
    image_shape: tuple[int, ...] | None = None,
) -> TrainOne:
  """Makes the function that trains one model and reads its outcomes.

  Args:
    model: what to train.
    config: how to train it.
    outcomes: what to read off it, by name.
    image_shape: shape of one image, where inputs are flattened images and
      augmentations need it.

  Returns:
    `train_one(key, subset_ids, subset_size, data) -> {name: array}` with
    `subset_ids` int32 `[capacity]` of which the first `subset_size` are real.
    The result depends on those only, not on `capacity`. Outcomes of targets
    are named `name + suffix`.
  """
  read = _reader(model, config, outcomes, image_shape)

  def train_one(key, subset_ids, subset_size, data):
    params, state = fit_one(
        model,
        config,
        key,
        subset_ids,
        subset_size,
        data.inputs,
        data.labels,
        image_shape=image_shape,
    )
    return read(params, state, data)

  return train_one


class Stages(NamedTuple):
  """The training of one model in parts, for checkpoints between epochs.

  Attributes:
    num_epochs: calls of `advance`, with epoch 0, 1, ...
    begin: `begin(key, subset_ids, subset_size, data) -> carry`.
    advance: `advance(carry, epoch, key, subset_ids, subset_size, data)`, the
      carry after one more epoch.
    finish: `finish(carry, data) -> {name: array}`, as `train_one` returns.
  """

  num_epochs: int
  begin: Callable[..., Any]
  advance: Callable[..., Any]
  finish: Callable[..., dict[str, jax.Array]]


def make_stages(
    model: model_lib.Model,
    config: Config,
    outcomes: Mapping[str, outcomes_lib.Outcome],
    *,
    image_shape: tuple[int, ...] | None = None,
) -> Stages:
  """Makes the parts of what `make_train_one` makes; same arguments."""
  read = _reader(model, config, outcomes, image_shape)

  def run(key, subset_ids, subset_size, data):
    return _epochs(
        model,
        config,
        key,
        subset_ids,
        subset_size,
        data.inputs,
        data.labels,
        image_shape,
    )

  def begin(key, subset_ids, subset_size, data):
    return run(key, subset_ids, subset_size, data)[0]

  def advance(carry, epoch, key, subset_ids, subset_size, data):
    return run(key, subset_ids, subset_size, data)[1](carry, epoch)[0]

  def finish(carry, data):
    params, state, _, _ = carry
    return read(params, state, data)

  return Stages(config.epochs, begin, advance, finish)


def fit_one(
    model: model_lib.Model,
    config: Config,
    key: jax.Array,
    subset_ids: jax.Array,
    subset_size: jax.Array,
    inputs: jax.Array,
    labels: jax.Array,
    *,
    image_shape: tuple[int, ...] | None = None,
    weights: jax.Array | None = None,
    dtype: Any = None,
) -> tuple[Any, Any]:
  """Trains one model; returns its parameters and state.

  Args:
    model: as of `make_train_one`, and the next five.
    config: see there.
    key: see there.
    subset_ids: see there.
    subset_size: see there.
    inputs: `[num_train, ...]`.
    labels: `[num_train]`.
    image_shape: see there.
    weights: `[num_train]`, a factor on the loss of each example; a batch's loss
      stays a sum over the batch size, so that an example of weight 0 is left
      out of every batch that it is in while all others stay where they are.
      With weights, the program replays: a derivative of it holds the parameters
      at the start of each epoch and of each step of one epoch, no activations.
    dtype: of the parameters; None keeps the model's own.
  """
  start, epoch = _epochs(
      model,
      config,
      key,
      subset_ids,
      subset_size,
      inputs,
      labels,
      image_shape,
      weights,
      dtype,
  )
  if weights is not None:
    epoch = jax.checkpoint(epoch)
  (params, state, _, _), _ = lax.scan(epoch, start, jnp.arange(config.epochs))
  return params, state


def _epochs(
    model,
    config,
    key,
    subset_ids,
    subset_size,
    inputs,
    labels,
    image_shape,
    weights=None,
    dtype=None,
) -> tuple[Any, Callable[..., Any]]:
  """What training starts from, and `epoch(carry, number) -> (carry, None)`.

  A carry is the parameters, the state, the optimizer's moments and the number
  of steps taken.
  """
  init_key, order_key, augment_key = (
      jax.random.fold_in(key, number) for number in range(3)
  )
  augment = augmentation.make(
      config.augmentations, inputs.shape[1:], image_shape
  )
  capacity, batch = subset_ids.shape[0], config.batch_size
  max_steps = capacity // batch
  steps_an_epoch = subset_size // batch
  num_steps = jnp.maximum(config.epochs * steps_an_epoch, 1)
  optimizer = make_optimizer(config, num_steps.astype(jnp.float32))

  def loss(params, state, batch_ids, step):
    examples = batch_ids
    if labels.shape[0] != inputs.shape[0]:
      examples = batch_ids % inputs.shape[0]
    batch_inputs = inputs.at[examples].get(mode='promise_in_bounds')
    batch_labels = labels.at[batch_ids].get(mode='promise_in_bounds')
    if config.augmentations:
      step_key = jax.random.fold_in(augment_key, step)
      batch_inputs = augment(step_key, batch_inputs)
    logits, state = model.apply(params, state, batch_inputs, True)
    if weights is None:
      return mean_loss(logits, batch_labels, config.label_smoothing), state
    each = losses(logits, batch_labels, config.label_smoothing)
    return jnp.mean(weights[batch_ids] * each), state

  def take_step(carry, batch_ids_and_position):
    (params, state, moments, step), (batch_ids, position) = (
        carry,
        batch_ids_and_position,
    )
    gradient, new_state = jax.grad(loss, has_aux=True)(
        params, state, batch_ids, step
    )
    updates, new_moments = optimizer.update(gradient, moments, params)
    new = (optax.apply_updates(params, updates), new_state, new_moments)
    # Steps past the subset's last whole batch change nothing.
    real = position < steps_an_epoch
    keep = functools.partial(jnp.where, real)
    kept = jax.tree.map(keep, new, (params, state, moments))
    return (*kept, step + real.astype(step.dtype)), None

  def epoch(carry, number):
    order = shuffle.order(
        jax.random.fold_in(order_key, number),
        subset_size,
        capacity=capacity,
        limit=inputs.shape[0],
    )
    ids = subset_ids.at[order].get(mode='promise_in_bounds')
    ids = ids[: max_steps * batch].reshape(max_steps, batch)
    step = take_step if weights is None else jax.checkpoint(take_step)
    return lax.scan(step, carry, (ids, jnp.arange(max_steps)))

  params, state = model.init(init_key)
  if dtype is not None:
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
  start = (params, state, optimizer.init(params), jnp.zeros((), jnp.int32))
  return start, epoch


def _reader(model, config, outcomes, image_shape) -> Callable[..., Any]:
  """`read(params, state, data)`: the outcomes of a trained model."""

  def read(params, state, data):
    return read_outcomes(
        model,
        params,
        state,
        outcomes,
        data,
        test_augmentation=config.test_augmentation,
        image_shape=image_shape,
    )

  return read


def read_outcomes(
    model: model_lib.Model,
    params: Any,
    state: Any,
    outcomes: Mapping[str, outcomes_lib.Outcome],
    data: TrainingData,
    *,
    test_augmentation: str = 'none',
    image_shape: tuple[int, ...] | None = None,
) -> dict[str, jax.Array]:
  """Reads all outcomes of one trained model, by name and suffix.

  The last two are as of `evaluate`.
  """
  result = {
      name: outcome.compute(params)
      for name, outcome in outcomes.items()
      if outcome.of_parameters
  }
  of_targets = {n: o for n, o in outcomes.items() if not o.of_parameters}
  if not of_targets:
    return result
  for suffix, (inputs, labels) in data.targets.items():
    logits = evaluate(
        model,
        params,
        state,
        jnp.asarray(inputs),
        test_augmentation=test_augmentation,
        image_shape=image_shape,
    )
    for name, outcome in of_targets.items():
      result[name + suffix] = outcome.compute(logits, labels)
  return result


def evaluate(
    model: model_lib.Model,
    params: Any,
    state: Any,
    inputs: jax.Array,
    *,
    test_augmentation: str = 'none',
    image_shape: tuple[int, ...] | None = None,
) -> jax.Array:
  """Computes the logits `[num_targets, num_classes]`, in batches if large.

  Args:
    model: what was trained.
    params: of it.
    state: of it.
    inputs: `[num_targets, ...]`.
    test_augmentation: 'flip' averages over images and their mirror images.
    image_shape: shape of one image, where inputs are flattened images.
  """

  def apply(inputs):
    logits, *others = (
        model.apply(params, state, view, False)[0]
        for view in augmentation.views(test_augmentation, inputs, image_shape)
    )
    for other in others:
      logits = logits + other
    return logits / (1 + len(others)) if others else logits

  num_targets = inputs.shape[0]
  image_like = inputs.ndim > 2
  batch = 100 if image_like else max(1, _EVALUATION_INPUTS // inputs[0].size)
  if num_targets <= batch:
    return apply(inputs)
  num_batches = -(-num_targets // batch)
  padding = [(0, num_batches * batch - num_targets)] + [(0, 0)] * (
      inputs.ndim - 1
  )
  batches = jnp.pad(inputs, padding).reshape(
      num_batches, batch, *inputs.shape[1:]
  )
  logits = lax.map(apply, batches)
  return logits.reshape(num_batches * batch, -1)[:num_targets]
