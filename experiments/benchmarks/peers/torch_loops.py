"""The peer of train_models: the same models in PyTorch, one thread.

Runs in an environment of its own (`pip install torch numpy`) and imports
nothing of jdm: it reads the examples from an .npz and prints one JSON line.

  python torch_loops.py digits.npz mlp 0.1 5e-4

Two careful forms: a loop over models (tensor indexing, no DataLoader, one
thread) and torch.func (stacked parameters, vmap of grad, in-place updates) at
several widths, the best of which counts. Margins of all examples are computed
in both.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn
import torch.func
import torch.nn.functional as functional

BATCH, EPOCHS, SUBSET, MOMENTUM, PEAK = 50, 10, 750, 0.9, 0.2
STEPS = SUBSET // BATCH * EPOCHS
WIDTHS = {'linear': (64, 256, 1024), 'mlp': (16, 64, 256)}


def make_net(kind):
  if kind == 'mlp':
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
  net = nn.Linear(64, 10)
  nn.init.zeros_(net.weight)
  nn.init.zeros_(net.bias)
  return net


def triangular(step):
  done = (step + 1) / STEPS
  return min(done / PEAK, (1 - done) / (1 - PEAK) + 1 / STEPS)


def margins(logits, labels):
  own = functional.one_hot(labels, 10).bool()
  others = logits.masked_fill(own, -torch.inf).logsumexp(-1)
  return logits.masked_fill(~own, 0).sum(-1) - others


def loop(kind, rate, decay, data, num_models):
  inputs, labels, every_input, every_label = data
  right = 0.0
  for _ in range(num_models):
    net = make_net(kind)
    subset = torch.randperm(len(inputs))[:SUBSET]
    optimizer = torch.optim.SGD(
        net.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=decay
    )
    step = 0
    for _ in range(EPOCHS):
      order = subset[torch.randperm(SUBSET)].view(-1, BATCH)
      for rows in order:
        for group in optimizer.param_groups:
          group['lr'] = rate * triangular(step)
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(inputs[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        step += 1
    with torch.no_grad():
      read = margins(net(every_input), every_label)
    right += (read[len(inputs) :] > 0).float().mean().item()
  return right / num_models


def vmapped(kind, rate, decay, data, width):
  inputs, labels, every_input, every_label = data
  nets = [make_net(kind) for _ in range(width)]
  params, _ = torch.func.stack_module_state(nets)
  params = {name: value.detach() for name, value in params.items()}
  velocity = {name: torch.zeros_like(v) for name, v in params.items()}
  skeleton = make_net(kind).to('meta')

  def logits_of(one, x):
    return torch.func.functional_call(skeleton, one, (x,))

  def loss_of(one, x, y):
    return functional.cross_entropy(logits_of(one, x), y)

  gradient = torch.func.vmap(torch.func.grad(loss_of))
  subsets = [torch.randperm(len(inputs))[:SUBSET] for _ in range(width)]
  step = 0
  for _ in range(EPOCHS):
    orders = torch.stack([s[torch.randperm(SUBSET)] for s in subsets])
    for rows in orders.view(width, -1, BATCH).unbind(1):
      gradients = gradient(params, inputs[rows], labels[rows])
      scale = rate * triangular(step)
      for name, value in params.items():
        velocity[name].mul_(MOMENTUM).add_(gradients[name])
        velocity[name].add_(value, alpha=decay)
        value.sub_(velocity[name], alpha=scale)
      step += 1
  with torch.no_grad():
    logits = torch.func.vmap(logits_of, in_dims=(0, None))(params, every_input)
    read = margins(logits, every_label.expand(width, -1))
  return (read[:, len(inputs) :] > 0).float().mean().item()


def timed(run, num_models, repeats=3):
  run()
  seconds = []
  for _ in range(repeats):
    start = time.process_time()
    accuracy = run()
    seconds.append((time.process_time() - start) / num_models)
  return {'seconds_per_model': float(np.median(seconds)), 'accuracy': accuracy}


def main(path, kind, rate, decay):
  torch.set_num_threads(1)
  torch.manual_seed(0)
  arrays = np.load(path)
  inputs = torch.tensor(arrays['train_inputs'])
  labels = torch.tensor(arrays['train_labels']).long()
  every_input = torch.cat([inputs, torch.tensor(arrays['test_inputs'])])
  every_label = torch.cat([labels, torch.tensor(arrays['test_labels']).long()])
  data = (inputs, labels, every_input, every_label)
  rows = {'torch_loop': timed(lambda: loop(kind, rate, decay, data, 5), 5)}
  for width in WIDTHS[kind]:
    rows[f'torch_func_{width}'] = timed(
        lambda: vmapped(kind, rate, decay, data, width), width
    )
  print(json.dumps({'torch': torch.__version__, 'rows': rows}))


if __name__ == '__main__':
  main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
