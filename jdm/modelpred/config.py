"""How a predictor is made and trained: the options, and named recipes."""

import dataclasses

from jdm.modelpred import heads
from jdm.modelpred import losses
from jdm.modelpred import set_functions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """How a predictor is made and trained.

  Attributes:
    set_function: name of `set_functions.SET_FUNCTIONS`.
    width: of its layers.
    depth: layers of it that look at a point; None is its own choice.
    features: of points, see `set_functions.point_features`; standardized over
      the pool unless 'plain'.
    head: of `heads.HEADS`.
    base: 'ridge' adds the network to ridge regression of the mask and size;
      None starts from nothing. A base knows the pool's points only.
    parameter: weight of the parameter error; 0 trains without labels.
    parameter_kind: of `losses.PARAMETER`; 'function' compares scores on the
      pool, for perceptrons, whose parameters say little of the function.
    local: weight of the local regularization.
    local_kind: of `losses.LOCAL`; 'squared' only, of a perceptron.
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
  depth: int | None = None
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
    if self.depth is not None and not self.depth > 0:
      raise ValueError(f'depth must be positive, got {self.depth}')
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
FUNCTION = Config(parameter_kind='function')
# What a set's points say to each other costs 10 times a step of the default.
SET_TRANSFORMER = Config(
    set_function='set_transformer', width=64, num_steps=1500, batch_size=32
)
PRESETS = {
    'default': Config(),
    'paper': PAPER,
    'label_free': LABEL_FREE,
    'function': FUNCTION,
    'set_transformer': SET_TRANSFORMER,
}
