"""What if these training examples had been others? Predicted, and retrained.

For each target, the k training examples with the highest weights (most
helpful), the lowest (most harmful), random ones, or the first of any other
ranking are removed from a training set, added to it or relabelled, and the
model is trained again. The prediction is always by the datamodels' weights:
minus the sum of what is removed or relabelled, plus the sum of what is added.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm.analysis import interventions

KINDS = ('helpful', 'harmful', 'random')
SAME_CLASS = 'same_class'
_WHO = 'counterfactuals'


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Counterfactuals:
  """Predicted and observed effects of changing training sets.

  Attributes:
    target_ids: `[num_targets]`, columns of the datamodels.
    sizes: `[num_sizes]`, how many examples were removed (added, relabelled).
    kinds: names of the rules that chose them.
    removed: `[kinds, num_targets, max size]`, train rows in order of removal
      (addition, relabelling); -1 where a rule has no more to choose from.
    predicted: `[kinds, num_sizes, num_targets]`, predicted change of the
      outcome, in outcome units; negative where removal hurts. NaN where a rule
      found too few examples or the subset could not be trained on.
    observed: same shape, mean change over retrainings; None if only predicted.
    interval: `[2, ...]`, 95 % interval of `observed` (Student's t over the
      retrainings with and without); None with fewer than two.
    control: `[num_targets]`, mean outcome of training on the unchanged set; or
      None.
    agreement: by kind, and over all as 'all'; empty if only predicted.
    replicates: retrainings of each counterfactual.
    num_retrained: models trained in all, controls included.
    action: 'remove', 'add' or 'relabel'.
    base: what was changed: 'full' (the training set) or 'subset' of it.
    num_skipped: counterfactuals left out: NaN in `predicted`.
  """

  target_ids: np.ndarray
  sizes: np.ndarray
  kinds: tuple[str, ...]
  removed: np.ndarray
  predicted: np.ndarray
  observed: np.ndarray | None = None
  interval: np.ndarray | None = None
  control: np.ndarray | None = None
  agreement: dict[str, effects.Agreement] = dataclasses.field(
      default_factory=dict
  )
  replicates: int = 0
  num_retrained: int = 0
  action: str = 'remove'
  base: str = 'full'
  num_skipped: int = 0

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values, without the rows."""
    values = effects.to_json(dataclasses.replace(self, removed=np.zeros(0)))
    del values['removed']
    return values


def counterfactuals(
    datamodels: datamodels_lib.Datamodels,
    *,
    sizes: Sequence[int],
    target_ids: Sequence[int] | np.ndarray | None = None,
    kinds: Sequence[str] = KINDS,
    scores: Mapping[str, np.ndarray] | None = None,
    action: str = 'remove',
    bases: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    target_labels: np.ndarray | None = None,
    new_labels: np.ndarray | None = None,
    batch_size: int = 1,
    skip_untrainable: bool = False,
    retrain: effects.Retrain | None = None,
    replicates: int = 4,
    control_replicates: int = 20,
    seed: int = 0,
) -> Counterfactuals:
  """Changes the training set of each target; predicts and retrains.

  Args:
    datamodels: fitted at some alpha; removing from the full set extrapolates
      in size, so look at the slope and not only at the ranks.
    sizes: how many examples to change, each in `[1, num_train)`.
    target_ids: columns of the datamodels; all by default.
    kinds: which rules choose the examples, of `KINDS` and 'same_class' (random
      ones of the target's class).
    scores: further rules by name, `[num_train, num_targets of the datamodels]`
      each: the examples of the highest score. They choose; they do not predict.
    action: 'remove', 'add' (from outside a base) or 'relabel'. For 'relabel'
      the prediction is that an example loses its own weight: a datamodel knows
      nothing of other labels, so the effect is expected to be larger.
    bases: bool `[num_targets, num_train]`, the set that is changed for each of
      `target_ids`; the full set by default. Random subsets at the datamodels'
      alpha (`interventions.random_bases`) make the on-distribution check.
    labels: int `[num_train]`. With them, a subset that leaves a class empty is
      refused; 'same_class' and 'relabel' need them.
    target_labels: int `[num_targets of the datamodels]`, for 'same_class'.
    new_labels: int, same shape, for 'relabel', such as
      `interventions.likely_wrong_class`; examples that have the label already
      are not chosen.
    batch_size: a subset of fewer examples is refused.
    skip_untrainable: leaves refused subsets, and rules with too few examples to
      choose from, out as NaN and counts them.
    retrain: see `effects.Retrain`, for instance `collection.retrainer(store)`;
      None predicts only.
    replicates: retrainings of each counterfactual; at least two for intervals.
    control_replicates: trainings on each unchanged set.
    seed: of the random choices.

  Returns:
    The effects. A diverged retraining is left out of its mean.

  Raises:
    ValueError: on sizes, targets, kinds or shapes out of range, on subsets that
      cannot be trained on, or if `retrain` returns another shape.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, §3.
  """
  problem = _problem(
      datamodels,
      target_ids,
      action=action,
      bases=bases,
      labels=labels,
      target_labels=target_labels,
      new_labels=new_labels,
  )
  most = datamodels.num_train - 1
  counts = interventions.check_sizes(_WHO, sizes, most)
  effects.check_replicates(
      _WHO, replicates=replicates, control_replicates=control_replicates
  )
  removed, names = _rankings(problem, kinds, scores, int(counts.max()), seed)
  predicted = np.stack(
      [interventions.sums(problem.weights, rows, counts) for rows in removed]
  )
  predicted *= 1 if action == 'add' else -1
  trials, kept = _trials(problem, removed, counts, predicted)
  fits = interventions.trainable(trials, batch_size=batch_size, labels=labels)
  if not skip_untrainable:
    _refuse_short(names, kept, counts, problem)
    interventions.check_trainable(
        _WHO, trials, batch_size=batch_size, labels=labels
    )
  trials, kept = trials.take(fits), kept[:, fits]
  done = np.zeros(predicted.shape, bool)
  done[tuple(kept)] = True
  result = Counterfactuals(
      target_ids=problem.ids,
      sizes=counts,
      kinds=names,
      removed=removed,
      predicted=np.where(done, predicted, np.nan),
      action=action,
      base='full' if bases is None else 'subset',
      num_skipped=int(np.sum(~done)),
  )
  if retrain is None:
    return result
  control, num_controls = _control(problem, bases, retrain, control_replicates)
  outcomes = interventions.own_outcomes(
      _WHO, retrain, trials, replicates, problem.num_targets
  )
  own = np.full((replicates, *predicted.shape), np.nan)
  own[(slice(None), *kept)] = outcomes
  return dataclasses.replace(
      result,
      observed=effects.change(own, control),
      interval=effects.interval(own, control),
      control=effects.mean(control),
      agreement=_agreements(names, result.predicted, own, control),
      replicates=replicates,
      num_retrained=len(trials) * replicates + num_controls,
  )


