"""Fills the table of `compare_attributors`, row by row; what is there stays.

WORKDIR/SETTING/alpha_A_seed_S/   pool, held-out models, METHOD_BUDGET.json
and .npz, peer_NAME.npz and .json
WORKDIR/SETTING/PLANT_seed_S/     the same with planted answers
WORKDIR/attributors_SETTING.json, .csv, .md, .png
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import glob
import json
import os
from typing import Any

from absl import logging
import numpy as np

from experiments import attributor_cases as cases
from experiments import attributor_methods as methods
from experiments import binary
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import metrics
from jdm.applications import counterfactuals
from jdm.attributors import trained as trained_lib
from jdm.interop import dattri
from jdm.reports import attributor_plots
from jdm.reports import canvas
from jdm.reports import tables

_DENSE = ('linear', 'mlp')
_SIZES = (10, 20, 40, 80)  # Examples removed.
_PLANTS = dict(zip(cases.PLANTS, ('mislabel_auc', 'leakage_auc')))
CHECKS = (
    'counterfactual_spearman',
    'loo_correlation',
    *_PLANTS.values(),
)
_COLUMNS = (
    'method',
    'alpha',
    'seed',
    'num_models',
    'gradients',
    'cpu_seconds',
    'method_cpu_seconds',
    'cost_over_training',
    'lds',
    'lds_interval',
    'noise_ceiling',
    'share_of_ceiling',
    'top_overlap',
    *CHECKS,
)


def run(
    workdir: str,
    names: Sequence[str],
    *,
    num_seeds: int = 1,
    chosen: Sequence[str] | None = None,
    shrink: int = 1,
    peers: bool = False,
    checks: bool = True,
) -> list[dict[str, Any]]:
  """Fills the tables of some settings and returns all rows.

  Args:
    workdir: the folder; what is there already is not done again.
    names: of `attributor_cases.SETTINGS`.
    num_seeds: pools of each setting and alpha.
    chosen: of `attributor_methods.METHODS`; all by default.
    shrink: divides all numbers of models.
    peers: writes what `benchmarks/peers/dattri_attributors.py` reads into the
      folder of each setting's first pool (of dense layers).
    checks: retrains and plants, at the largest budget of each first pool.

  Raises:
    ValueError: on unknown names or numbers out of range.
  """
  unknown = sorted(set(names) - set(cases.SETTINGS))
  unknown += sorted(set(chosen or ()) - set(methods.METHODS))
  if unknown or num_seeds < 1 or shrink < 1 or not names:
    raise ValueError(
        f'--settings are of {list(cases.SETTINGS)}, --methods of'
        f' {list(methods.METHODS)}, --num_seeds and --shrink positive; got'
        f' {unknown or list(names)}, {num_seeds}, {shrink}'
    )
  every = []
  for name in names:
    setting = cases.shrunk(cases.SETTINGS[name], shrink)
    rows = []
    for case in _cases(os.path.join(workdir, name), setting, num_seeds):
      is_dense = setting.recipe['model'] in _DENSE
      if peers and case.seed == 0 and is_dense and setting.targets == 'test':
        export_peers(case)
      rows += _rows(name, case, chosen or list(methods.METHODS), checks)
      _write(workdir, name, setting, rows)
    every += rows
  binary.write_json(os.path.join(workdir, 'attributors.json'), {'rows': every})
  return every


def _cases(folder, setting, num_seeds) -> Iterator[cases.Case]:
  for alpha in setting.alphas:
    # Other alphas have one pool: they ask whether the order stays.
    for seed in range(num_seeds if alpha == setting.alphas[0] else 1):
      path = os.path.join(folder, f'alpha_{alpha:g}_seed_{seed}')
      yield cases.Case(setting, path, alpha, seed)


def _rows(name, case, chosen, checks) -> list[dict[str, Any]]:
  """One row for each method and budget of one pool."""
  setting, rows = case.setting, []
  is_first = case.alpha == setting.alphas[0] and case.seed == 0 and checks
  for method in chosen:
    own = methods.METHODS[method]
    if not own.applies(setting):
      continue
    budgets = setting.few if own.reads_models else setting.budgets
    if not own.is_chosen:  # The same models, or none, at each.
      budgets = budgets[:1]
    for budget in budgets:
      found = _found(case, method, budget)
      row = {
          'setting': name,
          'method': method,
          'alpha': case.alpha,
          'seed': case.seed,
          **_scored(case, found['values'], f'{method}_{budget}'),
          **found['row'],
      }
      if is_first and budget == max(budgets):
        row |= _kept(
            os.path.join(case.folder, f'{method}_{budget}_checks.json'),
            lambda m=method, v=found['values']: _checked(case, m, v, setting),
        )
        if not own.reads_models and case.own_ids is None:
          row |= _kept(
              os.path.join(case.folder, f'{method}_{budget}_halves.json'),
              lambda own=own, b=case.budget(budget): {
                  'top_overlap': methods.overlap_of_halves(own, b)
              },
          )
      rows.append(row)
  peers = glob.glob(os.path.join(case.folder, 'peer_*.npz'))
  found = [{'setting': name, **_peer(case, path)} for path in peers]
  rows += sorted(found, key=lambda row: (row['method'], row['budget']))
  return rows


def _found(case: cases.Case, method: str, num_models: int) -> dict[str, Any]:
  """Scores of one method at one budget, and what they cost."""
  path = os.path.join(case.folder, f'{method}_{num_models}')
  if not os.path.exists(f'{path}.json'):
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
  del row['made_by']
  with np.load(f'{path}.npz') as file:
    return {'row': row, 'values': file['values']}


def _kept(path: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
  """A result file, made if it is not there."""
  if not os.path.exists(path):
    binary.write_json(path, make())
  found = cases.read_json(path)
  del found['made_by']
  return found


def _scored(case: cases.Case, values: np.ndarray, name: str) -> dict[str, Any]:
  """LDS on held-out models, beside what noise leaves possible."""
  masks, outcomes, ids = case.heldout
  where = case.counted(masks)

  def of_noise():
    ceiling = metrics.noise_ceiling(outcomes[0], outcomes[1], where=where)
    return {
        'noise_ceiling': ceiling.value,
        'noise_ceiling_interval': list(ceiling.interval),
        'num_heldout': len(ids),
    }

  def of_scores():
    predicted = masks.astype(np.float32) @ values
    found = metrics.lds(predicted, outcomes[0], where=where)
    return {'lds': found.value, 'lds_interval': list(found.interval)}

  path = os.path.join(case.folder, f'{name}_lds.json')
  row = _kept(path, of_scores)
  row |= _kept(os.path.join(case.folder, 'noise_ceiling.json'), of_noise)
  row['share_of_ceiling'] = row['lds'] / max(row['noise_ceiling'], 1e-9)
  return row


def export_peers(case: cases.Case) -> str:
  """Writes what peers read: models of dense layers, examples, and targets.

  The models are those that our attributors read at their largest budget, in the
  same order, so that those of a smaller budget are the first of them: how many
  at each is in `about`. The largest budget's validation models stay here;
  those of a smaller one are beyond its first models, and choose among the
  candidates of the peers as among ours.
  """
  budgets = [case.budget(num) for num in sorted(set(case.setting.few))]
  trained = budgets[-1].trained
  to_tree = trained_lib.unravel(trained.model)
  arrays: dict[str, Any] = {}
  size = trained.inputs[0].size
  every = [_layers(to_tree(flat), size) for flat in trained.parameters]
  for number, layers in enumerate(zip(*every)):
    for part, values in zip(('kernel', 'bias'), zip(*layers)):
      arrays[f'{part}_{number}'] = np.stack(values).astype(np.float32)
  num_read = {str(b.num_models): b.num_models - b.num_val for b in budgets}
  path = os.path.join(case.folder, 'peers.npz')
  np.savez(
      path,
      **arrays,
      num_layers=len(every[0]),
      inputs=trained.inputs,
      labels=trained.labels,
      target_inputs=trained.target_inputs,
      target_labels=trained.target_labels,
      masks=trained.masks,
      margins=budgets[-1].outcomes[:1],
      about=json.dumps({'num_read': num_read}),
  )
  truth = dattri.ground_truth(case.heldout[0], case.heldout[1][0])
  dattri.save(os.path.join(case.folder, 'ground_truth.npz'), truth)
  return path


def _layers(tree: Any, size: int) -> list[tuple[Any, Any]]:
  """Kernel `[out, in]` and bias of each dense layer, the last one last."""
  if not isinstance(tree, Mapping):  # (W; b) of an exactly trained model.
    columns = tree.reshape(size + 1, -1)
    return [(columns[:-1].T, columns[-1])]
  names = sorted(tree, key=lambda name: ('head' in name, name))
  return [(tree[name]['kernel'], tree[name]['bias']) for name in names]


def _peer(case: cases.Case, path: str) -> dict[str, Any]:
  """A row of scores that another package computed; see benchmarks/peers."""
  stem = path.removesuffix('.npz')
  about = cases.read_json(f'{stem}.json')
  budget = case.budget(about['budget'])
  overlaps = about.get('top_overlap', {})
  with np.load(path) as file:
    found = [
        methods.Candidate(
            values=file[name],
            options=options,
            overlap=overlaps.get(name, float('nan')),
        )
        for name, options in about['candidates'].items()
    ]
  best = methods.choose(budget, found)
  num_read, seconds = about['num_read'], about['cpu_seconds']
  used = num_read + (budget.num_val if len(found) > 1 else 0)
  training = used * case.seconds_a_model
  name = os.path.basename(stem)
  scored = os.path.join(case.folder, f'{name}_lds.json')
  if (
      os.path.exists(scored)
      and os.stat(scored).st_mtime < os.stat(path).st_mtime
  ):
    os.remove(scored)  # Of scores that the peer has computed again since.
  return {
      'method': about['method'],
      'budget': about['budget'],
      'alpha': case.alpha,
      'seed': case.seed,
      **_scored(case, best.values, name),
      'num_models': used,
      'gradients': _number(about['gradients']),
      'training_cpu_seconds': training,
      'method_cpu_seconds': seconds,
      'cpu_seconds': training + seconds,
      'cost_over_training': seconds / (num_read * case.seconds_a_model),
      'top_overlap': best.overlap,
      'options': dict(best.options),
      'num_candidates': len(found),
      'versions': about['versions'],
  }


def _number(value: float | None) -> float:
  return float('nan') if value is None else value


def _checked(case, method, values, setting) -> dict[str, Any]:
  """What retraining and planted answers say of one method's scores."""
  found: dict[str, Any] = {}
  if setting.removals:
    found['counterfactual_spearman'] = _removals(case, values, setting)
  if setting.loo_replicates:
    effects = _loo(case, setting.loo_replicates)
    found['loo_correlation'] = metrics.loo_correlation(values, effects).value
  if setting.num_plants:
    for plant, column in _PLANTS.items():
      found[column] = _planted(case, method, plant)
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


