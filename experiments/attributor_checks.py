"""What retraining and planted answers say of scores, for `compare_attributors`."""

import os
from typing import Any

import jax
import numpy as np

from experiments import attributor_cases as cases
from experiments import attributor_methods as methods
from experiments import binary
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import metrics
from jdm.applications import counterfactuals
from jdm.attributors import metagradient

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
    case: cases.Case, method: str, budget: int, values: np.ndarray
) -> dict[str, float]:
  """Fills the columns that the setting asks for; what is there stays.

  Args:
    case: the pool.
    method: a key of `attributor_methods.METHODS`.
    budget: models that it may train.
    values: its scores, `[num_train, num_targets]`.
  """
  setting = case.setting
  stem = os.path.join(case.folder, f'{method}_{budget}')
  found: dict[str, float] = {}
  if setting.removals:
    found |= cases.kept(
        f'{stem}_removals.json',
        lambda: _removals(case, values),
    )
  if setting.loo_replicates:
    found |= cases.kept(f'{stem}_loo.json', lambda: _loo(case, values))
  if setting.num_plants:
    for plant, column in _PLANTS.items():
      found |= cases.kept(
          f'{stem}_{plant}.json',
          lambda plant=plant, column=column: {
              column: _planted(case, method, plant)
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
  """Correlation with the effects of leaving examples out, and its ceiling."""
  effects = loo_effects(case)
  ids = loo_ids(case.setting, len(values))
  found = metrics.loo_correlation(values[ids], effects.mean(axis=0)).value
  return {'loo_correlation': found, 'loo_ceiling': _ceiling(effects)}


def _ceiling(effects: np.ndarray) -> float:
  """Of correlations with the mean over replicates; NaN of one, of SGD."""
  if len(effects) < 2:
    return float('nan')
  halves = effects[::2].mean(axis=0), effects[1::2].mean(axis=0)
  agreed = max(metrics.loo_correlation(*halves).value, 0.0)
  return float(np.sqrt(2 * agreed / (1 + agreed)))


def loo_ids(setting: cases.Setting, num_train: int) -> np.ndarray:
  """The examples that are left out, one at a time; spread over all."""
  num = min(setting.loo_examples or num_train, num_train)
  return np.arange(num) * num_train // num


def loo_effects(case: cases.Case) -> np.ndarray:
  """Outcomes with all examples minus those without one of them.

  Both trainings of a difference have the same initialization and order, so that
  fewer of them do. An exact minimum depends on neither.

  Returns:
    `[replicates, num_left_out, num_targets]`; positive = helpful.
  """
  trained = case.rebuilt(case.rows(1))
  num_train = trained.num_train
  ids = loo_ids(case.setting, num_train)
  masks = np.ones((len(ids) + 1, num_train), bool)
  masks[np.arange(len(ids)), ids] = False
  if trained.config is None:
    retrain = collection.retrainer(case.store, pool=case.pool)
    outcomes = np.repeat(retrain(masks, 1), 2, axis=0)  # Any other is the same.
    return outcomes[:, -1:] - outcomes[:, :-1]
  found = []
  progress = binary.Progress('leave one out', unit='seed')
  for replicate in range(case.setting.loo_replicates):
    progress(replicate, case.setting.loo_replicates)
    path = os.path.join(case.folder, f'loo_{len(ids)}_{replicate}.npy')
    if not os.path.exists(path):
      state = np.random.SeedSequence((case.seed, _LOO, replicate))
      one = metagradient.single(
          trained.model,
          trained.config,
          key=jax.random.key(state.generate_state(1)[0]),
          inputs=trained.inputs,
          labels=trained.labels,
          target_inputs=trained.target_inputs,
          target_labels=trained.target_labels,
          compute=trained.compute,
      )
      np.save(path, metagradient.outcomes(one, masks))
    outcomes = np.load(path)
    found.append(outcomes[-1:] - outcomes[:-1])
  progress(len(found), len(found))
  return np.stack(found)


def _planted(case: cases.Case, method: str, plant: str) -> float:
  """Area under the ROC curve for planted mislabels or duplicates."""
  other = case.planted[plant]
  own = methods.METHODS[method]
  budgets = other.setting.few if own.reads_models else other.setting.budgets
  values = methods.found(other, method, max(budgets))['values']
  planted: Any = other.pool.dataset.planted  # pyrefly: ignore
  if plant == 'mislabels':
    is_bad = np.zeros(len(values), bool)
    is_bad[planted.mislabels] = True
    return metrics.auc(-values.sum(axis=1, dtype=np.float64), is_bad)
  is_pair = np.zeros(values.shape, bool)
  is_pair[tuple(planted.duplicates.T)] = True
  return metrics.auc(values.ravel(), is_pair.ravel())
