"""What is trained. One file a model, one line here.

To add one: write `jdm/models/NAME.py` with
`make(input_shape, num_outputs, **options) -> Model`, and list it below. A
factory that names `image_shape` is given the dataset's.
"""

from collections.abc import Callable, Mapping
import inspect
from typing import Any

from jdm.models import cnn
from jdm.models import linear
from jdm.models import mlp
from jdm.models import model
from jdm.models import resnet9
from jdm.models import resnet18

Model = model.Model
from_flax = model.from_flax
stateless = model.stateless

MODELS: Mapping[str, Callable[..., Model]] = {
    'linear': linear.make,
    'mlp': mlp.make,
    'cnn': cnn.make,
    'resnet9': resnet9.make,
    'resnet18': resnet18.make,
}


def make(
    name: str,
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    image_shape: tuple[int, ...] | None = None,
    **options: Any,
) -> Model:
  """Makes the named model.

  Args:
    name: a key of `MODELS`.
    input_shape: shape of one input.
    num_outputs: number of classes; 1 for regression.
    image_shape: shape of one image, where inputs are flattened images.
    **options: of the model, such as `hidden=(64,)`.

  Raises:
    ValueError: on an unknown name or option; lists the known ones.
  """
  if name not in MODELS:
    raise ValueError(
        f'no model is called {name!r}; known models: {sorted(MODELS)}'
    )
  known = set(inspect.signature(MODELS[name]).parameters)
  known -= {'input_shape', 'num_outputs'}
  unknown = sorted(set(options) - known)
  if unknown:
    raise ValueError(
        f'model {name!r} has no option {unknown}; its options: {sorted(known)}'
    )
  if 'image_shape' in known:
    options['image_shape'] = image_shape
  return MODELS[name](input_shape, num_outputs, **options)
