"""Fills the table of `compare_attributors`, row by row; what is there stays.

WORKDIR/SETTING/alpha_A_seed_S/   pool; held-out models and noise_ceiling.json
  METHOD_BUDGET.json, .npz        costs and scores
  METHOD_BUDGET_NAME.json         NAME: lds, removals, loo, mislabels,
                                  duplicates, halves
  loo_NUM_REPLICATE.npy           outcomes without an example, the last with all
  peers.npz, ground_truth.npz     what peers read
  peer_NAME_BUDGET.npz, .json     what they write
WORKDIR/SETTING/PLANT_seed_S/     pools with planted answers
WORKDIR/attributors_SETTING.json, .csv, .md, .png, _checks.png

With --shrink=N SETTING is SETTING_shrink_N.
"""

from collections.abc import Iterator, Sequence
import glob
import os
from typing import Any

from experiments import binary
from experiments.attributors import cases
from experiments.attributors import checks as checks_lib
from experiments.attributors import methods
from experiments.attributors import peers as peers_lib
from experiments.attributors import rows
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
    workdir: the folder; what is there already is not done again, and shown.
    names: of `cases.SETTINGS`.
    num_seeds: pools of each setting and alpha.
    chosen: of `methods.METHODS`; all by default.
    shrink: divides all numbers of models.
    peers: writes what `benchmarks/peers/dattri_attributors.py` reads into the
      folder of each setting's first pool.
    checks: retrains and plants, at the largest budget of each first pool.
    alphas: of those of the settings; all by default.

  Raises:
    ValueError: on unknown names or numbers out of range.
  """
  _check_flags(names, num_seeds, chosen or (), shrink, alphas or ())
  every = []
  for name in names:
    setting = cases.shrunk(cases.SETTINGS[name], shrink)
    name = name if shrink == 1 else f'{name}_shrink_{shrink}'
    own = []
    for case in _cases(os.path.join(workdir, name), setting, num_seeds):
      is_asked = alphas is None or case.alpha in alphas
      is_first = case.seed == 0 and case.alpha == setting.alphas[0]
      if peers and is_first and peers_lib.is_readable(setting):
        peers_lib.export(case)
      own += _rows(
          name,
          case,
          (chosen or list(methods.METHODS)) if is_asked else (),
          checks and is_first,
      )
      _write(workdir, name, setting, own)
    every += own
  binary.write_json(os.path.join(workdir, 'attributors.json'), {'rows': every})
  return every


def _check_flags(names, num_seeds, chosen, shrink, alphas) -> None:
  unknown = sorted(set(names) - set(cases.SETTINGS))
  unknown += sorted(set(chosen) - set(methods.METHODS))
  if unknown or num_seeds < 1 or shrink < 1 or not names:
    raise ValueError(
        f'--settings are of {list(cases.SETTINGS)}, --methods of'
        f' {list(methods.METHODS)}, --num_seeds and --shrink positive; got'
        f' {unknown or list(names)}, {num_seeds}, {shrink}'
    )
  known = {a for name in names for a in cases.SETTINGS[name].alphas}
  if set(alphas) - known:
    raise ValueError(
        f'--alphas are of {sorted(known)} with these --settings, got'
        f' {list(alphas)}'
    )


def _cases(folder, setting, num_seeds) -> Iterator[cases.Case]:
  """Those that are asked for, and those that are there."""
  for alpha in setting.alphas:
    stem = os.path.join(folder, f'alpha_{alpha:g}_seed_')
    # Other alphas have one pool: they ask whether the order stays.
    asked = range(num_seeds if alpha == setting.alphas[0] else 1)
    there = {int(p.removeprefix(stem)) for p in glob.glob(f'{stem}*')}
    for seed in sorted({*asked, *there}):
      yield cases.Case(setting, f'{stem}{seed}', alpha, seed)


def _rows(name, case, chosen, checks) -> list[dict[str, Any]]:
  """One row for each method and budget of one pool.

  Those of methods that are not chosen, and checks that are not asked for, are
  shown if they are there.
  """
  setting, found = case.setting, []
  for method, own in methods.METHODS.items():
    if not own.applies(setting):
      continue
    budgets = setting.few if own.reads_models else setting.budgets
    if not own.is_chosen:  # The same models, or none, at each.
      budgets = budgets[:1]
    if own.only_largest:
      budgets = budgets[-1:]
    for budget in budgets:
      is_chosen = method in chosen
      if not is_chosen and not rows.is_made(case, method, budget):
        continue
      values, about = rows.made(case, method, budget)
      row = {
          'setting': name,
          'method': method,
          'alpha': case.alpha,
          'seed': case.seed,
          **rows.scored(case, values, f'{method}_{budget}'),
          **about,
      }
      if budget == max(budgets):
        only_read = not (checks and is_chosen)
        row |= checks_lib.checked(
            case, method, budget, values, only_read=only_read
        )
      found.append(row)
  paths = glob.glob(os.path.join(case.folder, 'peer_*.npz'))
  of_peers = [{'setting': name, **peers_lib.row(case, path)} for path in paths]
  return found + sorted(
      of_peers, key=lambda row: (row['method'], row['budget'])
  )


def _write(workdir, name, setting, found) -> None:
  """The table of one setting."""
  if not found:
    return
  path = os.path.join(workdir, f'attributors_{name}')
  recipe = {**setting.recipe, 'alphas': setting.alphas}
  recipe['training'] = repr(recipe.get('training', 'as of the model'))
  binary.write_json(f'{path}.json', {'recipe': recipe, 'rows': found})
  columns = [c for c in _COLUMNS if any(c in row for row in found)]
  if len({row['seed'] for row in found}) == 1:
    columns.remove('seed')
  shown = [{c: row.get(c) for c in columns} for row in found]
  canvas.write(f'{path}.csv', tables.csv(found).encode())
  canvas.write(f'{path}.md', (tables.markdown(shown) + '\n').encode())
  first = [row for row in found if row['alpha'] == setting.alphas[0]]
  if first:
    canvas.save(attributor_plots.costs(first), f'{path}.png')
  of_checks = [row for row in found if set(row) & set(checks_lib.COLUMNS)]
  if of_checks:
    canvas.save(attributor_plots.checks(of_checks), f'{path}_checks.png')
