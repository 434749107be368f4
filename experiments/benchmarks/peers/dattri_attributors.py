r"""The peers of compare_attributors: dattri's attributors, and the original TRAK.

Runs in an environment of its own (`pip install torch dattri`, and `traker` where
it installs) and imports nothing of jdm: it reads the models that jdm trained
from FOLDER/peers.npz, which `compare_attributors --export_peers` writes, and
writes scores to FOLDER/peer_NAME_BUDGET.npz and .json, which become rows of the
table, one for each peer and budget.

  python -m experiments.benchmarks.peers.dattri_attributors \
      runs/attributors/digits_mlp/alpha_0.5_seed_0

The same models, examples and targets as jdm's own methods, at the same budgets.
Every setting below is a candidate, and jdm chooses among them by the same
validation models as among its own: at least as many regularizations as jdm has
dampings (seven). A peer reads model after model, all candidates at each, until
it has those of the largest budget or its CPU seconds (`--seconds`) are over; a
row says how many models it read, and one of a larger budget than that is chosen
by the validation models of the budget. On 4,810 parameters, 1,500 examples and 297
targets, with the CPU seconds of a candidate and model, these are

  dattri_trak        0.3  TRAK, 512 dimensions (normal)
  dattri_trak_2048   1.2  the same in 2,048
  dattri_trak_full   4.1  the same with nothing projected
  traker, _2048      0.3  the original package (Rademacher), and no regularization
  dattri_influence
    _ekfac           0.3  Kronecker factors, eigenvalues corrected
    _explicit         22  the Hessian written out
    _cg               10  conjugate gradients, 10 steps (dattri's default)
    _arnoldi         0.7  the top of the Hessian's spectrum
  dattri_tracin      0.2  products and cosines of gradients at the end of training

where influence has the Hessian of each model's own subset, or of all examples.
What the candidates of a model share (gradients, projections, a Hessian) is
computed once; the seconds of a row are those of one candidate with all that it
needs, in process CPU seconds of one thread, where jdm's own are those of all.
Averages over models are those of the packages: of scores, and for TRAK of
scores and of 1 - p, each by itself. The target is minus the log odds of the
right class, whose ranks are those of the loss.

By default all but dattri_trak_full, traker_2048 and Arnoldi run, some 12 minutes;
of models with convolutions TRAK and TracIn alone: EK-FAC knows `nn.Linear` only,
Arnoldi is out of memory (24 GiB, 13,066 parameters, subsets of 2,500), and the
Hessian written out or conjugate gradients for each of 300 targets and 14 settings
would be hours a model.
Arnoldi has 20 dimensions: with 50 or more, rounding errors are eigenvalues
below zero there, whose roots are NaN. EK-FAC reads one model at a time, and is
averaged here. LiSSA, DataInf and RPS of dattri 0.3.0 were not tried; RPS
attributes a last layer without biases that it trains again.
"""

import argparse
from collections.abc import Mapping, Sequence
import functools
import importlib
import itertools
import os
import tempfile
from typing import Any
from unittest import mock
import warnings

os.environ['TQDM_DISABLE'] = '1'
import numpy as np
import torch
from torch import nn

from experiments.benchmarks.peers import attributor_models as models
from experiments.benchmarks.peers import attributor_sweep

