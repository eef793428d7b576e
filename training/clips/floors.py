"""Floors: how far one gets without looking at what happens. What does not beat them has learned nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from services.perception.decode import decode
from training.clips.manifest import LabelledSpan


def describe_files(spans: Sequence[LabelledSpan], folder: Path) -> NDArray[np.float64]:
    """(N, 6): width, height, their ratio, frames a second, seconds and bits a second, as the files say."""
    rows = []
    for span in spans:
        path = folder / span.clip
        with decode(path) as decoding:
            clip = decoding.clip
        seconds = clip.duration_seconds or 0.0
        bits = 8 * path.stat().st_size / max(seconds, 1e-3)
        rows.append([clip.width_px, clip.height_px, clip.width_px / clip.height_px, clip.rate_hz or 0, seconds, bits])
    return np.array(rows, np.float64)


def rate_left_out(
    features_ND: NDArray[np.float64], actions_N: NDArray[np.int64], groups_N: NDArray[np.str_], *, seed: int
) -> NDArray[np.float64]:
    """Probabilities (N, K) by a random forest that met no row of the group; K is the number of actions there are."""
    probabilities_NK = np.zeros((len(actions_N), int(actions_N.max()) + 1))
    for group in np.unique(groups_N):
        outside_N = groups_N == group
        rated_MK = rate_others(features_ND[~outside_N], actions_N[~outside_N], features_ND[outside_N], seed=seed)
        probabilities_NK[outside_N, : rated_MK.shape[1]] = rated_MK
    return probabilities_NK


def rate_others(
    features_ND: NDArray[np.float64], actions_N: NDArray[np.int64], others_MD: NDArray[np.float64], *, seed: int
) -> NDArray[np.float64]:
    """Probabilities (M, K) of other rows by a random forest that met these; K is the number of actions it met."""
    forest = RandomForestClassifier(300, class_weight="balanced", random_state=seed, n_jobs=1)
    forest.fit(features_ND, actions_N)
    probabilities_MK = np.zeros((len(others_MD), int(actions_N.max()) + 1))
    probabilities_MK[:, forest.classes_] = forest.predict_proba(others_MD)
    return probabilities_MK
