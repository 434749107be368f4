"""Datamodels: linear predictions of a model's outcomes from its training set."""

import dataclasses
import io
import json
import os
import shutil
from typing import Any
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from jdm import locations

_FORMAT = 'jdm.datamodels.1'


def _no_ids() -> np.ndarray:
  return np.zeros(0, np.int64)


def _no_ratios() -> np.ndarray:
  return np.zeros(0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Datamodels:
  """One linear datamodel for each target, in coordinates of 0/1 masks.

  Attributes:
    weights: `[num_train, num_targets]`, outcome units per inclusion; positive
      where the example raises the outcome.
    bias: `[num_targets]`, outcome units.
    lam: `[num_targets]`, the penalty chosen, in the regressor's scaling.
    gap: `[num_targets]`, duality gap of `weights` relative to
      ||y - mean(y)||^2 / (2m); 0 for closed forms.
    nnz: int `[num_targets]`, weights that are not 0.
    val_mse: `[num_targets]`, on the models the penalty was chosen by, squared
      outcome units; NaN if none was chosen.
    train_ids: int `[num_train]`, which examples of the dataset.
    target_ids: int `[num_targets]`.
    fit_ids: int `[num_fit]`, models that the weights were fitted to.
    val_ids: int `[num_val]`, models that the penalty was chosen by; with
      cross-validation all that were fitted.
    l1_ratio: `[num_targets]`, share of lam that is l1; empty but for the
      elastic net.
    alpha: mean subset fraction of the models; NaN if unknown.
    regressor: name of the regressor.
    outcome: name of the outcome.
    meta: pairs of a name and a value (str, int or float) to keep along.
  """

  weights: jax.Array | np.ndarray
  bias: jax.Array | np.ndarray
  lam: jax.Array | np.ndarray
  gap: jax.Array | np.ndarray
  nnz: jax.Array | np.ndarray
  val_mse: jax.Array | np.ndarray
  train_ids: jax.Array | np.ndarray
  target_ids: jax.Array | np.ndarray
  fit_ids: jax.Array | np.ndarray = dataclasses.field(default_factory=_no_ids)
  val_ids: jax.Array | np.ndarray = dataclasses.field(default_factory=_no_ids)
  l1_ratio: jax.Array | np.ndarray = dataclasses.field(
      default_factory=_no_ratios
  )
  alpha: float = dataclasses.field(
      default=float('nan'), metadata={'static': True}
  )
  regressor: str = dataclasses.field(default='', metadata={'static': True})
  outcome: str = dataclasses.field(default='', metadata={'static': True})
  meta: tuple[tuple[str, str | int | float], ...] = dataclasses.field(
      default=(), metadata={'static': True}
  )

  @property
  def num_train(self) -> int:
    """Training examples."""
    return self.weights.shape[0]

  @property
  def num_targets(self) -> int:
    """Targets."""
    return self.weights.shape[1]


def predict(datamodels: Datamodels, masks: Any) -> jax.Array:
  """Predicts the outcomes of models trained on the given subsets.

  Args:
    datamodels: made from `num_train` examples, for `num_targets` targets.
    masks: bool `[num_models, num_train]` or `subsets.PackedMasks`; row i is
      model i's training set.

  Returns:
    float32 `[num_models, num_targets]`, in outcome units.

  Raises:
    ValueError: if `masks` is not 2-D, has another `num_train`, or is not bool.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, §2.
  """
  num_train = datamodels.weights.shape[0]
  if not isinstance(masks, jax.Array):
    masks = np.asarray(masks)
  if masks.ndim != 2 or masks.shape[1] != num_train:
    raise ValueError(
        f'`predict` expects masks of shape [num_models, {num_train}], got'
        f' {masks.shape}; for one subset pass `mask[None]`.'
    )
  if masks.dtype != np.bool_:
    raise ValueError(
        f'`predict` expects bool masks, got {masks.dtype}; pass'
        ' `masks.astype(bool)`.'
    )
  weights = jnp.asarray(datamodels.weights, jnp.float32)
  bias = jnp.asarray(datamodels.bias, jnp.float32)
  masks = jnp.asarray(masks).astype(jnp.float32)
  product = jnp.matmul(masks, weights, precision=jax.lax.Precision.HIGHEST)
  return product + bias[None]


def own_ids(datamodels: Datamodels) -> np.ndarray | None:
  """Finds the targets among the training examples.

  Args:
    datamodels: of train targets if the name of their outcome ends in `_train`;
      their `target_ids` and `train_ids` are then ids of the same examples.

  Returns:
    int64 `[num_targets]`, the column of masks that is the target itself, -1 for
    none; None for datamodels of other targets.
  """
  if not datamodels.outcome.endswith('_train'):
    return None
  columns = {int(row): i for i, row in enumerate(datamodels.train_ids)}
  rows = np.asarray(datamodels.target_ids).tolist()
  return np.array([columns.get(row, -1) for row in rows], np.int64)


def _split(datamodels: Datamodels) -> tuple[dict[str, Any], dict[str, Any]]:
  """Arrays, and what is not an array."""
  arrays, static = {}, {}
  for field in dataclasses.fields(datamodels):
    value = getattr(datamodels, field.name)
    (static if field.metadata.get('static') else arrays)[field.name] = value
  return arrays, static


def _join(arrays: dict[str, Any], static: dict[str, Any]) -> Datamodels:
  static = dict(static, meta=tuple(map(tuple, static['meta'])))
  return Datamodels(**arrays, **static)


def _is_file(path: str) -> bool:
  return path.endswith('.npz')


def save(path: str | os.PathLike[str], datamodels: Datamodels) -> None:
  """Writes datamodels, complete or not at all.

  Args:
    path: a name that ends in `.npz` is one NumPy file, here or at an URL; any
      other is a folder that orbax writes, for sharded or very large weights.
      What is there is replaced.
    datamodels: what to write.

  Raises:
    FileNotFoundError: if the folder of a file is not there.
    OSError: if a file cannot be written.
    ValueError: if a folder holds something else, or is an URL.
  """
  name = os.fspath(path)
  if locations.is_remote(name) and not _is_file(name):
    raise ValueError(
        f'`datamodels.save` writes a file at an URL, with a name ending in .npz,'
        f' got {name}.'
    )
  arrays, static = _split(datamodels)
  header = json.dumps({'format': _FORMAT, **static})
  if not _is_file(name):
    _save_folder(name, arrays, header)
    return
  values: dict[str, Any] = {'header': np.array(header)}
  values.update((field, np.asarray(array)) for field, array in arrays.items())
  if locations.is_remote(name):
    buffer = io.BytesIO()
    np.savez(buffer, **values)
    locations.write(name, buffer.getvalue())
    return
  folder = os.path.dirname(name) or '.'
  if not os.path.isdir(folder):
    raise FileNotFoundError(
        f'`datamodels.save` finds no folder {folder} for {name}; make it first:'
        f' `os.makedirs({folder!r})`.'
    )
  part = f'{name}.{os.getpid()}.part'
  try:
    with open(part, 'wb') as file:
      np.savez(file, **values)
    os.replace(part, name)
  finally:
    if os.path.exists(part):  # Writing failed: a full disk, say.
      os.remove(part)


def _save_folder(path: str, arrays: dict[str, Any], header: str) -> None:
  """Writes by orbax; the header last, as the sign that all is there."""
  # Takes a second to import, and most users never need it.
  import orbax.checkpoint as ocp

  path = os.path.abspath(path)
  is_ours = os.path.exists(os.path.join(path, 'header.json'))
  if os.path.exists(path) and not is_ours and os.listdir(path):
    raise ValueError(
        f'`datamodels.save` will not replace {path}, which holds something'
        ' else; choose another folder, or a name ending in .npz.'
    )
  part = f'{path}.{os.getpid()}.part'
  # Arrays of no elements (no validation models) are not for orbax.
  full = {name: array for name, array in arrays.items() if array.size}
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      checkpointer.save(os.path.join(part, 'arrays'), full)
    with open(os.path.join(part, 'header.json'), 'w', encoding='utf-8') as file:
      json.dump({'arrays': sorted(full), 'header': header}, file)
    if os.path.exists(path):
      shutil.rmtree(path)
    os.replace(part, path)
  finally:
    shutil.rmtree(part, ignore_errors=True)


def load(path: str | os.PathLike[str]) -> Datamodels:
  """Reads what `save` wrote.

  Args:
    path: the file or folder.

  Returns:
    The datamodels; arrays are numpy's.

  Raises:
    FileNotFoundError: if there is nothing.
    ValueError: if what is there was not written by `save`.
  """
  name = os.fspath(path)
  if not locations.exists(name):
    raise FileNotFoundError(f'`datamodels.load` finds nothing at {name}.')
  try:
    arrays, header = _load_file(name) if _is_file(name) else _load_folder(name)
    static = json.loads(header)
    if static.pop('format') != _FORMAT:
      raise ValueError('unknown format')
    return _join(arrays, static)
  except (
      KeyError,
      TypeError,
      ValueError,
      OSError,
      EOFError,
      zipfile.BadZipFile,
  ) as error:
    raise ValueError(
        f'`datamodels.load` expects datamodels written by `datamodels.save`:'
        f' {name} is something else or damaged ({error}).'
    ) from error


def _load_file(path: str) -> tuple[dict[str, np.ndarray], str]:
  remote = locations.is_remote(path)
  with np.load(io.BytesIO(locations.read(path)) if remote else path) as file:
    arrays = {name: file[name] for name in file.files}
  return arrays, str(arrays.pop('header'))


def _load_folder(path: str) -> tuple[dict[str, np.ndarray], str]:
  import orbax.checkpoint as ocp

  path = os.path.abspath(path)
  with open(os.path.join(path, 'header.json'), encoding='utf-8') as file:
    description = json.load(file)
  # To the host, whatever devices the arrays were on.
  to_host = {
      name: ocp.RestoreArgs(restore_type=np.ndarray)
      for name in description['arrays']
  }
  with ocp.PyTreeCheckpointer() as checkpointer:
    arrays = checkpointer.restore(
        os.path.join(path, 'arrays'),
        args=ocp.args.PyTreeRestore(restore_args=to_host),
    )
  return dict(arrays), description['header']
