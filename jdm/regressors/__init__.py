"""Regressors: masks and outcomes in, Datamodels out."""

from collections.abc import Callable

from jdm import datamodels
from jdm.regressors import difference_of_means
from jdm.regressors import elastic_net
from jdm.regressors import informed
from jdm.regressors import lasso
from jdm.regressors import least_squares
from jdm.regressors import ridge

REGRESSORS: dict[str, Callable[..., datamodels.Datamodels]] = {
    'difference_of_means': difference_of_means.fit,
    'elastic_net': elastic_net.fit,
    'lasso': lasso.fit,
    'least_squares': least_squares.fit,
    'ridge': ridge.fit,
}
# These are penalized by l1, certified by a duality gap, and take cross-validation
# (`num_folds`), an earlier fit (`start`) and train targets (`own_ids`).
SPARSE = ('elastic_net', 'lasso')
# These take scores as a third argument.
WITH_PRIOR: dict[str, Callable[..., datamodels.Datamodels]] = {
    'informed': informed.fit,
}


def get(name: str) -> Callable[..., datamodels.Datamodels]:
  """Finds a regressor's `fit` by name.

  Args:
    name: a key of `REGRESSORS` or of `WITH_PRIOR`.

  Returns:
    Its `fit(masks, outcomes, **options)`, or `fit(masks, outcomes, prior, ...)`.

  Raises:
    ValueError: if there is none of that name; the message lists the known.
  """
  known = REGRESSORS | WITH_PRIOR
  if name not in known:
    raise ValueError(
        f'unknown regressor {name!r}; known are {", ".join(sorted(known))}.'
    )
  return known[name]
