"""Regressors: masks and outcomes in, Datamodels out."""

from collections.abc import Callable

from jdm import datamodels
from jdm.regressors import difference_of_means
from jdm.regressors import lasso
from jdm.regressors import least_squares
from jdm.regressors import ridge

REGRESSORS: dict[str, Callable[..., datamodels.Datamodels]] = {
    'difference_of_means': difference_of_means.fit,
    'lasso': lasso.fit,
    'least_squares': least_squares.fit,
    'ridge': ridge.fit,
}


def get(name: str) -> Callable[..., datamodels.Datamodels]:
  """Finds a regressor's `fit` by name.

  Args:
    name: a key of `REGRESSORS`.

  Returns:
    Its `fit(masks, outcomes, **options)`.

  Raises:
    ValueError: if there is none of that name; the message lists the known.
  """
  if name not in REGRESSORS:
    raise ValueError(
        f'unknown regressor {name!r}; known are {", ".join(sorted(REGRESSORS))}.'
    )
  return REGRESSORS[name]
