r"""Writes `report.html` from what lies in a working directory.

  python -m experiments.report --workdir=runs/mlp
  python -m experiments.report --workdir=runs/mlp --report_bootstrap=50

Trains nothing and takes seconds. Shown are the datamodels and how well they
predict held-out models (`store`, `datamodels_lasso_test.npz`, `heldout`), and a
section for every application that was run (`sections/NAME.json`). What is not
there is left out. With `--report_bootstrap` the datamodels of the targets on
the cards are fitted again to so many resamples of the models, and those of all
targets to either half of them, which takes a minute or two; later reports show
the intervals (`uncertainty.npz`) and how far the halves agree
(`sections/reliability.json`), too.
"""

from collections.abc import Mapping
import dataclasses
import glob
import json
import os
from typing import Any

from absl import flags
import numpy as np

from experiments import binary
from experiments.applications import job as job_lib
from jdm import applications
from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm import evaluation as evaluation_lib
from jdm import store as store_lib
from jdm.analysis import uncertainty as uncertainty_lib
from jdm.applications import counterfactuals as counterfactuals_lib
from jdm.reports import canvas
from jdm.reports import page
from jdm.reports import sections as sections_lib
from jdm.reports import uncertainty_plots

_BOOTSTRAP = flags.DEFINE_integer(
    'report_bootstrap', 0, 'Resamples for intervals of the weights shown.'
)
_SHOWN = 6
_RELIABILITY = 'reliability'
_NOT_EVALUATED = (
    'How well the datamodels predict models that no fit has seen was not'
    ' measured; experiments.evaluate_datamodels does that.'
)


def main(workdir: str) -> None:
  """Writes the report anew."""
  if _BOOTSTRAP.value:
    evaluated = _evaluated(workdir)
    if evaluated is None:
      raise ValueError(
          '--report_bootstrap is for the weights on the cards, and there are'
          ' none: run experiments.fit_datamodels and'
          ' experiments.evaluate_datamodels first'
      )
    _bootstrap(workdir, evaluated, _BOOTSTRAP.value)
  path = rebuild(workdir)
  if path is None:
    raise ValueError(
        f'{workdir} holds nothing to report; run'
        ' experiments.evaluate_datamodels or experiments.run_application first'
    )
  print(path)


def picture_path(workdir: str, name: str, words: str) -> str:
  """Where a picture of an application lies."""
  return os.path.join(workdir, f'{name}_{words.replace(" ", "_")}.png')


def write_section(
    workdir: str,
    name: str,
    findings: job_lib.Findings,
    table: Mapping[str, Any],
    *,
    title: str = '',
) -> None:
  """Writes `sections/NAME.json`, the application's part of the report.

  Args:
    workdir: where the pictures lie already, as `picture_path` says.
    name: of the application.
    findings: what it found.
    table: shown in place of that of the findings, such as with the time taken.
    title: of the section; '' for the name.
  """
  section = sections_lib.Section(
      name=name,
      title=title,
      lead=findings.lead,
      table=table,
      pictures={
          words: picture_path(workdir, name, words)
          for words, figure in findings.figures.items()
          if figure is not None
      },
      limits=tuple(findings.limits),
  )
  path = os.path.join(workdir, 'sections', f'{name}.json')
  binary.write_json(path, section.to_json(workdir))


def read_sections(workdir: str) -> list[sections_lib.Section]:
  """Sections of the applications that were run, in the order of their table.

  One that cannot be read is left out, with a line that says so.
  """
  order = list(applications.APPLICATIONS)
  found = []
  for path in sorted(glob.glob(os.path.join(workdir, 'sections', '*.json'))):
    try:
      values = _read_json(path)
      section = sections_lib.from_json(values, workdir)
    except (OSError, ValueError) as error:
      print(f'note: {path} is left out of the report: {error}')
      continue
    command = values.get('made_by', {}).get('command', '')
    found.append(dataclasses.replace(section, command=command))
  return sorted(
      found,
      key=lambda s: order.index(s.name) if s.name in order else len(order),
  )


def write_removals(
    workdir: str,
    removals: counterfactuals_lib.Counterfactuals,
    outcome: str,
    shown: np.ndarray,
) -> None:
  """Keeps what `quickstart` retrained, so that later reports show it."""
  values = {**removals.to_json(), 'outcome': outcome, 'shown': shown}
  binary.write_json(os.path.join(workdir, 'removals.json'), values)


