r"""How much does each way to score training examples know, and for what cost?

  python -m experiments.compare_attributors --workdir=runs/attributors \
      --settings=digits_mlp

One row for each method, budget of trained models, alpha and pool seed: LDS on
held-out models with a bootstrap interval over them, the noise ceiling, models
trained (those that chose options included), gradients, CPU seconds of training
and of the method. At the largest budget of the first pool also: the Spearman
correlation of predicted and observed effects of removing what a method calls
most helpful; the correlation with leave-one-out retraining, where trainings with
and without an example share initialization and order; both beside what the noise
of the observed effects leaves possible, from halves of the replicates; and how
well planted mislabels (harm, summed over targets) and planted duplicates (pairs)
are found, in pools of their own. These are --checks. fashion_cnn is 80 CPU minutes
at alpha .5, 50 at alpha .2 and 95 of checks: three commands, `--alphas=0.5
--nochecks`, `--nochecks`, and none of these.

Options are chosen on validation models, the last fifth of a budget, never on
held-out ones. `top_overlap` is the share of the ten most helpful examples of a
target that two halves of the models agree on. Regressions are fitted to each
half of the largest budget of the first pool for it (test targets, with --checks),
informed ones with the gradients of each half, of at most as many models as the
whole has. `cost_over_training` is the time
of a method over that of training the models that it reads: on networks as small
as these it is above 1 for influence, whose products of all examples with a
subset, n |S| (widths + targets) of them a model, are more than the training's
3 epochs |S| parameters. Peers get the models of our attributors' budgets and are
chosen by the same validation models: see
`experiments/benchmarks/peers/dattri_attributors.py`; it reads what
--export_peers writes, and what it writes becomes rows of the table in the next
run. Their seconds are those of one candidate, ours of all; their `top_overlap`
is between the first models, at most half of them, and the rest; nothing is
retrained or planted for them.

What is there already is not done again; flags that leave something out leave it
in the table if it is there. Writes `attributors.json`, and
`attributors_SETTING.json`, `.csv`, `.md`, `.png` and, of checks, `_checks.png`.
"""

from absl import flags

from experiments import binary
from experiments.attributors import steps

_SETTINGS = flags.DEFINE_list(
    'settings', ['digits_linear', 'digits_mlp'], 'Which.'
)
_METHODS = flags.DEFINE_list('methods', None, 'Which; all.')
_NUM_SEEDS = flags.DEFINE_integer('num_seeds', 1, 'Pools of the first alpha.')
_ALPHAS = flags.DEFINE_multi_float(
    'alphas', None, 'Which of the setting; all. Repeat it for several.'
)
_SHRINK = flags.DEFINE_integer('shrink', 1, 'Divides all numbers of models.')
_EXPORT = flags.DEFINE_bool(
    'export_peers', False, 'Writes what peers read, into the folders of pools.'
)
_CHECKS = flags.DEFINE_bool(
    'checks', True, 'Retrains and plants, too, at the largest budgets.'
)


def main(workdir: str) -> None:
  """Fills the tables."""
  rows = steps.run(
      workdir,
      _SETTINGS.value,
      num_seeds=_NUM_SEEDS.value,
      chosen=_METHODS.value,
      shrink=_SHRINK.value,
      peers=_EXPORT.value,
      checks=_CHECKS.value,
      alphas=_ALPHAS.value,
  )
  for row in rows:
    title = f'{row["method"]}, {row["num_models"]} models'
    names = ('setting', 'alpha', 'lds', 'lds_interval', 'noise_ceiling')
    binary.table(title, {name: row[name] for name in names})


if __name__ == '__main__':
  binary.run(main)
