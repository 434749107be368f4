"""Flags shared by all binaries that train, and the recipe they describe."""

import dataclasses
from typing import Any

from absl import flags

from jdm import recipe as recipe_lib
from jdm.datasets import plants
from jdm.datasets import tabular
from jdm.models import convolution
from jdm.models import mlp
from jdm.models import resnet18
from jdm.training import augmentation
from jdm.training import convex
from jdm.training import exact
from jdm.training import full_batch
from jdm.training import sgd

_DATASET = flags.DEFINE_string(
    'dataset', 'digits', 'Name of a dataset; tfds:NAME for one of TFDS.'
)
_DATA_PATH = flags.DEFINE_string('data_path', None, '.npz of --dataset=arrays.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Folder of idx or TFDS data.')
_NUM_TRAIN = flags.DEFINE_integer('num_train', None, 'Train examples; all.')
_NUM_TEST = flags.DEFINE_integer('num_test', None, 'Test examples; all.')
_NUM_COMPONENTS = flags.DEFINE_integer(
    'num_components', None, 'Principal components that models see; raw inputs.'
)
_SCALE = flags.DEFINE_enum(
    'scale', None, list(tabular.SCALES), 'Of tables; standard.'
)
_FIRST_CLASSES = flags.DEFINE_integer(
    'first_classes', None, 'Classes of a table that are kept; all.'
)
_SPLIT_SEED = flags.DEFINE_integer(
    'split_seed', None, 'Of the order of tables, digits, mnist5k and idx.'
)
_BASE = flags.DEFINE_string(
    'base', None, 'Dataset in which --dataset=planted plants; digits.'
)
_PLANT = flags.DEFINE_enum(
    'plant', None, sorted(plants.PLANTS), 'What it plants; duplicates.'
)
_PLANT_COUNT = flags.DEFINE_integer('plant_count', None, 'Of examples; 30.')
_PLANT_SEED = flags.DEFINE_integer('plant_seed', None, 'Of planting; 0.')
_PLANT_KINDS = flags.DEFINE_string(
    'plant_kinds', None, 'Of duplicates: exact, shift, rotate, noise; all.'
)
_MODEL = flags.DEFINE_string('model', 'linear', 'Name of a model.')
_HIDDEN = flags.DEFINE_list('hidden', None, 'Widths of an mlp, such as 64,64.')
_ACTIVATION = flags.DEFINE_enum(
    'activation', None, sorted(mlp.ACTIVATIONS), 'Of --model=mlp; relu.'
)
_RANDOM_INIT = flags.DEFINE_bool(
    'random_init', None, 'Starts --model=linear from random weights.'
)
_WIDTH = flags.DEFINE_integer(
    'width', None, 'Channels of the first convolution of a resnet; 64.'
)
_STEM = flags.DEFINE_enum(
    'stem', None, list(resnet18.STEMS), 'Of --model=resnet18; large.'
)
_CONVOLUTION = flags.DEFINE_enum(
    'convolution',
    'im2col',
    [*convolution.CONVOLUTIONS, 'auto'],
    'How convolutional models compute; auto times both once. On a CPU im2col is'
    ' faster.',
)
_COMPUTE_DTYPE = flags.DEFINE_enum(
    'compute_dtype',
    'float32',
    list(convolution.COMPUTE_DTYPES),
    'Of convolutional models. bfloat16 is for accelerators; on a CPU it is twice'
    ' as slow.',
)
_SAMPLER = flags.DEFINE_string(
    'sampler', 'fixed_size', 'How subsets are drawn.'
)
_ALPHA = flags.DEFINE_float('alpha', 0.5, 'Subset fraction, in (0, 1).')
_MIN_SIZE = flags.DEFINE_integer(
    'min_size', None, 'Smallest subset of --sampler=uniform_size; one batch.'
)
_STEP = flags.DEFINE_integer(
    'step', None, 'Growth of --sampler=permutation_prefixes; one batch.'
)
_SEED = flags.DEFINE_integer('seed', 0, 'Of everything random.')
_OUTCOMES = flags.DEFINE_list('outcomes', None, 'What to read off each model.')
_TARGETS = flags.DEFINE_list('targets', ['test'], 'test, train, or both.')
_DTYPE = flags.DEFINE_enum(
    'dtype', 'float32', ['float32', 'float16'], 'Of stored outcomes.'
)
_GROUP = flags.DEFINE_string(
    'group', '0', 'Models in one vmap: a number, 0 (by rule), or auto (timed).'
)
_EPOCHS = flags.DEFINE_integer('epochs', 10, 'Passes over the subset.')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 50, 'Examples a step.')
_LEARNING_RATE = flags.DEFINE_float('learning_rate', None, 'Peak; by model.')
_WEIGHT_DECAY = flags.DEFINE_float('weight_decay', None, 'L2; by model.')
_MOMENTUM = flags.DEFINE_float('momentum', 0.9, 'Of SGD.')
_PEAK = flags.DEFINE_float('peak', 0.2, 'Top of the schedule, in [0, 1).')
_SMOOTHING = flags.DEFINE_float('label_smoothing', 0.0, 'In [0, 1).')
_OPTIMIZER = flags.DEFINE_string('optimizer', 'sgd', 'Name in optax.')
_AUGMENTATIONS = flags.DEFINE_list(
    'augmentations', [], 'flip, translate, cutout.'
)
_TEST_AUGMENTATION = flags.DEFINE_enum(
    'test_augmentation',
    'none',
    list(augmentation.TEST_AUGMENTATIONS),
    'flip: logits are means over an image and its mirror image.',
)