def rebuild(workdir: str) -> str | None:
  """Writes `report.html` from what is there; a part that fails is left out.

  Returns:
    Its path; None if there is nothing to show.
  """
  path = os.path.join(workdir, 'report.html')
  sections = read_sections(workdir)
  try:
    evaluated = _evaluated(workdir)
    if evaluated is not None:
      _write_evaluated(path, workdir, evaluated, sections)
      return path
  except (OSError, ValueError, TypeError, KeyError) as error:
    print(f'note: the report is without held-out models: {error}')
  if not sections:
    return None
  recipe = _recipe(workdir)
  page.write_sections(
      path,
      title=f'Datamodels of {recipe.get("dataset", "a pool")}',
      recipe=recipe,
      sections=sections,
      lead=_NOT_EVALUATED,
  )
  return path


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Evaluated:
  """What a full report shows."""

  job: job_lib.Job
  datamodels: datamodels_lib.Datamodels
  evaluation: evaluation_lib.Evaluation
  removals: counterfactuals_lib.Counterfactuals | None
  shown: np.ndarray


def _evaluated(workdir: str) -> _Evaluated | None:
  """Scores the datamodels again; None where something is missing for it."""
  path = os.path.join(workdir, 'datamodels_lasso_test.npz')
  if not os.path.exists(path):
    return None
  job = job_lib.Job(workdir)
  heldout = job.heldout()
  if heldout is None or not store_lib.exists(os.path.join(workdir, 'store')):
    return None
  fitted = datamodels_lib.load(path)
  masks, read, ids = heldout
  values = _optional_json(workdir, 'evaluation.json')
  evaluation = evaluation_lib.evaluate(
      fitted,
      masks,
      read(fitted.outcome),
      heldout_ids=ids,
      average=bool(values.get('average', False)),
  )
  removals, shown = _removals(workdir, fitted)
  if shown is None:
    shown = _choose(evaluation, job.dataset.test.labels, removals)
  return _Evaluated(
      job=job,
      datamodels=fitted,
      evaluation=evaluation,
      removals=removals,
      shown=shown,
  )


def _write_evaluated(
    path: str,
    workdir: str,
    evaluated: _Evaluated,
    sections: list[sections_lib.Section],
) -> None:
  results = _optional_json(workdir, 'results.json')
  uncertainty = _load_uncertainty(workdir, evaluated.datamodels)
  if uncertainty is None:  # Both are written at once, of the same datamodels.
    sections = [one for one in sections if one.name != _RELIABILITY]
  page.write(
      path,
      dataset=evaluated.job.dataset,
      datamodels=evaluated.datamodels,
      evaluation=evaluated.evaluation,
      counterfactuals=evaluated.removals,
      recipe=_recipe(workdir),
      costs=results.get('stage_seconds', {}),
      target_ids=evaluated.shown,
      sections=sections,
      uncertainty=uncertainty,
  )


def _recipe(workdir: str) -> dict[str, Any]:
  """The pool's recipe, and what the first of its results was made by."""
  made_by = {}
  for name in ('results.json', 'evaluation.json', 'fit.json'):
    made_by = made_by or _optional_json(workdir, name).get('made_by', {})
  try:
    store = store_lib.OutcomeStore.open(os.path.join(workdir, 'store'))
  except store_lib.StoreError:  # There is none, or it cannot be read.
    return made_by
  return {**store.recipe, **made_by}


def _removals(
    workdir: str, datamodels: datamodels_lib.Datamodels
) -> tuple[counterfactuals_lib.Counterfactuals | None, np.ndarray | None]:
  """What was retrained for these targets, and the targets it was shown for."""
  for name in ('removals.json', 'counterfactuals.json'):
    values = _optional_json(workdir, name)
    if values.get('outcome') != datamodels.outcome:
      continue
    removals = _counterfactuals(values)
    if max(removals.target_ids, default=0) < datamodels.num_targets:
      shown = values.get('shown')
      return removals, None if shown is None else np.array(shown, np.int64)
  return None, None


