"""How few training examples hold a prediction up: data support, certified.

The support of a target that models get right is the smallest set of training
examples whose removal turns the mean hard margin (correct logit minus the
highest other) negative. Datamodels propose the set: the k examples of highest
weight. Estimates of k, each certified by trainings that had no part in it:

  predicted     first k at which the observed mean margin of full trainings
                minus the sum of the top k weights is below 0
  interpolated  the same after retraining without the top k at a grid of sizes:
                where their mean margins, made monotone, cross 0
  assured       where they are so far below 0 that nine of ten certificates are
                expected to agree, given the noise of training
  mislabel      as interpolated, with the labels of the top k set to the
                target's most likely wrong class instead of removing them

and each of them but `assured` also `_inflated`: more examples, as a margin of
safety.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm.analysis import interventions
from jdm.analysis import support

INFLATED = '_inflated'
share_flipped = support.share_flipped
_WHO = 'brittleness'
_LEAST_CONTROLS = 20  # Trainings that tell whether a target is right.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Brittleness:
  """Data support of the targets that models get right.

  Attributes:
    target_ids: int `[num_right]`, columns of the datamodels.
    num_wrong: targets left out: mean margin on the full set not above 0.
    control: `[num_right]`, mean hard margin of full trainings, in logits.
    removed: int `[num_right, count]`, train rows in order of removal: highest
      weight first, no negative ones; -1 beyond a target's limit.
    relabelled: the same for the mislabel variant, without rows that have the
      wrong label already; None without it.
    grid: int `[num_sizes]`, sizes that were retrained.
    grid_margins: `[num_sizes, num_right]`, their mean margins; NaN beyond a
      target's limit; None if only predicted.
    mislabel_margins: the same with relabelled examples; or None.
    random_margins: `[num_draws, num_sizes, num_right]`, the same for examples
      drawn at random, one draw for all targets; or None.
    estimates: by name, see the module.
    inflation: share of examples added to the inflated estimates.
    replicates: retrainings of each point of the grid.
    certify_replicates: certifying trainings of each estimate.
    num_retrained: models trained in all, without the control.
  """

  target_ids: np.ndarray
  num_wrong: int
  control: np.ndarray
  removed: np.ndarray
  relabelled: np.ndarray | None
  grid: np.ndarray
  grid_margins: np.ndarray | None = None
  mislabel_margins: np.ndarray | None = None
  random_margins: np.ndarray | None = None
  estimates: dict[str, support.Estimate] = dataclasses.field(
      default_factory=dict
  )
  inflation: float = 0.2
  replicates: int = 0
  certify_replicates: int = 0
  num_retrained: int = 0

  def random_share_flipped(self) -> np.ndarray:
    """Share of targets flipped by random removals, `[num_sizes]`; NaN: none."""
    assert self.random_margins is not None
    flipped = np.where(self.random_margins < 0, 1.0, 0.0)
    flipped[~np.isfinite(self.random_margins)] = np.nan
    return effects.mean(np.moveaxis(flipped, 1, 2).reshape(-1, len(self.grid)))

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values; of the rows, the counts."""
    values = effects.to_json(self)
    for name in ('removed', 'relabelled'):
      rows = values.pop(name)
      if rows is not None:
        limits = (getattr(self, name) >= 0).sum(axis=1)
        values[f'{name}_limits'] = limits.tolist()
    if self.random_margins is not None:
      values['random_margins'] = None
      values['random_share_flipped'] = self.random_share_flipped().tolist()
    for key, certified in (
        ('share_flipped', False),
        ('share_flipped_certified', True),
    ):
      values[key] = {
          name: [
              support.share_flipped(estimate, size, certified=certified)
              for size in self.grid
          ]
          for name, estimate in self.estimates.items()
      }
    return values


