r"""Damped Gauss-Newton influence, the mean over models of a pool.

With theta a model trained on a subset S, an example i that is added to it with
a small weight moves the outcome f of a target by

  tau_i = - grad f' (H_S + mu I)^-1 grad loss_i

where H_S is the Gauss-Newton matrix of the sum of losses over S, with the
penalty of the training. Each model has the matrix of its own subset: with that
of all examples the score is far worse, for examples outside S bend the matrix
where the model is wrong about them.

Curvature 'margin' takes a loss as a function of one number, the soft margin m:
softplus(-m), whose second derivative is p (1 - p). 'logits' takes all logits,
which for linear models is the exact Hessian of the cross-entropy.

The matrix is never larger than the smaller of parameters and rows (examples,
or examples times classes). `damping` is relative: mu = damping * trace(H_S) /
|S|, and one eigendecomposition serves many.
"""

from collections.abc import Sequence
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jdm import models
from jdm.attributors import gradients
from jdm.attributors import over_models
from jdm.attributors import scores as scores_lib
from jdm.attributors import trained as trained_lib
from jdm.outcomes import soft_margin
from jdm.solvers import precision

_NAME = 'influence'
_WHO = f'`{_NAME}`'
CURVATURES = ('margin', 'logits')
_MOST_WRITTEN = 20_000  # Parameters beyond which gradients are not written out.


class _Setup(NamedTuple):
  """What a program is made for; hashable."""

  model: models.Model
  compute: trained_lib.Compute
  loss: gradients.Read
  curvature: str
  of_margins: bool  # Whether losses and curvature are functions of the margin.
  num_classes: int
  example_batch: int
  target_batch: int
  has_penalties: bool
  one_damping: bool


def scores(
    trained: trained_lib.Trained,
    *,
    damping: float = 1.0,
    curvature: str = 'margin',
    solver: str = 'auto',
    own_subset: bool = True,
    tol: float = 1e-3,
    max_steps: int = 200,
    example_batch: int = 512,
    target_batch: int = 512,
    float64: bool = False,
    devices: Sequence[jax.Device] | None = None,
    progress: over_models.Progress | None = None,
) -> scores_lib.Scores:
  """Computes the influence of each example on each target.

  Args:
    trained: models of a pool.
    damping: relative to the mean eigenvalue of |S|, see the file; 0 or above.
    curvature: 'margin' or 'logits'; the same for regression.
    solver: 'dense' factors a matrix, 'cg' solves by conjugate gradients and
      writes out neither matrix nor gradients; 'auto' chooses by the number of
      parameters.
    own_subset: whether the matrix is of a model's own subset, or of all.
    tol: of 'cg', the residual relative to the target's gradient.
    max_steps: of 'cg'.
    example_batch: examples whose gradients are held at once.
    target_batch: likewise targets; with `example_batch`, bounds memory beside
      the subset's own rows and products with all examples, `[num_train,
      subset]`.
    float64: computes in float64.
    devices: see `over_models.mean`.
    progress: likewise.

  Returns:
    The scores, in outcome units per inclusion.

  Raises:
    ValueError: on options that make no sense, or scores that are not finite.

  References:
    Koh and Liang, `Understanding black-box predictions via influence functions
    <https://arxiv.org/abs/1703.04730>`_, 2017, §2; Martens, `New insights and
    perspectives on the natural gradient method
    <https://arxiv.org/abs/1412.1193>`_, 2020, §8, for the Gauss-Newton matrix.
  """
  _check(damping, curvature, solver)
  if solver == 'auto':
    is_large = trained.parameters.shape[1] > _MOST_WRITTEN
    solver = 'cg' if is_large else 'dense'
  options = {
      'damping': damping,
      'curvature': curvature,
      'solver': solver,
      'own_subset': own_subset,
  }
  if solver == 'dense':
    return path(
        trained,
        dampings=(damping,),
        curvature=curvature,
        own_subset=own_subset,
        example_batch=example_batch,
        target_batch=target_batch,
        float64=float64,
        devices=devices,
        progress=progress,
    )[0]
  setup = _setup(trained, curvature, example_batch, target_batch, True)
  program = _conjugate_gradients(setup, max_steps)
  shared = (np.float32(damping), np.float32(tol))
  found, steps = _mean(
      program, trained, own_subset, shared, float64, devices, progress
  )
  per_model = 2 * trained.num_targets * float(steps) * _size(trained)
  return _finish(trained, found, options, int(per_model * trained.num_models))