_TRAINING = flags.DEFINE_enum(
    'training',
    'sgd',
    ['sgd', 'exact', 'full_batch'],
    'How models are trained: by SGD; or (--model=linear) to the exact minimum of'
    ' a convex objective, in float64; or (--model=mlp, which then has tanh) by'
    ' --training_steps of full batches from one initialization, in float64.'
    ' Other flags of SGD mean nothing for the last two.',
)
_LOSS = flags.DEFINE_enum(
    'loss',
    None,
    sorted(convex.LOSSES),
    'Of --training=exact and full_batch; by default by the number of classes.',
)
_LAM = flags.DEFINE_float(
    'lam',
    1.0,
    'Penalty of --training=exact (1 / C of scikit-learn) and full_batch.',
)
_TRAINING_STEPS = flags.DEFINE_integer(
    'training_steps', 300, 'Full batches of --training=full_batch.'
)
_INIT_SEED = flags.DEFINE_integer(
    'init_seed', 0, 'Of the one initialization of --training=full_batch.'
)
_PENALIZE_INTERCEPT = flags.DEFINE_bool(
    'penalize_intercept', None, 'Of --training=exact; as scikit-learn does.'
)
_MISSING_CLASS = flags.DEFINE_enum(
    'missing_class',
    'drop',
    list(exact.MISSING_CLASS),
    'Of --training=exact: subsets without a minimum, because a class is missing,'
    ' count as diverged, or have parameters 0.',
)

_SIZED = ('fixed_size', 'bernoulli')


def recipe(**changes: Any) -> recipe_lib.Recipe:
  """The recipe that the flags describe, with some fields changed.

  Raises:
    ValueError: on values out of range; `recipe.build` finds the rest.
  """
  if _TRAINING.value == 'exact':
    return _described(exact_config(), **changes)
  if _TRAINING.value == 'full_batch':
    return _described(full_batch_config(), **changes)
  training = dict(recipe_lib.TRAINING_DEFAULTS.get(_MODEL.value, {}))
  if _LEARNING_RATE.value is not None:
    training['learning_rate'] = _LEARNING_RATE.value
  if _WEIGHT_DECAY.value is not None:
    training['weight_decay'] = _WEIGHT_DECAY.value
  config = sgd.Config(
      epochs=_EPOCHS.value,
      batch_size=_BATCH_SIZE.value,
      momentum=_MOMENTUM.value,
      peak=_PEAK.value,
      label_smoothing=_SMOOTHING.value,
      optimizer=_OPTIMIZER.value,
      augmentations=tuple(_AUGMENTATIONS.value),
      test_augmentation=_TEST_AUGMENTATION.value,
      **training,
  )
  return _described(config, **changes)


