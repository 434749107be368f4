"""The peers of compare_attributors: dattri's influence and TRAK, and traker.

Runs in an environment of its own (`pip install torch dattri`, and `traker` where
it installs) and imports nothing of jdm: it reads the models that jdm trained
from FOLDER/peers.npz, which `compare_attributors --export_peers` writes, and
writes scores to FOLDER/peer_NAME.npz and .json, which become rows of the table.

  python dattri_attributors.py runs/attributors/digits_mlp/alpha_0.5_seed_0

The same models, examples and targets as jdm's own methods. Every setting below
is a candidate; jdm chooses by the same validation models as for its own. The
target is minus the log odds of the right class, whose ranks are those of the
loss. Influence is that of each model with the Hessian of its own subset, and of
all examples, averaged over models (two, where it takes conjugate gradients); TRAK as dattri has it (all examples). Seconds
are process CPU seconds of one candidate, the mean over candidates; one thread.
"""

import importlib.metadata
import itertools
import json
import os
import sys
import tempfile
import time
import warnings

os.environ['TQDM_DISABLE'] = '1'
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils import data as data_lib

_REGULARIZATIONS = (1e-2, 3e-2, 0.1, 0.3)
_OF_TRAK = (1e-3, 1e-2, 0.1, 1.0, 10.0)
_DIMENSIONS = 512
# Influence by conjugate gradients takes minutes: of two models, and with the
# Hessian of all examples once.
_MODELS_BY_CG = 2
_OF_ALL_BY_CG = 0.1
_MOST_EXPLICIT = 1000  # Parameters, up to which the Hessian is written out.


class Work:
  """Models, examples and targets; all peers read these."""

  def __init__(self, folder):
    self.folder = folder
    arrays = np.load(os.path.join(folder, 'peers.npz'))
    self.inputs = torch.tensor(arrays['inputs']).flatten(1)
    self.labels = torch.tensor(arrays['labels']).long()
    self.masks = arrays['masks']
    self.about = json.loads(str(arrays['about']))
    tests = torch.tensor(arrays['target_inputs']).flatten(1)
    labels = torch.tensor(arrays['target_labels']).long()
    self.tests = data_lib.TensorDataset(tests, labels)
    self.train = data_lib.TensorDataset(self.inputs, self.labels)
    self.states, layers = [], int(arrays['num_layers'])
    for row in range(len(self.masks)):
      state = {}
      for layer in range(layers):
        place = 2 * layer  # Activations stand between.
        for theirs, ours in (('weight', 'kernel'), ('bias', 'bias')):
          values = arrays[f'{ours}_{layer}'][row]
          state[f'{place}.{theirs}'] = torch.tensor(values)
      self.states.append(state)
    self.model = self._net()
    self._check(arrays['margins'])

  def _net(self):
    parts = []
    for name, values in self.states[0].items():
      if name.endswith('weight'):
        parts += [nn.Linear(values.shape[1], values.shape[0]), nn.ReLU()]
    return nn.Sequential(*parts[:-1]).eval()

  def _check(self, margins):
    """The models say here what they said there."""
    self.model.load_state_dict(self.states[0])
    with torch.no_grad():
      found = log_odds(self.model(self.tests.tensors[0]), self.tests.tensors[1])
    np.testing.assert_allclose(found.numpy(), margins[0], atol=1e-3)

  def loader(self, dataset):
    """All of it in one batch, in order."""
    return data_lib.DataLoader(dataset, batch_size=len(dataset))

  def subset(self, row):
    """The examples that a model was trained on."""
    rows = np.flatnonzero(self.masks[row])
    return data_lib.TensorDataset(self.inputs[rows], self.labels[rows])

  def write(self, method, candidates, seconds, num_read):
    """Scores by name, with the options that made them."""
    per_model = len(self.train) + len(self.tests)
    path = os.path.join(self.folder, f'peer_{method}')
    arrays = {f'c{i}': values for i, (_, values) in enumerate(candidates)}
    np.savez(f'{path}.npz', **arrays)
    versions = {
        name: importlib.metadata.version(name)
        for name in ('torch', method.split('_')[0])
        if _has(name)
    }
    about = {
        'method': method,
        'budget': self.about['budget'],
        'num_read': num_read,
        'cpu_seconds': seconds / max(len(candidates), 1),
        'gradients': per_model * num_read,
        'candidates': {f'c{i}': o for i, (o, _) in enumerate(candidates)},
        'versions': versions,
    }
    with open(f'{path}.json', 'w', encoding='utf-8') as file:
      json.dump(about, file, indent=1)
    print(method, len(candidates), 'candidates,', round(seconds, 1), 'CPU s')


def _has(name):
  try:
    importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return False
  return True


def log_odds(logits, labels):
  """The soft margin: log odds of the right class."""
  own = torch.gather(logits, -1, labels[..., None])[..., 0]
  mask = torch.arange(logits.shape[-1]) == labels[..., None]
  return own - torch.logsumexp(logits.masked_fill(mask, -torch.inf), -1)


