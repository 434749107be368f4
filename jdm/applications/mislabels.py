"""Which training labels are wrong? Scores, their detection, and a retraining.

Every score is `[num_train]`, higher = more suspect. Those of a pool use the
same masks and outcomes as everything else; some only look at models that did
not train on the example, which cannot have learned its label by heart.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm.analysis import influence as influence_lib
from jdm.analysis import suspects

_WHO = 'mislabels'
DATA_OOB = 'data_oob'  # Kwon and Zou's; the default where none was chosen.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Cleaning:
  """What models make of a training set without its suspects, by retraining.

  Attributes:
    num_removed: examples removed, of highest score, or at random.
    accuracy: by what was removed ('nothing', 'suspects', 'random', and
      'mislabels' where they are known): mean outcome over targets and
      retrainings, in outcome units.
    change: by the same but 'nothing', difference from it.
    interval: 95 % of `change`, Student's t over retrainings; None with fewer
      than two.
    replicates: retrainings of each.
    num_retrained: models trained in all.
  """

  num_removed: int
  accuracy: Mapping[str, float]
  change: Mapping[str, float]
  interval: Mapping[str, tuple[float, float] | None]
  replicates: int
  num_retrained: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Mislabels:
  """Training examples by how suspect their labels are.

  Attributes:
    scores: by name, `[num_train]`, higher = more suspect.
    chosen: the score that `order` goes by; chosen elsewhere.
    order: int `[num_train]`, train rows, most suspect first.
    detections: how well each score finds the known mislabels; empty without.
    best: the score of highest AUC here: a choice to report on other data; ''
      without known mislabels.
    bad: int, the known mislabelled rows, or None.
    cleaning: the check by retraining, or None.
  """

  scores: Mapping[str, np.ndarray]
  chosen: str
  order: np.ndarray
  detections: Mapping[str, suspects.Detection]
  best: str
  bad: np.ndarray | None
  cleaning: Cleaning | None

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values, scores to four digits."""
    values = {
        field.name: getattr(self, field.name)
        for field in dataclasses.fields(self)
    }
    values['scores'] = {
        name: [float(f'{value:.4g}') for value in score]
        for name, score in self.scores.items()
    }
    return effects.to_json(values)


