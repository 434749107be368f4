"""Clusters of examples within each class, and how far two clusterings agree."""

import warnings

import numpy as np

from jdm.analysis import directions as directions_lib

_LEAST_AFFINITY = 1e-6  # Keeps the graph of a class in one piece.


def agreement(
    clusters: np.ndarray,
    labels: np.ndarray,
    num_clusters: int,
    *,
    features: np.ndarray | None,
    half_rows: list[np.ndarray] | None,
    planted_clusters: np.ndarray | None,
    seed: int,
) -> dict[str, float]:
  """Rand indices of clusters with what there is to compare them with.

  Args:
    clusters: int `[num]`, of the datamodels.
    labels: int `[num]`, classes.
    num_clusters: of each class.
    features: `[num, num_features]`, clustered the same way; or None.
    half_rows: `[num, num_train]` from each half of the models; or None.
    planted_clusters: int `[num]`, -1 for none; or None.
    seed: of the clustering.

  Returns:
    See `embeddings.Embeddings.cluster_agreement`.
  """
  scores = {}
  others = None
  if features is not None:
    others = spectral(features, labels, num_clusters, seed=seed)
    scores['features'] = rand_index(clusters, others, labels)
  if half_rows is not None:
    first, second = (
        spectral(rows, labels, num_clusters, seed=seed) for rows in half_rows
    )
    scores['halves'] = rand_index(first, second, labels)
  if planted_clusters is not None:
    scores['planted'] = rand_index(clusters, planted_clusters, labels)
    if others is not None:
      scores['features_planted'] = rand_index(others, planted_clusters, labels)
  return scores


def spectral(
    rows: np.ndarray, labels: np.ndarray, num_clusters: int, *, seed: int = 0
) -> np.ndarray:
  """Clusters the examples of each class by the cosine of their vectors.

  Spectral clustering (scikit-learn) on the kernel max(cosine, 1e-6).

  Args:
    rows: `[num, num_train]`.
    labels: int `[num]`, classes.
    num_clusters: of each class; a class of no more examples is one cluster.
    seed: of k-means in the spectral space.

  Returns:
    int `[num]`, cluster c of the class at place k among the labels is
    `num_clusters * k + c`, and c = 0 the largest; -1 for rows of zeros.
  """
  from sklearn import cluster  # Takes a second to import.

  units = directions_lib.unit_rows(np.asarray(rows).T)
  result = np.full(len(units), -1)
  for place, label in enumerate(np.unique(labels)):
    members = np.flatnonzero((labels == label) & units.any(axis=1))
    if num_clusters == 1 or len(members) <= num_clusters:
      result[members] = place * num_clusters
      continue
    affinity = np.maximum(units[members] @ units[members].T, _LEAST_AFFINITY)
    model = cluster.SpectralClustering(
        num_clusters, affinity='precomputed', random_state=seed
    )
    with warnings.catch_warnings():
      # That weak links hold a graph together is no news: see above.
      warnings.filterwarnings('ignore', message='Graph is not fully connected')
      found = model.fit_predict(affinity)
    order = np.argsort(-np.bincount(found, minlength=num_clusters))
    result[members] = place * num_clusters + np.argsort(order)[found]
  return result


def centrality(rows: np.ndarray, clusters: np.ndarray) -> np.ndarray:
  """Mean cosine of each example with the members of its cluster, itself too.

  Args:
    rows: `[num, num_train]`.
    clusters: int `[num]`, -1 for none.

  Returns:
    `[num]`; NaN outside clusters.
  """
  units = directions_lib.unit_rows(np.asarray(rows).T)
  result = np.full(len(units), np.nan)
  for cluster in np.unique(clusters[clusters >= 0]):
    members = clusters == cluster
    result[members] = units[members] @ units[members].mean(axis=0)
  return result


def rand_index(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray
) -> float:
  """Adjusted Rand index within classes, averaged over them.

  Args:
    first: int `[num]`, clusters; examples with -1 are left out.
    second: the same.
    labels: int `[num]`; across classes, clusters differ by definition.

  Returns:
    1 for the same clusters, about 0 by chance; NaN without a class of two.

  References:
    Hubert and Arabie, Comparing partitions, 1985.
  """
  from sklearn import metrics  # Takes a second to import.

  scores = []
  for label in np.unique(labels):
    members = (labels == label) & (first >= 0) & (second >= 0)
    if members.sum() > 1:
      pair = first[members], second[members]
      scores.append(metrics.adjusted_rand_score(*pair))
  return float(np.mean(scores)) if scores else float('nan')