def path(
    trained: trained_lib.Trained,
    *,
    dampings: Sequence[float],
    curvature: str = 'margin',
    own_subset: bool = True,
    example_batch: int = 512,
    target_batch: int = 512,
    float64: bool = False,
    devices: Sequence[jax.Device] | None = None,
    progress: over_models.Progress | None = None,
) -> list[scores_lib.Scores]:
  """Computes `scores` at several dampings, for little more than one.

  Arguments are those of `scores`, solved densely.

  Returns:
    One for each damping.

  Raises:
    ValueError: as `scores`, or if there is no damping.
  """
  for damping in dampings:
    _check(damping, curvature, 'dense')
  if not len(dampings):
    raise ValueError(f'{_WHO} expects at least one damping, got none.')
  setup = _setup(
      trained, curvature, example_batch, target_batch, len(dampings) == 1
  )
  shared = (np.asarray(dampings, np.float32),)
  found = _mean(
      _dense(setup), trained, own_subset, shared, float64, devices, progress
  )
  return [
      _finish(
          trained,
          values,
          {
              'damping': float(damping),
              'curvature': curvature,
              'solver': 'dense',
              'own_subset': own_subset,
          },
          _num_gradients(trained, curvature, own_subset),
      )
      for damping, values in zip(dampings, found)
  ]


def _check(damping: float, curvature: str, solver: str) -> None:
  if not damping >= 0 or not np.isfinite(damping):
    raise ValueError(f'{_WHO} expects a damping of 0 or above, got {damping}.')
  if curvature not in CURVATURES:
    raise ValueError(
        f'{_WHO} expects curvature of {list(CURVATURES)}, got {curvature!r}.'
    )
  if solver not in ('auto', 'dense', 'cg'):
    raise ValueError(
        f"{_WHO} expects solver 'auto', 'dense' or 'cg', got {solver!r}."
    )


def _setup(trained, curvature, example_batch, target_batch, one) -> _Setup:
  if min(example_batch, target_batch) < 1:
    raise ValueError(f'{_WHO} expects batches of at least 1.')
  is_regression = trained.is_regression
  shape = jax.eval_shape(
      lambda x: trained_lib.logits(
          trained.model, jnp.zeros(trained.parameters.shape[1]), x
      ),
      jax.ShapeDtypeStruct((2, *trained.inputs.shape[1:]), jnp.float32),
  )
  loss = gradients.losses(trained.config)
  curvature = 'value' if is_regression else curvature
  return _Setup(
      model=trained.model,
      compute=trained.compute,
      loss=loss,
      curvature=curvature,
      of_margins=curvature == 'margin' and loss == gradients.losses(None),
      num_classes=shape.shape[1],
      example_batch=min(example_batch, trained.num_train),
      target_batch=min(target_batch, trained.num_targets),
      has_penalties=trained.penalties is not None,
      one_damping=one,
  )


def _mean(program, trained, own_subset, shared, float64, devices, progress):
  """The mean over models of what a program finds."""
  if own_subset:
    ids, real = trained.subset_rows()
  else:
    ids = np.tile(np.arange(trained.num_train), (trained.num_models, 1))
    real = np.ones(ids.shape, np.float32)
  penalties = trained.penalties
  if penalties is None:
    # Of the mean loss over the steps, times the examples: of the sum.
    sizes = trained.masks.sum(axis=1, dtype=np.float64)
    per_model = trained.weight_decay * sizes
  else:
    per_model = np.zeros(trained.num_models)
  dtype = np.float64 if float64 else np.float32
  pad = np.zeros(1) if penalties is None else penalties
  data = (
      trained.inputs,
      trained.labels,
      trained.target_inputs,
      trained.target_labels,
      pad,
      *shared,
  )
  rows = list(zip(trained.parameters, ids, real, per_model))
  if float64:
    with precision.float64():
      return over_models.mean(
          program,
          _cast(rows, dtype),
          _cast(data, dtype),
          counted=trained.counted(),
          devices=devices,
          progress=progress,
      )
  return over_models.mean(
      program,
      _cast(rows, dtype),
      _cast(data, dtype),
      counted=trained.counted(),
      devices=devices,
      progress=progress,
  )