def default_sizes(num_train: int) -> list[int]:
  """Sizes that double from 5 up to a fifth of the training set."""
  sizes = [5 * 2**power for power in range(20) if 25 * 2**power <= num_train]
  return sizes or [1]


def random_targets(num_targets: int, count: int, seed: int = 0) -> np.ndarray:
  """Chooses up to `count` targets at random, ascending."""
  rng = np.random.default_rng(seed)
  return np.sort(rng.permutation(num_targets)[:count])


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
  """Checked arguments; arrays have the columns of the chosen targets."""

  ids: np.ndarray
  weights: np.ndarray  # [num_train, len(ids)]
  action: str
  bases: np.ndarray  # [len(ids), num_train]
  labels: np.ndarray | None  # [num_train]
  target_labels: np.ndarray | None
  new_labels: np.ndarray | None
  num_targets: int  # Of the datamodels.

  def candidates(self) -> np.ndarray:
    """Rows that may be changed, bool `[num_train, len(ids)]`."""
    if self.action == 'add':
      return ~self.bases.T
    if self.action == 'remove':
      return self.bases.T
    assert self.labels is not None and self.new_labels is not None
    return self.bases.T & (self.labels[:, None] != self.new_labels[None])


def _problem(datamodels, target_ids, *, action, bases, **labels) -> _Problem:
  num_train, num_targets = datamodels.num_train, datamodels.num_targets
  ids = np.arange(num_targets) if target_ids is None else target_ids
  ids = interventions.check_ids(_WHO, 'target_ids', ids, num_targets)
  interventions.check_higher_is_better(_WHO, datamodels.outcome)
  if action not in interventions.ACTIONS:
    raise ValueError(
        f'`{_WHO}` knows the actions {interventions.ACTIONS}, got {action!r}'
    )
  shapes = {
      'labels': num_train,
      'target_labels': num_targets,
      'new_labels': num_targets,
  }
  for name, length in shapes.items():
    if labels[name] is not None and np.shape(labels[name]) != (length,):
      raise ValueError(
          f'`{_WHO}` expects {name} of shape [{length}], got'
          f' {list(np.shape(labels[name]))}'
      )
  if action == 'relabel':
    for name in ('labels', 'new_labels'):
      if labels[name] is None:
        raise ValueError(f"`{_WHO}` needs {name} for the action 'relabel'")
  if bases is None:
    if action == 'add':
      raise ValueError(
          f"`{_WHO}` needs bases to add to for the action 'add', such as"
          ' `interventions.random_bases(...)`: the full set misses nothing'
      )
    bases = np.ones((len(ids), num_train), bool)
  bases = np.asarray(bases)
  if bases.dtype != np.bool_ or bases.shape != (len(ids), num_train):
    raise ValueError(
        f'`{_WHO}` expects bases as bool [{len(ids)}, {num_train}], one subset'
        f' a target, got {bases.dtype} {list(bases.shape)}'
    )
  own = {
      name: None if value is None else np.asarray(value)[chosen]
      for name, value, chosen in (
          ('labels', labels['labels'], slice(None)),
          ('target_labels', labels['target_labels'], ids),
          ('new_labels', labels['new_labels'], ids),
      )
  }
  return _Problem(
      ids=ids,
      weights=np.asarray(datamodels.weights)[:, ids],
      action=action,
      bases=bases,
      num_targets=num_targets,
      **own,
  )


