"""The datasets: one file each, and one line in `DATASETS`.

`load('digits')` or any other name of the table; `load('tfds:NAME')` is the set
that TensorFlow Datasets calls NAME.
"""

from collections.abc import Callable
import functools
import inspect
from typing import Any

from jdm.datasets import arrays
from jdm.datasets import components
from jdm.datasets import dataset
from jdm.datasets import digits
from jdm.datasets import idx
from jdm.datasets import mnist5k
from jdm.datasets import planted
from jdm.datasets import synthetic
from jdm.datasets import tabular
from jdm.datasets import tfds

DATASETS: dict[str, Callable[..., dataset.Dataset]] = {
    'arrays': arrays.load,
    'breast_cancer': functools.partial(tabular.load, 'breast_cancer'),
    'diabetes': functools.partial(tabular.load, 'diabetes'),
    'digits': digits.load,
    'idx': idx.load,
    'iris': functools.partial(tabular.load, 'iris'),
    'mnist5k': mnist5k.load,
    'planted': planted.load,
    'synthetic': synthetic.load,
    'wine': functools.partial(tabular.load, 'wine'),
}
_TFDS_PREFIX = 'tfds:'


def load(
    name: str,
    *,
    num_train: int | None = None,
    num_test: int | None = None,
    num_components: int | None = None,
    **options: Any,
) -> dataset.Dataset:
  """Loads a dataset by name.

  Args:
    name: a key of `DATASETS`, or 'tfds:NAME'.
    num_train: number of train examples, the first ones; None is all.
    num_test: number of test examples, the first ones; None is all.
    num_components: of any dataset: models see so many leading principal
      components of the train inputs, see `components.project`; None sees all.
    **options: the loader's own, such as `data_path` (arrays), `data_dir`
      (idx, tfds) or `split_seed` (tables, digits, mnist5k, idx). One that is None counts as not given.

  Returns:
    The dataset.

  Raises:
    ValueError: if the name is unknown, if an option is set that this dataset
      does not take, if one that it needs is missing, or as the loader does.
  """
  loader = _loader(name)
  parameters = inspect.signature(loader).parameters
  options = {key: value for key, value in options.items() if value is not None}
  counts = {'num_train': num_train, 'num_test': num_test}
  for key in options:
    if key not in parameters:
      known = sorted({*parameters, *counts, 'num_components'})
      raise ValueError(
          f'Dataset {name!r} takes no option {key!r}; it takes'
          f' {", ".join(known)}.'
      )
  for key, parameter in parameters.items():
    if parameter.default is parameter.empty and key not in options:
      raise ValueError(
          f'Dataset {name!r} needs the option {key} (--{key}=...).'
      )
  for key, count in list(counts.items()):
    if key in parameters and count is not None:
      options[key] = counts.pop(key)
  data = loader(**options).take(
      train=counts.get('num_train'), test=counts.get('num_test')
  )
  if num_components is None:
    return data
  return components.project(data, num_components)


def _loader(name: str) -> Callable[..., dataset.Dataset]:
  """Finds the function that loads the named dataset."""
  if name in DATASETS:
    return DATASETS[name]
  if name.startswith(_TFDS_PREFIX) and len(name) > len(_TFDS_PREFIX):
    return functools.partial(tfds.load, name[len(_TFDS_PREFIX) :])
  raise ValueError(
      f'Unknown dataset {name!r}; known: {", ".join(sorted(DATASETS))},'
      f' {_TFDS_PREFIX}NAME.'
  )
