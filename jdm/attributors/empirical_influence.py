"""Empirical influence: with an example minus without it, over a pool."""

import numpy as np

from jdm.analysis import influence as influence_lib
from jdm.attributors import scores as scores_lib

_NAME = 'empirical_influence'


def scores(
    masks: np.ndarray,
    outcomes: np.ndarray,
    *,
    own_ids: np.ndarray | None = None,
) -> scores_lib.Scores:
  """Computes differences of means of a pool's outcomes.

  Args:
    masks: bool `[num_models, num_train]`; row i is model i's training set.
    outcomes: `[num_models, num_targets]`, finite.
    own_ids: int `[num_targets]`, see `analysis.influence`.

  Returns:
    The scores, in outcome units per inclusion. An example that is in every
    model or in none has 0.

  Raises:
    ValueError: as `analysis.influence.influence`.

  References:
    Feldman and Zhang, `What neural networks memorize and why
    <https://arxiv.org/abs/2008.03703>`_, 2020, §2.
  """
  found = influence_lib.influence(masks, outcomes, own_ids=own_ids)
  return scores_lib.Scores(
      values=np.nan_to_num(found.value),
      method=_NAME,
      units='outcome units',
      num_models=len(masks),
  )
