"""What peers of `compare_attributors` read of a pool, and the rows they become.

`benchmarks/peers/dattri_attributors.py` runs them.
"""

from collections.abc import Mapping
import json
import os
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import numpy as np

from experiments.attributors import cases
from experiments.attributors import methods
from experiments.attributors import rows
from jdm import models
from jdm.attributors import trained as trained_lib
from jdm.interop import dattri
from jdm.models import convolution

_READABLE = ('linear', 'mlp', 'cnn')


def is_readable(setting: cases.Setting) -> bool:
  """Whether peers can be given the models: dense or convolutions, with ReLU."""
  options = setting.recipe.get('model_options', {})
  return (
      setting.targets == 'test'
      and setting.recipe['model'] in _READABLE
      and options.get('activation', 'relu') == 'relu'
  )


class _Convolution(NamedTuple):
  """Of one layer: what PyTorch needs beside its parameters.

  Attributes:
    size: side of the kernel in pixels.
    stride: distance between positions.
    padding: zero pixels on each side.
    into: shape of its inputs, `(channels, height, width)`.
    out: likewise of its outputs.
  """

  size: int
  stride: int
  padding: int
  into: tuple[int, int, int]
  out: tuple[int, int, int]


def export(case: cases.Case) -> str:
  """Writes what peers read: models as PyTorch has them, examples, and targets.

  The models are those that our attributors read at their largest budget, in the
  same order, so that those of a smaller budget are the first of them: how many
  at each is in `about`, with the strides and paddings of convolutions. The
  largest budget's validation models stay here; those of a smaller one are
  beyond its first models, and choose among the candidates of the peers as among
  ours.

  Args:
    case: of a setting that `is_readable`.

  Returns:
    The path of `peers.npz`; beside it lies `ground_truth.npz`.
  """
  budgets = [case.budget(num) for num in sorted(set(case.setting.few))]
  trained = budgets[-1].trained
  to_tree = trained_lib.unravel(trained.model)
  found = _convolutions(trained.model, trained.inputs)
  size = trained.inputs[0].size
  arrays: dict[str, Any] = {}
  every = [_layers(to_tree(flat), size, found) for flat in trained.parameters]
  for number, layers in enumerate(zip(*every)):
    for part, values in zip(('kernel', 'bias'), zip(*layers)):
      arrays[f'{part}_{number}'] = np.stack(values).astype(np.float32)
  for name in ('inputs', 'target_inputs'):
    inputs = getattr(trained, name)
    arrays[name] = inputs.reshape(len(inputs), -1)
    if found:  # Channels are first there, and last here.
      channels, *sides = found[0].into
      images = inputs.reshape(len(inputs), *sides, channels)
      arrays[name] = np.moveaxis(images, -1, 1)
  about = {
      'num_read': {
          str(b.num_models): b.num_models - b.num_val for b in budgets
      },
      'convolutions': [
          {'stride': one.stride, 'padding': one.padding} for one in found
      ],
  }
  path = os.path.join(case.folder, 'peers.npz')
  np.savez(
      path,
      **arrays,
      num_layers=len(every[0]),
      labels=trained.labels,
      target_labels=trained.target_labels,
      masks=trained.masks,
      margins=budgets[-1].outcomes[:1],
      about=json.dumps(about),
  )
  truth = dattri.ground_truth(case.heldout[0], case.heldout[1][0])
  dattri.save(os.path.join(case.folder, 'ground_truth.npz'), truth)
  return path


def _convolutions(
    model: models.Model, inputs: np.ndarray
) -> list[_Convolution]:
  """Those of a model, in the order of their calls."""
  found: list[_Convolution] = []

  def intercept(call, args, kwargs, context):
    output = call(*args, **kwargs)
    layer = context.module
    is_call = context.method_name == '__call__'
    if is_call and isinstance(layer, convolution.Conv):
      into, out = args[0].shape[:3], output.shape[:3]  # The batch is last.
      found.append(
          _Convolution(layer.size, layer.stride, layer.padding, into, out)
      )
    return output

  params, state = jax.eval_shape(model.init, jax.random.key(0))
  some = jax.ShapeDtypeStruct((2, *inputs.shape[1:]), np.float32)
  with nn.intercept_methods(intercept):
    jax.eval_shape(
        lambda p, x: model.apply(p, state, x, False)[0], params, some
    )
  return found


def _layers(
    tree: Any, size: int, convolutions: list[_Convolution]
) -> list[tuple[Any, Any]]:
  """Kernel and bias of each layer as in PyTorch, the last one last.

  Kernels are `[out, in]`, of convolutions `[out, in, height, width]`.
  """
  if not isinstance(tree, Mapping):  # (W; b) of an exactly trained model.
    columns = tree.reshape(size + 1, -1)
    return [(columns[:-1].T, columns[-1])]
  names = sorted(tree, key=lambda name: ('head' in name, name))
  layers = [(tree[name]['kernel'], tree[name]['bias']) for name in names]
  for number, one in enumerate(convolutions):
    kernel, bias = layers[number]
    # From (rows and columns of pixels and channels in, channels out).
    kernel = kernel.reshape(one.size, one.size, -1, len(bias))
    layers[number] = (np.transpose(kernel, (3, 2, 0, 1)), bias)
  if convolutions:  # Its inputs are positions and channels, `[in, out]` here.
    kernel, bias = layers[-1]
    channels, height, width = convolutions[-1].out
    kernel = kernel.reshape(height, width, channels, -1)
    kernel = np.transpose(kernel, (3, 2, 0, 1)).reshape(len(bias), -1)
    layers[-1] = (kernel, bias)
  return layers


def row(case: cases.Case, path: str) -> dict[str, Any]:
  """A row of the table, of scores that another package computed.

  Args:
    case: whose models they are of.
    path: of `peer_NAME_BUDGET.npz`; options and costs are in the `.json` beside
      it.
  """
  stem = path.removesuffix('.npz')
  about = cases.read_json(f'{stem}.json')
  budget = case.budget(about['budget'])
  overlaps = about.get('top_overlap', {})
  with np.load(path) as file:
    found = [
        methods.Candidate(
            values=file[name],
            options=options,
            overlap=overlaps.get(name, float('nan')),
        )
        for name, options in about['candidates'].items()
    ]
  best = methods.choose(budget, found)
  num_read, seconds = about['num_read'], about['cpu_seconds']
  used = num_read + (budget.num_val if len(found) > 1 else 0)
  training = used * case.seconds_a_model
  name = os.path.basename(stem)
  return {
      'method': about['method'],
      'budget': about['budget'],
      'alpha': case.alpha,
      'seed': case.seed,
      **rows.scored(case, best.values, name),
      'num_models': used,
      'gradients': _number(about['gradients']),
      'training_cpu_seconds': training,
      'method_cpu_seconds': seconds,
      'cpu_seconds': training + seconds,
      'cost_over_training': seconds / (num_read * case.seconds_a_model),
      'top_overlap': best.overlap,
      'options': dict(best.options),
      'num_candidates': len(found),
      'versions': about['versions'],
  }


def _number(value: float | None) -> float:
  return float('nan') if value is None else value
