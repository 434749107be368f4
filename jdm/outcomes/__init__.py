"""What is read off a trained model. One file an outcome, one line here.

To add one: write `jdm/outcomes/NAME.py` with a function of
`(logits [num_targets, num_classes], labels [num_targets])` that returns
`[num_targets, ...]`, and list it below.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import jax

from jdm.outcomes import correctness
from jdm.outcomes import log_loss
from jdm.outcomes import logits
from jdm.outcomes import margin
from jdm.outcomes import parameters
from jdm.outcomes import prediction
from jdm.outcomes import soft_margin
from jdm.outcomes import squared_error


@dataclasses.dataclass(frozen=True)
class Outcome:
  """One kind of number read off a trained model.

  Attributes:
    compute: of `(logits, labels)`, or of `(params)` when `of_parameters`.
    task: 'classification', 'regression' or 'any'.
    higher_is_better: True, False, or None where there is no such direction.
    of_parameters: reads the parameters, not the logits of targets.
  """

  compute: Callable[..., jax.Array]
  task: str = 'classification'
  higher_is_better: bool | None = None
  of_parameters: bool = False


OUTCOMES: Mapping[str, Outcome] = {
    'margin': Outcome(margin.margin, higher_is_better=True),
    'soft_margin': Outcome(soft_margin.soft_margin, higher_is_better=True),
    'log_loss': Outcome(log_loss.log_loss, higher_is_better=False),
    'correctness': Outcome(correctness.correctness, higher_is_better=True),
    'squared_error': Outcome(
        squared_error.squared_error, 'regression', higher_is_better=False
    ),
    'prediction': Outcome(prediction.prediction, 'regression'),
    'logits': Outcome(logits.logits, 'any'),
    'parameters': Outcome(parameters.parameters, 'any', of_parameters=True),
}


def get(names: Sequence[str], num_classes: int) -> dict[str, Outcome]:
  """Returns the named outcomes, checked against the task.

  Args:
    names: keys of `OUTCOMES`.
    num_classes: of the dataset; 0 stands for regression.

  Raises:
    ValueError: on an unknown name, a repeated one, none at all, or an outcome
      of the other task.
  """
  unknown = sorted(set(names) - set(OUTCOMES))
  if unknown or not names or len(set(names)) != len(names):
    raise ValueError(
        f'expected one or more different outcomes of {sorted(OUTCOMES)}; got'
        f' {list(names)}'
    )
  task = 'classification' if num_classes else 'regression'
  wrong = [n for n in names if OUTCOMES[n].task not in (task, 'any')]
  if wrong:
    fitting = [n for n, o in OUTCOMES.items() if o.task in (task, 'any')]
    raise ValueError(
        f'the dataset is a {task} problem, for which {wrong} is not defined;'
        f' choose among {fitting}'
    )
  return {name: OUTCOMES[name] for name in names}