def brittleness(
    datamodels: datamodels_lib.Datamodels,
    control_margins: np.ndarray,
    *,
    sizes: Sequence[int] | None = None,
    target_ids: Sequence[int] | np.ndarray | None = None,
    retrain: effects.Retrain | None = None,
    certify: effects.Retrain | None = None,
    labels: np.ndarray | None = None,
    wrong_class: np.ndarray | None = None,
    then: np.ndarray | None = None,
    batch_size: int = 1,
    inflation: float = 0.2,
    replicates: int = 10,
    certify_replicates: int = 20,
    num_random: int = 10,
    seed: int = 0,
) -> Brittleness:
  """Estimates how many examples hold each prediction up, and certifies it.

  Args:
    datamodels: of the hard margin (outcome 'margin'). Others may order the
      examples, such as of the soft margin; then there are no `predicted` sizes.
    control_margins: `[replicates, num_targets]`, hard margins of at least 20
      models trained on everything, one column a target of the datamodels; a
      diverged training is NaN.
    sizes: grid of sizes to retrain; by default `support.default_sizes`. The
      largest limits all estimates before inflation.
    target_ids: columns to look at; all by default.
    retrain: trains the grid; None leaves the interpolated estimates out. Its
      outcome must be the hard margin.
    certify: trains the certificates: another function, with other random numbers
      than `retrain` and than the control (`collection.retrainer(..., first_replicate=1000)`);
      None certifies nothing.
    labels: int `[num_train]`; with them a target's limit is where a class would
      be left empty. The mislabel variant needs them.
    wrong_class: int `[num_targets]`, what to relabel to, such as
      `interventions.likely_wrong_class`; None leaves the mislabel variant out.
    then: `[num_train, num_targets]`, such as differences of means: orders the
      examples of weight 0, positive ones only, after those of positive weight;
      None ends the order there.
    batch_size: a target's limit leaves so many examples.
    inflation: share of examples added as a margin of safety.
    replicates: retrainings of each point of the grid, at least 2.
    certify_replicates: certifying trainings of each estimate.
    num_random: draws of random examples, removed for comparison; 0 for none.
      Sizes that would leave a class empty are left out.
    seed: of these.

  Returns:
    The estimates. Targets that models get wrong are left out and counted.

  Raises:
    ValueError: on targets, sizes or shapes out of range, fewer than 20 full
      trainings, or if every target is wrong.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, §3.
  """
  right = _right_targets(
      datamodels, control_margins, target_ids, labels, wrong_class, then
  )
  grid = _checked_grid(sizes, datamodels.num_train, batch_size)
  if inflation < 0:
    raise ValueError(f'`{_WHO}` expects no negative inflation, got {inflation}')
  if retrain is not None:
    effects.check_replicates(_WHO, replicates=replicates)
  if certify is not None and certify is retrain:
    raise ValueError(
        f'`{_WHO}` expects certify to train on other random numbers than'
        ' retrain, got the same function: what chose a size cannot certify it.'
        ' Pass `collection.retrainer(store, ..., first_replicate=1000)`.'
    )
  most = datamodels.num_train - batch_size
  count = int(support.inflated(grid[-1], inflation, most))
  orders = {'remove': _order(right, 'remove', count)}
  if wrong_class is not None:
    orders['relabel'] = _order(right, 'relabel', count)
  grids, chance, trained = {}, None, 0
  if retrain is not None:
    for action, rows in orders.items():
      grids[action] = _on_grid(right, retrain, action, rows, grid, replicates)
      trained += grids[action].num_trained
    if num_random:
      chance = _at_random(right, retrain, grid, replicates, num_random, seed)
      trained += num_random * len(grid) * replicates
  planned = _plan(right, orders, grids, grid, inflation)
  if datamodels.outcome not in ('', 'margin'):
    # Weights in other units do not add up to a hard margin.
    planned = {n: s for n, s in planned.items() if 'predicted' not in n}
  if 'remove' in grids:
    shift = support.safe_shift(
        grids['remove'].variance, replicates, certify_replicates
    )
    planned['assured'] = support.interpolated(
        right.control + shift, grid, grids['remove'].means + shift[None]
    )
  certified, num = _certified(
      right, certify, orders, planned, certify_replicates
  )
  return Brittleness(
      target_ids=right.ids,
      num_wrong=right.num_wrong,
      control=right.control,
      removed=orders['remove'],
      relabelled=orders.get('relabel'),
      grid=grid,
      grid_margins=grids['remove'].means if 'remove' in grids else None,
      mislabel_margins=grids['relabel'].means if 'relabel' in grids else None,
      random_margins=chance,
      estimates=certified,
      inflation=inflation,
      replicates=replicates if retrain is not None else 0,
      certify_replicates=certify_replicates if certify is not None else 0,
      num_retrained=trained + num,
  )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Right:
  """Targets that are right on the full set; arrays have their columns only."""

  ids: np.ndarray
  weights: np.ndarray  # [num_train, num_right]
  control: np.ndarray
  wrong_class: np.ndarray | None
  labels: np.ndarray | None  # [num_train]
  then: np.ndarray | None  # [num_train, num_right]
  num_wrong: int
  num_targets: int  # Of the datamodels.

  @property
  def num_train(self) -> int:
    return len(self.weights)


