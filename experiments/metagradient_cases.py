"""What `metagradient_study` trains, removes and compares."""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any

import jax
import numpy as np

from experiments import binary
from experiments.attributors import cases as attributor_cases
from jdm import datasets
from jdm import metrics
from jdm import models
from jdm.attributors import influence
from jdm.attributors import metagradient
from jdm.attributors import trained as trained_lib
from jdm.outcomes import soft_margin
from jdm.reports import attributor_plots
from jdm.reports import canvas
from jdm.reports import tables
from jdm.training import sgd

FRACTIONS = (0.01, 0.05, 0.2)
_DAMPINGS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_VAL_SHARE = 5  # Of the subsets, a fifth chooses the damping of influence.
_MLP = sgd.Config(epochs=10, learning_rate=0.1, weight_decay=5e-4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """One training, and what is removed from it.

  Attributes:
    dataset: name and options.
    hidden: widths of the MLP.
    config: how it is trained.
  """

  dataset: dict[str, Any]
  hidden: tuple[int, ...] = (64,)
  config: sgd.Config = _MLP


SETTINGS: dict[str, Setting] = {
    'digits': Setting(dataset={'name': 'digits'}),
    'fashion': Setting(
        dataset={
            'name': 'idx',
            'num_train': 2000,
            'num_test': 300,
            'num_components': 50,
        },
        hidden=(32,),
    ),
}


def run(
    workdir: str,
    names: Sequence[str],
    *,
    activations: Sequence[str] = ('gelu', 'relu'),
    num_subsets: int = 300,
    num_targets: int = 100,
    num_seeds: int = 1,
) -> list[dict[str, Any]]:
  """Fills the table.

  Args:
    workdir: the folder; finished parts are not done again.
    names: of `SETTINGS`.
    activations: of the MLP.
    num_subsets: removals of each fraction, for LDS; a quarter more choose the
      damping of influence.
    num_targets: test examples.
    num_seeds: trainings, one after another.

  Raises:
    ValueError: on unknown settings or too few subsets.
  """
  unknown = sorted(set(names) - set(SETTINGS))
  if unknown or num_subsets < 10 or num_targets < 1 or num_seeds < 1:
    raise ValueError(
        f'--settings are of {list(SETTINGS)}, --num_subsets 10 or more; got'
        f' {list(names)}, {num_subsets}, {num_targets}, {num_seeds}'
    )
  rows = []
  for name in names:
    for activation in activations:
      for seed in range(num_seeds):
        part = f'{name}_{activation}_{num_subsets}_{num_targets}_{seed}'
        path = os.path.join(workdir, f'{part}.json')
        if not os.path.exists(path):
          setting = SETTINGS[name]
          found = _measure(setting, activation, num_subsets, num_targets, seed)
          binary.write_json(path, {'rows': found})
        about = {'setting': name, 'activation': activation, 'seed': seed}
        rows += [
            {**about, **row} for row in attributor_cases.read_json(path)['rows']
        ]
  path = os.path.join(workdir, 'metagradient_study')
  binary.write_json(f'{path}.json', {'rows': rows})
  canvas.write(f'{path}.md', (tables.markdown(rows) + '\n').encode())
  for name in names:
    own = [row for row in rows if row['setting'] == name]
    canvas.save(attributor_plots.removals(own), f'{path}_{name}.png')
  return rows


def _measure(setting, activation, num_subsets, num_targets, seed):
  """LDS of both methods, at every fraction, for this training and another."""
  trained, other = (
      _train(setting, activation, num_targets, number)
      for number in (2 * seed, 2 * seed + 1)
  )
  exact, seconds = attributor_cases.timed(lambda: metagradient.scores(trained))
  damped, damped_seconds = attributor_cases.timed(
      lambda: influence.path(trained, dampings=_DAMPINGS)
  )
  rows = []
  for number, fraction in enumerate(FRACTIONS):
    num_val = num_subsets // (_VAL_SHARE - 1)
    masks = _removals(
        trained.num_train, fraction, num_subsets + num_val, (seed, number)
    )
    own = metagradient.outcomes(trained, masks)
    marks = [
        np.nan_to_num(
            metrics.spearman(masks[:num_val] @ one.values, own[:num_val])
        ).mean()
        for one in damped
    ]
    best = damped[int(np.argmax(marks))]
    masks, own = masks[num_val:], own[num_val:]
    another = metagradient.outcomes(other, masks)
    # Where both trainings agree is what no one training decides.
    agreement = metrics.lds(own, another)
    for method, values, spent in (
        ('metagradient', exact.values, seconds),
        ('influence', best.values, damped_seconds),
    ):
      same = metrics.lds(masks @ values, own)
      across = metrics.lds(masks @ values, another)
      rows.append(
          {
              'method': method,
              'removed': fraction,
              'lds': same.value,
              'lds_interval': list(same.interval),
              'lds_of_another_seed': across.value,
              'lds_of_another_seed_interval': list(across.interval),
              'agreement_of_both_seeds': agreement.value,
              'num_subsets': num_subsets,
              'num_targets': num_targets,
              'cpu_seconds': spent,
          }
      )
  return rows


def _train(setting, activation, num_targets, number) -> trained_lib.Trained:
  data = datasets.load(**setting.dataset)
  model = models.make(
      'mlp',
      data.train.inputs.shape[1:],
      data.num_classes,
      hidden=setting.hidden,
      activation=activation,
  )
  return metagradient.single(
      model,
      setting.config,
      key=jax.random.key(number),
      inputs=data.train.inputs,
      labels=data.train.labels,
      target_inputs=data.test.inputs[:num_targets],
      target_labels=data.test.labels[:num_targets],
      compute=soft_margin.log_odds,
  )


def _removals(num_train, fraction, num_subsets, seed) -> np.ndarray:
  """Masks that leave a share of the examples out, float32."""
  generator = np.random.default_rng(seed)
  ranks = generator.random((num_subsets, num_train)).argsort(axis=1)
  removed = max(round(fraction * num_train), 1)
  return (ranks >= removed).astype(np.float32)
