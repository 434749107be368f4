r"""Which way to Shapley values costs the fewest CPU seconds, with all counted?

  taskset -c 0 python -m experiments.shapley_study --workdir=runs/shapley

Every estimator is scored by the Spearman correlation of its values with a
reference: exact retraining on random orders of its own, twice what any exact
estimator gets or more. `ceiling` is what perfect values would reach, by the Spearman
correlation of two halves of the reference (Spearman-Brown, its root). Seconds
are of this process, compiling left out (each program runs once before; of a
fit, the steps before its first look at validation are taken to last as long as
later ones): `labels` for exact retrainings to learn from, `fit`, and `query` for
the values themselves. Values of T orders are those of the first T of a longer
walk, and are charged T's share of its seconds.

Settings: 100 points of breast cancer, 10 of them with wrong labels (about 4 CPU
minutes); 200 digits, 20 of them wrong, as 16 principal components (about 6); 1,000
pullovers and coats of Fashion-MNIST, 100 of them wrong, as 20 components (about 8).
Logistic (softmax) regression; the utility is minus the mean log loss on test
examples. Intervals are 95 % t intervals over seeds: of orders, labels and
networks; the points and the reference are the same. What is there already is
not done again. Writes `SETTING.json`, `.md` and `.png`.

Banzhaf, Beta Shapley, leave-one-out, KNN-Shapley and influence values estimate
something else, and are scored as rankings all the same: against the same Shapley
reference. Beta Shapley is scored against a Beta reference too (`own`).

Measured on one core of a shared machine. Breast cancer, 3 seeds, ceiling 0.995:
an exact retraining takes 0.06 CPU ms in a batch, and every network costs 4 to
6 CPU seconds before its first answer. Seconds to a correlation of 0.9: one
Newton step from the model of everything 0.5, exact orders 0.7 (in pairs 0.7,
truncated 0.8), a network with a Newton step 4.8, without labels 5.4; ridge
regression (0.85 at best) and the default network (0.80) never. KNN-Shapley has
0.74 after a millisecond. The network without labels ends at 0.980 [0.976, 0.984]
after 6.5 s, exact pairs at 0.983 [0.977, 0.988] after 5.6 s: at best a tie. An
order costs it 0.6 CPU ms, an exact one 5.5, so a second utility of the same
points would be nine times cheaper.

Pullovers and coats, 3 seeds, ceiling 0.83: 1,000 points ask for more orders than
these. First-order influence (0.66 after 0.03 s; along orders 0.67 after 0.1 s)
is ahead of Banzhaf values (0.62 after 12 s), of the network without labels (0.63
[0.57, 0.69] after 27 s) and of 64 exact orders (0.48 after 8 s).

Digits, 2 seeds, ceiling 0.83: an exact retraining takes 2.4 ms, and no predictor
wins there either. Values are mostly noise at these budgets: exact orders stay
around 0.6 up to 16 s, as influence on few orders (0.61 after 0.03 s),
KNN-Shapley (0.57) and leave-one-out (0.57, 0.5 s) do; Banzhaf values have 0.65
after 21 s, networks 0.45 and less.
"""

from absl import flags

from experiments import binary
from experiments import shapley_cases

_SETTINGS = flags.DEFINE_list(
    'settings', list(shapley_cases.SETTINGS), 'Which.'
)
_NUM_SEEDS = flags.DEFINE_integer('num_seeds', 3, 'Of every estimator.')
_SHRINK = flags.DEFINE_integer('shrink', 1, 'Divides all orders and steps.')


def main(workdir: str) -> None:
  """Fills the tables."""
  shapley_cases.run(
      workdir,
      _SETTINGS.value,
      num_seeds=_NUM_SEEDS.value,
      shrink=_SHRINK.value,
  )


if __name__ == '__main__':
  binary.run(main)
