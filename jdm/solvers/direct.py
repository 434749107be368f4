"""LASSO paths from the masks themselves, without their Gram matrix.

An update costs two products with the masks, 4 m n flops a target, against
2 n^2 on the Gram matrix: the better route for m < n / 2. It is also the route
for targets that leave models out, each its own (a target that is a training
example is fitted to the models that did not train on it): every target would
need its own Gram matrix, and has its own residuals anyway. That of all models
leads these targets' sweeps where it is near: `preconditioned`.

Masks stay 0/1 in every product. Residuals sum to zero over the models of a
target, so their products with raw and with centred masks are the same.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdm.solvers import centred
from jdm.solvers import certificate
from jdm.solvers import homotopy
from jdm.solvers import moments as moments_lib
from jdm.solvers import options as options_lib
from jdm.solvers import penalties
from jdm.solvers import plans
from jdm.solvers import precision
from jdm.solvers import preconditioned
from jdm.solvers import proximal
from jdm.solvers import stages
from jdm.solvers import tiles

_NUM_SWEEPS = 3  # For each product with all masks that certifies.
_TILE = 128  # Targets at once, to summarize and certify.


def _block_gram(columns: jax.Array) -> jax.Array:
  """Centred Gram matrix of columns [block, num_models], over all models."""
  num_models = columns.shape[1]
  mean = jnp.mean(columns, axis=1)
  return columns @ columns.T / num_models - mean[:, None] * mean[None]


def masks_sweep(
    columns: jax.Array,
    rows: tuple[jax.Array, jax.Array],
    point: tuple[jax.Array, jax.Array, jax.Array],
    penalty: penalties.Penalty,
    rate: jax.Array,
    *,
    block: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Passes a few times over the active blocks, then updates correlations.

  The Gram matrix of all models stands for that of a target's models within a
  block; where that is too bold, `rate` comes down.

  Args:
    columns: `[num_train, num_models]`, masks in the dtype of the products.
    rows: kept `[num_targets, num_models]`, 1 for the models of a target, and
      their count `[num_targets]`.
    point: weights, correlations (each `[num_targets, num_train]`) and
      residuals `[num_targets, num_models]`, float64.
    penalty: of the targets.
    rate: `[num_targets]`, shortens steps.
    block: coordinates at once.

  Returns:
    The new point.
  """
  num_train, narrow = len(columns), columns.dtype
  kept, count = rows
  moving = penalty.moving(point[1], point[0])
  order, num_blocks = proximal.active_first(jnp.any(moving, axis=0), block)
  penalty, rate = penalty.astype(narrow), rate.astype(narrow)

  def correlate(residual, some):
    product = residual.astype(narrow) @ some.T
    return product / count.astype(narrow)[:, None]

  def solve(i, carry):
    weights, residual = carry
    start = jnp.minimum(i % num_blocks * block, num_train - block)
    ids = jax.lax.dynamic_slice(order, (start,), (block,))
    some = columns.at[ids].get(mode='promise_in_bounds')
    old = jnp.take(weights, ids, axis=1, mode='clip')
    own = _block_gram(some)
    new = proximal.solve_block(
        old.astype(narrow),
        correlate(residual, some),
        own,
        penalty.take(ids),
        proximal.step_size(own) * rate,
    ).astype(old.dtype)
    change = (new - old).astype(narrow)
    residual -= centred.centre(
        (change @ some).astype(residual.dtype), kept, count
    )
    weights = weights.at[:, ids].set(
        new, mode='promise_in_bounds', unique_indices=True
    )
    return weights, residual

  carry = point[0], point[2]
  weights, residual = jax.lax.fori_loop(
      0, _NUM_SWEEPS * num_blocks, solve, carry
  )
  # Rounding adds up to a drift.
  residual = centred.centre(residual, kept, count)
  correlation = correlate(residual, columns).astype(weights.dtype)
  return weights, correlation, residual


@functools.partial(jax.jit, static_argnames=('max_epochs', 'block'))
def _advance(
    shared, problem, state, tol, limit, curvature, *, max_epochs, block
):
  """Follows the paths of a tile; see `homotopy.follow`."""
  columns, gram = shared

  def sweep(point, penalty, rate):
    rest = point, penalty, rate
    if gram is None:
      return masks_sweep(columns, problem.rows[:2], *rest, block=block)
    return preconditioned.sweep(columns, gram, problem.rows, *rest, block=block)

  return homotopy.follow(
      sweep,
      problem,
      state,
      tol=tol,
      limit=limit,
      curvature=curvature,
      max_epochs=max_epochs,
      # Of few models some are far from the Gram matrix of all.
      bold=True,
  )


@jax.jit
def _residuals(columns, outcomes, weights, kept, count):
  """Residuals [tile, num_models] of weights [tile, num_train]."""
  return centred.centre(outcomes - weights @ columns, kept, count)