def pool_scores(
    masks: np.ndarray,
    *,
    margins: np.ndarray | None = None,
    correctness: np.ndarray | None = None,
    losses: np.ndarray | None = None,
    test_margins: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
  """Scores from a pool's outcomes of its own training examples.

  Args:
    masks: bool `[num_models, num_train]`.
    margins: `[num_models, num_train]`, soft or hard, logits. Gives
      'self_influence' (the margin of models that trained on the example minus
      that of the others: what they had to learn by heart),
      'out_of_bag_margin' (minus the margin of models that did not train on
      it) and 'harm' (minus the sum of its influence on the other training
      examples, by models that did not train on these).
    correctness: same shape, 0 or 1. Gives 'data_oob' (minus the accuracy on the
      example of models that did not train on it) and 'memorization'
      (self-influence on correctness).
    losses: same shape, nats. Gives 'loss' (of models that trained on it) and
      'out_of_bag_loss'.
    test_margins: `[num_models, num_targets]`, of test examples with labels that
      are trusted. Gives 'harm_to_tests', minus the sum of its influence there.

  Returns:
    By name, `[num_train]`, higher = more suspect.

  Raises:
    ValueError: if shapes or dtypes do not fit, or if an example is in all
      models or in none.

  References:
    Kwon and Zou, `Data-OOB <https://arxiv.org/abs/2304.07718>`_, 2023, §3, for
    'data_oob'; Feldman and Zhang, `What neural networks memorize and why
    <https://arxiv.org/abs/2008.03703>`_, 2020, §2.
  """
  scores: dict[str, np.ndarray] = {}
  num_train = np.shape(masks)[-1]
  if margins is not None:
    own = influence_lib.self_influence(masks, margins)
    scores['self_influence'] = own.value
    scores['out_of_bag_margin'] = -own.mean_without
    on_train = influence_lib.influence(
        masks, margins, own_ids=np.arange(num_train)
    )
    scores['harm'] = -_row_sums(on_train.value)
  if correctness is not None:
    own = influence_lib.self_influence(masks, correctness)
    scores[DATA_OOB] = -own.mean_without
    scores['memorization'] = own.value
  if losses is not None:
    own = influence_lib.self_influence(masks, losses)
    scores['loss'] = own.mean_with
    scores['out_of_bag_loss'] = own.mean_without
  if test_margins is not None:
    on_tests = influence_lib.influence(masks, test_margins)
    scores['harm_to_tests'] = -_row_sums(on_tests.value)
  bad = [name for name, score in scores.items() if np.isnan(score).any()]
  if bad:
    raise ValueError(
        '`pool_scores` expects every example in some models and not in others;'
        f' {np.isnan(scores[bad[0]]).sum()} of {num_train} are not, so that'
        f' {bad[0]!r} cannot be told; train more models.'
    )
  return scores


def datamodel_scores(
    datamodels: datamodels_lib.Datamodels,
) -> dict[str, np.ndarray]:
  """Scores from datamodels of the training examples themselves.

  A target's datamodel was fitted to the models that did not train on it.

  Args:
    datamodels: of margins, one target a training example, in their order.

  Returns:
    'predicted_margin', minus the margin that is predicted for an example by a
    model that trained on all others; 'datamodel_harm', minus the sum of its
    weights for all others. `[num_train]`, higher = more suspect.

  Raises:
    ValueError: if the targets are not the training examples.
  """
  weights = np.asarray(datamodels.weights, np.float64)
  if weights.shape[0] != weights.shape[1] or np.diagonal(weights).any():
    raise ValueError(
        '`datamodel_scores` expects datamodels of the training examples, each'
        f' with weight 0 for itself, got weights {list(weights.shape)}; fit'
        ' them with `own_ids` (experiments.fit_datamodels --targets=train).'
    )
  bias = np.asarray(datamodels.bias, np.float64)
  return {
      'predicted_margin': -(bias + weights.sum(axis=0)),
      'datamodel_harm': -weights.sum(axis=1),
  }


def mislabels(
    scores: Mapping[str, np.ndarray],
    *,
    chosen: str = DATA_OOB,
    bad: Sequence[int] | np.ndarray | None = None,
    retrain: effects.Retrain | None = None,
    num_targets: int = 0,
    report_ids: Sequence[int] | np.ndarray | None = None,
    num_removed: int | None = None,
    replicates: int = 10,
    batch_size: int = 1,
    labels: np.ndarray | None = None,
    seed: int = 0,
) -> Mislabels:
  """Ranks training examples by how suspect their labels are, and checks it.

  Args:
    scores: by name, `[num_train]`, finite, higher = more suspect.
    chosen: the score to go by. Choose it before, or on other data.
    bad: int, rows known to be mislabelled; None if nothing is known.
    retrain: see `effects.Retrain`, with test examples as targets, such as of
      correctness; None retrains nothing.
    num_targets: of `retrain`.
    report_ids: int, targets that the accuracy is measured on; all by default.
      Where a score read the outcomes or labels of tests, measure on others.
    num_removed: how many suspects are removed for retraining; by default as
      many as are bad, or a tenth of all.
    replicates: trainings of each set, at least 2.
    batch_size: the fewest examples that can be trained on.
    labels: int `[num_train]`; a removal that leaves a class empty is refused.
    seed: of random removals and resamples.

  Raises:
    ValueError: if scores do not fit, `chosen` is not among them, rows are out
      of range or repeated, or too many are removed.
  """
  suspects.check_scores(_WHO, scores)
  if chosen not in scores:
    raise ValueError(
        f'`{_WHO}` expects chosen among the scores {sorted(scores)}, got'
        f' {chosen!r}.'
    )
  order = suspects.ranking(scores[chosen])
  detections: dict[str, suspects.Detection] = {}
  if bad is not None:
    bad = suspects.check_rows(_WHO, bad, len(order))
    detections = suspects.detect(scores, bad, seed=seed)
  cleaning = None
  if retrain is not None:
    effects.check_replicates(_WHO, replicates=replicates)
    default = len(order) // 10 if bad is None else len(bad)
    removed = _removed(
        order, bad, default if num_removed is None else num_removed, seed
    )
    masks = np.ones((len(removed), len(order)), bool)
    for mask, rows in zip(masks, removed.values()):
      mask[rows] = False
    effects.check_masks_trainable(
        _WHO, masks, batch_size=batch_size, labels=labels
    )
    outcomes = effects.retrained(_WHO, retrain, masks, replicates, num_targets)
    if report_ids is not None:
      ids = suspects.check_rows(_WHO, report_ids, num_targets)
      outcomes = outcomes[:, :, ids]
    cleaning = _cleaning(removed, outcomes)
  return Mislabels(
      scores={name: np.asarray(score) for name, score in scores.items()},
      chosen=chosen,
      order=order,
      detections=detections,
      best=suspects.best(detections) if detections else '',
      bad=bad,
      cleaning=cleaning,
  )


def _row_sums(values: np.ndarray) -> np.ndarray:
  return values.sum(axis=1, dtype=np.float64)


def _removed(order, bad, count: int, seed: int) -> dict[str, np.ndarray]:
  """What is left out, by name: nothing, suspects, as many at random, the bad."""
  num_train = len(order)
  if not 1 <= count < num_train:
    raise ValueError(
        f'`{_WHO}` expects num_removed from 1 to {num_train - 1}, got {count}.'
    )
  chance = suspects.generator(seed).permutation(num_train)[:count]
  removed = {'nothing': order[:0], 'suspects': order[:count], 'random': chance}
  return removed if bad is None else {**removed, 'mislabels': bad}


def _cleaning(removed, outcomes: np.ndarray) -> Cleaning:
  """Accuracies of models trained without what was removed."""
  means = dict(zip(removed, np.moveaxis(outcomes.mean(axis=2), 1, 0)))
  full = means['nothing']
  change, ends = {}, {}
  for name in removed:
    if name != 'nothing':
      change[name] = float(effects.change(means[name], full))
      interval = effects.interval(means[name], full)
      ends[name] = None if interval is None else tuple(map(float, interval))
  return Cleaning(
      num_removed=len(removed['suspects']),
      accuracy={name: float(effects.mean(a)) for name, a in means.items()},
      change=change,
      interval=ends,
      replicates=len(outcomes),
      num_retrained=outcomes.shape[0] * outcomes.shape[1],
  )
