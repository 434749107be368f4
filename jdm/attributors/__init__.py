"""What a training example does to a target. One file an attributor, one line here.

Each has `scores(...) -> Scores`, whose `values` are `[num_train, num_targets]`,
positive where the example raises the outcome. Those that read models take a
`Trained`, which `rebuild.rebuild` makes of a pool's store:

  influence        damped Gauss-Newton influence, each model with its own subset
  trak             the same of margins, in a random projection
  tracin           products of gradients along the training
  metagradient     the exact derivative of a training by the weights of its data
  representation   similarity of inputs or of the penultimate layer

Others read masks and outcomes (empirical_influence) or examples alone (knn).

To add one: write `jdm/attributors/NAME.py` with `scores(...)`, state the units
of its values, and list it below.
"""

from collections.abc import Callable, Mapping

from jdm.attributors import empirical_influence
from jdm.attributors import influence
from jdm.attributors import knn
from jdm.attributors import metagradient
from jdm.attributors import representation
from jdm.attributors import scores as scores_lib
from jdm.attributors import tracin
from jdm.attributors import trained
from jdm.attributors import trak

Scores = scores_lib.Scores
Trained = trained.Trained

ATTRIBUTORS: Mapping[str, Callable[..., Scores]] = {
    'empirical_influence': empirical_influence.scores,
    'influence': influence.scores,
    'knn': knn.scores,
    'metagradient': metagradient.scores,
    'representation': representation.scores,
    'tracin': tracin.scores,
    'trak': trak.scores,
}


def get(name: str) -> Callable[..., Scores]:
  """Finds an attributor's `scores` by name.

  Raises:
    ValueError: if there is none of that name; the message lists the known.
  """
  if name not in ATTRIBUTORS:
    raise ValueError(
        f'unknown attributor {name!r}; known are'
        f' {", ".join(sorted(ATTRIBUTORS))}.'
    )
  return ATTRIBUTORS[name]