@jax.jit
def _gap(columns, outcomes, weights, penalty, kept, count):
  """Absolute gaps and variances of a tile, from the masks."""
  residual = _residuals(columns, outcomes, weights, kept, count)
  correlation = residual @ columns.T / count[:, None]
  square = jnp.sum(residual**2, axis=1) / count
  return certificate.duality_gap(weights, correlation, square, penalty)


@jax.jit
def _summarize(columns, outcomes, kept, count):
  """Products of centred outcomes with masks, and means of masks."""
  cross = outcomes @ columns.T / count[:, None]
  return cross, kept @ columns.T / count[:, None]


def kept_models(masks: np.ndarray, own_ids: np.ndarray | None, targets: Any):
  """Models that count for some targets: those that did not train on them.

  Args:
    masks: bool `[num_models, num_train]`.
    own_ids: int `[num_targets]`, the target's column or -1; None for none.
    targets: indices of targets.

  Returns:
    bool `[len(targets), num_models]`.
  """
  if own_ids is None:
    return np.ones((len(targets), len(masks)), bool)
  own = own_ids[targets]
  return ~(masks[:, own].T & (own >= 0)[:, None])


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Rows:
  """Masks, outcomes and who counts for whom, on the host."""

  masks: np.ndarray  # bool [num_models, num_train]
  outcomes: np.ndarray  # [num_models, num_targets]
  own_ids: np.ndarray | None

  def own(self, targets: np.ndarray) -> np.ndarray:
    """Own columns of some targets, -1 for none."""
    if self.own_ids is None:
      return np.full(len(targets), -1)
    return self.own_ids[targets]

  def load(self, targets: np.ndarray):
    """Centred outcomes, kept and count of some targets; float64."""
    kept = kept_models(self.masks, self.own_ids, targets)
    count = kept.sum(axis=1)
    rows = self.outcomes[:, targets].T.astype(np.float64)
    # From the first kept outcome on: a constant comes out as exactly 0.
    first = rows[np.arange(len(rows)), kept.argmax(axis=1)]
    rows = (rows - first[:, None]) * kept
    mean = rows.sum(axis=1) / count
    return (rows - mean[:, None]) * kept, kept, count, first + mean

  def tiles(self):
    """Targets, a tile at a time."""
    num_targets = self.outcomes.shape[1]
    for start in range(0, num_targets, _TILE):
      yield np.arange(start, min(start + _TILE, num_targets))

  def summary(self, device: jax.Device) -> plans.Summary:
    """Means, variances and products with the masks."""
    num_train, num_targets = self.masks.shape[1], self.outcomes.shape[1]
    cross, mean_masks = np.zeros((2, num_targets, num_train))
    variance, mean_outcome = np.zeros((2, num_targets))
    num_models = len(self.masks)
    with precision.float64(), jax.default_device(device):
      columns = jnp.asarray(self.masks.T, jnp.float64)
      for targets in self.tiles():
        rows, kept, count, mean = self.load(targets)
        found = _summarize(
            columns, rows, kept.astype(np.float64), count.astype(np.float64)
        )
        cross[targets], mean_masks[targets] = map(np.asarray, found)
        variance[targets] = (rows**2).sum(axis=1) / count
        mean_outcome[targets] = mean
        num_models = min(num_models, int(count.min()))
    return plans.Summary(
        cross=cross.T,
        variance=variance,
        mean_masks=mean_masks,
        mean_outcome=mean_outcome,
        num_models=num_models,
    )

  def certify(self, variance, device, options, weights, lam) -> np.ndarray:
    """Relative gaps [num_kept, num_targets] of weights [num_kept, n, t]."""
    gaps = np.zeros(lam.shape)
    with precision.float64(), jax.default_device(device):
      columns = jnp.asarray(self.masks.T, jnp.float64)
      for targets in self.tiles():
        rows, kept, count, _ = self.load(targets)
        kept, count = kept.astype(np.float64), count.astype(np.float64)
        factor = options.factors(targets)
        for index in range(len(lam)):
          some = weights[index][:, targets].T.astype(np.float64)
          penalty = penalties.of(
              jnp.asarray(lam[index, targets]),
              None if factor is None else jnp.asarray(factor),
              options.l1_ratio,
              options.positive,
          )
          gap = _gap(columns, rows, some, penalty, kept, count)
          gaps[index, targets] = np.asarray(gap)
    return certificate.relative(gaps, variance[None])


