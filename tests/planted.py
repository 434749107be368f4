"""Small synthetic problems with a known answer."""

import dataclasses

import numpy as np

from jdm.solvers import moments as moments_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """Masks, outcomes and the weights that made them."""

  masks: np.ndarray  # bool [num_models, num_train]
  outcomes: np.ndarray  # float32 [num_models, num_targets]
  weights: np.ndarray  # [num_train, num_targets]
  bias: np.ndarray  # [num_targets]
  noise: float  # Its standard deviation, outcome units.

  @property
  def moments(self) -> moments_lib.Moments:
    return moments_lib.of(self.masks, self.outcomes)


def fixed_size_masks(
    generator: np.random.Generator,
    num_models: int,
    num_train: int,
    alpha: float,
) -> np.ndarray:
  """Masks that all hold round(alpha * num_train) examples."""
  ranks = generator.random((num_models, num_train)).argsort(axis=1)
  return ranks < round(alpha * num_train)


def sparse_linear(
    seed: int,
    num_train: int = 60,
    num_models: int = 300,
    num_targets: int = 5,
    alpha: float = 0.5,
    noise: float = 0.5,
) -> Problem:
  """Outcomes linear in a few examples, with heavy-tailed weights and noise.

  Args:
    seed: of everything.
    num_train: training examples.
    num_models: rows.
    num_targets: columns.
    alpha: subset fraction.
    noise: standard deviation over that of the signal.

  Returns:
    The problem.
  """
  generator = np.random.default_rng(seed)
  masks = fixed_size_masks(generator, num_models, num_train, alpha)
  weights = np.zeros((num_train, num_targets))
  for target in range(num_targets):
    ids = generator.choice(num_train, max(3, num_train // 10), replace=False)
    weights[ids, target] = generator.laplace(size=len(ids))
  bias = generator.normal(size=num_targets) + 2
  signal = masks @ weights
  deviation = noise * signal.std()
  outcomes = (
      signal + bias[None] + deviation * generator.normal(size=signal.shape)
  )
  return Problem(
      masks=masks,
      outcomes=outcomes.astype(np.float32),
      weights=weights,
      bias=bias,
      noise=float(deviation),
  )
