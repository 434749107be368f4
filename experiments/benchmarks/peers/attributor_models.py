"""The models that jdm trained, as the peers of compare_attributors read them.

Imports nothing of jdm; see dattri_attributors.py.
"""

import json
import os

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils import data as data_lib


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

  def _check(self, expected):
    """The models say here what they said there."""
    inputs, labels = self.tests.tensors
    found = margins(self.model, self.states[0], inputs, labels)
    np.testing.assert_allclose(found.numpy(), expected[0], atol=1e-3)

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


def margins(model, params, inputs, labels):
  with torch.no_grad():
    logits = torch.func.functional_call(model, params, inputs)
    return log_odds(logits, labels)


def loss(model, params, batch):
  inputs, labels = batch
  logits = torch.func.functional_call(model, params, inputs)
  return functional.cross_entropy(logits, labels)


def target(model, params, batch):
  inputs, labels = batch
  logits = torch.func.functional_call(model, params, inputs)
  return -log_odds(logits, labels).mean()


def of_one(function):
  """The same of an example without the axis of a batch."""

  def one(params, batch):
    return function(params, tuple(part[None] for part in batch))

  return one
