"""Datamodels as embeddings: how an example is seen is what it is made from.

The embedding of an example is its datamodel, phi(x) = theta_x, one coordinate
for each training example. Two examples are close if the same training data make
the model right on them. Its principal components are groups of training
examples that act together; removing either end of one shows it.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import effects
from jdm.analysis import clusters as clusters_lib
from jdm.analysis import directions as directions_lib

_WHO = 'embeddings'
_SHARE = 0.9  # Of the variance, that `num_components` counts up to.
_SHOWN = 200  # Of a spectrum, in a JSON.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum:
  """How the variance of one space is spread over its principal components.

  Attributes:
    explained: `[num]`, shares, in the order of the components. They sum to 1.
    participation_ratio: (sum l)^2 / sum l^2 of the variances l: d if d
      components have the same.
    num_components: components that hold 90 % of the variance.
  """

  explained: np.ndarray
  participation_ratio: float
  num_components: int

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    return effects.to_json(self) | {
        'explained': self.explained[:_SHOWN].tolist()
    }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings:
  """Principal components and clusters of datamodels.

  Attributes:
    targets: whose datamodels the components and clusters are of, 'test' or
      'train'.
    directions: the components; `projections` are those of the test targets.
    scores: `[num_components, num_train]`, by which training examples stand at
      the ends of components: loadings ('test'), or the projections of their
      own datamodels ('train').
    spectra: by space: 'datamodels'; 'shuffled', the same with each datamodel's
      weights in random order, what is left without any structure in common;
      where they were given, 'features', and 'reproducible', the variance that
      two halves of the models have in common.
    clusters: int `[num_targets]`, numbered through the classes; -1 for
      datamodels of zeros.
    centrality: `[num_targets]`, mean cosine with the members of the cluster.
    cluster_agreement: adjusted Rand index within classes, averaged over them;
      0 is chance, 1 the same clusters. 'halves': of the two halves of the
      models; 'features': with clusters of the features; 'planted' and
      'features_planted': of both with the planted clusters.
    half_scores: `[2, num_components, num_embedded]`, as `scores`, of the
      datamodels fitted to either half of the models on the same components;
      None without halves.
    removals: what removing the ends of components did; None if not retrained.
  """

  targets: str
  directions: directions_lib.Directions
  scores: np.ndarray
  spectra: Mapping[str, Spectrum]
  clusters: np.ndarray
  centrality: np.ndarray
  cluster_agreement: Mapping[str, float]
  half_scores: np.ndarray | None = None
  removals: directions_lib.Removals | None = None

  @property
  def reliability(self) -> np.ndarray:
    """Spearman of the two halves' scores by component; empty without halves."""
    if self.half_scores is None:
      return np.zeros(0)
    pairs = zip(*self.half_scores)
    return np.array([effects.spearman(one, two) for one, two in pairs])

  def to_json(self) -> dict[str, Any]:
    """The numbers as JSON-serializable values."""
    removals = None if self.removals is None else self.removals.to_json()
    return {
        'targets': self.targets,
        'components': self.directions.to_json(),
        'spectra': {n: value.to_json() for n, value in self.spectra.items()},
        'clusters': self.clusters.tolist(),
        'cluster_agreement': dict(self.cluster_agreement),
        'reliability': self.reliability.tolist(),
        'removals': removals,
    }


def embeddings(
    datamodels: datamodels_lib.Datamodels,
    labels: np.ndarray,
    *,
    train_datamodels: datamodels_lib.Datamodels | None = None,
    num_components: int = 10,
    num_clusters: int = 3,
    features: np.ndarray | None = None,
    halves: tuple[np.ndarray, np.ndarray] | None = None,
    planted_clusters: np.ndarray | None = None,
    retrain: effects.Retrain | None = None,
    plan: directions_lib.RemovalPlan = directions_lib.RemovalPlan(),
    seed: int = 0,
) -> Embeddings:
  """Embeds examples by their datamodels; finds components and clusters.

  What is embedded are the training examples where their datamodels are given
  (`train_datamodels`), otherwise the test targets. Each datamodel is scaled to
  length 1.

  Args:
    datamodels: of test targets.
    labels: int `[num_embedded]`, classes of what is embedded.
    train_datamodels: of train targets, all of them in order.
    num_components: how many to keep.
    num_clusters: of each class, by spectral clustering on a cosine kernel.
    features: `[num_embedded, num_features]`, to compare with, such as the
      penultimate layer; scaled to length 1 too.
    halves: weights `[num_train, num_embedded]` fitted to the first and the
      second half of the models: what they share is no noise of the fit.
    planted_clusters: int `[num_embedded]`, known clusters, -1 for none.
    retrain: of test targets; the first components are then checked by removing
      the training examples at their ends. None skips this.
    plan: of this check.
    seed: of the clustering and of the shuffling.

  Returns:
    The embeddings.

  Raises:
    ValueError: if arrays do not fit the datamodels, or numbers are out of
      range.

  References:
    Ilyas et al., `Datamodels <https://arxiv.org/abs/2202.00622>`_, 2022, §4.3.
  """
  embedded = datamodels if train_datamodels is None else train_datamodels
  labels = np.asarray(labels)
  _check(datamodels, train_datamodels, labels, features, planted_clusters)
  rows = directions_lib.unit_rows(np.asarray(embedded.weights))
  found = directions_lib.principal(_WHO, rows, num_components)
  scores = found.loadings
  if train_datamodels is not None:
    scores = found.projections
    tests = directions_lib.unit_rows(np.asarray(datamodels.weights))
    projected = found.loadings @ (tests - found.mean[None]).T
    found = dataclasses.replace(found, projections=projected)
  half_rows, half_scores = None, None
  if halves is not None:
    half_rows = [_checked_rows(half, embedded) for half in halves]
    if train_datamodels is None:
      own = [directions_lib.loadings(found, half).T for half in half_rows]
    else:
      own = [found.loadings @ (half - found.mean).T for half in half_rows]
    half_scores = np.stack(own)
  clusters = clusters_lib.spectral(rows, labels, num_clusters, seed=seed)
  removals = None
  if retrain is not None:
    removals = directions_lib.remove_ends(
        _WHO,
        np.asarray(datamodels.weights),
        scores=scores,
        projections=found.projections,
        retrain=retrain,
        plan=plan,
    )
  return Embeddings(
      targets='test' if train_datamodels is None else 'train',
      directions=found,
      scores=scores,
      spectra=_spectra(found, rows, features, half_rows, seed),
      clusters=clusters,
      centrality=clusters_lib.centrality(rows, clusters),
      cluster_agreement=clusters_lib.agreement(
          clusters,
          labels,
          num_clusters,
          features=features,
          half_rows=half_rows,
          planted_clusters=planted_clusters,
          seed=seed,
      ),
      half_scores=half_scores,
      removals=removals,
  )


