"""The peers of compare_attributors: dattri's attributors, and the original TRAK.

Runs in an environment of its own (`pip install torch dattri`, and `traker` where
it installs) and imports nothing of jdm: it reads the models that jdm trained
from FOLDER/peers.npz, which `compare_attributors --export_peers` writes, and
writes scores to FOLDER/peer_NAME_BUDGET.npz and .json, which become rows of the
table, one for each peer and budget.

  python dattri_attributors.py runs/attributors/digits_mlp/alpha_0.5_seed_0
  python dattri_attributors.py --seconds=600 --peers=dattri_trak,traker FOLDER

The same models, examples and targets as jdm's own methods, at the same budgets.
Every setting below is a candidate, seven dampings or more of each method as for
jdm's own; jdm chooses among them by the same validation models. A peer reads
model after model, all of its candidates at each, until it has those of the
largest budget or its CPU seconds (`--seconds`) are over; a row says how many
models it read. Searched are

  dattri_trak, _2048, _full    TRAK in 512 or 2,048 dimensions (normal), or with
                               no projection, over regularizations
  traker, traker_2048          the same of the original package
  dattri_influence_explicit    the Hessian written out, of all examples
  dattri_influence_cg          conjugate gradients (10 steps, dattri's default)
  dattri_influence_arnoldi     the top of the Hessian's spectrum
  dattri_influence_ekfac       Kronecker factors, corrected eigenvalues
  dattri_tracin                inner products and cosines of gradients at the
                               end of training, nothing projected

with the Hessian of each model's own subset, and of all examples, where there is
a Hessian. Averages over models are dattri's own (its attributors take one model
at a time here, so that budgets share them). The target is minus the log odds of
the right class, whose ranks are those of the loss. Seconds are process CPU
seconds of one candidate, the mean over candidates; one thread.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
import functools
import importlib
import importlib.metadata
import itertools
import json
import os
import tempfile
import time
from typing import Any, NamedTuple
from unittest import mock
import warnings

os.environ['TQDM_DISABLE'] = '1'
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils import data as data_lib

_SECONDS = 150.0  # CPU seconds of one peer, all of its candidates.
_OF_TRAK = (0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0)
_OF_HESSIAN = (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
_OF_FISHER = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1)
_POWERS = {2**i for i in range(10)}
_MODULES = {'dattri': 'dattri.algorithm', 'traker': 'trak'}
_NUM_TOP = 10  # Of `top_overlap`, as for jdm's own methods.


class Work:
  """Models, examples and targets; all peers read these.

  Attributes:
    folder: of the pool.
    train: inputs and labels.
    tests: the same of targets.
    masks: bool `[num_models, num_train]`.
    num_read: models to read, by budget.
    states: `state_dict` of each model, as `nn.Linear` has it.
    model: of these parameters.
  """

  def __init__(self, folder: str):
    self.folder = folder
    with np.load(os.path.join(folder, 'peers.npz')) as file:
      arrays = dict(file)
    self.train = _dataset(arrays['inputs'], arrays['labels'])
    self.tests = _dataset(arrays['target_inputs'], arrays['target_labels'])
    self.masks = arrays['masks']
    about = json.loads(str(arrays['about']))
    self.num_read = {int(k): v for k, v in about['num_read'].items()}
    self.states = [_state(arrays, row) for row in range(len(self.masks))]
    self.model = _net(self.states[0])
    self._check(arrays['margins'])

  def _check(self, margins):
    """The models say here what they said there."""
    inputs, labels = self.tests.tensors
    found = _margins(self.model, self.states[0], inputs, labels)
    np.testing.assert_allclose(found.numpy(), margins[0], atol=1e-3)

  def subset(self, row: int, own: bool) -> data_lib.DataLoader:
    """The examples that a model was trained on, or all."""
    if not own:
      return loader(self.train)
    rows = np.flatnonzero(self.masks[row])
    return loader(data_lib.TensorDataset(*self.train[rows]))


def _dataset(inputs, labels) -> data_lib.TensorDataset:
  return data_lib.TensorDataset(
      torch.tensor(inputs).flatten(1), torch.tensor(labels).long()
  )


def _state(arrays, row) -> dict[str, torch.Tensor]:
  state = {}
  for layer in range(int(arrays['num_layers'])):
    place = 2 * layer  # Activations stand between.
    for theirs, ours in (('weight', 'kernel'), ('bias', 'bias')):
      state[f'{place}.{theirs}'] = torch.tensor(arrays[f'{ours}_{layer}'][row])
  return state


def _net(state) -> nn.Module:
  parts = []
  for name, values in state.items():
    if name.endswith('weight'):
      parts += [nn.Linear(values.shape[1], values.shape[0]), nn.ReLU()]
  return nn.Sequential(*parts[:-1]).eval()


def loader(dataset) -> data_lib.DataLoader:
  """All of it in one batch, in order."""
  return data_lib.DataLoader(dataset, batch_size=len(dataset))


def log_odds(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
  """The soft margin: log odds of the right class."""
  own = torch.gather(logits, -1, labels[..., None])[..., 0]
  mask = torch.arange(logits.shape[-1]) == labels[..., None]
  return own - torch.logsumexp(logits.masked_fill(mask, -torch.inf), -1)


def _margins(model, params, inputs, labels):
  with torch.no_grad():
    logits = torch.func.functional_call(model, params, inputs)
    return log_odds(logits, labels)


def _loss(model, params, batch):
  inputs, labels = batch
  logits = torch.func.functional_call(model, params, inputs)
  return functional.cross_entropy(logits, labels)


def _target(model, params, batch):
  inputs, labels = batch
  logits = torch.func.functional_call(model, params, inputs)
  return -log_odds(logits, labels).mean()


def _of_one(function):
  """The same of an example without the axis of a batch."""

  def one(params, batch):
    return function(params, tuple(part[None] for part in batch))

  return one


# --- What a peer is, and how it is searched.


class Peer(NamedTuple):
  """A method of a package that scores with one model at a time.

  Attributes:
    package: that it is of.
    shared: options of the work that several candidates share.
    options: of the candidates, tried with each of the shared ones.
    prepare: from work, model and shared options to what `score` reads.
    score: from work, that, and options to scores `[num_train, num_targets]` and
      factors of examples `[num_train, 1]`: each is averaged over models, and
      their product is the result.
  """

  package: str
  shared: Sequence[Mapping[str, Any]]
  options: Sequence[Mapping[str, Any]]
  prepare: Callable[[Work, int, Mapping[str, Any]], Any]
  score: Callable[[Work, Any, Mapping[str, Any]], tuple[Any, Any]]


class Sums(NamedTuple):
  """Scores added up over models, of one candidate."""

  values: Any
  factors: Any

  def plus(self, other: 'Sums') -> 'Sums':
    """Of the models of both."""
    return Sums(self.values + other.values, self.factors + other.factors)

  def minus(self, other: 'Sums') -> 'Sums':
    """Of the models that the other has not."""
    return Sums(self.values - other.values, self.factors - other.factors)

  def mean(self, num: int) -> np.ndarray:
    """The scores of so many models."""
    values = self.values / num * (self.factors / num)
    return np.asarray(values, np.float32)


def sweep(work: Work, name: str, peer: Peer, limit: float) -> None:
  """Tries all candidates, model by model, and writes a row for each budget."""
  wanted = sorted(set(work.num_read.values()))
  # Where rows and their halves end; the time may be over anywhere else.
  ends = {size // part for size in wanted for part in (1, 2)} | _POWERS
  kept: dict[int, list[Sums]] = {}
  sums: list[Sums] = []
  seconds, start = [0.0], time.process_time()
  for row in range(wanted[-1]):
    found, spent = _one_model(work, row, peer)
    sums = [one.plus(two) for one, two in zip(sums, found)] or found
    seconds.append(seconds[-1] + spent)
    is_last = time.process_time() - start > limit or row + 1 == wanted[-1]
    if is_last or row + 1 in ends:
      kept[row + 1] = sums
    if is_last:
      break
  num_found = len(seconds) - 1
  options = [{**s, **o} for s in peer.shared for o in peer.options]
  for budget, num in work.num_read.items():
    num = min(num, num_found)
    half = max((n for n in kept if n <= num / 2), default=0)
    rows = [
        (o, total.mean(num), _overlap(total, num, kept, half, i))
        for i, (o, total) in enumerate(zip(options, kept[num]))
    ]
    write(work, name, peer.package, budget, num, seconds[num], rows)
  total = time.process_time() - start
  print(f'{name}: {num_found} models, {total:.0f} CPU s', flush=True)


def _one_model(work, row, peer) -> tuple[list[Sums], float]:
  """Sums of all candidates, and the seconds of one: shared work and a score."""
  found, seconds = [], []
  for shared in peer.shared:
    start = time.process_time()
    state = peer.prepare(work, row, shared)
    for number, options in enumerate(peer.options):
      values, factors = peer.score(work, state, options)
      found.append(Sums(np.asarray(values), np.asarray(factors)))
      if not number:
        seconds.append(time.process_time() - start)
  return found, float(np.mean(seconds))


def _overlap(total, num, kept, half, which) -> float:
  """Between two halves of the models; NaN of one model."""
  if not half:
    return float('nan')
  first = kept[half][which]
  return top_overlap(first.mean(half), total.minus(first).mean(num - half))


def top_overlap(first: np.ndarray, second: np.ndarray) -> float:
  """The share of the ten most helpful examples that two estimates agree on."""
  is_top = []
  for values in (first, second):
    rows = np.argsort(-values, axis=0, kind='stable')[:_NUM_TOP]
    chosen = np.zeros(values.shape, bool)
    np.put_along_axis(chosen, rows, True, axis=0)
    is_top.append(chosen)
  return float((is_top[0] & is_top[1]).sum() / is_top[0].sum())


def write(
    work: Work,
    name: str,
    package: str,
    budget: int,
    num_read: int,
    seconds: float,
    rows: Sequence[tuple[Mapping[str, Any], np.ndarray, float]],
) -> None:
  """A row: scores of candidates with their options and overlaps."""
  rows = [row for row in rows if np.isfinite(row[1]).all()]
  if not rows:
    print(f'{name}: no candidate is finite')
    return
  path = os.path.join(work.folder, f'peer_{name}_{budget}')
  arrays: dict[str, Any] = {f'c{i}': row[1] for i, row in enumerate(rows)}
  np.savez(f'{path}.npz', **arrays)
  per_model = len(work.train) + len(work.tests)
  about = {
      'method': name,
      'budget': budget,
      'num_read': num_read,
      'cpu_seconds': seconds,
      'gradients': per_model * num_read,
      'candidates': {f'c{i}': row[0] for i, row in enumerate(rows)},
      'top_overlap': {f'c{i}': row[2] for i, row in enumerate(rows)},
      'versions': {n: _version(n) for n in ('torch', package)},
  }
  with open(f'{path}.json', 'w', encoding='utf-8') as file:
    json.dump(about, file, indent=1)


def _version(name) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return ''


# --- Dattri.


def _task(model, state, loss, target, per_example=False):
  from dattri import task as task_lib  # pyrefly: ignore

  functions = [functools.partial(one, model) for one in (loss, target)]
  if per_example:
    functions = [_of_one(one) for one in functions]
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
    found = attributor.attribute(loader(work.train), loader(work.tests))
  return found.detach().numpy(), np.ones(())


def _influence(name: str, values: Sequence[float], **options: Any) -> Peer:
  """Influence with the Hessian solved by one of dattri's solvers."""

  def prepare(work, row, shared):
    task = _task(work.model, work.states[row], _loss, _target)
    return task, work.subset(row, shared['own_subset'])

  def score(work, state, chosen):
    from dattri import algorithm  # pyrefly: ignore

    task, examples = state
    attributor = getattr(algorithm, name)(task, **chosen, **options)
    attributor.cache(examples)
    return _attribute(work, attributor)

  return Peer(
      'dattri',
      [{'own_subset': True}, {'own_subset': False}],
      [{'regularization': value} for value in values],
      prepare,
      score,
  )


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