def _cast(tree: Any, dtype: Any) -> Any:
  def one(leaf):
    leaf = np.asarray(leaf)
    is_real = np.issubdtype(leaf.dtype, np.floating)
    return leaf.astype(dtype) if is_real else leaf.astype(np.int32)

  return jax.tree.map(one, tree)


def _finish(trained, values, options, num_gradients) -> scores_lib.Scores:
  return scores_lib.Scores(
      values=np.asarray(values, np.float32),
      method=_NAME,
      units='outcome units',
      num_models=trained.num_models,
      gradients=num_gradients,
      options=options,
  )


def _size(trained) -> float:
  return float(trained.masks.sum(axis=1).mean())


def _num_gradients(trained, curvature, own_subset) -> int:
  rows = _size(trained) if own_subset else trained.num_train
  if curvature == 'logits' and not trained.is_regression:
    rows *= len(np.unique(trained.labels))
  per_model = trained.num_train + trained.num_targets + rows
  return int(per_model * trained.num_models)


# --- Programs of one model.


def _roots(setup: _Setup, logits, labels, real):
  """What logits are mixed by: H_S is the sum of squares of the mixtures.

  Returns:
    `[num, num_classes, num_mixtures]`, 0 for padding.
  """
  if setup.curvature == 'value':
    roots = jnp.ones((*logits.shape, 1), logits.dtype)
  elif setup.curvature == 'margin':
    margin, slope = jax.value_and_grad(
        lambda z: jnp.sum(soft_margin.log_odds(z, labels)), has_aux=False
    )(logits)
    del margin
    odds = soft_margin.log_odds(logits, labels)
    roots = jnp.sqrt(jax.nn.sigmoid(odds) * jax.nn.sigmoid(-odds))
    roots = (roots[:, None] * slope)[:, :, None]
  else:
    chance = jax.nn.softmax(logits)
    root = jnp.sqrt(chance)
    own = jnp.eye(logits.shape[1], dtype=logits.dtype)[None] * root[:, :, None]
    roots = own - chance[:, :, None] * root[:, None, :]
  return roots * real[:, None, None]


def _curvature_rows(setup, flat, inputs, labels, real, factored):
  return gradients.of_logits(
      setup.model,
      flat,
      inputs,
      lambda z: _roots(setup, z, labels, real),
      factored=factored,
  )


