"""The rows of `compare_attributors`: each method, its options and its cost.

A method is a function of a `Budget` that returns candidates: scores `[num_train,
num_targets]` and the options that made them. Which candidate is taken, the
validation models of the budget say; held-out models are read by nobody here.

To add one (such as another regressor): write a function below and a line in
`METHODS`.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from experiments import priors
from experiments.attributors import cases
from jdm import attributors
from jdm import metrics
from jdm import regressors
from jdm.attributors import empirical_influence
from jdm.attributors import influence
from jdm.attributors import knn
from jdm.attributors import metagradient
from jdm.attributors import representation
from jdm.attributors import scores as scores_lib
from jdm.attributors import tracin
from jdm.attributors import trak
from jdm.regressors import informed as informed_lib

NUM_TOP = 10


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
  """Scores with one set of options.

  Attributes:
    values: `[num_train, num_targets]`, positive = helpful.
    options: by name.
    gradients: see `attributors.Scores`.
    num_models: models read or fitted to, validation aside.
    overlap: of the most helpful examples by two halves of the models; NaN if
      there are no halves.
    cpu_seconds: of what was computed for another budget and serves this one.
  """

  values: np.ndarray
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  gradients: int = 0
  num_models: int = 0
  overlap: float = float('nan')
  cpu_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Method:
  """A row of the table.

  Attributes:
    find: from a budget to candidates.
    reads_models: whether it reads models, and gets the small budgets.
    applies: whether a setting has what it needs.
    is_chosen: whether anything is chosen among candidates or budgets.
    has_val: whether validation models of their own choose, and count.
    only_largest: leaves out smaller budgets.
  """

  find: Callable[[cases.Budget], Sequence[Candidate]]
  reads_models: bool = True
  applies: Callable[[cases.Setting], bool] = lambda setting: True
  is_chosen: bool = True
  has_val: bool = True
  only_largest: bool = False


def choose(budget: cases.Budget, found: Sequence[Candidate]) -> Candidate:
  """The candidate with the highest LDS on the validation models.

  Train targets are scored on those that did not train on them, where there are
  three.
  """
  if len(found) == 1:
    return found[0]
  masks = budget.masks[-budget.num_val :]
  outcomes = budget.outcomes[-budget.num_val :]
  some, where = slice(None), budget.case.counted(masks)
  if where is not None:
    some = where.sum(axis=0) >= 3
    if not some.any():
      return found[0]
    where = where[:, some]
  masks = masks.astype(np.float32)
  marks = [
      np.nan_to_num(
          metrics.spearman(
              masks @ one.values[:, some], outcomes[:, some], where=where
          )
      ).mean()
      for one in found
  ]
  return found[int(np.argmax(marks))]


def overlap_of_halves(method: Method, budget: cases.Budget) -> float:
  """Share of the most helpful examples that fits to both halves agree on."""
  first, second = (
      choose(half, method.find(half)).values for half in budget.halves()
  )
  num_top = min(NUM_TOP, len(first))
  return float(metrics.top_overlap(first, second, num_top).mean())


def _in_halves(
    trained: attributors.Trained,
    score: Callable[[attributors.Trained], Sequence[scores_lib.Scores]],
) -> list[Candidate]:
  """Candidates as means of both halves of the models, which tell of noise."""
  middle = trained.num_models // 2
  if not middle:
    halves = [score(trained)]
    weights = [1.0]
  else:
    halves = [
        score(trained.take(slice(0, middle))),
        score(trained.take(slice(middle, None))),
    ]
    weights = [middle / trained.num_models, 1 - middle / trained.num_models]
  result = []
  for parts in zip(*halves):
    values = sum(w * part.values for w, part in zip(weights, parts))
    overlap = float('nan')
    if len(parts) == 2:
      num_top = min(NUM_TOP, trained.num_train)
      found = metrics.top_overlap(parts[0].values, parts[1].values, num_top)
      overlap = float(found.mean())
    result.append(
        Candidate(
            values=np.asarray(values),
            options=parts[0].options,
            gradients=sum(part.gradients for part in parts),
            num_models=trained.num_models,
            overlap=overlap,
        )
    )
  return result


def _of_test_targets(setting: cases.Setting) -> bool:
  return setting.targets == 'test'


def _difference_of_means(budget: cases.Budget) -> list[Candidate]:
  """Of train targets, over the models that did not train on them."""
  own_ids = budget.case.own_ids
  if own_ids is None:
    return list(_regressor('difference_of_means').find(budget))
  found = empirical_influence.scores(
      budget.masks, budget.outcomes, own_ids=own_ids
  )
  num_models = budget.num_models - budget.num_val  # As other regressors.
  return [Candidate(values=found.values, num_models=num_models)]


def _regressor(
    name: str,
    *,
    num_folds: int = 0,
    applies: Callable[[cases.Setting], bool] = _of_test_targets,
    only_largest: bool = False,
    **options: Any,
) -> Method:
  """A regressor that chooses by validation models or, with folds, by all."""

  def find(budget):
    num_val = 0 if num_folds else budget.num_val
    split = {'num_folds': num_folds} if num_folds else {'num_val': num_val}
    own = {}
    if budget.case.own_ids is not None:
      own = {'own_ids': budget.case.own_ids}
    fitted = regressors.get(name)(
        budget.masks, budget.outcomes, **split, **own, **options
    )
    return [
        Candidate(
            values=np.asarray(fitted.weights),
            options={**options, **split} if num_folds else options,
            num_models=budget.num_models - num_val,
        )
    ]

  return Method(
      find,
      reads_models=False,
      applies=applies,
      has_val=not num_folds,
      only_largest=only_largest,
  )


def _influence(budget: cases.Budget) -> list[Candidate]:
  return _in_halves(
      budget.trained,
      lambda some: influence.path(some, dampings=priors.DAMPINGS),
  )


def _influence_logits(budget: cases.Budget) -> list[Candidate]:
  return _in_halves(
      budget.trained,
      lambda some: influence.path(
          some, dampings=priors.EXACT_DAMPINGS, curvature='logits'
      ),
  )


def _influence_all(budget: cases.Budget) -> list[Candidate]:
  return _in_halves(
      budget.trained,
      lambda some: influence.path(
          some, dampings=priors.DAMPINGS, own_subset=False
      ),
  )


def _trak(curvature: str) -> Callable[[cases.Budget], list[Candidate]]:
  def find(budget):
    found = []
    for own_subset in (True, False):
      found += _in_halves(
          budget.trained,
          lambda some, own=own_subset: trak.path(
              some,
              dampings=priors.DAMPINGS,
              curvature=curvature,
              own_subset=own,
          ),
      )
    return found

  return find


def _tracin(budget: cases.Budget) -> list[Candidate]:
  return _in_halves(
      budget.with_checkpoints,
      lambda some: [
          tracin.scores(some, only_trained=only) for only in (False, True)
      ],
  )


def _metagradient(budget: cases.Budget) -> list[Candidate]:
  some = budget.trained.take(slice(0, budget.case.setting.metagradients))
  return _in_halves(some, lambda part: [metagradient.scores(part)])


def _representation(budget: cases.Budget) -> list[Candidate]:
  return _in_halves(
      budget.trained,
      lambda some: [
          representation.scores(some, similarity=similarity)
          for similarity in representation.SIMILARITIES
      ],
  )


def _input(budget: cases.Budget) -> list[Candidate]:
  one = budget.trained.take(slice(0, 1))
  found = representation.scores(one, layer='input')
  return [Candidate(values=found.values, options=found.options)]


def _knn(budget: cases.Budget) -> list[Candidate]:
  trained = budget.trained
  data = (
      trained.inputs,
      trained.labels,
      trained.target_inputs,
      trained.target_labels,
  )
  result = []
  for num in (1, 5, 20, 50):
    found = knn.scores(*data, num_neighbours=num)
    result.append(Candidate(values=found.values, options=found.options))
  return result


def informed(budget: cases.Budget) -> list[Candidate]:
  """A regression that starts from influence; all models fit, score and count.

  Whatever is chosen is chosen by cross-validation, where a fold is scored by
  influence in which its models have no part.
  """
  models = budget.read_by_priors
  num_folds = min(priors.NUM_FOLDS, budget.num_models // 2)
  prior, seconds = budget.case.shared(
      ('influence', budget.first, models.num_models, num_folds),
      lambda: priors.cross_fitted('influence', models, num_folds),
  )
  fitted = informed_lib.fit(
      budget.masks,
      budget.outcomes,
      prior.scores,
      num_folds=num_folds,
      own_ids=budget.case.own_ids,
  )
  return [
      Candidate(
          values=np.asarray(fitted.weights),
          options={'num_prior': models.num_models, 'num_folds': num_folds},
          gradients=prior.gradients,
          num_models=budget.num_models,
          cpu_seconds=seconds,
      )
  ]


def _has_epochs(setting: cases.Setting) -> bool:
  return bool(setting.epochs)


def _has_dense_layers(setting: cases.Setting) -> bool:
  return setting.recipe['model'] in ('linear', 'mlp')


def _has_features(setting: cases.Setting) -> bool:
  return setting.recipe['model'] != 'linear'


METHODS: dict[str, Method] = {
    'lasso': _regressor('lasso', applies=lambda s: True, tol=1e-3),
    # With the folds of informed regressions.
    'lasso_folds': _regressor(
        'lasso',
        num_folds=priors.NUM_FOLDS,
        applies=lambda s: s.lasso_folds,
        only_largest=True,
        tol=1e-3,
    ),
    'ridge': _regressor('ridge'),
    'difference_of_means': Method(_difference_of_means, reads_models=False),
    'informed': Method(informed, reads_models=False, has_val=False),
    'influence': Method(_influence),
    'influence_logits': Method(
        _influence_logits, applies=lambda s: s.recipe['model'] == 'linear'
    ),
    'influence_all_data': Method(_influence_all, applies=_has_dense_layers),
    'trak': Method(_trak('identity')),
    'trak_gauss_newton': Method(_trak('margin')),
    'tracin': Method(_tracin, applies=_has_epochs),
    'metagradient': Method(
        _metagradient,
        applies=lambda s: bool(s.metagradients),
        is_chosen=False,
    ),
    'representation': Method(_representation, applies=_has_features),
    'input_similarity': Method(_input, is_chosen=False),
    'knn': Method(_knn),
}
