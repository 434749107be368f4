r"""How wide and deep must a set function be to predict trained parameters?

  python -m experiments.expressivity_study --workdir=runs/expressivity

Logistic regression (penalty 1) of subsets of 32, 64 and 128 points of
breast_cancer, standardized: many labels, so that data are not the limit (the
R2 of training sets stands beside that of held-out ones), and networks of width
4 to 256, three layers that look at a point; depths 1 and 2 at one pool and
width. Both networks are trained in the same way, that of the default preset:
what is compared is what they can express, and learn, not the released training.

  deepsets       as ModelPred's released code has it: input and label side by
                 side, no biases, sum pooling
  deepsets_plus  signed features, mean and sum pooling, sizes of set and classes

What theory says: for a sum over points followed by a function to represent
every continuous function of sets of up to n points, the sum has to be at least
n numbers wide (Wagstaff et al. 2019, section 4: n are enough where points are
numbers, and there are functions for which fewer are not). That speaks of the
worst function. Parameters are no such: argmin F_S depends on S through a sum of
smooth gradients, so that a width far below |S| may approximate it. ModelPred
states theorems of its own on this; we know of them by its abstract only.

Width is that of all layers. The last one before the parameters is half as wide,
and so the narrowest networks put out few directions of parameters, whatever
they know of the set: "at best" is the R2 of as many principal components.

Measured: errors fall steadily with width; nothing happens where it passes the
largest set. At that width, deepsets_plus explains 89 to 93 % of the held-out
parameters and deepsets 83 to 88 %; at twice it both explain 96 % (deepsets with
128 points 86 %), at a quarter 39 to 78 % and 24 to 63 %. Sets of training are
explained no better, so what is missing is width or training, not data. With one
layer for a point instead of three, deepsets falls from .88 to .54 and
deepsets_plus, which sees input times label, from .92 to .86.

Each seed has its own points, sets and network. What is there is not done again.
Writes `expressivity_study.json`, `.md` and a picture: means over seeds with
95 % intervals of Student's t. About 15 CPU minutes.

References:
  Wagstaff et al., `On the limitations of representing functions on sets
  <https://arxiv.org/abs/1901.09006>`_, ICML 2019.
"""

from collections.abc import Sequence
import json
import os
from typing import Any

from absl import flags

from experiments import binary
from experiments import expressivity_cases
from experiments import modelpred_tables
from jdm.reports import canvas
from jdm.reports import modelpred_plots
from jdm.reports import tables

_POINTS = flags.DEFINE_list('num_points', ['32', '64', '128'], 'Of pools.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of everything random.')
_NUM_LABELS = flags.DEFINE_integer('num_labels', 20_000, 'To learn from.')
_STEPS = flags.DEFINE_integer('steps', 2000, 'Of each training.')


def main(workdir: str) -> None:
  """Trains what is missing, and writes the tables."""
  for flag in (_POINTS, _SEEDS):
    if not all(text.isdigit() for text in flag.value):
      raise ValueError(f'--{flag.name} are numbers, got {flag.value}')
  if len(_SEEDS.value) < 2:
    raise ValueError('--seeds are two or more, for intervals')
  found = {}
  cases = expressivity_cases.cases(
      [int(num) for num in _POINTS.value], [int(seed) for seed in _SEEDS.value]
  )
  for case in cases:
    path = os.path.join(workdir, 'rows', f'{"_".join(map(str, case))}.json')
    if not os.path.exists(path):
      row = expressivity_cases.measured(case, _NUM_LABELS.value, _STEPS.value)
      binary.write_json(path, row)
      print(f'{case}: R2 {row["r2"]:.4f}', flush=True)
    with open(path, encoding='utf-8') as file:
      found[case] = json.load(file)
  highest = {}
  for pool in sorted({(case.num_points, case.seed) for case in found}):
    path = os.path.join(workdir, 'rows', f'ceilings_{pool[0]}_{pool[1]}.json')
    if not os.path.exists(path):
      own = expressivity_cases.ceilings(*pool, _NUM_LABELS.value)
      binary.write_json(path, {'by_width': own})
    with open(path, encoding='utf-8') as file:
      highest[pool] = json.load(file)['by_width']
  _write(workdir, expressivity_cases.summarized(found, highest))


def _write(workdir: str, rows: Sequence[dict[str, Any]]) -> None:
  path = os.path.join(workdir, 'expressivity_study')
  values = {
      'rows': rows,
      'seeds': _SEEDS.value,
      'num_labels': _NUM_LABELS.value,
      'num_steps': _STEPS.value,
  }
  binary.write_json(f'{path}.json', values)
  shown = [
      {
          'points': row['num_points'],
          'network': row['network'],
          'width': row['width'],
          'width / largest set': f'{row["width_over_size"]:g}',
          'depth': row['depth'],
          'R2': modelpred_tables.text(row['r2']),
          'at best': modelpred_tables.text(row['ceiling']),
          'R2 of training sets': modelpred_tables.text(row['train_r2']),
          'loss NRMSE': modelpred_tables.text(row['test_loss_nrmse']),
          'fit CPU s': modelpred_tables.text(row['cpu_seconds']),
      }
      for row in rows
  ]
  canvas.write(f'{path}.md', (_ABOUT + tables.markdown(shown)).encode())
  curves = [row for row in rows if row['depth'] == expressivity_cases.DEPTH]
  canvas.save(modelpred_plots.expressivity(curves), f'{path}.png')
  print(tables.text(shown))


_ABOUT = """# Width, depth and set size

Means over seeds ± half of a 95 % interval (Student's t). For every continuous
function of sets to be a sum over points and then a function of it, the sum has
to be at least as wide as the largest set (Wagstaff et al. 2019). Parameters are
one smooth function of sums of gradients, which may need far less: rows with
`width / largest set` below 1. ModelPred's own theorems are not known to us. "At
best" is what the last layer, half as wide, could put out: the R2 of as many
principal components of the parameters.

"""


if __name__ == '__main__':
  binary.run(main)