def influence(work):
  """Dattri's influence functions."""
  from dattri import algorithm  # pyrefly: ignore
  from dattri import task as task_lib  # pyrefly: ignore

  def loss(params, batch):
    inputs, labels = batch
    logits = torch.func.functional_call(work.model, params, inputs)
    return functional.cross_entropy(logits, labels)

  def target(params, batch):
    inputs, labels = batch
    logits = torch.func.functional_call(work.model, params, inputs)
    return -log_odds(logits, labels).sum()

  num_parameters = sum(p.numel() for p in work.model.parameters())
  explicit = num_parameters <= _MOST_EXPLICIT
  # By conjugate gradients each target of each model takes its own products.
  states = work.states if explicit else work.states[:_MODELS_BY_CG]
  found, start = [], time.process_time()
  tests = work.loader(work.tests)
  for own, regularization in itertools.product((True, False), _REGULARIZATIONS):
    if not explicit and not own and regularization != _OF_ALL_BY_CG:
      continue
    total = torch.zeros(())
    for row, state in enumerate(states):
      task = task_lib.AttributionTask(
          loss, work.model, state, target_func=target
      )
      options = {'regularization': regularization}
      if explicit:
        attributor = algorithm.IFAttributorExplicit(task, **options)
      else:
        attributor = algorithm.IFAttributorCG(task, max_iter=10, **options)
      attributor.cache(work.loader(work.subset(row) if own else work.train))
      total = total + attributor.attribute(work.loader(work.train), tests)
    values = (total / len(states)).detach().numpy()
    options = {'own_subset': own, 'solver': 'explicit' if explicit else 'cg'}
    if np.isfinite(values).all():
      found.append(({**options, 'regularization': regularization}, values))
  seconds = time.process_time() - start
  work.write('dattri_influence', found, seconds, len(states))


def trak(work):
  """Dattri's TRAK."""
  from dattri import algorithm  # pyrefly: ignore
  from dattri import task as task_lib  # pyrefly: ignore

  def margin(params, batch):
    inputs, labels = batch
    logits = torch.func.functional_call(work.model, params, inputs[None])
    return log_odds(logits, labels[None])[0]

  def chance(params, batch):
    return torch.sigmoid(margin(params, batch))

  found, start = [], time.process_time()
  for regularization in _OF_TRAK:
    task = task_lib.AttributionTask(margin, work.model, work.states)
    attributor = algorithm.TRAKAttributor(
        task,
        correct_probability_func=chance,
        projector_kwargs={'proj_dim': _DIMENSIONS, 'device': 'cpu'},
        regularization=regularization,
    )
    with torch.no_grad():
      attributor.cache(data_lib.DataLoader(work.train, 256))
      values = attributor.attribute(work.loader(work.tests)).numpy()
    options = {'regularization': regularization, 'proj_dim': _DIMENSIONS}
    if np.isfinite(values).all():
      found.append((options, values))
  seconds = time.process_time() - start
  work.write('dattri_trak', found, seconds, len(work.states))


def traker(work):
  """The original TRAK package, where it is installed."""
  from trak import TRAKer  # pyrefly: ignore

  found, start = [], time.process_time()
  for regularization in (0.0, *_OF_TRAK):
    with tempfile.TemporaryDirectory() as folder:
      kept = TRAKer(
          model=work.model,
          task='image_classification',
          train_set_size=len(work.train),
          save_dir=folder,
          device='cpu',
          proj_dim=_DIMENSIONS,
          use_half_precision=False,
          lambda_reg=regularization,
      )
      for number, state in enumerate(work.states):
        kept.load_checkpoint(state, model_id=number)
        for batch in data_lib.DataLoader(work.train, 250):
          kept.featurize(batch=batch, num_samples=len(batch[0]))
      kept.finalize_features()
      for number, state in enumerate(work.states):
        kept.start_scoring_checkpoint(
            exp_name='jdm',
            checkpoint=state,
            model_id=number,
            num_targets=len(work.tests),
        )
        for batch in work.loader(work.tests):
          kept.score(batch=batch, num_samples=len(batch[0]))
      values = np.array(kept.finalize_scores(exp_name='jdm'), np.float32)
    options = {'lambda_reg': regularization, 'proj_dim': _DIMENSIONS}
    if np.isfinite(values).all():
      found.append((options, values))
  seconds = time.process_time() - start
  work.write('traker', found, seconds, len(work.states))


def main():
  """Runs the peers that are installed."""
  warnings.filterwarnings('ignore')
  torch.set_num_threads(1)
  work = Work(sys.argv[1])
  for package, peer in (
      ('dattri', trak),
      ('dattri', influence),
      ('traker', traker),
  ):
    if _has(package):
      peer(work)
    else:
      print(f'{package} is not installed')


if __name__ == '__main__':
  main()
