"""Models that a penalized fit reads: their moments, or the masks themselves."""

from collections.abc import Iterable, Iterator
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jdm.solvers import centred
from jdm.solvers import direct
from jdm.solvers import moments as moments_lib
from jdm.solvers import options as options_lib
from jdm.solvers import path as path_lib

_BY_TARGET = ('lams', 'start', 'val_outcomes')  # Options whose last axis it is.


class Solution(NamedTuple):
  """Each target at one penalty, its own."""

  weights: np.ndarray  # [num_train, num_targets]
  bias: np.ndarray  # [num_targets]
  lam: np.ndarray  # [num_targets]
  gap: np.ndarray  # [num_targets], relative.
  converged: np.ndarray  # [num_targets] bool
  val_mse: np.ndarray  # [num_targets]; NaN without validation models.
  l1_ratio: np.ndarray  # [num_targets]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
  """Models to fit, by the cheaper route or the only one.

  Attributes:
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    own_ids: int `[num_targets]`, columns that are the targets, or None.
    moments: of the models; None where sweeps on the masks are cheaper.
  """

  masks: np.ndarray
  outcomes: np.ndarray
  own_ids: Any = None
  moments: moments_lib.Moments | None = None

  def add(self, masks: np.ndarray, outcomes: np.ndarray) -> 'Pool':
    """The same with more models, by the same route."""
    moments = self.moments
    return dataclasses.replace(
        self,
        masks=np.concatenate([self.masks, masks]),
        outcomes=np.concatenate([self.outcomes, outcomes]),
        moments=None if moments is None else moments.add(masks, outcomes),
    )

  def path(
      self, targets: np.ndarray | None, **options: Any
  ) -> path_lib.LassoPath:
    """Follows paths.

    Args:
      targets: indices of the targets to solve; None for all.
      **options: of `path.lasso_path`, for all targets.

    Returns:
      The paths of these targets.
    """
    moments: centred.Statistics | None = self.moments
    outcomes, own_ids = self.outcomes, self.own_ids
    if targets is not None:
      for name in _BY_TARGET:
        if options.get(name) is not None:
          options[name] = options[name][:, targets]
      if moments is not None:
        moments = centred.of(moments).targets(targets)
      outcomes = outcomes[:, targets]
      own_ids = None if own_ids is None else np.asarray(own_ids)[targets]
      # Groups of any size share one compiled program.
      _, tile = options_lib.Options().spread(self.outcomes.shape[1])
      options.setdefault('tile', tile)
    if moments is not None:
      return path_lib.lasso_path(moments, **options)
    return direct.lasso_path(self.masks, outcomes, own_ids=own_ids, **options)

  def at(
      self, lam: np.ndarray, l1_ratio: np.ndarray, **options: Any
  ) -> Solution:
    """Solves each target at its own penalty.

    Args:
      lam: `[num_targets]`.
      l1_ratio: `[num_targets]`, share of lam that is l1.
      **options: of `path.lasso_path`.

    Returns:
      The solutions.
    """

    def solve() -> Iterator[tuple]:
      for ratio, targets in by_ratio(l1_ratio):
        found = self.path(targets, lams=lam[None], l1_ratio=ratio, **options)
        yield ratio, targets, found

    return best(solve(), len(lam))


def pool_of(masks: np.ndarray, outcomes: np.ndarray, own_ids: Any) -> Pool:
  """Sums models up where sweeps on their Gram matrix are cheaper.

  Args:
    masks: bool `[num_models, num_train]`.
    outcomes: `[num_models, num_targets]`.
    own_ids: int `[num_targets]`, columns that are the targets, or None.

  Returns:
    The models to fit.
  """
  moments = None
  if own_ids is None and 2 * len(masks) >= masks.shape[1]:
    moments = moments_lib.of(masks, outcomes)
  return Pool(masks=masks, outcomes=outcomes, own_ids=own_ids, moments=moments)


def by_ratio(
    l1_ratio: np.ndarray,
) -> list[tuple[float, np.ndarray | None]]:
  """Targets of each share `[num_targets]`; None where all have the same."""
  values = np.unique(l1_ratio)
  if len(values) == 1:
    return [(float(values[0]), None)]
  return [(float(one), np.flatnonzero(l1_ratio == one)) for one in values]


def best(
    paths: Iterable[tuple[float, np.ndarray | None, path_lib.LassoPath]],
    num_targets: int,
) -> Solution:
  """Of several paths, each target's solution of the lowest validation error.

  Args:
    paths: share of l1, targets (None for all) and their paths of `keep='best'`.
    num_targets: of all.

  Returns:
    The solutions; of equals, and without validation, the first.
  """
  result = None
  for ratio, targets, path in paths:
    found = _solution(path, ratio)
    if result is None and targets is None:
      result = found
      continue
    if result is None:
      result = _blank(found, num_targets)
    targets = np.arange(num_targets) if targets is None else targets
    better = ~(found.val_mse >= result.val_mse[targets])
    for mine, theirs in zip(result, found):
      mine[..., targets[better]] = theirs[..., better]
  assert result is not None
  return result


def _solution(path: path_lib.LassoPath, l1_ratio: float) -> Solution:
  return Solution(
      weights=path.weights,
      bias=path.bias,
      lam=path.lam,
      gap=path.gap,
      converged=path.converged,
      val_mse=path.val_mse,
      l1_ratio=np.full(len(path.lam), l1_ratio),
  )


def _blank(like: Solution, num_targets: int) -> Solution:
  """Solutions of all targets that any other is better than."""
  fields = [
      np.zeros((*array.shape[:-1], num_targets), array.dtype) for array in like
  ]
  return Solution(*fields)._replace(val_mse=np.full(num_targets, np.inf))