def _removals(case, values, setting) -> float:
  """Spearman of predicted and observed effects of removing the most helpful."""
  sizes = [size for size in _SIZES if 4 * size <= len(values)]
  found = counterfactuals.counterfactuals(
      _as_datamodels(values),
      sizes=sizes or [1],
      kinds=('helpful',),
      target_ids=counterfactuals.random_targets(
          values.shape[1], min(setting.removals, values.shape[1])
      ),
      labels=case.pool.dataset.train.labels,
      skip_untrainable=True,
      batch_size=case.pool.trainer.min_subset_size,
      retrain=collection.retrainer(case.store, pool=case.pool),
      replicates=setting.replicates,
      control_replicates=max(4 * setting.replicates, 2),
  )
  return found.agreement['helpful'].spearman


def _loo(case: cases.Case, replicates: int) -> np.ndarray:
  """Effects of leaving each example out, `[num_train, num_targets]`."""
  retrain = collection.retrainer(case.store, pool=case.pool)
  num_train = case.store.num_train
  masks = np.ones((num_train + 1, num_train), bool)
  masks[np.arange(num_train), np.arange(num_train)] = False
  outcomes = np.nanmean(retrain(masks, replicates), axis=0)
  return outcomes[-1:] - outcomes[:-1]


def _planted(case: cases.Case, method: str, plant: str) -> float:
  """Area under the ROC curve for planted mislabels or duplicates."""
  setting, own = case.setting, methods.METHODS[method]
  other = case.planted[plant]
  budget = max(setting.few) if own.reads_models else setting.num_plants
  values = _found(other, method, min(budget, setting.num_plants))['values']
  planted: Any = other.pool.dataset.planted  # pyrefly: ignore
  if plant == 'mislabels':
    is_bad = np.zeros(len(values), bool)
    is_bad[planted.mislabels] = True
    return metrics.auc(-values.sum(axis=1, dtype=np.float64), is_bad)
  is_pair = np.zeros(values.shape, bool)
  is_pair[tuple(planted.duplicates.T)] = True
  return metrics.auc(values.ravel(), is_pair.ravel())


def _write(workdir, name, setting, rows) -> None:
  """The table of one setting."""
  if not rows:
    return
  path = os.path.join(workdir, f'attributors_{name}')
  recipe = {**setting.recipe, 'alphas': setting.alphas}
  recipe['training'] = repr(recipe.get('training', 'as of the model'))
  binary.write_json(f'{path}.json', {'recipe': recipe, 'rows': rows})
  columns = [c for c in _COLUMNS if any(c in row for row in rows)]
  if len({row['seed'] for row in rows}) == 1:
    columns.remove('seed')
  shown = [{c: row.get(c) for c in columns} for row in rows]
  canvas.write(f'{path}.csv', tables.csv(rows).encode())
  canvas.write(f'{path}.md', (tables.markdown(shown) + '\n').encode())
  first = [row for row in rows if row['alpha'] == setting.alphas[0]]
  canvas.save(attributor_plots.costs(first), f'{path}.png')
