"""What a pool of models is made by, and how to make it ready to train.

A `Recipe` is words and numbers (it is stored with the outcomes); a `Pool` is
the same made real: the dataset loaded, the program built.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
from typing import Any

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np

from jdm import datasets
from jdm import models
from jdm import outcomes as outcomes_lib
from jdm import subsets
from jdm.datasets import dataset as dataset_lib
from jdm.training import checkpoints as checkpoints_lib
from jdm.training import convex
from jdm.training import ensemble
from jdm.training import exact
from jdm.training import full_batch
from jdm.training import group as group_lib
from jdm.training import perceptron
from jdm.training import sgd

# Held-out models follow the pool's ids from here on; retrained counterfactuals
# from half of it. Neither can meet a model that a fit has seen.
HELDOUT_FIRST_ID = 2**30
RETRAINED_FIRST_ID = 2**29

# Learning rate and weight decay that suit each model on the small datasets.
TRAINING_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    'linear': {'learning_rate': 0.05, 'weight_decay': 1e-3},
    'mlp': {'learning_rate': 0.1, 'weight_decay': 5e-4},
    'cnn': {'learning_rate': 0.05, 'weight_decay': 5e-4},
    # The paper's, for batches of 512 of CIFAR-10 and of FMoW.
    'resnet9': {'learning_rate': 0.5, 'weight_decay': 5e-4},
    'resnet18': {'learning_rate': 0.4, 'weight_decay': 1e-3},
}
_SUFFIXES = {'test': '', 'train': '_train'}
_KIND = 'kind'  # Of a stored training; SGD has none.
_KINDS: Mapping[str, Any] = {
    'exact': exact.Config,
    'full_batch': full_batch.Config,
}
_DEFAULT_GROUP = {'cpu': 16}
_DEFAULT_GROUP_ON_ACCELERATOR = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """Everything that decides the numbers in a store.

  Attributes:
    dataset: name of `datasets.load`.
    dataset_options: its options, such as `num_train` or `data_path`.
    model: name of `models.make`.
    model_options: its options, such as `hidden`.
    sampler: name of `subsets.SAMPLERS`.
    sampler_options: its options, such as `alpha`.
    training: how each model is trained: by `sgd.Config`, by default with the
      learning rate and weight decay of `TRAINING_DEFAULTS`; a 'linear' model to
      its exact minimum by `exact.Config`; or an 'mlp' (with tanh, of the widths
      of the config) by `full_batch.Config`, from one initialization. Outcomes
      of the last two are float64, and 'gradient_norm' is always among them.
    outcomes: names of `outcomes.OUTCOMES`.
    targets: 'test', 'train' or both; outcomes of train targets are stored
      under `NAME_train`.
    dtype: of stored outcomes, float32 or float16.
    seed: of everything random; model i is a function of (seed, i).
    first_id: id of row 0.
    replicate: same subsets, other initialization and order.
    group: models in one vmap; 0 chooses by rule (`training.group`).
  """

  dataset: str = 'digits'
  dataset_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  model: str = 'linear'
  model_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  sampler: str = 'fixed_size'
  sampler_options: Mapping[str, Any] = dataclasses.field(
      default_factory=lambda: {'alpha': 0.5}
  )
  training: sgd.Config | exact.Config | full_batch.Config = (
      None  # pyrefly: ignore
  )
  outcomes: Sequence[str] = ('soft_margin',)
  targets: Sequence[str] = ('test',)
  dtype: str = 'float32'
  seed: int = 0
  first_id: int = 0
  replicate: int = 0
  group: int = 0

  def __post_init__(self):
    if self.training is None:
      defaults: Any = TRAINING_DEFAULTS.get(self.model, {})
      object.__setattr__(self, 'training', sgd.Config(**defaults))

  def to_json(self) -> dict[str, Any]:
    """The recipe as JSON-serializable values.

    Raises:
      ValueError: if the optimizer is a function, which cannot be written down.
    """
    values = dataclasses.asdict(self)
    for name in ('outcomes', 'targets'):
      values[name] = list(values[name])
    if not isinstance(self.training, sgd.Config):
      values['training'] = {
          name: list(value) if isinstance(value, tuple) else value
          for name, value in values['training'].items()
      }
      kind = next(n for n, c in _KINDS.items() if type(self.training) is c)
      values['training'][_KIND] = kind
      return values
    if not isinstance(self.training.optimizer, str):
      raise ValueError(
          'a recipe that is stored names its optimizer (sgd, adam, ...); for'
          ' your own, build a `Pool` with a `Trainer` of your own and describe'
          ' it in `description`'
      )
    augmentations = list(self.training.augmentations)
    values['training']['augmentations'] = augmentations
    if self.training.test_augmentation == 'none':
      # As in the stores of before there was another.
      del values['training']['test_augmentation']
    return values

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> 'Recipe':
    """Reads what `to_json` (or `Pool.description`) wrote."""
    names = {field.name for field in dataclasses.fields(cls)}
    known = {name: values[name] for name in names if name in values}
    training = dict(known['training'])
    kind = training.pop(_KIND, None)
    if kind is not None:
      known['training'] = _KINDS[kind](**training)
    else:
      training['augmentations'] = tuple(training['augmentations'])
      known['training'] = sgd.Config(**training)
    return cls(**known)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
  """A population of models, ready to train.

  Attributes:
    description: JSON-serializable; a store made with another one is refused.
    trainer: runs the trainings.
    draw_masks: `model_ids [k] -> bool masks [k, num_train]`, a function of the
      ids alone.
    seed: of everything random.
    first_id: id of row 0.
    replicate: same subsets, other initialization and order.
    dtype: of stored outcomes.
    dataset: the examples, where a recipe named them.
    given_ids: `[num_models]`, the id of each row, where masks are given.
    given_replicates: `[num_models]`, likewise.
    given_relabel: int `[num_masks, num_train]`, labels that examples of the
      given masks are trained with, -1 for their own; None for all their own.
  """

  description: Mapping[str, Any]
  trainer: ensemble.Trainer
  draw_masks: Callable[[np.ndarray], np.ndarray]
  seed: int = 0
  first_id: int = 0
  replicate: int = 0
  dtype: str = 'float32'
  dataset: dataset_lib.Dataset | None = None
  given_ids: np.ndarray | None = None
  given_replicates: np.ndarray | None = None
  given_relabel: np.ndarray | None = None

  def masks(self, rows: np.ndarray) -> np.ndarray:
    """The masks of some rows: bool `[k, num_train]`."""
    if self.given_ids is not None:
      return np.asarray(self.draw_masks(np.asarray(rows)))
    return np.asarray(self.draw_masks(self.model_ids(rows)))

  def model_ids(self, rows: np.ndarray) -> np.ndarray:
    """The ids of some rows, int `[k]`."""
    if self.given_ids is not None:
      return self.given_ids[rows]
    return np.asarray(rows) + self.first_id

  def replicates(self, rows: np.ndarray) -> np.ndarray | int:
    """The replicate numbers of some rows, int `[k]` or one for all."""
    if self.given_replicates is not None:
      return self.given_replicates[rows]
    return self.replicate

  def start(
      self,
      rows: np.ndarray,
      masks: np.ndarray,
      checkpoints: checkpoints_lib.Checkpoints | None = None,
  ) -> ensemble.Pending:
    """Starts the training of some rows, whose masks are given."""
    options: dict[str, Any] = {'relabel': self._relabel(rows)}
    if checkpoints is not None:
      options['checkpoints'] = checkpoints
    if options['relabel'] is None:
      del options['relabel']
    return self.trainer.start(
        jax.random.key(self.seed),
        self.model_ids(rows),
        masks,
        self.replicates(rows),
        **options,
    )

  def training_names(self, rows: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """What checkpoints call the trainings of some rows, str `[k]`."""
    return ensemble.training_names(
        jax.random.key(self.seed),
        self.model_ids(rows),
        np.broadcast_to(self.replicates(rows), len(rows)),
        masks,
        self._relabel(rows),
    )

  def _relabel(self, rows: np.ndarray) -> np.ndarray | None:
    if self.given_relabel is None:
      return None
    return self.given_relabel[np.asarray(rows) % len(self.given_relabel)]

  def outcome_layout(self) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape of one row and dtype name of every outcome, for a store."""
    layout = {}
    for name, shape in self.trainer.outcome_shapes().items():
      is_wide = shape.dtype == np.float64
      layout[name] = tuple(shape.shape), 'float64' if is_wide else self.dtype
    return layout


