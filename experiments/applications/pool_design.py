r"""Which outcome, which alpha, how many models: what a pool should be like.

Needs held-out models (`experiments.evaluate_datamodels --replicates=2` trains
them). Outcomes are compared as far as the store has or can compute them:
`collect_outcomes --outcomes=logits` serves all. Pools of other alphas are named
by --pool_design_workdirs, each with held-out models of its own:
`experiments/launch/pool_design_alphas.sh` makes some. --sizes are numbers of
models here, by default a quarter, half and all.
"""

from typing import Any

from absl import flags
import numpy as np

from experiments import binary
from experiments.applications import job as job_lib
from jdm import effects
from jdm import regressors
from jdm.analysis import learning_curves
from jdm.analysis import scores as scores_lib
from jdm.applications import pool_design as lib
from jdm.reports import canvas
from jdm.reports import pool_design_plots

_OUTCOMES = flags.DEFINE_list(
    'pool_design_outcomes',
    ['soft_margin', 'margin', 'log_loss', 'correctness'],
    'Outcomes compared, as far as the store has them; the curves are about the'
    ' first.',
)
_REGRESSORS = flags.DEFINE_list(
    'pool_design_regressors',
    list(learning_curves.REGRESSORS),
    'Regressors compared by number of models; the first fits the outcomes.',
)
_PAIRS = flags.DEFINE_integer(
    'pool_design_pairs',
    300,
    'Models trained for each --pool_design_rhos; 0 trains none.',
)
_RHOS = flags.DEFINE_list(
    'pool_design_rhos', ['0.25', '0.5'], 'Correlations of pairs of subsets.'
)
_WORKDIRS = flags.DEFINE_list(
    'pool_design_workdirs', [], 'Other pools to compare with, of other alphas.'
)
_TARGETS = 60
_INDEPENDENT = ('fixed_size', 'bernoulli')


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings: the second models of the pairs."""
  heldout = _heldout(job)
  if not _PAIRS.value or _sampler(job) not in _INDEPENDENT:
    return 0
  replicates = len(heldout[1](_names(job, heldout)[0]))
  return lib.num_trainings(_rhos(), _PAIRS.value, len(job.rows()), replicates)


def run(job: job_lib.Job) -> job_lib.Findings:
  """Compares outcomes, regressors, numbers of models and alphas."""
  heldout = _heldout(job)
  names = _names(job, heldout)
  for name in _REGRESSORS.value:
    regressors.get(name)
  limits = _limits(job, names)
  outcomes = {name: job.outcomes(name) for name in names}
  targets = job.random_targets(outcomes[names[0]].shape[1], _TARGETS)
  paired = bool(_PAIRS.value) and _sampler(job) in _INDEPENDENT
  options = job.store.recipe.get('sampler_options', {})
  design = lib.pool_design(
      job.masks(),
      outcomes,
      heldout[0],
      {name: heldout[1](name) for name in names},
      target_ids=targets,
      num_models=job.sizes,
      regressors=_REGRESSORS.value,
      retrain=job.retrain(names[0]) if paired else None,
      rhos=_rhos(),
      num_pairs=_PAIRS.value or 3,
      bernoulli_alpha=(
          options.get('alpha') if _sampler(job) == 'bernoulli' else None
      ),
      seed=job.seed,
      progress=binary.Progress('fits', unit='fit'),
  )
  pools = _pools(job, names[0], targets, limits)
  figures: dict[str, Any] = {
      'LDS by number of models': pool_design_plots.lds_curve(design.curve),
      'R2 by number of models': pool_design_plots.r2_curve(design),
      'outcomes': pool_design_plots.score_bars(
          design.outcomes,
          [canvas.words(row.outcome) for row in design.outcomes],
      ),
  }
  if design.stability is not None:
    figures['pairs on correlated subsets'] = pool_design_plots.stability_curve(
        design.stability, design.linear_share
    )
  if pools:
    figures['alphas'] = pool_design_plots.score_bars(
        list(pools.values()),
        [f'alpha {row.alpha:.2g}' for row in pools.values()],
    )
  result = design.to_json()
  result['pools'] = [
      {'workdir': path, **effects.to_json(row)} for path, row in pools.items()
  ]
  return job_lib.Findings(
      result=result,
      table=_table(design, pools),
      lead=_lead(design),
      figures=figures,
      limits=limits,
  )


def _heldout(job: job_lib.Job):
  heldout = job.heldout()
  if heldout is None:
    raise ValueError(
        f'pool_design scores on held-out models, and {job.workdir} has none;'
        ' run experiments.evaluate_datamodels --num_heldout=500 --replicates=2'
    )
  return heldout


def _names(job: job_lib.Job, heldout) -> list[str]:
  """The outcomes asked for that pool and held-out models have."""
  found = []
  for name in _OUTCOMES.value:
    try:
      heldout[1](name)
    except ValueError:
      continue
    if job.has_outcome(name):
      found.append(name)
  if not found:
    raise ValueError(
        f'neither of the outcomes {_OUTCOMES.value} is in {job.workdir} and in'
        ' its held-out models; collect with --outcomes=logits, or name others'
        ' by --pool_design_outcomes'
    )
  return found


def _rhos() -> list[float]:
  try:
    rhos = [float(text) for text in _RHOS.value]
  except ValueError as error:
    raise ValueError(
        f'--pool_design_rhos is a list of numbers, got {_RHOS.value}'
    ) from error
  if not all(0 < rho < 1 for rho in rhos) or not rhos:
    raise ValueError(f'--pool_design_rhos are between 0 and 1, got {rhos}')
  return rhos


def _sampler(job: job_lib.Job) -> str:
  return job.store.recipe['sampler']


def _limits(job: job_lib.Job, names: list[str]) -> list[str]:
  limits = [
      'One pool: intervals are over held-out models, and what another pool of'
      ' the same size would have given is not in them.',
      'How many models it takes is read off a power law through a few points.',
  ]
  missing = [name for name in _OUTCOMES.value if name not in names]
  if missing:
    limits.append(
        f'Not compared, because the store or the held-out models lack them:'
        f' {", ".join(missing)} (collect_outcomes --outcomes=logits serves'
        ' every outcome).'
    )
  if _sampler(job) not in _INDEPENDENT:
    limits.append(
        f'Subsets of sampler {_sampler(job)!r} do not tell how linear outcomes'
        ' are; fixed_size and bernoulli do.'
    )
  return limits


def _pools(
    job: job_lib.Job, outcome: str, targets: np.ndarray, limits: list[str]
) -> dict[str, scores_lib.Score]:
  """This pool and others, all with as many models, by folder."""
  if not _WORKDIRS.value:
    return {}
  jobs = {job.workdir: job}
  jobs |= {path: job_lib.Job(path, seed=job.seed) for path in _WORKDIRS.value}
  count = min(len(other.rows()) for other in jobs.values())
  own = job.store.recipe['fingerprint']
  found = {}
  for path, other in jobs.items():
    if other.store.recipe['fingerprint'] != own:
      raise ValueError(
          f'--pool_design_workdirs: {path} is a pool of another dataset'
      )
    heldout = _heldout(other)
    rows = other.rows()[:count]
    masks = other.masks(rows)
    values = other.outcomes(outcome, rows=rows)[:, targets]
    found[path] = scores_lib.compare_outcomes(
        masks,
        {outcome: values},
        heldout[0],
        {outcome: heldout[1](outcome)[:, :, targets]},
        regressor=_REGRESSORS.value[0],
        seed=job.seed,
    )[0]
  limits.append(
      f'Pools of other alphas are compared with {count} models each, each on'
      ' held-out models of its own alpha: an LDS says how well a pool predicts'
      ' its own kind of subset, not which alpha serves an application best.'
  )
  return dict(sorted(found.items(), key=lambda pair: pair[1].alpha))


def _score_text(row: scores_lib.Score) -> str:
  low, high = row.lds_interval
  share = row.linear_share
  text = f'LDS {row.lds:.3f} [{low:.3f}, {high:.3f}]'
  if np.isfinite(row.noise_ceiling):
    text += f' of {row.noise_ceiling:.3f}'
  text += f', R2 {row.r2:.3f}'
  if share is not None:
    text += f' of {share.value:.3f}'
  return text


def _table(design: lib.PoolDesign, pools) -> dict[str, Any]:
  curve, law = design.curve, design.recommendation
  table: dict[str, Any] = {
      'outcome': design.outcome,
      'targets': len(design.target_ids),
      'held-out models': curve.num_heldout,
  }
  for row, name in enumerate(curve.regressors):
    for column, size in enumerate(curve.num_models):
      low, high = curve.lds_interval[:, row, column]
      table[f'{name}, {size} models'] = (
          f'LDS {curve.lds[row, column]:.3f} [{low:.3f}, {high:.3f}], R2'
          f' {curve.r2[row, column]:.3f}'
      )
  if design.linear_share is not None:
    low, high = design.linear_share.interval
    table['best linear datamodels, from the pool'] = (
        f'R2 {design.linear_share.value:.3f} [{low:.3f}, {high:.3f}]'
    )
  if design.stability is not None:
    low, high = design.stability.bounds_interval
    table['  from pairs of models'] = (
        f'R2 {design.stability.degrees[0]:.3f}, bounds [{low:.3f}, {high:.3f}]'
    )
    table['models retrained'] = design.num_retrained
  table[f'models for {100 * law.share:.0f} % of {_limit(design)}'] = _models(
      design
  )
  for row in design.outcomes:
    normal = row.normality
    table[row.outcome] = (
        f'{_score_text(row)}; residuals: W {normal.shapiro:.3f}, skewness'
        f' {normal.skewness:.2f}, excess kurtosis {normal.kurtosis:.2f}'
    )
  for row in pools.values():
    table[f'alpha {row.alpha:.2g}'] = _score_text(row)
  return table


def _limit(design: lib.PoolDesign) -> str:
  """What shares are of: measured, or, where the curve is above it, fitted."""
  if design.recommendation.limit_given:
    return 'that'
  return f'the limit of the fitted curve, R2 {design.recommendation.limit:.3f},'


def _models(design: lib.PoolDesign) -> str:
  law = design.recommendation
  if not np.isfinite(law.num_models):
    return 'the curve does not say'
  low, high = design.num_models_interval
  text = f'about {law.num_models:,.0f}'
  if np.isfinite([low, high]).all():
    text += f' [{low:,.0f}, {high:,.0f}]'
  return text + (', extrapolated' if law.extrapolated else '')


def _lead(design: lib.PoolDesign) -> str:
  curve, law = design.curve, design.recommendation
  best = max(design.outcomes, key=lambda row: row.normality.shapiro)
  text = (
      f'Datamodels of the {canvas.words(design.outcome)} were fitted to'
      f' {curve.num_models[0]:,} to {curve.num_models[-1]:,} models and scored'
      f' on {curve.num_heldout} models that no fit has seen. With all of them'
      f' {curve.regressors[0]} reaches an LDS of {curve.lds[0, -1]:.3f} and'
      f' explains {100 * curve.r2[0, -1]:.1f} % of the variance of single'
      ' trainings.'
  )
  if design.linear_share is not None:
    text += (
        ' The best linear datamodels could explain'
        f' {100 * design.linear_share.value:.1f} %, measured on pairs of models'
        f' without a fit. {100 * law.reached:.0f} % of {_limit(design)} is'
        f' reached, and {100 * law.share:.0f} % would take {_models(design)}'
        ' models.'
    )
  if len(design.outcomes) > 1:
    text += (
        ' Residuals are nearest normal for the'
        f' {canvas.words(best.outcome)} (Shapiro and Wilk’s W'
        f' {best.normality.shapiro:.3f}).'
    )
  return text