def _rankings(
    problem: _Problem, kinds, scores, count: int, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Rows in order of change, `[kinds, num_targets, count]`, and the names."""
  scores = dict(scores or {})
  known = (*KINDS, SAME_CLASS)
  if set(kinds) - set(known) or not (kinds or scores):
    raise ValueError(f'`{_WHO}` knows the kinds {known}, got {list(kinds)}')
  names = (*kinds, *scores)
  if len(set(names)) < len(names):
    raise ValueError(f'`{_WHO}` expects each kind once, got {list(names)}')
  shape = (len(problem.weights), problem.num_targets)
  for name, values in scores.items():
    if np.shape(values) != shape or not np.isfinite(values).all():
      raise ValueError(
          f'`{_WHO}` expects finite scores of shape [num_train, num_targets] ='
          f' {list(shape)}, got {list(np.shape(values))} for {name!r}'
      )
  candidates = problem.candidates()
  rows = []
  for kind in kinds:
    if kind == SAME_CLASS:
      if problem.labels is None or problem.target_labels is None:
        raise ValueError(
            f'`{_WHO}` needs labels and target_labels for {SAME_CLASS!r}'
        )
      same = problem.labels[:, None] == problem.target_labels[None]
      rows.append(interventions.shuffle(candidates & same, count, seed))
    elif kind == 'random':
      rows.append(interventions.shuffle(candidates, count, seed))
    else:
      sign = 1 if kind == 'helpful' else -1
      rows.append(interventions.rank(sign * problem.weights, candidates, count))
  for values in scores.values():
    own = np.asarray(values)[:, problem.ids]
    rows.append(interventions.rank(own, candidates, count))
  return np.stack(rows), names


def _trials(
    problem: _Problem, removed, sizes, predicted
) -> tuple[interventions.Trials, np.ndarray]:
  """Trials where there are examples enough, and their places `[3, num]`."""
  kept = np.stack(np.nonzero(np.isfinite(predicted)))
  kind, number, target = kept
  new_labels = problem.new_labels
  trials = interventions.make_trials(
      problem.action,
      removed[kind, target],
      sizes[number],
      bases=problem.bases[target],
      targets=problem.ids[target],
      new_labels=None if new_labels is None else new_labels[target],
  )
  return trials, kept


def _refuse_short(names, kept, sizes, problem: _Problem) -> None:
  """Raises ValueError if a rule has too few examples to choose from."""
  done = np.zeros((len(names), len(sizes), len(problem.ids)), bool)
  done[tuple(kept)] = True
  short = np.argwhere(~done)
  if short.size:
    kind, number, target = short[0]
    raise ValueError(
        f'`{_WHO}`: the kind {names[kind]!r} has fewer than {sizes[number]}'
        f' examples to {problem.action} for target {problem.ids[target]};'
        ' choose smaller sizes, or pass skip_untrainable=True to leave such out'
    )


def _control(
    problem: _Problem, bases, retrain, replicates
) -> tuple[np.ndarray, int]:
  """Outcomes of unchanged sets, `[replicates, num_targets]`, and trainings."""
  if bases is not None:
    trials = interventions.Trials(masks=problem.bases, targets=problem.ids)
    own = interventions.own_outcomes(
        _WHO, retrain, trials, replicates, problem.num_targets
    )
    return own, own.size
  everything = np.ones((1, len(problem.weights)), bool)
  outcomes = effects.retrained(
      _WHO, retrain, everything, replicates, problem.num_targets
  )
  return outcomes[:, 0, problem.ids], replicates


def _agreements(kinds, predicted, own, control) -> dict[str, effects.Agreement]:
  observed = effects.change(own, control)
  ceilings = np.full(len(kinds) + 1, np.nan)
  parts = effects.halves(own, control)
  if parts is not None:
    for number in range(len(kinds)):
      ceilings[number] = effects.split_half_ceiling(
          parts[0][number], parts[1][number]
      )
    ceilings[-1] = effects.split_half_ceiling(*parts)
  result = {
      kind: effects.agreement(
          predicted[number], observed[number], ceilings[number]
      )
      for number, kind in enumerate(kinds)
  }
  result['all'] = effects.agreement(predicted, observed, float(ceilings[-1]))
  return result