def _right_targets(
    datamodels, control_margins, target_ids, labels, wrong_class, then
) -> _Right:
  num_targets = datamodels.num_targets
  ids = np.arange(num_targets) if target_ids is None else target_ids
  ids = interventions.check_ids(_WHO, 'target_ids', ids, num_targets)
  interventions.check_higher_is_better(_WHO, datamodels.outcome)
  control = np.asarray(control_margins, np.float64)
  weights = np.asarray(datamodels.weights)
  for name, value, shape in (
      ('control_margins', control, (len(control), num_targets)),
      ('labels', labels, weights.shape[:1]),
      ('wrong_class', wrong_class, weights.shape[1:]),
      ('then', then, weights.shape),
  ):
    if value is not None and np.shape(value) != shape:
      raise ValueError(
          f'`{_WHO}` expects {name} of shape {list(shape)}, got'
          f' {list(np.shape(value))}.'
      )
  if len(control) < _LEAST_CONTROLS:
    raise ValueError(
        f'`{_WHO}` expects at least {_LEAST_CONTROLS} trainings on everything,'
        f' which tell which targets are right, got {len(control)}.'
    )
  if wrong_class is not None and labels is None:
    raise ValueError(f'`{_WHO}` needs labels together with wrong_class.')
  means = effects.mean(control)[ids]
  right = means > 0  # NaN is not.
  if not right.any():
    raise ValueError(
        f'`{_WHO}`: models trained on everything get all {len(ids)} targets'
        ' wrong (mean margin not above 0); choose others.'
    )
  ids = ids[right]
  return _Right(
      ids=ids,
      weights=weights[:, ids],
      then=None if then is None else np.asarray(then)[:, ids],
      control=means[right],
      wrong_class=None if wrong_class is None else np.asarray(wrong_class)[ids],
      labels=None if labels is None else np.asarray(labels),
      num_wrong=int(np.sum(~right)),
      num_targets=num_targets,
  )


def _checked_grid(sizes, num_train: int, batch_size: int) -> np.ndarray:
  grid = np.unique(support.default_sizes(num_train) if sizes is None else sizes)
  most = num_train - batch_size
  if not grid.size or grid[0] < 1 or grid[-1] > most:
    raise ValueError(
        f'`{_WHO}` expects sizes from 1 to {most} ({num_train} training'
        f' examples less a batch), got {np.asarray(sizes).tolist()}.'
    )
  return grid.astype(np.int64)


def _order(right: _Right, action: str, count: int) -> np.ndarray:
  """Rows in order, `[num_right, count]`; ends before a class is empty."""
  candidates = right.weights > 0
  if right.then is not None:
    candidates |= (right.weights == 0) & (right.then > 0)
  if action == 'relabel':
    assert right.labels is not None and right.wrong_class is not None
    candidates &= right.labels[:, None] != right.wrong_class[None]
  rows = interventions.rank(right.weights, candidates, count, then=right.then)
  if right.labels is None:
    return rows
  return interventions.keep_classes(rows, right.labels)