def _ekfac() -> Peer:
  """Influence with Kronecker factors of the Fisher matrix of the loss."""

  def prepare(work, row, shared):
    from dattri import algorithm  # pyrefly: ignore

    model = Padded(work.states[row])
    state = Padded.states([work.states[row]])[0]
    # The matrix is that of the function which is the target when it is cached.
    attributor = algorithm.IFAttributorEKFAC(
        _task(model, state, _loss, _loss), damping=1.0
    )
    attributor.cache(work.subset(row, shared['own_subset']))
    attributor.task = _task(model, state, _loss, _target)
    return attributor

  def score(work, attributor, options):
    attributor.damping = options['damping']
    return _attribute(work, attributor)

  return Peer(
      'dattri',
      [{'own_subset': True}, {'own_subset': False}],
      [{'damping': value} for value in _OF_FISHER],
      prepare,
      score,
  )


def _trak(**projector: Any) -> Peer:
  """TRAK, whose matrix is that of all examples.

  Dattri projects anew for each regularization; here it does so for the first,
  and the others find what that found.
  """

  def prepare(work, row, shared):
    del shared
    inputs, labels = work.train.tensors
    margins = _margins(work.model, work.states[row], inputs, labels)
    return row, torch.sigmoid(-margins).numpy()[:, None], {}

  def score(work, state, options):
    from dattri.algorithm import trak  # pyrefly: ignore

    row, missing, projected = state
    margin = _negative(_target)
    attributor = trak.TRAKAttributor(
        _task(work.model, work.states[row], margin, margin, per_example=True),
        # The factor q = 1 - p is averaged over models by itself, as in TRAK.
        correct_probability_func=lambda params, batch: torch.zeros(()),
        projector_kwargs={'proj_seed': row, 'device': 'cpu', **projector},
        regularization=options['regularization'],
    )
    remember = _remembering(trak.random_project, projected)
    with torch.no_grad(), mock.patch.object(trak, 'random_project', remember):
      attributor.cache(loader(work.train))
      return attributor.attribute(loader(work.tests)).numpy(), missing

  options = [{'regularization': value, **projector} for value in _OF_TRAK]
  return Peer('dattri', [{}], options, prepare, score)


