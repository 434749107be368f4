"""The peers of train_models: the same models in PyTorch, dattri, scikit-learn.

Runs in an environment of its own (`pip install torch dattri scikit-learn`) and
imports nothing of jdm: it reads the examples and the settings from an .npz and
prints one JSON line. Process CPU seconds, one thread, each form once before.

  python torch_loops.py digits.npz mlp

Careful forms in PyTorch: a loop over models (tensor indexing, no DataLoader) and
torch.func (stacked parameters, vmap of grad, in-place updates) at several
widths, the best of which counts. dattri's `retrain_lds` as its users call it: a
DataLoader, and a file of weights for each model. scikit-learn: by default
(lbfgs, to convergence) and by as many passes of SGD. Margins of all examples are
computed in PyTorch's forms, predictions in scikit-learn's, and none in dattri's.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
import warnings

import numpy as np
import torch
from torch import nn
import torch.func
import torch.nn.functional as functional

WIDTHS = {'linear': (64, 256, 1024), 'mlp': (16, 64, 256), 'cnn': (4, 16)}
NUM_LOOPED = {'linear': 5, 'mlp': 5, 'cnn': 2}
REPEATS = {'linear': 3, 'mlp': 3, 'cnn': 1}


class Work:
  """Examples and settings; all forms do this."""

  def __init__(self, path, kind):
    arrays = np.load(path)
    self.kind = kind
    self.inputs = torch.tensor(arrays['train_inputs'])
    self.labels = torch.tensor(arrays['train_labels']).long()
    test = torch.tensor(arrays['test_inputs'])
    self.every_input = torch.cat([self.inputs, test])
    self.every_label = torch.cat(
        [self.labels, torch.tensor(arrays['test_labels']).long()]
    )
    settings = json.loads(str(arrays['settings']))
    self.batch, self.epochs = settings['batch_size'], settings['epochs']
    self.rate, self.decay = settings['learning_rate'], settings['weight_decay']
    self.momentum, self.peak = settings['momentum'], settings['peak']
    self.subset = len(self.inputs) // 2
    self.num_steps = self.subset // self.batch * self.epochs

  def make_net(self):
    """The model, with weights of its own."""
    if self.kind == 'cnn':
      return nn.Sequential(
          nn.Conv2d(1, 16, 5, stride=2),
          nn.ReLU(),
          nn.Conv2d(16, 32, 3, stride=2),
          nn.ReLU(),
          nn.Flatten(),
          nn.Linear(32 * 5 * 5, 10),
      )
    num_features = self.inputs[0].numel()
    if self.kind == 'mlp':
      return nn.Sequential(
          nn.Linear(num_features, 64), nn.ReLU(), nn.Linear(64, 10)
      )
    net = nn.Linear(num_features, 10)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    return net

  def triangular(self, step):
    """Factor of the learning rate."""
    done = (step + 1) / self.num_steps
    return min(
        done / self.peak, (1 - done) / (1 - self.peak) + 1 / self.num_steps
    )

  def optimizer(self, net):
    """SGD with momentum and weight decay."""
    return torch.optim.SGD(
        net.parameters(),
        lr=self.rate,
        momentum=self.momentum,
        weight_decay=self.decay,
    )

  def accuracy(self, read):
    """Of margins `[..., num_examples]`, on the test examples."""
    return (read[..., len(self.inputs) :] > 0).float().mean().item()


def margins(logits, labels):
  own = functional.one_hot(labels, 10).bool()
  others = logits.masked_fill(own, -torch.inf).logsumexp(-1)
  return logits.masked_fill(~own, 0).sum(-1) - others


def loop(work):
  """A loop over models; number of models, test accuracy."""
  right, num_models = 0.0, NUM_LOOPED[work.kind]
  for _ in range(num_models):
    net = work.make_net()
    subset = torch.randperm(len(work.inputs))[: work.subset]
    optimizer = work.optimizer(net)
    step = 0
    for _ in range(work.epochs):
      order = subset[torch.randperm(work.subset)].view(-1, work.batch)
      for rows in order:
        for group in optimizer.param_groups:
          group['lr'] = work.rate * work.triangular(step)
        optimizer.zero_grad()
        logits = net(work.inputs[rows])
        functional.cross_entropy(logits, work.labels[rows]).backward()
        optimizer.step()
        step += 1
    with torch.no_grad():
      logits = torch.cat([net(x) for x in work.every_input.split(500)])
      right += work.accuracy(margins(logits, work.every_label))
  return num_models, right / num_models


def vmapped(work, width):
  """As many models at once; number of models, test accuracy."""
  nets = [work.make_net() for _ in range(width)]
  params, _ = torch.func.stack_module_state(nets)
  params = {name: value.detach() for name, value in params.items()}
  velocity = {name: torch.zeros_like(v) for name, v in params.items()}
  skeleton = work.make_net().to('meta')

  def logits_of(one, x):
    return torch.func.functional_call(skeleton, one, (x,))

  def loss_of(one, x, y):
    return functional.cross_entropy(logits_of(one, x), y)

  gradient = torch.func.vmap(torch.func.grad(loss_of))
  subsets = [
      torch.randperm(len(work.inputs))[: work.subset] for _ in range(width)
  ]
  step = 0
  for _ in range(work.epochs):
    orders = torch.stack([s[torch.randperm(work.subset)] for s in subsets])
    for rows in orders.view(width, -1, work.batch).unbind(1):
      gradients = gradient(params, work.inputs[rows], work.labels[rows])
      scale = work.rate * work.triangular(step)
      for name, value in params.items():
        velocity[name].mul_(work.momentum).add_(gradients[name])
        velocity[name].add_(value, alpha=work.decay)
        value.sub_(velocity[name], alpha=scale)
      step += 1
  with torch.no_grad():
    evaluate = torch.func.vmap(logits_of, in_dims=(0, None))
    parts = [evaluate(params, x) for x in work.every_input.split(500)]
    read = margins(torch.cat(parts, 1), work.every_label.expand(width, -1))
  return width, work.accuracy(read)


def dattri(work):
  """`retrain_lds`; number of models, no accuracy: models are on disk."""
  from dattri.model_util import retrain  # pyrefly: ignore

  def train(loader, seed=None):
    del seed
    net = work.make_net()
    optimizer = work.optimizer(net)
    step = 0
    for _ in range(work.epochs):
      for x, y in loader:
        for group in optimizer.param_groups:
          group['lr'] = work.rate * work.triangular(step)
        optimizer.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        step += 1
    return net

  examples = torch.utils.data.TensorDataset(work.inputs, work.labels)
  loader = torch.utils.data.DataLoader(examples, batch_size=work.batch)
  num_models = NUM_LOOPED[work.kind]
  with tempfile.TemporaryDirectory() as folder:
    with contextlib.redirect_stderr(io.StringIO()):
      retrain.retrain_lds(train, loader, folder, num_models, seed=0)
  return num_models, None


def scikit_learn(work, make):
  """Fits estimators; number of models, test accuracy."""
  inputs, labels = work.inputs.numpy(), work.labels.numpy()
  every = work.every_input.numpy()
  right, num_models = 0.0, 5
  for seed in range(num_models):
    rows = np.random.default_rng(seed).choice(
        len(inputs), work.subset, replace=False
    )
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # It has not converged: as asked.
      fitted = make().fit(inputs[rows], labels[rows])
    found = fitted.predict(every)[len(inputs) :]
    right += np.mean(found == work.every_label[len(inputs) :].numpy())
  return num_models, float(right / num_models)


def estimators(work):
  """scikit-learn's estimators of the same model, by name."""
  from sklearn import linear_model
  from sklearn import neural_network

  if work.kind == 'linear':
    return {
        'sklearn_lbfgs': linear_model.LogisticRegression,
        'sklearn_sgd': lambda: linear_model.SGDClassifier(
            loss='log_loss', max_iter=work.epochs, tol=None
        ),
    }
  if work.kind == 'mlp':
    return {
        'sklearn_mlp': lambda: neural_network.MLPClassifier(
            (64,),
            solver='sgd',
            batch_size=work.batch,
            learning_rate_init=work.rate,
            momentum=work.momentum,
            max_iter=work.epochs,
            n_iter_no_change=work.epochs,
        )
    }
  return {}


def timed(run, repeats):
  run()
  seconds = []
  for _ in range(repeats):
    start = time.process_time()
    num_models, accuracy = run()
    seconds.append((time.process_time() - start) / num_models)
  return {'seconds_per_model': float(np.median(seconds)), 'accuracy': accuracy}


def main(path, kind):
  torch.set_num_threads(1)
  torch.manual_seed(0)
  work = Work(path, kind)
  forms = {'torch_loop': lambda: loop(work)}
  for width in WIDTHS[kind]:
    forms[f'torch_func_{width}'] = lambda width=width: vmapped(work, width)
  forms['dattri'] = lambda: dattri(work)
  for name, make in estimators(work).items():
    forms[name] = lambda make=make: scikit_learn(work, make)
  rows = {name: timed(run, REPEATS[kind]) for name, run in forms.items()}
  print(json.dumps({'torch': torch.__version__, 'rows': rows}))


if __name__ == '__main__':
  main(*sys.argv[1:])
