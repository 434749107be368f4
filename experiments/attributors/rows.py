"""Scores of one method at one budget, kept in files, and their LDS.

Methods choose by validation models; only here are held-out ones read.
"""

import hashlib
import os
from typing import Any

from absl import logging
import numpy as np

from experiments import binary
from experiments.attributors import cases
from experiments.attributors import methods
from jdm import metrics


def _stem(case: cases.Case, method: str, num_models: int) -> str:
  return os.path.join(case.folder, f'{method}_{num_models}')


def is_made(case: cases.Case, method: str, num_models: int) -> bool:
  """Whether `made` only has to read."""
  return os.path.exists(f'{_stem(case, method, num_models)}.json')


def made(
    case: cases.Case, method: str, num_models: int
) -> tuple[np.ndarray, dict[str, Any]]:
  """Makes or reads the scores of one method at one budget.

  Args:
    case: the pool.
    method: a key of `methods.METHODS`.
    num_models: that it may train.

  Returns:
    Scores `[num_train, num_targets]`, and what they cost and are made by.
  """
  path = _stem(case, method, num_models)
  if not is_made(case, method, num_models):
    own = methods.METHODS[method]
    budget = case.budget(num_models)
    _ = budget.outcomes  # Trains the pool, if nobody has yet.
    if own.reads_models:
      needs = method == 'tracin'
      own.find(
          budget.of_two(checkpoints=needs)
      )  # Training and compiling are no part of it.
    candidates, seconds = cases.timed(lambda: own.find(budget))
    best = methods.choose(budget, candidates)
    seconds += best.cpu_seconds
    used = best.num_models
    chooses = len(candidates) > 1 or not own.reads_models
    if own.is_chosen and own.has_val and chooses:
      used += budget.num_val
    training = used * case.seconds_a_model
    row = {
        'num_models': used,
        'gradients': best.gradients,
        'training_cpu_seconds': training,
        'method_cpu_seconds': seconds,
        'cpu_seconds': training + seconds,
        'cost_over_training': (
            seconds / (best.num_models * case.seconds_a_model)
            if best.num_models and own.reads_models
            else float('nan')
        ),
        'top_overlap': best.overlap,
        'options': dict(best.options),
        'num_candidates': len(candidates),
    }
    np.savez(f'{path}.npz', values=best.values.astype(np.float32))
    binary.write_json(f'{path}.json', row)
    logging.info('%s', path)
  row = cases.read_json(f'{path}.json')
  row['commit'] = row.pop('made_by')['commit']
  with np.load(f'{path}.npz') as file:
    return file['values'], row


def digest(values: np.ndarray) -> str:
  """What files that were made from scores know them by."""
  return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def scored(case: cases.Case, values: np.ndarray, name: str) -> dict[str, Any]:
  """LDS on held-out models, beside what noise leaves possible.

  Args:
    case: the pool.
    values: scores, `[num_train, num_targets]`.
    name: of the file that keeps it.
  """
  num_heldout = case.setting.num_heldout

  def of_noise():
    masks, outcomes, ids = case.heldout
    where = case.counted(masks)
    ceiling = metrics.noise_ceiling(outcomes[0], outcomes[1], where=where)
    return {
        'noise_ceiling': ceiling.value,
        'noise_ceiling_interval': list(ceiling.interval),
        'num_heldout': len(ids),
    }

  def of_scores():
    masks, outcomes, _ = case.heldout
    predicted = masks.astype(np.float32) @ values
    found = metrics.lds(predicted, outcomes[0], where=case.counted(masks))
    return {'lds': found.value, 'lds_interval': list(found.interval)}

  row = cases.kept(
      os.path.join(case.folder, f'{name}_lds.json'),
      of_scores,
      num_heldout=num_heldout,
      scores=digest(values),
  )
  row |= cases.kept(
      os.path.join(case.folder, 'noise_ceiling.json'),
      of_noise,
      num_heldout=num_heldout,
  )
  row['share_of_ceiling'] = row['lds'] / max(row['noise_ceiling'], 1e-9)
  return row
