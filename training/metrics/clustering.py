"""How well faces group themselves into subjects.

Source: Bagga & Baldwin 1998 (BCubed); Amigó et al. 2009 (its formal constraints).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClusterScores:
    """Precision and recall of a grouping, over pairs of faces and, by BCubed, over faces."""

    pair_precision: float
    pair_recall: float
    bcubed_precision: float
    bcubed_recall: float

    @property
    def pair_f1(self) -> float:
        """Their harmonic mean."""
        return _harmonic(self.pair_precision, self.pair_recall)

    @property
    def bcubed_f1(self) -> float:
        """Their harmonic mean."""
        return _harmonic(self.bcubed_precision, self.bcubed_recall)


def cluster_faces(vectors_ND: NDArray[np.float32], threshold: float) -> Integers:
    """Group unit vectors by average linkage, as long as groups are at least `threshold` alike (cosine).

    Returns:
        (N,) number of each face's group. Needs memory for N² similarities.
    """
    if len(vectors_ND) < 2:
        return np.zeros(len(vectors_ND), np.int64)
    distance_NN = np.clip(1 - vectors_ND.astype(np.float64) @ vectors_ND.T.astype(np.float64), 0, 2)
    np.fill_diagonal(distance_NN, 0)
    tree = linkage(squareform(distance_NN, checks=False), method="average")
    return fcluster(tree, 1 - threshold, criterion="distance").astype(np.int64) - 1


def score_clusters(cluster_N: Integers, subject_N: Integers) -> ClusterScores:
    """Compare groups with the truth.

    A grouping that claims no pair is never wrong about one: its pair precision is 1.
    """
    clusters, subjects = cluster_N.max() + 1, subject_N.max() + 1
    joint = np.bincount(cluster_N * subjects + subject_N, minlength=clusters * subjects).reshape(clusters, subjects)
    of_cluster, of_subject = joint.sum(1), joint.sum(0)
    right, claimed, true = (float((x * (x - 1)).sum()) for x in (joint, of_cluster, of_subject))
    squares = (joint**2).astype(np.float64)
    count = len(cluster_N)
    return ClusterScores(
        pair_precision=right / claimed if claimed else 1.0,
        pair_recall=right / true if true else 1.0,
        bcubed_precision=float((squares.sum(1) / np.maximum(of_cluster, 1)).sum() / count),
        bcubed_recall=float((squares.sum(0) / np.maximum(of_subject, 1)).sum() / count),
    )


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