_SECONDS = 120.0  # CPU seconds of one peer, all of its candidates.
_OF_TRAK = (0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0)
_OF_HESSIAN = (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
_OF_FISHER = (1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
_DEFAULT = (
    'dattri_trak',
    'dattri_trak_2048',
    'traker',
    'dattri_influence_ekfac',
    'dattri_influence_explicit',
    'dattri_influence_cg',
    'dattri_tracin',
)
_OF_CONVOLUTIONS = (
    'dattri_trak',
    'dattri_trak_2048',
    'traker',
    'dattri_tracin',
)
_MODULES = {'dattri': 'dattri.algorithm', 'traker': 'trak'}


def _task(model, state, loss, target, per_example=False):
  from dattri import task as task_lib  # pyrefly: ignore

  functions = [functools.partial(one, model) for one in (loss, target)]
  if per_example:
    functions = [models.of_one(one) for one in functions]
  return task_lib.AttributionTask(
      _named(functions[0]), model, state, target_func=_named(functions[1])
  )


def _named(function):
  """Dattri looks at the names of arguments."""

  def named(params, batch):
    return function(params, batch)

  return named


def _attribute(work, attributor):
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    found = attributor.attribute(
        models.loader(work.train), models.loader(work.tests)
    )
  return found.detach().numpy(), np.ones(())


def _influence(
    name: str, values: Sequence[float], **options: Any
) -> attributor_sweep.Peer:
  """Influence with the Hessian solved by one of dattri's solvers.

  Where dattri writes the Hessian out, it does so for the first regularization
  and the others find that one.
  """

  def prepare(work, row, shared):
    task = _task(work.model, work.states[row], models.loss, models.target)
    return task, work.subset(row, shared['own_subset']), {}

  def score(work, state, chosen):
    from dattri import algorithm  # pyrefly: ignore
    from dattri.func import hessian  # pyrefly: ignore

    task, examples, found = state
    attributor = getattr(algorithm, name)(task, **chosen, **options)
    attributor.cache(examples)
    remember = _remembering(hessian.hessian, found)
    with mock.patch.object(hessian, 'hessian', remember):
      return _attribute(work, attributor)

  return attributor_sweep.Peer(
      'dattri',
      [{'own_subset': True}, {'own_subset': False}],
      [{'regularization': value} for value in values],
      prepare,
      score,
  )


def _remembering(make, found):
  """Functions of `make`, whose n-th gives what was first found by the n-th."""
  places = itertools.count()

  def remember(*args, **kwargs):
    place = next(places)

    def one(*data, **options):
      if place not in found:
        found[place] = make(*args, **kwargs)(*data, **options)
      return found[place]

    return one

  return remember


class Padded(nn.Module):
  """The same network with each bias as the weight of a constant input.

  Dattri's EK-FAC mixes up the weights and biases of `nn.Linear` (0.3.0 puts the
  biases behind all weights of a layer and reads them back as a column), so it
  gets layers that have none.
  """

  def __init__(self, state: Mapping[str, torch.Tensor]):
    super().__init__()
    layers = []
    for weight in self.states([state])[0].values():
      layers.append(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    self.layers = nn.ModuleList(layers)

  def forward(self, inputs: torch.Tensor) -> torch.Tensor:
    """Logits."""
    for number, layer in enumerate(self.layers):
      inputs = torch.relu(inputs) if number else inputs
      ones = torch.ones(*inputs.shape[:-1], 1)
      inputs = layer(torch.cat([inputs, ones], dim=-1))
    return inputs

  @staticmethod
  def states(given: Sequence[Mapping[str, torch.Tensor]]):
    """Its parameters, from those with biases."""
    result = []
    for state in given:
      pairs = list(zip(list(state.values())[::2], list(state.values())[1::2]))
      result.append(
          {
              f'layers.{i}.weight': torch.cat([weight, bias[:, None]], dim=1)
              for i, (weight, bias) in enumerate(pairs)
          }
      )
    return result


def _ekfac() -> attributor_sweep.Peer:
  """Influence with Kronecker factors of the Fisher matrix of the loss."""

  def prepare(work, row, shared):
    from dattri import algorithm  # pyrefly: ignore

    model = Padded(work.states[row])
    state = Padded.states([work.states[row]])[0]
    # The matrix is that of the function which is the target when it is cached.
    attributor = algorithm.IFAttributorEKFAC(
        _task(model, state, models.loss, models.loss), damping=1.0
    )
    attributor.cache(work.subset(row, shared['own_subset']))
    attributor.task = _task(model, state, models.loss, models.target)
    return attributor

  def score(work, attributor, options):
    attributor.damping = options['damping']
    return _attribute(work, attributor)

  return attributor_sweep.Peer(
      'dattri',
      [{'own_subset': True}, {'own_subset': False}],
      [{'damping': value} for value in _OF_FISHER],
      prepare,
      score,
  )


def _trak(**projector: Any) -> attributor_sweep.Peer:
  """TRAK, whose matrix is that of all examples.

  Dattri projects anew for each regularization; here it does so for the first,
  and the others find what that found.
  """

  def prepare(work, row, shared):
    del shared
    inputs, labels = work.train.tensors
    margins = models.margins(work.model, work.states[row], inputs, labels)
    return row, torch.sigmoid(-margins).numpy()[:, None], {}

  def score(work, state, options):
    from dattri.algorithm import trak  # pyrefly: ignore

    row, missing, projected = state
    margin = _negative(models.target)
    attributor = trak.TRAKAttributor(
        _task(work.model, work.states[row], margin, margin, per_example=True),
        # The factor q = 1 - p is averaged over models by itself, as in TRAK.
        correct_probability_func=lambda params, batch: torch.zeros(()),
        projector_kwargs={'proj_seed': row, 'device': 'cpu', **projector},
        regularization=options['regularization'],
    )
    remember = _remembering(trak.random_project, projected)
    with torch.no_grad(), mock.patch.object(trak, 'random_project', remember):
      attributor.cache(models.loader(work.train))
      return attributor.attribute(models.loader(work.tests)).numpy(), missing

  options = [{'regularization': value, **projector} for value in _OF_TRAK]
  return attributor_sweep.Peer('dattri', [{}], options, prepare, score)


def _negative(function):
  return lambda model, params, batch: -function(model, params, batch)


def _tracin() -> attributor_sweep.Peer:
  """Products of gradients of the loss, at the end of training."""

  def prepare(work, row, shared):
    del shared
    return _task(
        work.model,
        work.states[row],
        models.loss,
        models.target,
        per_example=True,
    )

  def score(work, task, options):
    from dattri import algorithm  # pyrefly: ignore

    return _attribute(
        work,
        algorithm.TracInAttributor(
            task,
            weight_list=torch.ones(1),
            projector_kwargs={'proj_type': 'identity', 'device': 'cpu'},
            **options,
        ),
    )

  options = [{'normalized_grad': which} for which in (False, True)]
  return attributor_sweep.Peer('dattri', [{}], options, prepare, score)


def _traker(dimensions: int) -> attributor_sweep.Peer:
  """TRAK by the original package, one model at a time.

  Its projections are longer than dattri's by the root of their dimensions, so
  that the same regularizations are greater by the dimensions.
  """

  def prepare(work, row, shared):
    from trak import TRAKer  # pyrefly: ignore

    del shared
    with tempfile.TemporaryDirectory() as folder:
      kept = TRAKer(
          model=work.model,
          task='image_classification',
          train_set_size=len(work.train),
          save_dir=folder,
          device='cpu',
          proj_dim=dimensions,
          use_half_precision=False,
          logging_level='CRITICAL',  # That there is no GPU.
      )
      _featurize(work, kept, row)
      store = kept.saver.current_store
      names = ('grads', 'jdm_grads', 'out_to_loss')
      return kept.score_computer, [torch.tensor(store[name]) for name in names]

  def score(work, state, options):
    # What `finalize_features` and `finalize_scores` do with one model.
    computer, (grads, target_grads, missing) = state
    computer.lambda_reg = options['lambda_reg']
    features = computer.get_x_xtx_inv(grads, computer.get_xtx(grads))
    values = torch.zeros(len(work.train), len(work.tests))
    computer.get_scores(features, target_grads, accumulator=values)
    return values.numpy(), missing.numpy()

  options = [
      {'lambda_reg': value * dimensions, 'proj_dim': dimensions}
      for value in (0, *_OF_TRAK)
  ]
  return attributor_sweep.Peer('traker', [{}], options, prepare, score)


def _featurize(work, kept, row) -> None:
  """Gradients of the examples and the targets, in the package's store."""
  state = work.states[row]
  kept.load_checkpoint(state, model_id=row)
  for batch in models.loader(work.train):
    kept.featurize(batch=batch, num_samples=len(batch[0]))
  kept.saver.model_ids[row]['is_finalized'] = 1  # See `score`.
  kept.start_scoring_checkpoint(
      exp_name='jdm',
      checkpoint=state,
      model_id=row,
      num_targets=len(work.tests),
  )
  for batch in models.loader(work.tests):
    kept.score(batch=batch, num_samples=len(batch[0]))
  kept.saver.load_current_store(row)
  kept.saver.load_current_store(row, 'jdm', len(work.tests))


PEERS: dict[str, attributor_sweep.Peer] = {
    'dattri_trak': _trak(proj_type='normal', proj_dim=512),
    'traker': _traker(512),
    'dattri_influence_ekfac': _ekfac(),
    'dattri_tracin': _tracin(),
    'dattri_trak_2048': _trak(proj_type='normal', proj_dim=2048),
    'traker_2048': _traker(2048),
    'dattri_trak_full': _trak(proj_type='identity'),
    'dattri_influence_cg': _influence('IFAttributorCG', _OF_HESSIAN),
    'dattri_influence_explicit': _influence(
        'IFAttributorExplicit', _OF_HESSIAN
    ),
    'dattri_influence_arnoldi': _influence(
        'IFAttributorArnoldi', _OF_HESSIAN, proj_dim=20
    ),
}


def main() -> None:
  """Runs the peers that are installed."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
  parser.add_argument('folder', help='Of a pool; it has peers.npz.')
  parser.add_argument('--seconds', type=float, default=_SECONDS)
  parser.add_argument('--peers', help='Which; those of the default.')
  options = parser.parse_args()
  torch.set_num_threads(1)
  work = models.Work(options.folder)
  has_convolutions = work.train.tensors[0].ndim > 2
  names = _OF_CONVOLUTIONS if has_convolutions else _DEFAULT
  if options.peers:
    names = options.peers.split(',')
  unknown = sorted(set(names) - set(PEERS))
  if unknown:
    parser.error(f'--peers are of {list(PEERS)}, got {unknown}')
  for name in names:
    if attributor_sweep.version(name.split('_')[0]):
      importlib.import_module(_MODULES[PEERS[name].package])  # Not timed.
      attributor_sweep.sweep(work, name, PEERS[name], options.seconds)
    else:
      print(f'{name} is not installed')


if __name__ == '__main__':
  main()
