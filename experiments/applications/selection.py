"""Selection: the training subset that some targets would choose, retrained."""

import os
from typing import Any

from absl import flags
import numpy as np

from experiments.applications import job as job_lib
from experiments.applications import ranked
from jdm.analysis import likeness
from jdm.applications import selection as lib
from jdm.reports import canvas
from jdm.reports import selection_plots
from jdm.reports import uncertainty_plots

_TARGETS = flags.DEFINE_list(
    'selection_targets',
    ['hardest', 'all'],
    'Target distributions: all; class:K; hardest, the class of lowest mean'
    ' outcome in the pool; or files (.npy, or text) of test rows.',
)
_MIN_PER_CLASS = flags.DEFINE_integer(
    'selection_min_per_class', 5, 'Of each class, whatever the rule prefers.'
)
_REPLICATES, _NUM_RANDOM = 10, 10
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)


def num_trainings(job: job_lib.Job) -> int:
  """Retrainings at most: two rules and two kinds of random picks."""
  replicates = job.replicates or _REPLICATES
  each = (2 * replicates + 2 * _NUM_RANDOM) * len(_sizes(job)) + replicates
  return len(_TARGETS.value) * each + (job.store.recipe['model'] != 'linear')


def run(job: job_lib.Job) -> job_lib.Findings:
  """Picks for each target distribution, and retrains."""
  fitted, dataset = job.datamodels(), job.dataset
  if not _TARGETS.value:
    raise ValueError('--selection_targets names at least one distribution')
  limits = [
      'Datamodels are of random subsets: that their best ones make the best'
      ' subset is what is tested, not what is known.',
      'Every pick is trained for the same number of epochs, so larger ones are'
      ' trained for more steps.',
  ]
  options: dict[str, Any] = {}
  if dataset.num_classes:
    options = {
        'train_labels': dataset.train.labels,
        'target_labels': dataset.test.labels,
        'num_classes': dataset.num_classes,
        'min_per_class': _MIN_PER_CLASS.value,
    }
  features = job.features()
  nearest = likeness.cosine(features['train'], features['test'])
  chosen = {name: _targets(job, name) for name in _TARGETS.value}
  retrain = job.retrain(fitted.outcome)
  found = {
      title: lib.selection(
          fitted,
          ids,
          sizes=_sizes(job),
          scores={'nearest representation': nearest},
          retrain=retrain,
          replicates=job.replicates or _REPLICATES,
          num_random=_NUM_RANDOM,
          batch_size=job.pool.trainer.min_subset_size,
          seed=job.seed,
          **options,
      )
      for title, ids in chosen.values()
  }
  sure, pictures = _uncertainty(job, found, limits)
  return job_lib.Findings(
      result={
          'outcome': fitted.outcome,
          'distributions': {n: one.to_json() for n, one in found.items()},
      },
      table=_table(found) | sure,
      lead=_lead(found),
      figures=_figures(job, found, fitted.outcome) | pictures,
      limits=limits,
  )