@dataclasses.dataclass(frozen=True, kw_only=True)
class _MasksRoute(tiles.OneDevice):
  """Sweeps on the masks, led by the Gram matrix of all models or not."""

  rows: _Rows
  by_gram: bool
  scale: np.ndarray
  start: np.ndarray | None  # [num_targets, num_train]
  narrow: str
  block: int

  def place(self):
    columns = jnp.asarray(self.rows.masks.T, self.narrow)
    if not self.by_gram:
      return columns, None
    (device,) = columns.devices()
    copies = proximal.keeps_copies(device, len(columns))
    return columns, preconditioned.gram(columns, self.block, copies)

  def load(self, shared, targets, tile):
    every = np.arange(len(targets))
    outcomes, kept, count, _ = self.rows.load(targets)
    outcomes = outcomes / self.scale[targets][:, None]
    outcomes = jnp.asarray(tiles.pad_rows(outcomes, every, tile))
    kept = jnp.asarray(tiles.pad_rows(kept, every, tile))
    # Empty rows of the tile count one model, not to divide by zero.
    padded = tiles.pad_rows(count, every, tile)
    count = jnp.asarray(np.maximum(padded, 1))
    own = jnp.asarray(tiles.pad_rows(self.rows.own(targets), every, tile))
    residual, columns = outcomes, shared[0].astype(jnp.float64)
    weights = jnp.zeros((tile, len(columns)))
    if self.start is not None:
      weights = jnp.asarray(tiles.pad_rows(self.start, targets, tile))
      residual = _residuals(columns, outcomes, weights, kept, count)
    correlation = residual @ columns.T / count[:, None]
    return (kept, count, own), (weights, correlation, residual)

  def advance(self, shared, *args, **options):
    return _advance(shared, *args, block=self.block, **options)


def check_own_ids(own_ids: Any, num_train: int, num_targets: int) -> np.ndarray:
  """The targets' own columns as int64, or an error that says what is wrong."""
  own_ids = np.asarray(own_ids)
  if own_ids.shape != (num_targets,) or not np.issubdtype(
      own_ids.dtype, np.integer
  ):
    raise ValueError(
        f'own_ids must be {num_targets} integers, the column of masks that is'
        f' each target (-1 for none), got {own_ids.dtype} of shape'
        f' {own_ids.shape}.'
    )
  if own_ids.min(initial=0) < -1 or own_ids.max(initial=0) >= num_train:
    raise ValueError(
        f'own_ids must lie from -1 to {num_train - 1}, got'
        f' {own_ids.min()} to {own_ids.max()}.'
    )
  return own_ids.astype(np.int64)


def check_counts(masks, own_ids, least: int, kind: str) -> None:
  """Raises ValueError unless each target has models that leave it out."""
  own = own_ids[own_ids >= 0]
  held = masks.sum(axis=0)[own]
  short = int(np.sum(len(masks) - held < least))
  if short:
    raise ValueError(
        f'{short} of {len(own_ids)} targets have fewer than {least} {kind}'
        ' models that did not train on them; add models or drop the targets.'
    )


def lasso_path(
    masks: Any,
    outcomes: np.ndarray,
    *,
    own_ids: Any = None,
    **options: Any,
) -> stages.LassoPath:
  """Solves the LASSO of every target along its path, from the masks.

  The problem, its options and its results are those of `path.lasso_path`; a
  target with an own column is fitted to, validated on and certified by the
  models that leave it out, and m is their number.

  Args:
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`.
    outcomes: `[num_models, num_targets]`, finite.
    own_ids: int `[num_targets]`, the target's own column or -1.
    **options: of `path.lasso_path`.

  Returns:
    The path. The weight of a target's own column is 0.

  Raises:
    ValueError: if shapes, dtypes or options do not make sense.
  """
  masks, outcomes = moments_lib.unpack(masks), np.asarray(outcomes)
  if len(masks) < 2 or outcomes.ndim != 2 or len(outcomes) != len(masks):
    raise ValueError(
        '`direct.lasso_path` expects outcomes of shape [num_models,'
        ' num_targets] for the 2 masks or more, got masks of shape'
        f' {masks.shape} and outcomes of shape {outcomes.shape}.'
    )
  shape = masks.shape[1], outcomes.shape[1]
  factor = options_lib.check_factor(options.pop('factor', None), shape)
  settings = options_lib.Options(factor=factor, **options)
  counted = None
  if own_ids is not None:
    own_ids = check_own_ids(own_ids, masks.shape[1], outcomes.shape[1])
    check_counts(masks, own_ids, 2, 'fitted')
    if settings.val_masks is not None:
      val_masks = moments_lib.unpack(settings.val_masks)
      check_counts(val_masks, own_ids, 1, 'validation')
      counted = kept_models(val_masks, own_ids, np.arange(len(own_ids)))
  device = settings.local_devices()[0]
  rows = _Rows(masks=masks, outcomes=outcomes, own_ids=own_ids)
  summary = rows.summary(device)
  by_gram = own_ids is not None and preconditioned.applies(
      summary.num_models, *masks.shape
  )

  def make_route(start, scale, narrow):
    return _MasksRoute(
        rows=rows,
        by_gram=by_gram,
        scale=scale,
        start=start,
        narrow=narrow,
        block=options_lib.block_size(settings, masks.shape[1]),
    )

  certify = functools.partial(rows.certify, summary.variance, device, settings)
  return stages.follow(summary, settings, make_route, certify, counted=counted)
