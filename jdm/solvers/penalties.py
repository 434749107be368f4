"""The penalties of a path: each target's grid, or given ones, checked."""

import numpy as np


def largest(cross: np.ndarray, variance: np.ndarray) -> np.ndarray:
  """The smallest penalty at which all weights of a target are 0.

  Args:
    cross: `[num_train, num_targets]`, Xc'yc / m.
    variance: `[num_targets]`, ||yc||^2 / m.

  Returns:
    `[num_targets]`, max_j |cross_j|; a little above 0 for an outcome that
    varies but that no mask correlates with.
  """
  return np.maximum(np.abs(cross).max(axis=0), 1e-12 * np.sqrt(variance))


def grid(
    lam_max: np.ndarray, *, num_lams: int = 30, min_ratio: float = 1e-2
) -> np.ndarray:
  """Penalties from lam_max down to min_ratio * lam_max, evenly in the log.

  Args:
    lam_max: `[num_targets]`.
    num_lams: how many.
    min_ratio: of the last to the first.

  Returns:
    float64 `[num_lams, num_targets]`.

  Raises:
    ValueError: if there would be no penalty or they would not decrease.
  """
  if num_lams < 1 or not 0 < min_ratio < 1:
    raise ValueError(
        'a grid of penalties needs num_lams >= 1 and 0 < min_ratio < 1, got'
        f' {num_lams} and {min_ratio}.'
    )
  exponents = np.arange(num_lams) / max(num_lams - 1, 1)
  return lam_max[None] * (min_ratio**exponents)[:, None]


def given(lams: np.ndarray, variance: np.ndarray) -> np.ndarray:
  """Checks penalties and gives them to each target.

  Args:
    lams: `[num_lams]` or `[num_lams, num_targets]`.
    variance: `[num_targets]`; where it is 0 a penalty may be 0.

  Returns:
    float64 `[num_lams, num_targets]`.

  Raises:
    ValueError: if they are not positive and decreasing, or of another shape.
  """
  lams, num_targets = np.asarray(lams, np.float64), len(variance)
  if lams.ndim == 1:
    lams = np.repeat(lams[:, None], num_targets, axis=1)
  if lams.ndim != 2 or not len(lams) or lams.shape[1] != num_targets:
    raise ValueError(
        '`lasso_path` expects lams of shape [num_lams] or [num_lams,'
        f' {num_targets}], got {lams.shape}.'
    )
  if not (np.isfinite(lams) & ((lams > 0) | (variance == 0)[None])).all():
    raise ValueError(
        '`lasso_path` expects penalties above 0; without a penalty use'
        ' `regressors.least_squares`.'
    )
  if (np.diff(lams, axis=0) > 0).any():
    raise ValueError('`lasso_path` expects penalties in decreasing order.')
  return lams