def in_batches(function, arrays, size: int):
  """`function` over batches of the first axis, padded with the first row."""
  num = len(arrays[0])
  count = -(-num // size)
  place = np.arange(count * size).reshape(count, size)
  place = jnp.asarray(np.where(place < num, place, 0))
  found = lax.map(lambda rows: function(*(a[rows] for a in arrays)), place)
  return found.reshape(count * size, *found.shape[2:])[:num]


@functools.lru_cache(maxsize=32)
def _dense(setup: _Setup):
  """The program of one model: `[num_dampings, num_train, num_targets]`."""

  def one(flat, ids, real, penalty, *data):
    inputs, labels, target_inputs, target_labels, penalties, dampings = data
    rows = len(ids) * (setup.num_classes if setup.curvature == 'logits' else 1)
    in_parameters = setup.has_penalties or len(flat) <= rows
    if not in_parameters and setup.of_margins:
      return _from_products(setup, flat, ids, real, penalty, data)
    factored = not setup.has_penalties
    curved = _curvature_rows(
        setup, flat, inputs[ids], labels[ids], real, factored
    )
    solve = _solver(
        setup,
        curved,
        jnp.sum(real),
        penalty,
        penalties,
        dampings,
        in_parameters,
    )

    def of_targets(some_inputs, some_labels):
      targets = gradients.of_examples(
          setup.model,
          flat,
          some_inputs,
          some_labels,
          setup.compute,
          factored=factored,
      )
      against = solve(targets)

      def of_batch(some_inputs, some_labels):
        return against(
            gradients.of_examples(
                setup.model,
                flat,
                some_inputs,
                some_labels,
                setup.loss,
                factored=factored,
            )
        )

      # [num_train, num_targets, num_dampings]
      found = in_batches(of_batch, (inputs, labels), setup.example_batch)
      return jnp.moveaxis(found, 1, 0)

    found = in_batches(
        of_targets, (target_inputs, target_labels), setup.target_batch
    )
    return -jnp.transpose(found, (2, 1, 0))

  return jax.jit(one)


def _solver(setup, curved, size, penalty, penalties, dampings, in_parameters):
  """Solves with the damped matrix of one model.

  Returns:
    `solve(targets) -> against(rows) -> [num_rows, num_targets, num_dampings]`,
    the products of gradients with solutions.
  """
  if in_parameters:
    written = gradients.written_out(curved)
    matrix = written.T @ written
  else:
    matrix = gradients.inner(curved, curved)
  mus, project, divide = _damped(
      setup, matrix, size, penalty, penalties, dampings
  )

  def solve(targets):
    if in_parameters:
      solution = divide(gradients.written_out(targets).T)

      def against(rows):
        left = project(gradients.written_out(rows))
        return jnp.einsum('rp,ptc->rtc', left, solution)

      return against
    solution = divide(gradients.inner(curved, targets))

    def against_dual(rows):
      left = project(gradients.inner(rows, curved))
      explained = jnp.einsum('rp,ptc->rtc', left, solution)
      whole = gradients.inner(rows, targets)[:, :, None]
      return (whole - explained) / mus[None, None]

    return against_dual

  return solve


def _damped(setup, matrix, size, penalty, penalties, dampings):
  """Dampings `[num_dampings]`, and what divides by the damped matrix.

  `project(left) @ divide(right)[:, :, c]` is the product with a solution.
  """
  mus = dampings * jnp.trace(matrix) / size + penalty
  if setup.has_penalties:
    matrix = matrix + jnp.diag(penalties)
  # Nothing to divide by, where a model fits its whole subset.
  mus = jnp.maximum(mus, jnp.finfo(matrix.dtype).tiny ** 0.5)
  if setup.one_damping:
    eye = jnp.eye(len(matrix), dtype=matrix.dtype)
    factor = jax.scipy.linalg.cho_factor(matrix + mus[0] * eye)
    solve = lambda right: jax.scipy.linalg.cho_solve(factor, right)[:, :, None]
    return mus, lambda left: left, solve
  values, vectors = jnp.linalg.eigh(matrix)
  damped = 1 / (jnp.maximum(values, 0)[:, None] + mus[None])

  def divide(right):
    return (vectors.T @ right)[:, :, None] * damped[:, None, :]

  return mus, lambda left: left @ vectors, divide


def _from_products(setup, flat, ids, real, penalty, data):
  """The program of one model where only the gradients of margins matter.

  Those of the losses are -(1 - p) times them, so that one product of all
  examples with the subset, `[num_train, num_rows]`, holds the subset's matrix.
  """
  inputs, labels, target_inputs, target_labels, penalties, dampings = data

  def of_some(some_inputs, some_labels):
    return gradients.of_examples(
        setup.model, flat, some_inputs, some_labels, soft_margin.log_odds
    )

  def margins(some_inputs, some_labels):
    logits = trained_lib.logits(setup.model, flat, some_inputs)
    return soft_margin.log_odds(logits, some_labels)

  found = in_batches(margins, (inputs, labels), setup.example_batch)
  missing = jax.nn.sigmoid(-found)  # 1 - p
  roots = jnp.sqrt(jax.nn.sigmoid(found) * missing)[ids] * real
  own = of_some(inputs[ids], labels[ids])
  products = in_batches(
      lambda *some: gradients.inner(of_some(*some), own),
      (inputs, labels),
      setup.example_batch,
  )
  left = products * roots[None]
  matrix = left[ids] * roots[:, None]
  mus, project, divide = _damped(
      setup, matrix, jnp.sum(real), penalty, penalties, dampings
  )
  left = project(left)

  def of_targets(some_inputs, some_labels):
    targets = gradients.of_examples(
        setup.model, flat, some_inputs, some_labels, setup.compute
    )
    solution = divide(gradients.inner(own, targets) * roots[:, None])

    def of_batch(some_inputs, some_labels, some_left, some_missing):
      whole = gradients.inner(of_some(some_inputs, some_labels), targets)
      explained = jnp.einsum('rp,ptc->rtc', some_left, solution)
      rest = (whole[:, :, None] - explained) / mus[None, None]
      return rest * some_missing[:, None, None]

    arrays = (inputs, labels, left, missing)
    return jnp.moveaxis(in_batches(of_batch, arrays, setup.example_batch), 1, 0)

  found = in_batches(
      of_targets, (target_inputs, target_labels), setup.target_batch
  )
  return jnp.transpose(found, (2, 1, 0))


@functools.lru_cache(maxsize=32)
def _conjugate_gradients(setup: _Setup, max_steps: int):
  """The program of one model: `[num_train, num_targets]`, and mean steps."""

  def one(flat, ids, real, penalty, *data):
    inputs, labels, target_inputs, target_labels, penalties, damping, tol = data
    ids, real = _padded(ids, real, setup.example_batch)
    size = jnp.sum(real)

    def trace(total, batch):
      some, kept = batch
      rows = _curvature_rows(
          setup, flat, inputs[some], labels[some], kept, True
      )
      return total + jnp.sum(gradients.squares(rows)), None

    whole, _ = lax.scan(trace, jnp.zeros((), flat.dtype), (ids, real))
    mu = damping * whole / size + penalty
    extra = penalties if setup.has_penalties else 0.0

    def product(vector):
      def add(total, batch):
        some, kept = batch
        at = lambda flat: trained_lib.logits(setup.model, flat, inputs[some])
        logits, moved = jax.jvp(at, (flat,), (vector,))
        roots = _roots(setup, logits, labels[some], kept)
        mixed = jnp.einsum('nkm,nk->nm', roots, moved)
        back = jnp.einsum('nkm,nm->nk', roots, mixed)
        return total + jax.vjp(at, flat)[1](back)[0], None

      total, _ = lax.scan(add, jnp.zeros_like(flat), (ids, real))
      return total + (mu + extra) * vector

    def of_target(single, label):
      def value(flat):
        logits = trained_lib.logits(setup.model, flat, single[None])
        return setup.compute(logits, label[None])[0]

      slope = jax.grad(value)(flat)
      solution, steps = _solve_by_steps(product, slope, tol, max_steps)

      def of_batch(some_inputs, some_labels):
        def read(flat):
          logits = trained_lib.logits(setup.model, flat, some_inputs)
          return setup.loss(logits, some_labels)

        return -jax.jvp(read, (flat,), (solution,))[1]

      found = in_batches(of_batch, (inputs, labels), setup.example_batch)
      return jnp.append(found, steps.astype(found.dtype))

    of_targets = jax.vmap(of_target)
    batch = min(setup.target_batch, 32)
    found = in_batches(of_targets, (target_inputs, target_labels), batch)
    return found[:, :-1].T, jnp.mean(found[:, -1])

  return jax.jit(one)


def _padded(ids, real, size: int):
  """Batches `[count, size]` of a subset's ids, and which are real."""
  padding = -len(ids) % size
  ids, real = jnp.pad(ids, (0, padding)), jnp.pad(real, (0, padding))
  return ids.reshape(-1, size), real.reshape(-1, size)


def _solve_by_steps(product, right, tol, max_steps: int):
  """Conjugate gradients; returns the solution and the steps taken."""
  goal = tol**2 * jnp.sum(right**2)

  def is_open(state):
    _, _, _, energy, steps = state
    return (energy > goal) & (steps < max_steps)

  def step(state):
    solution, residual, direction, energy, steps = state
    image = product(direction)
    length = energy / jnp.sum(direction * image)
    solution = solution + length * direction
    residual = residual - length * image
    fresh = jnp.sum(residual**2)
    direction = residual + fresh / energy * direction
    return solution, residual, direction, fresh, steps + 1

  start = (jnp.zeros_like(right), right, right, jnp.sum(right**2), jnp.int32(0))
  solution, _, _, _, steps = lax.while_loop(is_open, step, start)
  return solution, steps
