"""Fills the table of `compare_attributors`, row by row; what is there stays.

WORKDIR/SETTING/alpha_A_seed_S/   pool, held-out models, METHOD_BUDGET.json
and .npz, peer_NAME.npz and .json
WORKDIR/SETTING/PLANT_seed_S/     the same with planted answers
WORKDIR/attributors_SETTING.json, .csv, .md, .png
"""

from collections.abc import Iterator, Sequence
import glob
import os
from typing import Any

from experiments import attributor_cases as cases
from experiments import attributor_checks as checks_lib
from experiments import attributor_methods as methods
from experiments import attributor_peers
from experiments import binary
from jdm.reports import attributor_plots
from jdm.reports import canvas
from jdm.reports import tables

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
    *checks_lib.COLUMNS,
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
    alphas: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
  """Fills the tables of some settings and returns all rows.

  Args:
    workdir: the folder; what is there already is not done again.
    names: of `attributor_cases.SETTINGS`.
    num_seeds: pools of each setting and alpha.
    chosen: of `attributor_methods.METHODS`; all by default.
    shrink: divides all numbers of models.
    peers: writes what `benchmarks/peers/dattri_attributors.py` reads into the
      folder of each setting's first pool.
    checks: retrains and plants, at the largest budget of each first pool.
    alphas: of those of the settings; all by default.

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
  known = {a for name in names for a in cases.SETTINGS[name].alphas}
  if set(alphas or ()) - known:
    raise ValueError(
        f'--alphas are of {sorted(known)} with these --settings, got'
        f' {list(alphas or ())}'
    )
  every = []
  for name in names:
    setting = cases.shrunk(cases.SETTINGS[name], shrink)
    rows = []
    for case in _cases(os.path.join(workdir, name), setting, num_seeds):
      if alphas is not None and case.alpha not in alphas:
        continue
      if peers and case.seed == 0 and attributor_peers.is_readable(setting):
        attributor_peers.export(case)
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
      found = methods.found(case, method, budget)
      row = {
          'setting': name,
          'method': method,
          'alpha': case.alpha,
          'seed': case.seed,
          **methods.scored(case, found['values'], f'{method}_{budget}'),
          **found['row'],
      }
      if is_first and budget == max(budgets):
        row |= checks_lib.checked(case, method, budget, found['values'])
        if not own.reads_models and case.own_ids is None:
          row |= cases.kept(
              os.path.join(case.folder, f'{method}_{budget}_halves.json'),
              lambda own=own, b=case.budget(budget): {
                  'top_overlap': methods.overlap_of_halves(own, b)
              },
          )
      rows.append(row)
  peers = glob.glob(os.path.join(case.folder, 'peer_*.npz'))
  found = [
      {'setting': name, **attributor_peers.row(case, path)} for path in peers
  ]
  rows += sorted(found, key=lambda row: (row['method'], row['budget']))
  return rows


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
