"""Any dataset with planted answers: duplicates, mislabels, a backdoor..."""

import dataclasses
import inspect
import pathlib
from typing import Any

import numpy as np

from jdm.datasets import answers
from jdm.datasets import dataset
from jdm.datasets import plants

Planted = answers.Planted  # What `dataset.planted` is.

_STREAM = 0x706C616E74  # Of the random numbers that plant.


def load(
    *,
    base: str = 'digits',
    plant: str = 'duplicates',
    plant_seed: int = 0,
    num_train: int | None = None,
    num_test: int | None = None,
    data_dir: str | pathlib.Path | None = None,
    data_path: str | pathlib.Path | None = None,
    count: int | None = None,
    fraction: float | None = None,
    kinds: str | None = None,
    shift: int | None = None,
    rotate: float | None = None,
    noise: float | None = None,
    backdoor_class: int | None = None,
    patch_class: int | None = None,
    patch_share: float | None = None,
    patch_size: int | None = None,
) -> dataset.Dataset:
  """Loads a dataset and plants answers in it; `dataset.planted` holds them.

  The options say it all: the same ones make the same dataset.

  Args:
    base: name of the dataset to plant in, of classes.
    plant: what to plant, a key of `plants.PLANTS`; each takes some of the
      options from `count` on, see there for them and their defaults.
    plant_seed: of everything random in planting.
    num_train: number of train examples, planted ones among them; None is all.
    num_test: the same for test.
    data_dir: option of `base`.
    data_path: option of `base`.
    count: number of examples to plant.
    fraction: instead of count, a share of the train examples.
    kinds: of duplicates, a list separated by commas.
    shift: pixels.
    rotate: degrees.
    noise: standard deviation, in units of the normalized inputs.
    backdoor_class: label of the rows with the trigger.
    patch_class: class whose train images get the patch.
    patch_share: share of them that gets it.
    patch_size: side of the trigger or patch, in pixels.

  Raises:
    ValueError: on unknown names, options that the plant does not take or out of
      range, data that it cannot be planted in, or as `base` does.
  """
  from jdm import datasets  # The table of which this is one line.

  if base == 'planted':
    raise ValueError('Dataset planted: base must be another dataset.')
  data = datasets.load(
      base,
      num_train=num_train,
      num_test=num_test,
      data_dir=data_dir,
      data_path=data_path,
  )
  options = {
      'count': count,
      'fraction': fraction,
      'kinds': kinds,
      'shift': shift,
      'rotate': rotate,
      'noise': noise,
      'backdoor_class': backdoor_class,
      'patch_class': patch_class,
      'patch_share': patch_share,
      'patch_size': patch_size,
  }
  given = {key: value for key, value in options.items() if value is not None}
  return dataclasses.replace(
      add(data, plant, seed=plant_seed, **given), name='planted'
  )


def add(
    data: dataset.Dataset, plant: str, /, *, seed: int = 0, **options: Any
) -> dataset.Dataset:
  """Plants answers in a dataset, beside those that it may have.

  Args:
    data: a dataset of classes.
    plant: a key of `plants.PLANTS`.
    seed: of everything random.
    **options: of the plant.

  Returns:
    The dataset with `planted`. Rows keep their `ids`: those of a replaced row
    are of the example that was there before.

  Raises:
    ValueError: as `load`.
  """
  if plant not in plants.PLANTS:
    raise ValueError(
        f'Dataset planted: unknown plant {plant!r}; known:'
        f' {", ".join(sorted(plants.PLANTS))}.'
    )
  known = [*inspect.signature(plants.PLANTS[plant]).parameters][2:]
  unknown = sorted(set(options) - set(known))
  if unknown:
    raise ValueError(
        f'Dataset planted: plant {plant!r} takes no option'
        f' {", ".join(unknown)}; it takes {", ".join(known)}.'
    )
  if data.num_classes == 0:
    raise ValueError(
        f'Dataset planted: base must have classes, but {data.name!r} is'
        ' regression.'
    )
  # A stream of its own: whoever draws rows by the same plain seed, such as the
  # random baseline of an application, must not draw the planted ones.
  rng = np.random.default_rng((seed, _STREAM))
  change = plants.PLANTS[plant](data, rng, **options)
  return dataclasses.replace(
      data,
      train=change.train,
      test=change.test,
      planted=_merged(data, change, plant),
  )


def _merged(
    data: dataset.Dataset, change: plants.Change, plant: str
) -> answers.Planted:
  """The answers of before and those of the change."""
  old, new = data.planted or answers.Planted(), change.planted
  rows = {'clusters': change.replaced_train}
  rows['test_clusters'] = change.replaced_test
  clean = old.clean_labels if len(old.clean_labels) else data.train.labels
  clean = clean.copy()
  clean[change.replaced_train] = change.train.labels[change.replaced_train]
  fields: dict[str, Any] = {'kind': plant, 'clean_labels': clean}
  for name in ('duplicates', 'mislabels', 'poisoned', 'triggered'):
    added = new.get(name, getattr(answers.Planted(), name))
    fields[name] = np.concatenate([getattr(old, name), added])
    if name != 'duplicates':
      fields[name] = np.unique(fields[name])
  kinds = tuple(new.get('duplicate_kinds', ()))
  fields['duplicate_kinds'] = (*old.duplicate_kinds, *kinds)
  for name, replaced in rows.items():
    fields[name] = getattr(old, name).copy()
    if len(fields[name]):
      fields[name][replaced] = -1
  return answers.Planted(**fields)
