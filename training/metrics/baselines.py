"""The classical heads of the literature over embeddings: who of a closed set is this?"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC


def score_heads(vectors_ND: NDArray[np.float32], subject_N: NDArray[np.int64], *, seed: int) -> Mapping[str, float]:
    """Closed-set accuracy of each head, with one random face of every subject left out for the test.

    Args:
        vectors_ND: (N, D) unit vectors.
        subject_N: (N,); subjects with one face take no part.
        seed: Decides which face is left out, and the forest.

    Returns:
        Accuracy by head; "nearest" is the nearest neighbour by cosine, which the product uses.

    Raises:
        ValueError: Fewer than two subjects have two faces.
    """
    rng = np.random.default_rng(seed)
    names, counts = np.unique(subject_N, return_counts=True)
    test = np.array([rng.choice(np.flatnonzero(subject_N == name)) for name in names[counts > 1]], np.int64)
    if len(test) < 2:
        raise ValueError("heads are compared on at least two subjects with two faces each")
    train = np.setdiff1d(np.flatnonzero(np.isin(subject_N, names[counts > 1])), test)
    heads = {
        "nearest": KNeighborsClassifier(1, metric="cosine"),
        "3-nn": KNeighborsClassifier(min(3, len(train)), metric="cosine", weights="distance"),
        "svm": SVC(kernel="linear", C=10.0),
        "forest": RandomForestClassifier(200, random_state=seed),
    }
    return {
        name: float(head.fit(vectors_ND[train], subject_N[train]).score(vectors_ND[test], subject_N[test]))
        for name, head in heads.items()
    }