def build(
    recipe: Recipe,
    *,
    dataset: dataset_lib.Dataset | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Pool:
  """Loads the dataset and builds the program of a recipe.

  Args:
    recipe: what to build.
    dataset: the examples, if they are in memory already.
    devices: local devices to use; None stands for all.

  Returns:
    The pool. Its description adds to the recipe the dataset's fingerprint and
    the group size that was chosen.

  Raises:
    ValueError: on anything unknown or out of range: names, options, alpha, a
      subset that cannot hold a batch, ids beyond 31 bits.
  """
  recipe_values = recipe.to_json()
  if recipe.dtype not in ('float32', 'float16'):
    raise ValueError(
        f'outcomes are stored as float32 or float16, got {recipe.dtype!r}'
    )
  if not 0 <= recipe.first_id < 2**31 or recipe.replicate < 0:
    raise ValueError(
        'first_id must be in [0, 2**31) and replicate not negative, got'
        f' {recipe.first_id} and {recipe.replicate}'
    )
  if dataset is None:
    dataset = load_dataset(recipe)
  trainer = make_trainer(recipe, dataset, devices)
  sampler = subsets.sampler(recipe.sampler, **recipe.sampler_options)
  key = jax.random.key(recipe.seed)
  num_train = trainer.num_train

  def draw_masks(model_ids: np.ndarray) -> np.ndarray:
    return np.asarray(sampler(key, np.asarray(model_ids), num_train))

  try:
    draw_masks(np.arange(1))  # Raises now what is wrong with the options.
  except TypeError as error:
    raise ValueError(
        f'sampler {recipe.sampler!r} does not take options'
        f' {dict(recipe.sampler_options)}: {error}'
    ) from error
  description = {
      **recipe_values,
      'group': trainer.group,
      'fingerprint': dataset.fingerprint,
      'num_train': num_train,
      'num_test': len(dataset.test),
  }
  return Pool(
      description=description,
      trainer=trainer,
      draw_masks=draw_masks,
      seed=recipe.seed,
      first_id=recipe.first_id,
      replicate=recipe.replicate,
      dtype=recipe.dtype,
      dataset=dataset,
  )


def load_dataset(recipe: Recipe) -> dataset_lib.Dataset:
  """Loads the examples that a recipe names."""
  return datasets.load(recipe.dataset, **recipe.dataset_options)


def make_model(recipe: Recipe, dataset: dataset_lib.Dataset) -> models.Model:
  """Makes the model of a recipe for a dataset."""
  return models.make(
      recipe.model,
      dataset.train.inputs.shape[1:],
      max(dataset.num_classes, 1),
      image_shape=dataset.image_shape,
      **recipe.model_options,
  )


def evaluator(
    recipe: Recipe,
    dataset: dataset_lib.Dataset,
    compute: Callable[..., jax.Array],
    targets: str,
) -> Callable[[jax.Array], jax.Array]:
  """Reads an outcome off stored parameters.

  Args:
    recipe: of the pool that stored them.
    dataset: its examples.
    compute: of `(logits, labels)`, as `Outcome.compute`.
    targets: 'test' or 'train'.

  Returns:
    A jitted function of parameters `[num_models, num_parameters]` to outcomes
    `[num_models, num_targets, ...]`.

  Raises:
    ValueError: if the model has a state (running statistics), which is not
      stored.
  """
  split = dataset.split(targets)
  if not isinstance(recipe.training, sgd.Config):
    own = make_objective(recipe, dataset)
    return exact.evaluator(own, compute, split.inputs, split.labels)
  model = make_model(recipe, dataset)
  params, state = model.init(jax.random.key(0))
  if jax.tree.leaves(state):
    raise ValueError(
        f'model {recipe.model!r} has a state that is not stored with its'
        ' parameters; collect the outcome itself'
    )
  unravel = flatten_util.ravel_pytree(params)[1]
  inputs = jnp.asarray(split.inputs)

  def one(flat):
    logits = sgd.evaluate(
        model,
        unravel(flat),
        state,
        inputs,
        test_augmentation=recipe.training.test_augmentation,
        image_shape=dataset.image_shape,
    )
    return compute(logits, split.labels)

  return jax.jit(lambda flats: jax.lax.map(one, flats))


def make_trainer(
    recipe: Recipe,
    dataset: dataset_lib.Dataset,
    devices: Sequence[jax.Device] | None = None,
) -> ensemble.Trainer:
  """Builds the program of a recipe for a dataset. See `build`."""
  unknown = sorted(set(recipe.targets) - set(_SUFFIXES))
  if unknown or not recipe.targets:
    raise ValueError(
        f'targets are {sorted(_SUFFIXES)}, one or both; got'
        f' {list(recipe.targets)}'
    )
  num_train = len(dataset.train)
  if not isinstance(recipe.training, sgd.Config):
    return _objective_trainer(recipe, dataset, devices)
  sizes = _fixed_sizes(recipe, num_train)
  batch_size = recipe.training.batch_size
  if min(sizes, default=num_train) < batch_size:
    raise ValueError(
        f'subsets of {min(sizes, default=num_train)} of {num_train} examples'
        f' cannot hold a batch of {batch_size}; lower --batch_size or raise'
        ' --alpha'
    )
  model = make_model(recipe, dataset)
  _, state = jax.eval_shape(model.init, jax.random.key(0))
  if batch_size == 1 and 'batch_stats' in state:
    raise ValueError(
        f'model {recipe.model!r} normalizes by the statistics of a batch, which'
        ' one example does not have; raise --batch_size'
    )
  parts = (
      model,
      recipe.training,
      outcomes_lib.get(recipe.outcomes, dataset.num_classes),
  )
  train_one = sgd.make_train_one(*parts, image_shape=dataset.image_shape)
  data = _training_data(recipe, dataset)
  chosen = recipe.group or group_lib.size(
      group_lib.bytes_of_model(
          model, dataset.train.inputs.shape[1:], batch_size
      ),
      jax.default_backend(),
  )
  return ensemble.Trainer(
      train_one,
      data,
      num_train,
      chosen,
      min_subset_size=batch_size,
      exact_sizes=() if recipe.sampler == 'bernoulli' else sizes,
      devices=devices,
      stages=sgd.make_stages(*parts, image_shape=dataset.image_shape),
  )


def make_objective(
    recipe: Recipe, dataset: dataset_lib.Dataset
) -> convex.Objective | perceptron.Objective:
  """The objective that the parameters of a recipe are determined by.

  They are its minimum (a linear model, trained exactly), or where its descent
  ends (an mlp, trained by full batches).

  Raises:
    ValueError: if the recipe trains by SGD, another model, or with a loss for
      another task.
  """
  config = recipe.training
  shape = int(np.prod(dataset.train.inputs.shape[1:])), dataset.num_classes
  if isinstance(config, exact.Config) and recipe.model == 'linear':
    return exact.objective(config, *shape)
  if isinstance(config, full_batch.Config) and recipe.model == 'mlp':
    return full_batch.objective(config, *shape)
  raise ValueError(
      'only a linear model has an objective that is minimized exactly'
      ' (--model=linear --training=exact), and only an mlp is trained by full'
      f' batches (--model=mlp --training=full_batch), got model {recipe.model!r}'
      f' trained by {type(config).__module__}'
  )


def _training_data(
    recipe: Recipe, dataset: dataset_lib.Dataset
) -> sgd.TrainingData:
  targets = {
      _SUFFIXES[name]: (dataset.split(name).inputs, dataset.split(name).labels)
      for name in recipe.targets
  }
  return sgd.TrainingData(dataset.train.inputs, dataset.train.labels, targets)


def _objective_trainer(recipe, dataset, devices) -> ensemble.Trainer:
  """The program of a model that has an objective; see `make_trainer`."""
  own = make_objective(recipe, dataset)
  if recipe.model_options:
    raise ValueError(
        'an exactly trained model takes no options, and one trained by full'
        ' batches takes its widths from its training config, got'
        f' {dict(recipe.model_options)}'
    )
  num_train = len(dataset.train)
  outcomes = outcomes_lib.get(recipe.outcomes, dataset.num_classes)
  if isinstance(own, perceptron.Objective):
    train_one = full_batch.make_train_one(own, outcomes)
    num_bytes = full_batch.bytes_of_model(own, num_train)
  else:
    train_one = exact.make_train_one(own, recipe.training, outcomes)
    num_bytes = exact.bytes_of_model(own, num_train)
  return ensemble.Trainer(
      train_one,
      exact.float64_data(_training_data(recipe, dataset)),
      num_train,
      recipe.group or group_lib.size(num_bytes, jax.default_backend()),
      devices=devices,
      one_capacity=True,
      float64=True,
  )


def given_masks(
    pool: Pool,
    masks: np.ndarray,
    replicates: int = 1,
    *,
    relabel: np.ndarray | None = None,
    first_replicate: int = 0,
) -> Pool:
  """The same pool with masks that are given and not drawn.

  A mask's id is a hash of it and of its labels, from `RETRAINED_FIRST_ID` on:
  its training is a function of (seed, mask, labels, replicate) alone, whichever
  others are asked for.

  Args:
    pool: what trains.
    masks: bool `[num_masks, num_train]`.
    replicates: trainings of each. Row `r * num_masks + j` is mask j,
      replicate `first_replicate + r`.
    relabel: int `[num_masks, num_train]`, the label that an example is trained
      with, -1 for its own; None relabels nothing.
    first_replicate: number of the first replicate.

  Raises:
    ValueError: on masks or labels of another shape or dtype or out of range, or
      no replicate.
  """
  masks = subsets.check_masks(
      masks, who='`given_masks`', num_train=pool.trainer.num_train
  )
  if min(replicates, first_replicate + 1) < 1 or not len(masks):
    raise ValueError(
        '`given_masks` expects at least one mask, one replicate and a first'
        f' replicate from 0, got {len(masks)}, {replicates} and'
        f' {first_replicate}'
    )
  digests = [
      hashlib.sha256(row.tobytes()) for row in np.packbits(masks, axis=1)
  ]
  options: dict[str, Any] = {'num_masks': len(masks), 'replicates': replicates}
  trainer = pool.trainer
  if first_replicate:
    options['first_replicate'] = first_replicate
  if relabel is not None:
    relabel = _check_relabel(pool, masks, relabel)
    trainer = trainer.relabellable(pool.dataset.num_classes)  # pyrefly: ignore
    for digest, labels in zip(digests, relabel):
      if (labels >= 0).any():
        digest.update(labels.tobytes())
  hashes = [int.from_bytes(digest.digest()[:4], 'little') for digest in digests]
  ids = RETRAINED_FIRST_ID + np.array(hashes, np.int64) % RETRAINED_FIRST_ID
  whole = hashlib.sha256(b''.join(digest.digest() for digest in digests))
  options = {'sha256': whole.hexdigest(), **options}
  description = {
      **pool.description,
      'sampler': 'given',
      'sampler_options': options,
  }
  numbers = first_replicate + np.arange(replicates)
  return dataclasses.replace(
      pool,
      description=description,
      trainer=trainer,
      draw_masks=lambda rows: masks[rows % len(masks)],
      given_ids=np.tile(ids, replicates).astype(np.int32),
      given_replicates=np.repeat(numbers, len(masks)),
      given_relabel=relabel,
  )


def _check_relabel(
    pool: Pool, masks: np.ndarray, relabel: np.ndarray
) -> np.ndarray:
  """Labels as int32; only those of examples in the subset count."""
  relabel = np.asarray(relabel)
  if pool.dataset is None or not pool.dataset.num_classes:
    raise ValueError('`given_masks` relabels only datasets of classes')
  if relabel.shape != masks.shape or not np.issubdtype(
      relabel.dtype, np.integer
  ):
    raise ValueError(
        f'`given_masks` expects relabel as integers of shape {masks.shape}, got'
        f' {relabel.dtype} of shape {relabel.shape}'
    )
  num_classes = pool.dataset.num_classes
  if relabel.min() < -1 or relabel.max() >= num_classes:
    raise ValueError(
        f'`given_masks` expects labels from -1 (its own) to {num_classes - 1},'
        f' got {relabel.min()} to {relabel.max()}'
    )
  return np.where(masks, relabel, -1).astype(np.int32)


def heldout(pool: Pool, replicate: int = 0) -> Pool:
  """The same pool at ids that no fit may use; see `HELDOUT_FIRST_ID`."""
  changes = {'first_id': HELDOUT_FIRST_ID, 'replicate': replicate}
  description = {**pool.description, **changes}
  return dataclasses.replace(pool, description=description, **changes)


def default_group(platform: str) -> int:
  """Group size for a `train_one` about which nothing is known."""
  return _DEFAULT_GROUP.get(platform, _DEFAULT_GROUP_ON_ACCELERATOR)


def _fixed_sizes(recipe: Recipe, num_train: int) -> tuple[int, ...]:
  """Sizes that subsets of the recipe have, where that is known."""
  options = recipe.sampler_options
  if recipe.sampler == 'fixed_size' and 'alpha' in options:
    return (subsets.subset_size(num_train, options['alpha']),)
  if recipe.sampler == 'bernoulli' and 'alpha' in options:
    # Not fixed, but most subsets are about as large.
    return (subsets.subset_size(num_train, options['alpha']),)
  if recipe.sampler == 'leave_one_out':
    return (num_train - 1,)
  return ()
