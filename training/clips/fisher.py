"""Learns the parts of a FisherMotion network: codebooks without labels, then a linear layer with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from torch import Tensor

from training.networks.motion import KINDS, Codebook, Cuboids, FisherMotion, MotionCuboids

_DRAWN_CUBOIDS = 30_000


@dataclass(frozen=True, slots=True)
class FisherParams:
    """What is chosen, not learned.

    Attributes:
        components: Principal components kept of each kind of descriptor.
        gaussians: In the mixture of each kind.
        cuboids: Drawn from each strip to learn the codebooks.
        inverse_penalty: Of the linear layer: larger trusts the clips more.
        seed: Decides every draw.
    """

    components: int = 32
    gaussians: int = 32
    cuboids: int = 150
    inverse_penalty: float = 10.0
    seed: int = 0


class CuboidPool:
    """Moving cuboids drawn from many strips, a few of each, for codebooks."""

    def __init__(self, params: FisherParams) -> None:
        """Start empty."""
        self._params = params
        self._rng = np.random.default_rng(params.seed)
        self._drawn: dict[str, list[NDArray[np.float32]]] = {kind: [] for kind in KINDS}
        self._places: list[NDArray[np.float32]] = []

    def add(self, cuboids: Cuboids) -> None:
        """Draw from each window."""
        for window in range(len(cuboids.moving)):
            moving = np.flatnonzero(cuboids.moving[window].numpy())
            drawn = self._rng.permutation(moving)[: self._params.cuboids]
            for kind in KINDS:
                self._drawn[kind].append(cuboids.by_kind[kind][window].numpy()[drawn])
            self._places.append(cuboids.places[window].numpy()[drawn])

    def learn(self) -> dict[str, Codebook]:
        """Principal components and a mixture of Gaussians for each kind; needs no label."""
        return {kind: self._learn(np.concatenate(drawn)) for kind, drawn in self._drawn.items()}

    def _learn(self, descriptors: NDArray[np.float32]) -> Codebook:
        params = self._params
        places = np.concatenate(self._places)
        keep = np.random.default_rng(params.seed).permutation(len(descriptors))[:_DRAWN_CUBOIDS]
        axes = PCA(params.components, random_state=params.seed).fit(descriptors[keep])
        scaled = axes.components_.T / np.sqrt(axes.explained_variance_.mean())
        x = np.concatenate([(descriptors[keep] - axes.mean_) @ scaled, 2 * places[keep]], axis=1)
        mixture = GaussianMixture(
            params.gaussians,
            covariance_type="diag",
            max_iter=20,
            # Few iterations do: the mixture is a partition, not a density anybody reads.
            tol=1e-2,
            init_params="k-means++",
            reg_covar=1e-3,
            random_state=params.seed,
        ).fit(x)
        return Codebook(
            mean=torch.from_numpy(axes.mean_).float(),
            axes=torch.from_numpy(scaled).float(),
            weights=torch.from_numpy(mixture.weights_).float(),
            means=torch.from_numpy(mixture.means_).float(),
            deviations=torch.from_numpy(np.sqrt(mixture.covariances_)).float(),
        )


def learn_codebooks(strips: Sequence[NDArray[np.uint8]], params: FisherParams) -> dict[str, Codebook]:
    """Codebooks of some strips (T, S, S, 3), whatever is shown in them."""
    describe, pool = MotionCuboids(), CuboidPool(params)
    with torch.inference_mode():
        for strip in strips:
            pool.add(describe(torch.from_numpy(strip[None])))
    return pool.learn()


def embed_strips(network: FisherMotion, strips: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """(N, 2, F): the Fisher vector of each strip and of its mirror image."""
    rows = []
    with torch.inference_mode():
        for strip in strips:
            rgb_1THWC = torch.from_numpy(strip[None])
            rows.append(torch.cat([network.embed(rgb_1THWC), network.embed(rgb_1THWC.flip(3))]).numpy())
    return np.stack(rows)


def learn_head(
    vectors_N2F: NDArray[np.float32],
    actions_N: NDArray[np.int64],
    weights_N: NDArray[np.float64],
    classes: int,
    params: FisherParams,
) -> tuple[Tensor, Tensor]:
    """Weights (K, F) and biases (K,) of a logistic regression, every action counting alike; mirror images are examples.

    Raises:
        ValueError: An action has no example.
    """
    absent = sorted(set(range(classes)) - set(actions_N.tolist()))
    if absent:
        raise ValueError(f"no example of action(s) {absent} of {classes}")
    regression = LogisticRegression(C=params.inverse_penalty, class_weight="balanced", max_iter=300)
    regression.fit(vectors_N2F.reshape(2 * len(actions_N), -1), actions_N.repeat(2), weights_N.repeat(2))
    weight, bias = regression.coef_, regression.intercept_
    if classes == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float()


Learner = Callable[[NDArray[np.int64]], Callable[[NDArray[np.int64]], NDArray[np.float64]]]
"""Learns from some rows; what comes back answers logits (M, K) for other rows."""


def leave_groups_out(
    learner: Learner, groups_N: NDArray[np.str_], classes: int, *, folds: int | None = None, seed: int = 0
) -> NDArray[np.float64]:
    """Logits (N, K) of every row by a model that met no row of its group.

    Args:
        learner: Sees the training rows of a fold only.
        groups_N: Group of each row.
        classes: K.
        folds: Groups are dealt into so many parts; None leaves out one group at a time.
        seed: Decides the dealing.
    """
    names = np.random.default_rng(seed).permutation(np.unique(groups_N))
    parts = [names[part :: folds or len(names)] for part in range(folds or len(names))]
    logits_NK = np.zeros((len(groups_N), classes))
    for left_out in parts:
        outside_N = np.isin(groups_N, left_out)
        answer = learner(np.flatnonzero(~outside_N))
        logits_NK[outside_N] = answer(np.flatnonzero(outside_N))
    return logits_NK