def spectrum(explained: np.ndarray) -> Spectrum:
  """Effective dimensions of shares of variance.

  Args:
    explained: `[num]`, not negative, at least one above 0, in any units.
  """
  shares = np.asarray(explained, np.float64)
  shares = shares / shares.sum()
  return Spectrum(
      explained=shares,
      participation_ratio=float(1 / np.sum(shares**2)),
      num_components=_num_components(shares),
  )


def reproducible_spectrum(first: np.ndarray, second: np.ndarray) -> Spectrum:
  """The spectrum of what two noisy measurements of vectors have in common.

  With independent noise N and M, the products (S + N)(S + M)^T average to
  S S^T, which no noise inflates. The components are those of `first`; the share
  of each is the covariance over rows of both projections onto it, and can be
  negative where there is only noise. The participation ratio is
  tr(K)^2 / tr(K^2) of the product K of centred rows.

  Args:
    first: `[num, num_train]`, rows such as `directions.unit_rows` of weights
      fitted to half of the models.
    second: same shape, from the other half.
  """
  centred = [
      rows - rows.mean(axis=0, keepdims=True) for rows in (first, second)
  ]
  kernel = centred[0] @ centred[1].T
  total = np.trace(kernel)
  squares = np.sum(kernel * kernel.T)
  # Left singular vectors u with variances s^2: row projections are s u, and
  # their covariance with those of the other half is u^T K u.
  left, _, _ = np.linalg.svd(centred[0], full_matrices=False)
  shares = np.sum(left * (kernel @ left), axis=0)
  if total <= 0 or squares <= 0:
    # The halves have nothing in common.
    nothing = np.full(len(shares), np.nan)
    return Spectrum(
        explained=nothing, participation_ratio=float('nan'), num_components=0
    )
  shares = shares / total
  return Spectrum(
      explained=shares,
      participation_ratio=float(total**2 / squares),
      num_components=_num_components(shares),
  )


def _num_components(shares: np.ndarray) -> int:
  """First number of components that holds 90 % of the variance."""
  return int(np.argmax(np.cumsum(shares) >= _SHARE * (1 - 1e-12))) + 1


def _spectra(
    found: directions_lib.Directions,
    rows: np.ndarray,
    features: np.ndarray | None,
    half_rows: list[np.ndarray] | None,
    seed: int,
) -> dict[str, Spectrum]:
  spectra = {'datamodels': spectrum(found.spectrum)}
  shuffled = np.random.default_rng(seed).permuted(rows, axis=1)
  spectra['shuffled'] = spectrum(_variances(shuffled))
  if features is not None:
    units = directions_lib.unit_rows(features.T)
    spectra['features'] = spectrum(_variances(units))
  if half_rows is not None:
    spectra['reproducible'] = reproducible_spectrum(*half_rows)
  return spectra


def _variances(rows: np.ndarray) -> np.ndarray:
  """Variances along the principal components, up to a common factor."""
  centred = rows - rows.mean(axis=0, keepdims=True)
  return np.linalg.svd(centred, compute_uv=False) ** 2


def _checked_rows(
    weights: np.ndarray, embedded: datamodels_lib.Datamodels
) -> np.ndarray:
  if np.shape(weights) != np.shape(embedded.weights):
    raise ValueError(
        f'`{_WHO}` expects halves of shape {list(embedded.weights.shape)}, like'
        f' the weights, got {list(np.shape(weights))}.'
    )
  return directions_lib.unit_rows(weights)


def _check(
    datamodels: datamodels_lib.Datamodels,
    train_datamodels: datamodels_lib.Datamodels | None,
    labels: np.ndarray,
    features: np.ndarray | None,
    planted_clusters: np.ndarray | None,
) -> None:
  """Checks that the arrays are about the same examples."""
  num, num_train = datamodels.num_targets, datamodels.num_train
  which = 'test'
  if train_datamodels is not None:
    shape, num, which = train_datamodels.weights.shape, num_train, 'train'
    if tuple(shape) != (num_train, num_train):
      raise ValueError(
          f'`{_WHO}` expects train_datamodels with weights [{num_train},'
          f' {num_train}], a target for every training example, got'
          f' {list(shape)}.'
      )
  for name, array in (
      ('labels', labels),
      ('features', features),
      ('planted_clusters', planted_clusters),
  ):
    if array is not None and len(array) != num:
      raise ValueError(
          f'`{_WHO}` expects {name} of the {num} {which} targets that are'
          f' embedded, got {len(array)}.'
      )