def _counterfactuals(
    values: Mapping[str, Any],
) -> counterfactuals_lib.Counterfactuals:
  """Reads `Counterfactuals.to_json`: null is NaN, and the rows are not kept."""
  known = {
      f.name for f in dataclasses.fields(counterfactuals_lib.Counterfactuals)
  }
  own = {name: value for name, value in values.items() if name in known}
  for name in ('target_ids', 'sizes'):
    own[name] = np.array(own[name], np.int64)
  for name in ('predicted', 'observed', 'interval', 'control'):
    if own.get(name) is not None:
      own[name] = np.array(own[name], np.float64)
  own['kinds'] = tuple(own['kinds'])
  own['removed'] = np.zeros((len(own['kinds']), len(own['target_ids']), 0), int)
  own['agreement'] = {
      kind: effects.Agreement(
          **{k: float('nan') if v is None else v for k, v in score.items()}
      )
      for kind, score in own.get('agreement', {}).items()
  }
  return counterfactuals_lib.Counterfactuals(**own)


def _choose(evaluation, labels, removals) -> np.ndarray:
  """Targets for the cards: of those retrained, if there are some."""
  ids = np.arange(len(labels)) if removals is None else removals.target_ids
  outcomes = evaluation.outcomes[:, ids]
  return ids[page.choose_targets(outcomes, labels[ids], count=_SHOWN)]


def _bootstrap(workdir: str, evaluated: _Evaluated, num: int) -> None:
  """Intervals of the weights on the cards, written to `uncertainty.npz`."""
  fitted, job = evaluated.datamodels, evaluated.job
  ids = np.union1d(np.asarray(fitted.fit_ids), np.asarray(fitted.val_ids))
  rows = ids - job.store.recipe.get('first_id', 0)
  pool = job.masks(rows), job.outcomes(fitted.outcome, rows=rows)
  result = uncertainty_lib.bootstrap(
      *pool,
      fitted,
      num_bootstrap=num,
      target_ids=evaluated.shown,
      progress=binary.Progress('resampling', 'fit'),
  )
  path = os.path.join(workdir, 'uncertainty.npz')
  temporary = os.path.join(workdir, 'uncertainty.part.npz')
  np.savez_compressed(temporary, **dataclasses.asdict(result))
  os.replace(temporary, path)
  _halves(workdir, uncertainty_lib.halves(*pool, fitted))


def _halves(workdir: str, found: uncertainty_lib.Halves) -> None:
  """A section on how far two halves of the models agree."""
  picture = 'agreement of halves'
  figure = uncertainty_plots.halves(found)
  canvas.save(figure, picture_path(workdir, _RELIABILITY, picture))
  findings = job_lib.Findings(
      lead=(
          'Datamodels were fitted to either half of the models alone, at the'
          ' penalties chosen. Where the halves name the same examples as most'
          ' helpful, another pool would, too.'
      ),
      figures={picture: figure},
      result={},
      table={
          f'top {found.num_top} shared by both halves': found.mean,
          '  95 % interval over targets': list(found.interval),
          '  by chance': found.by_chance,
          'models of both halves': found.num_models,
      },
      limits=(
          'Halves agree less than two whole pools would; weights of all models'
          ' are surer than this.',
      ),
  )
  write_section(workdir, _RELIABILITY, findings, findings.table)


def _load_uncertainty(
    workdir: str, datamodels: datamodels_lib.Datamodels
) -> uncertainty_lib.Uncertainty | None:
  """What `_bootstrap` wrote, unless the datamodels were fitted again since."""
  path = os.path.join(workdir, 'uncertainty.npz')
  if not os.path.exists(path):
    return None
  with np.load(path) as file:
    values = {name: file[name] for name in file.files}
  values = {k: v.item() if v.ndim == 0 else v for k, v in values.items()}
  found = uncertainty_lib.Uncertainty(**values)
  weights = np.asarray(datamodels.weights)
  ids = found.target_ids
  fits = len(found.weights) == len(weights) and ids.max() < weights.shape[1]
  if not fits or not np.array_equal(found.weights, weights[:, ids]):
    print(f'note: {path} is of other datamodels and left out of the report')
    return None
  return found


def _optional_json(workdir: str, name: str) -> dict[str, Any]:
  """A JSON file of the folder; {} if it is not there."""
  path = os.path.join(workdir, name)
  return _read_json(path) if os.path.exists(path) else {}


def _read_json(path: str) -> dict[str, Any]:
  with open(path, encoding='utf-8') as file:
    return json.load(file)


if __name__ == '__main__':
  binary.run(main)
