"""What retraining and planted answers say of scores, for `compare_attributors`."""

import dataclasses
import functools
import io
import os
from typing import Any

import jax
import numpy as np

from experiments import binary
from experiments.attributors import cases
from experiments.attributors import methods
from experiments.attributors import rows
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import metrics
from jdm.applications import counterfactuals
from jdm.attributors import metagradient
from jdm.reports import canvas

_PLANTS = dict(zip(cases.PLANTS, ('mislabel_auc', 'leakage_auc')))
_LOO = 0x6C6F6F  # Of the random numbers of trainings that leave one out.
COLUMNS = (
    'counterfactual_spearman',
    'counterfactual_ceiling',
    'loo_correlation',
    'loo_ceiling',
    *_PLANTS.values(),
)


def checked(
    case: cases.Case,
    method: str,
    budget: int,
    values: np.ndarray,
    *,
    only_read: bool = False,
) -> dict[str, float]:
  """Fills the columns that the setting asks for; what is there stays.

  Args:
    case: the pool.
    method: a key of `methods.METHODS`.
    budget: models that it may train.
    values: its scores, `[num_train, num_targets]`.
    only_read: leaves out what is not there.
  """
  setting, own = case.setting, methods.METHODS[method]
  stem = os.path.join(case.folder, f'{method}_{budget}')
  scores = rows.digest(values)
  found: dict[str, float] = {}

  def add(name, make, **made_from):
    make = None if only_read else make
    path = f'{stem}_{name}.json'
    found.update(cases.kept(path, make, scores=scores, **made_from))

  if setting.removals:
    add(
        'removals',
        lambda: _removals(case, values),
        targets=setting.removals,
        removed=setting.removed,
        replicates=setting.replicates,
    )
  if setting.loo_replicates:
    add(
        'loo',
        lambda: _loo(case, values),
        replicates=setting.loo_replicates,
        examples=setting.loo_examples,
    )
  if setting.num_plants:
    for plant in _PLANTS:
      add(
          plant,
          lambda plant=plant: _planted(case, method, plant),
          num_models=setting.num_plants,
          few=setting.plants_few,
          num_planted=setting.num_planted,
          duplicates=setting.duplicates,
      )
  if not own.reads_models and case.own_ids is None:
    add(
        'halves',
        lambda: {
            'top_overlap': methods.overlap_of_halves(own, case.budget(budget))
        },
    )
  return found


def _as_datamodels(values: np.ndarray) -> datamodels_lib.Datamodels:
  num_train, num_targets = values.shape
  zeros = np.zeros(num_targets)
  return datamodels_lib.Datamodels(
      weights=values,
      bias=zeros,
      lam=zeros,
      gap=zeros,
      nnz=np.count_nonzero(values, axis=0),
      val_mse=zeros,
      train_ids=np.arange(num_train),
      target_ids=np.arange(num_targets),
  )


def _removals(case: cases.Case, values: np.ndarray) -> dict[str, float]:
  """Spearman of predicted and observed effects of removing the most helpful.

  Its ceiling is that of the observed effects, which differ with the rankings.
  """
  setting = case.setting
  data: Any = case.pool.dataset  # pyrefly: ignore
  sizes = [size for size in setting.removed if 4 * size <= len(values)]
  found = counterfactuals.counterfactuals(
      _as_datamodels(values),
      sizes=sizes or [1],
      kinds=('helpful',),
      target_ids=counterfactuals.random_targets(
          values.shape[1], min(setting.removals, values.shape[1])
      ),
      labels=data.train.labels,
      skip_untrainable=True,
      batch_size=case.pool.trainer.min_subset_size,
      retrain=collection.retrainer(case.store, pool=case.pool),
      replicates=setting.replicates,
      control_replicates=max(4 * setting.replicates, 2),
  )
  agreement = found.agreement['helpful']
  return {
      'counterfactual_spearman': agreement.spearman,
      'counterfactual_ceiling': agreement.ceiling,
  }


