"""Small datasets and results with made-up numbers; nothing is trained."""

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import evaluation as evaluation_lib
from jdm.analysis import uncertainty as uncertainty_lib
from jdm.applications import counterfactuals as counterfactuals_lib
from jdm.datasets import dataset as dataset_lib

NUM_TRAIN, NUM_TARGETS, NUM_HELDOUT = 40, 6, 30


def dataset(*, channels: int | None = None, with_images: bool = True, names=()):
  """Four classes; images of 5 x 4 pixels, grey or with channels."""
  rng = np.random.default_rng(0)
  shape = (5, 4) if channels is None else (5, 4, channels)

  def split(num: int) -> dataset_lib.Split:
    images = rng.integers(0, 256, (num, *shape)).astype(np.uint8)
    return dataset_lib.Split(
        inputs=rng.normal(size=(num, 3)).astype(np.float32),
        labels=np.arange(num) % 4,
        ids=np.arange(num) + 1000,
        images=images if with_images else None,
    )

  return dataset_lib.Dataset(
      name='made_up',
      train=split(NUM_TRAIN),
      test=split(NUM_TARGETS),
      num_classes=4,
      image_shape=shape if with_images else None,
      class_names=names,
  )


def datamodels(outcome: str = 'soft_margin') -> datamodels_lib.Datamodels:
  """Target t: row t has weight .75, row t + 1 has -.25, half of all are 0."""
  weights = np.zeros((NUM_TRAIN, NUM_TARGETS), np.float32)
  weights[: NUM_TRAIN // 2] = 0.01
  targets = np.arange(NUM_TARGETS)
  weights[targets, targets] = 0.75
  weights[targets + 1, targets] = -0.25
  zeros = np.zeros(NUM_TARGETS)
  return datamodels_lib.Datamodels(
      weights=weights,
      bias=zeros,
      lam=zeros,
      gap=zeros,
      nnz=(weights != 0).sum(axis=0),
      val_mse=zeros,
      train_ids=np.arange(NUM_TRAIN),
      target_ids=targets,
      fit_ids=np.arange(200),
      val_ids=np.arange(150, 200),
      alpha=0.5,
      regressor='lasso',
      outcome=outcome,
  )


def evaluation(
    fitted=None, *, replicates: int = 2
) -> evaluation_lib.Evaluation:
  """Outcomes that follow the datamodels, with noise; target 2 is the worst."""
  fitted = datamodels() if fitted is None else fitted
  rng = np.random.default_rng(1)
  masks = rng.random((NUM_HELDOUT, NUM_TRAIN)) < 0.5
  signal = np.asarray(datamodels_lib.predict(fitted, masks))
  shift = np.array([1.0, 2.0, -3.0, 4.0, 2.5, 1.5])
  noise = rng.normal(scale=0.3, size=(replicates, *signal.shape))
  return evaluation_lib.evaluate(
      fitted,
      masks,
      (signal + shift[None])[None] + noise,
      heldout_ids=np.arange(NUM_HELDOUT) + 2**30,
  )


def counterfactuals(
    *, retrained: bool = True, replicates: int = 4, target_ids=(2, 0)
) -> counterfactuals_lib.Counterfactuals:
  """Retraining that answers as the datamodels do, with noise."""
  fitted, rng = datamodels(), np.random.default_rng(2)

  def retrain(masks: np.ndarray, replicates: int) -> np.ndarray:
    signal = np.asarray(datamodels_lib.predict(fitted, masks))
    return signal[None] + rng.normal(
        scale=0.1, size=(replicates, *signal.shape)
    )

  return counterfactuals_lib.counterfactuals(
      fitted,
      sizes=[2, 5, 10],
      target_ids=np.array(target_ids),
      retrain=retrain if retrained else None,
      replicates=replicates,
  )


def uncertainty(target_ids=(0,)) -> uncertainty_lib.Uncertainty:
  """Intervals of .1 around every weight; all were kept in 90 % of the fits."""
  ids = np.array(target_ids)
  weights = np.asarray(datamodels().weights)[:, ids]
  shape = 2, 1, len(ids)
  return uncertainty_lib.Uncertainty(
      target_ids=ids,
      weights=weights,
      interval=np.stack([weights - 0.1, weights + 0.1]),
      error=np.full_like(weights, 0.05),
      selected=np.full_like(weights, 0.9),
      ranked=np.zeros(shape, int),
      rank_interval=np.ones((2, *shape)),
      regressor='lasso',
      num_models=200,
      num_bootstrap=40,
      level=0.95,
      max_gap=1e-5,
  )
