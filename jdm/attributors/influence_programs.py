"""Programs of `influence`: of one model, from its parameters to its scores.

Each is compiled once for a `Setup` and mapped over models by `over_models`. What
they compute is in `influence`.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from jdm import models
from jdm.attributors import gradients
from jdm.attributors import trained as trained_lib
from jdm.outcomes import soft_margin


class Setup(NamedTuple):
  """What a program is made for; hashable.

  Attributes:
    model: whose parameters it gets.
    compute: the outcome, of `(logits, labels)`.
    loss: of an example, likewise.
    curvature: 'margin', 'logits', or 'value' of regression.
    of_margins: whether losses and curvature are functions of the margin alone.
    num_classes: of the logits.
    example_batch: see `influence.scores`.
    target_batch: likewise.
    has_penalties: whether each parameter has a penalty of its own.
    one_damping: factors the matrix instead of decomposing it.
  """

  model: models.Model
  compute: trained_lib.Compute
  loss: gradients.Read
  curvature: str
  of_margins: bool
  num_classes: int
  example_batch: int
  target_batch: int
  has_penalties: bool
  one_damping: bool


def _roots(setup: Setup, logits, labels, real):
  """What logits are mixed by: H_S is the sum of squares of the mixtures.

  Returns:
    `[num, num_classes, num_mixtures]`, 0 for padding.
  """
  if setup.curvature == 'value':
    roots = jnp.ones((*logits.shape, 1), logits.dtype)
  elif setup.curvature == 'margin':
    slope = jax.grad(lambda z: jnp.sum(soft_margin.log_odds(z, labels)))(logits)
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


@functools.lru_cache(maxsize=32)
def dense(setup: Setup):
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
      found = gradients.in_batches(
          of_batch, (inputs, labels), setup.example_batch
      )
      return jnp.moveaxis(found, 1, 0)

    found = gradients.in_batches(
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

  found = gradients.in_batches(margins, (inputs, labels), setup.example_batch)
  missing = jax.nn.sigmoid(-found)  # 1 - p
  roots = jnp.sqrt(jax.nn.sigmoid(found) * missing)[ids] * real
  own = of_some(inputs[ids], labels[ids])
  products = gradients.in_batches(
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
    return jnp.moveaxis(
        gradients.in_batches(of_batch, arrays, setup.example_batch), 1, 0
    )

  found = gradients.in_batches(
      of_targets, (target_inputs, target_labels), setup.target_batch
  )
  return jnp.transpose(found, (2, 1, 0))


@functools.lru_cache(maxsize=32)
def conjugate_gradients(setup: Setup, max_steps: int):
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

      found = gradients.in_batches(
          of_batch, (inputs, labels), setup.example_batch
      )
      return jnp.append(found, steps.astype(found.dtype))

    of_targets = jax.vmap(of_target)
    batch = min(setup.target_batch, 32)
    found = gradients.in_batches(
        of_targets, (target_inputs, target_labels), batch
    )
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
