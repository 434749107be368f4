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
    states: `state_dict` of each model, as `nn.Linear` and `nn.Conv2d` have it.
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
    layers = _layers(arrays, about.get('convolutions', []))
    self.model = nn.Sequential(*layers).eval()
    places = [place for place, layer in enumerate(layers) if _has(layer)]
    self.states = [
        _state(arrays, places, row) for row in range(len(self.masks))
    ]
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
      torch.tensor(inputs), torch.tensor(labels).long()
  )


def _has(layer: nn.Module) -> bool:
  return bool(list(layer.parameters()))


def _state(arrays, places, row) -> dict[str, torch.Tensor]:
  state = {}
  for layer, place in enumerate(places):
    for theirs, ours in (('weight', 'kernel'), ('bias', 'bias')):
      state[f'{place}.{theirs}'] = torch.tensor(arrays[f'{ours}_{layer}'][row])
  return state


def _layers(arrays, convolutions) -> list[nn.Module]:
  """Convolutions, dense layers, and what stands between them."""
  parts: list[nn.Module] = []
  for layer in range(int(arrays['num_layers'])):
    num_out, num_in, *size = arrays[f'kernel_{layer}'].shape[1:]
    if size:
      parts.append(nn.Conv2d(num_in, num_out, size, **convolutions[layer]))
    else:
      if layer and layer == len(convolutions):
        parts.append(nn.Flatten())
      parts.append(nn.Linear(num_in, num_out))
    parts.append(nn.ReLU())
  return parts[:-1]


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