def exact_config() -> exact.Config:
  """What the flags of --training=exact describe."""
  return exact.Config(
      loss=_LOSS.value,
      lam=_LAM.value,
      penalize_intercept=_PENALIZE_INTERCEPT.value,
      missing_class=_MISSING_CLASS.value,
  )


def full_batch_config() -> full_batch.Config:
  """What the flags of --training=full_batch describe."""
  given = _set(hidden=_widths(), learning_rate=_LEARNING_RATE.value)
  return full_batch.Config(
      loss=_LOSS.value,
      lam=_LAM.value,
      num_steps=_TRAINING_STEPS.value,
      momentum=_MOMENTUM.value,
      init_seed=_INIT_SEED.value,
      **given,
  )


def min_size() -> int | None:
  """Of --min_size, if it was given."""
  return _MIN_SIZE.value


def _described(config: Any, **changes: Any) -> recipe_lib.Recipe:
  described = recipe_lib.Recipe(
      dataset=_DATASET.value,
      dataset_options=_set(
          data_path=_DATA_PATH.value,
          data_dir=_DATA_DIR.value,
          num_train=_NUM_TRAIN.value,
          num_test=_NUM_TEST.value,
          num_components=_NUM_COMPONENTS.value,
          scale=_SCALE.value,
          first_classes=_FIRST_CLASSES.value,
          split_seed=_SPLIT_SEED.value,
          base=_BASE.value,
          plant=_PLANT.value,
          count=_PLANT_COUNT.value,
          plant_seed=_PLANT_SEED.value,
          kinds=_PLANT_KINDS.value,
      ),
      model=_MODEL.value,
      model_options=_model_options(),
      sampler=_SAMPLER.value,
      sampler_options=_sampler_options(),
      training=config,
      outcomes=tuple(_OUTCOMES.value or default_outcomes()),
      targets=tuple(_TARGETS.value),
      dtype=_DTYPE.value,
      seed=_SEED.value,
      group=0 if wants_timed_group() else _group(),
  )
  return dataclasses.replace(described, **changes)


def default_outcomes() -> tuple[str, ...]:
  """The margins; predictions of a regression; parameters without SGD."""
  if _TRAINING.value != 'sgd':
    return ('parameters',)
  if _DATASET.value == 'diabetes':
    return ('prediction', 'squared_error')
  return ('soft_margin', 'margin')


def wants_timed_group() -> bool:
  """Whether --group=auto was asked for."""
  return _GROUP.value == 'auto'


def wants_timed_convolution() -> bool:
  """Whether --convolution=auto was asked for."""
  return _CONVOLUTION.value == 'auto'


def _group() -> int:
  if not _GROUP.value.isdigit():
    raise ValueError(f'--group is a number or auto, got {_GROUP.value!r}')
  return int(_GROUP.value)


def _widths() -> list[int] | None:
  if _HIDDEN.value is None:
    return None
  if not all(width.isdigit() and int(width) > 0 for width in _HIDDEN.value):
    raise ValueError(f'--hidden is a list of widths, got {_HIDDEN.value}')
  return [int(width) for width in _HIDDEN.value]


def _model_options() -> dict[str, Any]:
  options = _set(
      hidden=_widths(),
      activation=_ACTIVATION.value,
      random_init=_RANDOM_INIT.value,
      width=_WIDTH.value,
      stem=_STEM.value,
  )
  # Defaults are left out, as in the stores of before there was a choice.
  if _CONVOLUTION.value == 'lax':
    options['convolution'] = 'lax'
  if _COMPUTE_DTYPE.value != 'float32':
    options['compute_dtype'] = _COMPUTE_DTYPE.value
  if _TRAINING.value == 'full_batch':
    options.pop('hidden', None)  # Stands in the training config.
  return options


def _sampler_options() -> dict[str, Any]:
  if _SAMPLER.value in _SIZED:
    return {'alpha': _ALPHA.value}
  if _SAMPLER.value == 'uniform_size':
    return {'min_size': _MIN_SIZE.value or _BATCH_SIZE.value}
  if _SAMPLER.value == 'permutation_prefixes':
    return {'step': _STEP.value or _BATCH_SIZE.value}
  return {}


def _set(**options: Any) -> dict[str, Any]:
  return {name: value for name, value in options.items() if value is not None}