def _loo(case: cases.Case, values: np.ndarray) -> dict[str, float]:
  """Correlation with the effects of leaving examples out, and its ceiling.

  The ceiling is that of a perfect prediction, from two halves of the replicates;
  it is not known of one, but for exact minima.
  """
  effects = loo_effects(case)
  ids = loo_ids(case.setting, len(values))
  found = metrics.loo_correlation(values[ids], effects.mean(axis=0)).value
  if _is_exact(case):
    ceiling = 1.0
  elif len(effects) == 1:
    ceiling = float('nan')
  else:
    halves = effects[::2].mean(axis=0), effects[1::2].mean(axis=0)
    ceiling = metrics.noise_ceiling(
        *halves, num_replicates=2, num_bootstrap=2
    ).value
  return {'loo_correlation': found, 'loo_ceiling': ceiling}


def _is_exact(case: cases.Case) -> bool:
  return case.one_trained.config is None


def loo_ids(setting: cases.Setting, num_train: int) -> np.ndarray:
  """The examples that are left out, one at a time; spread over all."""
  num = min(setting.loo_examples or num_train, num_train)
  return np.arange(num) * num_train // num


@functools.lru_cache(maxsize=1)  # All methods of a case ask for it.
def loo_effects(case: cases.Case) -> np.ndarray:
  """Outcomes with all examples minus those without one of them.

  Both trainings of a difference share initialization, order and batches, where
  the example has weight 0, so that fewer trainings suffice. An exact minimum
  depends on none of these: it is trained again without the example, once.

  Returns:
    `[replicates, num_left_out, num_targets]`; positive = helpful.
  """
  trained = case.one_trained
  num_train = trained.num_train
  ids = loo_ids(case.setting, num_train)
  masks = np.ones((len(ids) + 1, num_train), bool)
  masks[np.arange(len(ids)), ids] = False
  if _is_exact(case):
    retrain = collection.retrainer(case.store, pool=case.pool)
    outcomes = retrain(masks, 1)
    return outcomes[:, -1:] - outcomes[:, :-1]
  found = []
  progress = binary.Progress('leave one out', unit='seed')
  for replicate in range(case.setting.loo_replicates):
    progress(replicate, case.setting.loo_replicates)
    path = os.path.join(case.folder, f'loo_{len(ids)}_{replicate}.npy')
    if not os.path.exists(path):
      seeds = np.random.SeedSequence((case.seed, _LOO, replicate))
      key = jax.random.key(seeds.generate_state(1)[0])
      whole = dataclasses.replace(
          trained,
          masks=np.ones((1, num_train), bool),
          keys=np.asarray(jax.random.key_data(key))[None],
      )
      content = io.BytesIO()
      np.save(content, metagradient.outcomes(whole, masks))
      canvas.write(path, content.getvalue())
    outcomes = np.load(path)
    found.append(outcomes[-1:] - outcomes[:-1])
  progress(len(found), len(found))
  return np.stack(found)


def _planted(case: cases.Case, method: str, plant: str) -> dict[str, float]:
  """Area under the ROC curve for planted mislabels or duplicates."""
  other = case.planted[plant]
  own = methods.METHODS[method]
  budgets = other.setting.few if own.reads_models else other.setting.budgets
  values, _ = rows.made(other, method, max(budgets))
  planted: Any = other.pool.dataset.planted  # pyrefly: ignore
  if plant == 'mislabels':
    is_planted = np.zeros(len(values), bool)
    is_planted[planted.mislabels] = True
    values = -values.sum(axis=1, dtype=np.float64)  # Harm.
  else:
    is_planted = np.zeros(values.shape, bool)
    is_planted[tuple(planted.duplicates.T)] = True
  return {_PLANTS[plant]: metrics.auc(values.ravel(), is_planted.ravel())}