def _remembering(random_project, found):
  """Dattri's projection, once for the first call and once for the second."""
  places = itertools.count()

  def project(rows, *args, **kwargs):
    place = next(places)

    def one(rows, ensemble_id):
      if place not in found:
        make = random_project(rows, *args, **kwargs)
        found[place] = make(rows, ensemble_id=ensemble_id)
      return found[place]

    return one

  return project


def _negative(function):
  return lambda model, params, batch: -function(model, params, batch)


def _tracin() -> Peer:
  """Products of gradients of the loss, at the end of training."""

  def prepare(work, row, shared):
    del shared
    return _task(work.model, work.states[row], _loss, _target, per_example=True)

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
  return Peer('dattri', [{}], options, prepare, score)


# --- The original TRAK package.


def _traker(dimensions: int) -> Peer:
  """TRAK by the original package, one model at a time."""

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
      {'lambda_reg': value, 'proj_dim': dimensions} for value in _OF_TRAK
  ]
  return Peer('traker', [{}], options, prepare, score)


def _featurize(work, kept, row) -> None:
  """Gradients of the examples and the targets, in the package's store."""
  state = work.states[row]
  kept.load_checkpoint(state, model_id=row)
  for batch in loader(work.train):
    kept.featurize(batch=batch, num_samples=len(batch[0]))
  kept.saver.model_ids[row]['is_finalized'] = 1  # See `score`.
  kept.start_scoring_checkpoint(
      exp_name='jdm',
      checkpoint=state,
      model_id=row,
      num_targets=len(work.tests),
  )
  for batch in loader(work.tests):
    kept.score(batch=batch, num_samples=len(batch[0]))
  kept.saver.load_current_store(row)
  kept.saver.load_current_store(row, 'jdm', len(work.tests))


PEERS: dict[str, Peer] = {
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
  parser.add_argument('--peers', default=','.join(PEERS), help='Which.')
  options = parser.parse_args()
  names = options.peers.split(',')
  unknown = sorted(set(names) - set(PEERS))
  if unknown:
    parser.error(f'--peers are of {list(PEERS)}, got {unknown}')
  torch.set_num_threads(1)
  work = Work(options.folder)
  for name in names:
    if _version(name.split('_')[0]):
      importlib.import_module(_MODULES[PEERS[name].package])  # Not timed.
      sweep(work, name, PEERS[name], options.seconds)
    else:
      print(f'{name} is not installed')


if __name__ == '__main__':
  main()