class _Grid(NamedTuple):
  """Margins of retrained sizes."""

  means: np.ndarray  # [num_sizes, num_right]; NaN beyond a target's limit.
  variance: np.ndarray  # [num_right], of one training, mean over sizes.
  num_trained: int


def _on_grid(right, retrain, action, rows, grid, replicates) -> _Grid:
  limits = (rows >= 0).sum(axis=1)
  number, target = np.nonzero(grid[:, None] <= limits[None])
  margins = _trained(
      right, retrain, action, rows, target, grid[number], replicates
  )
  means, variance = np.full((2, len(grid), len(limits)), np.nan)
  means[number, target] = effects.mean(margins)
  variance[number, target] = effects.variance_of_mean(margins) * replicates
  return _Grid(means, effects.mean(variance), margins.size)


def _trained(
    right, retrain, action, rows, target, sizes, replicates
) -> np.ndarray:
  """Margins `[replicates, num_trials]` of targets without their first rows."""
  trials = interventions.make_trials(
      action,
      rows[target],
      sizes,
      bases=np.ones((len(target), right.num_train), bool),
      targets=right.ids[target],
      new_labels=right.wrong_class[target] if action == 'relabel' else None,
  )
  return interventions.own_outcomes(
      _WHO, retrain, trials, replicates, right.num_targets
  )


def _at_random(right, retrain, grid, replicates, num_draws, seed) -> np.ndarray:
  """Mean margins `[num_draws, num_sizes, num_right]`; one draw for all."""
  rng = np.random.default_rng(seed)
  places = np.argsort(rng.random((num_draws, right.num_train)), axis=1)
  masks = places[:, None] >= grid[None, :, None]  # Larger holds smaller.
  masks = masks.reshape(-1, right.num_train)
  trials = interventions.Trials(masks=masks, targets=np.zeros(len(masks), int))
  fits = interventions.trainable(trials, labels=right.labels)
  margins = np.full((len(masks), len(right.ids)), np.nan)
  if fits.any():
    outcomes = effects.retrained(
        _WHO, retrain, masks[fits], replicates, right.num_targets
    )
    margins[fits] = effects.mean(outcomes[:, :, right.ids])
  return margins.reshape(num_draws, len(grid), -1)


def _plan(right, orders, grids, grid, inflation) -> dict[str, np.ndarray]:
  """Sizes `[num_right]` by estimate, 0 where censored."""
  first = support.predicted(
      right.control, right.weights, orders['remove'], grid[-1]
  )
  plain = {'predicted': first}
  for name, action in (('interpolated', 'remove'), ('mislabel', 'relabel')):
    if action in grids:
      plain[name] = support.interpolated(
          right.control, grid, grids[action].means
      )
  planned = {}
  for name, sizes in plain.items():
    rows = orders['relabel' if name == 'mislabel' else 'remove']
    limits = (rows >= 0).sum(axis=1)
    planned[name] = sizes
    planned[name + INFLATED] = support.inflated(sizes, inflation, limits)
  return planned


def _certified(
    right, certify, orders, planned, replicates
) -> tuple[dict[str, support.Estimate], int]:
  """Trains each (action, target, size) once; the estimates share them."""
  margins = {
      name: np.full(len(sizes), np.nan) for name, sizes in planned.items()
  }
  trained = 0
  for action, rows in orders.items() if certify is not None else ():
    names = [
        n for n in planned if n.startswith('mislabel') == (action == 'relabel')
    ]
    wanted = {
        (target, size)
        for name in names
        for target, size in enumerate(planned[name].tolist())
        if size
    }
    target, size = np.array(sorted(wanted), np.int64).reshape(-1, 2).T
    found = _trained(right, certify, action, rows, target, size, replicates)
    trained += found.size
    by_pair = dict(zip(zip(target, size), effects.mean(found)))
    for name in names:
      for place, pair in enumerate(enumerate(planned[name].tolist())):
        margins[name][place] = by_pair.get(pair, np.nan)
  return {
      name: support.certified(sizes, margins[name])
      for name, sizes in planned.items()
  }, trained