def _uncertainty(
    job: job_lib.Job, found: dict[str, lib.Selection], limits: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Says how sure the mean weights are by which examples are picked."""
  fitted = job.datamodels()

  def mean_weights(weights: np.ndarray) -> np.ndarray:
    columns = [
        weights[:, one.choice_ids].mean(axis=1) for one in found.values()
    ]
    return np.stack(columns, axis=1)

  drawn = job.uncertainty(fitted, limits, statistic=mean_weights)
  if drawn is None:
    return {}, {}
  label = f'mean weight ({canvas.units(fitted.outcome)}, higher helps)'
  table, figures = {}, {}
  for column, title in enumerate(found):
    table[f'{title}: mean weight'] = ranked.noise(drawn, column)
    figures[f'{_caption(title)} mean weights'] = uncertainty_plots.top_weights(
        drawn, column, outcome=fitted.outcome, label=label
    )
  return table, figures


def _caption(title: str) -> str:
  return title.replace('/', ' ').replace('.', ' ')


def _sizes(job: job_lib.Job) -> list[int]:
  if job.sizes:
    return job.sizes
  # Nothing is learnt from less than two batches.
  least = 2 * job.pool.trainer.min_subset_size
  num_train = job.store.num_train
  sizes = {max(round(share * num_train), least) for share in _SHARES}
  return sorted(size for size in sizes if size <= num_train)


def _targets(job: job_lib.Job, name: str) -> tuple[str, np.ndarray]:
  """Title and columns of a target distribution."""
  labels, num_classes = job.dataset.test.labels, job.dataset.num_classes
  num_targets = len(labels)
  if name == 'all' or (name == 'hardest' and not num_classes):
    return 'all', np.arange(num_targets)
  kind, _, number = name.partition(':')
  if name == 'hardest':
    outcomes = job.outcomes(job.datamodels().outcome).mean(axis=0)
    present = np.unique(labels)
    means = [outcomes[labels == label].mean() for label in present]
    kind, number = 'class', str(present[int(np.argmin(means))])
  if kind == 'class' and number.isdigit() and num_classes:
    ids = np.flatnonzero(labels == int(number))
    if len(ids) < 2:
      raise ValueError(
          f'--selection_targets: class {number} has {len(ids)} test examples,'
          ' and two are needed'
      )
    return f'class {number}', ids
  if not os.path.exists(name):
    raise ValueError(
        '--selection_targets are all, hardest, class:K (with classes) or'
        f' files of test rows; {name!r} is none of these'
    )
  return os.path.basename(name), read_rows(name)


def read_rows(path: str) -> np.ndarray:
  """Reads row numbers, int `[num]`: `.npy`, or text with one a line.

  Raises:
    ValueError: if the file is not there or holds something else.
  """
  try:
    if path.endswith('.npy'):
      return np.load(path)
    return np.loadtxt(path, dtype=np.int64, ndmin=1)
  except (ValueError, EOFError, OSError) as error:
    raise ValueError(f'{path} holds no list of row numbers: {error}') from error


def _table(found: dict[str, lib.Selection]) -> dict[str, Any]:
  table: dict[str, Any] = {}
  for title, one in found.items():
    curves = one.curves
    assert curves is not None
    table[f'{title}: targets to choose by, to report on'] = (
        f'{len(one.choice_ids)}, {len(one.report_ids)}'
    )
    for measure in curves.measures:
      which = curves.measures.index(measure)
      table[f'{title}: {measure}, all of it'] = one.full[measure]
      base = curves.orders.index(curves.baseline)
      table[f'{title}: {measure}, random'] = curves.area[which, base]
      for number, name in enumerate(curves.orders):
        if name == curves.baseline:
          continue
        low, high = curves.gain_interval[:, which, number]
        table[f'{title}: {measure}, {name} over random'] = (
            f'{curves.gain[which, number]:+.3f} [{low:+.3f}, {high:+.3f}]'
        )
    if one.agreement is not None:
      table[f'{title}: predicted and observed'] = (
          f'Spearman {one.agreement.spearman:.2f}, slope'
          f' {one.agreement.slope:.2f}'
      )
  table['models retrained'] = sum(one.num_retrained for one in found.values())
  return table


def _lead(found: dict[str, lib.Selection]) -> str:
  sizes = next(iter(found.values())).sizes
  return (
      'For a set of test examples, the training examples with the highest mean'
      ' datamodel weight over one half of them are picked, and models are'
      f' trained on these {sizes[0]} to {sizes[-1]} alone; what they make of'
      ' the other half is compared with random picks, random picks of the same'
      ' classes, and the nearest by representation. Numbers are means over the'
      ' sizes and, over random, differences with 95 % intervals over trainings.'
      ' The rest are all other test examples: what the pick costs them.'
  )


def _figures(
    job: job_lib.Job, found: dict[str, lib.Selection], outcome: str
) -> dict[str, Any]:
  figures: dict[str, Any] = {}
  for title, one in found.items():
    words = _caption(title)
    for measure in ('target', 'target accuracy', 'rest'):
      figures[f'{words} {measure}'] = selection_plots.curves(
          one, measure, outcome=outcome, title=title
      )
    figures[f'{words} picks'] = selection_plots.picked_grid(job.dataset, one)
  return figures
