"""Which part of the work is this process's, told by a scheduler's variables.

A share is every count-th chunk. Nothing is agreed on while running: processes
that do the same share, or shares of different counts, are only wasteful,
because a row is the same whoever makes it.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

# What each scheduler calls the index, the count, the first index and the step.
_SCHEDULERS = (
    (
        'SLURM_ARRAY_TASK_ID',
        'SLURM_ARRAY_TASK_COUNT',
        'SLURM_ARRAY_TASK_MIN',
        'SLURM_ARRAY_TASK_STEP',
    ),
    ('SLURM_PROCID', 'SLURM_NTASKS', None, None),
    # Kubernetes does not tell an indexed job how many pods complete it.
    ('JOB_COMPLETION_INDEX', None, None, None),
)


@dataclasses.dataclass(frozen=True)
class Share:
  """One of `count` equal parts.

  Attributes:
    index: which, from 0.
    count: how many there are.
    told_by: who said so, for messages.

  Raises:
    ValueError: if there is no such part.
  """

  index: int
  count: int
  told_by: str = 'arguments'

  def __post_init__(self):
    if self.count < 1 or not 0 <= self.index < self.count:
      raise ValueError(
          f'worker_index must lie in [0, worker_count), got {self.index} of'
          f' {self.count} (from {self.told_by})'
      )

  def __str__(self) -> str:
    return f'worker {self.index} of {self.count} (from {self.told_by})'

  def holds(self, chunks: np.ndarray | int) -> np.ndarray:
    """Which chunks, given by their numbers, are of this share; bool."""
    return np.asarray(chunks) % self.count == self.index


def find(
    variables: Mapping[str, str],
    index: int | None = None,
    count: int | None = None,
) -> Share | None:
  """Finds this process's share.

  Args:
    variables: of the environment, as `os.environ`. Slurm's array tasks come
      first, then Slurm's tasks of one job, then Kubernetes' indexed jobs.
    index: overrides the environment, with `count`.
    count: overrides the environment; alone, it completes what Kubernetes says.

  Returns:
    The share, or None if nobody said anything: all of the work.

  Raises:
    ValueError: if one number is there without the other, or is no number, or
      the index is not below the count.
  """
  if index is not None:
    if count is None:
      raise ValueError(
          f'worker_index={index} needs worker_count, the number of workers'
      )
    return Share(index, count, 'worker_index and worker_count')
  for scheduler in _SCHEDULERS:
    if scheduler[0] in variables:
      return _told(variables, scheduler, count)
  if count is not None:
    raise ValueError(
        f'worker_count={count} needs worker_index: neither Slurm nor Kubernetes'
        ' gave this process a number'
    )
  return None


def _told(variables, scheduler, count) -> Share:
  """The share by one scheduler's variables."""
  index_name, count_name, first_name, step_name = scheduler
  index = _number(variables, index_name)
  told_by = index_name
  # An array may begin anywhere and take steps: --array=10-40:10.
  index -= _number(variables, first_name, 0)
  index //= max(_number(variables, step_name, 1), 1)
  if count_name is not None and count_name in variables:
    told = _number(variables, count_name)
    if count is not None and count != told:
      raise ValueError(
          f'worker_count={count}, and {count_name}={told}: which worker this is'
          ' cannot be told; pass worker_index as well'
      )
    count, told_by = told, f'{index_name} and {count_name}'
  if step_name is not None and 'SLURM_ARRAY_TASK_MAX' in variables:
    _check_range(variables, first_name, step_name, count_name)
  if count is None:
    raise ValueError(
        f'{index_name}={index} says which worker this is and not of how many;'
        ' pass worker_count'
    )
  return Share(index, count, told_by)


def _check_range(variables, first_name, step_name, count_name) -> None:
  """Raises ValueError of --array=3,7: the share of a task cannot be told."""
  first, last = (
      _number(variables, name, 0)
      for name in (first_name, 'SLURM_ARRAY_TASK_MAX')
  )
  step = max(_number(variables, step_name, 1), 1)
  count = _number(variables, count_name, 0)
  if (last - first) // step + 1 != count:
    raise ValueError(
        f'{count} array tasks from {first} to {last} are a list, in which shares'
        ' cannot be told; submit a range, or pass worker_index and worker_count'
    )


def _number(variables, name, default=None) -> Any:
  if name is None or (default is not None and name not in variables):
    return default
  try:
    return int(variables[name])
  except ValueError:
    raise ValueError(
        f'{name} must be an integer, got {variables[name]!r}'
    ) from None
